/* inventory.c - what is in a store: all chunks and documents, found by id, summed up, verified and deleted; and as JSON. */
#include "service/inventory.h"

#include "base/base.h"
#include "base/cancel.h"
#include "service/json.h"

#include <stdlib.h>
#include <string.h>

static int by_id(const void *a, const void *b) {
    return strcmp(((const iflow_chunk_info *)a)->id, ((const iflow_chunk_info *)b)->id);
}

static int by_id_and_state(const void *a, const void *b) {
    const int order = by_id(a, b);
    return order ? order : ((const iflow_chunk_info *)a)->damaged - ((const iflow_chunk_info *)b)->damaged;
}

void inventory_free(inventory *of) {
    iflow_free(of->chunk);
    iflow_documents_free(of->document, of->n_documents);
    *of = (inventory){0};
}

iflow_status inventory_take(inventory *of, iflow_store *store) {
    inventory_free(of);
    of->store = store;
    iflow_status status = iflow_store_list(store, &of->chunk, &of->n_chunks);
    if (status == IFLOW_OK) {
        status = iflow_store_list_documents(store, &of->document, &of->n_documents);
    }
    if (status == IFLOW_OK && of->n_chunks) {
        qsort(of->chunk, of->n_chunks, sizeof *of->chunk, by_id_and_state);
    }
    return status;
}

/* ---- Finding and summing up --------------------------------------------------------------------------------------------------------- */

const iflow_chunk_info *inventory_chunk(const inventory *of, const char *id) {
    iflow_chunk_info key = {0};
    memcpy(key.id, id, IFLOW_ID_SIZE);
    const iflow_chunk_info *found = of->n_chunks ? bsearch(&key, of->chunk, of->n_chunks, sizeof *of->chunk, by_id) : NULL;
    while (found && found > of->chunk && strcmp(found[-1].id, id) == 0) {
        found--;
    }
    return found;
}

iflow_document *inventory_document(const inventory *of, const char *id) {
    for (size_t i = 0; i < of->n_documents; i++) {
        if (strcmp(of->document[i]->id, id) == 0) {
            return of->document[i];
        }
    }
    return NULL;
}

inventory_sum inventory_sum_of(const inventory *of, const iflow_document *doc) {
    inventory_sum out = {.pinned = doc->n_chunks > 0, .type = "-"};
    for (size_t i = 0; i < doc->n_chunks; i++) {
        const iflow_chunk_info *chunk = inventory_chunk(of, doc->chunk_id[i]);
        if (!chunk) {
            out.n_missing++;
            continue;
        }
        out.n_bytes += chunk->n_bytes;
        out.n_damaged += chunk->damaged;
        out.n_old += chunk->old;
        out.used_at = chunk->used_at > out.used_at ? chunk->used_at : out.used_at;
        out.pinned = out.pinned && chunk->pinned;
        out.type = chunk->damaged || chunk->unreadable || chunk->old ? out.type : chunk->type;
    }
    out.pinned = out.pinned && out.n_missing < doc->n_chunks;
    return out;
}

static int by_string(const void *a, const void *b) {
    return strcmp(a, b);
}

/* Chunks that no recorded document has. */
static iflow_status count_loose(const inventory *of, size_t *n_loose) {
    size_t n = 0, n_ids = 0;
    for (size_t d = 0; d < of->n_documents; d++) {
        n += of->document[d]->n_chunks;
    }
    char(*id)[IFLOW_ID_SIZE] = iflow_calloc(n, sizeof *id);
    if (!id) {
        return iflow_fail_memory(n * sizeof *id);
    }
    for (size_t d = 0; d < of->n_documents; d++) {
        const iflow_document *doc = of->document[d];
        if (doc->n_chunks) {
            memcpy(id + n_ids, doc->chunk_id, doc->n_chunks * sizeof *id);
            n_ids += doc->n_chunks;
        }
    }
    qsort(id, n_ids, sizeof *id, by_string);
    for (size_t i = 0; i < of->n_chunks; i++) {
        *n_loose += !bsearch(of->chunk[i].id, id, n_ids, sizeof *id, by_string);
    }
    free(id);
    return IFLOW_OK;
}

iflow_status inventory_total_of(const inventory *of, inventory_total *out) {
    *out = (inventory_total){0};
    for (size_t i = 0; i < of->n_chunks; i++) {
        const iflow_chunk_info *chunk = &of->chunk[i];
        out->n_bytes += chunk->n_bytes;
        out->n_tokens += (uint64_t)chunk->n_tokens;
        out->n_pinned += chunk->pinned;
        out->n_damaged += chunk->damaged;
        out->n_unsupported += chunk->unsupported;
        out->n_unreadable += chunk->unreadable;
        out->n_old += chunk->old;
        out->old_bytes += chunk->old ? chunk->n_bytes : 0;
    }
    return count_loose(of, &out->n_loose);
}

/* ---- Deleting and verifying --------------------------------------------------------------------------------------------------------- */

static bool used_elsewhere(const inventory *of, const iflow_document *except, const char *id) {
    for (size_t d = 0; d < of->n_documents; d++) {
        for (size_t c = 0; of->document[d] != except && c < of->document[d]->n_chunks; c++) {
            if (strcmp(of->document[d]->chunk_id[c], id) == 0) {
                return true;
            }
        }
    }
    return false;
}

static bool came_before(const iflow_document *doc, size_t c) {
    for (size_t i = 0; i < c; i++) {
        if (strcmp(doc->chunk_id[i], doc->chunk_id[c]) == 0) {
            return true;
        }
    }
    return false;
}

static iflow_status delete_chunk(const inventory *of, const char *id, inventory_deleted *out) {
    const iflow_chunk_info *chunk = inventory_chunk(of, id);
    const iflow_status status = iflow_store_delete(of->store, IFLOW_CHUNK, id);
    if (status == IFLOW_OK) {
        out->n_chunks++;
        out->n_bytes += chunk ? chunk->n_bytes : 0;
    }
    return status;
}

static iflow_status delete_document(const inventory *of, const iflow_document *doc, inventory_deleted *out) {
    iflow_status status = IFLOW_OK;
    for (size_t c = 0; c < doc->n_chunks && status == IFLOW_OK; c++) {
        const iflow_chunk_info *chunk = inventory_chunk(of, doc->chunk_id[c]);
        if (used_elsewhere(of, doc, doc->chunk_id[c])) {
            continue;
        }
        if (!doc->pinned && chunk && chunk->pinned) { /* by itself, not with the document */
            out->n_pinned += !came_before(doc, c);
            continue;
        }
        status = delete_chunk(of, doc->chunk_id[c], out);
        status = status == IFLOW_E_NOT_FOUND ? IFLOW_OK : status; /* it may have lost chunks, or have one twice */
    }
    return status == IFLOW_OK ? iflow_store_delete(of->store, IFLOW_DOCUMENT, doc->id) : status;
}

iflow_status inventory_delete(inventory *of, iflow_kind kind, const char *id, inventory_deleted *out) {
    const iflow_document *doc = (kind == IFLOW_DOCUMENT) ? inventory_document(of, id) : NULL;
    *out = (inventory_deleted){0};
    if (kind == IFLOW_DOCUMENT && !doc) {
        return iflow_fail(IFLOW_E_NOT_FOUND, "document %s is no longer in the store", id);
    }
    const iflow_status status = doc ? delete_document(of, doc, out) : delete_chunk(of, id, out);
    return status == IFLOW_OK ? inventory_take(of, of->store) : status; /* what is deleted next may share chunks with this */
}

/* False: it is to end. */
static bool verify_chunk(const inventory *of, const char *id, iflow_on_verified on_verified, void *user) {
    iflow_status status = iflow_store_verify(of->store, IFLOW_CHUNK, id);
    bool goes_on = on_verified(id, IFLOW_CHUNK, status, status == IFLOW_OK ? NULL : iflow_error_message(), user);
    if (goes_on && status == IFLOW_E_FORMAT) { /* files of its name in wrong directories, which are gone from there now; and the chunk? */
        status = iflow_store_verify(of->store, IFLOW_CHUNK, id);
        goes_on = on_verified(id, IFLOW_CHUNK, status, status == IFLOW_OK ? NULL : iflow_error_message(), user);
    }
    return goes_on;
}

iflow_status inventory_verify(const inventory *of, iflow_kind kind, const char *id, iflow_on_verified on_verified, void *user) {
    iflow_status cancelled = iflow_cancel_check();
    if (cancelled) {
        return cancelled;
    }
    if (kind == IFLOW_CHUNK) {
        verify_chunk(of, id, on_verified, user);
        return IFLOW_OK;
    }
    const iflow_document *doc = inventory_document(of, id);
    const iflow_status status = iflow_store_verify(of->store, IFLOW_DOCUMENT, id);
    bool goes_on = on_verified(id, IFLOW_DOCUMENT, status, status == IFLOW_OK ? NULL : iflow_error_message(), user);
    for (size_t c = 0; doc && c < doc->n_chunks && goes_on && !(cancelled = iflow_cancel_check()); c++) {
        goes_on = verify_chunk(of, doc->chunk_id[c], on_verified, user);
    }
    return cancelled;
}

/* ---- JSON --------------------------------------------------------------------------------------------------------------------------- */

json_t *inventory_chunk_json(const iflow_chunk_info *chunk) {
    return json_pack("{s:s, s:s, s:i, s:i, s:i, s:i, s:s, s:b, s:b, s:I, s:I, s:b, s:b, s:b, s:b, s:b}", "id", chunk->id, "model",
                     chunk->fingerprint, "tokens", chunk->n_tokens, "root_tokens", chunk->n_root, "layers", chunk->n_layer, "n_embd_kv",
                     chunk->n_embd_kv, "type", chunk->type, "staleness", chunk->has_staleness, "exact", chunk->exact, "bytes",
                     (json_int_t)chunk->n_bytes, "used_at", (json_int_t)chunk->used_at, "pinned", chunk->pinned, "damaged", chunk->damaged,
                     "old", chunk->old, "unsupported", chunk->unsupported, "unreadable", chunk->unreadable);
}

json_t *inventory_document_json(const inventory *of, const iflow_document *doc) {
    const inventory_sum all = inventory_sum_of(of, doc);
    json_t *chunks = json_array(), *object = json_object();
    bool ok = chunks != NULL;
    for (size_t i = 0; i < doc->n_chunks && ok; i++) {
        ok = json_append(chunks, json_string(doc->chunk_id[i]));
    }
    ok = ok && json_put(object, "id", json_string(doc->id)) && json_put(object, "name", json_text(doc->name)) &&
         json_put(object, "model", json_string(doc->fingerprint)) && json_put(object, "tokens", json_count(doc->n_tokens)) &&
         json_put(object, "bytes", json_count(all.n_bytes)) && json_put(object, "missing_chunks", json_count(all.n_missing)) &&
         json_put(object, "damaged_chunks", json_count(all.n_damaged)) && json_put(object, "old_chunks", json_count(all.n_old)) &&
         json_put(object, "used_at", json_integer((json_int_t)all.used_at)) && json_put(object, "pinned", json_boolean(all.pinned)) &&
         json_object_set(object, "chunks", chunks) == 0;
    json_decref(chunks);
    if (!ok) {
        json_decref(object);
        return NULL;
    }
    return object;
}

json_t *inventory_json(const inventory *of, const char *name) {
    json_t *documents = json_array(), *chunks = json_array();
    inventory_total all;
    bool ok = documents && chunks && inventory_total_of(of, &all) == IFLOW_OK;
    for (size_t i = 0; i < of->n_documents && ok; i++) {
        ok = json_append(documents, inventory_document_json(of, of->document[i]));
    }
    for (size_t i = 0; i < of->n_chunks && ok; i++) {
        ok = json_append(chunks, inventory_chunk_json(&of->chunk[i]));
    }
    json_t *object = ok ? json_pack("{s:o, s:I, s:I, s:I, s:I, s:O, s:O}", "store", json_text(name), "bytes", (json_int_t)all.n_bytes,
                                    "damaged", (json_int_t)all.n_damaged, "old", (json_int_t)all.n_old, "old_bytes",
                                    (json_int_t)all.old_bytes, "documents", documents, "chunks", chunks)
                        : NULL;
    json_decref(documents);
    json_decref(chunks);
    return object;
}
