/* files.c - files below one directory: published whole or not at all, locked, mapped, walked. */
#include "kv/files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

iflow_status iflow_files_fail(const iflow_files *files, const char *action, const char *path, int error) {
    return iflow_fail(iflow_errno_status(error), "cannot %s %s%s%s: %s", action, files->dir, path[0] ? "/" : "", path, strerror(error));
}

iflow_status iflow_files_fail_lock(const iflow_files *files, const char *path, int error) {
    return iflow_lacks_locks(error)
               ? iflow_fail(IFLOW_E_IO, "cannot lock %s/%s: %s: a store has to be in a file system with working locks (flock)", files->dir,
                            path, strerror(error))
               : iflow_files_fail(files, "lock", path, error);
}

iflow_status iflow_files_open(iflow_files *files, const char *dir, bool create, bool shared) {
    iflow_status status = IFLOW_OK;
    *files = (iflow_files){.root = -1, .dir = iflow_strdup(dir), .shared = shared};
    if (!files->dir) {
        return iflow_fail_memory(strlen(dir) + 1);
    }
    files->root = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (files->root < 0 && errno == ENOENT && create) {
        const int error = iflow_make_dirs(dir, !shared);
        if (error) {
            status = iflow_files_fail(files, "create", "", error);
            goto cleanup;
        }
        files->root = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    }
    if (files->root < 0) {
        if (errno == ENOENT) {
            status = iflow_fail(IFLOW_E_NOT_FOUND, "there is no directory %s", dir);
        } else if (errno == ENOTDIR) {
            status = iflow_fail(IFLOW_E_IO, "%s is not a directory", dir);
        } else {
            status = iflow_files_fail(files, "open", "", errno);
        }
    }

cleanup:
    if (status) {
        iflow_files_close(files);
    }
    return status;
}

void iflow_files_close(iflow_files *files) {
    if (files->root >= 0) {
        close(files->root);
    }
    free(files->dir);
    *files = (iflow_files){.root = -1};
}

/* ---- Paths -------------------------------------------------------------------------------------------------------------------------- */

/* Gives a directory back that parent_of() opened; errno stays. */
static void leave(const iflow_files *files, int dir) {
    if (dir >= 0 && dir != files->root) {
        const int error = errno;
        close(dir);
        errno = error;
    }
}

/* The directory of a path's last part, *leaf, opened part by part without following a link; -1 with errno. */
static int parent_of(const iflow_files *files, const char *path, const char **leaf) {
    int dir = files->root;
    for (const char *slash; dir >= 0 && (slash = strchr(path, '/')); path = slash + 1) {
        char part[IFLOW_FILES_PATH_SIZE];
        snprintf(part, sizeof part, "%.*s", (int)(slash - path), path);
        const int next = openat(dir, part, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        leave(files, dir);
        dir = next;
    }
    *leaf = path[0] ? path : ".";
    return dir;
}

int iflow_files_open_path(const iflow_files *files, const char *path, int flags) {
    const char *leaf;
    const int dir = parent_of(files, path, &leaf);
    const int fd = dir < 0 ? -1 : openat(dir, leaf, flags | O_NOFOLLOW | O_CLOEXEC);
    leave(files, dir);
    return fd;
}

int iflow_files_unlink(const iflow_files *files, const char *path) {
    const char *leaf;
    const int dir = parent_of(files, path, &leaf);
    const int result = dir < 0 ? -1 : unlinkat(dir, leaf, 0);
    leave(files, dir);
    return result;
}

int iflow_files_rename(const iflow_files *files, const char *from, const char *to) {
    const char *from_leaf, *to_leaf;
    const int from_dir = parent_of(files, from, &from_leaf);
    const int to_dir = from_dir < 0 ? -1 : parent_of(files, to, &to_leaf);
    const int result = to_dir < 0 ? -1 : renameat(from_dir, from_leaf, to_dir, to_leaf);
    leave(files, to_dir);
    leave(files, from_dir);
    return result;
}

int iflow_files_stat(const iflow_files *files, const char *path, struct stat *st) {
    const char *leaf;
    const int dir = parent_of(files, path, &leaf);
    const int result = dir < 0 ? -1 : fstatat(dir, leaf, st, AT_SYMLINK_NOFOLLOW);
    leave(files, dir);
    return result;
}

bool iflow_files_exists(const iflow_files *files, const char *path) {
    struct stat st;
    return iflow_files_stat(files, path, &st) == 0;
}

iflow_status iflow_files_make_dir(const iflow_files *files, const char *path) {
    const char *leaf;
    struct stat st;
    const int dir = parent_of(files, path, &leaf);
    int error = dir < 0 ? errno : iflow_make_dir(dir, leaf, !files->shared);
    leave(files, dir);
    if (error == EEXIST && iflow_files_stat(files, path, &st) == 0) {
        if (!S_ISDIR(st.st_mode)) {
            return iflow_fail(IFLOW_E_FORMAT, "%s/%s is no directory%s: a store's directories are its own", files->dir, path,
                              S_ISLNK(st.st_mode) ? " but a symbolic link" : "");
        }
        error = 0;
    }
    return error ? iflow_files_fail(files, "create", path, error) : IFLOW_OK;
}

/* Opens a file that may be there, or creates it; -1 with errno. */
static int open_or_create(const iflow_files *files, const char *path, int flags) {
    const char *leaf;
    int fd = -1;
    const int dir = parent_of(files, path, &leaf);
    while (dir >= 0) { /* it comes and goes */
        fd = openat(dir, leaf, flags | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
        if (fd >= 0 || errno != ENOENT) {
            break;
        }
        fd = iflow_create(dir, leaf, !files->shared);
        if (fd >= 0 || errno != EEXIST) {
            break;
        }
    }
    leave(files, dir);
    return fd;
}

int iflow_files_create(const iflow_files *files, const char *path, mode_t mode) {
    const char *leaf;
    const int dir = parent_of(files, path, &leaf);
    const int fd = dir < 0 ? -1 : openat(dir, leaf, O_RDONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
    leave(files, dir);
    return fd;
}

bool iflow_files_make_empty(const iflow_files *files, const char *path) {
    const int fd = open_or_create(files, path, O_PATH);
    if (fd >= 0) {
        close(fd);
    }
    return fd >= 0;
}

iflow_status iflow_files_sync_dir(const iflow_files *files, const char *path) {
    const int fd = iflow_files_open_path(files, path, O_RDONLY | O_DIRECTORY);
    if (fd < 0) {
        return iflow_files_fail(files, "open", path, errno);
    }
    const int error = iflow_sync(fd);
    close(fd);
    return error ? iflow_files_fail(files, "sync", path, error) : IFLOW_OK;
}

/* ---- Locks -------------------------------------------------------------------------------------------------------------------------- */

/* iflow_is_named() for a path. */
static bool names(const iflow_files *files, const char *path, int fd) {
    const char *leaf;
    const int dir = parent_of(files, path, &leaf);
    const bool named = dir >= 0 && iflow_is_named(dir, leaf, fd);
    leave(files, dir);
    return named;
}

int iflow_files_lock(const iflow_files *files, const char *path) {
    for (;;) {
        struct stat st;
        const int fd = open_or_create(files, path, O_RDWR);
        if (fd < 0) {
            return -1;
        }
        const int error = fstat(fd, &st) != 0 ? errno : !S_ISREG(st.st_mode) ? EINVAL : iflow_try_lock(fd);
        if (error) {
            close(fd);
            errno = error;
            return -1;
        }
        if (names(files, path, fd)) {
            return fd;
        }
        close(fd); /* the last holder unlinked it between our open and our lock: take the next one */
    }
}

void iflow_files_unlink_locked(const iflow_files *files, const char *path, int fd) {
    if (names(files, path, fd)) {
        iflow_files_unlink(files, path);
    }
    close(fd);
}

bool iflow_files_reap(const iflow_files *files, const char *path) {
    const char *leaf;
    const int dir = parent_of(files, path, &leaf);
    const bool gone = dir >= 0 && iflow_reap(dir, leaf);
    leave(files, dir);
    return gone;
}

/* ---- Publishing --------------------------------------------------------------------------------------------------------------------- */

static void touch_fd(int fd) {
    /* The kernel's own "now" is coarse (a tick), which would leave the order of quick uses to chance. */
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    const struct timespec times[2] = {now, now};
    if (futimens(fd, times) != 0) {
        futimens(fd, NULL); /* not the owner: this needs only permission to write, and a reader without it leaves no trace */
    }
}

/* A failure with a file in tmp/. */
static iflow_status fail_temp(const iflow_files *files, const char *action, const iflow_temp *temp, int error) {
    char path[IFLOW_TEMP_SIZE + 8];
    snprintf(path, sizeof path, "tmp/%s", temp->name);
    return iflow_files_fail(files, action, path, error);
}

iflow_status iflow_files_write_temp(const iflow_files *files, const char *tag, const void *bytes, size_t n_bytes, iflow_temp *temp) {
    iflow_status status = IFLOW_OK;
    *temp = (iflow_temp){.fd = -1};
    const int tmp = iflow_files_open_path(files, "tmp", O_PATH | O_DIRECTORY);
    if (tmp < 0) {
        return iflow_files_fail(files, "open", "tmp", errno);
    }
    int error = iflow_temp_create(tmp, tag, "", !files->shared, temp);
    if (error) {
        status = fail_temp(files, "create", temp, error);
    } else if (temp->lock_error) { /* an opening or pruning process of another machine, where locks work, would take it for garbage */
        char path[IFLOW_TEMP_SIZE + 8];
        snprintf(path, sizeof path, "tmp/%s", temp->name);
        status = iflow_files_fail_lock(files, path, temp->lock_error);
        iflow_temp_discard(tmp, temp);
    } else if ((error = iflow_temp_fill(tmp, temp, bytes, n_bytes))) {
        status = fail_temp(files, "write", temp, error);
    }
    close(tmp);
    return status;
}

iflow_status iflow_files_publish(const iflow_files *files, iflow_temp *temp, const char *dir, const char *name) {
    char path[IFLOW_FILES_PATH_SIZE];
    snprintf(path, sizeof path, "%s%s%s", dir, dir[0] ? "/" : "", name);
    touch_fd(temp->fd);
    const int tmp = iflow_files_open_path(files, "tmp", O_PATH | O_DIRECTORY);
    const int to = tmp < 0 ? -1 : iflow_files_open_path(files, dir, O_PATH | O_DIRECTORY);
    const int error = to < 0 ? errno : iflow_temp_publish(tmp, temp, to, name);
    iflow_temp_discard(tmp, temp);
    if (tmp >= 0) {
        close(tmp);
    }
    if (to >= 0) {
        close(to);
    }
    return error ? iflow_files_fail(files, "publish", path, error) : iflow_files_sync_dir(files, dir);
}

void iflow_files_discard_temp(const iflow_files *files, iflow_temp *temp) {
    const int tmp = temp->fd < 0 ? -1 : iflow_files_open_path(files, "tmp", O_PATH | O_DIRECTORY);
    iflow_temp_discard(tmp, temp);
    if (tmp >= 0) {
        close(tmp);
    }
}

/* ---- Reading ------------------------------------------------------------------------------------------------------------------------ */

int64_t iflow_files_mtime_ns(const struct stat *st) {
    return (int64_t)st->st_mtim.tv_sec * 1000000000 + (int64_t)st->st_mtim.tv_nsec;
}

static void unmap(void *owner, const void *data, size_t n_bytes) {
    (void)owner;
    if (data) { /* an empty file is not mapped */
        munmap((void *)(uintptr_t)data, n_bytes);
    }
}

bool iflow_files_map_fd(int fd, size_t n_bytes, bool whole, iflow_blob *out) {
    void *data = mmap(NULL, n_bytes, PROT_READ, MAP_PRIVATE | (whole ? MAP_POPULATE : 0), fd, 0);
    if (data == MAP_FAILED) {
        return false;
    }
    out->data = data;
    out->n_bytes = n_bytes;
    out->release = unmap;
    return true;
}

static iflow_blob file_of(const struct stat *st) {
    return (iflow_blob){.dev = (uint64_t)st->st_dev, .ino = (uint64_t)st->st_ino};
}

iflow_status iflow_files_open_regular(const iflow_files *files, const char *path, bool touch, int *out, iflow_blob *which,
                                      struct stat *st) {
    iflow_status status = IFLOW_OK;
    *st = (struct stat){0};
    /* Without O_NONBLOCK a FIFO that somebody put there would hold us up for ever. */
    const int fd = iflow_files_open_path(files, path, O_RDONLY | O_NONBLOCK);
    if (fd < 0 && errno == ENOENT) {
        return IFLOW_E_NOT_FOUND;
    }
    if (fd < 0 && (errno == ELOOP || errno == ENXIO)) { /* a link; a socket */
        if (iflow_files_stat(files, path, st) == 0) {
            *which = file_of(st);
        }
        return iflow_fail(IFLOW_E_CORRUPT, "%s/%s is no regular file", files->dir, path);
    }
    if (fd < 0) {
        return iflow_files_fail(files, "open", path, errno); /* of another user, say: that it may not be read says nothing against it */
    }
    if (fstat(fd, st) != 0) {
        status = iflow_files_fail(files, "stat", path, errno);
    } else {
        *which = file_of(st);
        status = S_ISREG(st->st_mode) ? IFLOW_OK : iflow_fail(IFLOW_E_CORRUPT, "%s/%s is no regular file", files->dir, path);
    }
    if (status) {
        close(fd);
        return status;
    }
    if (touch) {
        touch_fd(fd);
    }
    *out = fd;
    return IFLOW_OK;
}

iflow_status iflow_files_map(const iflow_files *files, const char *path, bool whole, bool touch, iflow_blob *out, struct stat *st) {
    struct stat own;
    iflow_blob blob = {0};
    int fd = -1;
    st = st ? st : &own;
    iflow_status status = iflow_files_open_regular(files, path, touch, &fd, &blob, st);
    if (!status && st->st_size > 0 && !iflow_files_map_fd(fd, (size_t)st->st_size, whole, &blob)) { /* an empty file cannot be mapped */
        status = iflow_files_fail(files, "map", path, errno);
    }
    if (!status || status == IFLOW_E_CORRUPT) {
        *out = blob;
    }
    if (fd >= 0) {
        close(fd);
    }
    return status;
}

size_t iflow_files_read_first(const iflow_files *files, const char *path, void *out, size_t n) {
    const int fd = iflow_files_open_path(files, path, O_RDONLY | O_NONBLOCK);
    const ssize_t got = fd < 0 ? 0 : pread(fd, out, n, 0);
    if (fd >= 0) {
        close(fd);
    }
    return got > 0 ? (size_t)got : 0;
}

void iflow_files_prefetch(const iflow_files *files, const char *path) {
    const int fd = iflow_files_open_path(files, path, O_RDONLY | O_NONBLOCK);
    if (fd >= 0) {
        posix_fadvise(fd, 0, 0, POSIX_FADV_WILLNEED);
        close(fd);
    }
}

iflow_status iflow_files_walk(const iflow_files *files, const char *dir, iflow_files_visit visit, void *user) {
    iflow_status status = IFLOW_OK;
    const int fd = iflow_files_open_path(files, dir, O_RDONLY | O_DIRECTORY);
    if (fd < 0) {
        return errno == ENOENT || errno == ENOTDIR ? IFLOW_OK : iflow_files_fail(files, "open", dir, errno);
    }
    DIR *stream = fdopendir(fd);
    if (!stream) {
        status = iflow_files_fail(files, "open", dir, errno);
        close(fd);
        return status;
    }
    while (!status) {
        errno = 0;
        const struct dirent *entry = readdir(stream);
        if (!entry) {
            status = errno ? iflow_files_fail(files, "read", dir, errno) : IFLOW_OK;
            break;
        }
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) {
            status = visit(user, dir, entry->d_name);
        }
    }
    closedir(stream);
    return status;
}
