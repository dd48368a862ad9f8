/* store_show.c - `infoflow store show`: facts and tokens of documents and chunks. */
#include "cli/store.h"

#include "cli/terminal.h"
#include "cli/text.h"

#include <string.h>

static void print_chunk_facts(const iflow_chunk_info *chunk) {
    printf("%-10s%s\n%-10s%s\n", "chunk", chunk->id, "model", chunk->fingerprint);
    printf("%-10s%s, prefilled after %d that were dropped\n", "tokens", human_count((uint64_t)chunk->n_tokens), chunk->n_root);
    printf("%-10s%s\n", "staleness", chunk->has_staleness ? "estimated for each token" : "not estimated");
    printf("%-10s%s\n", "exact", chunk->exact ? "yes: computed as libllama does, to the bit" : "no");
    printf("%-10s%s, K and V of %d in %d layers\n", "type", chunk->type, chunk->n_embd_kv, chunk->n_layer);
    printf("%-10s%s\n%-10s%s\n%-10s%s\n", "size", human_bytes(chunk->n_bytes), "used", store_age(chunk->used_at), "pinned",
           chunk->pinned ? "yes" : "no");
}

static void print_document_facts(const store_call *f, const iflow_document *doc) {
    inventory_sum all = inventory_sum_of(&f->all, doc);
    printf("%-10s%s\n%-10s%s\n%-10s%s\n", "document", doc->id, "name", visible(doc->name), "model", doc->fingerprint);
    printf("%-10s%s\n%-10s%s\n%-10s%s\n", "tokens", human_count(doc->n_tokens), "size", human_bytes(all.n_bytes), "pinned",
           all.pinned ? "yes" : "no");
    printf("%-10s%zu\n", "chunks", doc->n_chunks);
    for (size_t i = 0; i < doc->n_chunks; i++) {
        const iflow_chunk_info *chunk = inventory_chunk(&f->all, doc->chunk_id[i]);
        if (chunk) {
            printf("  %s  %6s tokens  %10s  used %s%s\n", chunk->id, human_count((uint64_t)chunk->n_tokens), human_bytes(chunk->n_bytes),
                   store_age(chunk->used_at), chunk->pinned ? ", pinned" : "");
        } else {
            printf("  %s  missing\n", doc->chunk_id[i]);
        }
    }
}

/* Prints the text of a target's chunks, or their token ids without a model. */
static int show_tokens(const store_call *f, const store_target *t) {
    putchar('\n');
    for (size_t i = 0; i < t->n_chunks; i++) {
        iflow_chunk_info info;
        int32_t *tokens = NULL;
        char *words = NULL;
        iflow_status status = iflow_store_inspect(f->s.store, t->chunk[i], &info, &tokens);
        if (status == IFLOW_OK && f->s.model && strcmp(info.fingerprint, f->s.info.fingerprint) != 0) {
            cli_error("chunk %s was computed with another model than %s", t->chunk[i], f->s.info.path);
            iflow_free(tokens);
            return CLI_FAILED;
        }
        if (status == IFLOW_OK && f->s.model) {
            status = iflow_detokenize(f->s.model, tokens, (size_t)info.n_tokens, &words);
        }
        if (status != IFLOW_OK) {
            iflow_free(tokens);
            return cli_failed(status, NULL);
        }
        if (words) {
            print_text(stdout, words);
        } else {
            for (int k = 0; k < info.n_tokens; k++) {
                printf("%d%s", tokens[k], k + 1 == info.n_tokens || k % 16 == 15 ? "\n" : " ");
            }
        }
        iflow_free(words);
        iflow_free(tokens);
    }
    return CLI_OK;
}

static json_t *show_json(const store_call *f, const store_target *t, const iflow_chunk_info *info) {
    json_t *object = t->document ? inventory_document_json(&f->all, t->document) : inventory_chunk_json(info);
    json_object_set_new(object, "kind", json_string(t->document ? "document" : "chunk"));
    return object;
}

int store_show(store_call *f, char **operand, size_t n, bool tokens) {
    for (size_t i = 0; i < n; i++) {
        store_target t;
        iflow_chunk_info info = {0};
        int result = store_resolve(f, operand[i], &t);
        if (result != CLI_OK) {
            return result;
        }
        if (!t.document) {
            iflow_status status = iflow_store_inspect(f->s.store, t.id, &info, NULL);
            if (status != IFLOW_OK) {
                return cli_failed(status, NULL);
            }
        }
        if (f->json) {
            result = store_dump(show_json(f, &t, &info));
        } else {
            if (i) {
                putchar('\n');
            }
            if (t.document) {
                print_document_facts(f, t.document);
            } else {
                print_chunk_facts(&info);
            }
            if (tokens) {
                result = show_tokens(f, &t);
            }
        }
        if (result != CLI_OK) {
            return result;
        }
    }
    return CLI_OK;
}
