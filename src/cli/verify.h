/* verify.h - the gate: a share of the answers is checked against full prefill, and asked for again at a higher ratio until they agree. */
#ifndef IFLOW_CLI_VERIFY_H
#define IFLOW_CLI_VERIFY_H

#include "cli/report.h"

typedef struct gate {
    double share; /* of the questions whose answers are checked */
    double least; /* agreement that passes */
    /* How later questions are asked, once an answer did not pass. */
    bool raised;
    iflow_method method;
    double ratio;
} gate;

gate gate_default(void);

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

/* Whether the answer to a question is checked. */
bool gate_draws(const gate *g, const char *question);

/* What became of an answer. */
typedef struct verdict {
    bool verified;
    double agreement, kl; /* kl: not a number if the answer has no token or may be very long */
    int n_asked;          /* how often, until it passed */
    double ms;            /* spent on checks and on answers that did not pass */
} verdict;

/* iflow_context_ask through the gate. Tries that do not pass are said, unless quiet. */
iflow_status gate_ask(gate *g, iflow_context *ctx, iflow_ask_params *params, bool quiet, iflow_answer **answer, verdict *out);

/* For reports: lines for people, and the members "verified", "agreement" and "agreement_kl" of an object. */
void verdict_print(FILE *to, const verdict *v, const iflow_answer *answer);
void verdict_json(json_t *object, const verdict *v);

#endif
