/* drift.c - sums of the recomputed tokens' K before and after, and the shift of the others. */
#include "flow/drift.h"

#include <stdlib.h>

enum {
    N_FIRST = 8, /* tokens that begin a chunk change more than others, and elsewhere to: they say nothing about these */
    N_PRIOR = 4, /* tokens that did not change count with those that are known: a mean of few is mostly noise */
};

iflow_status iflow_drift_begin(iflow_drift_state *state, iflow_context *ctx, const iflow_answer *answer) {
    const size_t n = answer->n_selected, n_head = (size_t)answer->chunk[0].length;
    if (!n || n + n_head == answer->n_context || ctx->model->h.n_layer < 2) {
        return IFLOW_OK;
    }
    state->n_chunks = answer->n_chunks - 1;
    state->n_values = (size_t)(ctx->model->h.n_layer - 1) * state->n_chunks * (size_t)ctx->model->n_embd_kv;
    state->weight = iflow_calloc(state->n_chunks * n, sizeof *state->weight);
    state->before = iflow_calloc(state->n_values, sizeof *state->before);
    if (!state->weight || !state->before) {
        return iflow_fail_memory((state->n_chunks * n + state->n_values) * sizeof *state->weight);
    }
    for (size_t c = 0, i = 0; c < state->n_chunks; c++) {
        const iflow_chunk_span *span = &answer->chunk[c + 1];
        size_t end = i + (size_t)span->n_selected;
        while (i < end && answer->selected[i] < span->start + N_FIRST) {
            i++;
        }
        const float weight = 1.0f / (float)(end - i + N_PRIOR);
        for (; i < end; i++) {
            state->weight[c * n + i] = weight;
        }
    }
    return iflow_engine_sum_keys(ctx->engine, &ctx->cache.rows, answer->selected, (int)n, state->weight, (int)state->n_chunks,
                                 state->before);
}

/* The tokens behind the head that are not selected: their positions, and the chunks that they are in, from 0. */
static void list_others(const iflow_answer *answer, int32_t *row, int32_t *chunk) {
    size_t n = 0, s = 0;
    for (size_t c = 1; c < answer->n_chunks; c++) {
        const iflow_chunk_span *span = &answer->chunk[c];
        for (int32_t at = span->start; at < span->start + span->length; at++) {
            if (s < answer->n_selected && answer->selected[s] == at) {
                s++;
                continue;
            }
            row[n] = at;
            chunk[n++] = (int32_t)c - 1;
        }
    }
}

iflow_status iflow_drift_end(const iflow_drift_state *state, iflow_context *ctx, const iflow_answer *answer) {
    if (!state->before) {
        return IFLOW_OK;
    }
    const size_t n_selected = answer->n_selected, n_others = answer->n_context - (size_t)answer->chunk[0].length - n_selected;
    int32_t *row = iflow_calloc(2 * n_others, sizeof *row), *chunk = row ? row + n_others : NULL;
    float *shift = iflow_calloc(state->n_values, sizeof *shift);
    iflow_status status = IFLOW_OK;
    if (!row || !shift) {
        status = iflow_fail_memory(2 * n_others * sizeof *row + state->n_values * sizeof *shift);
        goto cleanup;
    }
    status =
        iflow_engine_sum_keys(ctx->engine, &ctx->cache.rows, answer->selected, (int)n_selected, state->weight, (int)state->n_chunks, shift);
    if (status) {
        goto cleanup;
    }
    for (size_t i = 0; i < state->n_values; i++) {
        shift[i] -= state->before[i];
    }
    list_others(answer, row, chunk);
    status = iflow_engine_shift_keys(ctx->engine, &ctx->cache.rows, row, chunk, (int)n_others, shift, (int)state->n_chunks);

cleanup:
    free(row);
    free(shift);
    return status;
}

void iflow_drift_free(iflow_drift_state *state) {
    free(state->weight);
    free(state->before);
    *state = (iflow_drift_state){0};
}
