/* select.h - which positions to recompute (algorithm.md, step 4). */
#ifndef IFLOW_FLOW_SELECT_H
#define IFLOW_FLOW_SELECT_H

#include "base/base.h"

/* How many of n context positions (the head's n_head included) a ratio selects: max(1, floor(ratio * n)), 0 for ratio 0, never more than
 * there are outside the head. */
size_t iflow_select_count(double ratio, size_t n_head, size_t n);

/* The n_selected best-scoring positions of [n_head, n), ascending; of equal scores the lower position. selected: [n_selected]. E_MEMORY. */
iflow_status iflow_select_best(const float *score, size_t n_head, size_t n, size_t n_selected, int32_t *selected);

#endif
