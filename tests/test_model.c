/* test_model.c - bad model files: every one gives a status and a message that names the file, and none harms the process. */
#include "model/chat.h"
#include "model_fixture.h"
#include "tolerance.h"

#include <sys/stat.h>
#include <unistd.h>

static void assert_truncation_refused(const char *bytes, size_t n) {
    char *path = fixture_write(dir, "truncated.gguf", bytes, n);
    fixture_refused(path, IFLOW_E_FORMAT, 0, NULL);
    free(path);
}

/* A model cut off anywhere: inside the header, between and inside metadata entries, at both ends of every tensor. */
static void test_truncation(void **state) {
    (void)state;
    size_t n = 0;
    const char *name = support_tiny_model("qwen3");
    char *bytes = fixture_read(name, &n);
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

/* What people give as a model: the message says what it is, and what would be right. */
static void test_not_a_model(void **state) {
    (void)state;
#define TEXT(string) (string), sizeof(string) - 1
    static const struct {
        const char *name, *bytes;
        size_t n;
        const char *word, *advice;
    } given[] = {
        {"letter.txt", TEXT("This is a letter, not a model. It is longer than a GGUF header."), "not a GGUF", "give a model"},
        {"empty.gguf", TEXT(""), "is empty", "fetch it again"},
        {"one.gguf", TEXT("G"), "not a GGUF", NULL},
        {"four.gguf", TEXT("GGUF"), "truncated", "fetch it again"},
        {"pointer.gguf", TEXT("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 987654321\n"), "git-lfs pointer",
         "git lfs pull"},
        {"page.gguf", TEXT("\n<!DOCTYPE HTML>\n<html><body>Not found</body></html>"), "an HTML page", "resolve"},
        {"page2.gguf", TEXT("\xef\xbb\xbf<html lang=en>"), "an HTML page", NULL},
        {"denied.gguf", TEXT("<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code></Error>"), "an XML page", NULL},
        {"index.json", TEXT("{\"error\": \"Invalid username or password.\"}"), "a JSON text", NULL},
        {"m.safetensors", TEXT("\x10\0\0\0\0\0\0\0{\"a\":{}}        "), "a safetensors file", "convert_hf_to_gguf.py"},
        {"m.pth", TEXT("PK\x03\x04\0\0"), "PyTorch", "convert"},
        {"m.gguf.gz", TEXT("\x1f\x8b\x08\0"), "gzip", "unpack"},
        {"ggml.bin", TEXT("tjgg\x03\0\0\0\0\0\0\0"), "before GGUF", "convert"},
        {"big.gguf", TEXT("GGUF\0\0\0\x03\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x01"), "big-endian", NULL},
        {"v1.gguf", TEXT("GGUF\x01\0\0\0\0\0\0\0\0\0\0\0"), "version 1", NULL},
        {"v9.gguf", TEXT("GGUF\x09\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"), "version 9", "newer ggml"},
        {"zeros.gguf", TEXT("\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"), "not a GGUF", NULL},
        {"none.gguf", TEXT("GGUF\x03\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"), "general.architecture", NULL},
    };
#undef TEXT
    for (size_t i = 0; i < sizeof given / sizeof *given; i++) {
        char *path = fixture_write(dir, given[i].name, given[i].bytes, given[i].n);
        fixture_refused(path, IFLOW_E_FORMAT, 0, given[i].word);
        assert_true(!given[i].advice || strstr(iflow_error_message(), given[i].advice));
        free(path);
    }
    fixture_refused("/nowhere/at/all.gguf", IFLOW_E_NOT_FOUND, 0, NULL);
}

/* No file at all: nothing waits and nothing is read. */
static void test_not_a_file(void **state) {
    (void)state;
    char *path = iflow_format("%s/pipe.gguf", dir), *models = iflow_format("%s/models", dir);
    assert_int_equal(mkfifo(path, 0600), 0);
    alarm(60); /* who waits for a pipe ends */
    fixture_refused(path, IFLOW_E_FORMAT, 0, "a pipe");
    alarm(0);
    fixture_refused("/dev/zero", IFLOW_E_FORMAT, 0, "a device");
    fixture_refused("/dev/null", IFLOW_E_FORMAT, 0, "a device");
    assert_int_equal(mkdir(models, 0700), 0);
    fixture_refused(models, IFLOW_E_FORMAT, 0, "a directory");
    free(fixture_write(models, "config.json", "{}", 2));
    fixture_refused(models, IFLOW_E_FORMAT, 0, "Hugging Face");
    free(fixture_write(models, "b.gguf", "", 0));
    free(fixture_write(models, "a.GGUF", "", 0));
    fixture_refused(models, IFLOW_E_FORMAT, 0, "such as a.GGUF");
    iflow_model *model = NULL;
    assert_int_equal(iflow_model_load(NULL, NULL, &model), IFLOW_E_ARG);
    assert_int_equal(iflow_model_load(path, NULL, NULL), IFLOW_E_ARG);
    free(path);
    free(models);
}

static void test_unsupported(void **state) {
    (void)state;
    fixture_refused(support_tiny_model("refuse-arch"), IFLOW_E_UNSUPPORTED, 0, "bloomish");
    fixture_refused(support_tiny_model("refuse-arch"), IFLOW_E_UNSUPPORTED, 0, "qwen3"); /* and says what would do */
    fixture_refused(support_tiny_model("refuse-moe"), IFLOW_E_UNSUPPORTED, 0, "experts");
    iflow_model *model = NULL;
    assert_int_equal(iflow_model_load(support_tiny_model("llama"), &IFLOW_PARAMS(iflow_model_params, .device = "abacus"), &model),
                     IFLOW_E_UNSUPPORTED);
    assert_non_null(strstr(iflow_error_message(), "abacus"));
}

/* One metadata entry of a good model made bad, before the same tensors. */
static void assert_edit_refused(const char *model, void (*edit)(struct gguf_context *), iflow_status expected, const char *word) {
    const char *name = support_tiny_model(model);
    struct gguf_context *gguf = gguf_init_from_file(name, (struct gguf_init_params){.no_alloc = true});
    assert_non_null(gguf);
    size_t n = 0;
    char *bytes = fixture_read(name, &n), *path = iflow_format("%s/edited.gguf", dir);
    const size_t data = gguf_get_data_offset(gguf);
    edit(gguf);
    assert_true(gguf_write_to_file(gguf, path, true));
    gguf_free(gguf);
    FILE *file = fopen(path, "ab");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes + data, 1, n - data, file), n - data);
    assert_int_equal(fclose(file), 0);
    free(bytes);
    fixture_refused(path, expected, 0, word);
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
static void other_tokenizer(struct gguf_context *g) {
    gguf_set_val_str(g, "tokenizer.ggml.model", "none");
}
static void white_space_only(struct gguf_context *g) {
    gguf_set_val_str(g, "tokenizer.ggml.pre", "whitespace");
}
static void same_token(struct gguf_context *g) {
    const int64_t id = gguf_find_key(g, "tokenizer.ggml.tokens");
    const size_t n = gguf_get_arr_n(g, id);
    const char **token = calloc(n, sizeof *token);
    for (size_t i = 0; i < n; i++) {
        token[i] = strdup(gguf_get_arr_str(g, id, i));
    }
    free((void *)token[n - 1]);
    token[n - 1] = strdup(token[7]);
    gguf_set_arr_str(g, "tokenizer.ggml.tokens", token, n);
    for (size_t i = 0; i < n; i++) {
        free((void *)token[i]);
    }
    free(token);
}
static void no_epsilon(struct gguf_context *g) {
    gguf_remove_key(g, "llama.attention.layer_norm_rms_epsilon");
}

static void experts(struct gguf_context *g) {
    gguf_set_val_u32(g, "llama.expert_count", 4);
}
static void short_pattern(struct gguf_context *g) {
    gguf_set_arr_data(g, "gemma3.attention.sliding_window_pattern", GGUF_TYPE_BOOL, (const int8_t[]){1, 1}, 2);
}
static void no_period(struct gguf_context *g) {
    gguf_set_val_u32(g, "gemma3.attention.sliding_window_pattern", 0);
}
static void half_a_window(struct gguf_context *g) {
    gguf_set_val_f32(g, "gemma3.attention.sliding_window", 0.5F);
}
static void soft_cap(struct gguf_context *g) {
    gguf_set_val_f32(g, "gemma3.attn_logit_softcapping", 50);
}
static void sections(struct gguf_context *g) {
    gguf_set_arr_data(g, "gemma3.rope.dimension_sections", GGUF_TYPE_INT32, (const int32_t[]){4, 4, 4, 4}, 4);
}
static void yarn_and_windows(struct gguf_context *g) {
    gguf_set_val_str(g, "gemma3.rope.scaling.type", "yarn");
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
        {no_epsilon, IFLOW_E_FORMAT, "epsilon"},          {same_token, IFLOW_E_FORMAT, "tokens 7 and"},
        {other_tokenizer, IFLOW_E_UNSUPPORTED, "'none'"}, {white_space_only, IFLOW_E_UNSUPPORTED, "'whitespace'"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_edit_refused("llama", bad[i].edit, bad[i].expected, bad[i].word);
    }
    assert_edit_refused("llama", experts, IFLOW_E_UNSUPPORTED, "4 experts");
    assert_edit_refused("gemma3", short_pattern, IFLOW_E_FORMAT, "array of 6 flags");
    assert_edit_refused("gemma3", no_period, IFLOW_E_FORMAT, "sliding_window_pattern");
    assert_edit_refused("gemma3", half_a_window, IFLOW_E_FORMAT, "window of 0.5");
    assert_edit_refused("gemma3", soft_cap, IFLOW_E_UNSUPPORTED, "gemma3.attn_logit_softcapping");
    assert_edit_refused("gemma3", sections, IFLOW_E_UNSUPPORTED, "gemma3.rope.dimension_sections");
    assert_edit_refused("gemma3", yarn_and_windows, IFLOW_E_UNSUPPORTED, "YaRN");
}

static uint64_t random_state;

static size_t random_below(size_t n) {
    random_state = random_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (size_t)(random_state >> 33) % n;
}

/* Changes some bytes before the tensors' data: one byte, one bit, or a number that is odd. */
static void mutate(char *bytes, size_t n) {
    static const uint64_t odd[] = {0, 1, 2, UINT64_MAX, UINT64_C(1) << 31, UINT64_C(1) << 32, UINT64_C(1) << 62, INT32_MAX, UINT32_MAX};
    for (size_t k = 1 + random_below(3); k > 0; k--) {
        size_t at = random_below(3) ? random_below(n - 8) : n - 8 - random_below(4000); /* the tensors' descriptions stand at the end */
        switch (random_below(4)) {
        case 0:
            bytes[at] = (char)random_below(256);
            break;
        case 1:
            bytes[at] ^= (char)(1 << random_below(8));
            break;
        case 2:
            memcpy(bytes + at, &odd[random_below(sizeof odd / sizeof *odd)], 4);
            break;
        default:
            memcpy(bytes + at, &odd[random_below(sizeof odd / sizeof *odd)], 8);
        }
    }
}

/* Metadata with random changes is refused or used; ggml and libllama, which trust files, are not led astray. */
static void test_mutations(void **state) {
    (void)state;
    static const char *const names[] = {"llama", "qwen3", "gemma3"};
    static const char text[] = "Hello the 123 world\n\n  \xc3\xa9\xe6\xbc\xa2 <|im_start|>user 'nd ==";
    for (size_t m = 0; m < sizeof names / sizeof *names; m++) {
        size_t n = 0, n_loaded = 0;
        char *good = fixture_read(support_tiny_model(names[m]), &n), *bytes = malloc(n);
        struct gguf_context *gguf = gguf_init_from_file(support_tiny_model(names[m]), (struct gguf_init_params){.no_alloc = true});
        const size_t data = gguf_get_data_offset(gguf);
        gguf_free(gguf);
        for (uint64_t seed = 0; seed < 200; seed++) {
            random_state = seed;
            memcpy(bytes, good, n);
            mutate(bytes, data);
            char *path = fixture_write(dir, "mutated.gguf", bytes, n);
            iflow_chat chat = {0};
            iflow_model *model = NULL;
            if (!iflow_model_load(path, &IFLOW_PARAMS(iflow_model_params, .cache_dir = "", .no_mmap = seed % 2), &model)) {
                int32_t *token = NULL;
                size_t n_tokens = 0;
                n_loaded++;
                if (!iflow_tokenize(model, text, sizeof text - 1, seed % 2, &token, &n_tokens)) {
                    char *back = NULL;
                    if (!iflow_detokenize(model, token, n_tokens, &back)) {
                        free(back);
                    }
                    free(token);
                }
                const iflow_message message[] = {{"system", "You answer."}, {"user", "Who?"}};
                if (!iflow_chat_render(model, message, 2, &chat)) {
                    iflow_chat_free(&chat);
                }
                iflow_model_free(model);
            }
            free(path);
        }
        assert_true(n_loaded > 0 && n_loaded < 200);
        free(bytes);
        free(good);
    }
}

/* Mapped or read, repacked or not: the same logits. */
static void test_ways_to_load(void **state) {
    (void)state;
    enum { SIZE = sizeof(iflow_model_params) };
    static const iflow_model_params way[] = {{.size = SIZE},
                                             {.size = SIZE, .no_mmap = true},
                                             {.size = SIZE, .no_repack = true},
                                             {.size = SIZE, .no_mmap = true, .no_repack = true},
                                             {.size = SIZE, .device = "cpu"}};
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
            assert_ok(iflow_seq_reserve(&ctx->timeline.seq, N));
            assert_ok(iflow_seq_forward(&ctx->timeline.seq,
                                        &(iflow_pass){.token = token, .order = pos, .row = pos, .n = N, .logits = true, .out = out}));
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
                                       cmocka_unit_test(test_not_a_file),   cmocka_unit_test(test_unsupported),
                                       cmocka_unit_test(test_bad_metadata), cmocka_unit_test(test_ways_to_load),
                                       cmocka_unit_test(test_mutations),    cmocka_unit_test(test_own_system)};
    return cmocka_run_group_tests(tests, fixture_make_dir, fixture_remove_dir);
}
