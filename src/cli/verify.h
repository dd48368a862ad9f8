/* verify.h - verification on the command line: its options, what is said of a try that does not pass, and the verdict in reports. */
#ifndef IFLOW_CLI_VERIFY_H
#define IFLOW_CLI_VERIFY_H

#include "cli/report.h"
#include "service/verification.h"

#define OPTION_ROWS_VERIFY(g, then)                                                                                                        \
    {'\0', "verify", "P", OPTION_REAL, &(g).share, 0, 1, "check this share of the answers against full prefill" then " (default: 0)"}, {   \
        '\0', "verify-min", "A", OPTION_REAL, &(g).least, 0, 1,                                                                            \
            "share of an answer's tokens that full prefill must say, too, for it to pass (default: 0.8)"                                   \
    }
/* Of `ask` and `chat`. */
#define VERIFY_AGAIN                                                                                                                       \
    ", and ask again at twice the ratio, up to 0.6 and then in full, until one passes. Which ones: drawn by the question, the same every " \
    "time; 1: all. A checked answer is printed when it has passed, not as it comes"

/* CLI_OK, or CLI_USAGE after a message on options that do not go together. method: NULL where there are several. */
int gate_check(const command_usage *usage, const gate *g, const char *method);

/* gate_run() until an interrupt. Tries that do not pass are said, unless quiet. */
iflow_status gate_ask(gate *g, iflow_context *ctx, iflow_ask_params *params, bool quiet, iflow_answer **answer, verdict *out);

/* For reports: lines for people, and the members "verified", "agreement" and "agreement_kl" of an object. */
void verdict_print(FILE *to, const verdict *v, const iflow_answer *answer);
void verdict_json(json_t *object, const verdict *v);

#endif
