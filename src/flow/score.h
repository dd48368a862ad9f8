/* score.h - which layers score, and one score a context position from what they observed (algorithm.md, step 3). */
#ifndef IFLOW_FLOW_SCORE_H
#define IFLOW_FLOW_SCORE_H

#include "base/base.h"

enum { IFLOW_MAX_SCORE_LAYERS = 16 };

/* Resolves the caller's layers (negative: from the end; n_wanted 0: the layers at 0.55, 0.575, 0.6 and 0.625 of the depth) to ascending
 * layers without duplicates. E_ARG naming a layer that is not there. */
iflow_status iflow_score_layers(const int *wanted, size_t n_wanted, int n_layer, int layer[IFLOW_MAX_SCORE_LAYERS], int *n);

/* norm: observed [n_layers, stride] holds sum_q m[q,k]^2 a layer; score[k] = mean over layers of its root, for k in [n_head, n); 0 in the
 * head. */
void iflow_score_norm(const float *observed, int n_layers, size_t stride, size_t n_head, size_t n, float *score);

#endif
