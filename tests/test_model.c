/* test_model.c - bad model files: every one gives a status and a message that names the file, and none harms the process. */
#include "support.h"
#include "tolerance.h"

#include <gguf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char *dir;

static int make_dir(void **state) {
    (void)state;
    dir = support_make_dir();
    return 0;
}

static int remove_dir(void **state) {
    (void)state;
    support_remove_dir(dir);
    return 0;
}

static char *read_file(const char *path, size_t *n) {
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    assert_int_equal(fseek(file, 0, SEEK_END), 0);
    *n = (size_t)ftell(file);
    rewind(file);
    char *bytes = malloc(*n);
    assert_non_null(bytes);
    assert_int_equal(fread(bytes, 1, *n, file), *n);
    fclose(file);
    return bytes;
}

static char *write_file(const char *name, const char *bytes, size_t n) {
    char *path = iflow_format("%s/%s", dir, name);
    assert_non_null(path);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, n, file), n);
    assert_int_equal(fclose(file), 0);
    return path;
}

/* Loading must fail with one of two statuses (0: the first only) and name the file. */
static void assert_refused(const char *path, iflow_status expected, iflow_status or, const char *word) {
    iflow_model *model = NULL;
    const iflow_status status = iflow_model_load(path, NULL, &model);
    if (status == IFLOW_OK) {
        iflow_model_free(model);
        fail_msg("%s was loaded", path);
    }
    if (status != expected && (! or || status != or)) {
        fail_msg("%s: status %d: %s", path, (int)status, iflow_error_message());
    }
    assert_null(model);
    assert_non_null(strstr(iflow_error_message(), path));
    if (word && !strstr(iflow_error_message(), word)) {
        fail_msg("the message lacks '%s': %s", word, iflow_error_message());
    }
}

static void assert_truncation_refused(const char *bytes, size_t n) {
    char *path = write_file("truncated.gguf", bytes, n);
    assert_refused(path, IFLOW_E_FORMAT, 0, NULL);
    free(path);
}

/* A model cut off anywhere: inside the header, between and inside metadata entries, at both ends of every tensor. */
static void test_truncation(void **state) {
    (void)state;
    size_t n = 0;
    const char *name = support_tiny_model("qwen3");
    char *bytes = read_file(name, &n);
    struct gguf_context *gguf = gguf_init_from_file(name, (struct gguf_init_params){.no_alloc = true});
    assert_non_null(gguf);
    const size_t data = gguf_get_data_offset(gguf);
    for (size_t at = 0; at < 256; at++) {
        assert_truncation_refused(bytes, at);
    }
    for (size_t at = 256; at < data; at += 61) { /* of no length that entries have: all phases of them come up */
        assert_truncation_refused(bytes, at);
    }
    for (int64_t i = 0; i < gguf_get_n_tensors(gguf); i++) {
        const size_t start = data + gguf_get_tensor_offset(gguf, i), end = start + gguf_get_tensor_size(gguf, i);
        assert_truncation_refused(bytes, start);
        assert_truncation_refused(bytes, start + 1);
        assert_truncation_refused(bytes, end - 1);
    }
    gguf_free(gguf);
    free(bytes);
}

static void test_not_a_model(void **state) {
    (void)state;
    static const char text[] = "This is a letter, not a model. It is longer than a GGUF header.";
    char *path = write_file("letter.txt", text, sizeof text);
    assert_refused(path, IFLOW_E_FORMAT, 0, "not a GGUF");
    free(path);
    path = write_file("empty.gguf", "", 0);
    assert_refused(path, IFLOW_E_FORMAT, 0, "not a GGUF");
    free(path);
    assert_refused(dir, IFLOW_E_FORMAT, IFLOW_E_IO, NULL);
    assert_refused("/nowhere/at/all.gguf", IFLOW_E_NOT_FOUND, 0, NULL);
}

static void test_unsupported(void **state) {
    (void)state;
    assert_refused(support_tiny_model("refuse-arch"), IFLOW_E_UNSUPPORTED, 0, "bloomish");
    assert_refused(support_tiny_model("refuse-arch"), IFLOW_E_UNSUPPORTED, 0, "qwen3"); /* and says what would do */
    assert_refused(support_tiny_model("refuse-moe"), IFLOW_E_UNSUPPORTED, 0, "experts");
    iflow_model *model = NULL;
    assert_int_equal(iflow_model_load(support_tiny_model("llama"), &(iflow_model_params){.device = "abacus"}, &model), IFLOW_E_UNSUPPORTED);
    assert_non_null(strstr(iflow_error_message(), "abacus"));
}

/* One metadata entry of a good model made bad, before the same tensors. */
static void assert_edit_refused(const char *model, void (*edit)(struct gguf_context *), iflow_status expected, const char *word) {
    const char *name = support_tiny_model(model);
    struct gguf_context *gguf = gguf_init_from_file(name, (struct gguf_init_params){.no_alloc = true});
    assert_non_null(gguf);
    size_t n = 0;
    char *bytes = read_file(name, &n), *path = iflow_format("%s/edited.gguf", dir);
    const size_t data = gguf_get_data_offset(gguf);
    edit(gguf);
    assert_true(gguf_write_to_file(gguf, path, true));
    gguf_free(gguf);
    FILE *file = fopen(path, "ab");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes + data, 1, n - data, file), n - data);
    assert_int_equal(fclose(file), 0);
    free(bytes);
    assert_refused(path, expected, 0, word);
    free(path);
}

static void no_layers(struct gguf_context *g) {
    gguf_remove_key(g, "llama.block_count");
}
static void text_for_number(struct gguf_context *g) {
    gguf_set_val_str(g, "llama.embedding_length", "many");
}
static void zero_heads(struct gguf_context *g) {
    gguf_set_val_u32(g, "llama.attention.head_count", 0);
}
static void odd_sharing(struct gguf_context *g) {
    gguf_set_val_u32(g, "llama.attention.head_count_kv", 3);
}
static void wider(struct gguf_context *g) {
    gguf_set_val_u32(g, "llama.feed_forward_length", 7);
}
static void deeper(struct gguf_context *g) {
    gguf_set_val_u32(g, "llama.block_count", 99);
}
static void longrope(struct gguf_context *g) {
    gguf_set_val_str(g, "llama.rope.scaling.type", "longrope");
}
static void no_tokenizer(struct gguf_context *g) {
    gguf_remove_key(g, "tokenizer.ggml.tokens");
}
static void few_tokens(struct gguf_context *g) {
    const char *token[] = {"a", "b"};
    gguf_set_arr_str(g, "tokenizer.ggml.tokens", token, 2);
}
static void short_types(struct gguf_context *g) {
    const int32_t type[] = {1, 1};
    gguf_set_arr_data(g, "tokenizer.ggml.token_type", GGUF_TYPE_INT32, type, 2);
}
static void no_epsilon(struct gguf_context *g) {
    gguf_remove_key(g, "llama.attention.layer_norm_rms_epsilon");
}

static void test_bad_metadata(void **state) {
    (void)state;
    static const struct {
        void (*edit)(struct gguf_context *);
        iflow_status expected;
        const char *word;
    } bad[] = {
        {no_layers, IFLOW_E_FORMAT, "llama.block_count"}, {text_for_number, IFLOW_E_FORMAT, "llama.embedding_length"},
        {zero_heads, IFLOW_E_FORMAT, "head_count"},       {odd_sharing, IFLOW_E_FORMAT, "share 3 KV heads"},
        {wider, IFLOW_E_FORMAT, "ffn_gate.weight"},       {deeper, IFLOW_E_FORMAT, "is missing"},
        {longrope, IFLOW_E_UNSUPPORTED, "longrope"},      {no_tokenizer, IFLOW_E_FORMAT, "tokenizer"},
        {few_tokens, IFLOW_E_FORMAT, "2 tokens"},         {short_types, IFLOW_E_FORMAT, "token_type"},
        {no_epsilon, IFLOW_E_FORMAT, "epsilon"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_edit_refused("llama", bad[i].edit, bad[i].expected, bad[i].word);
    }
}

/* Mapped or read, repacked or not: the same logits. */
static void test_ways_to_load(void **state) {
    (void)state;
    static const iflow_model_params way[] = {
        {0}, {.no_mmap = true}, {.no_repack = true}, {.no_mmap = true, .no_repack = true}, {.device = "cpu"}};
    static const char *const model_name[] = {"llama-mixed", "llama-untied", "qwen2-q4_0"};
    enum { N = 80 };
    for (size_t m = 0; m < 3; m++) {
        float *first = NULL;
        for (size_t i = 0; i < sizeof way / sizeof *way; i++) {
            iflow_model *model = NULL;
            iflow_context *ctx = NULL;
            assert_ok(iflow_model_load(support_tiny_model(model_name[m]), &way[i], &model));
            assert_ok(iflow_context_new(model, NULL, NULL, &ctx));
            int32_t token[N], pos[N];
            for (int k = 0; k < N; k++) {
                token[k] = k * 31 % model->n_vocab;
                pos[k] = k;
            }
            float *out = calloc((size_t)model->n_vocab, sizeof *out);
            assert_non_null(out);
            assert_ok(iflow_cache_reserve(&ctx->cache, N));
            assert_ok(iflow_engine_forward(ctx->engine, &ctx->cache.rows,
                                           &(iflow_pass){.token = token, .pos = pos, .row = pos, .n = N, .logits = true, .out = out}));
            const size_t n_vocab = (size_t)model->n_vocab;
            if (!first) {
                first = out;
            } else if (way[i].no_repack) { /* another kernel sums 4-bit products in another order */
                assert_true(support_max_difference(first, out, n_vocab) <= TOLERANCE_IDENTITY_Q4 * support_max_size(first, n_vocab));
                free(out);
            } else {
                assert_memory_equal(first, out, n_vocab * sizeof *out);
                free(out);
            }
            iflow_context_free(ctx);
            iflow_model_free(model);
        }
        free(first);
    }
}

/* The system message of a ChatML template's own, as the templates of Qwen2.5, SmolLM2 and Qwen3 have it or have none. */
static void test_own_system(void **state) {
    (void)state;
    static const struct {
        const char *template, *system;
    } cases[] = {
        {"{%- if tools %}{{- '<|im_start|>system\\n' }}{{- messages[0]['content'] }}{%- else %}{{- '<|im_start|>system\\n' + "
         "messages[0]['content'] "
         "+ '<|im_end|>\\n' }}{%- else %}{{- '<|im_start|>system\\nYou are Q. Be of help.<|im_end|>\\n' }}{%- endif %}",
         "You are Q. Be of help."},
        {"{% if messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nYou are S<|im_end|>\n' }}{% endif %}", "You are S"},
        {"{{ \"<|im_start|>system\\nIt's \\\"so\\\"\\n\\\\now<|im_end|>\" }}", "It's \"so\"\n\\now"},
        {"{{ '<|im_start|>system\\n' + messages[0].content + '<|im_end|>' }}", NULL},
        {"{{ '<|im_start|>system\\nnever closed' }}", NULL},
        {"{{ '<|im_start|>system\\n<|im_end|>' }}", NULL},
        {"{{ '<|im_start|>' + message['role'] }}", NULL},
        {"{{ '<|im_start|>system\\", NULL},
        {"<|im_start|>system", NULL},
        {"", NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *system = iflow_chat_own_system(cases[i].template);
        if (cases[i].system) {
            assert_non_null(system);
            assert_string_equal(system, cases[i].system);
        } else {
            assert_null(system);
        }
        free(system);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_truncation),   cmocka_unit_test(test_not_a_model),
                                       cmocka_unit_test(test_unsupported),  cmocka_unit_test(test_bad_metadata),
                                       cmocka_unit_test(test_ways_to_load), cmocka_unit_test(test_own_system)};
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
