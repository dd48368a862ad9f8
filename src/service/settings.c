/* settings.c - how a question is asked: what the options of a command and the members of a request both say, checked, and made into the
 * library's parameters. */
#include "service/settings.h"

#include "base/base.h"
#include "service/schema.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

const char *ask_setting_name(ask_setting which) {
    static const char *const name[] = {
#define ASK_SETTING_NAME(which, member) [ASK_SETTING_##which] = (member),
        ASK_SETTINGS(ASK_SETTING_NAME)
#undef ASK_SETTING_NAME
    };
    return name[which];
}

ask_settings ask_settings_default(void) {
    const iflow_ask_params params = iflow_ask_default_params();
    return (ask_settings){.method = iflow_method_name(params.method),
                          .score = iflow_score_name(params.score),
                          .geometry = iflow_geometry_name(params.geometry),
                          .score_text = "question",
                          .drift = "auto",
                          .ratio = params.ratio,
                          .coverage = params.coverage,
                          .min_ratio = params.min_ratio,
                          .max_ratio = params.max_ratio,
                          .staleness_share = params.staleness_share,
                          .temperature = params.temperature,
                          .top_k = params.top_k,
                          .top_p = params.top_p,
                          .min_p = params.min_p,
                          .repeat_penalty = params.repeat_penalty,
                          .presence_penalty = params.presence_penalty,
                          .frequency_penalty = params.frequency_penalty,
                          .penalty_last_n = params.penalty_last_n,
                          .max_tokens = params.max_tokens,
                          .seed = params.seed};
}

void ask_settings_free(ask_settings *settings) {
    free(settings->made);
    settings->made = NULL;
    settings->grammar = NULL;
}

/* ---- Grammars ----------------------------------------------------------------------------------------------------------------------- */

void ask_settings_take_grammar(ask_settings *settings, char *grammar) {
    free(settings->made);
    settings->grammar = settings->made = grammar;
    settings->grammar_is_schemas = false;
}

static void take_made(ask_settings *settings, char *grammar) {
    ask_settings_take_grammar(settings, grammar);
    settings->grammar_is_schemas = true;
}

iflow_status ask_settings_take_schema(ask_settings *settings, const char *schema, size_t n_bytes) {
    char *grammar = NULL;
    const iflow_status status = schema_to_grammar(schema, n_bytes, &grammar);
    if (status == IFLOW_OK) {
        take_made(settings, grammar);
    }
    return status;
}

/* ---- Members of a request ----------------------------------------------------------------------------------------------------------- */

typedef enum member_kind { MEMBER_NAME, MEMBER_TEXT, MEMBER_REAL, MEMBER_INT, MEMBER_SEED, MEMBER_BOOL, MEMBER_OTHER } member_kind;

/* A member that is one value, and where it goes. The names of a choice: by the library's table, or "a|b". */
typedef struct member {
    ask_setting which;
    member_kind kind;
    void *to;
    const char *names;
} member;

static iflow_status wrong(ask_setting which, const char *wanted) {
    return iflow_fail(IFLOW_E_ARG, "%s must be %s", ask_setting_name(which), wanted);
}

/* A string without NUL. */
static const char *text_of(const json_t *value) {
    const char *text = json_string_value(value);
    return text && strlen(text) == json_string_length(value) ? text : NULL;
}

static bool is_name(const char *name, const char *names) {
    const size_t n = strlen(name);
    for (const char *c = names; *c; c += strcspn(c, "|"), c += *c == '|') {
        if (strcspn(c, "|") == n && memcmp(c, name, n) == 0) {
            return true;
        }
    }
    return false;
}

/* A name that the library knows; the failure lists those that it does. */
static iflow_status check_name(ask_setting which, const char *name) {
    iflow_method method;
    iflow_score score;
    iflow_geometry geometry;
    switch (which) {
    case ASK_SETTING_METHOD:
        return iflow_method_from_name(name, &method);
    case ASK_SETTING_SCORE:
        return iflow_score_from_name(name, &score);
    default:
        return iflow_geometry_from_name(name, &geometry);
    }
}

static iflow_status take_name(const member *m, const json_t *value) {
    const char *name = text_of(value);
    iflow_status status = name ? IFLOW_OK : wrong(m->which, "a name");
    if (status == IFLOW_OK && m->names && !is_name(name, m->names)) {
        status = iflow_fail(IFLOW_E_ARG, "%s must be one of %s, not '%s'", ask_setting_name(m->which), m->names, name);
    } else if (status == IFLOW_OK && !m->names) {
        status = check_name(m->which, name);
    }
    if (status == IFLOW_OK) {
        *(const char **)m->to = name;
    }
    return status;
}

static iflow_status take_value(const member *m, const json_t *value) {
    const json_int_t integer = json_integer_value(value);
    switch (m->kind) {
    case MEMBER_NAME:
        return take_name(m, value);
    case MEMBER_TEXT:
        if (!text_of(value)) {
            return wrong(m->which, "a text without NUL");
        }
        *(const char **)m->to = json_string_value(value);
        return IFLOW_OK;
    case MEMBER_REAL:
        if (!json_is_number(value)) {
            return wrong(m->which, "a number");
        }
        *(double *)m->to = json_number_value(value);
        return IFLOW_OK;
    case MEMBER_INT:
        if (!json_is_integer(value) || integer < INT_MIN || integer > INT_MAX) {
            return wrong(m->which, "a whole number of 32 bits");
        }
        *(int *)m->to = (int)integer;
        return IFLOW_OK;
    case MEMBER_SEED:
        if (!json_is_integer(value) || integer < 0) {
            return wrong(m->which, "a whole number from 0 on");
        }
        *(uint64_t *)m->to = (uint64_t)integer;
        return IFLOW_OK;
    case MEMBER_BOOL:
        if (!json_is_boolean(value)) {
            return wrong(m->which, "true or false");
        }
        *(bool *)m->to = json_is_true(value);
        return IFLOW_OK;
    case MEMBER_OTHER:
        break;
    }
    return IFLOW_OK;
}

static iflow_status take_stops(ask_settings *s, const json_t *value) {
    stop_list out = {0};
    const size_t n = json_is_array(value) ? json_array_size(value) : 1;
    if (n > COUNT_OF(out.item)) {
        return iflow_fail(IFLOW_E_ARG, "stop has %zu texts; at most %d are possible", n, (int)IFLOW_MAX_STOPS);
    }
    for (size_t i = 0; i < n; i++) {
        out.item[out.n] = text_of(json_is_array(value) ? json_array_get(value, i) : value);
        if (!out.item[out.n++]) {
            return wrong(ASK_SETTING_STOP, "a text or a list of texts, without NUL");
        }
    }
    s->stop = out;
    return IFLOW_OK;
}

static iflow_status take_layers(ask_settings *s, const json_t *value) {
    layer_list out = {0};
    if (!json_is_array(value) || json_array_size(value) < 1 || json_array_size(value) > COUNT_OF(out.layer)) {
        return iflow_fail(IFLOW_E_ARG, "score_layers must be a list of 1 to %d layers", (int)IFLOW_MAX_SCORE_LAYERS);
    }
    for (; out.n < json_array_size(value); out.n++) {
        const json_t *layer = json_array_get(value, out.n);
        const json_int_t integer = json_integer_value(layer);
        const double fraction = json_real_value(layer);
        if (json_is_integer(layer) && integer >= INT_MIN && integer <= INT_MAX) {
            out.layer[out.n] = (int)integer;
            out.fraction[out.n] = -1;
        } else if (json_is_real(layer) && fraction >= 0 && fraction < 1) {
            out.fraction[out.n] = fraction;
        } else {
            return iflow_fail(IFLOW_E_ARG, "score_layers has an item that is neither the number of a layer nor a part of the depth "
                                           "from 0.0 to below 1.0");
        }
    }
    s->layers = out;
    return IFLOW_OK;
}

/* The grammar, of its own or of a schema. */
static iflow_status take_grammar(ask_settings *s, const json_t *grammar, const json_t *schema) {
    char *made = NULL;
    if (grammar && schema) {
        return iflow_fail(IFLOW_E_ARG, "grammar and json_schema exclude one another");
    }
    if (grammar && !text_of(grammar)) {
        return wrong(ASK_SETTING_GRAMMAR, "a text without NUL");
    }
    if (schema && !json_is_object(schema)) {
        return wrong(ASK_SETTING_JSON_SCHEMA, "an object");
    }
    const iflow_status status = grammar ? iflow_format_to(&made, "%s", text_of(grammar)) : schema_json_to_grammar(schema, &made);
    if (status != IFLOW_OK) {
        return grammar || status == IFLOW_E_MEMORY ? status : iflow_fail_in(status, "json_schema");
    }
    if (grammar) {
        ask_settings_take_grammar(s, made);
    } else {
        take_made(s, made);
    }
    return IFLOW_OK;
}

/* The member of a setting; NULL: it is not there, or null. */
static const json_t *member_of(const json_t *object, ask_setting which) {
    const json_t *value = json_object_get(object, ask_setting_name(which));
    return json_is_null(value) ? NULL : value;
}

iflow_status ask_settings_take(ask_settings *s, const json_t *object) {
    const member all[] = {{ASK_SETTING_METHOD, MEMBER_NAME, &s->method, NULL},
                          {ASK_SETTING_SCORE, MEMBER_NAME, &s->score, NULL},
                          {ASK_SETTING_GEOMETRY, MEMBER_NAME, &s->geometry, NULL},
                          {ASK_SETTING_SCORE_TEXT, MEMBER_NAME, &s->score_text, "question|prompt"},
                          {ASK_SETTING_DRIFT, MEMBER_NAME, &s->drift, "auto|on|off"},
                          {ASK_SETTING_RATIO, MEMBER_REAL, &s->ratio, NULL},
                          {ASK_SETTING_COVERAGE, MEMBER_REAL, &s->coverage, NULL},
                          {ASK_SETTING_MIN_RATIO, MEMBER_REAL, &s->min_ratio, NULL},
                          {ASK_SETTING_MAX_RATIO, MEMBER_REAL, &s->max_ratio, NULL},
                          {ASK_SETTING_STALENESS_SHARE, MEMBER_REAL, &s->staleness_share, NULL},
                          {ASK_SETTING_REORDER, MEMBER_BOOL, &s->reorder, NULL},
                          {ASK_SETTING_SYSTEM, MEMBER_TEXT, &s->system, NULL},
                          {ASK_SETTING_INSTRUCTION, MEMBER_TEXT, &s->instruction, NULL},
                          {ASK_SETTING_MAX_TOKENS, MEMBER_INT, &s->max_tokens, NULL},
                          {ASK_SETTING_TEMPERATURE, MEMBER_REAL, &s->temperature, NULL},
                          {ASK_SETTING_SEED, MEMBER_SEED, &s->seed, NULL},
                          {ASK_SETTING_TOP_K, MEMBER_INT, &s->top_k, NULL},
                          {ASK_SETTING_TOP_P, MEMBER_REAL, &s->top_p, NULL},
                          {ASK_SETTING_MIN_P, MEMBER_REAL, &s->min_p, NULL},
                          {ASK_SETTING_REPEAT_PENALTY, MEMBER_REAL, &s->repeat_penalty, NULL},
                          {ASK_SETTING_FREQUENCY_PENALTY, MEMBER_REAL, &s->frequency_penalty, NULL},
                          {ASK_SETTING_PRESENCE_PENALTY, MEMBER_REAL, &s->presence_penalty, NULL},
                          {ASK_SETTING_PENALTY_LAST_N, MEMBER_INT, &s->penalty_last_n, NULL}};
    iflow_status status = json_is_object(object) ? IFLOW_OK : iflow_fail(IFLOW_E_ARG, "settings are no JSON object");
    for (size_t i = 0; i < COUNT_OF(all) && status == IFLOW_OK; i++) {
        const json_t *value = member_of(object, all[i].which);
        status = value ? take_value(&all[i], value) : IFLOW_OK;
    }
    const json_t *stop = member_of(object, ASK_SETTING_STOP), *layers = member_of(object, ASK_SETTING_SCORE_LAYERS);
    const json_t *grammar = member_of(object, ASK_SETTING_GRAMMAR), *schema = member_of(object, ASK_SETTING_JSON_SCHEMA);
    if (status == IFLOW_OK && stop) {
        status = take_stops(s, stop);
    }
    if (status == IFLOW_OK && layers) {
        status = take_layers(s, layers);
    }
    if (status == IFLOW_OK && (grammar || schema)) {
        status = take_grammar(s, grammar, schema);
    }
    for (int i = 0; i < N_ASK_SETTINGS && status == IFLOW_OK; i++) {
        s->given[i] = s->given[i] || member_of(object, (ask_setting)i);
    }
    return status;
}

/* ---- Contradictions ----------------------------------------------------------------------------------------------------------------- */

setting_spelled settings_spell(settings_form form, ask_setting which) {
    setting_spelled out = {{0}};
    const bool is_option = form == SETTINGS_AS_OPTIONS;
    snprintf(out.text, sizeof out.text, "%s%s", is_option ? "--" : "", ask_setting_name(which));
    for (char *c = out.text; is_option && *c; c++) {
        *c = (char)(*c == '_' ? '-' : *c);
    }
    return out;
}

static bool goes_by_question(iflow_method method) {
    return iflow_method_get_info(method)->by_question;
}

static bool has_scores(iflow_method method) {
    return iflow_method_get_info(method)->has_scores;
}

static bool goes_by_ratio(iflow_method method) {
    return iflow_method_get_info(method)->by_ratio;
}

static bool goes_by_ratio_alone(iflow_method method) {
    return goes_by_ratio(method) && !has_scores(method);
}

static bool is_union(iflow_method method) {
    return method == IFLOW_METHOD_UNION;
}

static bool recomputes_some(iflow_method method) {
    return method != IFLOW_METHOD_FULL && method != IFLOW_METHOD_NONE;
}

static bool is_given(iflow_method method) {
    return method == IFLOW_METHOD_GIVEN;
}

static bool any(const settings_use *use, bool (*uses)(iflow_method method)) {
    bool found = false;
    for (size_t i = 0; i < use->n_methods; i++) {
        found = found || uses(use->method[i]);
    }
    return found;
}

iflow_status settings_require(const settings_use *use, const char *name, bool (*uses)(iflow_method method), const char *methods) {
    if (any(use, uses)) {
        return IFLOW_OK;
    }
    const char *dashes = use->form == SETTINGS_AS_OPTIONS ? "--" : "";
    return use->n_methods == 1 ? iflow_fail(IFLOW_E_ARG, "%s goes with methods that %s; %smethod %s does not", name, methods, dashes,
                                            iflow_method_name(use->method[0]))
                               : iflow_fail(IFLOW_E_ARG, "%s goes with methods that %s; none of %smethods does", name, methods, dashes);
}

/* What was given and only some methods use. */
static iflow_status check_methods(const ask_settings *s, const settings_use *use) {
    static const char by_question[] = "score the context by the question";
    const struct {
        ask_setting which;
        const char *methods;
        bool (*uses)(iflow_method method);
        bool matters;
    } row[] = {{ASK_SETTING_SCORE, by_question, goes_by_question, true},
               {ASK_SETTING_GEOMETRY, by_question, goes_by_question, true},
               {ASK_SETTING_REORDER, by_question, goes_by_question, s->reorder},
               {ASK_SETTING_SCORE_LAYERS, by_question, goes_by_question, true},
               {ASK_SETTING_SCORE_TEXT, by_question, goes_by_question, true},
               {ASK_SETTING_COVERAGE, "score every token", has_scores, s->coverage > 0},
               {ASK_SETTING_RATIO, "recompute by a ratio", goes_by_ratio, true},
               {ASK_SETTING_STALENESS_SHARE, "take staleness's choice and infoflow's together (union)", is_union, true},
               {ASK_SETTING_DRIFT, "recompute a part of the tokens", recomputes_some, strcmp(s->drift, "on") == 0}};
    iflow_status status = IFLOW_OK;
    for (size_t i = 0; i < COUNT_OF(row) && status == IFLOW_OK; i++) {
        if (row[i].matters && s->given[row[i].which]) {
            status = settings_require(use, settings_spell(use->form, row[i].which).text, row[i].uses, row[i].methods);
        }
    }
    return status;
}

iflow_status ask_settings_check(const ask_settings *s, const settings_use *use) {
    const setting_spelled ratio = settings_spell(use->form, ASK_SETTING_RATIO), coverage = settings_spell(use->form, ASK_SETTING_COVERAGE),
                          low = settings_spell(use->form, ASK_SETTING_MIN_RATIO), high = settings_spell(use->form, ASK_SETTING_MAX_RATIO);
    const bool has_low = s->given[ASK_SETTING_MIN_RATIO], has_high = s->given[ASK_SETTING_MAX_RATIO];
    if (s->coverage > 0 && s->given[ASK_SETTING_RATIO] && !any(use, goes_by_ratio_alone)) {
        return iflow_fail(IFLOW_E_ARG, "%s and %s exclude one another; %s and %s bound coverage", coverage.text, ratio.text, low.text,
                          high.text);
    }
    if (s->coverage <= 0 && (has_low || has_high)) {
        return iflow_fail(IFLOW_E_ARG, "%s goes with %s", has_low ? low.text : high.text, coverage.text);
    }
    if (s->coverage > 0 && s->min_ratio > s->max_ratio) {
        return iflow_fail(IFLOW_E_ARG, "%s %g is more than %s %g", low.text, s->min_ratio, high.text, s->max_ratio);
    }
    if (!use->has_given && any(use, is_given)) {
        return iflow_fail(IFLOW_E_ARG, "method given needs positions or scores");
    }
    if (use->has_given && !any(use, is_given)) {
        return iflow_fail(IFLOW_E_ARG, "positions and scores go with method given");
    }
    return check_methods(s, use);
}

/* ---- The library's parameters ------------------------------------------------------------------------------------------------------- */

iflow_status ask_settings_params(ask_settings *s, const iflow_model_info *model, iflow_ask_params *out) {
    for (size_t i = 0; i < s->layers.n; i++) {
        if (s->layers.fraction[i] >= 0) { /* 0.575 of 40 is 23, though the product may be a little less */
            const int il = (int)floor(s->layers.fraction[i] * model->n_layer + 1e-9);
            s->layers.layer[i] = model->score_layer[il < model->n_layer ? il : model->n_layer - 1];
        }
    }
    *out = iflow_ask_default_params();
    out->system = s->system;
    out->instruction = s->instruction;
    out->ratio = s->ratio;
    out->coverage = s->coverage;
    out->min_ratio = s->min_ratio;
    out->max_ratio = s->max_ratio;
    out->staleness_share = s->staleness_share;
    out->score_layers = s->layers.n ? s->layers.layer : NULL;
    out->n_score_layers = s->layers.n;
    out->score_text = strcmp(s->score_text, "prompt") == 0 ? IFLOW_SCORE_PROMPT : IFLOW_SCORE_QUESTION;
    out->max_tokens = s->max_tokens;
    out->temperature = s->temperature;
    out->top_k = s->top_k;
    out->top_p = s->top_p;
    out->min_p = s->min_p;
    out->repeat_penalty = s->repeat_penalty;
    out->presence_penalty = s->presence_penalty;
    out->frequency_penalty = s->frequency_penalty;
    out->penalty_last_n = s->penalty_last_n;
    out->grammar = s->grammar;
    out->stop = s->stop.item;
    out->n_stop = s->stop.n;
    out->seed = s->seed;
    out->reorder = s->reorder;
    out->drift = strcmp(s->drift, "on") == 0 ? IFLOW_ON : strcmp(s->drift, "off") == 0 ? IFLOW_OFF : IFLOW_AUTO;
    iflow_status status = iflow_score_from_name(s->score, &out->score);
    if (status == IFLOW_OK) {
        status = iflow_geometry_from_name(s->geometry, &out->geometry);
    }
    return status == IFLOW_OK ? iflow_method_from_name(s->method, &out->method) : status;
}
