/* samples.c - mean and spread of a chunk's KV over prefills after several texts. */
#include "flow/samples.h"

#include <ggml.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static iflow_status begin(iflow_samples *s, size_t n_rows, const uint16_t *values) {
    const size_t n_values = n_rows * s->n_embd_kv;
    s->first = iflow_calloc(n_values, sizeof *s->first);
    s->sum = iflow_calloc(n_values, sizeof *s->sum);
    s->squares = iflow_calloc(n_rows, sizeof *s->squares);
    if (!s->first || !s->sum || !s->squares) {
        return iflow_fail_memory(n_values * (sizeof *s->first + sizeof *s->sum));
    }
    memcpy(s->first, values, n_values * sizeof *values);
    return IFLOW_OK;
}

iflow_status iflow_samples_add(iflow_samples *s, const uint16_t *values) {
    const size_t n_rows = s->n_layer * 2 * s->n;
    const iflow_status status = s->n_samples ? IFLOW_OK : begin(s, n_rows, values);
    if (status) {
        return status;
    }
    for (size_t row = 0; s->n_samples && row < n_rows; row++) {
        double squares = 0;
        for (size_t i = row * s->n_embd_kv; i < (row + 1) * s->n_embd_kv; i++) {
            const float d = ggml_fp16_to_fp32(values[i]) - ggml_fp16_to_fp32(s->first[i]);
            s->sum[i] += d;
            squares += (double)d * (double)d;
        }
        s->squares[row] += squares;
    }
    s->n_samples++;
    return IFLOW_OK;
}

void iflow_samples_free(iflow_samples *s) {
    free(s->first);
    free(s->sum);
    free(s->squares);
    *s = (iflow_samples){0};
}

void iflow_samples_mean(const iflow_samples *s, uint16_t *out) {
    for (size_t i = 0; i < s->n_layer * 2 * s->n * s->n_embd_kv; i++) {
        out[i] = ggml_fp32_to_fp16(ggml_fp16_to_fp32(s->first[i]) + s->sum[i] / (float)s->n_samples);
    }
}

/* The root of a row's variance: of the mean of squares less the square of the mean, element by element, in differences from the first. */
static double spread_of(const iflow_samples *s, size_t row) {
    double mean_squared = 0;
    for (size_t i = row * s->n_embd_kv; i < (row + 1) * s->n_embd_kv; i++) {
        const double mean = (double)s->sum[i] / (double)s->n_samples;
        mean_squared += mean * mean;
    }
    const double variance = s->squares[row] / (double)s->n_samples - mean_squared;
    return variance > 0 ? sqrt(variance) : 0;
}

void iflow_samples_spread(const iflow_samples *s, float *out) {
    memset(out, 0, s->n * sizeof *out);
    for (size_t block = 2; block < s->n_layer * 2; block++) { /* K or V of a layer above the first */
        double mean = 0;
        for (size_t t = 0; t < s->n; t++) {
            mean += spread_of(s, block * s->n + t) / (double)s->n;
        }
        for (size_t t = 0; t < s->n && mean > 0; t++) {
            out[t] += (float)(spread_of(s, block * s->n + t) / mean);
        }
    }
}
