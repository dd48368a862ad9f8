/* test_service_profile.c - profiles: written, found, refused, and what they change of settings that nobody gave. */
#include "service/profile.h"
#include "service_fixture.h"

static const iflow_model_info model = {.path = "m.gguf", .fingerprint = "0123456789abcdef0123456789abcdef", .n_layer = 4};

#define PROFILE                                                                                                                            \
    "\"version\": 2, \"fingerprint\": \"0123456789abcdef0123456789abcdef\", \"method\": \"union\", \"score\": \"vatp\", "                  \
    "\"score_layers\": "                                                                                                                   \
    "[1, 3], \"fillers\": 1, \"ratio\": 0.3, \"trusted_ratio\": 0.2, \"correct\": false, \"drift\": false, \"correction\": \"abc\""

#define LAYERS_17                                                                                                                          \
    "\"version\": 2, \"fingerprint\": \"0123456789abcdef0123456789abcdef\", \"method\": \"union\", \"score\": \"vatp\", "                  \
    "\"score_layers\": [0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0], \"fillers\": 1, \"ratio\": 0.3, \"trusted_ratio\": 0.2"

static void write_text(const char *name, const char *text) {
    fixture_write(name, text, strlen(text));
}

static void test_find(void **state) {
    (void)state;
    profile p = {0};
    write_text("p.json", "{" PROFILE "}");
    assert_ok(profile_find("p.json", &model, &p));
    assert_string_equal(p.path, "p.json");
    assert_int_equal(p.method, IFLOW_METHOD_UNION);
    assert_int_equal(p.score, IFLOW_SCORE_VATP);
    assert_int_equal(p.n_layers, 2);
    assert_int_equal(p.layer[1], 3);
    assert_int_equal(p.fillers, 1);
    assert_false(p.correct || p.drift || p.few);
    assert_string_equal(p.correction, "abc");
    profile_free(&p);

    assert_int_equal(setenv("XDG_CONFIG_HOME", dir, 1), 0);
    assert_ok(profile_find(NULL, &model, &p)); /* none at the default place */
    assert_null(p.path);
    char *place = NULL;
    assert_ok(profile_place(model.fingerprint, &place));
    json_t *root = json_loads("{" PROFILE "}", 0, NULL);
    assert_ok(profile_write(place, root)); /* with the directories above it */
    json_decref(root);
    assert_ok(profile_find(NULL, &model, &p));
    assert_string_equal(p.path, place);
    profile_free(&p);
    free(place);
    assert_int_equal(unsetenv("XDG_CONFIG_HOME"), 0);
    assert_int_equal(setenv("HOME", "nowhere", 1), 0);
    assert_ok(profile_find(NULL, &model, &p)); /* nothing says where */
    assert_null(p.path);
}

/* Names of earlier versions are read, and members may be missing that those lacked. */
static void test_earlier(void **state) {
    (void)state;
    profile p = {0};
    write_text("p.json", "{\"version\": 2, \"fingerprint\": \"0123456789abcdef0123456789abcdef\", \"method\": \"foreseen\", \"score\": "
                         "\"norm\", \"score_layers\": null, \"behind\": 3, \"ratio\": 0.5, \"trusted_ratio\": null}");
    assert_ok(profile_find("p.json", &model, &p));
    assert_int_equal(p.method, IFLOW_METHOD_STALENESS);
    assert_int_equal(p.fillers, 3);
    assert_true(p.correct && p.drift && p.trusted < 0);
    assert_null(p.correction);
    profile_free(&p);
}

static void test_refused(void **state) {
    (void)state;
    static const struct {
        const char *text, *why;
    } bad[] = {{"[]", "it is no JSON object"},
               {"{", "p.json is no profile for m.gguf: "},
               {"{}", "\"version\""},
               {"{\"version\": 1}", "its version is another one's"},
               {"{" PROFILE ", \"fingerprint\": \"a\"}", "duplicate"},
               {"{\"version\": 2, \"fingerprint\": 5}", "\"fingerprint\": "},
               {"{" LAYERS_17 "}", "\"score_layers\" is neither null nor a list of 1 to 16 layers"},
               {"\xFF", "not UTF-8"}};
    profile p = {0};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        write_text("p.json", bad[i].text);
        assert_int_equal(profile_find("p.json", &model, &p), IFLOW_E_FORMAT);
        if (!strstr(iflow_error_message(), bad[i].why)) {
            fail_msg("%s, but %s was wanted", iflow_error_message(), bad[i].why);
        }
        assert_null(p.path);
        assert_null(p.root);
    }
    const iflow_model_info other = {.path = "o.gguf", .fingerprint = "f", .n_layer = 4};
    iflow_model_info flat = model;
    flat.n_layer = 3;
    write_text("p.json", "{" PROFILE "}");
    assert_int_equal(profile_find("p.json", &other, &p), IFLOW_E_FORMAT);
    assert_string_equal(iflow_error_message(), "p.json is no profile for o.gguf: it is of another model");
    assert_int_equal(profile_find("p.json", &flat, &p), IFLOW_E_FORMAT);
    assert_non_null(strstr(iflow_error_message(), "a layer that the model lacks"));
    assert_int_equal(profile_find("missing", &model, &p), IFLOW_E_IO); /* where it is named */
    assert_int_equal(profile_find(".", &model, &p), IFLOW_E_IO);
}

static void test_apply(void **state) {
    (void)state;
    const ask_settings usual = ask_settings_default();
    const profile_chunks usual_chunks = {.fillers = 2, .correct = true};
    profile p = {0};
    ask_settings s = usual, all = usual;
    profile_chunks chunks = usual_chunks;
    profile_apply(&p, &s); /* there is no profile */
    profile_apply_chunks(&p, &chunks);
    assert_memory_equal(&s, &usual, sizeof s);
    assert_memory_equal(&chunks, &usual_chunks, sizeof chunks);
    write_text("p.json", "{" PROFILE "}");
    assert_ok(profile_find("p.json", &model, &p));
    for (int i = 0; i < N_ASK_SETTINGS; i++) {
        all.given[i] = true;
    }
    s = all;
    profile_apply(&p, &s);
    assert_memory_equal(&s, &all, sizeof s);
    s = usual;
    profile_apply(&p, &s);
    assert_string_equal(s.method, "union");
    assert_string_equal(s.score, "vatp");
    assert_true(s.ratio > 0.29 && s.ratio < 0.31);
    assert_string_equal(s.drift, "off");
    assert_int_equal(s.layers.n, 2);
    assert_int_equal(s.layers.layer[1], 3);
    assert_true(s.layers.fraction[1] < 0);
    s = usual;
    s.given[ASK_SETTING_RATIO] = s.given[ASK_SETTING_DRIFT] = true; /* each by itself */
    profile_apply(&p, &s);
    assert_true(s.ratio < 0.2);
    assert_string_equal(s.drift, "auto");
    assert_string_equal(s.method, "union");
    profile_apply_chunks(&p, &chunks);
    assert_int_equal(chunks.fillers, 1);
    assert_false(chunks.correct);
    chunks = (profile_chunks){.fillers = 2, .correct = true, .fillers_given = true, .correct_given = true};
    profile_apply_chunks(&p, &chunks);
    assert_int_equal(chunks.fillers, 2);
    assert_true(chunks.correct);
    profile_free(&p);
}

static void test_trust(void **state) {
    (void)state;
    char path[] = "p.json";
    profile p = {.path = path, .trusted = 0.2, .correct = true, .correction = "abc"};
    iflow_ask_params params = {.method = IFLOW_METHOD_INFOFLOW, .ratio = 0.1, .max_ratio = 0.3};
    double ratio = 0;
    assert_int_equal(profile_trust_in(&p, &params, &ratio), PROFILE_TRUSTS_MORE);
    assert_true(ratio > 0.09 && ratio < 0.11);
    params.coverage = 0.5; /* as much as it may take */
    assert_int_equal(profile_trust_in(&p, &params, &ratio), PROFILE_TRUSTS);
    params.coverage = 0;
    params.ratio = 0.2;
    assert_int_equal(profile_trust_in(&p, &params, &ratio), PROFILE_TRUSTS);
    params.method = IFLOW_METHOD_NONE;
    assert_int_equal(profile_trust_in(&p, &params, &ratio), PROFILE_TRUSTS_MORE);
    params.method = IFLOW_METHOD_FULL;
    assert_int_equal(profile_trust_in(&p, &params, &ratio), PROFILE_TRUSTS);
    params.method = IFLOW_METHOD_INFOFLOW;
    p.trusted = -1;
    assert_int_equal(profile_trust_in(&p, &params, &ratio), PROFILE_TRUSTS_NONE);
    p.few = true;
    assert_int_equal(profile_trust_in(&p, &params, &ratio), PROFILE_TRUSTS);
    assert_true(profile_differs_in_correction(&p, ""));
    assert_false(profile_differs_in_correction(&p, "abc"));
    p.correct = false; /* it does without */
    assert_false(profile_differs_in_correction(&p, ""));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_find, fixture_enter, fixture_leave),
        cmocka_unit_test_setup_teardown(test_earlier, fixture_enter, fixture_leave),
        cmocka_unit_test_setup_teardown(test_refused, fixture_enter, fixture_leave),
        cmocka_unit_test_setup_teardown(test_apply, fixture_enter, fixture_leave),
        cmocka_unit_test(test_trust),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
