/* test_store_locks.c - a store's lock and its leases: who has them, who waits, and what changes while somebody waits. */
#include "store_fixture.h"

#include "kv/store_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/syscall.h>

static void (*before_flock)(void); /* called once: what another process does between an open and its lock */

/* The library is linked against this. */
int flock(int fd, int operation) {
    if (before_flock) {
        void (*call)(void) = before_flock;
        before_flock = NULL;
        call();
    }
    return (int)syscall(SYS_flock, fd, operation);
}

/* ---- Leases ---------------------------------------------------------------------------------------------------------------------------
 */

static void test_live_writer_is_not_pruned(void **state) {
    (void)state;
    iflow_store *store = open_limited(0);
    int ready[2], done[2];
    assert_int_equal(pipe(ready), 0);
    assert_int_equal(pipe(done), 0);
    char id[IFLOW_ID_SIZE];
    iflow_blob blob = {0};
    make_chunk(1, id, &blob);
    iflow_blob_free(&blob);
    const pid_t pid = start_child();
    if (pid == 0) {
        char byte;
        close(ready[0]), close(done[1]);
        const int failed = store->ops->lease(store, id) != IFLOW_OK || write(ready[1], "x", 1) != 1 || read(done[0], &byte, 1) != 1;
        _exit(failed);
    }
    char byte;
    close(ready[1]), close(done[0]); /* so that the read ends with the child */
    assert_int_equal(read(ready[0], &byte, 1), 1);
    OK(iflow_store_prune(store, 0, NULL, NULL));
    iflow_store *second = open_limited(0);
    iflow_store_close(second);
    assert_int_equal(n_entries("store/tmp"), 1);
    char number[32];
    snprintf(number, sizeof number, "process %ld", (long)pid);
    FAILS(store->ops->lease(store, id), IFLOW_E_BUSY, number);
    assert_int_equal(write(done[1], "x", 1), 1);
    assert_int_equal(wait_for(pid), 0); /* died without a release */
    OK(store->ops->lease(store, id));
    store->ops->release(store, id);
    assert_int_equal(n_entries("store/tmp"), 0);
    close(ready[0]), close(done[1]);
    close_checked(store);
}

static iflow_files held_in;
static int held = -1;

static void unlink_held(void) {
    iflow_files_unlink_locked(&held_in, "lock", held);
}

/* Who has opened a lock's file when its holder unlinks it must not end up with the lock of a file that nobody can find. */
static void test_lock_of_an_unlinked_file(void **state) {
    (void)state;
    OK(iflow_files_open(&held_in, root, false, false));
    held = iflow_files_lock(&held_in, "lock");
    assert_true(held >= 0);
    before_flock = unlink_held; /* between the open of the next call and its lock */
    const int own = iflow_files_lock(&held_in, "lock");
    assert_null(before_flock);
    assert_true(own >= 0);
    assert_int_equal(access(in_root("lock"), F_OK), 0);
    assert_int_equal(iflow_files_lock(&held_in, "lock"), -1);
    assert_int_equal(errno, EWOULDBLOCK);
    close(own);
    iflow_files_close(&held_in);
}

static iflow_store *giver, *taker;
static const char contested[] = "00000000000000000000000000000001";

static void change_hands(void) {
    giver->ops->release(giver, contested);
    OK(taker->ops->lease(taker, contested));
}

/* A prune opens a lease; before it locks it, its holder gives it back and another takes it: that one's must stay. */
static void test_lease_changes_hands_under_a_prune(void **state) {
    (void)state;
    iflow_store *store = open_limited(0);
    giver = open_limited(0);
    taker = open_limited(0);
    OK(giver->ops->lease(giver, contested));
    iflow_files files;
    OK(iflow_files_open(&files, in_root("store"), false, false));
    before_flock = change_hands;
    assert_false(iflow_files_reap(&files, "tmp/00000000000000000000000000000001.lease"));
    assert_null(before_flock);
    assert_int_equal(n_entries("store/tmp"), 1);
    FAILS(store->ops->lease(store, contested), IFLOW_E_BUSY, contested);
    iflow_store_close(giver);
    iflow_store_close(taker);
    iflow_files_close(&files);
    close_checked(store);
}

static void test_leases(void **state) {
    (void)state;
    iflow_store *store = open_limited(0), *other = open_limited(0);
    const char *a = "00000000000000000000000000000001", *b = "00000000000000000000000000000002";
    store->ops->release(store, a); /* not ours: nothing */
    OK(store->ops->lease(store, a));
    FAILS(store->ops->lease(store, a), IFLOW_E_BUSY, a);
    FAILS(other->ops->lease(other, a), IFLOW_E_BUSY, a);
    other->ops->release(other, a); /* not its own: nothing */
    FAILS(other->ops->lease(other, a), IFLOW_E_BUSY, a);
    OK(other->ops->lease(other, b));
    store->ops->release(store, a);
    OK(other->ops->lease(other, a));
    iflow_store_close(other); /* gives its leases back */
    OK(store->ops->lease(store, a));
    OK(store->ops->lease(store, b));
    store->ops->release(store, b);
    store->ops->release(store, a);
    close_checked(store);
}

/* Processes take turns at one lease; a file that they all add to shows whether two ever had it at once. */
static void test_lease_excludes(void **state) {
    (void)state;
    enum { WORKERS = 4, TURNS = 1500 };
    const char *id = "00000000000000000000000000000001";
    iflow_store *first = open_limited(0);
    pid_t pids[WORKERS];
    write_file("count", "0");
    for (int w = 0; w < WORKERS; w++) {
        pids[w] = start_child();
        if (pids[w] == 0) {
            iflow_store *store = open_limited(0);
            for (int i = 0; i < TURNS;) {
                const iflow_status status = store->ops->lease(store, id);
                if (status == IFLOW_OK) {
                    int count = -1;
                    FILE *file = fopen(in_root("count"), "r+");
                    if (!file || fscanf(file, "%d", &count) != 1 || fseek(file, 0, SEEK_SET) != 0 || fprintf(file, "%d", count + 1) < 1 ||
                        fclose(file) != 0) {
                        _exit(1);
                    }
                    i++;
                    store->ops->release(store, id);
                } else if (status != IFLOW_E_BUSY) {
                    _exit(2);
                }
                if (i % 4 == 0 && iflow_store_prune(store, 0, NULL, NULL) != IFLOW_OK) { /* a prune voids no lease */
                    _exit(3);
                }
            }
            iflow_store_close(store);
            _exit(0);
        }
    }
    for (int w = 0; w < WORKERS; w++) {
        assert_int_equal(wait_for(pids[w]), 0);
    }
    int count = -1;
    FILE *file = fopen(in_root("count"), "r");
    assert_non_null(file);
    assert_int_equal(fscanf(file, "%d", &count), 1);
    fclose(file);
    assert_int_equal(count, WORKERS * TURNS);
    close_checked(first);
}

/* ---- The store's lock -----------------------------------------------------------------------------------------------------------------
 */

/* A process that was stopped while it has the store's lock holds nobody up for ever: it is said, then it is an error, and from then on
 * each operation waits only shortly, until the lock was to be had again. */
static void test_lock_of_a_stopped_process(void **state) {
    (void)state;
    char id[IFLOW_ID_SIZE], other[IFLOW_ID_SIZE], byte;
    int ready[2];
    iflow_store *store = open_limited(0);
    iflow_blob blob = {0};
    put_seed(store, 1, id);
    make_chunk(2, other, &blob);
    assert_int_equal(pipe(ready), 0);
    const pid_t pid = start_child();
    if (pid == 0) {
        const int lock = open(in_root("store/lock"), O_RDWR | O_CREAT, 0600);
        _exit(lock < 0 || flock(lock, LOCK_EX) != 0 || write(ready[1], "x", 1) != 1 || raise(SIGSTOP) != 0);
    }
    close(ready[1]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    assert_true(((iflow_dir_store *)store)->lock_end_ms > 5000);
    ((iflow_dir_store *)store)->lock_warn_ms = 50;
    ((iflow_dir_store *)store)->lock_end_ms = 300;
    double start = iflow_now_ms();
    FAILS(store->ops->put(store, other, &blob, false), IFLOW_E_BUSY, "has been locked by another process for 0.3 s");
    assert_true(iflow_now_ms() - start >= 300);
    assert_int_equal(n_warnings, 1);
    assert_non_null(strstr(last_warning, "waiting for another process"));
    assert_int_equal(n_entries("store/tmp"), 0);
    use(store, id); /* readers take no lock */
    ((iflow_dir_store *)store)->lock_end_ms = 1e9;
    start = iflow_now_ms();
    FAILS(iflow_store_pin(store, IFLOW_CHUNK, id, true), IFLOW_E_BUSY, "has been locked by another process for 0.2 s");
    assert_true(iflow_now_ms() - start >= 200); /* not at once: the next holder may have it for milliseconds */
    FAILS(iflow_store_delete(store, IFLOW_CHUNK, id), IFLOW_E_BUSY, "store/lock");
    FAILS(iflow_store_prune(store, 0, NULL, NULL), IFLOW_E_BUSY, "store/lock");
    assert_int_equal(kill(pid, SIGCONT), 0);
    assert_int_equal(wait_for(pid), 0);
    OK(store->ops->put(store, other, &blob, false));
    iflow_blob_free(&blob);
    close_checked(store);
}

/* After a time-out, a moment of ordinary contention is waited for. */
static void test_contention_after_a_timeout(void **state) {
    (void)state;
    char id[IFLOW_ID_SIZE], byte;
    int ready[2];
    iflow_store *store = open_limited(0);
    put_seed(store, 1, id);
    ((iflow_dir_store *)store)->lock_timed_out = true;
    assert_int_equal(pipe(ready), 0);
    const pid_t pid = start_child();
    if (pid == 0) {
        const int lock = open(in_root("store/lock"), O_RDWR | O_CREAT, 0600);
        _exit(lock < 0 || flock(lock, LOCK_EX) != 0 || write(ready[1], "x", 1) != 1 || usleep(20000) != 0);
    }
    close(ready[1]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    OK(iflow_store_pin(store, IFLOW_CHUNK, id, true));
    assert_false(((iflow_dir_store *)store)->lock_timed_out);
    assert_int_equal(wait_for(pid), 0);
    close_checked(store);
}

int main(void) {
    iflow_set_log(count_warnings, NULL);
    const struct CMUnitTest tests[] = {
        TEST(test_live_writer_is_not_pruned),
        TEST(test_lock_of_an_unlinked_file),
        TEST(test_lease_changes_hands_under_a_prune),
        TEST(test_leases),
        TEST(test_lease_excludes),
        TEST(test_lock_of_a_stopped_process),
        TEST(test_contention_after_a_timeout),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
