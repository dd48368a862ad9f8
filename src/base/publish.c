/* publish.c - files that are there whole or not at all: written under a temporary name, synced, renamed. */
#include "base/publish.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define PART_SUFFIX ".infoflow" /* of a temporary file beside its place */

enum {
    MAX_LINKS = 40,   /* as the kernel follows */
    PART_LENGTH = 180 /* of the target's name in the temporary one's: there has to be room for the rest */
};

iflow_status iflow_errno_status(int error) {
    const bool full = error == ENOSPC || error == EDQUOT || error == EFBIG;
    return full ? IFLOW_E_FULL : error == ENOMEM ? IFLOW_E_MEMORY : IFLOW_E_IO;
}

int iflow_write_all(int fd, const void *bytes, size_t n_bytes) {
    /* SIGXFSZ would kill the process, and its disposition is the caller's. It is sent to the thread that writes: held back here, and taken
     * away where it came from us. */
    sigset_t limit, before, pending;
    int error = 0;
    sigemptyset(&limit);
    sigaddset(&limit, SIGXFSZ);
    sigpending(&pending);
    pthread_sigmask(SIG_BLOCK, &limit, &before);
    for (const unsigned char *at = bytes; !error && n_bytes > 0;) {
        const ssize_t n = write(fd, at, n_bytes);
        if (n > 0) {
            at += n;
            n_bytes -= (size_t)n;
        } else if (n == 0) {
            error = ENOSPC;
        } else if (errno != EINTR) {
            error = errno;
        }
    }
    if (error == EFBIG && !sigismember(&pending, SIGXFSZ)) {
        while (sigtimedwait(&limit, NULL, &(struct timespec){0}) < 0 && errno == EINTR) {
        }
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error;
}

int iflow_sync(int fd) {
    return fsync(fd) == 0 || errno == EINVAL ? 0 : errno; /* EINVAL: a file system without such a thing */
}

int iflow_create(int dir, const char *name, bool only_owner) {
    const int fd = openat(dir, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, only_owner ? 0600 : 0666);
    if (fd >= 0 && only_owner && fchmod(fd, 0600) != 0) { /* a umask can take more than others' permissions */
        iflow_log(IFLOW_LOG_DEBUG, "%s: its permissions cannot be set: %s", name, strerror(errno));
    }
    return fd;
}

int iflow_make_dir(int dir, const char *name, bool only_owner) {
    if (mkdirat(dir, name, only_owner ? 0700 : 0777) != 0) {
        return errno;
    }
    struct stat st;
    if (only_owner && fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && (st.st_mode & 0777) != 0700 &&
        fchmodat(dir, name, 0700, AT_SYMLINK_NOFOLLOW) != 0) {
        iflow_log(IFLOW_LOG_WARN, "the directory %s cannot be made its owner's alone: %s", name, strerror(errno));
    }
    return 0;
}

int iflow_make_dirs(const char *path, bool only_owner) {
    char *part = iflow_strdup(path);
    if (!part) {
        return ENOMEM;
    }
    int error = 0;
    for (char *slash = strchr(part + 1, '/'); slash && (!error || error == EEXIST); slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        error = iflow_make_dir(AT_FDCWD, part, only_owner);
        *slash = '/';
    }
    if (!error || error == EEXIST) {
        error = iflow_make_dir(AT_FDCWD, part, only_owner);
    }
    free(part);
    return error == EEXIST ? 0 : error;
}

void iflow_make_parents(const char *path) {
    char *parent = iflow_strdup(path), *slash = parent ? strrchr(parent, '/') : NULL;
    if (slash && slash != parent) {
        *slash = '\0';
        iflow_make_dirs(parent, true);
    }
    free(parent);
}

/* ---- Locks -------------------------------------------------------------------------------------------------------------------------- */

int iflow_try_lock(int fd) {
    int result;
    do {
        result = flock(fd, LOCK_EX | LOCK_NB);
    } while (result != 0 && errno == EINTR);
    return result == 0 ? 0 : errno;
}

bool iflow_lacks_locks(int error) {
    return error == ENOLCK || error == ENOSYS || error == EOPNOTSUPP;
}

bool iflow_is_named(int dir, const char *name, int fd) {
    struct stat by_name, by_fd;
    return fstatat(dir, name, &by_name, AT_SYMLINK_NOFOLLOW) == 0 && fstat(fd, &by_fd) == 0 && by_name.st_ino == by_fd.st_ino &&
           by_name.st_dev == by_fd.st_dev;
}

bool iflow_reap(int dir, const char *name) {
    struct stat st;
    if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(st.st_mode)) {
        return false;
    }
    const int fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0) {
        return false;
    }
    const bool dead = iflow_try_lock(fd) == 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && iflow_is_named(dir, name, fd);
    const bool gone = dead && unlinkat(dir, name, 0) == 0;
    close(fd);
    return gone;
}

/* ---- Temporary files ---------------------------------------------------------------------------------------------------------------- */

int iflow_temp_create(int dir, const char *prefix, const char *suffix, bool only_owner, iflow_temp *temp) {
    static atomic_uint counter;
    for (;;) {
        snprintf(temp->name, sizeof temp->name, "%s.%ld.%u%s", prefix, (long)getpid(), atomic_fetch_add(&counter, 1), suffix);
        temp->fd = iflow_create(dir, temp->name, only_owner);
        if (temp->fd < 0 && errno == EEXIST) {
            continue; /* a dead process with our number left it */
        }
        if (temp->fd < 0) {
            return errno;
        }
        const int error = iflow_try_lock(temp->fd);
        temp->lock_error = iflow_lacks_locks(error) ? error : 0;
        if (error && error != EWOULDBLOCK && !temp->lock_error) {
            iflow_temp_discard(dir, temp);
            return error;
        }
        if (error != EWOULDBLOCK && iflow_is_named(dir, temp->name, temp->fd)) {
            return 0;
        }
        close(temp->fd); /* being reaped between creation and lock: that one's by now */
        temp->fd = -1;
    }
}

/* The end of a number without leading zeros at text; NULL if there is none. */
static const char *number_end(const char *text) {
    const size_t n = strspn(text, "0123456789");
    return n == 0 || n > 10 || (n > 1 && text[0] == '0') ? NULL : text + n;
}

bool iflow_temp_is_name(const char *name, const char *prefix, const char *suffix) {
    const size_t n = strlen(prefix);
    const char *pid = strncmp(name, prefix, n) == 0 && name[n] == '.' ? number_end(name + n + 1) : NULL;
    const char *end = pid && pid[0] == '.' ? number_end(pid + 1) : NULL;
    return end && strcmp(end, suffix) == 0;
}

int iflow_temp_fill(int dir, iflow_temp *temp, const void *bytes, size_t n_bytes) {
    int error = iflow_write_all(temp->fd, bytes, n_bytes);
    if (!error && fsync(temp->fd) != 0) {
        error = errno;
    }
    if (error) {
        iflow_temp_discard(dir, temp);
    }
    return error;
}

int iflow_temp_publish(int dir, iflow_temp *temp, int to_dir, const char *to) {
    assert(temp->fd >= 0);
    if (renameat(dir, temp->name, to_dir, to) != 0) {
        const int error = errno;
        iflow_temp_discard(dir, temp);
        return error;
    }
    close(temp->fd);
    temp->fd = -1;
    return 0;
}

void iflow_temp_discard(int dir, iflow_temp *temp) {
    if (temp->fd >= 0) {
        unlinkat(dir, temp->name, 0);
        close(temp->fd);
        temp->fd = -1;
    }
}

/* What processes that were killed left of this target. */
static void reap_parts(int dir, const char *prefix) {
    const int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *stream = fd < 0 ? NULL : fdopendir(fd);
    if (!stream) {
        if (fd >= 0) {
            close(fd);
        }
        return;
    }
    for (const struct dirent *entry; (entry = readdir(stream));) {
        if (iflow_temp_is_name(entry->d_name, prefix, PART_SUFFIX)) {
            iflow_reap(dir, entry->d_name);
        }
    }
    closedir(stream);
}

int iflow_publish(int dir, const char *name, const void *bytes, size_t n_bytes, bool only_owner, const struct stat *like) {
    char prefix[IFLOW_TEMP_SIZE];
    iflow_temp temp = {.fd = -1};
    snprintf(prefix, sizeof prefix, ".%.*s", (int)PART_LENGTH, name);
    reap_parts(dir, prefix);
    int error = iflow_temp_create(dir, prefix, PART_SUFFIX, only_owner || like, &temp);
    if (error) {
        return error;
    }
    if (like && !only_owner) { /* as if it had been written to; where that cannot be, it is the writer's */
        const bool given = fchown(temp.fd, like->st_uid, like->st_gid) == 0;
        if (fchmod(temp.fd, given ? like->st_mode & 07777 : like->st_mode & 0777) != 0) {
            iflow_log(IFLOW_LOG_DEBUG, "%s: its permissions cannot be set: %s", name, strerror(errno));
        }
    }
    error = iflow_temp_fill(dir, &temp, bytes, n_bytes);
    if (!error) {
        error = iflow_temp_publish(dir, &temp, dir, name);
    }
    if (!error) {
        const int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC); /* not to be had without permission to list it */
        error = fd < 0 ? 0 : iflow_sync(fd);
        if (fd >= 0) {
            close(fd);
        }
    }
    return error;
}

/* ---- A file anywhere ---------------------------------------------------------------------------------------------------------------- */

/* Where a file is to go. */
typedef struct place {
    char *path;       /* links followed */
    const char *name; /* its last part */
    int dir;
    struct stat st;
    bool exists;
} place;

char *iflow_follow_links(char *path, int *error) {
    struct stat st;
    *error = 0;
    for (int i = 0; lstat(path, &st) == 0 && S_ISLNK(st.st_mode); i++) {
        char target[4096];
        const ssize_t n = i < MAX_LINKS ? readlink(path, target, sizeof target - 1) : -1;
        if (n < 0) {
            *error = i < MAX_LINKS ? errno : ELOOP;
            break;
        }
        target[n] = '\0';
        const char *slash = strrchr(path, '/');
        char *next = target[0] == '/' || !slash ? iflow_strdup(target) : iflow_format("%.*s%s", (int)(slash + 1 - path), path, target);
        if (!next) {
            *error = ENOMEM;
            break;
        }
        free(path);
        path = next;
    }
    return path;
}

/* The descriptor of this process's output that is the same file, so that both go on from one offset; -1: none. */
static int output_of(const struct stat *st) {
    for (int fd = STDOUT_FILENO; fd <= STDERR_FILENO; fd++) {
        struct stat own;
        if (fstat(fd, &own) == 0 && own.st_dev == st->st_dev && own.st_ino == st->st_ino) {
            return fd;
        }
    }
    return -1;
}

/* Into what is there: a pipe, a device, a terminal; a file in a directory that we may not write to. Not whole or not at all. */
static int write_in_place(const char *path, const struct stat *st, const void *bytes, size_t n_bytes) {
    const int output = output_of(st);
    if (output >= 0) {
        return iflow_write_all(output, bytes, n_bytes);
    }
    const int fd = open(path, O_WRONLY | O_CLOEXEC | O_NOCTTY | (S_ISREG(st->st_mode) ? O_TRUNC : 0));
    if (fd < 0) {
        return errno;
    }
    const int error = iflow_write_all(fd, bytes, n_bytes);
    return close(fd) == 0 || error ? error : errno;
}

/* Fills a place but for path. */
static int find_place(place *at) {
    char *slash = strrchr(at->path, '/');
    at->exists = stat(at->path, &at->st) == 0;
    at->name = slash ? slash + 1 : at->path;
    if (!at->name[0]) {
        return EISDIR;
    }
    if (at->exists && S_ISDIR(at->st.st_mode)) {
        return EISDIR;
    }
    if (at->exists && access(at->path, W_OK) != 0) {
        return errno;
    }
    char *parent = slash ? iflow_format("%.*s", (int)(slash + 1 - at->path), at->path) : iflow_strdup(".");
    if (!parent) {
        return ENOMEM;
    }
    at->dir = open(parent, O_PATH | O_DIRECTORY | O_CLOEXEC);
    const int error = at->dir < 0 ? errno : 0;
    free(parent);
    return error;
}

iflow_status iflow_write_file(const char *path, const void *bytes, size_t n_bytes, bool only_owner) {
    if (!path || !path[0] || (!bytes && n_bytes)) {
        return iflow_fail(IFLOW_E_ARG, "a file to write needs a name and its bytes");
    }
    place at = {.path = iflow_strdup(path), .dir = -1};
    int error = at.path ? 0 : ENOMEM;
    struct stat st; /* by the name as it was given: what /dev/stdout leads to can be written to only through it */
    const bool there = stat(path, &st) == 0;
    if (!error && there && !S_ISDIR(st.st_mode) && (!S_ISREG(st.st_mode) || output_of(&st) >= 0)) {
        error = write_in_place(path, &st, bytes, n_bytes);
        goto cleanup;
    }
    if (!error) {
        at.path = iflow_follow_links(at.path, &error);
    }
    error = error ? error : find_place(&at);
    if (!error) {
        error = iflow_publish(at.dir, at.name, bytes, n_bytes, only_owner, at.exists ? &at.st : NULL);
        /* In a file that others may read from the moment it is opened, nothing is written that is for its owner alone. */
        if (at.exists && !only_owner &&
            (error == EACCES || error == EPERM || error == EROFS || error == EBUSY)) { /* EBUSY: mounted there */
            error = write_in_place(at.path, &at.st, bytes, n_bytes);
        }
    }

cleanup:
    if (at.dir >= 0) {
        close(at.dir);
    }
    free(at.path);
    return error ? iflow_fail(iflow_errno_status(error), "cannot write %s: %s", path, strerror(error)) : IFLOW_OK;
}
