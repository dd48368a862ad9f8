/* score.h - which layers score, and one score a context position from what they observed (algorithm.md, step 3). */
#ifndef IFLOW_FLOW_SCORE_H
#define IFLOW_FLOW_SCORE_H

#include "compute/engine.h"

enum { IFLOW_MAX_SCORE_LAYERS = IFLOW_MAX_OBSERVED };

/* Resolves the caller's layers (negative: from the end; n_wanted 0: the layers at 0.55, 0.575, 0.6 and 0.625 of the depth, or the
 * nearest to each that sees the whole context) to ascending layers without duplicates. E_ARG naming a layer that is not there or sees a
 * window alone. */
iflow_status iflow_score_layers(const int *wanted, size_t n_wanted, const iflow_hparams *h, int layer[IFLOW_MAX_SCORE_LAYERS], int *n);

/* What a scoring pass must observe for a score: flags of compute/engine.h. */
int iflow_score_observations(iflow_score kind);

/* Scores of the n context positions from observed [n_layers, observations, stride]; 0 in the head's n_head. E_MEMORY. */
iflow_status iflow_score_reduce(iflow_score kind, const float *observed, int n_layers, size_t stride, size_t n_head, size_t n,
                                float *score);

/* Scores times the root of each position's staleness: the larger for a token that the question looks at and whose KV is wrong, not one
 * of both. The root, because two samples know staleness only roughly. */
void iflow_score_weigh(const float *staleness, size_t n, float *score);

#endif
