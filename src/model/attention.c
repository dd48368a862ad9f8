/* attention.c - attention as a ggml op: which heads it takes, and which thread does which queries. */
#include "model/attention_kernels.h"

#include <assert.h>
#include <math.h>
#include <string.h>

enum {
    MAX_PANELS = 40,   /* a tile of queries: what unpacking a block of keys costs is spread over it, and its state stays in the cache */
    MIN_PANELS = 8,    /* where threads would be idle otherwise */
    ITEMS_A_THREAD = 4 /* items differ in work, as the queries see more and more */
};

bool iflow_attention_can(int n_embd_head, int n_head, int n_head_kv) {
    const bool size = n_embd_head == 32 || n_embd_head == 64 || n_embd_head == 96 || n_embd_head == 128;
    return iflow_attention_kernels_get(0) && size && n_head / n_head_kv <= MIN_PANELS * IFLOW_QUERY_PANEL;
}

/* Of one tile: queries [first, end), each with the heads of one KV head. */
typedef struct tile {
    iflow_query_panel panel[MAX_PANELS];
    int32_t least[MAX_PANELS], most[MAX_PANELS]; /* of a panel's positions */
    int n_panels;
    float nowhere[IFLOW_MAX_EMBD_HEAD]; /* the output of what fills the last panel */
} tile;

static void tile_start(tile *t, const struct ggml_tensor *dst, int64_t first, int64_t end, int head_kv, int group) {
    const struct ggml_tensor *q = dst->src[0];
    const int32_t *pos = dst->src[3]->data;
    const int64_t d = q->ne[0], n_head = q->ne[1], n_rows = (end - first) * group;
    t->n_panels = (int)((n_rows + IFLOW_QUERY_PANEL - 1) / IFLOW_QUERY_PANEL);
    assert(t->n_panels <= MAX_PANELS);
    memset(t->nowhere, 0, sizeof t->nowhere);
    for (int p = 0; p < t->n_panels; p++) {
        iflow_query_panel *panel = &t->panel[p];
        memset(panel->sum, 0, sizeof panel->sum);
        t->least[p] = INT32_MAX;
        t->most[p] = INT32_MIN;
        for (int i = 0; i < IFLOW_QUERY_PANEL; i++) {
            const int64_t row = (int64_t)p * IFLOW_QUERY_PANEL + i, here = row < n_rows ? row : n_rows - 1, query = first + here / group;
            const int64_t at = (query * n_head + (int64_t)head_kv * group + here % group) * d;
            panel->q[i] = (const float *)q->data + at;
            panel->out[i] = row < n_rows ? (float *)dst->data + at : t->nowhere;
            panel->pos[i] = pos[query];
            panel->max[i] = -1e30f; /* below any exponent, and no infinity: their difference would be NaN */
            memset(panel->out[i], 0, (size_t)d * sizeof(float));
            t->least[p] = pos[query] < t->least[p] ? pos[query] : t->least[p];
            t->most[p] = pos[query] > t->most[p] ? pos[query] : t->most[p];
        }
    }
}

static void tile_finish(tile *t, int d) {
    for (int p = 0; p < t->n_panels; p++) {
        for (int i = 0; i < IFLOW_QUERY_PANEL; i++) {
            float sum = 0;
            for (int s = 0; s < 16; s++) {
                sum += t->panel[p].sum[i][s];
            }
            const float inverse = sum > 0 ? 1 / sum : 0;
            for (int e = 0; e < d; e++) {
                t->panel[p].out[i][e] *= inverse;
            }
        }
    }
}

static void attend_tile(const iflow_attention *attention, const struct ggml_tensor *dst, int64_t first, int64_t end, int head_kv,
                        int group) {
    const iflow_attention_kernels *kernels = attention->kernels ? attention->kernels : iflow_attention_kernels_get(0);
    const struct ggml_tensor *k = dst->src[1], *v = dst->src[2];
    const int32_t *pos = dst->src[4]->data;
    const int d = (int)dst->src[0]->ne[0];
    const int64_t n_kv = dst->src[4]->ne[0];
    const size_t stride = k->nb[1] / sizeof(ggml_fp16_t), head_at = (size_t)head_kv * (size_t)d;
    const float log2_scale = attention->scale * 1.44269504f;
    tile t;
    tile_start(&t, dst, first, end, head_kv, group);
    int32_t most_of_all = INT32_MIN;
    for (int p = 0; p < t.n_panels; p++) {
        most_of_all = t.most[p] > most_of_all ? t.most[p] : most_of_all;
    }
    iflow_key_block block;
    for (int64_t row = 0; row < n_kv; row += IFLOW_KEY_BLOCK) {
        const int n = n_kv - row < IFLOW_KEY_BLOCK ? (int)(n_kv - row) : IFLOW_KEY_BLOCK;
        int32_t least = INT32_MAX, most = n < IFLOW_KEY_BLOCK ? INT32_MAX : INT32_MIN;
        for (int i = 0; i < n; i++) {
            least = pos[row + i] < least ? pos[row + i] : least;
            most = pos[row + i] > most ? pos[row + i] : most;
        }
        if (least > most_of_all) {
            continue; /* no query sees it, and what none sees changes nothing */
        }
        for (int i = 0; i < IFLOW_KEY_BLOCK; i++) {
            block.pos[i] = i < n ? pos[row + i] : INT32_MAX;
        }
        const size_t at = (size_t)row * stride + head_at;
        kernels->unpack((const ggml_fp16_t *)k->data + at, (const ggml_fp16_t *)v->data + at, stride, d, n, &block);
        for (int p = 0; p < t.n_panels; p++) {
            if (least <= t.most[p]) {
                kernels->attend(&block, d, log2_scale, most > t.least[p], &t.panel[p]);
            }
        }
    }
    tile_finish(&t, d);
}

static void attend(struct ggml_tensor *dst, int ith, int nth, void *user) {
    (void)ith;
    iflow_attention *attention = user;
    const int64_t d = dst->src[0]->ne[0], n_head = dst->src[0]->ne[1], n = dst->src[0]->ne[2], n_head_kv = dst->src[1]->ne[0] / d;
    const int64_t group = n_head / n_head_kv, most = MAX_PANELS * IFLOW_QUERY_PANEL / group, least = MIN_PANELS * IFLOW_QUERY_PANEL / group;
    int64_t per_tile = nth == 1 ? most : n * n_head_kv / (ITEMS_A_THREAD * nth);
    per_tile = per_tile > most ? most : per_tile < least ? least : per_tile;
    const int64_t n_tiles = (n + per_tile - 1) / per_tile, n_items = n_tiles * n_head_kv;
    for (;;) {
        const int64_t i = atomic_fetch_add(&attention->next, 1);
        if (i >= n_items) {
            if (i == n_items + nth - 1) { /* every thread has seen that nothing is left */
                atomic_store(&attention->next, 0);
            }
            return;
        }
        /* The last queries see the most: they go first. */
        const int64_t first = (n_tiles - 1 - i / n_head_kv) * per_tile, end = first + per_tile < n ? first + per_tile : n;
        attend_tile(attention, dst, first, end, (int)(i % n_head_kv), (int)group);
    }
}

struct ggml_tensor *iflow_attention_op(struct ggml_context *ctx, iflow_attention *attention, struct ggml_tensor *q, struct ggml_tensor *k,
                                       struct ggml_tensor *v, struct ggml_tensor *pos, struct ggml_tensor *pos_kv) {
    assert(q->type == GGML_TYPE_F32 && ggml_is_contiguous(q) && q->ne[3] == 1 && q->ne[2] == pos->ne[0] && pos->type == GGML_TYPE_I32);
    assert(k->type == GGML_TYPE_F16 && v->type == GGML_TYPE_F16 && k->nb[0] == sizeof(ggml_fp16_t) && v->nb[0] == k->nb[0]);
    assert(k->ne[0] == v->ne[0] && k->nb[1] == v->nb[1] && pos_kv->ne[0] <= k->ne[1] && pos_kv->ne[0] <= v->ne[1]);
    assert(pos_kv->type == GGML_TYPE_I32 && iflow_attention_can((int)q->ne[0], (int)q->ne[1], (int)(k->ne[0] / q->ne[0])));
    struct ggml_tensor *args[] = {q, k, v, pos, pos_kv};
    return ggml_custom_4d(ctx, GGML_TYPE_F32, q->ne[0] * q->ne[1], q->ne[2], 1, 1, args, 5, attend, GGML_N_TASKS_MAX, attention);
}
