/* test_worker.c - contexts in several threads share one worker: each answers as it does alone, no thread is added for any of them, none
 * starves, and how many threads a graph gets follows from how busy the machine is. */
#include "compute/engine_inner.h"
#include "compute/load.h"
#include "identity_fixture.h"

#include <dirent.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

enum { N_CALLERS = 3, N_ASKS = 3 };

static int count_threads(void) {
    int n = 0;
    DIR *tasks = opendir("/proc/self/task");
    assert_non_null(tasks);
    for (const struct dirent *entry; (entry = readdir(tasks));) {
        n += entry->d_name[0] != '.';
    }
    closedir(tasks);
    return n;
}

/* A thread that was joined may be in the kernel's list for a moment more. */
static void assert_threads(int expected) {
    for (int i = 0; i < 400 && count_threads() != expected; i++) {
        nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
    }
    assert_int_equal(count_threads(), expected);
}

/* ---- Sharing ------------------------------------------------------------------------------------------------------------------------ */

typedef struct caller {
    iflow_context *ctx;
    iflow_ask_params params;
    const iflow_answer *expected;
    bool same;
} caller;

static void *ask_often(void *user) {
    caller *c = user;
    c->same = true;
    for (int i = 0; i < N_ASKS; i++) {
        iflow_answer *answer = NULL;
        const bool ok = iflow_context_ask(c->ctx, &c->params, &answer) == IFLOW_OK;
        c->same = c->same && ok && answer->n_generated == c->expected->n_generated &&
                  !memcmp(answer->logits, c->expected->logits, answer->n_generated * (size_t)model->n_vocab * sizeof *answer->logits);
        iflow_answer_free(answer);
    }
    return NULL;
}

/* Contexts over one model and one store ask at once: one prefills what another wants, too. */
static void test_together(void **state) {
    (void)state;
    static const iflow_method method[N_CALLERS] = {IFLOW_METHOD_INFOFLOW, IFLOW_METHOD_FULL, IFLOW_METHOD_CACHEBLEND};
    iflow_store *store = NULL;
    pthread_t thread[N_CALLERS];
    caller c[N_CALLERS] = {0};
    iflow_answer *expected[N_CALLERS] = {0};
    assert_ok(iflow_model_load(support_tiny_model("llama-gqa"), NULL, &model));
    for (int i = 0; i < N_CALLERS; i++) {
        c[i].ctx = make_context_with(NULL, IFLOW_PARAMS(iflow_context_params, .n_threads = 2, .n_ubatch = 32), NULL);
        c[i].params = ask_params(method[i], 0.3);
        c[i].params.keep_logits = true;
        assert_ok(iflow_context_ask(c[i].ctx, &c[i].params, &expected[i]));
        c[i].expected = expected[i];
        iflow_context_free(c[i].ctx);
    }
    assert_ok(iflow_store_open("memory:", NULL, &store));
    for (int i = 0; i < N_CALLERS; i++) {
        c[i].ctx = make_context_with(store, IFLOW_PARAMS(iflow_context_params, .n_threads = 2, .n_ubatch = 32), NULL);
    }
    const int before = count_threads();
    for (int i = 0; i < N_CALLERS; i++) {
        assert_ptr_equal(c[i].ctx->engine->worker, c[0].ctx->engine->worker);
        assert_int_equal(pthread_create(&thread[i], NULL, ask_often, &c[i]), 0);
    }
    int most = 0;
    for (int i = 0; i < 200; i++) { /* while they ask: the threads that were made above, and the pool's */
        const int now = count_threads();
        most = now > most ? now : most;
        nanosleep(&(struct timespec){.tv_nsec = 500000}, NULL);
    }
    for (int i = 0; i < N_CALLERS; i++) {
        assert_int_equal(pthread_join(thread[i], NULL), 0);
        assert_true(c[i].same);
    }
    assert_true(most <= before + 2 * N_CALLERS); /* each caller, and a thread that it tokenises in meanwhile */
    assert_threads(before);
    for (int i = 0; i < N_CALLERS; i++) {
        iflow_answer_free(expected[i]);
        iflow_context_free(c[i].ctx);
    }
    iflow_store_close(store);
    iflow_model_free(model);
}

typedef struct looping {
    iflow_context *ctx;
    atomic_bool stop;
} looping;

static void *ask_until_stopped(void *user) {
    looping *l = user;
    const iflow_ask_params params = ask_params(IFLOW_METHOD_FULL, 1);
    while (!atomic_load(&l->stop)) {
        iflow_answer *answer = NULL;
        iflow_context_ask(l->ctx, &params, &answer);
        iflow_answer_free(answer);
    }
    return NULL;
}

/* A process that is forked while a thread computes asks with a thread of its own: it waits for nobody who is not there. */
static void test_fork(void **state) {
    (void)state;
    enum { N_FORKS = 6, MOST_SECONDS = 60 };
    looping l = {.stop = false};
    pthread_t thread;
    assert_ok(iflow_model_load(support_tiny_model("llama-gqa"), NULL, &model));
    l.ctx = make_context_with(NULL, IFLOW_PARAMS(iflow_context_params, .n_threads = 1), NULL);
    assert_int_equal(pthread_create(&thread, NULL, ask_until_stopped, &l), 0);
    for (int i = 0; i < N_FORKS; i++) {
        int how = 0;
        nanosleep(&(struct timespec){.tv_nsec = 7000000L * (i + 1)}, NULL);
        const pid_t child = fork();
        if (child == 0) {
            iflow_context *ctx = NULL;
            alarm(MOST_SECONDS);
            _exit(iflow_context_new(model, NULL, &IFLOW_PARAMS(iflow_context_params, .n_threads = 1), &ctx) ? 1 : 0);
        }
        assert_int_equal(waitpid(child, &how, 0), child);
        assert_true(WIFEXITED(how) && WEXITSTATUS(how) == 0);
    }
    atomic_store(&l.stop, true);
    assert_int_equal(pthread_join(thread, NULL), 0);
    iflow_context_free(l.ctx);
    iflow_model_free(model);
}

/* ---- Its life ----------------------------------------------------------------------------------------------------------------------- */

static void test_pool(void **state) {
    (void)state;
    iflow_worker *a = NULL, *b = NULL;
    ggml_backend_dev_t cpu = ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU);
    const int before = count_threads();
    assert_ok(iflow_worker_get(cpu, cpu, 2, &a));
    assert_threads(before + 2); /* the caller is one of the two; and a helper */
    assert_ok(iflow_worker_get(cpu, cpu, 1, &b));
    assert_ptr_equal(a, b);
    assert_int_equal(b->n_threads, 2);
    iflow_worker_put(b);
    assert_ok(iflow_worker_get(cpu, cpu, 4, &b)); /* the pool grows for who wants more */
    assert_ptr_equal(a, b);
    assert_threads(before + 6);
    iflow_worker_put(a);
    assert_threads(before + 6);
    iflow_worker_put(b);
    assert_threads(before);
}

/* Threads that wait for the next graph sleep: they use no processor time. */
static void test_sleeps(void **state) {
    (void)state;
    iflow_answer *answer = NULL;
    assert_ok(iflow_model_load(support_tiny_model("llama-gqa"), NULL, &model));
    iflow_context *ctx = make_context_with(NULL, IFLOW_PARAMS(iflow_context_params, .n_threads = 2), NULL);
    const iflow_ask_params params = ask_params(IFLOW_METHOD_INFOFLOW, 0.3);
    assert_ok(iflow_context_ask(ctx, &params, &answer));
    struct timespec from, to;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &from);
    nanosleep(&(struct timespec){.tv_nsec = 300000000}, NULL);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &to);
    const double ms = (double)(to.tv_sec - from.tv_sec) * 1e3 + (double)(to.tv_nsec - from.tv_nsec) / 1e6;
    print_message("%.2f ms of processor time in 300 ms of waiting\n", ms);
    assert_true(ms < 30);
    iflow_answer_free(answer);
    iflow_context_free(ctx);
    iflow_model_free(model);
}

/* ---- Load --------------------------------------------------------------------------------------------------------------------------- */

static void test_load(void **state) {
    (void)state;
    assert_int_equal(iflow_load_parse("0.20 0.18 0.12 3/80 11206\n"), 3);
    assert_int_equal(iflow_load_parse("0.20 0.18"), -1);
    assert_int_equal(iflow_load_parse(""), -1);
    iflow_load load = {0};
    assert_int_equal(iflow_load_judge(&load, 1000, 1, 2, 2, 2), 2); /* nobody else */
    assert_int_equal(iflow_load_judge(&load, 1005, 2, 2, 2, 2), 2); /* one for a moment: it may be gone before the graph is done */
    for (int i = 1; i <= 60; i++) {
        iflow_load_judge(&load, 1005 + 5 * i, 2, 2, 2, 2);
    }
    assert_int_equal(iflow_load_judge(&load, 1310, 2, 2, 2, 2), 1); /* and one that stays */
    assert_int_equal(iflow_load_judge(&load, 3000, 1, 2, 2, 2), 2); /* and is gone */
    load = (iflow_load){0};
    assert_int_equal(iflow_load_judge(&load, 1000, 10, 2, 2, 2), 1); /* never less than one */
    load = (iflow_load){0};
    assert_int_equal(iflow_load_judge(&load, 1000, 5, 16, 16, 16), 12);
    load = (iflow_load){0};
    assert_int_equal(iflow_load_judge(&load, 1000, 5, 16, 16, 8), 8); /* there is room beside them */
    load = (iflow_load){0};
    assert_int_equal(iflow_load_judge(&load, 1000, 33, 4, 64, 4), 2); /* a part of a machine: of 32 others, 2 are likely here */
    assert_int_equal(iflow_load_threads(&load, 1), 1);
}

/* On a busy machine one thread computes, and helpers do items of its ops; what comes out is the same to the bit as without them. */
static void test_busy(void **state) {
    (void)state;
    iflow_answer *answer[2] = {NULL}; /* of one thread; of one that has helpers */
    assert_ok(iflow_model_load(support_env("INFOFLOW_SMOLLM2"), NULL, &model));
    for (int i = 0; i < 2; i++) {
        iflow_context *ctx = make_context_with(NULL, IFLOW_PARAMS(iflow_context_params, .n_threads = i == 0 ? 1 : 3), NULL);
        ctx->engine->worker->load = (iflow_load){.at_ms = 1e15, .n_free = 1}; /* until then it does not look again */
        iflow_ask_params params = ask_params(IFLOW_METHOD_INFOFLOW, 0.3);
        params.keep_logits = true;
        params.max_tokens = 2;
        assert_ok(iflow_context_ask(ctx, &params, &answer[i]));
        iflow_context_free(ctx);
    }
    assert_same_answer(answer[0], answer[1]);
    assert_memory_equal(answer[0]->logits, answer[1]->logits, answer[0]->n_generated * (size_t)model->n_vocab * sizeof(float));
    iflow_answer_free(answer[0]);
    iflow_answer_free(answer[1]);
    iflow_model_free(model);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_together), cmocka_unit_test(test_fork),   cmocka_unit_test(test_pool),
        cmocka_unit_test(test_busy),     cmocka_unit_test(test_sleeps), cmocka_unit_test(test_load),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
