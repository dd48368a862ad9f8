/* chunk_builder.c - finds chunks in the store, or has them computed, once each, and keeps them. */
#include "flow/chunk_builder.h"

#include "base/cancel.h"
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    MAX_TOGETHER = 16, /* chunks in one pass */
    MIN_TOGETHER = 32, /* tokens of each, where there are several: ggml multiplies fewer rows in another order */
    PAUSE_MS = 20,     /* between two checks for a chunk that another computes */
};

static void init_prefixes(iflow_chunk_builder *b) {
    for (size_t i = 0; i < sizeof b->prefix / sizeof *b->prefix; i++) {
        iflow_cache_init(&b->prefix[i].cache, b->model, b->engine, true);
        b->prefix[i].n = 0;
    }
}

iflow_status iflow_builder_init(iflow_chunk_builder *b, const iflow_model *model, iflow_store *store, iflow_engine *engine, int n_ctx,
                                int fillers) {
    *b = (iflow_chunk_builder){
        .model = model, .store = store, .engine = engine, .n_ctx = n_ctx, .fillers = fillers, .waits.patience_ms = IFLOW_LEASE_PATIENCE_MS};
    init_prefixes(b);
    b->layer = iflow_kv_layers_alike(model->h.n_layer, model->n_embd_kv);
    const iflow_status status =
        b->layer ? iflow_texts_make(model, &b->texts) : iflow_fail_memory((size_t)model->h.n_layer * sizeof *b->layer);
    for (int i = 0; !status && i <= IFLOW_MAX_FILLERS; i++) {
        iflow_hash_hex(b->texts.token, b->texts.end[i] * sizeof b->texts.token[0], b->prefix_id[i]);
    }
    return status;
}

static void free_prefixes(iflow_chunk_builder *b) {
    for (size_t i = 0; i < sizeof b->prefix / sizeof *b->prefix; i++) {
        iflow_cache_free(&b->prefix[i].cache);
    }
}

void iflow_builder_free(iflow_chunk_builder *b) {
    free_prefixes(b);
    free(b->waits.entry);
    free(b->texts.token);
    free(b->layer);
}

void iflow_builder_drop_rows(iflow_chunk_builder *b) {
    free_prefixes(b);
    init_prefixes(b);
}

iflow_chunk_identity iflow_builder_identity(const iflow_chunk_builder *b, const iflow_context_chunk *chunk) {
    iflow_chunk_identity identity = {
        .prefix = b->texts.token,
        .n_prefix = chunk->fillers == IFLOW_NO_PREFIX ? 0 : b->texts.end[chunk->fillers],
        .token = chunk->token,
        .n_tokens = chunk->n_tokens,
        .layer = b->layer,
        .n_layer = b->model->h.n_layer,
        .type = chunk->type,
        .exact = b->model->exact,
    };
    memcpy(identity.fingerprint, b->model->fingerprint, sizeof identity.fingerprint);
    return identity;
}

iflow_context_chunk iflow_builder_chunk(const iflow_chunk_builder *b, int32_t *tokens, size_t n_tokens, iflow_kv_type type, int fillers) {
    iflow_context_chunk chunk = {.token = tokens, .n_tokens = n_tokens, .type = type, .fillers = fillers};
    const iflow_chunk_identity identity = iflow_builder_identity(b, &chunk);
    iflow_chunk_id(&identity, chunk.id);
    return chunk;
}

/* Whether a chunk is kept with all that is to be known of it. */
static bool is_kept(const iflow_chunk_builder *b, const iflow_context_chunk *chunk, bool estimate) {
    iflow_chunk_info info;
    return estimate ? !b->store->ops->stat(b->store, chunk->id, &info) && info.has_staleness : b->store->ops->has(b->store, chunk->id);
}

static iflow_status keep(iflow_chunk_builder *b, const iflow_chunk *chunk) {
    return b->store->ops->put(b->store, chunk->id, &chunk->blob, chunk->staleness != NULL); /* in place of one that knows less */
}

/* ---- One chunk ---------------------------------------------------------------------------------------------------------------------- */

/* Finds a chunk that knows all that is wanted of it; NULL: there is none. */
static iflow_chunk *find(iflow_chunk_builder *b, const iflow_context_chunk *chunk, bool estimate) {
    iflow_chunk *found = NULL;
    const iflow_status status = iflow_store_get_chunk(b->store, chunk->id, &found);
    if (status && status != IFLOW_E_NOT_FOUND) {
        iflow_log(IFLOW_LOG_WARN, "%s; it is computed again", iflow_error_message());
    }
    if (found && estimate && !found->staleness) {
        iflow_chunk_free(found);
        found = NULL;
    }
    return found;
}

/* Whether a chunk is to be computed here: it is not kept, and nobody else has its lease (E_BUSY). *leased: it has to be released. */
static iflow_status lease(iflow_chunk_builder *b, const iflow_context_chunk *chunk, bool estimate, bool *wanted, bool *leased) {
    *leased = false;
    if (!(*wanted = !is_kept(b, chunk, estimate))) {
        iflow_lease_wait_end(&b->waits, chunk->id);
        return IFLOW_OK;
    }
    const iflow_status status = b->store->ops->lease(b->store, chunk->id);
    if (status) {
        return status == IFLOW_E_BUSY ? iflow_lease_wait_for(&b->waits, chunk->id) : status;
    }
    *leased = true;
    iflow_lease_wait_end(&b->waits, chunk->id);
    if (!(*wanted = !is_kept(b, chunk, estimate))) { /* published between the check and the lease */
        b->store->ops->release(b->store, chunk->id);
        *leased = false;
    }
    return IFLOW_OK;
}

/* Waits for who has the lease of a chunk, or takes it. *leased: it has to be released. *out: the chunk, if somebody made it meanwhile.
 * Where the store gives no lease (a full disk, or the wait was long enough), the chunk is computed without. E_CANCELLED. */
static iflow_status lease_or_find(iflow_chunk_builder *b, const iflow_context_chunk *chunk, bool estimate, bool *leased,
                                  iflow_chunk **out) {
    bool wanted = true;
    iflow_status status;
    while ((status = lease(b, chunk, estimate, &wanted, leased)) == IFLOW_E_BUSY) {
        nanosleep(&(struct timespec){.tv_nsec = PAUSE_MS * 1000000L}, NULL);
        if ((status = iflow_cancel_check())) {
            return status;
        }
    }
    *out = status || wanted ? NULL : find(b, chunk, estimate);
    return IFLOW_OK;
}

iflow_status iflow_builder_get(iflow_chunk_builder *b, const iflow_context_chunk *chunk, bool estimate, iflow_chunk **out,
                               iflow_timings *ms) {
    const double start = iflow_now_ms();
    bool leased = false;
    iflow_status status = iflow_cancel_check();
    status = status ? status : iflow_own_add(b->store->own, chunk->id);
    if (status) {
        return status;
    }
    estimate = estimate && chunk->fillers != IFLOW_NO_PREFIX;
    *out = find(b, chunk, estimate);
    if (*out) {
        ms->load += iflow_now_ms() - start;
        return IFLOW_OK;
    }
    status = lease_or_find(b, chunk, estimate, &leased, out);
    if (!status && !*out && !(status = iflow_builder_compute(b, chunk, 1, estimate, out)) && keep(b, *out)) {
        iflow_log(IFLOW_LOG_WARN, "a chunk could not be kept: %s", iflow_error_message());
    }
    if (leased) {
        b->store->ops->release(b->store, chunk->id);
    }
    ms->prefill += iflow_now_ms() - start;
    return status;
}

/* ---- Several ------------------------------------------------------------------------------------------------------------------------ */

/* Chunks that are to be computed in one pass. */
typedef struct batch {
    iflow_context_chunk chunk[MAX_TOGETHER];
    bool leased[MAX_TOGETHER];
    size_t n, n_tokens;
} batch;

/* Whether a chunk can go with those of a batch. Few tokens alone take other kernels, so that their file would tell who was with them; exact
 * is what libllama does with one sequence; and a chunk that is there twice is computed once. */
static bool batch_takes(const iflow_chunk_builder *b, const batch *t, const iflow_context_chunk *chunk) {
    for (size_t i = 0; i < t->n; i++) {
        if (b->model->exact || t->chunk[i].n_tokens < MIN_TOGETHER || !strcmp(t->chunk[i].id, chunk->id)) {
            return false;
        }
    }
    return !t->n || (t->n < MAX_TOGETHER && t->n_tokens + chunk->n_tokens <= IFLOW_DEFAULT_UBATCH && chunk->n_tokens >= MIN_TOGETHER);
}

/* Computes and keeps a batch's chunks, unless something failed before (status), gives up their leases, and empties it. */
static iflow_status batch_run(iflow_chunk_builder *b, batch *t, bool estimate, iflow_status status) {
    iflow_chunk *made[MAX_TOGETHER] = {NULL};
    if (!status && t->n) {
        status = iflow_builder_compute(b, t->chunk, t->n, estimate, made);
    }
    for (size_t i = 0; i < t->n; i++) {
        if (!status && made[i]) {
            status = keep(b, made[i]);
            status = status == IFLOW_E_BUSY ? IFLOW_E_IO : status; /* the store as a whole: that is no chunk to wait for */
        }
        iflow_chunk_free(made[i]);
        if (t->leased[i]) {
            b->store->ops->release(b->store, t->chunk[i].id);
        }
    }
    t->n = t->n_tokens = 0;
    return status;
}

iflow_status iflow_builder_make(iflow_chunk_builder *b, const iflow_context_chunk *chunk, size_t n, bool estimate, bool *was_stored,
                                bool *is_leased) {
    iflow_status status = IFLOW_OK;
    bool any_leased = false;
    batch t = {.n = 0};
    for (size_t i = 0; !status && i < n; i++) {
        bool wanted = false, leased = false;
        if ((status = iflow_cancel_check()) || (status = iflow_own_add(b->store->own, chunk[i].id))) {
            break;
        }
        if (!batch_takes(b, &t, &chunk[i]) && (status = batch_run(b, &t, estimate, IFLOW_OK))) {
            break;
        }
        status = lease(b, &chunk[i], estimate, &wanted, &leased);
        is_leased[i] = status == IFLOW_E_BUSY;
        was_stored[i] = !status && !wanted;
        if (!status && wanted) {
            t.leased[t.n] = leased;
            t.chunk[t.n++] = chunk[i];
            t.n_tokens += chunk[i].n_tokens;
        }
        any_leased = any_leased || is_leased[i];
        status = is_leased[i] ? IFLOW_OK : status;
    }
    status = batch_run(b, &t, estimate, status);
    return !status && any_leased ? IFLOW_E_BUSY : status;
}
