/* gathering.h - puts documents into a context: by file, directory or standard input, by their id or name in the store, or from memory. What
 * several calls give stands in the context one after the other. */
#ifndef IFLOW_SERVICE_GATHERING_H
#define IFLOW_SERVICE_GATHERING_H

#include "service/chunks.h"
#include "service/sources.h"

/* The documents of a context: n_chunks chunks each, in order, after the head. */
typedef struct context_document {
    char *name;
    size_t n_chunks;
} context_document;

typedef struct context_documents {
    context_document *document;
    size_t n, capacity;
    chunk_list chunks;     /* of files: those that may have to be computed */
    size_t n_left_out;     /* files, and documents in them, that were found in directories and could not be used */
    size_t n_failed_named; /* what was named and could not be used: it was noticed, each */
} context_documents;

typedef struct gathering {
    const iflow_model *model;
    iflow_context *ctx;     /* documents are added to it; NULL: their chunks are only listed */
    iflow_store *store;     /* where ids are looked up; NULL: names are of files */
    const char *store_name; /* for messages */
    size_t chunk_tokens;
    bool jsonl; /* files hold a JSON object a line, whatever their names */
    source_events events;
} gathering;

/* What fails may have added a part of its document to the context and not to the list: then the context is freed, and no answer is asked
 * of it.
 *
 * Adds a file, the files of a directory, a document or a chunk of the store by its id, or standard input for "-". What was found in a
 * directory and cannot be used is noticed and left out. E_FORMAT where a name cannot be used (n_failed_named), or nothing that it names;
 * E_NOT_FOUND, E_ARG: no such file, nor id; E_MEMORY; else as iflow_context_add_tokens() and iflow_context_add_chunk(). */
iflow_status gather(const gathering *from, const char *name, context_documents *out);

/* The same for n names that are sources, all together, and never ids. */
iflow_status gather_sources(const gathering *from, const char *const *names, size_t n, context_documents *out);

/* Adds a document of the store by its id or its beginning (4 digits at least) or by the whole name that it is recorded by, or a chunk by
 * its id; never a file. ctx must be there. E_NOT_FOUND; E_ARG: ambiguous, or of another model; else as iflow_context_add_chunk(). */
iflow_status gather_stored(const gathering *from, const char *id_or_name, context_documents *out);

/* Adds a text in memory. It is cut as a file of the same bytes is, so what was ingested of it is found. As document_from_text(), and as
 * gather(). */
iflow_status gather_text(const gathering *from, const char *name, const char *title, const char *text, size_t n_bytes,
                         context_documents *out);

void context_documents_free(context_documents *documents);

#endif
