/* geometry.c - positions of chunks and text for scoring, and reordering. */
#include "flow/geometry.h"

void iflow_geometry_place(iflow_geometry geometry, int n_sink, const int *start, const int *length, size_t n_chunks, int32_t *first,
                          int32_t *text) {
    const int n = start[n_chunks - 1] + length[n_chunks - 1];
    int longest = length[0]; /* the end of whatever reaches furthest at its local position */
    for (size_t i = 0; i < n_chunks; i++) {
        const int local = i ? n_sink : 0;
        longest = local + length[i] > longest ? local + length[i] : longest;
        first[i] = geometry == IFLOW_GEOMETRY_GLOBAL ? start[i] : geometry == IFLOW_GEOMETRY_TL_TP && i ? n - length[i] : local;
    }
    *text = geometry == IFLOW_GEOMETRY_HL_HP ? longest : n;
}

void iflow_order_by_share(const int *n_selected, const int *length, size_t n_chunks, size_t *order) {
    for (size_t i = 0; i < n_chunks; i++) { /* insertion: chunks are few, and equal shares stay in order */
        size_t at = i;
        while (at > 0 && (int64_t)n_selected[order[at - 1]] * length[i] > (int64_t)n_selected[i] * length[order[at - 1]]) {
            order[at] = order[at - 1];
            at--;
        }
        order[at] = i;
    }
}
