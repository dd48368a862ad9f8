/* verify.h - verification on the command line: its options, what is said of a try that does not pass, and the verdict in reports. */
#ifndef IFLOW_CLI_VERIFY_H
#define IFLOW_CLI_VERIFY_H

#include "cli/report.h"
#include "service/verification.h"

#define OPTION_ROWS_VERIFY(g, then)                                                                                                        \
    {'\0', "verify", "P", OPTION_REAL, &(g).share, 0, 1, "compare this share of the answers with full prefill" then " (default: 0)"}, {    \
        '\0', "verify-min", "A", OPTION_REAL, &(g).least, 0, 1,                                                                            \
            "an answer passes if full prefill gives at least this share of its tokens, too (default: 0.8)"                                 \
    }
/* Of `ask` and `chat`. */
#define VERIFY_AGAIN                                                                                                                       \
    ". If an answer does not pass, ask again with twice the ratio, up to 0.6, and then with full prefill. The question decides whether "   \
    "an answer is compared; 1: all are. Such an answer is printed when it has passed"

/* CLI_OK, or CLI_USAGE after a message on options that do not go together. method: NULL where there are several. */
int gate_check(const command_usage *usage, const gate *g, const char *method);

/* gate_run(). Tries that do not pass are said, unless quiet. */
iflow_status gate_ask(gate *g, iflow_context *ctx, iflow_ask_params *params, bool quiet, iflow_answer **answer, verdict *out);

/* For reports. */
void verdict_print(FILE *to, const verdict *v, const iflow_answer *answer);

#endif
