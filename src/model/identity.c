/* identity.c - what a model is: the hash of all bytes of its files, computed once and remembered. */
#include "model/identity.h"

#include "base/cancel.h"
#include "base/publish.h"
#include "model/numbers.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

enum { BLOCK_BYTES = 4 << 20, PROGRESS_BYTES = 64 << 20, YOUNG_SECONDS = 2 };

/* ---- Reading ----------------------------------------------------------------------------------------------------------------------- */

/* Hashes one file from its descriptor; *done goes on over all parts. */
static iflow_status hash_part(const iflow_part *part, uint64_t total, const iflow_model_params *params, char *block, iflow_hasher *hasher,
                              uint64_t *done) {
    const char *slash = strrchr(part->path, '/');
    const uint64_t size = (uint64_t)part->st.st_size;
    posix_fadvise(part->fd, 0, 0, POSIX_FADV_SEQUENTIAL);
    for (uint64_t at = 0; at < size;) {
        const size_t want = size - at < BLOCK_BYTES ? (size_t)(size - at) : BLOCK_BYTES;
        const ssize_t got = pread(part->fd, block, want, (off_t)at);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            return iflow_fail(IFLOW_E_IO, "model %s: cannot read byte %llu: %s", part->path, (unsigned long long)at,
                              got ? strerror(errno) : "the file became shorter while it was loaded");
        }
        const iflow_status status = iflow_cancel_check();
        if (status) {
            return status;
        }
        iflow_hasher_add(hasher, block, (size_t)got);
        at += (uint64_t)got;
        const uint64_t before = *done;
        *done += (uint64_t)got;
        const bool due = before / PROGRESS_BYTES != *done / PROGRESS_BYTES || *done == total;
        if (due && params->on_progress && !params->on_progress(slash ? slash + 1 : part->path, *done, total, params->progress_user)) {
            return iflow_fail(IFLOW_E_CANCELLED, "model %s: reading it was cancelled", part->path);
        }
    }
    return IFLOW_OK;
}

static iflow_status hash_parts(const iflow_parts *parts, const iflow_model_params *params, char hex[IFLOW_ID_SIZE]) {
    iflow_status status = IFLOW_OK;
    uint64_t done = 0;
    char *block = malloc(BLOCK_BYTES);
    iflow_hasher *hasher = iflow_hasher_new();
    if (!block || !hasher) {
        status = iflow_fail_memory(BLOCK_BYTES);
    }
    for (size_t i = 0; i < parts->n && !status; i++) {
        status = hash_part(&parts->part[i], parts->n_bytes, params, block, hasher, &done);
    }
    if (hasher) {
        iflow_hasher_hex(hasher, hex);
    }
    free(block);
    return status;
}

/* ---- Remembering ------------------------------------------------------------------------------------------------------------------- */

/* One small file a model, named by the hash of its path. Its text is a version, a line for each file of the model with all that must be as
 * it was, the identity, and a checksum of the text before. It holds only what can be computed again, so it is never repaired: what is not
 * exactly as it would be written is not believed. */
static const char VERSION_LINE[] = "infoflow model identity 1\n";
enum { END_BYTES = 9 + 33 + 6 + 33 }; /* "identity " and "check ", 32 digits and a line end each */

typedef struct memory {
    char *dir;          /* NULL: nowhere */
    char name[40];      /* of the file in it */
    iflow_buffer facts; /* the text up to the identity */
} memory;

/* Where identities are kept: NULL if nothing says where, or if they are not to be kept. */
static char *find_dir(const iflow_model_params *params) {
    char *cache = NULL, *dir = NULL;
    if (params->cache_dir) {
        return params->cache_dir[0] ? iflow_strdup(params->cache_dir) : NULL;
    }
    if (iflow_user_directory("XDG_CACHE_HOME", ".cache", &cache) == IFLOW_OK && cache) {
        dir = iflow_format("%s/identities", cache);
    }
    free(cache);
    return dir;
}

/* What must be as it was, in a line: path (as its hash, so that the line is plain text), size, inode, times of writing and of change. */
static iflow_status add_facts(memory *m, const iflow_part *part) {
    char *real = realpath(part->path, NULL), hex[IFLOW_ID_SIZE];
    if (!real) {
        return iflow_fail(IFLOW_E_IO, "%s: %s", part->path, strerror(errno));
    }
    iflow_hash_hex(real, strlen(real), hex);
    free(real);
    if (!m->name[0]) {
        snprintf(m->name, sizeof m->name, "%s.id", hex);
    }
    char *line = iflow_format("file %s %lld %llu %lld.%09ld %lld.%09ld\n", hex, (long long)part->st.st_size,
                              (unsigned long long)part->st.st_ino, (long long)part->st.st_mtim.tv_sec, part->st.st_mtim.tv_nsec,
                              (long long)part->st.st_ctim.tv_sec, part->st.st_ctim.tv_nsec);
    const iflow_status status = line ? iflow_buffer_add(&m->facts, line, strlen(line)) : iflow_fail_memory(256);
    free(line);
    return status;
}

static void memory_free(memory *m) {
    free(m->dir);
    iflow_buffer_free(&m->facts);
}

static iflow_status memory_new(const iflow_parts *parts, const iflow_model_params *params, memory *m) {
    *m = (memory){.dir = find_dir(params)};
    iflow_status status = iflow_buffer_add(&m->facts, VERSION_LINE, sizeof VERSION_LINE - 1);
    for (size_t i = 0; i < parts->n && !status && m->dir; i++) {
        status = add_facts(m, &parts->part[i]);
    }
    return status;
}

/* The whole text of a memory with an identity. NULL: no memory. free(). */
static char *whole_text(const memory *m, const char *hex) {
    char check[IFLOW_ID_SIZE], *text = iflow_format("%sidentity %s\n", m->facts.text, hex);
    if (!text) {
        return NULL;
    }
    iflow_hash_hex(text, strlen(text), check);
    char *whole = iflow_format("%scheck %s\n", text, check);
    free(text);
    return whole;
}

/* Reads what is remembered. A file of another user could say anything, a pipe would make us wait. */
static bool recall(const memory *m, char hex[IFLOW_ID_SIZE]) {
    bool known = false;
    struct stat st;
    char *text = NULL, *expected = NULL;
    const size_t n_facts = m->facts.n, n = n_facts + END_BYTES;
    const int dir = open(m->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    const int fd = dir < 0 ? -1 : openat(dir, m->name, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY);
    if (fd < 0 || fstat(fd, &st) || !S_ISREG(st.st_mode) || (st.st_uid != geteuid() && st.st_uid != 0) ||
        (st.st_mode & (S_IWGRP | S_IWOTH)) || (uint64_t)st.st_size != n || !(text = malloc(n + 1)) || pread(fd, text, n, 0) != (ssize_t)n) {
        goto cleanup;
    }
    text[n] = '\0';
    char found[IFLOW_ID_SIZE] = "";
    memcpy(found, text + n_facts + strlen("identity "), IFLOW_ID_SIZE - 1);
    if (strspn(found, "0123456789abcdef") != IFLOW_ID_SIZE - 1 || !(expected = whole_text(m, found))) {
        goto cleanup;
    }
    known = strlen(expected) == n && memcmp(text, expected, n) == 0;
    if (known) {
        memcpy(hex, found, IFLOW_ID_SIZE);
    }

cleanup:
    free(text);
    free(expected);
    if (fd >= 0) {
        close(fd);
    }
    if (dir >= 0) {
        close(dir);
    }
    return known;
}

/* 0, or why it cannot be kept, as errno. */
static int remember(const memory *m, const char *hex) {
    char *text = whole_text(m, hex);
    if (!text) {
        return ENOMEM;
    }
    int error = iflow_make_dirs(m->dir, true);
    const int dir = error ? -1 : open(m->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    error = error ? error : dir < 0 ? errno : iflow_publish(dir, m->name, text, strlen(text), true, NULL);
    if (dir >= 0) {
        close(dir);
    }
    free(text);
    return error;
}

static bool is_future(struct timespec time, struct timespec began) {
    return time.tv_sec > began.tv_sec + YOUNG_SECONDS;
}

/* Whether a time is so near to when the reading began that a later change could leave it as it is: the clocks of file systems have steps.
 * A time in the future says nothing about what came after what. */
static bool is_young(struct timespec time, struct timespec began) {
    return time.tv_sec >= began.tv_sec - YOUNG_SECONDS;
}

/* Whether a file lies in memory alone: such file systems don't change its times when it is written to through a mapping. */
static bool is_in_memory(int fd) {
    struct statfs fs;
    return fstatfs(fd, &fs) == 0 && (fs.f_type == TMPFS_MAGIC || fs.f_type == RAMFS_MAGIC);
}

/* Whether what the file system says of the files, now, can tell a later change. */
static bool can_be_told(const iflow_parts *parts, struct timespec began, bool *future) {
    *future = false;
    for (size_t i = 0; i < parts->n; i++) {
        const struct stat *then = &parts->part[i].st;
        struct stat now;
        *future = *future || is_future(then->st_mtim, began) || is_future(then->st_ctim, began);
        if (fstat(parts->part[i].fd, &now) || now.st_size != then->st_size || now.st_ctim.tv_sec != then->st_ctim.tv_sec ||
            now.st_ctim.tv_nsec != then->st_ctim.tv_nsec || is_young(then->st_mtim, began) || is_young(then->st_ctim, began) ||
            is_in_memory(parts->part[i].fd)) {
            return false;
        }
    }
    return true;
}

static void warn_forgotten(const iflow_parts *parts, const memory *m, const char *why) {
    iflow_log(IFLOW_LOG_WARN, "the identity of model %s cannot be kept in %s (%s): its %llu bytes are read again at each start",
              parts->part[0].path, m->dir ? m->dir : "a cache directory", why, (unsigned long long)parts->n_bytes);
}

/* Writes to a shared mapping show in a file's times only where they meet a page that is not waiting to be written already. */
static void sync_parts(const iflow_parts *parts) {
    for (size_t i = 0; i < parts->n; i++) {
        if (fsync(parts->part[i].fd) != 0) {
            iflow_log(IFLOW_LOG_DEBUG, "%s: cannot be synced: %s", parts->part[i].path, strerror(errno));
        }
    }
}

iflow_status iflow_identity(const iflow_parts *parts, const iflow_model_params *params, char hex[IFLOW_ID_SIZE]) {
    memory m;
    struct timespec began;
    iflow_status status = memory_new(parts, params, &m);
    if (status || (m.dir && recall(&m, hex))) {
        goto cleanup;
    }
    sync_parts(parts);
    clock_gettime(CLOCK_REALTIME, &began);
    /* What is remembered stands for weights that were looked at, too. */
    if ((status = hash_parts(parts, params, hex)) || (status = iflow_numbers_check(parts, params))) {
        goto cleanup;
    }
    if (!m.dir && !(params->cache_dir && !params->cache_dir[0])) {
        warn_forgotten(parts, &m, "neither XDG_CACHE_HOME nor HOME is an absolute path");
    } else if (m.dir) {
        bool future;
        const int error = can_be_told(parts, began, &future) ? remember(&m, hex) : 0;
        if (error || future) {
            warn_forgotten(parts, &m, error ? strerror(error) : "its time lies in the future");
        }
    }

cleanup:
    memory_free(&m);
    return status;
}
