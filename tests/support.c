/* support.c - what the tests share. */
#include "support.h"

#include <ftw.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char *support_env(const char *name) {
    const char *value = getenv(name);
    if (!value) {
        fail_msg("%s is not set; run the tests through `make test`", name);
    }
    return value;
}

void support_assert_ok(iflow_status status, const char *file, int line) {
    if (status) {
        print_error("status %d (%s): %s\n", (int)status, iflow_status_string(status), iflow_error_message());
    }
    _assert_int_equal((LargestIntegralType)status, IFLOW_OK, file, line);
}

const char *support_tiny_model(const char *name) {
    static char path[4096];
    snprintf(path, sizeof path, "%s/%s.gguf", support_env("INFOFLOW_TEST_MODELS"), name);
    return path;
}

char *support_make_dir(void) {
    const char *tmp = getenv("TMPDIR");
    char *dir = iflow_format("%s/infoflow-test-XXXXXX", tmp ? tmp : "/tmp");
    assert_non_null(dir);
    assert_non_null(mkdtemp(dir));
    return dir;
}

iflow_status support_load_edited(const char *name, support_edit edit, const void *user, iflow_model **out) {
    struct gguf_context *gguf = gguf_init_from_file(support_tiny_model(name), (struct gguf_init_params){.no_alloc = true});
    FILE *file = fopen(support_tiny_model(name), "rb");
    assert_non_null(gguf);
    assert_non_null(file);
    assert_int_equal(fseek(file, 0, SEEK_END), 0);
    const size_t offset = gguf_get_data_offset(gguf), n = (size_t)ftell(file) - offset;
    char *data = malloc(n), *dir = support_make_dir(), *path = iflow_format("%s/%s.gguf", dir, name);
    assert_true(data && path && fseek(file, (long)offset, SEEK_SET) == 0);
    assert_int_equal(fread(data, 1, n, file), n);
    fclose(file);
    edit(gguf, data, user);
    assert_true(gguf_write_to_file(gguf, path, true));
    gguf_free(gguf);
    file = fopen(path, "ab");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, n, file), n);
    assert_int_equal(fclose(file), 0);
    const iflow_status status = iflow_model_load(path, NULL, out);
    free(data);
    free(path);
    support_remove_dir(dir);
    return status;
}

iflow_model *support_edited_model(const char *name, support_edit edit, const void *user) {
    iflow_model *model = NULL;
    assert_ok(support_load_edited(name, edit, user, &model));
    return model;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *walk) {
    (void)st, (void)type, (void)walk;
    return remove(path);
}

void support_remove_dir(char *dir) {
    nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    free(dir);
}

float *support_logits(iflow_context *ctx, int32_t token, int n_rows) {
    float *logits = calloc((size_t)ctx->model->n_vocab, sizeof *logits);
    assert_non_null(logits);
    const int32_t at = n_rows - 1;
    const iflow_pass pass = {.token = &token, .order = &at, .row = &at, .n = 1, .logits = true, .out = logits};
    assert_ok(iflow_seq_forward(&ctx->timeline.seq, &pass));
    return logits;
}

float *support_every_logits(const iflow_model *model, const int32_t *token, const int32_t *row, int n, int n_threads) {
    iflow_context *ctx = NULL;
    assert_ok(iflow_context_new(model, NULL, &IFLOW_PARAMS(iflow_context_params, .n_threads = n_threads), &ctx));
    assert_ok(iflow_seq_reserve(&ctx->timeline.seq, n));
    float *out = malloc((size_t)n * (size_t)model->n_vocab * sizeof *out);
    int32_t *pos = malloc((size_t)n * sizeof *pos);
    assert_non_null(out);
    assert_non_null(pos);
    for (int i = 0; i < n; i++) {
        pos[i] = i;
    }
    const iflow_pass pass = {.token = token, .order = pos, .row = row ? row : pos, .n = n, .every = true, .out = out};
    assert_ok(iflow_seq_forward(&ctx->timeline.seq, &pass));
    free(pos);
    iflow_context_free(ctx);
    return out;
}

double support_max_difference(const float *a, const float *b, size_t n) {
    double most = 0;
    for (size_t i = 0; i < n; i++) {
        const double difference = fabs((double)a[i] - (double)b[i]);
        most = !(difference <= most) ? difference : most; /* a NaN is the most */
    }
    return most;
}

double support_max_size(const float *a, size_t n) {
    double most = 0;
    for (size_t i = 0; i < n; i++) {
        most = fabs((double)a[i]) > most ? fabs((double)a[i]) : most;
    }
    return most;
}

size_t support_argmax(const float *a, size_t n) {
    size_t best = 0;
    for (size_t i = 1; i < n; i++) {
        best = a[i] > a[best] ? i : best;
    }
    return best;
}

iflow_correction *support_learn(iflow_context *ctx) {
    char *dir = support_make_dir(), *path = iflow_format("%s/correction", dir);
    iflow_learner *learner = NULL;
    iflow_correction *correction = NULL;
    assert_non_null(path);
    assert_ok(iflow_learner_new(ctx, &learner));
    while (iflow_learner_tokens(learner) < 1024) {
        assert_ok(iflow_learner_add(learner));
    }
    assert_ok(iflow_learner_write(learner, path));
    iflow_learner_free(learner);
    assert_ok(iflow_correction_load(path, ctx->model, &correction));
    free(path);
    support_remove_dir(dir);
    return correction;
}

void support_overdo(const iflow_correction *correction, int n_layer, float factor) {
    static uint8_t bytes[1 << 22];
    for (int i = 0; i < n_layer - 1; i++) {
        struct ggml_tensor *map = correction->layer[i].map, *position = correction->layer[i].position;
        assert_true(ggml_nbytes(map) <= sizeof bytes && ggml_nbytes(position) <= sizeof bytes);
        ggml_backend_tensor_get(map, bytes, 0, ggml_nbytes(map));
        for (size_t at = 0; at < ggml_nbytes(map); at += ggml_type_size(map->type)) { /* a value, or the scale that a block begins with */
            uint16_t scale = 0;
            memcpy(&scale, bytes + at, sizeof scale);
            scale = ggml_fp32_to_fp16(factor * ggml_fp16_to_fp32(scale));
            memcpy(bytes + at, &scale, sizeof scale);
        }
        ggml_backend_tensor_set(map, bytes, 0, ggml_nbytes(map));
        ggml_backend_tensor_get(position, bytes, 0, ggml_nbytes(position));
        for (size_t at = 0; at < ggml_nbytes(position); at += sizeof(float)) {
            float value = 0;
            memcpy(&value, bytes + at, sizeof value);
            value *= factor;
            memcpy(bytes + at, &value, sizeof value);
        }
        ggml_backend_tensor_set(position, bytes, 0, ggml_nbytes(position));
    }
}

iflow_status support_prefill(iflow_context *ctx, const int32_t *tokens, size_t n_tokens, char id[IFLOW_ID_SIZE], bool *was_stored) {
    char ids[1][IFLOW_ID_SIZE];
    bool stored = false;
    const iflow_status status = iflow_context_prefill(ctx, tokens, (size_t[]){0, n_tokens}, 1, ids, &stored);
    if (!status && id) {
        memcpy(id, ids[0], sizeof ids[0]);
    }
    if (!status && was_stored) {
        *was_stored = stored;
    }
    return status;
}
