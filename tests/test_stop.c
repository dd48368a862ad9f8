/* test_stop.c - stop strings: what is found, what is kept back while it can still become one, and answers that end before one, however
 * their text comes. */
#include "flow/stop.h"
#include "support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(list) (sizeof(list) / sizeof *(list))

static iflow_model *model;

/* ---- The search --------------------------------------------------------------------------------------------------------------------- */

/* A text of these stop strings, which ends before byte `at` by the stop string `which`; -1: by none. */
static const struct {
    const char *text, *stop[3];
    int which;
    size_t at;
} cases[] = {
    {"", {"a"}, -1, 0},
    {"aaa", {"b"}, -1, 0},
    {"a", {"a"}, 0, 0},
    {"STOP", {"STOP"}, 0, 0},
    {"say STOP now", {"STOP"}, 0, 4},
    {"say STO", {"STOP"}, -1, 0},
    {"STOSTOP", {"STOP"}, 0, 3},     /* what began did not go on, but something else did within it */
    {"aaab", {"aab"}, 0, 1},         /* a prefix that overlaps itself */
    {"ababac", {"abac"}, 0, 2},      /* the same, longer */
    {"xabcd", {"abcd", "bc"}, 1, 2}, /* the one that is complete first, not the one that begins first */
    {"xabcd", {"abc", "abcd"}, 0, 1},
    {"xabcd", {"bc", "abc"}, 1, 1}, /* complete at the same byte: the longer one */
    {"xabcd", {"cd", "bcd", "d"}, 1, 2},
    {"one\n\ntwo", {"\n\n"}, 0, 3},
    {"caf\xc3\xa9!", {"\xc3\xa9"}, 0, 3},
    {"\xe2\x82\xac\xe2\x82\xad.", {"\xe2\x82\xad"}, 0, 3}, /* they differ in the last byte */
    {"\xf0\x9f\xa7\x99 \xf0\x9f\xa7\x98", {"\xf0\x9f\xa7\x98"}, 0, 5},
};

/* Reads a text in pieces that end at the bits of `cuts`, as answers do. Gives what was found; *shown: what could have been shown before. */
static int read_in_pieces(const char *text, const char *const *stop, size_t n_stop, unsigned cuts, size_t *at, size_t *shown) {
    const size_t n = strlen(text);
    size_t before = 0;
    int found = -1;
    *shown = 0;
    for (size_t end = 1; end <= n && found < 0; end++) {
        if (end == n || (cuts >> (end - 1) & 1)) {
            found = iflow_stop_find(stop, n_stop, text, end, before, at);
            before = end;
            if (found < 0) {
                const size_t begun = iflow_stop_begun(stop, n_stop, text, end);
                assert_true(begun <= end && end - begun >= *shown); /* nothing is taken back */
                *shown = end - begun;
            }
        }
    }
    return found;
}

/* However a text is cut into pieces, the same is found, and nothing of it was shown. */
static void test_pieces(void **state) {
    (void)state;
    for (size_t c = 0; c < COUNT(cases); c++) {
        const size_t n = strlen(cases[c].text);
        size_t n_stop = 0;
        while (n_stop < COUNT(cases[c].stop) && cases[c].stop[n_stop]) {
            n_stop++;
        }
        for (unsigned cuts = 0; cuts < 1U << (n ? n - 1 : 0); cuts++) {
            size_t at = 0, shown = 0;
            const int found = read_in_pieces(cases[c].text, cases[c].stop, n_stop, cuts, &at, &shown);
            if (found != cases[c].which || (found >= 0 && (at != cases[c].at || shown > at))) {
                fail_msg("'%s', cut at %x: %d at %zu, shown %zu", cases[c].text, cuts, found, at, shown);
            }
        }
    }
}

/* Random texts of two letters against the plain search, and what is kept back is no more than must be. */
static void test_random(void **state) {
    (void)state;
    uint32_t random = 3;
    size_t n_found = 0;
    for (int round = 0; round < 20000; round++) {
        char text[17] = "", stops[3][6] = {"", "", ""};
        const char *stop[3] = {stops[0], stops[1], stops[2]};
        for (int i = 0; i < 16; i++) {
            random = random * 1664525U + 1013904223U;
            text[i] = (char)('a' + (random >> 13 & 1));
        }
        size_t first_end = 99, first_at = 0;
        for (int s = 0; s < 3; s++) {
            random = random * 1664525U + 1013904223U;
            const size_t n = 2 + (random >> 13) % 4;
            for (size_t i = 0; i < n; i++) {
                stops[s][i] = (char)('a' + (random >> (16 + i) & 1));
            }
            const char *place = strstr(text, stops[s]);
            const size_t at = place ? (size_t)(place - text) : 0, end = place ? at + n : 99;
            if (end < first_end || (end == first_end && at < first_at)) {
                first_end = end;
                first_at = at;
            }
        }
        size_t at = 0, shown = 0;
        random = random * 1664525U + 1013904223U;
        const int found = read_in_pieces(text, stop, 3, random >> 8, &at, &shown);
        assert_int_equal(found >= 0, first_end < 99);
        n_found += found >= 0;
        if (found >= 0) {
            assert_int_equal(at, first_at);
            assert_true(shown <= at);
        } else { /* each byte that is kept back begins a stop string, to the end */
            bool begins = shown == 16;
            for (int s = 0; s < 3; s++) {
                begins = begins || strncmp(stops[s], text + shown, 16 - shown) == 0;
            }
            assert_true(begins);
        }
    }
    assert_in_range(n_found, 1000, 19990);
}

static void test_check(void **state) {
    (void)state;
    char longest[IFLOW_MAX_STOP_BYTES + 2];
    memset(longest, 'x', sizeof longest);
    longest[IFLOW_MAX_STOP_BYTES] = '\0';
    const char *many[IFLOW_MAX_STOPS + 1];
    for (size_t i = 0; i < COUNT(many); i++) {
        many[i] = longest;
    }
    assert_ok(iflow_stop_check(NULL, 0));
    assert_ok(iflow_stop_check(many, IFLOW_MAX_STOPS));
    assert_int_equal(iflow_stop_check(many, IFLOW_MAX_STOPS + 1), IFLOW_E_ARG);
    assert_non_null(strstr(iflow_error_message(), "17 stop strings; 16"));
    assert_int_equal(iflow_stop_check(many, SIZE_MAX), IFLOW_E_ARG);
    assert_int_equal(iflow_stop_check(NULL, 1), IFLOW_E_ARG);
    assert_int_equal(iflow_stop_check((const char *[]){"a", ""}, 2), IFLOW_E_ARG);
    assert_non_null(strstr(iflow_error_message(), "stop string 2 is empty"));
    assert_int_equal(iflow_stop_check((const char *[]){NULL}, 1), IFLOW_E_ARG);
    assert_int_equal(iflow_stop_check((const char *[]){"a\xc3"}, 1), IFLOW_E_FORMAT);
    assert_non_null(strstr(iflow_error_message(), "stop string 1 is invalid UTF-8 at byte 1"));
    longest[IFLOW_MAX_STOP_BYTES] = 'x';
    longest[IFLOW_MAX_STOP_BYTES + 1] = '\0';
    assert_int_equal(iflow_stop_check(many, 1), IFLOW_E_ARG);
    assert_non_null(strstr(iflow_error_message(), "longer; from 1 to 256"));
}

/* ---- Answers ------------------------------------------------------------------------------------------------------------------------ */

typedef struct listener {
    char text[256];
    size_t n_calls, most;
} listener;

static bool listen(const char *piece, void *user) {
    listener *l = user;
    assert_true(piece[0] && strlen(l->text) + strlen(piece) < sizeof l->text);
    assert_int_equal(iflow_utf8_check(piece, strlen(piece)), strlen(piece));
    memcpy(l->text + strlen(l->text), piece, strlen(piece) + 1);
    return ++l->n_calls < l->most;
}

/* A grammar of one sentence has any model say it, in tokens of one byte and more. */
static iflow_ask_params say(const char *grammar, listener *heard) {
    iflow_ask_params params = iflow_ask_default_params();
    params.question = "Who built it?";
    params.grammar = grammar;
    params.on_text = listen;
    params.user = heard;
    *heard = (listener){.most = 999};
    return params;
}

static iflow_context *make_context(void) {
    static const char document[] = "The red lighthouse at Cape Doran was built in 1871 by Ilse Marn.";
    iflow_context *ctx = NULL;
    assert_ok(iflow_context_new(model, NULL, &IFLOW_PARAMS(iflow_context_params, .n_threads = 1, .fillers = IFLOW_NO_FILLERS), &ctx));
    assert_ok(iflow_context_add_text(ctx, document, strlen(document), 0));
    return ctx;
}

static void test_answers(void **state) {
    (void)state;
    iflow_context *ctx = make_context();
    for (size_t c = 0; c < COUNT(cases); c++) {
        size_t n_stop = 0;
        while (n_stop < COUNT(cases[c].stop) && cases[c].stop[n_stop]) {
            n_stop++;
        }
        char grammar[64] = "root ::= \"", *end = grammar + strlen(grammar), wanted[64];
        for (const char *t = cases[c].text; *t; t++) {
            end += sprintf(end, *t == '\n' ? "\\n" : "%c", *t);
        }
        sprintf(end, "\"");
        snprintf(wanted, sizeof wanted, "%s", cases[c].text);
        wanted[cases[c].which >= 0 ? cases[c].at : strlen(wanted)] = '\0';
        for (uint64_t seed = 0; seed < 6; seed++) {
            listener heard;
            iflow_answer *answer = NULL;
            iflow_ask_params params = say(grammar, &heard);
            params.seed = seed;
            params.temperature = (double)seed;
            params.stop = cases[c].stop;
            params.n_stop = n_stop;
            assert_ok(seed % 2 ? iflow_context_follow_up(ctx, &params, &answer) : iflow_context_ask(ctx, &params, &answer));
            assert_string_equal(answer->text, wanted);
            assert_string_equal(heard.text, wanted);
            assert_int_equal(answer->finish, IFLOW_FINISH_STOP);
            assert_int_equal(answer->stopped_by, cases[c].which);
            assert_true(cases[c].which < 0 || answer->n_generated > 0); /* its tokens are those of the stop string, too */
            iflow_answer_free(answer);
        }
    }
    iflow_context_free(ctx);
}

/* What could have become a stop string comes at the end, whatever ends the answer. */
static void test_ends(void **state) {
    (void)state;
    iflow_context *ctx = make_context();
    static const char *const stop[] = {"bcdX", "cdY"};
    for (int way = 0; way < 4; way++) {
        listener heard;
        iflow_answer *answer = NULL;
        iflow_ask_params params = say(way == 0 ? "root ::= \"abcd\"" : "root ::= \"abcd\" \"e\" [f]{50}", &heard);
        params.stop = stop;
        params.n_stop = 2;
        if (way == 1) {
            params.max_tokens = 4; /* or fewer bytes than that many tokens have: a, b, c and d are one each */
        } else if (way == 2) {
            heard.most = 1; /* cancelled at the first piece */
        } else if (way == 3) {
            static const int32_t said[] = {'a', 'b', 'c', 'd', 'X', 'b', 'c'};
            params.forced = said; /* no stop string ends these */
            params.n_forced = COUNT(said);
        }
        assert_ok(iflow_context_ask(ctx, &params, &answer));
        assert_int_equal(answer->stopped_by, -1);
        if (way == 0) {
            assert_string_equal(answer->text, "abcd");
            assert_int_equal(answer->finish, IFLOW_FINISH_STOP);
        } else if (way == 1) {
            assert_memory_equal(answer->text, "abcd", 4);
            assert_int_equal(answer->finish, IFLOW_FINISH_LENGTH);
        } else if (way == 2) {
            assert_string_equal(answer->text, "a");
            assert_int_equal(answer->finish, IFLOW_FINISH_CANCELLED);
        } else {
            assert_string_equal(answer->text, "abcdXbc");
            assert_int_equal(answer->finish, IFLOW_FINISH_STOP);
        }
        assert_string_equal(heard.text, answer->text);
        iflow_answer_free(answer);
    }
    /* While it can still become one, it is not there: the second piece comes with the e that decides. */
    listener heard;
    iflow_answer *answer = NULL;
    iflow_ask_params params = say("root ::= \"abcde\"", &heard);
    params.stop = stop;
    params.n_stop = 2;
    assert_ok(iflow_context_ask(ctx, &params, &answer));
    assert_string_equal(heard.text, "abcde");
    assert_int_equal(heard.n_calls, 2);
    iflow_answer_free(answer);
    /* The context goes on from the tokens that were said, and a replay takes them back. */
    params = say("root ::= \"abcdX\" [y]{9}", &heard);
    params.stop = stop;
    params.n_stop = 2;
    assert_ok(iflow_context_ask(ctx, &params, &answer));
    assert_string_equal(answer->text, "a");
    iflow_answer *next = NULL;
    assert_ok(iflow_context_follow_up(ctx, &params, &next));
    assert_string_equal(next->text, "a");
    assert_int_equal(next->n_context, answer->n_context + answer->n_prompt + answer->n_generated - 1);
    iflow_answer_free(answer), iflow_answer_free(next);
    iflow_context_free(ctx);
}

static int set_up(void **state) {
    (void)state;
    return iflow_model_load(support_tiny_model("llama"), NULL, &model);
}

static int tear_down(void **state) {
    (void)state;
    iflow_model_free(model);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_pieces), cmocka_unit_test(test_random), cmocka_unit_test(test_check),
                                       cmocka_unit_test(test_answers), cmocka_unit_test(test_ends)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
