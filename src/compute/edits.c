/* edits.c - graphs that change or read cache rows beside the forward pass: rotate, read back, mix, shift, map. */
#include "compute/edits.h"

#include "compute/engine_inner.h"
#include "model/guard.h"

#include <stdlib.h>

/* A graph beside the decoder's, over all layers: n_nodes a layer. The scheduler holds one graph at a time. */
static iflow_status begin_graph(iflow_engine *e, size_t n_nodes, struct ggml_context **ctx, struct ggml_cgraph **cgraph) {
    const size_t n = 16 + (size_t)e->model->h.n_layer * n_nodes;
    e->allocated = false;
    const iflow_status status = iflow_guard_context(n * ggml_tensor_overhead() + ggml_graph_overhead_custom(n, false), ctx);
    if (!status) {
        *cgraph = ggml_new_graph_custom(*ctx, n, false);
    }
    return status;
}

iflow_status iflow_engine_rotate(iflow_engine *e, iflow_rows *rows, int row, int n) {
    const iflow_model *m = e->model;
    struct ggml_context *ctx = NULL;
    struct ggml_cgraph *cgraph = NULL;
    int32_t *at = iflow_calloc((size_t)n, sizeof *at);
    if (!at) {
        return iflow_fail_memory((size_t)n * sizeof *at);
    }
    iflow_status status = begin_graph(e, 4, &ctx, &cgraph);
    if (status) {
        goto cleanup;
    }
    struct ggml_tensor *pos = ggml_new_tensor_1d(ctx, GGML_TYPE_I32, n);
    ggml_set_input(pos);
    for (int il = 0; il < m->h.n_layer; il++) {
        struct ggml_tensor *k = rows->k[il];
        const iflow_layer_spec *s = &m->h.spec[il];
        struct ggml_tensor *view = ggml_view_3d(ctx, k, s->n_embd_head, s->n_head_kv, n, (size_t)s->n_embd_head * ggml_element_size(k),
                                                k->nb[1], (size_t)row * k->nb[1]);
        ggml_build_forward_expand(cgraph, iflow_graph_rope(ctx, m, il, view, pos, true));
    }
    if (!(status = iflow_engine_allocate(e, cgraph))) {
        iflow_engine_coords(rows->coord + row, n, at);
        iflow_engine_fill(pos, at);
        status = iflow_engine_compute(e, cgraph, true);
    }

cleanup:
    free(at);
    ggml_free(ctx);
    return status;
}

/* A layer's K before RoPE, or back at pos, of rows x [n_embd_k, n]. */
static struct ggml_tensor *turn(const iflow_engine *e, struct ggml_context *ctx, int layer, struct ggml_tensor *x,
                                struct ggml_tensor *pos) {
    const iflow_layer_spec *s = &e->model->h.spec[layer];
    x = iflow_graph_turn(ctx, e->model, layer, ggml_reshape_3d(ctx, x, s->n_embd_head, s->n_head_kv, x->ne[1]), pos);
    return ggml_reshape_2d(ctx, x, s->n_embd_k, x->ne[2]);
}

iflow_status iflow_engine_read(iflow_engine *e, const iflow_rows *rows, const int32_t *row, int n, float *k, float *v) {
    const int n_layers = e->model->h.n_layer - 1, kinds = v ? 2 : 1;
    const size_t n_values = (size_t)n * (size_t)e->model->n_embd_kv;
    float *out[2] = {k, v};
    struct ggml_context *ctx = NULL;
    struct ggml_cgraph *cgraph = NULL;
    struct ggml_tensor **read = iflow_calloc((size_t)(n_layers * kinds), sizeof *read);
    int32_t *back = iflow_calloc((size_t)n, sizeof *back); /* minus the rows' coordinates */
    iflow_status status = IFLOW_OK;
    if (!back || !read) {
        status = iflow_fail_memory((size_t)n * sizeof *back + (size_t)(n_layers * kinds) * sizeof *read);
        goto cleanup;
    }
    for (int i = 0; i < n; i++) {
        iflow_engine_coords(&rows->coord[row[i]], 1, &back[i]);
        back[i] = -back[i];
    }
    if ((status = begin_graph(e, 8, &ctx, &cgraph))) {
        goto cleanup;
    }
    struct ggml_tensor *at = ggml_new_tensor_1d(ctx, GGML_TYPE_I32, n), *pos = ggml_new_tensor_1d(ctx, GGML_TYPE_I32, n);
    ggml_set_input(at), ggml_set_input(pos);
    for (int i = 0; i < n_layers * kinds; i++) {
        struct ggml_tensor *x = ggml_get_rows(ctx, (i % kinds ? rows->v : rows->k)[1 + i / kinds], at); /* f32 [n_embd_kv, n] */
        read[i] = i % kinds ? x : turn(e, ctx, 1 + i / kinds, x, pos);
        ggml_set_output(read[i]);
        ggml_build_forward_expand(cgraph, read[i]);
    }
    if (n_layers == 0 || (status = iflow_engine_allocate(e, cgraph))) {
        goto cleanup;
    }
    iflow_engine_fill(at, row);
    iflow_engine_fill(pos, back);
    status = iflow_engine_compute(e, cgraph, true);
    for (int i = 0; !status && i < n_layers * kinds; i++) {
        ggml_backend_tensor_get(read[i], out[i % kinds] + (size_t)(i / kinds) * n_values, 0, n_values * sizeof(float));
    }

cleanup:
    free(back);
    free(read);
    ggml_free(ctx);
    return status;
}

iflow_status iflow_engine_mix(iflow_engine *e, iflow_rows *rows, const int32_t *from, const int32_t *into, int n, float share) {
    const int n_layer = e->model->h.n_layer;
    struct ggml_context *ctx = NULL;
    struct ggml_cgraph *cgraph = NULL;
    int64_t *to = iflow_calloc((size_t)n, sizeof *to); /* into */
    if (!to) {
        return iflow_fail_memory((size_t)n * sizeof *to);
    }
    for (int i = 0; i < n; i++) {
        to[i] = into[i];
    }
    iflow_status status = begin_graph(e, 12, &ctx, &cgraph);
    if (status) {
        goto cleanup;
    }
    struct ggml_tensor *other = ggml_new_tensor_1d(ctx, GGML_TYPE_I32, n), *own = ggml_new_tensor_1d(ctx, GGML_TYPE_I32, n);
    struct ggml_tensor *written = ggml_new_tensor_1d(ctx, GGML_TYPE_I64, n);
    ggml_set_input(other), ggml_set_input(own), ggml_set_input(written);
    for (int i = 2; i < 2 * n_layer; i++) {
        struct ggml_tensor *cache = (i % 2 ? rows->v : rows->k)[i / 2];
        struct ggml_tensor *kept = ggml_scale(ctx, ggml_get_rows(ctx, cache, own), share);
        struct ggml_tensor *mixed = ggml_add(ctx, kept, ggml_scale(ctx, ggml_get_rows(ctx, cache, other), 1 - share));
        ggml_build_forward_expand(cgraph, ggml_set_rows(ctx, cache, mixed, written));
    }
    if (n_layer < 2 || (status = iflow_engine_allocate(e, cgraph))) {
        goto cleanup;
    }
    iflow_engine_fill(other, from);
    iflow_engine_fill(own, into);
    iflow_engine_fill(written, to);
    status = iflow_engine_compute(e, cgraph, true);

cleanup:
    free(to);
    ggml_free(ctx);
    return status;
}

iflow_status iflow_engine_shift_keys(iflow_engine *e, iflow_rows *rows, const int32_t *row, const int32_t *which, int n, const float *shift,
                                     int n_shifts) {
    const int n_layer = e->model->h.n_layer, width = e->model->n_embd_kv;
    struct ggml_context *ctx = NULL;
    struct ggml_cgraph *cgraph = NULL;
    int32_t *at = NULL;   /* coordinates */
    int64_t *into = NULL; /* row */
    iflow_status status = begin_graph(e, 12, &ctx, &cgraph);
    if (status) {
        return status;
    }
    at = iflow_calloc((size_t)n, sizeof *at);
    into = iflow_calloc((size_t)n, sizeof *into);
    if (!at || !into) {
        status = iflow_fail_memory((size_t)n * (sizeof *at + sizeof *into));
        goto cleanup;
    }
    for (int i = 0; i < n; i++) {
        iflow_engine_coords(&rows->coord[row[i]], 1, &at[i]);
        into[i] = row[i];
    }
    struct ggml_tensor *from = ggml_new_tensor_1d(ctx, GGML_TYPE_I32, n), *to = ggml_new_tensor_1d(ctx, GGML_TYPE_I64, n);
    struct ggml_tensor *number = ggml_new_tensor_1d(ctx, GGML_TYPE_I32, n), *pos = ggml_new_tensor_1d(ctx, GGML_TYPE_I32, n);
    struct ggml_tensor *all = ggml_new_tensor_3d(ctx, GGML_TYPE_F32, width, n_shifts, n_layer - 1);
    ggml_set_input(from), ggml_set_input(to), ggml_set_input(number), ggml_set_input(pos), ggml_set_input(all);
    for (int il = 1; il < n_layer; il++) {
        struct ggml_tensor *of_layer = ggml_view_2d(ctx, all, width, n_shifts, all->nb[1], (size_t)(il - 1) * all->nb[2]);
        struct ggml_tensor *change = turn(e, ctx, il, ggml_get_rows(ctx, of_layer, number), pos);
        struct ggml_tensor *k = ggml_add(ctx, ggml_get_rows(ctx, rows->k[il], from), change); /* f32 [n_embd_kv, n] */
        ggml_build_forward_expand(cgraph, ggml_set_rows(ctx, rows->k[il], k, to));
    }
    if ((status = iflow_engine_allocate(e, cgraph))) {
        goto cleanup;
    }
    iflow_engine_fill(from, row);
    iflow_engine_fill(to, into);
    iflow_engine_fill(number, which);
    iflow_engine_fill(pos, at);
    iflow_engine_fill(all, shift);
    status = iflow_engine_compute(e, cgraph, true);

cleanup:
    free(at);
    free(into);
    ggml_free(ctx);
    return status;
}

enum ggml_type iflow_affine_type(const iflow_model *model) {
    const bool ours = model->device == model->cpu && !model->exact && iflow_matmul_can(GGML_TYPE_Q8_0, IFLOW_LAYOUT_ROWS) &&
                      2 * model->n_embd_kv % ggml_blck_size(GGML_TYPE_Q8_0) == 0;
    return ours ? GGML_TYPE_Q8_0 : GGML_TYPE_F16;
}

/* map x. product is its own, in zeros. */
static struct ggml_tensor *multiply(struct ggml_context *ctx, struct ggml_tensor *map, struct ggml_tensor *x, iflow_product *product) {
    if (map->type != GGML_TYPE_Q8_0 || x->ne[1] < IFLOW_MATMUL_MIN_ROWS) {
        return ggml_mul_mat(ctx, map, x);
    }
    product->weight = map;
    product->layout = IFLOW_LAYOUT_ROWS;
    return iflow_matmul_multiply(ctx, product, iflow_matmul_quantise(ctx, x), x->ne[1]);
}

iflow_status iflow_engine_map(iflow_engine *e, iflow_rows *rows, const iflow_affine *map, const float *feature, int row, int n) {
    const int n_layer = e->model->h.n_layer, width = e->model->n_embd_kv;
    if (n_layer < 2) {
        return IFLOW_OK;
    }
    struct ggml_context *ctx = NULL;
    struct ggml_cgraph *cgraph = NULL;
    iflow_product *product = iflow_calloc((size_t)n_layer, sizeof *product);
    if (!product) {
        return iflow_fail_memory((size_t)n_layer * sizeof *product);
    }
    iflow_status status = begin_graph(e, 20, &ctx, &cgraph);
    if (status) {
        goto cleanup;
    }
    struct ggml_tensor *f = ggml_new_tensor_2d(ctx, GGML_TYPE_F32, IFLOW_AFFINE_FEATURES, n);
    ggml_set_input(f);
    for (int il = 1; il < n_layer; il++, map++) {
        struct ggml_tensor *cache[2] = {rows->k[il], rows->v[il]}, *part[2];
        for (int i = 0; i < 2; i++) {
            part[i] = ggml_view_2d(ctx, cache[i], width, n, cache[i]->nb[1], (size_t)row * cache[i]->nb[1]);
        }
        struct ggml_tensor *x = ggml_concat(ctx, ggml_cast(ctx, part[0], GGML_TYPE_F32), ggml_cast(ctx, part[1], GGML_TYPE_F32), 0);
        struct ggml_tensor *y = multiply(ctx, map->map, ggml_sub(ctx, x, map->mean), &product[il]); /* f32 [2 width, n] */
        x = ggml_add(ctx, x, ggml_add(ctx, y, ggml_mul_mat(ctx, map->position, f)));
        for (int i = 0; i < 2; i++) {
            struct ggml_tensor *half = ggml_view_2d(ctx, x, width, n, x->nb[1], (size_t)i * (size_t)width * ggml_element_size(x));
            ggml_build_forward_expand(cgraph, ggml_cpy(ctx, half, part[i]));
        }
    }
    if (!(status = iflow_engine_allocate(e, cgraph))) {
        iflow_engine_fill(f, feature);
        status = iflow_engine_compute(e, cgraph, true);
    }

cleanup:
    free(product);
    ggml_free(ctx);
    return status;
}
