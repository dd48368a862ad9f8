/* drift.h - the keys of a chunk's other tokens are shifted as those of its recomputed tokens moved, on the average (ours).
 *
 * What a chunk's KV lacks, because it was computed among other texts or none, is in part the same for all its tokens: over a chunk, K
 * before RoPE moves in a common direction, which holds a fifth (SmolLM2) to a third (Qwen2.5) of all that it moves. The recomputed tokens
 * tell which, and the others follow without being run. V moves in no such direction. */
#ifndef IFLOW_FLOW_DRIFT_H
#define IFLOW_FLOW_DRIFT_H

#include "flow/context.h"

/* Tokens about to be recomputed, with what they hold before. Zero it; iflow_drift_free(). */
typedef struct iflow_drift_state {
    size_t n_chunks, n_values;
    float *weight; /* [n_chunks, n_selected]: what each counts for in its chunk's sum */
    float
        *before; /* [n_layer - 1, n_chunks, n_embd_kv]: sums of K before RoPE; layer 0's depends on the token alone. NULL: nothing to do */
} iflow_drift_state;

/* Before the selected tokens (positions, which are rows too) are recomputed. Does nothing where no other token is left. E_MEMORY. */
iflow_status iflow_drift_begin(iflow_drift_state *state, iflow_context *ctx, const iflow_answer *answer);

/* After it: shifts every other token but the head's. Of n selected tokens behind the first 8 of a chunk, which change in ways of their own,
 * the shift is what they changed by, added up, over n + 4. E_MEMORY. */
iflow_status iflow_drift_end(const iflow_drift_state *state, iflow_context *ctx, const iflow_answer *answer);

void iflow_drift_free(iflow_drift_state *state);

#endif
