/* correction.h - what was learned of how KV changes among other chunks: an affine map a layer, and its file. docs/FORMAT.md specifies it.
 *
 * A correction is of one model and of chunks prefilled in one way. Loaded, it does not change, and contexts share it. */
#ifndef IFLOW_KV_CORRECTION_H
#define IFLOW_KV_CORRECTION_H

#include "compute/edits.h"

/* Numbers of a token's place that a map takes in beside K and V: one, three of its place in its chunk, one of its place in the context. */
enum { IFLOW_CORRECTION_FEATURES = 5 };

#define IFLOW_CORRECTION_VERSION 2

struct iflow_correction {
    const iflow_model *model;
    iflow_correction_info info;
    char *path;                    /* that it was loaded from */
    char prefix_id[IFLOW_ID_SIZE]; /* hash of the tokens that its chunks are prefilled after: sink and fillers */
    iflow_affine *layer;           /* [n_layer - 1]: of all but the first */
    struct ggml_context *ctx;
    ggml_backend_buffer_t buffer;
};

/* The same on the host, of layers 1 and up, to be written; width: 2 n_embd_kv. */
typedef struct iflow_correction_values {
    const char *fingerprint; /* of the model */
    const char *prefix_id;   /* the same hash */
    int fillers, n_layer, n_embd_kv;
    size_t n_tokens;
    float *mean;     /* [n_layer - 1, width] */
    uint16_t *map;   /* [n_layer - 1, width, width]: out, in */
    float *position; /* [n_layer - 1, width, IFLOW_CORRECTION_FEATURES] */
} iflow_correction_values;

/* Writes a file that its owner alone may read, whole or not at all. E_NOT_FINITE, E_FULL, E_IO, E_MEMORY. */
iflow_status iflow_correction_write(const char *path, const iflow_correction_values *values);

#endif
