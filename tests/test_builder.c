/* test_builder.c - builders of chunks that work at once over one store: each chunk is computed once. */
#include "support.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { N_BUILDERS = 3, N_CHUNKS = 5, N_TOKENS = 200, N_ROUNDS = 4 };

static iflow_model *model;

static int load(void **state) {
    (void)state;
    assert_ok(iflow_model_load(support_tiny_model("qwen2"), &IFLOW_PARAMS(iflow_model_params, .cache_dir = ""), &model));
    return 0;
}

static int unload(void **state) {
    (void)state;
    iflow_model_free(model);
    return 0;
}

typedef struct worker {
    iflow_engine *engine;
    iflow_chunk_builder builder;
    int round, number;
    bool several; /* all at once, as ingest does */
    char ids[N_CHUNKS][IFLOW_ID_SIZE];
} worker;

static void fill(worker *w, int32_t token[N_CHUNKS][N_TOKENS], iflow_context_chunk chunk[N_CHUNKS]) {
    for (int c = 0; c < N_CHUNKS; c++) {
        const int which = (c + w->number * 2) % N_CHUNKS; /* each begins elsewhere */
        for (int i = 0; i < N_TOKENS; i++) {
            token[c][i] = (int32_t)((i * 7919 + which * 104729 + w->round * 31) % model->n_vocab);
        }
        chunk[c] = iflow_builder_chunk(&w->builder, token[c], N_TOKENS, IFLOW_KV_F16, IFLOW_DEFAULT_FILLERS);
    }
}

static void *work(void *user) {
    worker *w = user;
    int32_t token[N_CHUNKS][N_TOKENS];
    iflow_context_chunk chunk[N_CHUNKS];
    iflow_timings ms = {0};
    fill(w, token, chunk);
    if (w->several) {
        bool was_stored[N_CHUNKS], is_leased[N_CHUNKS];
        const iflow_status status = iflow_builder_make(&w->builder, chunk, N_CHUNKS, false, was_stored, is_leased);
        if (status && status != IFLOW_E_BUSY) {
            return (void *)"make failed";
        }
    }
    for (int c = 0; c < N_CHUNKS; c++) {
        iflow_chunk *got = NULL;
        if (iflow_builder_get(&w->builder, &chunk[c], false, &got, &ms)) {
            return (void *)"get failed";
        }
        memcpy(w->ids[(c + w->number * 2) % N_CHUNKS], got->id, IFLOW_ID_SIZE);
        iflow_chunk_free(got);
    }
    return NULL;
}

static void run(const char *name) {
    iflow_store *store = NULL;
    worker *w = calloc(N_BUILDERS, sizeof *w);
    assert_non_null(w);
    assert_ok(iflow_store_open(name, NULL, &store));
    for (int i = 0; i < N_BUILDERS; i++) {
        w[i].number = i;
        assert_ok(iflow_engine_new(model, 0, 1, &w[i].engine));
        assert_ok(iflow_builder_init(&w[i].builder, model, store, w[i].engine, 4096, IFLOW_DEFAULT_FILLERS));
    }
    for (int round = 0; round < N_ROUNDS; round++) {
        pthread_t thread[N_BUILDERS];
        size_t before = 0, after = 0;
        for (int i = 0; i < N_BUILDERS; i++) {
            before += w[i].builder.n_computed;
            w[i].round = round;
            w[i].several = round % 2 && i != 1;
            assert_int_equal(pthread_create(&thread[i], NULL, work, &w[i]), 0);
        }
        for (int i = 0; i < N_BUILDERS; i++) {
            void *failed = NULL;
            assert_int_equal(pthread_join(thread[i], &failed), 0);
            assert_null(failed);
            after += w[i].builder.n_computed;
            assert_memory_equal(w[i].ids, w[0].ids, sizeof w[0].ids);
        }
        assert_int_equal(after - before, N_CHUNKS);
    }
    for (int i = 0; i < N_BUILDERS; i++) {
        iflow_builder_free(&w[i].builder);
        iflow_engine_free(w[i].engine);
    }
    iflow_store_close(store);
    free(w);
}

static void test_in_memory(void **state) {
    (void)state;
    run("memory:");
}

static void test_in_directory(void **state) {
    (void)state;
    char *dir = support_make_dir();
    run(dir);
    support_remove_dir(dir);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_in_memory), cmocka_unit_test(test_in_directory)};
    return cmocka_run_group_tests(tests, load, unload);
}
