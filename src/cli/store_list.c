/* store_list.c - `infoflow store list`: documents with the size of their chunks, and the total. */
#include "cli/shelf.h"

#include "cli/report.h"
#include "cli/terminal.h"
#include "cli/text.h"

#include <stdlib.h>
#include <string.h>

static int list_json(const shelf *f) {
    json_t *documents = json_array(), *chunks = json_array();
    uint64_t n_bytes = 0, n_damaged = 0, n_old = 0, old_bytes = 0;
    for (size_t i = 0; i < f->n_documents; i++) {
        json_array_append_new(documents, shelf_document_json(f, f->document[i]));
    }
    for (size_t i = 0; i < f->n_chunks; i++) {
        json_array_append_new(chunks, shelf_chunk_json(&f->chunk[i]));
        n_bytes += f->chunk[i].n_bytes;
        n_damaged += f->chunk[i].damaged;
        n_old += f->chunk[i].old;
        old_bytes += f->chunk[i].old ? f->chunk[i].n_bytes : 0;
    }
    return shelf_dump(json_pack("{s:o, s:I, s:I, s:I, s:I, s:o, s:o}", "store", json_text(f->s.store_dir), "bytes", (json_int_t)n_bytes,
                                "damaged", (json_int_t)n_damaged, "old", (json_int_t)n_old, "old_bytes", (json_int_t)old_bytes, "documents",
                                documents, "chunks", chunks));
}

static int by_name(const void *a, const void *b) {
    const iflow_document *x = *(iflow_document *const *)a, *y = *(iflow_document *const *)b;
    int order = strcmp(x->name, y->name);
    return order ? order : strcmp(x->id, y->id);
}

int store_list(shelf *f) {
    if (f->json) {
        return list_json(f);
    }
    if (f->n_documents) {
        qsort(f->document, f->n_documents, sizeof(iflow_document *), by_name);
    }
    uint64_t n_bytes = 0, n_tokens = 0, n_pinned = 0, n_damaged = 0, n_unsupported = 0, n_unreadable = 0, n_old = 0, old_bytes = 0;
    printf("%-12s  %6s  %10s  %10s  %-4s  %-14s  %-6s  %s\n", "DOCUMENT", "CHUNKS", "TOKENS", "SIZE", "TYPE", "USED", "PINNED", "NAME");
    for (size_t i = 0; i < f->n_documents; i++) {
        const iflow_document *doc = f->document[i];
        shelf_total all = shelf_sum(f, doc);
        printf("%-12.12s  %6zu  %10s  %10s  %-4s  %-14s  %-6s  %s", doc->id, doc->n_chunks, human_count(doc->n_tokens),
               human_bytes(all.n_bytes), all.type, shelf_age(all.used_at), all.pinned ? "yes" : "", visible(doc->name));
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
    for (size_t i = 0; i < f->n_chunks; i++) {
        n_bytes += f->chunk[i].n_bytes;
        n_tokens += (uint64_t)f->chunk[i].n_tokens;
        n_pinned += f->chunk[i].pinned;
        n_damaged += f->chunk[i].damaged;
        n_unsupported += f->chunk[i].unsupported;
        n_unreadable += f->chunk[i].unreadable;
        n_old += f->chunk[i].old;
        old_bytes += f->chunk[i].old ? f->chunk[i].n_bytes : 0;
    }
    printf("%s document%s; %s chunk%s, %s tokens, %s, %s pinned; %s\n", human_count(f->n_documents), plural(f->n_documents),
           human_count(f->n_chunks), plural(f->n_chunks), human_count(n_tokens), human_bytes(n_bytes), human_count(n_pinned),
           visible(f->s.store_dir));
    const size_t n_loose = shelf_count_loose(f);
    if (n_loose) {
        printf(
            "%s chunk%s of no recorded document: the head that stands before all chunks, and files that were asked about, not ingested\n",
            human_count(n_loose), plural(n_loose));
    }
    if (n_damaged) {
        printf("%s chunk file%s damaged: `infoflow store verify` sets %s aside; then ingest the documents again\n", human_count(n_damaged),
               n_damaged == 1 ? " is" : "s are", n_damaged == 1 ? "it" : "them");
    }
    if (n_old) {
        printf("%s old chunk%s, %s, which this program does not use: ingest the documents again; `infoflow store prune --old` removes %s\n",
               human_count(n_old), plural(n_old), human_bytes(old_bytes), n_old == 1 ? "it" : "them");
    }
    if (n_unsupported) {
        printf("%s chunk file%s of a format version that this program does not read\n", human_count(n_unsupported),
               n_unsupported == 1 ? " is" : "s are");
    }
    if (n_unreadable) {
        printf("%s chunk file%s cannot be read: `infoflow store verify` says why\n", human_count(n_unreadable), plural(n_unreadable));
    }
    return CLI_OK;
}
