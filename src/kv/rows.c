/* rows.c - rows of K and V as they are stored: their types, to and from f16, and whether their numbers are finite. */
#include "kv/rows.h"

#include <assert.h>
#include <math.h>
#include <string.h>

static const struct {
    const char *name;
    enum ggml_type ggml;
} kv_types[] = {[IFLOW_KV_F16] = {"f16", GGML_TYPE_F16}, [IFLOW_KV_Q8_0] = {"q8_0", GGML_TYPE_Q8_0}};

#define N_KV_TYPES (sizeof kv_types / sizeof kv_types[0])

const char *iflow_kv_type_name(iflow_kv_type type) {
    assert((size_t)type < N_KV_TYPES);
    return kv_types[type].name;
}

bool iflow_kv_find_type(const char *name, iflow_kv_type *type) {
    for (size_t i = 0; i < N_KV_TYPES; i++) {
        if (strcmp(name, kv_types[i].name) == 0) {
            *type = (iflow_kv_type)i;
            return true;
        }
    }
    return false;
}

iflow_status iflow_kv_type_from_name(const char *name, iflow_kv_type *type) {
    if (!name) {
        *type = IFLOW_KV_F16;
        return IFLOW_OK;
    }
    if (!iflow_kv_find_type(name, type)) {
        return iflow_fail(IFLOW_E_ARG, "\"%s\" is no type of stored KV: there are f16 and q8_0", name);
    }
    return IFLOW_OK;
}

enum ggml_type iflow_kv_ggml_type(iflow_kv_type type) {
    assert((size_t)type < N_KV_TYPES);
    return kv_types[type].ggml;
}

size_t iflow_kv_row_bytes(iflow_kv_type type, int width) {
    return ggml_row_size(kv_types[type].ggml, width);
}

const char *iflow_kv_rope_name(iflow_kv_rope rope) {
    return rope == IFLOW_ROPE_AFTER ? "after" : "before";
}

/* ---- Numbers ------------------------------------------------------------------------------------------------------------------------ */

enum {
    LANES = 32,
    Q8_0_BLOCK = 34,     /* bytes: a scale of f16, and 32 numbers from -128 to 127 */
    Q8_0_SCALE = 0x5fff, /* 511.75: 128 times that is the largest of f16 */
};

bool iflow_rows_finite(iflow_kv_type type, const void *bytes, size_t n_bytes, size_t *at) {
    const unsigned char *from = bytes;
    if (type == IFLOW_KV_F16) {
        const uint16_t *half = bytes;
        const size_t n = n_bytes / sizeof half[0];
        int16_t largest[LANES] = {0}; /* without signs, as numbers: infinity and what is no number are the largest */
        size_t end = n / LANES * LANES;
        for (size_t i = 0; i < end; i += LANES) { /* no way out of the loop: so the compiler makes vectors of it */
            for (size_t lane = 0; lane < LANES; lane++) {
                const int16_t size = (int16_t)(half[i + lane] & 0x7fff);
                largest[lane] = size > largest[lane] ? size : largest[lane];
            }
        }
        for (size_t lane = 0; lane < LANES; lane++) {
            end = largest[lane] >= 0x7c00 ? 0 : end;
        }
        for (size_t i = end; i < n; i++) { /* the rest; all of them, to find it */
            if ((half[i] & 0x7c00) == 0x7c00) {
                *at = i * sizeof half[0];
                return false;
            }
        }
        return true;
    }
    assert(type == IFLOW_KV_Q8_0 && n_bytes % Q8_0_BLOCK == 0);
    for (size_t i = 0; i < n_bytes; i += Q8_0_BLOCK) {
        uint16_t scale;
        memcpy(&scale, from + i, sizeof scale);
        if ((scale & 0x7fff) > Q8_0_SCALE) {
            *at = i;
            return false;
        }
    }
    return true;
}

/* Rows of f16 to the bytes of a tensor. scratch: a row of floats, for q8_0 only. */
static void store_rows(const iflow_chunk_identity *identity, const uint16_t *rows, size_t width, float *scratch, unsigned char *out) {
    if (identity->type == IFLOW_KV_F16) {
        memcpy(out, rows, identity->n_tokens * width * sizeof rows[0]);
        return;
    }
    const size_t row_bytes = iflow_kv_row_bytes(identity->type, (int)width);
    for (size_t t = 0; t < identity->n_tokens; t++) {
        ggml_fp16_to_fp32_row(rows + t * width, scratch, (int64_t)width);
        ggml_quantize_chunk(iflow_kv_ggml_type(identity->type), scratch, out + t * row_bytes, 0, 1, (int64_t)width, NULL);
    }
}

iflow_status iflow_rows_encode(const iflow_chunk_identity *identity, int layer, int kind, const uint16_t *rows, float *scratch,
                               unsigned char *out) {
    const size_t width = kind == 0 ? identity->layer[layer].k_width : identity->layer[layer].v_width;
    const size_t n_bytes = identity->n_tokens * width * sizeof rows[0], row_bytes = iflow_kv_row_bytes(identity->type, (int)width);
    size_t bad = 0;
    if (!iflow_rows_finite(IFLOW_KV_F16, rows, n_bytes, &bad)) {
        return iflow_fail(IFLOW_E_NOT_FINITE, "layer %d: the %s of token %zu does not fit f16 (the model's KV overflows it)", layer,
                          kind == 0 ? "key" : "value", bad / (width * sizeof rows[0]));
    }
    store_rows(identity, rows, width, scratch, out);
    if (identity->type != IFLOW_KV_F16 && !iflow_rows_finite(identity->type, out, row_bytes * identity->n_tokens, &bad)) {
        /* a quantised value can be larger than what it stands for */
        return iflow_fail(IFLOW_E_NOT_FINITE, "layer %d: the %s of token %zu does not fit %s: use f16", layer, kind == 0 ? "key" : "value",
                          bad / row_bytes, iflow_kv_type_name(identity->type));
    }
    return IFLOW_OK;
}

size_t iflow_bad_staleness(const float *staleness, size_t n_tokens) {
    size_t i = 0;
    while (i < n_tokens && isfinite(staleness[i]) && staleness[i] >= 0) {
        i++;
    }
    return i;
}

void iflow_chunk_rows_f16(const iflow_chunk *chunk, const void *rows, int width, size_t row_start, size_t row_count, uint16_t *out) {
    const size_t n = (size_t)width;
    const size_t row_bytes = iflow_kv_row_bytes(chunk->identity.type, width);
    const unsigned char *from = (const unsigned char *)rows + row_start * row_bytes;
    assert(row_start <= chunk->identity.n_tokens && row_count <= chunk->identity.n_tokens - row_start);
    if (chunk->identity.type == IFLOW_KV_F16) {
        memcpy(out, from, row_count * row_bytes);
        return;
    }
    /* A block at a time, through floats on the stack: this is called where there is nothing to fail with. */
    enum { BLOCK = 32 };
    const struct ggml_type_traits *traits = ggml_get_type_traits(iflow_kv_ggml_type(chunk->identity.type));
    float values[BLOCK];
    assert(traits->blck_size == BLOCK);
    for (size_t i = 0; i < row_count * n; i += BLOCK) {
        traits->to_float(from + i / BLOCK * traits->type_size, values, BLOCK);
        ggml_fp32_to_fp16_row(values, out + i, BLOCK);
    }
}
