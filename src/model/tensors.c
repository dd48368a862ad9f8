/* tensors.c - the list of tensors that a model is to have, and those that families share. */
#include "model/tensors.h"

#include <stdio.h>

void iflow_tensors_add(iflow_tensors *list, struct ggml_tensor **where, const char *name, int64_t ne0, int64_t ne1, iflow_use use,
                       bool required) {
    if (list->status || (list->status = iflow_reserve((void **)&list->slot, &list->capacity, list->n + 1, sizeof *list->slot))) {
        return;
    }
    iflow_slot *s = &list->slot[list->n++];
    *s = (iflow_slot){.where = where, .ne = {ne0, ne1}, .use = use, .required = required};
    snprintf(s->name, sizeof s->name, "%s", name);
}

void iflow_tensors_add_layer(iflow_tensors *list, int layer, struct ggml_tensor **where, const char *name, int64_t ne0, int64_t ne1,
                             iflow_use use, bool required) {
    char full[64];
    snprintf(full, sizeof full, "blk.%d.%s", layer, name);
    iflow_tensors_add(list, where, full, ne0, ne1, use, required);
}

/* Of one layer. */
typedef struct lister {
    iflow_tensors *list;
    int layer;
} lister;

static void vector(const lister *l, struct ggml_tensor **where, const char *name, int64_t n, bool required) {
    iflow_tensors_add_layer(l->list, l->layer, where, name, n, 1, IFLOW_USE_ELEMENTWISE, required);
}

static void matrix(const lister *l, struct ggml_tensor **where, const char *name, int64_t n_in, int64_t n_out) {
    iflow_tensors_add_layer(l->list, l->layer, where, name, n_in, n_out, IFLOW_USE_PRODUCT, true);
}

void iflow_tensors_common(iflow_tensors *list, const iflow_hparams *h, int layer, iflow_layer *to) {
    const iflow_layer_spec *s = &h->spec[layer];
    const lister l = {list, layer};
    const int64_t n_embd = h->n_embd, n_q = (int64_t)s->n_head * s->n_embd_head;
    vector(&l, &to->attn_norm, "attn_norm.weight", n_embd, true);
    matrix(&l, &to->wq, "attn_q.weight", n_embd, n_q);
    matrix(&l, &to->wk, "attn_k.weight", n_embd, s->n_embd_k);
    matrix(&l, &to->wv, "attn_v.weight", n_embd, s->n_embd_v);
    vector(&l, &to->bq, "attn_q.bias", n_q, false);
    vector(&l, &to->bk, "attn_k.bias", s->n_embd_k, false);
    vector(&l, &to->bv, "attn_v.bias", s->n_embd_v, false);
    if (s->qk_norm) {
        vector(&l, &to->q_norm, "attn_q_norm.weight", s->n_embd_head, true);
        vector(&l, &to->k_norm, "attn_k_norm.weight", s->n_embd_head, true);
    }
    matrix(&l, &to->wo, "attn_output.weight", n_q, n_embd);
    vector(&l, &to->bo, "attn_output.bias", n_embd, false);
    vector(&l, &to->ffn_norm, "ffn_norm.weight", n_embd, true);
    matrix(&l, &to->ffn_gate, "ffn_gate.weight", n_embd, s->n_ff);
    matrix(&l, &to->ffn_up, "ffn_up.weight", n_embd, s->n_ff);
    matrix(&l, &to->ffn_down, "ffn_down.weight", s->n_ff, n_embd);
    vector(&l, &to->ffn_gate_b, "ffn_gate.bias", s->n_ff, false);
    vector(&l, &to->ffn_up_b, "ffn_up.bias", s->n_ff, false);
    vector(&l, &to->ffn_down_b, "ffn_down.bias", n_embd, false);
}
