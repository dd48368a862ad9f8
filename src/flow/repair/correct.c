/* correct.c - a correction's features, and the repair that applies it to chunks as they are assembled. */
#include "flow/repair/correct.h"

#include "flow/repair/repair.h"

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

bool iflow_is_corrected(const iflow_run *run, size_t i) {
    const iflow_correction *correction = run->t->correction;
    return correction && iflow_run_wants(run, run->params->correct) && iflow_run_chunk(run, i)->fillers == correction->info.fillers;
}

/* Corrects the rows of chunks that follow one another: start, length [n_chunks]. */
static iflow_status correct(iflow_timeline *t, const int *start, const int *length, size_t n_chunks) {
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
    const iflow_status status = iflow_seq_map(&t->seq, t->correction->layer, feature, start[0], (int)n);
    free(feature);
    return status;
}

static iflow_status assembled(iflow_run *run, void **state, size_t from, size_t to) {
    (void)state;
    iflow_status status = IFLOW_OK;
    if (!from) { /* the context is assembled anew */
        run->answer->n_corrected = 0;
    }
    for (size_t end; !status && from < to; from = end + 1) {
        for (end = from; end < to && iflow_is_corrected(run, end); end++) {
            run->answer->n_corrected += (size_t)run->length[end];
        }
        status = correct(run->t, run->start + from, run->length + from, end - from);
    }
    return status;
}

const iflow_repair_ops iflow_repair_correction = {.assembled = assembled};
