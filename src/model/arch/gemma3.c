/* gemma3.c - Gemma 3, its text part: windows in five layers of six, two rotary bases, norms before and after, GeGLU, scaled embeddings. */
#include "model/arch/arch.h"

#include <ggml.h>

#include <limits.h>
#include <math.h>
#include <stdlib.h>

/* Which layers have a window: as a list, or one in so many has none. */
static void read_windows(iflow_metadata *meta, int window, bool *windowed, int n_layer) {
    static const char key[] = "attention.sliding_window_pattern";
    if (window == 0 || iflow_metadata_flags(meta, key, windowed, n_layer)) {
        return;
    }
    const int period = iflow_metadata_count(meta, key, 6, INT_MAX);
    for (int il = 0; il < n_layer; il++) {
        windowed[il] = il % period < period - 1;
    }
}

static void plan(iflow_metadata *meta, iflow_hparams *h) {
    enum { LAYERS_27B = 62 };
    iflow_plan_common(meta, GGML_ROPE_TYPE_NEOX, h);
    const double window = iflow_metadata_number(meta, "attention.sliding_window", 0);
    const float window_base = (float)iflow_metadata_number(meta, "rope.freq_base_swa", 10000.0);
    h->logit_cap = (float)iflow_metadata_number(meta, "final_logit_softcapping", 0);
    if (meta->status) {
        return;
    }
    if (!(window >= 0 && window <= INT_MAX / 2) || window != floor(window) || !(window_base > 0) || !(h->logit_cap >= 0)) {
        meta->status = iflow_fail(IFLOW_E_FORMAT, "%s: a window of %g tokens, its rotary base %g or a soft cap of %g is absurd", meta->path,
                                  window, (double)window_base, (double)h->logit_cap);
        return;
    }
    bool *windowed = iflow_calloc((size_t)h->n_layer, sizeof *windowed);
    if (!windowed) {
        meta->status = iflow_fail_memory((size_t)h->n_layer * sizeof *windowed);
        return;
    }
    read_windows(meta, (int)window, windowed, h->n_layer);
    h->embd_scale = sqrtf((float)h->n_embd);
    for (int il = 0; il < h->n_layer; il++) {
        iflow_layer_spec *s = &h->spec[il];
        s->qk_norm = s->norm_after = true;
        s->activation = IFLOW_ACTIVATION_GEGLU;
        if (h->n_layer == LAYERS_27B) { /* its queries are scaled by the width of the model over its heads */
            const int share = h->n_embd / s->n_head;
            s->attention_scale = 1.0f / sqrtf((float)share);
        }
        if (windowed[il]) { /* rotated as before the context was lengthened: what scales the frequencies is for the others */
            if (s->rope.ext_factor != 0.0f) {
                meta->status = iflow_fail(IFLOW_E_UNSUPPORTED, "%s: YaRN beside layers with a window is not supported", meta->path);
                break;
            }
            s->window = (int)window;
            s->rope.freq_base = window_base;
            s->rope.freq_scale = 1.0f;
        }
    }
    free(windowed);
}

static void tensors(iflow_tensors *list, const iflow_hparams *h, int layer, iflow_layer *to) {
    iflow_tensors_common(list, h, layer, to);
    iflow_tensors_add_layer(list, layer, &to->attn_norm_after, "post_attention_norm.weight", h->n_embd, 1, IFLOW_USE_ELEMENTWISE, true);
    iflow_tensors_add_layer(list, layer, &to->ffn_norm_after, "post_ffw_norm.weight", h->n_embd, 1, IFLOW_USE_ELEMENTWISE, true);
}

/* Of models that were made to embed texts: they have these in place of what predicts the next token. */
static const char *const unneeded[] = {"dense_2.weight", "dense_3.weight", NULL};

/* An image's marks, which the vocabulary has as a user's own. Turns are made of control tokens. */
static const char *const markers[] = {"<start_of_image>", "<end_of_image>", "[multimodal]", NULL};

const iflow_arch iflow_arch_gemma3 = {.name = "gemma3", .plan = plan, .tensors = tensors, .unneeded = unneeded, .markers = markers};
