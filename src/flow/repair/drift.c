/* drift.c - the keys of a chunk's other tokens are shifted as those of its recomputed tokens moved, on the average (ours).
 *
 * What a chunk's KV lacks, because it was computed among other texts or none, is in part the same for all its tokens: over a chunk, K
 * before RoPE moves in a common direction, which holds a fifth (SmolLM2) to a third (Qwen2.5) of all that it moves. The recomputed tokens
 * tell which, and the others follow without being run. V has little of that, and is left as it is. */
#include "flow/finite.h"
#include "flow/repair/repair.h"
#include "flow/select.h"

#include <stdlib.h>
#include <string.h>

static const double LEAST = 0.05, PRIOR = 4;

static iflow_status read_keys(iflow_timeline *t, const iflow_answer *answer, float *out) {
    return iflow_seq_read(&t->seq, answer->selected, (int)answer->n_selected, out, NULL);
}

/* Keeps the K before RoPE of the selected tokens, [n_layer - 1, n_selected, n_embd_kv], of all layers but the first, whose K depends on the
 * token alone. Nothing where no other token is left. */
static iflow_status before(iflow_run *run, void **state) {
    iflow_timeline *t = run->t;
    const iflow_answer *answer = run->answer;
    const size_t n = answer->n_selected, n_head = (size_t)answer->chunk[0].length, n_values = n * (size_t)t->model->n_embd_kv;
    const int n_layer = t->model->h.n_layer;
    if (!iflow_run_wants(run, run->params->drift) || !n || n + n_head == answer->n_context || n_layer < 2) {
        return IFLOW_OK;
    }
    float *stale = *state = iflow_calloc((size_t)(n_layer - 1) * n_values, sizeof *stale);
    if (!stale) {
        return iflow_fail_memory((size_t)(n_layer - 1) * n_values * sizeof *stale);
    }
    return read_keys(t, answer, stale);
}

/* What is kept is changed as the other reused rows are. */
static iflow_status mixed(iflow_run *run, void **state, const iflow_mixture *mixture) {
    const size_t n_layers = (size_t)run->t->model->h.n_layer - 1, width = (size_t)run->t->model->n_embd_kv, n = mixture->n;
    const float share = mixture->share;
    float *stale = *state;
    if (!stale || !n) {
        return IFLOW_OK;
    }
    float *others = iflow_calloc(n_layers * n * width, sizeof *others);
    if (!others) {
        return iflow_fail_memory(n_layers * n * width * sizeof *others);
    }
    const iflow_status status = iflow_seq_read(&run->t->seq, mixture->from, (int)n, others, NULL);
    for (size_t layer = 0; !status && layer < n_layers; layer++) {
        float *was = stale + (layer * run->answer->n_selected + mixture->first) * width;
        const float *other = others + layer * n * width;
        for (size_t i = 0; i < n * width; i++) {
            was[i] = share * was[i] + (1 - share) * other[i];
        }
    }
    free(others);
    return status;
}

static int ascending(const void *a, const void *b) { /* of finite numbers */
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The mean of a layer's changes [n_selected, width] by chunk, added to out [n_chunks - 1, width]. In it a token weighs 1 / (d / m + 1/20),
 * d being the square of its change and m the median of these in the layer: who moves far moves in a way of their own. Four tokens that did
 * not change count with it, as a mean of few is mostly noise. weight and sorted: [n_selected], for our use. */
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

/* The tokens after the head that are not selected: their positions, and the chunks that they are in, from 0. */
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

/* Shifts every token that is not selected, but for the head's. */
static iflow_status after(iflow_run *run, void **state) {
    iflow_timeline *t = run->t;
    const iflow_answer *answer = run->answer;
    const float *stale = *state;
    if (!stale) {
        return IFLOW_OK;
    }
    const size_t n = answer->n_selected, n_others = answer->n_context - (size_t)answer->chunk[0].length - n;
    const size_t width = (size_t)t->model->n_embd_kv, n_chunks = answer->n_chunks - 1;
    const int n_layer = t->model->h.n_layer;
    int32_t *row = iflow_calloc(n_others, sizeof *row), *chunk = iflow_calloc(n_others, sizeof *chunk);
    double *weight = iflow_calloc(n, sizeof *weight), *sorted = iflow_calloc(n, sizeof *sorted);
    float *change = iflow_calloc((size_t)(n_layer - 1) * n * width, sizeof *change);
    float *shift = iflow_calloc((size_t)(n_layer - 1) * n_chunks * width, sizeof *shift);
    iflow_status status = IFLOW_OK;
    if (!row || !chunk || !weight || !sorted || !change || !shift) {
        status = iflow_fail_memory((size_t)(n_layer - 1) * (n + n_chunks) * width * sizeof *shift);
        goto cleanup;
    }
    if ((status = read_keys(t, answer, change))) {
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
    status = iflow_seq_shift_keys(&t->seq, row, chunk, (int)n_others, shift, (int)n_chunks);

cleanup:
    free(row), free(chunk);
    free(weight), free(sorted);
    free(change), free(shift);
    return status;
}

const iflow_repair_ops iflow_repair_drift = {.before = before, .mixed = mixed, .after = after, .free = free};
