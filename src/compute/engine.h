/* engine.h - the one forward pass. Prefill of chunks, scoring, recompute, prompt, decode and the full-prefill baseline are this with
 * different inputs. */
#ifndef IFLOW_COMPUTE_ENGINE_H
#define IFLOW_COMPUTE_ENGINE_H

#include "kernels/attention.h"
#include "model/model.h"

typedef struct iflow_engine iflow_engine;

enum { IFLOW_DEFAULT_UBATCH = 512 };

/* Attention takes so many rows together, from row 0 on. What tokens come to does not depend, to the bit, on where the rows that they write
 * begin, if that is at a multiple of this. */
enum { IFLOW_ROWS_BLOCK = IFLOW_ATTENTION_BLOCK };

/* A row's RoPE coordinates. Text has one value in all of them; an image's patches differ in some. */
enum { IFLOW_COORDS = 4 };
typedef struct iflow_coord {
    int32_t at[IFLOW_COORDS];
} iflow_coord;

enum { IFLOW_SEQ_ALL = -1 }; /* the sequence of rows that every sequence sees */

/* A pool of cache rows as the pass sees it. A row holds one token's K and V in every layer. Its order is its place in its sequence, which
 * causality goes by; its coordinates are what its key is rotated by. Where a row lies in the pool means nothing. */
typedef struct iflow_rows {
    int n_rows;
    uint64_t serial;            /* of these tensors: no other rows of the process ever have it, so a graph built on it can be used again */
    int32_t *order;             /* [n_rows]; IFLOW_ROW_EMPTY: the row holds nothing */
    int32_t *seq;               /* [n_rows]: the sequence, from 0 on, or IFLOW_SEQ_ALL */
    iflow_coord *coord;         /* [n_rows] */
    struct ggml_tensor **k;     /* [n_layer] of f16 [n_embd_kv, n_rows], after RoPE */
    struct ggml_tensor **v;     /* the same, plain */
    struct ggml_tensor **k_raw; /* the same before RoPE, written beside k; NULL: not kept */
} iflow_rows;

/* What a pass can observe of the attention that its queries pay to every cache row k: sums over the queries q, so that slices add up.
 * a[h,q,k] is the attention weight, m[q,k] its mean over heads. Flags. */
enum {
    IFLOW_OBSERVE_NORM = 1,    /* sum_q m^2 */
    IFLOW_OBSERVE_MASS = 2,    /* sum_q m */
    IFLOW_OBSERVE_ENTROPY = 4, /* -sum_q m log m, with m + 1e-10 */
    IFLOW_OBSERVE_VATP = 8,    /* sum_h sum_q a * |v[g(h),k]|_2 */
    IFLOW_N_OBSERVATIONS = 4,
};

enum { IFLOW_MAX_OBSERVED = IFLOW_MAX_SCORE_LAYERS }; /* layers that a pass can observe */

/* One pass. Token i of sequence seq[i] goes in at order[i] and coord[i], and writes row row[i], which has these then. It sees every row of
 * its own sequence, or of all, whose order is not greater. Orders ascend within a sequence; sequences ascend. Done in slices of n_ubatch.
 */
typedef struct iflow_pass {
    const int32_t *token;     /* [n] */
    const float *embd;        /* [n, n_embd], the input of first_layer, instead of token's embeddings; NULL: none */
    const int32_t *order;     /* [n] */
    const iflow_coord *coord; /* [n]; NULL: the order is the value of all coordinates */
    const int32_t *row;       /* [n] */
    const int32_t *seq;       /* [n]; NULL: all are of sequence 0 */
    int n;
    bool fixed_slices;          /* of IFLOW_DEFAULT_UBATCH whatever n_ubatch is: what is stored must not depend on it */
    int first_layer, end_layer; /* layers [first_layer, end_layer) are run; end_layer 0: to the last */
    float *hidden;              /* [n, n_embd]: the output of layer end_layer - 1 (no logits then); NULL: none */
    bool logits;                /* of the last token, to out */
    float *out;                 /* [n_vocab] */
    bool every;                 /* logits of every token instead: out is [n, n_vocab] */
    /* Layers observe[] (ascending) are observed; nothing above the last of them is run. */
    const int *observe;
    int n_observe;
    int observations; /* flags */
    float *observed;  /* [n_observe, number of flags, n_rows], flags ascending; added to */
} iflow_pass;

/* n_ubatch 0: 512. n_threads 0: the processors this process may use. */
iflow_status iflow_engine_new(const iflow_model *model, int n_ubatch, int n_threads, iflow_engine **out);
void iflow_engine_free(iflow_engine *engine);

/* A buffer type for cache tensors. */
ggml_backend_buffer_type_t iflow_engine_buft(const iflow_engine *engine);

/* E_BACKEND, E_MEMORY. On failure the rows' contents are undefined. */
iflow_status iflow_engine_forward(iflow_engine *engine, iflow_rows *rows, const iflow_pass *pass);

#endif
