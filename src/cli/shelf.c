/* shelf.c - the store as `infoflow store` looks at it: all chunks and documents that it lists, found by id and summed up. */
#include "cli/shelf.h"

#include "cli/report.h"
#include "cli/text.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

static int by_id(const void *a, const void *b) {
    return strcmp(((const iflow_chunk_info *)a)->id, ((const iflow_chunk_info *)b)->id);
}

/* For the order of the shelf: where there is a file of the same name in a wrong place, the sound one first. */
static int by_id_and_state(const void *a, const void *b) {
    const int order = by_id(a, b);
    return order ? order : ((const iflow_chunk_info *)a)->damaged - ((const iflow_chunk_info *)b)->damaged;
}

int shelf_load(shelf *f) {
    iflow_status status = iflow_store_list(f->s.store, &f->chunk, &f->n_chunks);
    if (status == IFLOW_OK) {
        status = iflow_store_list_documents(f->s.store, &f->document, &f->n_documents);
    }
    if (status != IFLOW_OK) {
        return cli_failed(status, NULL);
    }
    if (f->n_chunks) {
        qsort(f->chunk, f->n_chunks, sizeof *f->chunk, by_id_and_state);
    }
    return CLI_OK;
}

static void forget(shelf *f) {
    iflow_free(f->chunk);
    iflow_documents_free(f->document, f->n_documents);
    f->chunk = NULL;
    f->document = NULL;
    f->n_chunks = f->n_documents = 0;
}

int shelf_reload(shelf *f) {
    forget(f);
    return shelf_load(f);
}

void shelf_close(shelf *f) {
    forget(f);
    session_close(&f->s);
}

/* ---- Finding ------------------------------------------------------------------------------------------------------------------------ */

iflow_chunk_info *shelf_find_chunk(const shelf *f, const char *id) {
    iflow_chunk_info key = {0};
    memcpy(key.id, id, IFLOW_ID_SIZE);
    iflow_chunk_info *found = f->n_chunks ? bsearch(&key, f->chunk, f->n_chunks, sizeof *f->chunk, by_id) : NULL;
    while (found && found > f->chunk && strcmp(found[-1].id, id) == 0) {
        found--;
    }
    return found;
}

iflow_document *shelf_find_document(const shelf *f, const char *id) {
    for (size_t i = 0; i < f->n_documents; i++) {
        if (strcmp(f->document[i]->id, id) == 0) {
            return f->document[i];
        }
    }
    return NULL;
}

static int by_string(const void *a, const void *b) {
    return strcmp(a, b);
}

size_t shelf_count_loose(const shelf *f) {
    size_t n = 0, n_ids = 0, n_loose = 0;
    for (size_t d = 0; d < f->n_documents; d++) {
        n += f->document[d]->n_chunks;
    }
    char(*id)[IFLOW_ID_SIZE] = must_alloc(n, sizeof *id);
    for (size_t d = 0; d < f->n_documents; d++) {
        memcpy(id + n_ids, f->document[d]->chunk_id, f->document[d]->n_chunks * sizeof *id);
        n_ids += f->document[d]->n_chunks;
    }
    qsort(id, n_ids, sizeof *id, by_string);
    for (size_t i = 0; i < f->n_chunks; i++) {
        n_loose += !bsearch(f->chunk[i].id, id, n_ids, sizeof *id, by_string);
    }
    free(id);
    return n_loose;
}

shelf_total shelf_sum(const shelf *f, const iflow_document *doc) {
    shelf_total out = {.pinned = doc->n_chunks > 0, .type = "-"};
    for (size_t i = 0; i < doc->n_chunks; i++) {
        const iflow_chunk_info *chunk = shelf_find_chunk(f, doc->chunk_id[i]);
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

/* Resolves an operand, and says where ids are to be found if it is none. */
iflow_status shelf_resolve_id(const shelf *f, const char *operand, char id[IFLOW_ID_SIZE], iflow_kind *kind) {
    const iflow_status status = iflow_store_resolve(f->s.store, operand, id, kind);
    const size_t length = strlen(operand);
    if (status == IFLOW_E_ARG && (length < 4 || length >= IFLOW_ID_SIZE || strspn(operand, "0123456789abcdef") != length)) {
        cli_error("%s; `infoflow store list` shows them", iflow_error_message());
    } else if (status == IFLOW_E_NOT_FOUND) {
        cli_error("%s; what was deleted or pruned must be ingested again", iflow_error_message());
    } else if (status != IFLOW_OK) {
        cli_failed(status, NULL);
    }
    return status;
}

/* The target points into itself: it must stay where it is. */
int shelf_resolve(const shelf *f, const char *operand, shelf_target *out) {
    iflow_kind kind = IFLOW_CHUNK;
    *out = (shelf_target){0};
    if (shelf_resolve_id(f, operand, out->id, &kind) != IFLOW_OK) {
        return CLI_FAILED;
    }
    out->document = (kind == IFLOW_DOCUMENT) ? shelf_find_document(f, out->id) : NULL;
    if ((kind == IFLOW_DOCUMENT) && !out->document) {
        cli_error("document %s is no longer in the store", out->id);
        return CLI_FAILED;
    }
    out->chunk =
        (kind == IFLOW_DOCUMENT) ? (const char(*)[IFLOW_ID_SIZE])out->document->chunk_id : (const char(*)[IFLOW_ID_SIZE]) & out->id;
    out->n_chunks = (kind == IFLOW_DOCUMENT) ? out->document->n_chunks : 1;
    return CLI_OK;
}

const char *shelf_age(int64_t used_at) {
    return used_at > 0 ? human_age((int64_t)time(NULL) - used_at) : "-";
}

/* ---- JSON --------------------------------------------------------------------------------------------------------------------------- */

json_t *shelf_chunk_json(const iflow_chunk_info *chunk) {
    return json_pack("{s:s, s:s, s:i, s:i, s:i, s:i, s:s, s:b, s:b, s:I, s:I, s:b, s:b, s:b, s:b, s:b}", "id", chunk->id, "model",
                     chunk->fingerprint, "tokens", chunk->n_tokens, "root_tokens", chunk->n_root, "layers", chunk->n_layer, "n_embd_kv",
                     chunk->n_embd_kv, "type", chunk->type, "staleness", chunk->has_staleness, "exact", chunk->exact, "bytes",
                     (json_int_t)chunk->n_bytes, "used_at", (json_int_t)chunk->used_at, "pinned", chunk->pinned, "damaged", chunk->damaged,
                     "old", chunk->old, "unsupported", chunk->unsupported, "unreadable", chunk->unreadable);
}

json_t *shelf_document_json(const shelf *f, const iflow_document *doc) {
    shelf_total all = shelf_sum(f, doc);
    json_t *chunks = json_array();
    for (size_t i = 0; i < doc->n_chunks; i++) {
        json_array_append_new(chunks, json_string(doc->chunk_id[i]));
    }
    json_t *object = json_object();
    json_object_set_new(object, "id", json_string(doc->id));
    json_object_set_new(object, "name", json_text(doc->name));
    json_object_set_new(object, "model", json_string(doc->fingerprint));
    json_object_set_new(object, "tokens", json_integer((json_int_t)doc->n_tokens));
    json_object_set_new(object, "bytes", json_integer((json_int_t)all.n_bytes));
    json_object_set_new(object, "missing_chunks", json_integer((json_int_t)all.n_missing));
    json_object_set_new(object, "damaged_chunks", json_integer((json_int_t)all.n_damaged));
    json_object_set_new(object, "old_chunks", json_integer((json_int_t)all.n_old));
    json_object_set_new(object, "used_at", json_integer((json_int_t)all.used_at));
    json_object_set_new(object, "pinned", json_boolean(all.pinned));
    json_object_set_new(object, "chunks", chunks);
    return object;
}

int shelf_dump(json_t *object) {
    int result = report_dump(object, stdout);
    json_decref(object);
    return result;
}
