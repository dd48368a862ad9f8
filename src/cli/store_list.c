/* store_list.c - `infoflow store list`: documents with the size of their chunks, and the total. */
#include "cli/store.h"

#include "cli/report.h"
#include "cli/terminal.h"
#include "cli/text.h"

#include <stdlib.h>
#include <string.h>

static int by_name(const void *a, const void *b) {
    const iflow_document *x = *(iflow_document *const *)a, *y = *(iflow_document *const *)b;
    int order = strcmp(x->name, y->name);
    return order ? order : strcmp(x->id, y->id);
}

int store_list(store_call *f) {
    if (f->json) {
        return store_dump(inventory_json(&f->all, f->s.store_dir));
    }
    if (f->all.n_documents) {
        qsort(f->all.document, f->all.n_documents, sizeof(iflow_document *), by_name);
    }
    inventory_total total;
    const iflow_status status = inventory_total_of(&f->all, &total);
    if (status != IFLOW_OK) {
        return cli_failed(status, NULL);
    }
    printf("%-12s  %6s  %10s  %10s  %-4s  %-14s  %-6s  %s\n", "DOCUMENT", "CHUNKS", "TOKENS", "SIZE", "TYPE", "USED", "PINNED", "NAME");
    for (size_t i = 0; i < f->all.n_documents; i++) {
        const iflow_document *doc = f->all.document[i];
        inventory_sum all = inventory_sum_of(&f->all, doc);
        printf("%-12.12s  %6zu  %10s  %10s  %-4s  %-14s  %-6s  %s", doc->id, doc->n_chunks, human_count(doc->n_tokens),
               human_bytes(all.n_bytes), all.type, store_age(all.used_at), all.pinned ? "yes" : "", visible(doc->name));
        if (all.n_missing) {
            printf("  (%zu of its chunks missing: ingest it again)", all.n_missing);
        }
        if (all.n_damaged) {
            printf("  (%zu of its chunks damaged)", all.n_damaged);
        }
        if (all.n_old) {
            printf("  (%zu of its chunks old: ingest it again)", all.n_old);
        }
        putchar('\n');
    }
    printf("%s document%s; %s chunk%s, %s tokens, %s, %s pinned; %s\n", human_count(f->all.n_documents), plural(f->all.n_documents),
           human_count(f->all.n_chunks), plural(f->all.n_chunks), human_count(total.n_tokens), human_bytes(total.n_bytes),
           human_count(total.n_pinned), visible(f->s.store_dir));
    if (total.n_loose) {
        printf(
            "%s chunk%s of no document in this list: the head (the tokens before all chunks), or files that `ask` read without `ingest`\n",
            human_count(total.n_loose), plural(total.n_loose));
    }
    if (total.n_damaged) {
        printf("%s chunk file%s damaged: `infoflow store verify` sets %s aside; then ingest the documents again\n",
               human_count(total.n_damaged), total.n_damaged == 1 ? " is" : "s are", total.n_damaged == 1 ? "it" : "them");
    }
    if (total.n_old) {
        printf("%s old chunk%s, %s, which this program does not use: ingest the documents again; `infoflow store prune --old` removes %s\n",
               human_count(total.n_old), plural(total.n_old), human_bytes(total.old_bytes), total.n_old == 1 ? "it" : "them");
    }
    if (total.n_unsupported) {
        printf("%s chunk file%s of a format version that this program does not read\n", human_count(total.n_unsupported),
               total.n_unsupported == 1 ? " is" : "s are");
    }
    if (total.n_unreadable) {
        printf("%s chunk file%s cannot be read: `infoflow store verify` says why\n", human_count(total.n_unreadable),
               plural(total.n_unreadable));
    }
    return CLI_OK;
}
