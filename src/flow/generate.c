/* generate.c - the decoding loop. */
#include "flow/generate.h"

#include <llama.h>
#include <stdlib.h>
#include <string.h>

/* The chain of libllama's samplers; greedy at temperature 0. NULL when there is no memory. */
static struct llama_sampler *make_sampler(const iflow_ask_params *params) {
    struct llama_sampler *chain = llama_sampler_chain_init(llama_sampler_chain_default_params());
    if (params->temperature > 0) {
        llama_sampler_chain_add(chain, llama_sampler_init_temp((float)params->temperature));
        llama_sampler_chain_add(chain, llama_sampler_init_dist((uint32_t)(params->seed ^ params->seed >> 32)));
    } else {
        llama_sampler_chain_add(chain, llama_sampler_init_greedy());
    }
    return chain;
}

static int32_t sample(struct llama_sampler *sampler, llama_token_data *candidate, const float *logits, int n_vocab) {
    for (int i = 0; i < n_vocab; i++) {
        candidate[i] = (llama_token_data){.id = i, .logit = logits[i]};
    }
    llama_token_data_array all = {.data = candidate, .size = (size_t)n_vocab, .selected = -1};
    llama_sampler_apply(sampler, &all);
    return all.data[all.selected >= 0 ? all.selected : 0].id;
}

/* Length of text without a UTF-8 character that is cut off at its end. */
static size_t complete(const char *text, size_t n) {
    for (size_t back = 1; back <= 3 && back <= n; back++) {
        const unsigned char c = (unsigned char)text[n - back];
        if ((c & 0xc0) == 0x80) {
            continue;
        }
        const size_t need = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : c >= 0xc0 ? 2 : 1;
        return need > back ? n - back : n;
    }
    return n;
}

/* Hands new whole characters to the caller; false when it wants to stop. */
static bool stream(const iflow_ask_params *params, const iflow_buffer *text, size_t *streamed, bool all) {
    const size_t n = all ? text->n : complete(text->text, text->n);
    if (!params->on_text || n <= *streamed) {
        return true;
    }
    char *piece = malloc(n - *streamed + 1);
    if (!piece) {
        return false;
    }
    memcpy(piece, text->text + *streamed, n - *streamed);
    piece[n - *streamed] = '\0';
    const bool go_on = params->on_text(piece, params->user);
    free(piece);
    *streamed = n;
    return go_on;
}

iflow_status iflow_generate(iflow_context *ctx, const iflow_ask_params *params, float *logits, int n_rows, double start,
                            iflow_answer *answer) {
    const int n_vocab = ctx->model->n_vocab;
    iflow_status status = IFLOW_OK;
    iflow_buffer text = {0};
    size_t streamed = 0;
    struct llama_sampler *sampler = make_sampler(params);
    llama_token_data *candidate = iflow_calloc((size_t)n_vocab, sizeof *candidate);
    answer->token = iflow_calloc((size_t)params->max_tokens, sizeof *answer->token);
    if (params->keep_logits) {
        answer->logits = iflow_calloc((size_t)params->max_tokens * (size_t)n_vocab, sizeof *answer->logits);
    }
    ctx->turn.logits = ctx->turn.logits ? ctx->turn.logits : iflow_calloc((size_t)n_vocab, sizeof *ctx->turn.logits);
    if (!sampler || !candidate || !answer->token || !ctx->turn.logits || (params->keep_logits && !answer->logits)) {
        status = iflow_fail_memory((size_t)n_vocab * sizeof *candidate);
        goto cleanup;
    }
    if ((status = iflow_buffer_add(&text, "", 0))) {
        goto cleanup;
    }
    double first = 0;
    memcpy(ctx->turn.logits, logits, (size_t)n_vocab * sizeof *logits);
    ctx->turn.n_before = n_rows;
    ctx->turn.pending = -1;
    const size_t most = params->forced ? params->n_forced : (size_t)params->max_tokens;
    for (bool go_on = true; go_on && answer->n_generated < most;) {
        const size_t i = answer->n_generated;
        const int32_t token = params->forced ? params->forced[i] : sample(sampler, candidate, logits, n_vocab);
        if (first == 0) {
            first = iflow_now_ms();
            answer->ms.ttft = first - start;
        }
        if (!params->forced && iflow_token_is_end(ctx->model, token)) {
            break;
        }
        if (answer->logits) {
            memcpy(answer->logits + i * (size_t)n_vocab, logits, (size_t)n_vocab * sizeof *logits);
        }
        char *piece = NULL;
        if ((status = iflow_detokenize(ctx->model, &token, 1, &piece)) || (status = iflow_buffer_add(&text, piece, strlen(piece)))) {
            free(piece);
            goto cleanup;
        }
        free(piece);
        answer->token[answer->n_generated++] = token;
        ctx->turn.pending = token;
        go_on = stream(params, &text, &streamed, false);
        if (!go_on || answer->n_generated == most || n_rows >= ctx->n_ctx) {
            break;
        }
        if ((status = iflow_cache_reserve(&ctx->cache, n_rows + 1))) {
            goto cleanup;
        }
        const iflow_pass pass = {
            .token = &token, .pos = &(int32_t){n_rows}, .row = &(int32_t){n_rows}, .n = 1, .logits = true, .out = logits};
        if ((status = iflow_engine_forward(ctx->engine, &ctx->cache.rows, &pass))) {
            goto cleanup;
        }
        n_rows++;
        ctx->turn.pending = -1;
    }
    stream(params, &text, &streamed, true);
    ctx->turn.n_rows = n_rows;
    answer->ms.decode = iflow_now_ms() - first;
    answer->text = text.text;
    text = (iflow_buffer){0};

cleanup:
    if (sampler) {
        llama_sampler_free(sampler);
    }
    free(candidate);
    iflow_buffer_free(&text);
    return status;
}

iflow_status iflow_context_replay(iflow_context *ctx, const int32_t *tokens, size_t n_tokens, float *logits) {
    if (!ctx->turn.n_rows) {
        return iflow_fail(IFLOW_E_ARG, "there is no answer to replace; ask first");
    }
    iflow_status status = iflow_context_check_tokens(ctx, "an answer", tokens, n_tokens);
    if (status) {
        return status;
    }
    const size_t n_vocab = (size_t)ctx->model->n_vocab, n_before = (size_t)ctx->turn.n_before, n = n_tokens - 1;
    if (n_before + n > (size_t)ctx->n_ctx) {
        return iflow_fail(IFLOW_E_CONTEXT, "an answer of %zu tokens behind %zu is more than the context of %d holds", n_tokens, n_before,
                          ctx->n_ctx);
    }
    int32_t *pos = iflow_calloc(n_tokens, sizeof *pos);
    if (!pos) {
        return iflow_fail_memory(n_tokens * sizeof *pos);
    }
    for (size_t i = 0; i < n; i++) {
        pos[i] = (int32_t)(n_before + i);
    }
    memcpy(logits, ctx->turn.logits, n_vocab * sizeof *logits);
    iflow_cache_truncate(&ctx->cache, (int)n_before);
    if (!(status = iflow_cache_reserve(&ctx->cache, (int)(n_before + n))) && n) {
        const iflow_pass pass = {.token = tokens, .pos = pos, .row = pos, .n = (int)n, .every = true, .out = logits + n_vocab};
        status = iflow_engine_forward(ctx->engine, &ctx->cache.rows, &pass);
    }
    ctx->turn.n_rows = status ? 0 : (int)(n_before + n);
    ctx->turn.pending = tokens[n];
    free(pos);
    return status;
}
