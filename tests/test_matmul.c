/* test_matmul.c - our products by quantised weights: against their definition, against ggml's, and whatever goes with a row. */
#include "kernels/matmul_kernels.h"
#include "support.h"
#include "tolerance.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const enum ggml_type types[] = {GGML_TYPE_Q4_0, GGML_TYPE_Q4_1, GGML_TYPE_Q5_0, GGML_TYPE_Q5_1,
                                       GGML_TYPE_Q8_0, GGML_TYPE_Q4_K, GGML_TYPE_Q5_K, GGML_TYPE_Q6_K};
enum { N_TYPES = sizeof types / sizeof *types };

/* Products at the edges of what goes together: 6 and 32 rows, 512 elements; and, at the end, two of an ordinary size. */
static const struct shape {
    int n_in, n_out, n;
} shapes[] = {{256, 32, 6}, {256, 8, 8}, {512, 40, 13}, {768, 37, 9}, {1280, 72, 64}, {1024, 256, 100}};
enum { N_SHAPES = sizeof shapes / sizeof *shapes };

static uint32_t state = 1;

static float uniform(void) {
    state = state * 1664525u + 1013904223u;
    return (float)(state >> 8) / (float)(1 << 24) - 0.5f;
}

/* Values whose size changes from one row and stretch to another, as activations' does, with an empty stretch. */
static float *values(int n_rows, int n) {
    float *out = malloc((size_t)n_rows * (size_t)n * sizeof *out);
    assert_non_null(out);
    for (int r = 0; r < n_rows; r++) {
        for (int i = 0; i < n; i++) {
            out[(size_t)r * (size_t)n + (size_t)i] = i / 32 == r % 5 + 1 ? 0 : uniform() * (float)(1 + (r + i / 64) % 7);
        }
    }
    return out;
}

typedef struct machine {
    ggml_backend_t backend;
    ggml_backend_buffer_type_t repacked; /* or NULL */
    ggml_backend_set_n_threads_t set_threads;
} machine;

static machine cpu;

static int set_up(void **unused) {
    (void)unused;
    iflow_device_name(0); /* loads ggml's backends */
    ggml_backend_dev_t dev = ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU);
    cpu.backend = ggml_backend_dev_init(dev, NULL);
    ggml_backend_dev_get_extra_bufts_t extra = NULL;
    ggml_backend_reg_t reg = ggml_backend_dev_backend_reg(dev);
    *(void **)&extra = ggml_backend_reg_get_proc_address(reg, "ggml_backend_dev_get_extra_bufts");
    *(void **)&cpu.set_threads = ggml_backend_reg_get_proc_address(reg, "ggml_backend_set_n_threads");
    for (ggml_backend_buffer_type_t *b = extra ? extra(dev) : NULL; b && *b; b++) {
        cpu.repacked = strstr(ggml_backend_buft_name(*b), "REPACK") ? *b : cpu.repacked;
    }
    return !cpu.backend || !cpu.set_threads;
}

static int tear_down(void **unused) {
    (void)unused;
    ggml_backend_free(cpu.backend);
    return 0;
}

/* A weight with its floats, and the tensors that multiply by it. */
typedef struct weight {
    struct ggml_context *ctx;
    ggml_backend_buffer_t buffer;
    struct ggml_tensor *tensor;
    void *rows;
    float *element; /* [n_out, n_in] */
} weight;

/* false: ggml does not repack this type and shape. */
static bool weight_new(enum ggml_type type, int n_in, int n_out, bool repack, weight *w) {
    *w = (weight){.ctx = ggml_init((struct ggml_init_params){.mem_size = 1 << 20, .no_alloc = true})};
    assert_non_null(w->ctx);
    w->tensor = ggml_new_tensor_2d(w->ctx, type, n_in, n_out);
    float *in = values(n_out, n_in);
    w->rows = malloc(ggml_nbytes(w->tensor));
    w->element = malloc((size_t)n_in * (size_t)n_out * sizeof *w->element);
    assert_non_null(w->rows);
    assert_non_null(w->element);
    ggml_quantize_chunk(type, in, w->rows, 0, n_out, n_in, NULL);
    ggml_get_type_traits(type)->to_float(w->rows, w->element, (int64_t)n_in * n_out);
    free(in);
    w->buffer =
        repack ? ggml_backend_alloc_ctx_tensors_from_buft(w->ctx, cpu.repacked) : ggml_backend_alloc_ctx_tensors(w->ctx, cpu.backend);
    assert_non_null(w->buffer);
    ggml_backend_buffer_set_usage(w->buffer, GGML_BACKEND_BUFFER_USAGE_WEIGHTS);
    if (repack && !w->tensor->extra) {
        return false; /* its tensors' traits stand there */
    }
    ggml_backend_tensor_set(w->tensor, w->rows, 0, ggml_nbytes(w->tensor));
    return true;
}

static void weight_free(weight *w) {
    ggml_backend_buffer_free(w->buffer);
    ggml_free(w->ctx);
    free(w->rows);
    free(w->element);
}

/* The product [n, n_out] by ours (kernels) or, NULL, by ggml; computed twice, since a graph is used again. free(). */
static float *product(const weight *w, iflow_layout layout, const iflow_kernels *kernels, const float *x, int n, int n_threads) {
    struct ggml_context *ctx = ggml_init((struct ggml_init_params){.mem_size = 1 << 20, .no_alloc = true});
    assert_non_null(ctx);
    const int64_t n_in = w->tensor->ne[0], n_out = w->tensor->ne[1];
    iflow_product of = {.weight = w->tensor, .layout = layout, .kernels = kernels};
    struct ggml_tensor *in = ggml_new_tensor_2d(ctx, GGML_TYPE_F32, n_in, n);
    struct ggml_tensor *y = kernels ? iflow_matmul_multiply(ctx, &of, iflow_matmul_quantise(ctx, in), n) : ggml_mul_mat(ctx, w->tensor, in);
    struct ggml_cgraph *graph = ggml_new_graph(ctx);
    ggml_build_forward_expand(graph, y);
    ggml_backend_buffer_t buffer = ggml_backend_alloc_ctx_tensors(ctx, cpu.backend);
    assert_non_null(buffer);
    ggml_backend_tensor_set(in, x, 0, ggml_nbytes(in));
    cpu.set_threads(cpu.backend, n_threads);
    const size_t count = (size_t)n * (size_t)n_out;
    float *out = malloc(count * sizeof *out);
    assert_non_null(out);
    for (int pass = 0; pass < 2; pass++) {
        memset(y->data, 0xff, ggml_nbytes(y)); /* NaN where nothing is written */
        assert_int_equal(ggml_backend_graph_compute(cpu.backend, graph), GGML_STATUS_SUCCESS);
        if (pass) {
            assert_memory_equal(out, y->data, count * sizeof *out);
        }
        memcpy(out, y->data, count * sizeof *out);
    }
    ggml_backend_buffer_free(buffer);
    ggml_free(ctx);
    return out;
}

/* Activations as the definition has them: 32 share a scale, the largest becomes 127. */
static float *rounded(const float *x, size_t count) {
    float *out = malloc(count * sizeof *out);
    assert_non_null(out);
    for (size_t b = 0; b < count; b += 32) {
        float most = 0;
        for (size_t i = b; i < b + 32; i++) {
            most = fmaxf(most, fabsf(x[i]));
        }
        for (size_t i = b; i < b + 32; i++) {
            out[i] = most > 0 ? rintf(x[i] * (127.0f / most)) * (most / 127.0f) : 0;
        }
    }
    return out;
}

/* Root mean square of y - elements * x, as a share of the product's own. */
static double error(const weight *w, const float *x, const float *y, int n) {
    const size_t n_in = (size_t)w->tensor->ne[0], n_out = (size_t)w->tensor->ne[1];
    double wrong = 0, all = 0;
    for (size_t r = 0; r < (size_t)n; r++) {
        for (size_t o = 0; o < n_out; o++) {
            double sum = 0;
            for (size_t i = 0; i < n_in; i++) {
                sum += (double)w->element[o * n_in + i] * (double)x[r * n_in + i];
            }
            const double difference = (double)y[r * n_out + o] - sum;
            wrong += difference * difference;
            all += sum * sum;
        }
    }
    return sqrt(wrong / all);
}

static void check(enum ggml_type type, const struct shape *s, bool repack, const iflow_kernels *kernels) {
    weight w;
    if (weight_new(type, s->n_in, s->n_out, repack, &w)) {
        const iflow_layout layout = repack ? IFLOW_LAYOUT_ROWS8 : IFLOW_LAYOUT_ROWS;
        const size_t n_in = (size_t)s->n_in, n_out = (size_t)s->n_out;
        float *x = values(s->n, s->n_in), *as_rounded = rounded(x, (size_t)s->n * n_in);
        float *ours = product(&w, layout, kernels, x, s->n, 1), *ggml = product(&w, layout, NULL, x, s->n, 1);
        const double definition = error(&w, as_rounded, ours, s->n), ours_off = error(&w, x, ours, s->n),
                     ggml_off = error(&w, x, ggml, s->n);
        print_message("%s %s %s %d x %d by %d: %.1g from its definition; from floats %.4f, ggml's %.4f\n", kernels->name,
                      ggml_type_name(type), repack ? "repacked" : "rows", s->n_out, s->n_in, s->n, definition, ours_off, ggml_off);
        assert_true(definition <= TOLERANCE_MATMUL);
        if (s->n * s->n_out > 4000) { /* fewer tell nothing */
            assert_true(ours_off <= ggml_off * TOLERANCE_MATMUL_GGML);
        }
        for (int n_threads = 2; n_threads <= 5; n_threads += 3) {
            float *shared = product(&w, layout, kernels, x, s->n, n_threads);
            assert_memory_equal(shared, ours, (size_t)s->n * n_out * sizeof *ours);
            free(shared);
        }
        float *last = product(&w, layout, kernels, x + (size_t)(s->n - 1) * n_in, 1, 1); /* a row by itself */
        assert_memory_equal(last, ours + (size_t)(s->n - 1) * n_out, n_out * sizeof *ours);
        free(last);
        free(ours);
        free(ggml);
        free(x);
        free(as_rounded);
    } else {
        assert_true(repack);
    }
    weight_free(&w);
}

static void test_products(void **unused) {
    (void)unused;
    const iflow_kernels *kernels = NULL;
    for (int k = 0; (kernels = iflow_kernels_get(k)); k++) {
        for (int t = 0; t < N_TYPES; t++) {
            for (int s = 0; s < N_SHAPES && (types[t] != GGML_TYPE_Q8_0 || kernels->max_code_bits == 8); s++) {
                check(types[t], &shapes[s], false, kernels);
                if (cpu.repacked && iflow_matmul_can(types[t], IFLOW_LAYOUT_ROWS8)) {
                    check(types[t], &shapes[s], true, kernels);
                }
            }
        }
    }
    if (!iflow_kernels_get(0)) {
        skip(); /* this processor has ggml's products alone */
    }
}

static void test_repacked_layout(void **unused) {
    (void)unused;
    if (!cpu.repacked || !iflow_kernels_get(0)) {
        skip();
    }
    const enum ggml_type repacked[] = {GGML_TYPE_Q4_0, GGML_TYPE_Q4_K};
    for (size_t t = 0; t < 2; t++) {
        weight w, other;
        assert_true(weight_new(repacked[t], 768, 40, true, &w));
        assert_true(iflow_matmul_is_rows8(w.tensor, w.rows));
        memset((char *)w.rows + 20, 0x5a, 1);
        assert_false(iflow_matmul_is_rows8(w.tensor, w.rows)); /* one code differs */
        assert_true(weight_new(repacked[t], 768, 40, false, &other));
        assert_false(iflow_matmul_is_rows8(other.tensor, other.rows)); /* as in the file */
        weight_free(&w);
        weight_free(&other);
    }
    weight w;
    assert_true(weight_new(GGML_TYPE_Q8_0, 768, 40, false, &w));
    assert_false(iflow_matmul_is_rows8(w.tensor, w.rows));
    weight_free(&w);
}

static void test_can(void **unused) {
    (void)unused;
    assert_false(iflow_matmul_can(GGML_TYPE_F32, IFLOW_LAYOUT_ROWS));
    assert_false(iflow_matmul_can(GGML_TYPE_IQ4_NL, IFLOW_LAYOUT_ROWS8));
    assert_false(iflow_matmul_can(GGML_TYPE_Q4_K, IFLOW_LAYOUT_OTHER));
    assert_false(iflow_matmul_can(GGML_TYPE_Q6_K, IFLOW_LAYOUT_ROWS8));
    assert_int_equal(iflow_matmul_can(GGML_TYPE_Q4_K, IFLOW_LAYOUT_ROWS), iflow_kernels_get(0) != NULL);
}

enum { N_TOKENS = 200 };

static float *logits(const int32_t *token, bool exact, size_t *n_vocab) {
    iflow_model *model = NULL;
    assert_ok(
        iflow_model_load(support_env("INFOFLOW_SMOLLM2"), &IFLOW_PARAMS(iflow_model_params, .exact = exact, .device = "cpu"), &model));
    float *out = support_every_logits(model, token, NULL, N_TOKENS, 2);
    *n_vocab = (size_t)model->n_vocab;
    iflow_model_free(model);
    return out;
}

/* A whole model by our products and, `exact`, by ggml's: other numbers, the same answers. */
static void test_model(void **unused) {
    (void)unused;
    int32_t token[N_TOKENS];
    for (int i = 0; i < N_TOKENS; i++) {
        token[i] = 1000 + i * i % 977;
    }
    size_t n_vocab = 0;
    float *ours = logits(token, false, &n_vocab), *ggml = logits(token, true, &n_vocab);
    const double scale = support_max_size(ggml, N_TOKENS * n_vocab), difference = support_max_difference(ours, ggml, N_TOKENS * n_vocab);
    print_message("largest difference %.3f of %.1f\n", difference, scale);
    assert_true(difference <= TOLERANCE_IDENTITY_Q4 * scale);
    assert_int_equal(difference > 0, iflow_kernels_get(0) != NULL); /* else one of the two was not what it says */
    free(ours);
    free(ggml);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_products), cmocka_unit_test(test_repacked_layout), cmocka_unit_test(test_can),
                                       cmocka_unit_test(test_model)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
