/* test_service_verification.c - the gate: which answers are checked, how they are asked for again, and what is heard of it. */
#include "service/verification.h"

#include "base/cancel.h"
#include "support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static iflow_model *model;
static iflow_context *ctx;
static iflow_cancel *token;

static int open_context(void **state) {
    (void)state;
    const char text[] = "The keeper of the light went over the river to the old stone house in the north, and the wind was bright there.";
    if (iflow_cancel_new(&token) || iflow_model_load(support_tiny_model("llama"), NULL, &model) ||
        iflow_context_new(model, NULL, &IFLOW_PARAMS(iflow_context_params, .n_threads = 1), &ctx)) {
        return -1;
    }
    iflow_cancel_use(token);
    return iflow_context_add_text(ctx, text, sizeof text - 1, 16);
}

static int close_context(void **state) {
    (void)state;
    iflow_context_free(ctx);
    iflow_model_free(model);
    iflow_cancel_use(NULL);
    iflow_cancel_free(token);
    return 0;
}

typedef struct heard {
    char text[512];
    size_t n_pieces, n_retries, cancel_after;
    double ratio[8]; /* that were asked next; 1: full prefill */
} heard;

static bool on_text(const char *piece, void *user) {
    heard *h = user;
    strncat(h->text, piece, sizeof h->text - strlen(h->text) - 1);
    h->n_pieces++;
    return true;
}

static void on_retry(const gate_retry *what, void *user) {
    heard *h = user;
    assert_true(what->verdict->verified);
    assert_true(what->verdict->agreement < what->least);
    assert_non_null(what->answer);
    assert_ptr_not_equal(what->was, what->next);
    h->ratio[h->n_retries++] = what->next->method == IFLOW_METHOD_FULL ? 1 : what->next->ratio;
    iflow_cancel_raise(token, h->cancel_after && h->n_retries >= h->cancel_after);
}

static iflow_status ask(gate *g, heard *h, iflow_answer **answer, verdict *v) {
    iflow_ask_params params = iflow_ask_default_params();
    const gate_events events = {.retry = on_retry, .user = h};
    params.question = "Who went?";
    params.max_tokens = 4;
    params.on_text = on_text;
    params.user = h;
    const iflow_status status = gate_run(g, ctx, &params, &events, answer, v);
    assert_ptr_equal(params.on_text, on_text); /* as the caller had it */
    assert_ptr_equal(params.user, h);
    return status;
}

static void test_unchecked(void **state) {
    (void)state;
    gate g = gate_default();
    heard h = {0};
    iflow_answer *answer = NULL;
    verdict v;
    assert_ok(ask(&g, &h, &answer, &v));
    assert_false(v.verified);
    assert_int_equal(v.n_asked, 1);
    assert_string_equal(h.text, answer->text);
    iflow_answer_free(answer);
}

/* Nothing passes an agreement of more than 1: the ratio doubles up to 0.6, then all is computed, and later questions are asked so at once.
 */
static void test_raised(void **state) {
    (void)state;
    gate g = {.share = 1, .least = 1.5};
    heard h = {.cancel_after = 3};
    iflow_answer *answer = NULL;
    verdict v;
    assert_int_equal(ask(&g, &h, &answer, &v), IFLOW_E_CANCELLED); /* or it would go on forever */
    iflow_cancel_raise(token, false);
    static const double want[] = {0.3, 0.6, 1};
    for (size_t i = 0; i < 3; i++) {
        assert_true(h.ratio[i] > want[i] - 1e-9 && h.ratio[i] < want[i] + 1e-9);
    }
    assert_true(g.raised);
    assert_null(answer);
    assert_int_equal(v.n_asked, 4);
    heard later = {0};
    g.share = 0;
    assert_ok(ask(&g, &later, &answer, &v));
    assert_int_equal(answer->method, IFLOW_METHOD_FULL);
    iflow_answer_free(answer);
}

static void test_passes(void **state) {
    (void)state;
    gate g = {.share = 1, .least = 0};
    heard h = {0};
    iflow_answer *answer = NULL;
    verdict v;
    assert_ok(ask(&g, &h, &answer, &v));
    assert_true(v.verified);
    assert_true(v.agreement >= 0 && v.agreement <= 1);
    assert_int_equal(v.n_asked, 1);
    assert_int_equal(h.n_retries, 0);
    assert_int_equal(h.n_pieces, 1); /* when it has passed */
    assert_string_equal(h.text, answer->text);
    assert_true(v.ms > 0);
    iflow_answer_free(answer);
    /* A failure leaves no answer. */
    gate other = {.share = 1, .least = 0};
    iflow_ask_params params = iflow_ask_default_params();
    params.question = "Who went?";
    params.ratio = 7;
    assert_int_equal(gate_run(&other, ctx, &params, NULL, &answer, &v), IFLOW_E_ARG);
    assert_null(answer);
}

/* Cancelled at many places: there is no answer yet, or one that was cut short or whose check was, which stands unchecked. */
static void test_cancelled(void **state) {
    (void)state;
    enum { PLACES = 24 };
    const long many = 1L << 30;
    size_t n_none = 0, n_cut = 0, n_unchecked = 0;
    long n_looks = 0;
    for (long i = 0; i <= PLACES; i++) {
        gate g = {.share = 1, .least = 0};
        heard h = {0};
        iflow_answer *answer = NULL;
        verdict v;
        iflow_cancel_after(token, i ? 1 + n_looks * (i - 1) / PLACES : many);
        const iflow_status status = ask(&g, &h, &answer, &v);
        n_looks = i ? n_looks : many - iflow_cancel_left(token);
        iflow_cancel_after(token, 0);
        iflow_cancel_raise(token, false);
        if (status != IFLOW_OK) {
            assert_int_equal(status, IFLOW_E_CANCELLED);
            assert_null(answer);
            n_none++;
            continue;
        }
        assert_string_equal(h.text, answer->text); /* it is handed out all the same */
        assert_true(v.verified == (i == 0) || i == PLACES);
        n_cut += answer->finish == IFLOW_FINISH_CANCELLED;
        n_unchecked += answer->finish != IFLOW_FINISH_CANCELLED && !v.verified;
        iflow_answer_free(answer);
    }
    assert_true(n_none && n_cut && n_unchecked);
}

static void test_draws(void **state) {
    (void)state;
    char question[32];
    size_t n = 0;
    const gate tenth = {.share = 0.1}, none = {0}, all = {.share = 1};
    for (int i = 0; i < 2000; i++) {
        snprintf(question, sizeof question, "question %d", i);
        assert_int_equal(gate_draws(&tenth, question), gate_draws(&tenth, question));
        assert_true(gate_draws(&all, question));
        assert_false(gate_draws(&none, question));
        n += gate_draws(&tenth, question);
    }
    assert_in_range(n, 140, 260);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_unchecked), cmocka_unit_test(test_raised), cmocka_unit_test(test_passes),
        cmocka_unit_test(test_cancelled), cmocka_unit_test(test_draws),
    };
    return cmocka_run_group_tests(tests, open_context, close_context);
}
