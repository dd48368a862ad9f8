/* answer.c - the public structs of a question: its parameters' defaults, and the answer and how it ended. */
#include "base/base.h"

#include <stdlib.h>
#include <string.h>

void iflow_ask_params_init(iflow_ask_params *params, size_t size) {
    const iflow_ask_params defaults = {.size = size,
                                       .method = IFLOW_METHOD_INFOFLOW,
                                       .ratio = 0.15,
                                       .min_ratio = 0.05,
                                       .max_ratio = 0.3,
                                       .staleness_share = 2.0 / 3,
                                       .max_tokens = 256,
                                       .top_p = 1,
                                       .repeat_penalty = 1,
                                       .penalty_last_n = -1};
    if (params) {
        memset(params, 0, size);
        memcpy(params, &defaults, size < sizeof defaults ? size : sizeof defaults);
    }
}

void iflow_answer_free(iflow_answer *answer) {
    if (answer) {
        free(answer->text);
        free(answer->token);
        free(answer->context_token);
        free(answer->score);
        free(answer->logits);
        free(answer->selected);
        free(answer->chunk);
        free(answer);
    }
}

static const char *const finish_name[] = {
    [IFLOW_FINISH_STOP] = "stop", [IFLOW_FINISH_LENGTH] = "length", [IFLOW_FINISH_CANCELLED] = "cancelled"};

const char *iflow_finish_name(iflow_finish finish) {
    return (size_t)finish < sizeof finish_name / sizeof *finish_name ? finish_name[finish] : NULL;
}
