/* test_verify.c - an answer checked against full prefill: full's own and ratio 1's agree, one of unrepaired caches does not, by a count of
 * its own; and where the context goes on from. */
#include "support.h"
#include "tolerance.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *const models[] = {"llama-gqa", "llama-3", "qwen2"};
static const char text[] =
    "The Meridian lighthouse stands on the island of Tarn. It was designed by the engineer Clara Voss and lit for the first time in "
    "1887.\n\n"
    "Clara Voss was born in Eldermoor in 1849. She studied mathematics, built seven bridges and one lighthouse, and kept a diary in which "
    "every storm of her life is described.\n\n"
    "The library of Eldermoor was founded by a brewer. It holds forty thousand volumes and the papers of three engineers.";
static const char question[] = "Where is the diary of the engineer kept?";
enum { N_TOKENS = 12 };

static iflow_model *model;
static int n_below; /* models whose unrepaired caches did not say what full prefill says */

static iflow_context *make_context(void) {
    iflow_context *ctx = NULL;
    assert_ok(iflow_context_new(model, NULL, &IFLOW_PARAMS(iflow_context_params, .n_threads = 1, .chunk_tokens = 48), &ctx));
    assert_ok(iflow_context_add_text(ctx, text, strlen(text), 0));
    return ctx;
}

static iflow_ask_params asking(iflow_method method, double ratio) {
    iflow_ask_params params = iflow_ask_default_params();
    params.question = question;
    params.method = method;
    params.ratio = ratio;
    params.max_tokens = N_TOKENS;
    params.keep_logits = true;
    return params;
}

/* KL of logits that agree to a share t of the largest in size L: at most 2tL, their log probabilities' largest difference. */
static void assert_same(const iflow_fidelity *f, const iflow_answer *answer) {
    const double largest = support_max_size(answer->logits, answer->n_generated * (size_t)model->n_vocab);
    print_message("%s: agreement %g, KL %.2g over %zu tokens\n", strrchr(model->path, '/') + 1, f->top1, f->kl, f->n_tokens);
    assert_int_equal(f->n_tokens, answer->n_generated);
    assert_true(f->top1 == 1);
    assert_true(f->kl >= 0 && f->kl <= 2 * TOLERANCE_IDENTITY_F32 * largest);
}

static void test_full_and_ratio_1_agree(void **state) {
    (void)state;
    iflow_context *ctx = make_context();
    const iflow_ask_params by[] = {asking(IFLOW_METHOD_FULL, 0), asking(IFLOW_METHOD_INFOFLOW, 1)};
    for (size_t i = 0; i < 2; i++) {
        iflow_answer *answer = NULL;
        iflow_fidelity f = {-1, -1, 0};
        assert_ok(iflow_context_ask(ctx, &by[i], &answer));
        assert_int_equal(answer->n_generated, N_TOKENS);
        assert_ok(iflow_context_verify(ctx, &by[i], answer, &f));
        assert_same(&f, answer);
        iflow_answer_free(answer);
    }
    iflow_context_free(ctx);
}

/* What is counted is what full prefill says at each place when it is forced along the answer, asked for in another way: one ask a place. */
static void test_counts_what_full_says(void **state) {
    (void)state;
    iflow_context *ctx = make_context();
    const iflow_ask_params none = asking(IFLOW_METHOD_NONE, 0);
    iflow_answer *answer = NULL;
    iflow_fidelity f = {0};
    assert_ok(iflow_context_ask(ctx, &none, &answer));
    const size_t n = answer->n_generated, n_vocab = (size_t)model->n_vocab;
    assert_int_equal(n, N_TOKENS);
    assert_ok(iflow_context_verify(ctx, &none, answer, &f));
    iflow_ask_params forced = asking(IFLOW_METHOD_FULL, 0);
    iflow_answer *full = NULL;
    forced.forced = answer->token;
    forced.n_forced = n;
    assert_ok(iflow_context_ask(ctx, &forced, &full));
    size_t n_same = 0;
    for (size_t t = 0; t < n; t++) {
        n_same += support_argmax(full->logits + t * n_vocab, n_vocab) == (size_t)answer->token[t];
    }
    const iflow_fidelity by_hand = iflow_fidelity_of(full->logits, answer->logits, n, n_vocab);
    print_message("%s, no recompute: agreement %g, KL %.3g\n", strrchr(model->path, '/') + 1, f.top1, f.kl);
    n_below += f.top1 < 1;
    assert_true(f.top1 == (double)n_same / (double)n);
    assert_true(f.kl > 0.01 && fabs(f.kl - by_hand.kl) <= 0.05 * by_hand.kl + 1e-3);

    /* Without logits the count is the same and there is no KL. */
    free(answer->logits);
    answer->logits = NULL;
    iflow_fidelity bare = {0};
    assert_ok(iflow_context_verify(ctx, &none, answer, &bare));
    assert_true(bare.top1 == f.top1 && isnan(bare.kl) && bare.n_tokens == n);
    iflow_answer_free(answer), iflow_answer_free(full);
    iflow_context_free(ctx);
}

/* Afterwards the context is full prefill's with that answer after it: a follow-up says what it says after full prefill was forced to it.
 */
static void test_goes_on_from_the_answer(void **state) {
    (void)state;
    iflow_context *ctx = make_context();
    iflow_ask_params params = asking(IFLOW_METHOD_INFOFLOW, 0.15), forced = asking(IFLOW_METHOD_FULL, 0);
    iflow_answer *answer = NULL, *full = NULL, *a = NULL, *b = NULL;
    iflow_fidelity f;
    assert_ok(iflow_context_ask(ctx, &params, &answer));
    assert_ok(iflow_context_verify(ctx, &params, answer, &f));
    params.question = "And who founded the library?";
    assert_ok(iflow_context_follow_up(ctx, &params, &a));
    forced.forced = answer->token;
    forced.n_forced = answer->n_generated;
    assert_ok(iflow_context_ask(ctx, &forced, &full));
    assert_ok(iflow_context_follow_up(ctx, &params, &b));
    assert_int_equal(a->n_context, b->n_context);
    assert_int_equal(a->n_generated, b->n_generated);
    const size_t n_vocab = (size_t)model->n_vocab;
    assert_true(support_max_difference(a->logits, b->logits, n_vocab) <= TOLERANCE_IDENTITY_F32 * support_max_size(a->logits, n_vocab));
    iflow_answer_free(answer), iflow_answer_free(full), iflow_answer_free(a), iflow_answer_free(b);
    iflow_context_free(ctx);
}

static void test_empty_and_wrong(void **state) {
    (void)state;
    iflow_context *ctx = make_context();
    iflow_ask_params params = asking(IFLOW_METHOD_INFOFLOW, 0.15);
    iflow_answer *answer = NULL, *next = NULL;
    iflow_fidelity f = {7, 7, 7};
    assert_ok(iflow_context_ask(ctx, &params, &answer));
    /* These models go on: an answer that ended at once is none of full prefill's. */
    const size_t n = answer->n_generated;
    answer->n_generated = 0;
    assert_ok(iflow_context_verify(ctx, &params, answer, &f));
    assert_true(f.top1 == 0 && isnan(f.kl) && f.n_tokens == 0);
    assert_ok(iflow_context_follow_up(ctx, &params, &next));
    assert_int_equal(next->n_context, answer->n_context + answer->n_prompt);
    answer->n_generated = n;

    const iflow_fidelity before = f;
    answer->token[1] = model->n_vocab;
    assert_int_equal(iflow_context_verify(ctx, &params, answer, &f), IFLOW_E_ARG);
    answer->token[1] = 0;
    assert_ok(iflow_context_add_tokens(ctx, (const int32_t[]){1, 2, 3}, 3));
    assert_int_equal(iflow_context_verify(ctx, &params, answer, &f), IFLOW_E_ARG);
    assert_non_null(strstr(iflow_error_message(), "before the context changes"));
    params.question = " ";
    assert_int_equal(iflow_context_verify(ctx, &params, answer, &f), IFLOW_E_ARG);
    assert_memory_equal(&f, &before, sizeof f);
    iflow_answer_free(answer), iflow_answer_free(next);
    iflow_context_free(ctx);
}

int main(void) {
    int failed = 0;
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        if (iflow_model_load(support_tiny_model(models[i]), NULL, &model)) {
            print_error("%s: %s\n", models[i], iflow_error_message());
            return 1;
        }
        const struct CMUnitTest tests[] = {
            cmocka_unit_test(test_full_and_ratio_1_agree),
            cmocka_unit_test(test_counts_what_full_says),
            cmocka_unit_test(test_goes_on_from_the_answer),
            cmocka_unit_test(test_empty_and_wrong),
        };
        failed += cmocka_run_group_tests_name(models[i], tests, NULL, NULL);
        iflow_model_free(model);
    }
    if (n_below == 0) {
        print_error("unrepaired caches said on every model what full prefill says: nothing was tested\n");
    }
    return failed + (n_below == 0);
}
