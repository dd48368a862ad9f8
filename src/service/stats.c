/* stats.c - means and their bootstrap intervals. */
#include "service/stats.h"

#include "base/random.h"

#include <math.h>
#include <stdlib.h>

static const uint64_t SEED = 2603;

int stats_compare(double x, double y) {
    return isnan(x) || isnan(y) ? !!isnan(x) - !!isnan(y) : (x > y) - (x < y);
}

static int compare(const void *a, const void *b) {
    return stats_compare(*(const double *)a, *(const double *)b);
}

void stats_sort(double *value, size_t n) {
    qsort(value, n, sizeof *value, compare);
}

double stats_median(double *value, size_t n) {
    stats_sort(value, n);
    return (value[(n - 1) / 2] + value[n / 2]) / 2;
}

/* The value below which a share of the sorted ones lies, between two of them by proportion. */
static double quantile(const double *sorted, size_t n, double share) {
    const double at = share * (double)(n - 1);
    const size_t i = (size_t)at;
    return i + 1 < n ? sorted[i] + (at - (double)i) * (sorted[i + 1] - sorted[i]) : sorted[n - 1];
}

stats_mean stats_bootstrap(const double *value, size_t n) {
    static _Thread_local double mean[STATS_RESAMPLES]; /* too much for a small stack */
    double sum = 0;
    uint64_t state = SEED;
    for (size_t i = 0; i < n; i++) {
        sum += value[i];
    }
    for (size_t b = 0; b < STATS_RESAMPLES; b++) {
        double resampled = 0;
        for (size_t i = 0; i < n; i++) {
            resampled += value[iflow_random_below(&state, n)];
        }
        mean[b] = resampled / (double)n;
    }
    stats_sort(mean, STATS_RESAMPLES);
    return (stats_mean){sum / (double)n, quantile(mean, STATS_RESAMPLES, 0.025), quantile(mean, STATS_RESAMPLES, 0.975)};
}
