/* test_store_own.c - what is whose: files of others stay as they are, links are not followed, nobody else may read ours; and how files are
 * published. */
#include "store_fixture.h"

#include "base/publish.h"
#include "kv/store_dir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

/* ---- The order of system calls: the library is linked against these -------------------------------------------------------------------
 */

enum { MAX_EVENTS = 64 };

static struct {
    char kind; /* w: write, s: fsync, r: renameat (the file), t: renameat (the target's directory) */
    ino_t inode;
} event[MAX_EVENTS];
static size_t n_events;
static bool recording;

static void note(char kind, const struct stat *st) {
    if (recording && n_events < MAX_EVENTS) {
        event[n_events].kind = kind;
        event[n_events++].inode = st->st_ino;
    }
}

ssize_t write(int fd, const void *bytes, size_t n_bytes) {
    struct stat st;
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode)) {
        note('w', &st);
    }
    return syscall(SYS_write, fd, bytes, n_bytes);
}

int fsync(int fd) {
    struct stat st;
    const int result = (int)syscall(SYS_fsync, fd);
    if (result == 0 && fstat(fd, &st) == 0) {
        note('s', &st);
    }
    return result;
}

int renameat(int from_dir, const char *from, int to_dir, const char *to) {
    struct stat st, dir;
    const bool known = fstatat(from_dir, from, &st, AT_SYMLINK_NOFOLLOW) == 0 && fstatat(to_dir, ".", &dir, 0) == 0;
    const int result = (int)syscall(SYS_renameat2, from_dir, from, to_dir, to, 0);
    if (result == 0 && known) {
        note('r', &st);
        note('t', &dir);
    }
    return result;
}

/* Each file that was renamed had been synced after its last write, and its directory was synced afterwards. Forgets them. */
static void check_order(size_t n_renamed) {
    size_t n = 0;
    for (size_t i = 0; i + 1 < n_events; i++) {
        if (event[i].kind != 'r') {
            continue;
        }
        n++;
        char last = '-';
        for (size_t k = 0; k < i; k++) {
            last = event[k].inode == event[i].inode ? event[k].kind : last;
        }
        if (last != 's') {
            fail_msg("a file was renamed that was not synced (the last call before: %c)", last);
        }
        bool synced = false;
        for (size_t k = i + 2; k < n_events; k++) {
            synced = synced || (event[k].kind == 's' && event[k].inode == event[i + 1].inode);
        }
        if (!synced) {
            fail_msg("the directory of a file that was renamed was not synced");
        }
    }
    assert_int_equal(n, n_renamed);
    n_events = 0;
}

static void test_synced_before_renamed(void **state) {
    (void)state;
    char id[IFLOW_ID_SIZE];
    recording = true;
    n_events = 0;
    iflow_store *store = open_limited(0);
    check_order(1); /* VERSION */
    put_seed(store, 1, id);
    check_order(1);
    OK(store->ops->put_record(store, id, "{}", 2));
    check_order(1);
    OK(iflow_write_file(in_root("page"), "text", 4, false));
    check_order(1);
    OK(iflow_write_file(in_root("page"), "other", 5, true));
    check_order(1);
    recording = false;
    iflow_store_close(store);
}

/* ---- What a tree holds ----------------------------------------------------------------------------------------------------------------
 */

static char seen[1 << 16]; /* every entry with mode, owner, time, size and content */
static size_t n_seen;

static int see(const char *path, const struct stat *st, int type, struct FTW *ftw) {
    (void)type;
    (void)ftw;
    char content[256] = "";
    if (S_ISREG(st->st_mode)) {
        const int fd = open(path, O_RDONLY);
        const ssize_t n = fd < 0 ? -1 : read(fd, content, sizeof content - 1);
        content[n > 0 ? n : 0] = '\0';
        close(fd);
    }
    n_seen += (size_t)snprintf(seen + n_seen, sizeof seen - n_seen, "%s %o %lld.%09ld %lld %s\n", path, st->st_mode,
                               S_ISREG(st->st_mode) ? (long long)st->st_mtim.tv_sec : 0, S_ISREG(st->st_mode) ? st->st_mtim.tv_nsec : 0,
                               S_ISREG(st->st_mode) ? (long long)st->st_size : 0, content);
    return 0;
}

static char *tree(const char *path) {
    char full[8192];
    snprintf(full, sizeof full, "%s", in_root(path));
    n_seen = 0;
    seen[0] = '\0';
    assert_int_equal(nftw(full, see, 16, FTW_PHYS), 0);
    return strdup(seen);
}

static void make_dir(const char *path) {
    assert_int_equal(mkdir(in_root(path), 0755), 0);
}

/* ---- Directories that are no store ----------------------------------------------------------------------------------------------------
 */

static void test_not_among_files_of_others(void **state) {
    (void)state;
    static const char *const strangers[] = {"notes.txt",
                                            ".git",
                                            ".hidden",
                                            "docs",
                                            "chunks",
                                            "pins",
                                            "bad",
                                            "lock",
                                            "shared",
                                            "VERSION.bak",
                                            "tmp/notes.txt",
                                            "tmp/.hidden",
                                            "tmp/version",
                                            "tmp/version.1",
                                            "tmp/version.1.2.3",
                                            "tmp/version.x.1",
                                            "tmp/version.01.1",
                                            "tmp/version.1.0.part",
                                            "tmp/00000000000000000000000000000001.1.0"};
    for (size_t i = 0; i < sizeof strangers / sizeof strangers[0]; i++) {
        char path[256];
        iflow_store *store = NULL;
        snprintf(path, sizeof path, "dir%zu", i);
        make_dir(path);
        if (strncmp(strangers[i], "tmp/", 4) == 0) {
            snprintf(path, sizeof path, "dir%zu/tmp", i);
            make_dir(path);
        }
        snprintf(path, sizeof path, "dir%zu/%s", i, strangers[i]);
        write_file(path, "mine");
        snprintf(path, sizeof path, "dir%zu", i);
        char *before = tree(path);
        FAILS(iflow_store_open(in_root(path), NULL, &store), IFLOW_E_ARG, strangers[i]);
        assert_non_null(strstr(iflow_error_message(), "is no store"));
        char *after = tree(path);
        assert_string_equal(before, after);
        free(before), free(after);
    }
    /* A file called tmp, a link called tmp, a link called lost+found. */
    iflow_store *store = NULL;
    make_dir("file"), write_file("file/tmp", "mine");
    FAILS(iflow_store_open(in_root("file"), NULL, &store), IFLOW_E_ARG, "there is tmp");
    make_dir("link"), make_dir("elsewhere"), write_file("elsewhere/version.1.2", "mine");
    assert_int_equal(symlink("../elsewhere", in_root("link/tmp")), 0);
    FAILS(iflow_store_open(in_root("link"), NULL, &store), IFLOW_E_ARG, "there is tmp");
    make_dir("found"), assert_int_equal(symlink("../elsewhere", in_root("found/lost+found")), 0);
    FAILS(iflow_store_open(in_root("found"), NULL, &store), IFLOW_E_ARG, "there is lost+found");
    assert_int_equal(n_entries("elsewhere"), 1);
}

/* What creating a store leaves when it is killed is gone on with; a new file system is as good as an empty directory. */
static void test_creation_goes_on(void **state) {
    (void)state;
    make_dir("store"), make_dir("store/lost+found"), make_dir("store/tmp");
    write_file("store/tmp/version.12345.0", "infoflow-st");
    close_checked(open_limited(0));
    assert_int_equal(n_entries("store/tmp"), 0);
    assert_int_equal(access(in_root("store/lost+found"), F_OK), 0);
}

/* Whatever is in tmp/ under a name that is not ours stays, through everything that cleans up. */
static void test_tmp_of_a_store(void **state) {
    (void)state;
    static const char *const theirs[] = {"notes.txt",
                                         "a.1.2",
                                         "00000000000000000000000000000001",
                                         "00000000000000000000000000000001.12",
                                         "00000000000000000000000000000001.12.0.txt",
                                         "00000000000000000000000000000001.012.0",
                                         "0000000000000000000000000000000G.12.0",
                                         "00000000000000000000000000000001.lease.txt",
                                         "00000000000000000000000000000001xlease",
                                         ".version.1.2",
                                         "version.1.2 "};
    static const char *const ours[] = {"00000000000000000000000000000001.12.0", "version.4194304.7",
                                       "00000000000000000000000000000001.lease"};
    enum { N_THEIRS = sizeof theirs / sizeof theirs[0] };
    iflow_store_close(open_limited(0));
    char path[256];
    for (size_t i = 0; i < N_THEIRS; i++) {
        snprintf(path, sizeof path, "store/tmp/%s", theirs[i]);
        write_file(path, "mine");
    }
    make_dir("store/tmp/00000000000000000000000000000002.12.0"); /* by our name, and no file */
    assert_int_equal(symlink("notes.txt", in_root("store/tmp/00000000000000000000000000000003.12.0")), 0);
    assert_int_equal(mkfifo(in_root("store/tmp/00000000000000000000000000000004.12.0"), 0600), 0);
    for (size_t i = 0; i < sizeof ours / sizeof ours[0]; i++) {
        snprintf(path, sizeof path, "store/tmp/%s", ours[i]);
        write_file(path, "left");
    }
    iflow_store *store = open_limited(0);
    assert_int_equal(n_entries("store/tmp"), N_THEIRS + 3);
    write_file("store/tmp/00000000000000000000000000000001.12.0", "left");
    OK(iflow_store_prune(store, 0, NULL, NULL));
    assert_int_equal(n_entries("store/tmp"), N_THEIRS + 3);
    close_checked(store);
    assert_int_equal(n_entries("store/tmp"), N_THEIRS + 3);
}

/* ---- Links ----------------------------------------------------------------------------------------------------------------------------
 */

/* A store that has a link where it has something of its own is not used, and where the link leads nothing changes. */
static void test_linked_parts(void **state) {
    (void)state;
    static const char *const parts[] = {"tmp", "chunks", "docs", "pins", "bad", "VERSION", "lock", "shared"};
    char id[IFLOW_ID_SIZE];
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        char link[64], target[64];
        iflow_store *store = NULL;
        OK(iflow_store_open(in_root("store"), &IFLOW_PARAMS(iflow_store_params, .shared = true), &store));
        put_seed(store, 1, id);
        OK(iflow_store_pin(store, IFLOW_CHUNK, id, true));
        iflow_store_close(store);
        snprintf(link, sizeof link, "store/%s", parts[i]);
        snprintf(target, sizeof target, "outside%zu", i);
        char from[8192];
        snprintf(from, sizeof from, "%s", in_root(link));
        assert_int_equal(rename(from, in_root(target)), 0);
        snprintf(target, sizeof target, "../outside%zu", i);
        assert_int_equal(symlink(target, in_root(link)), 0);
        if (i < 5) {
            snprintf(target, sizeof target, "outside%zu/00000000000000000000000000000001.12.0", i);
            write_file(target, "mine");
        }
        snprintf(target, sizeof target, "outside%zu", i);
        char *before = tree(target);
        FAILS(iflow_store_open(in_root("store"), NULL, &store), IFLOW_E_FORMAT, parts[i]);
        char *after = tree(target);
        assert_string_equal(before, after);
        free(before), free(after);
        char full[8192];
        snprintf(full, sizeof full, "%s", in_root("store"));
        assert_int_equal(nftw(full, remove_one, 16, FTW_DEPTH | FTW_PHYS), 0);
    }
    /* The store as a whole may be one. */
    assert_int_equal(symlink("real", in_root("store")), 0);
    make_dir("real");
    iflow_store *store = open_limited(0);
    put_seed(store, 1, id);
    close_checked(store);
    assert_int_equal(n_entries("real/chunks"), 1);
}

/* Parts that become links while the store is open: every operation fails, or does nothing, and outside nothing changes. */
static void test_links_under_an_open_store(void **state) {
    (void)state;
    static const char *const parts[] = {"tmp", "chunks", "docs", "pins", "bad", "chunks/%.2s"};
    char id[IFLOW_ID_SIZE], other[IFLOW_ID_SIZE], name[] = "a.txt";
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        char part[64], link[128], target[64], from[8192];
        iflow_chunk *chunk = NULL;
        iflow_document **list = NULL;
        iflow_chunk_info *infos = NULL;
        size_t n = 0;
        iflow_store *store = open_limited(0);
        put_seed(store, 1, id);
        OK(iflow_store_pin(store, IFLOW_CHUNK, id, true));
        iflow_document doc = {.name = name, .chunk_id = &id, .n_chunks = 1, .n_tokens = 1};
        memcpy(doc.fingerprint, "0123456789abcdef0123456789abcdef", IFLOW_ID_SIZE);
        OK(iflow_store_put_document(store, &doc));
        iflow_blob blob = {0};
        make_chunk(11, other, &blob);

        snprintf(part, sizeof part, parts[i], id);
        snprintf(link, sizeof link, "store/%s", part);
        snprintf(target, sizeof target, "outside%zu", i);
        snprintf(from, sizeof from, "%s", in_root(link));
        assert_int_equal(rename(from, in_root(target)), 0);
        assert_int_equal(symlink(in_root(target), from), 0);
        char *before = tree(target);
        iflow_store_get_chunk(store, id, &chunk);
        iflow_chunk_free(chunk);
        store->ops->put(store, id, &blob, true);
        store->ops->put(store, other, &blob, false);
        store->ops->lease(store, id);
        store->ops->release(store, id);
        iflow_store_pin(store, IFLOW_CHUNK, id, false);
        iflow_store_pin(store, IFLOW_CHUNK, id, true);
        iflow_store_verify(store, IFLOW_CHUNK, id);
        store->ops->set_aside(store, id, NULL);
        store->ops->prefetch(store, id);
        iflow_store_put_document(store, &doc);
        iflow_store_verify(store, IFLOW_DOCUMENT, doc.id);
        iflow_store_delete(store, IFLOW_DOCUMENT, doc.id);
        if (!iflow_store_list(store, &infos, &n)) {
            iflow_free(infos);
        }
        if (!iflow_store_list_documents(store, &list, &n)) {
            iflow_documents_free(list, n);
        }
        iflow_store_delete(store, IFLOW_CHUNK, id);
        iflow_store_prune(store, 0, NULL, NULL);
        iflow_store_dir_check(store);
        iflow_store_close(store);
        char *after = tree(target);
        assert_string_equal(before, after);
        free(before), free(after);
        iflow_blob_free(&blob);
        snprintf(from, sizeof from, "%s", in_root("store"));
        assert_int_equal(nftw(from, remove_one, 16, FTW_DEPTH | FTW_PHYS), 0);
    }
}

/* A chunk, a record, a lease, a pin and a lock that are links: what they lead to is neither read, written nor marked as used. */
static void test_linked_files(void **state) {
    (void)state;
    char id[IFLOW_ID_SIZE], other[IFLOW_ID_SIZE], path[256];
    iflow_chunk *chunk = NULL;
    iflow_store *store = open_limited(0);
    put_seed(store, 1, id);
    put_seed(store, 2, other);
    char from[8192];
    make_dir("outside");
    snprintf(from, sizeof from, "%s", in_root(chunk_file(id)));
    assert_int_equal(rename(from, in_root("outside/chunk")), 0);
    assert_int_equal(symlink(in_root("outside/chunk"), from), 0);
    write_file("outside/lease", "mine"), write_file("outside/hard", "mine"), write_file("outside/pin", "mine");
    assert_int_equal(symlink("../../outside/lease", in_root("store/tmp/00000000000000000000000000000001.lease")), 0);
    char hard[8192];
    snprintf(hard, sizeof hard, "%s", in_root("outside/hard"));
    assert_int_equal(link(hard, in_root("store/tmp/00000000000000000000000000000002.lease")), 0);
    snprintf(path, sizeof path, "store/pins/%s", other);
    assert_int_equal(symlink("../../outside/pin", in_root(path)), 0);
    char *before = tree("outside");
    FAILS(iflow_store_get_chunk(store, id, &chunk), IFLOW_E_CORRUPT, "no regular file"); /* the link is set aside */
    assert_int_equal(store->ops->lease(store, "00000000000000000000000000000001"), IFLOW_E_IO);
    OK(store->ops->lease(store, "00000000000000000000000000000002"));
    OK(iflow_store_pin(store, IFLOW_CHUNK, other, true));
    OK(iflow_store_pin(store, IFLOW_CHUNK, other, false));
    char *after = tree("outside");
    assert_string_equal(before, after);
    free(before), free(after);
    iflow_store_close(store);
}

/* ---- Permissions ----------------------------------------------------------------------------------------------------------------------
 */

static mode_t wanted[2]; /* of directories, and of files */
static size_t n_each[2], n_wrong;

static int compare_mode(const char *path, const struct stat *st, int type, struct FTW *ftw) {
    (void)type;
    (void)ftw;
    const bool file = S_ISREG(st->st_mode);
    n_each[file]++;
    if ((st->st_mode & 0777) != wanted[file]) {
        print_message("%s: %o instead of %o\n", path, st->st_mode & 0777, wanted[file]);
        n_wrong++;
    }
    return 0;
}

static void check_modes(const char *path, mode_t dirs, mode_t files) {
    wanted[0] = dirs;
    wanted[1] = files;
    n_each[0] = n_each[1] = n_wrong = 0;
    assert_int_equal(nftw(in_root(path), compare_mode, 16, FTW_PHYS), 0);
    assert_int_equal(n_wrong, 0);
    assert_true(n_each[0] >= 6 && n_each[1] >= 4);
}

static void fill(iflow_store *store) {
    char id[IFLOW_ID_SIZE];
    put_seed(store, 1, id);
    OK(iflow_store_pin(store, IFLOW_CHUNK, id, true));
    OK(store->ops->put_record(store, id, "{}", 2));
    OK(store->ops->lease(store, "00000000000000000000000000000001"));
}

static void test_who_may_read(void **state) {
    (void)state;
    static const mode_t masks[] = {0, 022, 077, 0777};
    for (size_t i = 0; i < 4; i++) {
        char path[64];
        iflow_store *store = NULL;
        snprintf(path, sizeof path, "a%zu/b/store", i);
        const mode_t before = umask(masks[i]);
        OK(iflow_store_open(in_root(path), NULL, &store));
        fill(store);
        snprintf(path, sizeof path, "a%zu", i);
        check_modes(path, 0700, 0600);
        iflow_store_close(store);
        if (masks[i] != 0777) { /* everybody's, and that stays so for whoever opens it without saying so */
            snprintf(path, sizeof path, "shared%zu", i);
            OK(iflow_store_open(in_root(path), &IFLOW_PARAMS(iflow_store_params, .shared = true), &store));
            iflow_store_close(store);
            OK(iflow_store_open(in_root(path), NULL, &store));
            fill(store);
            check_modes(path, 0777 & ~masks[i], 0666 & ~masks[i]);
            iflow_store_close(store);
        }
        umask(before);
    }
}

/* A private store that becomes shared is opened to others as a whole, as far as the umask goes; what is not the store's own stays. */
static void test_private_becomes_shared(void **state) {
    (void)state;
    char id[IFLOW_ID_SIZE], twin[IFLOW_ID_SIZE], from[8192];
    struct stat st;
    const mode_t before = umask(022);
    iflow_store *store = open_limited(0), *second = NULL;
    fill(store);
    put_seed(store, 2, id);
    flip_byte(chunk_file(id), -1);
    FAILS(iflow_store_verify(store, IFLOW_CHUNK, id), IFLOW_E_CORRUPT, "set aside");
    check_modes("store", 0700, 0600);
    umask(077);
    OK(iflow_store_open(in_root("store"), &IFLOW_PARAMS(iflow_store_params, .shared = true), &second));
    iflow_store_close(second);
    check_modes("store", 0700, 0600); /* which leaves nothing */
    umask(027);
    OK(iflow_store_open(in_root("store"), &IFLOW_PARAMS(iflow_store_params, .shared = true, .must_exist = true), &second));
    iflow_store_close(second);
    check_modes("store", 0750, 0640);
    n_warnings = 0;
    umask(022);
    OK(iflow_store_open(in_root("store"), &IFLOW_PARAMS(iflow_store_params, .shared = true), &second));
    iflow_store_close(second);
    assert_int_equal(n_warnings, 1); /* a directory that is not as the store makes it stays */
    assert_non_null(strstr(last_warning, "/store has mode 0750; `chmod o+x` lets them in"));
    assert_int_equal(chmod(in_root("store"), 0755), 0);
    check_modes("store", 0755, 0644);
    n_warnings = 0;
    iflow_store_close(store);

    /* A second name, a link, and files under names that are not the store's. */
    const char *const theirs[] = {"store/notes", "store/docs/notes.json", "store/tmp/notes", "store/bad/notes", "store/chunks/notes.gguf"};
    make_dir("outside"), write_file("outside/file", "mine");
    assert_int_equal(chmod(in_root("outside/file"), 0600) | chmod(in_root("outside"), 0700), 0);
    for (size_t i = 0; i < sizeof theirs / sizeof theirs[0]; i++) {
        write_file(theirs[i], "mine"), assert_int_equal(chmod(in_root(theirs[i]), 0600), 0);
    }
    store = open_limited(0);
    put_seed(store, 3, twin);
    assert_int_equal(chmod(in_root(chunk_file(twin)), 0600), 0);
    snprintf(from, sizeof from, "%s", in_root(chunk_file(twin)));
    assert_int_equal(link(from, in_root("outside/twin")), 0);
    assert_int_equal(symlink("../outside/file", in_root("store/pins/00000000000000000000000000000003")), 0);
    OK(iflow_store_open(in_root("store"), &IFLOW_PARAMS(iflow_store_params, .shared = true), &second));
    iflow_store_close(second);
    assert_int_equal(n_warnings, 1);
    assert_non_null(strstr(last_warning, "others still may not read 1 of its files"));
    assert_true(stat(in_root("outside/twin"), &st) == 0 && (st.st_mode & 0777) == 0600);
    assert_true(stat(in_root("outside/file"), &st) == 0 && (st.st_mode & 0777) == 0600);
    for (size_t i = 0; i < sizeof theirs / sizeof theirs[0]; i++) {
        assert_true(stat(in_root(theirs[i]), &st) == 0 && (st.st_mode & 0777) == 0600);
    }
    iflow_store_close(store);

    /* A directory that others may not enter, above it or its own and given, is named. */
    make_dir("closed"), assert_int_equal(chmod(in_root("closed"), 0700), 0);
    OK(iflow_store_open(in_root("closed"), &IFLOW_PARAMS(iflow_store_params, .shared = true), &store));
    iflow_store_close(store);
    assert_non_null(strstr(last_warning, "/closed has mode 0700; `chmod go+x` lets them in"));
    umask(before);
}

/* ---- Limits ---------------------------------------------------------------------------------------------------------------------------
 */

static volatile sig_atomic_t n_signals;

static void count_signal(int number) {
    (void)number;
    n_signals++;
}

/* A limit on the size of files is a failure like a full disk: no signal kills, and what the process does on it stays its own. */
static void test_file_size_limit(void **state) {
    (void)state;
    iflow_store *store = open_limited(0);
    char id[IFLOW_ID_SIZE], large[4000] = "";
    iflow_blob blob = {0};
    fixture f = fixture_new(1, 64, 1, 2, 32, IFLOW_KV_F16);
    iflow_chunk_id(&f.identity, id);
    OK(fixture_encode(&f, &blob));
    for (int handled = 0; handled < 2; handled++) {
        const pid_t pid = start_child();
        if (pid == 0) {
            struct sigaction action = {.sa_handler = handled ? count_signal : SIG_DFL}, now;
            sigset_t mask, pending;
            sigaction(SIGXFSZ, &action, NULL);
            int failed = setrlimit(RLIMIT_FSIZE, &(struct rlimit){3000, 3000}) != 0;
            failed |= store->ops->put(store, id, &blob, false) != IFLOW_E_FULL ? 2 : 0;
            failed |= store->ops->put_record(store, id, large, sizeof large) != IFLOW_E_FULL ? 4 : 0;
            failed |= iflow_write_file(in_root("page"), large, sizeof large, false) != IFLOW_E_FULL ? 8 : 0;
            sigprocmask(SIG_BLOCK, NULL, &mask), sigpending(&pending), sigaction(SIGXFSZ, NULL, &now);
            failed |= sigismember(&mask, SIGXFSZ) || sigismember(&pending, SIGXFSZ) || now.sa_handler != action.sa_handler ? 16 : 0;
            failed |= n_signals ? 32 : 0;
            raise(handled ? SIGXFSZ : 0); /* it still works */
            failed |= n_signals != handled ? 64 : 0;
            _exit(failed);
        }
        assert_int_equal(wait_for(pid), 0);
    }
    assert_int_equal(n_entries("store/tmp"), 0);
    assert_int_equal(n_entries("."), 1); /* the store: no page, and no part of one */
    iflow_blob_free(&blob);
    fixture_free(&f);
    close_checked(store);
}

int main(void) {
    iflow_set_log(count_warnings, NULL);
    const struct CMUnitTest tests[] = {
        TEST(test_synced_before_renamed),  TEST(test_not_among_files_of_others), TEST(test_creation_goes_on), TEST(test_tmp_of_a_store),
        TEST(test_linked_parts),           TEST(test_links_under_an_open_store), TEST(test_linked_files),     TEST(test_who_may_read),
        TEST(test_private_becomes_shared), TEST(test_file_size_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
