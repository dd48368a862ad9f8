/* arch.h - the supported architectures as a table of their differences, and what a model's metadata states. */
#ifndef IFLOW_MODEL_ARCH_H
#define IFLOW_MODEL_ARCH_H

#include "base/base.h"

struct gguf_context;

typedef struct iflow_arch {
    const char *name;    /* general.architecture */
    int rope_type;       /* GGML_ROPE_TYPE_NORMAL (pairs) or _NEOX (halves) */
    bool qk_norm;        /* RMS norm of every head's q and k before RoPE */
    bool thinks;         /* its chat template opens a reasoning block unless it is closed in the prompt (Qwen3) */
    bool endoftext_sink; /* the sink is <|endoftext|>, whatever the metadata names as BOS (Qwen) */
} iflow_arch;

/* NULL when it is not in the table. */
const iflow_arch *iflow_arch_find(const char *name);

typedef struct iflow_rope {
    int type, n_dims, n_ctx_orig;
    float freq_base, freq_scale, ext_factor, attn_factor, beta_fast, beta_slow; /* as ggml_rope_ext takes them */
} iflow_rope;

typedef struct iflow_hparams {
    int n_layer, n_embd, n_head, n_head_kv, n_embd_head, n_ff, n_ctx_train;
    float rms_eps;
    iflow_rope rope;
} iflow_hparams;

/* Reads and checks a model's metadata. E_FORMAT (a key missing, of a wrong type or absurd), E_UNSUPPORTED (architecture, mixture of
 * experts, a rope scaling that is not linear or YaRN), naming it. path: for messages. */
iflow_status iflow_hparams_read(const struct gguf_context *gguf, const char *path, const iflow_arch **arch, iflow_hparams *out);

#endif
