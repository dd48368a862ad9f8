/* store_dir_docs.c - the directory store's small records, docs/ID.json. */
#include "kv/store_dir.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void record_path(const char *id, char path[IFLOW_FILES_PATH_SIZE]) {
    snprintf(path, IFLOW_FILES_PATH_SIZE, "docs/%s.json", id);
}

static iflow_status record_not_found(const iflow_dir_store *store, const char *id) {
    return iflow_fail(IFLOW_E_NOT_FOUND, "document %s is not in the store %s", id, store->files.dir);
}

iflow_status iflow_dir_put_record(iflow_store *base, const char *id, const char *text, size_t n_bytes) {
    iflow_dir_store *store = iflow_dir_of(base);
    iflow_temp temp = {.fd = -1};
    int lock;
    char name[IFLOW_FILES_PATH_SIZE];
    iflow_status status = iflow_record_check(id, n_bytes);
    if (status) {
        return status;
    }
    status = iflow_files_write_temp(&store->files, id, text, n_bytes, &temp);
    if (status) {
        return status;
    }
    status = iflow_dir_lock(store, &lock); /* against those who set a damaged one aside */
    if (status) {
        iflow_files_discard_temp(&store->files, &temp);
        return status;
    }
    snprintf(name, sizeof name, "%s.json", id);
    status = iflow_files_publish(&store->files, &temp, "docs", name);
    iflow_dir_unlock(lock);
    return status;
}

iflow_status iflow_dir_get_record(iflow_store *base, const char *id, iflow_blob *out) {
    iflow_dir_store *store = iflow_dir_of(base);
    char path[IFLOW_FILES_PATH_SIZE];
    iflow_status status = iflow_id_check(id);
    if (status) {
        return status;
    }
    record_path(id, path);
    status = iflow_files_map(&store->files, path, false, false, out, NULL);
    if (status) {
        return status == IFLOW_E_NOT_FOUND ? record_not_found(store, id) : status;
    }
    if (out->n_bytes > IFLOW_MAX_RECORD_BYTES) {
        status = iflow_fail(IFLOW_E_CORRUPT, "%s/%s has %zu bytes, a record has at most %d", store->files.dir, path, out->n_bytes,
                            IFLOW_MAX_RECORD_BYTES);
    }
    return status;
}

iflow_status iflow_dir_remove_record(iflow_store *base, const char *id) {
    iflow_dir_store *store = iflow_dir_of(base);
    char path[IFLOW_FILES_PATH_SIZE];
    iflow_status status = iflow_id_check(id);
    if (status) {
        return status;
    }
    record_path(id, path);
    if (iflow_files_unlink(&store->files, path) != 0) {
        return errno == ENOENT ? record_not_found(store, id) : iflow_files_fail(&store->files, "delete", path, errno);
    }
    return IFLOW_OK;
}

iflow_status iflow_dir_set_aside_record(iflow_store *base, const char *id, const iflow_blob *judged) {
    iflow_dir_store *store = iflow_dir_of(base);
    int lock;
    char path[IFLOW_FILES_PATH_SIZE];
    iflow_status status = iflow_id_check(id);
    status = status ? status : iflow_dir_lock(store, &lock);
    if (status) {
        return status;
    }
    record_path(id, path);
    const int error = iflow_dir_move_aside(store, path, id, ".json", judged);
    if (error == ENOENT) {
        status = record_not_found(store, id);
    } else if (error == ESTALE) {
        status = iflow_fail(IFLOW_E_NOT_FOUND, "document %s was recorded again meanwhile: that record stays", id);
    } else if (error) {
        status = iflow_files_fail(&store->files, "set aside", path, error);
    }
    iflow_dir_unlock(lock);
    return status;
}

typedef struct id_list {
    char (*ids)[IFLOW_ID_SIZE];
    size_t n, capacity;
} id_list;

static iflow_status visit_record(void *user, const char *dir, const char *name) {
    id_list *list = user;
    char id[IFLOW_ID_SIZE];
    (void)dir;
    if (!iflow_dir_id_of_name(name, ".json", id)) {
        return IFLOW_OK;
    }
    const iflow_status status = iflow_reserve((void **)&list->ids, &list->capacity, list->n + 1, sizeof list->ids[0]);
    if (!status) {
        memcpy(list->ids[list->n++], id, sizeof id);
    }
    return status;
}

iflow_status iflow_dir_list_records(iflow_store *base, char (**ids)[IFLOW_ID_SIZE], size_t *n) {
    id_list list = {0};
    const iflow_status status = iflow_files_walk(&iflow_dir_of(base)->files, "docs", visit_record, &list);
    if (status) {
        free(list.ids);
        return status;
    }
    *ids = list.ids;
    *n = list.n;
    return IFLOW_OK;
}
