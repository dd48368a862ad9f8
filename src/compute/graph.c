/* graph.c - one decoder layer, and the decoder, from ggml ops alone. Shapes are in ggml's order, fastest axis first. */
#include "compute/graph.h"

#include "model/guard.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

/* What building needs at hand. */
typedef struct builder {
    const iflow_model *model;
    const iflow_rows *rows;
    iflow_graph *graph;
    struct ggml_context *ctx;
    struct ggml_tensor *x, *quantised; /* the last input of a product of ours, and the same in 8 bits */
} builder;

static struct ggml_tensor *rope(struct ggml_context *ctx, const iflow_model *model, const iflow_rope *r, struct ggml_tensor *x,
                                struct ggml_tensor *pos, bool inplace, float attn_factor) {
    if (r->n_dims == 0) {
        return x;
    }
    struct ggml_tensor *factors = r->factors ? model->rope_freqs : NULL;
    return (inplace ? ggml_rope_ext_inplace : ggml_rope_ext)(ctx, x, pos, factors, r->n_dims, r->type, r->n_ctx_orig, r->freq_base,
                                                             r->freq_scale, r->ext_factor, attn_factor, r->beta_fast, r->beta_slow);
}

struct ggml_tensor *iflow_graph_rope(struct ggml_context *ctx, const iflow_model *model, int layer, struct ggml_tensor *x,
                                     struct ggml_tensor *pos, bool inplace) {
    const iflow_rope *r = &model->h.spec[layer].rope;
    return rope(ctx, model, r, x, pos, inplace, r->attn_factor);
}

/* What the op multiplies by of itself, beside the factor that it is given. */
static float own_magnitude(const iflow_rope *r) {
    return r->ext_factor != 0.0f ? 1.0f + 0.1f * logf(1.0f / r->freq_scale) : 1.0f;
}

float iflow_graph_magnitude(const iflow_model *model, int layer) {
    const iflow_rope *r = &model->h.spec[layer].rope;
    return r->n_dims ? r->attn_factor * own_magnitude(r) : 1.0f;
}

struct ggml_tensor *iflow_graph_turn(struct ggml_context *ctx, const iflow_model *model, int layer, struct ggml_tensor *x,
                                     struct ggml_tensor *pos) {
    const iflow_rope *r = &model->h.spec[layer].rope;
    return rope(ctx, model, r, x, pos, false, 1.0f / own_magnitude(r));
}

static struct ggml_tensor *norm(builder *b, struct ggml_tensor *x, struct ggml_tensor *weight) {
    return ggml_mul(b->ctx, ggml_rms_norm(b->ctx, x, b->model->h.rms_eps), weight);
}

/* The one place that multiplies by a weight: weight [n_in, n_out] times x [n_in, n] (+ bias [n_out]). */
static struct ggml_tensor *linear(builder *b, struct ggml_tensor *weight, struct ggml_tensor *bias, struct ggml_tensor *x) {
    const iflow_layout layout = x->ne[1] < IFLOW_MATMUL_MIN_ROWS ? IFLOW_LAYOUT_OTHER : iflow_weight_layout(b->model, weight);
    struct ggml_tensor *y;
    if (layout == IFLOW_LAYOUT_OTHER) {
        y = ggml_mul_mat(b->ctx, weight, x);
    } else {
        if (b->x != x) {
            b->x = x;
            b->quantised = iflow_matmul_quantise(b->ctx, x);
        }
        iflow_product *product = &b->graph->product[b->graph->n_products++];
        product->weight = weight;
        product->layout = layout;
        product->work.cancel = &b->graph->cancel;
        y = iflow_matmul_multiply(b->ctx, product, b->quantised, x->ne[1]);
    }
    return bias ? ggml_add(b->ctx, y, bias) : y;
}

/* Stores rows [n_embd_kv, n] at the cache rows that the tokens write. Graph order makes it precede the attention that reads the cache. */
static void store(builder *b, struct ggml_tensor *cache, struct ggml_tensor *rows) {
    ggml_build_forward_expand(b->graph->cgraph, ggml_set_rows(b->ctx, cache, rows, b->graph->row));
}

/* The first n_kv cache rows as [n_embd_head, n_kv, n_head_kv]. */
static struct ggml_tensor *cache_view(builder *b, const iflow_layer_spec *s, struct ggml_tensor *cache) {
    return ggml_view_3d(b->ctx, cache, s->n_embd_head, b->graph->shape.n_kv, s->n_head_kv, cache->nb[1],
                        (size_t)s->n_embd_head * ggml_element_size(cache), 0);
}

int iflow_graph_fold(const iflow_model *model, int n) {
    enum { TILE = 64 };
    const int group = model->h.spec[0].n_head / model->h.spec[0].n_head_kv; /* the same in all layers */
    return n < TILE && n * group >= TILE ? group : 1;
}

/* q [n_embd_head, n_head, n] as attention takes it: [n_embd_head, n * fold, n_head / fold]. Heads lie as [n_head_kv, group]; folded, a
 * query's group stands side by side. */
static struct ggml_tensor *fold_queries(builder *b, struct ggml_tensor *q) {
    const int64_t fold = b->graph->fold, n = q->ne[2];
    if (fold == 1) {
        return ggml_permute(b->ctx, q, 0, 2, 1, 3);
    }
    q = ggml_reshape_4d(b->ctx, q, q->ne[0], fold, q->ne[1] / fold, n);
    q = ggml_cont(b->ctx, ggml_permute(b->ctx, q, 0, 1, 3, 2)); /* [n_embd_head, fold, n, n_head_kv] */
    return ggml_reshape_3d(b->ctx, q, q->ne[0], fold * n, q->ne[3]);
}

/* Attention's output [n_embd_head, n_head / fold, n * fold] back as [n_embd_head * n_head, n]. */
static struct ggml_tensor *unfold(builder *b, struct ggml_tensor *out) {
    const int64_t fold = b->graph->fold, n = out->ne[2] / fold, n_q = out->ne[0] * out->ne[1] * fold;
    if (fold == 1) {
        return ggml_reshape_2d(b->ctx, out, n_q, n);
    }
    out = ggml_reshape_4d(b->ctx, out, out->ne[0], out->ne[1], fold, n);
    return ggml_cont_2d(b->ctx, ggml_permute(b->ctx, out, 0, 2, 1, 3), n_q, n);
}

/* x [n_kv, n] summed over the queries: [1, n_kv]. */
static struct ggml_tensor *sum_queries(builder *b, struct ggml_tensor *x) {
    return ggml_sum_rows(b->ctx, ggml_cont(b->ctx, ggml_transpose(b->ctx, x)));
}

static struct ggml_tensor *plus(builder *b, struct ggml_tensor *sum, struct ggml_tensor *x) {
    return sum ? ggml_add(b->ctx, sum, x) : x;
}

static struct ggml_tensor *mask_of(builder *b, const iflow_layer_spec *s) {
    return s->window ? b->graph->mask_window : b->graph->mask;
}

/* Observes a layer (engine.h says what). q [n_embd_head, n * fold, n_head / fold], k and v [n_embd_head, n_kv, n_head_kv]. */
static void observe(builder *b, const iflow_layer_spec *s, int i_observe, struct ggml_tensor *q, struct ggml_tensor *k,
                    struct ggml_tensor *v) {
    struct ggml_context *ctx = b->ctx;
    const int n_head = s->n_head, n_head_kv = s->n_head_kv, group = n_head / n_head_kv, fold = b->graph->fold;
    const int wanted = b->graph->shape.observations;
    struct ggml_tensor *kq = ggml_mul_mat(ctx, k, q); /* [n_kv, n * fold, n_head / fold] */
    ggml_prec_set_acc(kq, GGML_PREC_F32);
    struct ggml_tensor *a = ggml_soft_max_ext(ctx, kq, mask_of(b, s), s->attention_scale, 0.0f), *v_norm = NULL, *mean = NULL, *vatp = NULL;
    if (wanted & IFLOW_OBSERVE_VATP) {
        v_norm = ggml_sqrt(ctx, ggml_sum_rows(ctx, ggml_sqr(ctx, ggml_cast(ctx, v, GGML_TYPE_F32)))); /* [1, n_kv, n_head_kv] */
    }
    for (int g = 0; g < n_head_kv; g++) {
        struct ggml_tensor *sum = NULL; /* over the heads of this KV head: [n_kv, n] */
        for (int i = g * group; i < (g + 1) * group; i++) {
            sum = plus(b, sum,
                       ggml_view_2d(ctx, a, a->ne[0], a->ne[1] / fold, a->nb[1] * (size_t)fold,
                                    (size_t)(i / fold) * a->nb[2] + (size_t)(i % fold) * a->nb[1]));
        }
        mean = plus(b, mean, sum);
        if (v_norm) {
            struct ggml_tensor *length = ggml_view_2d(ctx, v_norm, 1, v_norm->ne[1], v_norm->nb[1], (size_t)g * v_norm->nb[2]);
            vatp = plus(b, vatp, ggml_mul(ctx, sum_queries(b, sum), length));
        }
    }
    mean = ggml_scale(ctx, mean, 1.0f / (float)n_head);
    struct ggml_tensor *result[IFLOW_N_OBSERVATIONS] = {NULL};
    int n = 0;
    if (wanted & IFLOW_OBSERVE_NORM) {
        result[n++] = sum_queries(b, ggml_sqr(ctx, mean));
    }
    if (wanted & IFLOW_OBSERVE_MASS) {
        result[n++] = sum_queries(b, mean);
    }
    if (wanted & IFLOW_OBSERVE_ENTROPY) {
        struct ggml_tensor *m = ggml_scale_bias(ctx, mean, 1.0f, 1e-10f);
        result[n++] = ggml_neg(ctx, sum_queries(b, ggml_mul(ctx, m, ggml_log(ctx, m))));
    }
    if (wanted & IFLOW_OBSERVE_VATP) {
        result[n++] = vatp;
    }
    for (int i = 0; i < n; i++) {
        ggml_set_output(result[i]);
        ggml_build_forward_expand(b->graph->cgraph, result[i]);
        b->graph->observed[i_observe][i] = result[i];
    }
}

/* x [n_embd, n] to the attention's output [n_embd, n]; NULL when nothing above needs it (`last`). */
static struct ggml_tensor *attention(builder *b, int il, struct ggml_tensor *x, int i_observe, bool last) {
    const iflow_layer_spec *s = &b->model->h.spec[il];
    const iflow_layer *w = &b->model->layer[il];
    const iflow_graph *g = b->graph;
    const int64_t n = x->ne[1];

    struct ggml_tensor *k = ggml_reshape_3d(b->ctx, linear(b, w->wk, w->bk, x), s->n_embd_head, s->n_head_kv, n);
    if (s->qk_norm) {
        k = norm(b, k, w->k_norm);
    }
    if (b->rows->k_raw) {
        store(b, b->rows->k_raw[il], ggml_reshape_2d(b->ctx, k, s->n_embd_k, n));
    }
    k = iflow_graph_rope(b->ctx, b->model, il, k, g->pos, false);
    store(b, b->rows->k[il], ggml_reshape_2d(b->ctx, k, s->n_embd_k, n));
    store(b, b->rows->v[il], linear(b, w->wv, w->bv, x));
    if (last && i_observe < 0) {
        return NULL; /* only this layer's K and V were wanted */
    }

    struct ggml_tensor *q = ggml_reshape_3d(b->ctx, linear(b, w->wq, w->bq, x), s->n_embd_head, s->n_head, n);
    if (s->qk_norm) {
        q = norm(b, q, w->q_norm);
    }
    q = iflow_graph_rope(b->ctx, b->model, il, q, g->pos, false);
    struct ggml_tensor *keys = cache_view(b, s, b->rows->k[il]), *values = cache_view(b, s, b->rows->v[il]), *out;
    struct ggml_tensor *folded = i_observe >= 0 || !g->attention ? fold_queries(b, q) : NULL;
    if (i_observe >= 0) {
        observe(b, s, i_observe, folded, keys, values);
        if (last) {
            return NULL;
        }
    }
    if (g->attention) {
        iflow_attention *a = &g->attention[il];
        a->scale = s->attention_scale;
        a->window = s->window;
        a->work.cancel = &b->graph->cancel;
        out = iflow_attention_op(b->ctx, a, q, b->rows->k[il], b->rows->v[il], s->window ? g->pos : g->order,
                                 s->window ? g->at_kv : g->order_kv, g->seq);
    } else {
        out = ggml_flash_attn_ext(b->ctx, folded, keys, values, mask_of(b, s), s->attention_scale, 0.0f, 0.0f);
        ggml_prec_set_acc(out, GGML_PREC_F32);
        out = unfold(b, out);
    }
    return linear(b, w->wo, w->bo, out);
}

static struct ggml_tensor *norm_after(builder *b, int il, struct ggml_tensor *x, struct ggml_tensor *weight) {
    return b->model->h.spec[il].norm_after ? norm(b, x, weight) : x;
}

static struct ggml_tensor *feed_forward(builder *b, int il, struct ggml_tensor *x) {
    const iflow_layer *w = &b->model->layer[il];
    struct ggml_tensor *gate = linear(b, w->ffn_gate, w->ffn_gate_b, x), *up = linear(b, w->ffn_up, w->ffn_up_b, x);
    const bool geglu = b->model->h.spec[il].activation == IFLOW_ACTIVATION_GEGLU;
    struct ggml_tensor *inner = geglu ? ggml_geglu_split(b->ctx, gate, up) : ggml_swiglu_split(b->ctx, gate, up);
    return linear(b, w->ffn_down, w->ffn_down_b, inner);
}

/* Rows of x [n_embd, n] that give logits; all but the last are dropped before the top layer's feed-forward. */
static struct ggml_tensor *out_rows(builder *b, struct ggml_tensor *x) {
    const int64_t n_out = b->graph->shape.n_out, n = x->ne[1];
    return n_out == n ? x : ggml_view_2d(b->ctx, x, x->ne[0], n_out, x->nb[1], (size_t)(n - n_out) * x->nb[1]);
}

static struct ggml_tensor *cap(builder *b, struct ggml_tensor *x, float most) {
    return most > 0 ? ggml_scale(b->ctx, ggml_tanh(b->ctx, ggml_scale(b->ctx, x, 1.0f / most)), most) : x;
}

static struct ggml_tensor *input(builder *b, enum ggml_type type, int64_t ne0, int64_t ne1) {
    struct ggml_tensor *t = ggml_new_tensor_2d(b->ctx, type, ne0, ne1);
    ggml_set_input(t);
    return t;
}

/* Whether layers attend by our op. What is observed of them is ggml's. */
static bool own_attention(const iflow_model *model, int n) {
    bool can = model->device == model->cpu && !model->exact;
    for (int il = 0; can && il < model->h.n_layer; il++) {
        const iflow_layer_spec *s = &model->h.spec[il];
        can = n * (s->n_head / s->n_head_kv) >= IFLOW_ATTENTION_MIN_SHARING && iflow_attention_can(s->n_embd_head, s->n_head, s->n_head_kv);
    }
    return can;
}

iflow_status iflow_graph_build(iflow_graph *graph, const iflow_model *model, const iflow_rows *rows, const iflow_graph_shape *shape) {
    const size_t n_nodes = 64 + (size_t)model->h.n_layer * 64 + (size_t)shape->n_observe * ((size_t)model->h.n_head * 8 + 64);
    iflow_graph_free(graph);
    const bool own = own_attention(model, shape->n);
    const size_t n_products = 1 + (size_t)model->h.n_layer * 7, n_attentions = (size_t)model->h.n_layer;
    graph->product = iflow_calloc(n_products, sizeof *graph->product);
    graph->attention = own ? iflow_calloc(n_attentions, sizeof *graph->attention) : NULL;
    if (!graph->product || (own && !graph->attention)) {
        return iflow_fail_memory(n_products * sizeof *graph->product + n_attentions * sizeof *graph->attention);
    }
    struct ggml_context *ctx = NULL;
    const iflow_status status = iflow_guard_context(n_nodes * ggml_tensor_overhead() + ggml_graph_overhead_custom(n_nodes, false), &ctx);
    if (status) {
        return status;
    }
    graph->ctx = ctx;
    assert(shape->n > 0 && shape->n_kv > 0 && shape->n_kv <= rows->n_rows && shape->n_out <= shape->n);
    assert(rows->k[0]->ne[0] == model->n_embd_kv && rows->k[0]->ne[1] == rows->n_rows);

    builder b = {.model = model, .rows = rows, .graph = graph, .ctx = graph->ctx};
    graph->shape = *shape;
    graph->cgraph = ggml_new_graph_custom(b.ctx, n_nodes, false);
    graph->pos = input(&b, GGML_TYPE_I32, shape->n, 1);
    graph->row = input(&b, GGML_TYPE_I64, shape->n, 1);
    graph->fold = iflow_graph_fold(model, shape->n);
    graph->order = input(&b, GGML_TYPE_I32, shape->n, 1);
    graph->order_kv = input(&b, GGML_TYPE_I32, shape->n_kv, shape->n_seq);
    graph->at_kv = model->h.window ? input(&b, GGML_TYPE_I32, shape->n_kv, shape->n_seq) : NULL;
    graph->seq = shape->n_seq > 1 ? input(&b, GGML_TYPE_I32, shape->n, 1) : NULL;
    graph->mask = input(&b, GGML_TYPE_F16, shape->n_kv, (int64_t)shape->n * graph->fold);
    graph->mask_window = model->h.window ? input(&b, GGML_TYPE_F16, shape->n_kv, (int64_t)shape->n * graph->fold) : NULL;

    struct ggml_tensor *x; /* [n_embd, n] */
    if (shape->embd) {
        x = graph->embd = input(&b, GGML_TYPE_F32, model->h.n_embd, shape->n);
    } else {
        graph->token = input(&b, GGML_TYPE_I32, shape->n, 1);
        x = ggml_get_rows(b.ctx, model->tok_embd, graph->token);
        x = model->h.embd_scale == 1.0f ? x : ggml_scale(b.ctx, x, model->h.embd_scale);
    }
    int i_observe = 0;
    for (int il = shape->first_layer; il < shape->end_layer; il++) {
        const iflow_layer *w = &model->layer[il];
        const bool last = il == shape->end_layer - 1, observed = i_observe < shape->n_observe && shape->observe[i_observe] == il;
        struct ggml_tensor *a =
            attention(&b, il, norm(&b, x, w->attn_norm), observed ? i_observe : -1, last && !shape->n_out && !shape->hidden);
        i_observe += observed;
        if (!a) {
            return IFLOW_OK;
        }
        if (last && shape->n_out) {
            a = out_rows(&b, a);
            x = out_rows(&b, x);
        }
        a = ggml_add(b.ctx, norm_after(&b, il, a, w->attn_norm_after), x);
        x = ggml_add(b.ctx, norm_after(&b, il, feed_forward(&b, il, norm(&b, a, w->ffn_norm)), w->ffn_norm_after), a);
    }
    if (shape->hidden) {
        graph->hidden = x;
        ggml_set_output(x);
        ggml_build_forward_expand(graph->cgraph, x);
        return IFLOW_OK;
    }
    graph->logits = cap(&b, linear(&b, model->output, model->output_b, norm(&b, x, model->output_norm)), model->h.logit_cap);
    ggml_set_output(graph->logits);
    ggml_build_forward_expand(graph->cgraph, graph->logits);
    return IFLOW_OK;
}

void iflow_graph_free(iflow_graph *graph) {
    ggml_free(graph->ctx);
    free(graph->product);
    free(graph->attention);
    *graph = (iflow_graph){0};
}
