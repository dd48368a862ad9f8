/* store_dir.c - the embedded store: chunks and records as files of one directory, shared by any number of processes.
 *
 *     VERSION            "infoflow-store 1\n"
 *     lock               empty; locked (flock) while chunks are published, evicted, deleted or pinned
 *     chunks/ab/ID.gguf  the chunk whose id begins with ab
 *     docs/ID.json       records
 *     pins/ID            empty; the chunk is not evicted
 *     tmp/               files in the making (ID.PID.N) and claims (ID.claim), each locked by the process it belongs to
 *     bad/ID.gguf        chunks set aside
 *
 * Invariants, which iflow_store_dir_check() checks:
 *  1. VERSION states the version of this layout.
 *  2. A file chunks/ab/ID.gguf is complete and sound at every moment, ID is its content's id and begins with ab: it was renamed to there
 *     after it was written and synced, and is never written to again.
 *  3. After a put or a prune, the chunks take no more than the limit it ran with (a prune: or no more than the pinned ones do).
 *  4. A file docs/ID.json is complete, and ID is an id.
 *  5. A file in pins/ is named by an id. Its chunk may be missing: one that was set aside is still pinned when it comes back.
 *  6. A file in tmp/ that nobody has locked is garbage. Who unlinks one holds its lock.
 *
 * store_dir_scan.c finds out what is there, evicts, and checks the invariants.
 *
 * Readers take no lock: unlinking a file leaves it to those who have mapped it. The kernel drops a dead process's locks, so there is no
 * state that a crash could leave behind but garbage in tmp/. */
#include "kv/store_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LAYOUT_VERSION   1
#define VERSION_TEXT     "infoflow-store "
#define MAX_RECORD_BYTES ((size_t)64 << 20)

static iflow_dir_store *iflow_dir_of(iflow_store *store) {
    return (iflow_dir_store *)store;
}

/* ---- Paths -------------------------------------------------------------------------------------------------------------------------- */

/* Everything that comes from outside passes here before it becomes part of a path. */
static iflow_status check_id(const char *id) {
    if (!iflow_id_is_valid(id)) {
        return iflow_fail(IFLOW_E_ARG, "\"%.64s\" is no id: an id is 32 lower-case hexadecimal digits", id ? id : "(null)");
    }
    return IFLOW_OK;
}

static void chunk_dir(const char *id, char path[IFLOW_FILES_PATH_SIZE]) {
    snprintf(path, IFLOW_FILES_PATH_SIZE, "chunks/%.2s", id);
}

static iflow_status chunk_not_found(const iflow_dir_store *store, const char *id) {
    return iflow_fail(IFLOW_E_NOT_FOUND, "chunk %s is not in the store %s", id, store->files.dir);
}

/* Against all that publish, evict, delete and pin. Given back by close(). */
static iflow_status lock_store(const iflow_dir_store *store, int *fd) {
    *fd = iflow_files_lock(&store->files, "lock", true);
    return *fd < 0 ? iflow_files_fail(&store->files, "lock", "lock", errno) : IFLOW_OK;
}

/* ---- Pruning ------------------------------------------------------------------------------------------------------------------------ */

static iflow_status visit_temp(void *user, const char *dir, const char *name) {
    const iflow_dir_store *store = user;
    char path[IFLOW_FILES_PATH_SIZE];
    if ((size_t)snprintf(path, sizeof path, "%s/%s", dir, name) < sizeof path) {
        iflow_files_reap(&store->files, path);
    }
    return IFLOW_OK;
}

static iflow_status dir_prune(iflow_store *base, uint64_t max_bytes, size_t *n_deleted, uint64_t *n_bytes) {
    iflow_dir_store *store = iflow_dir_of(base);
    size_t n = 0;
    uint64_t bytes = 0;
    int lock;
    iflow_status status = lock_store(store, &lock);
    if (status) {
        return status;
    }
    status = iflow_dir_evict(store, max_bytes, NULL, &n, &bytes);
    close(lock);
    if (status) {
        return status;
    }
    *n_deleted = n;
    *n_bytes = bytes;
    return iflow_files_walk(&store->files, "tmp", visit_temp, store);
}

/* ---- Chunks ------------------------------------------------------------------------------------------------------------------------- */

static iflow_status map_chunk(iflow_store *base, const char *id, bool used, iflow_blob *out) {
    iflow_dir_store *store = iflow_dir_of(base);
    char path[IFLOW_FILES_PATH_SIZE];
    iflow_status status = check_id(id);
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
    return iflow_dir_exists(iflow_dir_of(base), path);
}

static iflow_status dir_put(iflow_store *base, const char *id, const iflow_blob *blob, bool replace) {
    iflow_dir_store *store = iflow_dir_of(base);
    int lock = -1;
    iflow_temp temp = {.fd = -1};
    size_t n_deleted = 0;
    uint64_t n_bytes = 0;
    char dir[IFLOW_FILES_PATH_SIZE], name[IFLOW_FILES_PATH_SIZE];
    iflow_status status = check_id(id);
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
    status = lock_store(store, &lock);
    if (status || (!replace && dir_has(base, id))) {
        goto cleanup;
    }
    if (store->max_bytes) {
        status = iflow_dir_evict(store, store->max_bytes - blob->n_bytes, id, &n_deleted, &n_bytes);
        if (status) {
            goto cleanup;
        }
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
        unlinkat(store->files.root, path, 0); /* it may have been renamed, but nobody knows whether it will last */
    }

cleanup:
    iflow_files_discard_temp(&store->files, &temp);
    if (lock >= 0) {
        close(lock);
    }
    return status;
}

/* Its facts from its header. E_NOT_FOUND without a message of its own. */
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
    if (!status) {
        info->used_at = (int64_t)st.st_mtim.tv_sec;
        info->pinned = iflow_dir_is_pinned(store, id);
    }
    iflow_blob_free(&blob);
    return status;
}

static iflow_status dir_stat(iflow_store *base, const char *id, iflow_chunk_info *info) {
    iflow_status status = check_id(id);
    if (!status) {
        status = stat_chunk(iflow_dir_of(base), id, info);
    }
    return status == IFLOW_E_NOT_FOUND ? chunk_not_found(iflow_dir_of(base), id) : status;
}

static iflow_status dir_list(iflow_store *base, iflow_chunk_info **list, size_t *n) {
    const iflow_dir_store *store = iflow_dir_of(base);
    iflow_dir_scan s = {0};
    iflow_chunk_info *infos = NULL;
    size_t n_infos = 0;
    iflow_status status = iflow_dir_scan_chunks(store, NULL, &s);
    if (status) {
        goto cleanup;
    }
    infos = iflow_calloc(s.n, sizeof infos[0]);
    if (!infos) {
        status = iflow_fail_memory(s.n * sizeof infos[0]);
        goto cleanup;
    }
    for (size_t i = s.n; i-- > 0;) {
        status = stat_chunk(store, s.entries[i].id, &infos[n_infos]);
        if (!status) {
            n_infos++;
        } else if (status == IFLOW_E_MEMORY) {
            goto cleanup;
        } else if (status != IFLOW_E_NOT_FOUND) { /* not found: evicted meanwhile */
            iflow_log(IFLOW_LOG_WARN, "store %s: not listed: %s", store->files.dir, iflow_error_message());
        }
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

static iflow_status dir_find(iflow_store *base, const char *prefix, char (**ids)[IFLOW_ID_SIZE], size_t *n) {
    iflow_dir_scan s = {0};
    char(*found)[IFLOW_ID_SIZE] = NULL;
    iflow_status status = iflow_dir_scan_chunks(iflow_dir_of(base), prefix, &s);
    if (status) {
        goto cleanup;
    }
    found = iflow_calloc(s.n, sizeof found[0]);
    if (!found) {
        status = iflow_fail_memory(s.n * sizeof found[0]);
        goto cleanup;
    }
    for (size_t i = 0; i < s.n; i++) {
        memcpy(found[i], s.entries[i].id, sizeof found[i]);
    }
    *ids = found;
    *n = s.n;

cleanup:
    free(s.entries);
    return status;
}

/* Checks an id and takes the store's lock, for what changes the chunk of that id. */
static iflow_status lock_for(iflow_dir_store *store, const char *id, int *lock) {
    const iflow_status status = check_id(id);
    return status ? status : lock_store(store, lock);
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
    if (unlinkat(store->files.root, path, 0) != 0 && errno != ENOENT) {
        status = iflow_files_fail(&store->files, "delete", path, errno);
    }

cleanup:
    close(lock);
    return status;
}

static iflow_status dir_set_aside(iflow_store *base, const char *id) {
    iflow_dir_store *store = iflow_dir_of(base);
    int lock;
    char path[IFLOW_FILES_PATH_SIZE], bad[IFLOW_FILES_PATH_SIZE];
    iflow_status status = lock_for(store, id, &lock);
    if (status) {
        return status;
    }
    iflow_dir_chunk_path(id, path);
    snprintf(bad, sizeof bad, "bad/%s.gguf", id);
    if (renameat(store->files.root, path, store->files.root, bad) != 0) {
        status =
            errno == ENOENT && !dir_has(base, id) ? chunk_not_found(store, id) : iflow_files_fail(&store->files, "set aside", path, errno);
    } else {
        iflow_dir_trim_bad(store);
    }
    close(lock);
    return status;
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
        if (unlinkat(store->files.root, path, 0) != 0) {
            if (errno != ENOENT) {
                status = iflow_files_fail(&store->files, "unpin", path, errno);
            } else if (!dir_has(base, id)) {
                status = chunk_not_found(store, id);
            }
        }
    } else if (!dir_has(base, id)) {
        status = chunk_not_found(store, id);
    } else {
        const int fd = openat(store->files.root, path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
        if (fd < 0) {
            status = iflow_files_fail(&store->files, "pin", path, errno);
        } else {
            close(fd);
            status = iflow_files_sync_dir(&store->files, "pins");
        }
    }
    close(lock);
    return status;
}

/* ---- Claims ------------------------------------------------------------------------------------------------------------------------- */

static void claim_path(const char *id, char path[IFLOW_FILES_PATH_SIZE]) {
    snprintf(path, IFLOW_FILES_PATH_SIZE, "tmp/%s.claim", id);
}

/* Who has it, as it wrote into the claim; 0 if that cannot be known. */
static long claimant(const iflow_dir_store *store, const char *path) {
    char text[32] = "";
    const int fd = openat(store->files.root, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd >= 0) {
        if (read(fd, text, sizeof text - 1) < 0) {
            text[0] = '\0';
        }
        close(fd);
    }
    return strtol(text, NULL, 10);
}

static iflow_status dir_claim(iflow_store *base, const char *id) {
    iflow_dir_store *store = iflow_dir_of(base);
    char path[IFLOW_FILES_PATH_SIZE], pid[32];
    iflow_status status = check_id(id);
    if (status) {
        return status;
    }
    claim_path(id, path);
    const int fd = iflow_files_lock(&store->files, path, false);
    if (fd < 0 && errno == EWOULDBLOCK) {
        const long other = claimant(store, path);
        return other > 0 ? iflow_fail(IFLOW_E_BUSY, "chunk %s is being computed by process %ld", id, other)
                         : iflow_fail(IFLOW_E_BUSY, "chunk %s is being computed by another process", id);
    }
    if (fd < 0) {
        return iflow_files_fail(&store->files, "lock", path, errno);
    }
    const int length = snprintf(pid, sizeof pid, "%-20ld\n", (long)getpid()); /* over a dead one's, which is as long */
    if (pwrite(fd, pid, (size_t)length, 0) != length) {
        iflow_log(IFLOW_LOG_DEBUG, "store %s: claim %s says not whose it is", store->files.dir, path); /* the lock is what counts */
    }
    pthread_mutex_lock(&store->mutex);
    status = iflow_reserve((void **)&store->claims, &store->claims_capacity, store->n_claims + 1, sizeof store->claims[0]);
    if (!status) {
        iflow_dir_claim *mine = &store->claims[store->n_claims++];
        mine->fd = fd;
        memcpy(mine->id, id, sizeof mine->id);
    }
    pthread_mutex_unlock(&store->mutex);
    if (status) {
        iflow_files_unlink_locked(&store->files, path, fd);
    }
    return status;
}

static void dir_release(iflow_store *base, const char *id) {
    iflow_dir_store *store = iflow_dir_of(base);
    char path[IFLOW_FILES_PATH_SIZE];
    int fd = -1;
    pthread_mutex_lock(&store->mutex);
    for (size_t i = 0; i < store->n_claims; i++) {
        if (strcmp(store->claims[i].id, id) == 0) {
            fd = store->claims[i].fd;
            store->claims[i] = store->claims[--store->n_claims];
            break;
        }
    }
    pthread_mutex_unlock(&store->mutex);
    if (fd >= 0) {
        claim_path(id, path);
        iflow_files_unlink_locked(&store->files, path, fd);
    }
}

/* ---- Records ------------------------------------------------------------------------------------------------------------------------ */

static void record_path(const char *id, char path[IFLOW_FILES_PATH_SIZE]) {
    snprintf(path, IFLOW_FILES_PATH_SIZE, "docs/%s.json", id);
}

static iflow_status record_not_found(const iflow_dir_store *store, const char *id) {
    return iflow_fail(IFLOW_E_NOT_FOUND, "document %s is not in the store %s", id, store->files.dir);
}

static iflow_status dir_put_record(iflow_store *base, const char *id, const char *text, size_t n_bytes) {
    iflow_dir_store *store = iflow_dir_of(base);
    iflow_temp temp = {.fd = -1};
    char name[IFLOW_FILES_PATH_SIZE];
    iflow_status status = check_id(id);
    if (status) {
        return status;
    }
    if (n_bytes > MAX_RECORD_BYTES) {
        return iflow_fail(IFLOW_E_ARG, "the record of document %s has %zu bytes, a store takes %zu", id, n_bytes, MAX_RECORD_BYTES);
    }
    status = iflow_files_write_temp(&store->files, id, text, n_bytes, &temp);
    if (status) {
        return status;
    }
    snprintf(name, sizeof name, "%s.json", id);
    return iflow_files_publish(&store->files, &temp, "docs", name);
}

static iflow_status dir_get_record(iflow_store *base, const char *id, iflow_buffer *out) {
    iflow_dir_store *store = iflow_dir_of(base);
    iflow_blob blob = {0};
    char path[IFLOW_FILES_PATH_SIZE];
    iflow_status status = check_id(id);
    if (status) {
        return status;
    }
    record_path(id, path);
    status = iflow_files_map(&store->files, path, false, false, &blob, NULL);
    if (status) {
        return status == IFLOW_E_NOT_FOUND ? record_not_found(store, id) : status;
    }
    if (blob.n_bytes > MAX_RECORD_BYTES) {
        status = iflow_fail(IFLOW_E_FORMAT, "%s/%s has %zu bytes, a record has at most %zu", store->files.dir, path, blob.n_bytes,
                            MAX_RECORD_BYTES);
    } else {
        status = iflow_buffer_add(out, blob.data, blob.n_bytes);
    }
    iflow_blob_free(&blob);
    return status;
}

static iflow_status dir_remove_record(iflow_store *base, const char *id) {
    iflow_dir_store *store = iflow_dir_of(base);
    char path[IFLOW_FILES_PATH_SIZE];
    iflow_status status = check_id(id);
    if (status) {
        return status;
    }
    record_path(id, path);
    if (unlinkat(store->files.root, path, 0) != 0) {
        return errno == ENOENT ? record_not_found(store, id) : iflow_files_fail(&store->files, "delete", path, errno);
    }
    return IFLOW_OK;
}

typedef struct id_list {
    char (*ids)[IFLOW_ID_SIZE];
    size_t n, capacity;
} id_list;

static iflow_status visit_record(void *user, const char *dir, const char *name) {
    id_list *list = user;
    char id[IFLOW_ID_SIZE];
    (void)dir;
    if (!iflow_dir_id_of_name(name, ".json", id)) {
        return IFLOW_OK;
    }
    const iflow_status status = iflow_reserve((void **)&list->ids, &list->capacity, list->n + 1, sizeof list->ids[0]);
    if (!status) {
        memcpy(list->ids[list->n++], id, sizeof id);
    }
    return status;
}

static iflow_status dir_list_records(iflow_store *base, char (**ids)[IFLOW_ID_SIZE], size_t *n) {
    id_list list = {0};
    const iflow_status status = iflow_files_walk(&iflow_dir_of(base)->files, "docs", visit_record, &list);
    if (status) {
        free(list.ids);
        return status;
    }
    *ids = list.ids;
    *n = list.n;
    return IFLOW_OK;
}

/* ---- Opening ------------------------------------------------------------------------------------------------------------------------ */

static void dir_close(iflow_store *base) {
    iflow_dir_store *store = iflow_dir_of(base);
    while (store->n_claims) {
        dir_release(base, store->claims[0].id);
    }
    free(store->claims);
    iflow_files_close(&store->files);
    pthread_mutex_destroy(&store->mutex);
    free(store);
}

static const iflow_store_ops dir_ops = {
    .close = dir_close,
    .get = dir_get,
    .peek = dir_peek,
    .prefetch = dir_prefetch,
    .put = dir_put,
    .has = dir_has,
    .remove = dir_remove,
    .set_aside = dir_set_aside,
    .pin = dir_pin,
    .claim = dir_claim,
    .release = dir_release,
    .list = dir_list,
    .stat = dir_stat,
    .find = dir_find,
    .prune = dir_prune,
    .put_record = dir_put_record,
    .get_record = dir_get_record,
    .remove_record = dir_remove_record,
    .list_records = dir_list_records,
};

static const char *const sub_dirs[] = {"tmp", "chunks", "docs", "pins", "bad"};

iflow_status iflow_dir_check_version(const iflow_dir_store *store) {
    iflow_blob blob = {0};
    char text[32] = "";
    const size_t prefix = sizeof VERSION_TEXT - 1;
    iflow_status status = iflow_files_map(&store->files, "VERSION", false, false, &blob, NULL);
    if (status) {
        return status;
    }
    if (blob.n_bytes) {
        memcpy(text, blob.data, blob.n_bytes < sizeof text ? blob.n_bytes : sizeof text - 1);
    }
    iflow_blob_free(&blob);
    text[strcspn(text, "\r\n")] = '\0';
    const size_t digits = strncmp(text, VERSION_TEXT, prefix) == 0 ? strspn(text + prefix, "0123456789") : 0;
    if (digits == 0 || digits > 9 || text[prefix + digits] != '\0') {
        return iflow_fail(IFLOW_E_FORMAT, "%s/VERSION is not a store's: it should read \"%s%d\"", store->files.dir, VERSION_TEXT,
                          LAYOUT_VERSION);
    }
    if (strtol(text + prefix, NULL, 10) != LAYOUT_VERSION) {
        return iflow_fail(IFLOW_E_UNSUPPORTED, "the store %s has layout version %s, this program reads version %d", store->files.dir,
                          text + prefix, LAYOUT_VERSION);
    }
    return IFLOW_OK;
}

/* A store is not made among somebody's files: names that another process may just be creating are ours, everything else is not. */
static iflow_status visit_new_root(void *user, const char *dir, const char *name) {
    const iflow_dir_store *store = user;
    (void)dir;
    for (size_t i = 0; i < sizeof sub_dirs / sizeof sub_dirs[0]; i++) {
        if (strcmp(name, sub_dirs[i]) == 0) {
            return IFLOW_OK;
        }
    }
    if (strcmp(name, "VERSION") == 0 || strcmp(name, "lock") == 0 || strcmp(name, "lost+found") == 0) {
        return IFLOW_OK;
    }
    return iflow_fail(IFLOW_E_ARG, "%s is no store and not empty (there is %.100s): name a store or a new directory", store->files.dir,
                      name);
}

static iflow_status create_layout(iflow_dir_store *store) {
    iflow_temp temp = {.fd = -1};
    char text[32];
    iflow_status status = iflow_files_walk(&store->files, "", visit_new_root, store);
    if (!status) {
        status = iflow_files_make_dir(&store->files, "tmp");
    }
    if (!status) {
        const int n = snprintf(text, sizeof text, "%s%d\n", VERSION_TEXT, LAYOUT_VERSION);
        status = iflow_files_write_temp(&store->files, "version", text, (size_t)n, &temp);
    }
    return status ? status : iflow_files_publish(&store->files, &temp, ".", "VERSION");
}

iflow_status iflow_store_dir_open(const char *dir, const iflow_store_params *params, iflow_store **out) {
    iflow_status status = IFLOW_OK;
    const bool create = !params || !params->must_exist;
    if (!dir || !dir[0]) {
        return iflow_fail(IFLOW_E_ARG, "a store needs the name of a directory");
    }
    iflow_dir_store *store = iflow_calloc(1, sizeof *store);
    if (!store) {
        return iflow_fail_memory(sizeof *store);
    }
    store->base.ops = &dir_ops;
    store->max_bytes = params ? params->max_bytes : 0;
    pthread_mutex_init(&store->mutex, NULL);
    status = iflow_files_open(&store->files, dir, create);
    if (status) {
        goto cleanup;
    }
    status = iflow_dir_check_version(store);
    if (status == IFLOW_E_NOT_FOUND) {
        status = create ? create_layout(store) : iflow_fail(IFLOW_E_NOT_FOUND, "%s is no store: it has no file VERSION", dir);
    }
    for (size_t i = 0; !status && i < sizeof sub_dirs / sizeof sub_dirs[0]; i++) {
        if (!iflow_dir_exists(store, sub_dirs[i])) {
            status = iflow_files_make_dir(&store->files, sub_dirs[i]);
        }
    }
    if (!status) {
        status = iflow_files_walk(&store->files, "tmp", visit_temp, store); /* what was killed is not left lying until somebody prunes */
    }
    if (!status) {
        *out = &store->base;
        store = NULL;
    }

cleanup:
    if (store) {
        dir_close(&store->base);
    }
    return status;
}
