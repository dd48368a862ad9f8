/* matmul.c - products as ggml ops: which weights they take, and which thread does which part. */
#include "kernels/matmul_kernels.h"
#include "kernels/work.h"

#include <assert.h>
#include <string.h>

bool iflow_matmul_can(enum ggml_type type, iflow_layout layout) {
    const iflow_kernels *kernels = iflow_kernels_get(0);
    if (!kernels) {
        return false;
    }
    switch ((int)type) {
    case GGML_TYPE_Q4_0:
    case GGML_TYPE_Q4_K:
        return layout != IFLOW_LAYOUT_OTHER;
    case GGML_TYPE_Q4_1:
    case GGML_TYPE_Q5_0:
    case GGML_TYPE_Q5_1:
    case GGML_TYPE_Q5_K:
    case GGML_TYPE_Q6_K:
        return layout == IFLOW_LAYOUT_ROWS;
    case GGML_TYPE_Q8_0:
        return layout == IFLOW_LAYOUT_ROWS && kernels->max_code_bits == 8;
    default:
        return false;
    }
}

static int depth_at(int64_t n_in, int64_t start) {
    return n_in - start < IFLOW_TILE_DEPTH ? (int)(n_in - start) : IFLOW_TILE_DEPTH;
}

bool iflow_matmul_is_rows8(const struct ggml_tensor *repacked, const void *rows) {
    if (!iflow_matmul_can(repacked->type, IFLOW_LAYOUT_ROWS8) || repacked->ne[1] % 8) {
        return false;
    }
    struct ggml_tensor plain = *repacked;
    plain.data = (void *)(uintptr_t)rows;
    iflow_tile tile[2];
    memset(tile, 0, sizeof tile);
    const iflow_kernels *kernels = iflow_kernels_get(0);
    kernels->unpack(repacked, IFLOW_LAYOUT_ROWS8, 0, 0, depth_at(repacked->ne[0], 0), &tile[0]);
    kernels->unpack(&plain, IFLOW_LAYOUT_ROWS, 0, 0, depth_at(repacked->ne[0], 0), &tile[1]);
    return !memcmp(&tile[0], &tile[1], sizeof *tile);
}

static int64_t n_panels(int64_t n) {
    return (n + IFLOW_PANEL - 1) / IFLOW_PANEL;
}

/* Quantised x [n_in, n] lies in pieces as deep as a tile, panel by panel each: in the order in which a tile passes it. */
static int64_t block_at(int64_t n, int64_t start, int64_t panel, int depth) {
    return (start * n_panels(n) + panel * depth) / IFLOW_BLOCK;
}

/* An item: one panel. */
static void quantise_panel(const void *op, int64_t p) {
    const struct ggml_tensor *dst = op, *x = dst->src[0];
    const int64_t n_in = x->ne[0], n = x->ne[1];
    const size_t stride = x->nb[1] / sizeof(float);
    const int64_t first = p * IFLOW_PANEL, left = n - first;
    const int n_rows = left < IFLOW_PANEL ? (int)left : IFLOW_PANEL;
    for (int64_t start = 0; start < n_in; start += IFLOW_TILE_DEPTH) {
        const int depth = depth_at(n_in, start);
        iflow_kernels_get(0)->quantise((const float *)x->data + (size_t)first * stride + start, stride, depth, n_rows,
                                       (iflow_block *)dst->data + block_at(n, start, p, depth));
    }
}

static void quantise(struct ggml_tensor *dst, int ith, int nth, void *user) {
    (void)user;
    iflow_work_split(n_panels(dst->src[0]->ne[1]), ith, nth, quantise_panel, dst);
}

struct ggml_tensor *iflow_matmul_quantise(struct ggml_context *ctx, struct ggml_tensor *x) {
    assert(x->type == GGML_TYPE_F32 && x->nb[0] == sizeof(float) && x->ne[2] == 1 && x->ne[3] == 1 && x->ne[0] % IFLOW_BLOCK == 0);
    const int64_t n_bytes = n_panels(x->ne[1]) * (x->ne[0] / IFLOW_BLOCK) * (int64_t)sizeof(iflow_block);
    return ggml_custom_4d(ctx, GGML_TYPE_I8, n_bytes, 1, 1, 1, &x, 1, quantise, GGML_N_TASKS_MAX, NULL);
}

/* Asks for a share, i of n, of the weights that will be multiplied next. Always inline: gcc drops calls of functions that do nothing but
 * this. */
static inline __attribute__((always_inline)) void prefetch(const struct ggml_tensor *w, int64_t row, int64_t i, int64_t n) {
    enum { LINE = 64, SECOND_CACHE = 2 };
    const int64_t left = w->ne[1] - row, n_bytes = (int64_t)w->nb[1] * (left < IFLOW_TILE_ROWS ? left : IFLOW_TILE_ROWS);
    for (int64_t at = n_bytes * i / n; at < n_bytes * (i + 1) / n; at += LINE) {
        __builtin_prefetch((const char *)w->data + (size_t)row * w->nb[1] + at, 0, SECOND_CACHE);
    }
}

/* One tile's rows of the result for panels [first, end). next: the first row of the tile after it. */
static void multiply_tile(const iflow_kernels *kernels, const iflow_product *product, const iflow_block *x, struct ggml_tensor *dst,
                          int64_t row, int64_t next, int64_t first, int64_t end) {
    const struct ggml_tensor *w = product->weight;
    const int64_t n_in = w->ne[0], n_out = w->ne[1], n = dst->ne[1], n_rows = n_out - row < IFLOW_TILE_ROWS ? n_out - row : IFLOW_TILE_ROWS;
    const int64_t n_steps = (n_in + IFLOW_TILE_DEPTH - 1) / IFLOW_TILE_DEPTH * (end - first);
    iflow_tile tile;
    for (int64_t start = 0; start < n_in; start += IFLOW_TILE_DEPTH) {
        const int depth = depth_at(n_in, start), n_blocks = depth / IFLOW_BLOCK;
        kernels->unpack(w, product->layout, row, start, depth, &tile);
        for (int64_t p = first; p < end; p++) {
            const iflow_block *block = x + block_at(n, start, p, depth);
            float *out = (float *)dst->data + (size_t)(p * IFLOW_PANEL * n_out + row), edge[IFLOW_PANEL][IFLOW_TILE_ROWS] = {{0}};
            const int64_t left = n - p * IFLOW_PANEL, n_here = left < IFLOW_PANEL ? left : IFLOW_PANEL;
            const bool whole = n_here == IFLOW_PANEL && n_rows == IFLOW_TILE_ROWS;
            for (int64_t i = 0; !whole && start && i < n_here; i++) {
                memcpy(edge[i], out + i * n_out, (size_t)n_rows * sizeof *out);
            }
            prefetch(w, next, start / IFLOW_TILE_DEPTH * (end - first) + p - first, n_steps);
            kernels->multiply(&tile, block, n_blocks, whole ? out : edge[0], whole ? (size_t)n_out : IFLOW_TILE_ROWS, start == 0);
            for (int64_t i = 0; !whole && i < n_here; i++) {
                memcpy(out + i * n_out, edge[i], (size_t)n_rows * sizeof *out);
            }
        }
    }
}

/* A product's tiles, each cut by panels where tiles are few for the threads. */
typedef struct multiplication {
    const iflow_kernels *kernels;
    const iflow_product *product;
    struct ggml_tensor *dst;
    int64_t n_panels, n_cuts, per_cut;
    int n_threads;
} multiplication;

static void multiply_item(const void *op, int64_t i) {
    const multiplication *m = op;
    const int64_t first = i % m->n_cuts * m->per_cut, end = first + m->per_cut < m->n_panels ? first + m->per_cut : m->n_panels;
    const int64_t row = i / m->n_cuts * IFLOW_TILE_ROWS, next = (i + m->n_threads) / m->n_cuts * IFLOW_TILE_ROWS; /* most likely */
    if (first < end) {
        multiply_tile(m->kernels, m->product, (const iflow_block *)m->dst->src[0]->data, m->dst, row, next, first, end);
    }
}

static void multiply(struct ggml_tensor *dst, int ith, int nth, void *user) {
    (void)ith;
    iflow_product *product = user;
    multiplication m = {.product = product, .dst = dst, .n_panels = n_panels(dst->ne[1]), .n_threads = iflow_work_threads(nth)};
    m.kernels = product->kernels ? product->kernels : iflow_kernels_get(0);
    const int64_t n_tiles = (dst->ne[0] + IFLOW_TILE_ROWS - 1) / IFLOW_TILE_ROWS,
                  wanted = (4 * (int64_t)m.n_threads + n_tiles - 1) / n_tiles;
    m.n_cuts = m.n_threads == 1 ? 1 : wanted < m.n_panels ? wanted : m.n_panels;
    m.per_cut = (m.n_panels + m.n_cuts - 1) / m.n_cuts;
    iflow_work_do(&product->work, n_tiles * m.n_cuts, nth, multiply_item, &m);
}

struct ggml_tensor *iflow_matmul_multiply(struct ggml_context *ctx, iflow_product *product, struct ggml_tensor *quantised, int64_t n) {
    return ggml_custom_4d(ctx, GGML_TYPE_F32, product->weight->ne[1], n, 1, 1, &quantised, 1, multiply, GGML_N_TASKS_MAX, product);
}
