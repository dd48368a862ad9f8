/* report.h - what an answer cost: a table for people, and JSON. */
#ifndef IFLOW_CLI_REPORT_H
#define IFLOW_CLI_REPORT_H

#include "cli/ask_options.h"

#include <jansson.h>
#include <stdio.h>

/* Tokens a second of decoding; 0 if a single token or none was generated. */
double report_decode_rate(const iflow_answer *answer);

/* The stages of an answer, in their order. */
typedef struct report_stage {
    const char *name;
    double ms;
} report_stage;
enum { REPORT_STAGES = 8, REPORT_TTFT_STAGES = 7 }; /* those of the time to first token come first */
extern const char *const report_stage_name[REPORT_STAGES];
void report_stages(const iflow_answer *answer, report_stage stage[REPORT_STAGES]);

void report_print(FILE *to, const session *s, const iflow_answer *answer);
/* One line of it, and another if the answer was cut. follow_up: the answer went on after an earlier one. */
void report_print_line(FILE *to, const session *s, const iflow_answer *answer, bool follow_up);
/* Why an answer was cut and what helps; NULL: it was not. free(). */
char *report_cut(const session *s, const iflow_answer *answer);

/* Adds why the answer ended. */
void report_finish_json(json_t *object, const iflow_answer *answer);
/* Adds how it was sampled, where that is not the default, and the stop string that ended it. */
void report_sampling_json(json_t *object, const ask_options *how, const iflow_answer *answer);

/* New references. */
json_t *report_tokens_json(const iflow_answer *answer);
json_t *report_timings_json(const iflow_answer *answer);
json_t *report_selected_json(const iflow_answer *answer);
/* The chunks' places in the list as it was added, from 1, in reading order, without the head. */
json_t *report_order_json(const iflow_answer *answer);
json_t *report_json(const session *s, const context_documents *documents, const char *question, const iflow_answer *answer, bool scores);
/* Adds the tokens of the context's positions and their texts, which joined are the context's: where tokens share a character, the first has
 * it and the others are empty. */
iflow_status report_positions_json(json_t *object, const session *s, const iflow_answer *answer);

/* Any bytes as a JSON string. */
json_t *json_text(const char *bytes);
/* A number, or null where it is none: json_real() gives NULL for it, and a member that is NULL is left out. */
json_t *json_finite(double value);
/* Dumps with jansson's flags and a line end. A character that a terminal would obey is an escape in it. CLI_OK, or CLI_FAILED after a
 * message. */
int json_print(const json_t *object, size_t flags, FILE *to);
/* Dumps as one line. CLI_OK, or CLI_FAILED after a message. */
int report_dump(const json_t *object, FILE *to);

#endif
