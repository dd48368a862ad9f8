/* test_store_faults.c - the directory store with damage inside, between processes, when they die, and when space ends. */
#include "store_fixture.h"

#include "kv/files.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>

/* ---- System calls that fail when told to: the store is linked against these ---------------------------------------------------------- */

static struct {
    size_t write_at_most; /* 0: as much as is asked for */
    int fail_in;          /* the call that fails, from 1, of all that could; 0: none */
    int error;
} fault;

static bool fails_now(void) {
    if (fault.fail_in > 0 && --fault.fail_in == 0) {
        errno = fault.error;
        return true;
    }
    return false;
}

ssize_t write(int fd, const void *bytes, size_t n_bytes) {
    if (fails_now()) {
        return -1;
    }
    if (fault.write_at_most && n_bytes > fault.write_at_most) {
        n_bytes = fault.write_at_most;
    }
    return syscall(SYS_write, fd, bytes, n_bytes);
}

int fsync(int fd) {
    return fails_now() ? -1 : (int)syscall(SYS_fsync, fd);
}

int renameat(int from_dir, const char *from, int to_dir, const char *to) {
    return fails_now() ? -1 : (int)syscall(SYS_renameat2, from_dir, from, to_dir, to, 0);
}

int mkdirat(int dir, const char *path, mode_t mode) {
    return fails_now() ? -1 : (int)syscall(SYS_mkdirat, dir, path, mode);
}

int flock(int fd, int operation) { /* unlocking needs nothing that could be missing */
    return operation != LOCK_UN && fails_now() ? -1 : (int)syscall(SYS_flock, fd, operation);
}

/* ---- Damage inside ------------------------------------------------------------------------------------------------------------------ */

static void test_bad_chunk_is_set_aside(void **state) {
    (void)state;
    iflow_store *store = open_limited(0);
    char id[IFLOW_ID_SIZE], bad[128];
    iflow_chunk *chunk = NULL;
    iflow_chunk_info *list = NULL;
    size_t n = 0;
    static const long places[] = {0, 60, 180, -1}; /* magic, preamble, header, data */
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        put_seed(store, 2, id);
        OK(iflow_store_pin(store, IFLOW_CHUNK, id, true));
        flip_byte(chunk_file(id), places[i]);
        FAILS(i % 2 ? iflow_store_verify(store, IFLOW_CHUNK, id) : iflow_store_get_chunk(store, id, &chunk), IFLOW_E_CORRUPT, id);
        assert_non_null(strstr(iflow_error_message(), "set aside"));
        assert_null(chunk);
        assert_false(store->ops->has(store, id));
        snprintf(bad, sizeof bad, "store/bad/%s.gguf", id);
        assert_int_equal(access(in_root(bad), F_OK), 0);
        /* recomputed, it is as good as new, and still pinned */
        put_seed(store, 2, id);
        use(store, id);
        OK(iflow_store_list(store, &list, &n));
        assert_int_equal(n, 1);
        assert_true(list[0].pinned);
        iflow_free(list);
    }
    /* emptied, cut short, of another chunk, and not a file at all */
    assert_int_equal(truncate(in_root(chunk_file(id)), 0), 0);
    FAILS(iflow_store_get_chunk(store, id, &chunk), IFLOW_E_CORRUPT, "set aside");
    put_seed(store, 2, id);
    assert_int_equal(truncate(in_root(chunk_file(id)), 700), 0);
    FAILS(iflow_store_get_chunk(store, id, &chunk), IFLOW_E_CORRUPT, "set aside");
    assert_int_equal(mkfifo(in_root(chunk_file(id)), 0666), 0);
    FAILS(iflow_store_get_chunk(store, id, &chunk), IFLOW_E_CORRUPT, "no regular file");
    assert_int_equal(mkdir(in_root(chunk_file(id)), 0777), 0);
    OK(iflow_store_prune(store, 0, NULL, NULL)); /* not ours to count or to delete */
    unlink(in_root(bad));
    FAILS(iflow_store_verify(store, IFLOW_CHUNK, id), IFLOW_E_CORRUPT, "no regular file");
    char other[IFLOW_ID_SIZE], from[8300];
    put_seed(store, 2, id);
    put_seed(store, 12, other);
    snprintf(from, sizeof from, "%s", in_root(chunk_file(other)));
    assert_int_equal(rename(from, in_root(chunk_file(id))), 0);
    assert_int_equal(rmdir(in_root(bad)), 0);
    FAILS(iflow_store_get_chunk(store, id, &chunk), IFLOW_E_CORRUPT, other);
    close_checked(store);
}

static void test_bad_chunks_do_not_pile_up(void **state) {
    (void)state;
    iflow_store *store = open_limited(0);
    char id[IFLOW_ID_SIZE];
    for (unsigned seed = 0; seed < SEEDS; seed++) {
        put_seed(store, seed, id);
        flip_byte(chunk_file(id), -1);
        FAILS(iflow_store_verify(store, IFLOW_CHUNK, id), IFLOW_E_CORRUPT, id);
    }
    assert_int_equal(n_entries("store/bad"), 16);
    close_checked(store);
}

static void test_list_tells_a_bad_header(void **state) {
    (void)state;
    iflow_store *store = open_limited(0);
    char id[3][IFLOW_ID_SIZE];
    iflow_chunk_info *list = NULL;
    size_t n = 0;
    for (unsigned i = 0; i < 3; i++) {
        put_seed(store, i, id[i]);
    }
    flip_byte(chunk_file(id[1]), 200);
    write_file("store/chunks/README", "not a directory");
    write_file("store/chunks/ab", "not a directory either");
    OK(iflow_store_list(store, &list, &n));
    assert_int_equal(n, 3);
    for (size_t i = 0; i < 3; i++) {
        const bool bad = strcmp(list[i].id, id[1]) == 0;
        assert_int_equal(list[i].damaged, bad);
        assert_int_equal(list[i].n_tokens == 0, bad);
        assert_string_equal(list[i].type, bad ? "-" : list[i].type);
        assert_true(list[i].n_bytes > 0);
    }
    assert_int_equal(n_warnings, 1);
    assert_non_null(strstr(last_warning, "chunks/ab is no directory"));
    iflow_free(list);
    iflow_kind kind = IFLOW_DOCUMENT;
    char found[IFLOW_ID_SIZE];
    OK(iflow_store_resolve(store, id[1], found, &kind)); /* so that it can be verified or deleted by its id */
    FAILS(iflow_store_verify(store, IFLOW_CHUNK, found), IFLOW_E_CORRUPT, "header's checksum");
    OK(iflow_store_list(store, &list, &n));
    assert_int_equal(n, 2);
    iflow_free(list);
    FAILS(iflow_store_dir_check(store), IFLOW_E_CORRUPT, "invariant 2"); /* the strangers */
    iflow_store_close(store);
}

/* What the check is for: it finds what is planted. */
static void test_check_finds(void **state) {
    (void)state;
    char id[IFLOW_ID_SIZE], path[256];
    iflow_store *store = open_limited(0);
    const size_t n_bytes = put_seed(store, 1, id);
    OK(iflow_store_dir_check(store));
    write_file("store/pins/nobody", "");
    FAILS(iflow_store_dir_check(store), IFLOW_E_CORRUPT, "invariant 5");
    unlink(in_root("store/pins/nobody"));
    write_file("store/docs/nobody.json", "");
    FAILS(iflow_store_dir_check(store), IFLOW_E_CORRUPT, "invariant 4");
    unlink(in_root("store/docs/nobody.json"));
    write_file("store/tmp/left", ""); /* not by a name of ours */
    OK(iflow_store_dir_check(store));
    assert_int_equal(n_entries("store/tmp"), 1);
    write_file("store/tmp/00000000000000000000000000000001.12.0", "");
    FAILS(iflow_store_dir_check(store), IFLOW_E_CORRUPT, "invariant 6");
    write_file("store/VERSION", "infoflow-store 7\n");
    FAILS(iflow_store_dir_check(store), IFLOW_E_CORRUPT, "invariant 1");
    write_file("store/VERSION", "infoflow-store 2\n");
    flip_byte(chunk_file(id), -1);
    FAILS(iflow_store_dir_check(store), IFLOW_E_CORRUPT, "invariant 2");
    flip_byte(chunk_file(id), -1);
    snprintf(path, sizeof path, "store/chunks/%.2s/%s.gguf.part", id, id);
    write_file(path, "");
    FAILS(iflow_store_dir_check(store), IFLOW_E_CORRUPT, "invariant 2");
    unlink(in_root(path));
    OK(iflow_store_dir_check(store));
    iflow_store_close(store);
    store = open_limited(n_bytes - 1);
    FAILS(iflow_store_dir_check(store), IFLOW_E_CORRUPT, "invariant 3");
    iflow_store_close(store);
}

/* ---- Between processes -------------------------------------------------------------------------------------------------------------- */

/* The bytes of all chunks at one moment: while we have the lock, nobody publishes or evicts. */
static uint64_t bytes_of_all(iflow_store *store) {
    iflow_chunk_info *list = NULL;
    size_t n = 0;
    uint64_t total = 0;
    const int lock = open(in_root("store/lock"), O_RDWR | O_CREAT, 0666);
    if (lock < 0 || flock(lock, LOCK_EX) != 0 || iflow_store_list(store, &list, &n)) {
        total = UINT64_MAX;
    }
    for (size_t i = 0; i < n; i++) {
        total += list[i].n_bytes;
    }
    iflow_free(list);
    close(lock);
    return total;
}

/* Puts and gets at random; whatever another process does meanwhile, a chunk is there whole or not at all. */
static int worker(unsigned seed, uint64_t limit, int rounds) {
    uint32_t random = seed;
    iflow_store *store = open_limited(limit);
    int n_bad = 0;
    for (int i = 0; i < rounds; i++) {
        char id[IFLOW_ID_SIZE];
        iflow_blob blob = {0};
        iflow_chunk *chunk = NULL;
        make_chunk(fixture_random(&random) % SEEDS, id, &blob);
        const iflow_status put = store->ops->put(store, id, &blob, false);
        const iflow_status get = iflow_store_get_chunk(store, id, &chunk);
        n_bad += put != IFLOW_OK || (get != IFLOW_OK && get != IFLOW_E_NOT_FOUND);
        n_bad += bytes_of_all(store) > limit;
        if (i % 16 == 0) {
            n_bad += iflow_store_prune(store, limit / 2, NULL, NULL) != IFLOW_OK;
        }
        iflow_chunk_free(chunk);
        iflow_blob_free(&blob);
    }
    iflow_store_close(store);
    return n_bad;
}

static void test_two_processes(void **state) {
    (void)state;
    const uint64_t limit = 20000;
    enum { WORKERS = 3 };
    pid_t pids[WORKERS];
    for (int w = 0; w < WORKERS; w++) {
        pids[w] = start_child();
        if (pids[w] == 0) {
            _exit(worker((unsigned)w + 1, limit, 250) ? 1 : 0);
        }
    }
    for (int w = 0; w < WORKERS; w++) {
        assert_int_equal(wait_for(pids[w]), 0);
    }
    iflow_store *store = open_limited(limit);
    assert_int_equal(n_entries("store/tmp"), 0);
    assert_int_equal(n_entries("store/bad"), 0);
    close_checked(store);
}

/* Many create one store at once. */
static void test_created_by_many(void **state) {
    (void)state;
    pid_t pids[8];
    for (int w = 0; w < 8; w++) {
        pids[w] = start_child();
        if (pids[w] == 0) {
            iflow_store *store = NULL;
            _exit(iflow_store_open(in_root("store"), NULL, &store) != IFLOW_OK || iflow_store_dir_check(store) == IFLOW_E_IO);
        }
    }
    for (int w = 0; w < 8; w++) {
        assert_int_equal(wait_for(pids[w]), 0);
    }
    close_checked(open_limited(0));
}

static void test_killed_writer(void **state) {
    (void)state;
    size_t n_left = 0;
    iflow_store *store = open_limited(0);
    for (unsigned round = 0; round < 25; round++) {
        int ready[2];
        assert_int_equal(pipe(ready), 0);
        const pid_t pid = start_child();
        if (pid == 0) { /* writes chunks of 4 MiB until it is killed */
            for (unsigned i = 0;; i++) {
                fixture f = fixture_new(round * 1000 + i, 64, 1, 8, 2048, IFLOW_KV_F16);
                char id[IFLOW_ID_SIZE];
                iflow_blob blob = {0};
                iflow_chunk_id(&f.identity, id);
                if (fixture_encode(&f, &blob) || write(ready[1], "x", 1) != 1 || store->ops->put(store, id, &blob, false)) {
                    _exit(1);
                }
                iflow_blob_free(&blob);
                fixture_free(&f);
            }
        }
        char byte;
        close(ready[1]);
        assert_int_equal(read(ready[0], &byte, 1), 1);
        usleep(200 + 313 * round);
        kill(pid, SIGKILL);
        assert_int_equal(wait_for(pid), 128 + SIGKILL);
        close(ready[0]);
        n_left += n_entries("store/tmp");
        OK(iflow_store_prune(store, 0, NULL, NULL));
        assert_int_equal(n_entries("store/tmp"), 0);
        OK(iflow_store_dir_check(store));
    }
    assert_true(n_left > 0); /* or nobody was killed in the middle, and this has shown nothing */
    close_checked(store);
}

/* Every chunk that is visible after a kill is whole: the same, without the prune that would delete it. */
static void test_killed_writer_leaves_whole_chunks(void **state) {
    (void)state;
    for (unsigned round = 0; round < 10; round++) {
        const pid_t pid = start_child();
        if (pid == 0) {
            _exit(worker(round + 77, 30000, 100000));
        }
        usleep(30000 + 7000 * round);
        kill(pid, SIGKILL);
        assert_int_equal(wait_for(pid), 128 + SIGKILL);
        close_checked(open_limited(30000)); /* opening removes what was left in tmp/ */
    }
}

/* ---- When space ends ---------------------------------------------------------------------------------------------------------------- */

/* A file may grow to 3,000 bytes: the first write is short, the next fails. */
static void test_short_write(void **state) {
    (void)state;
    iflow_store *store = open_limited(0);
    char small[IFLOW_ID_SIZE], large[IFLOW_ID_SIZE];
    iflow_blob blob = {0};
    put_seed(store, 0, small);
    fixture f = fixture_new(1, 64, 1, 2, 32, IFLOW_KV_F16);
    iflow_chunk_id(&f.identity, large);
    OK(fixture_encode(&f, &blob));
    const pid_t pid = start_child();
    if (pid == 0) {
        const struct rlimit limit = {3000, 3000};
        signal(SIGXFSZ, SIG_IGN);
        char text[4000];
        memset(text, ' ', sizeof text);
        int failed = setrlimit(RLIMIT_FSIZE, &limit) != 0;
        failed |= store->ops->put(store, large, &blob, false) != IFLOW_E_FULL || !strstr(iflow_error_message(), "store/tmp/");
        failed |= store->ops->has(store, large) ? 2 : 0;
        failed |= store->ops->put_record(store, large, text, sizeof text) != IFLOW_E_FULL ? 4 : 0;
        failed |= iflow_store_verify(store, IFLOW_CHUNK, small) != IFLOW_OK ? 8 : 0; /* the store still works */
        failed |= iflow_store_dir_check(store) != IFLOW_OK ? 16 : 0;
        _exit(failed);
    }
    assert_int_equal(wait_for(pid), 0);
    assert_int_equal(n_entries("store/tmp"), 0);
    assert_int_equal(n_entries("store/docs"), 0);
    OK(store->ops->put(store, large, &blob, false));
    iflow_blob_free(&blob);
    fixture_free(&f);
    close_checked(store);
}

static void test_writes_in_pieces(void **state) {
    (void)state;
    iflow_store *store = open_limited(0);
    char id[IFLOW_ID_SIZE];
    iflow_blob blob = {0}, got = {0};
    make_chunk(4, id, &blob);
    fault.write_at_most = 100;
    OK(store->ops->put(store, id, &blob, false));
    fault.write_at_most = 0;
    OK(store->ops->get(store, id, &got));
    assert_int_equal(got.n_bytes, blob.n_bytes);
    assert_memory_equal(got.data, blob.data, blob.n_bytes);
    iflow_blob_free(&got);
    iflow_blob_free(&blob);
    close_checked(store);
}

/* Lets the first, the second, ... system call of an operation fail until none is left to fail: each time it says why, has published nothing
 * and has left nothing, and the next time it works. */
static void test_every_call_fails(void **state) {
    (void)state;
    static const struct {
        int error;
        iflow_status expected;
    } errors[] = {{EIO, IFLOW_E_IO}, {ENOSPC, IFLOW_E_FULL}, {EDQUOT, IFLOW_E_FULL}, {ENOMEM, IFLOW_E_MEMORY}};
    for (size_t e = 0; e < sizeof errors / sizeof errors[0]; e++) {
        iflow_store *store = open_limited(100000);
        char id[IFLOW_ID_SIZE];
        iflow_blob blob = {0};
        make_chunk((unsigned)e + 1, id, &blob);
        fault.error = errors[e].error;
        int n_failures = 0;
        for (bool done = false; !done; n_failures++) { /* a put */
            fault.fail_in = n_failures + 1;
            const iflow_status status = store->ops->put(store, id, &blob, false);
            done = fault.fail_in > 0;
            fault.fail_in = 0;
            assert_int_equal(status, done ? IFLOW_OK : errors[e].expected);
            assert_int_equal(store->ops->has(store, id), done);
            assert_int_equal(n_entries("store/tmp"), 0);
            assert_true(done || strstr(iflow_error_message(), "/store/") != NULL);
        }
        assert_true(n_failures > 6); /* mkdir, lock, write, sync, lock, sync, rename, sync */
        n_failures = 0;
        for (bool done = false; !done; n_failures++) { /* a record */
            fault.fail_in = n_failures + 1;
            const iflow_status status = store->ops->put_record(store, id, "{}", 2);
            done = fault.fail_in > 0;
            fault.fail_in = 0;
            assert_int_equal(status, done ? IFLOW_OK : errors[e].expected);
            assert_int_equal(n_entries("store/tmp"), 0);
        }
        assert_true(n_failures > 3);
        n_failures = 0;
        for (bool done = false; !done; n_failures++) { /* pinning, leases, setting aside, deleting */
            fault.fail_in = n_failures + 1;
            iflow_status status = iflow_store_pin(store, IFLOW_CHUNK, id, true);
            status = status ? status : store->ops->lease(store, id);
            store->ops->release(store, id);
            status = status ? status : store->ops->set_aside(store, id, NULL);
            done = fault.fail_in > 0;
            fault.fail_in = 0;
            assert_int_equal(status, done ? IFLOW_OK : errors[e].expected);
        }
        assert_true(n_failures > 4);
        OK(store->ops->put(store, id, &blob, false));
        iflow_blob_free(&blob);
        close_checked(store);

        n_failures = 0;
        for (bool done = false; !done; n_failures++) { /* creating a store */
            char path[64];
            snprintf(path, sizeof path, "new-%zu-%d", e, n_failures);
            fault.fail_in = n_failures + 1;
            store = NULL;
            const iflow_status status = iflow_store_open(in_root(path), NULL, &store);
            done = fault.fail_in > 0;
            fault.fail_in = 0;
            assert_int_equal(status, done ? IFLOW_OK : errors[e].expected);
            assert_int_equal(status == IFLOW_OK, store != NULL);
            iflow_store_close(store);
            store = NULL;
            OK(iflow_store_open(in_root(path), NULL, &store)); /* whatever was there of it */
            close_checked(store);
        }
        assert_true(n_failures > 8);
    }
}

/* A real full disk, where we may mount one. */
static void test_full_disk(void **state) {
    (void)state;
    assert_int_equal(mkdir(in_root("disk"), 0777), 0);
    if (mount("infoflow-test", in_root("disk"), "tmpfs", 0, "size=256k") != 0) {
        rmdir(in_root("disk"));
        skip();
    }
    iflow_store *store = NULL;
    char id[IFLOW_ID_SIZE];
    iflow_blob blob = {0};
    size_t n_put = 0;
    iflow_status status = iflow_store_open(in_root("disk/store"), NULL, &store);
    for (unsigned i = 0; !status && i < 100; i++) {
        fixture f = fixture_new(i, 64, 1, 2, 64, IFLOW_KV_F16); /* 32 KiB */
        iflow_chunk_id(&f.identity, id);
        status = fixture_encode(&f, &blob);
        status = status ? status : store->ops->put(store, id, &blob, false);
        n_put += status == IFLOW_OK;
        iflow_blob_free(&blob);
        fixture_free(&f);
    }
    const bool has = store && store->ops->has(store, id), says_where = strstr(iflow_error_message(), "disk/store/tmp/") != NULL;
    const size_t n_temps = n_entries("disk/store/tmp");
    const iflow_status check = iflow_store_dir_check(store), prune = iflow_store_prune(store, 0, NULL, NULL);
    put_seed(store, 1, id); /* there is room again */
    iflow_store_close(store);
    assert_int_equal(umount(in_root("disk")), 0);
    assert_int_equal(status, IFLOW_E_FULL);
    assert_true(says_where);
    assert_false(has);
    assert_int_equal(n_temps, 0);
    assert_true(n_put > 3);
    assert_int_equal(check, IFLOW_OK);
    assert_int_equal(prune, IFLOW_OK);
}

int main(void) {
    iflow_set_log(count_warnings, NULL);
    const struct CMUnitTest tests[] = {
        TEST(test_bad_chunk_is_set_aside),
        TEST(test_bad_chunks_do_not_pile_up),
        TEST(test_list_tells_a_bad_header),
        TEST(test_check_finds),
        TEST(test_two_processes),
        TEST(test_created_by_many),
        TEST(test_killed_writer),
        TEST(test_killed_writer_leaves_whole_chunks),
        TEST(test_short_write),
        TEST(test_writes_in_pieces),
        TEST(test_every_call_fails),
        TEST(test_full_disk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
