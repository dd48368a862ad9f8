/* ask_options.c - what `ask` and `chat` share: their options, and the answer as it comes. */
#include "cli/ask_options.h"

#include "cli/progress.h"
#include "cli/terminal.h"
#include "cli/text.h"
#include "model/schema.h"
#include "service/input.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

ask_options ask_options_default(void) {
    iflow_ask_params params = iflow_ask_default_params();
    return (ask_options){.method = iflow_method_name(params.method),
                         .score = iflow_score_name(params.score),
                         .geometry = iflow_geometry_name(params.geometry),
                         .score_text = "question",
                         .ratio = params.ratio,
                         .drift = "auto",
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

/* The text of a file that an option names, to *out: free(). */
static int read_option_file(const command_usage *usage, const char *option, const char *path, char **out) {
    input in;
    text all = {0};
    if (strcmp(path, "-") == 0) {
        return options_wrong(usage, "--%s takes a file, not standard input", option);
    }
    const bool read = input_open(&in, path) && input_all(&in, &all);
    if (!read) {
        cli_error("--%s %s: %s", option, path, in.why);
    } else {
        *out = text_format("%.*s", (int)all.n, all.n ? all.text : "");
    }
    input_close(&in);
    text_free(&all);
    return read ? CLI_OK : CLI_FAILED;
}

int ask_options_read(const command_usage *usage, ask_options *options) {
    char *schema = NULL;
    if (options->grammar && options->json_schema) {
        return options_wrong(usage, "--grammar and --json-schema exclude one another");
    }
    if (options->grammar) {
        return read_option_file(usage, "grammar", options->grammar, &options->grammar_text);
    }
    if (!options->json_schema) {
        return CLI_OK;
    }
    int result = read_option_file(usage, "json-schema", options->json_schema, &schema);
    if (result == CLI_OK && schema && iflow_schema_to_grammar(schema, strlen(schema), &options->grammar_text)) {
        cli_error("--json-schema %s: %s", options->json_schema, iflow_error_message());
        result = CLI_FAILED;
    }
    free(schema);
    return result;
}

void ask_options_free(ask_options *options) {
    free(options->grammar_text);
    options->grammar_text = NULL;
}

iflow_status ask_options_params(ask_options *options, const iflow_model_info *model, iflow_ask_params *out) {
    for (size_t i = 0; i < options->layers.n; i++) {
        if (options->layers.fraction[i] >= 0) { /* 0.575 of 40 is 23, though the product may be a little less */
            options->layers.layer[i] = model->score_layer[(int)floor(options->layers.fraction[i] * model->n_layer + 1e-9)];
        }
    }
    *out = iflow_ask_default_params();
    out->system = options->system;
    out->instruction = options->instruction;
    out->ratio = options->ratio;
    out->coverage = options->coverage;
    out->min_ratio = options->min_ratio;
    out->max_ratio = options->max_ratio;
    out->staleness_share = options->staleness_share;
    out->score_layers = options->layers.n ? options->layers.layer : NULL;
    out->n_score_layers = options->layers.n;
    out->score_text = strcmp(options->score_text, "prompt") == 0 ? IFLOW_SCORE_PROMPT : IFLOW_SCORE_QUESTION;
    out->max_tokens = options->max_tokens;
    out->temperature = options->temperature;
    out->top_k = options->top_k;
    out->top_p = options->top_p;
    out->min_p = options->min_p;
    out->repeat_penalty = options->repeat_penalty;
    out->presence_penalty = options->presence_penalty;
    out->frequency_penalty = options->frequency_penalty;
    out->penalty_last_n = options->penalty_last_n;
    out->grammar = options->grammar_text;
    out->stop = options->stop.item;
    out->n_stop = options->stop.n;
    out->seed = options->seed;
    out->reorder = options->reorder;
    out->drift = strcmp(options->drift, "on") == 0 ? IFLOW_ON : strcmp(options->drift, "off") == 0 ? IFLOW_OFF : IFLOW_AUTO;
    iflow_status status = iflow_score_from_name(options->score, &out->score);
    if (!status) {
        status = iflow_geometry_from_name(options->geometry, &out->geometry);
    }
    return status ? status : iflow_method_from_name(options->method, &out->method);
}

/* ---- Choices ------------------------------------------------------------------------------------------------------------------------ */

/* Joins the library's names in a buffer that stays, but for one (negative: all). */
static const char *join(char *buffer, size_t size, const char *(*name_of)(int i), int but) {
    size_t n = 0;
    for (int i = 0; name_of(i) && n < size; i++) {
        n += i == but ? 0 : (size_t)snprintf(buffer + n, size - n, "%s%s", n ? "|" : "", name_of(i));
    }
    return buffer;
}

static const char *method_name(int i) {
    return iflow_method_name((iflow_method)i);
}

static const char *score_name(int i) {
    return iflow_score_name((iflow_score)i);
}

static const char *geometry_name(int i) {
    return iflow_geometry_name((iflow_geometry)i);
}

const char *ask_methods(void) {
    static char names[512];
    return join(names, sizeof names, method_name, -1);
}

const char *ask_methods_of_chat(void) {
    static char names[512];
    return join(names, sizeof names, method_name, IFLOW_METHOD_GIVEN);
}

const char *ask_scores(void) {
    static char names[512];
    return join(names, sizeof names, score_name, -1);
}

const char *ask_geometries(void) {
    static char names[512];
    return join(names, sizeof names, geometry_name, -1);
}

/* ---- Contradictions ----------------------------------------------------------------------------------------------------------------- */

static bool goes_by_question(iflow_method method) {
    return iflow_method_get_info(method)->by_question;
}

static bool has_scores(iflow_method method) {
    return iflow_method_get_info(method)->has_scores;
}

static bool goes_by_ratio(iflow_method method) {
    return iflow_method_get_info(method)->by_ratio;
}

static bool is_union(iflow_method method) {
    return method == IFLOW_METHOD_UNION;
}

static bool recomputes_some(iflow_method method) {
    return method != IFLOW_METHOD_FULL && method != IFLOW_METHOD_NONE;
}

static bool reuses(iflow_method method) {
    return method != IFLOW_METHOD_FULL;
}

static bool is_given(iflow_method method) {
    return method == IFLOW_METHOD_GIVEN;
}

static bool any(bool (*uses)(iflow_method), const iflow_method *method, size_t n_methods) {
    bool found = false;
    for (size_t i = 0; i < n_methods; i++) {
        found = found || uses(method[i]);
    }
    return found;
}

/* Options that only some methods use. */
static int check_methods(const command_usage *usage, const ask_options *options, const common_options *common, const iflow_method *method,
                         size_t n_methods) {
    const bool drifts = strcmp(options->drift, "on") == 0, corrects = common->correction && strcmp(common->correction, "none") != 0;
    const struct {
        const char *name, *methods;
        bool (*uses)(iflow_method);
        bool matters;
    } row[] = {{"score", "score the context by the question", goes_by_question, true},
               {"geometry", "score the context by the question", goes_by_question, true},
               {"reorder", "score the context by the question", goes_by_question, true},
               {"score-layers", "score the context by the question", goes_by_question, true},
               {"score-text", "score the context by the question", goes_by_question, true},
               {"coverage", "score every token", has_scores, options->coverage > 0},
               {"ratio", "recompute by a ratio", goes_by_ratio, true},
               {"staleness-share", "take staleness's choice and infoflow's together (union)", is_union, true},
               {"drift", "recompute a part of the tokens", recomputes_some, drifts},
               {"correction", "reuse chunks", reuses, corrects}};
    for (size_t i = 0; i < COUNT_OF(row); i++) {
        if (row[i].matters && options_named(row[i].name) && !any(row[i].uses, method, n_methods)) {
            return n_methods == 1
                       ? options_wrong(usage, "--%s goes with methods that %s; --method %s does not", row[i].name, row[i].methods,
                                       iflow_method_name(method[0]))
                       : options_wrong(usage, "--%s goes with methods that %s; none of --methods does", row[i].name, row[i].methods);
        }
    }
    return CLI_OK;
}

int ask_options_check(const command_usage *usage, const ask_options *options, const common_options *common, const iflow_method *method,
                      size_t n_methods) {
    bool by_ratio = false; /* with coverage, too */
    for (size_t i = 0; i < n_methods; i++) {
        by_ratio = by_ratio || (iflow_method_get_info(method[i])->by_ratio && !iflow_method_get_info(method[i])->has_scores);
    }
    if (options->coverage > 0 && options_named("ratio") && !by_ratio) {
        return options_wrong(usage, "--coverage and --ratio exclude one another; --min-ratio and --max-ratio bound coverage");
    }
    if (options->coverage <= 0 && (options_named("min-ratio") || options_named("max-ratio"))) {
        return options_wrong(usage, "--%s goes with --coverage", options_named("min-ratio") ? "min-ratio" : "max-ratio");
    }
    if (options->coverage > 0 && options->min_ratio > options->max_ratio) {
        return options_wrong(usage, "--min-ratio %g is more than --max-ratio %g", options->min_ratio, options->max_ratio);
    }
    if (!options->given && any(is_given, method, n_methods)) {
        return options_wrong(usage, "method given needs positions or scores: `infoflow ask --method given --given FILE`");
    }
    if (options->given && !any(is_given, method, n_methods)) {
        return options_wrong(usage, "--given goes with --method given");
    }
    return check_methods(usage, options, common, method, n_methods);
}

/* ---- The answer as it comes --------------------------------------------------------------------------------------------------------- */

void stream_waiting(const context_documents *documents, bool off) {
    size_t n = 0;
    for (size_t i = 0; i < documents->n; i++) {
        n += documents->document[i].n_chunks;
    }
    char *what = text_format("reading %s chunk%s", human_count(n), plural(n));
    progress_start(off);
    progress_show(-1, -1, what, "");
    free(what);
}

bool stream_text(const char *piece, void *user) {
    stream *out = user;
    progress_end();
    cli_cancel_spare();
    if (!out->silent && piece[0]) {
        char *clean = text_utf8(piece, strlen(piece)); /* a model can say bytes that are no characters */
        out->last = clean[strlen(clean) - 1];
        out->failed = !print_text(stdout, clean) || fflush(stdout) == EOF;
        free(clean);
    }
    return !out->failed && !cli_interrupted();
}

void stream_end(stream *out) {
    if (!out->silent && out->last != '\n') {
        putchar('\n');
    }
    fflush(stdout);
}
