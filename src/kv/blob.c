/* blob.c - bytes that somebody owns: allocated, mapped from a file, or shared by counting references. */
#include "kv/blob.h"

#include <stdlib.h>
#include <string.h>

typedef struct shared_bytes {
    atomic_size_t n_owners;
    atomic_bool checked;
} shared_bytes;

void iflow_blob_free(iflow_blob *blob) {
    if (!blob) {
        return;
    }
    if (blob->release) {
        blob->release(blob->owner, blob->data, blob->n_bytes);
    } else {
        free((void *)(uintptr_t)blob->data);
    }
    *blob = (iflow_blob){0};
}

static void release_shared(void *owner, const void *data, size_t n_bytes) {
    shared_bytes *shared = owner;
    (void)n_bytes;
    if (atomic_fetch_sub(&shared->n_owners, 1) == 1) {
        free((void *)(uintptr_t)data);
        free(shared);
    }
}

iflow_status iflow_blob_share(void *bytes, size_t n_bytes, iflow_blob *out) {
    shared_bytes *shared = iflow_calloc(1, sizeof *shared);
    if (!shared) {
        return iflow_fail_memory(sizeof *shared);
    }
    atomic_init(&shared->n_owners, 1);
    atomic_init(&shared->checked, false);
    *out = (iflow_blob){.data = bytes, .n_bytes = n_bytes, .release = release_shared, .owner = shared, .checked = &shared->checked};
    return IFLOW_OK;
}

iflow_status iflow_blob_again(const iflow_blob *blob, iflow_blob *out) {
    if (blob->release == release_shared) {
        shared_bytes *shared = blob->owner;
        atomic_fetch_add(&shared->n_owners, 1);
        *out = (iflow_blob){
            .data = blob->data, .n_bytes = blob->n_bytes, .release = release_shared, .owner = shared, .checked = &shared->checked};
        return IFLOW_OK;
    }
    void *copy = iflow_calloc(blob->n_bytes, 1);
    if (!copy) {
        return iflow_fail_memory(blob->n_bytes);
    }
    if (blob->n_bytes) {
        memcpy(copy, blob->data, blob->n_bytes);
    }
    const iflow_status status = iflow_blob_share(copy, blob->n_bytes, out);
    if (status) {
        free(copy);
    }
    return status;
}
