/* store_delete.c - `infoflow store delete` and `store prune`: what is no longer to be kept. */
#include "cli/store.h"

#include "cli/text.h"

#include <stdio.h>

int store_delete(store_call *f, char **operand, size_t n) {
    for (size_t i = 0; i < n; i++) {
        store_target t;
        inventory_deleted gone;
        const int result = store_resolve(f, operand[i], &t);
        if (result != CLI_OK) {
            return result;
        }
        const iflow_status status = inventory_delete(&f->all, t.kind, t.id, &gone);
        if (status != IFLOW_OK) {
            return cli_failed(status, NULL);
        }
        printf("%s  deleted, %zu chunk%s, %s", t.id, gone.n_chunks, plural(gone.n_chunks), human_bytes(gone.n_bytes));
        if (gone.n_pinned) {
            printf("; %zu chunk%s, %s pinned", gone.n_pinned, gone.n_pinned == 1 ? " stays" : "s stay",
                   gone.n_pinned == 1 ? "it is" : "they are");
        }
        putchar('\n');
    }
    return CLI_OK;
}

int store_prune(store_call *f, bool old) {
    size_t n_deleted = 0, n_old = 0;
    uint64_t n_bytes = 0, old_bytes = 0;
    iflow_status status = old ? iflow_store_prune_old(f->s.store, &n_old, &old_bytes) : IFLOW_OK;
    int result = status == IFLOW_OK ? CLI_OK : cli_failed(status, NULL); /* what could go has gone all the same */
    status = iflow_store_prune(f->s.store, f->options.max_bytes, &n_deleted, &n_bytes);
    result = status == IFLOW_OK ? result : cli_failed(status, NULL);
    n_deleted += n_old;
    n_bytes += old_bytes;
    if (f->json) {
        int dumped = store_dump(json_pack("{s:I, s:I}", "deleted", (json_int_t)n_deleted, "bytes", (json_int_t)n_bytes));
        return result == CLI_OK ? dumped : result;
    }
    printf("%s chunk%s deleted, %s\n", human_count(n_deleted), plural(n_deleted), human_bytes(n_bytes));
    return result;
}
