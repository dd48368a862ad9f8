/* report.h - what an answer cost, printed: a table for people, and JSON. */
#ifndef IFLOW_CLI_REPORT_H
#define IFLOW_CLI_REPORT_H

#include "cli/ask_options.h"
#include "service/answers.h"

#include <stdio.h>

void report_print(FILE *to, const session *s, const iflow_answer *answer);
/* One line of it, and another if the answer was cut. follow_up: the answer went on after an earlier one. */
void report_print_line(FILE *to, const session *s, const iflow_answer *answer, bool follow_up);
/* Why an answer was cut and what helps; NULL: it was not. free(). */
char *report_cut(const session *s, const iflow_answer *answer);

/* Dumps with jansson's flags and a line end. A character that a terminal would obey is an escape in it. CLI_OK, or CLI_FAILED after a
 * message. */
int json_print(const json_t *object, size_t flags, FILE *to);
/* Prints all of an answer as one line of JSON. CLI_OK, or CLI_FAILED after a message. */
int report_json(const answer_report *what);

/* Dumps as one line. CLI_OK, or CLI_FAILED after a message. */
int report_dump(const json_t *object, FILE *to);

#endif
