/* verification.h - the gate: a share of the answers is checked against full prefill, and asked for again at a higher ratio until they
 * agree. */
#ifndef IFLOW_SERVICE_VERIFICATION_H
#define IFLOW_SERVICE_VERIFICATION_H

#include "infoflow.h"

typedef struct gate {
    double share; /* of the questions whose answers are checked; 0: none, 1: all */
    double least; /* agreement that passes */
    /* How later questions are asked, once an answer did not pass. */
    bool raised;
    iflow_method method;
    double ratio;
} gate;

gate gate_default(void);

/* Whether the answer to a question is checked: drawn by its text, the same every time. */
bool gate_draws(const gate *g, const char *question);

/* What became of an answer. */
typedef struct verdict {
    bool verified;
    double agreement, kl; /* kl: not a number if the answer has no token or may be very long */
    int n_asked;          /* how often, until it passed */
    double ms;            /* spent on checks and on answers that did not pass */
} verdict;

/* A try that did not pass, and how it is asked next. */
typedef struct gate_retry {
    const iflow_ask_params *was, *next;
    const iflow_answer *answer; /* that did not pass */
    const verdict *verdict;
    double least;
} gate_retry;

/* Who listens. retry may be NULL. */
typedef struct gate_events {
    void (*retry)(const gate_retry *what, void *user);
    void *user;
} gate_events;

/* iflow_context_ask() through the gate. The text of a checked answer comes to params->on_text in one piece, when it has passed. params are
 * left as they were asked with in the end. E_CANCELLED: there is no answer yet; an answer that is there when this thread's token is raised
 * stands unchecked. */
iflow_status gate_run(gate *g, iflow_context *ctx, iflow_ask_params *params, const gate_events *events, iflow_answer **answer,
                      verdict *out);

/* Whether a method, as it is asked with, recomputes by its ratio, and not the positions that it is given. */
bool gate_goes_by_ratio(const iflow_ask_params *params);

#endif
