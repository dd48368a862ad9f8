/* identity_fixture.h - what the tests of identities share: models, documents and a question, asking, and comparing answers. */
#ifndef IFLOW_TESTS_IDENTITY_FIXTURE_H
#define IFLOW_TESTS_IDENTITY_FIXTURE_H

#include "flow/prompt.h"
#include "support.h"
#include "tolerance.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static iflow_model *model; /* under test: each of these in turn */
static double tolerance;
static const char *const f32_models[] = {"llama-gqa", "llama-3", "llama-yarn", "qwen2", "qwen3", "gemma3"};

static const char *const document[] = {
    "The Meridian lighthouse stands on the island of Tarn. It was designed by the engineer Clara Voss and lit for the first time in 1887. "
    "Its lamp burned whale oil until 1921, when a cable from the mainland was laid.",
    "Clara Voss was born in Eldermoor in 1849. She studied mathematics, built seven bridges and one lighthouse, and kept a diary in which "
    "every storm of her life is described. The diary is kept in the town library.",
    "The library of Eldermoor was founded by a brewer. It holds forty thousand volumes, a collection of maps, and the papers of three "
    "engineers. On winter evenings it stays open until ten, and readers are given tea.",
};
enum { N_DOCUMENTS = 3 };
static const char question[] = "Where is the diary of the engineer who designed the Meridian lighthouse kept?";

static inline iflow_context *make_context_with(iflow_store *store, iflow_context_params params, const int order[N_DOCUMENTS]) {
    iflow_context *ctx = NULL;
    params.chunk_tokens = 64;
    assert_ok(iflow_context_new(model, store, &params, &ctx));
    for (int i = 0; i < N_DOCUMENTS; i++) {
        const char *text = document[order ? order[i] : i];
        assert_ok(iflow_context_add_text(ctx, text, strlen(text), 0));
    }
    return ctx;
}

static inline iflow_context *make_context(iflow_store *store, int n_ubatch, int n_threads, const int order[N_DOCUMENTS]) {
    return make_context_with(store, IFLOW_PARAMS(iflow_context_params, .n_ubatch = n_ubatch, .n_threads = n_threads), order);
}

static inline iflow_ask_params ask_params(iflow_method method, double ratio) {
    iflow_ask_params params = iflow_ask_default_params();
    params.question = question;
    params.method = method;
    params.ratio = ratio;
    params.max_tokens = 16;
    return params;
}

/* Asks, and gives the logits of the prompt's last token. */
static inline float *ask_with(iflow_context *ctx, const iflow_ask_params *params, iflow_answer **answer) {
    assert_ok(iflow_context_ask(ctx, params, answer));
    iflow_prompt prompt;
    assert_ok(iflow_prompt_make(model, params, &prompt));
    float *logits = support_logits(ctx, prompt.prompt.token[prompt.prompt.n - 1], (int)((*answer)->n_context + (*answer)->n_prompt));
    iflow_prompt_free(&prompt);
    return logits;
}

static inline float *ask(iflow_context *ctx, iflow_method method, double ratio, iflow_answer **answer) {
    const iflow_ask_params params = ask_params(method, ratio);
    return ask_with(ctx, &params, answer);
}

static inline void assert_same_answer(const iflow_answer *a, const iflow_answer *b) {
    assert_int_equal(a->n_generated, b->n_generated);
    assert_memory_equal(a->token, b->token, a->n_generated * sizeof *a->token);
}

static inline void assert_close(const float *a, const float *b) {
    const size_t n = (size_t)model->n_vocab;
    const double scale = support_max_size(a, n), difference = support_max_difference(a, b, n);
    print_message("%s: largest difference of logits %.2g of %.3g\n", strrchr(model->path, '/') + 1, difference, scale);
    assert_true(difference <= tolerance * scale);
}

static inline size_t count_common(const iflow_answer *x, const iflow_answer *y) {
    size_t n = 0;
    for (size_t p = 0, q = 0; p < x->n_selected && q < y->n_selected;) {
        const int32_t a = x->selected[p], b = y->selected[q];
        n += a == b;
        p += a <= b;
        q += b <= a;
    }
    return n;
}

static inline void with_f32_models(void (*test)(void **)) {
    for (size_t i = 0; i < sizeof f32_models / sizeof *f32_models; i++) {
        assert_ok(iflow_model_load(support_tiny_model(f32_models[i]), NULL, &model));
        tolerance = TOLERANCE_IDENTITY_F32;
        test(NULL);
        iflow_model_free(model);
    }
}

/* Runs a test with each f32 model, where identities hold tightly, and with the real one, where they must hold as well as libllama's own. */
static inline void with_models(void (*test)(void **)) {
    with_f32_models(test);
    assert_ok(iflow_model_load(support_env("INFOFLOW_SMOLLM2"), NULL, &model));
    tolerance = TOLERANCE_IDENTITY_Q4;
    test(NULL);
    iflow_model_free(model);
}

#define WITH_MODELS(test)                                                                                                                  \
    static void all_##test(void **state) {                                                                                                 \
        (void)state;                                                                                                                       \
        with_models(test);                                                                                                                 \
    }
#define WITH_F32_MODELS(test)                                                                                                              \
    static void all_##test(void **state) {                                                                                                 \
        (void)state;                                                                                                                       \
        with_f32_models(test);                                                                                                             \
    }

#endif
