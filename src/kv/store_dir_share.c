/* store_dir_share.c - opens a private directory store to other users: what it made of its own gets the permissions that the umask leaves.
 */
#include "kv/store_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ALL_READ = 0444, OTHERS_ENTER = 0011 };

typedef struct widening {
    const iflow_dir_store *store;
    mode_t left;   /* by the umask, of 0777 */
    size_t n_kept; /* what others may still not read */
} widening;

/* By descriptor, so that it is what was looked at. Another user's stays as it is, and so does a file that has a second name: that may be in
 * a directory that is none of the store's. */
static void widen(widening *w, const char *path) {
    struct stat st;
    if (iflow_files_stat(&w->store->files, path, &st) != 0 || (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode))) {
        return;
    }
    const bool is_dir = S_ISDIR(st.st_mode);
    const mode_t want = w->left & (is_dir ? 0777 : 0666);
    if ((want & ~st.st_mode) == 0) {
        return;
    }
    const int fd = iflow_files_open_path(&w->store->files, path, O_RDONLY | O_NONBLOCK | (is_dir ? O_DIRECTORY : 0));
    bool kept = fd < 0 ? errno != ENOENT : fstat(fd, &st) != 0 || st.st_uid != geteuid();
    kept = kept || (fd >= 0 && !is_dir && (!S_ISREG(st.st_mode) || st.st_nlink != 1));
    if (fd >= 0 && !kept) {
        kept = fchmod(fd, (st.st_mode & 07777) | want) != 0;
    }
    if (fd >= 0) {
        close(fd);
    }
    w->n_kept += kept && (want & ~st.st_mode & ALL_READ);
}

/* Whether a store gives such a name. */
static bool is_own_name(const char *dir, const char *name) {
    char id[IFLOW_ID_SIZE];
    if (strcmp(dir, "tmp") == 0) {
        return iflow_dir_is_temp_name(name);
    }
    if (strcmp(dir, "chunks") == 0) {
        return iflow_dir_is_chunk_dir(name);
    }
    if (strcmp(dir, "bad") == 0) { /* ID.gguf, ID.1.gguf, ID.json */
        snprintf(id, sizeof id, "%s", name);
        return iflow_id_is_valid(id) && name[IFLOW_ID_SIZE - 1] == '.';
    }
    if (strcmp(dir, "pins") == 0) {
        return iflow_id_is_valid(name);
    }
    return iflow_dir_id_of_name(name, strcmp(dir, "docs") == 0 ? ".json" : ".gguf", id);
}

static iflow_status visit(void *user, const char *dir, const char *name) {
    widening *w = user;
    char path[IFLOW_FILES_PATH_SIZE];
    if (!is_own_name(dir, name)) {
        return IFLOW_OK;
    }
    snprintf(path, sizeof path, "%s/%.100s", dir, name);
    widen(w, path);
    /* A directory that cannot be read was counted as kept. */
    return strcmp(dir, "chunks") == 0 && iflow_files_walk(&w->store->files, path, visit, user) == IFLOW_E_MEMORY ? IFLOW_E_MEMORY
                                                                                                                 : IFLOW_OK;
}

/* What creating a file leaves of 0777. Asked of the file system, since the umask cannot be read without changing it for other threads. */
static iflow_status ask_umask(const iflow_dir_store *store, mode_t *left) {
    char path[IFLOW_FILES_PATH_SIZE];
    struct stat st;
    snprintf(path, sizeof path, "tmp/" IFLOW_DIR_VERSION_TAG ".%ld.9999999999", (long)getpid()); /* ours to reap; no counter gets there */
    int fd = iflow_files_create(&store->files, path, 0777);
    while (fd < 0 && errno == EEXIST && iflow_files_unlink(&store->files, path) == 0) { /* another thread's, or a dead process's */
        fd = iflow_files_create(&store->files, path, 0777);
    }
    if (fd < 0) {
        return iflow_files_fail(&store->files, "create", path, errno);
    }
    *left = fstat(fd, &st) == 0 ? st.st_mode & 0777 : 0;
    iflow_files_unlink(&store->files, path);
    close(fd);
    return IFLOW_OK;
}

/* Others get nowhere if they may not enter a directory above, which is none of the store's own. */
static void warn_of_parents(const iflow_dir_store *store, mode_t left) {
    char *path = realpath(store->files.dir, NULL);
    for (char *end = path ? path + strlen(path) : NULL; end && end > path; end = strrchr(path, '/')) {
        struct stat st;
        *end = '\0';
        const mode_t missing = path[0] && stat(path, &st) == 0 ? left & OTHERS_ENTER & ~st.st_mode : 0;
        if (missing) {
            iflow_log(IFLOW_LOG_WARN, "the store %s is shared, but others cannot get to it: %s has mode %04o; `chmod %s+x` lets them in",
                      store->files.dir, path, (unsigned)(st.st_mode & 07777),
                      missing == OTHERS_ENTER ? "go"
                      : missing & 010         ? "g"
                                              : "o");
            break;
        }
    }
    free(path);
}

iflow_status iflow_dir_share(const iflow_dir_store *store, bool existed, bool first) {
    static const char *const dirs[] = {"tmp", "chunks", "docs", "pins", "bad"};
    static const char *const files[] = {"lock", "VERSION", IFLOW_DIR_SHARED};
    widening w = {.store = store};
    struct stat st;
    iflow_status status = ask_umask(store, &w.left);
    if (status) { /* who may not write here may use what is there all the same */
        if (fstat(store->files.root, &st) == 0 && st.st_uid == geteuid()) {
            iflow_log(IFLOW_LOG_WARN, "the permissions of what is in the store %s stay as they are: %s", store->files.dir,
                      iflow_error_message());
        }
        return IFLOW_OK;
    }
    for (size_t i = 0; !status && i < sizeof files / sizeof files[0]; i++) {
        widen(&w, files[i]);
    }
    for (size_t i = 0; !status && i < sizeof dirs / sizeof dirs[0]; i++) {
        widen(&w, dirs[i]);
        status = iflow_files_walk(&store->files, dirs[i], visit, &w);
        status = status == IFLOW_E_IO ? IFLOW_OK : status; /* it may not be read: counted */
    }
    if (status) {
        return status;
    }
    if (existed && fstat(store->files.root, &st) == 0 && st.st_uid == geteuid() && (st.st_mode & 0777) == 0700 &&
        fchmod(store->files.root, (st.st_mode & 07777) | w.left) != 0) {
        return iflow_files_fail(&store->files, "change the permissions of", "", errno);
    }
    if (w.n_kept) {
        iflow_log(IFLOW_LOG_WARN,
                  "the store %s is shared, but others still may not read %zu of its files and directories: they are another user's, have "
                  "a second name, or cannot be opened; `chmod` by their owner lets others in",
                  store->files.dir, w.n_kept);
    }
    if (first || (fstat(store->files.root, &st) == 0 && (w.left & OTHERS_ENTER & ~st.st_mode))) {
        warn_of_parents(store, w.left);
    }
    return IFLOW_OK;
}
