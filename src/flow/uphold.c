/* uphold.c - the witnesses, what they tell, and taking the rest back. */
#include "flow/uphold.h"

#include "compute/edits.h"
#include "compute/graph.h"
#include "flow/finite.h"
#include "flow/select.h"

#include <math.h>
#include <stdlib.h>

enum { MOST_WITNESSES = 256 };

/* Lists the witnesses, evenly spread. */
static iflow_status call_witnesses(iflow_uphold *u) {
    const iflow_answer *a = u->answer;
    size_t n_all = 0, k = 0;
    for (size_t c = 0; c < a->n_chunks; c++) {
        n_all += u->chunk[c] ? (size_t)a->chunk[c].n_selected : 0;
    }
    if (!n_all) {
        return IFLOW_OK;
    }
    const size_t step = (n_all + MOST_WITNESSES - 1) / MOST_WITNESSES;
    u->row = iflow_calloc(n_all, sizeof *u->row);
    if (!u->row) {
        return iflow_fail_memory(n_all * sizeof *u->row);
    }
    for (size_t c = 0, i = 0; c < a->n_chunks; c++) {
        for (const size_t end = i + (size_t)a->chunk[c].n_selected; i < end; i++) {
            if (u->chunk[c] && k++ % step == 0) {
                u->row[u->n++] = a->selected[i];
            }
        }
    }
    return IFLOW_OK;
}

/* Takes from what is in added, K and V with the correction, what a chunk has stored. first, end: its witnesses. */
static iflow_status subtract_stored(iflow_uphold *u, const iflow_chunk *chunk, int start, size_t first, size_t end) {
    const size_t width = (size_t)u->ctx->model->n_embd_kv;
    uint16_t *half = iflow_calloc(width, sizeof *half);
    if (!half) {
        return iflow_fail_memory(width * sizeof *half);
    }
    for (size_t i = 0; i < 2 * (size_t)(u->ctx->model->h.n_layer - 1); i++) {
        const size_t layer = i / 2, kind = i % 2;
        const float magnitude = kind ? 1 : iflow_graph_magnitude(u->ctx->model, (int)layer + 1);
        for (size_t w = first; w < end; w++) {
            float *added = u->added[kind] + (layer * u->n + w) * width;
            iflow_chunk_rows_f16(chunk, (kind ? chunk->v : chunk->k)[layer + 1], (size_t)(u->row[w] - start), 1, half);
            for (size_t j = 0; j < width; j++) {
                const float with = added[j];
                added[j] -= magnitude * ggml_fp16_to_fp32(half[j]);
                u->before[kind][layer] += (double)with * (double)added[j];
            }
        }
    }
    free(half);
    return IFLOW_OK;
}

iflow_status iflow_uphold_begin(iflow_uphold *u) {
    const iflow_answer *a = u->answer;
    const size_t n_layers = (size_t)u->ctx->model->h.n_layer - 1;
    iflow_status status = call_witnesses(u);
    const size_t n_values = n_layers * u->n * (size_t)u->ctx->model->n_embd_kv;
    if (status || !n_values) {
        return status;
    }
    for (int kind = 0; !status && kind < 2; kind++) {
        u->added[kind] = iflow_calloc(n_values, sizeof *u->added[kind]);
        u->before[kind] = iflow_calloc(n_layers, sizeof *u->before[kind]);
        if (!u->added[kind] || !u->before[kind]) {
            status = iflow_fail_memory(n_values * sizeof *u->added[kind]);
        }
    }
    if (!status) {
        status = iflow_engine_read(u->ctx->engine, &u->ctx->cache.rows, u->row, (int)u->n, u->added[0], u->added[1]);
    }
    for (size_t c = 0, first = 0, end = 0; !status && c < a->n_chunks; c++, first = end) {
        const int start = a->chunk[c].start, behind = start + a->chunk[c].length;
        while (end < u->n && u->row[end] < behind) {
            end++;
        }
        iflow_chunk *chunk = NULL;
        bool owned = false;
        if (end > first && !(status = iflow_context_obtain(u->ctx, u->chunk[c], &chunk, &owned, &u->answer->ms))) {
            status = subtract_stored(u, chunk, start, first, end);
        }
        if (owned) {
            iflow_chunk_free(chunk);
        }
    }
    return status;
}

/* The part of what was added that came about; NAN where nothing was. */
static iflow_status judge(const iflow_uphold *u, double *held) {
    const size_t n_layers = (size_t)u->ctx->model->h.n_layer - 1, n_values = u->n * (size_t)u->ctx->model->n_embd_kv;
    float *now[2] = {iflow_calloc(n_layers * n_values, sizeof **now), iflow_calloc(n_layers * n_values, sizeof **now)};
    iflow_status status = IFLOW_OK;
    double sum = 0;
    int n = 0;
    if (!now[0] || !now[1]) {
        status = iflow_fail_memory(n_layers * n_values * sizeof **now);
        goto cleanup;
    }
    if ((status = iflow_engine_read(u->ctx->engine, &u->ctx->cache.rows, u->row, (int)u->n, now[0], now[1]))) {
        goto cleanup;
    }
    for (size_t i = 0; i < 2 * n_layers; i++) {
        const size_t layer = i / 2, kind = i % 2;
        const float *added = u->added[kind] + layer * n_values, *values = now[kind] + layer * n_values;
        double product = -u->before[kind][layer], squares = 0;
        for (size_t j = 0; j < n_values; j++) {
            product += (double)values[j] * (double)added[j];
            squares += (double)added[j] * (double)added[j];
        }
        if (!(squares <= 0)) { /* also where it is no number */
            sum += 1 + product / squares;
            n++;
        }
    }
    *held = n ? sum / n : NAN;
    if (n && !isfinite(*held)) {
        status = iflow_not_finite(*held, "what recompute says of the correction");
    }

cleanup:
    free(now[0]), free(now[1]);
    return status;
}

/* Lays what a chunk has stored into the rows from `aside` on, its keys rotated to where the chunk stands. */
static iflow_status lay_aside(const iflow_uphold *u, size_t c) {
    const iflow_chunk_span *span = &u->answer->chunk[c];
    iflow_cache *cache = &u->ctx->cache;
    iflow_chunk *chunk = NULL;
    bool owned = false;
    iflow_status status = iflow_cache_reserve(cache, u->aside + span->length);
    if (!status && !(status = iflow_context_obtain(u->ctx, u->chunk[c], &chunk, &owned, &u->answer->ms)) &&
        !(status = iflow_cache_load(cache, chunk, u->aside, span->start))) {
        status = iflow_engine_rotate(u->ctx->engine, &cache->rows, u->aside, span->length);
    }
    if (owned) {
        iflow_chunk_free(chunk);
    }
    return status;
}

/* The rows aside of a chunk's positions. */
static void find_aside(const iflow_uphold *u, int start, const int32_t *at, size_t n, int32_t *row) {
    for (size_t i = 0; i < n; i++) {
        row[i] = u->aside + at[i] - start;
    }
}

/* Of what was added to a chunk's other tokens, share stays. stale: of the selected tokens from `first` on the n that are this chunk's. */
static iflow_status take_back(const iflow_uphold *u, size_t c, size_t first, size_t n, float share, float *stale) {
    const iflow_chunk_span *span = &u->answer->chunk[c];
    const int32_t *selected = u->answer->selected + first;
    const size_t n_others = (size_t)span->length - n, n_layers = (size_t)u->ctx->model->h.n_layer - 1;
    const size_t width = (size_t)u->ctx->model->n_embd_kv;
    iflow_rows *rows = &u->ctx->cache.rows;
    int32_t *from = iflow_calloc((size_t)span->length, sizeof *from), *others = iflow_calloc(n_others, sizeof *others);
    float *stored = stale ? iflow_calloc(n_layers * n * width, sizeof *stored) : NULL;
    iflow_status status = IFLOW_OK;
    if (!from || !others || (stale && !stored)) {
        status = iflow_fail_memory(n_layers * n * width * sizeof *stored);
        goto cleanup;
    }
    if ((status = lay_aside(u, c))) {
        goto cleanup;
    }
    iflow_select_others(span->start, span->length, selected, n, others);
    find_aside(u, span->start, others, n_others, from);
    if (n_others && (status = iflow_engine_mix(u->ctx->engine, rows, from, others, (int)n_others, share))) {
        goto cleanup;
    }
    if (!stale || !n) {
        goto cleanup;
    }
    find_aside(u, span->start, selected, n, from);
    if ((status = iflow_engine_read(u->ctx->engine, rows, from, (int)n, stored, NULL))) {
        goto cleanup;
    }
    for (size_t layer = 0; layer < n_layers; layer++) {
        float *was = stale + (layer * u->answer->n_selected + first) * width;
        const float *without = stored + layer * n * width;
        for (size_t i = 0; i < n * width; i++) {
            was[i] = share * was[i] + (1 - share) * without[i];
        }
    }

cleanup:
    free(from), free(others), free(stored);
    return status;
}

iflow_status iflow_uphold_end(iflow_uphold *u, float *stale) {
    iflow_answer *a = u->answer;
    iflow_status status = u->added[0] ? judge(u, &a->correction_held) : IFLOW_OK;
    if (status || !(a->correction_held < 1)) {
        return status;
    }
    const float share = a->correction_held > 0 ? (float)a->correction_held : 0;
    for (size_t c = 0, first = 0; !status && c < a->n_chunks; first += (size_t)a->chunk[c++].n_selected) {
        if (u->chunk[c]) {
            status = take_back(u, c, first, (size_t)a->chunk[c].n_selected, share, stale);
        }
    }
    iflow_cache_truncate(&u->ctx->cache, u->aside);
    return status;
}

void iflow_uphold_free(iflow_uphold *u) {
    for (int kind = 0; kind < 2; kind++) {
        free(u->added[kind]);
        free(u->before[kind]);
    }
    free(u->row);
}
