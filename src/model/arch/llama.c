/* llama.c - Llama 1 to 3, and what is built like it: Mistral, SmolLM, Yi and others. */
#include "model/arch/arch.h"

#include <ggml.h>

static void plan(iflow_metadata *meta, iflow_hparams *h) {
    iflow_plan_common(meta, GGML_ROPE_TYPE_NORMAL, h);
    for (int il = 0; !meta->status && il < h->n_layer; il++) {
        h->spec[il].rope.factors = true; /* Llama 3's scaling is a tensor */
    }
}

/* What the published method uses: Llama 3's opened turn, and GLM's. */
static const iflow_sink sinks[] = {
    {{"<|begin_of_text|>", "<|start_header_id|>"}, "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n"},
    {{"[gMASK]", "<sop>"}, "[gMASK]<sop><|user|>\n"},
    {{NULL}, NULL},
};

/* Frequencies that converters once wrote down; they are computed. */
static const char *const unneeded[] = {"attn_rot_embd.weight", NULL};

const iflow_arch iflow_arch_llama = {.name = "llama", .plan = plan, .tensors = iflow_tensors_common, .unneeded = unneeded, .sinks = sinks};
