/* given.c - the file of --given: the positions to recompute, or a score for each position. */
#include "cli/given.h"

#include "cli/text.h"
#include "service/input.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* NULL, or why the list has none; free(). */
static char *read_positions(const json_t *list, given *out) {
    out->n_positions = json_array_size(list);
    out->position = must_realloc(NULL, out->n_positions + 1, sizeof *out->position);
    for (size_t i = 0; i < out->n_positions; i++) {
        const json_t *item = json_array_get(list, i);
        const json_int_t at = json_is_integer(item) ? json_integer_value(item) : -1;
        if (at < 0 || at > INT32_MAX) {
            return text_format("\"positions\"[%zu] is none: positions are whole numbers from 0 on", i);
        }
        out->position[i] = (int32_t)at;
    }
    return NULL;
}

static char *read_scores(const json_t *list, given *out) {
    out->n_scores = json_array_size(list);
    out->score = must_realloc(NULL, out->n_scores + 1, sizeof *out->score);
    for (size_t i = 0; i < out->n_scores; i++) {
        const json_t *item = json_array_get(list, i);
        out->score[i] = json_is_number(item) ? (float)json_number_value(item) : NAN;
        if (!isfinite(out->score[i])) {
            return text_format("\"scores\"[%zu] is no number%s", i, json_is_number(item) ? " that a float of 32 bits holds" : "");
        }
    }
    return NULL;
}

static char *read_object(const json_t *root, given *out) {
    static const char form[] = "{\"positions\": [...]} or {\"scores\": [...]}";
    const json_t *positions = json_object_get(root, "positions"), *scores = json_object_get(root, "scores");
    if (!json_is_object(root)) {
        return text_format("it is no object; %s is wanted", form);
    }
    if (!positions == !scores) {
        return text_format("it has %s \"positions\" and \"scores\"; one of them is wanted", scores ? "both" : "neither of");
    }
    if (!json_is_array(positions ? positions : scores)) {
        return text_format("\"%s\" is no list; %s is wanted", positions ? "positions" : "scores", form);
    }
    return positions ? read_positions(positions, out) : read_scores(scores, out);
}

int given_read(const command_usage *usage, const char *path, char *const *documents, size_t n, given *out) {
    static const char *const of_scores[] = {"ratio", "coverage", "min-ratio", "max-ratio"};
    for (size_t i = 0; i < n && strcmp(path, "-") == 0; i++) {
        if (strcmp(documents[i], "-") == 0) {
            return options_wrong(usage, "--given - and the document - are standard input, which can be read once");
        }
    }
    json_error_t error = {0};
    input in;
    text content = {0};
    json_t *root = NULL;
    char *why = NULL;
    if (input_open(&in, path) && input_all(&in, &content)) {
        root = json_loadb(content.text ? content.text : "", content.n, JSON_REJECT_DUPLICATES, &error);
        why = root ? read_object(root, out) : text_format("it is no JSON: line %d: %s", error.line, error.text);
    } else {
        why = text_format("%s", in.why);
    }
    int result = why ? CLI_FAILED : CLI_OK;
    if (why) {
        cli_error("--given %s: %s", in.name, why);
    }
    for (size_t i = 0; result == CLI_OK && out->position && i < COUNT_OF(of_scores); i++) {
        if (options_named(of_scores[i])) {
            result = options_wrong(usage, "--%s goes with scores, and --given %s has positions", of_scores[i], in.name);
        }
    }
    free(why);
    json_decref(root);
    text_free(&content);
    input_close(&in);
    return result;
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
