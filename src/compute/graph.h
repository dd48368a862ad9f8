/* graph.h - the decoder as a ggml graph: built for a shape, computed with any inputs of that shape. */
#ifndef IFLOW_COMPUTE_GRAPH_H
#define IFLOW_COMPUTE_GRAPH_H

#include "compute/engine.h"
#include "kernels/attention.h"

/* All that a graph's structure depends on. Compared with memcmp: zero it first. */
typedef struct iflow_graph_shape {
    int n;                      /* tokens */
    int n_kv;                   /* cache rows that can be seen, from row 0 */
    int n_seq;                  /* sequences among the tokens */
    int n_out;                  /* rows of logits: 0, 1 (the last) or n */
    int first_layer, end_layer; /* layers [first_layer, end_layer) */
    int n_observe;
    int observe[IFLOW_MAX_OBSERVED]; /* layers */
    int observations;                /* flags, 0 with n_observe 0 */
    bool raw;
    bool embd;       /* hidden rows go in instead of tokens */
    bool hidden;     /* hidden rows come out instead of logits */
    uint64_t serial; /* of the rows */
} iflow_graph_shape;

typedef struct iflow_graph {
    iflow_graph_shape shape;
    struct ggml_context *ctx;
    struct ggml_cgraph *cgraph;
    struct ggml_tensor *token;       /* i32 [n], or NULL */
    struct ggml_tensor *embd;        /* f32 [n_embd, n], or NULL */
    struct ggml_tensor *hidden;      /* f32 [n_embd, n], or NULL */
    struct ggml_tensor *pos;         /* i32 [n]: coordinates, for RoPE */
    struct ggml_tensor *order;       /* i32 [n]: for causality; no buffer where our attention is not used */
    struct ggml_tensor *row;         /* i64 [n] */
    int fold;                        /* mask rows a token: see iflow_graph_fold */
    struct ggml_tensor *order_kv;    /* i32 [n_kv, n_seq]: of the rows, as each sequence sees them; likewise */
    struct ggml_tensor *at_kv;       /* the same of coordinates, for layers with a window; NULL: the model has none */
    struct ggml_tensor *seq;         /* i32 [n], likewise; NULL: one sequence */
    struct ggml_tensor *mask;        /* the same for ggml's: f16 [n_kv, n * fold], 0 or -inf; a token's rows stand together */
    struct ggml_tensor *mask_window; /* likewise, for layers with a window; NULL: the model has none */
    struct ggml_tensor *logits;      /* f32 [n_vocab, n_out], or NULL */
    iflow_attention *attention;      /* [n_layer], or NULL: ggml's is used */
    iflow_cancel_latch cancel;       /* of the computation at hand */
    iflow_product *product;          /* what the products in the graph point to */
    int n_products;
    struct ggml_tensor *observed[IFLOW_MAX_OBSERVED][IFLOW_N_OBSERVATIONS]; /* f32 [1, n_kv] each; the flags that are set come first */
} iflow_graph;

/* Attention of n queries may run as n * fold, the queries of the heads that share a KV head side by side. ggml's CPU kernel works on tiles
 * of 64 queries and falls back to one query at a time, several times slower a query, below that: a question or a prompt over a long context
 * is such a case, and folded it is not. 1: as it is. */
int iflow_graph_fold(const iflow_model *model, int n);

/* Replaces what graph held. E_MEMORY. */
iflow_status iflow_graph_build(iflow_graph *graph, const iflow_model *model, const iflow_rows *rows, const iflow_graph_shape *shape);
void iflow_graph_free(iflow_graph *graph);

/* The op that rotates a layer's keys: x [n_embd_head, n_head_kv, n] by pos i32 [n]. Forward and assembly share it. */
struct ggml_tensor *iflow_graph_rope(struct ggml_context *ctx, const iflow_model *model, int layer, struct ggml_tensor *x,
                                     struct ggml_tensor *pos, bool inplace);

/* What RoPE multiplies a key by (YaRN's magnitude; 1 without). */
float iflow_graph_magnitude(const iflow_model *model, int layer);

/* The same without RoPE's magnitude (YaRN's): by -pos it takes a key's rotation back, and what it turned keeps its length. */
struct ggml_tensor *iflow_graph_turn(struct ggml_context *ctx, const iflow_model *model, int layer, struct ggml_tensor *x,
                                     struct ggml_tensor *pos);

#endif
