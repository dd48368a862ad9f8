/* test_store_verify.c - the verification of all that is in a store: what is bad and set aside, what is left, and what changes meanwhile. */
#include "store_fixture.h"

#include "kv/store_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/syscall.h>

static void (*before_flock)(void); /* called once: what another process does between a judgement and the lock */

/* The library is linked against this. */
int flock(int fd, int operation) {
    if (before_flock) {
        void (*call)(void) = before_flock;
        before_flock = NULL;
        call();
    }
    return (int)syscall(SYS_flock, fd, operation);
}

/* ---- Everything at once ---------------------------------------------------------------------------------------------------------------
 */

typedef struct finding {
    char id[IFLOW_ID_SIZE];
    bool is_document;
    iflow_status status;
    char message[512];
} finding;

static finding found[64];
static size_t n_found;

static bool note_finding(const char *id, iflow_kind kind, iflow_status status, const char *message, void *user) {
    assert_true(n_found < 64 && (status == IFLOW_OK) == !message && user == found);
    finding *f = &found[n_found++];
    *f = (finding){.is_document = (kind == IFLOW_DOCUMENT), .status = status};
    snprintf(f->id, sizeof f->id, "%s", id);
    snprintf(f->message, sizeof f->message, "%s", message ? message : "");
    return true;
}

/* What verification said of an id; the one that is not IFLOW_OK where there are several. */
static const finding *finding_of(const char *id) {
    const finding *f = NULL;
    for (size_t i = 0; i < n_found; i++) {
        f = strcmp(found[i].id, id) == 0 && (!f || found[i].status) ? &found[i] : f;
    }
    assert_non_null(f);
    return f;
}

static void expect(const char *id, iflow_status status, const char *message) {
    const finding *f = finding_of(id);
    if (f->status != status || !strstr(f->message, message)) {
        fail_msg("%s: %d, \"%s\" instead of %d, \"%s\"", id, (int)f->status, f->message, (int)status, message);
    }
}

static void move(const char *from, const char *to) {
    char path[8192];
    snprintf(path, sizeof path, "%s", in_root(from));
    assert_int_equal(rename(path, in_root(to)), 0);
}

/* A chunk file of a later format version, checksums right. */
static void make_later(const char *path) {
    static unsigned char bytes[1 << 16];
    FILE *file = fopen(in_root(path), "r+b");
    assert_non_null(file);
    const size_t n = fread(bytes, 1, sizeof bytes, file);
    uint64_t n_header;
    char hex[IFLOW_ID_SIZE];
    bytes[52] = 3;
    memcpy(&n_header, bytes + 89, sizeof n_header);
    memset(bytes + 141, '0', 32);
    iflow_hash_hex(bytes, n_header, hex);
    memcpy(bytes + 141, hex, 32);
    rewind(file);
    assert_int_equal(fwrite(bytes, 1, n, file), n);
    fclose(file);
}

enum { GOOD, HEADER, DATA, CUT, EMPTY, RENAMED, DIRECTORY, LINK, PIPE, STRAY, LATER, TOP, N };

static char zeros[] = "00000000000000000000000000000000";

/* Chunks that are damaged, each in its own way. */
static void plant_chunks(iflow_store *store, char (*id)[IFLOW_ID_SIZE]) {
    char path[512], dir[256], from[256];
    flip_byte(chunk_file(id[HEADER]), 200);
    flip_byte(chunk_file(id[DATA]), -1);
    assert_int_equal(truncate(in_root(chunk_file(id[CUT])), 100), 0);
    assert_int_equal(truncate(in_root(chunk_file(id[EMPTY])), 0), 0);
    snprintf(dir, sizeof dir, "store/chunks/00");
    mkdir(in_root(dir), 0700);
    move(chunk_file(id[RENAMED]), "store/chunks/00/00000000000000000000000000000000.gguf");
    assert_int_equal(unlink(in_root(chunk_file(id[DIRECTORY]))), 0);
    assert_int_equal(mkdir(in_root(chunk_file(id[DIRECTORY])), 0700), 0);
    snprintf(path, sizeof path, "%s/file", chunk_file(id[DIRECTORY]));
    write_file(path, "of others");
    move(chunk_file(id[LINK]), "elsewhere");
    assert_int_equal(symlink("../../../elsewhere", in_root(chunk_file(id[LINK]))), 0);
    assert_int_equal(unlink(in_root(chunk_file(id[PIPE]))), 0);
    assert_int_equal(mkfifo(in_root(chunk_file(id[PIPE])), 0600), 0);
    snprintf(dir, sizeof dir, "store/chunks/%s", strncmp(id[STRAY], "ff", 2) == 0 ? "fe" : "ff");
    mkdir(in_root(dir), 0700);
    snprintf(path, sizeof path, "%s/%s.gguf", dir, id[STRAY]);
    snprintf(from, sizeof from, "%s", chunk_file(id[STRAY]));
    move(from, path);
    put_seed(store, STRAY, id[STRAY]); /* there is a sound one, too */
    snprintf(path, sizeof path, "store/chunks/%s.gguf", id[TOP]);
    snprintf(from, sizeof from, "%s", chunk_file(id[TOP]));
    move(from, path);
    make_later(chunk_file(id[LATER]));
    write_file("store/chunks/notes.gguf", "of others");
}

/* The same of records. */
static void plant_records(const char *torn, const char *unnamed, const char *later) {
    char path[512], from[256];
    snprintf(path, sizeof path, "store/docs/%s.json", torn);
    assert_int_equal(truncate(in_root(path), 40), 0);
    snprintf(path, sizeof path, "store/docs/%s.json", unnamed);
    snprintf(from, sizeof from, "store/docs/%s.json", "11111111111111111111111111111111");
    move(path, from);
    snprintf(path, sizeof path, "store/docs/%s.json", later);
    write_file(path, "{\"version\": 3}");
    snprintf(path, sizeof path, "store/docs/%s.json", "22222222222222222222222222222222");
    assert_int_equal(mkdir(in_root(path), 0700), 0);
    write_file("store/docs/notes.json", "of others");
}

/* All of them are listed, each for what it is. */
static void check_listed(iflow_store *store) {
    iflow_chunk_info *list = NULL;
    size_t n = 0, n_damaged = 0, n_later = 0;
    OK(iflow_store_list(store, &list, &n));
    assert_int_equal(n, N + 1);
    for (size_t i = 0; i < n; i++) {
        n_damaged += list[i].damaged;
        n_later += list[i].unsupported;
        assert_int_equal(list[i].n_tokens == 0, list[i].damaged || list[i].unsupported);
        assert_non_null(list[i].type);
    }
    assert_int_equal(n_damaged, 9); /* the header tells nothing of the data */
    assert_int_equal(n_later, 1);
    iflow_free(list);
}

static void test_verify_all(void **state) {
    (void)state;
    iflow_store *store = open_limited(0);
    char id[N][IFLOW_ID_SIZE], good[IFLOW_ID_SIZE], torn[IFLOW_ID_SIZE], unnamed[IFLOW_ID_SIZE], later[IFLOW_ID_SIZE], path[512];
    for (unsigned i = 0; i < N; i++) {
        put_seed(store, i, id[i]);
    }
    put_document(store, "good", id, 2, good);
    put_document(store, "torn", id, 3, torn);
    put_document(store, "unnamed", id, 4, unnamed);
    put_document(store, "later", id, 5, later);
    plant_chunks(store, id);
    plant_records(torn, unnamed, later);
    check_listed(store);

    n_found = 0;
    OK(iflow_store_verify_all(store, note_finding, found));
    expect(id[GOOD], IFLOW_OK, "");
    expect(id[HEADER], IFLOW_E_CORRUPT, "header's checksum is wrong; it was set aside");
    expect(id[DATA], IFLOW_E_CORRUPT, "data's checksum is wrong; it was set aside");
    expect(id[CUT], IFLOW_E_CORRUPT, "100 bytes");
    expect(id[EMPTY], IFLOW_E_CORRUPT, "0 bytes");
    expect(zeros, IFLOW_E_CORRUPT, id[RENAMED]);
    expect(id[DIRECTORY], IFLOW_E_CORRUPT, "no regular file; it was set aside");
    expect(id[LINK], IFLOW_E_CORRUPT, "no regular file; it was set aside");
    expect(id[PIPE], IFLOW_E_CORRUPT, "no regular file; it was set aside");
    expect(id[STRAY], IFLOW_E_FORMAT, "wrong directory was set aside");
    expect(id[TOP], IFLOW_E_FORMAT, "wrong directory was set aside");
    expect(id[LATER], IFLOW_E_UNSUPPORTED, "chunk format version 3");
    expect(good, IFLOW_OK, "");
    expect(torn, IFLOW_E_CORRUPT, "no JSON");
    expect("11111111111111111111111111111111", IFLOW_E_CORRUPT, unnamed);
    expect(later, IFLOW_E_UNSUPPORTED, "version 3");
    expect("22222222222222222222222222222222", IFLOW_E_CORRUPT, "no regular file");
    assert_int_equal(n_found, N + 6); /* the one that has a stray, twice */
    assert_true(finding_of(torn)->is_document && !finding_of(id[CUT])->is_document);

    /* Afterwards all that is there is good, or left as it is; what was set aside is in bad/, that of others included. */
    n_found = 0;
    OK(iflow_store_verify_all(store, note_finding, found));
    for (size_t i = 0; i < n_found; i++) {
        assert_true(found[i].status == IFLOW_OK || found[i].status == IFLOW_E_UNSUPPORTED);
    }
    assert_int_equal(n_found, 5);
    assert_int_equal(n_entries("store/bad"), 10 + 3);
    snprintf(path, sizeof path, "store/bad/%s.gguf/file", id[DIRECTORY]);
    assert_int_equal(access(in_root(path), F_OK), 0);
    assert_int_equal(access(in_root("store/docs/notes.json"), F_OK), 0);
    assert_int_equal(access(in_root("store/chunks/notes.gguf"), F_OK), 0);

    /* A file and a directory of one name do not get into each other's way in bad/. */
    put_seed(store, DIRECTORY, id[DIRECTORY]);
    flip_byte(chunk_file(id[DIRECTORY]), -1);
    FAILS(iflow_store_verify(store, IFLOW_CHUNK, id[DIRECTORY]), IFLOW_E_CORRUPT, "set aside");
    assert_false(store->ops->has(store, id[DIRECTORY]));
    iflow_store_close(store);
}

/* ---- Files in wrong directories -------------------------------------------------------------------------------------------------------
 */

/* Copies a chunk's file to where no reader looks. */
static void stray(const char *id, const char *dir) {
    char command[32768], to[8300];
    snprintf(to, sizeof to, "%s", in_root(dir));
    snprintf(command, sizeof command, "mkdir -p '%s' && cp '%s' '%s'", to, in_root(chunk_file(id)), to);
    assert_int_equal(system(command), 0);
}

/* All of them are moved and reported for what they are, whether the chunk itself is sound, bad or not there: each is told. */
static void test_strays(void **state) {
    (void)state;
    enum { SOUND, BAD, MISSING, MANY };
    iflow_store *store = open_limited(0);
    char id[MANY][IFLOW_ID_SIZE];
    for (int all = 0; all < 2; all++) {
        for (unsigned i = 0; i < MANY; i++) {
            put_seed(store, i, id[i]);
            stray(id[i], "store/chunks");
            stray(id[i], strncmp(id[i], "00", 2) == 0 ? "store/chunks/01" : "store/chunks/00");
            stray(id[i], strncmp(id[i], "ff", 2) == 0 ? "store/chunks/fe" : "store/chunks/ff");
        }
        flip_byte(chunk_file(id[BAD]), -1);
        assert_int_equal(unlink(in_root(chunk_file(id[MISSING]))), 0);
        if (all) {
            n_found = 0;
            OK(iflow_store_verify_all(store, note_finding, found));
            assert_int_equal(n_found, 2 + 2 + 1);
            size_t n_sound = 0, n_bad = 0, n_strays = 0;
            for (size_t i = 0; i < n_found; i++) {
                n_sound += found[i].status == IFLOW_OK && strcmp(found[i].id, id[SOUND]) == 0;
                n_bad += found[i].status == IFLOW_E_CORRUPT && strcmp(found[i].id, id[BAD]) == 0;
                n_strays += found[i].status == IFLOW_E_FORMAT && strstr(found[i].message, "wrong directory") != NULL;
            }
            assert_true(n_sound == 1 && n_bad == 1 && n_strays == 3);
        } else {
            FAILS(iflow_store_verify(store, IFLOW_CHUNK, id[SOUND]), IFLOW_E_FORMAT, "wrong directory");
            FAILS(iflow_store_verify(store, IFLOW_CHUNK, id[BAD]), IFLOW_E_CORRUPT, "data's checksum is wrong; it was set aside; ");
            assert_non_null(strstr(iflow_error_message(), "wrong directory was set aside: chunks/"));
            FAILS(iflow_store_verify(store, IFLOW_CHUNK, id[MISSING]), IFLOW_E_FORMAT, "wrong directory");
            FAILS(iflow_store_verify(store, IFLOW_CHUNK, id[MISSING]), IFLOW_E_NOT_FOUND, id[MISSING]);
        }
        OK(iflow_store_verify(store, IFLOW_CHUNK, id[SOUND]));
        for (size_t i = 0; i < MANY; i++) {
            OK(iflow_store_dir_check(store)); /* nothing else is there */
            assert_int_equal(store->ops->has(store, id[i]), i == SOUND);
        }
    }
    iflow_store_close(store);
}

/* Where the store's lock is not to be had, nothing is moved, and that is told as what it is. */
static void test_locked(void **state) {
    (void)state;
    iflow_store *store = open_limited(0);
    char id[IFLOW_ID_SIZE], document[IFLOW_ID_SIZE], path[256];
    put_seed(store, 1, id);
    put_document(store, "a", &id, 1, document);
    stray(id, "store/chunks");
    snprintf(path, sizeof path, "store/docs/%s.json", document);
    write_file(path, "{");
    ((iflow_dir_store *)store)->lock_end_ms = 20;
    const int lock = open(in_root("store/lock"), O_RDWR | O_CREAT, 0600);
    assert_int_equal(flock(lock, LOCK_EX), 0);
    FAILS(iflow_store_verify(store, IFLOW_CHUNK, id), IFLOW_E_BUSY, "store/lock");
    FAILS(iflow_store_verify(store, IFLOW_DOCUMENT, document), IFLOW_E_CORRUPT, "has been locked by another process");
    assert_int_equal(n_entries("store/bad"), 0);
    close(lock);
    FAILS(iflow_store_verify(store, IFLOW_CHUNK, id), IFLOW_E_FORMAT, "wrong directory");
    FAILS(iflow_store_verify(store, IFLOW_DOCUMENT, document), IFLOW_E_CORRUPT, "it was set aside");
    assert_int_equal(n_entries("store/bad"), 2);
    close_checked(store);
}

/* ---- What is left where it is ---------------------------------------------------------------------------------------------------------
 */

/* As nobody: root may read anything. */
static void become_nobody(void) {
    if (getuid() == 0 && (setgid(65534) != 0 || setuid(65534) != 0)) {
        _exit(1);
    }
}

/* A chunk and a record that may not be read, which says nothing against them: told, and left. So is a store's VERSION. */
static void test_unreadable(void **state) {
    (void)state;
    assert_int_equal(chmod(root, 0777), 0);
    const pid_t pid = start_child();
    if (pid == 0) {
        char id[IFLOW_ID_SIZE], document[IFLOW_ID_SIZE], path[256];
        iflow_chunk *chunk = NULL;
        iflow_chunk_info *list = NULL;
        size_t n = 0;
        become_nobody();
        iflow_store *store = open_limited(0), *second = NULL;
        struct stat before, after;
        iflow_blob blob = {0};
        iflow_document record = {.name = (char[]){"a"}, .chunk_id = &id, .n_chunks = 1, .fingerprint = "0123456789abcdef0123456789abcdef"};
        make_chunk(1, id, &blob);
        put_seed(store, 1, id);
        put_document(store, "a", &id, 1, document);
        snprintf(path, sizeof path, "store/docs/%s.json", document);
        assert_int_equal(chmod(in_root(chunk_file(id)), 0) | chmod(in_root(path), 0), 0);
        n_found = 0;
        OK(iflow_store_verify_all(store, note_finding, found));
        expect(id, IFLOW_E_IO, "Permission denied");
        expect(document, IFLOW_E_IO, "Permission denied");
        assert_int_equal(n_found, 2);
        FAILS(iflow_store_get_chunk(store, id, &chunk), IFLOW_E_IO, "Permission denied");
        OK(iflow_store_list(store, &list, &n));
        assert_int_equal(n, 1);
        assert_true(list[0].unreadable && !list[0].damaged && !list[0].unsupported && list[0].n_bytes > 0);
        iflow_free(list);
        /* Nor is either replaced. */
        assert_int_equal(stat(in_root(chunk_file(id)), &before), 0);
        FAILS(store->ops->put(store, id, &blob, true), IFLOW_E_IO, "Permission denied");
        OK(store->ops->put(store, id, &blob, false));
        assert_int_equal(stat(in_root(chunk_file(id)), &after), 0);
        assert_int_equal(before.st_ino, after.st_ino);
        FAILS(iflow_store_put_document(store, &record), IFLOW_E_IO, "Permission denied");
        iflow_blob_free(&blob);
        assert_int_equal(n_entries("store/tmp") + n_entries("store/bad"), 0);
        assert_int_equal(chmod(in_root(chunk_file(id)), 0600) | chmod(in_root(path), 0600), 0);
        n_found = 0;
        OK(iflow_store_verify_all(store, note_finding, found));
        expect(id, IFLOW_OK, ""), expect(document, IFLOW_OK, "");
        assert_int_equal(chmod(in_root("store/VERSION"), 0), 0);
        FAILS(iflow_store_open(in_root("store"), NULL, &second), IFLOW_E_IO, "store/VERSION: Permission denied");
        iflow_store_close(store);
        _exit(0);
    }
    assert_int_equal(wait_for(pid), 0);
}

/* What stands where a directory of chunks, a pin or a lease belongs and is none goes to bad/, links unfollowed, and nothing there is
 * replaced; the store then takes the chunk again. */
static void test_misfits(void **state) {
    (void)state;
    iflow_store *store = open_limited(0);
    char id[IFLOW_ID_SIZE], other[IFLOW_ID_SIZE], path[256], name[64], digits[3];
    put_seed(store, 1, id);
    put_seed(store, 2, other);
    assert_true(strncmp(id, other, 2) != 0);
    snprintf(digits, sizeof digits, "%.2s", id);
    assert_int_equal(mkdir(in_root("outside"), 0700), 0);
    for (int link = 0; link < 2; link++) {
        snprintf(path, sizeof path, "store/chunks/%s", digits);
        if (link) {
            assert_int_equal(unlink(in_root(chunk_file(id))) | rmdir(in_root(path)), 0);
            assert_int_equal(symlink("../../outside", in_root(path)), 0);
        } else {
            move(path, "outside/chunks");
            write_file(path, "of others");
        }
        snprintf(path, sizeof path, "store/pins/%s", other);
        assert_int_equal(mkdir(in_root(path), 0700), 0);
        snprintf(path, sizeof path, "store/tmp/%s.lease", id);
        assert_int_equal(mkdir(in_root(path), 0700), 0);
        n_found = 0;
        OK(iflow_store_verify_all(store, note_finding, found));
        expect(digits, IFLOW_E_CORRUPT, "is no directory: it was set aside as bad/chunks.");
        expect(other, IFLOW_E_FORMAT, "and the pin made anew");
        expect(id, IFLOW_E_FORMAT, ".lease is no regular file");
        assert_int_equal(n_found, 4);
        assert_true(store->ops->is_pinned(store, other));
        assert_int_equal(n_entries("store/bad"), 3 * (size_t)(link + 1));
        OK(iflow_store_pin(store, IFLOW_CHUNK, other, false));
        OK(store->ops->lease(store, id));
        store->ops->release(store, id);
        put_seed(store, 1, id);
        n_found = 0;
        OK(iflow_store_verify_all(store, note_finding, found));
        assert_true(n_found == 2 && !found[0].status && !found[1].status);
    }
    snprintf(name, sizeof name, "store/bad/chunks.%s", digits);
    FILE *file = fopen(in_root(name), "r");
    assert_non_null(file);
    assert_true(fgets(path, sizeof path, file) && strcmp(path, "of others") == 0);
    fclose(file);
    assert_int_equal(n_entries("outside"), 1);
    close_checked(store);
}

/* A directory of chunks that may not be read keeps nobody from the others; pins that may not be read are taken to be there. */
static void test_unreadable_directory(void **state) {
    (void)state;
    static const mode_t modes[] = {0, 0400, 0300};
    assert_int_equal(chmod(root, 0777), 0);
    const pid_t pid = start_child();
    if (pid == 0) {
        char id[3][IFLOW_ID_SIZE], path[256], digits[3];
        iflow_chunk_info *list = NULL;
        size_t n = 0, n_bytes = 0;
        uint64_t bytes = 0;
        become_nobody();
        iflow_store *store = open_limited(0);
        for (unsigned i = 0; i < 3; i++) {
            n_bytes = put_seed(store, i, id[i]);
        }
        assert_true(strncmp(id[0], id[1], 2) != 0 && strncmp(id[0], id[2], 2) != 0);
        OK(iflow_store_pin(store, IFLOW_CHUNK, id[1], true));
        snprintf(digits, sizeof digits, "%.2s", id[0]);
        snprintf(path, sizeof path, "store/chunks/%s", digits);
        for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++) {
            assert_int_equal(chmod(in_root(path), modes[i]), 0);
            n_found = n_warnings = 0;
            OK(iflow_store_verify_all(store, note_finding, found));
            assert_int_equal(n_found, 3);
            expect(digits, IFLOW_E_IO, "Permission denied");
            expect(id[1], IFLOW_OK, ""), expect(id[2], IFLOW_OK, "");
            assert_int_equal(n_warnings, 0);
            iflow_store *second = open_limited(0);
            for (int again = 0; again < 2; again++) {
                OK(iflow_store_list(second, &list, &n));
                assert_int_equal(n, 2);
                iflow_free(list);
            }
            assert_int_equal(n_warnings, 1);
            iflow_store_close(second);
        }
        assert_int_equal(chmod(in_root("store/pins"), 0), 0);
        FAILS(iflow_store_prune(store, 0, &n, &bytes), IFLOW_E_IO, "Permission denied");
        assert_true(n == 0 && bytes == 0);
        assert_int_equal(chmod(in_root("store/pins"), 0700), 0);
        FAILS(iflow_store_prune(store, 0, &n, &bytes), IFLOW_E_IO, "Permission denied");
        assert_true(n == 1 && bytes == n_bytes && store->ops->has(store, id[1]));
        /* So is one of which nothing may be deleted. */
        put_seed(store, 2, id[2]);
        assert_int_equal(chmod(in_root(path), 0500), 0);
        use(store, id[2]);
        FAILS(iflow_store_prune(store, 0, &n, &bytes), IFLOW_E_IO, "cannot delete");
        assert_true(n == 1 && !store->ops->has(store, id[2]));
        assert_int_equal(chmod(in_root(path), 0700), 0);
        iflow_store_close(store);
        _exit(0);
    }
    assert_int_equal(wait_for(pid), 0);
}

static struct {
    iflow_store *store;
    iflow_blob chunk;
    char id[IFLOW_ID_SIZE], document[IFLOW_ID_SIZE];
} again;

static void publish_chunk(void) {
    OK(again.store->ops->put(again.store, again.id, &again.chunk, true));
}

static void publish_record(void) {
    put_document(again.store, "a", &again.id, 1, again.document);
}

/* A chunk and a record that were found bad, and are published again before they can be set aside: what is there now stays. */
static void test_published_again(void **state) {
    (void)state;
    iflow_store *store = open_limited(0);
    iflow_chunk *chunk = NULL;
    char path[256];
    again.store = open_limited(0);
    make_chunk(1, again.id, &again.chunk);
    put_seed(store, 1, again.id);
    for (int verify = 0; verify < 2; verify++) {
        flip_byte(chunk_file(again.id), -1);
        before_flock = publish_chunk;
        FAILS(verify ? iflow_store_verify(store, IFLOW_CHUNK, again.id) : iflow_store_get_chunk(store, again.id, &chunk), IFLOW_E_CORRUPT,
              "published again meanwhile");
        assert_null(before_flock);
        OK(iflow_store_verify(store, IFLOW_CHUNK, again.id));
    }
    publish_record();
    snprintf(path, sizeof path, "store/docs/%s.json", again.document);
    write_file(path, "{");
    before_flock = publish_record;
    FAILS(iflow_store_verify(store, IFLOW_DOCUMENT, again.document), IFLOW_E_CORRUPT, "recorded again meanwhile");
    OK(iflow_store_verify(store, IFLOW_DOCUMENT, again.document));
    /* The same where it was no regular file. */
    assert_int_equal(unlink(in_root(chunk_file(again.id))), 0);
    assert_int_equal(symlink("nowhere", in_root(chunk_file(again.id))), 0);
    before_flock = publish_chunk;
    FAILS(iflow_store_verify(store, IFLOW_CHUNK, again.id), IFLOW_E_CORRUPT, "published again meanwhile");
    OK(iflow_store_verify(store, IFLOW_CHUNK, again.id));
    assert_int_equal(n_entries("store/bad"), 0);
    iflow_blob_free(&again.chunk);
    iflow_store_close(again.store);
    close_checked(store);
}

int main(void) {
    iflow_set_log(count_warnings, NULL);
    const struct CMUnitTest tests[] = {
        TEST(test_verify_all),           TEST(test_strays),          TEST(test_locked), TEST(test_unreadable), TEST(test_misfits),
        TEST(test_unreadable_directory), TEST(test_published_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
