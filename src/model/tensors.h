/* tensors.h - the list of tensors that a model is to have: names, shapes, and where each goes. */
#ifndef IFLOW_MODEL_TENSORS_H
#define IFLOW_MODEL_TENSORS_H

#include "model/plan.h"

struct ggml_tensor;

/* Weights of one decoder layer; ggml's axis order, fastest first. NULL where the model has none. */
typedef struct iflow_layer {
    struct ggml_tensor *attn_norm;                    /* [n_embd] */
    struct ggml_tensor *wq, *wk, *wv;                 /* [n_embd, n_head * n_embd_head], [n_embd, n_embd_k], [n_embd, n_embd_v] */
    struct ggml_tensor *bq, *bk, *bv;                 /* biases of the same, or NULL */
    struct ggml_tensor *q_norm, *k_norm;              /* [n_embd_head], or NULL */
    struct ggml_tensor *wo, *bo;                      /* [n_head * n_embd_head, n_embd]; bo or NULL */
    struct ggml_tensor *attn_norm_after;              /* [n_embd], or NULL */
    struct ggml_tensor *ffn_norm;                     /* [n_embd] */
    struct ggml_tensor *ffn_gate, *ffn_up, *ffn_down; /* [n_embd, n_ff] twice, [n_ff, n_embd] */
    struct ggml_tensor *ffn_gate_b, *ffn_up_b, *ffn_down_b;
    struct ggml_tensor *ffn_norm_after; /* [n_embd], or NULL */
} iflow_layer;

/* What a weight is used for decides which layouts can hold it. */
typedef enum iflow_use { IFLOW_USE_ROWS, IFLOW_USE_PRODUCT, IFLOW_USE_ELEMENTWISE, IFLOW_USE_ROPE } iflow_use;

typedef struct iflow_slot {
    char name[64];
    struct ggml_tensor **where;
    int64_t ne[2];
    iflow_use use;
    bool required;
} iflow_slot;

/* Zero it first; free(slot). The first failure sticks. */
typedef struct iflow_tensors {
    iflow_slot *slot;
    size_t n, capacity;
    iflow_status status;
} iflow_tensors;

/* Layers' names get "blk.N." in front. */
void iflow_tensors_add(iflow_tensors *list, struct ggml_tensor **where, const char *name, int64_t ne0, int64_t ne1, iflow_use use,
                       bool required);
void iflow_tensors_add_layer(iflow_tensors *list, int layer, struct ggml_tensor **where, const char *name, int64_t ne0, int64_t ne1,
                             iflow_use use, bool required);

/* A layer's tensors that families share; those that the plan has no place for are not listed. */
void iflow_tensors_common(iflow_tensors *list, const iflow_hparams *h, int layer, iflow_layer *to);

#endif
