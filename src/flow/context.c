/* context.c - the public context: its list of chunks, over one builder of chunks and one timeline. */
#include "flow/context.h"

#include "base/params.h"
#include "flow/params.h"

#include <stdlib.h>
#include <string.h>

/* That a correction is for chunks with this version's fillers. */
static iflow_status check_correction(const iflow_context *ctx, const iflow_correction *c) {
    if (c && strcmp(c->prefix_id, ctx->builder.prefix_id[c->info.fillers]) != 0) {
        return iflow_fail(IFLOW_E_ARG, "the correction %s was learned from chunks after other texts than this version's: learn it again",
                          c->path);
    }
    return IFLOW_OK;
}

iflow_status iflow_context_new(const iflow_model *model, iflow_store *store, const iflow_context_params *params, iflow_context **out) {
    iflow_context_params own = iflow_context_default_params();
    if (IFLOW_MISSING(model) || IFLOW_MISSING(out) || iflow_params_take(&own, sizeof own, params, "iflow_context_params")) {
        return IFLOW_E_ARG;
    }
    params = &own;
    iflow_kv_type kv_type = IFLOW_KV_F16;
    iflow_status status = iflow_context_check_params(model, params);
    if (status || (status = iflow_kv_type_from_name(params->kv_type, &kv_type))) {
        return status;
    }
    const int n_ctx = params->n_ctx ? params->n_ctx : model->h.n_ctx_train < IFLOW_MAX_CTX ? model->h.n_ctx_train : IFLOW_MAX_CTX;
    iflow_context *ctx = calloc(1, sizeof *ctx);
    if (!ctx) {
        return iflow_fail_memory(sizeof *ctx);
    }
    ctx->model = model;
    ctx->store = store;
    ctx->chunk_tokens = params->chunk_tokens;
    ctx->kv_type = kv_type;
    ctx->fillers = params->fillers == IFLOW_NO_FILLERS ? 0 : params->fillers ? params->fillers : IFLOW_DEFAULT_FILLERS;
    if ((status = store ? IFLOW_OK : iflow_store_open("memory:", NULL, &ctx->own_store)) ||
        (status = iflow_engine_new(model, params->n_ubatch, params->n_threads, &ctx->engine)) ||
        (status = iflow_builder_init(&ctx->builder, model, store ? store : ctx->own_store, ctx->engine, n_ctx, ctx->fillers)) ||
        (status = check_correction(ctx, params->correction))) {
        iflow_context_free(ctx);
        return status;
    }
    iflow_cache_init(&ctx->pool, model, ctx->engine, false);
    iflow_timeline *t = &ctx->timeline;
    iflow_timeline_begin(t, &ctx->builder, &ctx->pool);
    t->n_ctx = n_ctx;
    t->kv_type = kv_type;
    t->estimate = params->estimate_staleness;
    t->correction = params->correction;
    *out = ctx;
    return IFLOW_OK;
}

static void free_chunks(iflow_context *ctx, size_t from) {
    while (ctx->n_chunks > from) {
        free(ctx->chunk[--ctx->n_chunks].token);
    }
}

void iflow_context_free(iflow_context *ctx) {
    if (!ctx) {
        return;
    }
    iflow_timeline_end(&ctx->timeline);
    iflow_cache_free(&ctx->pool);
    iflow_builder_free(&ctx->builder);
    iflow_engine_free(ctx->engine);
    iflow_store_close(ctx->own_store);
    free_chunks(ctx, 0);
    free(ctx->chunk);
    free(ctx);
}

void iflow_context_clear(iflow_context *ctx) {
    if (!ctx || ctx->timeline.answering) {
        return;
    }
    free_chunks(ctx, 0);
    iflow_timeline_clear(&ctx->timeline);
}

iflow_status iflow_context_prefill(iflow_context *ctx, const int32_t *tokens, const size_t *start, size_t n_chunks,
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
                                         : iflow_check_tokens(ctx->model, "a chunk", tokens + start[i], start[i + 1] - start[i]);
    }
    if (status || !n_chunks) {
        return status;
    }
    const size_t n_all = start[n_chunks] - start[0];
    int32_t *copy = iflow_calloc(n_all, sizeof *copy);
    iflow_context_chunk *chunk = iflow_calloc(n_chunks, sizeof *chunk);
    bool *is_leased = iflow_calloc(n_chunks, sizeof *is_leased);
    if (!copy || !chunk || !is_leased) {
        status = iflow_fail_memory(n_all * sizeof *copy + n_chunks * sizeof *chunk);
        goto cleanup;
    }
    memcpy(copy, tokens + start[0], n_all * sizeof *copy);
    for (size_t i = 0; i < n_chunks; i++) {
        chunk[i] = iflow_builder_chunk(&ctx->builder, copy + (start[i] - start[0]), start[i + 1] - start[i], ctx->kv_type, ctx->fillers);
    }
    status = iflow_builder_make(&ctx->builder, chunk, n_chunks, ctx->timeline.estimate, was_stored, is_leased);
    for (size_t i = 0; i < n_chunks; i++) {
        memcpy(ids[i], is_leased[i] ? "" : chunk[i].id, is_leased[i] ? 1 : sizeof chunk[i].id);
    }

cleanup:
    free(copy), free(chunk), free(is_leased);
    return status;
}

/* Appends a chunk; takes the tokens over on success. */
static iflow_status append(iflow_context *ctx, int32_t *tokens, size_t n_tokens, iflow_kv_type type, int fillers) {
    iflow_status status = iflow_check_tokens(ctx->model, "a chunk", tokens, n_tokens);
    if (!status) {
        status = iflow_reserve((void **)&ctx->chunk, &ctx->chunk_capacity, ctx->n_chunks + 1, sizeof *ctx->chunk);
    }
    if (!status) {
        ctx->chunk[ctx->n_chunks++] = iflow_builder_chunk(&ctx->builder, tokens, n_tokens, type, fillers);
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
    const iflow_status status = append(ctx, copy, n_tokens, ctx->kv_type, ctx->fillers);
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
                          info->exact
                              ? "chunk %s was computed with exact arithmetic, and this model was loaded without; load it with exact, or "
                                "ingest its document without"
                              : "chunk %s was computed without exact arithmetic, and differs by rounding from what this model, "
                                "loaded with exact, gives; ingest its document with exact",
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
        int fillers = info.n_root ? 0 : IFLOW_NO_PREFIX;
        while (fillers >= 0 && fillers < IFLOW_MAX_FILLERS && (size_t)info.n_root > ctx->builder.texts.end[fillers]) {
            fillers++;
        }
        status = iflow_kv_type_from_name(info.type, &type);
        if (!status && strcmp(iflow_builder_chunk(&ctx->builder, tokens, (size_t)info.n_tokens, type, fillers).id, id) != 0) {
            status = iflow_fail(IFLOW_E_UNSUPPORTED,
                                "chunk %s was prefilled after %d tokens that are not this version's; ingest its document again", id,
                                info.n_root);
        }
        if (!status && !(status = append(ctx, tokens, (size_t)info.n_tokens, type, fillers))) {
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
    if (status) { /* all of a document or nothing */
        free_chunks(ctx, n_before);
    }
    iflow_pieces_free(pieces);
    iflow_buffer_free(&buffer);
    return status;
}

/* ---- Asking ------------------------------------------------------------------------------------------------------------------------- */

iflow_status iflow_context_ask(iflow_context *ctx, const iflow_ask_params *params, iflow_answer **out) {
    iflow_ask_params own = iflow_ask_default_params();
    if (IFLOW_UNUSABLE(ctx) || IFLOW_MISSING(params) || IFLOW_MISSING(out) ||
        iflow_params_take(&own, sizeof own, params, "iflow_ask_params")) {
        return IFLOW_E_ARG;
    }
    params = &own;
    iflow_status status = iflow_params_check(&ctx->timeline, params, true);
    status = status ? status : iflow_model_unchanged(ctx->model);
    if (!status && ctx->n_chunks == 0) {
        status = iflow_fail(IFLOW_E_ARG, "there are no documents to ask about");
    }
    return status ? status : iflow_timeline_ask(&ctx->timeline, ctx->chunk, ctx->n_chunks, params, out);
}

iflow_status iflow_context_follow_up(iflow_context *ctx, const iflow_ask_params *params, iflow_answer **out) {
    iflow_ask_params own = iflow_ask_default_params();
    if (IFLOW_UNUSABLE(ctx) || IFLOW_MISSING(params) || IFLOW_MISSING(out) ||
        iflow_params_take(&own, sizeof own, params, "iflow_ask_params")) {
        return IFLOW_E_ARG;
    }
    params = &own;
    const iflow_status status = iflow_params_check(&ctx->timeline, params, false);
    if (status) {
        return status;
    }
    return ctx->timeline.last.n_rows ? iflow_timeline_follow_up(&ctx->timeline, params, out)
                                     : iflow_fail(IFLOW_E_ARG, "there is no answer to go on from; ask first");
}

iflow_status iflow_context_replay(iflow_context *ctx, const int32_t *tokens, size_t n_tokens, float *logits) {
    if (IFLOW_UNUSABLE(ctx) || IFLOW_MISSING(tokens) || IFLOW_MISSING(logits)) {
        return IFLOW_E_ARG;
    }
    if (!ctx->timeline.last.n_rows) {
        return iflow_fail(IFLOW_E_ARG, "there is no answer to replace; ask first");
    }
    const iflow_status status = iflow_check_tokens(ctx->model, "an answer", tokens, n_tokens);
    return status ? status : iflow_timeline_replay(&ctx->timeline, tokens, n_tokens, logits);
}
