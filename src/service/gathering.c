/* gathering.c - puts documents into a context: by file, directory or standard input, by their id or name in the store, or from memory. */
#include "service/gathering.h"

#include "base/base.h"
#include "kv/store.h"
#include "service/documents.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

typedef struct adding {
    const gathering *from;
    sources *list;
    context_documents *out;
} adding;

/* name: any bytes. */
static iflow_status add_name(context_documents *out, const char *name, size_t n_chunks) {
    const iflow_status status = iflow_reserve((void **)&out->document, &out->capacity, out->n + 1, sizeof *out->document);
    char *clean = status == IFLOW_OK ? iflow_utf8_replaced(name, strlen(name)) : NULL;
    if (!clean) {
        return iflow_fail_memory(strlen(name));
    }
    out->document[out->n++] = (context_document){clean, n_chunks};
    return IFLOW_OK;
}

static iflow_status add_chunks(const gathering *from, const char *name, const chunk_list *chunks, context_documents *out) {
    iflow_status status = from->ctx ? chunk_list_lay(chunks, from->ctx) : IFLOW_OK;
    for (size_t i = 0; i < chunks->n_chunks && status == IFLOW_OK; i++) {
        status = chunk_list_append(&out->chunks, chunks, i);
    }
    return status == IFLOW_OK ? add_name(out, name, chunks->n_chunks) : status;
}

static iflow_status add_document(const gathering *from, const document *doc, context_documents *out) {
    chunk_list chunks = {0};
    iflow_status status = document_cut(from->model, doc, from->chunk_tokens, &chunks);
    if (status == IFLOW_OK) {
        status = add_chunks(from, doc->name, &chunks, out);
    }
    chunk_list_free(&chunks);
    return status;
}

static iflow_status take_document(document *doc, bool *more, void *user) {
    adding *a = user;
    (void)more;
    iflow_status status = add_document(a->from, doc, a->out);
    if (doc->found && document_is_at_fault(status)) {
        sources_fail(a->list, doc->name, false, iflow_error_message());
        a->list->n_documents--;
        status = IFLOW_OK;
    } else if (status != IFLOW_OK) {
        status = iflow_fail_in(status, "%s", doc->name);
    }
    document_free(doc);
    return status;
}

iflow_status gather_text(const gathering *from, const char *name, const char *title, const char *text, size_t n_bytes,
                         context_documents *out) {
    document *doc = NULL;
    iflow_status status = document_from_text(name, title, text, n_bytes, &doc);
    if (status == IFLOW_OK && (status = add_document(from, doc, out)) != IFLOW_OK) {
        status = iflow_fail_in(status, "%s", doc->name);
    }
    document_free(doc);
    return status;
}

iflow_status gather_sources(const gathering *from, const char *const *names, size_t n, context_documents *out) {
    sources list = {.events = from->events};
    adding a = {.from = from, .list = &list, .out = out};
    iflow_status status = IFLOW_OK;
    for (size_t i = 0; i < n && status == IFLOW_OK; i++) {
        status = sources_add(&list, names[i]);
    }
    if (status == IFLOW_OK) {
        status = documents_read(&list, from->jsonl, take_document, &a);
    }
    out->n_left_out += list.n_failed - list.n_failed_named;
    out->n_failed_named += list.n_failed_named;
    if (status == IFLOW_OK && list.n_failed_named) { /* an answer over fewer documents than were named would mislead */
        status = iflow_fail(IFLOW_E_FORMAT, "%zu of what was named cannot be used", list.n_failed_named);
    } else if (status == IFLOW_OK) {
        status = sources_require(&list, names, n);
    }
    sources_free(&list);
    return status;
}

/* ---- The store's -------------------------------------------------------------------------------------------------------------------- */

static iflow_status add_stored_document(const gathering *from, const char *id, context_documents *out) {
    iflow_document *doc = NULL;
    iflow_status status = iflow_store_get_document(from->store, id, &doc);
    if (status != IFLOW_OK) {
        return status;
    }
    if (strcmp(doc->fingerprint, iflow_model_get_info(from->model).fingerprint) != 0) {
        status = iflow_fail(IFLOW_E_ARG, "%s (%s) was ingested with another model, or by a version before 0.2; ingest it with this one", id,
                            doc->name);
        goto cleanup;
    }
    for (size_t i = 0; status == IFLOW_OK && i < doc->n_chunks; i++) {
        status = iflow_context_add_chunk(from->ctx, doc->chunk_id[i]);
        if (status == IFLOW_E_NOT_FOUND) {
            status =
                iflow_fail(status, "%s: chunk %s of it is no longer in the store: ingest the document again", doc->name, doc->chunk_id[i]);
        } else if (status != IFLOW_OK) {
            status = iflow_fail_in(status, "%s", doc->name);
        }
    }
    if (status == IFLOW_OK) {
        status = add_name(out, doc->name, doc->n_chunks);
    }
cleanup:
    iflow_document_free(doc);
    return status;
}

static iflow_status add_stored_chunk(const gathering *from, const char *operand, const char *id, context_documents *out) {
    char *name = NULL;
    iflow_status status = iflow_context_add_chunk(from->ctx, id);
    if (status != IFLOW_OK) {
        return iflow_fail_in(status, "%s", operand);
    }
    status = iflow_format_to(&name, "chunk %s", id);
    if (status == IFLOW_OK) {
        status = add_name(out, name, 1);
    }
    free(name);
    return status;
}

/* Whether what iflow_store_resolve() says of a string is that nothing has it, or that it is no id. */
static bool is_unknown(const char *id, iflow_status status) {
    return status == IFLOW_E_NOT_FOUND || (status == IFLOW_E_ARG && (strlen(id) < 4 || strspn(id, "0123456789abcdefABCDEF") != strlen(id)));
}

/* Adds what has an id, or says that nothing has it: *known is false then, and the status OK. */
static iflow_status add_by_id(const gathering *from, const char *operand, bool *known, context_documents *out) {
    char id[IFLOW_ID_SIZE];
    iflow_kind kind = IFLOW_CHUNK;
    const iflow_status status = iflow_store_resolve(from->store, operand, id, &kind);
    *known = !is_unknown(operand, status);
    if (!*known || status != IFLOW_OK) {
        return *known ? iflow_fail_in(status, "%s", operand) : IFLOW_OK;
    }
    return (kind == IFLOW_DOCUMENT) ? add_stored_document(from, id, out) : add_stored_chunk(from, operand, id, out);
}

/* The same of a document by its whole name. */
static iflow_status add_by_name(const gathering *from, const char *name, bool *known, context_documents *out) {
    char id[IFLOW_ID_SIZE];
    iflow_document *doc = NULL;
    iflow_status status = iflow_document_id(iflow_model_get_info(from->model).fingerprint, name, id);
    if (status == IFLOW_OK) {
        status = iflow_store_get_document(from->store, id, &doc);
    }
    iflow_document_free(doc);
    *known = status != IFLOW_E_NOT_FOUND;
    if (!*known || status != IFLOW_OK) {
        return *known ? iflow_fail_in(status, "%s", name) : IFLOW_OK;
    }
    return add_stored_document(from, id, out);
}

iflow_status gather_stored(const gathering *from, const char *id_or_name, context_documents *out) {
    bool known = false;
    if (!from->store) {
        return iflow_fail(IFLOW_E_NOT_FOUND, "%s: there is no store", id_or_name);
    }
    iflow_status status = add_by_name(from, id_or_name, &known, out);
    if (!known) {
        status = add_by_id(from, id_or_name, &known, out);
    }
    return known ? status
                 : iflow_fail(IFLOW_E_NOT_FOUND, "%s: no document or chunk of the store %s has this name or id", id_or_name,
                              from->store_name);
}

iflow_status gather(const gathering *from, const char *name, context_documents *out) {
    struct stat file;
    bool known = false;
    if (!from->ctx || strcmp(name, "-") == 0 || stat(name, &file) == 0) {
        return gather_sources(from, &name, 1, out);
    }
    if (!from->store) {
        return iflow_fail(IFLOW_E_NOT_FOUND, "%s: no such file, and without a store no id", name);
    }
    const iflow_status status = add_by_id(from, name, &known, out);
    if (known) {
        return status;
    }
    if (strspn(name, "0123456789abcdef") != strlen(name)) {
        return iflow_fail(IFLOW_E_NOT_FOUND, "%s: no such file", name);
    }
    if (strlen(name) < 4) {
        return iflow_fail(IFLOW_E_NOT_FOUND, "%s: no such file; an id of the store %s has at least 4 digits", name, from->store_name);
    }
    return iflow_fail(IFLOW_E_NOT_FOUND,
                      "%s: no such file, and no document or chunk of the store %s has this id; what was deleted or pruned must be ingested "
                      "again",
                      name, from->store_name);
}

void context_documents_free(context_documents *documents) {
    for (size_t i = 0; i < documents->n; i++) {
        free(documents->document[i].name);
    }
    free(documents->document);
    chunk_list_free(&documents->chunks);
    *documents = (context_documents){0};
}
