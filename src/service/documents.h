/* documents.h - documents: read from their sources, one text or passages each, and cut into chunks. */
#ifndef IFLOW_SERVICE_DOCUMENTS_H
#define IFLOW_SERVICE_DOCUMENTS_H

#include "service/chunks.h"
#include "service/sources.h"

/* A document as it was read: one text to be cut, or passages that are a chunk each. Every part is NUL-terminated. */
typedef struct document {
    char *name;
    char *source; /* the file that it comes from; NULL: standard input; of a text in memory its name */
    bool in_memory;
    size_t line; /* of it, from 1; 0: it is the whole file */
    char **part;
    size_t *part_bytes;
    size_t n_parts;
    bool passages;         /* never cut further */
    bool found;            /* in a directory, by a name that nobody gave */
    uint64_t source_at;    /* where it begins in the bytes of all sources, as sources.n_bytes counts them */
    uint64_t source_bytes; /* what it took of them */
} document;

/* Tokens a chunk has at most unless somebody says otherwise: whoever reads a document finds what another one stored of it. */
enum { DOCUMENT_CHUNK_TOKENS = 512 };

/* A document of a text in memory, read as a file is. name: where it comes from, as a file's path; it is recorded as NAME, or NAME/TITLE.
 * title: what it is called in messages and reports; NULL: its name. E_ARG: no name; E_FORMAT: no text, or one in another encoding, saying
 * at which byte; E_CANCELLED, E_MEMORY. *out: document_free(). */
iflow_status document_from_text(const char *name, const char *title, const char *text, size_t n_bytes, document **out);

void document_free(document *doc);

/* Cuts a document. The one place where this happens: `ask` finds what `ingest` stored because both come here. E_CONTEXT, E_FORMAT (text
 * that the tokenizer refuses), E_MEMORY, and all that iflow_cut() and iflow_tokenize() give. */
iflow_status document_cut(const iflow_model *model, const document *doc, size_t chunk_tokens, chunk_list *out);

/* Text of passage i (from 1) in the `paper` protocol. A new string; NULL: no memory. */
char *passage_text(size_t i, const char *passage);

/* Whether a failure is one of the text that was given, so that another one may do; else the next one would meet it, too. */
bool document_is_at_fault(iflow_status status);

/* Takes a document over. A failure ends the reading, as does a false *more, which is true before. */
typedef iflow_status (*on_document)(document *doc, bool *more, void *user);

/* Reads every source; jsonl: all files hold a JSON object a line, whatever they are called; a
 * text in memory is one document. An empty, binary or malformed source or line
 * is noticed, counted and passed over: skipped if it was found in a directory and is empty or binary, else failed. OK where some failed,
 * too; E_MEMORY, E_CANCELLED, or what `take` gave. */
iflow_status documents_read(sources *list, bool jsonl, on_document take, void *user);

#endif
