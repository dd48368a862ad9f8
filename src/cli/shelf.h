/* shelf.h - the store as `infoflow store` looks at it: all chunks and documents that it lists, found by id and summed up. */
#ifndef IFLOW_CLI_SHELF_H
#define IFLOW_CLI_SHELF_H

#include "cli/session.h"

#include <jansson.h>

/* The store and all that is listed in it. */
typedef struct shelf {
    session s;
    common_options options;
    bool json;
    iflow_chunk_info *chunk; /* sorted by id */
    size_t n_chunks;
    iflow_document **document;
    size_t n_documents;
} shelf;

/* Lists the store, which is open. CLI_OK, or CLI_FAILED after a message. */
int shelf_load(shelf *f);
/* Lists it again, after a change. */
int shelf_reload(shelf *f);
void shelf_close(shelf *f);

/* NULL: there is none. */
iflow_chunk_info *shelf_find_chunk(const shelf *f, const char *id);
iflow_document *shelf_find_document(const shelf *f, const char *id);

/* What a document's chunks come to. */
typedef struct shelf_total {
    size_t n_missing, n_damaged, n_old;
    uint64_t n_bytes;
    int64_t used_at;
    bool pinned;
    const char *type;
} shelf_total;

shelf_total shelf_sum(const shelf *f, const iflow_document *doc);

/* Chunks that no recorded document has. */
size_t shelf_count_loose(const shelf *f);

/* What belongs to an operand: chunks, and the document if it is one's id. */
typedef struct shelf_target {
    char id[IFLOW_ID_SIZE];
    iflow_document *document;
    const char (*chunk)[IFLOW_ID_SIZE];
    size_t n_chunks;
} shelf_target;

/* Resolves an operand, and says where ids are to be found if it is none. */
iflow_status shelf_resolve_id(const shelf *f, const char *operand, char id[IFLOW_ID_SIZE], iflow_kind *kind);
/* The same, for what belongs to it. CLI_OK, or CLI_FAILED after a message. The target points into itself: it must stay where it is. */
int shelf_resolve(const shelf *f, const char *operand, shelf_target *out);

/* How long ago, "-" if that is not known. */
const char *shelf_age(int64_t used_at);

/* New references. */
json_t *shelf_chunk_json(const iflow_chunk_info *chunk);
json_t *shelf_document_json(const shelf *f, const iflow_document *doc);
/* Prints an object as one line, and takes it over. The exit status. */
int shelf_dump(json_t *object);

/* The actions, each in its file; their operands are ids. The exit status, after a message where that is a failure. */
int store_list(shelf *f);
int store_show(shelf *f, char **operand, size_t n, bool tokens);
int store_verify(shelf *f, char **operand, size_t n);
int store_pin(shelf *f, char **operand, size_t n, bool pinned);
int store_delete(shelf *f, char **operand, size_t n);
int store_prune(shelf *f, bool old);

#endif
