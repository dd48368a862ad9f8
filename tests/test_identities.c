/* test_identities.c - what must hold whatever the numbers are, on a real model: ratio 1 is full prefill, ratio 0 is no recompute, slices
 * are one pass, order and back is no change, a stored chunk is the computed one, any settings give the same file. */
#include "flow/prompt.h"
#include "support.h"
#include "tolerance.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static iflow_model *model; /* under test: each of these in turn */
static double tolerance;
static const char *const f32_models[] = {"llama-gqa", "llama-3", "llama-yarn", "qwen2", "qwen3"};

static const char *const document[] = {
    "The Meridian lighthouse stands on the island of Tarn. It was designed by the engineer Clara Voss and lit for the first time in 1887. "
    "Its lamp burned whale oil until 1921, when a cable from the mainland was laid.",
    "Clara Voss was born in Eldermoor in 1849. She studied mathematics, built seven bridges and one lighthouse, and kept a diary in which "
    "every storm of her life is described. The diary is kept in the town library.",
    "The library of Eldermoor was founded by a brewer. It holds forty thousand volumes, a collection of maps, and the papers of three "
    "engineers. On winter evenings it stays open until ten, and readers are given tea.",
};
enum { N_DOCUMENTS = 3 };
static const char question[] = "Where is the diary of the engineer who designed the Meridian lighthouse kept?";

static iflow_context *make_context(iflow_store *store, int n_ubatch, int n_threads, const int order[N_DOCUMENTS]) {
    iflow_context *ctx = NULL;
    assert_ok(
        iflow_context_new(model, store, &(iflow_context_params){.n_ubatch = n_ubatch, .n_threads = n_threads, .chunk_tokens = 64}, &ctx));
    for (int i = 0; i < N_DOCUMENTS; i++) {
        const char *text = document[order ? order[i] : i];
        assert_ok(iflow_context_add_text(ctx, text, strlen(text), 0));
    }
    return ctx;
}

/* Asks, and gives the logits of the prompt's last token. */
static float *ask(iflow_context *ctx, iflow_method method, double ratio, iflow_answer **answer) {
    iflow_ask_params params = iflow_ask_default_params();
    params.question = question;
    params.method = method;
    params.ratio = ratio;
    params.max_tokens = 16;
    assert_ok(iflow_context_ask(ctx, &params, answer));
    iflow_prompt prompt;
    assert_ok(iflow_prompt_make(model, &params, &prompt));
    float *logits = support_logits(ctx, prompt.prompt.token[prompt.prompt.n - 1], (int)((*answer)->n_context + (*answer)->n_prompt));
    iflow_prompt_free(&prompt);
    return logits;
}

static void assert_same_answer(const iflow_answer *a, const iflow_answer *b) {
    assert_int_equal(a->n_generated, b->n_generated);
    assert_memory_equal(a->token, b->token, a->n_generated * sizeof *a->token);
}

static void assert_close(const float *a, const float *b) {
    const size_t n = (size_t)model->n_vocab;
    const double scale = support_max_size(a, n), difference = support_max_difference(a, b, n);
    print_message("%s: largest difference of logits %.2g of %.3g\n", strrchr(model->path, '/') + 1, difference, scale);
    assert_true(difference <= tolerance * scale);
}

static void test_ratio_1_is_full(void **state) {
    (void)state;
    iflow_context *ctx = make_context(NULL, 0, 0, NULL);
    iflow_answer *full = NULL, *all = NULL, *none = NULL;
    float *a = ask(ctx, IFLOW_METHOD_FULL, 0, &full), *b = ask(ctx, IFLOW_METHOD_INFOFLOW, 1, &all),
          *c = ask(ctx, IFLOW_METHOD_NONE, 0, &none);
    assert_int_equal(all->n_recomputed, all->n_context - (size_t)all->chunk[0].length);
    assert_close(a, b);
    if (tolerance == TOLERANCE_IDENTITY_F32) {
        assert_same_answer(full, all);
    } else { /* as far as 4-bit arithmetic decides it: the first token, whose logits were just compared */
        assert_true(full->n_generated > 0 && all->n_generated > 0 && full->token[0] == all->token[0]);
    }
    /* And it repaired something: without recompute the logits are far away. */
    const size_t n = (size_t)model->n_vocab;
    assert_true(support_max_difference(a, c, n) > 2 * support_max_difference(a, b, n));
    assert_true(support_max_difference(a, c, n) > tolerance * support_max_size(a, n));
    free(a), free(b), free(c);
    iflow_answer_free(full), iflow_answer_free(all), iflow_answer_free(none);
    iflow_context_free(ctx);
}

/* CacheBlend with every token selected recomputes all of layers 1 up from a fresh layer 0: full prefill again. */
static void test_cacheblend_1_is_full(void **state) {
    (void)state;
    iflow_context *ctx = make_context(NULL, 0, 0, NULL);
    iflow_answer *full = NULL, *all = NULL;
    float *a = ask(ctx, IFLOW_METHOD_FULL, 0, &full), *b = ask(ctx, IFLOW_METHOD_CACHEBLEND, 1, &all);
    assert_int_equal(all->n_recomputed, all->n_context - (size_t)all->chunk[0].length);
    assert_close(a, b);
    free(a), free(b);
    iflow_answer_free(full), iflow_answer_free(all);
    iflow_context_free(ctx);
}

/* Answers forced to what was generated have the logits that it was generated by. */
static void test_forced_is_generated(void **state) {
    (void)state;
    iflow_context *ctx = make_context(NULL, 0, 0, NULL);
    iflow_ask_params params = iflow_ask_default_params();
    params.question = question;
    params.max_tokens = 8;
    params.keep_logits = true;
    iflow_answer *free_running = NULL, *forced = NULL, *other = NULL;
    assert_ok(iflow_context_ask(ctx, &params, &free_running));
    params.forced = free_running->token;
    params.n_forced = free_running->n_generated;
    assert_ok(iflow_context_ask(ctx, &params, &forced));
    assert_same_answer(free_running, forced);
    const size_t n = (size_t)model->n_vocab;
    assert_memory_equal(free_running->logits, forced->logits, free_running->n_generated * n * sizeof *forced->logits);
    for (size_t i = 0; i < free_running->n_generated; i++) {
        assert_int_equal(support_argmax(free_running->logits + i * n, n), free_running->token[i]);
    }
    params.n_forced = 9;
    assert_int_equal(iflow_context_ask(ctx, &params, &other), IFLOW_E_ARG);
    params.forced = (const int32_t[]){model->n_vocab};
    params.n_forced = 1;
    assert_int_equal(iflow_context_ask(ctx, &params, &other), IFLOW_E_ARG);
    iflow_answer_free(free_running), iflow_answer_free(forced);
    iflow_context_free(ctx);
}

/* A replayed answer has the logits that it was generated by, as far as one pass of many tokens equals many of one, and the conversation
 * goes on from it as from the answer itself. */
static void test_replay_is_generated(void **state) {
    (void)state;
    iflow_context *ctx = make_context(NULL, 0, 0, NULL);
    iflow_ask_params params = iflow_ask_default_params();
    params.question = question;
    params.max_tokens = 8;
    params.keep_logits = true;
    iflow_answer *answer = NULL, *next = NULL, *again = NULL;
    const size_t n_vocab = (size_t)model->n_vocab;
    float *logits = calloc(9 * n_vocab, sizeof *logits);
    assert_non_null(logits);
    assert_int_equal(iflow_context_replay(ctx, &(int32_t){0}, 1, logits), IFLOW_E_ARG); /* nothing was asked */
    assert_ok(iflow_context_ask(ctx, &params, &answer));
    assert_int_equal(iflow_context_replay(ctx, answer->token, 0, logits), IFLOW_E_ARG);
    assert_int_equal(iflow_context_replay(ctx, &(int32_t){model->n_vocab}, 1, logits), IFLOW_E_ARG);
    assert_ok(iflow_context_follow_up(ctx, &params, &next));
    assert_ok(iflow_context_replay(ctx, next->token, next->n_generated, logits));
    for (size_t i = 0; i < next->n_generated * n_vocab; i += n_vocab) {
        assert_close(next->logits + i, logits + i);
    }
    iflow_answer_free(next), next = NULL;
    iflow_answer_free(answer), answer = NULL;
    assert_ok(iflow_context_ask(ctx, &params, &answer));
    const int32_t other[2] = {answer->token[0] ? 0 : 1, 2};
    assert_ok(iflow_context_replay(ctx, other, 2, logits));
    assert_memory_equal(answer->logits, logits, n_vocab * sizeof *logits); /* nothing that could tell them apart came before it */
    assert_true(answer->n_generated < 2 || support_max_difference(answer->logits + n_vocab, logits + n_vocab, n_vocab) > 0);
    assert_ok(iflow_context_replay(ctx, answer->token, answer->n_generated, logits));
    assert_ok(iflow_context_follow_up(ctx, &params, &next));
    assert_ok(iflow_context_replay(ctx, other, 2, logits));
    iflow_answer_free(answer), answer = NULL;
    assert_ok(iflow_context_ask(ctx, &params, &answer));
    assert_ok(iflow_context_follow_up(ctx, &params, &again));
    assert_close(again->logits, next->logits);
    free(logits);
    iflow_answer_free(answer), iflow_answer_free(next), iflow_answer_free(again);
    iflow_context_free(ctx);
}

/* The reordered context is the chunks in another order: asking over them in that order gives the same. */
static void test_reordered_is_that_order(void **state) {
    (void)state;
    iflow_context *ctx = make_context(NULL, 0, 0, NULL);
    iflow_ask_params params = iflow_ask_default_params();
    params.question = question;
    params.max_tokens = 8;
    params.reorder = true;
    iflow_answer *reordered = NULL, *plain = NULL;
    assert_ok(iflow_context_ask(ctx, &params, &reordered));
    iflow_context *copy = make_context(NULL, 0, 0, NULL);
    iflow_context_clear(copy);
    for (size_t i = 1; i < reordered->n_chunks; i++) {
        const iflow_context_chunk *chunk = &ctx->chunk[reordered->chunk[i].index - 1];
        assert_string_equal(chunk->id, reordered->chunk[i].id);
        assert_ok(iflow_context_add_tokens(copy, chunk->token, chunk->n_tokens));
    }
    params.reorder = false;
    assert_ok(iflow_context_ask(copy, &params, &plain));
    assert_same_answer(reordered, plain);
    assert_int_equal(reordered->n_selected, plain->n_selected);
    assert_memory_equal(reordered->selected, plain->selected, plain->n_selected * sizeof *plain->selected);
    assert_memory_equal(reordered->context_token, plain->context_token, plain->n_context * sizeof *plain->context_token);
    for (size_t i = 1; i + 1 < plain->n_chunks; i++) { /* and shares of the second look are free, but no token is lost */
        assert_int_equal(plain->chunk[i].start + plain->chunk[i].length, plain->chunk[i + 1].start);
    }
    iflow_answer_free(reordered), iflow_answer_free(plain);
    iflow_context_free(ctx);
    iflow_context_free(copy);
}

static void test_ratio_0_is_none(void **state) {
    (void)state;
    iflow_context *ctx = make_context(NULL, 0, 0, NULL);
    iflow_answer *none = NULL, *zero = NULL;
    float *a = ask(ctx, IFLOW_METHOD_NONE, 0.5, &none), *b = ask(ctx, IFLOW_METHOD_INFOFLOW, 0, &zero);
    assert_int_equal(zero->n_recomputed, 0);
    assert_memory_equal(a, b, (size_t)model->n_vocab * sizeof *a);
    assert_same_answer(none, zero);
    free(a), free(b);
    iflow_answer_free(none), iflow_answer_free(zero);
    iflow_context_free(ctx);
}

static size_t count_common(const iflow_answer *x, const iflow_answer *y) {
    size_t n = 0;
    for (size_t p = 0, q = 0; p < x->n_selected && q < y->n_selected;) {
        const int32_t a = x->selected[p], b = y->selected[q];
        n += a == b;
        p += a <= b;
        q += b <= a;
    }
    return n;
}

static void test_slices_are_one_pass(void **state) {
    (void)state;
    /* Ratio 1 recomputes in slices with nothing left to selection; at 0.3 rounding may swap neighbours at the boundary, and no more. */
    static const struct {
        iflow_method method;
        double ratio;
    } run[] = {{IFLOW_METHOD_FULL, 0}, {IFLOW_METHOD_INFOFLOW, 1}, {IFLOW_METHOD_INFOFLOW, 0.3}};
    iflow_context *once = make_context(NULL, 4096, 0, NULL), *sliced = make_context(NULL, 7, 0, NULL);
    for (size_t i = 0; i < 3; i++) {
        iflow_answer *x = NULL, *y = NULL;
        float *a = ask(once, run[i].method, run[i].ratio, &x), *b = ask(sliced, run[i].method, run[i].ratio, &y);
        const size_t n_common = count_common(x, y);
        assert_int_equal(x->n_selected, y->n_selected);
        assert_true(n_common + 1 >= x->n_selected);
        if (n_common == x->n_selected) {
            assert_close(a, b);
        }
        assert_true(run[i].ratio == 0.3 || n_common == x->n_selected);
        free(a), free(b);
        iflow_answer_free(x), iflow_answer_free(y);
    }
    iflow_context_free(once);
    iflow_context_free(sliced);
}

/* Where no kernel changes its arithmetic, slices are one pass to the bit, or nearly. */
static void test_slices_of_whole_tiles(void **state) {
    (void)state;
    enum { N = 700 };
    static const int n_ubatch[] = {1024, 350, 100}; /* 700 = 2 * 350 = 7 * 100: no slice below 64 */
    const size_t n_logits = (size_t)N * (size_t)model->n_vocab;
    float *logits[3];
    int32_t token[N], pos[N];
    for (int i = 0; i < N; i++) {
        token[i] = (i * 7919 + 13) % model->n_vocab;
        pos[i] = i;
    }
    for (int i = 0; i < 3; i++) {
        iflow_context *ctx = make_context(NULL, n_ubatch[i], 0, NULL);
        logits[i] = calloc(n_logits, sizeof *logits[i]);
        assert_non_null(logits[i]);
        assert_ok(iflow_cache_reserve(&ctx->cache, N));
        const iflow_pass pass = {.token = token, .pos = pos, .row = pos, .n = N, .every = true, .out = logits[i]};
        assert_ok(iflow_engine_forward(ctx->engine, &ctx->cache.rows, &pass));
        iflow_context_free(ctx);
        assert_true(support_max_difference(logits[0], logits[i], n_logits) <=
                    TOLERANCE_IDENTITY_TILES * support_max_size(logits[0], n_logits));
    }
    for (int i = 0; i < 3; i++) {
        free(logits[i]);
    }
}

static void test_order_and_back(void **state) {
    (void)state;
    const int backwards[] = {2, 1, 0};
    iflow_context *ctx = make_context(NULL, 0, 0, NULL);
    iflow_answer *before = NULL, *other = NULL, *after = NULL;
    float *a = ask(ctx, IFLOW_METHOD_INFOFLOW, 0.15, &before);
    iflow_context_clear(ctx);
    for (int i = 0; i < N_DOCUMENTS; i++) {
        const char *text = document[backwards[i]];
        assert_ok(iflow_context_add_text(ctx, text, strlen(text), 0));
    }
    float *b = ask(ctx, IFLOW_METHOD_INFOFLOW, 0.15, &other);
    assert_true(other->ms.prefill == 0); /* the same chunks: one cache serves any order */
    iflow_context_clear(ctx);
    for (int i = 0; i < N_DOCUMENTS; i++) {
        assert_ok(iflow_context_add_text(ctx, document[i], strlen(document[i]), 0));
    }
    float *c = ask(ctx, IFLOW_METHOD_INFOFLOW, 0.15, &after);
    assert_memory_not_equal(a, b, (size_t)model->n_vocab * sizeof *a);
    assert_memory_equal(a, c, (size_t)model->n_vocab * sizeof *a);
    assert_same_answer(before, after);
    free(a), free(b), free(c);
    iflow_answer_free(before), iflow_answer_free(other), iflow_answer_free(after);
    iflow_context_free(ctx);
}

/* From the disk, after the process that wrote it is gone: to the bit what was just computed. */
static void test_stored_is_computed(void **state) {
    (void)state;
    char *dir = support_make_dir();
    iflow_store *store = NULL;
    assert_ok(iflow_store_open(dir, NULL, &store));
    iflow_context *memory = make_context(NULL, 0, 0, NULL), *writer = make_context(store, 0, 0, NULL);
    iflow_answer *x = NULL, *y = NULL, *z = NULL;
    float *a = ask(memory, IFLOW_METHOD_INFOFLOW, 0.15, &x), *b = ask(writer, IFLOW_METHOD_INFOFLOW, 0.15, &y);
    iflow_context_free(writer);
    iflow_store_close(store);
    assert_ok(iflow_store_open(dir, &(iflow_store_params){.must_exist = true}, &store));
    iflow_context *reader = make_context(store, 0, 0, NULL);
    float *c = ask(reader, IFLOW_METHOD_INFOFLOW, 0.15, &z);
    assert_true(y->ms.prefill > 0);
    assert_true(z->ms.prefill == 0);
    assert_memory_equal(a, b, (size_t)model->n_vocab * sizeof *a);
    assert_memory_equal(a, c, (size_t)model->n_vocab * sizeof *a);
    assert_same_answer(x, z);
    free(a), free(b), free(c);
    iflow_answer_free(x), iflow_answer_free(y), iflow_answer_free(z);
    iflow_context_free(memory);
    iflow_context_free(reader);
    iflow_store_close(store);
    support_remove_dir(dir);
}

/* The same bytes under the same id, whatever the threads, the slices and the company. */
static void test_same_file(void **state) {
    (void)state;
    static const struct { int n_ubatch, n_threads, first; } setting[] = {{0, 1, 0}, {64, 2, 2}, {2048, 0, 1}};
    char *dir[3];
    iflow_store *store[3];
    int32_t *token = NULL;
    size_t n = 0;
    char text[6000] = "";
    while (strlen(text) < 3600) { /* more than a slice of 512 tokens */
        strcat(text, document[strlen(text) % N_DOCUMENTS]);
    }
    assert_ok(iflow_tokenize(model, text, strlen(text), false, &token, &n));
    assert_true(n > 600);
    n = n < 900 ? n : 900; /* the tiny models' context is 1024 */
    char id[IFLOW_ID_SIZE];
    for (int i = 0; i < 3; i++) {
        dir[i] = support_make_dir();
        assert_ok(iflow_store_open(dir[i], NULL, &store[i]));
        iflow_context *ctx = make_context(store[i], setting[i].n_ubatch, setting[i].n_threads, NULL);
        assert_ok(iflow_context_prefill(ctx, token + setting[i].first, 100, NULL, NULL)); /* company */
        assert_ok(iflow_context_prefill(ctx, token, n, id, NULL));
        iflow_context_free(ctx);
    }
    iflow_blob blob[3] = {{0}};
    for (int i = 0; i < 3; i++) {
        assert_ok(store[i]->ops->get(store[i], id, &blob[i]));
        assert_int_equal(blob[i].n_bytes, blob[0].n_bytes);
        assert_true(!memcmp(blob[i].data, blob[0].data, blob[0].n_bytes));
    }
    for (int i = 0; i < 3; i++) {
        iflow_blob_free(&blob[i]);
        iflow_store_close(store[i]);
        support_remove_dir(dir[i]);
    }
    free(token);
}

/* A corrupt chunk is set aside and computed again: same answer, store whole again. */
static void test_corrupt_chunk_heals(void **state) {
    (void)state;
    char *dir = support_make_dir();
    iflow_store *store = NULL;
    assert_ok(iflow_store_open(dir, NULL, &store));
    iflow_context *ctx = make_context(store, 0, 0, NULL);
    iflow_answer *before = NULL, *after = NULL, *again = NULL;
    float *a = ask(ctx, IFLOW_METHOD_INFOFLOW, 0.15, &before);
    char path[4096];
    snprintf(path, sizeof path, "%s/chunks/%.2s/%s.gguf", dir, ctx->chunk[1].id, ctx->chunk[1].id);
    FILE *file = fopen(path, "r+b");
    assert_non_null(file);
    assert_int_equal(fseek(file, -100, SEEK_END), 0);
    assert_int_equal(fputc(0x55, file), 0x55);
    assert_int_equal(fputc(0xaa, file), 0xaa);
    fclose(file);
    float *b = ask(ctx, IFLOW_METHOD_INFOFLOW, 0.15, &after);
    assert_true(after->ms.prefill > 0);
    assert_memory_equal(a, b, (size_t)model->n_vocab * sizeof *a);
    float *c = ask(ctx, IFLOW_METHOD_INFOFLOW, 0.15, &again);
    assert_true(again->ms.prefill == 0);
    assert_ok(iflow_store_verify(store, ctx->chunk[1].id));
    free(a), free(b), free(c);
    iflow_answer_free(before), iflow_answer_free(after), iflow_answer_free(again);
    iflow_context_free(ctx);
    iflow_store_close(store);
    support_remove_dir(dir);
}

/* A second turn over the kept context is what one long prefill of the same tokens gives. */
static void test_follow_up(void **state) {
    (void)state;
    iflow_context *ctx = make_context(NULL, 0, 0, NULL);
    iflow_ask_params params = iflow_ask_default_params();
    params.question = question;
    params.method = IFLOW_METHOD_FULL;
    params.max_tokens = 8;
    iflow_answer *first = NULL, *second = NULL;
    assert_int_equal(iflow_context_follow_up(ctx, &params, &first), IFLOW_E_ARG);
    assert_ok(iflow_context_ask(ctx, &params, &first));
    params.question = "And when was she born?";
    assert_ok(iflow_context_follow_up(ctx, &params, &second));
    assert_int_equal(second->n_context, first->n_context + first->n_prompt + (first->n_generated < 8 ? first->n_generated : 7));
    assert_true(second->n_prompt > 5);
    assert_true(second->n_generated > 0);
    /* Every row up to the end holds its own position: nothing was skipped or written twice. */
    for (int i = 0; i < ctx->turn.n_rows; i++) {
        assert_int_equal(ctx->cache.rows.pos[i], i);
    }
    iflow_answer_free(first), iflow_answer_free(second);
    iflow_context_free(ctx);
}

static void with_f32_models(void (*test)(void **)) {
    for (size_t i = 0; i < sizeof f32_models / sizeof *f32_models; i++) {
        assert_ok(iflow_model_load(support_tiny_model(f32_models[i]), NULL, &model));
        tolerance = TOLERANCE_IDENTITY_F32;
        test(NULL);
        iflow_model_free(model);
    }
}

/* Runs a test with each f32 model, where identities hold tightly, and with the real one, where they must hold as well as libllama's own. */
static void with_models(void (*test)(void **)) {
    with_f32_models(test);
    assert_ok(iflow_model_load(support_env("INFOFLOW_SMOLLM2"), NULL, &model));
    tolerance = TOLERANCE_IDENTITY_Q4;
    test(NULL);
    iflow_model_free(model);
}

#define WITH_MODELS(test)                                                                                                                  \
    static void all_##test(void **state) {                                                                                                 \
        (void)state;                                                                                                                       \
        with_models(test);                                                                                                                 \
    }
static void all_test_slices_of_whole_tiles(void **state) {
    (void)state;
    with_f32_models(test_slices_of_whole_tiles);
}
WITH_MODELS(test_ratio_1_is_full)
WITH_MODELS(test_cacheblend_1_is_full)
WITH_MODELS(test_forced_is_generated)
WITH_MODELS(test_replay_is_generated)
WITH_MODELS(test_reordered_is_that_order)
WITH_MODELS(test_ratio_0_is_none)
WITH_MODELS(test_slices_are_one_pass)
WITH_MODELS(test_order_and_back)
WITH_MODELS(test_stored_is_computed)
WITH_MODELS(test_same_file)
WITH_MODELS(test_corrupt_chunk_heals)
WITH_MODELS(test_follow_up)

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_test_ratio_1_is_full),         cmocka_unit_test(all_test_ratio_0_is_none),
        cmocka_unit_test(all_test_slices_are_one_pass),     cmocka_unit_test(all_test_order_and_back),
        cmocka_unit_test(all_test_stored_is_computed),      cmocka_unit_test(all_test_same_file),
        cmocka_unit_test(all_test_corrupt_chunk_heals),     cmocka_unit_test(all_test_follow_up),
        cmocka_unit_test(all_test_slices_of_whole_tiles),   cmocka_unit_test(all_test_cacheblend_1_is_full),
        cmocka_unit_test(all_test_forced_is_generated),     cmocka_unit_test(all_test_replay_is_generated),
        cmocka_unit_test(all_test_reordered_is_that_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
