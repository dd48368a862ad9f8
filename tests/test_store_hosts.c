/* test_store_hosts.c - leases across hosts and clocks: who may take one, when, and that no time but our own monotonic clock matters. */
#include "store_fixture.h"

#include "kv/store_dir.h"

#include <sys/file.h>
#include <sys/time.h>
#include <utime.h>

static const char id[] = "00000000000000000000000000000001";
static const char lease_file[] = "store/tmp/00000000000000000000000000000001.lease";

enum { SHORT_MS = 400 };

/* A store as a process of another host would have it. */
static iflow_store *open_at(const char *host) {
    iflow_store *store = open_limited(0);
    snprintf(iflow_dir_of(store)->host, IFLOW_DIR_HOST_SIZE, "%s", host);
    iflow_dir_of(store)->lease_ms = SHORT_MS;
    return store;
}

/* What another host's process writes, whose locks do not reach here. */
static void write_lease(const char *host, unsigned counter) {
    char text[IFLOW_DIR_LEASE_TEXT];
    snprintf(text, sizeof text, "%-20ld %-36.36s %020u\n", 4711L, host, counter);
    write_file(lease_file, text);
}

static void read_lease(char text[IFLOW_DIR_LEASE_TEXT]) {
    FILE *file = fopen(in_root(lease_file), "r");
    assert_non_null(file);
    assert_non_null(fgets(text, IFLOW_DIR_LEASE_TEXT, file));
    fclose(file);
}

static void pass(int ms) {
    const double end = iflow_now_ms() + ms;
    while (iflow_now_ms() < end) {
        usleep(5000);
    }
}

/* Waits until the lease is to be had, trying all the while: how long that took. */
static double time_to_take(iflow_store *store) {
    const double start = iflow_now_ms();
    iflow_status status;
    while ((status = store->ops->lease(store, id)) == IFLOW_E_BUSY && iflow_now_ms() - start < 60e3) {
        usleep(5000);
    }
    assert_int_equal(status, IFLOW_OK);
    return iflow_now_ms() - start;
}

static void test_length(void **state) {
    (void)state;
    iflow_store *store = open_limited(0);
    assert_true(iflow_dir_of(store)->lease_ms >= 10000);
    assert_int_equal(strlen(iflow_dir_of(store)->host), 36); /* a boot id */
    close_checked(store);
}

/* A live owner's counter goes on, however long it takes: nobody gets the lease from it, on this host or another. */
static void test_live_owner_keeps_it(void **state) {
    (void)state;
    iflow_store *owner = open_at("here"), *near = open_at("here"), *far = open_at("elsewhere");
    char before[IFLOW_DIR_LEASE_TEXT], after[IFLOW_DIR_LEASE_TEXT];
    iflow_dir_of(near)->lease_ms = iflow_dir_of(far)->lease_ms = 10 * SHORT_MS; /* the machine may be busy */
    OK(owner->ops->lease(owner, id));
    read_lease(before);
    const double end = iflow_now_ms() + 12 * SHORT_MS;
    while (iflow_now_ms() < end) {
        FAILS(near->ops->lease(near, id), IFLOW_E_BUSY, "is being computed by process");
        FAILS(far->ops->lease(far, id), IFLOW_E_BUSY, "of another host");
        usleep(20000);
    }
    read_lease(after);
    assert_string_not_equal(before, after);
    assert_memory_equal(before, after, 57); /* process and host */
    owner->ops->release(owner, id);
    OK(far->ops->lease(far, id));
    far->ops->release(far, id);
    iflow_store_close(owner);
    iflow_store_close(far);
    close_checked(near);
}

/* On its own host a dead owner's lease is void at once; elsewhere it has to stand still for the lease's length, as seen there. */
static void test_dead_owner(void **state) {
    (void)state;
    iflow_store *near = open_at("here"), *far = open_at("elsewhere");
    write_lease("here", 7); /* nobody has it locked */
    OK(near->ops->lease(near, id));
    near->ops->release(near, id);
    write_lease("here", 7);
    FAILS(far->ops->lease(far, id), IFLOW_E_BUSY, "process 4711 of another host");
    assert_true(time_to_take(far) >= SHORT_MS - 50);
    far->ops->release(far, id);
    assert_int_equal(n_entries("store/tmp"), 0);
    iflow_store_close(near);
    close_checked(far);
}

/* It is the counter that is watched: while it moves, the lease stays, and the wait begins again with each move. */
static void test_counter_decides(void **state) {
    (void)state;
    iflow_store *store = open_at("here");
    iflow_dir_of(store)->lease_ms = 3 * SHORT_MS;
    for (unsigned counter = 1; counter <= 12; counter++) {
        write_lease("elsewhere", counter);
        FAILS(store->ops->lease(store, id), IFLOW_E_BUSY, "of another host");
        pass(SHORT_MS / 2);
    }
    assert_true(time_to_take(store) >= 2 * SHORT_MS);
    close_checked(store);
}

/* Neither the time of day nor the times of files matter: a file from the future or from long ago is neither older nor younger. */
static void test_no_other_clock(void **state) {
    (void)state;
    static const time_t times[] = {0, 4102444800, 1};
    iflow_store *store = open_at("here");
    write_lease("elsewhere", 1);
    FAILS(store->ops->lease(store, id), IFLOW_E_BUSY, "of another host");
    for (size_t i = 0; i < 3; i++) {
        const struct utimbuf both = {.actime = times[i], .modtime = times[i]};
        assert_int_equal(utime(in_root(lease_file), &both), 0);
        FAILS(store->ops->lease(store, id), IFLOW_E_BUSY, "of another host");
    }
    const double took = time_to_take(store);
    assert_true(took >= SHORT_MS - 100);
    store->ops->release(store, id);
    close_checked(store);
}

/* A process that is stopped loses its lease after the lease's length; what it does when it wakes harms nobody. */
static void test_stopped_owner(void **state) {
    (void)state;
    int ready[2];
    char byte, chunk[IFLOW_ID_SIZE];
    iflow_blob blob = {0};
    make_chunk(1, chunk, &blob);
    assert_int_equal(pipe(ready), 0);
    const pid_t pid = start_child();
    if (pid == 0) {
        iflow_store *store = open_at("here");
        int failed = store->ops->lease(store, id) != IFLOW_OK || write(ready[1], "x", 1) != 1 || raise(SIGSTOP) != 0;
        usleep(SHORT_MS * 1000); /* its thread raises a counter that nobody sees */
        failed |= store->ops->put(store, chunk, &blob, false) != IFLOW_OK ? 2 : 0;
        store->ops->release(store, id);
        iflow_store_close(store);
        _exit(failed);
    }
    close(ready[1]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    iflow_store *store = open_at("here"), *other = open_at("here");
    FAILS(store->ops->lease(store, id), IFLOW_E_BUSY, "is being computed by process");
    assert_true(time_to_take(store) >= SHORT_MS - 100);
    FAILS(other->ops->lease(other, id), IFLOW_E_BUSY, "is being computed by process");
    OK(store->ops->put(store, chunk, &blob, false));
    assert_int_equal(kill(pid, SIGCONT), 0);
    assert_int_equal(wait_for(pid), 0);
    FAILS(other->ops->lease(other, id), IFLOW_E_BUSY, "is being computed by process"); /* it was not given back by the one that woke */
    use(store, chunk);
    store->ops->release(store, id);
    OK(other->ops->lease(other, id));
    other->ops->release(other, id);
    assert_int_equal(n_entries("store/tmp"), 0);
    iflow_blob_free(&blob);
    iflow_store_close(other);
    close_checked(store);
}

/* What another host may still have is no garbage; once the chunk is there, it is. */
static void test_others_leases_stay(void **state) {
    (void)state;
    char chunk[IFLOW_ID_SIZE], path[128];
    iflow_store *store = open_at("here");
    write_lease("elsewhere", 1);
    OK(iflow_store_prune(store, 0, NULL, NULL));
    iflow_store_close(open_limited(0));
    OK(iflow_store_dir_check(store));
    assert_int_equal(n_entries("store/tmp"), 1);
    iflow_blob blob = {0};
    make_chunk(1, chunk, &blob);
    snprintf(path, sizeof path, "store/tmp/%s.lease", chunk);
    iflow_blob_free(&blob);
    char from[8192];
    snprintf(from, sizeof from, "%s", in_root(lease_file));
    assert_int_equal(rename(from, in_root(path)), 0);
    OK(iflow_store_prune(store, UINT64_MAX, NULL, NULL));
    assert_int_equal(n_entries("store/tmp"), 1);
    put_seed(store, 1, chunk);
    OK(iflow_store_prune(store, UINT64_MAX, NULL, NULL));
    assert_int_equal(n_entries("store/tmp"), 0);
    write_file("store/tmp/00000000000000000000000000000002.claim", "12\n"); /* of a program of layout 1 */
    OK(iflow_store_prune(store, UINT64_MAX, NULL, NULL));
    assert_int_equal(n_entries("store/tmp"), 0);
    close_checked(store);
}

/* A forked process has its parent's descriptors; the parent's leases end with the parent all the same. */
static void test_dead_parent(void **state) {
    (void)state;
    int ready[2], end[2];
    char byte;
    assert_int_equal(pipe(ready), 0);
    assert_int_equal(pipe(end), 0);
    const pid_t pid = start_child();
    if (pid == 0) {
        iflow_store *store = open_at("here");
        if (store->ops->lease(store, id) || fork() != 0) {
            _exit(0); /* the lease is not given back */
        }
        alarm(MAX_SECONDS);
        close(end[1]);
        const bool failed = store->ops->lease(store, "00000000000000000000000000000002") != IFLOW_OK;
        _exit(failed || write(ready[1], "x", 1) != 1 || read(end[0], &byte, 1) != 0);
    }
    close(ready[1]);
    close(end[0]);
    assert_int_equal(wait_for(pid), 0);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    iflow_store *store = open_at("here");
    iflow_dir_of(store)->lease_ms = 60e3;
    OK(store->ops->lease(store, id));
    FAILS(store->ops->lease(store, "00000000000000000000000000000002"), IFLOW_E_BUSY, "is being computed by process");
    close(end[1]);
    close(ready[0]);
    iflow_store_close(store);
}

/* What a forked process does with the store leaves its parent's lease alone, and does not wait for a thread that only the parent has. */
static void test_forked(void **state) {
    (void)state;
    iflow_store *store = open_at("here"), *other = open_at("here");
    iflow_dir_of(other)->lease_ms = 60e3;
    OK(store->ops->lease(store, id));
    for (int i = 0; i < 3; i++) {
        pthread_mutex_lock(&iflow_dir_of(store)->mutex);
        const pid_t pid = start_child();
        if (pid == 0) {
            bool failed = false;
            if (i == 1) {
                store->ops->release(store, id);
            } else if (i == 2) {
                failed = store->ops->lease(store, id) != IFLOW_E_BUSY;
                failed |= store->ops->lease(store, "00000000000000000000000000000002") != IFLOW_OK;
            }
            iflow_store_close(store);
            _exit(failed);
        }
        pthread_mutex_unlock(&iflow_dir_of(store)->mutex);
        assert_int_equal(wait_for(pid), 0);
        assert_int_equal(n_entries("store/tmp"), 1);
        FAILS(other->ops->lease(other, id), IFLOW_E_BUSY, "is being computed by process");
    }
    store->ops->release(store, id);
    assert_int_equal(n_entries("store/tmp"), 0);
    iflow_store_close(other);
    close_checked(store);
}

/* Those whose file is gone are watched no more; of too many at a time each gets its turn. */
static void test_watches_are_bounded(void **state) {
    (void)state;
    enum { N = IFLOW_DIR_WATCHES + 20 };
    static bool had[N];
    char lease[IFLOW_ID_SIZE], name[128], text[IFLOW_DIR_LEASE_TEXT];
    iflow_store *store = open_at("here");
    snprintf(text, sizeof text, "%-20ld %-36.36s %020u\n", 4711L, "elsewhere", 1U);
    size_t n_had = 0;
    for (size_t i = 0; i < N; i++) {
        snprintf(name, sizeof name, "store/tmp/%032zx.lease", i);
        write_file(name, text);
    }
    for (const double end = iflow_now_ms() + 60e3; n_had < N && iflow_now_ms() < end;) {
        for (size_t i = 0; i < N; i++) {
            snprintf(lease, sizeof lease, "%032zx", i);
            if (!had[i] && store->ops->lease(store, lease) == IFLOW_OK) {
                store->ops->release(store, lease);
                had[i] = true;
                n_had++;
            }
            assert_true(iflow_dir_of(store)->n_watches <= IFLOW_DIR_WATCHES);
        }
    }
    assert_int_equal(n_had, N);
    assert_int_equal(iflow_dir_of(store)->n_watches, 0);
    for (size_t i = 0; i < 5; i++) {
        snprintf(lease, sizeof lease, "%032zx", i);
        snprintf(name, sizeof name, "store/tmp/%s.lease", lease);
        write_file(name, text);
        FAILS(store->ops->lease(store, lease), IFLOW_E_BUSY, "of another host");
        assert_int_equal(iflow_dir_of(store)->n_watches, 1);
        assert_int_equal(unlink(in_root(name)), 0); /* as its owner gives it back */
    }
    close_checked(store);
}

int main(void) {
    iflow_set_log(count_warnings, NULL);
    const struct CMUnitTest tests[] = {
        TEST(test_length),         TEST(test_live_owner_keeps_it), TEST(test_dead_owner),         TEST(test_counter_decides),
        TEST(test_no_other_clock), TEST(test_stopped_owner),       TEST(test_others_leases_stay), TEST(test_dead_parent),
        TEST(test_forked),         TEST(test_watches_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
