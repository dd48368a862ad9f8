/* test_misuse.c - wrong uses of the public functions: each gives a status and a message, and none harms the process or what is used next.
 */
#include "base/publish.h"
#include "support.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static iflow_model *model;
static iflow_store *store;
static iflow_context *ctx;
static char *dir;
static const char chunk_text[] = "The mill of Varn was built by Otto Krell in 1731.";

static int set_up(void **state) {
    (void)state;
    dir = support_make_dir();
    assert_ok(iflow_model_load(support_tiny_model("llama"), NULL, &model));
    assert_ok(iflow_store_open(dir, NULL, &store));
    assert_ok(iflow_context_new(model, store, &IFLOW_PARAMS(iflow_context_params, .n_threads = 1, .fillers = IFLOW_NO_FILLERS), &ctx));
    assert_ok(iflow_context_add_text(ctx, chunk_text, strlen(chunk_text), 0));
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    iflow_context_free(ctx);
    iflow_store_close(store);
    iflow_model_free(model);
    support_remove_dir(dir);
    return 0;
}

/* Uses that must be E_ARG, each with a word of its message. */
#define USES(X)                                                                                                                            \
    X("path is NULL", iflow_model_load(NULL, NULL, &(iflow_model *){NULL}))                                                                \
    X("out is NULL", iflow_model_load("x", NULL, NULL))                                                                                    \
    X("directory", iflow_store_open(NULL, NULL, &(iflow_store *){NULL}))                                                                   \
    X("out is NULL", iflow_store_open("x", NULL, NULL))                                                                                    \
    X("model is NULL", iflow_tokenize(NULL, "x", 1, false, &(int32_t *){NULL}, &(size_t){0}))                                              \
    X("text is NULL", iflow_tokenize(model, NULL, 1, false, &(int32_t *){NULL}, &(size_t){0}))                                             \
    X("tokens is NULL", iflow_tokenize(model, "x", 1, false, NULL, &(size_t){0}))                                                          \
    X("n_tokens is NULL", iflow_tokenize(model, "x", 1, false, &(int32_t *){NULL}, NULL))                                                  \
    X("too long", iflow_tokenize(model, "x", SIZE_MAX, false, &(int32_t *){NULL}, &(size_t){0}))                                           \
    X("model is NULL", iflow_detokenize(NULL, &(int32_t){1}, 1, &(char *){NULL}))                                                          \
    X("tokens is NULL", iflow_detokenize(model, NULL, 1, &(char *){NULL}))                                                                 \
    X("text is NULL", iflow_detokenize(model, &(int32_t){1}, 1, NULL))                                                                     \
    X("at most", iflow_detokenize(model, &(int32_t){1}, SIZE_MAX, &(char *){NULL}))                                                        \
    X("token -5", iflow_detokenize(model, &(int32_t){-5}, 1, &(char *){NULL}))                                                             \
    X("model is NULL", iflow_cut(NULL, "x", 1, 0, &(iflow_pieces *){NULL}))                                                                \
    X("text is NULL", iflow_cut(model, NULL, 1, 0, &(iflow_pieces *){NULL}))                                                               \
    X("out is NULL", iflow_cut(model, "x", 1, 0, NULL))                                                                                    \
    X("empty", iflow_cut(model, NULL, 0, 0, &(iflow_pieces *){NULL}))                                                                      \
    X("pieces of", iflow_cut(model, "x", 1, SIZE_MAX, &(iflow_pieces *){NULL}))                                                            \
    X("bytes", iflow_cut(model, "x", SIZE_MAX, 0, &(iflow_pieces *){NULL}))                                                                \
    X("store is NULL", iflow_store_list(NULL, &(iflow_chunk_info *){NULL}, &(size_t){0}))                                                  \
    X("list is NULL", iflow_store_list(store, NULL, &(size_t){0}))                                                                         \
    X("n is NULL", iflow_store_list(store, &(iflow_chunk_info *){NULL}, NULL))                                                             \
    X("store is NULL", iflow_store_inspect(NULL, "x", NULL, NULL))                                                                         \
    X("no id", iflow_store_inspect(store, NULL, NULL, NULL))                                                                               \
    X("no id", iflow_store_inspect(store, "../x", NULL, NULL))                                                                             \
    X("store is NULL", iflow_store_verify(NULL, IFLOW_CHUNK, "x"))                                                                         \
    X("no id", iflow_store_verify(store, IFLOW_CHUNK, NULL))                                                                               \
    X("no id", iflow_store_verify(store, IFLOW_CHUNK, "../../VERSION"))                                                                    \
    X("store is NULL", iflow_store_pin(NULL, IFLOW_CHUNK, "x", true))                                                                      \
    X("no id", iflow_store_pin(store, IFLOW_CHUNK, NULL, true))                                                                            \
    X("no id", iflow_store_pin(store, IFLOW_CHUNK, "", true))                                                                              \
    X("store is NULL", iflow_store_delete(NULL, IFLOW_CHUNK, "x"))                                                                         \
    X("no id", iflow_store_delete(store, IFLOW_CHUNK, NULL))                                                                               \
    X("no id", iflow_store_delete(store, IFLOW_CHUNK, "../../VERSION"))                                                                    \
    X("store is NULL", iflow_store_prune(NULL, 0, NULL, NULL))                                                                             \
    X("store is NULL", iflow_store_prune_old(NULL, NULL, NULL))                                                                            \
    X("store is NULL", iflow_store_get_document(NULL, "x", &(iflow_document *){NULL}))                                                     \
    X("id is NULL", iflow_store_get_document(store, NULL, &(iflow_document *){NULL}))                                                      \
    X("out is NULL", iflow_store_get_document(store, "x", NULL))                                                                           \
    X("no id", iflow_store_get_document(store, "../../VERSION", &(iflow_document *){NULL}))                                                \
    X("nothing may follow", iflow_store_open("memory:x", NULL, &(iflow_store *){NULL}))                                                    \
    X("store is NULL", iflow_store_put_document(NULL, &(iflow_document){.n_chunks = 0}))                                                   \
    X("document is NULL", iflow_store_put_document(store, NULL))                                                                           \
    X("fingerprint", iflow_store_put_document(store, &(iflow_document){.n_chunks = 0}))                                                    \
    X("chunk_id is NULL", iflow_store_put_document(store, &(iflow_document){.n_chunks = 3}))                                               \
    X("store is NULL", iflow_store_list_documents(NULL, &(iflow_document **){NULL}, &(size_t){0}))                                         \
    X("list is NULL", iflow_store_list_documents(store, NULL, &(size_t){0}))                                                               \
    X("n is NULL", iflow_store_list_documents(store, &(iflow_document **){NULL}, NULL))                                                    \
    X("store is NULL", iflow_store_delete(NULL, IFLOW_DOCUMENT, "x"))                                                                      \
    X("no id", iflow_store_delete(store, IFLOW_DOCUMENT, NULL))                                                                            \
    X("store is NULL", iflow_store_verify(NULL, IFLOW_DOCUMENT, "x"))                                                                      \
    X("no id", iflow_store_verify(store, IFLOW_DOCUMENT, NULL))                                                                            \
    X("no id", iflow_store_verify(store, IFLOW_DOCUMENT, "../../VERSION"))                                                                 \
    X("store is NULL", iflow_store_verify_all(NULL, ignore_verified, NULL))                                                                \
    X("on_verified is NULL", iflow_store_verify_all(store, NULL, NULL))                                                                    \
    X("store is NULL", iflow_store_pin(NULL, IFLOW_DOCUMENT, "x", true))                                                                   \
    X("no id", iflow_store_pin(store, IFLOW_DOCUMENT, NULL, true))                                                                         \
    X("no id", iflow_store_pin(store, IFLOW_DOCUMENT, "../../VERSION", false))                                                             \
    X("needs a name", iflow_write_file(NULL, "x", 1, false))                                                                               \
    X("needs a name", iflow_write_file("", "x", 1, false))                                                                                 \
    X("its bytes", iflow_write_file("x", NULL, 1, false))                                                                                  \
    X("store is NULL", iflow_store_resolve(NULL, "0000", (char[IFLOW_ID_SIZE]){0}, &(iflow_kind){IFLOW_CHUNK}))                            \
    X("no id", iflow_store_resolve(store, NULL, (char[IFLOW_ID_SIZE]){0}, &(iflow_kind){IFLOW_CHUNK}))                                     \
    X("id is NULL", iflow_store_resolve(store, "0000", NULL, &(iflow_kind){IFLOW_CHUNK}))                                                  \
    X("kind is NULL", iflow_store_resolve(store, "0000", (char[IFLOW_ID_SIZE]){0}, NULL))                                                  \
    X("no id", iflow_store_resolve(store, "../..", (char[IFLOW_ID_SIZE]){0}, &(iflow_kind){IFLOW_CHUNK}))                                  \
    X("model is NULL", iflow_context_new(NULL, NULL, NULL, &(iflow_context *){NULL}))                                                      \
    X("out is NULL", iflow_context_new(model, NULL, NULL, NULL))                                                                           \
    X("ctx is NULL", support_prefill(NULL, &(int32_t){1}, 1, NULL, NULL))                                                                  \
    X("tokens is NULL", support_prefill(ctx, NULL, 1, NULL, NULL))                                                                         \
    X("at least one token", support_prefill(ctx, &(int32_t){1}, 0, NULL, NULL))                                                            \
    X("tokens; at most", support_prefill(ctx, &(int32_t){1}, SIZE_MAX, NULL, NULL))                                                        \
    X("ctx is NULL", several(NULL, &(int32_t){1}, (size_t[]){0, 1}, true, true))                                                           \
    X("tokens is NULL", several(ctx, NULL, (size_t[]){0, 1}, true, true))                                                                  \
    X("start is NULL", several(ctx, &(int32_t){1}, NULL, true, true))                                                                      \
    X("ids is NULL", several(ctx, &(int32_t){1}, (size_t[]){0, 1}, false, true))                                                           \
    X("was_stored is NULL", several(ctx, &(int32_t){1}, (size_t[]){0, 1}, true, false))                                                    \
    X("must ascend", several(ctx, &(int32_t){1}, (size_t[]){4, 2}, true, true))                                                            \
    X("at least one token", several(ctx, &(int32_t){1}, (size_t[]){0, 0}, true, true))                                                     \
    X("at most", iflow_context_prefill(ctx, &(int32_t){1}, &(size_t){0}, SIZE_MAX, &(char[1][IFLOW_ID_SIZE]){{0}}[0], &(bool){false}))     \
    X("ctx is NULL", iflow_context_add_tokens(NULL, &(int32_t){1}, 1))                                                                     \
    X("tokens is NULL", iflow_context_add_tokens(ctx, NULL, 1))                                                                            \
    X("at least one token", iflow_context_add_tokens(ctx, NULL, 0))                                                                        \
    X("token -1", iflow_context_add_tokens(ctx, &(int32_t){-1}, 1))                                                                        \
    X("at most", iflow_context_add_tokens(ctx, &(int32_t){1}, SIZE_MAX))                                                                   \
    X("at most", iflow_context_add_tokens(ctx, &(int32_t){1}, (size_t)1 << 62))                                                            \
    X("ctx is NULL", iflow_context_add_chunk(NULL, "x"))                                                                                   \
    X("id is NULL", iflow_context_add_chunk(ctx, NULL))                                                                                    \
    X("no id", iflow_context_add_chunk(ctx, "../../etc/passwd"))                                                                           \
    X("ctx is NULL", iflow_context_add_text(NULL, "x", 1, 0))                                                                              \
    X("text is NULL", iflow_context_add_text(ctx, NULL, 5, 0))                                                                             \
    X("empty", iflow_context_add_text(ctx, NULL, 0, 0))                                                                                    \
    X("at most", iflow_context_add_text(ctx, "x", SIZE_MAX - 1, 0))                                                                        \
    X("at most", iflow_context_add_text(ctx, "x", 1, SIZE_MAX))                                                                            \
    X("path is NULL", iflow_correction_load(NULL, model, &(iflow_correction *){NULL}))                                                     \
    X("model is NULL", iflow_correction_load("x", NULL, &(iflow_correction *){NULL}))                                                      \
    X("out is NULL", iflow_correction_load("x", model, NULL))                                                                              \
    X("ctx is NULL", iflow_learner_new(NULL, &(iflow_learner *){NULL}))                                                                    \
    X("out is NULL", iflow_learner_new(ctx, NULL))                                                                                         \
    X("learner is NULL", iflow_learner_add(NULL))                                                                                          \
    X("learner is NULL", iflow_learner_write(NULL, "x"))                                                                                   \
    X("path is NULL", learn_to(NULL))                                                                                                      \
    X("too few", learn_to("x"))                                                                                                            \
    X("ctx is NULL", iflow_context_ask(NULL, &(iflow_ask_params){0}, &(iflow_answer *){NULL}))                                             \
    X("params is NULL", iflow_context_ask(ctx, NULL, &(iflow_answer *){NULL}))                                                             \
    X("out is NULL", iflow_context_ask(ctx, &(iflow_ask_params){0}, NULL))                                                                 \
    X("size of iflow_ask_params is 0", iflow_context_ask(ctx, &(iflow_ask_params){0}, &(iflow_answer *){NULL}))                            \
    X("ctx is NULL", iflow_context_follow_up(NULL, &(iflow_ask_params){0}, &(iflow_answer *){NULL}))                                       \
    X("params is NULL", iflow_context_follow_up(ctx, NULL, &(iflow_answer *){NULL}))                                                       \
    X("out is NULL", iflow_context_follow_up(ctx, &(iflow_ask_params){0}, NULL))                                                           \
    X("ctx is NULL", iflow_context_replay(NULL, &(int32_t){1}, 1, &(float){0}))                                                            \
    X("tokens is NULL", iflow_context_replay(ctx, NULL, 1, &(float){0}))                                                                   \
    X("logits is NULL", iflow_context_replay(ctx, &(int32_t){1}, 1, NULL))                                                                 \
    X("ask first", iflow_context_replay(ctx, &(int32_t){1}, 1, &(float){0}))                                                               \
    X("ctx is NULL", iflow_context_verify(NULL, &(iflow_ask_params){0}, &(iflow_answer){0}, &(iflow_fidelity){0}))                         \
    X("params is NULL", iflow_context_verify(ctx, NULL, &(iflow_answer){0}, &(iflow_fidelity){0}))                                         \
    X("answer is NULL", iflow_context_verify(ctx, &(iflow_ask_params){0}, NULL, &(iflow_fidelity){0}))                                     \
    X("out is NULL", iflow_context_verify(ctx, &(iflow_ask_params){0}, &(iflow_answer){0}, NULL))                                          \
    X("answer->token is NULL", iflow_context_verify(ctx, &(iflow_ask_params){0}, &(iflow_answer){.n_generated = 3}, &(iflow_fidelity){0})) \
    X("name is NULL", iflow_method_from_name(NULL, &(iflow_method){0}))                                                                    \
    X("method is NULL", iflow_method_from_name("full", NULL))                                                                              \
    X("name is NULL", iflow_score_from_name(NULL, &(iflow_score){0}))                                                                      \
    X("score is NULL", iflow_score_from_name("norm", NULL))                                                                                \
    X("name is NULL", iflow_geometry_from_name(NULL, &(iflow_geometry){0}))                                                                \
    X("geometry is NULL", iflow_geometry_from_name("global", NULL))

static iflow_status several(iflow_context *c, const int32_t *tokens, const size_t *start, bool ids, bool was_stored) {
    char id[1][IFLOW_ID_SIZE];
    bool stored[1];
    return iflow_context_prefill(c, tokens, start, 1, ids ? id : NULL, was_stored ? stored : NULL);
}

static bool ignore_verified(const char *id, iflow_kind kind, iflow_status status, const char *message, void *user) {
    (void)id, (void)kind, (void)status, (void)message, (void)user;
    return true;
}

static iflow_status learn_to(const char *path) {
    iflow_learner *learner = NULL;
    assert_ok(iflow_learner_new(ctx, &learner));
    const iflow_status status = iflow_learner_write(learner, path);
    iflow_learner_free(learner);
    return status;
}

static void test_arguments(void **state) {
    (void)state;
    iflow_status status = IFLOW_OK;
#define RUN(word, call)                                                                                                                    \
    status = (call);                                                                                                                       \
    if (status != IFLOW_E_ARG || !strstr(iflow_error_message(), (word))) {                                                                 \
        fail_msg("%s: status %d, not a message with '%s': %s", #call, (int)status, (word), iflow_error_message());                         \
    }
    USES(RUN)
#undef RUN
}

/* What gives no status: zeros, false, NULL or nothing. */
static void test_quiet_ones(void **state) {
    (void)state;
    iflow_model_free(NULL), iflow_store_close(NULL), iflow_document_free(NULL), iflow_context_free(NULL), iflow_context_clear(NULL),
        iflow_answer_free(NULL);
    iflow_pieces_free(NULL), iflow_documents_free(NULL, 3), iflow_correction_free(NULL), iflow_learner_free(NULL), iflow_free(NULL);
    assert_null(iflow_model_get_info(NULL).path);
    assert_int_equal(iflow_correction_get_info(NULL).n_tokens, 0);
    assert_int_equal(iflow_learner_tokens(NULL), 0);
    assert_int_equal(iflow_fidelity_of(NULL, NULL, 1, 1).n_tokens, 0);
    assert_int_equal(iflow_fidelity_of(&(float){0}, &(float){0}, 0, 0).n_tokens, 0);
    static const int odd[] = {-1, 99, INT_MAX, INT_MIN};
    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) {
        assert_null(iflow_method_name((iflow_method)odd[i]));
        assert_null(iflow_method_get_info((iflow_method)odd[i]));
        assert_null(iflow_score_name((iflow_score)odd[i]));
        assert_null(iflow_score_about((iflow_score)odd[i]));
        assert_null(iflow_geometry_name((iflow_geometry)odd[i]));
        assert_null(iflow_geometry_about((iflow_geometry)odd[i]));
        assert_null(iflow_finish_name((iflow_finish)odd[i]));
        assert_non_null(iflow_status_string((iflow_status)odd[i]));
    }
    assert_null(iflow_device_name(SIZE_MAX));
    assert_null(iflow_architecture_name(SIZE_MAX));
}

static void test_context_params(void **state) {
    (void)state;
    enum { SIZE = sizeof(iflow_context_params) };
    static const struct {
        iflow_context_params params;
        const char *word;
    } wrong[] = {
        {{.size = SIZE, .n_ctx = -1}, "n_ctx"},
        {{.size = SIZE, .n_ctx = INT_MIN}, "n_ctx"},
        {{.size = SIZE, .n_ctx = INT_MAX}, "n_ctx"},
        {{.size = SIZE, .n_ubatch = -1}, "n_ubatch"},
        {{.size = SIZE, .n_ubatch = (1 << 16) + 1}, "65536"},
        {{.size = SIZE, .n_ubatch = INT_MAX}, "n_ubatch"},
        {{.size = SIZE, .n_threads = -1}, "n_threads"},
        {{.size = SIZE, .n_threads = 513}, "512"},
        {{.size = SIZE, .n_threads = INT_MAX}, "n_threads"},
        {{.size = SIZE, .chunk_tokens = SIZE_MAX}, "chunk_tokens"},
        {{.size = SIZE, .fillers = -2}, "fillers"},
        {{.size = SIZE, .fillers = IFLOW_MAX_FILLERS + 1}, "fillers"},
        {{.size = SIZE, .kv_type = "q4"}, "q4"},
        {{.size = SIZE, .kv_type = ""}, "no type"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        iflow_context *made = NULL;
        assert_int_equal(iflow_context_new(model, NULL, &wrong[i].params, &made), IFLOW_E_ARG);
        assert_non_null(strstr(iflow_error_message(), wrong[i].word));
        assert_null(made);
    }
}

static iflow_ask_params ask_params(void) {
    iflow_ask_params params = iflow_ask_default_params();
    params.question = "Who?";
    params.max_tokens = 2;
    return params;
}

static void assert_refused(iflow_ask_params params, const char *word) {
    iflow_answer *answer = NULL;
    const iflow_status status = iflow_context_ask(ctx, &params, &answer);
    if (status != IFLOW_E_ARG || !strstr(iflow_error_message(), word)) {
        fail_msg("status %d, not a message with '%s': %s", (int)status, word, iflow_error_message());
    }
    assert_null(answer);
}

static void test_ask_params(void **state) {
    (void)state;
    static const int odd[] = {-1, 3, 99, INT_MAX, INT_MIN};
    static const double wrong[] = {-0.1, 1.1, 1e300, NAN, INFINITY};
    static const int many_layers[5000] = {0};
    const iflow_ask_params fine = ask_params();
    iflow_ask_params p;
#define REFUSE(word, ...) (p = fine, __VA_ARGS__, assert_refused(p, (word)))
    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) {
        REFUSE("drift", p.drift = (iflow_switch)odd[i]);
        REFUSE("correct", p.correct = (iflow_switch)odd[i]);
        REFUSE("score_text", p.score_text = (iflow_score_text)odd[i]);
        if (odd[i] != 3) {
            REFUSE("method", p.method = (iflow_method)odd[i]);
            REFUSE("score", p.score = (iflow_score)odd[i]);
            REFUSE("geometry", p.geometry = (iflow_geometry)odd[i]);
        }
    }
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        REFUSE("ratio", p.ratio = wrong[i]);
        REFUSE("coverage", p.coverage = wrong[i]);
        REFUSE("min_ratio", p.min_ratio = wrong[i]);
        REFUSE("max_ratio", p.max_ratio = wrong[i]);
        REFUSE("staleness_share", p.staleness_share = wrong[i]);
    }
    REFUSE("temperature", p.temperature = NAN);
    REFUSE("max_tokens", p.max_tokens = 0);
    REFUSE("max_tokens", p.max_tokens = INT_MIN);
    REFUSE("score_layers is NULL", p.n_score_layers = 5);
    REFUSE("at most 16", p.score_layers = many_layers, p.n_score_layers = 5000);
    REFUSE("at most 16", p.score_layers = many_layers, p.n_score_layers = SIZE_MAX);
    REFUSE("layer", p.score_layers = &odd[2], p.n_score_layers = 1);
    REFUSE("layer", p.score_layers = &odd[4], p.n_score_layers = 1);
    REFUSE("there are neither", p.method = IFLOW_METHOD_GIVEN);
    REFUSE("there are both", p.method = IFLOW_METHOD_GIVEN, p.given_positions = odd, p.given_scores = &(float){0});
    REFUSE("given_positions is NULL", p.method = IFLOW_METHOD_GIVEN, p.given_scores = &(float){0}, p.n_given_positions = 1);
    REFUSE("given_scores is NULL", p.method = IFLOW_METHOD_GIVEN, p.given_positions = odd, p.n_given_scores = SIZE_MAX);
    REFUSE("0 scores are given", p.method = IFLOW_METHOD_GIVEN, p.given_scores = &(float){0});
    REFUSE("scores are given", p.method = IFLOW_METHOD_GIVEN, p.given_scores = &(float){0}, p.n_given_scores = SIZE_MAX);
    REFUSE("position -1", p.method = IFLOW_METHOD_GIVEN, p.given_positions = odd, p.n_given_positions = SIZE_MAX);
    REFUSE("forced is NULL", p.n_forced = 1);
    REFUSE("forced tokens", p.forced = &odd[1]);
    REFUSE("forced tokens", p.forced = &odd[1], p.n_forced = SIZE_MAX);
    REFUSE("forced token -1", p.forced = odd, p.n_forced = 1);
    REFUSE("no correction", p.correct = IFLOW_ON);
#undef REFUSE
    iflow_answer *answer = NULL; /* and after all of these it answers */
    assert_ok(iflow_context_ask(ctx, &fine, &answer));
    iflow_fidelity like;
    iflow_answer twisted = *answer;
    twisted.n_generated = SIZE_MAX / 2; /* of an answer that says it has more than memory holds nothing is read */
    const iflow_status status = iflow_context_verify(ctx, &fine, &twisted, &like);
    assert_true(status == IFLOW_E_MEMORY || status == IFLOW_E_ARG);
    iflow_answer_free(answer);
}

/* The most that can be asked for is given as far as it is needed, without memory for the rest. */
static void test_extremes(void **state) {
    (void)state;
    iflow_context *wide = NULL;
    iflow_answer *answer = NULL;
    assert_ok(iflow_context_new(
        model, NULL, &IFLOW_PARAMS(iflow_context_params, .n_ctx = 1 << 30, .n_ubatch = 1 << 16, .n_threads = 1, .chunk_tokens = INT_MAX),
        &wide));
    assert_ok(iflow_context_add_text(wide, chunk_text, strlen(chunk_text), 0));
    iflow_ask_params params = ask_params();
    params.max_tokens = INT_MAX;
    params.keep_logits = true;
    params.forced = (const int32_t[]){'Y', 'e', 's'};
    params.n_forced = 3;
    assert_ok(iflow_context_ask(wide, &params, &answer));
    assert_string_equal(answer->text, "Yes");
    assert_true(answer->cache_bytes < 64 << 20);
    iflow_answer_free(answer);
    iflow_context_free(wide);
}

/* The context is used while it answers. */
static bool use_it(const char *text, void *user) {
    iflow_answer *answer = NULL;
    const iflow_ask_params params = ask_params();
    const int32_t token = 1;
    int *n_refused = user;
    (void)text;
    *n_refused += iflow_context_ask(ctx, &params, &answer) == IFLOW_E_ARG && strstr(iflow_error_message(), "is answering") != NULL;
    *n_refused += iflow_context_follow_up(ctx, &params, &answer) == IFLOW_E_ARG;
    *n_refused += iflow_context_add_tokens(ctx, &token, 1) == IFLOW_E_ARG;
    *n_refused += iflow_context_add_text(ctx, "x", 1, 0) == IFLOW_E_ARG;
    *n_refused += support_prefill(ctx, &token, 1, NULL, NULL) == IFLOW_E_ARG;
    *n_refused += iflow_context_replay(ctx, &token, 1, &(float){0}) == IFLOW_E_ARG;
    iflow_context_clear(ctx);
    return true;
}

static void test_use_while_answering(void **state) {
    (void)state;
    iflow_answer *alone = NULL, *used = NULL;
    int n_refused = 0;
    iflow_ask_params params = ask_params();
    assert_ok(iflow_context_add_text(ctx, "The sea is old.", 15, 0));
    params.forced = (const int32_t[]){'A', 'B'};
    params.n_forced = 2;
    assert_ok(iflow_context_ask(ctx, &params, &alone));
    params.on_text = use_it;
    params.user = &n_refused;
    assert_ok(iflow_context_ask(ctx, &params, &used));
    assert_int_equal(n_refused, 12);
    assert_string_equal(alone->text, used->text);
    params.on_text = NULL;
    iflow_answer_free(used);
    assert_ok(iflow_context_ask(ctx, &params, &used)); /* the chunks are still there */
    iflow_answer_free(alone);
    iflow_answer_free(used);
    iflow_context_clear(ctx);
}

/* A child of a process whose threads have computed has none of them. */
static void test_fork(void **state) {
    (void)state;
    iflow_context *threads = NULL;
    iflow_answer *answer = NULL;
    const iflow_ask_params params = ask_params();
    assert_ok(iflow_context_new(model, NULL, &IFLOW_PARAMS(iflow_context_params, .n_threads = 2), &threads));
    assert_ok(iflow_context_add_text(threads, "The sea is old.", 15, 0));
    assert_ok(iflow_context_ask(threads, &params, &answer));
    iflow_answer_free(answer);
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        alarm(30);
        const iflow_status status = iflow_context_ask(threads, &params, &answer);
        _exit(status == IFLOW_E_BACKEND && strstr(iflow_error_message(), "forked") ? 0 : 1);
    }
    int how = 0;
    assert_int_equal(waitpid(child, &how, 0), child);
    assert_true(WIFEXITED(how) && WEXITSTATUS(how) == 0);
    iflow_context_free(threads);
}

/* Structs of parameters as callers of other versions pass them. */
static void test_sizes(void **state) {
    (void)state;
    struct newer {
        iflow_context_params known;
        int later;
    } newer = {.known = {.size = sizeof(struct newer), .n_threads = 1}};
    const iflow_context_params *const seen = (const iflow_context_params *)(const void *)&newer; /* by who knows the first part only */
    iflow_context *made = NULL;
    assert_ok(iflow_context_new(model, NULL, seen, &made)); /* a field that is not set does no harm */
    iflow_context_free(made);
    newer.later = 1;
    made = NULL;
    assert_int_equal(iflow_context_new(model, NULL, seen, &made), IFLOW_E_ARG);
    assert_non_null(strstr(iflow_error_message(), "iflow_context_params"));
    assert_null(made);
    const struct older {
        size_t size;
        int n_ctx;
    } older = {.size = offsetof(iflow_context_params, n_ctx) + sizeof(int), .n_ctx = 256};
    assert_ok(iflow_context_new(model, NULL, (const iflow_context_params *)(const void *)&older, &made));
    assert_int_equal(made->timeline.n_ctx, 256);
    iflow_context_free(made);
    made = NULL;
    iflow_context_params no_size = iflow_context_default_params();
    no_size.size = 0;
    assert_int_equal(iflow_context_new(model, NULL, &no_size, &made), IFLOW_E_ARG);
    assert_non_null(strstr(iflow_error_message(), "default parameters"));
    iflow_ask_params short_one;
    memset(&short_one, 0x55, sizeof short_one);
    iflow_ask_params_init(&short_one, offsetof(iflow_ask_params, ratio)); /* of an earlier version: nothing beyond it is written */
    assert_int_equal(short_one.size, offsetof(iflow_ask_params, ratio));
    assert_int_equal(((const unsigned char *)&short_one.ratio)[0], 0x55);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_sizes),
                                       cmocka_unit_test(test_arguments),
                                       cmocka_unit_test(test_quiet_ones),
                                       cmocka_unit_test(test_context_params),
                                       cmocka_unit_test(test_ask_params),
                                       cmocka_unit_test(test_extremes),
                                       cmocka_unit_test(test_use_while_answering),
                                       cmocka_unit_test(test_fork)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
