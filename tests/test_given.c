/* test_given.c - the method given: what infoflow selects or scores, given back, comes to the same; and what does not fit is refused. */
#include "identity_fixture.h"

static void assert_refused(iflow_context *ctx, const iflow_ask_params *params, const char *word) {
    iflow_answer *answer = NULL;
    const iflow_status status = iflow_context_ask(ctx, params, &answer);
    if (status != IFLOW_E_ARG || !strstr(iflow_error_message(), word)) {
        fail_msg("status %d, message without '%s': %s", (int)status, word, iflow_error_message());
    }
    assert_null(answer);
}

static void assert_bit_equal(const iflow_answer *a, const float *logits_a, const iflow_answer *b, const float *logits_b) {
    assert_int_equal(a->n_selected, b->n_selected);
    assert_memory_equal(a->selected, b->selected, a->n_selected * sizeof *a->selected);
    assert_int_equal(a->n_recomputed, b->n_recomputed);
    assert_same_answer(a, b);
    assert_memory_equal(logits_a, logits_b, (size_t)model->n_vocab * sizeof *logits_a);
}

/* Positions in any order, and scores: each as infoflow has them, to the bit, with the repairs that infoflow makes. */
static void test_same_as_infoflow(void **state) {
    (void)state;
    iflow_context *ctx = make_context(NULL, 0, 1, NULL);
    iflow_answer *infoflow = NULL, *given = NULL;
    float *expected = ask(ctx, IFLOW_METHOD_INFOFLOW, 0.15, &infoflow);
    int32_t *position = calloc(infoflow->n_selected, sizeof *position);
    assert_non_null(position);
    assert_true(infoflow->n_selected > 10);
    for (size_t i = 0; i < infoflow->n_selected; i++) {
        position[i] = infoflow->selected[infoflow->n_selected - 1 - i];
    }
    iflow_ask_params params = ask_params(IFLOW_METHOD_GIVEN, 0); /* a ratio is not for positions */
    params.given_positions = position;
    params.n_given_positions = infoflow->n_selected;
    float *logits = ask_with(ctx, &params, &given);
    assert_bit_equal(infoflow, expected, given, logits);
    assert_null(given->score);
    assert_true(given->ratio <= 0);
    for (size_t c = 0; c < given->n_chunks; c++) {
        assert_int_equal(given->chunk[c].n_selected, infoflow->chunk[c].n_selected);
    }
    free(logits), iflow_answer_free(given), given = NULL;

    float *score = calloc(infoflow->n_context, sizeof *score);
    assert_non_null(score);
    memcpy(score, infoflow->score, infoflow->n_context * sizeof *score);
    score[0] = 1e9F; /* the head's do not count */
    params = ask_params(IFLOW_METHOD_GIVEN, 0.15);
    params.given_scores = score;
    params.n_given_scores = infoflow->n_context;
    logits = ask_with(ctx, &params, &given);
    assert_bit_equal(infoflow, expected, given, logits);
    assert_memory_equal(given->score, infoflow->score, infoflow->n_context * sizeof *score);
    assert_true(given->ratio >= 0.15);
    free(logits), iflow_answer_free(given), given = NULL;
    free(expected), iflow_answer_free(infoflow), infoflow = NULL;

    iflow_ask_params covering = ask_params(IFLOW_METHOD_INFOFLOW, 0.15);
    covering.coverage = params.coverage = 0.3;
    expected = ask_with(ctx, &covering, &infoflow);
    logits = ask_with(ctx, &params, &given);
    assert_bit_equal(infoflow, expected, given, logits);
    free(logits), iflow_answer_free(given);
    free(expected), iflow_answer_free(infoflow);
    free(position), free(score);
    iflow_context_free(ctx);
}

/* No positions, and none by scores: nothing is recomputed. All of them: full prefill. */
static void test_ends(void **state) {
    (void)state;
    iflow_context *ctx = make_context(NULL, 0, 1, NULL);
    iflow_answer *other = NULL, *given = NULL;
    float *expected = ask(ctx, IFLOW_METHOD_NONE, 0, &other);
    iflow_ask_params params = ask_params(IFLOW_METHOD_GIVEN, 0.5);
    int32_t *position = calloc(other->n_context, sizeof *position);
    float *score = calloc(other->n_context, sizeof *score);
    assert_non_null(position), assert_non_null(score);
    params.given_positions = position;
    params.correct = params.drift = IFLOW_OFF;
    float *logits = ask_with(ctx, &params, &given);
    assert_bit_equal(other, expected, given, logits);
    free(logits), iflow_answer_free(given), given = NULL;
    params.given_positions = NULL;
    params.given_scores = score;
    params.n_given_scores = other->n_context;
    params.ratio = 0;
    logits = ask_with(ctx, &params, &given);
    assert_bit_equal(other, expected, given, logits);
    free(logits), iflow_answer_free(given), given = NULL;
    free(expected), iflow_answer_free(other), other = NULL;

    expected = ask(ctx, IFLOW_METHOD_FULL, 0, &other);
    const size_t n_head = (size_t)other->chunk[0].length;
    params = ask_params(IFLOW_METHOD_GIVEN, 0);
    params.given_positions = position;
    params.n_given_positions = other->n_context - n_head;
    for (size_t i = 0; i < params.n_given_positions; i++) {
        position[i] = (int32_t)(n_head + i);
    }
    logits = ask_with(ctx, &params, &given);
    assert_close(expected, logits);
    free(logits), iflow_answer_free(given);
    free(expected), iflow_answer_free(other);
    free(position), free(score);
    iflow_context_free(ctx);
}

static void test_refused(void **state) {
    (void)state;
    assert_ok(iflow_model_load(support_tiny_model("llama-gqa"), NULL, &model));
    iflow_context *ctx = make_context(NULL, 0, 1, NULL);
    iflow_answer *answer = NULL;
    free(ask(ctx, IFLOW_METHOD_NONE, 0, &answer));
    const int32_t n = (int32_t)answer->n_context, n_head = answer->chunk[0].length;
    float *score = calloc((size_t)n + 1, sizeof *score);
    assert_non_null(score);
    int32_t position[] = {n_head, n - 1, n_head + 1};
    const iflow_ask_params fine = ask_params(IFLOW_METHOD_GIVEN, 0.15);
    iflow_ask_params params = fine;
    assert_refused(ctx, &params, "given_positions or given_scores; there are neither");
    params.n_given_positions = 3;
    assert_refused(ctx, &params, "given_positions is NULL, but n_given_positions is 3");
    params.given_positions = position;
    params.given_scores = score;
    params.n_given_scores = (size_t)n;
    assert_refused(ctx, &params, "there are both");
    params.given_scores = NULL;
    assert_refused(ctx, &params, "given_scores is NULL, but n_given_scores is");
    params.n_given_scores = 0;
    iflow_answer_free(answer), answer = NULL;
    assert_ok(iflow_context_ask(ctx, &params, &answer));
    char right[64], wrong[64];
    snprintf(right, sizeof right, "of this context %d to %d can be recomputed", n_head, n - 1);
    const int32_t none[] = {-1, INT32_MIN, n, INT32_MAX, n_head - 1, 0};
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
        position[1] = none[i];
        snprintf(wrong, sizeof wrong, "position %d is %s", none[i], none[i] >= 0 && none[i] < n_head ? "in the head" : "not there");
        assert_refused(ctx, &params, right);
        assert_refused(ctx, &params, wrong);
    }
    position[1] = n_head + 1;
    snprintf(wrong, sizeof wrong, "position %d is given twice", n_head + 1);
    assert_refused(ctx, &params, wrong);

    params = fine;
    params.given_scores = score;
    for (int32_t more = -1; more <= 1; more += 2) {
        params.n_given_scores = (size_t)(n + more);
        snprintf(wrong, sizeof wrong, "%d scores are given; this context needs %d", n + more, n);
        assert_refused(ctx, &params, wrong);
    }
    params.n_given_scores = (size_t)n;
    snprintf(wrong, sizeof wrong, "score of position %d", n - 1);
    const float odd[] = {NAN, INFINITY, -INFINITY};
    for (size_t i = 0; i < 3; i++) {
        score[n - 1] = odd[i];
        assert_refused(ctx, &params, wrong);
    }
    score[n - 1] = -1;
    iflow_answer_free(answer), answer = NULL;
    assert_ok(iflow_context_ask(ctx, &params, &answer)); /* an order is enough for a ratio */
    assert_int_equal(answer->selected[0], n_head);       /* of equals the lower ones */
    params.coverage = 0.5;
    assert_refused(ctx, &params, wrong);
    params.method = IFLOW_METHOD_INFOFLOW; /* others look at neither */
    iflow_answer_free(answer), answer = NULL;
    assert_ok(iflow_context_ask(ctx, &params, &answer));
    iflow_answer_free(answer);
    free(score);
    iflow_context_free(ctx);
    iflow_model_free(model);
}

/* Rows of the tables stand in the order of the enums, and every name leads to its number. */
static void test_tables(void **state) {
    (void)state;
    static const char *const method[] = {"infoflow", "full",      "none",  "epic",    "epic-ratio", "cacheblend",
                                         "random",   "staleness", "union", "product", "given"};
    static const char *const score[] = {"norm", "mass", "entropy", "vatp", "combined"}, *const geometry[] = {"global", "hl-hp", "hl-tp",
                                                                                                             "tl-tp"};
    for (int i = IFLOW_METHOD_INFOFLOW; i <= IFLOW_METHOD_GIVEN; i++) {
        assert_string_equal(iflow_method_name((iflow_method)i), method[i]);
    }
    for (int i = IFLOW_SCORE_NORM; i <= IFLOW_SCORE_COMBINED; i++) {
        assert_string_equal(iflow_score_name((iflow_score)i), score[i]);
    }
    for (int i = IFLOW_GEOMETRY_GLOBAL; i <= IFLOW_GEOMETRY_TL_TP; i++) {
        assert_string_equal(iflow_geometry_name((iflow_geometry)i), geometry[i]);
    }
    for (int i = 0; iflow_method_name((iflow_method)i); i++) {
        iflow_method found = (iflow_method)-1;
        assert_ok(iflow_method_from_name(iflow_method_name((iflow_method)i), &found));
        assert_int_equal(found, i);
    }
    for (int i = 0; iflow_score_name((iflow_score)i); i++) {
        iflow_score found = (iflow_score)-1;
        assert_ok(iflow_score_from_name(iflow_score_name((iflow_score)i), &found));
        assert_int_equal(found, i);
    }
}

WITH_F32_MODELS(test_same_as_infoflow)
WITH_F32_MODELS(test_ends)

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_test_same_as_infoflow),
        cmocka_unit_test(all_test_ends),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_tables),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
