/* documents.h - documents from files, directories, JSONL and standard input, and the chunks that they are cut into. */
#ifndef IFLOW_CLI_DOCUMENTS_H
#define IFLOW_CLI_DOCUMENTS_H

#include "cli/options.h"
#include "service/chunks.h"

/* A document as it was read: one text to be cut, or passages that are a chunk each. Every part is NUL-terminated. */
typedef struct document {
    char *name;
    char *source; /* the file that it comes from; NULL: standard input */
    size_t line;  /* of it, from 1; 0: it is the whole file */
    char **part;
    size_t *part_bytes;
    size_t n_parts;
    bool passages;         /* never cut further */
    bool found;            /* in a directory, by a name that nobody gave */
    uint64_t source_bytes; /* what it took of its source, for progress */
} document;

void document_free(document *doc);

/* Cuts a document. The one place where this happens: `ask` finds what `ingest` stored because both come here. */
iflow_status document_cut(const iflow_model *model, const document *doc, size_t chunk_tokens, chunk_list *out);
/* Reads and cuts all documents of the operands (see sources_read), to be put together: CLI_FAILED, after messages, if one could not be read
 * or they are less than two chunks. */
int document_chunks_read(const iflow_model *model, size_t chunk_tokens, bool jsonl, char **operands, size_t n_operands, chunk_list *out);
/* Computes ahead the KV of those that are not stored yet, one by one, so that an interrupt counts after one chunk at the latest:
 * IFLOW_E_CANCELLED. Waits for those that another process computes. The first other failure ends it and is not said (IFLOW_OK): what is
 * missing afterwards is computed by the call that uses it, which goes on where a chunk cannot be kept, and says what is wrong. */
iflow_status document_chunks_prefill(const chunk_list *chunks, iflow_context *ctx);

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
    size_t n_skipped, n_failed, n_documents;
    bool lenient; /* files that were found in a directory and cannot be used are skipped, not failed; set it first */
    size_t n_noted;
    size_t n_operands;   /* paths that were added */
    const char *operand; /* the last one */
} sources;

/* CLI_OK, or CLI_USAGE after a message: standard input is one document. */
int sources_check(const command_usage *usage, char *const *operands, size_t n);
/* Adds a path: a file, or all files below a directory in the order of their names, hidden ones left out with a note. What cannot be
 * read is said and counted as failed or skipped. */
void sources_add(sources *list, const char *path);
void sources_free(sources *list);

/* Takes a document over. Returns false to stop. */
typedef bool (*on_document)(document *doc, void *user);

/* Reads every source; jsonl: all of them hold a JSON object a line, whatever they are called. An empty, binary or malformed source or line
 * is said on standard error, counted in list->n_failed (n_skipped for a binary file found in a directory, and for all that was found there
 * if the list is lenient), and passed over. A lenient list of which nothing is left has failed. */
void sources_read(sources *list, bool jsonl, on_document take, void *user);

/* Whether a failure is one of the text that was given, so that another one may do; else the next one would meet it, too. */
bool document_is_at_fault(iflow_status status);

/* For what takes documents, where one turns out not to be usable: whether it may be passed over; says so, with the library's message, and
 * counts it. */
bool document_may_be_skipped(const document *doc, iflow_status status);
void sources_skip(sources *list, const document *doc);

#endif
