/* test_service_pace.c - how far a run over sources is and how long the rest takes, for runs whose course is known. */
#include "service/pace.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void assert_between(double got, double low, double high) {
    if (!(got >= low && got <= high)) {
        fail_msg("%.6f is not from %.6f to %.6f", got, low, high);
    }
}

/* Files of 100 bytes, of which one in `every` is computed, in a second; from file `first` on. Passes n of them. */
static void pass_files(pace *p, int first, int n, int every) {
    for (int i = first; i < first + n; i++) {
        const double computed = i % every == 0 ? 100 : 0;
        pace_pass(p, (i + 1) * 100.0, computed, computed / 100);
    }
}

static void test_all_computed(void **state) {
    (void)state;
    pace p = {.whole = 10000};
    assert_true(pace_left(&p) < 0); /* nothing is known yet */
    assert_between(pace_share(&p), 0, 0);
    for (int i = 0; i < 100; i++) {
        pass_files(&p, i, 1, 1);
        assert_between(pace_left(&p), 99 - i - 1e-6, 99 - i + 1e-6);
        assert_between(pace_share(&p), (i + 1) / 100.0 - 1e-9, (i + 1) / 100.0 + 1e-9);
    }
}

/* What cannot be used is passed without a document: the next one begins further on. */
static void test_unreadable(void **state) {
    (void)state;
    pace p = {.whole = 1000};
    pace_pass(&p, 200, 200, 2);
    pace_pass(&p, 600, 0, 0); /* four files that cannot be used */
    pace_pass(&p, 800, 200, 2);
    assert_between(pace_share(&p), 0.8, 0.8);
    assert_between(pace_left(&p), 0, 2); /* a second for 100 bytes, if the last 200 are computed */
    pace_pass(&p, 1000, 0, 0);           /* they are not */
    assert_between(pace_share(&p), 1, 1);
    assert_between(pace_left(&p), 0, 0);
}

/* An interrupted run goes on: the first 800 of 1,000 files are stored; then each takes a second. */
static void test_resumed(void **state) {
    (void)state;
    pace p = {.whole = 100000};
    pass_files(&p, 1, 799, 100000);
    assert_true(pace_left(&p) < 0);
    pass_files(&p, 800, 60, 1);
    assert_between(pace_left(&p), 0.8 * 140, 140);
    pass_files(&p, 860, 60, 1);
    assert_between(pace_left(&p), 0.95 * 80, 80);
}

/* Of 1,000 files every tenth is new, and takes a second: 90 seconds are left after 100 of them, not 900. */
static void test_few_are_new(void **state) {
    (void)state;
    pace p = {.whole = 100000};
    pass_files(&p, 0, 100, 10);
    assert_between(pace_left(&p), 45, 180);
    pass_files(&p, 100, 400, 10);
    assert_between(pace_left(&p), 25, 100);
}

/* New ones first, then what is stored: it does not go on saying that much is left. */
static void test_rest_is_stored(void **state) {
    (void)state;
    pace p = {.whole = 100000};
    pass_files(&p, 0, 500, 1);
    assert_between(pace_left(&p), 499, 501);
    pass_files(&p, 501, 200, 100000);
    assert_between(pace_left(&p), 0, 1);
}

/* A document's share of its source is an estimate: a position before the last one, or more computed than was passed, breaks nothing. */
static void test_estimates(void **state) {
    (void)state;
    pace p = {.whole = 1000};
    pace_pass(&p, 300, 400, 4);
    pace_pass(&p, 200, 0, 0);
    assert_between(pace_share(&p), 0.3, 0.3);
    assert_between(pace_left(&p), 7 - 1e-9, 7 + 1e-9);
    pace_pass(&p, 2000, 0, 0);
    assert_between(pace_share(&p), 1, 1);
    assert_between(pace_left(&p), 0, 0);
    pace unknown = {0};
    pace_pass(&unknown, 300, 300, 3);
    assert_true(pace_share(&unknown) < 0);
    assert_true(pace_left(&unknown) < 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_computed), cmocka_unit_test(test_unreadable),     cmocka_unit_test(test_resumed),
        cmocka_unit_test(test_few_are_new),  cmocka_unit_test(test_rest_is_stored), cmocka_unit_test(test_estimates),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
