/* follow_up.c - going on after an answer: with another question, or from another answer in its place. */
#include "flow/finite.h"
#include "flow/generate.h"
#include "flow/prompt.h"
#include "flow/timeline.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

iflow_status iflow_timeline_follow_up(iflow_timeline *t, const iflow_ask_params *params, iflow_answer **out) {
    const double start = iflow_now_ms();
    iflow_status status = IFLOW_OK;
    iflow_tokens turn = {0};
    int32_t *token = NULL;
    float *logits = iflow_calloc((size_t)t->model->n_vocab, sizeof *logits);
    iflow_answer *answer = calloc(1, sizeof *answer);
    if (!logits || !answer) {
        status = iflow_fail_memory((size_t)t->model->n_vocab * sizeof *logits);
        goto cleanup;
    }
    if ((status = iflow_prompt_turn(t->model, params->question, &turn))) {
        goto cleanup;
    }
    const int before = t->last.n_rows, n_pending = t->last.pending >= 0, n = n_pending + (int)turn.n;
    if (before + n >= t->n_ctx) {
        status = iflow_fail(
            IFLOW_E_CONTEXT,
            "%d tokens of the conversation, %d of the question and 1 of an answer are %d more than the context of %d holds; start "
            "again with fewer documents%s",
            before, n, before + n + 1 - t->n_ctx, t->n_ctx, iflow_timeline_larger(t));
        goto cleanup;
    }
    iflow_warn_beyond(t->model, (size_t)(before + n), &t->builder->warned);
    token = iflow_calloc((size_t)n, sizeof *token);
    if (!token) {
        status = iflow_fail_memory((size_t)n * sizeof *token);
        goto cleanup;
    }
    token[0] = t->last.pending; /* overwritten where there is none */
    memcpy(token + n_pending, turn.token, turn.n * sizeof *token);
    if ((status = iflow_seq_reserve(&t->seq, before + n))) {
        goto cleanup;
    }
    const iflow_pass pass = {.token = token, .n = n, .logits = true, .out = logits};
    if ((status = iflow_seq_run(&t->seq, before, &pass)) ||
        (status = iflow_finite_logits("the follow-up", (size_t)(before + n - 1), logits, (size_t)t->model->n_vocab))) {
        goto cleanup;
    }
    answer->method = IFLOW_METHOD_NONE;
    answer->evidence = NAN;
    answer->n_context = answer->n_reused = (size_t)before;
    answer->n_prompt = (size_t)n;
    answer->ms.prompt = iflow_now_ms() - start;
    if ((status = iflow_generate(t, params, logits, before + n, start, answer))) {
        goto cleanup;
    }
    answer->cache_bytes = iflow_cache_bytes(t->seq.cache);
    answer->ms.total = iflow_now_ms() - start;
    *out = answer;
    answer = NULL;

cleanup:
    if (status == IFLOW_E_NOT_FINITE) {
        iflow_timeline_drop_rows(t);
    }
    iflow_answer_free(answer);
    free(turn.token);
    free(token);
    free(logits);
    return status;
}

iflow_status iflow_timeline_replay(iflow_timeline *t, const int32_t *tokens, size_t n_tokens, float *logits) {
    const size_t n_vocab = (size_t)t->model->n_vocab, n_before = (size_t)t->last.n_before, n = n_tokens - 1;
    if (n_before + n > (size_t)t->n_ctx) {
        return iflow_fail(IFLOW_E_CONTEXT, "an answer of %zu tokens after %zu is %zu more than the context of %d holds", n_tokens, n_before,
                          n_before + n - (size_t)t->n_ctx, t->n_ctx);
    }
    iflow_warn_beyond(t->model, n_before + n, &t->builder->warned);
    memcpy(logits, t->last.logits, n_vocab * sizeof *logits);
    iflow_seq_truncate(&t->seq, (int)n_before);
    iflow_status status = iflow_seq_reserve(&t->seq, (int)(n_before + n));
    if (!status && n) {
        const iflow_pass pass = {.token = tokens, .n = (int)n, .every = true, .out = logits + n_vocab};
        status = iflow_seq_run(&t->seq, (int)n_before, &pass);
    }
    for (size_t i = 0; !status && i < n; i++) {
        status = iflow_finite_logits("the replayed answer", n_before + i, logits + (i + 1) * n_vocab, n_vocab);
    }
    t->last.n_rows = status ? 0 : (int)(n_before + n);
    t->last.pending = tokens[n];
    if (status == IFLOW_E_NOT_FINITE) {
        iflow_timeline_drop_rows(t);
    }
    return status;
}
