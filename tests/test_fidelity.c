/* test_fidelity.c - KL and top-1 agreement of logits: by hand, at extremes, and as identities. */
#include "infoflow.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void assert_near(double got, double want, double tolerance) {
    if (!(fabs(got - want) <= tolerance)) {
        fail_msg("%.15f, but %.15f was wanted", got, want);
    }
}

static void test_by_hand(void **state) {
    (void)state;
    /* Probabilities 1/2, 1/4, 1/4 against 1/4, 1/2, 1/4: KL = 1/2 log 2 - 1/4 log 2; then the same against itself. */
    const float a = logf(2), full[] = {a, 0, 0, a, 0, 0}, method[] = {0, a, 0, a, 0, 0};
    iflow_fidelity f = iflow_fidelity_of(full, method, 1, 3);
    assert_near(f.kl, 0.25 * log(2), 1e-7);
    assert_near(f.top1, 0, 0);
    f = iflow_fidelity_of(full, method, 2, 3);
    assert_near(f.kl, 0.125 * log(2), 1e-7); /* the mean over both positions */
    assert_near(f.top1, 0.5, 0);
    /* It is KL(full || method): the other way round is another number. */
    const float sharp[] = {3, 0}, flat[] = {0, 0};
    const double p = 1 / (1 + exp(-3)), q = 1 - p;
    assert_near(iflow_fidelity_of(sharp, flat, 1, 2).kl, p * log(2 * p) + q * log(2 * q), 1e-12);
    assert_near(iflow_fidelity_of(flat, sharp, 1, 2).kl, -0.5 * log(4 * p * q), 1e-12);
}

static void test_identities(void **state) {
    (void)state;
    enum { N = 5, VOCAB = 301 };
    static float full[N * VOCAB], moved[N * VOCAB], other[N * VOCAB];
    uint32_t x = 1;
    for (size_t i = 0; i < N * VOCAB; i++) {
        x = x * 1664525U + 1013904223U;
        full[i] = (float)(x >> 16) / 4096.0F;
        moved[i] = full[i] + 1024.0F; /* the same distribution */
        x = x * 1664525U + 1013904223U;
        other[i] = (float)(x >> 16) / 4096.0F;
    }
    iflow_fidelity f = iflow_fidelity_of(full, full, N, VOCAB);
    assert_near(f.kl, 0, 0);
    assert_near(f.top1, 1, 0);
    f = iflow_fidelity_of(full, moved, N, VOCAB);
    assert_near(f.kl, 0, 1e-6);
    assert_near(f.top1, 1, 0);
    /* The mean over positions is that of the positions one by one. */
    double kl = 0;
    for (size_t t = 0; t < N; t++) {
        kl += iflow_fidelity_of(full + t * VOCAB, other + t * VOCAB, 1, VOCAB).kl / N;
    }
    assert_true(kl > 0.1);
    assert_near(iflow_fidelity_of(full, other, N, VOCAB).kl, kl, 1e-12);
}

static void test_extremes(void **state) {
    (void)state;
    /* exp() of these overflows a double; the distributions are one-hot on different tokens. */
    const float huge[] = {3e38F, -3e38F}, turned[] = {-3e38F, 3e38F};
    const iflow_fidelity f = iflow_fidelity_of(huge, turned, 1, 2);
    assert_true(f.kl > 1e38);
    assert_near(f.top1, 0, 0);
    assert_near(iflow_fidelity_of(huge, huge, 1, 2).kl, 0, 0);
    /* A token that is impossible in full prefill costs nothing; one that only the method excludes costs everything. */
    const float without[] = {0, 0, -INFINITY}, with[] = {0, 0, 0};
    assert_near(iflow_fidelity_of(without, with, 1, 3).kl, log(1.5), 1e-12);
    assert_true(isinf(iflow_fidelity_of(with, without, 1, 3).kl));
    const float broken[] = {0, NAN, 0};
    assert_true(isnan(iflow_fidelity_of(broken, with, 1, 3).kl));
    assert_true(isnan(iflow_fidelity_of(with, broken, 1, 3).kl));
    /* Nor is there agreement among what is no number, though both have it in the same place. */
    assert_near(iflow_fidelity_of(broken, broken, 1, 3).top1, 0, 0);
    assert_true(isnan(iflow_fidelity_of(with, with, 0, 3).kl) && isnan(iflow_fidelity_of(NULL, with, 1, 3).kl));
    const float one[] = {7};
    assert_near(iflow_fidelity_of(one, one, 1, 1).kl, 0, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_by_hand),
        cmocka_unit_test(test_identities),
        cmocka_unit_test(test_extremes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
