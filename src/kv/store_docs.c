/* store_docs.c - documents as a store's JSON records: which chunks each consists of. */
#include "kv/store.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DIGITS = IFLOW_ID_SIZE - 1, RECORD_VERSION = 2 };

void iflow_document_free(iflow_document *document) {
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
        iflow_document_free(list[i]);
    }
    free(list);
}

/* A document goes by its name, so that the same text under two names is two. Version 1 of the record went by the chunks. name: the bytes.
 */
static iflow_status document_id(const iflow_document *document, int version, const char *name, char id[IFLOW_ID_SIZE]) {
    iflow_hasher *hasher = iflow_hasher_new();
    if (!hasher) {
        return iflow_fail_memory(1024);
    }
    iflow_hasher_add(hasher, document->fingerprint, DIGITS);
    if (version > 1) {
        iflow_hasher_add(hasher, name, strlen(name));
    }
    for (size_t i = 0; version == 1 && i < document->n_chunks; i++) {
        iflow_hasher_add(hasher, document->chunk_id[i], DIGITS);
    }
    iflow_hasher_hex(hasher, id);
    return IFLOW_OK;
}

iflow_status iflow_document_id(const char *fingerprint, const char *name, char id[IFLOW_ID_SIZE]) {
    iflow_document document = {0};
    strncpy(document.fingerprint, fingerprint, DIGITS);
    return document_id(&document, RECORD_VERSION, name, id);
}

/* Bytes as hexadecimal digits; NULL: no memory. */
static char *to_digits(const char *bytes) {
    const size_t n = strlen(bytes);
    char *out = iflow_calloc(n + 1, 2);
    for (size_t i = 0; out && i < n; i++) {
        snprintf(out + 2 * i, 3, "%02x", (unsigned)(unsigned char)bytes[i]);
    }
    return out;
}

/* The reverse, as a new string; NULL if they are none, or without memory. */
static char *from_digits(const char *digits) {
    const size_t n = strlen(digits);
    if (n % 2 != 0 || strspn(digits, "0123456789abcdef") != n) {
        return NULL;
    }
    char *out = iflow_calloc(n / 2 + 1, 1);
    for (size_t i = 0; out && i < n / 2; i++) {
        const char pair[3] = {digits[2 * i], digits[2 * i + 1], '\0'};
        out[i] = (char)strtoul(pair, NULL, 16);
    }
    return out;
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

static iflow_status parse_document(const char *id, const iflow_blob *text, iflow_document **out) {
    iflow_status status = IFLOW_OK;
    json_error_t error;
    iflow_document *document = NULL;
    char actual[IFLOW_ID_SIZE];
    char *bytes = NULL;
    json_t *record = json_loadb(text->data ? text->data : "", text->n_bytes, JSON_REJECT_DUPLICATES, &error);
    if (!record) {
        status = iflow_fail(IFLOW_E_FORMAT, "document %s: its record is no JSON: %s (line %d)", id, error.text, error.line);
        goto cleanup;
    }
    const json_t *version = json_object_get(record, "version");
    const char *name = json_string_value(json_object_get(record, "name"));
    const json_t *digits = json_object_get(record, "name_bytes");
    const json_t *n_tokens = json_object_get(record, "n_tokens");
    const json_t *chunks = json_object_get(record, "chunks");
    if (!json_is_integer(version) || json_integer_value(version) < 1) {
        status = iflow_fail(IFLOW_E_FORMAT, "document %s: its record has no version", id);
        goto cleanup;
    }
    if (json_integer_value(version) > RECORD_VERSION) {
        status =
            iflow_fail(IFLOW_E_UNSUPPORTED, "document %s: its record has version %" JSON_INTEGER_FORMAT ", this program reads up to %d", id,
                       json_integer_value(version), RECORD_VERSION);
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
    bytes = json_is_string(digits) ? from_digits(json_string_value(digits)) : iflow_strdup(name);
    if (!bytes) {
        status = json_is_string(digits) ? iflow_fail(IFLOW_E_FORMAT, "document %s: name_bytes in its record are none", id)
                                        : iflow_fail_memory(strlen(name));
        goto cleanup;
    }
    status = document_id(document, (int)json_integer_value(version), bytes, actual);
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
    free(bytes);
    iflow_document_free(document);
    json_decref(record);
    return status;
}

static iflow_status get_document(iflow_store *store, const char *id, iflow_document **out) {
    iflow_blob text = {0};
    iflow_status status = store->ops->get_record(store, id, &text);
    status = status ? status : parse_document(id, &text, out);
    iflow_blob_free(&text);
    return status;
}

static iflow_status check_document(const iflow_document *document, const char *name) {
    if (!iflow_id_is_valid(document->fingerprint)) {
        return iflow_fail(IFLOW_E_ARG, "the document's fingerprint is not 32 lower-case hexadecimal digits");
    }
    if (!document->n_chunks) {
        return iflow_fail(IFLOW_E_ARG, "document \"%.200s\" has no chunk", name);
    }
    for (size_t i = 0; i < document->n_chunks; i++) {
        if (!iflow_id_is_valid(document->chunk_id[i])) {
            return iflow_fail(IFLOW_E_ARG, "chunk %zu of document \"%.200s\" has no valid id", i, name);
        }
    }
    return IFLOW_OK;
}

/* The record's text; NULL without memory, which is all that can fail in jansson here. */
static char *record_text(const iflow_document *document, const char *id, const char *name) {
    json_t *record = NULL, *chunks = json_array();
    char *shown = iflow_utf8_replaced(name, strlen(name)), *digits = shown && strcmp(shown, name) != 0 ? to_digits(name) : NULL,
         *text = NULL;
    bool complete = shown && chunks && (digits || strcmp(shown, name) == 0);
    for (size_t i = 0; complete && i < document->n_chunks; i++) {
        complete = json_array_append_new(chunks, json_string(document->chunk_id[i])) == 0;
    }
    if (complete) {
        record =
            json_pack("{s:i, s:s, s:s, s:s, s:s*, s:I, s:O}", "version", RECORD_VERSION, "id", id, "fingerprint", document->fingerprint,
                      "name", shown, "name_bytes", digits, "n_tokens", (json_int_t)document->n_tokens, "chunks", chunks);
        text = record ? json_dumps(record, JSON_INDENT(1)) : NULL;
    }
    free(shown);
    free(digits);
    json_decref(record);
    json_decref(chunks);
    return text;
}

/* ---- Pins --------------------------------------------------------------------------------------------------------------------------- */

static bool has_chunk(const iflow_document *document, const char *chunk) {
    for (size_t c = 0; c < document->n_chunks; c++) {
        if (strcmp(document->chunk_id[c], chunk) == 0) {
            return true;
        }
    }
    return false;
}

/* Whether another document that was pinned as a whole has the chunk. */
static bool is_used_by_another(iflow_store *store, iflow_document **list, size_t n, const char *except, const char *chunk) {
    for (size_t d = 0; d < n; d++) {
        if (strcmp(list[d]->id, except) != 0 && has_chunk(list[d], chunk) && store->ops->is_pinned(store, list[d]->id)) {
            return true;
        }
    }
    return false;
}

/* Takes back what pin_chunks() did to the first n chunks. The failure that made it necessary stays the last one. */
static iflow_status pin_back(iflow_store *store, const iflow_document *document, const bool *was_pinned, size_t n, iflow_status failure) {
    char why[1024];
    snprintf(why, sizeof why, "%s", iflow_error_message());
    for (size_t c = 0; c < n; c++) {
        const iflow_status status = was_pinned[c] ? IFLOW_OK : store->ops->pin(store, document->chunk_id[c], false);
        if (status && status != IFLOW_E_NOT_FOUND && store->ops->is_pinned(store, document->chunk_id[c])) {
            iflow_log(IFLOW_LOG_WARN, "chunk %s stays pinned, though its document is not (%s): unpin it by its id", document->chunk_id[c],
                      iflow_error_message());
        }
    }
    return iflow_fail(failure, "%s", why);
}

/* Pins a document's chunks: all of them, or none. *was_pinned [n_chunks]: which of them were before; free() it. E_NOT_FOUND. */
static iflow_status pin_chunks(iflow_store *store, const iflow_document *document, bool **was_pinned) {
    iflow_status status = IFLOW_OK;
    size_t n = 0;
    bool *was = iflow_calloc(document->n_chunks, sizeof *was);
    if (!was) {
        return iflow_fail_memory(document->n_chunks * sizeof *was);
    }
    for (; !status && n < document->n_chunks; n++) {
        was[n] = store->ops->is_pinned(store, document->chunk_id[n]);
        status = store->ops->pin(store, document->chunk_id[n], true);
    }
    if (status) {
        status = pin_back(store, document, was, n, status);
        free(was);
        return status;
    }
    *was_pinned = was;
    return IFLOW_OK;
}

/* The record of a pinned document was replaced: the pins of the chunks that only it had go. */
static void unpin_former(iflow_store *store, const iflow_document *before, const iflow_document *now, const char *id) {
    iflow_document **list = NULL;
    size_t n = 0;
    iflow_status status = iflow_store_list_documents(store, &list, &n);
    for (size_t c = 0; c < before->n_chunks; c++) {
        const char *chunk = before->chunk_id[c];
        if (has_chunk(now, chunk) || is_used_by_another(store, list, n, id, chunk)) {
            continue;
        }
        const iflow_status unpinned = status ? status : store->ops->pin(store, chunk, false);
        if (unpinned && unpinned != IFLOW_E_NOT_FOUND) {
            iflow_log(IFLOW_LOG_WARN, "document %s no longer has chunk %s, which stays pinned (%s): unpin it by its id", id, chunk,
                      iflow_error_message());
        }
    }
    iflow_documents_free(list, n);
}

/* The record that says which chunks a pinned document has is damaged; what is wrong with it is the last message. */
static void warn_pins_stay(const char *id, const char *why) {
    iflow_log(
        IFLOW_LOG_WARN,
        "document %s was pinned, and its record no longer tells its chunks (%s): they stay pinned until they are unpinned by their own "
        "ids",
        id, why);
}

/* ---- Putting ------------------------------------------------------------------------------------------------------------------------ */

iflow_status iflow_store_put_document(iflow_store *store, iflow_document *document) {
    if (IFLOW_MISSING(store) || IFLOW_MISSING(document) || (document->n_chunks && IFLOW_MISSING(document->chunk_id))) {
        return IFLOW_E_ARG;
    }
    char id[IFLOW_ID_SIZE];
    char *text = NULL;
    bool *was_pinned = NULL;
    iflow_document *before = NULL;
    const char *name = document->name ? document->name : "";
    iflow_status status = check_document(document, name);
    status = status ? status : document_id(document, RECORD_VERSION, name, id);
    if (status) {
        return status;
    }
    const iflow_status got = get_document(store, id, &before);
    if (got == IFLOW_E_MEMORY || got == IFLOW_E_IO) { /* E_IO: it may not be read, say, and be another user's */
        return got;
    }
    const bool pinned = store->ops->is_pinned(store, id);
    const bool same = before && before->n_chunks == document->n_chunks &&
                      memcmp(before->chunk_id, document->chunk_id, document->n_chunks * sizeof document->chunk_id[0]) == 0;
    if (pinned && got && got != IFLOW_E_NOT_FOUND) {
        warn_pins_stay(id, iflow_error_message());
    }
    if (pinned && !same) { /* first, so that they are not evicted before they are */
        status = pin_chunks(store, document, &was_pinned);
        if (status) {
            iflow_fail_in(status, "document %s is pinned, but its chunks cannot be", id);
            goto cleanup;
        }
    }
    text = record_text(document, id, name);
    status = text ? store->ops->put_record(store, id, text, strlen(text)) : iflow_fail_memory(document->n_chunks * IFLOW_ID_SIZE);
    if (status) {
        if (was_pinned) {
            status = pin_back(store, document, was_pinned, document->n_chunks, status);
        }
        goto cleanup;
    }
    if (was_pinned && before) {
        unpin_former(store, before, document, id);
    }
    memcpy(document->id, id, sizeof id);
    document->replaced = before && !same;

cleanup:
    iflow_document_free(before);
    free(was_pinned);
    free(text);
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
        status = get_document(store, ids[i], &documents[n_documents]);
        if (!status) {
            documents[n_documents]->pinned = store->ops->is_pinned(store, ids[i]);
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

iflow_status iflow_store_get_document(iflow_store *store, const char *id, iflow_document **out) {
    if (IFLOW_MISSING(store) || IFLOW_MISSING(id) || IFLOW_MISSING(out)) {
        return IFLOW_E_ARG;
    }
    const iflow_status status = get_document(store, id, out);
    if (!status) {
        (*out)->pinned = store->ops->is_pinned(store, id);
    }
    return status;
}

iflow_status iflow_document_verify(iflow_store *store, const char *id) {
    iflow_document *document = NULL;
    iflow_blob text = {0};
    iflow_status status = store->ops->get_record(store, id, &text);
    status = status ? status : parse_document(id, &text, &document);
    if (status == IFLOW_E_FORMAT || status == IFLOW_E_CORRUPT) {
        char why[1024];
        snprintf(why, sizeof why, "%s", iflow_error_message());
        const iflow_status aside = store->ops->set_aside_record(store, id, &text);
        if (!aside && store->ops->is_pinned(store, id)) {
            warn_pins_stay(id, why);
        }
        status = aside ? iflow_fail(IFLOW_E_CORRUPT, "%s; %s", why, iflow_error_message())
                       : iflow_fail(IFLOW_E_CORRUPT, "%s; it was set aside", why);
    }
    iflow_blob_free(&text);
    iflow_document_free(document);
    return status;
}

iflow_status iflow_document_pin(iflow_store *store, const char *id, bool pinned) {
    iflow_document *document = NULL, **list = NULL;
    bool *was_pinned = NULL;
    size_t n = 0;
    iflow_status status = get_document(store, id, &document);
    if (!status && pinned) {
        status = pin_chunks(store, document, &was_pinned);
    } else if (!status) {
        status = iflow_store_list_documents(store, &list, &n);
    }
    for (size_t c = 0; !status && !pinned && c < document->n_chunks; c++) {
        if (!is_used_by_another(store, list, n, id, document->chunk_id[c])) {
            status = store->ops->pin(store, document->chunk_id[c], false);
            status = status == IFLOW_E_NOT_FOUND ? IFLOW_OK : status; /* evicted, and without a pin */
        }
    }
    status = status ? status : store->ops->pin_record(store, id, pinned);
    if (status && was_pinned) {
        status = pin_back(store, document, was_pinned, document->n_chunks, status);
    }
    free(was_pinned);
    iflow_document_free(document);
    iflow_documents_free(list, n);
    return status;
}

iflow_status iflow_document_delete(iflow_store *store, const char *id) {
    iflow_status status = store->ops->is_pinned(store, id) ? iflow_document_pin(store, id, false) : IFLOW_OK;
    if (status == IFLOW_E_FORMAT || status == IFLOW_E_CORRUPT || status == IFLOW_E_UNSUPPORTED) { /* such a record goes all the same */
        warn_pins_stay(id, iflow_error_message());
        status = IFLOW_OK;
    }
    status = status ? status : store->ops->remove_record(store, id);
    return status ? status : store->ops->pin_record(store, id, false);
}
