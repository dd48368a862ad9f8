/* test_store.c - the directory store: opening, prefetching. What every store does is in test_store_conformance.c. */
#include "store_fixture.h"

#include <fcntl.h>
#include <sys/mman.h>

/* ---- Opening ------------------------------------------------------------------------------------------------------------------------ */

static void test_open(void **state) {
    (void)state;
    iflow_store *store = NULL;
    const iflow_store_params existing = IFLOW_PARAMS(iflow_store_params, .must_exist = true);
    FAILS(iflow_store_open(in_root("store"), &existing, &store), IFLOW_E_NOT_FOUND, "store");
    OK(iflow_store_open(in_root("a/b/store"), NULL, &store)); /* with its parents */
    close_checked(store);
    OK(iflow_store_open(in_root("a/b/store"), &existing, &store));
    close_checked(store);
    FAILS(iflow_store_open(in_root("a"), &existing, &store), IFLOW_E_NOT_FOUND, "VERSION");
    FAILS(iflow_store_open(in_root("a"), NULL, &store), IFLOW_E_ARG, "not empty");
    FAILS(iflow_store_open("", NULL, &store), IFLOW_E_ARG, "directory");
    FAILS(iflow_store_open(NULL, NULL, &store), IFLOW_E_ARG, "directory");
    assert_int_equal(n_entries("a"), 1); /* nothing was put there */

    write_file("file", "text");
    FAILS(iflow_store_open(in_root("file"), NULL, &store), IFLOW_E_IO, "file is not a directory");
    FAILS(iflow_store_open(in_root("file/store"), NULL, &store), IFLOW_E_IO, "file/store");
    FAILS(iflow_store_open("/proc/infoflow-store", NULL, &store), IFLOW_E_IO, "/proc/infoflow-store");

    assert_int_equal(mkdir(in_root("empty"), 0777), 0);
    OK(iflow_store_open(in_root("empty"), NULL, &store));
    close_checked(store);
}

/* What a store can be called: a path, or a kind and a colon. */
static void test_names(void **state) {
    (void)state;
    char here[4096], name[16384];
    iflow_store *store = NULL;
    static const char *const paths[] = {"a:b", "memory", "dir", "1://x", "redis:x", "./memory:", "./redis://x", "C:x"};
    assert_non_null(getcwd(here, sizeof here));
    assert_int_equal(chdir(root), 0);
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
        struct stat st;
        OK(iflow_store_open(paths[i], NULL, &store));
        close_checked(store);
        assert_true(stat(paths[i], &st) == 0 && S_ISDIR(st.st_mode));
    }
    assert_int_equal(chdir(here), 0);
    snprintf(name, sizeof name, "dir:%s", in_root("named"));
    OK(iflow_store_open(name, NULL, &store));
    close_checked(store);
    OK(iflow_store_open(name, &IFLOW_PARAMS(iflow_store_params, .must_exist = true), &store));
    close_checked(store);
    FAILS(iflow_store_open("dir:", NULL, &store), IFLOW_E_ARG, "directory");
    FAILS(iflow_store_open("redis://host:1/0", NULL, &store), IFLOW_E_UNSUPPORTED, "no stores of the kind redis: there are dir:PATH");
    FAILS(iflow_store_open("file:///tmp", NULL, &store), IFLOW_E_UNSUPPORTED, "memory:");
    FAILS(iflow_store_open("memory:x", NULL, &store), IFLOW_E_ARG, "nothing may follow");
    OK(iflow_store_open("memory:", &IFLOW_PARAMS(iflow_store_params, .must_exist = true, .shared = true), &store));
    iflow_store_close(store);
}

static void test_open_unwritable(void **state) {
    (void)state;
    char id[IFLOW_ID_SIZE];
    iflow_store *store = NULL;
    OK(iflow_store_open(in_root("store"), &IFLOW_PARAMS(iflow_store_params, .shared = true), &store));
    put_seed(store, 1, id);
    close_checked(store);
    const pid_t pid = start_child();
    if (pid == 0) { /* as nobody: root may write anywhere */
        iflow_blob blob = {0};
        char other[IFLOW_ID_SIZE];
        make_chunk(2, other, &blob);
        int failed = getuid() == 0 && (chmod(root, 0755) != 0 || setgid(65534) != 0 || setuid(65534) != 0);
        if (getuid() != 65534) { /* our own directory: take the permission away */
            const char *const dirs[] = {"", "store", "store/tmp", "store/chunks"};
            for (size_t i = 0; i < 4; i++) {
                failed |= chmod(in_root(dirs[i]), 0555) != 0;
            }
        }
        failed |= iflow_store_open(in_root("new"), NULL, &store) != IFLOW_E_IO || !strstr(iflow_error_message(), "new");
        failed |= iflow_store_open(in_root("store"), NULL, &store) != IFLOW_OK; /* reading it is no trouble */
        iflow_chunk *chunk = NULL;
        failed |= iflow_store_get_chunk(store, id, &chunk) != IFLOW_OK;
        failed |= store->ops->put(store, other, &blob, false) != IFLOW_E_IO || !strstr(iflow_error_message(), "store/");
        iflow_chunk_free(chunk);
        iflow_store_close(store);
        iflow_blob_free(&blob);
        _exit(failed);
    }
    assert_int_equal(wait_for(pid), 0);
    const char *const dirs[] = {"", "store", "store/tmp", "store/chunks"};
    for (size_t i = 0; i < 4; i++) {
        chmod(in_root(dirs[i]), 0777);
    }
}

static void test_version(void **state) {
    (void)state;
    iflow_store *store = open_limited(0);
    iflow_store_close(store);
    static const char *const other[] = {"infoflow-store 3\n", "infoflow-store 0\n"};
    for (size_t i = 0; i < 2; i++) {
        write_file("store/VERSION", other[i]);
        FAILS(iflow_store_open(in_root("store"), NULL, &store), IFLOW_E_UNSUPPORTED, i ? "version 0" : "version 3");
        assert_non_null(strstr(iflow_error_message(), "reads version 2"));
    }
    static const char *const garbage[] = {"", "1\n", "infoflow-store \n", "infoflow-store 1 or so\n",
                                          "infoflow-store 11111111111111111111\n"};
    for (size_t i = 0; i < sizeof garbage / sizeof garbage[0]; i++) {
        write_file("store/VERSION", garbage[i]);
        FAILS(iflow_store_open(in_root("store"), NULL, &store), IFLOW_E_FORMAT, "VERSION");
    }
    write_file("store/VERSION", "infoflow-store 2\n");
    close_checked(open_limited(0));
}

static void test_relative_path_outlives_chdir(void **state) {
    (void)state;
    char here[4096], id[IFLOW_ID_SIZE];
    iflow_store *store = NULL;
    assert_non_null(getcwd(here, sizeof here));
    assert_int_equal(chdir(root), 0);
    OK(iflow_store_open("store", NULL, &store));
    assert_int_equal(chdir(here), 0);
    put_seed(store, 1, id);
    use(store, id);
    close_checked(store);
    assert_int_equal(access(in_root(chunk_file(id)), F_OK), 0);
}

/* ---- Chunks ------------------------------------------------------------------------------------------------------------------------- */

/* Pages of a file that the page cache holds; *n_pages: all. */
static size_t n_cached(const char *path, size_t *n_pages) {
    unsigned char cached[64];
    struct stat st;
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    const int fd = open(in_root(path), O_RDONLY);
    assert_true(fd >= 0 && fstat(fd, &st) == 0);
    *n_pages = ((size_t)st.st_size + page - 1) / page;
    assert_true(*n_pages <= sizeof cached);
    void *map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
    assert_true(map != MAP_FAILED && mincore(map, (size_t)st.st_size, cached) == 0);
    size_t n = 0;
    for (size_t i = 0; i < *n_pages; i++) {
        n += cached[i] & 1;
    }
    munmap(map, (size_t)st.st_size);
    close(fd);
    return n;
}

static void test_prefetch(void **state) {
    (void)state;
    iflow_store *store = open_limited(0);
    char id[IFLOW_ID_SIZE];
    size_t n_pages = 0;
    struct stat before, after;
    put_seed(store, 4, id);
    assert_int_equal(stat(in_root(chunk_file(id)), &before), 0);
    const int fd = open(in_root(chunk_file(id)), O_RDONLY);
    assert_true(fd >= 0 && posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED) == 0);
    close(fd);
    if (n_cached(chunk_file(id), &n_pages) > 0) {
        print_message("the file system keeps all files in memory: that prefetching reads one was not tested\n");
    }
    store->ops->prefetch(store, id);
    for (int i = 0; i < 1000 && n_cached(chunk_file(id), &n_pages) < n_pages; i++) {
        usleep(10000);
    }
    assert_int_equal(n_cached(chunk_file(id), &n_pages), n_pages);
    assert_int_equal(stat(in_root(chunk_file(id)), &after), 0);
    assert_memory_equal(&before.st_mtim, &after.st_mtim, sizeof before.st_mtim); /* asking is no use */
    OK(iflow_store_delete(store, IFLOW_CHUNK, id));
    store->ops->prefetch(store, id); /* nor a failure where there is none */
    assert_false(store->ops->has(store, id));
    close_checked(store);
}

int main(void) {
    iflow_set_log(count_warnings, NULL);
    const struct CMUnitTest tests[] = {
        TEST(test_open),     TEST(test_names), TEST(test_open_unwritable), TEST(test_version), TEST(test_relative_path_outlives_chdir),
        TEST(test_prefetch),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
