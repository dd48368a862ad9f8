/* blob.h - bytes that somebody owns: allocated, mapped from a file, or shared by counting references. */
#ifndef IFLOW_KV_BLOB_H
#define IFLOW_KV_BLOB_H

#include "base/base.h"

#include <stdatomic.h>

typedef struct iflow_blob {
    const void *data;
    size_t n_bytes;
    void (*release)(void *owner, const void *data, size_t n_bytes); /* NULL: free(data) */
    void *owner;
    /* A place of somebody's where it is noted that the data were checked, so that decoding them again need not; NULL: there is none. */
    atomic_bool *checked;
    /* In a store: which file or entry, among those that come and go under its name; it is not another's while the blob is there. */
    uint64_t dev, ino;
} iflow_blob;

void iflow_blob_free(iflow_blob *blob);

/* Makes a blob that several own of malloc'ed bytes: whoever frees it last frees them. Takes them over on success only. E_MEMORY. */
iflow_status iflow_blob_share(void *bytes, size_t n_bytes, iflow_blob *out);

/* Another blob of the same bytes, which are copied only if they are not shared. It knows no file. E_MEMORY. */
iflow_status iflow_blob_again(const iflow_blob *blob, iflow_blob *out);

#endif
