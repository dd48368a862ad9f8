/* store_dir.h - what the parts of the directory store share. Its layout and its invariants stand in store_dir.c. */
#ifndef IFLOW_KV_STORE_DIR_H
#define IFLOW_KV_STORE_DIR_H

#include "kv/files.h"
#include "kv/store.h"

#include <pthread.h>

typedef struct iflow_dir_claim {
    char id[IFLOW_ID_SIZE];
    int fd;
} iflow_dir_claim;

typedef struct iflow_dir_store {
    iflow_store base; /* first: the handle is this */
    iflow_files files;
    uint64_t max_bytes;
    pthread_mutex_t mutex; /* guards the claims; everything else is constant or in the file system */
    iflow_dir_claim *claims;
    size_t n_claims, claims_capacity;
} iflow_dir_store;

void iflow_dir_chunk_path(const char *id, char path[IFLOW_FILES_PATH_SIZE]);
/* The id in a name ID + suffix; false if it is not of this form. */
bool iflow_dir_id_of_name(const char *name, const char *suffix, char id[IFLOW_ID_SIZE]);
bool iflow_dir_exists(const iflow_dir_store *store, const char *path);
bool iflow_dir_is_pinned(const iflow_dir_store *store, const char *id);
/* E_NOT_FOUND, without a message of its own, if there is no VERSION. */
iflow_status iflow_dir_check_version(const iflow_dir_store *store);

typedef struct iflow_dir_entry {
    char id[IFLOW_ID_SIZE];
    uint64_t n_bytes;
    int64_t used_ns;
} iflow_dir_entry;

typedef struct iflow_dir_scan {
    const iflow_dir_store *store;
    const char *prefix; /* of the ids wanted; NULL: all */
    iflow_dir_entry *entries;
    size_t n, capacity;
} iflow_dir_scan;

/* All chunks whose ids begin with prefix (NULL: all), least recently used first. s->entries: free(), on failure too. */
iflow_status iflow_dir_scan_chunks(const iflow_dir_store *store, const char *prefix, iflow_dir_scan *s);

/* Deletes a chunk's file if it is there. The store is locked. */
iflow_status iflow_dir_unlink_chunk(const iflow_dir_store *store, const char *id);
/* Deletes least recently used, unpinned chunks until at most max_bytes remain, or only pinned ones do. For a chunk about to be published
 * (incoming; else NULL) it must come to that: E_FULL otherwise, and nothing is deleted; one that it replaces is neither counted nor
 * deleted. Adds to what it counts. The store is locked. */
iflow_status iflow_dir_evict(const iflow_dir_store *store, uint64_t max_bytes, const char *incoming, size_t *n_deleted, uint64_t *n_bytes);
/* Keeps bad/ from growing without end. The store is locked. */
void iflow_dir_trim_bad(const iflow_dir_store *store);

#endif
