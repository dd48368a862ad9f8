/* foresee.c - staleness foreseen at ingest: the distance between a chunk's KV alone and behind a text. */
#include "flow/foresee.h"

#include <stdlib.h>

iflow_status iflow_foresee(const iflow_kv *a, const iflow_kv *b, int n_layer, size_t n, size_t n_embd_kv, float *out) {
    float *distance = iflow_calloc(n, sizeof *distance);
    double *sum = iflow_calloc(n, sizeof *sum);
    iflow_status status = IFLOW_OK;
    if (!distance || !sum) {
        status = iflow_fail_memory(n * sizeof *sum);
        goto cleanup;
    }
    for (int il = 1; il < n_layer; il++) {
        for (int kind = 0; kind < 2; kind++) {
            iflow_kv_distance(kind ? a->v[il] : a->k[il], kind ? b->v[il] : b->k[il], n, n_embd_kv, distance);
            double mean = 0;
            for (size_t t = 0; t < n; t++) {
                mean += (double)distance[t] / (double)n;
            }
            for (size_t t = 0; t < n && mean > 0; t++) {
                sum[t] += (double)distance[t] / mean;
            }
        }
    }
    for (size_t t = 0; t < n; t++) {
        out[t] = (float)sum[t];
    }

cleanup:
    free(distance);
    free(sum);
    return status;
}
