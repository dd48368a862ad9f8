/* arch.h - the families of models that are supported. A family is one file here, which says all that is particular about it, and one row of
 * the table in arch.c. */
#ifndef IFLOW_MODEL_ARCH_ARCH_H
#define IFLOW_MODEL_ARCH_ARCH_H

#include "model/metadata.h"
#include "model/plan.h"
#include "model/tensors.h"

/* A sink: the tokens that stand before every chunk while it is prefilled. It is `text`, with control tokens parsed, where all of `known`
 * are single tokens of the vocabulary. */
typedef struct iflow_sink {
    const char *known[2]; /* the second may be NULL */
    const char *text;
} iflow_sink;

typedef struct iflow_arch {
    const char *name; /* general.architecture */

    /* Fills the plan: iflow_plan_common(), then what is particular. meta->status tells what is wrong. */
    void (*plan)(iflow_metadata *meta, iflow_hparams *h);
    /* Lists a layer's tensors: iflow_tensors_common(), and others. */
    void (*tensors)(iflow_tensors *list, const iflow_hparams *h, int layer, iflow_layer *to);
    /* Tensors that text is computed without; NULL-terminated, or NULL. A layer's are named without "blk.N.". */
    const char *const *unneeded;

    const iflow_sink *sinks; /* the first that a vocabulary has counts, with text NULL after the last. Without any: BOS, else EOS */
    const char *no_thinking; /* put after the opened answer where the chat template knows <think>, so that answers begin at once; or NULL */
    const char *const *markers; /* tokens that text must not become though the vocabulary has them as a user's own; or NULL */
} iflow_arch;

extern const iflow_arch iflow_arch_llama, iflow_arch_qwen2, iflow_arch_qwen3, iflow_arch_gemma3;

/* Reads and checks a model's metadata. E_FORMAT (a key missing, of a wrong type or absurd), E_UNSUPPORTED (an architecture or what a plan
 * cannot say), naming it. path: for messages. iflow_plan_free(). */
iflow_status iflow_plan_read(const struct gguf_context *gguf, const char *path, const iflow_arch **arch, iflow_hparams *out);
void iflow_plan_free(iflow_hparams *h);

/* The layer without a window that is nearest to one, the deeper of two; -1: there is none. */
int iflow_plan_whole_layer(const iflow_hparams *h, int layer);

/* Dense layers, all alike, as the keys that families share state them; rope_type: GGML_ROPE_TYPE_NORMAL (pairs) or _NEOX (halves). */
void iflow_plan_common(iflow_metadata *meta, int rope_type, iflow_hparams *h);

/* The sinks of models with Qwen's vocabulary. */
extern const iflow_sink iflow_sinks_endoftext[];

#endif
