/* test_limits.c - where a context ends: what exactly fits, what is said where it does not, how an answer that was cut is marked, and the
 * warning where positions go beyond the model's training. */
#include "support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static iflow_model *model;
static const char document[] = "The red lighthouse at Cape Doran was built in 1871 by Ilse Marn.";
/* A token for each byte, which is what the tiny models have. */
static const int32_t said[] = {'E', 'l', 'e', 'v', 'e', 'n', '!', '!'};
enum { N_SAID = sizeof said / sizeof *said };

static iflow_context *make_context(int n_ctx) {
    iflow_context *ctx = NULL;
    assert_ok(iflow_context_new(model, NULL,
                                &IFLOW_PARAMS(iflow_context_params, .n_ctx = n_ctx, .n_threads = 1, .fillers = IFLOW_NO_FILLERS), &ctx));
    assert_ok(iflow_context_add_text(ctx, document, strlen(document), 0));
    return ctx;
}

static iflow_ask_params ask_params(size_t n_forced) {
    iflow_ask_params params = iflow_ask_default_params();
    params.question = "Who built it?";
    params.forced = said;
    params.n_forced = n_forced;
    return params;
}

/* E_CONTEXT, and both words in the message. */
static void assert_full(iflow_status status, const char *word, size_t number) {
    char *digits = iflow_format("%zu ", number);
    if (status != IFLOW_E_CONTEXT || !strstr(iflow_error_message(), word) || !strstr(iflow_error_message(), digits)) {
        fail_msg("status %d, message without '%s' or '%s': %s", (int)status, word, digits, iflow_error_message());
    }
    free(digits);
}

/* Rows that a question needs before its answer, and a follow-up after an answer of 2 tokens. */
static void measure(size_t *question, size_t *follow_up, size_t *head) {
    iflow_context *ctx = make_context(0);
    iflow_answer *answer = NULL, *next = NULL;
    const iflow_ask_params params = ask_params(2);
    assert_ok(iflow_context_ask(ctx, &params, &answer));
    assert_ok(iflow_context_follow_up(ctx, &params, &next));
    *question = answer->n_context + answer->n_prompt;
    *follow_up = next->n_context + next->n_prompt;
    *head = (size_t)answer->chunk[0].length;
    assert_int_equal(next->n_context, *question + 1); /* the second token has no row yet */
    iflow_answer_free(answer), iflow_answer_free(next);
    iflow_context_free(ctx);
}

static void test_question(void **state) {
    (void)state;
    size_t question = 0, follow_up = 0, head = 0;
    measure(&question, &follow_up, &head);
    const iflow_ask_params params = ask_params(N_SAID);
    for (int method = 0; iflow_method_name((iflow_method)method); method++) {
        iflow_ask_params each = params;
        each.method = (iflow_method)method;
        each.given_positions = &(int32_t){(int32_t)head};
        each.n_given_positions = 1;
        if (iflow_method_get_info(each.method)->by_staleness) { /* prefills chunks after a text, which needs more room than the question */
            continue;
        }
        for (size_t more = 0; more <= N_SAID + 1; more++) {
            iflow_context *ctx = make_context((int)(question + more));
            iflow_answer *answer = NULL;
            const iflow_status status = iflow_context_ask(ctx, &each, &answer);
            if (!more) {
                assert_full(status, "are 1 more than", question);
                assert_null(answer);
            } else {
                assert_ok(status);
                assert_int_equal(answer->n_generated, more < N_SAID ? more : N_SAID);
                assert_int_equal(answer->finish, more < N_SAID ? IFLOW_FINISH_LENGTH : IFLOW_FINISH_STOP);
                assert_true(answer->context_full == (more < N_SAID));
                assert_int_equal(strncmp(answer->text, "Eleven!!", more), 0);
            }
            iflow_answer_free(answer);
            iflow_context_free(ctx);
        }
    }
    /* Ten less, and ten are said; too small for any document, and what is not. */
    iflow_context *ctx = make_context((int)question - 9);
    iflow_answer *answer = NULL;
    assert_full(iflow_context_ask(ctx, &params, &answer), "leave out documents", 10);
    iflow_context_free(ctx);
    ctx = make_context(0);
    iflow_context_chunk *chunk = &ctx->chunk[0];
    const size_t least = question - chunk->n_tokens + 2;
    iflow_context_free(ctx);
    ctx = make_context((int)least - 1);
    assert_full(iflow_context_ask(ctx, &params, &answer), "too small for the question with any document", head);
    assert_full(IFLOW_E_CONTEXT, "at least", least);
    iflow_context_clear(ctx);
    assert_ok(iflow_context_add_tokens(ctx, said, 1));
    assert_full(iflow_context_ask(ctx, &params, &answer), "at least", least);
    iflow_context_free(ctx);
    ctx = make_context((int)least);
    iflow_context_clear(ctx);
    assert_ok(iflow_context_add_tokens(ctx, said, 1));
    assert_ok(iflow_context_ask(ctx, &params, &answer)); /* what was said is true */
    assert_int_equal(answer->n_generated, 1);
    iflow_answer_free(answer);
    iflow_context_free(ctx);
}

static void test_follow_up(void **state) {
    (void)state;
    size_t question = 0, follow_up = 0, head = 0;
    measure(&question, &follow_up, &head);
    const iflow_ask_params params = ask_params(2), more = ask_params(N_SAID);
    for (size_t i = 0; i < 4; i++) {
        iflow_context *ctx = make_context((int)(follow_up + i));
        iflow_answer *answer = NULL, *next = NULL;
        assert_ok(iflow_context_ask(ctx, &params, &answer));
        assert_int_equal(answer->finish, IFLOW_FINISH_STOP);
        const iflow_status status = iflow_context_follow_up(ctx, &more, &next);
        if (!i) {
            assert_full(status, "1 more than the context of", follow_up);
            assert_null(next);
            float *logits = calloc((size_t)model->n_vocab, sizeof *logits);
            assert_non_null(logits);
            assert_ok(iflow_context_replay(ctx, said, 1, logits)); /* the answer is still there */
            free(logits);
        } else {
            assert_ok(status);
            assert_int_equal(next->n_generated, i);
            assert_int_equal(next->finish, IFLOW_FINISH_LENGTH);
            assert_true(next->context_full);
        }
        iflow_answer_free(answer), iflow_answer_free(next);
        iflow_context_free(ctx);
    }
}

static void test_replay_and_verify(void **state) {
    (void)state;
    size_t question = 0, follow_up = 0, head = 0;
    measure(&question, &follow_up, &head);
    float *logits = calloc((size_t)N_SAID * (size_t)model->n_vocab, sizeof *logits);
    assert_non_null(logits);
    const iflow_ask_params one = ask_params(1), all = ask_params(N_SAID);
    iflow_context *ctx = make_context(0);
    iflow_answer *answer = NULL, *whole = NULL;
    iflow_fidelity like = {0};
    assert_ok(iflow_context_ask(ctx, &all, &whole));
    iflow_context_free(ctx);
    /* The last token of an answer needs no row. */
    for (size_t room = 1; room < N_SAID; room++) {
        ctx = make_context((int)(question + room));
        assert_ok(iflow_context_ask(ctx, &one, &answer));
        assert_ok(iflow_context_replay(ctx, said, room + 1, logits));
        if (room + 2 <= N_SAID) {
            assert_full(iflow_context_replay(ctx, said, room + 2, logits), "is 1 more than the context of", room + 2);
        }
        assert_ok(iflow_context_verify(ctx, &one, answer, &like));
        assert_int_equal(like.n_tokens, 1);
        const iflow_status status = iflow_context_verify(ctx, &one, whole, &like); /* an answer from a larger context */
        if (room + 1 >= N_SAID) {
            assert_ok(status);
        } else {
            assert_full(status, "more than the context of", N_SAID);
        }
        iflow_answer_free(answer), answer = NULL;
        iflow_context_free(ctx);
    }
    ctx = make_context((int)question);
    assert_full(iflow_context_verify(ctx, &one, whole, &like), "1 more", question);
    iflow_answer_free(whole);
    iflow_context_free(ctx);
    free(logits);
}

static void test_chunks(void **state) {
    (void)state;
    static const struct { int wanted, fillers; } way[] = {{IFLOW_NO_FILLERS, 0}, {1, 1}, {2, 2}};
    for (size_t i = 0; i < sizeof way / sizeof *way; i++) {
        iflow_context *ctx = NULL;
        iflow_context_params params = IFLOW_PARAMS(iflow_context_params, .n_threads = 1, .fillers = way[i].wanted);
        assert_ok(iflow_context_new(model, NULL, &params, &ctx));
        size_t before = ctx->builder.texts.end[0]; /* the longest that stands before a chunk */
        for (int text = 1; text <= way[i].fillers; text++) {
            const size_t n = ctx->builder.texts.end[0] + ctx->builder.texts.end[text] - ctx->builder.texts.end[text - 1];
            before = n > before ? n : before;
        }
        iflow_context_free(ctx);
        params.n_ctx = (int)before + N_SAID;
        assert_ok(iflow_context_new(model, NULL, &params, &ctx));
        assert_ok(support_prefill(ctx, said, N_SAID, NULL, NULL));
        iflow_context_free(ctx);
        params.n_ctx--;
        assert_ok(iflow_context_new(model, NULL, &params, &ctx));
        assert_full(support_prefill(ctx, said, N_SAID, NULL, NULL), "of at most", N_SAID - 1);
        assert_ok(support_prefill(ctx, said, N_SAID - 1, NULL, NULL)); /* as was said */
        iflow_context_free(ctx);
        params.n_ctx = (int)before;
        assert_ok(iflow_context_new(model, NULL, &params, &ctx));
        assert_full(support_prefill(ctx, said, 1, NULL, NULL), "too small for any chunk", before + 1);
        assert_true(!strstr(iflow_error_message(), "fillers") == !way[i].fillers); /* which would need fewer */
        iflow_context_free(ctx);
    }
}

/* ---- Ends --------------------------------------------------------------------------------------------------------------------------- */

typedef struct listener {
    char text[64];
    size_t n_calls, most;
} listener;

static bool listen(const char *piece, void *user) {
    listener *l = user;
    assert_true(strlen(l->text) + strlen(piece) < sizeof l->text);
    memcpy(l->text + strlen(l->text), piece, strlen(piece) + 1);
    return ++l->n_calls < l->most;
}

static void test_finish(void **state) {
    (void)state;
    iflow_context *ctx = make_context(0);
    iflow_answer *answer = NULL;
    listener heard = {.most = 3};
    iflow_ask_params params = ask_params(N_SAID);
    params.on_text = listen;
    params.user = &heard;
    assert_ok(iflow_context_ask(ctx, &params, &answer));
    assert_int_equal(answer->finish, IFLOW_FINISH_CANCELLED);
    assert_string_equal(answer->text, "Ele");
    iflow_answer_free(answer), answer = NULL;
    heard = (listener){.most = 1};
    assert_ok(iflow_context_follow_up(ctx, &params, &answer));
    assert_int_equal(answer->finish, IFLOW_FINISH_CANCELLED);
    assert_string_equal(answer->text, "E");
    iflow_answer_free(answer), answer = NULL;
    /* Said by the model itself: cut by the number of tokens, or ended by it sooner or later. */
    params = iflow_ask_default_params();
    params.question = "Who built it?";
    params.temperature = 3;
    size_t n_stopped = 0, n_cut = 0;
    for (params.seed = 0; params.seed < 12; params.seed++) {
        params.max_tokens = params.seed % 2 ? 60 : 2;
        assert_ok(iflow_context_ask(ctx, &params, &answer));
        assert_true(answer->finish == IFLOW_FINISH_STOP || answer->finish == IFLOW_FINISH_LENGTH);
        assert_true((answer->finish == IFLOW_FINISH_LENGTH) == (answer->n_generated == (size_t)params.max_tokens));
        assert_false(answer->context_full);
        assert_int_equal(answer->stopped_by, -1);
        n_stopped += answer->finish == IFLOW_FINISH_STOP;
        n_cut += answer->finish == IFLOW_FINISH_LENGTH;
        iflow_answer_free(answer), answer = NULL;
    }
    assert_true(n_stopped > 0 && n_cut > 0);
    static const char *const name[] = {"stop", "length", "cancelled"};
    for (int i = 0; i < 3; i++) {
        assert_string_equal(iflow_finish_name((iflow_finish)i), name[i]);
    }
    iflow_context_free(ctx);
}

/* What of a character stands at an answer's end is left out, of the text and of what is streamed, wherever the answer is cut. */
static void test_characters(void **state) {
    (void)state;
    static const struct {
        const char *bytes, *text; /* said; left */
    } cases[] = {
        {"a", "a"},
        {"a\xf0", "a"},
        {"a\xf0\x9f", "a"},
        {"a\xf0\x9f\xa7", "a"},
        {"a\xf0\x9f\xa7\x99", "a\xf0\x9f\xa7\x99"},
        {"\xf0\x9f\xa7\x99\xe2\x80", "\xf0\x9f\xa7\x99"},
        {"\xc3\xa9\xc3", "\xc3\xa9"},
        {"\xe2\x82\xac", "\xe2\x82\xac"},
        {"\xe2\x82", ""},
        {"\xc3", ""},
        {"a\x80", "a"},                                 /* no character's beginning, and no end of one */
        {"a\xc3\xa9\x80\xbf\x80\x80\x80", "a\xc3\xa9"}, /* more of them than a character has bytes */
        {"a\xff\xfe", "a"},                             /* in no character at all */
        {"a\xc0\xaf", "a"},                             /* overlong */
        {"a\xed\xa0\x80", "a"},                         /* a surrogate */
        {"a\xf0\x9f"
         "b",
         "a\xf0\x9f"
         "b"}, /* not at the end */
        {"a\xf0\x9f"
         "b\xe2",
         "a\xf0\x9f"
         "b"},
    };
    iflow_context *ctx = make_context(0);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int32_t token[16];
        const size_t n = strlen(cases[i].bytes);
        for (size_t k = 0; k < n; k++) {
            token[k] = (unsigned char)cases[i].bytes[k];
        }
        listener heard = {.most = 99};
        iflow_ask_params params = ask_params(n);
        params.forced = token;
        params.on_text = listen;
        params.user = &heard;
        for (int later = 0; later < 2; later++) {
            iflow_answer *answer = NULL;
            heard.text[0] = '\0';
            assert_ok(later ? iflow_context_follow_up(ctx, &params, &answer) : iflow_context_ask(ctx, &params, &answer));
            assert_int_equal(answer->n_generated, n); /* the tokens are all there */
            assert_string_equal(answer->text, cases[i].text);
            assert_string_equal(heard.text, cases[i].text);
            iflow_answer_free(answer);
        }
    }
    iflow_context_free(ctx);
}

/* ---- Beyond training ---------------------------------------------------------------------------------------------------------------- */

static size_t n_warnings;
static char warning[512];

static void on_log(iflow_log_level level, const char *message, void *user) {
    (void)user;
    if (level == IFLOW_LOG_WARN && strstr(message, "trained for")) {
        n_warnings++;
        snprintf(warning, sizeof warning, "%s", message);
    }
}

/* Asks with so many tokens of documents that the question needs n_rows. */
static iflow_context *ask_of(size_t n_rows, iflow_answer **answer, size_t n_forced) {
    size_t question = 0, follow_up = 0, head = 0;
    measure(&question, &follow_up, &head);
    iflow_context *ctx = NULL;
    assert_ok(iflow_context_new(model, NULL,
                                &IFLOW_PARAMS(iflow_context_params, .n_ctx = 4096, .n_threads = 1, .fillers = IFLOW_NO_FILLERS), &ctx));
    const iflow_ask_params params = ask_params(n_forced);
    size_t n_document = 0;
    iflow_context *one = make_context(0);
    n_document = one->chunk[0].n_tokens;
    iflow_context_free(one);
    for (size_t left = n_rows - (question - n_document); left > 0;) {
        int32_t token[100];
        const size_t n = left < 100 ? left : 100;
        for (size_t i = 0; i < n; i++) {
            token[i] = (int32_t)(' ' + (left + i) % 90);
        }
        assert_ok(iflow_context_add_tokens(ctx, token, n));
        left -= n;
    }
    n_warnings = 0;
    iflow_set_log(on_log, NULL);
    assert_ok(iflow_context_ask(ctx, &params, answer));
    assert_int_equal((*answer)->n_context + (*answer)->n_prompt, n_rows);
    iflow_answer_free(*answer);
    *answer = NULL;
    return ctx;
}

static void assert_beyond(size_t n) {
    iflow_set_log(NULL, NULL);
    assert_int_equal(n_warnings, n);
    assert_true(!n || strstr(warning, "1024 that"));
}

static void test_beyond_training(void **state) {
    (void)state;
    float *logits = calloc((size_t)N_SAID * (size_t)model->n_vocab, sizeof *logits);
    assert_non_null(logits);
    iflow_answer *answer = NULL;
    const iflow_ask_params params = ask_params(N_SAID);
    assert_int_equal(model->h.n_ctx_train, 1024);
    iflow_context *ctx = ask_of(1024, &answer, 1);
    assert_beyond(0);
    iflow_set_log(on_log, NULL);
    assert_ok(iflow_context_replay(ctx, said, 1, logits)); /* no row more */
    assert_beyond(0);
    iflow_set_log(on_log, NULL);
    assert_ok(iflow_context_replay(ctx, said, 2, logits));
    assert_beyond(1);
    iflow_context_free(ctx);
    ctx = ask_of(1020, &answer, 5); /* the last of 5 has no row */
    assert_beyond(0);
    iflow_set_log(on_log, NULL);
    assert_ok(iflow_context_follow_up(ctx, &params, &answer));
    assert_beyond(1);
    iflow_answer_free(answer), answer = NULL;
    iflow_context_free(ctx);
    ctx = ask_of(1020, &answer, 6); /* the answer goes beyond */
    assert_beyond(1);
    assert_non_null(strstr(warning, "1025 tokens"));
    iflow_context_free(ctx);
    ctx = ask_of(1200, &answer, 1);
    iflow_set_log(on_log, NULL);
    assert_ok(iflow_context_ask(ctx, &params, &answer)); /* again, and it is not said again */
    assert_beyond(1);
    assert_non_null(strstr(warning, "1200 tokens"));
    iflow_answer_free(answer), answer = NULL;
    iflow_context_free(ctx);
    free(logits);
}

/* YaRN put on a model without training reaches further than the length that it was trained for. */
static void test_beyond_scaled(void **state) {
    (void)state;
    iflow_model *other = NULL, *kept = model;
    iflow_answer *answer = NULL;
    assert_ok(iflow_model_load(support_tiny_model("qwen2-yarn"), NULL, &other)); /* 512 times 2 */
    other->h.n_ctx_train = 512;
    model = other;
    iflow_context *ctx = ask_of(1024, &answer, 1);
    assert_beyond(0);
    iflow_context_free(ctx);
    ctx = ask_of(1025, &answer, 1);
    assert_beyond(1);
    iflow_context_free(ctx);
    iflow_model_free(other);
    model = kept;
}

static int load(void **state) {
    (void)state;
    assert_ok(iflow_model_load(support_tiny_model("llama-gqa"), NULL, &model));
    return 0;
}

static int unload(void **state) {
    (void)state;
    iflow_model_free(model);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_question),        cmocka_unit_test(test_follow_up),     cmocka_unit_test(test_replay_and_verify),
        cmocka_unit_test(test_chunks),          cmocka_unit_test(test_finish),        cmocka_unit_test(test_characters),
        cmocka_unit_test(test_beyond_training), cmocka_unit_test(test_beyond_scaled),
    };
    return cmocka_run_group_tests(tests, load, unload);
}
