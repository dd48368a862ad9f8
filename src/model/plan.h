/* plan.h - what a model computes, layer by layer: a family's file fills it from metadata, and the graph is built from it alone. */
#ifndef IFLOW_MODEL_PLAN_H
#define IFLOW_MODEL_PLAN_H

#include "base/base.h"

/* A plan cannot say yet, so that a family's file or iflow_plan_read() refuses by name: experts, attention sinks (extra logits), latent
 * rows, state layers, soft caps of attention, rotary coordinates in sections, rotation of a part of a head, heads of other sizes in V than
 * in K, and layers whose rows differ in width. Each comes as fields here, with the first family that has it. */

typedef struct iflow_rope {
    int type, n_dims, n_ctx_orig;                                               /* n_dims 0: nothing is rotated */
    float freq_base, freq_scale, ext_factor, attn_factor, beta_fast, beta_slow; /* as ggml_rope_ext takes them */
    bool factors; /* frequencies are divided by rope_freqs.weight, if the file has it */
} iflow_rope;

typedef enum iflow_activation {
    IFLOW_ACTIVATION_SWIGLU, /* silu(gate) * up */
    IFLOW_ACTIVATION_GEGLU,  /* gelu(gate) * up, by the tanh approximation */
} iflow_activation;

/* One decoder layer: h += after(attention(norm(h))), then h += after(feed_forward(norm(h))). */
typedef struct iflow_layer_spec {
    int n_head, n_head_kv, n_embd_head;
    int n_embd_k, n_embd_v; /* elements of one row of K and of V */
    iflow_rope rope;
    int window;            /* a query sees the rows less than this many positions before it; 0: all before it */
    float attention_scale; /* of q times k */
    bool qk_norm;          /* RMS norm of every head's q and k before RoPE */
    bool norm_after;       /* RMS norm of what attention and the feed-forward give */
    iflow_activation activation;
    int n_ff;
} iflow_layer_spec;

typedef struct iflow_hparams {
    int n_layer, n_embd, n_ctx_train;
    int n_head; /* the most of any layer */
    int window; /* of the layers that have one; 0: none has. One size, as a pass has one mask for it */
    float rms_eps;
    float embd_scale;       /* token embeddings are multiplied by it */
    float logit_cap;        /* logits become cap * tanh(logit / cap); 0: they stay */
    iflow_layer_spec *spec; /* [n_layer] */
} iflow_hparams;

#endif
