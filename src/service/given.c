/* given.c - what the method given is given: the positions to recompute, or a score for each position of the context. */
#include "service/given.h"

#include "base/base.h"

#include <math.h>
#include <stdlib.h>

static iflow_status take_positions(given *out, const json_t *list) {
    out->n_positions = json_array_size(list);
    out->position = iflow_calloc(out->n_positions + 1, sizeof *out->position);
    if (!out->position) {
        return iflow_fail_memory(out->n_positions * sizeof *out->position);
    }
    for (size_t i = 0; i < out->n_positions; i++) {
        const json_t *item = json_array_get(list, i);
        const json_int_t at = json_is_integer(item) ? json_integer_value(item) : -1;
        if (at < 0 || at > INT32_MAX) {
            return iflow_fail(IFLOW_E_FORMAT, "\"positions\"[%zu] is none: positions are whole numbers from 0 on", i);
        }
        out->position[i] = (int32_t)at;
    }
    return IFLOW_OK;
}

static iflow_status take_scores(given *out, const json_t *list) {
    out->n_scores = json_array_size(list);
    out->score = iflow_calloc(out->n_scores + 1, sizeof *out->score);
    if (!out->score) {
        return iflow_fail_memory(out->n_scores * sizeof *out->score);
    }
    for (size_t i = 0; i < out->n_scores; i++) {
        const json_t *item = json_array_get(list, i);
        out->score[i] = json_is_number(item) ? (float)json_number_value(item) : NAN;
        if (!isfinite(out->score[i])) {
            return iflow_fail(IFLOW_E_FORMAT, "\"scores\"[%zu] is no number%s", i,
                              json_is_number(item) ? " that a float of 32 bits holds" : "");
        }
    }
    return IFLOW_OK;
}

iflow_status given_take(given *out, const json_t *object) {
    static const char form[] = "{\"positions\": [...]} or {\"scores\": [...]}";
    const json_t *positions = json_object_get(object, "positions"), *scores = json_object_get(object, "scores");
    *out = (given){0};
    if (!json_is_object(object)) {
        return iflow_fail(IFLOW_E_FORMAT, "it is no object; %s is wanted", form);
    }
    if (!positions == !scores) {
        return iflow_fail(IFLOW_E_FORMAT, "it has %s \"positions\" and \"scores\"; one of them is wanted", scores ? "both" : "neither of");
    }
    if (!json_is_array(positions ? positions : scores)) {
        return iflow_fail(IFLOW_E_FORMAT, "\"%s\" is no list; %s is wanted", positions ? "positions" : "scores", form);
    }
    return positions ? take_positions(out, positions) : take_scores(out, scores);
}

iflow_status given_check(const given *g, const ask_settings *settings, settings_form form) {
    static const ask_setting of_scores[] = {ASK_SETTING_RATIO, ASK_SETTING_COVERAGE, ASK_SETTING_MIN_RATIO, ASK_SETTING_MAX_RATIO};
    for (size_t i = 0; g->position && i < sizeof of_scores / sizeof *of_scores; i++) {
        if (settings->given[of_scores[i]]) {
            return iflow_fail(IFLOW_E_ARG, "%s goes with scores, and there are positions", settings_spell(form, of_scores[i]).text);
        }
    }
    return IFLOW_OK;
}

void given_use(const given *from, iflow_ask_params *params) {
    params->given_positions = from->position;
    params->n_given_positions = from->n_positions;
    params->given_scores = from->score;
    params->n_given_scores = from->n_scores;
}

void given_free(given *g) {
    free(g->position);
    free(g->score);
    *g = (given){0};
}
