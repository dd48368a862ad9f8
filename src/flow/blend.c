/* blend.c - CacheBlend: which tokens' V changes most at layer 1, and recomputing those from there. */
#include "flow/blend.h"

#include "flow/finite.h"

#include <stdlib.h>
#include <string.h>

iflow_status iflow_blend_score(iflow_context *ctx, const int32_t *token, const int32_t *pos, int n, int n_head, float *score,
                               float **hidden) {
    if (ctx->model->h.n_layer < 2) {
        return iflow_fail(IFLOW_E_UNSUPPORTED, "cacheblend looks at layer 1, which a model of one layer does not have");
    }
    const size_t n_embd = (size_t)ctx->model->h.n_embd, width = (size_t)ctx->model->n_embd_kv;
    iflow_status status = IFLOW_OK;
    float *x = iflow_calloc((size_t)n * n_embd, sizeof *x);
    float *stale = iflow_calloc((size_t)n * width, 2 * sizeof *stale), *fresh = stale ? stale + (size_t)n * width : NULL;
    if (!x || !stale) {
        status = iflow_fail_memory((size_t)n * (n_embd + 2 * width) * sizeof *x);
        goto cleanup;
    }
    const iflow_pass layer_0 = {.token = token, .order = pos, .row = pos, .n = n, .end_layer = 1, .hidden = x};
    const iflow_pass kv_of_layer_1 = {.embd = x, .order = pos, .row = pos, .n = n, .first_layer = 1, .end_layer = 2};
    if ((status = iflow_seq_read_v(&ctx->seq, 1, 0, n, stale)) || (status = iflow_seq_forward(&ctx->seq, &layer_0)) ||
        (status = iflow_seq_forward(&ctx->seq, &kv_of_layer_1)) || (status = iflow_seq_read_v(&ctx->seq, 1, 0, n, fresh))) {
        goto cleanup;
    }
    const size_t bad = iflow_finite_first(x, (size_t)n * n_embd);
    if (bad < (size_t)n * n_embd) {
        status = iflow_not_finite((double)x[bad], "the hidden row behind layer 0 at position %zu", bad / n_embd);
        goto cleanup;
    }
    for (size_t k = 0; k < (size_t)n; k++) {
        double sum = 0;
        for (size_t i = k * width; k >= (size_t)n_head && i < (k + 1) * width; i++) {
            const double change = (double)fresh[i] - (double)stale[i];
            sum += change * change;
        }
        score[k] = (float)(sum / (double)width);
    }
    status = iflow_finite_scores("change of V in layer 1", score, (size_t)n);

cleanup:
    free(stale);
    if (status) {
        free(x);
    } else {
        *hidden = x;
    }
    return status;
}

iflow_status iflow_blend_recompute(iflow_context *ctx, const float *hidden, const int32_t *selected, int n_selected) {
    const size_t n_embd = (size_t)ctx->model->h.n_embd;
    float *x = iflow_calloc((size_t)n_selected * n_embd, sizeof *x);
    if (!x) {
        return iflow_fail_memory((size_t)n_selected * n_embd * sizeof *x);
    }
    for (int i = 0; i < n_selected; i++) {
        memcpy(x + (size_t)i * n_embd, hidden + (size_t)selected[i] * n_embd, n_embd * sizeof *x);
    }
    const iflow_pass pass = {.embd = x, .order = selected, .row = selected, .n = n_selected, .first_layer = 1};
    const iflow_status status = iflow_seq_forward(&ctx->seq, &pass);
    free(x);
    return status;
}
