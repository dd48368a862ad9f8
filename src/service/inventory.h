/* inventory.h - what is in a store: all chunks and documents, found by id, summed up, verified and deleted; and as JSON. */
#ifndef IFLOW_SERVICE_INVENTORY_H
#define IFLOW_SERVICE_INVENTORY_H

#include "infoflow.h"

#include <jansson.h>

/* The store as it was when it was listed. Zero-initialised is empty. */
typedef struct inventory {
    iflow_store *store;
    iflow_chunk_info *chunk; /* sorted by id; where there is a file of the same name in a wrong place, the sound one first */
    size_t n_chunks;
    iflow_document **document;
    size_t n_documents;
} inventory;

/* Lists a store, anew if it was listed. As iflow_store_list() and iflow_store_list_documents(). */
iflow_status inventory_take(inventory *of, iflow_store *store);
void inventory_free(inventory *of);

/* NULL: there is none. */
const iflow_chunk_info *inventory_chunk(const inventory *of, const char *id);
iflow_document *inventory_document(const inventory *of, const char *id);

/* What a document's chunks come to. */
typedef struct inventory_sum {
    size_t n_missing, n_damaged, n_old;
    uint64_t n_bytes;
    int64_t used_at;
    bool pinned;      /* all that are there */
    const char *type; /* "-": none can be read */
} inventory_sum;
inventory_sum inventory_sum_of(const inventory *of, const iflow_document *doc);

/* What all chunks come to. n_loose: chunks that no recorded document has. */
typedef struct inventory_total {
    uint64_t n_bytes, n_tokens, old_bytes;
    size_t n_pinned, n_damaged, n_old, n_unsupported, n_unreadable, n_loose;
} inventory_total;
/* E_MEMORY. */
iflow_status inventory_total_of(const inventory *of, inventory_total *out);

/* What was deleted. */
typedef struct inventory_deleted {
    size_t n_chunks, n_pinned; /* pinned: chunks that stay */
    uint64_t n_bytes;
} inventory_deleted;
/* Deletes a chunk; or a document with its chunks, but for those that another document has or that were pinned by themselves. Lists the
 * store anew. As iflow_store_delete(). */
iflow_status inventory_delete(inventory *of, iflow_kind kind, const char *id, inventory_deleted *out);

/* Verifies a chunk, or a document's record and all its chunks, and calls on_verified after each, as iflow_store_verify_all() does. It ends
 * where that gives false. E_CANCELLED: what was verified until then has been said. */
iflow_status inventory_verify(const inventory *of, iflow_kind kind, const char *id, iflow_on_verified on_verified, void *user);

/* New references; NULL: no memory. */
json_t *inventory_chunk_json(const iflow_chunk_info *chunk);
json_t *inventory_document_json(const inventory *of, const iflow_document *doc);
/* All of it. name: the store's. */
json_t *inventory_json(const inventory *of, const char *name);

#endif
