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

/* The cache as the pass sees it. A row holds one token's K and V in every layer, at a position. */
typedef struct iflow_rows {
    int n_rows;
    uint64_t serial;            /* of these tensors: no other rows of the process ever have it, so a graph built on it can be used again */
    int32_t *pos;               /* [n_rows] */
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

enum { IFLOW_MAX_OBSERVED = 16 }; /* layers that a pass can observe */

/* One pass. Token i goes in at pos[i], writes cache row row[i] (whose position becomes pos[i]) and sees every row whose position is not
 * greater. Ascending positions; done in slices of n_ubatch. */
typedef struct iflow_pass {
    const int32_t *token; /* [n] */
    const float *embd;    /* [n, n_embd], the input of first_layer, instead of token's embeddings; NULL: none */
    const int32_t *pos;   /* [n] */
    const int32_t *row;   /* [n] */
    int n;
    /* Tokens of several sequences: seq[i], 0 to n_seq - 1, ascending. A token sees the rows below n_shared and those that its own sequence
     * writes in this pass, which is one slice then. NULL: one sequence, which sees all rows. */
    const int32_t *seq;
    int n_seq, n_shared;
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
