/* test_store_docs.c - documents of a store, their names and ids, those that share chunks. */
#include "store_fixture.h"

#include "kv/store_dir.h"

#include <fcntl.h>
#include <sys/file.h>

/* ---- Records and names ----------------------------------------------------------------------------------------------------------------
 */

static iflow_document document_of(char *name, char (*chunks)[IFLOW_ID_SIZE], size_t n_chunks) {
    iflow_document document = {.name = name, .chunk_id = chunks, .n_chunks = n_chunks, .n_tokens = 100 * n_chunks};
    memcpy(document.fingerprint, "0123456789abcdef0123456789abcdef", IFLOW_ID_SIZE);
    return document;
}

static void test_documents(void **state) {
    (void)state;
    iflow_store *store = open_limited(0);
    char chunks[3][IFLOW_ID_SIZE] = {"00000000000000000000000000000001", "00000000000000000000000000000002",
                                     "00000000000000000000000000000003"};
    char name_b[] = "b.txt", name_a[] = "a \"quoted\"\n\xc3\xa9.txt", name_bytes[] = "bytes \xff\xfe\x80.txt";
    iflow_document **list = NULL;
    size_t n = 99;
    OK(iflow_store_list_documents(store, &list, &n));
    assert_int_equal(n, 0);
    iflow_documents_free(list, n);
    iflow_documents_free(NULL, 0);

    iflow_document b = document_of(name_b, chunks, 3), a = document_of(name_a, chunks, 1), c = document_of(name_bytes, chunks + 1, 2);
    OK(iflow_store_put_document(store, &b));
    OK(iflow_store_put_document(store, &a));
    OK(iflow_store_put_document(store, &c));
    assert_true(iflow_id_is_valid(a.id));
    assert_string_not_equal(a.id, b.id);
    OK(iflow_store_list_documents(store, &list, &n));
    assert_int_equal(n, 3);
    assert_string_equal(list[0]->name, name_a);
    assert_string_equal(list[1]->name, name_b);
    assert_string_equal(list[1]->id, b.id);
    assert_string_equal(list[1]->fingerprint, b.fingerprint);
    assert_int_equal(list[1]->n_chunks, 3);
    assert_int_equal(list[1]->n_tokens, 300);
    assert_memory_equal(list[1]->chunk_id, chunks, sizeof chunks);
    assert_string_equal(list[2]->name, "bytes \xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd.txt");
    iflow_documents_free(list, n);

    /* A name is a document, whatever its chunks: the same ones under another name are another, others under the same one replace it. */
    assert_false(b.replaced);
    char name_d[] = "d.txt";
    iflow_document copy = document_of(name_d, chunks, 3);
    OK(iflow_store_put_document(store, &copy));
    assert_string_not_equal(copy.id, b.id);
    assert_false(copy.replaced);
    OK(iflow_store_put_document(store, &copy));
    assert_false(copy.replaced); /* by the same */
    iflow_document changed = document_of(name_b, chunks, 2);
    OK(iflow_store_put_document(store, &changed));
    assert_string_equal(changed.id, b.id);
    assert_true(changed.replaced);
    OK(iflow_store_list_documents(store, &list, &n));
    assert_int_equal(n, 4);
    assert_int_equal(list[1]->n_chunks, 2);
    assert_string_equal(list[3]->name, name_d);
    iflow_documents_free(list, n);
    OK(iflow_store_delete(store, IFLOW_DOCUMENT, copy.id));

    OK(iflow_store_delete(store, IFLOW_DOCUMENT, a.id));
    FAILS(iflow_store_delete(store, IFLOW_DOCUMENT, a.id), IFLOW_E_NOT_FOUND, a.id);
    OK(iflow_store_list_documents(store, &list, &n));
    assert_int_equal(n, 2);
    iflow_documents_free(list, n);

    iflow_document wrong = document_of(name_b, chunks, 0);
    FAILS(iflow_store_put_document(store, &wrong), IFLOW_E_ARG, "b.txt");
    wrong = document_of(name_b, chunks, 1);
    wrong.fingerprint[3] = '/';
    FAILS(iflow_store_put_document(store, &wrong), IFLOW_E_ARG, "fingerprint");
    char no_ids[1][IFLOW_ID_SIZE] = {"../../somewhere"};
    wrong = document_of(name_b, no_ids, 1);
    FAILS(iflow_store_put_document(store, &wrong), IFLOW_E_ARG, "chunk 0");
    close_checked(store);
}

/* Names that only differ in bytes that are no text are different. */
static void test_names_that_are_no_text(void **state) {
    (void)state;
    iflow_store *store = open_limited(0);
    char chunks[1][IFLOW_ID_SIZE] = {"00000000000000000000000000000001"};
    iflow_document **list = NULL;
    size_t n = 99;
    char name_ff[] = "\xff", name_fe[] = "\xfe", name_replaced[] = "\xef\xbf\xbd";
    iflow_document ff = document_of(name_ff, chunks, 1), fe = document_of(name_fe, chunks, 1), text = document_of(name_replaced, chunks, 1);
    OK(iflow_store_put_document(store, &ff));
    OK(iflow_store_put_document(store, &fe));
    OK(iflow_store_put_document(store, &text));
    OK(iflow_store_list_documents(store, &list, &n));
    assert_int_equal(n, 3);
    for (size_t i = 0; i < 3; i++) {
        assert_string_equal(list[i]->name, "\xef\xbf\xbd");
    }
    iflow_documents_free(list, n);
    close_checked(store);
}

static void test_bad_records_are_skipped(void **state) {
    (void)state;
    static const char *const bad[] = {
        "",
        "{",
        "[]",
        "null",
        "{\"version\": 3}",
        "{\"version\": 0}",
        "{\"version\": 1}",
        "{\"version\": 1, \"version\": 1}",
        "{\"version\": 1, \"fingerprint\": \"x\", \"name\": \"n\", \"n_tokens\": 1, \"chunks\": []}",
        "{\"version\": 1, \"fingerprint\": \"0123456789abcdef0123456789abcdef\", \"name\": 5, \"n_tokens\": 1, \"chunks\": []}",
        "{\"version\": 1, \"fingerprint\": \"0123456789abcdef0123456789abcdef\", \"name\": \"n\", \"n_tokens\": -1, \"chunks\": []}",
        "{\"version\": 1, \"fingerprint\": \"0123456789abcdef0123456789abcdef\", \"name\": \"n\", \"n_tokens\": 1, \"chunks\": 1}",
        "{\"version\": 1, \"fingerprint\": \"0123456789abcdef0123456789abcdef\", \"name\": \"n\", \"n_tokens\": 1, \"chunks\": "
        "[\"../../x\"]}",
        "{\"version\": 1, \"fingerprint\": \"0123456789abcdef0123456789abcdef\", \"name\": \"n\", \"n_tokens\": 1, \"chunks\": "
        "[\"00000000000000000000000000000001\"]}",
        "{\"version\": 2, \"fingerprint\": \"0123456789abcdef0123456789abcdef\", \"name\": \"n\", \"name_bytes\": \"f\", \"n_tokens\": 1, "
        "\"chunks\": []}",
        "{\"version\": 2, \"fingerprint\": \"0123456789abcdef0123456789abcdef\", \"name\": \"n\", \"n_tokens\": 1, \"chunks\": []}",
        "{\"version\": 1, \"fingerprint\": \"0123456789abcdef0123456789abcdef\", \"name\": \"\\ud800\", \"n_tokens\": 1, \"chunks\": []}",
    };
    iflow_store *store = open_limited(0);
    char chunks[1][IFLOW_ID_SIZE] = {"00000000000000000000000000000001"}, name[] = "good.txt";
    iflow_document good = document_of(name, chunks, 1), **list = NULL;
    size_t n = 0;
    OK(iflow_store_put_document(store, &good));
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        n_warnings = 0;
        write_file("store/docs/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.json", bad[i]);
        OK(iflow_store_list_documents(store, &list, &n));
        assert_int_equal(n, 1);
        assert_string_equal(list[0]->id, good.id);
        assert_int_equal(n_warnings, 1);
        assert_non_null(strstr(last_warning, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"));
        iflow_documents_free(list, n);
    }
    /* every truncation of a good record */
    iflow_blob text = {0};
    OK(store->ops->get_record(store, good.id, &text));
    for (size_t i = 0; i < text.n_bytes; i++) {
        n_warnings = 0;
        OK(store->ops->put_record(store, good.id, text.data, i));
        OK(iflow_store_list_documents(store, &list, &n));
        assert_int_equal(n, 0);
        assert_int_equal(n_warnings, 2);
        iflow_documents_free(list, n);
    }
    iflow_blob_free(&text);
    OK(iflow_store_delete(store, IFLOW_DOCUMENT, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"));
    close_checked(store);
}

static void test_resolve(void **state) {
    (void)state;
    iflow_store *store = open_limited(0);
    char chunk[IFLOW_ID_SIZE], found[IFLOW_ID_SIZE], prefix[IFLOW_ID_SIZE], chunks[1][IFLOW_ID_SIZE] = {"00000000000000000000000000000001"};
    char name[] = "a.txt";
    iflow_kind kind = IFLOW_DOCUMENT;
    put_seed(store, 1, chunk);
    iflow_document document = document_of(name, chunks, 1);
    OK(iflow_store_put_document(store, &document));

    for (size_t n = 4; n <= 32; n += 7) {
        snprintf(prefix, sizeof prefix, "%.*s", (int)n, chunk);
        OK(iflow_store_resolve(store, prefix, found, &kind));
        assert_int_equal(kind, IFLOW_CHUNK);
        assert_string_equal(found, chunk);
        snprintf(prefix, sizeof prefix, "%.*s", (int)n, document.id);
        OK(iflow_store_resolve(store, prefix, found, &kind));
        assert_int_equal(kind, IFLOW_DOCUMENT);
        assert_string_equal(found, document.id);
    }
    static const char *const no_ids[] = {"", "abc", "zzzz", "ABCD", "../..", "a.txt", "000000000000000000000000000000010"};
    for (size_t i = 0; i < sizeof no_ids / sizeof no_ids[0]; i++) {
        FAILS(iflow_store_resolve(store, no_ids[i], found, &kind), IFLOW_E_ARG, "is no id");
    }
    FAILS(iflow_store_resolve(store, NULL, found, &kind), IFLOW_E_ARG, "is no id");
    FAILS(iflow_store_resolve(store, "99999999", found, &kind), IFLOW_E_NOT_FOUND, "99999999");
    assert_string_equal(found, document.id); /* untouched by failures */

    /* Documents go first, even where a chunk begins so too; then ambiguity among them, with up to five candidates. */
    snprintf(prefix, sizeof prefix, "%.4s0000000000000000000000000000", chunk);
    OK(store->ops->put_record(store, prefix, "{}", 2));
    snprintf(found, sizeof found, "%.4s", chunk);
    OK(iflow_store_resolve(store, found, found, &kind));
    assert_int_equal(kind, IFLOW_DOCUMENT);
    assert_string_equal(found, prefix);
    for (int i = 1; i < 7; i++) {
        char id[IFLOW_ID_SIZE];
        memcpy(id, prefix, sizeof id);
        id[31] = (char)('0' + i);
        OK(store->ops->put_record(store, id, "{}", 2));
    }
    snprintf(found, sizeof found, "%.4s", chunk);
    FAILS(iflow_store_resolve(store, found, found, &kind), IFLOW_E_ARG, "ambiguous, 7 documents");
    size_t n_listed = 0;
    for (const char *at = iflow_error_message(); (at = strstr(at, "0000000000000000000000")) != NULL; at += 22) {
        n_listed++;
    }
    assert_int_equal(n_listed, 5);
    assert_non_null(strstr(iflow_error_message(), "..."));
    OK(iflow_store_resolve(store, prefix, found, &kind)); /* a whole id is never ambiguous */
    assert_string_equal(found, prefix);
    close_checked(store);
}

/* ---- Documents that share chunks ------------------------------------------------------------------------------------------------------
 */

static const char fingerprint[] = "0123456789abcdef0123456789abcdef";

static bool is_pinned(iflow_store *store, const char *id) {
    iflow_chunk_info info;
    OK(iflow_store_inspect(store, id, &info, NULL));
    return info.pinned;
}

/* Taking a document's pin off leaves the chunks pinned that another pinned document has, in any order; one that never was pinned has no
 * say, though all its chunks may be. */
static void test_pins_of_shared_chunks(void **state) {
    (void)state;
    iflow_store *store = open_limited(0);
    char chunk[3][IFLOW_ID_SIZE], a[IFLOW_ID_SIZE], b[IFLOW_ID_SIZE], same[IFLOW_ID_SIZE];
    for (unsigned i = 0; i < 3; i++) {
        put_seed(store, i, chunk[i]);
    }
    put_document(store, "a", chunk, 2, a);
    put_document(store, "b", chunk + 1, 2, b);
    put_document(store, "same", chunk, 2, same);
    for (int first = 0; first < 2; first++) {
        OK(iflow_store_pin(store, IFLOW_DOCUMENT, a, true));
        OK(iflow_store_pin(store, IFLOW_DOCUMENT, b, true));
        assert_true(is_pinned(store, chunk[0]) && is_pinned(store, chunk[1]) && is_pinned(store, chunk[2]));
        OK(iflow_store_pin(store, IFLOW_DOCUMENT, first ? b : a, false));
        assert_int_equal(is_pinned(store, chunk[0]), first);
        assert_true(is_pinned(store, chunk[1]));
        assert_int_equal(is_pinned(store, chunk[2]), !first);
        OK(iflow_store_pin(store, IFLOW_DOCUMENT, first ? a : b, false));
        assert_false(is_pinned(store, chunk[0]) || is_pinned(store, chunk[1]) || is_pinned(store, chunk[2]));
        assert_int_equal(n_entries("store/pins"), 0);
    }
    /* A document that is deleted takes its pins along, but for those of others. */
    OK(iflow_store_pin(store, IFLOW_DOCUMENT, a, true));
    OK(iflow_store_pin(store, IFLOW_DOCUMENT, b, true));
    OK(iflow_store_delete(store, IFLOW_DOCUMENT, a));
    assert_false(is_pinned(store, chunk[0]));
    assert_true(is_pinned(store, chunk[1]));
    /* Where a chunk is missing, a document cannot be pinned, and can be unpinned. */
    OK(iflow_store_delete(store, IFLOW_CHUNK, chunk[2]));
    FAILS(iflow_store_pin(store, IFLOW_DOCUMENT, b, true), IFLOW_E_NOT_FOUND, chunk[2]);
    OK(iflow_store_pin(store, IFLOW_DOCUMENT, b, false));
    assert_int_equal(n_entries("store/pins"), 0);
    FAILS(iflow_store_pin(store, IFLOW_DOCUMENT, a, true), IFLOW_E_NOT_FOUND, a);
    close_checked(store);
}

/* A pinned document that comes to consist of other chunks: those are pinned, and of its former ones those are not that no other pinned
 * document has. */
static void test_pinned_document_changes(void **state) {
    (void)state;
    iflow_store *store = open_limited(0);
    char chunk[5][IFLOW_ID_SIZE], a[IFLOW_ID_SIZE], b[IFLOW_ID_SIZE], copy[] = "a";
    for (unsigned i = 0; i < 5; i++) {
        put_seed(store, i, chunk[i]);
    }
    put_document(store, "a", chunk, 3, a); /* 0 1 2 */
    put_document(store, "b", chunk, 1, b); /* 0 */
    OK(iflow_store_pin(store, IFLOW_DOCUMENT, a, true));
    OK(iflow_store_pin(store, IFLOW_DOCUMENT, b, true));
    put_document(store, "a", chunk + 2, 2, a); /* 2 3 */
    assert_true(is_pinned(store, chunk[0]) && is_pinned(store, chunk[2]) && is_pinned(store, chunk[3]));
    assert_false(is_pinned(store, chunk[1]) || is_pinned(store, chunk[4]));
    OK(iflow_store_pin(store, IFLOW_DOCUMENT, b, false));
    OK(iflow_store_prune(store, 0, NULL, NULL));
    assert_true(store->ops->has(store, chunk[2]) && store->ops->has(store, chunk[3]));
    assert_false(store->ops->has(store, chunk[0]) || store->ops->has(store, chunk[1]));
    /* One that cannot be pinned: nothing changes. */
    put_seed(store, 0, chunk[0]);
    iflow_document missing = document_of(copy, chunk, 2); /* 0, and 1, which is gone */
    FAILS(iflow_store_put_document(store, &missing), IFLOW_E_NOT_FOUND, "is pinned, but its chunks cannot be: chunk ");
    assert_false(is_pinned(store, chunk[0]));
    assert_true(is_pinned(store, chunk[2]) && is_pinned(store, chunk[3]));
    OK(iflow_store_delete(store, IFLOW_DOCUMENT, a));
    assert_int_equal(n_entries("store/pins"), 0);
    /* One whose record was damaged: its new chunks are pinned, and that the former stay so is said. */
    put_document(store, "a", chunk + 2, 1, a);
    OK(iflow_store_pin(store, IFLOW_DOCUMENT, a, true));
    OK(store->ops->put_record(store, a, "{", 1));
    n_warnings = 0;
    put_document(store, "a", chunk + 3, 1, a);
    assert_true(is_pinned(store, chunk[2]) && is_pinned(store, chunk[3]));
    assert_int_equal(n_warnings, 1);
    assert_non_null(strstr(last_warning, "unpinned by their own ids"));
    close_checked(store);
}

/* A document is pinned as a whole or not at all; what was pinned before stays so. */
static void test_pinned_whole_or_not_at_all(void **state) {
    (void)state;
    iflow_store *store = open_limited(0);
    char chunk[3][IFLOW_ID_SIZE], a[IFLOW_ID_SIZE];
    for (unsigned i = 0; i < 3; i++) {
        put_seed(store, i, chunk[i]);
    }
    put_document(store, "a", chunk, 3, a);
    OK(iflow_store_pin(store, IFLOW_CHUNK, chunk[1], true));
    OK(iflow_store_delete(store, IFLOW_CHUNK, chunk[2]));
    n_warnings = 0;
    FAILS(iflow_store_pin(store, IFLOW_DOCUMENT, a, true), IFLOW_E_NOT_FOUND, chunk[2]);
    assert_int_equal(n_entries("store/pins"), 1);
    assert_true(is_pinned(store, chunk[1]));
    assert_int_equal(n_warnings, 0);
    close_checked(store);
}

/* Pins that cannot be taken off are no secret: a delete fails and leaves the record; where a damaged record no longer tells which chunks
 * they are of, that is a warning. */
static void test_pins_that_stay(void **state) {
    (void)state;
    iflow_store *store = open_limited(0);
    char chunk[1][IFLOW_ID_SIZE], a[IFLOW_ID_SIZE];
    put_seed(store, 1, chunk[0]);
    put_document(store, "a", chunk, 1, a);
    OK(iflow_store_pin(store, IFLOW_DOCUMENT, a, true));
    ((iflow_dir_store *)store)->lock_end_ms = 20;
    const int lock = open(in_root("store/lock"), O_RDWR | O_CREAT, 0600);
    assert_int_equal(flock(lock, LOCK_EX), 0);
    FAILS(iflow_store_delete(store, IFLOW_DOCUMENT, a), IFLOW_E_BUSY, "store/lock");
    close(lock);
    OK(iflow_store_verify(store, IFLOW_DOCUMENT, a));
    assert_int_equal(n_entries("store/pins"), 2);
    for (int verify = 0; verify < 2; verify++) {
        OK(store->ops->put_record(store, a, "{", 1));
        n_warnings = 0;
        if (verify) {
            OK(store->ops->pin_record(store, a, true));
            FAILS(iflow_store_verify(store, IFLOW_DOCUMENT, a), IFLOW_E_CORRUPT, "it was set aside");
        } else {
            OK(iflow_store_delete(store, IFLOW_DOCUMENT, a));
        }
        assert_int_equal(n_warnings, 1);
        assert_non_null(strstr(last_warning, "they stay pinned until they are unpinned by their own ids"));
        assert_int_equal(n_entries("store/docs"), 0);
        assert_true(is_pinned(store, chunk[0]));
    }
    close_checked(store);
}

/* A record that the first version wrote: its id goes by its chunks. */
static void test_record_of_version_1(void **state) {
    (void)state;
    iflow_store *store = open_limited(0);
    char chunk[2][IFLOW_ID_SIZE], old[IFLOW_ID_SIZE], hashed[3 * 32 + 1], text[1024], found[IFLOW_ID_SIZE], new[IFLOW_ID_SIZE];
    iflow_document **list = NULL;
    size_t n = 0;
    iflow_kind kind = IFLOW_CHUNK;
    put_seed(store, 1, chunk[0]);
    put_seed(store, 2, chunk[1]);
    snprintf(hashed, sizeof hashed, "%s%s%s", fingerprint, chunk[0], chunk[1]);
    iflow_hash_hex(hashed, strlen(hashed), old);
    snprintf(
        text, sizeof text,
        "{\"version\": 1, \"id\": \"%s\", \"fingerprint\": \"%s\", \"name\": \"a.txt\", \"n_tokens\": 7, \"chunks\": [\"%s\", \"%s\"]}",
        old, fingerprint, chunk[0], chunk[1]);
    OK(store->ops->put_record(store, old, text, strlen(text)));
    put_document(store, "a.txt", chunk, 2, new);
    assert_string_not_equal(old, new);
    OK(iflow_store_list_documents(store, &list, &n));
    assert_int_equal(n, 2);
    for (size_t i = 0; i < n; i++) {
        assert_string_equal(list[i]->name, "a.txt");
        assert_int_equal(list[i]->n_chunks, 2);
    }
    iflow_documents_free(list, n);
    OK(iflow_store_resolve(store, old, found, &kind));
    assert_int_equal(kind, IFLOW_DOCUMENT);
    OK(iflow_store_pin(store, IFLOW_DOCUMENT, old, true));
    OK(iflow_store_verify(store, IFLOW_DOCUMENT, old));
    OK(iflow_store_delete(store, IFLOW_DOCUMENT, old));
    assert_int_equal(n_entries("store/docs"), 1);
    assert_int_equal(n_entries("store/pins"), 0);
    close_checked(store);
}

int main(void) {
    iflow_set_log(count_warnings, NULL);
    const struct CMUnitTest tests[] = {
        TEST(test_documents),
        TEST(test_names_that_are_no_text),
        TEST(test_bad_records_are_skipped),
        TEST(test_resolve),
        TEST(test_pins_of_shared_chunks),
        TEST(test_pinned_document_changes),
        TEST(test_pinned_whole_or_not_at_all),
        TEST(test_pins_that_stay),
        TEST(test_record_of_version_1),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
