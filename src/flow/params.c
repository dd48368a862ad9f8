/* params.c - checks of what a caller asks for. */
#include "flow/params.h"

#include "flow/methods.h"
#include "flow/score.h"
#include "flow/stop.h"
#include "model/grammar.h"

#include <float.h>
#include <string.h>

static bool is_blank(const char *text) {
    return iflow_is_blank(text, strlen(text));
}

static iflow_status check_text(const char *beginning, const char *text) {
    return text ? iflow_utf8_require(beginning, text, strlen(text)) : IFLOW_OK;
}

static iflow_status check_forced(const iflow_timeline *t, const iflow_ask_params *p) {
    if (!p->forced && p->n_forced) {
        return iflow_fail(IFLOW_E_ARG, "forced is NULL, but n_forced is %zu", p->n_forced);
    }
    if (p->forced && (p->n_forced < 1 || p->n_forced > (size_t)p->max_tokens)) {
        return iflow_fail(IFLOW_E_ARG, "%zu forced tokens; from 1 to max_tokens (%d) are possible", p->n_forced, p->max_tokens);
    }
    for (size_t i = 0; p->forced && i < p->n_forced; i++) {
        if (p->forced[i] < 0 || p->forced[i] >= t->model->n_vocab) {
            return iflow_fail(IFLOW_E_ARG, "forced token %d is not in the vocabulary of %d", (int)p->forced[i], t->model->n_vocab);
        }
    }
    return IFLOW_OK;
}

/* Sampling, of a question and of a follow-up. */
static iflow_status check_sampling(const iflow_timeline *t, const iflow_ask_params *p) {
    if (!(p->temperature >= 0 && p->temperature <= (double)FLT_MAX)) {
        return iflow_fail(IFLOW_E_ARG, "temperature %g is not 0 or greater", p->temperature);
    }
    const struct {
        const char *name;
        double value, low, high;
    } range[] = {{"top_p", p->top_p, 0, 1},
                 {"min_p", p->min_p, 0, 1},
                 {"repeat_penalty", p->repeat_penalty, 0.1, 10},
                 {"frequency_penalty", p->frequency_penalty, -2, 2},
                 {"presence_penalty", p->presence_penalty, -2, 2}};
    for (size_t i = 0; i < sizeof range / sizeof *range; i++) {
        if (!(range[i].value >= range[i].low && range[i].value <= range[i].high)) {
            return iflow_fail(IFLOW_E_ARG, "%s %g is not between %g and %g", range[i].name, range[i].value, range[i].low, range[i].high);
        }
    }
    if (p->top_k < 0) {
        return iflow_fail(IFLOW_E_ARG, "top_k is %d; 0 is all tokens, and a number of tokens is 1 or more", p->top_k);
    }
    if (p->penalty_last_n < -1 || p->penalty_last_n > IFLOW_MOST_LAST_N) {
        return iflow_fail(IFLOW_E_ARG, "penalty_last_n %d is not between -1 and %d", p->penalty_last_n, (int)IFLOW_MOST_LAST_N);
    }
    const iflow_status status = iflow_stop_check(p->stop, p->n_stop);
    return status || !p->grammar ? status : iflow_grammar_check(t->model, p->grammar);
}

/* That the method which needs them has positions or scores. Whether these fit the context is seen when it is laid out. */
static iflow_status check_given(const iflow_ask_params *p) {
    if (!(iflow_method_find(p->method)->traits & IFLOW_FROM_CALLER)) {
        return IFLOW_OK;
    }
    if (!p->given_positions && p->n_given_positions) {
        return iflow_fail(IFLOW_E_ARG, "given_positions is NULL, but n_given_positions is %zu", p->n_given_positions);
    }
    if (!p->given_scores && p->n_given_scores) {
        return iflow_fail(IFLOW_E_ARG, "given_scores is NULL, but n_given_scores is %zu", p->n_given_scores);
    }
    if (!p->given_positions == !p->given_scores) {
        return iflow_fail(IFLOW_E_ARG, "method %s takes given_positions or given_scores; %s", iflow_method_name(p->method),
                          p->given_scores ? "there are both" : "there are neither");
    }
    return IFLOW_OK;
}

/* An enum of a caller's can be any number. */
static bool is_switch(iflow_switch value) {
    return value == IFLOW_AUTO || value == IFLOW_ON || value == IFLOW_OFF;
}

static iflow_status check_choices(const iflow_ask_params *p) {
    const struct {
        const char *name;
        int value;
        bool known;
    } choice[] = {{"method", (int)p->method, iflow_method_name(p->method) != NULL},
                  {"score", (int)p->score, iflow_score_name(p->score) != NULL},
                  {"geometry", (int)p->geometry, iflow_geometry_name(p->geometry) != NULL},
                  {"correct", (int)p->correct, is_switch(p->correct)},
                  {"drift", (int)p->drift, is_switch(p->drift)},
                  {"score_text", (int)p->score_text, p->score_text == IFLOW_SCORE_QUESTION || p->score_text == IFLOW_SCORE_PROMPT}};
    for (size_t i = 0; i < sizeof choice / sizeof *choice; i++) {
        if (!choice[i].known) {
            return iflow_fail(IFLOW_E_ARG, "%s %d is none", choice[i].name, choice[i].value);
        }
    }
    return IFLOW_OK;
}

static iflow_status check_first(const iflow_timeline *t, const iflow_ask_params *p) {
    int layer[IFLOW_MAX_SCORE_LAYERS], n_layers = 0;
    iflow_status status = check_choices(p);
    if (status || (status = check_given(p)) ||
        (status = iflow_score_layers(p->score_layers, p->n_score_layers, &t->model->h, layer, &n_layers))) {
        return status;
    }
    const struct {
        const char *name;
        double value;
    } shares[] = {{"ratio", p->ratio},
                  {"coverage", p->coverage},
                  {"min_ratio", p->min_ratio},
                  {"max_ratio", p->max_ratio},
                  {"staleness_share", p->staleness_share}};
    for (size_t i = 0; i < sizeof shares / sizeof *shares; i++) {
        if (!(shares[i].value >= 0 && shares[i].value <= 1)) {
            return iflow_fail(IFLOW_E_ARG, "%s %g is not between 0 and 1", shares[i].name, shares[i].value);
        }
    }
    if (p->correct == IFLOW_ON && !t->correction) {
        return iflow_fail(IFLOW_E_ARG, "the context has no correction");
    }
    if (p->min_ratio > p->max_ratio) {
        return iflow_fail(IFLOW_E_ARG, "min_ratio %g is greater than max_ratio %g", p->min_ratio, p->max_ratio);
    }
    return IFLOW_OK;
}

/* Messages instead of a question; roles are seen to by the chat template. */
static iflow_status check_messages(const iflow_ask_params *p) {
    if (!p->messages) {
        return iflow_fail(IFLOW_E_ARG, "messages is NULL, with %zu of them", p->n_messages);
    }
    if (p->instruction || p->system) {
        return iflow_fail(IFLOW_E_ARG, "with messages, instruction and system must be NULL");
    }
    for (size_t i = 0; i < p->n_messages; i++) {
        const iflow_message *message = &p->messages[i];
        if (!message->role || !message->content) {
            return iflow_fail(IFLOW_E_ARG, "message %zu has no %s", i, message->role ? "content" : "role");
        }
        const iflow_status status = iflow_utf8_require("a message is ", message->content, strlen(message->content));
        if (status) {
            return status;
        }
    }
    size_t last = p->n_messages;
    while (last > 0 && strcmp(p->messages[last - 1].role, "user") != 0) {
        last--;
    }
    if (last > 0 && !p->question && is_blank(p->messages[last - 1].content)) {
        return iflow_fail(IFLOW_E_ARG, "the last message of a user is empty");
    }
    return IFLOW_OK;
}

iflow_status iflow_params_check(const iflow_timeline *t, const iflow_ask_params *p, bool first) {
    const bool has_messages = first && p->n_messages;
    if ((!has_messages || p->question) && (!p->question || is_blank(p->question))) {
        return iflow_fail(IFLOW_E_ARG, "the question is empty");
    }
    iflow_status status = has_messages ? check_messages(p) : IFLOW_OK;
    if (status || (status = check_text("the question is ", p->question)) ||
        (first &&
         ((status = check_text("the instruction is ", p->instruction)) || (status = check_text("the system message is ", p->system))))) {
        return status;
    }
    if (p->max_tokens < 1) {
        return iflow_fail(IFLOW_E_ARG, "max_tokens is %d; at least 1 is needed", p->max_tokens);
    }
    if ((status = check_sampling(t, p)) || (status = check_forced(t, p))) {
        return status;
    }
    return first ? check_first(t, p) : IFLOW_OK;
}
