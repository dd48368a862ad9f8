/* samples.h - a chunk's KV as it comes out after several texts: its mean, and how far each token's lies apart. */
#ifndef IFLOW_FLOW_SAMPLES_H
#define IFLOW_FLOW_SAMPLES_H

#include "base/base.h"

/* Samples of KV: f16 values [n_layer, 2 (K before RoPE, V), n, n_embd_kv] each. Zero it, then set the sizes. */
typedef struct iflow_samples {
    size_t n_layer, n, n_embd_kv;
    size_t n_samples;
    uint16_t *first; /* the first sample; the others count as differences from it, which are small */
    float *sum;      /* of the differences, as values */
    double *squares; /* sums of their squares by token, [n_layer, 2, n] */
} iflow_samples;

iflow_status iflow_samples_add(iflow_samples *samples, const uint16_t *values); /* E_MEMORY */
void iflow_samples_free(iflow_samples *samples);

/* The mean of all samples: out, as they are. Of one sample it is that sample. */
void iflow_samples_mean(const iflow_samples *samples, uint16_t *out);

/* How stale each token will be: the root of its variance among the samples, all elements together, as a multiple of the mean of that over
 * the tokens; summed over K and V of all layers but the first (whose K and V depend on the token alone). out [n]; at least 2 samples. */
void iflow_samples_spread(const iflow_samples *samples, float *out);

#endif
