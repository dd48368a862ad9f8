/* engine.c - runs passes: backends and scheduler, slices, masks, graph reuse. */
#include "compute/engine_inner.h"
#include "model/guard.h"

#include <assert.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ggml's attention works on blocks of keys; the same graph then serves 256 decoding steps. libllama pads its cache the same way. */
enum { KV_PAD = 256 };

/* A scoring slice holds the softmax of every head: [n_head, n, n_kv] floats. This bounds it. */
enum { OBSERVE_BYTES = 128 << 20 };

static int usable_processors(void) {
    cpu_set_t set;
    return sched_getaffinity(0, sizeof set, &set) ? 1 : CPU_COUNT(&set);
}

static void set_threads(ggml_backend_t backend, int n_threads) {
    ggml_backend_reg_t reg = ggml_backend_dev_backend_reg(ggml_backend_get_device(backend));
    ggml_backend_set_n_threads_t set = NULL;
    *(void **)&set = ggml_backend_reg_get_proc_address(reg, "ggml_backend_set_n_threads"); /* POSIX gives functions as void * */
    if (set) {
        set(backend, n_threads);
    }
}

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
    if (!e->row) {
        status = iflow_fail_memory(max_slice * sizeof *e->row);
        goto cleanup;
    }
    e->n_threads = n_threads ? n_threads : usable_processors();
    if ((status = iflow_guard_threads(e->n_threads))) {
        goto cleanup;
    }
    const ggml_backend_dev_t devs[2] = {model->device, model->cpu};
    for (int i = model->device == model->cpu; i < 2; i++) {
        ggml_backend_t backend = ggml_backend_dev_init(devs[i], NULL);
        if (!backend) {
            status = iflow_fail(IFLOW_E_BACKEND, "device %s cannot be started", ggml_backend_dev_name(devs[i]));
            goto cleanup;
        }
        e->backend[e->n_backends++] = backend;
        set_threads(backend, e->n_threads);
    }
    const size_t max_nodes =
        2 * (64 + (size_t)model->h.n_layer * 64 + IFLOW_MAX_OBSERVED * ((size_t)model->h.n_head * 8 + 64)); /* and leaves */
    if ((status = iflow_guard_scheduler(max_nodes))) {
        goto cleanup;
    }
    e->sched = ggml_backend_sched_new(e->backend, NULL, e->n_backends, max_nodes, false, true);
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
    for (int i = 0; i < e->n_backends; i++) {
        ggml_backend_free(e->backend[i]);
    }
    free(e->mask);
    free(e->seen);
    free(e->row);
    free(e);
}

ggml_backend_buffer_type_t iflow_engine_buft(const iflow_engine *e) {
    return ggml_backend_dev_buffer_type(e->model->device);
}

void iflow_engine_fill(struct ggml_tensor *input, const void *values) {
    ggml_backend_tensor_set(input, values, 0, ggml_nbytes(input));
}

/* The threads of a process are not there in one that is forked from it, which would wait for them for ever. */
static iflow_status check_process(const iflow_engine *e) {
    static _Atomic(pid_t) owner; /* the process that computed with several threads first; 0: none */
    const pid_t own = getpid();
    pid_t expected = 0;
    if (e->n_threads > 1 && !atomic_compare_exchange_strong(&owner, &expected, own) && expected != own) {
        return iflow_fail(
            IFLOW_E_BACKEND,
            "this process was forked from one that had computed with several threads, which are not here: start a new program, "
            "or give 1 thread");
    }
    return IFLOW_OK;
}

iflow_status iflow_engine_compute(iflow_engine *e, struct ggml_cgraph *cgraph) {
    const iflow_status status = check_process(e);
    if (status) {
        return status;
    }
    switch (ggml_backend_sched_graph_compute(e->sched, cgraph)) {
    case GGML_STATUS_SUCCESS:
        return IFLOW_OK;
    case GGML_STATUS_ABORTED:
        return iflow_fail(IFLOW_E_CANCELLED, "the computation was cancelled");
    case GGML_STATUS_ALLOC_FAILED:
        return iflow_fail(IFLOW_E_MEMORY, "no memory for the computation on device %s", ggml_backend_dev_name(e->model->device));
    default:
        return iflow_fail(IFLOW_E_BACKEND, "the computation failed on device %s", ggml_backend_dev_name(e->model->device));
    }
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

/* Rows that any query up to max_pos can see lie below this. */
static int visible_rows(const iflow_rows *rows, int32_t max_pos) {
    int n = rows->n_rows;
    while (n > 0 && rows->pos[n - 1] > max_pos) {
        n--;
    }
    const int padded = (n + KV_PAD - 1) / KV_PAD * KV_PAD;
    return padded < rows->n_rows ? padded : rows->n_rows;
}

/* The first n_kv rows' positions as each sequence of a pass sees them, [n_seq, n_kv]: rows of the others are empty to it. */
static iflow_status see(iflow_engine *e, const iflow_rows *rows, const iflow_pass *pass, int n_kv, const int32_t **out) {
    *out = rows->pos;
    if (!pass->seq) {
        return IFLOW_OK;
    }
    const size_t width = (size_t)n_kv, count = (size_t)pass->n_seq * width;
    const iflow_status status = iflow_reserve((void **)&e->seen, &e->seen_capacity, count, sizeof *e->seen);
    if (status) {
        return status;
    }
    for (size_t i = 0; i < count; i++) {
        e->seen[i] = i % width < (size_t)pass->n_shared ? rows->pos[i % width] : IFLOW_ROW_EMPTY;
    }
    for (int i = 0; i < pass->n; i++) {
        assert(pass->seq[i] >= (i ? pass->seq[i - 1] : 0) && pass->seq[i] < pass->n_seq && pass->row[i] >= pass->n_shared);
        e->seen[(size_t)pass->seq[i] * width + (size_t)pass->row[i]] = pass->pos[i];
    }
    *out = e->seen;
    return IFLOW_OK;
}

/* Fills and uploads a mask [n * fold, n_kv]: a key is visible to a query if its position, as the query's sequence sees it, is not
 * greater, and less than a window (0: none) before it. */
static iflow_status set_mask(iflow_engine *e, struct ggml_tensor *mask, int window, const int32_t *seen, const int32_t *seq,
                             const int32_t *pos, int n, int n_kv) {
    const ggml_fp16_t visible = ggml_fp32_to_fp16(0.0f), hidden = 0xfc00; /* -inf */
    const size_t fold = (size_t)e->graph.fold, width = (size_t)n_kv, count = (size_t)n * fold * width;
    const iflow_status status = iflow_reserve((void **)&e->mask, &e->mask_capacity, count, sizeof *e->mask);
    if (status) {
        return status;
    }
    for (int q = 0; q < n; q++) {
        ggml_fp16_t *line = e->mask + (size_t)q * fold * width;
        const int32_t *pos_kv = seen + (seq ? (size_t)seq[q] * width : 0);
        const int32_t first = window ? pos[q] - window + 1 : INT32_MIN;
        for (int k = 0; k < n_kv; k++) {
            line[k] = pos_kv[k] <= pos[q] && pos_kv[k] >= first ? visible : hidden;
        }
        for (size_t i = 1; i < fold; i++) {
            memcpy(line + i * width, line, width * sizeof *line);
        }
    }
    ggml_backend_tensor_set(mask, e->mask, 0, count * sizeof *e->mask);
    return IFLOW_OK;
}

/* Those that the graph uses: a pass of one layer that only writes K and V attends to nothing. */
static iflow_status set_masks(iflow_engine *e, const int32_t *seen, const int32_t *seq, const int32_t *pos, int n, int n_kv) {
    const iflow_graph *g = &e->graph;
    iflow_status status = g->mask->buffer ? set_mask(e, g->mask, 0, seen, seq, pos, n, n_kv) : IFLOW_OK;
    if (!status && g->mask_window && g->mask_window->buffer) {
        status = set_mask(e, g->mask_window, e->model->h.window, seen, seq, pos, n, n_kv);
    }
    return status;
}

static iflow_status run_slice(iflow_engine *e, iflow_rows *rows, const iflow_pass *pass, int start, int n, bool last) {
    const int32_t *pos = pass->pos + start;
    int32_t max_pos = 0;
    for (int i = 0; i < n; i++) {
        const int32_t row = pass->row[start + i];
        assert(row >= 0 && row < rows->n_rows);
        rows->pos[row] = pos[i];
        e->row[i] = row;
        max_pos = pos[i] > max_pos ? pos[i] : max_pos;
    }
    iflow_graph_shape shape;
    memset(&shape, 0, sizeof shape); /* padding counts in the comparison */
    shape.n = n;
    shape.n_kv = visible_rows(rows, max_pos);
    shape.n_out = pass->every ? n : (pass->logits && last) ? 1 : 0;
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
    shape.n_seq = pass->seq ? pass->n_seq : 1;
    assert(!pass->seq || n == pass->n);
    shape.raw = rows->k_raw != NULL;
    shape.serial = rows->serial;
    const int32_t *seen = NULL;
    iflow_status status = see(e, rows, pass, shape.n_kv, &seen);
    if (status || (status = ready_graph(e, rows, &shape))) {
        return status;
    }
    const iflow_graph *g = &e->graph;
    const size_t n_embd = (size_t)e->model->h.n_embd;
    if (g->embd) {
        ggml_backend_tensor_set(g->embd, pass->embd + (size_t)start * n_embd, 0, (size_t)n * n_embd * sizeof *pass->embd);
    } else {
        ggml_backend_tensor_set(g->token, pass->token + start, 0, (size_t)n * sizeof *pass->token);
    }
    if (g->pos->buffer) {
        ggml_backend_tensor_set(g->pos, pos, 0, (size_t)n * sizeof *pos);
    }
    ggml_backend_tensor_set(g->row, e->row, 0, (size_t)n * sizeof *e->row);
    if (g->pos_kv->buffer) {
        iflow_engine_fill(g->pos_kv, seen);
    }
    if (g->seq && g->seq->buffer) {
        iflow_engine_fill(g->seq, pass->seq);
    }
    if ((status = set_masks(e, seen, pass->seq, pos, n, shape.n_kv)) || (status = iflow_engine_compute(e, g->cgraph))) {
        return status;
    }
    if (g->logits) {
        float *out = pass->out + (pass->every ? (size_t)start * (size_t)e->model->n_vocab : 0);
        ggml_backend_tensor_get(g->logits, out, 0, (size_t)shape.n_out * (size_t)e->model->n_vocab * sizeof *out);
    }
    if (g->hidden) {
        ggml_backend_tensor_get(g->hidden, pass->hidden + (size_t)start * n_embd, 0, (size_t)n * n_embd * sizeof *pass->hidden);
    }
    if (pass->n_observe) {
        float *part = iflow_calloc((size_t)shape.n_kv, sizeof *part);
        if (!part) {
            return iflow_fail_memory((size_t)shape.n_kv * sizeof *part);
        }
        float *sum = pass->observed;
        for (int i = 0; i < pass->n_observe; i++) {
            for (int o = 0; o < IFLOW_N_OBSERVATIONS && g->observed[i][o]; o++, sum += rows->n_rows) {
                ggml_backend_tensor_get(g->observed[i][o], part, 0, (size_t)shape.n_kv * sizeof *part);
                for (int k = 0; k < shape.n_kv; k++) {
                    sum[k] += part[k];
                }
            }
        }
        free(part);
    }
    return IFLOW_OK;
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
        status = run_slice(e, rows, pass, start, n, n == left);
    }
    return status;
}
