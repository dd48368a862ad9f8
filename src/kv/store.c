/* store.c - the public functions of a store but for documents, over whichever one iflow_store_ops stands for. */
#include "kv/store.h"

#include "base/cancel.h"
#include "base/params.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DIGITS            (IFLOW_ID_SIZE - 1)
#define MIN_PREFIX_DIGITS 4
#define MAX_CANDIDATES    5 /* named when a prefix is ambiguous */

#define MEMORY "memory:"
#define DIR    "dir:"

/* The length of a name's scheme where it is SCHEME://..., else 0: then it is a path, whatever colons it has. */
static size_t scheme_length(const char *name) {
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    const size_t n = strspn(name, letters) ? strcspn(name, ":/") : 0;
    return strncmp(name + n, "://", 3) == 0 ? n : 0;
}

iflow_status iflow_record_check(const char *id, size_t n_bytes) {
    const iflow_status status = iflow_id_check(id);
    return status || n_bytes <= IFLOW_MAX_RECORD_BYTES
               ? status
               : iflow_fail(IFLOW_E_ARG, "the record of document %s has %zu bytes, a store takes %d", id, n_bytes, IFLOW_MAX_RECORD_BYTES);
}

iflow_status iflow_store_full(const char *name, uint64_t pinned_bytes, uint64_t own_bytes, uint64_t max_bytes) {
    const unsigned long long pinned = pinned_bytes, own = own_bytes, max = max_bytes;
    if (!own) {
        return iflow_fail(IFLOW_E_FULL,
                          "the store %s is full: its pinned chunks take %llu of its %llu bytes; unpin some or raise the limit", name,
                          pinned, max);
    }
    return iflow_fail(
        IFLOW_E_FULL,
        "the store %s is full: what this run keeps there takes %llu of its %llu bytes%s, and there is no room for more. Raise "
        "the limit, or keep fewer documents",
        name, own + pinned, max, pinned ? ", with pinned chunks" : "");
}

/* The store of the kind that a name means. */
static iflow_status open_kind(const char *name, const iflow_store_params *params, iflow_store **out) {
    if (name && strncmp(name, MEMORY, sizeof MEMORY - 1) == 0) {
        return name[sizeof MEMORY - 1] == '\0'
                   ? iflow_store_memory_open(params, out)
                   : iflow_fail(IFLOW_E_ARG, "\"%.200s\": nothing may follow " MEMORY "; a directory of that name is ./%.200s", name, name);
    }
    if (name && strncmp(name, DIR, sizeof DIR - 1) == 0) {
        return iflow_store_dir_open(name + sizeof DIR - 1, params, out);
    }
    const size_t n = name ? scheme_length(name) : 0;
    if (n) {
        return iflow_fail(IFLOW_E_UNSUPPORTED,
                          "there are no stores of the kind %.*s: there are " DIR "PATH, a plain path, and " MEMORY
                          "; a directory of that name is ./%.200s",
                          (int)(n < 40 ? n : 40), name, name);
    }
    return iflow_store_dir_open(name, params, out);
}

iflow_status iflow_store_open(const char *name, const iflow_store_params *params, iflow_store **out) {
    iflow_store_params taken = iflow_store_default_params();
    if (IFLOW_MISSING(out) || iflow_params_take(&taken, sizeof taken, params, "iflow_store_params")) {
        return IFLOW_E_ARG;
    }
    iflow_own *own = taken.keep_own != 0 ? iflow_own_new() : NULL;
    if (taken.keep_own != 0 && !own) {
        return IFLOW_E_MEMORY;
    }
    const iflow_status status = open_kind(name, &taken, out);
    if (status) {
        iflow_own_free(own);
    } else {
        (*out)->own = own;
    }
    return status;
}

void iflow_store_close(iflow_store *store) {
    if (store) {
        iflow_own *own = store->own;
        store->ops->close(store);
        iflow_own_free(own);
    }
}

/* ---- Chunks ------------------------------------------------------------------------------------------------------------------------- */

iflow_status iflow_store_list(iflow_store *store, iflow_chunk_info **list, size_t *n) {
    if (IFLOW_MISSING(store) || IFLOW_MISSING(list) || IFLOW_MISSING(n)) {
        return IFLOW_E_ARG;
    }
    return store->ops->list(store, list, n);
}

iflow_status iflow_store_inspect(iflow_store *store, const char *id, iflow_chunk_info *info, int32_t **tokens) {
    if (IFLOW_MISSING(store)) {
        return IFLOW_E_ARG;
    }
    iflow_chunk_info found = {0}, header;
    iflow_blob blob = {0};
    iflow_status status = store->ops->stat(store, id, &found);
    if (!status && tokens) {
        status = store->ops->peek(store, id, &blob);
        if (!status) {
            status = iflow_chunk_peek(blob.data, blob.n_bytes, id, id, &header, tokens);
        }
    }
    iflow_blob_free(&blob);
    if (!status && info) {
        *info = found;
    }
    return status;
}

/* Decodes what get or peek gave. A bad chunk is set aside: it is recomputed where it is needed and cannot fail twice. */
static iflow_status decode_or_set_aside(iflow_store *store, const char *id, iflow_blob *blob, iflow_status status, iflow_chunk **out) {
    char name[IFLOW_ID_SIZE + 8];
    snprintf(name, sizeof name, "chunk %s", id);
    if (!status) {
        status = iflow_chunk_decode(blob, id, name, out);
    }
    if (status == IFLOW_E_CORRUPT) {
        char why[1024];
        snprintf(why, sizeof why, "%s", iflow_error_message());
        const iflow_status aside = store->ops->set_aside(store, id, blob);
        iflow_fail(status, "%s; %s", why, aside ? iflow_error_message() : "it was set aside");
    }
    iflow_blob_free(blob);
    return status;
}

iflow_status iflow_store_get_chunk(iflow_store *store, const char *id, iflow_chunk **out) {
    iflow_blob blob = {0};
    const iflow_status status = store->ops->get(store, id, &blob);
    return decode_or_set_aside(store, id, &blob, status, out);
}

/* The chunk itself, whatever else is named like it. */
static iflow_status verify_chunk(iflow_store *store, const char *id) {
    iflow_blob blob = {0};
    iflow_chunk *chunk = NULL;
    iflow_status status = store->ops->peek(store, id, &blob); /* looking after a store is no use of its chunks */
    status = decode_or_set_aside(store, id, &blob, status, &chunk);
    iflow_chunk_free(chunk);
    return status;
}

static iflow_status verify_and_sweep(iflow_store *store, const char *id) {
    char why[1024] = "";
    const iflow_status status = verify_chunk(store, id);
    if (status == IFLOW_E_ARG) {
        return status;
    }
    snprintf(why, sizeof why, "%s", status ? iflow_error_message() : "");
    const iflow_status strays = store->ops->sweep(store, id);
    if (strays == IFLOW_E_NOT_FOUND) {
        return status ? iflow_fail(status, "%s", why) : IFLOW_OK;
    }
    return !status || status == IFLOW_E_NOT_FOUND ? strays : iflow_fail(status, "%s; %s", why, iflow_error_message());
}

/* E_ARG: none that there is. */
static iflow_status check_kind(iflow_kind kind) {
    return kind == IFLOW_CHUNK || kind == IFLOW_DOCUMENT ? IFLOW_OK : iflow_fail(IFLOW_E_ARG, "kind %d is none", (int)kind);
}

iflow_status iflow_store_verify(iflow_store *store, iflow_kind kind, const char *id) {
    if (IFLOW_MISSING(store) || check_kind(kind)) {
        return IFLOW_E_ARG;
    }
    return kind == IFLOW_DOCUMENT ? iflow_document_verify(store, id) : verify_and_sweep(store, id);
}

iflow_status iflow_store_verify_all(iflow_store *store, iflow_on_verified on_verified, void *user) {
    if (IFLOW_MISSING(store)) {
        return IFLOW_E_ARG;
    }
    if (!on_verified) {
        return iflow_fail(IFLOW_E_ARG, "%s: on_verified is NULL", __func__);
    }
    char(*ids[2])[IFLOW_ID_SIZE] = {NULL, NULL};
    size_t n[2] = {0, 0};
    bool go_on = true;
    /* What cannot be listed keeps nothing else from being verified; it is the failure of the whole at the end. */
    char why[1024] = "";
    iflow_status status = IFLOW_OK;
    for (int step = 0; step < 3 && go_on; step++) {
        const iflow_status failed = step == 0   ? store->ops->sweep_misfits(store, on_verified, user, &go_on)
                                    : step == 1 ? store->ops->find(store, NULL, &ids[0], &n[0])
                                                : store->ops->list_records(store, &ids[1], &n[1]);
        if (failed && !status) {
            snprintf(why, sizeof why, "%s", iflow_error_message());
            status = failed;
        }
    }
    for (int kind = 0; kind < 2; kind++) {
        for (size_t i = 0; i < n[kind] && go_on; i++) {
            if (!status && (status = iflow_cancel_check())) {
                snprintf(why, sizeof why, "%s", iflow_error_message());
            }
            if (status == IFLOW_E_CANCELLED) {
                break;
            }
            const char *id = ids[kind][i];
            const iflow_status found = kind ? iflow_store_verify(store, IFLOW_DOCUMENT, id) : verify_chunk(store, id);
            if (found != IFLOW_E_NOT_FOUND) { /* not found: evicted or deleted meanwhile, or only in a wrong directory */
                go_on = on_verified(id, kind == 1 ? IFLOW_DOCUMENT : IFLOW_CHUNK, found, found ? iflow_error_message() : NULL, user);
            }
            const iflow_status strays = kind || !go_on ? IFLOW_E_NOT_FOUND : store->ops->sweep(store, id);
            if (strays != IFLOW_E_NOT_FOUND) {
                go_on = on_verified(id, IFLOW_CHUNK, strays, iflow_error_message(), user);
            }
        }
    }
    free(ids[0]);
    free(ids[1]);
    return status ? iflow_fail(status, "%s", why) : IFLOW_OK;
}

iflow_status iflow_store_pin(iflow_store *store, iflow_kind kind, const char *id, bool pinned) {
    if (IFLOW_MISSING(store) || check_kind(kind)) {
        return IFLOW_E_ARG;
    }
    return kind == IFLOW_DOCUMENT ? iflow_document_pin(store, id, pinned) : store->ops->pin(store, id, pinned);
}

iflow_status iflow_store_delete(iflow_store *store, iflow_kind kind, const char *id) {
    if (IFLOW_MISSING(store) || check_kind(kind)) {
        return IFLOW_E_ARG;
    }
    return kind == IFLOW_DOCUMENT ? iflow_document_delete(store, id) : store->ops->remove(store, id);
}

iflow_status iflow_store_prune(iflow_store *store, uint64_t max_bytes, size_t *n_deleted, uint64_t *n_bytes) {
    if (IFLOW_MISSING(store)) {
        return IFLOW_E_ARG;
    }
    size_t n = 0;
    uint64_t bytes = 0;
    const iflow_status status = store->ops->prune(store, max_bytes, &n, &bytes);
    *(n_deleted ? n_deleted : &n) = n;
    *(n_bytes ? n_bytes : &bytes) = bytes;
    return status;
}

iflow_status iflow_store_prune_old(iflow_store *store, size_t *n_deleted, uint64_t *n_bytes) {
    if (IFLOW_MISSING(store)) {
        return IFLOW_E_ARG;
    }
    size_t n = 0;
    uint64_t bytes = 0;
    const iflow_status status = store->ops->prune_old(store, &n, &bytes);
    *(n_deleted ? n_deleted : &n) = n;
    *(n_bytes ? n_bytes : &bytes) = bytes;
    return status;
}

/* ---- Names -------------------------------------------------------------------------------------------------------------------------- */

/* Settles on the one id that begins with prefix: IFLOW_OK with *n_found 0 or 1, else E_ARG. */
static iflow_status choose(const char *prefix, const char *what, char (*ids)[IFLOW_ID_SIZE], size_t n, char id[IFLOW_ID_SIZE],
                           size_t *n_found) {
    iflow_buffer candidates = {0};
    iflow_status status = IFLOW_OK;
    char found[IFLOW_ID_SIZE] = "";
    size_t n_matches = 0;
    for (size_t i = 0; i < n; i++) {
        if (strncmp(ids[i], prefix, strlen(prefix)) != 0) {
            continue;
        }
        memcpy(found, ids[i], sizeof found);
        if (n_matches++ < MAX_CANDIDATES) {
            status = status ? status : iflow_buffer_add(&candidates, " ", 1);
            status = status ? status : iflow_buffer_add(&candidates, ids[i], DIGITS);
        }
    }
    if (!status && n_matches > 1) {
        status = iflow_fail(IFLOW_E_ARG, "\"%s\" is ambiguous, %zu %s begin with it:%s%s", prefix, n_matches, what, candidates.text,
                            n_matches > MAX_CANDIDATES ? " ..." : "");
    }
    if (!status) {
        *n_found = n_matches;
        if (n_matches) {
            memcpy(id, found, sizeof found);
        }
    }
    iflow_buffer_free(&candidates);
    return status;
}

iflow_status iflow_store_resolve(iflow_store *store, const char *prefix, char id[IFLOW_ID_SIZE], iflow_kind *kind) {
    char(*ids)[IFLOW_ID_SIZE] = NULL;
    size_t n = 0, n_found = 0;
    iflow_status status = IFLOW_OK;
    if (IFLOW_MISSING(store) || IFLOW_MISSING(id) || IFLOW_MISSING(kind)) {
        return IFLOW_E_ARG;
    }
    const size_t length = prefix ? strlen(prefix) : 0;
    if (length < MIN_PREFIX_DIGITS || length > DIGITS || strspn(prefix, "0123456789abcdef") != length) {
        return iflow_fail(IFLOW_E_ARG, "\"%.64s\" is no id: an id is 4 to 32 lower-case hexadecimal digits", prefix ? prefix : "(null)");
    }
    status = store->ops->list_records(store, &ids, &n);
    status = status ? status : choose(prefix, "documents", ids, n, id, &n_found);
    free(ids);
    ids = NULL;
    if (status) {
        return status;
    }
    const bool document = n_found == 1;
    if (!document) {
        status = store->ops->find(store, prefix, &ids, &n);
        status = status ? status : choose(prefix, "chunks", ids, n, id, &n_found);
        free(ids);
    }
    if (!status && !n_found) {
        status = iflow_fail(IFLOW_E_NOT_FOUND, "no document and no chunk in the store has an id that begins with \"%s\"", prefix);
    }
    if (!status) {
        *kind = document ? IFLOW_DOCUMENT : IFLOW_CHUNK;
    }
    return status;
}
