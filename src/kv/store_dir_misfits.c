/* store_dir_misfits.c - what stands where a directory store has something of its own, and is something else: it is moved to bad/. */
#include "kv/store_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { MAX_NAMES = 1000 }; /* tried in bad/: nothing there is replaced */

typedef struct misfits {
    iflow_dir_store *store;
    iflow_on_verified on_verified;
    void *user;
    bool go_on;
} misfits;

/* Whether the store gives a name in one of its directories; *id: what it says of an id. */
static bool is_own_name(const char *dir, const char *name, char id[IFLOW_ID_SIZE]) {
    if (strcmp(dir, "tmp") == 0) {
        return iflow_dir_id_of_name(name, IFLOW_DIR_LEASE_SUFFIX, id);
    }
    snprintf(id, IFLOW_ID_SIZE, "%s", name);
    return strcmp(dir, "chunks") == 0 ? iflow_dir_is_chunk_dir(name) : iflow_id_is_valid(name);
}

/* A misfit is no directory in chunks/, no regular file elsewhere. */
static bool is_misfit(const iflow_files *files, const char *dir, const char *path) {
    struct stat st;
    return iflow_files_stat(files, path, &st) == 0 && (strcmp(dir, "chunks") == 0 ? !S_ISDIR(st.st_mode) : !S_ISREG(st.st_mode));
}

/* Under the first name that is free. The store is locked. */
static iflow_status move_to_bad(const iflow_files *files, const char *dir, const char *name, char bad[IFLOW_FILES_PATH_SIZE]) {
    char path[IFLOW_FILES_PATH_SIZE];
    int i = 0;
    snprintf(path, sizeof path, "%s/%.64s", dir, name);
    do {
        char number[16] = "";
        if (i) {
            snprintf(number, sizeof number, ".%d", i);
        }
        snprintf(bad, IFLOW_FILES_PATH_SIZE, "bad/%s.%.64s%s", dir, name, number);
    } while (iflow_files_exists(files, bad) && ++i < MAX_NAMES);
    if (i == MAX_NAMES) {
        return iflow_files_fail(files, "set aside", path, EEXIST);
    }
    return iflow_files_rename(files, path, bad) == 0 ? IFLOW_OK : iflow_files_fail(files, "set aside", path, errno);
}

static iflow_status set_aside(misfits *m, const char *dir, const char *name, const char *path) {
    const iflow_files *files = &m->store->files;
    const bool pin = strcmp(dir, "pins") == 0, chunks = strcmp(dir, "chunks") == 0;
    char bad[IFLOW_FILES_PATH_SIZE];
    int lock;
    iflow_status status = iflow_dir_lock(m->store, &lock);
    if (status) {
        return status;
    }
    if (!is_misfit(files, dir, path)) { /* another process was faster */
        goto cleanup;
    }
    status = move_to_bad(files, dir, name, bad);
    if (!status && pin && !iflow_files_make_empty(files, path)) {
        status = iflow_fail(IFLOW_E_IO, "%s/%s was no regular file and was set aside as %s, and what it pinned is pinned no more: %s",
                            files->dir, path, bad, strerror(errno));
    } else if (!status) {
        status = iflow_fail(chunks ? IFLOW_E_CORRUPT : IFLOW_E_FORMAT, "%s/%s is no %s: it was set aside as %s%s", files->dir, path,
                            chunks ? "directory" : "regular file", bad, pin ? ", and the pin made anew" : "");
    }

cleanup:
    iflow_dir_unlock(lock);
    return status;
}

/* Whether a directory of chunks may be read, and entered. */
static iflow_status check_readable(const iflow_files *files, const char *path) {
    char inside[IFLOW_FILES_PATH_SIZE];
    int fd = iflow_files_open_path(files, path, O_RDONLY | O_DIRECTORY);
    if (fd >= 0) {
        close(fd);
        snprintf(inside, sizeof inside, "%.64s/.", path);
        fd = iflow_files_open_path(files, inside, O_PATH | O_DIRECTORY);
    }
    if (fd >= 0) {
        close(fd);
        return IFLOW_OK;
    }
    return errno == ENOENT ? IFLOW_OK : iflow_files_fail(files, "open", path, errno);
}

static iflow_status visit(void *user, const char *dir, const char *name) {
    misfits *m = user;
    char id[IFLOW_ID_SIZE], path[IFLOW_FILES_PATH_SIZE];
    if (!m->go_on || !is_own_name(dir, name, id)) {
        return IFLOW_OK;
    }
    snprintf(path, sizeof path, "%s/%.64s", dir, name);
    iflow_status status = IFLOW_OK;
    if (is_misfit(&m->store->files, dir, path)) {
        status = set_aside(m, dir, name, path);
    } else if (strcmp(dir, "chunks") == 0) {
        status = check_readable(&m->store->files, path);
        m->store->told_unread = m->store->told_unread || status;
    }
    if (status) {
        m->go_on = m->on_verified(id, IFLOW_CHUNK, status, iflow_error_message(), m->user);
    }
    return IFLOW_OK;
}

iflow_status iflow_dir_sweep_misfits(iflow_store *base, iflow_on_verified on_verified, void *user, bool *go_on) {
    static const char *const dirs[] = {"chunks", "pins", "tmp"};
    misfits m = {.store = iflow_dir_of(base), .on_verified = on_verified, .user = user, .go_on = true};
    iflow_status status = IFLOW_OK;
    for (size_t i = 0; !status && m.go_on && i < sizeof dirs / sizeof dirs[0]; i++) {
        status = iflow_files_walk(&m.store->files, dirs[i], visit, &m);
    }
    *go_on = m.go_on;
    return status;
}
