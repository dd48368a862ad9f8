/* test_identity.c - a model is known by all its bytes; that is computed once and remembered only where it can be trusted. */
#include "model_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* ---- What a load says and does ------------------------------------------------------------------------------------------------------ */

static uint64_t n_read; /* bytes that the last load hashed: progress is called at its end at least */
static char warning[1024];
static char grows[4096]; /* a file that progress appends to */
static bool go_on;

static bool on_progress(const char *what, uint64_t done, uint64_t total, void *user) {
    (void)user;
    assert_non_null(what);
    assert_null(strchr(what, '/'));
    assert_true(done <= total);
    n_read = done;
    if (grows[0]) {
        FILE *file = fopen(grows, "ab");
        assert_non_null(file);
        assert_int_equal(fwrite("more", 1, 4, file), 4);
        fclose(file);
    }
    return go_on;
}

static void on_log(iflow_log_level level, const char *message, void *user) {
    (void)user;
    if (level == IFLOW_LOG_WARN) {
        snprintf(warning, sizeof warning, "%s", message);
    }
}

/* Loads, gives the status and, where it succeeded, the identity. */
static iflow_status load(const char *path, const char *cache, char hex[IFLOW_ID_SIZE]) {
    iflow_model *model = NULL;
    n_read = 0;
    warning[0] = '\0';
    go_on = true;
    iflow_set_log(on_log, NULL);
    const iflow_status status =
        iflow_model_load(path, &IFLOW_PARAMS(iflow_model_params, .cache_dir = cache, .on_progress = on_progress), &model);
    if (!status) {
        memcpy(hex, iflow_model_get_info(model).fingerprint, IFLOW_ID_SIZE);
        iflow_model_free(model);
    }
    return status;
}

static void assert_identity_is_hash(const char *path, const char *hex) {
    size_t n = 0;
    char expected[IFLOW_ID_SIZE], *bytes = fixture_read(path, &n);
    iflow_hash_hex(bytes, n, expected);
    free(bytes);
    assert_string_equal(hex, expected);
}

/* Waits until a file is old enough to be remembered. */
static void wait_until_old(const char *path) {
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    while (time(NULL) <= st.st_ctim.tv_sec + 2) {
        nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
    }
}

static char *path_in_dir(const char *name) {
    char *path = iflow_format("%s/%s", dir, name);
    assert_non_null(path);
    return path;
}

static int n_files;
static char last_file[4096];

static int count_file(const char *path, const struct stat *st, int type, struct FTW *walk) {
    (void)type, (void)walk;
    if (!S_ISDIR(st->st_mode)) {
        n_files++;
        snprintf(last_file, sizeof last_file, "%s", path);
        assert_int_equal(st->st_mode & 0777, 0600);
    } else if (walk->level > 0) {
        assert_int_equal(st->st_mode & 0777, 0700);
    }
    return 0;
}

/* Files below a directory; last_file is one of them. */
static int files_in(const char *path) {
    n_files = 0;
    nftw(path, count_file, 8, FTW_PHYS);
    return n_files;
}

static const char *const old_names[] = {"bytes", "remembered", "malformed", "left", "unwritable", "future", "grows", "cancelled", "mapped"};

/* Of the file of that name: what another program has mapped to write to it, and has written to. */
static unsigned char *mapped;
static size_t n_mapped;

/* Makes the models that are to be old, and waits once for all. */
static int make_dir(void **state) {
    (void)state;
    dir = support_make_dir();
    char *path = NULL;
    for (size_t i = 0; i < sizeof old_names / sizeof *old_names; i++) {
        free(path);
        path = fixture_copy(dir, old_names[i], "llama");
        if (strcmp(old_names[i], "future") == 0) {
            const struct timespec future = {.tv_sec = time(NULL) + 100000};
            assert_int_equal(utimensat(AT_FDCWD, path, (struct timespec[2]){future, future}, 0), 0);
        }
        if (strcmp(old_names[i], "mapped") == 0) {
            const int fd = open(path, O_RDWR | O_CLOEXEC);
            struct stat st;
            assert_true(fd >= 0 && fstat(fd, &st) == 0);
            n_mapped = (size_t)st.st_size;
            mapped = mmap(NULL, n_mapped, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
            assert_ptr_not_equal(mapped, MAP_FAILED);
            close(fd);
            mapped[n_mapped - 4] ^= 1;
        }
    }
    wait_until_old(path);
    free(path);
    return 0;
}

/* ---- Tests -------------------------------------------------------------------------------------------------------------------------- */

/* A changed byte anywhere makes another model, size and time of writing as they were. */
static void test_every_byte(void **state) {
    (void)state;
    char *path = path_in_dir("bytes"), *cache = path_in_dir("bytes.cache"), first[IFLOW_ID_SIZE], changed[IFLOW_ID_SIZE];
    size_t n = 0;
    char *bytes = fixture_read(path, &n);
    struct gguf_context *gguf = gguf_init_from_file(path, (struct gguf_init_params){.no_alloc = true});
    const size_t data = gguf_get_data_offset(gguf);
    /* Metadata (the name of the model), the first and last bytes of data, the first, middle and last of every tensor, padding. */
    size_t at[1024], n_at = 0;
    const char *name = "infoflow-test-llama";
    for (size_t i = 0; i + strlen(name) < data && !n_at; i++) {
        if (memcmp(bytes + i, name, strlen(name)) == 0) {
            at[n_at++] = i;
        }
    }
    assert_int_equal(n_at, 1);
    at[n_at++] = data;
    at[n_at++] = n - 1;
    at[n_at++] = data - 1; /* padding after the metadata, or its last byte */
    for (int64_t i = 0; i < gguf_get_n_tensors(gguf); i += 3) {
        const size_t start = data + gguf_get_tensor_offset(gguf, i), size = gguf_get_tensor_size(gguf, i);
        at[n_at++] = start;
        at[n_at++] = start + size / 2 + 1;
        at[n_at++] = start + size - 1;
    }
    gguf_free(gguf);
    assert_ok(load(path, cache, first));
    assert_identity_is_hash(path, first);
    assert_int_equal(files_in(cache), 1);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    for (size_t i = 0; i < n_at; i++) {
        const int fd = open(path, O_WRONLY);
        const char other = (char)(bytes[at[i]] ^ 1);
        assert_int_equal(pwrite(fd, &other, 1, (off_t)at[i]), 1);
        assert_int_equal(futimens(fd, (struct timespec[2]){st.st_atim, st.st_mtim}), 0);
        const iflow_status status = load(path, cache, changed);
        if (status) {
            assert_int_equal(at[i], data - 1); /* the end of the metadata may be refused */
        } else {
            assert_identity_is_hash(path, changed);
            assert_string_not_equal(first, changed);
        }
        assert_int_equal(pwrite(fd, &bytes[at[i]], 1, (off_t)at[i]), 1);
        assert_int_equal(close(fd), 0);
    }
    free(bytes);
    free(cache);
    free(path);
}

/* The second load reads nothing: what the cache says is served, right or not, for the file that it says it of. */
static void test_remembered(void **state) {
    (void)state;
    char *path = path_in_dir("remembered"), *cache = path_in_dir("deep/er/cache"), hex[IFLOW_ID_SIZE], again[IFLOW_ID_SIZE];
    assert_ok(load(path, cache, hex));
    assert_true(n_read > 0);
    assert_int_equal(files_in(cache), 1);
    assert_ok(load(path, cache, again));
    assert_int_equal(n_read, 0);
    assert_string_equal(hex, again);
    assert_string_equal(warning, "");

    /* Another identity, with a checksum that is right. */
    static const char made_up[] = "0123456789abcdef0123456789abcdef";
    size_t n = 0;
    char *text = fixture_read(last_file, &n), check[IFLOW_ID_SIZE], *at = strstr(text, "identity ");
    at = strstr(at + 1, "identity "); /* after the version line's */
    assert_non_null(at);
    memcpy(at + strlen("identity "), made_up, sizeof made_up - 1);
    iflow_hash_hex(text, (size_t)(strstr(at, "check ") - text), check);
    memcpy(strstr(at, "check ") + strlen("check "), check, 32);
    FILE *file = fopen(last_file, "r+b");
    assert_int_equal(fwrite(text, 1, n, file), n);
    fclose(file);
    assert_ok(load(path, cache, again));
    assert_int_equal(n_read, 0);
    assert_string_equal(again, made_up);

    /* A symbolic link leads to the same file; a link under another name does not, and changes the file's ctime. */
    char *symbolic = path_in_dir("symbolic"), *other = path_in_dir("linked");
    assert_int_equal(symlink(path, symbolic), 0);
    assert_ok(load(symbolic, cache, again));
    assert_int_equal(n_read, 0);
    assert_int_equal(link(path, other), 0);
    assert_ok(load(other, cache, again));
    assert_string_equal(hex, again);
    assert_ok(load(path, cache, again));
    assert_string_equal(hex, again);
    free(symbolic);
    free(other);
    free(text);
    free(cache);
    free(path);
}

/* What is not exactly as it is written is not believed, and written anew. */
static void test_malformed(void **state) {
    (void)state;
    char *path = path_in_dir("malformed"), *cache = path_in_dir("malformed.cache"), hex[IFLOW_ID_SIZE], again[IFLOW_ID_SIZE], entry[4096];
    assert_ok(load(path, cache, hex));
    assert_int_equal(files_in(cache), 1);
    memcpy(entry, last_file, sizeof entry);
    size_t n = 0;
    char *good = fixture_read(entry, &n);
    for (size_t i = 0; i < n + 4; i++) { /* each byte changed; cut off; longer; empty */
        FILE *file = fopen(entry, "wb");
        char *bad = malloc(n + 1);
        memcpy(bad, good, n + 1);
        size_t n_bad = n;
        if (i < n) {
            bad[i] ^= 1;
        } else {
            n_bad = i == n ? n - 1 : i == n + 1 ? n + 1 : i == n + 2 ? n / 2 : 0;
        }
        assert_int_equal(fwrite(bad, 1, n_bad, file), n_bad);
        fclose(file);
        free(bad);
        assert_ok(load(path, cache, again));
        assert_true(n_read > 0);
        assert_string_equal(hex, again);
        size_t n_now = 0;
        char *now = fixture_read(entry, &n_now);
        assert_int_equal(n_now, n);
        assert_memory_equal(now, good, n);
        free(now);
    }
    /* Not a file: a link to the right text, a pipe, a directory. Readable, but writable by others. */
    char *target = path_in_dir("target");
    free(fixture_write(dir, "target", good, n));
    assert_int_equal(unlink(entry), 0);
    assert_int_equal(symlink(target, entry), 0);
    assert_ok(load(path, cache, again));
    assert_true(n_read > 0);
    assert_int_equal(files_in(cache), 1);
    assert_int_equal(unlink(entry), 0);
    assert_int_equal(mkfifo(entry, 0600), 0);
    assert_ok(load(path, cache, again));
    assert_true(n_read > 0);
    assert_ok(load(path, cache, again));
    assert_int_equal(n_read, 0);
    assert_int_equal(chmod(entry, 0666), 0);
    assert_ok(load(path, cache, again));
    assert_true(n_read > 0);
    if (geteuid() == 0) { /* of another user */
        assert_int_equal(chown(entry, 12345, 12345), 0);
        assert_ok(load(path, cache, again));
        assert_true(n_read > 0);
    }
    assert_int_equal(unlink(entry), 0);
    assert_int_equal(mkdir(entry, 0700), 0);
    assert_ok(load(path, cache, again));
    assert_true(n_read > 0);
    assert_non_null(strstr(warning, cache));
    assert_int_equal(files_in(cache), 0); /* no temporary file stays */
    free(target);
    free(good);
    free(cache);
    free(path);
}

/* A program that has the file mapped writes to a page again that it had written to before: its times stay unless the page was written out
 * meanwhile. */
static void test_mapped(void **state) {
    (void)state;
    char *path = path_in_dir("mapped"), *cache = path_in_dir("mapped.cache"), hex[IFLOW_ID_SIZE];
    assert_ok(load(path, cache, hex));
    assert_identity_is_hash(path, hex);
    for (int i = 0; i < 2; i++) {
        mapped[n_mapped - 4] ^= 2;
        assert_ok(load(path, cache, hex));
        assert_identity_is_hash(path, hex);
    }
    munmap(mapped, n_mapped);
    free(cache);
    free(path);
}

/* What a killed process left of an entry goes when the entry is written again, and one that another process writes now is left alone. */
static void test_left_behind(void **state) {
    (void)state;
    char *path = path_in_dir("left"), *cache = path_in_dir("left.cache"), hex[IFLOW_ID_SIZE];
    assert_ok(load(path, cache, hex));
    assert_int_equal(files_in(cache), 1);
    char *entry = iflow_strdup(last_file), *name = strrchr(entry, '/') + 1;
    char *dead = iflow_format("%s/.%s.1.0.infoflow", cache, name), *living = iflow_format("%s/.%s.1.1.infoflow", cache, name);
    assert_int_equal(rename(entry, dead), 0);
    const int fd = open(living, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(flock(fd, LOCK_EX), 0);
    assert_ok(load(path, cache, hex));
    assert_int_equal(access(entry, F_OK), 0);
    assert_int_equal(access(dead, F_OK), -1);
    assert_int_equal(access(living, F_OK), 0);
    assert_string_equal(warning, "");
    close(fd);
    free(dead);
    free(living);
    free(entry);
    free(cache);
    free(path);
}

/* Where nothing can be kept, it is said, and the identity is right all the same. */
static void test_unwritable(void **state) {
    (void)state;
    char *path = path_in_dir("unwritable"), *home = path_in_dir("home"), hex[IFLOW_ID_SIZE];
    char *below_file = iflow_format("%s/cache", path);
    assert_ok(load(path, below_file, hex));
    assert_identity_is_hash(path, hex);
    assert_non_null(strstr(warning, below_file));
    assert_ok(load(path, "", hex)); /* as wished */
    assert_string_equal(warning, "");
    free(below_file);

    char *kept = getenv("XDG_CACHE_HOME") ? iflow_strdup(getenv("XDG_CACHE_HOME")) : NULL, *kept_home = iflow_strdup(getenv("HOME"));
    assert_int_equal(setenv("XDG_CACHE_HOME", "relative", 1), 0); /* the specification says that it is ignored */
    assert_int_equal(setenv("HOME", home, 1), 0);
    assert_int_equal(mkdir(home, 0700), 0);
    assert_ok(load(path, NULL, hex));
    assert_int_equal(access("relative", F_OK), -1);
    assert_int_equal(files_in(home), 1);
    assert_non_null(strstr(last_file, "/home/.cache/infoflow/identities/"));
    assert_ok(load(path, NULL, hex));
    assert_int_equal(n_read, 0);
    unsetenv("HOME");
    assert_ok(load(path, NULL, hex));
    assert_true(n_read > 0);
    assert_non_null(strstr(warning, "HOME"));
    assert_int_equal(setenv("XDG_CACHE_HOME", home, 1), 0);
    assert_ok(load(path, NULL, hex));
    assert_int_equal(files_in(home), 2);
    setenv("HOME", kept_home, 1);
    kept ? setenv("XDG_CACHE_HOME", kept, 1) : unsetenv("XDG_CACHE_HOME");
    free(kept);
    free(kept_home);
    free(home);
    free(path);
}

/* Not remembered: a file that just changed, one of the future, one that changes while it is read (which is refused). */
static void test_changing(void **state) {
    (void)state;
    char *young = fixture_copy(dir, "young", "llama"), *future = path_in_dir("future"), *growing = path_in_dir("grows");
    char *cache = path_in_dir("changing.cache"), hex[IFLOW_ID_SIZE];
    assert_ok(load(young, cache, hex));
    assert_string_equal(warning, "");
    assert_int_equal(files_in(cache), 0);
    assert_int_equal(utimensat(AT_FDCWD, young, (struct timespec[2]){{.tv_sec = 1 << 30}, {.tv_sec = 1 << 30}}, 0), 0);
    assert_ok(load(young, cache, hex)); /* its mtime is old, its ctime is not */
    assert_int_equal(files_in(cache), 0);
    assert_ok(load(future, cache, hex));
    assert_int_equal(files_in(cache), 0);
    assert_non_null(strstr(warning, "future"));
    snprintf(grows, sizeof grows, "%s", growing);
    assert_int_equal(load(growing, cache, hex), IFLOW_E_IO);
    grows[0] = '\0';
    assert_non_null(strstr(iflow_error_message(), "changed while it was loaded"));
    assert_non_null(strstr(iflow_error_message(), growing));
    assert_int_equal(files_in(cache), 0);
    assert_ok(load(growing, cache, hex));
    assert_identity_is_hash(growing, hex);
    free(growing);
    free(future);
    free(young);
    free(cache);
}

static bool refuse(const char *what, uint64_t done, uint64_t total, void *user) {
    (void)what, (void)done, (void)total;
    ++*(int *)user;
    return false;
}

/* A file that is replaced under its name while it is loaded. */
static bool replace(const char *what, uint64_t done, uint64_t total, void *user) {
    (void)what, (void)done, (void)total;
    char *other = fixture_copy(dir, "other.gguf", "llama");
    assert_int_equal(rename(other, user), 0);
    free(other);
    return true;
}

static void test_cancelled_and_replaced(void **state) {
    (void)state;
    char *path = path_in_dir("cancelled"), *cache = path_in_dir("cancelled.cache");
    int n = 0;
    iflow_model *model = NULL;
    const iflow_model_params stop = IFLOW_PARAMS(iflow_model_params, .cache_dir = cache, .on_progress = refuse, .progress_user = &n);
    assert_int_equal(iflow_model_load(path, &stop, &model), IFLOW_E_CANCELLED);
    assert_int_equal(n, 1);
    assert_null(model);
    assert_int_equal(files_in(cache), 0);
    const iflow_model_params swap = IFLOW_PARAMS(iflow_model_params, .cache_dir = cache, .on_progress = replace, .progress_user = path);
    assert_int_equal(iflow_model_load(path, &swap, &model), IFLOW_E_IO);
    assert_non_null(strstr(iflow_error_message(), "changed while it was loaded"));
    assert_null(model);
    free(cache);
    free(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_byte),  cmocka_unit_test(test_remembered),
        cmocka_unit_test(test_malformed),   cmocka_unit_test(test_mapped),
        cmocka_unit_test(test_left_behind), cmocka_unit_test(test_unwritable),
        cmocka_unit_test(test_changing),    cmocka_unit_test(test_cancelled_and_replaced),
    };
    return cmocka_run_group_tests(tests, make_dir, fixture_remove_dir);
}
