/* context.c - an inference timeline: its chunks, and prefilling them (algorithm.md, step 1). */
#include "flow/context.h"

#include "flow/samples.h"

#include <stdlib.h>
#include <string.h>

iflow_status iflow_context_new(const iflow_model *model, iflow_store *store, const iflow_context_params *params, iflow_context **out) {
    static const iflow_context_params defaults = {0};
    params = params ? params : &defaults;
    if (params->n_ctx < 0 || params->n_ubatch < 0 || params->n_threads < 0) {
        return iflow_fail(IFLOW_E_ARG, "n_ctx %d, n_ubatch %d and n_threads %d must not be negative", params->n_ctx, params->n_ubatch,
                          params->n_threads);
    }
    if (params->behind < 0 || params->behind > IFLOW_MAX_BEHIND) {
        return iflow_fail(IFLOW_E_ARG, "chunks behind %d texts; there are %d", params->behind, IFLOW_MAX_BEHIND);
    }
    iflow_kv_type kv_type = IFLOW_KV_F16;
    iflow_status status = iflow_kv_type_from_name(params->kv_type, &kv_type);
    if (status) {
        return status;
    }
    iflow_context *ctx = calloc(1, sizeof *ctx);
    if (!ctx) {
        return iflow_fail_memory(sizeof *ctx);
    }
    ctx->model = model;
    ctx->store = store;
    ctx->n_ctx = params->n_ctx ? params->n_ctx : model->h.n_ctx_train;
    ctx->chunk_tokens = params->chunk_tokens;
    ctx->kv_type = kv_type;
    ctx->behind = params->alone ? 0 : params->behind ? params->behind : IFLOW_DEFAULT_BEHIND;
    ctx->foresee = params->foresee;
    ctx->turn.pending = -1;
    if ((status = iflow_engine_new(model, params->n_ubatch, params->n_threads, &ctx->engine)) ||
        (status = iflow_texts_make(model, &ctx->texts))) {
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
    free(ctx->chunk);
    iflow_cache_free(&ctx->cache);
    for (size_t i = 0; i < sizeof ctx->lead / sizeof *ctx->lead; i++) {
        iflow_cache_free(&ctx->lead[i].cache);
    }
    free(ctx->texts.token);
    iflow_engine_free(ctx->engine);
    free(ctx);
}

void iflow_context_clear(iflow_context *ctx) {
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

static iflow_chunk_identity identity_of(const iflow_context *ctx, const iflow_context_chunk *chunk) {
    iflow_chunk_identity identity = {
        .sink = ctx->texts.token,
        .n_sink = chunk->behind == IFLOW_BEHIND_NOTHING ? 0 : ctx->texts.end[chunk->behind],
        .token = chunk->token,
        .n_tokens = chunk->n_tokens,
        .n_layer = ctx->model->h.n_layer,
        .n_embd_kv = ctx->model->n_embd_kv,
        .type = chunk->type,
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

/* Puts a lead's rows where they are not there yet. *n: how many there are. */
static iflow_status prefill_lead(iflow_context *ctx, int text, const int32_t *pos, int *n) {
    iflow_tokens lead = {0};
    *n = text == IFLOW_BEHIND_NOTHING ? 0 : ctx->lead[text + 1].n;
    iflow_status status = *n ? IFLOW_OK : iflow_texts_lead(&ctx->texts, text, &lead);
    if (!status && lead.n) {
        const iflow_pass pass = {.token = lead.token, .pos = pos, .row = pos, .n = (int)lead.n, .fixed_slices = true};
        status = iflow_engine_forward(ctx->engine, &ctx->lead[text + 1].cache.rows, &pass);
        *n = status ? 0 : (int)lead.n;
        ctx->lead[text + 1].n = *n;
    }
    free(lead.token);
    return status;
}

/* Runs a chunk alone behind a text (0: the sink; or nothing), from position 0, and keeps its rows: values as in layer_values. The text runs
 * once for all chunks. */
static iflow_status prefill(iflow_context *ctx, const iflow_context_chunk *chunk, int text, uint16_t *values) {
    iflow_cache *cache = &ctx->lead[text + 1].cache;
    const size_t n = chunk->n_tokens, n_layer = (size_t)ctx->model->h.n_layer, n_values = layer_values(ctx, chunk);
    const size_t n_sink = text == IFLOW_BEHIND_NOTHING ? 0 : ctx->texts.end[0];
    const size_t n_before = n_sink + (text > 0 ? ctx->texts.end[text] - ctx->texts.end[text - 1] : 0), n_all = n_before + n;
    if (n_all > (size_t)ctx->n_ctx) {
        return iflow_fail(IFLOW_E_CONTEXT,
                          "a chunk of %zu tokens (and %zu that stand before it) is longer than the context of %d; cut it into smaller ones",
                          n, n_before, ctx->n_ctx);
    }
    int32_t *pos = iflow_calloc(n_all, sizeof *pos);
    if (!pos) {
        return iflow_fail_memory(n_all * sizeof *pos);
    }
    for (size_t i = 0; i < n_all; i++) {
        pos[i] = (int32_t)i;
    }
    int n_lead = 0;
    iflow_status status = iflow_cache_reserve(cache, (int)n_all);
    if (!status) {
        iflow_cache_truncate(cache, ctx->lead[text + 1].n);
        status = prefill_lead(ctx, text, pos, &n_lead);
    }
    if (!status) {
        const iflow_pass pass = {.token = chunk->token, .pos = pos + n_lead, .row = pos + n_lead, .n = (int)n, .fixed_slices = true};
        status = iflow_engine_forward(ctx->engine, &cache->rows, &pass);
    }
    for (size_t il = 0; !status && il < n_layer; il++) {
        uint16_t *k = values + il * n_values;
        iflow_cache_read_raw(cache, (int)il, n_lead, (int)n, k, k + n_values / 2);
    }
    free(pos);
    return status;
}

/* Whether this context wants to know how stale a chunk's tokens will be. What is prefilled more than once tells without being asked. */
static bool wants_foreseen(const iflow_context *ctx, const iflow_context_chunk *chunk) {
    return ctx->foresee && chunk->behind != IFLOW_BEHIND_NOTHING;
}

/* Prefills a chunk behind each of its texts: values, the mean. foreseen [n_tokens], or NULL; one prefill does not tell it, so that there is
 * another then. */
static iflow_status prefill_behind(iflow_context *ctx, const iflow_context_chunk *chunk, uint16_t *values, float *foreseen) {
    const bool several = chunk->behind > 1;
    iflow_samples samples = {.n_layer = (size_t)ctx->model->h.n_layer, .n = chunk->n_tokens, .n_embd_kv = (size_t)ctx->model->n_embd_kv};
    iflow_status status = IFLOW_OK;
    uint16_t *other = NULL;
    for (int text = chunk->behind > 0 ? 1 : chunk->behind; !status && text <= chunk->behind; text++) {
        status = prefill(ctx, chunk, text, values);
        if (!status && (several || foreseen)) {
            status = iflow_samples_add(&samples, values);
        }
    }
    if (!status && foreseen && !several) {
        other = iflow_calloc(samples.n_layer * layer_values(ctx, chunk), sizeof *other);
        status = other ? prefill(ctx, chunk, chunk->behind ? 0 : 1, other) : iflow_fail_memory(samples.n_layer * layer_values(ctx, chunk));
        status = status ? status : iflow_samples_add(&samples, other);
    }
    if (!status && several) {
        iflow_samples_mean(&samples, values);
    }
    if (!status && foreseen) {
        iflow_samples_spread(&samples, foreseen);
    }
    free(other);
    iflow_samples_free(&samples);
    return status;
}

/* Computes a chunk file: its KV, and what it foresees if that is wanted or comes with it. */
static iflow_status make_chunk(iflow_context *ctx, const iflow_context_chunk *chunk, iflow_blob *out) {
    const iflow_chunk_identity identity = identity_of(ctx, chunk);
    const size_t n_layer = (size_t)identity.n_layer, n_values = layer_values(ctx, chunk);
    const bool foresee = wants_foreseen(ctx, chunk) || chunk->behind > 1;
    uint16_t *values = iflow_calloc(n_layer * n_values, sizeof *values);
    const uint16_t **rows = iflow_calloc(n_layer * 2, sizeof *rows); /* K of all layers, then V */
    float *foreseen = foresee ? iflow_calloc(chunk->n_tokens, sizeof *foreseen) : NULL;
    iflow_status status = IFLOW_OK;
    if (!values || !rows || (foresee && !foreseen)) {
        status = iflow_fail_memory(n_layer * n_values * sizeof *values);
        goto cleanup;
    }
    for (size_t il = 0; il < n_layer; il++) {
        rows[il] = values + il * n_values;
        rows[n_layer + il] = rows[il] + n_values / 2;
    }
    if (!(status = prefill_behind(ctx, chunk, values, foreseen))) {
        status = iflow_chunk_encode(&identity, rows, rows + n_layer, foreseen, out);
    }

cleanup:
    free(values);
    free(rows);
    free(foreseen);
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

static iflow_status compute(iflow_context *ctx, const iflow_context_chunk *chunk, iflow_chunk **out) {
    iflow_blob blob = {0};
    iflow_status status = make_chunk(ctx, chunk, &blob);
    if (!status && (status = iflow_chunk_decode(&blob, chunk->id, chunk->id, out))) {
        iflow_blob_free(&blob);
    }
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
    iflow_status status = compute(ctx, chunk, out);
    if (!status && keep(ctx, *out, owned)) {
        iflow_log(IFLOW_LOG_WARN, "a chunk could not be kept: %s", iflow_error_message());
    }
    ms->prefill += iflow_now_ms() - start;
    return status;
}

iflow_status iflow_context_check_tokens(const iflow_context *ctx, const char *what, const int32_t *tokens, size_t n_tokens) {
    if (n_tokens == 0) {
        return iflow_fail(IFLOW_E_ARG, "%s must have at least one token", what);
    }
    for (size_t i = 0; i < n_tokens; i++) {
        if (tokens[i] < 0 || tokens[i] >= ctx->model->n_vocab) {
            return iflow_fail(IFLOW_E_ARG, "token %d is not in the vocabulary of %d", (int)tokens[i], ctx->model->n_vocab);
        }
    }
    return IFLOW_OK;
}

/* Computes and keeps a chunk unless it is there; the caller has claimed it where there is a store. */
static iflow_status prefill_claimed(iflow_context *ctx, const iflow_context_chunk *wanted, bool *stored) {
    /* Another process may have published it between the look and the claim. */
    *stored = is_kept(ctx, wanted);
    iflow_chunk *chunk = NULL;
    bool owned = false;
    iflow_status status = *stored ? IFLOW_OK : compute(ctx, wanted, &chunk);
    if (!status && chunk) {
        status = keep(ctx, chunk, &owned);
    }
    if (owned) {
        iflow_chunk_free(chunk);
    }
    return status;
}

iflow_status iflow_context_prefill(iflow_context *ctx, const int32_t *tokens, size_t n_tokens, char id[IFLOW_ID_SIZE], bool *was_stored) {
    iflow_status status = iflow_context_check_tokens(ctx, "a chunk", tokens, n_tokens);
    if (status) {
        return status;
    }
    int32_t *copy = iflow_calloc(n_tokens, sizeof *copy);
    if (!copy) {
        return iflow_fail_memory(n_tokens * sizeof *copy);
    }
    memcpy(copy, tokens, n_tokens * sizeof *copy);
    const iflow_context_chunk wanted = iflow_context_chunk_of(ctx, copy, n_tokens, ctx->kv_type, ctx->behind);
    bool stored = is_kept(ctx, &wanted);
    if (!stored && !ctx->store) {
        status = prefill_claimed(ctx, &wanted, &stored);
    } else if (!stored && !(status = ctx->store->ops->claim(ctx->store, wanted.id))) {
        status = prefill_claimed(ctx, &wanted, &stored);
        ctx->store->ops->release(ctx->store, wanted.id);
    }
    free(copy);
    if (!status && id) {
        memcpy(id, wanted.id, sizeof wanted.id);
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
    int32_t *copy = iflow_calloc(n_tokens, sizeof *copy);
    if (!copy) {
        return iflow_fail_memory(n_tokens * sizeof *copy);
    }
    memcpy(copy, tokens, n_tokens * sizeof *copy);
    const iflow_status status = append(ctx, copy, n_tokens, ctx->kv_type, ctx->behind);
    if (status) {
        free(copy);
    }
    return status;
}

iflow_status iflow_context_add_chunk(iflow_context *ctx, const char *id) {
    if (!ctx->store) {
        return iflow_fail(IFLOW_E_ARG, "chunk %s was named by its id, but the context has no store", id);
    }
    iflow_chunk_info info;
    int32_t *tokens = NULL;
    iflow_status status = iflow_store_inspect(ctx->store, id, &info, &tokens);
    if (status) {
        return status;
    }
    if (strcmp(info.fingerprint, ctx->model->fingerprint) != 0) {
        status = iflow_fail(IFLOW_E_ARG,
                            "chunk %s was prefilled with another model (fingerprint %.8s, this one is %.8s); ingest its document with %s",
                            id, info.fingerprint, ctx->model->fingerprint, ctx->model->path);
    } else {
        iflow_kv_type type = IFLOW_KV_F16;
        int behind = info.n_sink ? 0 : IFLOW_BEHIND_NOTHING;
        while (behind >= 0 && behind < IFLOW_MAX_BEHIND && (size_t)info.n_sink > ctx->texts.end[behind]) {
            behind++;
        }
        status = iflow_kv_type_from_name(info.type, &type);
        if (!status && strcmp(iflow_context_chunk_of(ctx, tokens, (size_t)info.n_tokens, type, behind).id, id) != 0) {
            status = iflow_fail(IFLOW_E_UNSUPPORTED,
                                "chunk %s was prefilled behind %d tokens that are not this version's; ingest its document again", id,
                                info.n_sink);
        }
        if (!status && !(status = append(ctx, tokens, (size_t)info.n_tokens, type, behind))) {
            tokens = NULL;
        }
    }
    free(tokens);
    return status;
}

iflow_status iflow_context_add_text(iflow_context *ctx, const char *text, size_t n_bytes, size_t chunk_tokens) {
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
