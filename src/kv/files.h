/* files.h - files below one directory: published whole or not at all, locked, mapped, walked. What store_dir.c is made of.
 *
 * Paths are relative to the root, which stays open: a later chdir or rename of the root changes nothing. */
#ifndef IFLOW_KV_FILES_H
#define IFLOW_KV_FILES_H

#include "kv/chunk.h"

#include <sys/stat.h>

#define IFLOW_FILES_PATH_SIZE 128

typedef struct iflow_files {
    int root;  /* directory descriptor */
    char *dir; /* as the caller named it, for messages */
} iflow_files;

/* E_NOT_FOUND if it is not there and create is false; creates missing parents otherwise. */
iflow_status iflow_files_open(iflow_files *files, const char *dir, bool create);
void iflow_files_close(iflow_files *files);

/* E_FULL, E_MEMORY or E_IO. */
iflow_status iflow_files_status(int error);

/* Writes all bytes to a descriptor, and maps n_bytes of one for reading (whole: all of them are wanted soon): whether that went well; errno
 * says why not. */
bool iflow_files_write_all(int fd, const void *bytes, size_t n_bytes);
bool iflow_files_map_fd(int fd, size_t n_bytes, bool whole, iflow_blob *out);

/* "cannot <action> <dir>/<path>: <why>", as E_FULL, E_MEMORY or E_IO according to the errno value. */
iflow_status iflow_files_fail(const iflow_files *files, const char *action, const char *path, int error);

/* Creates a directory unless it is there. */
iflow_status iflow_files_make_dir(const iflow_files *files, const char *path);

/* Makes what was created and renamed in a directory last. */
iflow_status iflow_files_sync_dir(const iflow_files *files, const char *path);

/* A file in tmp/ that is written, synced, and locked for as long as it is in the making, so that nobody takes it for a dead process's. */
typedef struct iflow_temp {
    int fd; /* below 0: none */
    char path[IFLOW_FILES_PATH_SIZE];
} iflow_temp;

/* On failure nothing is left behind. tag: the beginning of its name. */
iflow_status iflow_files_write_temp(const iflow_files *files, const char *tag, const void *bytes, size_t n_bytes, iflow_temp *temp);
/* Renames to dir/name, replacing what is there, and syncs dir. The temporary file is gone afterwards, however it ends. */
iflow_status iflow_files_publish(const iflow_files *files, iflow_temp *temp, const char *dir, const char *name);
void iflow_files_discard_temp(const iflow_files *files, iflow_temp *temp);

/* Locks a file (creating it) against all other descriptors, in this process or another; -1 with errno EWOULDBLOCK if !wait and it is taken.
 * The lock holds the file that the path names, even if others unlink it meanwhile. A process's death unlocks. */
int iflow_files_lock(const iflow_files *files, const char *path, bool wait);
/* Unlinks and unlocks. */
void iflow_files_unlink_locked(const iflow_files *files, const char *path, int fd);
/* Unlinks a file that nobody has locked; whether it did. */
bool iflow_files_reap(const iflow_files *files, const char *path);

/* Maps a regular file for reading. whole: all of it is wanted soon. st may be NULL. touch: marks it as used now. E_NOT_FOUND without a
 * message of its own; E_CORRUPT if it is no regular file. */
iflow_status iflow_files_map(const iflow_files *files, const char *path, bool whole, bool touch, iflow_blob *out, struct stat *st);

/* Has the kernel begin to read a file, if it is there. */
void iflow_files_prefetch(const iflow_files *files, const char *path);

/* Calls visit for each entry of a directory (none, if it is not there or no directory) but names that begin with a dot, until it fails. */
typedef iflow_status (*iflow_files_visit)(void *user, const char *dir, const char *name);
iflow_status iflow_files_walk(const iflow_files *files, const char *dir, iflow_files_visit visit, void *user);

/* mtime in nanoseconds: seconds would not order uses well enough. */
int64_t iflow_files_mtime_ns(const struct stat *st);

#endif
