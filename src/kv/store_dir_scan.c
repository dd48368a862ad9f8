/* store_dir_scan.c - the directory store as a whole: what is there, what goes when it grows too large, and the check of its invariants. */
#include "kv/store_dir.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_BAD 16 /* chunks kept in bad/: enough to see what goes wrong, few enough to forget about */

void iflow_dir_chunk_path(const char *id, char path[IFLOW_FILES_PATH_SIZE]) {
    snprintf(path, IFLOW_FILES_PATH_SIZE, "chunks/%.2s/%s.gguf", id, id);
}

bool iflow_dir_id_of_name(const char *name, const char *suffix, char id[IFLOW_ID_SIZE]) {
    if (strlen(name) != IFLOW_ID_SIZE - 1 + strlen(suffix) || strcmp(name + IFLOW_ID_SIZE - 1, suffix) != 0) {
        return false;
    }
    memcpy(id, name, IFLOW_ID_SIZE - 1);
    id[IFLOW_ID_SIZE - 1] = '\0';
    return iflow_id_is_valid(id);
}

bool iflow_dir_is_pinned(const iflow_dir_store *store, const char *id) {
    char path[IFLOW_FILES_PATH_SIZE];
    struct stat st;
    snprintf(path, sizeof path, "pins/%s", id);
    return iflow_files_stat(&store->files, path, &st) == 0 || errno != ENOENT; /* where it cannot be told, nothing is to be lost */
}

/* ---- Scanning ----------------------------------------------------------------------------------------------------------------------- */

static iflow_status visit_file(void *user, const char *dir, const char *name) {
    iflow_dir_scan *s = user;
    iflow_dir_entry found = {0};
    struct stat st;
    char path[IFLOW_FILES_PATH_SIZE];
    if (!iflow_dir_id_of_name(name, s->suffix, found.id) || (s->prefix && strncmp(found.id, s->prefix, strlen(s->prefix)) != 0)) {
        return IFLOW_OK;
    }
    snprintf(found.dir, sizeof found.dir, "%s", dir);
    snprintf(path, sizeof path, "%s/%s", found.dir, name);
    if (iflow_files_stat(&s->store->files, path, &st) != 0) {
        return errno == ENOENT ? IFLOW_OK : iflow_files_fail(&s->store->files, "stat", path, errno); /* ENOENT: evicted meanwhile */
    }
    const char *parent = strrchr(dir, '/'); /* chunks/ab, but bad */
    const bool strange = strcmp(dir, "chunks") == 0 || (parent && strncmp(found.id, parent + 1, 2) != 0);
    found.misplaced = strange || !S_ISREG(st.st_mode);
    if (found.misplaced && !s->misplaced) {
        return IFLOW_OK;
    }
    found.n_bytes = S_ISREG(st.st_mode) ? (uint64_t)st.st_size : 0;
    found.used_ns = iflow_files_mtime_ns(&st);
    const iflow_status status = iflow_reserve((void **)&s->entries, &s->capacity, s->n + 1, sizeof found);
    if (!status) {
        s->entries[s->n++] = found;
    }
    return status;
}

bool iflow_dir_is_chunk_dir(const char *name) {
    return strlen(name) == 2 && strspn(name, "0123456789abcdef") == 2;
}

static iflow_status visit_chunk_dir(void *user, const char *dir, const char *name) {
    iflow_dir_scan *s = user;
    struct stat st;
    char path[IFLOW_FILES_PATH_SIZE];
    if (s->misplaced && strlen(name) > 2) {
        return visit_file(user, dir, name);
    }
    if (!iflow_dir_is_chunk_dir(name) || (!s->misplaced && s->prefix && strncmp(name, s->prefix, strnlen(s->prefix, 2)) != 0)) {
        return IFLOW_OK;
    }
    snprintf(path, sizeof path, "%.16s/%.2s", dir, name);
    if (s->misplaced && iflow_files_stat(&s->store->files, path, &st) == 0 && !S_ISDIR(st.st_mode)) {
        iflow_log(IFLOW_LOG_WARN, "%s/%s is no directory%s: what it may hold is not used", s->store->files.dir, path,
                  S_ISLNK(st.st_mode) ? " but a symbolic link" : "");
        return IFLOW_OK;
    }
    const iflow_status status = iflow_files_walk(&s->store->files, path, visit_file, user);
    if (status != IFLOW_E_IO) {
        return status;
    }
    if (s->n_unread++ == 0) { /* the rest is as good as it would be without it */
        snprintf(s->why, sizeof s->why, "%s", iflow_error_message());
    }
    return IFLOW_OK;
}

static int by_use(const void *a, const void *b) {
    const iflow_dir_entry *x = a, *y = b;
    if (x->used_ns != y->used_ns) {
        return x->used_ns < y->used_ns ? -1 : 1;
    }
    return strcmp(x->id, y->id);
}

iflow_status iflow_dir_scan_chunks(const iflow_dir_store *store, const char *prefix, bool misplaced, iflow_dir_scan *s) {
    *s = (iflow_dir_scan){.store = store, .prefix = prefix, .suffix = ".gguf", .misplaced = misplaced};
    const iflow_status status = iflow_files_walk(&store->files, "chunks", visit_chunk_dir, s);
    if (!status && s->n) {
        qsort(s->entries, s->n, sizeof s->entries[0], by_use);
    }
    return status;
}

void iflow_dir_warn_unread(iflow_dir_store *store, const iflow_dir_scan *s) {
    if (s->n_unread && !atomic_exchange(&store->told_unread, true)) {
        iflow_log(IFLOW_LOG_WARN, "%s: the chunks there are left out%s", s->why,
                  s->n_unread > 1 ? ", and so are those of other directories" : "");
    }
}

/* ---- Old chunks --------------------------------------------------------------------------------------------------------------------- */

static void entry_path(const iflow_dir_entry *entry, char path[IFLOW_FILES_PATH_SIZE]) {
    snprintf(path, IFLOW_FILES_PATH_SIZE, "%s/%s.gguf", entry->dir, entry->id);
}

static int compare_ids(const void *a, const void *b) {
    return strcmp(a, b);
}

/* Tells which chunks of a scan are old. All are looked at until that was once done for all; from then on, only those that were old, or
 * could not be read: a chunk is never changed, and a new one is never old. Without memory for their list all are looked at again. */
static void tell_old(iflow_dir_store *store, iflow_dir_scan *s) {
    const iflow_dir_old *known = store->old;
    size_t n = 0;
    for (size_t i = 0; i < s->n; i++) {
        char path[IFLOW_FILES_PATH_SIZE];
        unsigned char first[IFLOW_CHUNK_FIRST_BYTES];
        iflow_dir_entry *entry = &s->entries[i];
        if (known && (!known->n || !bsearch(entry->id, known->ids, known->n, sizeof known->ids[0], compare_ids))) {
            continue;
        }
        entry_path(entry, path);
        const size_t n_first = iflow_files_read_first(&store->files, path, first, sizeof first);
        entry->old = iflow_chunk_is_old(first, n_first);
        entry->look_again = entry->old || (n_first == 0 && entry->n_bytes > 0);
        n += entry->look_again;
    }
    if (s->n_unread) { /* there may be others where it could not be looked */
        return;
    }
    iflow_dir_old *old = iflow_calloc(1, sizeof *old + n * sizeof old->ids[0]);
    for (size_t i = 0; i < s->n && old; i++) {
        if (s->entries[i].look_again) {
            memcpy(old->ids[old->n++], s->entries[i].id, IFLOW_ID_SIZE);
        }
    }
    if (old && old->n) {
        qsort(old->ids, old->n, sizeof old->ids[0], compare_ids);
    }
    iflow_dir_old *before = store->old;
    store->old = old;
    free(before);
}

static int by_age(const void *a, const void *b) {
    const iflow_dir_entry *x = a, *y = b;
    return x->old != y->old ? y->old - x->old : by_use(a, b);
}

iflow_status iflow_dir_prune_old(iflow_store *base, size_t *n_deleted, uint64_t *n_bytes) {
    iflow_dir_store *store = iflow_dir_of(base);
    iflow_dir_scan s = {0};
    char why[1024] = "";
    int lock;
    iflow_status status = iflow_dir_lock(store, &lock), failed = IFLOW_OK;
    if (status) {
        return status;
    }
    iflow_dir_old *before = store->old;
    store->old = NULL; /* asked for by somebody, who may have put some there */
    free(before);
    status = iflow_dir_scan_chunks(store, NULL, false, &s);
    if (!status) {
        tell_old(store, &s);
    }
    for (size_t i = 0; !status && i < s.n; i++) {
        char pin[IFLOW_FILES_PATH_SIZE];
        const iflow_status gone = s.entries[i].old ? iflow_dir_unlink_chunk(store, s.entries[i].id) : IFLOW_OK;
        snprintf(pin, sizeof pin, "pins/%s", s.entries[i].id);
        if (gone) {
            snprintf(why, sizeof why, "%s", iflow_error_message());
            failed = gone;
        } else if (s.entries[i].old) {
            iflow_files_unlink(&store->files, pin);
            ++*n_deleted;
            *n_bytes += s.entries[i].n_bytes;
        }
    }
    if (!status && (failed || s.n_unread)) {
        status = failed ? iflow_fail(failed, "%s", why) : iflow_fail(IFLOW_E_IO, "%s", s.why);
    }
    free(s.entries);
    iflow_dir_unlock(lock);
    return status;
}

/* ---- Bounding ----------------------------------------------------------------------------------------------------------------------- */

iflow_status iflow_dir_unlink_chunk(const iflow_dir_store *store, const char *id) {
    char path[IFLOW_FILES_PATH_SIZE];
    iflow_dir_chunk_path(id, path);
    return iflow_files_unlink(&store->files, path) == 0 || errno == ENOENT ? IFLOW_OK
                                                                           : iflow_files_fail(&store->files, "delete", path, errno);
}

static bool is_incoming(const iflow_dir_entry *entry, const char *incoming) {
    return incoming && strcmp(entry->id, incoming) == 0;
}

iflow_status iflow_dir_evict(iflow_dir_store *store, uint64_t max_bytes, const char *incoming, size_t *n_deleted, uint64_t *n_bytes) {
    iflow_dir_scan s = {0};
    uint64_t total = 0, pinned = 0, own = 0;
    bool *pins = NULL;
    char why[1024] = "";
    iflow_status failed = IFLOW_OK; /* of what could not be deleted, or looked at: the others go all the same */
    iflow_status status = iflow_dir_scan_chunks(store, NULL, false, &s);
    if (status) {
        goto cleanup;
    }
    if (s.n_unread && !incoming) { /* a prune says so at its end */
        failed = IFLOW_E_IO;
        snprintf(why, sizeof why, "%s", s.why);
    } else {
        iflow_dir_warn_unread(store, &s);
    }
    for (size_t i = 0; i < s.n; i++) {
        total += is_incoming(&s.entries[i], incoming) ? 0 : s.entries[i].n_bytes;
    }
    if (total <= max_bytes) {
        goto cleanup;
    }
    tell_old(store, &s); /* the incoming one's predecessor too: it may stay */
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++) {
        if (!is_incoming(&s.entries[i], incoming)) {
            s.entries[n++] = s.entries[i];
        }
    }
    s.n = n;
    if (s.n) {
        qsort(s.entries, s.n, sizeof s.entries[0], by_age);
    }
    pins = iflow_calloc(s.n, sizeof pins[0]);
    if (!pins) {
        status = iflow_fail_memory(s.n * sizeof pins[0]);
        goto cleanup;
    }
    for (size_t i = 0; i < s.n; i++) {
        const bool is_pinned = iflow_dir_is_pinned(store, s.entries[i].id);
        pins[i] = is_pinned || (incoming && iflow_own_has(store->base.own, s.entries[i].id));
        pinned += is_pinned ? s.entries[i].n_bytes : 0;
        own += pins[i] && !is_pinned ? s.entries[i].n_bytes : 0;
    }
    if (incoming && pinned + own > max_bytes) {
        status = iflow_store_full(store->files.dir, pinned, own, store->max_bytes);
        goto cleanup;
    }
    for (size_t i = 0; i < s.n && total > max_bytes; i++) {
        if (pins[i]) {
            continue;
        }
        const iflow_status unlinked = iflow_dir_unlink_chunk(store, s.entries[i].id);
        if (unlinked) {
            snprintf(why, sizeof why, "%s", iflow_error_message());
            failed = unlinked;
            continue;
        }
        total -= s.entries[i].n_bytes;
        ++*n_deleted;
        *n_bytes += s.entries[i].n_bytes;
    }

    if (incoming && total > max_bytes) {
        status = iflow_fail(failed, "%s: there is no room for chunk %s", why, incoming);
    }

cleanup:
    if (!status && failed && !incoming) {
        status = iflow_fail(failed, "%s", why);
    }
    free(pins);
    free(s.entries);
    return status;
}

void iflow_dir_trim_bad(const iflow_dir_store *store) {
    static const char *const suffix[] = {".gguf", ".json"};
    for (size_t k = 0; k < sizeof suffix / sizeof suffix[0]; k++) {
        iflow_dir_scan s = {.store = store, .suffix = suffix[k]};
        char path[IFLOW_FILES_PATH_SIZE];
        if (!iflow_files_walk(&store->files, "bad", visit_file, &s) && s.n > MAX_BAD) {
            qsort(s.entries, s.n, sizeof s.entries[0], by_use);
            for (size_t i = 0; i < s.n - MAX_BAD; i++) {
                snprintf(path, sizeof path, "bad/%s%s", s.entries[i].id, suffix[k]);
                iflow_files_unlink(&store->files, path);
            }
        }
        free(s.entries);
    }
}

/* ---- The invariants ----------------------------------------------------------------------------------------------------------------- */

static iflow_status violated(const iflow_dir_store *store, int invariant, const char *dir, const char *name, const char *why) {
    return name[0] == '.' ? IFLOW_OK /* hidden files are somebody's own */
                          : iflow_fail(IFLOW_E_CORRUPT, "%s: invariant %d: %s/%s: %s", store->files.dir, invariant, dir, name, why);
}

static iflow_status check_chunk(void *user, const char *dir, const char *name) {
    iflow_dir_store *store = user;
    char id[IFLOW_ID_SIZE];
    iflow_blob blob = {0};
    iflow_chunk *chunk = NULL;
    if (!iflow_dir_id_of_name(name, ".gguf", id) || strncmp(id, strrchr(dir, '/') + 1, 2) != 0) {
        return violated(store, 2, dir, name, "not named by an id of this directory");
    }
    iflow_status status = store->base.ops->peek(&store->base, id, &blob);
    if (!status) {
        status = iflow_chunk_decode(&blob, id, name, &chunk);
    }
    if (status == IFLOW_E_UNSUPPORTED && iflow_chunk_is_old(blob.data, blob.n_bytes)) {
        status = IFLOW_OK;
    }
    if (status) {
        status = violated(store, 2, dir, name, iflow_error_message());
    }
    iflow_chunk_free(chunk);
    iflow_blob_free(&blob);
    return status;
}

static iflow_status check_chunk_dir(void *user, const char *dir, const char *name) {
    const iflow_dir_store *store = user;
    char path[IFLOW_FILES_PATH_SIZE];
    if (!iflow_dir_is_chunk_dir(name)) {
        return violated(store, 2, dir, name, "not named by the first two digits of an id");
    }
    snprintf(path, sizeof path, "%.16s/%.2s", dir, name);
    return iflow_files_walk(&store->files, path, check_chunk, user);
}

static iflow_status check_record(void *user, const char *dir, const char *name) {
    char id[IFLOW_ID_SIZE];
    return iflow_dir_id_of_name(name, ".json", id) ? IFLOW_OK : violated(user, 4, dir, name, "not named by an id");
}

static iflow_status check_pin(void *user, const char *dir, const char *name) {
    return iflow_id_is_valid(name) ? IFLOW_OK : violated(user, 5, dir, name, "not named by an id");
}

/* Nobody else uses the store, so what is ours and not locked here is garbage, and there should be none. */
static iflow_status check_temp(void *user, const char *dir, const char *name) {
    const iflow_dir_store *store = user;
    char path[IFLOW_FILES_PATH_SIZE];
    snprintf(path, sizeof path, "%s/%.100s", dir, name);
    if (iflow_dir_is_temp_name(name) && !iflow_dir_lease_is_others(store, name) && iflow_files_reap(&store->files, path)) {
        return violated(store, 6, dir, name, "garbage");
    }
    return IFLOW_OK;
}

iflow_status iflow_store_dir_check(iflow_store *base) {
    iflow_dir_store *store = (iflow_dir_store *)base;
    iflow_dir_scan s = {0};
    uint64_t total = 0;
    int version;
    iflow_status status = iflow_dir_check_version(store, &version);
    if (status) {
        return violated(store, 1, ".", "VERSION", status == IFLOW_E_NOT_FOUND ? "missing" : iflow_error_message());
    }
    status = iflow_dir_scan_chunks(store, NULL, false, &s);
    for (size_t i = 0; i < s.n; i++) {
        total += s.entries[i].n_bytes;
    }
    free(s.entries);
    if (!status && store->max_bytes && total > store->max_bytes) {
        status = violated(store, 3, ".", "chunks", "more bytes than the limit");
    }
    status = status ? status : iflow_files_walk(&store->files, "chunks", check_chunk_dir, store);
    status = status ? status : iflow_files_walk(&store->files, "docs", check_record, store);
    status = status ? status : iflow_files_walk(&store->files, "pins", check_pin, store);
    return status ? status : iflow_files_walk(&store->files, "tmp", check_temp, store);
}
