/* edits.h - what is done to cache rows without running the model: rotated, read back before RoPE, mixed, shifted, mapped. */
#ifndef IFLOW_COMPUTE_EDITS_H
#define IFLOW_COMPUTE_EDITS_H

#include "compute/engine.h"

/* Rotates the K of rows [row, row + n), which hold it before RoPE, to their coordinates, in place, in every layer. */
iflow_status iflow_engine_rotate(iflow_engine *engine, iflow_rows *rows, int row, int n);

/* K before RoPE and V of rows row[n], of all layers but the first: k, v [n_layer - 1, n, n_embd_kv]; v NULL: K alone. What RoPE's magnitude
 * (YaRN's) multiplied stays multiplied. */
iflow_status iflow_engine_read(iflow_engine *engine, const iflow_rows *rows, const int32_t *row, int n, float *k, float *v);

/* K and V of row into[i], in every layer but the first, become share of what they are and 1 - share of those of row from[i], n rows. */
iflow_status iflow_engine_mix(iflow_engine *engine, iflow_rows *rows, const int32_t *from, const int32_t *into, int n, float share);

/* Adds shift number which[i] to the K of row[i], in every layer but the first: shift [n_layer - 1, n_shifts, n_embd_kv], before RoPE and
 * with its magnitude. */
iflow_status iflow_engine_shift_keys(iflow_engine *engine, iflow_rows *rows, const int32_t *row, const int32_t *which, int n,
                                     const float *shift, int n_shifts);

/* Numbers of a row's that a map takes in beside K and V; those that are not needed are 0. So many, as ggml multiplies by blocks of 16. */
enum { IFLOW_AFFINE_FEATURES = 16 };

/* An affine map of a layer's K before RoPE and V: to x = (K, V), 2 n_embd_kv long, it adds map (x - mean) + position f, f being numbers of
 * the row's that are not in it. */
typedef struct iflow_affine {
    struct ggml_tensor *mean;     /* f32 [2 n_embd_kv] */
    struct ggml_tensor *map;      /* f16, or q8_0 for a product of ours, [2 n_embd_kv, 2 n_embd_kv], what goes in first */
    struct ggml_tensor *position; /* f32 [IFLOW_AFFINE_FEATURES, 2 n_embd_kv] */
} iflow_affine;

/* What a map's tensor is to be: q8_0 where this model has products of its own by that. */
enum ggml_type iflow_affine_type(const iflow_model *model);

/* Maps rows [row, row + n), whose K is still before RoPE, in every layer but the first: map [n_layer - 1], feature [n,
 * IFLOW_AFFINE_FEATURES].
 */
iflow_status iflow_engine_map(iflow_engine *engine, iflow_rows *rows, const iflow_affine *map, const float *feature, int row, int n);

#endif
