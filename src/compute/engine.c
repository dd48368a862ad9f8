/* engine.c - runs passes: backends and scheduler, slices, masks, graph reuse. */
#include "compute/engine_inner.h"
#include "model/guard.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* ggml's attention works on blocks of keys; the same graph then serves 256 decoding steps. libllama pads its cache the same way. */
enum { KV_PAD = 256 };

/* A scoring slice holds the softmax of every head: [n_head, n, n_kv] floats. This bounds it. */
enum { OBSERVE_BYTES = 128 << 20 };

iflow_status iflow_engine_new(const iflow_model *model, int n_ubatch, int n_threads, iflow_engine **out) {
    iflow_status status = IFLOW_OK;
    iflow_engine *e = calloc(1, sizeof *e);
    if (!e) {
        return iflow_fail_memory(sizeof *e);
    }
    e->model = model;
    e->n_ubatch = n_ubatch ? n_ubatch : IFLOW_DEFAULT_UBATCH;
    const size_t max_slice = (size_t)(e->n_ubatch > IFLOW_DEFAULT_UBATCH ? e->n_ubatch : IFLOW_DEFAULT_UBATCH);
    e->row = iflow_calloc(max_slice, sizeof *e->row);
    e->of_seq = iflow_calloc(max_slice, sizeof *e->of_seq);
    e->coord = iflow_calloc(max_slice, sizeof *e->coord);
    if (!e->row || !e->of_seq || !e->coord) {
        status = iflow_fail_memory(max_slice * sizeof *e->row);
        goto cleanup;
    }
    e->n_threads = n_threads ? n_threads : iflow_load_processors();
    if ((status = iflow_worker_get(model->device, model->cpu, e->n_threads, &e->worker))) {
        goto cleanup;
    }
    const size_t max_nodes =
        2 * (64 + (size_t)model->h.n_layer * 64 + IFLOW_MAX_OBSERVED * ((size_t)model->h.n_head * 8 + 64)); /* and leaves */
    if ((status = iflow_guard_scheduler(max_nodes))) {
        goto cleanup;
    }
    e->sched = ggml_backend_sched_new(e->worker->backend, NULL, e->worker->n_backends, max_nodes, false, true);
    if (!e->sched) {
        status = iflow_fail(IFLOW_E_BACKEND, "ggml's scheduler cannot be started");
    }

cleanup:
    if (status) {
        iflow_engine_free(e);
    } else {
        *out = e;
    }
    return status;
}

void iflow_engine_free(iflow_engine *e) {
    if (!e) {
        return;
    }
    iflow_graph_free(&e->graph);
    if (e->sched) {
        ggml_backend_sched_free(e->sched);
    }
    iflow_worker_put(e->worker);
    free(e->mask);
    free(e->seen);
    free(e->row);
    free(e->of_seq);
    free(e->coord);
    free(e);
}

ggml_backend_buffer_type_t iflow_engine_buft(const iflow_engine *e) {
    return ggml_backend_dev_buffer_type(e->model->device);
}

void iflow_engine_coords(const iflow_coord *coord, int n, int32_t *out) {
    for (int i = 0; i < n; i++) {
        out[i] = coord[i].at[0];
    }
}

void iflow_engine_fill(struct ggml_tensor *input, const void *values) {
    ggml_backend_tensor_set(input, values, 0, ggml_nbytes(input));
}

iflow_status iflow_engine_compute(iflow_engine *e, struct ggml_cgraph *cgraph, bool fewer) {
    e->graph.cancel.token = iflow_cancel_current();
    atomic_store(&e->graph.cancel.seen, false);
    return iflow_worker_compute(e->worker, e->sched, cgraph, e->n_threads, fewer, &e->graph.cancel);
}

iflow_status iflow_engine_allocate(iflow_engine *e, struct ggml_cgraph *cgraph) {
    iflow_status status = iflow_guard_graph(cgraph);
    if (status) {
        return status;
    }
    ggml_backend_sched_reset(e->sched);
    if (!ggml_backend_sched_alloc_graph(e->sched, cgraph)) {
        return iflow_fail(IFLOW_E_MEMORY, "no memory for the computation on device %s", ggml_backend_dev_name(e->model->device));
    }
    const size_t work_bytes = iflow_guard_work_bytes(cgraph, e->n_threads);
    if (work_bytes > e->work_bytes && !(status = iflow_memory_require(work_bytes))) {
        e->work_bytes = work_bytes; /* ggml keeps what it had */
    }
    return status;
}

/* Has the graph of a shape built and allocated; the last one is kept. */
static iflow_status ready_graph(iflow_engine *e, const iflow_rows *rows, const iflow_graph_shape *shape) {
    if (e->allocated && !memcmp(&e->graph.shape, shape, sizeof *shape)) {
        return IFLOW_OK;
    }
    e->allocated = false;
    iflow_status status = iflow_graph_build(&e->graph, e->model, rows, shape);
    if (!status && !(status = iflow_engine_allocate(e, e->graph.cgraph))) {
        e->allocated = true;
    }
    return status;
}

/* ---- A slice ------------------------------------------------------------------------------------------------------------------------ */

/* Tokens [start, start + n) of a pass, and what they see. */
typedef struct slice {
    const iflow_pass *pass;
    iflow_rows *rows;
    int start, n, n_seq;
    const int32_t *order; /* [n] */
    int32_t max_order;
} slice;

static int32_t seq_at(const slice *s, int i) {
    return s->pass->seq ? s->pass->seq[s->start + i] : 0;
}

/* Gives the rows that the slice writes to its tokens, and counts its sequences. */
static void take_rows(iflow_engine *e, slice *s) {
    const iflow_pass *pass = s->pass;
    iflow_rows *rows = s->rows;
    s->order = pass->order + s->start;
    s->n_seq = 0;
    s->max_order = 0;
    for (int i = 0; i < s->n; i++) {
        const int32_t row = pass->row[s->start + i], seq = seq_at(s, i), order = s->order[i];
        assert(row >= 0 && row < rows->n_rows && (i == 0 || seq >= seq_at(s, i - 1)));
        rows->order[row] = order;
        rows->seq[row] = seq;
        for (int c = 0; c < IFLOW_COORDS && !pass->coord; c++) {
            rows->coord[row].at[c] = order;
        }
        if (pass->coord) {
            rows->coord[row] = pass->coord[s->start + i];
        }
        s->n_seq += i == 0 || seq != seq_at(s, i - 1);
        s->max_order = order > s->max_order ? order : s->max_order;
        e->row[i] = row;
        e->of_seq[i] = s->n_seq - 1;
        iflow_engine_coords(&rows->coord[row], 1, &e->coord[i]);
    }
}

static bool sees(const iflow_rows *rows, int row, int32_t seq) {
    return rows->seq[row] == seq || rows->seq[row] == IFLOW_SEQ_ALL;
}

/* Rows that any query of the slice can see lie below this. */
static int visible_rows(const slice *s) {
    const iflow_rows *rows = s->rows;
    int n = rows->n_rows;
    for (bool visible = false; n > 0 && !visible; n -= !visible) {
        for (int i = 0; i < s->n && rows->order[n - 1] <= s->max_order && !visible; i++) {
            visible = (i == 0 || seq_at(s, i) != seq_at(s, i - 1)) && sees(rows, n - 1, seq_at(s, i));
        }
    }
    const int padded = (n + KV_PAD - 1) / KV_PAD * KV_PAD;
    return padded < rows->n_rows ? padded : rows->n_rows;
}

/* The first n_kv rows' orders as each sequence of the slice sees them, [n_seq, n_kv]: rows of the others are empty to it. And their
 * coordinates, for layers with a window, which is a distance of those: so a key that is scored at another place than its own is within the
 * window of where it stands. What a pass can see there never comes later than its tokens and stands before them. */
static iflow_status see(iflow_engine *e, const slice *s, int n_kv) {
    const bool windows = e->model->h.window > 0;
    const size_t count = (size_t)s->n_seq * (size_t)n_kv;
    const iflow_status status = iflow_reserve((void **)&e->seen, &e->seen_capacity, windows ? 2 * count : count, sizeof *e->seen);
    if (status) {
        return status;
    }
    e->seen_at = e->seen + (windows ? count : 0);
    for (int i = 0; i < s->n; i++) {
        const size_t first = (size_t)e->of_seq[i] * (size_t)n_kv;
        for (int row = 0; row < n_kv && (i == 0 || e->of_seq[i] != e->of_seq[i - 1]); row++) {
            const bool seen = sees(s->rows, row, seq_at(s, i)) && s->rows->order[row] != IFLOW_ROW_EMPTY;
            e->seen[first + (size_t)row] = seen ? s->rows->order[row] : IFLOW_ROW_EMPTY;
            if (windows && seen) {
                iflow_engine_coords(&s->rows->coord[row], 1, &e->seen_at[first + (size_t)row]);
            } else if (windows) {
                e->seen_at[first + (size_t)row] = IFLOW_ROW_EMPTY;
            }
        }
    }
    return IFLOW_OK;
}

/* Fills and uploads a mask [n * fold, n_kv]: a key is visible to a query if its number (order, or coordinate), as the query's sequence sees
 * it, is not greater, and less than a window (0: none) before it. */
static iflow_status set_mask(iflow_engine *e, struct ggml_tensor *mask, int window, const slice *s, const int32_t *at, const int32_t *seen,
                             int n_kv) {
    const ggml_fp16_t visible = ggml_fp32_to_fp16(0.0f), hidden = 0xfc00; /* -inf */
    const size_t fold = (size_t)e->graph.fold, width = (size_t)n_kv, count = (size_t)s->n * fold * width;
    const iflow_status status = iflow_reserve((void **)&e->mask, &e->mask_capacity, count, sizeof *e->mask);
    if (status) {
        return status;
    }
    for (int q = 0; q < s->n; q++) {
        ggml_fp16_t *line = e->mask + (size_t)q * fold * width;
        const int32_t *at_kv = seen + (size_t)e->of_seq[q] * width, first = window ? at[q] - window + 1 : INT32_MIN;
        for (int k = 0; k < n_kv; k++) {
            line[k] = at_kv[k] <= at[q] && at_kv[k] >= first ? visible : hidden;
        }
        for (size_t i = 1; i < fold; i++) {
            memcpy(line + i * width, line, width * sizeof *line);
        }
    }
    ggml_backend_tensor_set(mask, e->mask, 0, count * sizeof *e->mask);
    return IFLOW_OK;
}

/* The shape of the graph that the slice needs; last: it is the pass's last. */
static iflow_graph_shape shape_of(const iflow_engine *e, const slice *s, bool last) {
    const iflow_pass *pass = s->pass;
    iflow_graph_shape shape;
    memset(&shape, 0, sizeof shape); /* padding counts in the comparison */
    shape.n = s->n;
    shape.n_kv = visible_rows(s);
    shape.n_seq = s->n_seq;
    shape.n_out = pass->every ? s->n : (pass->logits && last) ? 1 : 0;
    shape.n_observe = pass->n_observe;
    shape.first_layer = pass->first_layer;
    shape.end_layer = pass->n_observe ? pass->observe[pass->n_observe - 1] + 1 : pass->end_layer ? pass->end_layer : e->model->h.n_layer;
    shape.embd = pass->embd != NULL;
    shape.hidden = pass->hidden != NULL;
    assert(!shape.hidden || (!shape.n_out && !pass->n_observe));
    assert(pass->n_observe <= IFLOW_MAX_OBSERVED && !pass->n_observe == !pass->observations);
    shape.observations = pass->observations;
    for (int i = 0; i < pass->n_observe; i++) {
        shape.observe[i] = pass->observe[i];
    }
    shape.raw = s->rows->k_raw != NULL;
    shape.serial = s->rows->serial;
    return shape;
}

/* An input that the graph may not use has no buffer then: a pass of one layer that only writes K and V attends to nothing. */
static void fill_if_used(struct ggml_tensor *input, const void *values) {
    if (input && input->buffer) {
        iflow_engine_fill(input, values);
    }
}

static iflow_status set_inputs(iflow_engine *e, const slice *s, int n_kv) {
    const iflow_graph *g = &e->graph;
    if (g->embd) {
        iflow_engine_fill(g->embd, s->pass->embd + (size_t)s->start * (size_t)e->model->h.n_embd);
    } else {
        iflow_engine_fill(g->token, s->pass->token + s->start);
    }
    fill_if_used(g->pos, e->coord);
    iflow_engine_fill(g->row, e->row);
    fill_if_used(g->order, s->order);
    fill_if_used(g->order_kv, e->seen);
    fill_if_used(g->at_kv, e->seen_at);
    fill_if_used(g->seq, e->of_seq);
    iflow_status status = g->mask->buffer ? set_mask(e, g->mask, 0, s, s->order, e->seen, n_kv) : IFLOW_OK;
    if (!status && g->mask_window && g->mask_window->buffer) {
        status = set_mask(e, g->mask_window, e->model->h.window, s, e->coord, e->seen_at, n_kv);
    }
    return status;
}

/* Adds what was observed of n_kv rows. */
static iflow_status add_observed(const iflow_engine *e, const slice *s, int n_kv) {
    const iflow_pass *pass = s->pass;
    float *part = iflow_calloc((size_t)n_kv, sizeof *part), *sum = pass->observed;
    if (!part) {
        return iflow_fail_memory((size_t)n_kv * sizeof *part);
    }
    for (int i = 0; i < pass->n_observe; i++) {
        for (int o = 0; o < IFLOW_N_OBSERVATIONS && e->graph.observed[i][o]; o++, sum += s->rows->n_rows) {
            ggml_backend_tensor_get(e->graph.observed[i][o], part, 0, (size_t)n_kv * sizeof *part);
            for (int k = 0; k < n_kv; k++) {
                sum[k] += part[k];
            }
        }
    }
    free(part);
    return IFLOW_OK;
}

/* ggml's attention cuts the keys of a single query by threads, so that what it sums, and rounds, together depends on their number. */
static bool sums_by_threads(const iflow_graph *g) {
    return !g->attention && g->shape.n * g->fold == 1;
}

static iflow_status run_slice(iflow_engine *e, iflow_rows *rows, const iflow_pass *pass, int start, int n) {
    slice s = {.pass = pass, .rows = rows, .start = start, .n = n};
    take_rows(e, &s);
    const iflow_graph_shape shape = shape_of(e, &s, start + n == pass->n);
    iflow_status status = see(e, &s, shape.n_kv);
    if (status || (status = ready_graph(e, rows, &shape)) || (status = set_inputs(e, &s, shape.n_kv)) ||
        (status = iflow_engine_compute(e, e->graph.cgraph, !sums_by_threads(&e->graph)))) {
        return status;
    }
    const iflow_graph *g = &e->graph;
    const size_t n_embd = (size_t)e->model->h.n_embd, n_vocab = (size_t)e->model->n_vocab;
    if (g->logits) {
        float *out = pass->out + (pass->every ? (size_t)start * n_vocab : 0);
        ggml_backend_tensor_get(g->logits, out, 0, (size_t)shape.n_out * n_vocab * sizeof *out);
    }
    if (g->hidden) {
        ggml_backend_tensor_get(g->hidden, pass->hidden + (size_t)start * n_embd, 0, (size_t)n * n_embd * sizeof *pass->hidden);
    }
    return pass->n_observe ? add_observed(e, &s, shape.n_kv) : IFLOW_OK;
}

iflow_status iflow_engine_forward(iflow_engine *e, iflow_rows *rows, const iflow_pass *pass) {
    int step = pass->fixed_slices ? IFLOW_DEFAULT_UBATCH : e->n_ubatch;
    if (pass->n_observe) {
        const size_t per_query = (size_t)e->model->h.n_head * (size_t)rows->n_rows * sizeof(float);
        const size_t fit = OBSERVE_BYTES / per_query;
        step = fit < 1 ? 1 : fit < (size_t)step ? (int)fit : step;
    }
    iflow_status status = IFLOW_OK;
    for (int start = 0; !status && start < pass->n; start += step) {
        const int left = pass->n - start, n = left < step ? left : step;
        status = run_slice(e, rows, pass, start, n);
    }
    return status;
}
