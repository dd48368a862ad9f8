/* attention_kernels.h - what a processor's kernels for attention do, and what lies between them. */
#ifndef IFLOW_KERNELS_ATTENTION_KERNELS_H
#define IFLOW_KERNELS_ATTENTION_KERNELS_H

#include "kernels/attention.h"

#include <stdint.h>

enum {
    IFLOW_QUERY_PANEL = 6, /* queries, each of one head, that go together: with 64 keys they fill the registers of AVX-512 */
    IFLOW_KEY_BLOCK = IFLOW_ATTENTION_BLOCK, /* keys that go together: a query's sums are cut at the same keys always */
    IFLOW_MAX_EMBD_HEAD = 256,
};

/* Keys and values of one KV head. Keys that are missing have IFLOW_ROW_EMPTY's order, and those that have it are zeros. */
typedef struct iflow_key_block {
    _Alignas(64) float k[IFLOW_MAX_EMBD_HEAD][IFLOW_KEY_BLOCK];
    _Alignas(64) float v[IFLOW_KEY_BLOCK * IFLOW_MAX_EMBD_HEAD]; /* [IFLOW_KEY_BLOCK, n_embd_head] */
    _Alignas(64) int32_t order[IFLOW_KEY_BLOCK];
} iflow_key_block;

/* Queries, and the softmax's state of each, for exponents to base 2. */
typedef struct iflow_query_panel {
    _Alignas(64) float sum[IFLOW_QUERY_PANEL][16]; /* of the weights so far, in 16 parts */
    const float *q[IFLOW_QUERY_PANEL];             /* [n_embd_head] */
    float *out[IFLOW_QUERY_PANEL];                 /* [n_embd_head]: the weighted sum so far */
    int32_t order[IFLOW_QUERY_PANEL];
    int32_t first[IFLOW_QUERY_PANEL]; /* keys of orders from this one on are seen; INT32_MIN without a window */
    float max[IFLOW_QUERY_PANEL];     /* the largest exponent so far */
} iflow_query_panel;

typedef struct iflow_attention_kernels {
    const char *name;
    /* n rows of k and v, `stride` halves apart, to a block whose order is there. */
    void (*unpack)(const ggml_fp16_t *k, const ggml_fp16_t *v, size_t stride, int n_embd_head, int n, iflow_key_block *block);
    /* Takes a block into a panel. log2_scale: by which q times k becomes an exponent to base 2. masked: some query does not see some key.
     */
    void (*attend)(const iflow_key_block *block, int n_embd_head, float log2_scale, bool masked, iflow_query_panel *panel);
} iflow_attention_kernels;

/* The i-th best that this processor has; NULL: it has no more. */
const iflow_attention_kernels *iflow_attention_kernels_get(int i);

#endif
