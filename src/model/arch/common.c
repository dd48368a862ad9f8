/* common.c - what families' plans share: sizes, heads and rotation as llama.cpp's keys state them, in every layer alike. */
#include "model/arch/arch.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

const iflow_sink iflow_sinks_endoftext[] = {{{"<|endoftext|>"}, "<|endoftext|>"}, {{NULL}, NULL}};

/* Rope scaling as llama.cpp reads it from the same keys; parity with its logits is the test. Llama-3's factors are a tensor, not metadata.
 */
static void read_rope(iflow_metadata *r, int n_ctx_train, int n_embd_head, iflow_rope *rope) {
    rope->n_dims = iflow_metadata_count(r, "rope.dimension_count", n_embd_head, n_embd_head);
    rope->n_ctx_orig = iflow_metadata_count(r, "rope.scaling.original_context_length", n_ctx_train, INT_MAX);
    rope->freq_base = (float)iflow_metadata_number(r, "rope.freq_base", 10000.0);
    const char *type = iflow_metadata_string(r, "rope.scaling.type", "linear");
    const double factor = iflow_metadata_number(r, "rope.scaling.factor", iflow_metadata_number(r, "rope.scale_linear", 0.0));
    rope->freq_scale = factor == 0.0 ? 1.0f : 1.0f / (float)factor;
    rope->attn_factor = (float)iflow_metadata_number(r, "rope.scaling.attn_factor", 1.0);
    if (r->status) {
        return;
    }
    if (!strcmp(type, "yarn")) {
        /* YaRN scales q and k by 1 + 0.1 ln(factor), for factors above 1. ggml_rope_ext multiplies by that itself, for any factor. */
        rope->ext_factor = 1.0f;
        rope->beta_fast = 32.0f;
        rope->beta_slow = 1.0f;
        rope->attn_factor *= rope->freq_scale <= 1.0f ? 1.0f : 1.0f / (1.0f - 0.1f * logf(rope->freq_scale));
    } else if (!strcmp(type, "none")) {
        rope->freq_scale = 1.0f;
    } else if (strcmp(type, "linear") != 0) {
        r->status = iflow_fail(IFLOW_E_UNSUPPORTED, "%s: rope scaling '%s' is not supported (none, linear and yarn are)", r->path, type);
        return;
    }
    if (!(rope->freq_base > 0) || !(rope->freq_scale > 0) || !isfinite(rope->freq_base) || !isfinite(rope->freq_scale)) {
        r->status =
            iflow_fail(IFLOW_E_FORMAT, "%s: rope base %g and scaling factor %g must be positive", r->path, (double)rope->freq_base, factor);
    }
    if (rope->n_dims != n_embd_head) {
        r->status = iflow_fail(IFLOW_E_UNSUPPORTED, "%s: rotary dimension %d of heads of %d is not supported; they must be equal", r->path,
                               rope->n_dims, n_embd_head);
    }
}

/* What another plan would say, so that it is not computed wrongly. */
static void refuse_others(iflow_metadata *r) {
    const double n_expert = iflow_metadata_number(r, "expert_count", 0);
    if (!r->status && n_expert != 0) {
        r->status = iflow_fail(IFLOW_E_UNSUPPORTED, "%s: a mixture of %g experts is not supported; dense %s models are", r->path, n_expert,
                               r->arch);
    }
    iflow_metadata_refuse(r, "attn_logit_softcapping", "a soft cap of attention");
    iflow_metadata_refuse(r, "rope.dimension_sections", "rotation by several coordinates");
    iflow_metadata_refuse(r, "attention.kv_lora_rank", "attention over latent rows");
    iflow_metadata_refuse(r, "ssm.state_size", "a layer with a state");
    iflow_metadata_refuse(r, "attention.key_length_swa", "a head size of windowed layers' own");
}

void iflow_plan_common(iflow_metadata *r, int rope_type, iflow_hparams *h) {
    enum { LIMIT = 1 << 20 };
    iflow_layer_spec s = {0};
    h->n_layer = iflow_metadata_count(r, "block_count", 0, 4096);
    h->n_embd = iflow_metadata_count(r, "embedding_length", 0, LIMIT);
    s.n_head = iflow_metadata_count(r, "attention.head_count", 0, LIMIT);
    s.n_head_kv = iflow_metadata_count(r, "attention.head_count_kv", s.n_head, LIMIT);
    s.n_ff = iflow_metadata_count(r, "feed_forward_length", 0, LIMIT * 16);
    h->n_ctx_train = iflow_metadata_count(r, "context_length", 0, INT_MAX);
    s.n_embd_head = iflow_metadata_count(r, "attention.key_length", h->n_embd / s.n_head, LIMIT);
    const int n_embd_head_v = iflow_metadata_count(r, "attention.value_length", h->n_embd / s.n_head, LIMIT);
    h->rms_eps = (float)iflow_metadata_number(r, "attention.layer_norm_rms_epsilon", -1.0);
    h->embd_scale = 1.0f;
    refuse_others(r);
    if (!r->status && n_embd_head_v != s.n_embd_head) {
        r->status =
            iflow_fail(IFLOW_E_UNSUPPORTED, "%s: heads of %d in K but %d in V are not supported", r->path, s.n_embd_head, n_embd_head_v);
    }
    if (!r->status && s.n_head % s.n_head_kv != 0) {
        r->status = iflow_fail(IFLOW_E_FORMAT, "%s: %d heads cannot share %d KV heads", r->path, s.n_head, s.n_head_kv);
    }
    if (!r->status && s.n_embd_head % 2 != 0) {
        r->status = iflow_fail(IFLOW_E_FORMAT, "%s: heads of %d cannot be rotated; an even number is expected", r->path, s.n_embd_head);
    }
    if (!r->status && (int64_t)s.n_head_kv * s.n_embd_head > INT_MAX / 4) {
        r->status = iflow_fail(IFLOW_E_FORMAT, "%s: %d KV heads of %d are absurd", r->path, s.n_head_kv, s.n_embd_head);
    }
    if (!r->status && !(h->rms_eps >= 0 && h->rms_eps < 1)) {
        r->status =
            iflow_fail(IFLOW_E_FORMAT, "%s: metadata key %s.attention.layer_norm_rms_epsilon is missing or absurd", r->path, r->arch);
    }
    s.rope.type = rope_type;
    read_rope(r, h->n_ctx_train, s.n_embd_head, &s.rope);
    if (r->status) {
        return;
    }
    s.n_embd_k = s.n_embd_v = s.n_head_kv * s.n_embd_head;
    s.attention_scale = 1.0f / sqrtf((float)s.n_embd_head);
    h->spec = iflow_calloc((size_t)h->n_layer, sizeof *h->spec);
    if (!h->spec) {
        r->status = iflow_fail_memory((size_t)h->n_layer * sizeof *h->spec);
        return;
    }
    for (int il = 0; il < h->n_layer; il++) {
        h->spec[il] = s;
    }
}
