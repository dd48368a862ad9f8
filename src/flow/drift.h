/* drift.h - the keys of a chunk's other tokens are shifted as those of its recomputed tokens moved, on the average (ours).
 *
 * What a chunk's KV lacks, because it was computed among other texts or none, is in part the same for all its tokens: over a chunk, K
 * before RoPE moves in a common direction, which holds a fifth (SmolLM2) to a third (Qwen2.5) of all that it moves. The recomputed tokens
 * tell which, and the others follow without being run. V has little of that, and is left as it is. */
#ifndef IFLOW_FLOW_DRIFT_H
#define IFLOW_FLOW_DRIFT_H

#include "flow/context.h"

/* Before the selected tokens (positions, which are rows too) are recomputed: *stale gets their K before RoPE, [n_layer - 1, n_selected,
 * n_embd_kv], of all layers but the first, whose K depends on the token alone. NULL where no other token is left. free(). E_MEMORY. */
iflow_status iflow_drift_begin(iflow_context *ctx, const iflow_answer *answer, float **stale);

/* After it: shifts every other token but the head's by the mean of what its chunk's selected tokens changed by. In the mean a token weighs
 * 1 / (d / m + 1/20), d being the square of its change and m the median of these in the layer: who moves far moves in a way of their own.
 * Four tokens that did not change count with it, as a mean of few is mostly noise. stale NULL: does nothing. E_MEMORY, E_NOT_FINITE. */
iflow_status iflow_drift_end(iflow_context *ctx, const iflow_answer *answer, const float *stale);

#endif
