/* select.c - the best-scoring positions. */
#include "flow/select.h"

#include <math.h>
#include <stdlib.h>

size_t iflow_select_count(double ratio, size_t n_head, size_t n) {
    const size_t eligible = n - n_head;
    if (ratio <= 0 || eligible == 0) {
        return 0;
    }
    /* 0.15 * 20 must be 3, though the product of doubles may fall just short. */
    const size_t wanted = (size_t)floor(ratio * (double)n + 1e-9);
    return wanted < 1 ? 1 : wanted > eligible ? eligible : wanted;
}

typedef struct candidate {
    float score;
    int32_t position;
} candidate;

static int better_first(const void *a, const void *b) {
    const candidate *x = a, *y = b;
    if (x->score != y->score) {
        return x->score > y->score ? -1 : 1;
    }
    return x->position < y->position ? -1 : 1;
}

static int ascending(const void *a, const void *b) {
    const int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return x < y ? -1 : x > y;
}

iflow_status iflow_select_best(const float *score, size_t n_head, size_t n, size_t n_selected, int32_t *selected) {
    candidate *all = iflow_calloc(n - n_head, sizeof *all);
    if (!all) {
        return iflow_fail_memory((n - n_head) * sizeof *all);
    }
    for (size_t k = n_head; k < n; k++) {
        all[k - n_head] = (candidate){score[k], (int32_t)k};
    }
    qsort(all, n - n_head, sizeof *all, better_first);
    for (size_t i = 0; i < n_selected; i++) {
        selected[i] = all[i].position;
    }
    qsort(selected, n_selected, sizeof *selected, ascending);
    free(all);
    return IFLOW_OK;
}
