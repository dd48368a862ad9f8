/* store_dir_lease.c - the directory store's leases: which process computes a chunk, told across processes and hosts.
 *
 * A lease is the file tmp/ID.lease: its owner has it locked (flock), and has written into it who it is, by process and host (boot id), and
 * a counter, which a thread of the store raises every quarter of the lease's length. Where the owner died, the kernel has dropped the lock:
 * who gets it and finds its own host there has the lease at once. Another host's lock may not reach here, and an owner that was stopped
 * keeps its lock: in both cases the lease is taken over once what the file says has stood still for the lease's length, on our own
 * monotonic clock from when we first saw it. No time of a file and no time of day is ever looked at.
 *
 * Taking over replaces the file by another of that name, under the store's lock. So a stopped owner that wakes raises the counter of a file
 * that nobody sees, and does not delete its successor's. It then publishes what it computed, which is the same chunk: publishing twice is
 * publishing once.
 *
 * A forked process has copies of its parent's leases, and with their descriptors the parent's locks. It drops them, without touching the
 * files, before it does anything with leases or under the store's lock. Until then its parent's death is told by the counter. */
#include "kv/store_dir.h"

#include "base/thread.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { RAISES = 4 /* in a lease's length */ };

static void lease_path(const char *id, char path[IFLOW_FILES_PATH_SIZE]) {
    snprintf(path, IFLOW_FILES_PATH_SIZE, "tmp/%s" IFLOW_DIR_LEASE_SUFFIX, id);
}

void iflow_dir_find_host(char host[IFLOW_DIR_HOST_SIZE]) {
    char text[IFLOW_DIR_HOST_SIZE] = "";
    const int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    const ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
    if (fd >= 0) {
        close(fd);
    }
    if (n < (ssize_t)sizeof text - 1 && gethostname(text, sizeof text - 1) != 0) {
        snprintf(text, sizeof text, "unknown");
    }
    snprintf(host, IFLOW_DIR_HOST_SIZE, "%s", text);
    host[strcspn(host, " \n")] = '\0';
}

/* ---- Processes ---------------------------------------------------------------------------------------------------------------------- */

void iflow_dir_own_process(iflow_dir_store *store) {
    const int pid = getpid();
    for (int of = store->process; of != pid; of = store->process) {
        if (of == -pid) { /* another thread is at it */
            sched_yield();
            continue;
        }
        if (!atomic_compare_exchange_strong(&store->process, &of, -pid)) {
            continue;
        }
        pthread_mutex_init(&store->mutex, NULL); /* a thread of the parent's may have had it */
        for (iflow_dir_lease *lease = store->leases; lease;) {
            iflow_dir_lease *next = lease->next;
            close(lease->fd); /* the lock is the parent's as long as that has it open */
            free(lease);
            lease = next;
        }
        store->leases = NULL;
        store->n_watches = 0;
        store->raiser_of = 0;
        store->ending = false;
        store->process = pid;
    }
}

/* ---- What a lease's file says ------------------------------------------------------------------------------------------------------- */

/* Always of one length, so that writing it anew needs no room on the disk. */
static void say(const iflow_dir_store *store, uint64_t counter, char text[IFLOW_DIR_LEASE_TEXT]) {
    snprintf(text, IFLOW_DIR_LEASE_TEXT, "%-20ld %-36.36s %020" PRIu64 "\n", (long)getpid(), store->host, counter);
}

static void read_text(const iflow_dir_store *store, const char *path, char text[IFLOW_DIR_LEASE_TEXT]) {
    const size_t n = iflow_files_read_first(&store->files, path, text, IFLOW_DIR_LEASE_TEXT - 1);
    text[n] = '\0';
}

/* Whose it is; an empty one is nobody's, or of somebody who could not write into it. */
static long owner_of(const char *text, char host[IFLOW_DIR_HOST_SIZE]) {
    long pid = 0;
    host[0] = '\0';
    return sscanf(text, "%ld %36s", &pid, host) == 2 ? pid : 0;
}

static bool is_of_other_host(const iflow_dir_store *store, const char *text) {
    char host[IFLOW_DIR_HOST_SIZE];
    return owner_of(text, host) > 0 && strcmp(host, store->host) != 0;
}

bool iflow_dir_lease_is_others(const iflow_dir_store *store, const char *name) {
    char id[IFLOW_ID_SIZE], path[IFLOW_FILES_PATH_SIZE], text[IFLOW_DIR_LEASE_TEXT];
    if (!iflow_dir_id_of_name(name, IFLOW_DIR_LEASE_SUFFIX, id)) {
        return false;
    }
    iflow_dir_chunk_path(id, path);
    if (iflow_files_exists(&store->files, path)) { /* nobody needs a lease of it any more */
        return false;
    }
    lease_path(id, path);
    read_text(store, path, text);
    return is_of_other_host(store, text);
}

static iflow_status busy(const iflow_dir_store *store, const char *id, const char *text) {
    char host[IFLOW_DIR_HOST_SIZE];
    const long pid = owner_of(text, host);
    return pid > 0 ? iflow_fail(IFLOW_E_BUSY, "chunk %s is being computed by process %ld%s", id, pid,
                                strcmp(host, store->host) != 0 ? " of another host" : "")
                   : iflow_fail(IFLOW_E_BUSY, "chunk %s is being computed by another process", id);
}

/* ---- Watching others' --------------------------------------------------------------------------------------------------------------- */

/* Makes room for one more: what is gone needs no watching, and then goes what nobody has asked for in the lease's length. No other does,
 * or of too many that are asked for in turn none would ever be seen to stand still. NULL: no room now. */
static iflow_dir_watch *new_watch(iflow_dir_store *store, double now) {
    char path[IFLOW_FILES_PATH_SIZE];
    for (size_t i = store->n_watches; i-- > 0;) {
        lease_path(store->watches[i].id, path);
        if (!iflow_files_exists(&store->files, path)) {
            store->watches[i] = store->watches[--store->n_watches];
        }
    }
    if (store->n_watches < IFLOW_DIR_WATCHES) {
        return &store->watches[store->n_watches++];
    }
    iflow_dir_watch *last = &store->watches[0];
    for (size_t i = 1; i < store->n_watches; i++) {
        last = store->watches[i].asked_ms < last->asked_ms ? &store->watches[i] : last;
    }
    return now - last->asked_ms > store->lease_ms ? last : NULL;
}

/* Whether a lease's file has said the same for the lease's length. Whoever asks for the first time begins to watch. */
static bool stands_still(iflow_dir_store *store, const char *id, const char *text) {
    const double now = iflow_now_ms();
    iflow_dir_watch *watch = NULL;
    bool still = false;
    pthread_mutex_lock(&store->mutex);
    for (size_t i = 0; i < store->n_watches && !watch; i++) {
        watch = strcmp(store->watches[i].id, id) == 0 ? &store->watches[i] : NULL;
    }
    const bool known = watch && strcmp(watch->text, text) == 0;
    watch = watch ? watch : new_watch(store, now);
    if (known) {
        still = now - watch->since_ms >= store->lease_ms;
        watch->asked_ms = now;
    } else if (watch) {
        *watch = (iflow_dir_watch){.since_ms = now, .asked_ms = now};
        memcpy(watch->id, id, sizeof watch->id);
        memcpy(watch->text, text, sizeof watch->text);
    }
    pthread_mutex_unlock(&store->mutex);
    return still;
}

static void forget(iflow_dir_store *store, const char *id) {
    pthread_mutex_lock(&store->mutex);
    for (size_t i = 0; i < store->n_watches; i++) {
        if (strcmp(store->watches[i].id, id) == 0) {
            store->watches[i] = store->watches[--store->n_watches];
            break;
        }
    }
    pthread_mutex_unlock(&store->mutex);
}

/* ---- Raising our own ---------------------------------------------------------------------------------------------------------------- */

/* Writes into a lease's file, unless it is another name of somebody's file as well. 0 or errno. */
static int write_text(const iflow_dir_store *store, int fd, uint64_t counter) {
    char text[IFLOW_DIR_LEASE_TEXT];
    struct stat st;
    if (fstat(fd, &st) != 0 || st.st_nlink > 1) {
        return 0;
    }
    say(store, counter, text);
    return lseek(fd, 0, SEEK_SET) == 0 ? iflow_write_all(fd, text, strlen(text)) : errno;
}

static void *raise_leases(void *user) {
    iflow_dir_store *store = user;
    pthread_mutex_lock(&store->mutex);
    while (!store->ending) {
        if (!store->leases) {
            pthread_cond_wait(&store->wake, &store->mutex);
            continue;
        }
        iflow_condition_wait(&store->wake, &store->mutex, store->lease_ms / RAISES);
        for (iflow_dir_lease *lease = store->leases; lease && !store->ending; lease = lease->next) {
            write_text(store, lease->fd, ++lease->counter); /* if it fails, somebody may compute the chunk as well */
        }
    }
    pthread_mutex_unlock(&store->mutex);
    return NULL;
}

/* Starts the thread in this process: one that was forked has none of its parent's. The store's mutex is locked. */
static iflow_status start_raising(iflow_dir_store *store) {
    if (store->raiser_of == getpid()) {
        pthread_cond_signal(&store->wake);
        return IFLOW_OK;
    }
    iflow_condition_init(&store->wake);
    const int error = iflow_thread_start(&store->raiser, NULL, raise_leases, store);
    store->raiser_of = error ? 0 : getpid();
    return error ? iflow_fail(IFLOW_E_MEMORY, "cannot start the thread that keeps leases of the store %s: %s", store->files.dir,
                              strerror(error))
                 : IFLOW_OK;
}

/* Notes a lease whose file we have locked. On failure that is gone. */
static iflow_status own(iflow_dir_store *store, const char *id, const char *path, int fd) {
    const uint64_t counter = (uint64_t)(iflow_now_ms() * 1e3); /* not that of a lease of ours before: who watches is to see a change */
    const int error = write_text(store, fd, counter);
    iflow_status status = error ? iflow_files_fail(&store->files, "write", path, error) : IFLOW_OK; /* the chunk could not be kept either */
    iflow_dir_lease *mine = iflow_calloc(1, sizeof *mine);
    status = status || mine ? status : iflow_fail_memory(sizeof *mine);
    pthread_mutex_lock(&store->mutex);
    if (!status) {
        status = start_raising(store);
    }
    if (!status && mine) {
        *mine = (iflow_dir_lease){.fd = fd, .counter = counter, .next = store->leases};
        memcpy(mine->id, id, sizeof mine->id);
        store->leases = mine;
    }
    pthread_mutex_unlock(&store->mutex);
    if (status) {
        free(mine);
        iflow_files_unlink_locked(&store->files, path, fd);
    } else {
        forget(store, id);
    }
    return status;
}

/* Replaces the file of a lease that stood still, if it still says that. */
static iflow_status take_over(iflow_dir_store *store, const char *id, const char *path, const char *seen) {
    char text[IFLOW_DIR_LEASE_TEXT], from[IFLOW_TEMP_SIZE + 8];
    iflow_temp temp = {.fd = -1};
    int lock;
    iflow_status status = iflow_dir_lock(store, &lock);
    if (status) {
        return status;
    }
    read_text(store, path, text);
    if (strcmp(text, seen) != 0) {
        status = busy(store, id, text);
        goto cleanup;
    }
    say(store, 0, text);
    status = iflow_files_write_temp(&store->files, id, text, strlen(text), &temp);
    if (status) {
        goto cleanup;
    }
    snprintf(from, sizeof from, "tmp/%s", temp.name);
    if (iflow_files_rename(&store->files, from, path) != 0) {
        status = iflow_files_fail(&store->files, "replace", path, errno);
        iflow_files_discard_temp(&store->files, &temp);
        goto cleanup;
    }
    iflow_log(IFLOW_LOG_INFO, "store %s: the lease of chunk %s stood still for %.3g s and was taken over", store->files.dir, id,
              store->lease_ms / 1e3);
    status = own(store, id, path, temp.fd);

cleanup:
    iflow_dir_unlock(lock);
    return status;
}

iflow_status iflow_dir_take_lease(iflow_store *base, const char *id) {
    iflow_dir_store *store = iflow_dir_of(base);
    char path[IFLOW_FILES_PATH_SIZE], text[IFLOW_DIR_LEASE_TEXT];
    const iflow_status status = iflow_id_check(id);
    if (status) {
        return status;
    }
    lease_path(id, path);
    iflow_dir_own_process(store);
    const int fd = iflow_files_lock(&store->files, path);
    if (fd < 0 && errno != EWOULDBLOCK) {
        const int error = errno;
        struct stat st;
        return iflow_files_stat(&store->files, path, &st) == 0 && !S_ISREG(st.st_mode)
                   ? iflow_fail(IFLOW_E_IO, "%s/%s is no regular file, and so no lease: verifying the store moves it away",
                                store->files.dir, path)
                   : iflow_files_fail_lock(&store->files, path, error);
    }
    read_text(store, path, text);
    if (fd >= 0 && !is_of_other_host(store, text)) {
        return own(store, id, path, fd);
    }
    if (fd >= 0) {
        close(fd);
    }
    return stands_still(store, id, text) ? take_over(store, id, path, text) : busy(store, id, text);
}

void iflow_dir_release(iflow_store *base, const char *id) {
    iflow_dir_store *store = iflow_dir_of(base);
    char path[IFLOW_FILES_PATH_SIZE];
    iflow_dir_own_process(store);
    pthread_mutex_lock(&store->mutex);
    iflow_dir_lease *before = NULL, *lease = store->leases;
    while (lease && strcmp(lease->id, id) != 0) {
        before = lease;
        lease = lease->next;
    }
    if (lease && before) {
        before->next = lease->next;
    } else if (lease) {
        store->leases = lease->next;
    }
    pthread_mutex_unlock(&store->mutex);
    if (lease) {
        lease_path(id, path);
        iflow_files_unlink_locked(&store->files, path, lease->fd); /* not another's, who took it over */
        free(lease);
    }
}

void iflow_dir_end_leases(iflow_dir_store *store) {
    iflow_dir_own_process(store);
    if (store->raiser_of == getpid()) {
        pthread_mutex_lock(&store->mutex);
        store->ending = true;
        pthread_cond_signal(&store->wake);
        pthread_mutex_unlock(&store->mutex);
        pthread_join(store->raiser, NULL);
        pthread_cond_destroy(&store->wake);
    }
    for (iflow_dir_lease *lease = store->leases; lease; lease = store->leases) {
        char id[IFLOW_ID_SIZE];
        memcpy(id, lease->id, sizeof id);
        iflow_dir_release(&store->base, id);
    }
}
