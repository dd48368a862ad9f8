/* ingestion.c - prefills documents into the store, once each, and records them. */
#include "service/ingestion.h"

#include "base/base.h"
#include "base/cancel.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

static void show(const ingestion *in, const char *name, bool waiting) {
    if (in->events.progress) {
        in->events.progress(in, name, waiting, in->events.user);
    }
}

/* Says that a document cannot be used. OK: the rest goes on; else that is pointless. */
static iflow_status give_up(ingestion *in, iflow_status status, const char *name) {
    in->sources->n_failed++;
    if (in->events.failed) {
        in->events.failed(name, status, in->events.user);
    }
    return document_is_at_fault(status) ? IFLOW_OK : status;
}

/* ---- Chunks ------------------------------------------------------------------------------------------------------------------------- */

/* Prefills chunks [first, end), those that are not there. E_BUSY: those without an id later. *n_computed: tokens, *seconds that took. */
static iflow_status prefill(ingestion *in, const chunk_list *chunks, size_t first, size_t end, char (*id)[IFLOW_ID_SIZE],
                            size_t *n_computed, double *seconds) {
    bool *was_stored = iflow_calloc(end - first, sizeof *was_stored);
    const double start = iflow_now_ms();
    *n_computed = 0;
    *seconds = 0;
    if (!was_stored) {
        return iflow_fail_memory(end - first);
    }
    const iflow_status status = iflow_context_prefill(in->ctx, chunks->token, chunks->start + first, end - first, id + first, was_stored);
    for (size_t i = first; i < end && (status == IFLOW_OK || status == IFLOW_E_BUSY); i++) {
        const size_t n = chunk_list_length(chunks, i);
        if (!id[i][0]) {
            continue;
        }
        in->n_tokens += n;
        if (was_stored[i - first]) {
            in->n_present++;
        } else {
            in->n_computed++;
            *n_computed += n;
        }
    }
    if (*n_computed) {
        *seconds = (iflow_now_ms() - start) * 1e-3;
        in->seconds += *seconds;
        in->n_computed_tokens += *n_computed;
    }
    free(was_stored);
    return status;
}

/* The end of the chunks from `first` on that go together: short ones are computed in one pass. */
static size_t together(const chunk_list *chunks, size_t first) {
    enum { TOKENS = 512 };
    size_t end = first + 1;
    while (end < chunks->n_chunks && chunks->start[end + 1] - chunks->start[first] <= TOKENS) {
        end++;
    }
    return end;
}

/* Prefills a document's chunks. *n_busy: groups of which another process computes some. */
static iflow_status prefill_document(ingestion *in, const document *doc, const chunk_list *chunks, char (*id)[IFLOW_ID_SIZE],
                                     size_t *n_busy) {
    const double n_all = (double)chunk_list_tokens(chunks), n_bytes = (double)doc->source_bytes;
    for (size_t i = 0, end; i < chunks->n_chunks; i = end) {
        size_t n_computed = 0;
        double seconds = 0;
        end = together(chunks, i);
        const iflow_status status = prefill(in, chunks, i, end, id, &n_computed, &seconds);
        if (status != IFLOW_OK && status != IFLOW_E_BUSY) {
            return status;
        }
        *n_busy += status == IFLOW_E_BUSY;
        pace_pass(&in->pace, (double)doc->source_at + (double)chunks->start[end] / n_all * n_bytes, (double)n_computed / n_all * n_bytes,
                  seconds);
        show(in, doc->name, false);
    }
    return IFLOW_OK;
}

/* ---- Documents ---------------------------------------------------------------------------------------------------------------------- */

/* Records a document whose chunks are all there. */
static iflow_status record(ingestion *in, const char *name, char *recorded, const chunk_list *chunks, char (*id)[IFLOW_ID_SIZE]) {
    iflow_document doc = {.name = recorded, .chunk_id = id, .n_chunks = chunks->n_chunks, .n_tokens = chunk_list_tokens(chunks)};
    memcpy(doc.fingerprint, iflow_model_get_info(in->model).fingerprint, sizeof doc.fingerprint);
    const iflow_status status = iflow_store_put_document(in->store, &doc);
    if (status != IFLOW_OK && status != IFLOW_E_CANCELLED) { /* the store takes no record: the next one neither */
        give_up(in, status, name);
    }
    if (status != IFLOW_OK) {
        return status;
    }
    in->n_documents++;
    if (in->events.recorded) {
        in->events.recorded(&doc, name, in->events.user);
    }
    return IFLOW_OK;
}

/* Takes a document over that waits for another process. */
static iflow_status wait_later(ingestion *in, const ingestion_waiting *doc) {
    const iflow_status status = iflow_reserve((void **)&in->waiting, &in->capacity, in->n_waiting + 1, sizeof *in->waiting);
    if (status == IFLOW_OK) {
        in->waiting[in->n_waiting++] = *doc;
    }
    return status;
}

static void waiting_free(ingestion_waiting *doc) {
    free(doc->name);
    free(doc->recorded);
    free(doc->id);
    chunk_list_free(&doc->chunks);
}

static iflow_status ingest_document(document *doc, bool *more, void *user) {
    ingestion *in = user;
    ingestion_waiting now = {0};
    size_t n_busy = 0;
    (void)more;
    pace_pass(&in->pace, (double)doc->source_at, 0, 0); /* what came before it and was no document */
    show(in, doc->name, false);
    iflow_status status = record_names_of(&in->names, doc, &now.recorded);
    if (status != IFLOW_OK) {
        goto cleanup;
    }
    status = document_cut(in->model, doc, in->chunk_tokens, &now.chunks);
    now.id = status == IFLOW_OK ? iflow_calloc(now.chunks.n_chunks, sizeof *now.id) : NULL;
    if (status == IFLOW_OK && !now.id) {
        status = iflow_fail_memory(now.chunks.n_chunks * sizeof *now.id);
    }
    if (status == IFLOW_OK) {
        status = prefill_document(in, doc, &now.chunks, now.id, &n_busy);
    }
    if (status == IFLOW_E_CANCELLED) {
        goto cleanup;
    }
    if (status != IFLOW_OK) {
        status = give_up(in, status, doc->name);
    } else if (n_busy == 0) {
        status = record(in, doc->name, now.recorded, &now.chunks, now.id);
    } else {
        now.name = doc->name;
        status = wait_later(in, &now);
        doc->name = status == IFLOW_OK ? NULL : doc->name;
        now = status == IFLOW_OK ? (ingestion_waiting){0} : now;
        now.name = NULL;
    }
cleanup:
    pace_pass(&in->pace, (double)(doc->source_at + doc->source_bytes), 0, 0);
    waiting_free(&now);
    document_free(doc);
    return status == IFLOW_OK ? iflow_cancel_check() : status;
}

/* The chunks of a document that another process had in hand. It finishes them, or dies and leaves them to us; the library waits for one no
 * longer than half a minute, and says for whom. */
static iflow_status finish_document(ingestion *in, ingestion_waiting *doc) {
    iflow_status status = IFLOW_OK;
    for (size_t i = 0; i < doc->chunks.n_chunks && status == IFLOW_OK; i++) {
        size_t n_computed = 0;
        double seconds = 0;
        while (!doc->id[i][0] && (status = prefill(in, &doc->chunks, i, i + 1, doc->id, &n_computed, &seconds)) == IFLOW_E_BUSY) {
            show(in, doc->name, true);
            nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
        }
    }
    if (status == IFLOW_E_CANCELLED) {
        return status;
    }
    return status == IFLOW_OK ? record(in, doc->name, doc->recorded, &doc->chunks, doc->id) : give_up(in, status, doc->name);
}

iflow_status ingestion_run(ingestion *in) {
    in->pace.whole = in->sources->is_open ? 0 : (double)in->sources->n_bytes;
    iflow_status status = documents_read(in->sources, in->jsonl, ingest_document, in);
    status = status == IFLOW_OK ? iflow_cancel_check() : status;
    for (size_t i = 0; i < in->n_waiting && status == IFLOW_OK; i++) {
        status = finish_document(in, &in->waiting[i]);
    }
    return status;
}

void ingestion_free(ingestion *in) {
    for (size_t i = 0; i < in->n_waiting; i++) {
        waiting_free(&in->waiting[i]);
    }
    free(in->waiting);
    in->waiting = NULL;
    in->n_waiting = in->capacity = 0;
    record_names_free(&in->names);
}
