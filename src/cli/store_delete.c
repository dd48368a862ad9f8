/* store_delete.c - `infoflow store delete` and `store prune`: what is no longer to be kept. */
#include "cli/shelf.h"

#include "cli/text.h"

#include <string.h>

static bool used_elsewhere(const shelf *f, const iflow_document *except, const char *id) {
    for (size_t d = 0; d < f->n_documents; d++) {
        for (size_t c = 0; f->document[d] != except && c < f->document[d]->n_chunks; c++) {
            if (strcmp(f->document[d]->chunk_id[c], id) == 0) {
                return true;
            }
        }
    }
    return false;
}

/* Whether a chunk is pinned by itself, not with the document that is deleted. */
static bool pinned_by_itself(const shelf *f, const shelf_target *t, const char *id) {
    const iflow_chunk_info *chunk = shelf_find_chunk(f, id);
    return t->document && !t->document->pinned && chunk && chunk->pinned;
}

static bool came_before(const shelf_target *t, size_t c) {
    for (size_t i = 0; i < c; i++) {
        if (strcmp(t->chunk[i], t->chunk[c]) == 0) {
            return true;
        }
    }
    return false;
}

int store_delete(shelf *f, char **operand, size_t n) {
    for (size_t i = 0; i < n; i++) {
        shelf_target t;
        size_t n_deleted = 0, n_pinned = 0;
        uint64_t n_bytes = 0;
        int result = shelf_resolve(f, operand[i], &t);
        if (result != CLI_OK) {
            return result;
        }
        for (size_t c = 0; c < t.n_chunks; c++) {
            const iflow_chunk_info *chunk = shelf_find_chunk(f, t.chunk[c]);
            if (t.document && used_elsewhere(f, t.document, t.chunk[c])) {
                continue;
            }
            if (pinned_by_itself(f, &t, t.chunk[c])) {
                n_pinned += !came_before(&t, c);
                continue;
            }
            iflow_status status = iflow_store_delete(f->s.store, IFLOW_CHUNK, t.chunk[c]);
            if (status == IFLOW_OK) {
                n_deleted++;
                n_bytes += chunk ? chunk->n_bytes : 0;
            } else if (status != IFLOW_E_NOT_FOUND || !t.document) { /* a document may have lost chunks, or have one twice */
                return cli_failed(status, NULL);
            }
        }
        if (t.document) {
            iflow_status status = iflow_store_delete(f->s.store, IFLOW_DOCUMENT, t.id);
            if (status != IFLOW_OK) {
                return cli_failed(status, NULL);
            }
        }
        printf("%s  deleted, %zu chunk%s, %s", t.id, n_deleted, plural(n_deleted), human_bytes(n_bytes));
        if (n_pinned) {
            printf("; %zu chunk%s, %s pinned", n_pinned, n_pinned == 1 ? " stays" : "s stay", n_pinned == 1 ? "it is" : "they are");
        }
        putchar('\n');
        result = shelf_reload(f); /* the next operand may share chunks with this one */
        if (result != CLI_OK) {
            return result;
        }
    }
    return CLI_OK;
}

int store_prune(shelf *f, bool old) {
    size_t n_deleted = 0, n_old = 0;
    uint64_t n_bytes = 0, old_bytes = 0;
    iflow_status status = old ? iflow_store_prune_old(f->s.store, &n_old, &old_bytes) : IFLOW_OK;
    int result = status == IFLOW_OK ? CLI_OK : cli_failed(status, NULL); /* what could go has gone all the same */
    status = iflow_store_prune(f->s.store, f->options.max_bytes, &n_deleted, &n_bytes);
    result = status == IFLOW_OK ? result : cli_failed(status, NULL);
    n_deleted += n_old;
    n_bytes += old_bytes;
    if (f->json) {
        int dumped = shelf_dump(json_pack("{s:I, s:I}", "deleted", (json_int_t)n_deleted, "bytes", (json_int_t)n_bytes));
        return result == CLI_OK ? dumped : result;
    }
    printf("%s chunk%s deleted, %s\n", human_count(n_deleted), plural(n_deleted), human_bytes(n_bytes));
    return result;
}
