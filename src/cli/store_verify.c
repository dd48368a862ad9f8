/* store_verify.c - `infoflow store verify`: reads chunks whole, and sets damaged ones aside. */
#include "cli/store.h"

#include "cli/report.h"
#include "cli/text.h"

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
        return true;
    }
    if (status != IFLOW_E_UNSUPPORTED || !out->n_unsupported) { /* of these there may be a whole store: the first says what they are */
        cli_error("%s", message);
    }
    if (status == IFLOW_E_UNSUPPORTED) {
        out->n_unsupported++;
        return true;
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
    return true;
}

/* Verifies a document or a chunk. */
static int verify_operand(const store_call *f, const char *operand, findings *out) {
    char id[IFLOW_ID_SIZE];
    iflow_kind kind = IFLOW_CHUNK;
    if (store_resolve_id(f, operand, id, &kind) != IFLOW_OK) {
        return CLI_FAILED;
    }
    const iflow_status status = inventory_verify(&f->all, kind, id, note_verified, out);
    return status == IFLOW_OK ? CLI_OK : cli_failed(status, NULL);
}

int store_verify(store_call *f, char **operand, size_t n) {
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
        store_dump(json_pack("{s:I, s:O, s:O, s:O, s:I}", "good", (json_int_t)out.n_good, "bad", out.bad, "strays", out.strays, "failed",
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
