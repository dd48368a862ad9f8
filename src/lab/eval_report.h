/* eval_report.h - an evaluation as one self-contained HTML page: tables, charts, and every question with its tokens. */
#ifndef IFLOW_LAB_EVAL_REPORT_H
#define IFLOW_LAB_EVAL_REPORT_H

#include "lab/eval_data.h"
#include "lab/eval_summary.h"

typedef struct eval_report {
    const char *path;
    const char *data_path; /* NULL: the questions are of no file */
    int argc;              /* of the command that wrote it, from the subcommand's name on */
    char *const *argv;
    const session *s;
    const eval_question *const *question; /* [n_questions] of the summary */
    size_t chunk_tokens;
} eval_report;

/* Whether the page can be written there, to be known before hours of asking. It must be neither the data (NULL: no file) nor the records.
 * CLI_OK, or CLI_FAILED after a message. */
int eval_report_check(const char *path, const char *data_path, const char *records_path);

/* Writes the page. CLI_OK, or CLI_FAILED after a message. */
int eval_report_write(const eval_report *report, const eval_summary *summary);

#endif
