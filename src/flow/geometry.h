/* geometry.h - where keys and the scoring text stand while scoring; and the order of chunks (step 5 of the method). */
#ifndef IFLOW_FLOW_GEOMETRY_H
#define IFLOW_FLOW_GEOMETRY_H

#include "base/base.h"

/* Position of the first token of every chunk (start and length: as laid out, [n_chunks], the head first) and of the scoring text. The head
 * always stands at 0, as chunk 0 is pinned. Only coordinates are placed, which windows go by, too; causality goes by the order of rows.
 * n_sink: where a chunk's first token stood when it was prefilled. */
void iflow_geometry_place(iflow_geometry geometry, int n_sink, const int *start, const int *length, size_t n_chunks, int32_t *first,
                          int32_t *text);

/* The order in which the most informative chunk comes last: ascending by (n_selected / length, index). order: [n_chunks], a permutation of
 * 0.. n_chunks - 1. */
void iflow_order_by_share(const int *n_selected, const int *length, size_t n_chunks, size_t *order);

#endif
