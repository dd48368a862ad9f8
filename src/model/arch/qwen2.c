/* qwen2.c - Qwen 1.5 to 2.5. */
#include "model/arch/arch.h"

#include <ggml.h>

static void plan(iflow_metadata *meta, iflow_hparams *h) {
    iflow_plan_common(meta, GGML_ROPE_TYPE_NEOX, h);
}

const iflow_arch iflow_arch_qwen2 = {.name = "qwen2", .plan = plan, .tensors = iflow_tensors_common, .sinks = iflow_sinks_endoftext};
