/* context.c - an inference timeline: its chunks, and prefilling them (algorithm.md, step 1). */
#include "flow/context.h"

#include "flow/samples.h"

#include <stdlib.h>
#include <string.h>

enum {
    MAX_TOGETHER = 16, /* chunks in one pass */
    MIN_TOGETHER = 32, /* tokens of each, where there are several: ggml multiplies fewer rows in another order */
};

/* That a correction is for chunks behind the texts that there are now. */
static iflow_status check_correction(const iflow_context *ctx, const iflow_correction *c) {
    if (c && strcmp(c->lead, ctx->lead_id[c->info.behind]) != 0) {
        return iflow_fail(IFLOW_E_ARG, "the correction %s was learned from chunks behind other texts than this version's: learn it again",
                          c->path);
    }
    return IFLOW_OK;
}

iflow_status iflow_context_new(const iflow_model *model, iflow_store *store, const iflow_context_params *params, iflow_context **out) {
    static const iflow_context_params defaults = {0};
    if (IFLOW_MISSING(model) || IFLOW_MISSING(out)) {
        return IFLOW_E_ARG;
    }
    params = params ? params : &defaults;
    iflow_kv_type kv_type = IFLOW_KV_F16;
    iflow_status status = iflow_context_check_params(model, params);
    if (status || (status = iflow_kv_type_from_name(params->kv_type, &kv_type))) {
        return status;
    }
    iflow_context *ctx = calloc(1, sizeof *ctx);
    if (!ctx) {
        return iflow_fail_memory(sizeof *ctx);
    }
    ctx->model = model;
    ctx->store = store;
    ctx->n_ctx = params->n_ctx ? params->n_ctx : model->h.n_ctx_train < IFLOW_MAX_CTX ? model->h.n_ctx_train : IFLOW_MAX_CTX;
    ctx->chunk_tokens = params->chunk_tokens;
    ctx->kv_type = kv_type;
    ctx->behind = params->alone ? 0 : params->behind ? params->behind : IFLOW_DEFAULT_BEHIND;
    ctx->foresee = params->foresee;
    ctx->busy.patience_ms = IFLOW_BUSY_PATIENCE_MS;
    ctx->correction = params->correction;
    ctx->turn.pending = -1;
    ctx->layer = iflow_kv_layers_alike(model->h.n_layer, model->n_embd_kv);
    status = ctx->layer ? IFLOW_OK : iflow_fail_memory((size_t)model->h.n_layer * sizeof *ctx->layer);
    if (status || (status = iflow_engine_new(model, params->n_ubatch, params->n_threads, &ctx->engine)) ||
        (status = iflow_texts_make(model, &ctx->texts))) {
        iflow_context_free(ctx);
        return status;
    }
    for (int i = 0; i <= IFLOW_MAX_BEHIND; i++) {
        iflow_hash_hex(ctx->texts.token, ctx->texts.end[i] * sizeof ctx->texts.token[0], ctx->lead_id[i]);
    }
    if ((status = check_correction(ctx, params->correction))) {
        iflow_context_free(ctx);
        return status;
    }
    iflow_cache_init(&ctx->cache, model, ctx->engine, false);
    for (size_t i = 0; i < sizeof ctx->lead / sizeof *ctx->lead; i++) {
        iflow_cache_init(&ctx->lead[i].cache, model, ctx->engine, true);
    }
    *out = ctx;
    return IFLOW_OK;
}

void iflow_context_free(iflow_context *ctx) {
    if (!ctx) {
        return;
    }
    iflow_context_clear(ctx);
    for (size_t i = 0; i < ctx->n_memory; i++) {
        iflow_chunk_free(ctx->memory[i]);
    }
    free(ctx->memory);
    free(ctx->busy.entry);
    free(ctx->chunk);
    iflow_cache_free(&ctx->cache);
    for (size_t i = 0; i < sizeof ctx->lead / sizeof *ctx->lead; i++) {
        iflow_cache_free(&ctx->lead[i].cache);
    }
    free(ctx->texts.token);
    free(ctx->layer);
    iflow_engine_free(ctx->engine);
    free(ctx);
}

void iflow_context_clear(iflow_context *ctx) {
    if (!ctx || ctx->answering) {
        return;
    }
    for (size_t i = 0; i < ctx->n_chunks; i++) {
        free(ctx->chunk[i].token);
    }
    ctx->n_chunks = 0;
    free(ctx->turn.between);
    free(ctx->turn.footer);
    free(ctx->turn.logits);
    memset(&ctx->turn, 0, sizeof ctx->turn);
    ctx->turn.pending = -1;
}

void iflow_context_drop_rows(iflow_context *ctx) {
    iflow_cache_free(&ctx->cache);
    iflow_cache_init(&ctx->cache, ctx->model, ctx->engine, false);
    for (size_t i = 0; i < sizeof ctx->lead / sizeof *ctx->lead; i++) {
        iflow_cache_free(&ctx->lead[i].cache);
        iflow_cache_init(&ctx->lead[i].cache, ctx->model, ctx->engine, true);
        ctx->lead[i].n = 0;
    }
    ctx->turn.n_rows = 0;
    ctx->turn.pending = -1;
}

static iflow_chunk_identity identity_of(const iflow_context *ctx, const iflow_context_chunk *chunk) {
    iflow_chunk_identity identity = {
        .root = ctx->texts.token,
        .n_root = chunk->behind == IFLOW_BEHIND_NOTHING ? 0 : ctx->texts.end[chunk->behind],
        .token = chunk->token,
        .n_tokens = chunk->n_tokens,
        .layer = ctx->layer,
        .n_layer = ctx->model->h.n_layer,
        .type = chunk->type,
        .exact = ctx->model->exact,
    };
    memcpy(identity.fingerprint, ctx->model->fingerprint, sizeof identity.fingerprint);
    return identity;
}

iflow_context_chunk iflow_context_chunk_of(const iflow_context *ctx, int32_t *tokens, size_t n_tokens, iflow_kv_type type, int behind) {
    iflow_context_chunk chunk = {.token = tokens, .n_tokens = n_tokens, .type = type, .behind = behind};
    const iflow_chunk_identity identity = identity_of(ctx, &chunk);
    iflow_chunk_id(&identity, chunk.id);
    return chunk;
}

/* Values [n_layer, 2 (K before RoPE, V), n_tokens, n_embd_kv] of a chunk's KV in one layer. */
static size_t layer_values(const iflow_context *ctx, const iflow_context_chunk *chunk) {
    return 2 * chunk->n_tokens * (size_t)ctx->model->n_embd_kv;
}

static size_t next_block(size_t row) {
    return (row + IFLOW_ROWS_BLOCK - 1) / IFLOW_ROWS_BLOCK * IFLOW_ROWS_BLOCK;
}

/* Puts a lead's rows where they are not there yet; pos: 0, 1, 2, ... */
static iflow_status prefill_lead(iflow_context *ctx, int text, const int32_t *pos) {
    if (text == IFLOW_BEHIND_NOTHING || ctx->lead[text + 1].n) {
        return IFLOW_OK;
    }
    iflow_tokens lead = {0};
    iflow_status status = iflow_texts_lead(&ctx->texts, text, &lead);
    if (!status && lead.n) {
        const iflow_pass pass = {.token = lead.token, .pos = pos, .row = pos, .n = (int)lead.n, .fixed_slices = true};
        status = iflow_engine_forward(ctx->engine, &ctx->lead[text + 1].cache.rows, &pass);
        ctx->lead[text + 1].n = status ? 0 : (int)lead.n;
    }
    free(lead.token);
    return status;
}

/* A chunk while it is computed. */
typedef struct making {
    const iflow_context_chunk *chunk;
    uint16_t *values, *other; /* as in layer_values: of the last prefill, then the mean; of one more for foreseen, or NULL */
    float *foreseen;          /* [n_tokens], or NULL */
    iflow_samples samples;
} making;

/* Whether this context wants to know how stale a chunk's tokens will be. What is prefilled more than once tells without being asked. */
static bool wants_foreseen(const iflow_context *ctx, const iflow_context_chunk *chunk) {
    return ctx->foresee && chunk->behind != IFLOW_BEHIND_NOTHING;
}

static void making_free(making *m) {
    free(m->values);
    free(m->other);
    free(m->foreseen);
    iflow_samples_free(&m->samples);
}

static iflow_status making_begin(const iflow_context *ctx, const iflow_context_chunk *chunk, making *m) {
    const size_t n_layer = (size_t)ctx->model->h.n_layer, n_values = n_layer * layer_values(ctx, chunk);
    const bool foresee = wants_foreseen(ctx, chunk) || chunk->behind > 1, one_more = foresee && chunk->behind <= 1;
    *m = (making){.chunk = chunk, .samples = {.n_layer = n_layer, .n = chunk->n_tokens, .n_embd_kv = (size_t)ctx->model->n_embd_kv}};
    m->values = iflow_calloc(n_values, sizeof *m->values);
    m->other = one_more ? iflow_calloc(n_values, sizeof *m->other) : NULL;
    m->foreseen = foresee ? iflow_calloc(chunk->n_tokens, sizeof *m->foreseen) : NULL;
    return m->values && (m->other || !one_more) && (m->foreseen || !foresee) ? IFLOW_OK : iflow_fail_memory(n_values * sizeof *m->values);
}

/* Runs chunks behind a text (0: the sink; or nothing), each as if it were alone, and keeps their rows. The text runs once for all chunks;
 * several chunks are sequences that share its rows, and fit a slice. */
static iflow_status prefill(iflow_context *ctx, making *m, size_t n_chunks, int text, bool other) {
    iflow_cache *cache = &ctx->lead[text + 1].cache;
    const size_t n_layer = (size_t)ctx->model->h.n_layer;
    const size_t n_sink = text == IFLOW_BEHIND_NOTHING ? 0 : ctx->texts.end[0];
    const size_t n_before = n_sink + (text > 0 ? ctx->texts.end[text] - ctx->texts.end[text - 1] : 0);
    size_t n = 0, end = next_block(n_before); /* tokens; rows */
    for (size_t c = 0; c < n_chunks; c++) {
        const size_t n_tokens = m[c].chunk->n_tokens;
        if (n_before + n_tokens > (size_t)ctx->n_ctx) {
            return iflow_context_chunk_too_long(ctx, n_before, n_tokens);
        }
        iflow_context_warn_beyond(ctx, n_before + n_tokens);
        n += n_tokens;
        end = next_block(end) + n_tokens;
    }
    int32_t *at = iflow_calloc(4 * n + n_before, sizeof *at); /* of the chunks' tokens, then positions and rows of the lead's */
    if (!at) {
        return iflow_fail_memory((4 * n + n_before) * sizeof *at);
    }
    int32_t *token = at, *pos = at + n, *row = at + 2 * n, *seq = at + 3 * n, *before = at + 4 * n;
    for (size_t i = 0; i < n_before; i++) {
        before[i] = (int32_t)i;
    }
    for (size_t c = 0, i = 0, first = n_before; c < n_chunks; c++) {
        first = next_block(first);
        for (size_t t = 0; t < m[c].chunk->n_tokens; t++, i++) {
            token[i] = m[c].chunk->token[t];
            pos[i] = (int32_t)(n_before + t);
            row[i] = (int32_t)first++;
            seq[i] = (int32_t)c;
        }
    }
    iflow_status status = iflow_cache_reserve(cache, (int)end);
    if (!status) {
        iflow_cache_truncate(cache, ctx->lead[text + 1].n);
        status = prefill_lead(ctx, text, before);
    }
    if (!status) {
        const iflow_pass pass = {.token = token,
                                 .pos = pos,
                                 .row = row,
                                 .n = (int)n,
                                 .seq = n_chunks > 1 ? seq : NULL,
                                 .n_seq = (int)n_chunks,
                                 .n_shared = (int)n_before,
                                 .fixed_slices = true};
        status = iflow_engine_forward(ctx->engine, &cache->rows, &pass);
    }
    for (size_t c = 0, i = 0; !status && c < n_chunks; i += m[c++].chunk->n_tokens) {
        const size_t n_values = layer_values(ctx, m[c].chunk);
        for (size_t il = 0; il < n_layer; il++) {
            uint16_t *k = (other ? m[c].other : m[c].values) + il * n_values;
            iflow_cache_read_raw(cache, (int)il, row[i], (int)m[c].chunk->n_tokens, k, k + n_values / 2);
        }
    }
    free(at);
    return status;
}

/* Prefills chunks behind each of their texts: values, the mean. One prefill does not tell what is foreseen, so that there is another then.
 */
static iflow_status prefill_behind(iflow_context *ctx, making *m, size_t n_chunks) {
    const int behind = m->chunk->behind;
    iflow_status status = IFLOW_OK;
    for (int text = behind > 0 ? 1 : behind; !status && text <= behind; text++) {
        status = prefill(ctx, m, n_chunks, text, false);
        for (size_t c = 0; !status && m->foreseen && c < n_chunks; c++) {
            status = iflow_samples_add(&m[c].samples, m[c].values);
        }
    }
    if (!status && m->other) {
        status = prefill(ctx, m, n_chunks, behind ? 0 : 1, true);
        for (size_t c = 0; !status && c < n_chunks; c++) {
            status = iflow_samples_add(&m[c].samples, m[c].other);
        }
    }
    for (size_t c = 0; !status && c < n_chunks; c++) {
        if (behind > 1) {
            iflow_samples_mean(&m[c].samples, m[c].values);
        }
        if (m[c].foreseen) {
            iflow_samples_spread(&m[c].samples, m[c].foreseen);
        }
    }
    return status;
}

/* A chunk file of what was computed. */
static iflow_status making_encode(const iflow_context *ctx, const making *m, iflow_blob *out) {
    const iflow_chunk_identity identity = identity_of(ctx, m->chunk);
    const size_t n_layer = (size_t)identity.n_layer, n_values = layer_values(ctx, m->chunk);
    const uint16_t **rows = iflow_calloc(n_layer * 2, sizeof *rows); /* K of all layers, then V */
    if (!rows) {
        return iflow_fail_memory(n_layer * 2 * sizeof *rows);
    }
    for (size_t il = 0; il < n_layer; il++) {
        rows[il] = m->values + il * n_values;
        rows[n_layer + il] = rows[il] + n_values / 2;
    }
    const iflow_status status = iflow_chunk_encode(&identity, rows, rows + n_layer, m->foreseen, out);
    free(rows);
    return status;
}

static iflow_chunk *in_memory(const iflow_context *ctx, const char *id) {
    for (size_t i = 0; i < ctx->n_memory; i++) {
        if (!strcmp(ctx->memory[i]->id, id)) {
            return ctx->memory[i];
        }
    }
    return NULL;
}

/* Keeps a chunk that was just computed: in the store, else in memory. It takes the place of one that knows less. */
static iflow_status keep(iflow_context *ctx, iflow_chunk *chunk, bool *owned) {
    *owned = true;
    if (ctx->store) {
        return ctx->store->ops->put(ctx->store, chunk->id, &chunk->blob, chunk->foreseen != NULL);
    }
    for (size_t i = 0; i < ctx->n_memory; i++) {
        if (!strcmp(ctx->memory[i]->id, chunk->id)) {
            iflow_chunk_free(ctx->memory[i]);
            ctx->memory[i] = chunk;
            *owned = false;
            return IFLOW_OK;
        }
    }
    const iflow_status status = iflow_reserve((void **)&ctx->memory, &ctx->memory_capacity, ctx->n_memory + 1, sizeof(iflow_chunk *));
    if (!status) {
        ctx->memory[ctx->n_memory++] = chunk;
        *owned = false;
    }
    return status;
}

/* Whether a chunk is kept with all that this context wants to know of it. */
static bool is_kept(const iflow_context *ctx, const iflow_context_chunk *chunk) {
    const bool foresee = wants_foreseen(ctx, chunk);
    if (!ctx->store) {
        const iflow_chunk *found = in_memory(ctx, chunk->id);
        return found && (!foresee || found->foreseen);
    }
    iflow_chunk_info info;
    return foresee ? !ctx->store->ops->stat(ctx->store, chunk->id, &info) && info.foreseen : ctx->store->ops->has(ctx->store, chunk->id);
}

/* Computes chunks that are prefilled alike, together; out [n]. */
static iflow_status compute(iflow_context *ctx, const iflow_context_chunk *chunk, size_t n, iflow_chunk **out) {
    iflow_status status = IFLOW_OK;
    making *m = iflow_calloc(n, sizeof *m);
    if (!m) {
        return iflow_fail_memory(n * sizeof *m);
    }
    memset(out, 0, n * sizeof *out);
    for (size_t i = 0; !status && i < n; i++) {
        status = making_begin(ctx, &chunk[i], &m[i]);
    }
    status = status ? status : prefill_behind(ctx, m, n);
    status = status ? status : iflow_model_unchanged(ctx->model); /* else the chunk were of other weights than its id says */
    for (size_t i = 0; !status && i < n; i++) {
        iflow_blob blob = {0};
        status = making_encode(ctx, &m[i], &blob);
        if (!status && (status = iflow_chunk_decode(&blob, chunk[i].id, chunk[i].id, &out[i]))) {
            iflow_blob_free(&blob);
        }
    }
    for (size_t i = 0; i < n; i++) {
        making_free(&m[i]);
        if (status) {
            iflow_chunk_free(out[i]);
            out[i] = NULL;
        }
    }
    free(m);
    return status;
}

iflow_status iflow_context_obtain(iflow_context *ctx, const iflow_context_chunk *chunk, iflow_chunk **out, bool *owned, iflow_timings *ms) {
    const double start = iflow_now_ms();
    *owned = false;
    iflow_chunk *found = ctx->store ? NULL : in_memory(ctx, chunk->id);
    if (ctx->store) {
        const iflow_status status = iflow_store_get_chunk(ctx->store, chunk->id, &found);
        *owned = !status;
        if (status && status != IFLOW_E_NOT_FOUND) {
            iflow_log(IFLOW_LOG_WARN, "%s; it is computed again", iflow_error_message());
        }
    }
    if (found && wants_foreseen(ctx, chunk) && !found->foreseen) {
        if (*owned) {
            iflow_chunk_free(found);
        }
        found = NULL;
    }
    if (found) {
        ms->load += iflow_now_ms() - start;
        *out = found;
        return IFLOW_OK;
    }
    iflow_status status = compute(ctx, chunk, 1, out);
    if (!status && keep(ctx, *out, owned)) {
        iflow_log(IFLOW_LOG_WARN, "a chunk could not be kept: %s", iflow_error_message());
    }
    ms->prefill += iflow_now_ms() - start;
    return status;
}

/* Chunks that are to be computed in one pass; claimed, where there is a store. */
typedef struct batch {
    iflow_context_chunk chunk[MAX_TOGETHER];
    bool claimed[MAX_TOGETHER];
    size_t n, n_tokens;
} batch;

/* Whether a chunk can go with those of a batch. Few tokens alone take other kernels, so that their file would tell who was with them; exact
 * is what libllama does with one sequence; and a chunk that is there twice is computed once. */
static bool batch_takes(const iflow_context *ctx, const batch *b, const iflow_context_chunk *chunk) {
    for (size_t i = 0; i < b->n; i++) {
        if (ctx->model->exact || b->chunk[i].n_tokens < MIN_TOGETHER || !strcmp(b->chunk[i].id, chunk->id)) {
            return false;
        }
    }
    return !b->n || (b->n < MAX_TOGETHER && b->n_tokens + chunk->n_tokens <= IFLOW_DEFAULT_UBATCH && chunk->n_tokens >= MIN_TOGETHER);
}

/* Computes and keeps a batch's chunks, unless something failed before (status), gives up their claims, and empties it. */
static iflow_status batch_run(iflow_context *ctx, batch *b, iflow_status status) {
    iflow_chunk *made[MAX_TOGETHER] = {NULL};
    if (!status && b->n) {
        status = compute(ctx, b->chunk, b->n, made);
    }
    for (size_t i = 0; i < b->n; i++) {
        bool owned = made[i] != NULL;
        if (!status && made[i]) {
            status = keep(ctx, made[i], &owned);
            status = status == IFLOW_E_BUSY ? IFLOW_E_IO : status; /* the store as a whole: that is no chunk to wait for */
        }
        if (owned) {
            iflow_chunk_free(made[i]);
        }
        if (b->claimed[i]) {
            ctx->store->ops->release(ctx->store, b->chunk[i].id);
        }
    }
    b->n = b->n_tokens = 0;
    return status;
}

/* Whether this process is to compute a chunk: it is not kept, and nobody else has claimed it (E_BUSY). *claimed: it has to be released. */
static iflow_status claim(iflow_context *ctx, const iflow_context_chunk *chunk, bool *wanted, bool *claimed) {
    *claimed = false;
    if (!(*wanted = !is_kept(ctx, chunk)) || !ctx->store) {
        iflow_busy_forget(&ctx->busy, chunk->id);
        return IFLOW_OK;
    }
    const iflow_status status = ctx->store->ops->lease(ctx->store, chunk->id);
    if (status) {
        return status == IFLOW_E_BUSY ? iflow_busy_wait(&ctx->busy, chunk->id) : status;
    }
    *claimed = true;
    iflow_busy_forget(&ctx->busy, chunk->id);
    /* Another process may have published it between the look and the claim. */
    if (!(*wanted = !is_kept(ctx, chunk))) {
        ctx->store->ops->release(ctx->store, chunk->id);
        *claimed = false;
    }
    return IFLOW_OK;
}

iflow_status iflow_context_prefill_several(iflow_context *ctx, const int32_t *tokens, const size_t *start, size_t n_chunks,
                                           char (*ids)[IFLOW_ID_SIZE], bool *was_stored) {
    iflow_status status = IFLOW_OK;
    if (IFLOW_UNUSABLE(ctx) ||
        (n_chunks && (IFLOW_MISSING(tokens) || IFLOW_MISSING(start) || IFLOW_MISSING(ids) || IFLOW_MISSING(was_stored)))) {
        return IFLOW_E_ARG;
    }
    if (n_chunks > IFLOW_MAX_CTX) {
        return iflow_fail(IFLOW_E_ARG, "%zu chunks; at most %d are possible", n_chunks, IFLOW_MAX_CTX);
    }
    for (size_t i = 0; !status && i < n_chunks; i++) {
        status = start[i + 1] < start[i] ? iflow_fail(IFLOW_E_ARG, "start must ascend, but start[%zu] is %zu and start[%zu] %zu", i,
                                                      start[i], i + 1, start[i + 1])
                                         : iflow_context_check_tokens(ctx, "a chunk", tokens + start[i], start[i + 1] - start[i]);
    }
    if (status || !n_chunks) {
        return status;
    }
    const size_t n_all = start[n_chunks] - start[0];
    int32_t *copy = iflow_calloc(n_all, sizeof *copy);
    if (!copy) {
        return iflow_fail_memory(n_all * sizeof *copy);
    }
    memcpy(copy, tokens + start[0], n_all * sizeof *copy);
    bool busy = false;
    batch b = {.n = 0};
    for (size_t i = 0; !status && i < n_chunks; i++) {
        const size_t n = start[i + 1] - start[i];
        const iflow_context_chunk chunk = iflow_context_chunk_of(ctx, copy + (start[i] - start[0]), n, ctx->kv_type, ctx->behind);
        bool wanted = false, claimed = false;
        if (!batch_takes(ctx, &b, &chunk) && (status = batch_run(ctx, &b, IFLOW_OK))) {
            break;
        }
        status = claim(ctx, &chunk, &wanted, &claimed);
        const bool others = status == IFLOW_E_BUSY;
        memcpy(ids[i], others ? "" : chunk.id, others ? 1 : sizeof chunk.id);
        was_stored[i] = !status && !wanted;
        if (!status && wanted) {
            b.claimed[b.n] = claimed;
            b.chunk[b.n++] = chunk;
            b.n_tokens += n;
        }
        busy = busy || others;
        status = others ? IFLOW_OK : status;
    }
    status = batch_run(ctx, &b, status);
    if (status == IFLOW_E_NOT_FINITE) {
        iflow_context_drop_rows(ctx);
    }
    free(copy);
    return !status && busy ? IFLOW_E_BUSY : status;
}

iflow_status iflow_context_prefill(iflow_context *ctx, const int32_t *tokens, size_t n_tokens, char id[IFLOW_ID_SIZE], bool *was_stored) {
    char ids[1][IFLOW_ID_SIZE];
    bool stored = false;
    if (IFLOW_UNUSABLE(ctx) || IFLOW_MISSING(tokens)) {
        return IFLOW_E_ARG;
    }
    const iflow_status status = iflow_context_prefill_several(ctx, tokens, (size_t[]){0, n_tokens}, 1, ids, &stored);
    if (!status && id) {
        memcpy(id, ids[0], sizeof ids[0]);
    }
    if (!status && was_stored) {
        *was_stored = stored;
    }
    return status;
}

/* Appends a chunk; takes the tokens over on success. */
static iflow_status append(iflow_context *ctx, int32_t *tokens, size_t n_tokens, iflow_kv_type type, int behind) {
    iflow_status status = iflow_context_check_tokens(ctx, "a chunk", tokens, n_tokens);
    if (!status) {
        status = iflow_reserve((void **)&ctx->chunk, &ctx->chunk_capacity, ctx->n_chunks + 1, sizeof *ctx->chunk);
    }
    if (!status) {
        ctx->chunk[ctx->n_chunks++] = iflow_context_chunk_of(ctx, tokens, n_tokens, type, behind);
    }
    return status;
}

iflow_status iflow_context_add_tokens(iflow_context *ctx, const int32_t *tokens, size_t n_tokens) {
    if (IFLOW_UNUSABLE(ctx) || (n_tokens && IFLOW_MISSING(tokens)) || iflow_context_check_count("a chunk", n_tokens)) {
        return IFLOW_E_ARG;
    }
    int32_t *copy = iflow_calloc(n_tokens, sizeof *copy);
    if (!copy) {
        return iflow_fail_memory(n_tokens * sizeof *copy);
    }
    if (n_tokens) {
        memcpy(copy, tokens, n_tokens * sizeof *copy);
    }
    const iflow_status status = append(ctx, copy, n_tokens, ctx->kv_type, ctx->behind);
    if (status) {
        free(copy);
    }
    return status;
}

/* That a stored chunk is one of this context's model, and computed in the class that the model is loaded for. */
static iflow_status check_origin(const iflow_context *ctx, const iflow_chunk_info *info) {
    if (strcmp(info->fingerprint, ctx->model->fingerprint) != 0) {
        return iflow_fail(
            IFLOW_E_ARG,
            "chunk %s was prefilled with another model, or by a version before 0.2 (fingerprint %.8s, this one is %.8s); ingest its "
            "document with %s",
            info->id, info->fingerprint, ctx->model->fingerprint, ctx->model->path);
    }
    if (info->exact != ctx->model->exact) {
        return iflow_fail(IFLOW_E_ARG,
                          info->exact ? "chunk %s was computed exactly (--exact), and this model was loaded without; ask with --exact, or "
                                        "ingest its document without"
                                      : "chunk %s was computed without --exact, and differs by rounding from what is exact; ingest its "
                                        "document with --exact",
                          info->id);
    }
    return IFLOW_OK;
}

iflow_status iflow_context_add_chunk(iflow_context *ctx, const char *id) {
    if (IFLOW_UNUSABLE(ctx) || IFLOW_MISSING(id)) {
        return IFLOW_E_ARG;
    }
    if (!ctx->store) {
        return iflow_fail(IFLOW_E_ARG, "chunk %s was named by its id, but the context has no store", id);
    }
    iflow_chunk_info info;
    int32_t *tokens = NULL;
    iflow_status status = iflow_store_inspect(ctx->store, id, &info, &tokens);
    status = status ? status : check_origin(ctx, &info);
    if (!status) {
        iflow_kv_type type = IFLOW_KV_F16;
        int behind = info.n_root ? 0 : IFLOW_BEHIND_NOTHING;
        while (behind >= 0 && behind < IFLOW_MAX_BEHIND && (size_t)info.n_root > ctx->texts.end[behind]) {
            behind++;
        }
        status = iflow_kv_type_from_name(info.type, &type);
        if (!status && strcmp(iflow_context_chunk_of(ctx, tokens, (size_t)info.n_tokens, type, behind).id, id) != 0) {
            status = iflow_fail(IFLOW_E_UNSUPPORTED,
                                "chunk %s was prefilled behind %d tokens that are not this version's; ingest its document again", id,
                                info.n_root);
        }
        if (!status && !(status = append(ctx, tokens, (size_t)info.n_tokens, type, behind))) {
            tokens = NULL;
        }
    }
    free(tokens);
    return status;
}

iflow_status iflow_context_add_text(iflow_context *ctx, const char *text, size_t n_bytes, size_t chunk_tokens) {
    if (IFLOW_UNUSABLE(ctx) || (n_bytes && IFLOW_MISSING(text))) {
        return IFLOW_E_ARG;
    }
    if (n_bytes > INT32_MAX) { /* as iflow_cut says, but before the end is looked at */
        return iflow_fail(IFLOW_E_ARG, "a text of %zu bytes; at most %d are possible", n_bytes, INT32_MAX);
    }
    iflow_pieces *pieces = NULL;
    iflow_buffer buffer = {0};
    size_t n_lines = 0;
    while (n_lines < 2 && n_lines < n_bytes && text[n_bytes - 1 - n_lines] == '\n') {
        n_lines++;
    }
    iflow_status status = iflow_buffer_add(&buffer, text, n_bytes);
    if (!status) {
        status = iflow_buffer_add(&buffer, "\n\n", 2 - n_lines);
    }
    if (!status) {
        status = iflow_cut(ctx->model, buffer.text, buffer.n, chunk_tokens ? chunk_tokens : ctx->chunk_tokens, &pieces);
    }
    const size_t n_before = ctx->n_chunks;
    for (size_t i = 0; !status && i < pieces->n_pieces; i++) {
        status = iflow_context_add_tokens(ctx, pieces->token + pieces->piece[i].token_start, pieces->piece[i].n_tokens);
    }
    while (status && ctx->n_chunks > n_before) { /* all of a document or nothing */
        free(ctx->chunk[--ctx->n_chunks].token);
    }
    iflow_pieces_free(pieces);
    iflow_buffer_free(&buffer);
    return status;
}
