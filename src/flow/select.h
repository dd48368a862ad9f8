/* select.h - which positions to recompute (step 4 of the method). A score that is no number is worse than any; no position is taken twice.
 */
#ifndef IFLOW_FLOW_SELECT_H
#define IFLOW_FLOW_SELECT_H

#include "base/base.h"

/* How many of n context positions (the head's n_head included) a ratio selects: max(1, floor(ratio * n)), 0 for ratio 0, never more than
 * there are outside the head. */
size_t iflow_select_count(double ratio, size_t n_head, size_t n);

/* The n_selected best-scoring positions of [n_head, n), ascending; of equal scores the lower position. selected: [n_selected]. E_MEMORY. */
iflow_status iflow_select_best(const float *score, size_t n_head, size_t n, size_t n_selected, int32_t *selected);

/* How many of the best-scoring positions of [n_head, n) hold a share `coverage` of the whole score, but not fewer than low (where there are
 * as many) and not more than high. E_MEMORY. */
iflow_status iflow_select_covering(const float *score, size_t n_head, size_t n, double coverage, size_t low, size_t high,
                                   size_t *n_selected);

/* The floor(share * n_selected) best of `first` and the best of `second` among the others, n_selected in all, ascending. E_MEMORY. */
iflow_status iflow_select_union(const float *first, double share, const float *second, size_t n_head, size_t n, size_t n_selected,
                                int32_t *selected);

/* The other positions of a chunk, ascending; selected: all of its own that are, ascending. others has room for length - n_selected. */
void iflow_select_others(int start, int length, const int32_t *selected, size_t n_selected, int32_t *others);

/* The comparators; selected has room for n positions, of which *n_selected are filled, ascending. A chunk is length[i]
 * tokens from start[i]. */

/* EPIC: the first k tokens of every chunk. */
void iflow_select_first(const int *start, const int *length, size_t n_chunks, size_t k, int32_t *selected, size_t *n_selected);

/* EPIC by ratio: the first max(1, floor(ratio * length)) tokens of every chunk; none for ratio 0. */
void iflow_select_first_ratio(const int *start, const int *length, size_t n_chunks, double ratio, int32_t *selected, size_t *n_selected);

/* n_selected different positions of [n_head, n), drawn from a seed: the same ones on every machine. E_MEMORY. */
iflow_status iflow_select_random(uint64_t seed, size_t n_head, size_t n, size_t n_selected, int32_t *selected);

#endif
