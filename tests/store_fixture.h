/* store_fixture.h - a directory of its own for each test of the store, and what the tests do to stores and to their files. */
#ifndef IFLOW_TESTS_STORE_FIXTURE_H
#define IFLOW_TESTS_STORE_FIXTURE_H

#include "kv/store.h"
#include "kv_fixture.h"

#include <ftw.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define SEEDS 24 /* different chunks that a test can draw */

static char root[4096]; /* each test's own directory */
static size_t n_warnings;
static char last_warning[1024];

static inline void count_warnings(iflow_log_level level, const char *message, void *user) {
    (void)user;
    if (level == IFLOW_LOG_WARN) {
        n_warnings++;
        snprintf(last_warning, sizeof last_warning, "%s", message);
    }
}

static inline int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw) {
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

/* Nothing that a test starts outlives it, and nothing waits for ever: a test that takes this long ends the program (SIGALRM), a child ends
 * with its parent at the latest, and with its test in any case. */
enum { MAX_SECONDS = 120, MAX_CHILDREN = 64 };

static pid_t test_process, child[MAX_CHILDREN];
static size_t n_children;

static inline pid_t start_child(void) {
    const pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        alarm(MAX_SECONDS);
    } else if (pid > 0 && n_children < MAX_CHILDREN) {
        child[n_children++] = pid;
    }
    return pid;
}

static inline int set_up(void **state) {
    (void)state;
    test_process = getpid();
    n_children = 0;
    alarm(MAX_SECONDS);
    const char *parent = getenv("TMPDIR");
    snprintf(root, sizeof root, "%s/infoflow-store-XXXXXX", parent ? parent : "/tmp");
    n_warnings = 0;
    return mkdtemp(root) ? 0 : -1;
}

static inline int tear_down(void **state) {
    (void)state;
    if (getpid() != test_process) {
        _exit(97); /* an assertion failed in a child: cmocka, which knows of none, comes here and would go on with the other tests */
    }
    for (size_t i = 0; i < n_children; i++) { /* those that nobody waited for: an assertion failed before */
        kill(child[i], SIGKILL);
        waitpid(child[i], NULL, 0);
    }
    alarm(0);
    return nftw(root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

#define OK(call)                                                                                                                           \
    do {                                                                                                                                   \
        const iflow_status ok_status = (call);                                                                                             \
        if (ok_status) {                                                                                                                   \
            fail_msg("%s: %d: %s", #call, (int)ok_status, iflow_error_message());                                                          \
        }                                                                                                                                  \
    } while (0)

/* The call fails with this status and a message that has this text. */
#define FAILS(call, expected, text)                                                                                                        \
    do {                                                                                                                                   \
        const iflow_status fails_status = (call);                                                                                          \
        if (fails_status != (expected) || !strstr(iflow_error_message(), (text))) {                                                        \
            fail_msg("%s: %d, \"%s\" instead of %d, \"%s\"", #call, (int)fails_status, iflow_error_message(), (int)(expected), (text));    \
        }                                                                                                                                  \
    } while (0)

static inline const char *in_root(const char *path) {
    static char full[8192];
    snprintf(full, sizeof full, "%s/%s", root, path);
    return full;
}

static inline void write_file(const char *path, const char *text) {
    FILE *file = fopen(in_root(path), "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static inline size_t n_entries(const char *dir) {
    char command[8300];
    snprintf(command, sizeof command, "ls -A '%s' | wc -l", in_root(dir));
    FILE *pipe = popen(command, "r");
    assert_non_null(pipe);
    int n = -1;
    assert_int_equal(fscanf(pipe, "%d", &n), 1);
    pclose(pipe);
    return (size_t)n;
}

static inline iflow_store *open_limited(uint64_t max_bytes) {
    iflow_store *store = NULL;
    const iflow_store_params params = IFLOW_PARAMS(iflow_store_params, .max_bytes = max_bytes);
    OK(iflow_store_open(in_root("store"), &params, &store));
    return store;
}

static inline void close_checked(iflow_store *store) {
    OK(iflow_store_dir_check(store));
    iflow_store_close(store);
}

/* The seed's chunk. Seeds differ in length, so that sizes do. */
static inline void make_chunk(unsigned seed, char id[IFLOW_ID_SIZE], iflow_blob *blob) {
    fixture f = fixture_new(seed, 1 + seed % 5, 1, 2, 32, seed % 2 ? IFLOW_KV_F16 : IFLOW_KV_Q8_0);
    iflow_chunk_id(&f.identity, id);
    OK(fixture_encode(&f, blob));
    fixture_free(&f);
}

static inline size_t put_seed(iflow_store *store, unsigned seed, char id[IFLOW_ID_SIZE]) {
    iflow_blob blob = {0};
    make_chunk(seed, id, &blob);
    OK(store->ops->put(store, id, &blob, false));
    const size_t n_bytes = blob.n_bytes;
    iflow_blob_free(&blob);
    return n_bytes;
}

/* Records a document of the tests' model. */
static inline void put_document(iflow_store *store, const char *name, char (*chunks)[IFLOW_ID_SIZE], size_t n_chunks,
                                char id[IFLOW_ID_SIZE]) {
    char copy[64];
    snprintf(copy, sizeof copy, "%s", name);
    iflow_document document = {.name = copy, .chunk_id = chunks, .n_chunks = n_chunks, .n_tokens = 10 * n_chunks};
    memcpy(document.fingerprint, "0123456789abcdef0123456789abcdef", IFLOW_ID_SIZE);
    OK(iflow_store_put_document(store, &document));
    memcpy(id, document.id, sizeof document.id);
}

static inline void use(iflow_store *store, const char *id) {
    iflow_chunk *chunk = NULL;
    OK(iflow_store_get_chunk(store, id, &chunk));
    iflow_chunk_free(chunk);
}

static inline const char *chunk_file(const char *id) {
    static char path[256];
    snprintf(path, sizeof path, "store/chunks/%.2s/%s.gguf", id, id);
    return path;
}

static inline void flip_byte(const char *path, long from_end) {
    FILE *file = fopen(in_root(path), "r+");
    assert_non_null(file);
    assert_int_equal(fseek(file, from_end, from_end < 0 ? SEEK_END : SEEK_SET), 0);
    const int c = fgetc(file);
    assert_int_equal(fseek(file, -1, SEEK_CUR), 0);
    assert_true(fputc(c ^ 0x10, file) != EOF);
    assert_int_equal(fclose(file), 0);
}

/* The exit status of a child process: 0 is success. */
static inline int wait_for(pid_t pid) {
    int status = -1;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    for (size_t i = 0; i < n_children; i++) {
        if (child[i] == pid) {
            child[i] = child[--n_children];
        }
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

#endif
