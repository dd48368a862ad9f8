/* test_select.c - which positions each method recomputes, against the definitions written out naively. */
#include "flow/score.h"
#include "flow/scores.h"
#include "flow/select.h"
#include "support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void assert_positions(const int32_t *selected, size_t n, const int32_t *expected, size_t n_expected) {
    assert_int_equal(n, n_expected);
    assert_memory_equal(selected, expected, n * sizeof *selected);
}
#define ASSERT_POSITIONS(selected, n, ...)                                                                                                 \
    assert_positions((selected), (n), (const int32_t[]){__VA_ARGS__}, sizeof((const int32_t[]){__VA_ARGS__}) / sizeof(int32_t))

static void test_count(void **state) {
    (void)state;
    assert_int_equal(iflow_select_count(0, 2, 20), 0);
    assert_int_equal(iflow_select_count(0.15, 2, 20), 3); /* 0.15 * 20 in doubles may fall short of 3 */
    assert_int_equal(iflow_select_count(0.29, 0, 100), 29);
    assert_int_equal(iflow_select_count(0.01, 2, 20), 1); /* at least one */
    assert_int_equal(iflow_select_count(1, 2, 20), 18);   /* never the head */
    assert_int_equal(iflow_select_count(0.5, 5, 5), 0);   /* a head alone */
    for (int n = 1; n < 3000; n++) {
        assert_int_equal(iflow_select_count(0.15, 0, (size_t)n), n * 15 / 100 ? n * 15 / 100 : 1);
    }
}

static void test_best(void **state) {
    (void)state;
    const float score[] = {9, 9, 1, 5, 3, 5, 5, 0};
    int32_t selected[8];
    assert_ok(iflow_select_best(score, 2, 8, 2, selected)); /* not the head, and of equals the lower ones */
    ASSERT_POSITIONS(selected, 2, 3, 5);
    assert_ok(iflow_select_best(score, 2, 8, 4, selected));
    ASSERT_POSITIONS(selected, 4, 3, 4, 5, 6);
}

/* Against sorting out by hand: a position is selected when fewer than n_selected others come before it. */
static void test_best_naively(void **state) {
    (void)state;
    enum { N = 300, HEAD = 7 };
    float score[N];
    int32_t selected[N];
    uint32_t random = 1;
    for (int round = 0; round < 50; round++) {
        for (int i = 0; i < N; i++) {
            random = random * 1664525u + 1013904223u;
            score[i] = (float)(random >> 28); /* many ties */
        }
        const size_t n_selected = 1 + random % (N - HEAD);
        assert_ok(iflow_select_best(score, HEAD, N, n_selected, selected));
        size_t at = 0;
        for (int i = HEAD; i < N; i++) {
            size_t before = 0;
            for (int k = HEAD; k < N; k++) {
                before += score[k] > score[i] || (score[k] == score[i] && k < i);
            }
            if (before < n_selected) {
                assert_int_equal(selected[at++], i);
            }
        }
        assert_int_equal(at, n_selected);
    }
}

static size_t covering(const float *score, size_t n_head, size_t n, double coverage, size_t low, size_t high) {
    size_t count = 99;
    assert_ok(iflow_select_covering(score, n_head, n, coverage, low, high, &count));
    return count;
}

static void test_covering(void **state) {
    (void)state;
    const float score[] = {9, 9, 1, 4, 2, 1, 0, 2}; /* of 10 outside the head; best first 4, 2, 2, 1, 1, 0 */
    assert_int_equal(covering(score, 2, 8, 0.3, 0, 6), 1);
    assert_int_equal(covering(score, 2, 8, 0.4, 0, 6), 1); /* exactly as much is enough */
    assert_int_equal(covering(score, 2, 8, 0.41, 0, 6), 2);
    assert_int_equal(covering(score, 2, 8, 0.8, 0, 6), 3);
    assert_int_equal(covering(score, 2, 8, 1, 0, 6), 5); /* a token that scores nothing adds nothing */
    assert_int_equal(covering(score, 2, 8, 0.3, 3, 6), 3);
    assert_int_equal(covering(score, 2, 8, 0.9, 0, 2), 2);
    assert_int_equal(covering(score, 2, 8, 0.9, 1, 0), 0); /* no more than high, whatever low */
    assert_int_equal(covering(score, 2, 8, 0, 2, 6), 2);
    assert_int_equal(covering(score, 2, 8, 0, 0, 6), 0);
    assert_int_equal(covering(score, 2, 8, 0.1, 7, 9), 6); /* there are no more */
    assert_int_equal(covering(score, 8, 8, 1, 1, 1), 0);   /* a head alone */
    const float zero[8] = {0};
    assert_int_equal(covering(zero, 2, 8, 0.9, 2, 5), 2); /* nothing to hold: the least */
    assert_int_equal(covering(zero, 2, 8, 1, 0, 5), 0);
    /* With all of one score it is the ratio: 0.1 of 30 is 3, however the sums round. */
    float same[30];
    for (int i = 0; i < 30; i++) {
        same[i] = 0.1f;
    }
    assert_int_equal(covering(same, 0, 30, 0.5, 0, 30), 15);
    assert_int_equal(covering(same, 0, 30, 1, 0, 30), 30);
}

static void test_union(void **state) {
    (void)state;
    /*                      0  1  2  3  4  5  6  7  8  9 */
    const float first[] = {9, 9, 1, 2, 8, 7, 3, 6, 5, 0}, second[] = {9, 9, 8, 0, 7, 6, 5, 1, 2, 5};
    int32_t selected[10];
    assert_ok(iflow_select_union(first, 2.0 / 3, second, 2, 10, 3, selected)); /* 4 and 5; then 2, not 4 again */
    ASSERT_POSITIONS(selected, 3, 2, 4, 5);
    assert_ok(iflow_select_union(first, 0.5, second, 2, 10, 5, selected)); /* floor(2.5): 4 and 5; then 2, 6, and of equals the lower */
    ASSERT_POSITIONS(selected, 5, 2, 4, 5, 6, 9);
    assert_ok(iflow_select_union(first, 0.5, second, 2, 10, 4, selected));
    ASSERT_POSITIONS(selected, 4, 2, 4, 5, 6);
    assert_ok(iflow_select_union(first, 0.5, second, 2, 10, 1, selected)); /* floor(0.5): the second's */
    ASSERT_POSITIONS(selected, 1, 2);
    assert_ok(iflow_select_union(first, 1, second, 2, 10, 3, selected));
    ASSERT_POSITIONS(selected, 3, 4, 5, 7);
    assert_ok(iflow_select_union(first, 0, second, 2, 10, 3, selected));
    ASSERT_POSITIONS(selected, 3, 2, 4, 5);
    assert_ok(iflow_select_union(first, 0.3, second, 2, 10, 8, selected)); /* all there are */
    ASSERT_POSITIONS(selected, 8, 2, 3, 4, 5, 6, 7, 8, 9);
    selected[0] = -7;
    assert_ok(iflow_select_union(first, 0.5, second, 2, 10, 0, selected)); /* none, and nothing is written */
    assert_int_equal(selected[0], -7);
    const float zero[10] = {0};
    assert_ok(iflow_select_union(zero, 0.5, zero, 2, 10, 4, selected)); /* all equal: the first four */
    ASSERT_POSITIONS(selected, 4, 2, 3, 4, 5);
    /* 2/3 of 9 is 6, though the product of doubles may fall just short. */
    float falling[20], rising[20];
    for (int i = 0; i < 20; i++) {
        falling[i] = (float)(20 - i);
        rising[i] = (float)i;
    }
    assert_ok(iflow_select_union(falling, 2.0 / 3, rising, 1, 20, 9, selected));
    ASSERT_POSITIONS(selected, 9, 1, 2, 3, 4, 5, 6, 17, 18, 19);
}

/* Whether position k of scores comes before i: written out, with what is no number last. */
static bool is_before(const float *score, int k, int i) {
    if (isnan(score[k]) || isnan(score[i])) {
        return isnan(score[i]) && (!isnan(score[k]) || k < i);
    }
    return score[k] > score[i] || (score[k] == score[i] && k < i);
}

enum { N_ODD = 5 };

/* The best n of those that are not taken; marks them. */
static void take_naively(const float *score, bool *taken, size_t n) {
    bool here[N_ODD] = {false};
    for (int i = 0; i < N_ODD; i++) {
        size_t before = 0;
        for (int k = 0; k < N_ODD; k++) {
            before += !taken[k] && is_before(score, k, i);
        }
        here[i] = !taken[i] && before < n;
    }
    for (int i = 0; i < N_ODD; i++) {
        taken[i] = taken[i] || here[i];
    }
}

static void assert_taken(const int32_t *selected, size_t n, const bool *taken) {
    size_t at = 0;
    for (int i = 0; i < N_ODD; i++) {
        if (taken[i]) {
            assert_true(at < n);
            assert_int_equal(selected[at++], i);
        }
    }
    assert_int_equal(at, n);
    assert_int_equal(selected[n], -7); /* nothing is written after */
}

/* NaN, infinities and both zeros in every place: an order all the same, no position twice, none outside. */
static void test_odd_numbers(void **state) {
    (void)state;
    static const float odd[] = {NAN, INFINITY, -INFINITY, -0.0F, 0, 1};
    enum { N_KINDS = sizeof odd / sizeof *odd, ALL = 7776 }; /* 6^5 */
    for (int a = 0; a < ALL; a++) {
        float first[N_ODD], second[N_ODD];
        for (int i = 0, x = a, y = (int)((unsigned)a * 2654435761U % ALL); i < N_ODD; i++, x /= N_KINDS, y /= N_KINDS) {
            first[i] = odd[x % N_KINDS];
            second[i] = odd[y % N_KINDS];
        }
        for (size_t n = 0; n <= N_ODD; n++) {
            int32_t selected[N_ODD + 1] = {-7, -7, -7, -7, -7, -7};
            bool taken[N_ODD] = {false};
            assert_ok(iflow_select_best(first, 0, N_ODD, n, selected));
            take_naively(first, taken, n);
            assert_taken(selected, n, taken);
            for (size_t n_first = 0; n_first <= n; n_first++) {
                const double share = n ? (double)n_first / (double)n : 0;
                bool both[N_ODD] = {false};
                memset(selected, 0xff, sizeof selected);
                selected[n] = -7;
                assert_ok(iflow_select_union(first, share, second, 0, N_ODD, n, selected));
                take_naively(first, both, n ? n_first : 0);
                take_naively(second, both, n - (n ? n_first : 0));
                assert_taken(selected, n, both);
            }
            size_t count = 99;
            assert_ok(iflow_select_covering(first, 0, N_ODD, 0.5, n / 2, n, &count));
            assert_true(count >= n / 2 && count <= n);
        }
    }
    /* Many, so that sorting takes its other ways, and guarded by the sanitizer after the buffer. */
    enum { MANY = 3000 };
    float *first = malloc(MANY * sizeof *first), *second = malloc(MANY * sizeof *second);
    uint32_t random = 1;
    assert_true(first && second);
    for (int i = 0; i < MANY; i++) {
        random = random * 1664525U + 1013904223U;
        first[i] = odd[(random >> 16) % N_KINDS];
        second[i] = odd[(random >> 24) % 2]; /* NaN and infinity alone */
    }
    for (size_t n = 1; n <= MANY - 3; n += 499) {
        int32_t *selected = malloc(n * sizeof *selected);
        assert_non_null(selected);
        assert_ok(iflow_select_union(first, 2.0 / 3, second, 3, MANY, n, selected));
        for (size_t i = 0; i < n; i++) {
            assert_true(selected[i] >= 3 && selected[i] < MANY && (i == 0 || selected[i] > selected[i - 1]));
        }
        free(selected);
    }
    free(first), free(second);
}

static void test_epic(void **state) {
    (void)state;
    const int start[] = {5, 15, 17}, length[] = {10, 2, 7};
    int32_t selected[32];
    size_t n = 0;
    iflow_select_first(start, length, 3, 4, selected, &n);
    ASSERT_POSITIONS(selected, n, 5, 6, 7, 8, 15, 16, 17, 18, 19, 20);
    iflow_select_first_ratio(start, length, 3, 0.3, selected, &n);
    ASSERT_POSITIONS(selected, n, 5, 6, 7, 15, 17, 18);
    iflow_select_first_ratio(start, length, 3, 0, selected, &n);
    assert_int_equal(n, 0);
    iflow_select_first_ratio(start, length, 3, 1, selected, &n);
    assert_int_equal(n, 19);
}

static void test_random(void **state) {
    (void)state;
    enum { HEAD = 3, N = 40, S = 12 };
    int32_t a[N], b[N], count[N] = {0};
    assert_ok(iflow_select_random(1, HEAD, N, S, a));
    assert_ok(iflow_select_random(1, HEAD, N, S, b));
    assert_memory_equal(a, b, S * sizeof *a);
    assert_ok(iflow_select_random(2, HEAD, N, S, b));
    assert_memory_not_equal(a, b, S * sizeof *a);
    for (uint64_t seed = 0; seed < 2000; seed++) {
        assert_ok(iflow_select_random(seed, HEAD, N, S, a));
        for (int i = 0; i < S; i++) {
            assert_true(a[i] >= HEAD && a[i] < N && (i == 0 || a[i] > a[i - 1]));
            count[a[i]]++;
        }
    }
    for (int i = HEAD; i < N; i++) { /* each with probability 12/37: 649 of 2000, give or take 5 standard deviations of 21 */
        assert_true(count[i] > 544 && count[i] < 754);
    }
    assert_ok(iflow_select_random(5, HEAD, N, N - HEAD, a));
    for (int i = 0; i < N - HEAD; i++) {
        assert_int_equal(a[i], HEAD + i);
    }
}

static void test_score_layers(void **state) {
    (void)state;
    iflow_layer_spec spec[40] = {{0}};
    const iflow_hparams h40 = {.n_layer = 40, .spec = spec}, h4 = {.n_layer = 4, .spec = spec}, h10 = {.n_layer = 10, .spec = spec};
    int layer[IFLOW_MAX_SCORE_LAYERS], n = 0;
    assert_ok(iflow_score_layers(NULL, 0, &h40, layer, &n)); /* the paper's own depth */
    assert_int_equal(n, 4);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(layer[i], 22 + i);
    }
    assert_ok(iflow_score_layers(NULL, 0, &h4, layer, &n)); /* duplicates dropped */
    assert_int_equal(n, 1);
    assert_int_equal(layer[0], 2);
    assert_ok(iflow_score_layers((const int[]){-1, 3, 0, 3, -10}, 5, &h10, layer, &n));
    assert_int_equal(n, 3);
    assert_true(layer[0] == 0 && layer[1] == 3 && layer[2] == 9);
    assert_int_equal(iflow_score_layers((const int[]){10}, 1, &h10, layer, &n), IFLOW_E_ARG);
    assert_int_equal(iflow_score_layers((const int[]){-11}, 1, &h10, layer, &n), IFLOW_E_ARG);
    int many[IFLOW_MAX_SCORE_LAYERS + 1] = {0};
    assert_int_equal(iflow_score_layers(many, IFLOW_MAX_SCORE_LAYERS + 1, &h10, layer, &n), IFLOW_E_ARG);

    /* Layers with a window do not score: five of six, as in Gemma 3. */
    const iflow_hparams h18 = {.n_layer = 18, .spec = spec}, h26 = {.n_layer = 26, .spec = spec};
    for (int il = 0; il < 40; il++) {
        spec[il].window = il % 6 == 5 ? 0 : 512;
    }
    assert_ok(iflow_score_layers(NULL, 0, &h18, layer, &n)); /* 9 to 11 */
    assert_int_equal(n, 1);
    assert_int_equal(layer[0], 11);
    assert_ok(iflow_score_layers(NULL, 0, &h26, layer, &n)); /* 14 is as near to 11 as to 17: the deeper */
    assert_int_equal(n, 1);
    assert_int_equal(layer[0], 17);
    assert_ok(iflow_score_layers((const int[]){5, -1}, 2, &h18, layer, &n));
    assert_true(n == 2 && layer[0] == 5 && layer[1] == 17);
    assert_int_equal(iflow_score_layers((const int[]){5, 7}, 2, &h18, layer, &n), IFLOW_E_ARG);
    assert_non_null(strstr(iflow_error_message(), "layer 7 sees a window of 512"));
    assert_non_null(strstr(iflow_error_message(), "5, 11, 17"));
    assert_int_equal(iflow_score_layers(NULL, 0, &(iflow_hparams){.n_layer = 5, .spec = spec}, layer, &n), IFLOW_E_ARG);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_count),    cmocka_unit_test(test_best),         cmocka_unit_test(test_best_naively),
        cmocka_unit_test(test_covering), cmocka_unit_test(test_union),        cmocka_unit_test(test_epic),
        cmocka_unit_test(test_random),   cmocka_unit_test(test_score_layers), cmocka_unit_test(test_odd_numbers)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
