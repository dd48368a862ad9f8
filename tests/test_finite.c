/* test_finite.c - numbers that overflow or are none: every way of asking ends in a status that says so, and the context is of use again
 * afterwards. */
#include "flow/finite.h"
#include "support.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *const text[] = {
    "The Meridian lighthouse stands on the island of Tarn. It was designed by the engineer Clara Voss in 1887.",
    "Clara Voss was born in Eldermoor in 1849. She kept a diary of every storm, which the town library has."};

static void assert_not_finite(iflow_status status, const char *word) {
    if (status != IFLOW_E_NOT_FINITE || !strstr(iflow_error_message(), word)) {
        fail_msg("status %d, message without '%s': %s", (int)status, word, iflow_error_message());
    }
}

/* What is done to a tensor of f32: every value is multiplied. */
typedef struct damage {
    const char *model, *tensor;
    float factor;
} damage;

static void do_damage(struct gguf_context *gguf, char *data, const void *user) {
    const damage *what = user;
    const int64_t id = gguf_find_tensor(gguf, what->tensor);
    assert_true(id >= 0 && gguf_get_tensor_type(gguf, id) == GGML_TYPE_F32);
    const size_t n = gguf_get_tensor_size(gguf, id) / sizeof(float);
    char *at = data + gguf_get_tensor_offset(gguf, id);
    for (size_t i = 0; i < n; i++, at += sizeof(float)) {
        float value = 0;
        memcpy(&value, at, sizeof value);
        value *= what->factor;
        memcpy(at, &value, sizeof value);
    }
}

static iflow_context *make_context(const iflow_model *model) {
    iflow_context *ctx = NULL;
    assert_ok(iflow_context_new(model, NULL, &IFLOW_PARAMS(iflow_context_params, .n_threads = 1, .chunk_tokens = 64), &ctx));
    for (size_t i = 0; i < sizeof text / sizeof *text; i++) {
        assert_ok(iflow_context_add_text(ctx, text[i], strlen(text[i]), 0));
    }
    return ctx;
}

static iflow_ask_params ask_params(iflow_method method) {
    static const int32_t nobody[] = {'N', 'o', 'b', 'o', 'd', 'y'}; /* a token for each byte */
    static const int32_t given[] = {70, 50};                        /* for the method that takes them */
    iflow_ask_params params = iflow_ask_default_params();
    params.question = "Who?";
    params.method = method;
    params.forced = nobody;
    params.n_forced = 6;
    params.given_positions = given;
    params.n_given_positions = 2;
    return params;
}

/* A model whose weights are far too large or whose KV does not fit f16, by every method. Whoever meets it first says so: who makes a chunk,
 * too.
 */
static void test_broken_models(void **state) {
    (void)state;
    static const damage what[] = {
        {"llama", "blk.0.attn_k.weight", 1e6F},      {"llama", "blk.1.attn_k.weight", 2e4F}, {"llama", "blk.3.attn_k.weight", 1e6F},
        {"llama", "blk.0.attn_v.weight", 1e6F},      {"llama", "blk.3.attn_v.weight", 2e4F}, {"qwen2", "blk.3.attn_k.bias", 1e6F},
        {"qwen3", "blk.3.attn_k_norm.weight", 1e6F}, {"llama", "output_norm.weight", 1e38F},
    };
    for (size_t i = 0; i < sizeof what / sizeof *what; i++) {
        iflow_model *model = support_edited_model(what[i].model, do_damage, &what[i]);
        iflow_context *ctx = make_context(model);
        for (int method = 0; iflow_method_name((iflow_method)method); method++) {
            const iflow_ask_params params = ask_params((iflow_method)method);
            iflow_answer *answer = NULL;
            const iflow_status status = iflow_context_ask(ctx, &params, &answer);
            if (status == IFLOW_OK) {
                fail_msg("%s of %s: %s answers '%s'", what[i].tensor, what[i].model, iflow_method_name(params.method), answer->text);
            }
            assert_not_finite(status, "");
            assert_null(answer);
        }
        iflow_learner *learner = NULL;
        assert_ok(iflow_learner_new(ctx, &learner));
        if (!strstr(what[i].tensor, "output") && !strstr(what[i].tensor, "blk.3.attn_q")) {
            assert_not_finite(iflow_learner_add(learner), "");
            assert_int_equal(iflow_learner_tokens(learner), 0);
        }
        iflow_learner_free(learner);
        iflow_context_free(ctx);
        iflow_model_free(model);
    }
}

/* Makes V of a row of the context's cache infinite. */
static void poison(iflow_context *ctx, int row) {
    struct ggml_tensor *v = ctx->pool.rows.v[1];
    const uint16_t infinite = 0x7c00;
    ggml_backend_tensor_set(v, &infinite, (size_t)row * v->nb[1], sizeof infinite);
}

static bool poison_first_row(const char *piece, void *user) {
    (void)piece;
    poison(user, 0);
    return true;
}

/* After what was not finite the conversation is void, and a new question is answered as in a new context. */
static void assert_recovered(iflow_context *ctx) {
    const iflow_ask_params params = ask_params(IFLOW_METHOD_INFOFLOW);
    iflow_context *fresh = make_context(ctx->model);
    iflow_answer *answer = NULL, *expected = NULL;
    assert_int_equal(iflow_context_follow_up(ctx, &params, &answer), IFLOW_E_ARG);
    assert_ok(iflow_context_ask(ctx, &params, &answer));
    assert_ok(iflow_context_ask(fresh, &params, &expected));
    assert_int_equal(answer->n_context, expected->n_context);
    assert_memory_equal(answer->score, expected->score, answer->n_context * sizeof *answer->score);
    assert_string_equal(answer->text, "Nobody");
    iflow_answer_free(answer), iflow_answer_free(expected);
    iflow_context_free(fresh);
}

/* Rows that go bad between a question and what follows it. */
static void test_rows(void **state) {
    (void)state;
    iflow_model *model = NULL;
    assert_ok(iflow_model_load(support_tiny_model("llama-gqa"), NULL, &model));
    iflow_context *ctx = make_context(model);
    float *logits = calloc(6 * (size_t)model->n_vocab, sizeof *logits);
    assert_non_null(logits);
    iflow_ask_params params = ask_params(IFLOW_METHOD_INFOFLOW);
    iflow_answer *answer = NULL, *next = NULL;
    assert_ok(iflow_context_ask(ctx, &params, &answer));
    poison(ctx, 0);
    assert_not_finite(iflow_context_follow_up(ctx, &params, &next), "after the follow-up");
    assert_recovered(ctx);
    poison(ctx, 0);
    assert_not_finite(iflow_context_replay(ctx, params.forced, params.n_forced, logits), "after the replayed answer");
    assert_recovered(ctx);
    params.on_text = poison_first_row;
    params.user = ctx;
    assert_not_finite(iflow_context_ask(ctx, &params, &next), "after the answer");
    assert_recovered(ctx);
    assert_ok(iflow_context_replay(ctx, params.forced, params.n_forced, logits)); /* and rows are there for it */
    iflow_answer_free(answer);
    free(logits);
    iflow_context_free(ctx);
    iflow_model_free(model);
}

/* A chunk whose values are not finite, whichever of them. What a store in memory gives is what it holds. */
static void test_chunks(void **state) {
    (void)state;
    iflow_model *model = NULL;
    assert_ok(iflow_model_load(support_tiny_model("qwen2"), NULL, &model));
    static const uint16_t bad[] = {0x7c00, 0xfc00, 0x7e00}; /* infinite, minus that, NaN */
    for (size_t i = 0; i < 6; i++) {
        for (int method = 0; iflow_method_name((iflow_method)method); method++) {
            const iflow_ask_params params = ask_params((iflow_method)method);
            iflow_context *ctx = make_context(model);
            iflow_answer *answer = NULL;
            assert_ok(iflow_context_ask(ctx, &params, &answer)); /* all chunks are there, with staleness where that is wanted */
            iflow_answer_free(answer), answer = NULL;
            if (params.method == IFLOW_METHOD_FULL) {
                iflow_context_free(ctx);
                continue; /* it uses no chunk */
            }
            iflow_timings ms = {0};
            iflow_chunk *chunk = NULL;
            assert_ok(iflow_builder_get(&ctx->builder, &ctx->chunk[0], false, &chunk, &ms));
            uint16_t *row = (uint16_t *)(i % 2 ? chunk->v : chunk->k)[2]; /* a layer that no method computes for all tokens */
            for (size_t at = 0; at < chunk->identity.n_tokens * (size_t)model->n_embd_kv; at += 7) {
                row[at] = bad[i / 2];
            }
            iflow_chunk_free(chunk);
            assert_not_finite(iflow_context_ask(ctx, &params, &answer), "");
            iflow_context_clear(ctx);
            assert_ok(iflow_context_add_text(ctx, text[1], strlen(text[1]), 0)); /* of sound chunks */
            assert_ok(iflow_context_ask(ctx, &params, &answer));
            iflow_answer_free(answer);
            iflow_context_free(ctx);
        }
    }
    iflow_model_free(model);
}

/* A correction that predicts more than f16 holds. */
static void test_correction(void **state) {
    (void)state;
    iflow_model *model = NULL;
    assert_ok(iflow_model_load(support_tiny_model("llama-gqa"), NULL, &model));
    iflow_context *teacher = make_context(model), *ctx = NULL;
    iflow_correction *correction = support_learn(teacher);
    support_overdo(correction, model->h.n_layer, 1e30F);
    assert_ok(iflow_context_new(model, NULL, &IFLOW_PARAMS(iflow_context_params, .n_threads = 1, .correction = correction), &ctx));
    for (size_t i = 0; i < sizeof text / sizeof *text; i++) {
        assert_ok(iflow_context_add_text(ctx, text[i], strlen(text[i]), 0));
    }
    for (int drift = IFLOW_ON; drift <= IFLOW_OFF; drift++) {
        iflow_ask_params params = ask_params(IFLOW_METHOD_INFOFLOW);
        iflow_answer *answer = NULL;
        params.drift = (iflow_switch)drift;
        assert_not_finite(iflow_context_ask(ctx, &params, &answer), "f16");
        params.correct = IFLOW_OFF;
        assert_ok(iflow_context_ask(ctx, &params, &answer));
        iflow_answer_free(answer);
    }
    iflow_context_free(ctx);
    iflow_context_free(teacher);
    iflow_correction_free(correction);
    iflow_model_free(model);
}

/* However low or high, a temperature draws a token that there is, and the lowest draws the likeliest. */
static void test_temperatures(void **state) {
    (void)state;
    iflow_model *model = NULL;
    assert_ok(iflow_model_load(support_tiny_model("llama-gqa"), NULL, &model));
    iflow_context *ctx = make_context(model);
    iflow_ask_params params = ask_params(IFLOW_METHOD_NONE);
    params.forced = NULL;
    params.n_forced = 0;
    params.max_tokens = 6;
    iflow_answer *greedy = NULL;
    assert_ok(iflow_context_ask(ctx, &params, &greedy));
    static const double temperature[] = {1e-300, 1e-45, 1e-30, 1e-6, 1, 1e6, (double)FLT_MAX};
    for (size_t i = 0; i < sizeof temperature / sizeof *temperature; i++) {
        iflow_answer *answer = NULL;
        params.temperature = temperature[i];
        assert_ok(iflow_context_ask(ctx, &params, &answer));
        for (size_t t = 0; t < answer->n_generated; t++) {
            assert_true(answer->token[t] >= 0 && answer->token[t] < model->n_vocab);
        }
        if (temperature[i] < 1e-5) {
            assert_int_equal(answer->n_generated, greedy->n_generated);
            assert_memory_equal(answer->token, greedy->token, greedy->n_generated * sizeof *greedy->token);
        }
        iflow_answer_free(answer);
    }
    static const double wrong[] = {NAN, INFINITY, -1, 1e300};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        iflow_answer *answer = NULL;
        params.temperature = wrong[i];
        assert_int_equal(iflow_context_ask(ctx, &params, &answer), IFLOW_E_ARG);
    }
    iflow_answer_free(greedy);
    iflow_context_free(ctx);
    iflow_model_free(model);
}

static void test_finders(void **state) {
    (void)state;
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    for (size_t i = 0; i < 3; i++) {
        for (size_t at = 0; at < 5; at++) {
            float value[5] = {0, -0.0F, FLT_MAX, -FLT_MAX, 1e-45F};
            assert_int_equal(iflow_finite_first(value, 5), 5);
            assert_ok(iflow_finite_scores("score", value, 5));
            assert_ok(iflow_finite_logits("the prompt", 7, value, 5));
            value[at] = bad[i];
            assert_int_equal(iflow_finite_first(value, 5), at);
            assert_not_finite(iflow_finite_logits("the prompt", 7, value, 5), "after the prompt, at position 7,");
            char *word = iflow_format("the score at position %zu is %s", at, i ? "infinite" : "not a number");
            assert_not_finite(iflow_finite_scores("score", value, 5), word);
            free(word);
        }
    }
    assert_int_equal(iflow_finite_first(NULL, 0), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_finders),    cmocka_unit_test(test_broken_models),
                                       cmocka_unit_test(test_rows),       cmocka_unit_test(test_chunks),
                                       cmocka_unit_test(test_correction), cmocka_unit_test(test_temperatures)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
