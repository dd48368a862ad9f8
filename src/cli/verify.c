/* verify.c - verification on the command line: its options, what is said of a try that does not pass, and the verdict in reports. */
#include "cli/verify.h"

#include "cli/text.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

int gate_check(const command_usage *usage, const gate *g, const char *method) {
    if (g->share <= 0 && options_given(&g->least)) {
        return options_wrong(usage, "--verify-min goes with --verify");
    }
    if (g->share > 0 && method && strcmp(method, iflow_method_name(IFLOW_METHOD_FULL)) == 0) {
        return options_wrong(usage, "--verify checks against full prefill, which --method full is; leave out one of them");
    }
    return CLI_OK;
}

static char *name_of(const iflow_ask_params *params, const iflow_answer *answer) {
    if (!gate_goes_by_ratio(params)) {
        return text_format("%s", iflow_method_name(params->method));
    }
    if (params->coverage > 0 && answer) {
        return text_format("%s at ratio %.2f", iflow_method_name(params->method), (double)answer->n_recomputed / (double)answer->n_context);
    }
    return text_format("%s at ratio %.2f", iflow_method_name(params->method), params->ratio);
}

static void say_retry(const gate_retry *what, void *user) {
    const bool *quiet = user;
    if (*quiet) {
        return;
    }
    char *before = name_of(what->was, what->answer), *after = name_of(what->next, NULL);
    cli_error("warning: %s agrees with full prefill on %.2f of the answer's tokens, less than %.2f; asking again, and from now on, with %s",
              before, what->verdict->agreement, what->least, after);
    free(before);
    free(after);
}

iflow_status gate_ask(gate *g, iflow_context *ctx, iflow_ask_params *params, bool quiet, iflow_answer **answer, verdict *out) {
    const gate_events events = {.retry = say_retry, .user = &quiet};
    return gate_run(g, ctx, params, &events, answer, out);
}

/* ---- Reports ------------------------------------------------------------------------------------------------------------------------ */

void verdict_print(FILE *to, const verdict *v, const iflow_answer *answer) {
    if (!v->verified) {
        fprintf(to, "  %-12s  no\n", "verified");
        return;
    }
    fprintf(to, "  %-12s  yes: %.2f of the answer's tokens are full prefill's", "verified", v->agreement);
    if (isfinite(v->kl)) {
        fprintf(to, " (KL %.3g)", v->kl);
    }
    if (answer->method == IFLOW_METHOD_FULL) {
        fprintf(to, "; it is full prefill's own");
    } else {
        fprintf(to, ", %s", iflow_method_name(answer->method));
    }
    if (iflow_method_get_info(answer->method)->by_ratio) {
        fprintf(to, " at ratio %.2f", answer->ratio);
    }
    fprintf(to, "; asked %d time%s, %.1f ms more\n", v->n_asked, plural((uint64_t)v->n_asked), v->ms);
}
