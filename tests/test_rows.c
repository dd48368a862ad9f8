/* test_rows.c - a pool of cache rows: sequences that share it, blocks that lie anywhere, growth, order apart from coordinates. */
#include "support.h"
#include "tolerance.h"

#include <stdlib.h>
#include <string.h>

enum { N_THREADS = 2, N_FIRST = 300, N_SECOND = 90, N_DECODED = 24 };

static const char *const names[] = {"llama", "llama-3", "llama-yarn", "qwen2", "qwen3", "gemma3"};
enum { N_NAMES = sizeof names / sizeof *names };

static iflow_model *model;
static iflow_engine *engine;

static void load(const char *name) {
    assert_ok(iflow_model_load(support_tiny_model(name), &IFLOW_PARAMS(iflow_model_params, .cache_dir = ""), &model));
    assert_ok(iflow_engine_new(model, 0, N_THREADS, &engine));
}

static void unload(void) {
    iflow_engine_free(engine);
    iflow_model_free(model);
}

/* Token i of a text of that number. */
static int32_t token_at(int text, int i) {
    return (int32_t)((i * 7919 + text * 104729 + 13) % model->n_vocab);
}

/* Runs tokens [from, from + n) of a text as rows and orders of these numbers, at coordinates `shift` further; logits of the last. */
static void run(iflow_seq *seq, int text, int from, int n, int32_t shift, float *logits) {
    int32_t *token = calloc((size_t)n, sizeof *token), *at = calloc((size_t)n, sizeof *at);
    iflow_coord *coord = calloc((size_t)n, sizeof *coord);
    assert_true(token && at && coord);
    for (int i = 0; i < n; i++) {
        token[i] = token_at(text, from + i);
        at[i] = from + i;
        for (int c = 0; c < IFLOW_COORDS; c++) {
            coord[i].at[c] = at[i] + shift;
        }
    }
    assert_ok(iflow_seq_reserve(seq, from + n));
    const iflow_pass pass = {
        .token = token, .order = at, .coord = shift ? coord : NULL, .row = at, .n = n, .logits = logits != NULL, .out = logits};
    assert_ok(iflow_seq_forward(seq, &pass));
    free(token), free(at), free(coord);
}

/* Two sequences whose blocks lie between each other's: the first has blocks 0 and 2, the second block 1. */
static void begin_two(iflow_cache *pool, iflow_seq seq[2]) {
    iflow_cache_init(pool, model, engine, false);
    iflow_seq_begin(&seq[0], pool);
    iflow_seq_begin(&seq[1], pool);
    assert_ok(iflow_seq_reserve(&seq[0], 1));
    assert_ok(iflow_seq_reserve(&seq[1], 1));
    assert_ok(iflow_seq_reserve(&seq[0], IFLOW_CACHE_STEP + 1));
    assert_int_equal(seq[0].row[IFLOW_CACHE_STEP], 2 * IFLOW_CACHE_STEP);
    assert_int_equal(seq[1].row[0], IFLOW_CACHE_STEP);
}

/* Greedy tokens of each of n sequences, all in one pass a step; where n is 1, that sequence is alone in the pass. */
static void decode(iflow_seq *const *seq, int n, const int *n_rows, float *logits, int32_t (*out)[N_DECODED]) {
    const size_t n_vocab = (size_t)model->n_vocab;
    for (int step = 0; step < N_DECODED; step++) {
        int32_t token[2], at[2];
        for (int i = 0; i < n; i++) {
            token[i] = out[i][step] = (int32_t)support_argmax(logits + (size_t)i * n_vocab, n_vocab);
            at[i] = n_rows[i] + step;
            assert_ok(iflow_seq_reserve(seq[i], at[i] + 1));
        }
        assert_ok(iflow_seq_decode(seq, token, at, n, logits));
    }
}

static void test_decode_together(void **state) {
    (void)state;
    static const int n_rows[] = {N_FIRST, N_SECOND};
    for (size_t i = 0; i < N_NAMES; i++) {
        load(names[i]);
        const size_t n_vocab = (size_t)model->n_vocab;
        float *together = calloc(2 * n_vocab, sizeof *together), *alone = calloc(2 * n_vocab, sizeof *alone);
        assert_true(together && alone);
        int32_t said[2][N_DECODED], expected[2][N_DECODED];
        iflow_cache pool;
        iflow_seq seq[2];
        begin_two(&pool, seq);
        for (int s = 0; s < 2; s++) {
            run(&seq[s], s, 0, n_rows[s], 0, together + (size_t)s * n_vocab);
        }
        iflow_seq *backwards[] = {&seq[1], &seq[0]}; /* no order of the caller's matters */
        float *swapped = calloc(2 * n_vocab, sizeof *swapped);
        int32_t from_last[2][N_DECODED];
        assert_non_null(swapped);
        memcpy(swapped, together + n_vocab, n_vocab * sizeof *swapped);
        memcpy(swapped + n_vocab, together, n_vocab * sizeof *swapped);
        decode(backwards, 2, (const int[]){N_SECOND, N_FIRST}, swapped, from_last);
        decode((iflow_seq *const[]){&seq[0], &seq[1]}, 2, n_rows, together, said);
        assert_memory_equal(from_last[0], said[1], sizeof said[1]);
        assert_memory_equal(from_last[1], said[0], sizeof said[0]);
        for (int s = 0; s < 2; s++) {
            iflow_cache own;
            iflow_seq only;
            iflow_cache_init(&own, model, engine, false);
            iflow_seq_begin(&only, &own);
            float *logits = alone + (size_t)s * n_vocab;
            run(&only, s, 0, n_rows[s], 0, logits);
            decode((iflow_seq *const[]){&only}, 1, &n_rows[s], logits, &expected[s]);
            assert_memory_equal(said[s], expected[s], sizeof said[s]);
            assert_true(support_max_difference(together + (size_t)s * n_vocab, logits, n_vocab) <=
                        TOLERANCE_IDENTITY_F32 * support_max_size(logits, n_vocab));
            iflow_seq_end(&only);
            iflow_cache_free(&own);
        }
        assert_memory_not_equal(said[0], said[1], sizeof said[0]);
        free(together), free(alone), free(swapped);
        iflow_seq_end(&seq[0]), iflow_seq_end(&seq[1]);
        iflow_cache_free(&pool);
        unload();
    }
}

/* A row's causality is its order, its rotation its coordinates: all of them further by the same leave all distances, and so all results but
 * for rounding; only the text's further do not. */
static void test_order_is_no_coordinate(void **state) {
    (void)state;
    enum { FURTHER = 40, N = 200, N_TEXT = 64 };
    for (size_t i = 0; i < N_NAMES; i++) {
        load(names[i]);
        const size_t n_vocab = (size_t)model->n_vocab;
        float *logits[3];
        static const int32_t shift[][2] = {{0, 0}, {FURTHER, FURTHER}, {0, FURTHER}};
        for (int k = 0; k < 3; k++) {
            iflow_cache pool;
            iflow_seq seq;
            iflow_cache_init(&pool, model, engine, false);
            iflow_seq_begin(&seq, &pool);
            logits[k] = calloc(n_vocab, sizeof *logits[k]);
            assert_non_null(logits[k]);
            run(&seq, 0, 0, N, shift[k][0], NULL);
            run(&seq, 0, N, N_TEXT, shift[k][1], logits[k]);
            assert_int_equal(pool.rows.order[N], N);
            assert_int_equal(pool.rows.coord[N].at[IFLOW_COORDS - 1], N + shift[k][1]);
            iflow_seq_end(&seq);
            iflow_cache_free(&pool);
        }
        const double tolerance = TOLERANCE_IDENTITY_F32 * support_max_size(logits[0], n_vocab);
        assert_true(support_max_difference(logits[0], logits[1], n_vocab) <= tolerance);
        assert_true(support_max_difference(logits[0], logits[2], n_vocab) > tolerance);
        for (int k = 0; k < 3; k++) {
            free(logits[k]);
        }
        unload();
    }
}

static void test_growth(void **state) {
    (void)state;
    load("llama");
    iflow_cache pool;
    iflow_seq seq[2];
    begin_two(&pool, seq);
    run(&seq[0], 0, 0, N_FIRST, 0, NULL);
    const size_t width = (size_t)model->n_embd_kv, n_values = (size_t)(model->h.n_layer - 1) * N_FIRST * width;
    float *before = calloc(2 * n_values, sizeof *before), *after = calloc(2 * n_values, sizeof *after);
    int32_t at[N_FIRST];
    assert_true(before && after);
    for (int i = 0; i < N_FIRST; i++) {
        at[i] = i;
    }
    assert_ok(iflow_seq_read(&seq[0], at, N_FIRST, before, before + n_values));
    /* A step at a time: all is copied only where a quarter more is taken. */
    int n_copies = 0;
    for (int n = IFLOW_CACHE_STEP; n <= 40 * IFLOW_CACHE_STEP; n += IFLOW_CACHE_STEP) {
        const uint64_t serial = pool.rows.serial;
        assert_ok(iflow_seq_reserve(&seq[1], n));
        n_copies += pool.rows.serial != serial;
    }
    assert_in_range(n_copies, 2, 16);
    assert_ok(iflow_seq_read(&seq[0], at, N_FIRST, after, after + n_values));
    assert_memory_equal(before, after, 2 * n_values * sizeof *before);
    /* What a sequence gives back serves the next. */
    const int n_rows = pool.rows.n_rows;
    iflow_seq_end(&seq[1]);
    iflow_seq_begin(&seq[1], &pool);
    assert_ok(iflow_seq_reserve(&seq[1], 30 * IFLOW_CACHE_STEP));
    assert_int_equal(pool.rows.n_rows, n_rows);
    /* A pool that holds nothing grows to what is asked for. */
    iflow_seq_truncate(&seq[0], 0);
    assert_ok(iflow_seq_reserve(&seq[1], n_rows));
    assert_int_equal(pool.rows.n_rows, n_rows + 2 * IFLOW_CACHE_STEP);
    /* Where that fails, all is given up, and every sequence knows. */
    assert_int_equal(iflow_seq_reserve(&seq[1], 1 << 30), IFLOW_E_MEMORY);
    iflow_seq_truncate(&seq[0], 0);
    run(&seq[0], 0, 0, N_FIRST, 0, NULL);
    run(&seq[1], 1, 0, N_SECOND, 0, NULL);
    assert_true(seq[1].row[0] >= 2 * IFLOW_CACHE_STEP); /* the other has the first two blocks */
    assert_ok(iflow_seq_read(&seq[0], at, N_FIRST, after, after + n_values));
    assert_memory_equal(before, after, 2 * n_values * sizeof *before);
    /* Where there is something to keep, it stays. */
    assert_int_equal(iflow_seq_reserve(&seq[1], 1 << 30), IFLOW_E_MEMORY);
    assert_ok(iflow_seq_read(&seq[0], at, N_FIRST, after, after + n_values));
    assert_memory_equal(before, after, 2 * n_values * sizeof *before);
    free(before), free(after);
    iflow_seq_end(&seq[0]), iflow_seq_end(&seq[1]);
    iflow_cache_free(&pool);
    unload();
}

/* Edits of a sequence whose blocks lie apart come to what they come to where all lie together. */
static void test_edits_anywhere(void **state) {
    (void)state;
    enum { N = 300, FROM = 240 };
    load("qwen2");
    const size_t width = (size_t)model->n_embd_kv, n_values = (size_t)(model->h.n_layer - 1) * N * width;
    float *shift = calloc((size_t)(model->h.n_layer - 1) * width, sizeof *shift), *out[2];
    int32_t at[N], which[N] = {0};
    for (int i = 0; i < N; i++) {
        at[i] = i;
    }
    for (size_t i = 0; i < (size_t)(model->h.n_layer - 1) * width; i++) {
        shift[i] = (float)(i % 7) * 0.25f;
    }
    for (int apart = 0; apart < 2; apart++) {
        iflow_cache pool;
        iflow_seq seq[2];
        begin_two(&pool, seq);
        if (!apart) {
            iflow_seq_end(&seq[0]), iflow_seq_end(&seq[1]);
            iflow_seq_begin(&seq[0], &pool);
        }
        assert_ok(iflow_seq_reserve(&seq[0], N));
        assert_int_equal(seq[0].row[N - 1] == N - 1, !apart);
        run(&seq[0], 0, 0, N, 0, NULL);
        assert_ok(iflow_seq_rotate(&seq[0], FROM, N - FROM));
        assert_ok(iflow_seq_mix(&seq[0], at, at + FROM, N - FROM, 0.25f));
        assert_ok(iflow_seq_shift_keys(&seq[0], at + FROM, which, N - FROM, shift, 1));
        out[apart] = calloc(2 * n_values, sizeof *out[apart]);
        assert_non_null(out[apart]);
        assert_ok(iflow_seq_read(&seq[0], at, N, out[apart], out[apart] + n_values));
        iflow_seq_end(&seq[0]);
        iflow_cache_free(&pool);
        free(apart ? seq[1].row : NULL);
    }
    /* The pass rounds otherwise where blocks lie apart: ggml and our kernels take keys in the order of the pool. */
    const double difference = support_max_difference(out[0], out[1], 2 * n_values);
    assert_true(difference <= TOLERANCE_IDENTITY_F32 * support_max_size(out[0], 2 * n_values));
    free(shift), free(out[0]), free(out[1]);
    unload();
}

static const char *const text[] = {
    "The lighthouse at Orre was built in 1871 by Anna Lund. Its lamp burned oil until 1932, when the keeper's house was sold.",
    "In Tessel the river is dammed twice. The upper dam is older, and the village below it was moved to a hill in 1913."};

/* Chunks of two documents, in the order that a timeline reads them in. */
static void lay_chunks(const iflow_chunk_builder *builder, int first, iflow_context_chunk chunk[2]) {
    for (int i = 0; i < 2; i++) {
        int32_t *token = NULL;
        size_t n = 0;
        const char *of = text[(first + i) % 2];
        assert_ok(iflow_tokenize(model, of, strlen(of), false, &token, &n));
        chunk[i] = iflow_builder_chunk(builder, token, n, IFLOW_KV_F16, IFLOW_DEFAULT_FILLERS);
    }
}

/* Two timelines over one builder and one pool, asked about documents in different orders and then decoded together, say what two contexts
 * say that have all of their own. */
static void test_timelines_together(void **state) {
    (void)state;
    static const char *const question[] = {"Who built it?", "When was the village moved?"};
    for (size_t i = 0; i < N_NAMES; i++) {
        load(names[i]);
        const size_t n_vocab = (size_t)model->n_vocab;
        iflow_store *store = NULL;
        iflow_cache pool;
        iflow_chunk_builder builder;
        iflow_timeline t[2];
        int32_t said[2][N_DECODED];
        float *logits = calloc(2 * n_vocab, sizeof *logits);
        assert_non_null(logits);
        assert_ok(iflow_store_open("memory:", NULL, &store));
        assert_ok(iflow_builder_init(&builder, model, store, engine, 4096, IFLOW_DEFAULT_FILLERS));
        iflow_cache_init(&pool, model, engine, false);
        iflow_ask_params params = iflow_ask_default_params();
        iflow_answer *answer = NULL;
        for (int k = 0; k < 2; k++) {
            iflow_context_chunk chunk[2];
            lay_chunks(&builder, k, chunk);
            iflow_timeline_begin(&t[k], &builder, &pool);
            t[k].n_ctx = 4096;
            params.question = question[k];
            params.max_tokens = 1;
            assert_ok(iflow_timeline_ask(&t[k], chunk, 2, &params, &answer));
            said[k][0] = t[k].last.pending;
            iflow_answer_free(answer);
            free(chunk[0].token), free(chunk[1].token);
        }
        for (int step = 1; step < N_DECODED; step++) {
            const int32_t token[] = {said[0][step - 1], said[1][step - 1]};
            assert_ok(iflow_timelines_decode((iflow_timeline *const[]){&t[0], &t[1]}, token, 2, logits));
            for (int k = 0; k < 2; k++) {
                said[k][step] = (int32_t)support_argmax(logits + (size_t)k * n_vocab, n_vocab);
            }
        }
        params.max_tokens = N_DECODED;
        for (int k = 0; k < 2; k++) {
            iflow_context *ctx = NULL;
            assert_ok(iflow_context_new(model, NULL, &IFLOW_PARAMS(iflow_context_params, .n_threads = N_THREADS, .n_ctx = 4096), &ctx));
            for (int c = 0; c < 2; c++) {
                iflow_context_chunk chunk[2];
                lay_chunks(&builder, k, chunk);
                assert_ok(iflow_context_add_tokens(ctx, chunk[c].token, chunk[c].n_tokens));
                free(chunk[0].token), free(chunk[1].token);
            }
            params.question = question[k];
            assert_ok(iflow_context_ask(ctx, &params, &answer));
            assert_in_range(answer->n_generated, 1, N_DECODED); /* an end of generation ends it alone */
            assert_memory_equal(answer->token, said[k], answer->n_generated * sizeof said[k][0]);
            iflow_answer_free(answer);
            iflow_context_free(ctx);
        }
        iflow_timeline_end(&t[0]), iflow_timeline_end(&t[1]);
        iflow_cache_free(&pool);
        iflow_builder_free(&builder);
        iflow_store_close(store);
        free(logits);
        unload();
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_decode_together), cmocka_unit_test(test_timelines_together), cmocka_unit_test(test_order_is_no_coordinate),
        cmocka_unit_test(test_growth),          cmocka_unit_test(test_edits_anywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
