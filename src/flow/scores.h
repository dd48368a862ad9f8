/* scores.h - one score a context position from what scoring layers observed (step 3 of the method): the rows of score_table.h at work. */
#ifndef IFLOW_FLOW_SCORES_H
#define IFLOW_FLOW_SCORES_H

#include "compute/engine.h"
#include "flow/score_table.h"

/* What the rows name. */
#define IFLOW_DECLARE(name, reduces, observes, about)                                                                                      \
    void iflow_reduce_##reduces(const float *const observed[IFLOW_N_OBSERVATIONS], size_t n, double weight, double *sum);
IFLOW_SCORES_BY(IFLOW_DECLARE)
#undef IFLOW_DECLARE

/* What a scoring pass must observe for a score: flags of compute/engine.h. */
int iflow_score_observations(iflow_score kind);

/* Scores of the n context positions from observed [n_layers, observations, stride]; 0 in the head's n_head. E_MEMORY. */
iflow_status iflow_score_reduce(iflow_score kind, const float *observed, int n_layers, size_t stride, size_t n_head, size_t n,
                                float *score);

/* Scores times the root of each position's staleness: the larger for a token that the question looks at and whose KV is wrong, not one
 * of both. The root, because two samples know staleness only roughly. */
void iflow_score_weigh(const float *staleness, size_t n, float *score);

#endif
