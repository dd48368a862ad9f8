/* store_dir_open.c - opens a directory store, or makes one, and refuses directories that are somebody else's. */
#include "kv/store_dir.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LAYOUT_VERSION 2 /* 1: the same, but for programs that write chunks of format 1 */
#define VERSION_TEXT   "infoflow-store "

enum { LOCK_WARN_MS = 1000, LOCK_END_MS = 10000 };

static const struct {
    const char *name;
    bool is_dir;
} parts[] = {{"tmp", true}, {"chunks", true},   {"docs", true},  {"pins", true},
             {"bad", true}, {"VERSION", false}, {"lock", false}, {IFLOW_DIR_SHARED, false}};

iflow_status iflow_dir_check_version(const iflow_dir_store *store, int *version) {
    iflow_blob blob = {0};
    char text[32] = "";
    const size_t prefix = sizeof VERSION_TEXT - 1;
    iflow_status status = iflow_files_map(&store->files, "VERSION", false, false, &blob, NULL);
    if (status == IFLOW_E_CORRUPT) { /* of a chunk that would be */
        return iflow_fail(IFLOW_E_FORMAT, "%s/VERSION is no regular file: a store's is one of its own", store->files.dir);
    }
    if (status) {
        return status;
    }
    if (blob.n_bytes) {
        memcpy(text, blob.data, blob.n_bytes < sizeof text ? blob.n_bytes : sizeof text - 1);
    }
    iflow_blob_free(&blob);
    text[strcspn(text, "\r\n")] = '\0';
    const size_t digits = strncmp(text, VERSION_TEXT, prefix) == 0 ? strspn(text + prefix, "0123456789") : 0;
    if (digits == 0 || digits > 9 || text[prefix + digits] != '\0') {
        return iflow_fail(IFLOW_E_FORMAT, "%s/VERSION is not a store's: it should read \"%s%d\"", store->files.dir, VERSION_TEXT,
                          LAYOUT_VERSION);
    }
    *version = (int)strtol(text + prefix, NULL, 10);
    if (*version < 1 || *version > LAYOUT_VERSION) {
        return iflow_fail(IFLOW_E_UNSUPPORTED, "the store %s has layout version %s, this program reads version %d", store->files.dir,
                          text + prefix, LAYOUT_VERSION);
    }
    return IFLOW_OK;
}

static iflow_status stranger(const iflow_dir_store *store, const char *path) {
    return iflow_fail(IFLOW_E_ARG, "%s is no store and not empty (there is %.100s): name a store or a new directory", store->files.dir,
                      path);
}

/* What creating a store leaves in its tmp/ when it is interrupted. */
static iflow_status visit_new_tmp(void *user, const char *dir, const char *name) {
    char path[300];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return iflow_temp_is_name(name, IFLOW_DIR_VERSION_TAG, "") ? IFLOW_OK : stranger(user, path);
}

/* A store is not made among somebody's files: what was begun of one is ours, everything else is not. */
static iflow_status visit_new_root(void *user, const char *dir, const char *name) {
    const iflow_dir_store *store = user;
    struct stat st;
    (void)dir;
    const bool tmp = strcmp(name, "tmp") == 0, found = strcmp(name, "lost+found") == 0;
    if ((!tmp && !found) || iflow_files_stat(&store->files, name, &st) != 0 || !S_ISDIR(st.st_mode)) {
        return stranger(store, name);
    }
    return tmp ? iflow_files_walk(&store->files, name, visit_new_tmp, user) : IFLOW_OK;
}

static iflow_status publish_version(const iflow_dir_store *store) {
    iflow_temp temp = {.fd = -1};
    char text[32];
    const int n = snprintf(text, sizeof text, "%s%d\n", VERSION_TEXT, LAYOUT_VERSION);
    const iflow_status status = iflow_files_write_temp(&store->files, IFLOW_DIR_VERSION_TAG, text, (size_t)n, &temp);
    return status ? status : iflow_files_publish(&store->files, &temp, "", "VERSION");
}

/* Makes a store of an older layout one of this, so that older programs, which know nothing of its new chunks, refuse it from now on. */
static iflow_status upgrade(iflow_dir_store *store) {
    int lock = -1, version = 0;
    iflow_status status = iflow_dir_lock(store, &lock);
    if (!status) {
        status = iflow_dir_check_version(store, &version); /* another process may have been faster */
        status = status || version == LAYOUT_VERSION ? status : publish_version(store);
        iflow_dir_unlock(lock);
    }
    if (status == IFLOW_E_IO || status == IFLOW_E_FULL) {
        iflow_log(IFLOW_LOG_WARN, "the store %s stays one of layout version 1, which older programs still write to (%s)", store->files.dir,
                  iflow_error_message());
        return IFLOW_OK;
    }
    return status;
}

static iflow_status create_layout(iflow_dir_store *store, int *version) {
    char why[1024];
    iflow_status status = iflow_files_walk(&store->files, "", visit_new_root, store);
    if (status == IFLOW_E_ARG) { /* or another process has just created it */
        snprintf(why, sizeof why, "%s", iflow_error_message());
        const iflow_status now = iflow_dir_check_version(store, version);
        return now == IFLOW_E_NOT_FOUND ? iflow_fail(status, "%s", why) : now;
    }
    if (!status) {
        status = iflow_files_make_dir(&store->files, "tmp");
    }
    *version = LAYOUT_VERSION;
    return status ? status : publish_version(store);
}

/* That what a store has of its own is no link, and of the right kind: else what happens there would happen to somebody's files. */
static iflow_status check_layout(const iflow_dir_store *store) {
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        struct stat st;
        if (iflow_files_stat(&store->files, parts[i].name, &st) != 0 || (parts[i].is_dir ? S_ISDIR(st.st_mode) : S_ISREG(st.st_mode))) {
            continue;
        }
        return iflow_fail(IFLOW_E_FORMAT, "the store %s cannot be used: its %s is no %s%s; only the store as a whole may be a link",
                          store->files.dir, parts[i].name, parts[i].is_dir ? "directory" : "regular file",
                          S_ISLNK(st.st_mode) ? " but a symbolic link" : "");
    }
    return IFLOW_OK;
}

/* Whether others may use the store: where it says so, and from now on where that is wanted. */
static iflow_status set_shared(iflow_dir_store *store, bool wanted) {
    store->files.shared = iflow_files_exists(&store->files, IFLOW_DIR_SHARED) || wanted;
    if (wanted && !iflow_files_make_empty(&store->files, IFLOW_DIR_SHARED)) {
        return iflow_files_fail(&store->files, "create", IFLOW_DIR_SHARED, errno);
    }
    return IFLOW_OK;
}

static iflow_status make_parts(const iflow_dir_store *store) {
    iflow_status status = IFLOW_OK;
    for (size_t i = 0; !status && i < sizeof parts / sizeof parts[0]; i++) {
        if (parts[i].is_dir && !iflow_files_exists(&store->files, parts[i].name)) {
            status = iflow_files_make_dir(&store->files, parts[i].name);
        }
    }
    return status;
}

iflow_status iflow_store_dir_open(const char *dir, const iflow_store_params *params, iflow_store **out) {
    iflow_status status = IFLOW_OK;
    const bool create = !params || !params->must_exist;
    if (!dir || !dir[0]) {
        return iflow_fail(IFLOW_E_ARG, "a store needs the name of a directory");
    }
    iflow_dir_store *store = iflow_calloc(1, sizeof *store);
    if (!store) {
        return iflow_fail_memory(sizeof *store);
    }
    store->base.ops = &iflow_dir_ops;
    store->max_bytes = params ? params->max_bytes : 0;
    store->lock_warn_ms = LOCK_WARN_MS;
    store->lock_end_ms = LOCK_END_MS;
    store->lease_ms = IFLOW_DIR_LEASE_MS;
    iflow_dir_find_host(store->host);
    pthread_mutex_init(&store->mutex, NULL);
    store->process = getpid();
    status = iflow_files_open(&store->files, dir, create, params && params->shared);
    if (status) {
        goto cleanup;
    }
    int version = 0;
    status = iflow_dir_check_version(store, &version);
    const bool existed = status != IFLOW_E_NOT_FOUND; /* else its directory may be one that somebody made as it is to be */
    if (!existed) {
        status = create ? create_layout(store, &version) : iflow_fail(IFLOW_E_NOT_FOUND, "%s is no store: it has no file VERSION", dir);
    }
    status = status ? status : check_layout(store);
    const bool first = !iflow_files_exists(&store->files, IFLOW_DIR_SHARED);
    status = status ? status : set_shared(store, params && params->shared);
    status = status ? status : make_parts(store);
    if (!status && version < LAYOUT_VERSION) {
        status = upgrade(store);
    }
    if (!status && params && params->shared) {
        status = iflow_dir_share(store, existed, first);
    }
    if (!status) {
        status = iflow_files_walk(&store->files, "tmp", iflow_dir_visit_temp,
                                  store); /* what was killed is not left lying until somebody prunes */
    }
    if (!status) {
        *out = &store->base;
        store = NULL;
    }

cleanup:
    if (store) {
        iflow_dir_ops.close(&store->base);
    }
    return status;
}
