/* stats.h - means and their bootstrap intervals. */
#ifndef IFLOW_SERVICE_STATS_H
#define IFLOW_SERVICE_STATS_H

#include <stddef.h>

typedef struct stats_mean {
    double mean, low, high; /* low to high: the 95% interval */
} stats_mean;

enum { STATS_RESAMPLES = 10000 };

/* The mean of n values (at least 1) and its 95% percentile bootstrap interval over STATS_RESAMPLES resamples from a fixed seed: the same
 * values in the same order give the same interval. One value is its own interval. A difference of two methods is paired by giving the
 * differences question by question. */
stats_mean stats_bootstrap(const double *value, size_t n);

/* Below, at or above 0, as qsort() wants it: a total order, without which sorting may do anything. What is no number comes last. */
int stats_compare(double x, double y);
/* Sorts, rising. */
void stats_sort(double *value, size_t n);
/* The median of n values (at least 1), which it sorts. */
double stats_median(double *value, size_t n);

#endif
