/* arch.c - the table of architectures, and reading a model's metadata into hyperparameters. */
#include "model/arch.h"

#include <ggml.h>
#include <gguf.h>

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static const iflow_arch table[] = {
    {.name = "llama", .rope_type = GGML_ROPE_TYPE_NORMAL},
    {.name = "qwen2", .rope_type = GGML_ROPE_TYPE_NEOX, .endoftext_sink = true},
    {.name = "qwen3", .rope_type = GGML_ROPE_TYPE_NEOX, .qk_norm = true, .thinks = true, .endoftext_sink = true},
};
enum { N_ARCH = sizeof table / sizeof *table };

const iflow_arch *iflow_arch_find(const char *name) {
    for (size_t i = 0; i < N_ARCH; i++) {
        if (!strcmp(table[i].name, name)) {
            return &table[i];
        }
    }
    return NULL;
}

const char *iflow_architecture_name(size_t i) {
    return i < N_ARCH ? table[i].name : NULL;
}

static iflow_status unknown_arch(const char *path, const char *name) {
    char known[128] = "";
    for (size_t i = 0; i < N_ARCH; i++) {
        const size_t used = strlen(known);
        snprintf(known + used, sizeof known - used, "%s%s", i ? ", " : "", table[i].name);
    }
    return iflow_fail(IFLOW_E_UNSUPPORTED, "%s: architecture '%s' is not supported (these are: %s)", path, name, known);
}

/* A reader of one model's keys, all of which begin with "<architecture>.". The first failure sticks. */
typedef struct reader {
    const struct gguf_context *gguf;
    const char *path, *arch;
    iflow_status status;
} reader;

/* The id of "<arch>.<key>", -1 if it is not there. */
static int64_t find(const reader *r, const char *key, char name[128]) {
    snprintf(name, 128, "%s.%s", r->arch, key);
    return gguf_find_key(r->gguf, name);
}

/* One element of a numeric value or array as a double; false when the type is no number. */
static bool number_at(enum gguf_type type, const void *data, size_t i, double *out) {
    switch (type) {
    case GGUF_TYPE_UINT8:
        *out = ((const uint8_t *)data)[i];
        return true;
    case GGUF_TYPE_INT8:
        *out = ((const int8_t *)data)[i];
        return true;
    case GGUF_TYPE_UINT16:
        *out = ((const uint16_t *)data)[i];
        return true;
    case GGUF_TYPE_INT16:
        *out = ((const int16_t *)data)[i];
        return true;
    case GGUF_TYPE_UINT32:
        *out = ((const uint32_t *)data)[i];
        return true;
    case GGUF_TYPE_INT32:
        *out = ((const int32_t *)data)[i];
        return true;
    case GGUF_TYPE_UINT64:
        *out = (double)((const uint64_t *)data)[i];
        return true;
    case GGUF_TYPE_INT64:
        *out = (double)((const int64_t *)data)[i];
        return true;
    case GGUF_TYPE_FLOAT32:
        *out = (double)((const float *)data)[i];
        return true;
    case GGUF_TYPE_FLOAT64:
        *out = ((const double *)data)[i];
        return true;
    default:
        return false;
    }
}

/* A number, `fallback` if the key is absent. A per-layer array counts as a number when all its elements are equal. */
static double read_number(reader *r, const char *key, double fallback) {
    char name[128];
    const int64_t id = find(r, key, name);
    if (id < 0 || r->status) {
        return fallback;
    }
    const bool is_array = gguf_get_kv_type(r->gguf, id) == GGUF_TYPE_ARRAY;
    const enum gguf_type type = is_array ? gguf_get_arr_type(r->gguf, id) : gguf_get_kv_type(r->gguf, id);
    const bool numeric = type != GGUF_TYPE_STRING && type != GGUF_TYPE_ARRAY && type != GGUF_TYPE_BOOL;
    const size_t n = is_array ? gguf_get_arr_n(r->gguf, id) : 1;
    double value = fallback;
    if (!numeric || n == 0) {
        r->status = iflow_fail(IFLOW_E_FORMAT, "%s: metadata key %s is not a number", r->path, name);
        return fallback;
    }
    const void *data = is_array ? gguf_get_arr_data(r->gguf, id) : gguf_get_val_data(r->gguf, id);
    for (size_t i = 0; i < n; i++) {
        double x = 0;
        number_at(type, data, i, &x);
        if (i && x != value) {
            r->status = iflow_fail(IFLOW_E_UNSUPPORTED, "%s: %s differs from layer to layer, which is not supported", r->path, name);
            return fallback;
        }
        value = x;
    }
    return value;
}

/* A whole number from 1 to max; fallback 0 makes the key required. */
static int read_count(reader *r, const char *key, int fallback, int max) {
    const double value = read_number(r, key, fallback);
    if (r->status) {
        return 1;
    }
    if (value == 0 && fallback == 0) {
        r->status = iflow_fail(IFLOW_E_FORMAT, "%s: metadata key %s.%s is missing", r->path, r->arch, key);
        return 1;
    }
    if (!(value >= 1 && value <= max) || value != floor(value)) {
        r->status =
            iflow_fail(IFLOW_E_FORMAT, "%s: %s.%s is %g; a whole number from 1 to %d is expected", r->path, r->arch, key, value, max);
        return 1;
    }
    return (int)value;
}

static const char *read_string(reader *r, const char *key, const char *fallback) {
    char name[128];
    const int64_t id = find(r, key, name);
    if (id < 0 || r->status) {
        return fallback;
    }
    if (gguf_get_kv_type(r->gguf, id) != GGUF_TYPE_STRING) {
        r->status = iflow_fail(IFLOW_E_FORMAT, "%s: metadata key %s is not a string", r->path, name);
        return fallback;
    }
    return gguf_get_val_str(r->gguf, id);
}

/* Rope scaling as llama.cpp reads it from the same keys; parity with its logits is the test. Llama-3's factors are a tensor, not metadata.
 */
static void read_rope(reader *r, iflow_hparams *h) {
    iflow_rope *rope = &h->rope;
    rope->n_dims = read_count(r, "rope.dimension_count", h->n_embd_head, h->n_embd_head);
    rope->n_ctx_orig = read_count(r, "rope.scaling.original_context_length", h->n_ctx_train, INT_MAX);
    rope->freq_base = (float)read_number(r, "rope.freq_base", 10000.0);
    const char *type = read_string(r, "rope.scaling.type", "linear");
    const double factor = read_number(r, "rope.scaling.factor", read_number(r, "rope.scale_linear", 0.0));
    rope->freq_scale = factor == 0.0 ? 1.0f : 1.0f / (float)factor;
    rope->attn_factor = (float)read_number(r, "rope.scaling.attn_factor", 1.0);
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
    if (rope->n_dims != h->n_embd_head) {
        r->status = iflow_fail(IFLOW_E_UNSUPPORTED, "%s: rotary dimension %d of heads of %d is not supported; they must be equal", r->path,
                               rope->n_dims, h->n_embd_head);
    }
}

iflow_status iflow_hparams_read(const struct gguf_context *gguf, const char *path, const iflow_arch **arch, iflow_hparams *out) {
    const int64_t arch_id = gguf_find_key(gguf, "general.architecture");
    if (arch_id < 0 || gguf_get_kv_type(gguf, arch_id) != GGUF_TYPE_STRING) {
        return iflow_fail(IFLOW_E_FORMAT, "%s: no general.architecture: not a model's GGUF file", path);
    }
    const char *name = gguf_get_val_str(gguf, arch_id);
    const iflow_arch *found = iflow_arch_find(name);
    if (!found) {
        return unknown_arch(path, name);
    }
    enum { LIMIT = 1 << 20 };
    reader r = {.gguf = gguf, .path = path, .arch = name};
    iflow_hparams h = {0};
    h.n_layer = read_count(&r, "block_count", 0, 4096);
    h.n_embd = read_count(&r, "embedding_length", 0, LIMIT);
    h.n_head = read_count(&r, "attention.head_count", 0, LIMIT);
    h.n_head_kv = read_count(&r, "attention.head_count_kv", h.n_head, LIMIT);
    h.n_ff = read_count(&r, "feed_forward_length", 0, LIMIT * 16);
    h.n_ctx_train = read_count(&r, "context_length", 0, INT_MAX);
    h.n_embd_head = read_count(&r, "attention.key_length", h.n_embd / h.n_head, LIMIT);
    const int n_embd_head_v = read_count(&r, "attention.value_length", h.n_embd / h.n_head, LIMIT);
    h.rms_eps = (float)read_number(&r, "attention.layer_norm_rms_epsilon", -1.0);
    const double n_expert = read_number(&r, "expert_count", 0);
    if (!r.status && n_expert != 0) {
        r.status =
            iflow_fail(IFLOW_E_UNSUPPORTED, "%s: a mixture of %g experts is not supported; dense %s models are", path, n_expert, name);
    }
    if (!r.status && n_embd_head_v != h.n_embd_head) {
        r.status =
            iflow_fail(IFLOW_E_UNSUPPORTED, "%s: heads of %d in K but %d in V are not supported", path, h.n_embd_head, n_embd_head_v);
    }
    if (!r.status && h.n_head % h.n_head_kv != 0) {
        r.status = iflow_fail(IFLOW_E_FORMAT, "%s: %d heads cannot share %d KV heads", path, h.n_head, h.n_head_kv);
    }
    if (!r.status && h.n_embd_head % 2 != 0) {
        r.status = iflow_fail(IFLOW_E_FORMAT, "%s: heads of %d cannot be rotated; an even number is expected", path, h.n_embd_head);
    }
    if (!r.status && !(h.rms_eps >= 0 && h.rms_eps < 1)) {
        r.status = iflow_fail(IFLOW_E_FORMAT, "%s: metadata key %s.attention.layer_norm_rms_epsilon is missing or absurd", path, name);
    }
    h.rope.type = found->rope_type;
    if (!r.status) {
        read_rope(&r, &h);
    }
    if (r.status) {
        return r.status;
    }
    *arch = found;
    *out = h;
    return IFLOW_OK;
}
