/* attention.h - attention over the cache on the CPU, by kernels of our own where the processor has what they need. */
#ifndef IFLOW_KERNELS_ATTENTION_H
#define IFLOW_KERNELS_ATTENTION_H

#include "kernels/work.h"

#include <ggml.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* All is computed in f32. A query's result is the same whatever other queries go with it and however many threads (but rounded otherwise
 * where fewer than 8 see more than 512 keys), and no further from attention in f64 than ggml's (tests/test_attention.c). */

/* Keys that are taken together, from row 0 on. */
enum { IFLOW_ATTENTION_BLOCK = 64 };

enum { IFLOW_ROW_EMPTY = INT32_MAX }; /* order of a row that holds nothing: greater than any query's, so nobody sees it */

/* A query's heads that share a KV head share what unpacking its keys costs, and so do queries. Below this many, queries times such heads,
 * ggml's attention is faster: measured at 1 to 7 and more. */
enum { IFLOW_ATTENTION_MIN_SHARING = 3 };

/* Whether this processor has kernels for heads of n_embd_head, n_head / n_head_kv of which share a KV head. */
bool iflow_attention_can(int n_embd_head, int n_head, int n_head_kv);

/* One attention of a graph, which it must outlive. Zero it first. */
typedef struct iflow_attention {
    float scale;                                   /* of q times k */
    int window;                                    /* rows that far before a query and farther are not visible to it; 0: no such limit */
    const struct iflow_attention_kernels *kernels; /* NULL: the processor's best */
    iflow_work work;
} iflow_attention;

/* f32 [n_embd_head * n_head, n]: what q f32 [n_embd_head, n_head, n] at order i32 [n] makes of the first n_kv rows of k and v, f16
 * [n_embd_head * n_head_kv, n_rows], whose orders are order_kv i32 [n_kv, n_seq], in any order, to the queries of each sequence: seq i32
 * [n], ascending; NULL: all are of sequence 0. A row is visible to a query if its order is not greater and within the
 * window (so that with a window the orders may be other numbers that ascend, of which that is a distance); IFLOW_ROW_EMPTY is never
 * visible. A query that sees nothing gets 0. */
struct ggml_tensor *iflow_attention_op(struct ggml_context *ctx, iflow_attention *attention, struct ggml_tensor *q, struct ggml_tensor *k,
                                       struct ggml_tensor *v, struct ggml_tensor *order, struct ggml_tensor *order_kv,
                                       struct ggml_tensor *seq);

#endif
