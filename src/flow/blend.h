/* blend.h - CacheBlend's two steps (algorithm.md, comparators), for its comparison with InfoFlow. */
#ifndef IFLOW_FLOW_BLEND_H
#define IFLOW_FLOW_BLEND_H

#include "flow/context.h"

/* All n context tokens through layer 0 and through layer 1's K and V, fresh ones kept for both. score [n]: the mean squared change of each
 * token's V at layer 1, 0 in the head. *hidden: the input of layer 1, [n, n_embd]; free(). E_UNSUPPORTED for a model of one layer;
 * E_NOT_FINITE. */
iflow_status iflow_blend_score(iflow_context *ctx, const int32_t *token, const int32_t *pos, int n, int n_head, float *score,
                               float **hidden);

/* From layer 1's attention on, only the selected tokens run. */
iflow_status iflow_blend_recompute(iflow_context *ctx, const float *hidden, const int32_t *selected, int n_selected);

#endif
