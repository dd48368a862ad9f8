/* store.c - `infoflow store`: lists, shows, verifies, pins, deletes and prunes what is kept. */
#include "cli/report.h"
#include "cli/terminal.h"
#include "cli/text.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

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

static int by_id(const void *a, const void *b) {
    return strcmp(((const iflow_chunk_info *)a)->id, ((const iflow_chunk_info *)b)->id);
}

/* For the order of the shelf: where there is a file of the same name in a wrong place, the sound one first. */
static int by_id_and_state(const void *a, const void *b) {
    const int order = by_id(a, b);
    return order ? order : ((const iflow_chunk_info *)a)->damaged - ((const iflow_chunk_info *)b)->damaged;
}

static int shelf_load(shelf *f) {
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

static void shelf_close(shelf *f) {
    iflow_free(f->chunk);
    iflow_documents_free(f->document, f->n_documents);
    session_close(&f->s);
}

static iflow_chunk_info *find_chunk(const shelf *f, const char *id) {
    iflow_chunk_info key = {0};
    memcpy(key.id, id, IFLOW_ID_SIZE);
    iflow_chunk_info *found = f->n_chunks ? bsearch(&key, f->chunk, f->n_chunks, sizeof *f->chunk, by_id) : NULL;
    while (found && found > f->chunk && strcmp(found[-1].id, id) == 0) {
        found--;
    }
    return found;
}

static iflow_document *find_document(const shelf *f, const char *id) {
    for (size_t i = 0; i < f->n_documents; i++) {
        if (strcmp(f->document[i]->id, id) == 0) {
            return f->document[i];
        }
    }
    return NULL;
}

/* What a document's chunks come to. */
typedef struct sum {
    size_t n_missing, n_damaged, n_old;
    uint64_t n_bytes;
    int64_t used_at;
    bool pinned;
    const char *type;
} sum;

static sum sum_document(const shelf *f, const iflow_document *doc) {
    sum out = {.pinned = doc->n_chunks > 0, .type = "-"};
    for (size_t i = 0; i < doc->n_chunks; i++) {
        const iflow_chunk_info *chunk = find_chunk(f, doc->chunk_id[i]);
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

/* What belongs to an operand: chunks, and the document if it is one's id. */
typedef struct target {
    char id[IFLOW_ID_SIZE];
    iflow_document *document;
    const char (*chunk)[IFLOW_ID_SIZE];
    size_t n_chunks;
} target;

/* Resolves an operand, and says where ids are to be found if it is none. */
static iflow_status resolve_id(const shelf *f, const char *operand, char id[IFLOW_ID_SIZE], iflow_kind *kind) {
    const iflow_status status = iflow_store_resolve(f->s.store, operand, id, kind);
    const size_t length = strlen(operand);
    if (status == IFLOW_E_ARG && (length < 4 || length >= IFLOW_ID_SIZE || strspn(operand, "0123456789abcdef") != length)) {
        cli_error("%s; `infoflow store list` shows them", iflow_error_message());
    } else if (status != IFLOW_OK) {
        cli_failed(status, NULL);
    }
    return status;
}

/* The target points into itself: it must stay where it is. */
static int resolve(const shelf *f, const char *operand, target *out) {
    iflow_kind kind = IFLOW_CHUNK;
    *out = (target){0};
    if (resolve_id(f, operand, out->id, &kind) != IFLOW_OK) {
        return CLI_FAILED;
    }
    out->document = (kind == IFLOW_DOCUMENT) ? find_document(f, out->id) : NULL;
    if ((kind == IFLOW_DOCUMENT) && !out->document) {
        cli_error("document %s is no longer in the store", out->id);
        return CLI_FAILED;
    }
    out->chunk =
        (kind == IFLOW_DOCUMENT) ? (const char(*)[IFLOW_ID_SIZE])out->document->chunk_id : (const char(*)[IFLOW_ID_SIZE]) & out->id;
    out->n_chunks = (kind == IFLOW_DOCUMENT) ? out->document->n_chunks : 1;
    return CLI_OK;
}

static const char *age(int64_t used_at) {
    return used_at > 0 ? human_age((int64_t)time(NULL) - used_at) : "-";
}

/* ---- JSON --------------------------------------------------------------------------------------------------------------------------- */

static json_t *chunk_json(const iflow_chunk_info *chunk) {
    return json_pack("{s:s, s:s, s:i, s:i, s:i, s:i, s:s, s:b, s:b, s:I, s:I, s:b, s:b, s:b, s:b, s:b}", "id", chunk->id, "model",
                     chunk->fingerprint, "tokens", chunk->n_tokens, "root_tokens", chunk->n_root, "layers", chunk->n_layer, "n_embd_kv",
                     chunk->n_embd_kv, "type", chunk->type, "staleness", chunk->has_staleness, "exact", chunk->exact, "bytes",
                     (json_int_t)chunk->n_bytes, "used_at", (json_int_t)chunk->used_at, "pinned", chunk->pinned, "damaged", chunk->damaged,
                     "old", chunk->old, "unsupported", chunk->unsupported, "unreadable", chunk->unreadable);
}

static json_t *document_json(const shelf *f, const iflow_document *doc) {
    sum all = sum_document(f, doc);
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

static int dump(json_t *object) {
    int result = report_dump(object, stdout);
    json_decref(object);
    return result;
}

/* ---- list --------------------------------------------------------------------------------------------------------------------------- */

static int list_json(const shelf *f) {
    json_t *documents = json_array(), *chunks = json_array();
    uint64_t n_bytes = 0, n_damaged = 0, n_old = 0, old_bytes = 0;
    for (size_t i = 0; i < f->n_documents; i++) {
        json_array_append_new(documents, document_json(f, f->document[i]));
    }
    for (size_t i = 0; i < f->n_chunks; i++) {
        json_array_append_new(chunks, chunk_json(&f->chunk[i]));
        n_bytes += f->chunk[i].n_bytes;
        n_damaged += f->chunk[i].damaged;
        n_old += f->chunk[i].old;
        old_bytes += f->chunk[i].old ? f->chunk[i].n_bytes : 0;
    }
    return dump(json_pack("{s:o, s:I, s:I, s:I, s:I, s:o, s:o}", "store", json_text(f->s.store_dir), "bytes", (json_int_t)n_bytes,
                          "damaged", (json_int_t)n_damaged, "old", (json_int_t)n_old, "old_bytes", (json_int_t)old_bytes, "documents",
                          documents, "chunks", chunks));
}

static int by_name(const void *a, const void *b) {
    const iflow_document *x = *(iflow_document *const *)a, *y = *(iflow_document *const *)b;
    int order = strcmp(x->name, y->name);
    return order ? order : strcmp(x->id, y->id);
}

static int run_list(shelf *f) {
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
        sum all = sum_document(f, doc);
        printf("%-12.12s  %6zu  %10s  %10s  %-4s  %-14s  %-6s  %s", doc->id, doc->n_chunks, human_count(doc->n_tokens),
               human_bytes(all.n_bytes), all.type, age(all.used_at), all.pinned ? "yes" : "", visible(doc->name));
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

/* ---- show --------------------------------------------------------------------------------------------------------------------------- */

static void print_chunk_facts(const iflow_chunk_info *chunk) {
    printf("%-10s%s\n%-10s%s\n", "chunk", chunk->id, "model", chunk->fingerprint);
    printf("%-10s%s, prefilled after %d that were dropped\n", "tokens", human_count((uint64_t)chunk->n_tokens), chunk->n_root);
    printf("%-10s%s\n", "staleness", chunk->has_staleness ? "estimated for each token" : "not estimated");
    printf("%-10s%s\n", "exact", chunk->exact ? "yes: computed as libllama does, to the bit" : "no");
    printf("%-10s%s, K and V of %d in %d layers\n", "type", chunk->type, chunk->n_embd_kv, chunk->n_layer);
    printf("%-10s%s\n%-10s%s\n%-10s%s\n", "size", human_bytes(chunk->n_bytes), "used", age(chunk->used_at), "pinned",
           chunk->pinned ? "yes" : "no");
}

static void print_document_facts(const shelf *f, const iflow_document *doc) {
    sum all = sum_document(f, doc);
    printf("%-10s%s\n%-10s%s\n%-10s%s\n", "document", doc->id, "name", visible(doc->name), "model", doc->fingerprint);
    printf("%-10s%s\n%-10s%s\n%-10s%s\n", "tokens", human_count(doc->n_tokens), "size", human_bytes(all.n_bytes), "pinned",
           all.pinned ? "yes" : "no");
    printf("%-10s%zu\n", "chunks", doc->n_chunks);
    for (size_t i = 0; i < doc->n_chunks; i++) {
        const iflow_chunk_info *chunk = find_chunk(f, doc->chunk_id[i]);
        if (chunk) {
            printf("  %s  %6s tokens  %10s  used %s%s\n", chunk->id, human_count((uint64_t)chunk->n_tokens), human_bytes(chunk->n_bytes),
                   age(chunk->used_at), chunk->pinned ? ", pinned" : "");
        } else {
            printf("  %s  missing\n", doc->chunk_id[i]);
        }
    }
}

/* Prints the text of a target's chunks, or their token ids without a model. */
static int show_tokens(const shelf *f, const target *t) {
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

static json_t *show_json(const shelf *f, const target *t, const iflow_chunk_info *info) {
    json_t *object = t->document ? document_json(f, t->document) : chunk_json(info);
    json_object_set_new(object, "kind", json_string(t->document ? "document" : "chunk"));
    return object;
}

static int run_show(shelf *f, char **operand, size_t n, bool tokens) {
    for (size_t i = 0; i < n; i++) {
        target t;
        iflow_chunk_info info = {0};
        int result = resolve(f, operand[i], &t);
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
            result = dump(show_json(f, &t, &info));
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

/* ---- verify, pin, delete, prune ----------------------------------------------------------------------------------------------------- */

/* What a verification came to. */
typedef struct findings {
    json_t *bad;    /* chunks and records that were found damaged, or not at all */
    json_t *strays; /* ids of which files lay in wrong directories */
    json_t *failed; /* what could not be checked */
    size_t n_good, n_bad, n_bad_documents, n_unsupported;
} findings;

static bool note_verified(const char *id, iflow_kind kind, iflow_status status, const char *message, void *user) {
    findings *out = user;
    out->n_good += status == IFLOW_OK && kind == IFLOW_CHUNK;
    if (status == IFLOW_OK) {
        return !cli_interrupted();
    }
    if (status != IFLOW_E_UNSUPPORTED || !out->n_unsupported) { /* of these there may be a whole store: the first says what they are */
        cli_error("%s", message);
    }
    if (status == IFLOW_E_UNSUPPORTED) {
        out->n_unsupported++;
        return !cli_interrupted();
    }
    json_t *list = out->failed;
    if (status == IFLOW_E_FORMAT) {
        list = out->strays;
    } else if (status == IFLOW_E_CORRUPT || status == IFLOW_E_NOT_FOUND) {
        list = out->bad;
        *((kind == IFLOW_DOCUMENT) ? &out->n_bad_documents : &out->n_bad) += 1;
    }
    json_array_append_new(list, json_pack("{s:s, s:s, s:o}", "id", id, "kind", (kind == IFLOW_DOCUMENT) ? "document" : "chunk", "reason",
                                          json_text(message)));
    return !cli_interrupted();
}

/* Verifies a document or a chunk. */
static int verify_operand(const shelf *f, const char *operand, findings *out) {
    char id[IFLOW_ID_SIZE];
    iflow_kind kind = IFLOW_CHUNK;
    if (resolve_id(f, operand, id, &kind) != IFLOW_OK) {
        return CLI_FAILED;
    }
    iflow_status status = IFLOW_OK;
    const iflow_document *doc = (kind == IFLOW_DOCUMENT) ? find_document(f, id) : NULL;
    if ((kind == IFLOW_DOCUMENT)) {
        status = iflow_store_verify(f->s.store, IFLOW_DOCUMENT, id);
        note_verified(id, true, status, iflow_error_message(), out);
    }
    const size_t n = (kind == IFLOW_DOCUMENT) ? doc ? doc->n_chunks : 0 : 1;
    for (size_t c = 0; c < n; c++) {
        const char *chunk = (kind == IFLOW_DOCUMENT) ? doc->chunk_id[c] : id;
        status = iflow_store_verify(f->s.store, IFLOW_CHUNK, chunk);
        note_verified(chunk, false, status, iflow_error_message(), out);
        if (status == IFLOW_E_FORMAT) { /* files of its name in wrong directories, which are gone from there now; and the chunk itself? */
            status = iflow_store_verify(f->s.store, IFLOW_CHUNK, chunk);
            note_verified(chunk, false, status, iflow_error_message(), out);
        }
    }
    return CLI_OK;
}

static int run_verify(shelf *f, char **operand, size_t n) {
    findings out = {.bad = json_array(), .strays = json_array(), .failed = json_array()};
    int result = CLI_OK;
    for (size_t i = 0; i < n; i++) {
        result = verify_operand(f, operand[i], &out) == CLI_OK ? result : CLI_FAILED;
    }
    if (!n) {
        const iflow_status status = iflow_store_verify_all(f->s.store, note_verified, &out);
        result = status == IFLOW_OK ? CLI_OK : cli_failed(status, NULL);
    }
    const size_t n_strays = json_array_size(out.strays), n_failed = json_array_size(out.failed);
    if (f->json) {
        dump(json_pack("{s:I, s:O, s:O, s:O, s:I}", "good", (json_int_t)out.n_good, "bad", out.bad, "strays", out.strays, "failed",
                       out.failed, "unsupported", (json_int_t)out.n_unsupported));
    } else {
        printf("%s chunk%s good", human_count(out.n_good), plural(out.n_good));
        if (out.n_bad) {
            printf(", %s bad: ingest their documents again", human_count(out.n_bad));
        }
        if (out.n_bad_documents) {
            printf(", %s document record%s bad: ingest again", human_count(out.n_bad_documents), plural(out.n_bad_documents));
        }
        if (n_strays) {
            printf(", files of %s chunk%s in wrong places: set aside", human_count(n_strays), plural(n_strays));
        }
        if (n_failed) {
            printf(", %s could not be checked: left as %s", human_count(n_failed), n_failed == 1 ? "it is" : "they are");
        }
        if (out.n_unsupported) {
            printf(", %s of another version: left as %s", human_count(out.n_unsupported), out.n_unsupported == 1 ? "it is" : "they are");
        }
        putchar('\n');
    }
    json_decref(out.bad);
    json_decref(out.strays);
    json_decref(out.failed);
    return out.n_bad || out.n_bad_documents || n_strays || n_failed ? CLI_FAILED : result;
}

static int run_pin(shelf *f, char **operand, size_t n, bool pinned) {
    for (size_t i = 0; i < n; i++) {
        target t;
        int result = resolve(f, operand[i], &t);
        if (result != CLI_OK) {
            return result;
        }
        iflow_status status =
            t.document ? iflow_store_pin(f->s.store, IFLOW_DOCUMENT, t.id, pinned) : iflow_store_pin(f->s.store, IFLOW_CHUNK, t.id, pinned);
        if (status != IFLOW_OK) {
            return cli_failed(status, NULL);
        }
        printf("%s  %s\n", t.id, pinned ? "pinned" : "unpinned");
    }
    return CLI_OK;
}

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
static bool pinned_by_itself(const shelf *f, const target *t, const char *id) {
    const iflow_chunk_info *chunk = find_chunk(f, id);
    return t->document && !t->document->pinned && chunk && chunk->pinned;
}

static bool came_before(const target *t, size_t c) {
    for (size_t i = 0; i < c; i++) {
        if (strcmp(t->chunk[i], t->chunk[c]) == 0) {
            return true;
        }
    }
    return false;
}

static int run_delete(shelf *f, char **operand, size_t n) {
    for (size_t i = 0; i < n; i++) {
        target t;
        size_t n_deleted = 0, n_pinned = 0;
        uint64_t n_bytes = 0;
        int result = resolve(f, operand[i], &t);
        if (result != CLI_OK) {
            return result;
        }
        for (size_t c = 0; c < t.n_chunks; c++) {
            const iflow_chunk_info *chunk = find_chunk(f, t.chunk[c]);
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
        iflow_free(f->chunk); /* the next operand may share chunks with this one */
        iflow_documents_free(f->document, f->n_documents);
        f->chunk = NULL;
        f->document = NULL;
        f->n_chunks = f->n_documents = 0;
        result = shelf_load(f);
        if (result != CLI_OK) {
            return result;
        }
    }
    return CLI_OK;
}

static int run_prune(shelf *f, bool old) {
    size_t n_deleted = 0, n_old = 0;
    uint64_t n_bytes = 0, old_bytes = 0;
    iflow_status status = old ? iflow_store_prune_old(f->s.store, &n_old, &old_bytes) : IFLOW_OK;
    int result = status == IFLOW_OK ? CLI_OK : cli_failed(status, NULL); /* what could go has gone all the same */
    status = iflow_store_prune(f->s.store, f->options.max_bytes, &n_deleted, &n_bytes);
    result = status == IFLOW_OK ? result : cli_failed(status, NULL);
    n_deleted += n_old;
    n_bytes += old_bytes;
    if (f->json) {
        int dumped = dump(json_pack("{s:I, s:I}", "deleted", (json_int_t)n_deleted, "bytes", (json_int_t)n_bytes));
        return result == CLI_OK ? dumped : result;
    }
    printf("%s chunk%s deleted, %s\n", human_count(n_deleted), plural(n_deleted), human_bytes(n_bytes));
    return result;
}

/* ---- Dispatch ----------------------------------------------------------------------------------------------------------------------- */

/* The first line of what an action is about stands in the list of actions. */
static const command_usage action[] = {
    {"store list", "[OPTION]...", "Lists the documents, the size of their chunks, and the total.", "  infoflow store list -s ~/kv"},
    {"store show", "[OPTION]... ID...", "Shows documents or chunks.\nOf an id the first 4 digits are enough.",
     "  infoflow store show 3fa94c --tokens -m model.gguf"},
    {"store verify", "[OPTION]... [ID]...",
     "Checks that chunks and records of documents are intact.\n"
     "Without an ID it checks all files of the store. A damaged file, or a file in a wrong directory, is named and moved to the store's "
     "directory `bad`, so that it is computed again. A file that cannot be read is named and stays. The exit status is 1 in these cases.",
     "  infoflow store verify"},
    {"store pin", "[OPTION]... ID...", "Keeps documents or chunks when others are deleted to make room.", "  infoflow store pin 3fa94c"},
    {"store unpin", "[OPTION]... ID...", "Ends a pin.\nA chunk of another pinned document stays pinned.", "  infoflow store unpin 3fa94c"},
    {"store delete", "[OPTION]... ID...",
     "Deletes documents or chunks.\n"
     "Of a document, the chunks that another document has or that were pinned by their own ids stay.",
     "  infoflow store delete 3fa94c"},
    {"store prune", "[OPTION]...",
     "Deletes chunks until the store is not larger than --max-size.\n"
     "Chunks of older formats go first, then those that were not used for the longest time; pinned ones stay. Files that killed "
     "processes left are deleted, too.",
     "  infoflow store prune --max-size 10G"},
};

enum { LIST, SHOW, VERIFY, PIN, UNPIN, DELETE, PRUNE };

static void print_store_usage(FILE *to) {
    fputs("Usage: infoflow store ACTION [OPTION]... [ID]...\n\nShows, checks and cleans the store of KV caches.\n\nActions:\n", to);
    for (size_t i = 0; i < COUNT_OF(action); i++) {
        fprintf(to, "  %-8s%.*s\n", strchr(action[i].name, ' ') + 1, (int)strcspn(action[i].about, "\n"), action[i].about);
    }
    fputs("\n`infoflow store ACTION --help` lists an action's options.\n\nExample:\n  infoflow store list\n", to);
}

static int run_action(size_t which, int argc, char **argv) {
    const command_usage *usage = &action[which];
    shelf f = {.options = {.max_bytes = UINT64_MAX}};
    bool tokens = false, old = false;
    option_spec spec[10] = {OPTION_ROW_STORE(f.options), OPTION_ROWS_OUTPUT(f.options)};
    size_t n = 3;
    if (which != PIN && which != UNPIN && which != DELETE) {
        spec[n++] = (option_spec){'\0', "json", NULL, OPTION_FLAG, &f.json, 0, 0, "print one JSON object"};
    }
    if (which == SHOW) {
        spec[n++] = (option_spec){'\0', "tokens", NULL, OPTION_FLAG, &tokens, 0, 0, "print the tokens: with -m their text, else numbers"};
        spec[n++] = (option_spec){'m', "model", "MODEL", OPTION_TEXT, &f.options.model, 0, 0, "the model, a GGUF file (default: none)"};
    }
    if (which == PRUNE) {
        spec[n++] = (option_spec){'\0', "old", NULL, OPTION_FLAG, &old, 0, 0, "delete all chunks of older formats; nothing uses them"};
        spec[n++] = (option_spec){
            '\0', "max-size", "BYTES", OPTION_BYTES, &f.options.max_bytes, 0, 0, "size that may remain, like 20G (default: no limit)"};
    }
    int first = 0;
    int result = options_parse(usage, spec, argc, argv, &first);
    if (result != OPTIONS_GO) {
        return result;
    }
    char **operand = argv + first;
    size_t n_operands = (size_t)(argc - first);
    if (n_operands && (which == LIST || which == PRUNE)) {
        return options_wrong(usage, "takes no argument, but was given '%s'", operand[0]);
    }
    if (!n_operands && which != LIST && which != PRUNE && which != VERIFY) {
        return options_wrong(usage, "which ones? Give ids of documents or chunks");
    }
    uint64_t prune_to = f.options.max_bytes;
    f.options.max_bytes = 0; /* of the store itself: opening it must evict nothing */
    result = session_open_store(usage, &f.options, &f.s);
    f.options.max_bytes = prune_to;
    if (result == CLI_OK && f.options.model) {
        result = session_load_model(usage, &f.options, &f.s);
    }
    if (result == CLI_OK && (which != VERIFY || n_operands)) { /* it looks at all files by itself, whether they can be listed or not */
        result = shelf_load(&f);
    }
    if (result != CLI_OK) {
        goto cleanup;
    }
    switch (which) {
    case LIST:
        result = run_list(&f);
        break;
    case SHOW:
        result = run_show(&f, operand, n_operands, tokens || f.options.model);
        break;
    case VERIFY:
        result = run_verify(&f, operand, n_operands);
        break;
    case PIN:
    case UNPIN:
        result = run_pin(&f, operand, n_operands, which == PIN);
        break;
    case DELETE:
        result = run_delete(&f, operand, n_operands);
        break;
    default:
        result = run_prune(&f, old);
        break;
    }
cleanup:
    shelf_close(&f);
    return cli_finish(result);
}

const char *cli_store_action(size_t i) {
    return i < COUNT_OF(action) ? strchr(action[i].name, ' ') + 1 : NULL;
}

int cli_store(int argc, char **argv) {
    if (argc < 2) {
        print_store_usage(stderr);
        return CLI_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0) {
        print_store_usage(stdout);
        return cli_finish(CLI_OK);
    }
    for (size_t i = 0; i < COUNT_OF(action); i++) {
        if (strcmp(argv[1], strchr(action[i].name, ' ') + 1) == 0) {
            return run_action(i, argc - 1, argv + 1);
        }
    }
    if (argv[1][0] == '-') {
        cli_error("store: an action comes first, as in `infoflow store list`, not '%s'", argv[1]);
    } else {
        cli_error("store: there is no action '%s'", argv[1]);
    }
    print_store_usage(stderr);
    return CLI_USAGE;
}
