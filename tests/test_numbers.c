/* test_numbers.c - a model with a weight that is not finite is refused, whatever the type of its tensors and wherever it stands. */
#include "support.h"

#include "model/numbers.h"

#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { N_BLOCKS = 3, N_ROWS = 2 };

/* A file with one tensor of zeros, [N_BLOCKS blocks, N_ROWS]; where its data begin. */
static size_t write_tensor(const char *path, enum ggml_type type) {
    struct ggml_context *ctx = ggml_init((struct ggml_init_params){.mem_size = 1 << 20});
    struct gguf_context *gguf = gguf_init_empty();
    struct ggml_tensor *t = ggml_new_tensor_2d(ctx, type, N_BLOCKS * ggml_blck_size(type), N_ROWS);
    memset(t->data, 0, ggml_nbytes(t));
    ggml_set_name(t, "some.weight");
    gguf_add_tensor(gguf, t);
    assert_true(gguf_write_to_file(gguf, path, false));
    const size_t start = gguf_get_meta_size(gguf);
    gguf_free(gguf);
    ggml_free(ctx);
    return start;
}

/* Whether a block's numbers are finite, by ggml. */
static bool block_finite(enum ggml_type type, const unsigned char *block) {
    float value[1024];
    const int64_t n = ggml_blck_size(type);
    assert_true(n <= 1024);
    ggml_get_type_traits(type)->to_float(block, value, n);
    bool good = true;
    for (int64_t i = 0; i < n; i++) {
        good = good && isfinite(value[i]);
    }
    return good;
}

/* Two bytes of ones at every place of a block: refused exactly where ggml makes a number of them that is not finite. */
static void test_every_type(void **state) {
    (void)state;
    char *dir = support_make_dir(), *path = iflow_format("%s/one.gguf", dir);
    size_t n_types = 0, n_refused = 0;
    for (int type = 0; type < GGML_TYPE_COUNT; type++) {
        const size_t n_bytes = ggml_type_size((enum ggml_type)type);
        if (!n_bytes || !ggml_get_type_traits((enum ggml_type)type)->to_float) {
            continue;
        }
        const size_t start = write_tensor(path, (enum ggml_type)type);
        iflow_parts parts;
        assert_ok(iflow_parts_open(path, &parts));
        assert_ok(iflow_numbers_check(&parts, &(iflow_model_params){0}));
        const int fd = open(path, O_WRONLY | O_CLOEXEC);
        assert_true(fd >= 0);
        const size_t last = start + (N_BLOCKS * N_ROWS - 1) * n_bytes;
        for (size_t at = 0; at + 1 < n_bytes; at++) {
            unsigned char block[2048] = {0};
            block[at] = block[at + 1] = 0xff;
            const size_t place = at % 2 ? start : last;
            assert_int_equal(pwrite(fd, block, n_bytes, (off_t)place), n_bytes);
            const iflow_status status = iflow_numbers_check(&parts, &(iflow_model_params){0});
            if (status != (block_finite((enum ggml_type)type, block) ? IFLOW_OK : IFLOW_E_NOT_FINITE)) {
                fail_msg("%s, byte %zu: status %d", ggml_type_name((enum ggml_type)type), at, (int)status);
            }
            if (status) {
                assert_non_null(strstr(iflow_error_message(), "some.weight"));
                assert_non_null(strstr(iflow_error_message(), path));
                n_refused++;
            }
            memset(block, 0, n_bytes);
            assert_int_equal(pwrite(fd, block, n_bytes, (off_t)place), n_bytes);
        }
        assert_ok(iflow_numbers_check(&parts, &(iflow_model_params){0}));
        close(fd);
        iflow_parts_close(&parts);
        n_types++;
    }
    assert_true(n_types >= 20 && n_refused >= n_types);
    free(path);
    support_remove_dir(dir);
}

/* Makes the last two bytes of a tensor's first number, or of its first scale, ones. */
static void damage(struct gguf_context *gguf, char *data, const void *tensor) {
    const int64_t id = gguf_find_tensor(gguf, tensor);
    assert_true(id >= 0);
    memset(data + gguf_get_tensor_offset(gguf, id) + (gguf_get_tensor_type(gguf, id) == GGML_TYPE_F32 ? 2 : 0), 0xff, 2);
}

static void test_models(void **state) {
    (void)state;
    static const char *const model[][2] = {{"llama", "output_norm.weight"},           {"llama-q8_0", "blk.0.attn_norm.weight"},
                                           {"qwen2-q4_0", "blk.1.attn_k.weight"},     {"llama-mixed", "token_embd.weight"},
                                           {"llama-q8_0", "blk.1.ffn_down.weight"},   {"qwen3-bf16", "blk.0.ffn_up.weight"},
                                           {"llama-f16", "blk.1.attn_output.weight"}, {"qwen2", "blk.0.attn_q.bias"}};
    for (size_t i = 0; i < sizeof model / sizeof *model; i++) {
        iflow_model *out = NULL;
        const iflow_status status = support_load_edited(model[i][0], damage, model[i][1], &out);
        if (status != IFLOW_E_NOT_FINITE || !strstr(iflow_error_message(), model[i][1])) {
            fail_msg("%s of %s: status %d, %s", model[i][1], model[i][0], (int)status, iflow_error_message());
        }
        assert_null(out);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_type), cmocka_unit_test(test_models)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
