/* test_tokenizer.c - any text on any stack: libllama's own tokens, or a status and a message. */
#include "model_fixture.h"

#include "model/stack.h"

#include <llama.h>
#include <pthread.h>
#include <time.h>
#include <unistd.h>

/* A tiny model with another pre-tokenizer (NULL: its own) or kind of tokenizer (NULL: its own). */
static iflow_model *load_with(const char *pre, const char *kind) {
    const char *name = support_tiny_model("llama");
    struct gguf_context *gguf = gguf_init_from_file(name, (struct gguf_init_params){.no_alloc = true});
    assert_non_null(gguf);
    size_t n = 0;
    char *bytes = fixture_read(name, &n), *path = iflow_format("%s/edited.gguf", dir);
    const size_t data = gguf_get_data_offset(gguf);
    if (pre) {
        gguf_set_val_str(gguf, "tokenizer.ggml.pre", pre);
    }
    if (kind) {
        gguf_set_val_str(gguf, "tokenizer.ggml.model", kind);
    }
    assert_true(gguf_write_to_file(gguf, path, true));
    gguf_free(gguf);
    FILE *file = fopen(path, "ab");
    assert_int_equal(fwrite(bytes + data, 1, n - data, file), n - data);
    assert_int_equal(fclose(file), 0);
    iflow_model *model = NULL;
    assert_ok(iflow_model_load(path, &IFLOW_PARAMS(iflow_model_params, .cache_dir = ""), &model));
    free(bytes);
    free(path);
    return model;
}

/* One text tokenised, and what came of it. */
typedef struct job {
    const iflow_model *model;
    const char *text;
    size_t n_bytes;
    bool parse_special, directly; /* directly: libllama itself */
    int32_t *token;
    size_t n;
    iflow_status status;
} job;

static void *run_job(void *user) {
    job *j = user;
    if (j->directly) {
        j->token = calloc(j->n_bytes + 16, sizeof *j->token);
        const int32_t n = llama_tokenize(llama_model_get_vocab(j->model->vocab), j->text, (int32_t)j->n_bytes, j->token,
                                         (int32_t)j->n_bytes + 16, false, j->parse_special);
        j->n = n < 0 ? 0 : (size_t)n;
        j->status = n < 0 ? IFLOW_E_FORMAT : IFLOW_OK;
    } else {
        j->status = iflow_tokenize(j->model, j->text, j->n_bytes, j->parse_special, &j->token, &j->n);
    }
    return NULL;
}

/* Runs in a thread with so much stack. */
static void run_in_thread(job *j, size_t n_stack) {
    pthread_attr_t attributes;
    pthread_t thread;
    assert_int_equal(pthread_attr_init(&attributes), 0);
    assert_int_equal(pthread_attr_setstacksize(&attributes, n_stack), 0);
    assert_int_equal(pthread_create(&thread, &attributes, run_job, j), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    pthread_attr_destroy(&attributes);
}

/* A text's tokens on a small stack are those that libllama gives on one that is large enough for anything here. */
static void assert_same_tokens(const iflow_model *model, const char *text, size_t n_bytes, bool parse_special, const char *what) {
    job ours = {.model = model, .text = text, .n_bytes = n_bytes, .parse_special = parse_special}, theirs = ours;
    theirs.directly = true;
    run_in_thread(&ours, 512 << 10);
    run_in_thread(&theirs, (size_t)256 << 20);
    if (ours.status || theirs.status || ours.n != theirs.n || memcmp(ours.token, theirs.token, ours.n * sizeof *ours.token) != 0) {
        fail_msg("%s: %zu tokens (status %d), libllama has %zu", what, ours.n, (int)ours.status, theirs.n);
    }
    free(ours.token);
    free(theirs.token);
}

static const char *const pres[] = {"tekken", "deepseek-llm", "deepseek-coder", "deepseek-v3", "gpt-4o",   "llama-bpe",
                                   "qwen2",  "smollm",       "gpt-2",          "default",     "falcon",   "bloom",
                                   "youtu",  "tiny_aya",     "kimi-k2",        "bailingmoe",  "superbpe", "seed-coder",
                                   "afmoe",  "exaone-moe",   "viking",         "jais-2",      "qwen35",   "minicpm5"};

/* Units of which the texts are made, a run of each or all mixed. */
static const char *const units[] = {"=",
                                    "-",
                                    "a",
                                    "A",
                                    "7",
                                    " ",
                                    "\n",
                                    "\t",
                                    " \n",
                                    "/",
                                    "'s",
                                    "\xe5\xad\x97",
                                    "\xf0\x9f\x98\x80",
                                    "\xc3\xa9",
                                    "e\xcc\x81",
                                    "\xd0\x96",
                                    "\xc2\xa0",
                                    "\xe3\x80\x80",
                                    "a ",
                                    "word ",
                                    ".",
                                    "\r\n",
                                    "in",
                                    "the ",
                                    "<|im_end|>",
                                    "x,"};
enum { N_UNITS = sizeof units / sizeof *units };

static uint64_t random_state;

static size_t random_below(size_t n) {
    random_state = random_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (size_t)(random_state >> 33) % n;
}

/* Runs of random units and lengths; free(text->text). */
static void random_text(iflow_buffer *text, size_t n_runs, size_t longest) {
    assert_ok(iflow_buffer_add(text, "", 0));
    for (size_t i = 0; i < n_runs; i++) {
        const char *unit = units[random_below(N_UNITS)];
        for (size_t k = random_below(4) ? random_below(5) : random_below(longest); k > 0; k--) {
            assert_ok(iflow_buffer_add(text, unit, strlen(unit)));
        }
    }
}

/* Many short texts, and some with runs that end the stack of the thread, with every way to split that libllama has. */
static void test_same_tokens(void **state) {
    (void)state;
    for (size_t p = 0; p < sizeof pres / sizeof *pres; p++) {
        iflow_model *model = load_with(pres[p], NULL);
        for (int i = 0; i < 14; i++) {
            iflow_buffer text = {0};
            random_state = (uint64_t)i;
            random_text(&text, 1 + random_below(30), i % 7 ? 40 : 3000);
            assert_same_tokens(model, text.text, text.n, i % 2, pres[p]);
            iflow_buffer_free(&text);
        }
        iflow_model_free(model);
    }
}

/* The tokenizers of all test models, as they are. */
static void test_models(void **state) {
    (void)state;
    static const char *const names[] = {"llama", "llama-3", "qwen2", "qwen3", "gemma3", "gemma3-256"};
    for (size_t m = 0; m <= sizeof names / sizeof *names; m++) {
        const char *path = m ? support_tiny_model(names[m - 1]) : support_env("INFOFLOW_SMOLLM2");
        iflow_model *model = NULL;
        assert_ok(iflow_model_load(path, NULL, &model));
        for (int i = 0; i < 40; i++) {
            iflow_buffer text = {0};
            random_state = (uint64_t)i + 1000;
            random_text(&text, 1 + random_below(60), 500);
            assert_same_tokens(model, text.text, text.n, i % 2, path);
            iflow_buffer_free(&text);
        }
        iflow_model_free(model);
    }
}

/* A run of one unit, far longer than any stack, whatever it is: the tokens, in seconds. */
static void test_long_runs(void **state) {
    (void)state;
    enum { N = 20000 };
    static const char *const splits[] = {"tekken", "deepseek-llm", "deepseek-coder", "gpt-4o", "exaone-moe"};
    char *text = malloc(1000001);
    for (size_t p = 0; p < sizeof splits / sizeof *splits; p++) {
        iflow_model *model = load_with(splits[p], NULL);
        for (size_t u = p % 3; u < N_UNITS; u += 3) {
            size_t n = 0;
            while (n < N) {
                memcpy(text + n, units[u], strlen(units[u]));
                n += strlen(units[u]);
            }
            text[n++] = 'x';
            job ours = {.model = model, .text = text, .n_bytes = n};
            const double start = iflow_now_ms();
            run_in_thread(&ours, 512 << 10);
            assert_int_equal(ours.status, IFLOW_OK);
            assert_true(ours.n > 0);
            assert_true(iflow_now_ms() - start < 20000);
            char *back = NULL; /* nothing is lost: the vocabulary has all bytes */
            assert_ok(iflow_detokenize(model, ours.token, ours.n, &back));
            assert_int_equal(strlen(back), n);
            assert_memory_equal(back, text, n);
            free(back);
            free(ours.token);
        }
        if (p == 0) { /* and a million */
            memset(text, '=', 1000000);
            job ours = {.model = model, .text = text, .n_bytes = 1000000};
            run_in_thread(&ours, 512 << 10);
            assert_int_equal(ours.status, IFLOW_OK);
            free(ours.token);
        }
        iflow_model_free(model);
    }
    free(text);
}

static void *run_cut(void *user) {
    job *j = user;
    iflow_pieces *pieces = NULL;
    j->status = iflow_cut(j->model, j->text, j->n_bytes, 256, &pieces);
    j->n = j->status ? 0 : pieces->piece[pieces->n_pieces - 1].byte_end;
    iflow_pieces_free(pieces);
    return NULL;
}

/* Long lines are cut where they must be, in a thread with little stack. */
static void test_cut(void **state) {
    (void)state;
    static const char *const line[] = {"=", "abcdef", " ", "\xe5\xad\x97"};
    enum { N = 12000 };
    char *text = malloc(N + 16);
    iflow_model *model = load_with("tekken", NULL);
    for (size_t i = 0; i < sizeof line / sizeof *line; i++) {
        size_t n = 0;
        for (; n < N; n += strlen(line[i])) {
            memcpy(text + n, line[i], strlen(line[i]));
        }
        text[n++] = 'x';
        job j = {.model = model, .text = text, .n_bytes = n};
        pthread_attr_t attributes;
        pthread_t thread;
        assert_int_equal(pthread_attr_init(&attributes), 0);
        assert_int_equal(pthread_attr_setstacksize(&attributes, 512 << 10), 0);
        assert_int_equal(pthread_create(&thread, &attributes, run_cut, &j), 0);
        assert_int_equal(pthread_join(thread, NULL), 0);
        pthread_attr_destroy(&attributes);
        assert_int_equal(j.status, IFLOW_OK);
        assert_int_equal(j.n, n);
    }
    iflow_model_free(model);
    free(text);
}

/* Texts that cannot be tokenised: a status, and the caller goes on. */
static void test_refused(void **state) {
    (void)state;
    int32_t *token = NULL;
    size_t n = 0;
    iflow_model *model = load_with("superbpe", NULL);
    char *digits = malloc(1000001);
    memset(digits, '5', 1000000);
    digits[1000000] = '\0';
    assert_int_equal(iflow_tokenize(model, digits, 1000000, false, &token, &n), IFLOW_E_UNSUPPORTED);
    assert_non_null(strstr(iflow_error_message(), "1000000 digits"));
    assert_int_equal(iflow_tokenize(model, NULL, 1, false, &token, &n), IFLOW_E_ARG);
    assert_int_equal(iflow_tokenize(NULL, "a", 1, false, &token, &n), IFLOW_E_ARG);
    assert_int_equal(iflow_detokenize(model, NULL, 1, &digits), IFLOW_E_ARG);
    assert_ok(iflow_tokenize(model, NULL, 0, false, &token, &n));
    assert_int_equal(n, 0);
    free(token);
    token = NULL;
    free(digits);
    iflow_model_free(model);

    /* A stack that is not to be had: of more than the memory holds, and of more than there are addresses. */
    const size_t n_memory = (size_t)sysconf(_SC_PHYS_PAGES) * (size_t)sysconf(_SC_PAGESIZE), n_text = n_memory / 512;
    model = load_with("tekken", NULL);
    char *text = n_text < (size_t)512 << 20 ? malloc(n_text) : NULL;
    if (text) {
        memset(text, '=', n_text);
        assert_int_equal(iflow_tokenize(model, text, n_text, false, &token, &n), IFLOW_E_UNSUPPORTED);
        assert_non_null(strstr(iflow_error_message(), "line ends or spaces"));
        assert_null(token);
        free(text);
    }
    iflow_model_free(model);
    assert_int_equal(iflow_on_stack(SIZE_MAX / 8, NULL, NULL), IFLOW_E_MEMORY);
    assert_int_equal(iflow_on_stack(SIZE_MAX, NULL, NULL), IFLOW_E_MEMORY);
}

/* libllama throws for a byte that a vocabulary of SentencePiece's kind has no token for. */
static void test_exceptions(void **state) {
    (void)state;
    int32_t *token = NULL;
    size_t n = 0;
    iflow_model *model = load_with(NULL, "llama");
    assert_int_equal(iflow_tokenize(model, "\x01 odd \x7f", 7, false, &token, &n), IFLOW_E_FORMAT);
    assert_non_null(strstr(iflow_error_message(), "libllama cannot tokenise"));
    assert_null(token);
    iflow_model_free(model);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_same_tokens), cmocka_unit_test(test_models),
                                       cmocka_unit_test(test_long_runs),   cmocka_unit_test(test_cut),
                                       cmocka_unit_test(test_refused),     cmocka_unit_test(test_exceptions)};
    return cmocka_run_group_tests(tests, fixture_make_dir, fixture_remove_dir);
}
