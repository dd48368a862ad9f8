/* blend.c - CacheBlend (a comparator): which tokens' V changes most at layer 1, and running those again from there. */
#include "flow/finite.h"
#include "flow/repair/repair.h"

#include <stdlib.h>
#include <string.h>

/* All n context tokens through layer 0 and through layer 1's K and V, fresh ones kept for both. score [n]: the mean squared change of each
 * token's V at layer 1, 0 in the head. *hidden: the input of layer 1, [n, n_embd]; free(). E_UNSUPPORTED for a model of one layer;
 * E_NOT_FINITE. */
static iflow_status score_changes(iflow_run *run, float *score, float **hidden) {
    iflow_timeline *t = run->t;
    const int32_t *token = run->answer->context_token;
    const int n = run->n, n_head = run->n_head;
    if (t->model->h.n_layer < 2) {
        return iflow_fail(IFLOW_E_UNSUPPORTED, "cacheblend compares V at layer 1, which a model of one layer does not have");
    }
    const size_t n_embd = (size_t)t->model->h.n_embd, width = (size_t)t->model->n_embd_kv;
    iflow_status status = IFLOW_OK;
    float *x = iflow_calloc((size_t)n * n_embd, sizeof *x);
    float *stale = iflow_calloc((size_t)n * width, 2 * sizeof *stale), *fresh = stale ? stale + (size_t)n * width : NULL;
    if (!x || !stale) {
        status = iflow_fail_memory((size_t)n * (n_embd + 2 * width) * sizeof *x);
        goto cleanup;
    }
    const iflow_pass layer_0 = {.token = token, .n = n, .end_layer = 1, .hidden = x};
    const iflow_pass kv_of_layer_1 = {.embd = x, .n = n, .first_layer = 1, .end_layer = 2};
    if ((status = iflow_seq_read_v(&t->seq, 1, 0, n, stale)) || (status = iflow_seq_run(&t->seq, 0, &layer_0)) ||
        (status = iflow_seq_run(&t->seq, 0, &kv_of_layer_1)) || (status = iflow_seq_read_v(&t->seq, 1, 0, n, fresh))) {
        goto cleanup;
    }
    const size_t bad = iflow_finite_first(x, (size_t)n * n_embd);
    if (bad < (size_t)n * n_embd) {
        status = iflow_not_finite((double)x[bad], "the hidden row after layer 0 at position %zu", bad / n_embd);
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

iflow_status iflow_score_by_v_change(iflow_run *run) {
    float *hidden = NULL;
    iflow_status status = iflow_run_make_scores(run);
    if (!status) {
        status = score_changes(run, run->answer->score, &hidden);
    }
    *iflow_repairs_own(run) = hidden;
    return status;
}

/* From layer 1's attention on, only the selected tokens run. state: the input of layer 1. */
static iflow_status rerun(iflow_run *run, void **state) {
    iflow_timeline *t = run->t;
    const float *hidden = *state;
    const int32_t *selected = run->answer->selected;
    const int n_selected = (int)run->answer->n_selected;
    const size_t n_embd = (size_t)t->model->h.n_embd;
    float *x = iflow_calloc((size_t)n_selected * n_embd, sizeof *x);
    if (!x) {
        return iflow_fail_memory((size_t)n_selected * n_embd * sizeof *x);
    }
    for (int i = 0; i < n_selected; i++) {
        memcpy(x + (size_t)i * n_embd, hidden + (size_t)selected[i] * n_embd, n_embd * sizeof *x);
    }
    const iflow_pass pass = {.embd = x, .row = selected, .n = n_selected, .first_layer = 1};
    const iflow_status status = iflow_seq_forward(&t->seq, &pass);
    free(x);
    return status;
}

const iflow_repair_ops iflow_repair_blend = {.fresh_layers = 1, .rerun = rerun, .free = free};
