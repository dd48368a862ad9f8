/* context.c - an inference timeline: its chunks, and prefilling them (algorithm.md, step 1). */
#include "flow/context.h"

#include "flow/foresee.h"

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
    ctx->chunk_lead = params->alone ? IFLOW_LEAD_SINK : IFLOW_LEAD_TEXT;
    ctx->foresee = params->foresee;
    ctx->turn.pending = -1;
    if ((status = iflow_engine_new(model, params->n_ubatch, params->n_threads, &ctx->engine))) {
        iflow_context_free(ctx);
        return status;
    }
    iflow_cache_init(&ctx->cache, model, ctx->engine, false);
    for (int i = 0; i < IFLOW_N_LEADS; i++) {
        iflow_cache_init(&ctx->lead[i].cache, model, ctx->engine, true);
        if ((status = iflow_lead_make(model, (iflow_lead)i, &ctx->lead[i].token))) {
            iflow_context_free(ctx);
            return status;
        }
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
    for (int i = 0; i < IFLOW_N_LEADS; i++) {
        iflow_cache_free(&ctx->lead[i].cache);
        free(ctx->lead[i].token.token);
    }
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
        .sink = ctx->lead[chunk->lead].token.token,
        .n_sink = ctx->lead[chunk->lead].token.n,
        .token = chunk->token,
        .n_tokens = chunk->n_tokens,
        .n_layer = ctx->model->h.n_layer,
        .n_embd_kv = ctx->model->n_embd_kv,
        .type = chunk->type,
    };
    memcpy(identity.fingerprint, ctx->model->fingerprint, sizeof identity.fingerprint);
    return identity;
}

iflow_context_chunk iflow_context_chunk_of(const iflow_context *ctx, int32_t *tokens, size_t n_tokens, iflow_kv_type type,
                                           iflow_lead lead) {
    iflow_context_chunk chunk = {.token = tokens, .n_tokens = n_tokens, .type = type, .lead = lead};
    const iflow_chunk_identity identity = identity_of(ctx, &chunk);
    iflow_chunk_id(&identity, chunk.id);
    return chunk;
}

/* The KV of a chunk, in one block. */
typedef struct own_kv {
    uint16_t *values;
    iflow_kv rows;
} own_kv;

static void own_kv_free(own_kv *kv) {
    free(kv->values);
    free(kv->rows.k); /* one block with v */
}

/* Runs tokens alone behind a lead, from position 0, and keeps their rows: K before RoPE, and V. The lead runs once for all chunks. */
static iflow_status prefill(iflow_context *ctx, const iflow_context_chunk *chunk, iflow_lead lead, own_kv *out) {
    iflow_cache *cache = &ctx->lead[lead].cache;
    const iflow_tokens *before = &ctx->lead[lead].token;
    const size_t n = chunk->n_tokens, n_all = before->n + n, n_layer = (size_t)ctx->model->h.n_layer;
    const size_t n_values = n * (size_t)ctx->model->n_embd_kv; /* of K or V in one layer */
    if (n_all > (size_t)ctx->n_ctx) {
        return iflow_fail(IFLOW_E_CONTEXT,
                          "a chunk of %zu tokens (and %zu that stand before it) is longer than the context of %d; cut it into smaller ones",
                          n, before->n, ctx->n_ctx);
    }
    iflow_status status = IFLOW_OK;
    int32_t *pos = iflow_calloc(n_all, sizeof *pos);
    out->values = iflow_calloc(n_layer * n_values, 2 * sizeof *out->values);
    out->rows.k = iflow_calloc(n_layer * 2, sizeof *out->rows.k);
    if (!pos || !out->values || !out->rows.k) {
        status = iflow_fail_memory(n_layer * n_values * 2 * sizeof *out->values);
        goto cleanup;
    }
    out->rows.v = out->rows.k + n_layer;
    for (size_t i = 0; i < n_all; i++) {
        pos[i] = (int32_t)i;
    }
    if ((status = iflow_cache_reserve(cache, (int)n_all))) {
        goto cleanup;
    }
    iflow_cache_truncate(cache, ctx->lead[lead].done ? (int)before->n : 0);
    if (!ctx->lead[lead].done && before->n) {
        const iflow_pass pass = {.token = before->token, .pos = pos, .row = pos, .n = (int)before->n, .fixed_slices = true};
        if ((status = iflow_engine_forward(ctx->engine, &cache->rows, &pass))) {
            goto cleanup;
        }
    }
    ctx->lead[lead].done = true;
    const iflow_pass pass = {.token = chunk->token, .pos = pos + before->n, .row = pos + before->n, .n = (int)n, .fixed_slices = true};
    if ((status = iflow_engine_forward(ctx->engine, &cache->rows, &pass))) {
        goto cleanup;
    }
    for (size_t il = 0; il < n_layer; il++) {
        uint16_t *k = out->values + il * 2 * n_values, *v = k + n_values;
        iflow_cache_read_raw(cache, (int)il, (int)before->n, (int)n, k, v);
        out->rows.k[il] = k;
        out->rows.v[il] = v;
    }

cleanup:
    free(pos);
    return status;
}

/* Whether this context wants to know how stale a chunk's tokens will be. */
static bool wants_foreseen(const iflow_context *ctx, const iflow_context_chunk *chunk) {
    return ctx->foresee && chunk->lead != IFLOW_LEAD_NONE;
}

/* Computes a chunk file: its KV, and what it foresees if that is wanted. */
static iflow_status make_chunk(iflow_context *ctx, const iflow_context_chunk *chunk, iflow_blob *out) {
    const iflow_chunk_identity identity = identity_of(ctx, chunk);
    const bool foresee = wants_foreseen(ctx, chunk);
    own_kv kv = {0}, other = {0};
    float *foreseen = foresee ? iflow_calloc(chunk->n_tokens, sizeof *foreseen) : NULL;
    iflow_status status = foresee && !foreseen ? iflow_fail_memory(chunk->n_tokens * sizeof *foreseen) : IFLOW_OK;
    if (!status && foresee) {
        const iflow_lead lead = chunk->lead == IFLOW_LEAD_TEXT ? IFLOW_LEAD_SINK : IFLOW_LEAD_TEXT;
        status = prefill(ctx, chunk, lead, &other);
    }
    if (!status && !(status = prefill(ctx, chunk, chunk->lead, &kv)) && foresee) {
        status = iflow_foresee(&kv.rows, &other.rows, identity.n_layer, chunk->n_tokens, (size_t)identity.n_embd_kv, foreseen);
    }
    if (!status) {
        status = iflow_chunk_encode(&identity, kv.rows.k, kv.rows.v, foreseen, out);
    }
    own_kv_free(&kv);
    own_kv_free(&other);
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
    const iflow_context_chunk wanted = iflow_context_chunk_of(ctx, copy, n_tokens, ctx->kv_type, ctx->chunk_lead);
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
static iflow_status append(iflow_context *ctx, int32_t *tokens, size_t n_tokens, iflow_kv_type type, iflow_lead lead) {
    iflow_status status = iflow_context_check_tokens(ctx, "a chunk", tokens, n_tokens);
    if (!status) {
        status = iflow_reserve((void **)&ctx->chunk, &ctx->chunk_capacity, ctx->n_chunks + 1, sizeof *ctx->chunk);
    }
    if (!status) {
        ctx->chunk[ctx->n_chunks++] = iflow_context_chunk_of(ctx, tokens, n_tokens, type, lead);
    }
    return status;
}

iflow_status iflow_context_add_tokens(iflow_context *ctx, const int32_t *tokens, size_t n_tokens) {
    int32_t *copy = iflow_calloc(n_tokens, sizeof *copy);
    if (!copy) {
        return iflow_fail_memory(n_tokens * sizeof *copy);
    }
    memcpy(copy, tokens, n_tokens * sizeof *copy);
    const iflow_status status = append(ctx, copy, n_tokens, ctx->kv_type, ctx->chunk_lead);
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
        iflow_lead lead = IFLOW_LEAD_NONE;
        while (lead < IFLOW_LEAD_TEXT && (size_t)info.n_sink != ctx->lead[lead].token.n) {
            lead++;
        }
        status = iflow_kv_type_from_name(info.type, &type);
        if (!status && strcmp(iflow_context_chunk_of(ctx, tokens, (size_t)info.n_tokens, type, lead).id, id) != 0) {
            status = iflow_fail(IFLOW_E_UNSUPPORTED,
                                "chunk %s was prefilled behind %d tokens that are not this version's; ingest its document again", id,
                                info.n_sink);
        }
        if (!status && !(status = append(ctx, tokens, (size_t)info.n_tokens, type, lead))) {
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
