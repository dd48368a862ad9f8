/* eval_summary.h - the numbers of an evaluation, computed once: means, intervals, paired differences, stages; and their tables as text. */
#ifndef IFLOW_LAB_EVAL_SUMMARY_H
#define IFLOW_LAB_EVAL_SUMMARY_H

#include "cli/report.h"
#include "service/stats.h"

/* A method at a ratio, and its record of every question. */
typedef struct eval_series {
    const char *method;
    double ratio;
    const json_t **record; /* [n_questions]; NULL where it was not asked */
} eval_series;

enum { EVAL_F1, EVAL_EXACT, EVAL_CONTAINS, EVAL_KL, EVAL_TOP1, EVAL_TTFT, EVAL_RECOMPUTED, EVAL_MEASURES };

typedef struct eval_measure {
    const char *title, *unit;
    int width, digits, interval_digits; /* interval_digits negative: no interval, as nothing is left to chance in it */
    bool optional;                      /* left out where no record has it */
    bool is_compared;                   /* its differences are shown */
} eval_measure;
extern const eval_measure eval_measures[EVAL_MEASURES];

/* n values, of which mean says nothing if n is 0. */
typedef struct eval_cell {
    size_t n;
    stats_mean mean;
} eval_cell;

typedef struct eval_difference_row {
    size_t n_records;
    eval_cell cell[EVAL_MEASURES]; /* of the measures that are compared */
} eval_difference_row;

/* Every series less a base, over the questions that both have. */
typedef struct eval_difference {
    size_t base;              /* index of its series */
    eval_difference_row *row; /* [n_series] */
} eval_difference;

typedef struct eval_row {
    char *name;  /* the method, and what of its settings is not the default: "infoflow/vatp/hl-hp/reorder" */
    char *label; /* the name, with the ratio where the method has one */
    bool has_ratio;
    size_t n_records, n_full; /* n_full: answers that were cut, as the context was full */
    eval_cell cell[EVAL_MEASURES];
    double stage[ANSWER_STAGES], ttft; /* medians of milliseconds; NAN where nothing was measured */
} eval_row;

typedef struct eval_summary {
    const eval_series *series; /* borrowed */
    size_t n_series, n_questions;
    bool is_measured[EVAL_MEASURES];
    eval_row *row;                 /* [n_series] */
    eval_difference difference[2]; /* to full, then to the paper's infoflow: that at 0.15, else the first */
    size_t n_differences;
} eval_summary;

eval_summary eval_summary_make(const eval_series *series, size_t n_series, size_t n_questions);
void eval_summary_print(const eval_summary *summary);
/* A line for each series that has checked answers; least: the agreement that passes. */
void eval_summary_print_verified(const eval_summary *summary, double least);
/* What is to be said if fidelity was measured of some of a row's answers only: records of runs with and without it are mixed. Else NULL.
 * free(). */
char *eval_row_partial(const eval_row *row);
/* What is to be said of answers that a full context cut. Those that --max-tokens cuts are as they are meant to be. NULL: nothing. free().
 */
char *eval_row_cut(const eval_row *row);
void eval_summary_free(eval_summary *summary);

/* A measure of one record; NAN where it has none. */
double eval_measure_of(const json_t *record, int measure);

#endif
