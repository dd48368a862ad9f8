/* correct.c - a correction's features, and its application to chunks. */
#include "flow/correct.h"

#include "compute/edits.h"

#include <math.h>
#include <stdlib.h>

void iflow_correct_features(int in_chunk, int in_context, float *out) {
    static const float reach[] = {2, 8, 32}; /* tokens */
    out[0] = 1;
    for (int i = 0; i < 3; i++) {
        out[1 + i] = expf(-(float)in_chunk / reach[i]);
    }
    out[4] = logf((float)(in_context > 1 ? in_context : 1));
}

iflow_status iflow_correct(iflow_context *ctx, const int *start, const int *length, size_t n_chunks) {
    size_t n = 0;
    for (size_t c = 0; c < n_chunks; c++) {
        n += (size_t)length[c];
    }
    if (!n) {
        return IFLOW_OK;
    }
    float *feature = iflow_calloc(n, IFLOW_AFFINE_FEATURES * sizeof *feature);
    if (!feature) {
        return iflow_fail_memory(n * IFLOW_AFFINE_FEATURES * sizeof *feature);
    }
    float *at = feature;
    for (size_t c = 0; c < n_chunks; c++) {
        for (int i = 0; i < length[c]; i++, at += IFLOW_AFFINE_FEATURES) {
            iflow_correct_features(i, start[c] + i, at);
        }
    }
    const iflow_status status = iflow_seq_map(&ctx->seq, ctx->correction->layer, feature, start[0], (int)n);
    free(feature);
    return status;
}
