/* calibrate.c - `infoflow calibrate`: finds by fidelity what suits a model, and writes it down as its profile. */
#include "lab/lab.h"

#include "cli/operands.h"
#include "cli/output.h"
#include "cli/profile.h"
#include "cli/progress.h"
#include "cli/terminal.h"
#include "cli/text.h"
#include "lab/calibrate_items.h"
#include "lab/calibrate_report.h"
#include "service/input.h"

#include <stdlib.h>

typedef struct calibrate {
    session s;
    common_options common;
    const char *questions, *output;
    int limit;
    bool jsonl;
    calibration found;      /* the session's context makes chunks without fillers */
    size_t n_run, n_to_run; /* answers, for the progress */
    double started;
} calibrate;

static void show_progress(calibration *found, const calibration_setting *what, void *user) {
    calibrate *c = user;
    char *rate = text_format("%zu of %zu", c->n_run, c->n_to_run);
    char *name = what ? calibrate_name(found, what) : text_format("full prefill");
    const double each = c->n_run ? (now_seconds() - c->started) / (double)c->n_run : 0;
    progress_show((double)c->n_run / (double)c->n_to_run, c->n_run ? each * (double)(c->n_to_run - c->n_run) : -1, rate, name);
    free(rate);
    free(name);
    c->n_run++;
}

/* Full prefill's answers; questions that it answers with nothing, or that do not fit, are left out. */
static int answer_items(calibration *found) {
    const size_t n_all = found->n_items;
    const iflow_status status = calibration_answer(found);
    const size_t n = found->n_items;
    if (status != IFLOW_OK) {
        return cli_failed(status, found->failed->question);
    }
    if (n < n_all && n) {
        cli_note("%zu question%s left out: full prefill gives no answer to them, or they do not fit", n_all - n, plural(n_all - n));
    }
    if (n) {
        return CLI_OK;
    }
    cli_error("full prefill gives no answer to any of the %zu questions, or they do not fit: nothing can be measured", n_all);
    return CLI_FAILED;
}

/* Whether the profile that the other commands use was measured on more questions, where these are too few to choose by: it stays unless it
 * is named. Says so. */
static bool is_outweighed(const calibrate *c, const char *path) {
    input in;
    text content = {0};
    if (c->output || c->found.n_items >= CALIBRATION_MIN_QUESTIONS) {
        return false;
    }
    const bool is_read = input_open_regular(&in, path) && input_all(&in, &content);
    json_t *root = is_read ? json_loadb(content.text, content.n, 0, NULL) : NULL;
    const json_int_t n = json_integer_value(json_object_get(root, "n_questions"));
    json_decref(root);
    text_free(&content);
    input_close(&in);
    if (n <= (json_int_t)c->found.n_items) {
        return false;
    }
    cli_error(
        "%s was measured on %s questions and stays: fewer than %d, here %zu, tell nothing apart. Give more, or --output with its name",
        path, human_count((uint64_t)n), CALIBRATION_MIN_QUESTIONS, c->found.n_items);
    return true;
}

static int finish(const calibrate *c, const char *path) {
    json_t *root = calibrate_profile(&c->found, &c->s);
    calibrate_print(&c->found);
    cli_last_word(NULL);
    fflush(stdout); /* it may be the same file */
    const iflow_status status = profile_write(path, root);
    const int result = status == IFLOW_OK ? CLI_OK : cli_failed(status, NULL);
    if (result == CLI_OK) {
        printf("Written to %s\n", visible(path));
    }
    json_decref(root);
    return result;
}

static int run(calibrate *c, const char *path) {
    calibration *found = &c->found;
    if (is_outweighed(c, path)) {
        return CLI_FAILED;
    }
    calibration_begin(found);
    const size_t n_settings = calibration_settings(found);
    c->n_to_run = found->n_items * (1 + n_settings);
    if (!c->common.quiet) {
        cli_note("%zu questions: full prefill, then %zu settings: chunks without and with fillers, without %sdrift, %zu sets of scoring "
                 "layers, %d scores, %d methods, each with the best so far; and the best at %d ratios",
                 found->n_items, n_settings, c->s.correction ? "the correction and without " : "", found->n_sets, CALIBRATION_SCORES,
                 CALIBRATION_METHODS, CALIBRATION_RATIOS);
    }
    c->started = now_seconds();
    int result = answer_items(found);
    if (result == CLI_OK && is_outweighed(c, path)) { /* now that some were left out */
        result = CLI_FAILED;
    }
    if (result != CLI_OK) {
        return result;
    }
    c->n_to_run = c->n_run + found->n_items * n_settings;
    const iflow_status status = calibration_search(found);
    progress_end();
    return status == IFLOW_OK ? finish(c, path) : cli_failed(status, NULL);
}

/* Opens the two contexts; both note how stale tokens will be, as two of the methods go by it. */
static int open_contexts(const command_usage *usage, calibrate *c) {
    c->common.estimate = true;
    c->common.fillers = 0;
    int result = cli_session_open(usage, &c->common, &c->s);
    if (result != CLI_OK) {
        return result;
    }
    common_options fillers = c->common;
    fillers.fillers = common_options_default().fillers;
    result = cli_session_new_context(&fillers, &c->s, &c->found.filled);
    c->found.bare = c->s.ctx;
    c->found.n_fillers = fillers.fillers;
    c->found.corrects = c->s.correction ? c->s.corrected.fillers : -1;
    c->found.n_layer = c->s.info.n_layer;
    c->found.score_layer = c->s.info.score_layer;
    c->found.n_vocab = (size_t)c->s.info.n_vocab;
    c->found.progress = show_progress;
    c->found.user = c;
    return result;
}

/* Where the profile goes: *path, a new string. */
static int choose_place(const command_usage *usage, const calibrate *c, char **path) {
    if (c->output) {
        *path = text_format("%s", c->output);
    } else {
        must(profile_place(c->s.info.fingerprint, path));
    }
    if (!*path) {
        return options_wrong(usage, "where does the profile go? Give -o PROFILE; neither XDG_CONFIG_HOME nor HOME is an absolute path");
    }
    return c->output ? CLI_OK : output_check("--output", *path, OUTPUT_PROFILE); /* not found out after hours */
}

/* The model is loaded; reads or writes the questions, and measures. */
static int calibrate_model(const command_usage *usage, calibrate *c, char **operands, size_t n_operands) {
    const size_t limit = (size_t)c->limit, chunk_tokens = cli_session_chunk_tokens(&c->common);
    char *path = NULL;
    int result = choose_place(usage, c, &path);
    cli_last_word(c->common.no_store ? "interrupted; no profile was written, and what was measured is lost\n"
                                     : "interrupted; no profile was written, and what was measured is lost; computed chunks are kept\n");
    if (result == CLI_OK) {
        result = open_contexts(usage, c);
    }
    progress_start(c->common.quiet);
    if (result == CLI_OK) {
        result = c->questions ? calibrate_items_read(c->questions, limit, c->s.model, chunk_tokens, &c->found)
                              : calibrate_items_make(&c->s, &c->common, c->jsonl, operands, n_operands, limit, &c->found);
    }
    if (result == CLI_OK) {
        result = run(c, path);
    }
    progress_end();
    free(path);
    return result;
}

int lab_calibrate(int argc, char **argv) {
    static calibrate c = {.limit = 12}; /* too much for a small stack */
    c.common = common_options_for_questions();
    const command_usage usage = {
        "calibrate", "-m MODEL [OPTION]... {--questions FILE.jsonl|DOC...}",
        "Measures which settings bring a model nearest to full prefill, and the least\n"
        "ratio that can be trusted. `ask`, `chat`, `eval` and `ingest` then use them.\n"
        "\n"
        "Writes a profile. The commands take from it every option that you do not give. Questions come from a data set as `infoflow "
        "eval` reads it, or the model writes them itself about pieces of the documents.\n"
        "\n"
        "Full prefill answers each question. Then each setting is measured on each token of these answers: mean KL divergence, "
        "and agreement on the most likely token. The choices are made one after another: chunks without or with fillers, the "
        "correction of `infoflow learn` or none, drift or none, layers that give scores, score, method, all at the default "
        "ratio. A choice replaces the default only if it is better with 95% certainty: the interval of the difference in KL, "
        "paired by question, is below zero.\n"
        "\n"
        "The best settings are then measured at ratios from 0.05 to 0.5. A ratio is trusted if it and all larger ones agree with "
        "full prefill on 0.9 of the tokens. The profile has the least trusted ratio, or the default if that is larger; 0.5 if "
        "no ratio is trusted. With fewer than 6 questions no default changes, and a profile of more questions is replaced only if "
        "--output names it.",
        "  infoflow calibrate -m model.gguf reports/"};
    const option_spec spec[] = {
        OPTION_ROW_MODEL(c.common),
        OPTION_ROW_STORE(c.common),
        {'\0', "questions", "FILE", OPTION_TEXT, &c.questions, 0, 0, "a data set, a JSON object a line, instead of documents"},
        {'\0', "limit", "N", OPTION_INT, &c.limit, 1, 1000, "most questions (default: 12)"},
        {'o', "output", "PROFILE", OPTION_TEXT, &c.output, 0, 0,
         "file of the profile (default: where it is found)\nThat is infoflow/profiles in $XDG_CONFIG_HOME, else in ~/.config"},
        OPTION_ROW_JSONL(c.jsonl),
        OPTION_ROW_QUIET(c.common),
        {0, NULL, NULL, OPTION_FLAG, NULL, 0, 0, "Documents and store"},
        OPTION_ROW_CUT(c.common),
        OPTION_ROW_CORRECTION(c.common),
        OPTION_ROW_NO_STORE(c.common),
        OPTION_ROW_MAX_SIZE(c.common),
        OPTION_ROW_KV_TYPE(c.common),
        {0, NULL, NULL, OPTION_FLAG, NULL, 0, 0, "Computing"},
        OPTION_ROWS_ENGINE(c.common),
        OPTION_ROW_VERBOSE(c.common),
        {0}};
    int first = 0;
    int result = options_parse(&usage, spec, argc, argv, &first);
    const size_t n_operands = (size_t)(argc - first);
    if (result != OPTIONS_GO) {
        return result;
    }
    if (!c.questions == (first == argc)) {
        return options_wrong(&usage, c.questions ? "--questions and documents exclude one another"
                                                 : "by what? Give --questions FILE.jsonl, or documents");
    }
    if ((result = operands_check(&usage, argv + first, n_operands)) != CLI_OK) {
        return result;
    }
    if (c.output && (result = output_check("--output", c.output, OUTPUT_PROFILE)) != CLI_OK) {
        return result;
    }
    result = cli_session_load_model(&usage, &c.common, &c.s);
    if (result == CLI_OK) {
        result = calibrate_model(&usage, &c, argv + first, n_operands);
    }
    calibration_free(&c.found);
    iflow_context_free(c.found.filled);
    session_close(&c.s);
    return cli_finish(result);
}
