/* select.c - the best-scoring positions, and those that the comparators take without a score. */
#include "flow/select.h"

#include "base/random.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

/* 0.15 * 20 must be 3, though the product of doubles may fall just short. */
static size_t share_of(double ratio, size_t n) {
    return (size_t)floor(ratio * (double)n + 1e-9);
}

size_t iflow_select_count(double ratio, size_t n_head, size_t n) {
    const size_t eligible = n - n_head;
    if (ratio <= 0 || eligible == 0) {
        return 0;
    }
    const size_t wanted = share_of(ratio, n);
    return wanted < 1 ? 1 : wanted > eligible ? eligible : wanted;
}

typedef struct candidate {
    float score;
    int32_t position;
} candidate;

/* A total order, whatever the scores are: with one that is none, sorting may take a position twice. What is no number comes last. */
static int better_first(const void *a, const void *b) {
    const candidate *x = a, *y = b;
    if (isnan(x->score) != isnan(y->score)) {
        return isnan(x->score) ? 1 : -1;
    }
    if (x->score > y->score || x->score < y->score) {
        return x->score > y->score ? -1 : 1;
    }
    return x->position < y->position ? -1 : x->position > y->position;
}

static int ascending(const void *a, const void *b) {
    const int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return x < y ? -1 : x > y;
}

/* The positions [n_head, n) that are not taken (NULL: none is), best first. free(). NULL: no memory. */
static candidate *rank(const float *score, const bool *taken, size_t n_head, size_t n) {
    candidate *all = iflow_calloc(n - n_head, sizeof *all);
    size_t n_all = 0;
    for (size_t k = n_head; all && k < n; k++) {
        if (!taken || !taken[k]) {
            all[n_all++] = (candidate){score[k], (int32_t)k};
        }
    }
    if (all) {
        qsort(all, n_all, sizeof *all, better_first);
    }
    return all;
}

static iflow_status select_best(const float *score, const bool *taken, size_t n_head, size_t n, size_t n_selected, int32_t *selected) {
    assert(n_selected <= n - n_head);
    candidate *all = rank(score, taken, n_head, n);
    if (!all) {
        return iflow_fail_memory((n - n_head) * sizeof *all);
    }
    for (size_t i = 0; i < n_selected; i++) {
        selected[i] = all[i].position;
    }
    qsort(selected, n_selected, sizeof *selected, ascending);
    free(all);
    return IFLOW_OK;
}

iflow_status iflow_select_best(const float *score, size_t n_head, size_t n, size_t n_selected, int32_t *selected) {
    return select_best(score, NULL, n_head, n, n_selected, selected);
}

iflow_status iflow_select_covering(const float *score, size_t n_head, size_t n, double coverage, size_t low, size_t high,
                                   size_t *n_selected) {
    candidate *all = rank(score, NULL, n_head, n);
    if (!all) {
        return iflow_fail_memory((n - n_head) * sizeof *all);
    }
    double whole = 0, covered = 0;
    for (size_t i = 0; i < n - n_head; i++) {
        whole += (double)all[i].score;
    }
    size_t count = 0;
    while (count < high && count < n - n_head && (count < low || covered < coverage * whole)) {
        covered += (double)all[count++].score;
    }
    *n_selected = count;
    free(all);
    return IFLOW_OK;
}

iflow_status iflow_select_union(const float *first, double share, const float *second, size_t n_head, size_t n, size_t n_selected,
                                int32_t *selected) {
    const size_t n_first = share_of(share, n_selected);
    bool *taken = iflow_calloc(n, sizeof *taken);
    if (!taken) {
        return iflow_fail_memory(n * sizeof *taken);
    }
    iflow_status status = iflow_select_best(first, n_head, n, n_first, selected);
    if (!status) {
        for (size_t i = 0; i < n_first; i++) {
            taken[selected[i]] = true;
        }
        status = select_best(second, taken, n_head, n, n_selected - n_first, selected + n_first);
        qsort(selected, n_selected, sizeof *selected, ascending);
    }
    free(taken);
    return status;
}

void iflow_select_others(int start, int length, const int32_t *selected, size_t n_selected, int32_t *others) {
    for (int32_t at = start, s = 0; at < start + length; at++) {
        if ((size_t)s < n_selected && selected[s] == at) {
            s++;
        } else {
            *others++ = at;
        }
    }
}

void iflow_select_first(const int *start, const int *length, size_t n_chunks, size_t k, int32_t *selected, size_t *n_selected) {
    *n_selected = 0;
    for (size_t c = 0; c < n_chunks; c++) {
        for (int i = 0; i < length[c] && (size_t)i < k; i++) {
            selected[(*n_selected)++] = start[c] + i;
        }
    }
}

void iflow_select_first_ratio(const int *start, const int *length, size_t n_chunks, double ratio, int32_t *selected, size_t *n_selected) {
    size_t n = 0;
    for (size_t c = 0; c < n_chunks && ratio > 0; c++) {
        const size_t share = share_of(ratio, (size_t)length[c]);
        size_t n_chunk = 0;
        iflow_select_first(start + c, length + c, 1, share ? share : 1, selected + n, &n_chunk);
        n += n_chunk;
    }
    *n_selected = n;
}

iflow_status iflow_select_random(uint64_t seed, size_t n_head, size_t n, size_t n_selected, int32_t *selected) {
    const size_t eligible = n - n_head;
    assert(n_selected <= eligible);
    int32_t *all = iflow_calloc(eligible, sizeof *all);
    if (!all) {
        return iflow_fail_memory(eligible * sizeof *all);
    }
    for (size_t i = 0; i < eligible; i++) {
        all[i] = (int32_t)(n_head + i);
    }
    for (size_t i = 0; i < n_selected && i < eligible; i++) { /* the first steps of a shuffle */
        const size_t other = i + iflow_random(&seed) % (eligible - i);
        selected[i] = all[other];
        all[other] = all[i];
    }
    qsort(selected, n_selected, sizeof *selected, ascending);
    free(all);
    return IFLOW_OK;
}
