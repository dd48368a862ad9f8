/* documents.h - documents from files, directories, JSONL and standard input, and the chunks that they are cut into. */
#ifndef IFLOW_CLI_DOCUMENTS_H
#define IFLOW_CLI_DOCUMENTS_H

#include "cli.h"

/* A document as it was read: one text to be cut, or passages that are a chunk each. Every part is NUL-terminated. */
typedef struct document {
    char *name;
    char *source; /* the file that it comes from; NULL: standard input */
    size_t line;  /* of it, from 1; 0: it is the whole file */
    char **part;
    size_t *part_bytes;
    size_t n_parts;
    bool passages;         /* never cut further */
    uint64_t source_bytes; /* what it took of its source, for progress */
} document;

void document_free(document *doc);

/* A document's chunks: tokens of chunk i are token[start[i]] up to token[start[i + 1]]. */
typedef struct document_chunks {
    int32_t *token;
    size_t *start;
    size_t n_chunks;
} document_chunks;

/* Cuts a document. The one place where this happens: `ask` finds what `ingest` stored because both come here. */
iflow_status document_cut(const iflow_model *model, const document *doc, size_t chunk_tokens, document_chunks *out);
void document_chunks_free(document_chunks *chunks);
/* Reads and cuts all documents of the operands (see sources_read), to be put together: CLI_FAILED, after messages, if one could not be read
 * or they are less than two chunks. */
int document_chunks_read(const iflow_model *model, size_t chunk_tokens, bool jsonl, char **operands, size_t n_operands,
                         document_chunks *out);
/* Puts a chunk behind those that are there. */
void document_chunks_add(document_chunks *chunks, const int32_t *tokens, size_t n);
/* Adds them all to a context. */
iflow_status document_chunks_lay(const document_chunks *chunks, iflow_context *ctx);

/* Text of passage i (from 1) in the `paper` protocol. A new string, to be freed with free(). */
char *passage_text(size_t i, const char *passage);

/* Where documents come from: a file, or standard input. */
typedef struct source {
    char *path; /* "-": standard input */
    uint64_t n_bytes;
    bool named; /* on the command line itself, not found in a directory */
} source;

typedef struct sources {
    source *source;
    size_t n;
    uint64_t n_bytes; /* 0 if a source's size is unknown */
    size_t n_skipped, n_failed;
} sources;

/* Adds a path: a file, or all files below a directory in the order of their names, hidden ones left out with a note. What cannot be
 * read is said and counted as failed. */
void sources_add(sources *list, const char *path);
void sources_free(sources *list);

/* Takes a document over. Returns false to stop. */
typedef bool (*on_document)(document *doc, void *user);

/* Reads every source; jsonl: all of them hold a JSON object a line, whatever they are called. An empty, binary or malformed source or line
 * is said on standard error, counted in list->n_failed (n_skipped for a binary file found in a directory), and passed over. */
void sources_read(sources *list, bool jsonl, on_document take, void *user);

#endif
