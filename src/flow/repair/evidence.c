/* evidence.c - how much of a correction comes about in this context, as the recomputed tokens tell; of the other tokens' no more stays
 * (ours).
 *
 * A correction that was learned from another kind of text than it meets predicts too much. What recompute gives for some tokens shows by
 * how much, nearly as well as all tokens would. */
#include "compute/graph.h"
#include "flow/finite.h"
#include "flow/repair/correct.h"
#include "flow/repair/repair.h"
#include "flow/select.h"

#include <math.h>
#include <stdlib.h>

enum { MOST_PROBES = 256 };

/* What is kept of the probes: of the selected tokens of corrected chunks, before they run again. */
typedef struct evidence {
    size_t n;
    int32_t *row;      /* [n] */
    float *added[2];   /* [n_layer - 1, n, n_embd_kv]: by the correction, to K (before RoPE, with its magnitude) and V */
    double *before[2]; /* [n_layer - 1]: what was added times what it was added up to, summed */
} evidence;

/* Whether what becomes of a chunk's selected tokens tells of its correction. Where all tokens were computed anew in some layers it does
 * not: nothing of the correction is left there. */
static bool tells(const iflow_run *run, size_t c) {
    return iflow_is_corrected(run, c) && !run->method->repair->fresh_layers;
}

/* Lists the probes, evenly spread. */
static iflow_status choose_probes(const iflow_run *run, evidence *e) {
    const iflow_answer *a = run->answer;
    size_t n_all = 0, k = 0;
    for (size_t c = 0; c < a->n_chunks; c++) {
        n_all += tells(run, c) ? (size_t)a->chunk[c].n_selected : 0;
    }
    if (!n_all) {
        return IFLOW_OK;
    }
    const size_t step = (n_all + MOST_PROBES - 1) / MOST_PROBES;
    e->row = iflow_calloc(n_all, sizeof *e->row);
    if (!e->row) {
        return iflow_fail_memory(n_all * sizeof *e->row);
    }
    for (size_t c = 0, i = 0; c < a->n_chunks; c++) {
        for (const size_t end = i + (size_t)a->chunk[c].n_selected; i < end; i++) {
            if (tells(run, c) && k++ % step == 0) {
                e->row[e->n++] = a->selected[i];
            }
        }
    }
    return IFLOW_OK;
}

/* Takes from what is in added, K and V with the correction, what a chunk has stored. first, end: its probes. */
static iflow_status subtract_stored(const iflow_model *model, evidence *e, const iflow_chunk *chunk, int start, size_t first, size_t end) {
    const size_t width = (size_t)model->n_embd_kv;
    uint16_t *half = iflow_calloc(width, sizeof *half);
    if (!half) {
        return iflow_fail_memory(width * sizeof *half);
    }
    for (size_t i = 0; i < 2 * (size_t)(model->h.n_layer - 1); i++) {
        const size_t layer = i / 2, kind = i % 2;
        const float magnitude = kind ? 1 : iflow_graph_magnitude(model, (int)layer + 1);
        for (size_t w = first; w < end; w++) {
            float *added = e->added[kind] + (layer * e->n + w) * width;
            iflow_chunk_rows_f16(chunk, (kind ? chunk->v : chunk->k)[layer + 1], (int)width, (size_t)(e->row[w] - start), 1, half);
            for (size_t j = 0; j < width; j++) {
                const float with = added[j];
                added[j] -= magnitude * ggml_fp16_to_fp32(half[j]);
                e->before[kind][layer] += (double)with * (double)added[j];
            }
        }
    }
    free(half);
    return IFLOW_OK;
}

/* Room for the probes' numbers. */
static iflow_status allocate(evidence *e, size_t n_layers, size_t n_values) {
    for (int kind = 0; kind < 2; kind++) {
        e->added[kind] = iflow_calloc(n_values, sizeof *e->added[kind]);
        e->before[kind] = iflow_calloc(n_layers, sizeof *e->before[kind]);
        if (!e->added[kind] || !e->before[kind]) {
            return iflow_fail_memory(n_values * sizeof *e->added[kind]);
        }
    }
    return IFLOW_OK;
}

/* Keeps what the correction added to the probes. */
static iflow_status before(iflow_run *run, void **state) {
    iflow_timeline *t = run->t;
    const iflow_answer *a = run->answer;
    const size_t n_layers = (size_t)t->model->h.n_layer - 1;
    evidence *e = *state = calloc(1, sizeof *e);
    if (!e) {
        return iflow_fail_memory(sizeof *e);
    }
    iflow_status status = choose_probes(run, e);
    const size_t n_values = n_layers * e->n * (size_t)t->model->n_embd_kv;
    if (status || !n_values) {
        return status;
    }
    if (!(status = allocate(e, n_layers, n_values))) {
        status = iflow_seq_read(&t->seq, e->row, (int)e->n, e->added[0], e->added[1]);
    }
    for (size_t c = 0, first = 0, end = 0; !status && c < a->n_chunks; c++, first = end) {
        const int start = a->chunk[c].start, beyond = start + a->chunk[c].length;
        while (end < e->n && e->row[end] < beyond) {
            end++;
        }
        iflow_chunk *chunk = NULL;
        if (end > first &&
            !(status = iflow_builder_get(t->builder, iflow_run_chunk(run, c), iflow_run_estimates(run), &chunk, &run->answer->ms))) {
            status = subtract_stored(t->model, e, chunk, start, first, end);
        }
        iflow_chunk_free(chunk);
    }
    return status;
}

/* The part of what was added that came about; NAN where nothing was. */
static iflow_status judge(iflow_timeline *t, const evidence *e, double *share) {
    const size_t n_layers = (size_t)t->model->h.n_layer - 1, n_values = e->n * (size_t)t->model->n_embd_kv;
    float *now[2] = {iflow_calloc(n_layers * n_values, sizeof **now), iflow_calloc(n_layers * n_values, sizeof **now)};
    iflow_status status = IFLOW_OK;
    double sum = 0;
    int n = 0;
    if (!now[0] || !now[1]) {
        status = iflow_fail_memory(n_layers * n_values * sizeof **now);
        goto cleanup;
    }
    if ((status = iflow_seq_read(&t->seq, e->row, (int)e->n, now[0], now[1]))) {
        goto cleanup;
    }
    for (size_t i = 0; i < 2 * n_layers; i++) {
        const size_t layer = i / 2, kind = i % 2;
        const float *added = e->added[kind] + layer * n_values, *values = now[kind] + layer * n_values;
        double product = -e->before[kind][layer], squares = 0;
        for (size_t j = 0; j < n_values; j++) {
            product += (double)values[j] * (double)added[j];
            squares += (double)added[j] * (double)added[j];
        }
        if (!(squares <= 0)) { /* also where it is no number */
            sum += 1 + product / squares;
            n++;
        }
    }
    *share = n ? sum / n : NAN;
    if (n && !isfinite(*share)) {
        status = iflow_not_finite(*share, "what recompute says of the correction");
    }

cleanup:
    free(now[0]), free(now[1]);
    return status;
}

/* Lays what a chunk has stored into the rows after the question's, its keys rotated to where the chunk stands. */
static iflow_status lay_aside(iflow_run *run, size_t c) {
    const iflow_chunk_span *span = &run->answer->chunk[c];
    iflow_seq *seq = &run->t->seq;
    iflow_chunk *chunk = NULL;
    iflow_status status = iflow_seq_reserve(seq, run->n_rows + span->length);
    if (!status &&
        !(status = iflow_builder_get(run->t->builder, iflow_run_chunk(run, c), iflow_run_estimates(run), &chunk, &run->answer->ms)) &&
        !(status = iflow_seq_load(seq, chunk, run->n_rows, span->start))) {
        status = iflow_seq_rotate(seq, run->n_rows, span->length);
    }
    iflow_chunk_free(chunk);
    return status;
}

/* The rows aside of a chunk's positions. */
static void find_aside(const iflow_run *run, int start, const int32_t *at, size_t n, int32_t *row) {
    for (size_t i = 0; i < n; i++) {
        row[i] = run->n_rows + at[i] - start;
    }
}

/* Of what was added to a chunk's other tokens, share stays. Its own n of the selected tokens are those from `first` on. */
static iflow_status take_back(iflow_run *run, size_t c, size_t first, size_t n, float share) {
    const iflow_chunk_span *span = &run->answer->chunk[c];
    const int32_t *selected = run->answer->selected + first;
    const size_t n_others = (size_t)span->length - n;
    int32_t *from = iflow_calloc((size_t)span->length, sizeof *from), *others = iflow_calloc(n_others, sizeof *others);
    iflow_status status = IFLOW_OK;
    if (!from || !others) {
        status = iflow_fail_memory((size_t)span->length * sizeof *from);
        goto cleanup;
    }
    if ((status = lay_aside(run, c))) {
        goto cleanup;
    }
    iflow_select_others(span->start, span->length, selected, n, others);
    find_aside(run, span->start, others, n_others, from);
    if (n_others && (status = iflow_seq_mix(&run->t->seq, from, others, (int)n_others, share))) {
        goto cleanup;
    }
    find_aside(run, span->start, selected, n, from);
    status = iflow_repairs_mixed(run, &(iflow_mixture){.first = first, .n = n, .from = from, .share = share});

cleanup:
    free(from), free(others);
    return status;
}

/* evidence becomes the part of what was added to a layer's K or V that came about, by least squares, in the mean of these. Where it
 * is less than 1, of what was added to the tokens that were not selected that part stays (none, below 0). */
static iflow_status after(iflow_run *run, void **state) {
    const evidence *e = *state;
    iflow_answer *a = run->answer;
    iflow_status status = e->added[0] ? judge(run->t, e, &a->evidence) : IFLOW_OK;
    if (status || !(a->evidence < 1)) {
        return status;
    }
    const float share = a->evidence > 0 ? (float)a->evidence : 0;
    for (size_t c = 0, first = 0; !status && c < a->n_chunks; first += (size_t)a->chunk[c++].n_selected) {
        if (tells(run, c)) {
            status = take_back(run, c, first, (size_t)a->chunk[c].n_selected, share);
        }
    }
    iflow_seq_truncate(&run->t->seq, run->n_rows);
    return status;
}

static void free_evidence(void *state) {
    evidence *e = state;
    for (int kind = 0; kind < 2; kind++) {
        free(e->added[kind]);
        free(e->before[kind]);
    }
    free(e->row);
    free(e);
}

const iflow_repair_ops iflow_repair_evidence = {.before = before, .after = after, .free = free_evidence};
