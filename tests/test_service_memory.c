/* test_service_memory.c - the service where memory ends: each allocation of a call fails in turn, and the call says E_MEMORY and leaks
 * nothing. The functions of base that allocate are replaced by the linker (tests/CMakeLists.txt). */
#include "base/base.h"
#include "service/gathering.h"
#include "service/profile.h"
#include "service/record_names.h"
#include "service/session.h"
#include "service_fixture.h"

/* Allocations until one fails; 0: none does. */
static size_t left;

static bool fails(void) {
    return left && --left == 0;
}

void *__real_iflow_calloc(size_t n, size_t size);
void *__wrap_iflow_calloc(size_t n, size_t size);
void *__wrap_iflow_calloc(size_t n, size_t size) {
    return fails() ? NULL : __real_iflow_calloc(n, size);
}

void *__real_iflow_realloc(void *old, size_t n, size_t size);
void *__wrap_iflow_realloc(void *old, size_t n, size_t size);
void *__wrap_iflow_realloc(void *old, size_t n, size_t size) {
    return fails() ? NULL : __real_iflow_realloc(old, n, size);
}

char *__real_iflow_strdup(const char *text);
char *__wrap_iflow_strdup(const char *text);
char *__wrap_iflow_strdup(const char *text) {
    return fails() ? NULL : __real_iflow_strdup(text);
}

iflow_status __real_iflow_reserve(void **array, size_t *capacity, size_t need, size_t size);
iflow_status __wrap_iflow_reserve(void **array, size_t *capacity, size_t need, size_t size);
iflow_status __wrap_iflow_reserve(void **array, size_t *capacity, size_t need, size_t size) {
    return fails() ? iflow_fail_memory(need * size) : __real_iflow_reserve(array, capacity, need, size);
}

/* Runs a call with its first allocation failing, then its second one, until none does; how many it has. */
static size_t fail_each(iflow_status (*call)(void *user), void *user) {
    enum { MOST = 2000 };
    for (size_t n = 1; n < MOST; n++) {
        left = n;
        const iflow_status status = call(user);
        const bool failed = left == 0;
        left = 0;
        if (!failed) {
            assert_ok(status);
            return n - 1;
        }
        if (status != IFLOW_E_MEMORY) {
            fail_msg("allocation %zu failed, and the status is %d (%s)", n, (int)status, iflow_error_message());
        }
    }
    fail_msg("more than %d allocations", MOST);
    return 0;
}

static void make_folder(void) {
    static const char lines[] = "{\"text\": \"One.\"}\n5\n{\"passages\": [\"A.\", \"B.\"], \"id\": 7}\n";
    assert_int_equal(mkdir("folder", 0700), 0);
    fixture_write("folder/a.txt", "The sea.", 8);
    fixture_write("folder/b.txt", "Caf\xE9 of the", 11);
    fixture_write("folder/c.txt",
                  "\xFF\xFE"
                  "a\0b\0",
                  6);
    fixture_write("folder/d.txt",
                  "Caf\xE9"
                  "ab",
                  6);
    fixture_write("folder/e.jsonl", lines, sizeof lines - 1);
}

static iflow_status read_folder(void *user) {
    const iflow_model *model = user;
    const gathering from = {.model = model, .chunk_tokens = 16};
    context_documents documents = {0};
    const iflow_status status = gather(&from, "folder", &documents);
    context_documents_free(&documents);
    return status;
}

static void test_gather(void **state) {
    (void)state;
    iflow_model *model = NULL;
    assert_ok(iflow_model_load(support_tiny_model("llama"), NULL, &model));
    make_folder();
    assert_true(fail_each(read_folder, model) > 30);
    iflow_model_free(model);
}

static iflow_status name_twice(void *user) {
    (void)user;
    char text[] = "x", title[] = "title", path[] = "a.jsonl", *part = text, *name = NULL;
    size_t n = 1;
    record_names names = {0};
    iflow_status status = IFLOW_OK;
    for (size_t line = 1; line <= 3 && status == IFLOW_OK; line++) { /* the third one comes through a pipe */
        const document doc = {.name = title, .source = line < 3 ? path : NULL, .line = line, .part = &part, .part_bytes = &n, .n_parts = 1};
        status = record_names_of(&names, &doc, &name);
        free(name);
    }
    record_names_free(&names);
    return status;
}

static void test_names(void **state) {
    (void)state;
    fixture_write("a.jsonl", "{}", 2);
    assert_true(fail_each(name_twice, NULL) > 8);
}

static iflow_status find_profile(void *user) {
    (void)user;
    const iflow_model_info model = {.path = "m.gguf", .fingerprint = "f", .n_layer = 2};
    profile p = {0};
    const iflow_status status = profile_find(NULL, &model, &p);
    profile_free(&p);
    return status;
}

static iflow_status find_places(void *user) {
    (void)user;
    char *place = NULL;
    const iflow_status status = session_store_place(&place);
    assert_int_equal(status == IFLOW_OK, place != NULL);
    free(place);
    return status;
}

static void test_places(void **state) {
    (void)state;
    static const char json[] =
        "{\"version\": 2, \"fingerprint\": \"f\", \"method\": \"union\", \"score\": \"norm\", \"score_layers\": null, "
        "\"fillers\": 1, \"ratio\": 0.3, \"trusted_ratio\": 0.2}";
    assert_int_equal(setenv("XDG_CONFIG_HOME", dir, 1), 0);
    assert_int_equal(setenv("XDG_CACHE_HOME", dir, 1), 0);
    assert_int_equal(unsetenv("INFOFLOW_STORE"), 0);
    assert_int_equal(mkdir("infoflow", 0700), 0);
    assert_int_equal(mkdir("infoflow/profiles", 0700), 0);
    fixture_write("infoflow/profiles/f.json", json, sizeof json - 1);
    assert_true(fail_each(find_profile, NULL) > 4);
    assert_true(fail_each(find_places, NULL) > 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_gather, fixture_enter, fixture_leave),
        cmocka_unit_test_setup_teardown(test_names, fixture_enter, fixture_leave),
        cmocka_unit_test_setup_teardown(test_places, fixture_enter, fixture_leave),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
