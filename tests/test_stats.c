/* test_stats.c - bootstrap intervals against the normal theory, pairing, and the random sequence. */
#include "base/random.h"
#include "service/stats.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void assert_near(double got, double want, double tolerance) {
    if (!(fabs(got - want) <= tolerance)) {
        fail_msg("%.12f, but %.12f was wanted", got, want);
    }
}

static void test_random(void **state) {
    (void)state;
    /* The published sequence of splitmix64 from 1234567. */
    uint64_t s = 1234567;
    assert_true(iflow_random(&s) == 6457827717110365317U);
    assert_true(iflow_random(&s) == 3203168211198807973U);
    assert_true(iflow_random(&s) == 9817491932198370423U);
    size_t count[7] = {0};
    for (int i = 0; i < 70000; i++) {
        count[iflow_random_below(&s, 7)]++; /* a number past 6 is caught by the sanitizer */
    }
    for (int i = 0; i < 7; i++) {
        assert_near((double)count[i], 10000, 400);
    }
    for (int i = 0; i < 100; i++) {
        assert_int_equal(iflow_random_below(&s, 1), 0);
    }
}

static void test_degenerate(void **state) {
    (void)state;
    const double one = 0.3, same[] = {0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1};
    stats_mean m = stats_bootstrap(&one, 1);
    assert_near(m.mean, 0.3, 0);
    assert_near(m.low, 0.3, 0);
    assert_near(m.high, 0.3, 0);
    m = stats_bootstrap(same, 7);
    assert_near(m.mean, 0.1, 1e-15);
    assert_near(m.low, m.mean, 0);
    assert_near(m.high, m.mean, 0);
}

/* 100 values 0 or 1 with 30 ones: the mean is a binomial over 100, whose 2.5% and 97.5% points are 0.21 and 0.39. */
static void test_binomial(void **state) {
    (void)state;
    double value[100];
    for (int i = 0; i < 100; i++) {
        value[i] = i % 10 < 3;
    }
    const stats_mean m = stats_bootstrap(value, 100);
    assert_near(m.mean, 0.3, 1e-12);
    assert_near(m.low, 0.21, 0.0051);
    assert_near(m.high, 0.39, 0.0051);
    const stats_mean again = stats_bootstrap(value, 100);
    assert_near(again.low, m.low, 0);
    assert_near(again.high, m.high, 0);
}

/* An evenly spread 0..1: standard error 1 / sqrt(12 n). */
static void test_uniform(void **state) {
    (void)state;
    enum { N = 400 };
    double value[N];
    for (int i = 0; i < N; i++) {
        value[i] = (i + 0.5) / N;
    }
    const stats_mean m = stats_bootstrap(value, N);
    const double half = 1.96 / sqrt(12.0 * N);
    assert_near(m.mean, 0.5, 1e-12);
    assert_near(m.low, 0.5 - half, 0.03 * half);
    assert_near(m.high, 0.5 + half, 0.03 * half);
}

/* A total order of all that a double can be: sorted the same whatever the order before, what is no number last. */
static void test_sort(void **state) {
    (void)state;
    static const double sorted[] = {-INFINITY, -1, 0, 1e-300, 2, INFINITY, NAN, NAN};
    enum { N = sizeof sorted / sizeof *sorted };
    for (size_t turn = 0; turn < N; turn++) {
        double value[N];
        for (size_t i = 0; i < N; i++) {
            value[(i * 3 + turn) % N] = sorted[i]; /* 3 and 8 share no factor */
        }
        stats_sort(value, N);
        for (size_t i = 0; i < N; i++) {
            assert_true(isnan(sorted[i]) ? isnan(value[i]) : value[i] == sorted[i]);
        }
    }
    assert_int_equal(stats_compare(NAN, NAN), 0);
    assert_int_equal(stats_compare(-0.0, 0), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random),  cmocka_unit_test(test_degenerate), cmocka_unit_test(test_binomial),
        cmocka_unit_test(test_uniform), cmocka_unit_test(test_sort),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
