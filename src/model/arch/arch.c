/* arch.c - the table of families, and reading a model's plan by its family. */
#include "model/arch/arch.h"

#include <gguf.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const iflow_arch *const table[] = {&iflow_arch_llama, &iflow_arch_qwen2, &iflow_arch_qwen3, &iflow_arch_gemma3};
enum { N_ARCH = sizeof table / sizeof *table };

static const iflow_arch *find(const char *name) {
    for (size_t i = 0; i < N_ARCH; i++) {
        if (!strcmp(table[i]->name, name)) {
            return table[i];
        }
    }
    return NULL;
}

const char *iflow_architecture_name(size_t i) {
    return i < N_ARCH ? table[i]->name : NULL;
}

static iflow_status unknown_arch(const char *path, const char *name) {
    char known[128] = "";
    for (size_t i = 0; i < N_ARCH; i++) {
        const size_t used = strlen(known);
        snprintf(known + used, sizeof known - used, "%s%s", i ? ", " : "", table[i]->name);
    }
    return iflow_fail(IFLOW_E_UNSUPPORTED, "%s: architecture '%s' is not supported (these are: %s)", path, name, known);
}

/* What all of a model's layers come to; a plan may say more than the cache and the masks can hold. */
static iflow_status sum_up(const char *path, iflow_hparams *h) {
    for (int il = 0; il < h->n_layer; il++) {
        const iflow_layer_spec *s = &h->spec[il];
        h->n_head = s->n_head > h->n_head ? s->n_head : h->n_head;
        if (s->window && h->window && s->window != h->window) {
            return iflow_fail(IFLOW_E_UNSUPPORTED, "%s: windows of %d and of %d tokens in one model are not supported", path, h->window,
                              s->window);
        }
        h->window = s->window ? s->window : h->window;
        if (s->n_embd_k != s->n_embd_v || s->n_embd_k != h->spec[0].n_embd_k ||
            s->n_head / s->n_head_kv != h->spec[0].n_head / h->spec[0].n_head_kv) {
            return iflow_fail(IFLOW_E_UNSUPPORTED,
                              "%s: layers that differ in the width of a row of KV, or in the heads that share one, are not supported",
                              path);
        }
    }
    return IFLOW_OK;
}

iflow_status iflow_plan_read(const struct gguf_context *gguf, const char *path, const iflow_arch **arch, iflow_hparams *out) {
    const int64_t arch_id = gguf_find_key(gguf, "general.architecture");
    if (arch_id < 0 || gguf_get_kv_type(gguf, arch_id) != GGUF_TYPE_STRING) {
        return iflow_fail(IFLOW_E_FORMAT, "%s: no general.architecture: not a model's GGUF file", path);
    }
    const char *name = gguf_get_val_str(gguf, arch_id);
    const iflow_arch *found = find(name);
    if (!found) {
        return unknown_arch(path, name);
    }
    iflow_metadata meta = {.gguf = gguf, .path = path, .arch = name};
    iflow_hparams h = {0};
    found->plan(&meta, &h);
    if (!meta.status) {
        meta.status = sum_up(path, &h);
    }
    if (meta.status) {
        iflow_plan_free(&h);
        return meta.status;
    }
    *arch = found;
    *out = h;
    return IFLOW_OK;
}

int iflow_plan_whole_layer(const iflow_hparams *h, int layer) {
    for (int distance = 0; distance < h->n_layer; distance++) {
        if (layer + distance < h->n_layer && !h->spec[layer + distance].window) {
            return layer + distance;
        }
        if (layer >= distance && !h->spec[layer - distance].window) {
            return layer - distance;
        }
    }
    return -1;
}

void iflow_plan_free(iflow_hparams *h) {
    free(h->spec);
    *h = (iflow_hparams){0};
}
