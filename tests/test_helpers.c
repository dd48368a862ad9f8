/* test_helpers.c - helpers do each item of an op once, at the same time as the caller, no more of them than it wants. */
#include "kernels/helpers.h"
#include "kernels/work.h"
#include "support.h"

#include <string.h>
#include <time.h>

enum { N_HELPERS = 3, MOST_ITEMS = 40 };

typedef struct counts {
    atomic_int done[MOST_ITEMS];
    atomic_int n_at_once, most_at_once;
    int item_us; /* how long an item takes; 0: no time */
    int n_meet;  /* items but the first, which is done alone, wait until as many are at work */
} counts;

static void count_item(const void *op, int64_t i) {
    counts *c = *(counts *const *)op;
    const int now = atomic_fetch_add(&c->n_at_once, 1) + 1;
    int most = atomic_load(&c->most_at_once);
    while (now > most && !atomic_compare_exchange_weak(&c->most_at_once, &most, now)) {
    }
    if (c->item_us) {
        nanosleep(&(struct timespec){.tv_nsec = 1000L * c->item_us}, NULL);
    }
    for (int k = 0; i > 0 && k < 4000 && atomic_load(&c->most_at_once) < c->n_meet; k++) { /* 20 s: then the test fails */
        nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
    }
    atomic_fetch_add(&c->done[i], 1);
    atomic_fetch_sub(&c->n_at_once, 1);
}

static void assert_done(const counts *c, int n_items, int times) {
    for (int i = 0; i < MOST_ITEMS; i++) {
        assert_int_equal(atomic_load(&c->done[i]), i < n_items ? times : 0);
    }
}

static void test_once(void **state) {
    (void)state;
    iflow_helpers *helpers = iflow_helpers_new(N_HELPERS);
    assert_non_null(helpers);
    for (int n = 0; n <= N_HELPERS + 1; n++) {
        iflow_helpers_use(helpers, n);
        assert_int_equal(iflow_helpers_count(), n > N_HELPERS ? N_HELPERS : n);
        assert_int_equal(iflow_work_threads(1), 1 + iflow_helpers_count());
        assert_int_equal(iflow_work_threads(2), 2);
        for (int n_items = 0; n_items <= MOST_ITEMS; n_items++) {
            counts c, *op = &c;
            memset(&c, 0, sizeof c);
            c.item_us = n_items % 2 ? 300 : 0;
            for (int job = 0; job < 10; job++) {
                iflow_helpers_do(n_items, count_item, &op, NULL);
                assert_int_equal(atomic_load(&c.n_at_once), 0); /* all have returned */
            }
            assert_done(&c, n_items, 10);
        }
    }
    iflow_helpers_use(NULL, N_HELPERS);
    assert_int_equal(iflow_helpers_count(), 0);
    iflow_helpers_free(helpers);
    iflow_helpers_free(NULL);
}

/* As many as are wanted work at once, and never more. */
static void test_at_once(void **state) {
    (void)state;
    iflow_helpers *helpers = iflow_helpers_new(N_HELPERS);
    assert_non_null(helpers);
    for (int n = 0; n <= N_HELPERS; n++) {
        counts c, *op = &c;
        memset(&c, 0, sizeof c);
        c.item_us = 300;
        c.n_meet = n + 1;
        iflow_helpers_use(helpers, n);
        iflow_helpers_do(MOST_ITEMS, count_item, &op, NULL);
        assert_int_equal(atomic_load(&c.most_at_once), n + 1);
        assert_done(&c, MOST_ITEMS, 1);
    }
    iflow_helpers_use(NULL, 0);
    iflow_helpers_free(helpers);
}

static void test_cancelled(void **state) {
    (void)state;
    iflow_helpers *helpers = iflow_helpers_new(N_HELPERS);
    iflow_cancel *token = NULL;
    assert_non_null(helpers);
    assert_ok(iflow_cancel_new(&token));
    iflow_cancel_latch latch = {.token = token};
    counts c, *op = &c;
    memset(&c, 0, sizeof c);
    iflow_helpers_use(helpers, N_HELPERS);
    iflow_helpers_do(MOST_ITEMS, count_item, &op, &latch);
    assert_done(&c, MOST_ITEMS, 1);
    iflow_cancel_raise(token, true);
    iflow_helpers_do(MOST_ITEMS, count_item, &op, &latch);
    assert_done(&c, MOST_ITEMS, 1);
    iflow_helpers_use(NULL, 0);
    iflow_helpers_free(helpers);
    iflow_cancel_free(token);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_once), cmocka_unit_test(test_at_once), cmocka_unit_test(test_cancelled)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
