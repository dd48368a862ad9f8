/* settings.h - how a question is asked: what the options of a command and the members of a request both say, checked, and made into the
 * library's parameters. */
#ifndef IFLOW_SERVICE_SETTINGS_H
#define IFLOW_SERVICE_SETTINGS_H

#include "infoflow.h"

#include <jansson.h>

/* Layers that give the scores. */
typedef struct layer_list {
    int layer[IFLOW_MAX_SCORE_LAYERS];       /* from 0, negative from the end */
    double fraction[IFLOW_MAX_SCORE_LAYERS]; /* of the model's depth, 0 to below 1; negative: `layer` counts */
    size_t n;
} layer_list;

/* Texts that an answer ends at. */
typedef struct stop_list {
    const char *item[IFLOW_MAX_STOPS];
    size_t n;
} stop_list;

/* Each setting, and its name as the member of a request. The option of a command has the same name with - for _, but for --temp. */
#define ASK_SETTINGS(X)                                                                                                                    \
    X(METHOD, "method")                                                                                                                    \
    X(RATIO, "ratio")                                                                                                                      \
    X(COVERAGE, "coverage")                                                                                                                \
    X(MIN_RATIO, "min_ratio")                                                                                                              \
    X(MAX_RATIO, "max_ratio")                                                                                                              \
    X(STALENESS_SHARE, "staleness_share")                                                                                                  \
    X(SCORE, "score")                                                                                                                      \
    X(GEOMETRY, "geometry")                                                                                                                \
    X(REORDER, "reorder")                                                                                                                  \
    X(SCORE_LAYERS, "score_layers")                                                                                                        \
    X(SCORE_TEXT, "score_text")                                                                                                            \
    X(DRIFT, "drift")                                                                                                                      \
    X(SYSTEM, "system")                                                                                                                    \
    X(INSTRUCTION, "instruction")                                                                                                          \
    X(MAX_TOKENS, "max_tokens")                                                                                                            \
    X(TEMPERATURE, "temperature")                                                                                                          \
    X(SEED, "seed")                                                                                                                        \
    X(TOP_K, "top_k")                                                                                                                      \
    X(TOP_P, "top_p")                                                                                                                      \
    X(MIN_P, "min_p")                                                                                                                      \
    X(REPEAT_PENALTY, "repeat_penalty")                                                                                                    \
    X(FREQUENCY_PENALTY, "frequency_penalty")                                                                                              \
    X(PRESENCE_PENALTY, "presence_penalty")                                                                                                \
    X(PENALTY_LAST_N, "penalty_last_n")                                                                                                    \
    X(STOP, "stop")                                                                                                                        \
    X(GRAMMAR, "grammar")                                                                                                                  \
    X(JSON_SCHEMA, "json_schema")

typedef enum ask_setting {
#define ASK_SETTING_ENUM(name, member) ASK_SETTING_##name,
    ASK_SETTINGS(ASK_SETTING_ENUM)
#undef ASK_SETTING_ENUM
        N_ASK_SETTINGS
} ask_setting;

/* Static. */
const char *ask_setting_name(ask_setting which);

/* Strings are the giver's and must stay, but for `made`. What each means is said of its namesake in iflow_ask_params. */
typedef struct ask_settings {
    const char *method, *score, *geometry; /* names, as the library has them */
    const char *score_text;                /* "question", "prompt" */
    const char *drift;                     /* "auto", "on", "off" */
    const char *system, *instruction;
    double ratio, coverage, min_ratio, max_ratio, staleness_share;
    double temperature, top_p, min_p, repeat_penalty, presence_penalty, frequency_penalty;
    int max_tokens, top_k, penalty_last_n;
    uint64_t seed;
    bool reorder;
    stop_list stop;
    layer_list layers;
    const char *grammar;        /* GBNF; NULL: none */
    const char *grammar_name;   /* what reports call it, or its schema; NULL: it has no name */
    bool grammar_is_schemas;    /* it was made from a JSON schema */
    char *made;                 /* the memory of a grammar that was made or read */
    bool given[N_ASK_SETTINGS]; /* somebody said so: a profile changes nothing of it */
} ask_settings;

ask_settings ask_settings_default(void);
void ask_settings_free(ask_settings *settings);

/* Sets what the members of an object say, and leaves the object's other members to the caller; null is as if it were not there. The object
 * must stay as long as the settings. stop: a text, or a list of texts; score_layers: a list of numbers, where one with a point is a part of
 * the depth; json_schema: an object, from which the grammar is made. E_ARG: another type, a name that is none, too many, or a grammar and a
 * schema; else as schema_json_to_grammar(). Ranges are checked by the library when it is asked. */
iflow_status ask_settings_take(ask_settings *settings, const json_t *object);

/* Takes over a grammar in GBNF, from malloc(). */
void ask_settings_take_grammar(ask_settings *settings, char *grammar);
/* Makes the grammar from a JSON schema. As schema_to_grammar(). */
iflow_status ask_settings_take_schema(ask_settings *settings, const char *schema, size_t n_bytes);

/* How messages name a setting: --min-ratio, or min_ratio. */
typedef enum settings_form { SETTINGS_AS_OPTIONS, SETTINGS_AS_MEMBERS } settings_form;

typedef struct setting_spelled {
    char text[32];
} setting_spelled;
setting_spelled settings_spell(settings_form form, ask_setting which);

/* What is asked with settings: by each of these methods. */
typedef struct settings_use {
    settings_form form;
    const iflow_method *method;
    size_t n_methods;
    bool has_given; /* there are positions or scores for the method given */
} settings_use;

/* Whether what was given contradicts itself, or is used by none of the methods: E_ARG. */
iflow_status ask_settings_check(const ask_settings *settings, const settings_use *use);

/* A setting that was given and that some methods only use, and what of them: E_ARG where none of these does. `name` as messages have it. */
iflow_status settings_require(const settings_use *use, const char *name, bool (*uses)(iflow_method method), const char *methods);

/* Parameters for the library and a model, but for the question; they point into the settings, where layers given as fractions become
 * numbers. E_ARG: a name that is none. */
iflow_status ask_settings_params(ask_settings *settings, const iflow_model_info *model, iflow_ask_params *out);

#endif
