/* files.c - files below one directory: published whole or not at all, locked, mapped, walked. */
#include "kv/files.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

iflow_status iflow_files_status(int error) {
    const bool full = error == ENOSPC || error == EDQUOT || error == EFBIG;
    return full ? IFLOW_E_FULL : error == ENOMEM ? IFLOW_E_MEMORY : IFLOW_E_IO;
}

iflow_status iflow_files_fail(const iflow_files *files, const char *action, const char *path, int error) {
    return iflow_fail(iflow_files_status(error), "cannot %s %s%s%s: %s", action, files->dir, path[0] ? "/" : "", path, strerror(error));
}

/* mkdir -p; path is changed while it works and is as before at the end. */
static int make_parents(char *path) {
    for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        const int failed = mkdir(path, 0777) != 0 && errno != EEXIST;
        *slash = '/';
        if (failed) {
            return -1;
        }
    }
    return mkdir(path, 0777) != 0 && errno != EEXIST ? -1 : 0;
}

iflow_status iflow_files_open(iflow_files *files, const char *dir, bool create) {
    iflow_status status = IFLOW_OK;
    *files = (iflow_files){.root = -1, .dir = iflow_strdup(dir)};
    if (!files->dir) {
        return iflow_fail_memory(strlen(dir) + 1);
    }
    files->root = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (files->root < 0 && errno == ENOENT && create) {
        if (make_parents(files->dir) != 0) {
            status = iflow_files_fail(files, "create", "", errno);
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

iflow_status iflow_files_make_dir(const iflow_files *files, const char *path) {
    if (mkdirat(files->root, path, 0777) != 0 && errno != EEXIST) {
        return iflow_files_fail(files, "create", path, errno);
    }
    return IFLOW_OK;
}

iflow_status iflow_files_sync_dir(const iflow_files *files, const char *path) {
    const int fd = openat(files->root, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return iflow_files_fail(files, "open", path, errno);
    }
    const int failed = fsync(fd) == 0 || errno == EINVAL ? 0 : errno; /* EINVAL: a file system without such a thing */
    close(fd);
    return failed ? iflow_files_fail(files, "sync", path, failed) : IFLOW_OK;
}

/* ---- Locks -------------------------------------------------------------------------------------------------------------------------- */

static int lock_fd(int fd, bool wait) {
    int result;
    do {
        result = flock(fd, wait ? LOCK_EX : LOCK_EX | LOCK_NB);
    } while (result != 0 && errno == EINTR);
    return result;
}

/* Whether path still names the open file. Whoever unlinks a file holds its lock, so the answer stays true while fd is locked. */
static bool names(const iflow_files *files, const char *path, int fd) {
    struct stat by_path, by_fd;
    return fstatat(files->root, path, &by_path, AT_SYMLINK_NOFOLLOW) == 0 && fstat(fd, &by_fd) == 0 && by_path.st_ino == by_fd.st_ino &&
           by_path.st_dev == by_fd.st_dev;
}

int iflow_files_lock(const iflow_files *files, const char *path, bool wait) {
    for (;;) {
        const int fd = openat(files->root, path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
        if (fd < 0) {
            return -1;
        }
        if (lock_fd(fd, wait) != 0) {
            const int error = errno;
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
    unlinkat(files->root, path, 0);
    close(fd);
}

bool iflow_files_reap(const iflow_files *files, const char *path) {
    const int fd = openat(files->root, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0) {
        return false;
    }
    const bool ours = lock_fd(fd, false) == 0 && names(files, path, fd);
    const bool gone = ours && unlinkat(files->root, path, 0) == 0;
    close(fd);
    return gone;
}

/* ---- Publishing --------------------------------------------------------------------------------------------------------------------- */

/* Creates and locks a file of a new name in tmp/. */
static iflow_status create_temp(const iflow_files *files, const char *tag, iflow_temp *temp) {
    static atomic_uint counter;
    for (;;) {
        snprintf(temp->path, sizeof temp->path, "tmp/%s.%ld.%u", tag, (long)getpid(), atomic_fetch_add(&counter, 1));
        const int fd = openat(files->root, temp->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (fd < 0 && errno == EEXIST) {
            continue; /* a dead process with our number left it */
        }
        if (fd < 0) {
            return iflow_files_fail(files, "create", temp->path, errno);
        }
        if (lock_fd(fd, true) != 0) {
            const int error = errno;
            iflow_files_unlink_locked(files, temp->path, fd);
            return iflow_files_fail(files, "lock", temp->path, error);
        }
        if (names(files, temp->path, fd)) {
            temp->fd = fd;
            return IFLOW_OK;
        }
        close(fd); /* reaped between creation and lock */
    }
}

bool iflow_files_write_all(int fd, const void *bytes, size_t n_bytes) {
    for (const unsigned char *at = bytes; n_bytes > 0;) {
        const ssize_t n = write(fd, at, n_bytes);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            errno = n == 0 ? ENOSPC : errno;
            return false;
        }
        at += n;
        n_bytes -= (size_t)n;
    }
    return true;
}

static void touch_fd(int fd) {
    /* The kernel's own "now" is coarse (a tick), which would leave the order of quick uses to chance. */
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    const struct timespec times[2] = {now, now};
    if (futimens(fd, times) != 0) {
        futimens(fd, NULL); /* not the owner: this needs only permission to write, and a reader without it leaves no trace */
    }
}

iflow_status iflow_files_write_temp(const iflow_files *files, const char *tag, const void *bytes, size_t n_bytes, iflow_temp *temp) {
    temp->fd = -1;
    iflow_status status = create_temp(files, tag, temp);
    if (status) {
        return status;
    }
    if (!iflow_files_write_all(temp->fd, bytes, n_bytes)) {
        status = iflow_files_fail(files, "write", temp->path, errno);
    } else if (fsync(temp->fd) != 0) {
        status = iflow_files_fail(files, "sync", temp->path, errno);
    }
    if (status) {
        iflow_files_discard_temp(files, temp);
    }
    return status;
}

iflow_status iflow_files_publish(const iflow_files *files, iflow_temp *temp, const char *dir, const char *name) {
    assert(temp->fd >= 0);
    iflow_status status = IFLOW_OK;
    char path[IFLOW_FILES_PATH_SIZE];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    touch_fd(temp->fd);
    if (renameat(files->root, temp->path, files->root, path) != 0) {
        status = iflow_files_fail(files, "publish", path, errno);
        iflow_files_discard_temp(files, temp);
        return status;
    }
    close(temp->fd);
    temp->fd = -1;
    return iflow_files_sync_dir(files, dir);
}

void iflow_files_discard_temp(const iflow_files *files, iflow_temp *temp) {
    if (temp->fd >= 0) {
        iflow_files_unlink_locked(files, temp->path, temp->fd);
        temp->fd = -1;
    }
}

/* ---- Reading ------------------------------------------------------------------------------------------------------------------------ */

int64_t iflow_files_mtime_ns(const struct stat *st) {
    return (int64_t)st->st_mtim.tv_sec * 1000000000 + (int64_t)st->st_mtim.tv_nsec;
}

bool iflow_files_map_fd(int fd, size_t n_bytes, bool whole, iflow_blob *out) {
    void *data = mmap(NULL, n_bytes, PROT_READ, MAP_PRIVATE | (whole ? MAP_POPULATE : 0), fd, 0);
    if (data == MAP_FAILED) {
        return false;
    }
    *out = (iflow_blob){.data = data, .n_bytes = n_bytes, .mapped = true};
    return true;
}

iflow_status iflow_files_map(const iflow_files *files, const char *path, bool whole, bool touch, iflow_blob *out, struct stat *st) {
    iflow_status status = IFLOW_OK;
    struct stat own;
    /* Without O_NONBLOCK a FIFO that somebody put there would hold us up for ever. */
    const int fd = openat(files->root, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        return errno == ENOENT ? IFLOW_E_NOT_FOUND : iflow_files_fail(files, "open", path, errno);
    }
    st = st ? st : &own;
    if (fstat(fd, st) != 0) {
        status = iflow_files_fail(files, "stat", path, errno);
        goto cleanup;
    }
    if (!S_ISREG(st->st_mode)) {
        status = iflow_fail(IFLOW_E_CORRUPT, "%s/%s is no regular file", files->dir, path);
        goto cleanup;
    }
    if (touch) {
        touch_fd(fd);
    }
    iflow_blob blob = {0};
    if (st->st_size > 0 && !iflow_files_map_fd(fd, (size_t)st->st_size, whole, &blob)) { /* an empty file cannot be mapped */
        status = iflow_files_fail(files, "map", path, errno);
        goto cleanup;
    }
    *out = blob;

cleanup:
    close(fd);
    return status;
}

void iflow_files_prefetch(const iflow_files *files, const char *path) {
    const int fd = openat(files->root, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd >= 0) {
        posix_fadvise(fd, 0, 0, POSIX_FADV_WILLNEED);
        close(fd);
    }
}

iflow_status iflow_files_walk(const iflow_files *files, const char *dir, iflow_files_visit visit, void *user) {
    iflow_status status = IFLOW_OK;
    const int fd = openat(files->root, dir[0] ? dir : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
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
        if (entry->d_name[0] != '.') {
            status = visit(user, dir, entry->d_name);
        }
    }
    closedir(stream);
    return status;
}
