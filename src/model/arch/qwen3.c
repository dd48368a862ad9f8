/* qwen3.c - Qwen 3, dense. */
#include "model/arch/arch.h"

#include <ggml.h>

static void plan(iflow_metadata *meta, iflow_hparams *h) {
    iflow_plan_common(meta, GGML_ROPE_TYPE_NEOX, h);
    for (int il = 0; !meta->status && il < h->n_layer; il++) {
        h->spec[il].qk_norm = true;
    }
}

const iflow_arch iflow_arch_qwen3 = {
    .name = "qwen3",
    .plan = plan,
    .tensors = iflow_tensors_common,
    .sinks = iflow_sinks_endoftext,
    .no_thinking = "<think>\n\n</think>\n\n",
};
