/* eval_summary.h - the table at the end of an evaluation: means, intervals and paired differences. */
#ifndef IFLOW_CLI_EVAL_SUMMARY_H
#define IFLOW_CLI_EVAL_SUMMARY_H

#include <jansson.h>
#include <stddef.h>

/* A method at a ratio, and its record of every question. */
typedef struct eval_series {
    const char *method;
    double ratio;
    const json_t **record; /* [n_questions]; NULL where it was not asked */
} eval_series;

/* Prints the means of every series with their 95% bootstrap intervals, and below them the differences of every series to the first of
 * method full, else to the first of infoflow, over the questions that both have. */
void eval_summary_print(const eval_series *series, size_t n_series, size_t n_questions);

#endif
