/* test_service_answers.c - an answer as JSON: its members, texts that are no UTF-8, numbers that are none, and memory that ends. */
#include "service/answers.h"
#include "support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* jansson's allocations until one fails; 0: none does. */
static size_t left;

static void *allocate(size_t n) {
    if (left && --left == 0) {
        return NULL;
    }
    return malloc(n);
}

static session loaded;

static int load_model(void **state) {
    (void)state;
    json_set_alloc_funcs(allocate, free);
    return session_load_model(&loaded, support_tiny_model("llama"), NULL);
}

static int free_model(void **state) {
    (void)state;
    session_close(&loaded);
    return 0;
}

/* An answer over a head of 2 tokens and a chunk of 3. */
static const answer_report *report(void) {
    static char text[] = "yes \xFF", name[] = "a.txt", path[] = "p.json";
    static int32_t context[5] = {1, 5, 9, 10, 11}, selected[1] = {3};
    static float score[5] = {0, 0, 1, 2, 0.5F};
    static iflow_chunk_span span[2] = {{.length = 2}, {.index = 1, .start = 2, .length = 3, .n_selected = 1}};
    static iflow_answer answer;
    static context_document document = {name, 1};
    static const context_documents documents = {.document = &document, .n = 1, .n_left_out = 4};
    static ask_settings settings;
    static const verdict checked = {.verified = true, .agreement = 0.5, .kl = NAN};
    static const profile found = {.path = path};
    static const answer_report what = {.session = &loaded,
                                       .documents = &documents,
                                       .question = "who?",
                                       .answer = &answer,
                                       .scores = true,
                                       .positions = true,
                                       .in_chat = true,
                                       .settings = &settings,
                                       .checked = &checked,
                                       .profile = &found};
    answer = (iflow_answer){.text = text,
                            .context_token = context,
                            .score = score,
                            .selected = selected,
                            .chunk = span,
                            .n_generated = 3,
                            .n_context = 5,
                            .n_recomputed = 1,
                            .n_selected = 1,
                            .n_chunks = 2,
                            .evidence = NAN,
                            .stopped_by = 1,
                            .ms = {.decode = 4}};
    settings = ask_settings_default();
    settings.temperature = 0.5;
    settings.stop = (stop_list){{"a", "b"}, 2};
    settings.grammar = "root ::= [a]";
    return &what;
}

static void test_members(void **state) {
    (void)state;
    const answer_report *what = report();
    json_t *object = NULL, *want = NULL;
    assert_ok(answer_to_json(what, &object));
    want = json_pack("{s:s, s:s, s:b, s:s, s:s, s:n, s:f, s:b, s:f, s:n, s:s, s:i, s:[f,f,f,f,f], s:[i], s:[i,i,i,i,i], s:s, "
                     "s:{s:f, s:i, s:b, s:[s,s]}, s:[{s:s, s:i, s:i}]}",
                     "answer", "yes \xEF\xBF\xBD", "finish", "stop", "context_full", 0, "question", "who?", "method", "infoflow",
                     "evidence", "decode_tokens_per_second", 500.0, "verified", 1, "agreement", 0.5, "agreement_kl", "profile", "p.json",
                     "left_out", 4, "scores", 0.0, 0.0, 1.0, 2.0, 0.5, "selected", 3, "context_tokens", 1, 5, 9, 10, 11, "stopped_by", "b",
                     "sampling", "temperature", 0.5, "seed", 0, "grammar", 1, "stop", "a", "b", "documents", "name", "a.txt", "first_chunk",
                     1, "chunks", 1);
    assert_non_null(want);
    const char *key = NULL;
    json_t *value = NULL;
    json_object_foreach(want, key, value) {
        if (!json_equal(json_object_get(object, key), value)) {
            fail_msg("%s is %s", key, json_dumps(json_object_get(object, key), JSON_ENCODE_ANY));
        }
    }
    assert_int_equal(json_array_size(json_object_get(object, "context_texts")), 5);
    assert_int_equal(json_array_size(json_object_get(object, "chunks")), 2);
    assert_string_equal(json_string_value(json_object_get(json_object_get(object, "model"), "fingerprint")), loaded.info.fingerprint);
    json_decref(want);
    json_decref(object);

    answer_report less = *what; /* what is not wanted is not there */
    less.scores = less.positions = false;
    less.settings = NULL;
    less.checked = NULL;
    less.profile = NULL;
    assert_ok(answer_to_json(&less, &object));
    static const char *const absent[] = {"scores", "context_tokens", "context_texts", "sampling", "stopped_by", "verified", "profile"};
    for (size_t i = 0; i < sizeof absent / sizeof *absent; i++) {
        assert_null(json_object_get(object, absent[i]));
    }
    json_decref(object);
}

/* Each allocation of the object fails once: there is no object with members missing. */
static void test_memory(void **state) {
    (void)state;
    const answer_report *what = report();
    size_t n = 1;
    for (bool failed = true; failed; n++) {
        json_t *object = NULL;
        left = n;
        const iflow_status status = answer_to_json(what, &object);
        failed = left == 0;
        left = 0;
        assert_int_equal(status, failed ? IFLOW_E_MEMORY : IFLOW_OK);
        assert_true(failed == !object);
        json_decref(object);
    }
    assert_true(n > 100);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_members), cmocka_unit_test(test_memory)};
    return cmocka_run_group_tests(tests, load_model, free_model);
}
