/* answer.c - what an ask returns, its parameters' defaults, and the methods' names. */
#include "base/base.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

iflow_ask_params iflow_ask_default_params(void) {
    return (iflow_ask_params){.method = IFLOW_METHOD_INFOFLOW, .ratio = 0.15, .max_tokens = 256};
}

void iflow_answer_free(iflow_answer *answer) {
    if (answer) {
        free(answer->text);
        free(answer->token);
        free(answer->context_token);
        free(answer->score);
        free(answer->selected);
        free(answer->chunk);
        free(answer);
    }
}

static const char *const method_name[] = {
    [IFLOW_METHOD_INFOFLOW] = "infoflow",
    [IFLOW_METHOD_FULL] = "full",
    [IFLOW_METHOD_NONE] = "none",
};
enum { N_METHODS = sizeof method_name / sizeof *method_name };

const char *iflow_method_name(iflow_method method) {
    return (size_t)method < N_METHODS ? method_name[method] : "unknown";
}

iflow_status iflow_method_from_name(const char *name, iflow_method *method) {
    char known[128] = "";
    for (size_t i = 0; i < N_METHODS; i++) {
        if (!strcmp(name, method_name[i])) {
            *method = (iflow_method)i;
            return IFLOW_OK;
        }
        const size_t used = strlen(known);
        snprintf(known + used, sizeof known - used, "%s%s", i ? ", " : "", method_name[i]);
    }
    return iflow_fail(IFLOW_E_ARG, "no method '%s' (these are: %s)", name, known);
}
