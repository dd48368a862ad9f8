/* test_publish.c - files anywhere that are there whole or not at all: what they replace, who may read them, what is left, and what happens
 * where files cannot be replaced or locked. */
#include "store_fixture.h"

#include "base/publish.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/syscall.h>

/* ---- System calls: the library is linked against these --------------------------------------------------------------------------------
 */

static int flock_error; /* what flock fails with; 0: it works */

int flock(int fd, int operation) {
    if (flock_error) {
        errno = flock_error;
        return -1;
    }
    return (int)syscall(SYS_flock, fd, operation);
}

static size_t n_chowned, n_readable; /* files whose owner was set, and those of them that others could read by then */

int fchown(int fd, uid_t owner, gid_t group) {
    struct stat st;
    n_chowned++;
    n_readable += fstat(fd, &st) != 0 || (st.st_mode & 077) != 0;
    return (int)syscall(SYS_fchown, fd, owner, group);
}

/* ---- Where files can be replaced ------------------------------------------------------------------------------------------------------
 */

static void make_dir(const char *path) {
    assert_int_equal(mkdir(in_root(path), 0755), 0);
}

static void is_content(const char *path, const char *expected) {
    char text[64] = "";
    FILE *file = fopen(in_root(path), "r");
    assert_non_null(file);
    const size_t n = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[n] = '\0';
    assert_string_equal(text, expected);
}

static mode_t mode_of(const char *path) {
    struct stat st;
    assert_int_equal(lstat(in_root(path), &st), 0);
    return st.st_mode & 07777;
}

static void test_write_file(void **state) {
    (void)state;
    make_dir("d");
    const mode_t before = umask(022);
    OK(iflow_write_file(in_root("d/new"), "one", 3, false));
    is_content("d/new", "one");
    assert_int_equal(mode_of("d/new"), 0644);
    assert_int_equal(chmod(in_root("d/new"), 0640), 0);
    OK(iflow_write_file(in_root("d/new"), "two", 3, false)); /* as writing to it would leave it */
    assert_int_equal(mode_of("d/new"), 0640);
    OK(iflow_write_file(in_root("d/new"), "", 0, true));
    is_content("d/new", "");
    assert_int_equal(mode_of("d/new"), 0600);
    umask(0777);
    OK(iflow_write_file(in_root("d/own"), "own", 3, true));
    assert_int_equal(mode_of("d/own"), 0600);
    umask(before);

    /* A link stays, and what it leads to is replaced; also where that is not there yet. */
    assert_int_equal(symlink("new", in_root("d/link")), 0);
    assert_int_equal(symlink("link", in_root("d/link2")), 0);
    assert_int_equal(symlink("later", in_root("d/dangling")), 0);
    assert_int_equal(symlink("loop", in_root("d/loop")), 0);
    OK(iflow_write_file(in_root("d/link2"), "three", 5, false));
    is_content("d/new", "three");
    OK(iflow_write_file(in_root("d/dangling"), "four", 4, false));
    is_content("d/later", "four");
    struct stat st;
    assert_true(lstat(in_root("d/link2"), &st) == 0 && S_ISLNK(st.st_mode) && lstat(in_root("d/dangling"), &st) == 0 &&
                S_ISLNK(st.st_mode));
    FAILS(iflow_write_file(in_root("d/loop"), "x", 1, false), IFLOW_E_IO, "d/loop");

    /* Neither a directory nor what is not there is written to. */
    FAILS(iflow_write_file(in_root("d"), "x", 1, false), IFLOW_E_IO, "Is a directory");
    FAILS(iflow_write_file(in_root("none/x"), "x", 1, false), IFLOW_E_IO, "none/x");
    FAILS(iflow_write_file("", "x", 1, false), IFLOW_E_ARG, "name");

    /* The longest name that there can be. */
    char path[300];
    snprintf(path, sizeof path, "d/%0250d", 7);
    OK(iflow_write_file(in_root(path), "long", 4, false));
    is_content(path, "long");
    assert_int_equal(n_entries("d"), 8);
}

/* A pipe is written to; so is a file that is our standard output, after what was written to that. */
static void test_write_file_in_place(void **state) {
    (void)state;
    char path[8192], text[16] = "";
    snprintf(path, sizeof path, "%s", in_root("pipe"));
    assert_int_equal(mkfifo(path, 0600), 0);
    const int reader = open(path, O_RDONLY | O_NONBLOCK);
    OK(iflow_write_file(path, "text", 4, false));
    assert_int_equal(read(reader, text, sizeof text), 4);
    close(reader);
    const pid_t pid = start_child();
    if (pid == 0) {
        const int out = open(in_root("out"), O_WRONLY | O_CREAT, 0600);
        dup2(out, STDOUT_FILENO);
        const bool done = write(STDOUT_FILENO, "before ", 7) == 7 && !iflow_write_file("/dev/stdout", "page", 4, false) &&
                          !iflow_write_file(in_root("out"), " again", 6, true) && write(STDOUT_FILENO, " after", 6) == 6;
        _exit(done ? 0 : 1);
    }
    assert_int_equal(wait_for(pid), 0);
    is_content("out", "before page again after");
    struct stat st;
    assert_int_equal(lstat(path, &st), 0);
    assert_true(S_ISFIFO(st.st_mode));
}

/* What a process that was killed left is gone at the next write to the same place, and nothing else is. */
static void test_write_file_reaps(void **state) {
    (void)state;
    static const char *const theirs[] = {"d/.page.12.infoflow", "d/.page.12.0.infoflow~", "d/.other.12.0.infoflow",
                                         "d/page.12.0",         "d/.page.x.0.infoflow",   "d/.page.12.00.infoflow"};
    make_dir("d");
    for (size_t i = 0; i < sizeof theirs / sizeof theirs[0]; i++) {
        write_file(theirs[i], "mine");
    }
    write_file("d/.page.12.0.infoflow", "left");
    write_file("d/.page.12.1.infoflow", "in the making");
    assert_int_equal(symlink("page.12.0", in_root("d/.page.12.2.infoflow")), 0);
    const int busy = open(in_root("d/.page.12.1.infoflow"), O_RDONLY);
    assert_int_equal(flock(busy, LOCK_EX), 0);
    OK(iflow_write_file(in_root("d/page"), "text", 4, false));
    assert_int_equal(n_entries("d"), sizeof theirs / sizeof theirs[0] + 3);
    assert_int_not_equal(access(in_root("d/.page.12.0.infoflow"), F_OK), 0);
    close(busy);
    OK(iflow_write_file(in_root("d/page"), "text", 4, false));
    assert_int_equal(n_entries("d"), sizeof theirs / sizeof theirs[0] + 2);
}

/* A file that is replaced by one of stricter permissions is never there with others, under its temporary name either. */
static void test_never_readable_by_others(void **state) {
    (void)state;
    const mode_t before = umask(0);
    write_file("page", "old");
    assert_int_equal(chmod(in_root("page"), 0600), 0);
    n_chowned = n_readable = 0;
    OK(iflow_write_file(in_root("page"), "new", 3, false));
    assert_int_equal(n_chowned, 1);
    assert_int_equal(n_readable, 0);
    assert_int_equal(mode_of("page"), 0600);
    umask(before);
}

/* ---- Where they cannot ----------------------------------------------------------------------------------------------------------------
 */

/* In a directory that nobody may write to, a file is written to where it is, but for what is for its owner alone: that would stand in a
 * file that others may have open. As nobody: root may write to any directory. */
static void test_directory_not_writable(void **state) {
    (void)state;
    make_dir("d");
    write_file("d/page", "old"), write_file("d/own", "old");
    assert_int_equal(chmod(root, 0755) | chmod(in_root("d/page"), 0666), 0);
    assert_int_equal(chmod(in_root("d/own"), 0666), 0);
    assert_int_equal(chmod(in_root("d"), 0555), 0);
    const pid_t pid = start_child();
    if (pid == 0) {
        if (getuid() == 0 && (setgid(65534) != 0 || setuid(65534) != 0)) {
            _exit(1);
        }
        OK(iflow_write_file(in_root("d/page"), "new", 3, false));
        FAILS(iflow_write_file(in_root("d/own"), "new", 3, true), IFLOW_E_IO, "Permission denied");
        FAILS(iflow_write_file(in_root("d/none"), "new", 3, false), IFLOW_E_IO, "Permission denied");
        _exit(0);
    }
    assert_int_equal(wait_for(pid), 0);
    is_content("d/page", "new");
    is_content("d/own", "old");
    assert_int_equal(n_entries("d"), 2);
    assert_int_equal(chmod(in_root("d"), 0755), 0);
}

/* Where the file system has no locks, files are written all the same, and nothing is removed: who was killed cannot be told from who
 * writes. A store does insist on locks, and says so. */
static void test_without_locks(void **state) {
    (void)state;
    static const int errors[] = {ENOLCK, ENOSYS, EOPNOTSUPP};
    char id[IFLOW_ID_SIZE];
    iflow_blob blob = {0};
    make_chunk(1, id, &blob);
    iflow_store *store = open_limited(0);
    make_dir("d");
    write_file("d/.page.12.0.infoflow", "left");
    for (size_t i = 0; i < sizeof errors / sizeof errors[0]; i++) {
        flock_error = errors[i];
        OK(iflow_write_file(in_root("d/page"), "text", 4, i == 0));
        is_content("d/page", "text");
        assert_int_equal(n_entries("d"), 2);
        FAILS(store->ops->put(store, id, &blob, false), IFLOW_E_IO, "working locks");
        FAILS(store->ops->put_record(store, id, "{}", 2), IFLOW_E_IO, "working locks");
        FAILS(store->ops->lease(store, id), IFLOW_E_IO, "working locks");
        FAILS(iflow_store_prune(store, 0, NULL, NULL), IFLOW_E_IO, "working locks");
        assert_int_equal(n_entries("store/tmp"), 1); /* the lease's file */
        flock_error = EIO;                           /* any other failure is one */
        FAILS(iflow_write_file(in_root("d/page"), "other", 5, false), IFLOW_E_IO, "Input/output error");
        flock_error = 0;
    }
    is_content("d/page", "text");
    OK(iflow_write_file(in_root("d/page"), "text", 4, false));
    assert_int_equal(n_entries("d"), 1);
    iflow_blob_free(&blob);
    iflow_store_close(store);
}

int main(void) {
    iflow_set_log(count_warnings, NULL);
    const struct CMUnitTest tests[] = {
        TEST(test_write_file),
        TEST(test_write_file_in_place),
        TEST(test_write_file_reaps),
        TEST(test_never_readable_by_others),
        TEST(test_directory_not_writable),
        TEST(test_without_locks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
