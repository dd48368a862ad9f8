/* attention.c - attention as a ggml op: which heads it takes, and which thread does which queries. */
#include "kernels/attention_kernels.h"
#include "kernels/work.h"

#include <assert.h>
#include <math.h>
#include <string.h>

enum {
    MAX_PANELS = 60,    /* a tile of queries: what unpacking a block of keys costs is spread over it, and its state stays in the cache */
    MIN_PANELS = 8,     /* where threads would be idle otherwise */
    ITEMS_A_THREAD = 4, /* items differ in work, as the queries see more and more */
    FEW_QUERIES = 8,    /* fewer than this are too few items: their keys are cut into parts, always the same, whose results are merged */
    PART_KEYS = 512,
};

bool iflow_attention_can(int n_embd_head, int n_head, int n_head_kv) {
    const bool size = n_embd_head == 32 || n_embd_head == 64 || n_embd_head == 96 || n_embd_head == 128 || n_embd_head == 256;
    return iflow_attention_kernels_get(0) && size && n_head / n_head_kv <= MIN_PANELS * IFLOW_QUERY_PANEL;
}

/* An item of work: queries [first, end) of one sequence, each with the heads of one KV head, over one part of the keys. */
typedef struct item {
    int64_t first, end, head_kv, part;
} item;

/* Its queries. */
typedef struct tile {
    iflow_query_panel panel[MAX_PANELS];
    int32_t least[MAX_PANELS], most[MAX_PANELS]; /* of a panel's orders */
    int n_panels;
    float nowhere[IFLOW_MAX_EMBD_HEAD + 2]; /* the output of what fills the last panel */
} tile;

/* The first order that a query at order sees. */
static int32_t first_seen(const iflow_attention *attention, int32_t order) {
    return attention->window ? order - attention->window + 1 : INT32_MIN;
}

static int64_t n_parts(int64_t n, int64_t n_kv) {
    return n < FEW_QUERIES ? (n_kv + PART_KEYS - 1) / PART_KEYS : 1;
}

static void tile_start(tile *t, const iflow_attention *attention, struct ggml_tensor *dst, const item *work) {
    const struct ggml_tensor *q = dst->src[0];
    const int32_t *order = dst->src[3]->data;
    const int64_t d = q->ne[0], n_head = q->ne[1], n = q->ne[2], group = n_head * d / dst->src[1]->ne[0], a_head = dst->ne[0] / n_head;
    const int64_t n_rows = (work->end - work->first) * group;
    t->n_panels = (int)((n_rows + IFLOW_QUERY_PANEL - 1) / IFLOW_QUERY_PANEL);
    assert(t->n_panels <= MAX_PANELS);
    for (int p = 0; p < t->n_panels; p++) {
        iflow_query_panel *panel = &t->panel[p];
        memset(panel->sum, 0, sizeof panel->sum);
        t->least[p] = INT32_MAX;
        t->most[p] = INT32_MIN;
        for (int i = 0; i < IFLOW_QUERY_PANEL; i++) {
            const int64_t row = (int64_t)p * IFLOW_QUERY_PANEL + i, here = row < n_rows ? row : n_rows - 1;
            const int64_t query = work->first + here / group, head = work->head_kv * group + here % group;
            panel->q[i] = (const float *)q->data + (query * n_head + head) * d;
            panel->out[i] = row < n_rows ? (float *)dst->data + ((work->part * n + query) * n_head + head) * a_head : t->nowhere;
            panel->order[i] = order[query];
            panel->first[i] = first_seen(attention, order[query]);
            panel->max[i] = -1e30f; /* below any exponent, and no infinity: their difference would be NaN */
            memset(panel->out[i], 0, (size_t)d * sizeof(float));
            t->least[p] = order[query] < t->least[p] ? order[query] : t->least[p];
            t->most[p] = order[query] > t->most[p] ? order[query] : t->most[p];
        }
    }
}

/* A whole result is divided by its weights' sum; a part's largest exponent and sum are put after it, for merging. */
static void tile_finish(tile *t, int d, bool whole) {
    for (int p = 0; p < t->n_panels; p++) {
        for (int i = 0; i < IFLOW_QUERY_PANEL; i++) {
            float sum = 0, *out = t->panel[p].out[i];
            for (int s = 0; s < 16; s++) {
                sum += t->panel[p].sum[i][s];
            }
            const float inverse = sum > 0 ? 1 / sum : 0;
            for (int e = 0; whole && e < d; e++) {
                out[e] *= inverse;
            }
            if (!whole) {
                out[d] = t->panel[p].max[i];
                out[d + 1] = sum;
            }
        }
    }
}

/* Prefetches rows of one head that will be unpacked next: they stand apart, which the processor does not predict. Always inline: gcc
 * drops calls of functions that do nothing but this. */
static inline __attribute__((always_inline)) void prefetch(const ggml_fp16_t *head, size_t stride, int d, int64_t first, int64_t end) {
    enum { LINE = 64 / sizeof *head, SECOND_CACHE = 2 };
    for (int64_t row = first; row < end; row++) {
        for (int e = 0; e < d; e += LINE) {
            __builtin_prefetch(head + (size_t)row * stride + e, 0, SECOND_CACHE);
        }
    }
}

static int64_t at_most(int64_t x, int64_t most) {
    return x < most ? x : most;
}

static void do_item(const iflow_attention *attention, struct ggml_tensor *dst, const item *work) {
    const iflow_attention_kernels *kernels = attention->kernels ? attention->kernels : iflow_attention_kernels_get(0);
    const struct ggml_tensor *k = dst->src[1], *v = dst->src[2];
    const int32_t *seq = dst->src[5] ? dst->src[5]->data : NULL;
    const int32_t *order = (const int32_t *)dst->src[4]->data + (seq ? seq[work->first] * dst->src[4]->ne[0] : 0);
    const int d = (int)dst->src[0]->ne[0];
    const bool whole = dst->ne[2] == 1;
    const int64_t first_key = work->part * PART_KEYS, n_kv = dst->src[4]->ne[0];
    const int64_t end_key = whole ? n_kv : at_most(first_key + PART_KEYS, n_kv);
    const size_t stride = k->nb[1] / sizeof(ggml_fp16_t);
    const ggml_fp16_t *keys = (const ggml_fp16_t *)k->data + work->head_kv * d, *values = (const ggml_fp16_t *)v->data + work->head_kv * d;
    const float log2_scale = attention->scale * 1.44269504f;
    tile t;
    tile_start(&t, attention, dst, work);
    int32_t most_of_all = INT32_MIN, first_of_all = INT32_MAX; /* the orders that any query sees */
    for (int p = 0; p < t.n_panels; p++) {
        most_of_all = t.most[p] > most_of_all ? t.most[p] : most_of_all;
        first_of_all = first_seen(attention, t.least[p]) < first_of_all ? first_seen(attention, t.least[p]) : first_of_all;
    }
    iflow_key_block block;
    for (int64_t row = first_key; row < end_key; row += IFLOW_KEY_BLOCK) {
        const int n = (int)at_most(end_key - row, IFLOW_KEY_BLOCK);
        int32_t least = INT32_MAX, most = n < IFLOW_KEY_BLOCK ? INT32_MAX : INT32_MIN, last = INT32_MIN;
        for (int i = 0; i < n; i++) {
            least = order[row + i] < least ? order[row + i] : least;
            most = order[row + i] > most ? order[row + i] : most;
            last = order[row + i] != IFLOW_ROW_EMPTY && order[row + i] > last ? order[row + i] : last;
        }
        if (least > most_of_all || last < first_of_all) {
            continue; /* no query sees it, and what none sees changes nothing */
        }
        for (int i = 0; i < IFLOW_KEY_BLOCK; i++) {
            block.order[i] = i < n ? order[row + i] : INT32_MAX;
        }
        kernels->unpack(keys + (size_t)row * stride, values + (size_t)row * stride, stride, d, n, &block);
        for (int p = 0; p < t.n_panels; p++) {
            /* Each panel's share of the next block. */
            const int64_t next = row + IFLOW_KEY_BLOCK, first = next + (int64_t)IFLOW_KEY_BLOCK * p / t.n_panels;
            const int64_t end = at_most(next + (int64_t)IFLOW_KEY_BLOCK * (p + 1) / t.n_panels, end_key);
            prefetch(keys, stride, d, first, end);
            prefetch(values, stride, d, first, end);
            if (least <= t.most[p] && last >= first_seen(attention, t.least[p])) {
                const bool masked = most > t.least[p] || least < first_seen(attention, t.most[p]);
                kernels->attend(&block, d, log2_scale, masked, &t.panel[p]);
            }
        }
    }
    tile_finish(&t, d, whole);
}

/* The end of the tile that begins with a query: at most per_tile, all of its sequence. */
static int64_t tile_end(const struct ggml_tensor *dst, int64_t first, int64_t per_tile) {
    const int32_t *seq = dst->src[5] ? dst->src[5]->data : NULL;
    const int64_t end = at_most(first + per_tile, dst->src[0]->ne[2]);
    int64_t i = seq ? first + 1 : end;
    while (i < end && seq[i] == seq[first]) {
        i++;
    }
    return i;
}

/* All items of an op. */
typedef struct attending {
    const iflow_attention *attention;
    struct ggml_tensor *dst;
    int64_t n_head_kv, n_tiles, per_tile; /* per_tile: queries */
} attending;

static void attend_item(const void *op, int64_t i) {
    const attending *a = op;
    /* The last queries see the most: they go first. */
    item work = {.head_kv = i % a->n_head_kv, .part = i / a->n_head_kv % a->dst->ne[2]};
    for (int64_t before = a->n_tiles - 1 - i / a->n_head_kv / a->dst->ne[2]; before > 0; before--) {
        work.first = tile_end(a->dst, work.first, a->per_tile);
    }
    work.end = tile_end(a->dst, work.first, a->per_tile);
    do_item(a->attention, a->dst, &work);
}

static void attend(struct ggml_tensor *dst, int ith, int nth, void *user) {
    (void)ith;
    iflow_attention *attention = user;
    const int64_t d = dst->src[0]->ne[0], n_head = dst->src[0]->ne[1], n = dst->src[0]->ne[2], n_head_kv = dst->src[1]->ne[0] / d;
    const int64_t group = n_head / n_head_kv, most = MAX_PANELS * IFLOW_QUERY_PANEL / group, least = MIN_PANELS * IFLOW_QUERY_PANEL / group;
    const int n_threads = iflow_work_threads(nth);
    int64_t per_tile = n_threads == 1 ? most : n * n_head_kv / (ITEMS_A_THREAD * n_threads);
    per_tile = per_tile > most ? most : per_tile < least ? least : per_tile;
    attending a = {.attention = attention, .dst = dst, .n_head_kv = n_head_kv, .per_tile = per_tile};
    for (int64_t first = 0; first < n; first = tile_end(dst, first, per_tile)) {
        a.n_tiles++;
    }
    iflow_work_do(&attention->work, a.n_tiles * n_head_kv * dst->ne[2], nth, attend_item, &a);
}

/* Parts [n_embd_head + 2, n_head, n, n_parts] to what the whole gives. */
static void merge(struct ggml_tensor *dst, int ith, int nth, void *user) {
    (void)user;
    const struct ggml_tensor *parts = dst->src[0], *q = dst->src[1];
    const int64_t d = q->ne[0], n_rows = q->ne[1] * q->ne[2], a_part = n_rows * (d + 2);
    for (int64_t row = ith; row < n_rows; row += nth) {
        const float *from = (const float *)parts->data + row * (d + 2);
        float *out = (float *)dst->data + row * d, max = -1e30f, sum = 0;
        for (int64_t p = 0; p < parts->ne[2]; p++) {
            max = fmaxf(max, from[p * a_part + d]);
        }
        memset(out, 0, (size_t)d * sizeof *out);
        for (int64_t p = 0; p < parts->ne[2]; p++) {
            const float *part = from + p * a_part, keep = exp2f(part[d] - max);
            sum += part[d + 1] * keep;
            for (int64_t e = 0; e < d; e++) {
                out[e] += part[e] * keep;
            }
        }
        const float inverse = sum > 0 ? 1 / sum : 0;
        for (int64_t e = 0; e < d; e++) {
            out[e] *= inverse;
        }
    }
}

struct ggml_tensor *iflow_attention_op(struct ggml_context *ctx, iflow_attention *attention, struct ggml_tensor *q, struct ggml_tensor *k,
                                       struct ggml_tensor *v, struct ggml_tensor *order, struct ggml_tensor *order_kv,
                                       struct ggml_tensor *seq) {
    assert(q->type == GGML_TYPE_F32 && ggml_is_contiguous(q) && q->ne[3] == 1 && q->ne[2] == order->ne[0] && order->type == GGML_TYPE_I32);
    assert(k->type == GGML_TYPE_F16 && v->type == GGML_TYPE_F16 && k->nb[0] == sizeof(ggml_fp16_t) && v->nb[0] == k->nb[0]);
    assert(k->ne[0] == v->ne[0] && k->nb[1] == v->nb[1] && order_kv->ne[0] <= k->ne[1] && order_kv->ne[0] <= v->ne[1]);
    assert(order_kv->type == GGML_TYPE_I32 && iflow_attention_can((int)q->ne[0], (int)q->ne[1], (int)(k->ne[0] / q->ne[0])));
    assert(seq ? seq->type == GGML_TYPE_I32 && seq->ne[0] == q->ne[2] : order_kv->ne[1] == 1);
    struct ggml_tensor *args[] = {q, k, v, order, order_kv, seq};
    const int64_t d = q->ne[0], n_head = q->ne[1], n = q->ne[2], parts = n_parts(n, order_kv->ne[0]);
    struct ggml_tensor *out = ggml_custom_4d(ctx, GGML_TYPE_F32, (parts > 1 ? d + 2 : d) * n_head, n, parts, 1, args, seq ? 6 : 5, attend,
                                             GGML_N_TASKS_MAX, attention);
    return parts > 1
               ? ggml_custom_4d(ctx, GGML_TYPE_F32, d * n_head, n, 1, 1, (struct ggml_tensor *[]){out, q}, 2, merge, GGML_N_TASKS_MAX, NULL)
               : out;
}
