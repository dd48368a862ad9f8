/* scores.c - scores by number and by name, and how those of the table come from what was observed. */
#include "flow/scores.h"

#include "flow/names.h"

#include <math.h>
#include <stdlib.h>

typedef struct score_row {
    const char *name, *about;
    void (*reduce)(const float *const observed[IFLOW_N_OBSERVATIONS], size_t n, double weight, double *sum);
    int observations;
} score_row;

#define ROW(name, reduces, observes, about) {name, about, iflow_reduce_##reduces, observes},
static const score_row row[] = {IFLOW_SCORES_BY(ROW)};

enum { N_SCORES = sizeof row / sizeof *row };
enum { OF_NORM, OF_MASS, OF_ENTROPY, OF_VATP }; /* places in observed[] */

const char *iflow_score_name(iflow_score score) {
    return (size_t)score < N_SCORES ? row[score].name : NULL;
}

const char *iflow_score_about(iflow_score score) {
    return (size_t)score < N_SCORES ? row[score].about : NULL;
}

static const char *name_of(size_t i) {
    return iflow_score_name((iflow_score)i);
}

iflow_status iflow_score_from_name(const char *name, iflow_score *score) {
    if (IFLOW_MISSING(name) || IFLOW_MISSING(score)) {
        return IFLOW_E_ARG;
    }
    size_t i = 0;
    const iflow_status status = iflow_name_find("score", name, name_of, &i);
    if (!status) {
        *score = (iflow_score)i;
    }
    return status;
}

int iflow_score_observations(iflow_score kind) {
    return (size_t)kind < N_SCORES ? row[kind].observations : 0;
}

/* Adds one observation of one layer to the sum: root where it is a sum of squares, scaled to 0..1 over the context where `scaled`. */
static void add_observation(const float *observed, bool root, bool scaled, double weight, size_t n, double *sum) {
    double low = INFINITY, high = -INFINITY;
    for (size_t k = 0; scaled && k < n; k++) {
        const double x = root ? sqrt((double)observed[k]) : (double)observed[k];
        low = x < low ? x : low;
        high = x > high ? x : high;
    }
    const double shift = scaled ? low : 0, factor = !scaled ? 1 : high > low ? 1 / (high - low) : 0;
    for (size_t k = 0; k < n; k++) {
        const double x = root ? sqrt((double)observed[k]) : (double)observed[k];
        sum[k] += (x - shift) * factor * weight;
    }
}

void iflow_reduce_norm(const float *const observed[IFLOW_N_OBSERVATIONS], size_t n, double weight, double *sum) {
    add_observation(observed[OF_NORM], true, false, weight, n, sum);
}

void iflow_reduce_mass(const float *const observed[IFLOW_N_OBSERVATIONS], size_t n, double weight, double *sum) {
    add_observation(observed[OF_MASS], false, false, weight, n, sum);
}

void iflow_reduce_entropy(const float *const observed[IFLOW_N_OBSERVATIONS], size_t n, double weight, double *sum) {
    add_observation(observed[OF_ENTROPY], false, false, weight, n, sum);
}

void iflow_reduce_vatp(const float *const observed[IFLOW_N_OBSERVATIONS], size_t n, double weight, double *sum) {
    add_observation(observed[OF_VATP], false, false, weight, n, sum);
}

void iflow_reduce_combined(const float *const observed[IFLOW_N_OBSERVATIONS], size_t n, double weight, double *sum) {
    add_observation(observed[OF_NORM], true, true, weight / 3, n, sum);
    add_observation(observed[OF_ENTROPY], false, true, weight / 3, n, sum);
    add_observation(observed[OF_VATP], false, true, weight / 3, n, sum);
}

iflow_status iflow_score_reduce(iflow_score kind, const float *observed, int n_layers, size_t stride, size_t n_head, size_t n,
                                float *score) {
    double *sum = iflow_calloc(n, sizeof *sum);
    if (!sum) {
        return iflow_fail_memory(n * sizeof *sum);
    }
    const int wanted = iflow_score_observations(kind);
    for (int il = 0; il < n_layers; il++) {
        const float *of[IFLOW_N_OBSERVATIONS] = {NULL};
        for (int i = 0; i < IFLOW_N_OBSERVATIONS; i++) {
            if (wanted & 1 << i) {
                of[i] = observed;
                observed += stride;
            }
        }
        row[kind].reduce(of, n, 1.0 / n_layers, sum);
    }
    for (size_t k = 0; k < n; k++) {
        score[k] = k < n_head ? 0 : (float)sum[k];
    }
    free(sum);
    return IFLOW_OK;
}

void iflow_score_weigh(const float *staleness, size_t n, float *score) {
    for (size_t k = 0; k < n; k++) {
        score[k] *= sqrtf(staleness[k]);
    }
}
