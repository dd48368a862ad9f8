/* test_store_lease.c - chunks that several processes want: who computes them, and who waits for whom; chunks of both classes in one store.
 */
#include "store_fixture.h"

#include "flow/context.h"
#include "support.h"

static iflow_model *model;

/* ---- A store between the context and another ------------------------------------------------------------------------------------------
 */

static struct {
    iflow_store base;
    iflow_store_ops ops;
    iflow_store *inner;
    iflow_blob published; /* by another process, while the lease is taken */
    bool estimate;
    size_t n_puts, n_leases, n_released;
    iflow_status put_status;
} between;

static iflow_status lease_late(iflow_store *store, const char *id) {
    (void)store;
    between.n_leases++;
    if (between.published.data) {
        OK(between.inner->ops->put(between.inner, id, &between.published, true));
    }
    return between.inner->ops->lease(between.inner, id);
}

static void release(iflow_store *store, const char *id) {
    (void)store;
    between.n_released++;
    between.inner->ops->release(between.inner, id);
}

static iflow_status put(iflow_store *store, const char *id, const iflow_blob *blob, bool replace) {
    (void)store;
    between.n_puts++;
    return between.put_status ? iflow_fail(between.put_status, "planted") : between.inner->ops->put(between.inner, id, blob, replace);
}

static bool has(iflow_store *store, const char *id) {
    (void)store;
    return between.inner->ops->has(between.inner, id);
}

static iflow_status stat_of(iflow_store *store, const char *id, iflow_chunk_info *info) {
    (void)store;
    return between.inner->ops->stat(between.inner, id, info);
}

static iflow_store *stand_between(iflow_store *inner) {
    memset(&between, 0, sizeof between);
    between.ops = (iflow_store_ops){.lease = lease_late, .release = release, .put = put, .has = has, .stat = stat_of};
    between.base.ops = &between.ops;
    between.inner = inner;
    return &between.base;
}

static const int32_t tokens[] = {5, 6, 7, 8, 9, 10, 11, 12};
enum { N_TOKENS = sizeof tokens / sizeof tokens[0] };

static iflow_context *new_context(iflow_store *store, bool estimate) {
    iflow_context *ctx = NULL;
    OK(iflow_context_new(model, store,
                         &IFLOW_PARAMS(iflow_context_params, .n_threads = 1, .fillers = IFLOW_NO_FILLERS, .estimate_staleness = estimate),
                         &ctx));
    return ctx;
}

/* The chunk's file, computed in another store. */
static iflow_blob compute_elsewhere(bool estimate) {
    iflow_store *store = NULL;
    iflow_blob mapped = {0};
    char id[IFLOW_ID_SIZE];
    OK(iflow_store_open(in_root(estimate ? "elsewhere-estimated" : "elsewhere"), NULL, &store));
    iflow_context *ctx = new_context(store, estimate);
    OK(support_prefill(ctx, tokens, N_TOKENS, id, NULL));
    OK(store->ops->get(store, id, &mapped));
    iflow_context_free(ctx);
    iflow_store_close(store);
    return mapped;
}

/* ---- Leases ---------------------------------------------------------------------------------------------------------------------------
 */

/* Another process publishes the chunk after we looked and before we have the lease: it is looked again, and nothing is computed. */
static void test_published_before_the_lease(void **state) {
    (void)state;
    for (int estimate = 0; estimate < 2; estimate++) {
        iflow_store *store = open_limited(0);
        iflow_context *ctx = new_context(stand_between(store), estimate);
        char id[IFLOW_ID_SIZE];
        bool was_stored = false;
        between.published = compute_elsewhere(estimate);
        OK(support_prefill(ctx, tokens, N_TOKENS, id, &was_stored));
        assert_int_equal(between.n_leases, 1);
        assert_int_equal(between.n_released, 1);
        assert_int_equal(between.n_puts, 0); /* nothing was computed */
        assert_true(was_stored);
        assert_int_equal(n_entries("store/tmp"), 0);
        OK(iflow_store_delete(store, IFLOW_CHUNK, id));
        iflow_context_free(ctx);
        iflow_blob_free(&between.published);
        close_checked(store);
    }
    /* One that was published and knows less than is wanted is computed. */
    iflow_store *store = open_limited(0);
    iflow_context *ctx = new_context(stand_between(store), true);
    bool was_stored = true;
    between.published = compute_elsewhere(false);
    OK(support_prefill(ctx, tokens, N_TOKENS, NULL, &was_stored));
    assert_int_equal(between.n_puts, 1);
    assert_false(was_stored);
    iflow_context_free(ctx);
    iflow_blob_free(&between.published);
    close_checked(store);
}

/* A process that was stopped with a lease is waited for, which is said, and not for ever. The lease stays its own. */
static void test_lease_of_a_stopped_process(void **state) {
    (void)state;
    iflow_store *store = open_limited(0);
    iflow_context *ctx = new_context(store, false);
    char id[IFLOW_ID_SIZE], number[64], byte;
    int ready[2];
    int32_t copy[N_TOKENS];
    memcpy(copy, tokens, sizeof copy);
    const iflow_context_chunk chunk = iflow_builder_chunk(&ctx->builder, copy, N_TOKENS, ctx->kv_type, ctx->fillers);
    assert_int_equal(pipe(ready), 0);
    const pid_t pid = start_child();
    if (pid == 0) {
        _exit(store->ops->lease(store, chunk.id) != IFLOW_OK || write(ready[1], "x", 1) != 1 || raise(SIGSTOP) != 0);
    }
    close(ready[1]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    assert_true(ctx->builder.waits.patience_ms >= 10000);
    snprintf(number, sizeof number, "is being computed by process %ld", (long)pid);
    FAILS(support_prefill(ctx, tokens, N_TOKENS, id, NULL), IFLOW_E_BUSY, number);
    assert_int_equal(n_warnings, 0);
    usleep(1100000);
    for (int i = 0; i < 3; i++) {
        FAILS(support_prefill(ctx, tokens, N_TOKENS, id, NULL), IFLOW_E_BUSY, number);
    }
    assert_int_equal(n_warnings, 1); /* once */
    assert_non_null(strstr(last_warning, number));
    assert_non_null(strstr(last_warning, "waiting"));
    ctx->builder.waits.patience_ms = 500;
    bool was_stored = true;
    OK(support_prefill(ctx, tokens, N_TOKENS, id, &was_stored));
    assert_false(was_stored);
    assert_int_equal(n_warnings, 2);
    assert_non_null(strstr(last_warning, "it is computed here, too"));
    assert_int_equal(n_entries("store/tmp"), 1);
    FAILS(store->ops->lease(store, id), IFLOW_E_BUSY, number);
    OK(support_prefill(ctx, tokens, N_TOKENS, id, &was_stored));
    assert_true(was_stored);
    assert_int_equal(ctx->builder.waits.n, 0);

    /* One of our own threads has it: what is computed without the lease does not give that back. */
    iflow_store *other = open_limited(0);
    OK(iflow_store_delete(store, IFLOW_CHUNK, id));
    ctx->builder.waits.patience_ms = 0;
    kill(pid, SIGKILL);
    assert_int_equal(wait_for(pid), 128 + SIGKILL);
    OK(store->ops->lease(store, id));
    OK(support_prefill(ctx, tokens, N_TOKENS, id, &was_stored));
    assert_false(was_stored);
    FAILS(other->ops->lease(other, id), IFLOW_E_BUSY, id);
    store->ops->release(store, id);
    iflow_store_close(other);
    iflow_context_free(ctx);
    close_checked(store);
}

/* E_BUSY means a chunk to wait for, not a store that cannot be written to. */
static void test_locked_store_is_no_busy_chunk(void **state) {
    (void)state;
    iflow_store *store = open_limited(0);
    iflow_context *ctx = new_context(stand_between(store), false);
    between.put_status = IFLOW_E_BUSY;
    FAILS(support_prefill(ctx, tokens, N_TOKENS, NULL, NULL), IFLOW_E_IO, "planted");
    assert_int_equal(between.n_released, 1);
    iflow_context_free(ctx);
    close_checked(store);
}

/* ---- Classes --------------------------------------------------------------------------------------------------------------------------
 */

/* What was computed without exact is no exact chunk, though it is of the same tokens, and the reverse. */
static void test_exact_is_another_class(void **state) {
    (void)state;
    iflow_store *store = open_limited(0);
    char id[2][IFLOW_ID_SIZE];
    bool was_stored = true;
    for (int exact = 0; exact < 2; exact++) {
        iflow_model *loaded = NULL;
        iflow_context *ctx = NULL;
        OK(iflow_model_load(support_tiny_model("llama"), &IFLOW_PARAMS(iflow_model_params, .exact = exact), &loaded));
        OK(iflow_context_new(loaded, store, &IFLOW_PARAMS(iflow_context_params, .n_threads = 1), &ctx));
        OK(support_prefill(ctx, tokens, N_TOKENS, id[exact], &was_stored));
        assert_false(was_stored);
        iflow_chunk_info info;
        OK(iflow_store_inspect(store, id[exact], &info, NULL));
        assert_int_equal(info.exact, exact);
        OK(iflow_context_add_chunk(ctx, id[exact]));
        if (exact) {
            assert_string_not_equal(id[0], id[1]);
            FAILS(iflow_context_add_chunk(ctx, id[0]), IFLOW_E_ARG, "ingest its document with exact");
        }
        iflow_context_free(ctx);
        iflow_model_free(loaded);
    }
    iflow_context *ctx = new_context(store, false);
    FAILS(iflow_context_add_chunk(ctx, id[1]), IFLOW_E_ARG, "loaded without");
    iflow_context_free(ctx);
    close_checked(store);
}

int main(void) {
    iflow_set_log(count_warnings, NULL);
    if (iflow_model_load(support_tiny_model("llama"), NULL, &model)) {
        fprintf(stderr, "%s\n", iflow_error_message());
        return 1;
    }
    const struct CMUnitTest tests[] = {
        TEST(test_published_before_the_lease),
        TEST(test_lease_of_a_stopped_process),
        TEST(test_locked_store_is_no_busy_chunk),
        TEST(test_exact_is_another_class),
    };
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    iflow_model_free(model);
    return failed;
}
