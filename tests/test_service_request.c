/* test_service_request.c - what an endpoint of a server does, whole: a request's JSON becomes an answer's JSON by calls of the service
 * alone. CONTRIBUTING.md ("Add an endpoint") names this as its example. */
#include "flow/prompt.h"
#include "service/answers.h"
#include "service/conversation.h"
#include "service/documents.h"
#include "service/gathering.h"
#include "service/given.h"
#include "service_fixture.h"

/* What a server has for all requests. */
typedef struct server {
    session s; /* model, correction and store */
    profile found;
    gate checking;
} server;

/* Puts what the request names into a context: {"id": id or name in the store}, or {"name", "title", "text"}. No file is opened. */
static iflow_status add_documents(const gathering *from, const json_t *list, context_documents *out) {
    iflow_status status = IFLOW_OK;
    for (size_t i = 0; i < json_array_size(list) && status == IFLOW_OK; i++) {
        const json_t *one = json_array_get(list, i);
        const char *id = json_string_value(json_object_get(one, "id"));
        const json_t *text = json_object_get(one, "text");
        status = id ? gather_stored(from, id, out)
                    : gather_text(from, json_string_value(json_object_get(one, "name")), json_string_value(json_object_get(one, "title")),
                                  json_string_value(text), json_string_length(text), out);
    }
    return status;
}

/* Reads how is asked, and by which conversation. */
static iflow_status read_request(const server *sv, const json_t *request, ask_settings *how, conversation *talk, iflow_ask_params *params) {
    iflow_method method = IFLOW_METHOD_INFOFLOW;
    const settings_use use = {.form = SETTINGS_AS_MEMBERS, .method = &method, .n_methods = 1};
    iflow_status status = ask_settings_take(how, request);
    if (status == IFLOW_OK) {
        profile_apply(&sv->found, how); /* what the request did not say */
        status = iflow_method_from_name(how->method, &method);
    }
    if (status == IFLOW_OK && (status = ask_settings_check(how, &use)) == IFLOW_OK) {
        status = ask_settings_params(how, &sv->s.info, params);
    }
    if (status == IFLOW_OK) {
        status = conversation_add_json(talk, json_object_get(request, "messages"));
    }
    return status == IFLOW_OK ? conversation_ask(talk, params) : status;
}

/* Answers a request in this thread. cancel: raised when the client is gone. on_text: pieces of the answer as they come, or NULL. */
static iflow_status answer_request(server *sv, const json_t *request, const iflow_cancel *cancel, iflow_on_text on_text, void *user,
                                   json_t **out) {
    iflow_context *ctx = NULL;
    iflow_answer *answer = NULL;
    iflow_ask_params params;
    ask_settings how = ask_settings_default();
    conversation talk = {0};
    context_documents documents = {0};
    verdict checked = {0};
    iflow_cancel_use(cancel);
    iflow_status status = read_request(sv, request, &how, &talk, &params);
    if (status == IFLOW_OK) {
        status = session_new_context(&sv->s, &IFLOW_PARAMS(iflow_context_params, .n_threads = 1), &ctx);
    }
    if (status == IFLOW_OK) {
        const gathering from = {
            .model = sv->s.model, .ctx = ctx, .store = sv->s.store, .store_name = sv->s.store_dir, .chunk_tokens = DOCUMENT_CHUNK_TOKENS};
        status = add_documents(&from, json_object_get(request, "documents"), &documents);
    }
    if (status == IFLOW_OK) {
        params.on_text = on_text;
        params.user = user;
        status = gate_run(&sv->checking, ctx, &params, NULL, &answer, &checked);
    }
    if (status == IFLOW_OK) {
        status = answer_to_json(&(answer_report){.session = &sv->s,
                                                 .documents = &documents,
                                                 .question = iflow_prompt_question(&params),
                                                 .answer = answer,
                                                 .settings = &how,
                                                 .checked = &checked,
                                                 .profile = &sv->found},
                                out);
    }
    iflow_cancel_use(NULL);
    iflow_answer_free(answer);
    context_documents_free(&documents);
    iflow_context_free(ctx);
    conversation_free(&talk);
    ask_settings_free(&how);
    return status;
}

/* ---- The test ----------------------------------------------------------------------------------------------------------------------- */

static server sv;

static int open_server(void **state) {
    (void)state;
    sv = (server){.checking = gate_default()};
    if (session_load_model(&sv.s, support_tiny_model("llama"), NULL)) {
        return -1;
    }
    return session_open_store(&sv.s, "memory:", NULL);
}

static int close_server(void **state) {
    (void)state;
    session_close(&sv.s);
    return 0;
}

static json_t *json_of(const char *text) {
    json_error_t error;
    json_t *root = json_loads(text, 0, &error);
    if (!root) {
        fail_msg("%s: %s", text, error.text);
    }
    return root;
}

static bool append(const char *piece, void *user) {
    char *to = user;
    strncat(to, piece, 255 - strlen(to));
    return true;
}

#define DOCUMENTS                                                                                                                          \
    "\"documents\": [{\"name\": \"a\", \"title\": \"Sea\", \"text\": \"The sea is old.\"}, {\"name\": \"b\", \"text\": \"A ship.\"}]"
#define MESSAGES                                                                                                                           \
    "\"messages\": [{\"role\": \"system\", \"content\": \"Be brief.\"}, {\"role\": \"user\", \"content\": [{\"type\": \"text\", "          \
    "\"text\": \"Who?\"}]}]"

static void test_answer(void **state) {
    (void)state;
    char said[256] = "";
    json_t *request = json_of("{" DOCUMENTS ", " MESSAGES ", \"max_tokens\": 4, \"ratio\": 0.5, \"stop\": \"zzz\", \"model\": \"any\"}");
    json_t *object = NULL, *again = NULL;
    assert_ok(answer_request(&sv, request, NULL, append, said, &object));
    json_t *text = json_text(said); /* a model can say bytes that are no characters */
    assert_true(json_equal(json_object_get(object, "answer"), text));
    assert_string_equal(json_string_value(json_object_get(object, "question")), "Who?");
    assert_true(json_real_value(json_object_get(object, "ratio")) > 0.49);
    const json_t *documents = json_object_get(object, "documents");
    assert_int_equal(json_array_size(documents), 2);
    assert_string_equal(json_string_value(json_object_get(json_array_get(documents, 0), "name")), "Sea");
    assert_ok(answer_request(&sv, request, NULL, NULL, NULL, &again)); /* the same request, the same answer */
    assert_true(json_equal(json_object_get(again, "answer"), text));
    json_decref(text);
    json_decref(again);
    json_decref(object);
    json_decref(request);
}

static void test_refused(void **state) {
    (void)state;
    static const struct {
        const char *request;
        iflow_status status;
        const char *why;
    } bad[] = {{"{" MESSAGES ", \"ratio\": \"x\"}", IFLOW_E_ARG, "ratio must be a number"},
               {"{" MESSAGES ", \"ratio\": 3}", IFLOW_E_ARG, "ratio 3 is not between 0 and 1"},
               {"{" MESSAGES ", \"method\": \"full\", \"ratio\": 0.5}", IFLOW_E_ARG, "ratio goes with methods that recompute by a ratio"},
               {"{" DOCUMENTS "}", IFLOW_E_FORMAT, "messages are no array"},
               {"{\"messages\": [{\"role\": \"boss\", \"content\": \"x\"}]}", IFLOW_E_ARG, "'boss' is no role"},
               {"{" MESSAGES ", \"documents\": [{\"id\": \"/etc/passwd\"}]}", IFLOW_E_NOT_FOUND, "/etc/passwd: no document or chunk"},
               {"{" MESSAGES ", \"documents\": [{\"text\": \"x\"}]}", IFLOW_E_ARG, "a text in memory needs a name"},
               {"{" MESSAGES ", \"documents\": [{\"name\": \"x\"}]}", IFLOW_E_FORMAT, "x: empty"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        json_t *request = json_of(bad[i].request), *object = NULL;
        const iflow_status status = answer_request(&sv, request, NULL, NULL, NULL, &object);
        if (status != bad[i].status || !strstr(iflow_error_message(), bad[i].why)) {
            fail_msg("%s: %s: %s", bad[i].request, iflow_status_string(status), iflow_error_message());
        }
        assert_null(object);
        json_decref(request);
    }
}

/* A client that is gone. */
static void test_gone(void **state) {
    (void)state;
    iflow_cancel *cancel = NULL;
    json_t *request = json_of("{" DOCUMENTS ", " MESSAGES ", \"max_tokens\": 2}"), *object = NULL;
    assert_ok(iflow_cancel_new(&cancel));
    iflow_cancel_raise(cancel, true);
    assert_int_equal(answer_request(&sv, request, cancel, NULL, NULL, &object), IFLOW_E_CANCELLED);
    assert_null(object);
    iflow_cancel_raise(cancel, false);
    assert_ok(answer_request(&sv, request, cancel, NULL, NULL, &object));
    json_decref(object);
    json_decref(request);
    iflow_cancel_free(cancel);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_answer), cmocka_unit_test(test_refused), cmocka_unit_test(test_gone)};
    return cmocka_run_group_tests(tests, open_server, close_server);
}
