/* store_dir.c - the embedded store: chunks and records as files of one directory, shared by any number of processes.
 *
 *     VERSION            "infoflow-store 2\n"
 *     lock               empty; locked (flock) while chunks are published, evicted, deleted, set aside or pinned, and records published
 *                        or set aside
 *     shared             empty; where it is, what is created is as the umask has it, else its owner's alone
 *     chunks/ab/ID.gguf  the chunk whose id begins with ab
 *     docs/ID.json       records
 *     pins/ID            empty; the chunk is not evicted; or a document's id: it was pinned as a whole
 *     tmp/               files in the making (ID.PID.N, version.PID.N) and leases (ID.lease), each locked by the process it belongs to
 *     bad/ID.gguf        chunks set aside; bad/ID.json: records; bad/chunks.ab, bad/pins.ID, bad/tmp.ID.lease: what stood in their places
 *
 * Invariants, which iflow_store_dir_check() checks:
 *  1. VERSION states the version of this layout.
 *  2. A file chunks/ab/ID.gguf is complete and sound at every moment, ID is its content's id and begins with ab: it was renamed to there
 *     after it was written and synced, and is never written to again. It may be old, of a format that is no longer read.
 *  3. After a put or a prune, the chunks take no more than the limit it ran with (a prune: or no more than the pinned ones do).
 *  4. A file docs/ID.json is complete, and ID is an id.
 *  5. A file in pins/ is named by an id. Its chunk may be missing: one that was set aside is still pinned when it comes back.
 *  6. A file in tmp/ of such a name that nobody has locked is garbage, but for a lease of another host (store_dir_lease.c). A process locks
 *     one before it unlinks it. Files of other names stay.
 *
 * store_dir_scan.c finds out what is there, evicts, and checks the invariants.
 *
 * Readers take no lock: unlinking a file leaves it to those who have mapped it. The kernel drops a dead process's locks, so a
 * crash can leave nothing but garbage in tmp/. */
#include "kv/store_dir.h"

#include "base/cancel.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#define CLAIM_SUFFIX ".claim" /* what programs of layout 1 had in place of a lease; theirs are garbage by now */

enum { MAX_ASIDE = 16 };     /* names tried in bad/ */
enum { NAMED_STRAYS = 5 };   /* in a message */
enum { LOCK_PAUSE_MS = 10 }; /* the lock is held for milliseconds */
enum { LOCK_AGAIN_MS = 200 };

/* ---- Paths -------------------------------------------------------------------------------------------------------------------------- */

static void chunk_dir(const char *id, char path[IFLOW_FILES_PATH_SIZE]) {
    snprintf(path, IFLOW_FILES_PATH_SIZE, "chunks/%.2s", id);
}

static iflow_status chunk_not_found(const iflow_dir_store *store, const char *id) {
    return iflow_fail(IFLOW_E_NOT_FOUND, "chunk %s is not in the store %s", id, store->files.dir);
}

iflow_status iflow_dir_lock(iflow_dir_store *store, int *lock) {
    const double start = iflow_now_ms();
    /* A lock that somebody had for so long is not waited for as long again by each operation; short uses of it are. */
    const bool again = store->lock_timed_out && store->lock_end_ms > LOCK_AGAIN_MS;
    const double end_ms = again ? LOCK_AGAIN_MS : store->lock_end_ms;
    bool warned = false;
    iflow_dir_own_process(store);
    for (long pause_ns = 250000;; pause_ns = pause_ns < LOCK_PAUSE_MS * 500000L ? pause_ns * 2 : LOCK_PAUSE_MS * 1000000L) {
        *lock = iflow_files_lock(&store->files, "lock");
        if (*lock >= 0) {
            store->lock_timed_out = false;
            return IFLOW_OK;
        }
        if (errno != EWOULDBLOCK) {
            return iflow_files_fail_lock(&store->files, "lock", errno);
        }
        const double waited = iflow_now_ms() - start;
        if (waited >= end_ms) {
            store->lock_timed_out = true;
            return iflow_fail(
                IFLOW_E_BUSY,
                "the store %s has been locked by another process for %.3g s; one that was stopped or hangs has %s/lock open: let "
                "it go on, or end it",
                store->files.dir, end_ms / 1e3, store->files.dir);
        }
        if (!warned && waited >= store->lock_warn_ms) {
            iflow_log(IFLOW_LOG_WARN, "waiting for another process, which has locked the store %s, up to %.3g s", store->files.dir,
                      end_ms / 1e3);
            warned = true;
        }
        const iflow_status status = iflow_cancel_check();
        if (status) {
            return status;
        }
        nanosleep(&(struct timespec){.tv_nsec = pause_ns}, NULL);
    }
}

void iflow_dir_unlock(int lock) {
    flock(lock, LOCK_UN);
    close(lock);
}

/* ---- Pruning ------------------------------------------------------------------------------------------------------------------------ */

bool iflow_dir_is_temp_name(const char *name) {
    char id[IFLOW_ID_SIZE];
    snprintf(id, sizeof id, "%s", name);
    return iflow_temp_is_name(name, IFLOW_DIR_VERSION_TAG, "") ||
           (iflow_id_is_valid(id) && (iflow_temp_is_name(name, id, "") || strcmp(name + IFLOW_ID_SIZE - 1, IFLOW_DIR_LEASE_SUFFIX) == 0 ||
                                      strcmp(name + IFLOW_ID_SIZE - 1, CLAIM_SUFFIX) == 0));
}

iflow_status iflow_dir_visit_temp(void *user, const char *dir, const char *name) {
    const iflow_dir_store *store = user;
    char path[IFLOW_FILES_PATH_SIZE];
    if (iflow_dir_is_temp_name(name) && !iflow_dir_lease_is_others(store, name)) {
        snprintf(path, sizeof path, "%s/%.100s", dir, name);
        iflow_files_reap(&store->files, path);
    }
    return IFLOW_OK;
}

static iflow_status dir_prune(iflow_store *base, uint64_t max_bytes, size_t *n_deleted, uint64_t *n_bytes) {
    iflow_dir_store *store = iflow_dir_of(base);
    int lock;
    iflow_status status = iflow_dir_lock(store, &lock);
    if (status) {
        return status;
    }
    status = iflow_dir_evict(store, max_bytes, NULL, n_deleted, n_bytes);
    iflow_dir_unlock(lock);
    return status ? status : iflow_files_walk(&store->files, "tmp", iflow_dir_visit_temp, store);
}

/* ---- Chunks ------------------------------------------------------------------------------------------------------------------------- */

static iflow_status map_chunk(iflow_store *base, const char *id, bool used, iflow_blob *out) {
    iflow_dir_store *store = iflow_dir_of(base);
    char path[IFLOW_FILES_PATH_SIZE];
    iflow_status status = iflow_id_check(id);
    if (status) {
        return status;
    }
    iflow_dir_chunk_path(id, path);
    status = iflow_files_map(&store->files, path, true, used, out, NULL);
    return status == IFLOW_E_NOT_FOUND ? chunk_not_found(store, id) : status;
}

static iflow_status dir_get(iflow_store *base, const char *id, iflow_blob *out) {
    return map_chunk(base, id, true, out);
}

static iflow_status dir_peek(iflow_store *base, const char *id, iflow_blob *out) {
    return map_chunk(base, id, false, out);
}

static void dir_prefetch(iflow_store *base, const char *id) {
    char path[IFLOW_FILES_PATH_SIZE];
    if (iflow_id_is_valid(id)) {
        iflow_dir_chunk_path(id, path);
        iflow_files_prefetch(&iflow_dir_of(base)->files, path);
    }
}

static bool dir_has(iflow_store *base, const char *id) {
    char path[IFLOW_FILES_PATH_SIZE];
    if (!iflow_id_is_valid(id)) {
        return false;
    }
    iflow_dir_chunk_path(id, path);
    return iflow_files_exists(&iflow_dir_of(base)->files, path);
}

/* Whether the chunk that is to be replaced may be read at all: what it knows cannot be told otherwise, and it may be another user's. E_IO.
 */
static iflow_status check_replaced(const iflow_dir_store *store, const char *id) {
    char path[IFLOW_FILES_PATH_SIZE];
    iflow_dir_chunk_path(id, path);
    const int fd = iflow_files_open_path(&store->files, path, O_RDONLY | O_NONBLOCK);
    if (fd < 0 && (errno == EACCES || errno == EPERM)) {
        return iflow_files_fail(&store->files, "replace", path, errno);
    }
    if (fd >= 0) {
        close(fd);
    }
    return IFLOW_OK;
}

static iflow_status dir_put(iflow_store *base, const char *id, const iflow_blob *blob, bool replace) {
    iflow_dir_store *store = iflow_dir_of(base);
    int lock = -1;
    iflow_temp temp = {.fd = -1};
    size_t n_deleted = 0;
    uint64_t n_bytes = 0;
    char dir[IFLOW_FILES_PATH_SIZE], name[IFLOW_FILES_PATH_SIZE];
    iflow_status status = iflow_id_check(id);
    if (status || (!replace && dir_has(base, id))) {
        return status;
    }
    if (store->max_bytes && blob->n_bytes > store->max_bytes) {
        return iflow_fail(IFLOW_E_FULL, "chunk %s has %zu bytes, the store %s holds at most %llu: raise the limit", id, blob->n_bytes,
                          store->files.dir, (unsigned long long)store->max_bytes);
    }
    chunk_dir(id, dir);
    snprintf(name, sizeof name, "%s.gguf", id);
    status = iflow_files_make_dir(&store->files, dir);
    if (status) {
        return status;
    }
    /* The long part goes without the lock. The directory of the chunk may be new: its parent's entry has to last as well. */
    status = iflow_files_write_temp(&store->files, id, blob->data, blob->n_bytes, &temp);
    if (status) {
        return status;
    }
    status = iflow_dir_lock(store, &lock);
    if (status || (!replace && dir_has(base, id))) {
        goto cleanup;
    }
    status = replace ? check_replaced(store, id) : IFLOW_OK;
    if (!status && store->max_bytes) {
        status = iflow_dir_evict(store, store->max_bytes - blob->n_bytes, id, &n_deleted, &n_bytes);
    }
    if (status) {
        goto cleanup;
    }
    if (n_deleted) {
        iflow_log(IFLOW_LOG_INFO, "store %s: evicted %zu chunks (%llu bytes) for chunk %s", store->files.dir, n_deleted,
                  (unsigned long long)n_bytes, id);
    }
    status = iflow_files_sync_dir(&store->files, "chunks");
    if (status) {
        goto cleanup;
    }
    status = iflow_files_publish(&store->files, &temp, dir, name);
    if (status) {
        char path[IFLOW_FILES_PATH_SIZE];
        iflow_dir_chunk_path(id, path);
        iflow_files_unlink(&store->files, path); /* it may have been renamed, but nobody knows whether it will last */
    }

cleanup:
    iflow_files_discard_temp(&store->files, &temp);
    if (lock >= 0) {
        iflow_dir_unlock(lock);
    }
    return status;
}

/* Its facts from its header. E_NOT_FOUND without a message of its own; E_UNSUPPORTED: info says whether it is old, and nothing else. */
static iflow_status stat_chunk(const iflow_dir_store *store, const char *id, iflow_chunk_info *info) {
    iflow_blob blob = {0};
    struct stat st;
    char path[IFLOW_FILES_PATH_SIZE];
    iflow_dir_chunk_path(id, path);
    iflow_status status = iflow_files_map(&store->files, path, false, false, &blob, &st);
    if (status) {
        return status;
    }
    status = iflow_chunk_peek(blob.data, blob.n_bytes, id, path, info, NULL);
    if (status == IFLOW_E_UNSUPPORTED) {
        info->old = iflow_chunk_is_old(blob.data, blob.n_bytes);
    }
    if (!status) {
        info->used_at = (int64_t)st.st_mtim.tv_sec;
        info->pinned = iflow_dir_is_pinned(store, id);
    }
    iflow_blob_free(&blob);
    return status;
}

static iflow_status dir_stat(iflow_store *base, const char *id, iflow_chunk_info *info) {
    iflow_status status = iflow_id_check(id);
    if (!status) {
        status = stat_chunk(iflow_dir_of(base), id, info);
    }
    return status == IFLOW_E_NOT_FOUND ? chunk_not_found(iflow_dir_of(base), id) : status;
}

/* What is known of a file that cannot be read as a chunk. */
static iflow_chunk_info unread(const iflow_dir_store *store, const iflow_dir_entry *entry, iflow_status status, bool old) {
    iflow_chunk_info info = {.type = "-",
                             .n_bytes = entry->n_bytes,
                             .used_at = entry->used_ns / 1000000000,
                             .pinned = iflow_dir_is_pinned(store, entry->id),
                             .damaged = status != IFLOW_E_UNSUPPORTED && status != IFLOW_E_IO,
                             .old = old,
                             .unsupported = status == IFLOW_E_UNSUPPORTED && !old,
                             .unreadable = status == IFLOW_E_IO};
    memcpy(info.id, entry->id, sizeof info.id);
    return info;
}

static iflow_status dir_list(iflow_store *base, iflow_chunk_info **list, size_t *n) {
    iflow_dir_store *store = iflow_dir_of(base);
    iflow_dir_scan s = {0};
    iflow_chunk_info *infos = NULL;
    size_t n_infos = 0;
    iflow_status status = iflow_dir_scan_chunks(store, NULL, true, &s);
    if (status) {
        goto cleanup;
    }
    iflow_dir_warn_unread(store, &s);
    infos = iflow_calloc(s.n, sizeof infos[0]);
    if (!infos) {
        status = iflow_fail_memory(s.n * sizeof infos[0]);
        goto cleanup;
    }
    for (size_t i = s.n; i-- > 0;) {
        const iflow_dir_entry *entry = &s.entries[i];
        status = entry->misplaced ? IFLOW_E_CORRUPT : stat_chunk(store, entry->id, &infos[n_infos]);
        if (status == IFLOW_E_MEMORY) {
            goto cleanup;
        }
        if (status && status != IFLOW_E_NOT_FOUND) { /* not found: evicted meanwhile */
            infos[n_infos] = unread(store, entry, status, infos[n_infos].old);
        }
        n_infos += status != IFLOW_E_NOT_FOUND;
    }
    status = IFLOW_OK;
    *list = infos;
    *n = n_infos;
    infos = NULL;

cleanup:
    free(infos);
    free(s.entries);
    return status;
}

static bool has_id(char (*ids)[IFLOW_ID_SIZE], size_t n, const char *id) {
    for (size_t i = 0; i < n; i++) {
        if (strcmp(ids[i], id) == 0) {
            return true;
        }
    }
    return false;
}

static iflow_status dir_find(iflow_store *base, const char *prefix, char (**ids)[IFLOW_ID_SIZE], size_t *n) {
    iflow_dir_scan s = {0};
    char(*found)[IFLOW_ID_SIZE] = NULL;
    size_t n_found = 0;
    iflow_status status = iflow_dir_scan_chunks(iflow_dir_of(base), prefix, true, &s);
    if (status) {
        goto cleanup;
    }
    iflow_dir_warn_unread(iflow_dir_of(base), &s);
    found = iflow_calloc(s.n, sizeof found[0]);
    if (!found) {
        status = iflow_fail_memory(s.n * sizeof found[0]);
        goto cleanup;
    }
    for (int misplaced = 0; misplaced < 2; misplaced++) { /* an id once, though there may be a file of its name in a wrong place, too */
        for (size_t i = 0; i < s.n; i++) {
            if (s.entries[i].misplaced == misplaced && !(misplaced && has_id(found, n_found, s.entries[i].id))) {
                memcpy(found[n_found++], s.entries[i].id, sizeof found[0]);
            }
        }
    }
    *ids = found;
    *n = n_found;

cleanup:
    free(s.entries);
    return status;
}

/* Checks an id and takes the store's lock, for what changes the chunk of that id. */
static iflow_status lock_for(iflow_dir_store *store, const char *id, int *lock) {
    const iflow_status status = iflow_id_check(id);
    return status ? status : iflow_dir_lock(store, lock);
}

static iflow_status dir_remove(iflow_store *base, const char *id) {
    iflow_dir_store *store = iflow_dir_of(base);
    int lock;
    char path[IFLOW_FILES_PATH_SIZE];
    iflow_status status = lock_for(store, id, &lock);
    if (status) {
        return status;
    }
    if (!dir_has(base, id)) {
        status = chunk_not_found(store, id);
        goto cleanup;
    }
    status = iflow_dir_unlink_chunk(store, id);
    if (status) {
        goto cleanup;
    }
    snprintf(path, sizeof path, "pins/%s", id);
    if (iflow_files_unlink(&store->files, path) != 0 && errno != ENOENT) {
        status = iflow_files_fail(&store->files, "delete", path, errno);
    }

cleanup:
    iflow_dir_unlock(lock);
    return status;
}

int iflow_dir_move_aside(const iflow_dir_store *store, const char *path, const char *id, const char *suffix, const iflow_blob *judged) {
    int error = 0;
    struct stat st;
    if (judged) {
        if (iflow_files_stat(&store->files, path, &st) != 0) {
            return errno;
        }
        if ((uint64_t)st.st_dev != judged->dev || (uint64_t)st.st_ino != judged->ino) {
            return ESTALE;
        }
    }
    for (int i = 0; i < MAX_ASIDE; i++) {
        char bad[IFLOW_FILES_PATH_SIZE], number[16] = "";
        if (i) {
            snprintf(number, sizeof number, ".%d", i);
        }
        snprintf(bad, sizeof bad, "bad/%s%s%s", id, number, suffix);
        error = iflow_files_rename(&store->files, path, bad) == 0 ? 0 : errno;
        if (error != EISDIR && error != ENOTDIR && error != EEXIST && error != ENOTEMPTY) {
            break;
        }
    }
    if (!error) {
        iflow_dir_trim_bad(store);
    }
    return error;
}

static iflow_status dir_set_aside(iflow_store *base, const char *id, const iflow_blob *judged) {
    iflow_dir_store *store = iflow_dir_of(base);
    int lock;
    char path[IFLOW_FILES_PATH_SIZE];
    iflow_status status = lock_for(store, id, &lock);
    if (status) {
        return status;
    }
    iflow_dir_chunk_path(id, path);
    const int error = iflow_dir_move_aside(store, path, id, ".gguf", judged);
    if (error == ESTALE) {
        status = iflow_fail(IFLOW_E_NOT_FOUND, "chunk %s was published again meanwhile: that file stays", id);
    } else if (error) {
        status =
            error == ENOENT && !dir_has(base, id) ? chunk_not_found(store, id) : iflow_files_fail(&store->files, "set aside", path, error);
    }
    iflow_dir_unlock(lock);
    return status;
}

static iflow_status dir_sweep(iflow_store *base, const char *id) {
    iflow_dir_store *store = iflow_dir_of(base);
    char right[IFLOW_FILES_PATH_SIZE], path[IFLOW_FILES_PATH_SIZE], moved[NAMED_STRAYS * IFLOW_FILES_PATH_SIZE] = "";
    struct stat st;
    size_t n = 0, n_moved = 0;
    int lock = -1;
    iflow_status status = iflow_id_check(id);
    if (status) {
        return status;
    }
    iflow_dir_chunk_path(id, right);
    for (int i = 0; i <= 256; i++) { /* chunks/00 to chunks/ff, and chunks itself */
        char part[16] = "";
        if (i < 256) {
            snprintf(part, sizeof part, "/%02x", (unsigned)i);
        }
        snprintf(path, sizeof path, "chunks%s/%s.gguf", part, id);
        if (strcmp(path, right) == 0 || iflow_files_stat(&store->files, path, &st) != 0) {
            continue;
        }
        if (lock < 0 && (status = iflow_dir_lock(store, &lock))) {
            break;
        }
        const int error = iflow_dir_move_aside(store, path, id, ".gguf", NULL);
        if (error && error != ENOENT) { /* ENOENT: another process was faster */
            status = iflow_files_fail(&store->files, "set aside", path, error);
        } else if (!error && n_moved++ < NAMED_STRAYS) {
            n += (size_t)snprintf(moved + n, sizeof moved - n, " %s", path);
        }
    }
    if (lock >= 0) {
        iflow_dir_unlock(lock);
    }
    if (n_moved) {
        char why[1024] = "";
        snprintf(why, sizeof why, "%s%s", status ? "; " : "", status ? iflow_error_message() : "");
        status =
            iflow_fail(status ? status : IFLOW_E_FORMAT, "chunk %s: in the store %s, what lay in a wrong directory was set aside:%s%s%s",
                       id, store->files.dir, moved, n_moved > NAMED_STRAYS ? " ..." : "", why);
    }
    return status || n_moved ? status : IFLOW_E_NOT_FOUND;
}

static iflow_status add_pin(const iflow_dir_store *store, const char *path) {
    return iflow_files_make_empty(&store->files, path) ? iflow_files_sync_dir(&store->files, "pins")
                                                       : iflow_files_fail(&store->files, "pin", path, errno);
}

static iflow_status dir_pin(iflow_store *base, const char *id, bool pinned) {
    iflow_dir_store *store = iflow_dir_of(base);
    int lock;
    char path[IFLOW_FILES_PATH_SIZE];
    iflow_status status = lock_for(store, id, &lock);
    if (status) {
        return status;
    }
    snprintf(path, sizeof path, "pins/%s", id);
    if (!pinned) {
        /* A pin may outlive its chunk, so it is taken back without one. */
        if (iflow_files_unlink(&store->files, path) != 0) {
            if (errno != ENOENT) {
                status = iflow_files_fail(&store->files, "unpin", path, errno);
            } else if (!dir_has(base, id)) {
                status = chunk_not_found(store, id);
            }
        }
    } else if (!dir_has(base, id)) {
        status = chunk_not_found(store, id);
    } else {
        status = add_pin(store, path);
    }
    iflow_dir_unlock(lock);
    return status;
}

static iflow_status dir_pin_record(iflow_store *base, const char *id, bool pinned) {
    const iflow_dir_store *store = iflow_dir_of(base);
    char path[IFLOW_FILES_PATH_SIZE];
    const iflow_status status = iflow_id_check(id);
    if (status) {
        return status;
    }
    snprintf(path, sizeof path, "pins/%s", id);
    if (pinned) {
        return add_pin(store, path);
    }
    return iflow_files_unlink(&store->files, path) == 0 || errno == ENOENT ? IFLOW_OK
                                                                           : iflow_files_fail(&store->files, "unpin", path, errno);
}

static bool dir_is_pinned(iflow_store *base, const char *id) {
    return iflow_id_is_valid(id) && iflow_dir_is_pinned(iflow_dir_of(base), id);
}

/* ---- As a whole ---------------------------------------------------------------------------------------------------------------------- */

static void dir_close(iflow_store *base) {
    iflow_dir_store *store = iflow_dir_of(base);
    iflow_dir_end_leases(store);
    iflow_files_close(&store->files);
    pthread_mutex_destroy(&store->mutex);
    free(store->old);
    free(store);
}

const iflow_store_ops iflow_dir_ops = {
    .close = dir_close,
    .get = dir_get,
    .peek = dir_peek,
    .open_chunk = iflow_dir_open_chunk,
    .prefetch = dir_prefetch,
    .put = dir_put,
    .has = dir_has,
    .remove = dir_remove,
    .set_aside = dir_set_aside,
    .sweep = dir_sweep,
    .sweep_misfits = iflow_dir_sweep_misfits,
    .pin = dir_pin,
    .pin_record = dir_pin_record,
    .is_pinned = dir_is_pinned,
    .lease = iflow_dir_take_lease,
    .release = iflow_dir_release,
    .list = dir_list,
    .stat = dir_stat,
    .find = dir_find,
    .prune = dir_prune,
    .prune_old = iflow_dir_prune_old,
    .put_record = iflow_dir_put_record,
    .get_record = iflow_dir_get_record,
    .remove_record = iflow_dir_remove_record,
    .set_aside_record = iflow_dir_set_aside_record,
    .list_records = iflow_dir_list_records,
};
