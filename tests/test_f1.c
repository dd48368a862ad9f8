/* test_f1.c - answer extraction and F1 against values worked out by hand from the protocol's rules. */
#include "lab/f1.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

typedef struct string_case {
    const char *in, *out;
} string_case;

static void test_extract(void **state) {
    (void)state;
    static const string_case cases[] = {
        {"Paris", "Paris"},
        {"  Paris \n", "Paris"},
        {"", ""},
        {" \n\t", ""},
        {"Answer: Paris", "Paris"},
        {"ANSWER:Paris", "Paris"},
        {"Final answer: Paris", "Paris"},
        {"The answer is Paris", "Paris"},
        {"answers: Paris", "answers: Paris"},
        {"Paris\nFrance", "Paris"},
        {"Answer:\nParis\nFrance", "Paris"},
        {"Paris, France", "Paris"},
        {"Paris; France", "Paris"},
        {", ; Paris", "Paris"},
        {",", ""},
        {"Paris\xEF\xBC\x8C France", "Paris"}, /* fullwidth comma */
        {"Paris\xE3\x80\x82", "Paris"},        /* ideographic full stop */
        {"Paris\xEF\xBC\x9B", "Paris"},        /* fullwidth semicolon */
        {"\"Paris\"", "Paris"},
        {"'Paris'", "Paris"},
        {"\xE2\x80\x9CParis\xE2\x80\x9D", "Paris"}, /* curly quotes */
        {"\"Paris\", in France", "Paris"},
        {"Yes, it was", "Yes"},
        {"yes it was", "yes"},
        {"No.", "No"},
        {"no one knows", "no"},
        {"Norway", "Norway"},
        {"yesterday", "yesterday"},
        {"no\xC3\xABl", "no\xC3\xABl"}, /* a letter beyond ASCII goes on with the word */
        {"3.5 million", "3.5 million"},
        {"Paris\xFF", "Paris\xFF"}, /* not UTF-8: kept */
        {"\xE2\x80", "\xE2\x80"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char *got = f1_extract(cases[i].in);
        assert_non_null(got);
        assert_string_equal(got, cases[i].out);
        free(got);
    }
}

static void test_normalise(void **state) {
    (void)state;
    static const string_case cases[] = {
        {"The  Eiffel\tTower.", "eiffel tower"},
        {"A.B.C.", "abc"},
        {"an apple a day", "apple day"},
        {"the", ""},
        {"theatre banana Anna", "theatre banana anna"},
        {"it's", "its"},
        {"well-known", "wellknown"},
        {"\xC3\x89mile", "\xC3\xA9mile"},     /* upper E acute to lower */
        {"x\xC2\xA0y", "x y"},                /* no-break space */
        {"a\xE2\x80\x94the", "\xE2\x80\x94"}, /* a dash beyond ASCII stays, and words end there */
        {"  ", ""},
        {"\xC3", "\xC3"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char *got = f1_normalise(cases[i].in);
        assert_non_null(got);
        assert_string_equal(got, cases[i].out);
        free(got);
    }
}

static void assert_near(double got, double want) {
    if (fabs(got - want) > 1e-12) {
        fail_msg("%.12f, but %.12f was wanted", got, want);
    }
}

static void test_score(void **state) {
    (void)state;
    assert_near(f1_score("Paris", "paris."), 1);
    assert_near(f1_score("Rome", "Paris"), 0);
    assert_near(f1_score("the city of Paris", "Paris"), 0.5); /* precision 1/3, recall 1 */
    assert_near(f1_score("a b b c", "b b b d"), 4.0 / 7);     /* "a" is an article: 2 common of 3 and 4 */
    assert_near(f1_score("", ""), 1);
    assert_near(f1_score("the", "an"), 1); /* nothing is left of either */
    assert_near(f1_score("", "Paris"), 0);
    assert_near(f1_score("Paris", ""), 0);
    static const char *const gold[] = {"Rome", "Paris France", "London"};
    assert_near(f1_best("Paris", gold, 3), 2.0 / 3);
    assert_near(f1_best("Paris", gold, 1), 0);
    assert_near(f1_best("Paris", NULL, 0), 0);
}

static void test_exact_and_contains(void **state) {
    (void)state;
    static const char *const gold[] = {"Rome", "The city of Paris!", "no", "the"};
    assert_int_equal(f1_exact("a city of paris", gold, 4), 1);
    assert_int_equal(f1_exact("Paris", gold, 4), 0);
    assert_int_equal(f1_exact("Rome", gold, 4), 1);
    assert_int_equal(f1_exact("Rome", gold, 0), 0);
    assert_int_equal(f1_exact("", gold, 4), 1); /* nothing is left of "the" either */
    assert_int_equal(f1_exact("", gold, 3), 0);
    assert_int_equal(f1_contains("It is the City of PARIS, I think.", gold, 4), 1);
    assert_int_equal(f1_contains("It is the city.\nOf Paris", gold, 4), 1); /* past the line where extraction ends */
    assert_int_equal(f1_contains("It is the city of Parish", gold, 4), 0);
    assert_int_equal(f1_contains("It is Jerome or Romeo", gold, 4), 0);
    assert_int_equal(f1_contains("north, know", gold, 4), 0);
    assert_int_equal(f1_contains("anno; no", gold, 4), 1); /* the second place counts where the first is within a word */
    assert_int_equal(f1_contains("the", gold, 4), 0);
    assert_int_equal(f1_contains("", gold, 4), 0);
    static const char *const accent[] = {"caf"}, *const capital[] = {"\xE5\xB7\xB4\xE9\xBB\x8E"};
    assert_int_equal(f1_contains("caf\xC3\xA9", accent, 1), 0); /* a letter beyond ASCII goes on with the word */
    assert_int_equal(f1_contains("caf\xE2\x80\x94x", accent, 1), 1);
    assert_int_equal(f1_contains("\xE6\x98\xAF\xE5\xB7\xB4\xE9\xBB\x8E\xE3\x80\x82", capital, 1), 1); /* no spaces in Chinese */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_extract),
        cmocka_unit_test(test_normalise),
        cmocka_unit_test(test_score),
        cmocka_unit_test(test_exact_and_contains),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
