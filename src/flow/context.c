/* context.c - an inference timeline: its chunks, and prefilling them (algorithm.md, step 1). */
#include "flow/context.h"

#include <stdlib.h>
#include <string.h>

iflow_status iflow_context_new(const iflow_model *model, iflow_store *store, const iflow_context_params *params, iflow_context **out) {
    static const iflow_context_params defaults = {0};
    params = params ? params : &defaults;
    if (params->n_ctx < 0 || params->n_ubatch < 0 || params->n_threads < 0) {
        return iflow_fail(IFLOW_E_ARG, "n_ctx %d, n_ubatch %d and n_threads %d must not be negative", params->n_ctx, params->n_ubatch,
                          params->n_threads);
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
    ctx->turn.pending = -1;
    if ((status = iflow_engine_new(model, params->n_ubatch, params->n_threads, &ctx->engine))) {
        iflow_context_free(ctx);
        return status;
    }
    iflow_cache_init(&ctx->cache, model, ctx->engine, false);
    iflow_cache_init(&ctx->scratch, model, ctx->engine, true);
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
    iflow_cache_free(&ctx->scratch);
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
        .sink = chunk->head ? NULL : ctx->model->sink,
        .n_sink = chunk->head ? 0 : ctx->model->n_sink,
        .token = chunk->token,
        .n_tokens = chunk->n_tokens,
        .n_layer = ctx->model->h.n_layer,
        .n_embd_kv = ctx->model->n_embd_kv,
        .type = chunk->type,
    };
    memcpy(identity.fingerprint, ctx->model->fingerprint, sizeof identity.fingerprint);
    return identity;
}

iflow_context_chunk iflow_context_chunk_of(const iflow_context *ctx, int32_t *tokens, size_t n_tokens, iflow_kv_type type, bool head) {
    iflow_context_chunk chunk = {.token = tokens, .n_tokens = n_tokens, .type = type, .head = head};
    const iflow_chunk_identity identity = identity_of(ctx, &chunk);
    iflow_chunk_id(&identity, chunk.id);
    return chunk;
}

/* Runs sink and chunk alone, from position 0, and keeps the chunk's rows: K before RoPE, and V. */
static iflow_status prefill(iflow_context *ctx, const iflow_chunk_identity *identity, iflow_blob *out) {
    const size_t n_sink = identity->n_sink, n = identity->n_tokens, n_all = n_sink + n, n_layer = (size_t)identity->n_layer;
    const size_t n_values = n * (size_t)identity->n_embd_kv; /* of K or V in one layer */
    if (n_all > (size_t)ctx->n_ctx) {
        return iflow_fail(IFLOW_E_CONTEXT,
                          "a chunk of %zu tokens (and %zu of sink) is longer than the context of %d; cut it into smaller ones", n, n_sink,
                          ctx->n_ctx);
    }
    iflow_status status = IFLOW_OK;
    int32_t *token = iflow_calloc(n_all * 2, sizeof *token), *pos = token ? token + n_all : NULL;
    uint16_t *kv = iflow_calloc(n_layer * n_values, 2 * sizeof *kv);
    const uint16_t **rows = iflow_calloc(n_layer * 2, sizeof *rows);
    if (!token || !kv || !rows) {
        status = iflow_fail_memory(n_layer * n_values * 2 * sizeof *kv);
        goto cleanup;
    }
    memcpy(token, identity->sink ? identity->sink : token, n_sink * sizeof *token);
    memcpy(token + n_sink, identity->token, n * sizeof *token);
    for (size_t i = 0; i < n_all; i++) {
        pos[i] = (int32_t)i;
    }
    if ((status = iflow_cache_reserve(&ctx->scratch, (int)n_all))) {
        goto cleanup;
    }
    iflow_cache_truncate(&ctx->scratch, 0);
    const iflow_pass pass = {.token = token, .pos = pos, .row = pos, .n = (int)n_all, .fixed_slices = true};
    if ((status = iflow_engine_forward(ctx->engine, &ctx->scratch.rows, &pass))) {
        goto cleanup;
    }
    for (size_t il = 0; il < n_layer; il++) {
        uint16_t *k = kv + il * 2 * n_values, *v = k + n_values;
        iflow_cache_read_raw(&ctx->scratch, (int)il, (int)n_sink, (int)n, k, v);
        rows[il] = k;
        rows[n_layer + il] = v;
    }
    status = iflow_chunk_encode(identity, rows, rows + n_layer, out);

cleanup:
    free(token);
    free(kv);
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

/* Keeps a chunk that was just computed: in the store, else in memory. */
static iflow_status keep(iflow_context *ctx, iflow_chunk *chunk, bool *owned) {
    *owned = true;
    if (ctx->store) {
        return ctx->store->ops->put(ctx->store, chunk->id, &chunk->blob);
    }
    const iflow_status status = iflow_reserve((void **)&ctx->memory, &ctx->memory_capacity, ctx->n_memory + 1, sizeof(iflow_chunk *));
    if (!status) {
        ctx->memory[ctx->n_memory++] = chunk;
        *owned = false;
    }
    return status;
}

static iflow_status compute(iflow_context *ctx, const iflow_context_chunk *chunk, iflow_chunk **out) {
    const iflow_chunk_identity identity = identity_of(ctx, chunk);
    iflow_blob blob = {0};
    iflow_status status = prefill(ctx, &identity, &blob);
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
    *stored = ctx->store && ctx->store->ops->has(ctx->store, wanted->id);
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
    const iflow_context_chunk wanted = iflow_context_chunk_of(ctx, copy, n_tokens, ctx->kv_type, false);
    bool stored = ctx->store ? ctx->store->ops->has(ctx->store, wanted.id) : in_memory(ctx, wanted.id) != NULL;
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
static iflow_status append(iflow_context *ctx, int32_t *tokens, size_t n_tokens, iflow_kv_type type) {
    iflow_status status = iflow_context_check_tokens(ctx, "a chunk", tokens, n_tokens);
    if (!status) {
        status = iflow_reserve((void **)&ctx->chunk, &ctx->chunk_capacity, ctx->n_chunks + 1, sizeof *ctx->chunk);
    }
    if (!status) {
        ctx->chunk[ctx->n_chunks++] = iflow_context_chunk_of(ctx, tokens, n_tokens, type, false);
    }
    return status;
}

iflow_status iflow_context_add_tokens(iflow_context *ctx, const int32_t *tokens, size_t n_tokens) {
    int32_t *copy = iflow_calloc(n_tokens, sizeof *copy);
    if (!copy) {
        return iflow_fail_memory(n_tokens * sizeof *copy);
    }
    memcpy(copy, tokens, n_tokens * sizeof *copy);
    const iflow_status status = append(ctx, copy, n_tokens, ctx->kv_type);
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
        status = iflow_kv_type_from_name(info.type, &type);
        if (!status && !(status = append(ctx, tokens, (size_t)info.n_tokens, type))) {
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
