/* store.c - the public functions of a store, over whichever one iflow_store_ops stands for; documents as JSON records. */
#include "kv/store.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DIGITS            (IFLOW_ID_SIZE - 1)
#define MIN_PREFIX_DIGITS 4
#define MAX_CANDIDATES    5 /* named when a prefix is ambiguous */

iflow_status iflow_store_open(const char *dir, const iflow_store_params *params, iflow_store **out) {
    if (IFLOW_MISSING(out)) {
        return IFLOW_E_ARG;
    }
    return iflow_store_dir_open(dir, params, out);
}

void iflow_store_close(iflow_store *store) {
    if (store) {
        store->ops->close(store);
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
        char *why = iflow_strdup(iflow_error_message());
        const iflow_status aside = store->ops->set_aside(store, id);
        if (aside && aside != IFLOW_E_NOT_FOUND) { /* not found: another process was faster */
            iflow_log(IFLOW_LOG_WARN, "%s", iflow_error_message());
        }
        iflow_fail(status, "%s%s", why ? why : "corrupt chunk file", aside ? "" : "; it was set aside");
        free(why);
    }
    iflow_blob_free(blob);
    return status;
}

iflow_status iflow_store_get_chunk(iflow_store *store, const char *id, iflow_chunk **out) {
    iflow_blob blob = {0};
    const iflow_status status = store->ops->get(store, id, &blob);
    return decode_or_set_aside(store, id, &blob, status, out);
}

iflow_status iflow_store_verify(iflow_store *store, const char *id) {
    if (IFLOW_MISSING(store)) {
        return IFLOW_E_ARG;
    }
    iflow_blob blob = {0};
    iflow_chunk *chunk = NULL;
    iflow_status status = store->ops->peek(store, id, &blob); /* looking after a store is no use of its chunks */
    status = decode_or_set_aside(store, id, &blob, status, &chunk);
    iflow_chunk_free(chunk);
    return status;
}

iflow_status iflow_store_pin(iflow_store *store, const char *id, bool pinned) {
    if (IFLOW_MISSING(store)) {
        return IFLOW_E_ARG;
    }
    return store->ops->pin(store, id, pinned);
}

iflow_status iflow_store_delete(iflow_store *store, const char *id) {
    if (IFLOW_MISSING(store)) {
        return IFLOW_E_ARG;
    }
    return store->ops->remove(store, id);
}

iflow_status iflow_store_prune(iflow_store *store, uint64_t max_bytes, size_t *n_deleted, uint64_t *n_bytes) {
    if (IFLOW_MISSING(store)) {
        return IFLOW_E_ARG;
    }
    size_t n = 0;
    uint64_t bytes = 0;
    const iflow_status status = store->ops->prune(store, max_bytes, &n, &bytes);
    if (!status) {
        *(n_deleted ? n_deleted : &n) = n;
        *(n_bytes ? n_bytes : &bytes) = bytes;
    }
    return status;
}

/* ---- Documents ---------------------------------------------------------------------------------------------------------------------- */

static void free_document(iflow_document *document) {
    if (document) {
        free(document->name);
        free(document->chunk_id);
        free(document);
    }
}

void iflow_documents_free(iflow_document **list, size_t n) {
    if (!list) {
        return;
    }
    for (size_t i = 0; i < n; i++) {
        free_document(list[i]);
    }
    free(list);
}

static iflow_status document_id(const iflow_document *document, char id[IFLOW_ID_SIZE]) {
    iflow_hasher *hasher = iflow_hasher_new();
    if (!hasher) {
        return iflow_fail_memory(1024);
    }
    iflow_hasher_add(hasher, document->fingerprint, DIGITS);
    for (size_t i = 0; i < document->n_chunks; i++) {
        iflow_hasher_add(hasher, document->chunk_id[i], DIGITS);
    }
    iflow_hasher_hex(hasher, id);
    return IFLOW_OK;
}

/* JSON holds only UTF-8, a path may be any bytes: each byte that is none becomes U+FFFD. NULL: no memory. */
static char *utf8_name(const char *name) {
    static const char replacement[] = "\xef\xbf\xbd";
    const size_t n_bytes = strlen(name);
    char *out = iflow_calloc(n_bytes + 1, sizeof replacement - 1);
    if (!out) {
        return NULL;
    }
    size_t n = 0;
    for (size_t i = 0; i < n_bytes;) {
        const size_t valid = iflow_utf8_check(name + i, n_bytes - i);
        memcpy(out + n, name + i, valid);
        n += valid;
        i += valid;
        if (i < n_bytes) {
            memcpy(out + n, replacement, sizeof replacement - 1);
            n += sizeof replacement - 1;
            i++;
        }
    }
    out[n] = '\0';
    return out;
}

iflow_status iflow_store_put_document(iflow_store *store, iflow_document *document) {
    iflow_status status = IFLOW_OK;
    json_t *record = NULL, *chunks = NULL;
    char *name = NULL, *text = NULL;
    char id[IFLOW_ID_SIZE];

    if (IFLOW_MISSING(store) || IFLOW_MISSING(document) || (document->n_chunks && IFLOW_MISSING(document->chunk_id))) {
        return IFLOW_E_ARG;
    }
    if (!iflow_id_is_valid(document->fingerprint)) {
        return iflow_fail(IFLOW_E_ARG, "the document's fingerprint is not 32 lower-case hexadecimal digits");
    }
    if (!document->n_chunks) {
        return iflow_fail(IFLOW_E_ARG, "document \"%.200s\" has no chunk", document->name ? document->name : "");
    }
    for (size_t i = 0; i < document->n_chunks; i++) {
        if (!iflow_id_is_valid(document->chunk_id[i])) {
            return iflow_fail(IFLOW_E_ARG, "chunk %zu of document \"%.200s\" has no valid id", i, document->name ? document->name : "");
        }
    }
    status = document_id(document, id);
    if (status) {
        return status;
    }
    name = utf8_name(document->name ? document->name : "");
    chunks = json_array();
    if (!name || !chunks) {
        goto cleanup;
    }
    for (size_t i = 0; i < document->n_chunks; i++) {
        if (json_array_append_new(chunks, json_string(document->chunk_id[i])) != 0) {
            goto cleanup;
        }
    }
    record = json_pack("{s:i, s:s, s:s, s:s, s:I, s:O}", "version", 1, "id", id, "fingerprint", document->fingerprint, "name", name,
                       "n_tokens", (json_int_t)document->n_tokens, "chunks", chunks);
    text = record ? json_dumps(record, JSON_INDENT(1)) : NULL;
    if (!text) {
        goto cleanup;
    }
    status = store->ops->put_record(store, id, text, strlen(text));
    if (!status) {
        memcpy(document->id, id, sizeof id);
    }

cleanup:
    if (!text) { /* all that can fail in jansson here is an allocation */
        status = iflow_fail_memory(document->n_chunks * IFLOW_ID_SIZE);
    }
    free(text);
    free(name);
    json_decref(record);
    json_decref(chunks);
    return status;
}

/* Copies an id or a fingerprint out of a record. */
static bool get_id(const json_t *value, char id[IFLOW_ID_SIZE]) {
    const char *text = json_string_value(value);
    if (!iflow_id_is_valid(text)) {
        return false;
    }
    memcpy(id, text, IFLOW_ID_SIZE);
    return true;
}

static iflow_status parse_document(const char *id, const iflow_buffer *text, iflow_document **out) {
    iflow_status status = IFLOW_OK;
    json_error_t error;
    iflow_document *document = NULL;
    char actual[IFLOW_ID_SIZE];
    json_t *record = json_loadb(text->text ? text->text : "", text->n, JSON_REJECT_DUPLICATES, &error);
    if (!record) {
        status = iflow_fail(IFLOW_E_FORMAT, "document %s: its record is no JSON: %s (line %d)", id, error.text, error.line);
        goto cleanup;
    }
    const json_t *version = json_object_get(record, "version");
    const char *name = json_string_value(json_object_get(record, "name"));
    const json_t *n_tokens = json_object_get(record, "n_tokens");
    const json_t *chunks = json_object_get(record, "chunks");
    if (!json_is_integer(version) || json_integer_value(version) != 1) {
        status = iflow_fail(IFLOW_E_UNSUPPORTED, "document %s: its record is not of version 1", id);
        goto cleanup;
    }
    document = iflow_calloc(1, sizeof *document);
    if (!document) {
        status = iflow_fail_memory(sizeof *document);
        goto cleanup;
    }
    if (!get_id(json_object_get(record, "fingerprint"), document->fingerprint) || !name || !json_is_integer(n_tokens) ||
        json_integer_value(n_tokens) < 0 || !json_is_array(chunks)) {
        status = iflow_fail(IFLOW_E_FORMAT, "document %s: its record lacks fingerprint, name, n_tokens or chunks", id);
        goto cleanup;
    }
    document->n_tokens = (size_t)json_integer_value(n_tokens);
    document->n_chunks = json_array_size(chunks);
    document->name = iflow_strdup(name);
    document->chunk_id = iflow_calloc(document->n_chunks, sizeof document->chunk_id[0]);
    if (!document->name || !document->chunk_id) {
        status = iflow_fail_memory(document->n_chunks * sizeof document->chunk_id[0]);
        goto cleanup;
    }
    for (size_t i = 0; i < document->n_chunks; i++) {
        if (!get_id(json_array_get(chunks, i), document->chunk_id[i])) {
            status = iflow_fail(IFLOW_E_FORMAT, "document %s: chunk %zu in its record is no id", id, i);
            goto cleanup;
        }
    }
    status = document_id(document, actual);
    if (status) {
        goto cleanup;
    }
    if (strcmp(actual, id) != 0) {
        status = iflow_fail(IFLOW_E_FORMAT, "document %s: what its record holds is document %s", id, actual);
        goto cleanup;
    }
    memcpy(document->id, id, IFLOW_ID_SIZE);
    *out = document;
    document = NULL;

cleanup:
    free_document(document);
    json_decref(record);
    return status;
}

static int by_name(const void *a, const void *b) {
    const iflow_document *x = *(iflow_document *const *)a, *y = *(iflow_document *const *)b;
    const int order = strcmp(x->name, y->name);
    return order ? order : strcmp(x->id, y->id);
}

iflow_status iflow_store_list_documents(iflow_store *store, iflow_document ***list, size_t *n) {
    if (IFLOW_MISSING(store) || IFLOW_MISSING(list) || IFLOW_MISSING(n)) {
        return IFLOW_E_ARG;
    }
    char(*ids)[IFLOW_ID_SIZE] = NULL;
    size_t n_ids = 0, n_documents = 0;
    iflow_document **documents = NULL;
    iflow_status status = store->ops->list_records(store, &ids, &n_ids);
    if (status) {
        return status;
    }
    documents = iflow_calloc(n_ids, sizeof documents[0]);
    if (!documents) {
        status = iflow_fail_memory(n_ids * sizeof documents[0]);
        goto cleanup;
    }
    for (size_t i = 0; i < n_ids; i++) {
        iflow_buffer text = {0};
        status = store->ops->get_record(store, ids[i], &text);
        if (!status) {
            status = parse_document(ids[i], &text, &documents[n_documents]);
        }
        iflow_buffer_free(&text);
        if (!status) {
            n_documents++;
        } else if (status == IFLOW_E_MEMORY) {
            goto cleanup;
        } else if (status != IFLOW_E_NOT_FOUND) { /* not found: deleted meanwhile */
            iflow_log(IFLOW_LOG_WARN, "not listed: %s", iflow_error_message());
        }
    }
    status = IFLOW_OK;
    if (n_documents) {
        qsort(documents, n_documents, sizeof documents[0], by_name);
    }
    *list = documents;
    *n = n_documents;
    documents = NULL;

cleanup:
    iflow_documents_free(documents, n_documents);
    free(ids);
    return status;
}

iflow_status iflow_store_delete_document(iflow_store *store, const char *id) {
    if (IFLOW_MISSING(store)) {
        return IFLOW_E_ARG;
    }
    return store->ops->remove_record(store, id);
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

iflow_status iflow_store_resolve(iflow_store *store, const char *prefix, char id[IFLOW_ID_SIZE], bool *is_document) {
    char(*ids)[IFLOW_ID_SIZE] = NULL;
    size_t n = 0, n_found = 0;
    iflow_status status = IFLOW_OK;
    if (IFLOW_MISSING(store) || IFLOW_MISSING(id) || IFLOW_MISSING(is_document)) {
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
        *is_document = document;
    }
    return status;
}
