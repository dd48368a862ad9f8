/* files.h - files below one directory: published whole or not at all, locked, mapped, walked. What store_dir.c is made of.
 *
 * Paths are relative to the root, which stays open: a later chdir or rename of the root changes nothing. No part of a path is followed
 * where it is a symbolic link, so that nothing outside the root is ever read, changed or deleted; only the root itself may be one. */
#ifndef IFLOW_KV_FILES_H
#define IFLOW_KV_FILES_H

#include "base/publish.h"
#include "kv/chunk.h"

#include <sys/stat.h>

#define IFLOW_FILES_PATH_SIZE 128

typedef struct iflow_files {
    int root;    /* directory descriptor */
    char *dir;   /* as the caller named it, for messages */
    bool shared; /* what is created is as the umask has it; else its owner's alone */
} iflow_files;

/* E_NOT_FOUND if it is not there and create is false; creates missing parents otherwise. */
iflow_status iflow_files_open(iflow_files *files, const char *dir, bool create, bool shared);
void iflow_files_close(iflow_files *files);

/* Maps n_bytes of a descriptor for reading (whole: all of them are wanted soon): whether that went well; errno says why not. */
bool iflow_files_map_fd(int fd, size_t n_bytes, bool whole, iflow_blob *out);

/* "cannot <action> <dir>/<path>: <why>", as E_FULL, E_MEMORY or E_IO according to the errno value. */
iflow_status iflow_files_fail(const iflow_files *files, const char *action, const char *path, int error);

/* The same of a lock that cannot be had, saying so where the file system has no locks: a store does not do without. */
iflow_status iflow_files_fail_lock(const iflow_files *files, const char *path, int error);

/* What openat, unlinkat, renameat and fstatat do. -1 with errno. */
int iflow_files_open_path(const iflow_files *files, const char *path, int flags);
int iflow_files_unlink(const iflow_files *files, const char *path);
int iflow_files_rename(const iflow_files *files, const char *from, const char *to);
int iflow_files_stat(const iflow_files *files, const char *path, struct stat *st);
/* Whether there is something of this name, be it a link that leads nowhere. */
bool iflow_files_exists(const iflow_files *files, const char *path);

/* Creates a directory unless it is there. E_FORMAT if something else is. */
iflow_status iflow_files_make_dir(const iflow_files *files, const char *path);
/* Creates a file that is not there, with what the umask leaves of a mode. A descriptor, or -1 with errno. */
int iflow_files_create(const iflow_files *files, const char *path, mode_t mode);
/* Creates an empty file unless it is there: whether there is one; errno says why not. */
bool iflow_files_make_empty(const iflow_files *files, const char *path);

/* Makes what was created and renamed in a directory last. */
iflow_status iflow_files_sync_dir(const iflow_files *files, const char *path);

/* A file in tmp/, written, synced and locked. On failure nothing is left. tag: the beginning of its name. */
iflow_status iflow_files_write_temp(const iflow_files *files, const char *tag, const void *bytes, size_t n_bytes, iflow_temp *temp);
/* Renames to dir/name, replacing what is there, and syncs dir. The temporary file is gone afterwards, however it ends. */
iflow_status iflow_files_publish(const iflow_files *files, iflow_temp *temp, const char *dir, const char *name);
void iflow_files_discard_temp(const iflow_files *files, iflow_temp *temp);

/* Locks a file (creating it) against all other descriptors, in this process or another; -1 with errno EWOULDBLOCK if it is taken. The lock
 * holds the file that the path names, even if others unlink it meanwhile. A process's death unlocks. */
int iflow_files_lock(const iflow_files *files, const char *path);
/* Unlinks, if the path still names this file, and unlocks. */
void iflow_files_unlink_locked(const iflow_files *files, const char *path, int fd);
/* Unlinks a regular file that nobody has locked; whether it did. */
bool iflow_files_reap(const iflow_files *files, const char *path);

/* Opens a regular file for reading, to be closed. Fails as iflow_files_map() does; *which says only which file it is. */
iflow_status iflow_files_open_regular(const iflow_files *files, const char *path, bool touch, int *fd, iflow_blob *which, struct stat *st);

/* Maps a regular file for reading. whole: all of it is wanted soon. st may be NULL. touch: marks it as used now. E_NOT_FOUND without a
 * message of its own; E_CORRUPT if it is no regular file, and then *out says only which one; E_IO if it may not be read. */
iflow_status iflow_files_map(const iflow_files *files, const char *path, bool whole, bool touch, iflow_blob *out, struct stat *st);

/* The first bytes of a regular file, at most n: how many; 0 also where it cannot be read. */
size_t iflow_files_read_first(const iflow_files *files, const char *path, void *out, size_t n);

/* Has the kernel begin to read a file, if it is there. */
void iflow_files_prefetch(const iflow_files *files, const char *path);

/* Calls visit for each entry of a directory (none, if it is not there or no directory), until it fails. */
typedef iflow_status (*iflow_files_visit)(void *user, const char *dir, const char *name);
iflow_status iflow_files_walk(const iflow_files *files, const char *dir, iflow_files_visit visit, void *user);

/* mtime in nanoseconds: seconds would not order uses well enough. */
int64_t iflow_files_mtime_ns(const struct stat *st);

#endif
