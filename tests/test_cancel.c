/* test_cancel.c - a token ends a call wherever it is looked at, in every stage, and what the call was given can be used afterwards: the
 * same question has the same answer, the store is sound, and nothing is leaked (which the sanitizers see). */
#include "base/cancel.h"
#include "identity_fixture.h"
#include "model/grammar.h"
#include "model/schema.h"
#include "model/templates.h"

#include <dirent.h>
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

enum { N_PLACES = 24 }; /* places of a call at which it is cancelled, spread over its checks the token */

static char *dir;
static iflow_cancel *token;

static const char *path_in(const char *in, const char *name) {
    static char path[512];
    snprintf(path, sizeof path, "%s/%s", in, name);
    return path;
}

static int set_up(void **state) {
    (void)state;
    dir = support_make_dir();
    assert_ok(iflow_cancel_new(&token));
    iflow_cancel_use(token);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    iflow_cancel_use(NULL);
    iflow_cancel_free(token);
    support_remove_dir(dir);
    return 0;
}

/* How often a call checks the token. */
static long checks_of(iflow_status (*call)(void *user), void *user) {
    const long many = 1L << 40;
    iflow_cancel_after(token, many);
    assert_ok(call(user));
    const long n = many - iflow_cancel_left(token);
    iflow_cancel_after(token, 0);
    assert_true(n > 0);
    return n;
}

/* Cancels a call at places from its first check to its last. again: called after each, with the token lowered. */
static void cancel_everywhere(const char *stage, iflow_status (*call)(void *user), void (*again)(void *user), void *user) {
    const long n = checks_of(call, user), step = n < N_PLACES ? 1 : n / N_PLACES;
    size_t n_cancelled = 0;
    for (long at = 1; at <= n; at += step) {
        iflow_cancel_after(token, at);
        const iflow_status status = call(user);
        iflow_cancel_after(token, 0);
        iflow_cancel_raise(token, false);
        if (status != IFLOW_OK && status != IFLOW_E_CANCELLED) {
            fail_msg("%s, check %ld of %ld: status %d: %s", stage, at, n, (int)status, iflow_error_message());
        }
        n_cancelled += status == IFLOW_E_CANCELLED;
        again(user);
    }
    print_message("%s: checks the token %ld times; cancelled %zu times\n", stage, n, n_cancelled);
    assert_true(n_cancelled > 0);
    iflow_cancel_raise(token, true); /* and before it began */
    assert_int_equal(call(user), IFLOW_E_CANCELLED);
    iflow_cancel_raise(token, false);
}

/* ---- Loading ------------------------------------------------------------------------------------------------------------------------ */

static iflow_status load(void *user) {
    iflow_model *loaded = NULL;
    const iflow_status status = iflow_model_load(user, &IFLOW_PARAMS(iflow_model_params, .cache_dir = ""), &loaded);
    assert_true((status == IFLOW_OK) == (loaded != NULL));
    iflow_model_free(loaded);
    return status;
}

static void load_again(void *user) {
    assert_ok(load(user));
}

static void test_load(void **state) {
    (void)state;
    cancel_everywhere("load", load, load_again, (void *)(uintptr_t)support_tiny_model("llama-gqa"));
}

/* ---- Asking ------------------------------------------------------------------------------------------------------------------------- */

typedef struct asked {
    iflow_context *ctx;
    iflow_store *store; /* NULL: the context's own; else it is emptied before each call */
    iflow_ask_params params;
    iflow_answer *expected;
    bool has_begun; /* the reader has had a text of this answer */
} asked;

static bool begin(const char *text, void *user) {
    (void)text;
    ((asked *)user)->has_begun = true;
    return true;
}

static void empty(const asked *a) {
    size_t n = 0;
    uint64_t n_bytes = 0;
    if (a->store) {
        assert_ok(iflow_store_prune(a->store, 0, &n, &n_bytes));
    }
}

static iflow_status ask_once(void *user) {
    asked *a = user;
    iflow_answer *answer = NULL;
    empty(a);
    a->has_begun = false;
    a->params.on_text = begin;
    a->params.user = a;
    const iflow_status status = iflow_context_ask(a->ctx, &a->params, &answer);
    assert_false(a->has_begun && !answer);                                /* what has begun is given as far as it came */
    if (status == IFLOW_OK && answer->finish == IFLOW_FINISH_CANCELLED) { /* in the middle of the answer: what there is of it is given */
        assert_in_range(answer->n_generated, 1, a->expected->n_generated);
        assert_memory_equal(answer->token, a->expected->token, answer->n_generated * sizeof *answer->token);
        iflow_answer_free(answer);
        return IFLOW_E_CANCELLED;
    }
    iflow_answer_free(answer);
    return status;
}

static void is_sound(const char *id, iflow_kind kind, iflow_status status, const char *message) {
    if (status) {
        fail_msg("%s %s: %s", (kind == IFLOW_DOCUMENT) ? "document" : "chunk", id, message);
    }
}

static bool on_verified(const char *id, iflow_kind kind, iflow_status status, const char *message, void *user) {
    (void)user;
    is_sound(id, kind, status, message);
    return true;
}

static void ask_again(void *user) {
    asked *a = user;
    iflow_answer *answer = NULL;
    if (a->store) {
        assert_ok(iflow_store_verify_all(a->store, on_verified, NULL));
    }
    assert_ok(iflow_context_ask(a->ctx, &a->params, &answer));
    assert_int_equal(answer->n_generated, a->expected->n_generated);
    assert_memory_equal(answer->logits, a->expected->logits, answer->n_generated * (size_t)model->n_vocab * sizeof *answer->logits);
    iflow_answer_free(answer);
}

static void ask_method(const char *name, iflow_store *store) {
    asked a = {.store = store};
    a.ctx = make_context_with(store, IFLOW_PARAMS(iflow_context_params, .n_threads = 2, .n_ubatch = 32), NULL);
    assert_ok(iflow_method_from_name(name, &a.params.method));
    a.params = ask_params(a.params.method, 0.3);
    a.params.keep_logits = true;
    a.params.max_tokens = 8;
    assert_ok(iflow_context_ask(a.ctx, &a.params, &a.expected));
    cancel_everywhere(name, ask_once, ask_again, &a);
    iflow_answer_free(a.expected);
    iflow_context_free(a.ctx);
}

static void test_ask(void **state) {
    (void)state;
    iflow_store *store = NULL;
    assert_ok(iflow_model_load(support_tiny_model("llama-gqa"), NULL, &model));
    ask_method("full", NULL);
    ask_method("infoflow", NULL);
    ask_method("cacheblend", NULL);
    ask_method("product", NULL);
    assert_ok(iflow_store_open(dir, NULL, &store));
    ask_method("infoflow", store); /* prefills its chunks each time */
    iflow_store_close(store);
    iflow_model_free(model);
}

/* ---- Going on ----------------------------------------------------------------------------------------------------------------------- */

static iflow_status follow_up(void *user) {
    asked *a = user;
    iflow_answer *answer = NULL;
    const iflow_status status = iflow_context_follow_up(a->ctx, &a->params, &answer);
    const bool cut = status == IFLOW_OK && answer->finish == IFLOW_FINISH_CANCELLED;
    iflow_answer_free(answer);
    return cut ? IFLOW_E_CANCELLED : status;
}

static iflow_status ask_and_go_on(void *user) {
    asked *a = user;
    iflow_answer *answer = NULL;
    const long left = iflow_cancel_left(token);
    iflow_cancel_after(token, 0); /* of the follow-up only */
    const bool raised = iflow_cancel_is_raised(token);
    iflow_cancel_raise(token, false);
    assert_ok(iflow_context_ask(a->ctx, &a->params, &answer));
    iflow_answer_free(answer);
    iflow_cancel_raise(token, raised);
    iflow_cancel_after(token, left);
    return follow_up(user);
}

static void go_on_again(void *user) {
    ask_again(user);
    assert_ok(follow_up(user));
}

static iflow_status replay(void *user) {
    asked *a = user;
    float *logits = calloc(a->expected->n_generated * (size_t)model->n_vocab, sizeof *logits);
    assert_non_null(logits);
    const iflow_status status = iflow_context_replay(a->ctx, a->expected->token, a->expected->n_generated, logits);
    free(logits);
    return status;
}

static void test_follow_up(void **state) {
    (void)state;
    asked a = {0};
    assert_ok(iflow_model_load(support_tiny_model("qwen2"), NULL, &model));
    a.ctx = make_context_with(NULL, IFLOW_PARAMS(iflow_context_params, .n_threads = 2), NULL);
    a.params = ask_params(IFLOW_METHOD_INFOFLOW, 0.3);
    a.params.keep_logits = true;
    a.params.max_tokens = 8;
    assert_ok(iflow_context_ask(a.ctx, &a.params, &a.expected));
    cancel_everywhere("follow-up", ask_and_go_on, go_on_again, &a);
    ask_again(&a);
    cancel_everywhere("replay", replay, ask_again, &a);
    iflow_answer_free(a.expected);
    iflow_context_free(a.ctx);
    iflow_model_free(model);
}

/* ---- Ingest and learning ------------------------------------------------------------------------------------------------------------ */

typedef struct ingest {
    iflow_store *store;
    iflow_context *ctx;
    char text[4096];
} ingest;

static iflow_status cut_and_prefill(void *user) {
    ingest *in = user;
    iflow_pieces *pieces = NULL;
    size_t n = 0;
    uint64_t n_bytes = 0;
    assert_ok(iflow_store_prune(in->store, 0, &n, &n_bytes));
    iflow_status status = iflow_cut(model, in->text, strlen(in->text), 40, &pieces);
    for (size_t i = 0; !status && i < pieces->n_pieces; i++) {
        const iflow_piece *piece = &pieces->piece[i];
        status = support_prefill(in->ctx, pieces->token + piece->token_start, piece->n_tokens, NULL, NULL);
    }
    iflow_pieces_free(pieces);
    return status;
}

static void ingest_again(void *user) {
    ingest *in = user;
    assert_ok(iflow_store_verify_all(in->store, on_verified, NULL));
    assert_ok(cut_and_prefill(user));
    assert_ok(iflow_store_verify_all(in->store, on_verified, NULL));
}

static void test_ingest(void **state) {
    (void)state;
    ingest in = {0};
    assert_ok(iflow_model_load(support_tiny_model("qwen3"), NULL, &model));
    assert_ok(iflow_store_open(path_in(dir, "ingest"), NULL, &in.store));
    assert_ok(iflow_context_new(model, in.store, &IFLOW_PARAMS(iflow_context_params, .n_threads = 2), &in.ctx));
    for (int i = 0; i < N_DOCUMENTS; i++) {
        strcat(strcat(in.text, document[i]), "\n\n");
    }
    cancel_everywhere("ingest", cut_and_prefill, ingest_again, &in);
    iflow_context_free(in.ctx);
    iflow_store_close(in.store);
    iflow_model_free(model);
}

static iflow_status learn(void *user) {
    iflow_learner *learner = NULL;
    iflow_status status = iflow_learner_new(user, &learner);
    for (int i = 0; !status && iflow_learner_tokens(learner) < 1024; i++) {
        status = iflow_learner_add(learner);
        assert_true(status == IFLOW_OK || status == IFLOW_E_CANCELLED);
        assert_in_range(i, 0, 100);
    }
    status = status ? status : iflow_learner_write(learner, path_in(dir, "learned"));
    iflow_learner_free(learner);
    return status;
}

/* What was written before a call that was cancelled is whole, and nothing lies beside it. */
static void learn_again(void *user) {
    iflow_correction *correction = NULL;
    size_t n = 0;
    (void)user;
    assert_ok(iflow_correction_load(path_in(dir, "learned"), model, &correction));
    iflow_correction_free(correction);
    DIR *there = opendir(dir);
    assert_non_null(there);
    for (const struct dirent *entry; (entry = readdir(there));) {
        n += strstr(entry->d_name, "learned") != NULL;
    }
    closedir(there);
    assert_int_equal(n, 1);
}

static void test_learn(void **state) {
    (void)state;
    assert_ok(iflow_model_load(support_tiny_model("llama-gqa"), NULL, &model));
    iflow_context *ctx = make_context_with(NULL, IFLOW_PARAMS(iflow_context_params, .n_threads = 2), NULL);
    cancel_everywhere("learn", learn, learn_again, ctx);
    iflow_context_free(ctx);
    iflow_model_free(model);
}

/* Far above the 100 ms that are promised, for sanitizers and busy machines; one slice of this model takes longer in such a build. `infoflow
 * bench --only cancel` measures the promise. */
static const double MOST_MS = 1000;
static unsigned raise_after_us;
static double raised_ms;

static void *raise_later(void *user) {
    usleep(raise_after_us);
    raised_ms = iflow_now_ms();
    iflow_cancel_raise(user, true);
    return NULL;
}

/* ---- Texts and grammars -------------------------------------------------------------------------------------------------------------- */

typedef struct tokenised {
    iflow_buffer text;
    int32_t *expected;
    size_t n;
} tokenised;

static iflow_status tokenise(void *user) {
    const tokenised *t = user;
    int32_t *tokens = NULL;
    size_t n = 0;
    const iflow_status status = iflow_tokenize(model, t->text.text, t->text.n, false, &tokens, &n);
    assert_true((status == IFLOW_OK) == (tokens != NULL));
    if (!status && t->expected) {
        assert_int_equal(n, t->n);
        assert_memory_equal(tokens, t->expected, n * sizeof *tokens);
    }
    iflow_free(tokens);
    return status;
}

static iflow_status detokenise(void *user) {
    const tokenised *t = user;
    char *text = NULL;
    const iflow_status status = iflow_detokenize(model, t->expected, t->n, &text);
    iflow_free(text);
    return status;
}

static void nothing_again(void *user) {
    (void)user;
}

/* A text that takes libllama far longer than a cancelled call may. */
static void tokenise_and_raise(const tokenised *t) {
    iflow_buffer all = {0};
    pthread_t thread;
    while (all.n < ((size_t)8 << 20)) {
        assert_ok(iflow_buffer_add(&all, t->text.text, t->text.n));
    }
    int32_t *tokens = NULL;
    size_t n = 0;
    raise_after_us = 20000;
    assert_int_equal(pthread_create(&thread, NULL, raise_later, token), 0);
    assert_int_equal(iflow_tokenize(model, all.text, all.n, false, &tokens, &n), IFLOW_E_CANCELLED);
    const double end = iflow_now_ms();
    assert_int_equal(pthread_join(thread, NULL), 0);
    iflow_cancel_raise(token, false);
    iflow_buffer_free(&all); /* what libllama is at is a copy */
    print_message("the text was left %.1f ms after the token was raised\n", end - raised_ms);
    assert_true(end - raised_ms < MOST_MS);
}

/* A long text that libllama tokenises in one run. Cancelled calls leave it at that, and the model waits for it before it is freed. */
static void test_tokenise(void **state) {
    (void)state;
    tokenised t = {0};
    assert_ok(iflow_model_load(support_tiny_model("qwen2"), NULL, &model));
    for (int i = 0; i < 4000; i++) {
        assert_ok(iflow_buffer_puts(&t.text, document[i % N_DOCUMENTS]));
        assert_ok(iflow_buffer_puts(&t.text, "\n"));
    }
    assert_true(t.text.n > 200000);
    assert_ok(iflow_tokenize(model, t.text.text, t.text.n, false, &t.expected, &t.n));
    cancel_everywhere("tokenise", tokenise, nothing_again, &t);
    assert_ok(tokenise(&t));
    cancel_everywhere("detokenise", detokenise, nothing_again, &t);
    for (long at = 2; at < 6; at++) { /* left in the middle, and the model freed at once */
        iflow_cancel_after(token, at);
        tokenise(&t);
        iflow_cancel_after(token, 0);
        iflow_cancel_raise(token, false);
    }
    tokenise_and_raise(&t);
    iflow_model_free(model);
    iflow_free(t.expected);
    iflow_buffer_free(&t.text);
}

static iflow_status convert(void *user) {
    const iflow_buffer *schema = user;
    char *grammar = NULL;
    const iflow_status status = iflow_schema_to_grammar(schema->text, schema->n, &grammar);
    assert_true((status == IFLOW_OK) == (grammar != NULL));
    free(grammar);
    return status;
}

static void convert_again(void *user) {
    assert_ok(convert(user));
}

/* Of a schema with properties that may all be left out, of which the converter makes rules by the square of their number. */
static void test_schema(void **state) {
    (void)state;
    iflow_buffer schema = {0};
    if (!iflow_templates_available()) {
        skip();
    }
    assert_ok(iflow_buffer_puts(&schema, "{\"type\": \"object\", \"properties\": {"));
    for (int i = 0; i < 60; i++) {
        char property[64];
        snprintf(property, sizeof property, "%s\"p%d\": {\"type\": \"integer\"}", i ? ", " : "", i);
        assert_ok(iflow_buffer_puts(&schema, property));
    }
    assert_ok(iflow_buffer_puts(&schema, "}}"));
    assert_true(checks_of(convert, &schema) > 1000);
    cancel_everywhere("schema", convert, convert_again, &schema);
    iflow_buffer_free(&schema);
}

static iflow_status ask_by_grammar(void *user) {
    asked *a = user;
    iflow_answer *answer = NULL;
    const iflow_status status = iflow_context_ask(a->ctx, &a->params, &answer);
    const bool cut = status == IFLOW_OK && answer->finish == IFLOW_FINISH_CANCELLED;
    iflow_answer_free(answer);
    return cut ? IFLOW_E_CANCELLED : status;
}

static void ask_by_grammar_again(void *user) {
    assert_ok(ask_by_grammar(user));
}

/* A grammar of as many rules as there may be, which we check and libllama then reads. */
static void test_grammar(void **state) {
    (void)state;
    asked a = {0};
    iflow_buffer grammar = {0};
    assert_ok(iflow_model_load(support_tiny_model("qwen2"), NULL, &model));
    for (int i = 0; i < IFLOW_GRAMMAR_RULES - 1; i++) {
        char rule[64];
        snprintf(rule, sizeof rule, "%s%d ::= \"a\" | \"b\" r%d\n", i ? "r" : "root ::= r0\nr", i, i + 2 < IFLOW_GRAMMAR_RULES ? i + 1 : 0);
        assert_ok(iflow_buffer_puts(&grammar, rule));
    }
    a.ctx = make_context_with(NULL, IFLOW_PARAMS(iflow_context_params, .n_threads = 2), NULL);
    a.params = ask_params(IFLOW_METHOD_NONE, 0);
    a.params.grammar = grammar.text;
    a.params.max_tokens = 2;
    assert_true(checks_of(ask_by_grammar, &a) > IFLOW_GRAMMAR_RULES);
    cancel_everywhere("grammar", ask_by_grammar, ask_by_grammar_again, &a);
    iflow_context_free(a.ctx);
    iflow_buffer_free(&grammar);
    iflow_model_free(model);
}

/* ---- Threads ------------------------------------------------------------------------------------------------------------------------ */

/* From another thread, in the middle of a real model's work: well within the promise even under the sanitizers. And a token that another
 * thread uses does not touch this one. */
static void test_from_a_thread(void **state) {
    (void)state;
    pthread_t thread;
    iflow_answer *answer = NULL;
    assert_ok(iflow_model_load(support_env("INFOFLOW_SMOLLM2"), NULL, &model));
    iflow_context *ctx = make_context_with(NULL, IFLOW_PARAMS(iflow_context_params, .n_threads = 2), NULL);
    const iflow_ask_params params = ask_params(IFLOW_METHOD_FULL, 1);
    raise_after_us = 20000;
    assert_int_equal(pthread_create(&thread, NULL, raise_later, token), 0);
    assert_int_equal(iflow_context_ask(ctx, &params, &answer), IFLOW_E_CANCELLED);
    const double end = iflow_now_ms();
    assert_int_equal(pthread_join(thread, NULL), 0);
    print_message("the call ended %.1f ms after the token was raised\n", end - raised_ms);
    assert_true(end - raised_ms < MOST_MS);
    assert_non_null(strstr(iflow_error_message(), "cancelled"));
    iflow_cancel_use(NULL); /* still raised */
    iflow_ask_params one = params;
    one.max_tokens = 1;
    assert_ok(iflow_context_ask(ctx, &one, &answer));
    iflow_answer_free(answer);
    iflow_cancel_use(token);
    iflow_cancel_raise(token, false);
    iflow_context_free(ctx);
    iflow_model_free(model);
}

/* A real vocabulary is read in one step, which ends by itself after the call has. */
static void test_load_from_a_thread(void **state) {
    (void)state;
    int n_cancelled = 0;
    for (int i = 0; i < 6; i++) {
        pthread_t thread;
        iflow_model *loaded = NULL;
        raise_after_us = 10000U << i;
        assert_int_equal(pthread_create(&thread, NULL, raise_later, token), 0);
        const iflow_status status =
            iflow_model_load(support_env("INFOFLOW_SMOLLM2"), &IFLOW_PARAMS(iflow_model_params, .cache_dir = ""), &loaded);
        const double end = iflow_now_ms();
        assert_int_equal(pthread_join(thread, NULL), 0);
        assert_true(status == IFLOW_OK || status == IFLOW_E_CANCELLED);
        assert_true((status == IFLOW_OK) == (loaded != NULL));
        if (status) {
            print_message("loading ended %.1f ms after the token was raised, %u ms from its begin\n", end - raised_ms,
                          raise_after_us / 1000);
            assert_true(end - raised_ms < MOST_MS);
            n_cancelled++;
        }
        iflow_model_free(loaded);
        iflow_cancel_raise(token, false);
    }
    assert_true(n_cancelled > 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_load),          cmocka_unit_test(test_ask),
        cmocka_unit_test(test_follow_up),     cmocka_unit_test(test_ingest),
        cmocka_unit_test(test_learn),         cmocka_unit_test(test_tokenise),
        cmocka_unit_test(test_schema),        cmocka_unit_test(test_grammar),
        cmocka_unit_test(test_from_a_thread), cmocka_unit_test(test_load_from_a_thread),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
