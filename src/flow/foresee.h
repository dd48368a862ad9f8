/* foresee.h - how stale each token of a chunk will be once other chunks stand before it, seen from how an unrelated text moves it. */
#ifndef IFLOW_FLOW_FORESEE_H
#define IFLOW_FLOW_FORESEE_H

#include "kv/chunk.h"

/* A chunk's KV as it was prefilled once: f16 rows [n, n_embd_kv] a layer, K before RoPE. */
typedef struct iflow_kv {
    const uint16_t **k, **v; /* [n_layer] */
} iflow_kv;

/* The distance of each token's K and V between two prefills of the same chunk, each layer's as a multiple of its mean over the tokens,
 * summed over K and V of all layers but the first (whose K and V depend on the token alone): out [n]. E_MEMORY. */
iflow_status iflow_foresee(const iflow_kv *a, const iflow_kv *b, int n_layer, size_t n, size_t n_embd_kv, float *out);

#endif
