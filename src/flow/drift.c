/* drift.c - what the recomputed tokens changed by, its mean a chunk, and the shift of the others. */
#include "flow/drift.h"

#include "compute/edits.h"
#include "flow/finite.h"
#include "flow/select.h"

#include <stdlib.h>
#include <string.h>

static const double LEAST = 0.05, PRIOR = 4;

static iflow_status read_keys(iflow_context *ctx, const iflow_answer *answer, float *out) {
    return iflow_seq_read(&ctx->seq, answer->selected, (int)answer->n_selected, out, NULL);
}

iflow_status iflow_drift_begin(iflow_context *ctx, const iflow_answer *answer, float **stale) {
    const size_t n = answer->n_selected, n_head = (size_t)answer->chunk[0].length, n_values = n * (size_t)ctx->model->n_embd_kv;
    const int n_layer = ctx->model->h.n_layer;
    *stale = NULL;
    if (!n || n + n_head == answer->n_context || n_layer < 2) {
        return IFLOW_OK;
    }
    *stale = iflow_calloc((size_t)(n_layer - 1) * n_values, sizeof **stale);
    if (!*stale) {
        return iflow_fail_memory((size_t)(n_layer - 1) * n_values * sizeof **stale);
    }
    return read_keys(ctx, answer, *stale);
}

static int ascending(const void *a, const void *b) { /* of finite numbers */
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The mean of a layer's changes [n_selected, width] by chunk, added to out [n_chunks - 1, width]. weight and sorted: [n_selected], for our
 * use. */
static void mean_changes(const iflow_answer *answer, const float *change, size_t width, double *weight, double *sorted, float *out) {
    const size_t n = answer->n_selected;
    for (size_t i = 0; i < n; i++) {
        weight[i] = 0;
        for (size_t j = i * width; j < (i + 1) * width; j++) {
            weight[i] += (double)change[j] * (double)change[j];
        }
    }
    memcpy(sorted, weight, n * sizeof *sorted);
    qsort(sorted, n, sizeof *sorted, ascending);
    const double median = sorted[n / 2];
    for (size_t c = 1, i = 0; c < answer->n_chunks; c++, out += width) {
        const size_t first = i, end = i + (size_t)answer->chunk[c].n_selected;
        double sum = PRIOR;
        for (; i < end; i++) {
            weight[i] = median > 0 ? median / (weight[i] + LEAST * median) : 0; /* 0: most of them did not move */
            sum += weight[i];
        }
        for (i = first; i < end; i++) {
            for (size_t j = 0; j < width; j++) {
                out[j] += (float)(weight[i] / sum) * change[i * width + j];
            }
        }
    }
}

/* The tokens behind the head that are not selected: their positions, and the chunks that they are in, from 0. */
static void list_others(const iflow_answer *answer, int32_t *row, int32_t *chunk) {
    const int32_t *selected = answer->selected;
    for (size_t c = 1; c < answer->n_chunks; c++) {
        const iflow_chunk_span *span = &answer->chunk[c];
        const int n = span->length - span->n_selected;
        iflow_select_others(span->start, span->length, selected, (size_t)span->n_selected, row);
        for (int i = 0; i < n; i++) {
            chunk[i] = (int32_t)c - 1;
        }
        row += n, chunk += n, selected += span->n_selected;
    }
}

iflow_status iflow_drift_end(iflow_context *ctx, const iflow_answer *answer, const float *stale) {
    if (!stale) {
        return IFLOW_OK;
    }
    const size_t n = answer->n_selected, n_others = answer->n_context - (size_t)answer->chunk[0].length - n;
    const size_t width = (size_t)ctx->model->n_embd_kv, n_chunks = answer->n_chunks - 1;
    const int n_layer = ctx->model->h.n_layer;
    int32_t *row = iflow_calloc(n_others, sizeof *row), *chunk = iflow_calloc(n_others, sizeof *chunk);
    double *weight = iflow_calloc(n, sizeof *weight), *sorted = iflow_calloc(n, sizeof *sorted);
    float *change = iflow_calloc((size_t)(n_layer - 1) * n * width, sizeof *change);
    float *shift = iflow_calloc((size_t)(n_layer - 1) * n_chunks * width, sizeof *shift);
    iflow_status status = IFLOW_OK;
    if (!row || !chunk || !weight || !sorted || !change || !shift) {
        status = iflow_fail_memory((size_t)(n_layer - 1) * (n + n_chunks) * width * sizeof *shift);
        goto cleanup;
    }
    if ((status = read_keys(ctx, answer, change))) {
        goto cleanup;
    }
    for (size_t i = 0; i < (size_t)(n_layer - 1) * n * width; i++) {
        change[i] -= stale[i];
    }
    const size_t n_values = (size_t)(n_layer - 1) * n * width, bad = iflow_finite_first(change, n_values);
    if (bad < n_values) {
        status = iflow_not_finite((double)change[bad], "what recompute changes the key at position %d by in layer %zu",
                                  (int)answer->selected[bad / width % n], 1 + bad / width / n);
        goto cleanup;
    }
    for (size_t layer = 0; layer < (size_t)n_layer - 1; layer++) {
        mean_changes(answer, change + layer * n * width, width, weight, sorted, shift + layer * n_chunks * width);
    }
    list_others(answer, row, chunk);
    status = iflow_seq_shift_keys(&ctx->seq, row, chunk, (int)n_others, shift, (int)n_chunks);

cleanup:
    free(row), free(chunk);
    free(weight), free(sorted);
    free(change), free(shift);
    return status;
}
