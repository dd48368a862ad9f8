/* numbers.c - whether a model's weights are finite: of quantised blocks the scales, as their other parts are whole numbers. */
#include "model/numbers.h"

#include "base/cancel.h"
#include <stdlib.h>
#include <string.h>

enum { READ_BYTES = 1 << 18, PROGRESS_BYTES = 64 << 20, MAX_SCALES = 2 };

/* Where a block's scales lie, f16 each; -1: there is no more. Types that are not here are looked at number by number. */
static const struct {
    enum ggml_type type;
    int at[MAX_SCALES];
} scales[] = {
    {GGML_TYPE_Q4_0, {0, -1}}, {GGML_TYPE_Q4_1, {0, 2}},    {GGML_TYPE_Q5_0, {0, -1}},   {GGML_TYPE_Q5_1, {0, 2}},
    {GGML_TYPE_Q8_0, {0, -1}}, {GGML_TYPE_Q2_K, {80, 82}},  {GGML_TYPE_Q3_K, {108, -1}}, {GGML_TYPE_Q4_K, {0, 2}},
    {GGML_TYPE_Q5_K, {0, 2}},  {GGML_TYPE_Q6_K, {208, -1}}, {GGML_TYPE_F16, {0, -1}},
};

static bool is_finite_f16(const unsigned char *at) {
    return (at[1] & 0x7c) != 0x7c; /* little-endian */
}

static bool scales_finite(const int at[MAX_SCALES], size_t block_bytes, const unsigned char *bytes, size_t n) {
    bool good = true;
    for (int s = 0; s < MAX_SCALES && at[s] >= 0; s++) {
        for (size_t i = 0; i < n; i += block_bytes) {
            good &= is_finite_f16(bytes + i + at[s]);
        }
    }
    return good;
}

/* values: room for the numbers of READ_BYTES of any type. */
static bool bytes_finite(enum ggml_type type, const unsigned char *bytes, size_t n, float *values) {
    if (type == GGML_TYPE_F32) {
        return iflow_finite_first((const float *)(const void *)bytes, n / sizeof(float)) == n / sizeof(float);
    }
    for (size_t i = 0; i < sizeof scales / sizeof *scales; i++) {
        if (scales[i].type == type) {
            return scales_finite(scales[i].at, ggml_type_size(type), bytes, n);
        }
    }
    const struct ggml_type_traits *traits = ggml_get_type_traits(type);
    const size_t count = n / ggml_type_size(type) * (size_t)ggml_blck_size(type);
    if (!traits->to_float) {
        return true; /* whole numbers */
    }
    traits->to_float(bytes, values, (int64_t)count);
    return iflow_finite_first(values, count) == count;
}

static iflow_status check_tensor(const iflow_part *part, int64_t i, unsigned char *bytes, float *values) {
    const enum ggml_type type = gguf_get_tensor_type(part->gguf, i);
    const size_t size = gguf_get_tensor_size(part->gguf, i), step = READ_BYTES / ggml_type_size(type) * ggml_type_size(type);
    const uint64_t start = gguf_get_data_offset(part->gguf) + gguf_get_tensor_offset(part->gguf, i);
    for (size_t at = 0; at < size; at += step) {
        const size_t n = size - at < step ? size - at : step;
        iflow_status status = iflow_cancel_check();
        if (status || (status = iflow_part_read(part, gguf_get_tensor_name(part->gguf, i), start + at, bytes, n))) {
            return status;
        }
        if (!bytes_finite(type, bytes, n, values)) {
            return iflow_fail(IFLOW_E_NOT_FINITE,
                              "model %s: tensor %s has a number that is not finite: the file is damaged; fetch it again", part->path,
                              gguf_get_tensor_name(part->gguf, i));
        }
    }
    return IFLOW_OK;
}

iflow_status iflow_numbers_check(const iflow_parts *parts, const iflow_model_params *params) {
    iflow_status status = IFLOW_OK;
    uint64_t done = 0, told = 0;
    enum { MOST_NUMBERS_A_BYTE = 8 }; /* a bit each would be that */
    unsigned char *bytes = malloc(READ_BYTES);
    float *values = iflow_calloc((size_t)READ_BYTES * MOST_NUMBERS_A_BYTE, sizeof *values);
    if (!bytes || !values) {
        status = iflow_fail_memory((size_t)READ_BYTES * MOST_NUMBERS_A_BYTE * sizeof *values);
    }
    for (size_t p = 0; p < parts->n && !status; p++) {
        for (int64_t i = 0; i < gguf_get_n_tensors(parts->part[p].gguf) && !status; i++) {
            status = check_tensor(&parts->part[p], i, bytes, values);
            done += gguf_get_tensor_size(parts->part[p].gguf, i);
            if (!status && params->on_progress && (done - told >= PROGRESS_BYTES || done == parts->n_tensor_bytes)) {
                told = done;
                status = params->on_progress("weights", done, parts->n_tensor_bytes, params->progress_user)
                             ? IFLOW_OK
                             : iflow_fail(IFLOW_E_CANCELLED, "model %s: looking at its weights was cancelled", parts->part[p].path);
            }
        }
    }
    free(bytes);
    free(values);
    return status;
}
