/* test_parts.c - a model in parts is the model in one file; parts that are missing, renamed or of another model are told apart. */
#include "model_fixture.h"

#include <unistd.h>

enum { N_PARTS = 3 };

static char *part_path(const char *name, int no, int count) {
    char *path = iflow_format("%s/%s-%05d-of-%05d.gguf", dir, name, no + 1, count);
    assert_non_null(path);
    return path;
}

/* What of a part is written otherwise than it should be. */
typedef struct odd {
    int no, count, n_tensors, first_tensor; /* added */
    bool wide;                              /* numbers of 32 bits */
} odd;

/* Writes part `no` of a tiny model, as gguf-split writes it: metadata in the first alone, tensors in turn. */
static void write_part(const char *model, const char *path, int no, odd other) {
    struct ggml_context *tensors = NULL;
    struct gguf_context *whole = gguf_init_from_file(support_tiny_model(model), (struct gguf_init_params){.ctx = &tensors});
    struct gguf_context *part = gguf_init_empty();
    assert_non_null(whole);
    const int n = (int)gguf_get_n_tensors(whole);
    if (no == 0) {
        gguf_set_kv(part, whole);
    }
    if (other.wide) {
        gguf_set_val_u32(part, "split.no", (uint32_t)(no + other.no));
        gguf_set_val_u32(part, "split.count", (uint32_t)(N_PARTS + other.count));
    } else {
        gguf_set_val_u16(part, "split.no", (uint16_t)(no + other.no));
        gguf_set_val_u16(part, "split.count", (uint16_t)(N_PARTS + other.count));
    }
    gguf_set_val_i32(part, "split.tensors.count", n + other.n_tensors);
    for (int i = n * no / N_PARTS + other.first_tensor; i < n * (no + 1) / N_PARTS; i++) {
        gguf_add_tensor(part, ggml_get_tensor(tensors, gguf_get_tensor_name(whole, i)));
    }
    assert_true(gguf_write_to_file(part, path, false));
    gguf_free(part);
    gguf_free(whole);
    ggml_free(tensors);
}

static void write_parts(const char *model, const char *name) {
    for (int no = 0; no < N_PARTS; no++) {
        char *path = part_path(name, no, N_PARTS);
        write_part(model, path, no, (odd){0});
        free(path);
    }
}

/* The logits of some tokens; free(). */
static float *some_logits(const iflow_model *model, size_t *n) {
    enum { N = 40 };
    int32_t token[N];
    for (int i = 0; i < N; i++) {
        token[i] = i * 31 % model->n_vocab;
    }
    *n = (size_t)N * (size_t)model->n_vocab;
    return support_every_logits(model, token, NULL, N, 2);
}

static void test_same_as_whole(void **state) {
    (void)state;
    enum { SIZE = sizeof(iflow_model_params) };
    static const iflow_model_params way[] = {{.size = SIZE, .cache_dir = ""},
                                             {.size = SIZE, .cache_dir = "", .no_mmap = true},
                                             {.size = SIZE, .cache_dir = "", .no_repack = true},
                                             {.size = SIZE, .cache_dir = "", .no_mmap = true, .no_repack = true}};
    static const char *const name[] = {"llama-mixed", "llama-untied", "qwen2-q4_0", "qwen3"};
    for (size_t m = 0; m < sizeof name / sizeof *name; m++) {
        write_parts(name[m], name[m]);
        char *path = part_path(name[m], 0, N_PARTS);
        for (size_t i = 0; i < sizeof way / sizeof *way; i++) {
            iflow_model *whole = NULL, *parts = NULL;
            assert_ok(iflow_model_load(support_tiny_model(name[m]), &way[i], &whole));
            assert_ok(iflow_model_load(path, &way[i], &parts));
            assert_int_equal(iflow_model_get_info(whole).n_parts, 1);
            assert_int_equal(iflow_model_get_info(parts).n_parts, N_PARTS);
            assert_int_equal(iflow_model_get_info(parts).n_bytes, iflow_model_get_info(whole).n_bytes);
            size_t n = 0;
            float *a = some_logits(whole, &n), *b = some_logits(parts, &n);
            assert_memory_equal(a, b, n * sizeof *a);
            free(a);
            free(b);
            iflow_model_free(whole);
            iflow_model_free(parts);
        }
        free(path);
    }
}

/* The identity of parts is the hash of their bytes in order. */
static void test_identity(void **state) {
    (void)state;
    write_parts("llama", "whole");
    iflow_hasher *hasher = iflow_hasher_new();
    for (int no = 0; no < N_PARTS; no++) {
        size_t n = 0;
        char *path = part_path("whole", no, N_PARTS), *bytes = fixture_read(path, &n);
        iflow_hasher_add(hasher, bytes, n);
        free(bytes);
        free(path);
    }
    char hex[IFLOW_ID_SIZE];
    iflow_hasher_hex(hasher, hex);
    char *path = part_path("whole", 0, N_PARTS);
    iflow_model *model = NULL;
    assert_ok(iflow_model_load(path, &IFLOW_PARAMS(iflow_model_params, .cache_dir = ""), &model));
    assert_string_equal(iflow_model_get_info(model).fingerprint, hex);
    iflow_model_free(model);
    free(path);
}

/* Part `no` of good parts written otherwise, or taken away: refused, with the word and the file that is wanted. */
static void assert_part_refused(int no, const odd *other, iflow_status expected, const char *word) {
    write_parts("llama", "odd");
    char *path = part_path("odd", no, N_PARTS), *first = part_path("odd", 0, N_PARTS);
    if (other) {
        write_part("llama", path, no, *other);
    } else {
        assert_int_equal(remove(path), 0);
    }
    fixture_refused(first, expected, 0, word);
    if (no && !strstr(iflow_error_message(), "parts hold") && !strstr(iflow_error_message(), "in two of")) {
        assert_non_null(strstr(iflow_error_message(), path)); /* the part that is wanted, too */
    }
    free(path);
    free(first);
}

static void test_bad_parts(void **state) {
    (void)state;
    for (int no = 1; no < N_PARTS; no++) {
        assert_part_refused(no, NULL, IFLOW_E_NOT_FOUND, "is not there");
        assert_part_refused(no, &(odd){.no = -1}, IFLOW_E_FORMAT, "of another model");
        assert_part_refused(no, &(odd){.count = 1}, IFLOW_E_FORMAT, "of another model");
        assert_part_refused(no, &(odd){.count = 1 - N_PARTS}, IFLOW_E_FORMAT, "no part of a model");
        assert_part_refused(no, &(odd){.n_tensors = 1}, IFLOW_E_FORMAT, "of another model");
        assert_part_refused(no, &(odd){.first_tensor = 1}, IFLOW_E_FORMAT, "parts hold");
        assert_part_refused(no, &(odd){.first_tensor = -1}, IFLOW_E_FORMAT, "parts hold");
    }
    assert_part_refused(0, &(odd){.no = 5}, IFLOW_E_FORMAT, "part 6 of 3");
    assert_part_refused(0, &(odd){.n_tensors = -1}, IFLOW_E_FORMAT, "of another model");
    assert_part_refused(0, &(odd){.count = -1}, IFLOW_E_FORMAT, "must be NAME-00001-of-00002.gguf");

    /* As many tensors as there should be, but one twice. */
    write_parts("llama", "twice");
    char *first = part_path("twice", 0, N_PARTS), *second = part_path("twice", 1, N_PARTS), *third = part_path("twice", 2, N_PARTS);
    write_part("llama", second, 1, (odd){.first_tensor = -1});
    write_part("llama", third, 2, (odd){.first_tensor = 1});
    fixture_refused(first, IFLOW_E_FORMAT, 0, "in two of its 3 parts");

    /* A part that is cut off, empty, or no GGUF file: named, with what it is. */
    size_t n = 0;
    write_parts("llama", "twice");
    char *bytes = fixture_read(third, &n);
    free(fixture_write(dir, "twice-00003-of-00003.gguf", bytes, n - 100));
    fixture_refused(first, IFLOW_E_FORMAT, 0, "truncated");
    assert_non_null(strstr(iflow_error_message(), third));
    free(fixture_write(dir, "twice-00003-of-00003.gguf", "version https://git-lfs.github.com/spec/v1\n", 43));
    fixture_refused(first, IFLOW_E_FORMAT, 0, "git-lfs pointer");
    assert_non_null(strstr(iflow_error_message(), third));
    free(bytes);
    free(first);
    free(second);
    free(third);
}

static void test_other_part_given(void **state) {
    (void)state;
    write_parts("llama", "given");
    char *first = part_path("given", 0, N_PARTS);
    for (int no = 1; no < N_PARTS; no++) {
        char *path = part_path("given", no, N_PARTS), *renamed = iflow_format("%s/renamed.gguf", dir);
        fixture_refused(path, IFLOW_E_ARG, 0, first);
        assert_non_null(strstr(iflow_error_message(), no == 1 ? "part 2 of 3" : "part 3 of 3"));
        assert_int_equal(rename(path, renamed), 0);
        fixture_refused(renamed, IFLOW_E_ARG, 0, "NAME-00001-of-00003.gguf");
        free(path);
        free(renamed);
    }
    char *renamed = iflow_format("%s/model.gguf", dir);
    assert_int_equal(rename(first, renamed), 0);
    fixture_refused(renamed, IFLOW_E_FORMAT, 0, "NAME-00001-of-00003.gguf");
    free(renamed);
    free(first);
}

/* Counts of other widths are read; a model of one part has any name. */
static void test_numbers(void **state) {
    (void)state;
    char *path = iflow_format("%s/single.gguf", dir);
    iflow_model *model = NULL;
    struct ggml_context *tensors = NULL;
    struct gguf_context *whole = gguf_init_from_file(support_tiny_model("llama"), (struct gguf_init_params){.ctx = &tensors});
    struct gguf_context *single = gguf_init_empty();
    gguf_set_kv(single, whole);
    gguf_set_val_u16(single, "split.no", 0);
    gguf_set_val_u16(single, "split.count", 1);
    for (int64_t i = 0; i < gguf_get_n_tensors(whole); i++) {
        gguf_add_tensor(single, ggml_get_tensor(tensors, gguf_get_tensor_name(whole, i)));
    }
    assert_true(gguf_write_to_file(single, path, false));
    gguf_free(single);
    gguf_free(whole);
    ggml_free(tensors);
    assert_ok(iflow_model_load(path, &IFLOW_PARAMS(iflow_model_params, .cache_dir = ""), &model));
    iflow_model_free(model);
    write_part("llama", path, 1, (odd){.wide = true});
    fixture_refused(path, IFLOW_E_ARG, 0, "part 2 of 3");
    free(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_same_as_whole), cmocka_unit_test(test_identity),
                                       cmocka_unit_test(test_bad_parts), cmocka_unit_test(test_other_part_given),
                                       cmocka_unit_test(test_numbers)};
    return cmocka_run_group_tests(tests, fixture_make_dir, fixture_remove_dir);
}
