/* test_service_settings.c - how a question is asked: settings of a request, contradictions by both kinds of names, schemas, positions. */
#include "service/given.h"
#include "service/profile.h"
#include "service/schema.h"
#include "support.h"

#include "model/templates.h"

#include <stdlib.h>
#include <string.h>

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

static json_t *json_of(const char *text) {
    json_error_t error;
    json_t *root = json_loads(text, 0, &error);
    if (!root) {
        fail_msg("%s: %s", text, error.text);
    }
    return root;
}

static void assert_says(const char *what) {
    if (!strstr(iflow_error_message(), what)) {
        fail_msg("'%s', but '%s' was wanted", iflow_error_message(), what);
    }
}

/* Every setting has a name of its own, and a member by that name is taken. */
static void test_take(void **state) {
    (void)state;
    json_t *root = json_of("{\"method\": \"union\", \"ratio\": 0.25, \"coverage\": 0.5, \"min_ratio\": 0.1, \"max_ratio\": 1, "
                           "\"staleness_share\": 0.5, \"score\": \"vatp\", \"geometry\": \"global\", \"reorder\": true, "
                           "\"score_layers\": [1, -1, 0.5], \"score_text\": \"prompt\", \"drift\": \"off\", \"system\": \"S\", "
                           "\"instruction\": \"I\", \"max_tokens\": 7, \"temperature\": 1, \"seed\": 3, \"top_k\": 4, \"top_p\": 0.5, "
                           "\"min_p\": 0.25, \"repeat_penalty\": 1.5, \"frequency_penalty\": -1, \"presence_penalty\": 1, "
                           "\"penalty_last_n\": 9, \"stop\": [\"a\", \"b\"], \"grammar\": \"root ::= [a]\", \"model\": 5}");
    static const int score_layer[] = {0, 1, 2, 3};
    const iflow_model_info model = {.n_layer = 4, .score_layer = score_layer};
    ask_settings s = ask_settings_default();
    iflow_ask_params p;
    assert_ok(ask_settings_take(&s, root));
    for (int i = 0; i < N_ASK_SETTINGS; i++) {
        assert_int_equal(s.given[i], i != ASK_SETTING_JSON_SCHEMA);
    }
    assert_ok(ask_settings_params(&s, &model, &p));
    assert_int_equal(p.method, IFLOW_METHOD_UNION);
    assert_int_equal(p.score, IFLOW_SCORE_VATP);
    assert_int_equal(p.geometry, IFLOW_GEOMETRY_GLOBAL);
    assert_int_equal(p.score_text, IFLOW_SCORE_PROMPT);
    assert_int_equal(p.drift, IFLOW_OFF);
    assert_true(p.reorder);
    assert_int_equal(p.n_score_layers, 3);
    assert_int_equal(p.score_layers[0], 1);
    assert_int_equal(p.score_layers[1], -1);
    assert_int_equal(p.score_layers[2], 2);
    assert_string_equal(p.system, "S");
    assert_string_equal(p.instruction, "I");
    const double got[] = {p.ratio, p.coverage, p.min_ratio, p.max_ratio,      p.staleness_share,   p.temperature,
                          p.top_p, p.min_p,    1.5,         p.repeat_penalty, p.frequency_penalty, p.presence_penalty};
    const double want[] = {0.25, 0.5, 0.1, 1, 0.5, 1, 0.5, 0.25, 1.5, 1.5, -1, 1};
    assert_memory_equal(got, want, sizeof want);
    assert_int_equal(p.max_tokens, 7);
    assert_int_equal(p.seed, 3);
    assert_int_equal(p.top_k, 4);
    assert_int_equal(p.penalty_last_n, 9);
    assert_int_equal(p.n_stop, 2);
    assert_string_equal(p.stop[1], "b");
    assert_string_equal(p.grammar, "root ::= [a]");
    ask_settings_free(&s);
    json_decref(root);

    root = json_of("{\"stop\": \"end\", \"seed\": null, \"grammar\": null}"); /* one text; null is nothing */
    s = ask_settings_default();
    assert_ok(ask_settings_take(&s, root));
    assert_int_equal(s.stop.n, 1);
    assert_false(s.given[ASK_SETTING_SEED] || s.given[ASK_SETTING_GRAMMAR]);
    assert_true(s.given[ASK_SETTING_STOP]);
    ask_settings_free(&s);
    json_decref(root);
}

static void test_refused(void **state) {
    (void)state;
    static const struct {
        const char *object, *why;
    } bad[] = {{"[]", "settings are no JSON object"},
               {"{\"method\": 5}", "method must be a name"},
               {"{\"method\": \"magic\"}", "infoflow"},
               {"{\"score\": \"magic\"}", "vatp"},
               {"{\"geometry\": \"magic\"}", "global"},
               {"{\"score_text\": \"all\"}", "score_text must be one of question|prompt, not 'all'"},
               {"{\"score_text\": \"question|prompt\"}", "score_text must be one of"},
               {"{\"drift\": true}", "drift must be a name"},
               {"{\"ratio\": \"0.5\"}", "ratio must be a number"},
               {"{\"max_tokens\": 1.5}", "max_tokens must be a whole number"},
               {"{\"max_tokens\": 3000000000}", "max_tokens must be a whole number"},
               {"{\"seed\": -1}", "seed must be a whole number from 0 on"},
               {"{\"reorder\": 1}", "reorder must be true or false"},
               {"{\"system\": [\"a\"]}", "system must be a text"},
               {"{\"stop\": [1]}", "stop must be a text or a list of texts"},
               {"{\"stop\": [1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17]}", "stop has 17 texts; at most 16"},
               {"{\"score_layers\": []}", "score_layers must be a list of 1 to 16 layers"},
               {"{\"score_layers\": [1.0]}", "neither the number of a layer nor a part of the depth"},
               {"{\"score_layers\": [1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17]}", "a list of 1 to 16 layers"},
               {"{\"grammar\": \"root ::= [a]\", \"json_schema\": {}}", "grammar and json_schema exclude one another"},
               {"{\"json_schema\": \"{}\"}", "json_schema must be an object"}};
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        json_t *root = json_of(bad[i].object);
        ask_settings s = ask_settings_default();
        assert_int_equal(ask_settings_take(&s, root), IFLOW_E_ARG);
        assert_says(bad[i].why);
        ask_settings_free(&s);
        json_decref(root);
    }
    json_t *nul = json_pack("{s:s%}", "system", "a\0b", (size_t)3);
    ask_settings s = ask_settings_default();
    assert_int_equal(ask_settings_take(&s, nul), IFLOW_E_ARG);
    json_decref(nul);
}

/* The same contradictions, by a command's names and by a request's. */
static void test_check(void **state) {
    (void)state;
    static const struct {
        const char *object;
        iflow_method method;
        const char *why; /* NULL: nothing */
    } row[] = {
        {"{\"coverage\": 0.5, \"ratio\": 0.2}", IFLOW_METHOD_INFOFLOW, "coverage and ratio exclude one another; min_ratio and max_ratio"},
        {"{\"coverage\": 0.5, \"ratio\": 0}", IFLOW_METHOD_RANDOM, "coverage goes with methods that score every token; method random"},
        {"{\"max_ratio\": 0.5}", IFLOW_METHOD_INFOFLOW, "max_ratio goes with coverage"},
        {"{\"coverage\": 0.5, \"min_ratio\": 0.5, \"max_ratio\": 0.25}", IFLOW_METHOD_INFOFLOW,
         "min_ratio 0.5 is more than max_ratio 0.25"},
        {"{\"score\": \"norm\"}", IFLOW_METHOD_FULL,
         "score goes with methods that score the context by the question; method full does not"},
        {"{\"drift\": \"on\"}", IFLOW_METHOD_NONE, "drift goes with methods that recompute a part of the tokens"},
        {"{\"staleness_share\": 0.5}", IFLOW_METHOD_INFOFLOW, "staleness_share goes with methods"},
        {"{\"drift\": \"off\"}", IFLOW_METHOD_NONE, NULL},
        {"{\"reorder\": false}", IFLOW_METHOD_NONE, NULL},
        {"{}", IFLOW_METHOD_GIVEN, "method given needs positions or scores"},
        {"{\"ratio\": 0.3, \"score\": \"norm\"}", IFLOW_METHOD_INFOFLOW, NULL}};
    for (size_t i = 0; i < COUNT_OF(row); i++) {
        json_t *root = json_of(row[i].object);
        ask_settings s = ask_settings_default();
        const settings_use members = {.form = SETTINGS_AS_MEMBERS, .method = &row[i].method, .n_methods = 1};
        settings_use options = members;
        options.form = SETTINGS_AS_OPTIONS;
        assert_ok(ask_settings_take(&s, root));
        assert_int_equal(ask_settings_check(&s, &members), row[i].why ? IFLOW_E_ARG : IFLOW_OK);
        if (row[i].why) {
            assert_says(row[i].why);
        }
        assert_int_equal(ask_settings_check(&s, &options), row[i].why ? IFLOW_E_ARG : IFLOW_OK);
        if (row[i].why && row[i].method != IFLOW_METHOD_GIVEN) {
            assert_int_equal(strncmp(iflow_error_message(), "--", 2), 0);
            assert_null(strchr(iflow_error_message(), '_'));
        }
        ask_settings_free(&s);
        json_decref(root);
    }
    const iflow_method none = IFLOW_METHOD_NONE;
    const ask_settings usual = ask_settings_default();
    const settings_use use = {.form = SETTINGS_AS_MEMBERS, .method = &none, .n_methods = 1, .has_given = true};
    assert_int_equal(ask_settings_check(&usual, &use), IFLOW_E_ARG);
    assert_says("positions and scores go with method given");
}

/* A profile changes what a request did not say. */
static void test_profile(void **state) {
    (void)state;
    char path[] = "p.json";
    const profile p = {.path = path, .method = IFLOW_METHOD_UNION, .score = IFLOW_SCORE_VATP, .ratio = 0.5, .layer = {2}, .n_layers = 1};
    json_t *root = json_of("{\"ratio\": 0.25, \"drift\": \"on\"}");
    ask_settings s = ask_settings_default();
    assert_ok(ask_settings_take(&s, root));
    profile_apply(&p, &s);
    assert_string_equal(s.method, "union");
    assert_string_equal(s.score, "vatp");
    assert_true(s.ratio < 0.26);
    assert_string_equal(s.drift, "on");
    assert_int_equal(s.layers.n, 1);
    assert_int_equal(s.layers.layer[0], 2);
    ask_settings_free(&s);
    json_decref(root);
}

/* What is wrong with a schema is one line, which says where. */
static void test_schema(void **state) {
    (void)state;
    static const struct {
        const char *schema;
        iflow_status status;
        const char *why; /* its beginning */
    } bad[] = {{"{\"type\": ", IFLOW_E_FORMAT, "line 1, column 9: "},
               {"{\"type\": \"object\",\n\"a\": [1,]}", IFLOW_E_FORMAT, "line 2, column 9: "},
               {"\"abc\n", IFLOW_E_FORMAT, "line 1, column 4: "},
               {"[1]", IFLOW_E_FORMAT, "it is no JSON object"},
               {"5", IFLOW_E_FORMAT, "it is no JSON object"},
               {"{\"type\":\"strin\"}", IFLOW_E_UNSUPPORTED, "at #: unrecognized type strin"},
               {"{\"type\":\"object\",\"properties\":{\"a\":{\"$ref\":\"#/nope\"}}}", IFLOW_E_UNSUPPORTED,
                "at #/properties/a: cannot resolve $ref #/nope, nope not found"},
               {"{\"type\":\"object\",\"properties\":{\"a\":{\"minItems\":\"x\"}}}", IFLOW_E_UNSUPPORTED,
                "at #/properties/a: minItems is no whole number"},
               {"{\"anyOf\":[{\"type\":\"null\"},{\"not\":{}}]}", IFLOW_E_UNSUPPORTED, "at #/anyOf/1: no grammar is made for not"},
               {"{\"properties\":{\"a\\nb\":{\"not\":{}}}}", IFLOW_E_UNSUPPORTED, "at #/properties/a b: no grammar is made for not"}};
    if (!iflow_templates_available()) {
        skip();
    }
    char *grammar = NULL;
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        const iflow_status status = schema_to_grammar(bad[i].schema, strlen(bad[i].schema), &grammar);
        const char *said = iflow_error_message();
        if (status != bad[i].status || strncmp(said, bad[i].why, strlen(bad[i].why)) != 0) {
            fail_msg("%s: %s: %s", bad[i].schema, iflow_status_string(status), said);
        }
        for (const char *c = said; *c; c++) {
            assert_true((unsigned char)*c >= ' ');
        }
    }
    static const char person[] = "{\"type\":\"object\",\"properties\":{\"name\":{\"type\":\"string\"}}}";
    char *again = NULL;
    json_t *root = json_of(person), *request = json_pack("{s:O}", "json_schema", root);
    assert_ok(schema_to_grammar(person, strlen(person), &grammar));
    assert_non_null(strstr(grammar, "root ::="));
    assert_ok(schema_json_to_grammar(root, &again));
    assert_string_equal(grammar, again);
    ask_settings s = ask_settings_default();
    assert_ok(ask_settings_take(&s, request));
    assert_string_equal(s.grammar, grammar);
    assert_true(s.grammar_is_schemas);
    ask_settings_free(&s);
    json_object_set_new(request, "json_schema", json_pack("{s:s}", "type", "strin"));
    assert_int_equal(ask_settings_take(&s, request), IFLOW_E_UNSUPPORTED);
    assert_string_equal(iflow_error_message(), "json_schema: at #: unrecognized type strin");
    json_decref(request);
    json_decref(root);
    free(grammar);
    free(again);
}

static void test_given(void **state) {
    (void)state;
    static const struct {
        const char *object, *why;
    } bad[] = {{"[]", "it is no object"},
               {"{}", "neither of"},
               {"{\"positions\": [], \"scores\": []}", "both"},
               {"{\"scores\": 1}", "\"scores\" is no list"},
               {"{\"positions\": [1, -1]}", "\"positions\"[1] is none"},
               {"{\"scores\": [1, null]}", "\"scores\"[1] is no number"},
               {"{\"scores\": [1e300]}", "that a float of 32 bits holds"}};
    given g;
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        json_t *root = json_of(bad[i].object);
        assert_int_equal(given_take(&g, root), IFLOW_E_FORMAT);
        assert_says(bad[i].why);
        given_free(&g);
        json_decref(root);
    }
    json_t *root = json_of("{\"positions\": [7, 3], \"ratio\": 0.25}");
    iflow_ask_params p = iflow_ask_default_params();
    ask_settings s = ask_settings_default();
    assert_ok(given_take(&g, root));
    assert_ok(given_check(&g, &s, SETTINGS_AS_MEMBERS));
    assert_ok(ask_settings_take(&s, root));
    assert_int_equal(given_check(&g, &s, SETTINGS_AS_MEMBERS), IFLOW_E_ARG);
    assert_string_equal(iflow_error_message(), "ratio goes with scores, and there are positions");
    given_use(&g, &p);
    assert_int_equal(p.n_given_positions, 2);
    assert_int_equal(p.given_positions[1], 3);
    given_free(&g);
    json_decref(root);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_take),    cmocka_unit_test(test_refused), cmocka_unit_test(test_check),
                                       cmocka_unit_test(test_profile), cmocka_unit_test(test_schema),  cmocka_unit_test(test_given)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
