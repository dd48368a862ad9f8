/* test_attention.c - our attention: against f64, against ggml's, and whatever goes with a query. */
#include "kernels/attention_kernels.h"
#include "support.h"
#include "tolerance.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef enum order { TAIL, SPARSE, SHUFFLED } order;

/* For fewer than 8 queries, parts are of 512 keys; blocks are of 64, panels of 6 queries' heads, tiles of up to 40 panels: sizes at their
 * edges, and next to them. */
static const struct shape {
    int n_embd_head, n_head, n_head_kv, n, n_kv;
    order order;
    float size; /* of the scores: 1 has most keys weigh, 30 a few */
    int window; /* 0: none */
    int n_seq;
} shapes[] = {
    {32, 4, 2, 8, 64, TAIL, 1, 0, 1},         {64, 3, 3, 9, 65, SHUFFLED, 1, 0, 1},       {64, 14, 2, 100, 355, TAIL, 1, 0, 1},
    {64, 14, 2, 40, 1000, SPARSE, 1, 0, 1},   {64, 9, 3, 67, 513, SHUFFLED, 30, 0, 1},    {96, 4, 4, 241, 300, TAIL, 1, 0, 1},
    {96, 8, 1, 31, 129, SHUFFLED, 4, 0, 1},   {128, 12, 2, 64, 700, SPARSE, 1, 0, 1},     {128, 5, 1, 77, 191, SHUFFLED, 30, 0, 1},
    {128, 16, 2, 8, 63, TAIL, 1, 0, 1},       {64, 2, 1, 600, 1025, SHUFFLED, 1, 0, 1},   {64, 8, 1, 600, 600, TAIL, 4, 0, 1},
    {32, 48, 1, 11, 200, SHUFFLED, 30, 0, 1}, {64, 14, 2, 1, 3000, TAIL, 1, 0, 1},        {128, 12, 2, 7, 2500, SHUFFLED, 4, 0, 1},
    {64, 9, 3, 3, 1025, SPARSE, 30, 0, 1},    {96, 4, 4, 7, 512, TAIL, 1, 0, 1},          {256, 4, 1, 64, 700, SPARSE, 1, 0, 1},
    {256, 8, 4, 77, 191, SHUFFLED, 30, 0, 1}, {256, 4, 1, 3, 1025, TAIL, 4, 0, 1},        {256, 4, 1, 100, 640, TAIL, 1, 100, 1},
    {64, 9, 3, 67, 513, SHUFFLED, 30, 64, 1}, {128, 12, 2, 64, 700, SPARSE, 1, 2, 1},     {96, 4, 4, 241, 300, TAIL, 1, 63, 1},
    {32, 4, 2, 7, 1600, TAIL, 4, 512, 1},     {256, 4, 1, 100, 700, SHUFFLED, 1, 333, 1}, {64, 14, 2, 1, 3000, TAIL, 1, 1000, 1},
    {64, 4, 2, 40, 200, TAIL, 1, 100000, 1},  {256, 4, 1, 30, 300, TAIL, 1, 0, 3},        {64, 14, 2, 100, 700, SHUFFLED, 4, 0, 2},
    {256, 4, 1, 90, 700, TAIL, 1, 150, 4},    {128, 12, 2, 6, 1100, TAIL, 1, 512, 2},
};
enum { N_SHAPES = sizeof shapes / sizeof *shapes };

static uint32_t state = 1;

static float uniform(void) {
    state = state * 1664525u + 1013904223u;
    return (float)(state >> 8) / (float)(1 << 24) - 0.5f;
}

static int below(int n) {
    return (int)((uniform() + 0.5f) * (float)n) % n;
}

static ggml_backend_t cpu;
static ggml_backend_set_n_threads_t set_threads;

static int set_up(void **unused) {
    (void)unused;
    iflow_device_name(0); /* loads ggml's backends */
    ggml_backend_dev_t dev = ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU);
    cpu = ggml_backend_dev_init(dev, NULL);
    *(void **)&set_threads = ggml_backend_reg_get_proc_address(ggml_backend_dev_backend_reg(dev), "ggml_backend_set_n_threads");
    return !cpu || !set_threads;
}

static int tear_down(void **unused) {
    (void)unused;
    ggml_backend_free(cpu);
    return 0;
}

typedef struct data {
    const struct shape *shape;
    float *q;              /* [n, n_head, n_embd_head] */
    ggml_fp16_t *k, *v;    /* [n_kv, n_head_kv, n_embd_head] */
    int32_t *pos, *pos_kv; /* [n], [n_seq, n_kv] */
    int32_t *seq;          /* [n] */
} data;

static void *room(size_t n, size_t size) {
    void *out = calloc(n, size);
    assert_non_null(out);
    return out;
}

static data data_new(const struct shape *s) {
    const size_t n_q = (size_t)s->n * (size_t)s->n_head * (size_t)s->n_embd_head,
                 n_k = (size_t)s->n_kv * (size_t)s->n_head_kv * (size_t)s->n_embd_head;
    data d = {s,
              room(n_q, sizeof *d.q),
              room(n_k, sizeof *d.k),
              room(n_k, sizeof *d.v),
              room((size_t)s->n, sizeof *d.pos),
              room((size_t)(s->n_kv * s->n_seq), sizeof *d.pos_kv),
              room((size_t)s->n, sizeof *d.seq)};
    const float size = 12 * s->size / sqrtf((float)s->n_embd_head); /* uniform values' variance is 1 / 12 */
    for (size_t i = 0; i < n_q; i++) {
        d.q[i] = uniform() * size;
    }
    for (size_t i = 0; i < n_k; i++) {
        d.k[i] = ggml_fp32_to_fp16(uniform() * sqrtf((float)s->n_embd_head));
        d.v[i] = ggml_fp32_to_fp16(uniform());
    }
    for (int i = 0; i < s->n_kv; i++) { /* shuffled: some positions twice, a tenth of the rows and a stretch of them empty */
        const bool empty = s->order == SHUFFLED && (below(10) == 0 || (i >= 64 && i < 130));
        d.pos_kv[i] = empty ? IFLOW_ROW_EMPTY : s->order == SHUFFLED ? 3 + below(s->n_kv) : i;
    }
    for (int i = s->n_kv; i < s->n_kv * s->n_seq; i++) { /* the other sequences lack some rows each */
        d.pos_kv[i] = i % 5 == i / s->n_kv ? IFLOW_ROW_EMPTY : d.pos_kv[i % s->n_kv];
    }
    for (int i = 0; i < s->n; i++) {
        d.seq[i] = (int)((int64_t)i * s->n_seq / s->n);
        d.pos[i] = s->order == TAIL ? s->n_kv - s->n + i : s->order == SPARSE ? (int)((int64_t)i * s->n_kv / s->n) : below(s->n_kv + 9);
    }
    if (s->order == SHUFFLED) {
        d.pos[s->n / 2] = 2; /* sees nothing */
    }
    return d;
}

static void data_free(data *d) {
    free(d->q);
    free(d->k);
    free(d->v);
    free(d->pos);
    free(d->pos_kv);
    free(d->seq);
}

static bool visible(const data *d, int query, int key) {
    const int32_t pos_kv = d->pos_kv[d->seq[query] * d->shape->n_kv + key];
    return pos_kv <= d->pos[query] && (d->shape->window == 0 || d->pos[query] - pos_kv < d->shape->window);
}

/* Attention [n, n_head, n_embd_head] of n queries from `first` on, by ours (kernels) or, NULL, by ggml; computed twice, since a graph is
 * used again. free(). */
static float *attention(const data *d, const iflow_attention_kernels *kernels, int first, int n, int n_threads) {
    const struct shape *s = d->shape;
    const int64_t n_embd_head = s->n_embd_head, n_head = s->n_head, n_head_kv = s->n_head_kv, n_kv = s->n_kv;
    struct ggml_context *ctx = ggml_init((struct ggml_init_params){.mem_size = 1 << 20, .no_alloc = true});
    assert_non_null(ctx);
    struct ggml_tensor *q = ggml_new_tensor_3d(ctx, GGML_TYPE_F32, n_embd_head, n_head, n),
                       *k = ggml_new_tensor_2d(ctx, GGML_TYPE_F16, n_embd_head * n_head_kv, n_kv), *v = ggml_dup_tensor(ctx, k), *y;
    struct ggml_tensor *pos = ggml_new_tensor_1d(ctx, GGML_TYPE_I32, n), *pos_kv = ggml_new_tensor_2d(ctx, GGML_TYPE_I32, n_kv, s->n_seq),
                       *seq = s->n_seq > 1 ? ggml_new_tensor_1d(ctx, GGML_TYPE_I32, n) : NULL,
                       *mask = ggml_new_tensor_2d(ctx, GGML_TYPE_F16, n_kv, n);
    iflow_attention of = {.scale = 1 / sqrtf((float)n_embd_head), .window = s->window, .kernels = kernels};
    if (kernels) {
        y = iflow_attention_op(ctx, &of, q, k, v, pos, pos_kv, seq);
    } else {
        const size_t head = (size_t)n_embd_head * sizeof *d->k;
        y = ggml_flash_attn_ext(ctx, ggml_permute(ctx, q, 0, 2, 1, 3),
                                ggml_view_3d(ctx, k, n_embd_head, n_kv, n_head_kv, k->nb[1], head, 0),
                                ggml_view_3d(ctx, v, n_embd_head, n_kv, n_head_kv, v->nb[1], head, 0), mask, of.scale, 0, 0);
        ggml_prec_set_acc(y, GGML_PREC_F32);
    }
    struct ggml_cgraph *graph = ggml_new_graph(ctx);
    ggml_build_forward_expand(graph, y);
    ggml_backend_buffer_t buffer = ggml_backend_alloc_ctx_tensors(ctx, cpu);
    assert_non_null(buffer);
    ggml_backend_tensor_set(q, d->q + (size_t)first * (size_t)(n_head * n_embd_head), 0, ggml_nbytes(q));
    ggml_backend_tensor_set(k, d->k, 0, ggml_nbytes(k));
    ggml_backend_tensor_set(v, d->v, 0, ggml_nbytes(v));
    ggml_backend_tensor_set(pos, d->pos + first, 0, ggml_nbytes(pos));
    ggml_backend_tensor_set(pos_kv, d->pos_kv, 0, ggml_nbytes(pos_kv));
    if (seq) {
        ggml_backend_tensor_set(seq, d->seq + first, 0, ggml_nbytes(seq));
    }
    for (int i = 0; i < n * s->n_kv; i++) {
        ((ggml_fp16_t *)mask->data)[i] = visible(d, first + i / s->n_kv, i % s->n_kv) ? 0 : 0xfc00;
    }
    for (int i = 0; kernels && i < s->n_kv && s->n_seq == 1; i++) {
        if (d->pos_kv[i] == IFLOW_ROW_EMPTY) { /* whatever lies there */
            memset((char *)k->data + (size_t)i * k->nb[1], 0xff, k->nb[1]);
            memset((char *)v->data + (size_t)i * v->nb[1], 0xff, v->nb[1]);
        }
    }
    set_threads(cpu, n_threads);
    float *out = room((size_t)n * (size_t)(n_head * n_embd_head), sizeof *out);
    for (int pass = 0; pass < 2; pass++) {
        memset(y->data, 0xff, ggml_nbytes(y)); /* NaN where nothing is written */
        assert_int_equal(ggml_backend_graph_compute(cpu, graph), GGML_STATUS_SUCCESS);
        if (pass) {
            assert_memory_equal(out, y->data, ggml_nbytes(y));
        }
        memcpy(out, y->data, ggml_nbytes(y));
    }
    ggml_backend_buffer_free(buffer);
    ggml_free(ctx);
    return out;
}

/* In f64, of the same halves. free(). */
static double *reference(const data *d) {
    const struct shape *s = d->shape;
    const size_t n_embd_head = (size_t)s->n_embd_head, n_head = (size_t)s->n_head, n_head_kv = (size_t)s->n_head_kv;
    double *out = room((size_t)s->n * n_head * n_embd_head, sizeof *out), *weight = room((size_t)s->n_kv, sizeof *weight);
    float *k = room((size_t)s->n_kv * n_head_kv * n_embd_head, sizeof *k), *v = room((size_t)s->n_kv * n_head_kv * n_embd_head, sizeof *v);
    ggml_fp16_to_fp32_row(d->k, k, (int64_t)((size_t)s->n_kv * n_head_kv * n_embd_head));
    ggml_fp16_to_fp32_row(d->v, v, (int64_t)((size_t)s->n_kv * n_head_kv * n_embd_head));
    for (size_t row = 0; row < (size_t)s->n * n_head; row++) {
        const size_t head_kv = row % n_head / (n_head / n_head_kv);
        double most = -INFINITY, sum = 0;
        for (size_t i = 0; i < (size_t)s->n_kv; i++) {
            weight[i] = -INFINITY;
            if (visible(d, (int)(row / n_head), (int)i)) {
                weight[i] = 0;
                for (size_t e = 0; e < n_embd_head; e++) {
                    weight[i] += (double)d->q[row * n_embd_head + e] * (double)k[(i * n_head_kv + head_kv) * n_embd_head + e];
                }
                weight[i] /= sqrt((double)n_embd_head);
            }
            most = fmax(most, weight[i]);
        }
        for (size_t i = 0; i < (size_t)s->n_kv; i++) {
            weight[i] = weight[i] > -INFINITY ? exp(weight[i] - most) : 0;
            sum += weight[i];
            for (size_t e = 0; e < n_embd_head; e++) {
                out[row * n_embd_head + e] += weight[i] * (double)v[(i * n_head_kv + head_kv) * n_embd_head + e];
            }
        }
        for (size_t e = 0; e < n_embd_head; e++) {
            out[row * n_embd_head + e] /= sum > 0 ? sum : 1;
        }
    }
    free(weight);
    free(k);
    free(v);
    return out;
}

/* Root mean square of the difference over that of the right one. */
static double error(const float *y, const double *right, size_t n) {
    double wrong = 0, all = 0;
    for (size_t i = 0; i < n; i++) {
        wrong += ((double)y[i] - right[i]) * ((double)y[i] - right[i]);
        all += right[i] * right[i];
    }
    return sqrt(wrong / all);
}

static void check(const struct shape *s, const iflow_attention_kernels *kernels) {
    data d = data_new(s);
    const size_t a_query = (size_t)s->n_head * (size_t)s->n_embd_head, count = (size_t)s->n * a_query;
    assert_true(iflow_attention_can(s->n_embd_head, s->n_head, s->n_head_kv));
    float *ours = attention(&d, kernels, 0, s->n, 1), *ggml = attention(&d, NULL, 0, s->n, 1);
    double *right = reference(&d);
    const double ours_off = error(ours, right, count), ggml_off = error(ggml, right, count);
    print_message("%s heads of %d, %d of %d, %d queries over %d, window %d, %d sequences: %.2g from f64, ggml's %.2g\n", kernels->name,
                  s->n_embd_head, s->n_head_kv, s->n_head, s->n, s->n_kv, s->window, s->n_seq, ours_off, ggml_off);
    assert_true(ours_off <= TOLERANCE_ATTENTION * fmax(1, (double)s->size));
    assert_true(ours_off <= ggml_off * TOLERANCE_ATTENTION_GGML);
    for (size_t i = 0; s->order == SHUFFLED && i < a_query; i++) {
        assert_true(ours[(size_t)(s->n / 2) * a_query + i] == 0);
    }
    for (int n_threads = 2; n_threads <= 5; n_threads += 3) {
        float *shared = attention(&d, kernels, 0, s->n, n_threads);
        assert_memory_equal(shared, ours, count * sizeof *ours);
        free(shared);
    }
    const struct { int first, n; } parts[] = {{s->n - 1, 1}, {0, 1}, {s->n / 3, s->n - s->n / 3}};
    for (size_t p = 0; p < sizeof parts / sizeof *parts; p++) {
        if (s->n >= 8 && parts[p].n < 8 && s->n_kv > 512) {
            continue; /* in parts: rounded otherwise */
        }
        float *part = attention(&d, kernels, parts[p].first, parts[p].n, 1);
        assert_memory_equal(part, ours + (size_t)parts[p].first * a_query, (size_t)parts[p].n * a_query * sizeof *ours);
        free(part);
    }
    free(ours);
    free(ggml);
    free(right);
    data_free(&d);
}

static void test_attention(void **unused) {
    (void)unused;
    const iflow_attention_kernels *kernels = NULL;
    for (int k = 0; (kernels = iflow_attention_kernels_get(k)); k++) {
        for (int s = 0; s < N_SHAPES; s++) {
            check(&shapes[s], kernels);
        }
    }
    if (!iflow_attention_kernels_get(0)) {
        skip(); /* this processor has ggml's attention alone */
    }
}

static void test_can(void **unused) {
    (void)unused;
    assert_false(iflow_attention_can(40, 8, 8));
    assert_false(iflow_attention_can(512, 8, 2));
    assert_int_equal(iflow_attention_can(256, 8, 2), iflow_attention_kernels_get(0) != NULL);
    assert_false(iflow_attention_can(64, 49, 1));
    assert_int_equal(iflow_attention_can(64, 48, 1), iflow_attention_kernels_get(0) != NULL);
}

enum { N_TOKENS = 200 };

/* Of the last slice, which is one of 8 queries or more. */
static float *logits(const char *name, bool exact, size_t *count) {
    iflow_model *model = NULL;
    assert_ok(iflow_model_load(support_tiny_model(name), &IFLOW_PARAMS(iflow_model_params, .exact = exact, .device = "cpu"), &model));
    int32_t token[N_TOKENS], row[N_TOKENS];
    for (int i = 0; i < N_TOKENS; i++) {
        token[i] = i * i % model->n_vocab;
        row[i] = (i * 77 + 5) % N_TOKENS; /* rows in no order */
    }
    float *out = support_every_logits(model, token, row, N_TOKENS, 2);
    *count = N_TOKENS * (size_t)model->n_vocab;
    iflow_model_free(model);
    return out;
}

/* Models with f32 weights by our attention and, `exact`, by ggml's: nothing else differs. */
static void test_model(void **unused) {
    (void)unused;
    static const char *const names[] = {"qwen3", "llama-yarn", "qwen3-untied", "gemma3", "gemma3-256"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        size_t count = 0;
        float *ours = logits(names[i], false, &count), *ggml = logits(names[i], true, &count);
        const double scale = support_max_size(ggml, count), difference = support_max_difference(ours, ggml, count);
        print_message("%s: largest difference %.2g of %.1f\n", names[i], difference, scale);
        assert_true(difference <= TOLERANCE_LIBLLAMA * scale);
        assert_int_equal(difference > 0, iflow_attention_kernels_get(0) != NULL); /* else one of the two was not what it says */
        free(ours);
        free(ggml);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_attention), cmocka_unit_test(test_can), cmocka_unit_test(test_model)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
