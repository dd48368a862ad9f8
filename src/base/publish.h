/* publish.h - files that are there whole or not at all: written under a temporary name, synced, renamed. The one place that writes files.
 *
 * Functions take a directory's descriptor and a name in it, and never follow a symbolic link of that name. Where one returns an int, it is
 * 0 or what errno says. */
#ifndef IFLOW_BASE_PUBLISH_H
#define IFLOW_BASE_PUBLISH_H

#include "base/base.h"

#include <sys/stat.h>

/* E_FULL, E_MEMORY or E_IO. */
iflow_status iflow_errno_status(int error);

/* Writes all bytes. A limit on the size of files (RLIMIT_FSIZE) is EFBIG, whatever the process does on SIGXFSZ. */
int iflow_write_all(int fd, const void *bytes, size_t n_bytes);

/* fsync, also where a file system has no such thing for directories. */
int iflow_sync(int fd);

/* Creates a file that is not there, for its owner alone or as the umask has it. A descriptor, or -1 with errno. */
int iflow_create(int dir, const char *name, bool only_owner);
/* The same for a directory; one that is there is left as it is (EEXIST). */
int iflow_make_dir(int dir, const char *name, bool only_owner);
/* mkdir -p: a directory and those above it, as far as they are not there. */
int iflow_make_dirs(const char *path, bool only_owner);
/* Makes the directories of a path that are missing, for their owner alone; what goes wrong shows when the path is used. */
void iflow_make_parents(const char *path);

/* Locks against all other descriptors, in this process or another, or fails with EWOULDBLOCK. A process's death unlocks. */
int iflow_try_lock(int fd);
/* Whether an error of iflow_try_lock() says that the file system has no locks. */
bool iflow_lacks_locks(int error);
/* Whether a name still means the open file. Whoever unlinks a file that is locked by rule holds its lock, so the answer stays true. */
bool iflow_is_named(int dir, const char *name, int fd);
/* Unlinks a regular file that nobody has locked; whether it did. */
bool iflow_reap(int dir, const char *name);

#define IFLOW_TEMP_SIZE 256

/* A file in the making, under the name PREFIX.PID.NUMBER and a suffix. It is locked, so that nobody takes it for a dead process's. Where
 * the file system has no locks, it is not; nobody can lock it to reap it there either. */
typedef struct iflow_temp {
    int fd;         /* below 0: none */
    int lock_error; /* why it is not locked; 0: it is */
    char name[IFLOW_TEMP_SIZE];
} iflow_temp;

/* Creates one, and locks it where the file system has locks. */
int iflow_temp_create(int dir, const char *prefix, const char *suffix, bool only_owner, iflow_temp *temp);
/* Whether a name is of this form, so that it is ours to reap. */
bool iflow_temp_is_name(const char *name, const char *prefix, const char *suffix);
/* Writes and syncs. On failure the file is gone. */
int iflow_temp_fill(int dir, iflow_temp *temp, const void *bytes, size_t n_bytes);
/* Renames to a name in another directory, replacing what is there; the caller syncs that. The temporary file is gone, however it ends. */
int iflow_temp_publish(int dir, iflow_temp *temp, int to_dir, const char *to);
void iflow_temp_discard(int dir, iflow_temp *temp);

/* Writes a whole file under a name in a directory, by a temporary one beside it. First it removes the temporary files of that name that
 * killed processes left. A link of that name is replaced, not followed. like: whose owner and permissions the file gets where that can be;
 * until then it is its owner's alone. NULL: this process's. */
int iflow_publish(int dir, const char *name, const void *bytes, size_t n_bytes, bool only_owner, const struct stat *like);

/* Follows the links that a path is, also where they lead nowhere yet. Takes the path, and gives it back, or in its place another string. On
 * failure (*error: ELOOP, ENOMEM, ...; else 0) it is as far as they were followed. */
char *iflow_follow_links(char *path, int *error);

/* Writes a file whole or not at all: under a temporary name beside its place, synced, renamed; the next call for the same place removes
 * what a process that was killed left of that. only_owner: nobody else may read it, whatever the umask; else it keeps the permissions of
 * the file that it replaces, or has those that the umask leaves. A symbolic link stays, and the file that it leads to is replaced. What is
 * no regular file (a pipe, a terminal), or is this process's standard output or error, is written to. So is, unless only_owner, a file that
 * may be written to in a directory where it cannot be replaced (no permission, mounted by itself): then a failure can leave a part. On file
 * systems without locks (flock) nothing is removed that killed processes left. E_FULL, E_IO, E_MEMORY, E_ARG. */
iflow_status iflow_write_file(const char *path, const void *bytes, size_t n_bytes, bool only_owner);

#endif
