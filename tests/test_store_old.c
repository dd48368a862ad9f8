/* test_store_old.c - a store of an older program: its layout is raised, its chunks are told, never served, and the first to go. */
#include "store_fixture.h"

#include "kv/store_dir.h"

#include <signal.h>
#include <sys/resource.h>

static const char old_id[] = "a8b01326da7153652a1097f81ebdcd04"; /* tests/data/chunk-1-f16.bin, of 3424 bytes */
enum { OLD_BYTES = 3424 };

/* Puts the old chunk where an older program had it. */
static void plant_old(void) {
    const char *source = getenv("INFOFLOW_SOURCE");
    char command[32768], dir[8192];
    snprintf(dir, sizeof dir, "%s", in_root("store/chunks/a8"));
    snprintf(command, sizeof command, "mkdir -p '%s' && cp '%s/tests/data/chunk-1-f16.bin' '%s/%s.gguf'", dir, source ? source : ".", dir,
             old_id);
    assert_int_equal(system(command), 0);
}

static size_t count_old(iflow_store *store, uint64_t *n_bytes) {
    iflow_chunk_info *list = NULL;
    size_t n = 0, n_old = 0;
    *n_bytes = 0;
    OK(iflow_store_list(store, &list, &n));
    for (size_t i = 0; i < n; i++) {
        if (list[i].old) {
            assert_string_equal(list[i].id, old_id);
            assert_true(!list[i].damaged && !list[i].unsupported && !list[i].unreadable && list[i].n_tokens == 0 && list[i].used_at > 0);
            *n_bytes += list[i].n_bytes;
            n_old++;
        }
    }
    iflow_free(list);
    return n_old;
}

static void test_layout_is_raised(void **state) {
    (void)state;
    char id[IFLOW_ID_SIZE], text[32] = "";
    iflow_store_close(open_limited(0));
    write_file("store/VERSION", "infoflow-store 1\n");
    plant_old();
    iflow_store *store = open_limited(0);
    FILE *file = fopen(in_root("store/VERSION"), "r");
    assert_non_null(file);
    assert_non_null(fgets(text, sizeof text, file));
    fclose(file);
    assert_string_equal(text, "infoflow-store 2\n");
    put_seed(store, 1, id);
    use(store, id);
    close_checked(store);

    /* Under the store's lock: who cannot have that does not open it. */
    write_file("store/VERSION", "infoflow-store 1\n");
    iflow_files files;
    OK(iflow_files_open(&files, in_root("store"), false, false));
    const int lock = iflow_files_lock(&files, "lock");
    assert_true(lock >= 0);
    FAILS(iflow_store_open(in_root("store"), NULL, &store), IFLOW_E_BUSY, "locked by another process");
    close(lock);
    iflow_files_close(&files);
    close_checked(open_limited(0));

    /* Where nothing can be written it stays as it is, and can be read. */
    write_file("store/VERSION", "infoflow-store 1\n");
    struct rlimit limit, none;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    none = (struct rlimit){.rlim_cur = 0, .rlim_max = limit.rlim_max};
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &none), 0);
    const iflow_status status = iflow_store_open(in_root("store"), NULL, &store);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    assert_int_equal(status, IFLOW_OK);
    use(store, id);
    iflow_store_close(store);
    close_checked(open_limited(0)); /* and is raised when something can */
}

static void test_never_served(void **state) {
    (void)state;
    iflow_store *store = open_limited(0);
    iflow_chunk_info info;
    iflow_chunk *chunk = NULL;
    char found[IFLOW_ID_SIZE];
    iflow_kind kind = IFLOW_DOCUMENT;
    uint64_t n_bytes = 0;
    plant_old();
    FAILS(iflow_store_get_chunk(store, old_id, &chunk), IFLOW_E_UNSUPPORTED, "an old chunk (format version 1");
    FAILS(iflow_store_inspect(store, old_id, &info, NULL), IFLOW_E_UNSUPPORTED, "pruning the store's old chunks");
    FAILS(iflow_store_verify(store, IFLOW_CHUNK, old_id), IFLOW_E_UNSUPPORTED, old_id); /* and it is left */
    OK(iflow_store_resolve(store, old_id, found, &kind));
    assert_int_equal(count_old(store, &n_bytes), 1);
    assert_int_equal(n_bytes, OLD_BYTES);
    OK(iflow_store_dir_check(store));
    /* A damaged one is damaged, not old. */
    flip_byte(chunk_file(old_id), 300);
    assert_int_equal(count_old(store, &n_bytes), 0);
    FAILS(iflow_store_verify(store, IFLOW_CHUNK, old_id), IFLOW_E_CORRUPT, "set aside");
    close_checked(store);
}

static void test_goes_first(void **state) {
    (void)state;
    static const unsigned seeds[] = {3, 13, 23}; /* of one size */
    char id[3][IFLOW_ID_SIZE];
    uint64_t n_bytes = 0;
    iflow_store *store = open_limited(0);
    for (int i = 0; i < 2; i++) {
        n_bytes += put_seed(store, seeds[i], id[i]);
    }
    iflow_store_close(store);
    plant_old(); /* the most recently used */
    store = open_limited(n_bytes + OLD_BYTES);
    put_seed(store, seeds[2], id[2]);
    assert_false(store->ops->has(store, old_id));
    for (int i = 0; i < 3; i++) {
        assert_true(store->ops->has(store, id[i]));
    }
    /* It counts to the limit, and a pin keeps it from going by itself. */
    close_checked(store);
    plant_old();
    store = open_limited(0);
    OK(iflow_store_pin(store, IFLOW_CHUNK, old_id, true));
    size_t n_deleted = 0;
    OK(iflow_store_prune(store, OLD_BYTES, &n_deleted, NULL));
    assert_int_equal(n_deleted, 3);
    assert_true(store->ops->has(store, old_id));
    put_seed(store, seeds[0], id[0]);
    OK(iflow_store_prune_old(store, &n_deleted, &n_bytes));
    assert_int_equal(n_deleted, 1);
    assert_int_equal(n_bytes, OLD_BYTES);
    assert_false(store->ops->has(store, old_id) || store->ops->is_pinned(store, old_id));
    assert_true(store->ops->has(store, id[0]));
    OK(iflow_store_prune_old(store, &n_deleted, &n_bytes));
    assert_true(n_deleted == 0 && n_bytes == 0);
    plant_old(); /* by hand, after it was found that there is none */
    OK(iflow_store_prune_old(store, &n_deleted, NULL));
    assert_int_equal(n_deleted, 1);
    close_checked(store);
}

/* Plants the old chunk under another name, by hand. */
static void plant_as(const char *id) {
    char command[32768], dir[8192];
    plant_old();
    snprintf(dir, sizeof dir, "%s", in_root("store/chunks"));
    snprintf(command, sizeof command, "mkdir -p '%s/%.2s' && cp '%s/a8/%s.gguf' '%s/%.2s/%s.gguf'", dir, id, dir, old_id, dir, id, id);
    assert_int_equal(system(command), 0);
}

/* A pinned old chunk does not make each put look into all chunks: one that somebody adds by hand afterwards is not found to be old. */
static void test_pinned_is_remembered(void **state) {
    (void)state;
    static const unsigned seeds[] = {3, 13, 23, 33}; /* of one size */
    static const char by_hand[] = "b8b01326da7153652a1097f81ebdcd04";
    char id[4][IFLOW_ID_SIZE];
    iflow_store *store = open_limited(0);
    const uint64_t n_bytes = put_seed(store, seeds[0], id[0]);
    plant_old();
    OK(iflow_store_pin(store, IFLOW_CHUNK, old_id, true));
    iflow_store_close(store);
    store = open_limited(n_bytes + OLD_BYTES);
    put_seed(store, seeds[1], id[1]); /* looks at all */
    assert_true(store->ops->has(store, old_id) && !store->ops->has(store, id[0]));
    iflow_dir_of(store)->max_bytes = n_bytes + 2 * OLD_BYTES;
    plant_as(by_hand);
    put_seed(store, seeds[2], id[2]);
    assert_true(store->ops->has(store, old_id) && store->ops->has(store, by_hand) && !store->ops->has(store, id[1]));
    /* What was remembered still goes first. */
    OK(iflow_store_pin(store, IFLOW_CHUNK, old_id, false));
    use(store, id[2]);
    iflow_dir_of(store)->max_bytes = 2 * n_bytes + OLD_BYTES;
    put_seed(store, seeds[3], id[3]);
    assert_true(!store->ops->has(store, old_id) && store->ops->has(store, by_hand) && store->ops->has(store, id[2]));
    /* And who asks for all old ones gets all. */
    size_t n_deleted = 0;
    OK(iflow_store_prune_old(store, &n_deleted, NULL));
    assert_int_equal(n_deleted, 1);
    iflow_store_close(store);
}

/* A scan that could not see all does not tell that nothing is old. */
static void test_failed_scan(void **state) {
    (void)state;
    assert_int_equal(chmod(root, 0777), 0);
    const pid_t pid = start_child();
    if (pid == 0) {
        static const unsigned seeds[] = {3, 13}; /* of one size */
        char id[2][IFLOW_ID_SIZE];
        if (geteuid() == 0 && (setgid(65534) != 0 || setuid(65534) != 0)) {
            _exit(1);
        }
        iflow_store *store = open_limited(0);
        const uint64_t n_bytes = put_seed(store, seeds[0], id[0]);
        plant_old();
        assert_int_equal(chmod(in_root("store/chunks/a8"), 0), 0);
        FAILS(iflow_store_prune_old(store, NULL, NULL), IFLOW_E_IO, "Permission denied");
        assert_int_equal(chmod(in_root("store/chunks/a8"), 0700), 0);
        iflow_dir_of(store)->max_bytes = 2 * n_bytes;
        put_seed(store, seeds[1], id[1]);
        assert_true(!store->ops->has(store, old_id) && store->ops->has(store, id[0]));
        iflow_store_close(store);
        _exit(0);
    }
    assert_int_equal(wait_for(pid), 0);
}

int main(void) {
    iflow_set_log(count_warnings, NULL);
    const struct CMUnitTest tests[] = {
        TEST(test_layout_is_raised),     TEST(test_never_served), TEST(test_goes_first),
        TEST(test_pinned_is_remembered), TEST(test_failed_scan),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
