/* test_service_documents.c - sources and documents of the service: what is read, in which order, what is noticed, and where it lies. */
#include "service/documents.h"
#include "service/input.h"
#include "service/record_names.h"
#include "service_fixture.h"

#include <fcntl.h>
#include <pthread.h>

#define LITERAL(string) (string), sizeof(string) - 1

/* What a reading gave. */
typedef struct taken {
    document *doc[32];
    size_t n, stop_after; /* 0: never */
    iflow_status fail;
} taken;

static iflow_status take(document *doc, bool *more, void *user) {
    taken *to = user;
    to->doc[to->n++] = doc;
    *more = to->n != to->stop_after;
    return to->fail;
}

static void taken_free(taken *t) {
    for (size_t i = 0; i < t->n; i++) {
        document_free(t->doc[i]);
    }
    *t = (taken){0};
}

/* A directory with all that may lie there. */
static void make_folder(void) {
    assert_int_equal(mkdir("folder", 0700), 0);
    assert_int_equal(mkdir("folder/sub", 0700), 0);
    fixture_write("folder/a.txt", LITERAL("The sea.\n"));
    fixture_write("folder/b.txt", LITERAL("Caf\xE9 of the sea, with some more text.\n"));
    fixture_write("folder/c.bin", LITERAL("a\0b"));
    fixture_write("folder/d.txt", LITERAL(" \n"));
    fixture_write("folder/.hidden", LITERAL("no"));
    fixture_write("folder/sub/e.txt", LITERAL("The light."));
    assert_int_equal(symlink("nowhere", "folder/f.txt"), 0);
    assert_int_equal(mkfifo("folder/g", 0600), 0);
}

static void test_folder(void **state) {
    (void)state;
    heard notices = {0};
    taken t = {0};
    sources list = {.events = {.notice = hear, .user = &notices}};
    make_folder();
    assert_ok(sources_add(&list, "folder"));
    assert_int_equal(list.n, 5);
    assert_false(list.is_open);
    assert_ok(documents_read(&list, false, take, &t));
    assert_string_equal(
        notices.text, "failed folder/f.txt: No such file or directory\n"
                      "skipped folder/g: not a regular file\n"
                      "hidden folder: 1\n"
                      "failed folder/b.txt: not UTF-8 at line 1, column 4 (byte 0xe9); if it is Latin-1 or the like, convert it: iconv -f "
                      "WINDOWS-1252 -t UTF-8 folder/b.txt > NEW\n"
                      "skipped folder/c.bin: not a text: it has a zero byte at line 1, column 2\n"
                      "skipped folder/d.txt: empty\n");
    assert_int_equal(t.n, 2);
    assert_string_equal(t.doc[0]->name, "folder/a.txt");
    assert_string_equal(t.doc[0]->part[0], "The sea.\n\n"); /* it ends a paragraph */
    assert_string_equal(t.doc[1]->name, "folder/sub/e.txt");
    assert_string_equal(t.doc[1]->part[0], "The light.\n\n");
    assert_true(t.doc[0]->found && t.doc[1]->found);
    assert_int_equal(list.n_skipped, 4);
    assert_int_equal(list.n_failed, 2);
    assert_int_equal(list.n_failed_named, 0);
    assert_int_equal(list.n_documents, 2);
    assert_int_equal(list.n_passed, list.n_bytes); /* whatever became of them */
    assert_int_equal(t.doc[1]->source_at + t.doc[1]->source_bytes, list.n_bytes);
    taken_free(&t);
    sources_free(&list);
}

/* What is named fails where what is found is skipped. */
static void test_named(void **state) {
    (void)state;
    heard notices = {0};
    taken t = {0};
    sources list = {.events = {.notice = hear, .user = &notices}};
    make_folder();
    assert_int_equal(mkdir("nothing", 0700), 0);
    static const char *const name[] = {"folder/c.bin", "folder/d.txt", "folder/a.txt", "missing", "nothing"};
    for (size_t i = 0; i < sizeof name / sizeof name[0]; i++) {
        assert_ok(sources_add(&list, name[i]));
    }
    assert_ok(documents_read(&list, false, take, &t));
    assert_string_equal(notices.text, "named failed missing: No such file or directory\n"
                                      "named failed nothing: no file in this directory can be read\n"
                                      "named failed folder/c.bin: not a text: it has a zero byte at line 1, column 2\n"
                                      "named failed folder/d.txt: empty\n");
    assert_int_equal(list.n_failed_named, 4);
    assert_int_equal(t.n, 1);
    assert_false(t.doc[0]->found);
    taken_free(&t);
    sources_free(&list);
}

/* Lines: documents, passages, and lines that are neither; each document tells where it lies, refused lines before it counted. */
static void test_lines(void **state) {
    (void)state;
    static const char lines[] = "{\"text\": \"One.\", \"title\": \"first\"}\n"
                                "\n"
                                "{\"text\": 5}\n"
                                "not json\n"
                                "{\"passages\": [\"A.\", \"B.\"], \"id\": 7}\n"
                                "{\"passages\": []}\n"
                                "{\"context\": \"Two.\"}";
    heard notices = {0};
    taken t = {0};
    sources list = {.events = {.notice = hear, .user = &notices}};
    fixture_write("lines.jsonl", lines, sizeof lines - 1);
    assert_ok(sources_add(&list, "lines.jsonl"));
    assert_ok(documents_read(&list, false, take, &t));
    assert_int_equal(t.n, 3);
    assert_string_equal(t.doc[0]->name, "first");
    assert_string_equal(t.doc[1]->name, "7");
    assert_true(t.doc[1]->passages);
    assert_int_equal(t.doc[1]->n_parts, 2);
    assert_string_equal(t.doc[1]->part[1], "Passage 2:\nB.\n");
    assert_string_equal(t.doc[2]->name, "lines.jsonl:7");
    assert_int_equal(t.doc[2]->line, 7);
    for (size_t i = 0; i < t.n; i++) {
        const char *begins = lines;
        for (size_t line = 1; line < t.doc[i]->line; line++) {
            begins = strchr(begins, '\n') + 1;
        }
        assert_int_equal(t.doc[i]->source_at, begins - lines);
    }
    assert_non_null(strstr(notices.text, "named failed lines.jsonl:3: needs \"text\""));
    assert_non_null(strstr(notices.text, "named failed lines.jsonl:4: not JSON: "));
    assert_non_null(strstr(notices.text, "named failed lines.jsonl:6: \"passages\" must be"));
    assert_int_equal(list.n_failed_named, 3);
    assert_int_equal(list.n_passed, list.n_bytes);
    taken_free(&t);
    sources_free(&list);
}

/* Whoever takes documents can stop, and can fail. */
static void test_stop(void **state) {
    (void)state;
    for (int fails = 0; fails < 2; fails++) {
        taken t = {.stop_after = fails ? 0 : 1, .fail = fails ? IFLOW_E_FULL : IFLOW_OK};
        sources list = {0};
        fixture_write("1.txt", LITERAL("One."));
        fixture_write("2.txt", LITERAL("Two."));
        assert_ok(sources_add(&list, "1.txt"));
        assert_ok(sources_add(&list, "2.txt"));
        assert_int_equal(documents_read(&list, false, take, &t), t.fail);
        assert_int_equal(t.n, 1);
        taken_free(&t);
        sources_free(&list);
    }
}

static void *raise_soon(void *token) {
    usleep(30000);
    iflow_cancel_raise(token, true);
    return NULL;
}

/* A pipe that nobody writes to, and one that somebody holds open: the token ends the wait, and the source is not at fault. */
static void test_cancel(void **state) {
    (void)state;
    assert_int_equal(mkfifo("fifo", 0600), 0);
    for (int open_by_somebody = 0; open_by_somebody < 2; open_by_somebody++) {
        taken t = {0};
        heard notices = {0};
        sources list = {.events = {.notice = hear, .user = &notices}};
        iflow_cancel *token = NULL;
        pthread_t other;
        const int writer = open_by_somebody ? open("fifo", O_RDWR | O_CLOEXEC) : -1;
        assert_ok(iflow_cancel_new(&token));
        iflow_cancel_use(token);
        assert_ok(sources_add(&list, "fifo"));
        assert_int_equal(pthread_create(&other, NULL, raise_soon, token), 0);
        assert_int_equal(documents_read(&list, false, take, &t), IFLOW_E_CANCELLED);
        assert_int_equal(pthread_join(other, NULL), 0);
        assert_int_equal(list.n_failed, 0);
        assert_string_equal(notices.text, "");
        iflow_cancel_use(NULL);
        iflow_cancel_free(token);
        sources_free(&list);
        if (writer >= 0) {
            close(writer);
        }
    }
}

static void test_require(void **state) {
    (void)state;
    static const char *const names[] = {"one", "two"};
    taken t = {0};
    sources list = {0};
    assert_int_equal(mkdir("one", 0700), 0);
    fixture_write("one/empty", "", 0);
    assert_ok(sources_add(&list, "one"));
    assert_ok(documents_read(&list, false, take, &t));
    assert_int_equal(sources_require(&list, names, 1), IFLOW_E_FORMAT);
    assert_string_equal(iflow_error_message(), "one: none of its files can be used");
    assert_int_equal(sources_require(&list, names, 2), IFLOW_E_FORMAT);
    sources_free(&list);
}

/* Reads a file of these bytes; the reason why it cannot be read, or "". */
static const char *why_of(const void *bytes, size_t n, iflow_status *status) {
    static char why[512];
    input in;
    iflow_buffer text = {0};
    fixture_write("x.txt", bytes, n);
    assert_true(input_open(&in, "x.txt"));
    const bool read = input_all(&in, &text);
    assert_int_equal(read, in.why == NULL);
    snprintf(why, sizeof why, "%s", read ? "" : in.why);
    *status = in.status;
    iflow_buffer_free(&text);
    input_close(&in);
    return why;
}

/* UTF-16 has an even number of bytes: of an odd number it is not even thought. */
static void test_odd(void **state) {
    (void)state;
    iflow_status status = IFLOW_OK;
    assert_non_null(strstr(why_of(LITERAL("Caf\xE9"
                                          "ab"),
                                  &status),
                           "UTF-16BE"));
    assert_int_equal(status, IFLOW_E_FORMAT);
    const char *why = why_of(LITERAL("Caf\xE9\n"), &status);
    assert_null(strstr(why, "UTF-16"));
    assert_non_null(strstr(why, "not UTF-8 at line 1, column 4 (byte 0xe9)"));
    assert_string_equal(why_of(LITERAL("Caf\xC3\xA9\n"), &status), "");
    assert_int_equal(status, IFLOW_OK);
}

static char *name_of(record_names *names, const char *path, size_t line, const char *title, const char *says) {
    char *part = (char *)(uintptr_t)says, *out = NULL; /* only read */
    size_t n = strlen(says);
    const document doc = {
        .name = (char *)(uintptr_t)title, .source = (char *)(uintptr_t)path, .line = line, .part = &part, .part_bytes = &n, .n_parts = 1};
    assert_ok(record_names_of(names, &doc, &out));
    return out;
}

static void test_record_names(void **state) {
    (void)state;
    record_names names = {0};
    char *resolved = realpath(dir, NULL), want[4200];
    fixture_write("a.jsonl", LITERAL("{}"));
    char *got[7] = {
        name_of(&names, "a.jsonl", 0, "a.jsonl", "x"),   name_of(&names, "a.jsonl", 1, "title", "x"),
        name_of(&names, "./a.jsonl", 1, "title", "x"),   name_of(&names, "a.jsonl", 2, "title", "x"),
        name_of(&names, "a.jsonl", 3, "a.jsonl:3", "x"), name_of(&names, NULL, 1, "stdin:1", "x"),
        name_of(&names, NULL, 1, "stdin:1", "y"),
    };
    static const char *const ending[] = {"", "/title", "/title", "/title:2", "/3"};
    for (size_t i = 0; i < sizeof ending / sizeof ending[0]; i++) {
        snprintf(want, sizeof want, "%s/a.jsonl%s", resolved, ending[i]);
        assert_string_equal(got[i], want);
    }
    assert_int_equal(strncmp(got[5], "stdin #", 7), 0);
    assert_string_not_equal(got[5], got[6]); /* by what they say */
    for (size_t i = 0; i < sizeof got / sizeof got[0]; i++) {
        free(got[i]);
    }
    free(resolved);
    record_names_free(&names);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_folder, fixture_enter, fixture_leave),
        cmocka_unit_test_setup_teardown(test_named, fixture_enter, fixture_leave),
        cmocka_unit_test_setup_teardown(test_lines, fixture_enter, fixture_leave),
        cmocka_unit_test_setup_teardown(test_stop, fixture_enter, fixture_leave),
        cmocka_unit_test_setup_teardown(test_cancel, fixture_enter, fixture_leave),
        cmocka_unit_test_setup_teardown(test_require, fixture_enter, fixture_leave),
        cmocka_unit_test_setup_teardown(test_odd, fixture_enter, fixture_leave),
        cmocka_unit_test_setup_teardown(test_record_names, fixture_enter, fixture_leave),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
