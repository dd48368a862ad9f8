/* ask_options.c - what `ask` and `chat` share: their options, and the answer as it comes. */
#include "cli/ask_options.h"

#include "cli/progress.h"
#include "cli/terminal.h"
#include "cli/text.h"
#include "service/input.h"

#include <stdlib.h>
#include <string.h>

ask_options ask_options_default(void) {
    return (ask_options){.set = ask_settings_default()};
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
    char *read = NULL;
    const char *path = options->grammar ? options->grammar : options->json_schema;
    if (options->grammar && options->json_schema) {
        return options_wrong(usage, "--grammar and --json-schema exclude one another");
    }
    int result = path ? read_option_file(usage, options->grammar ? "grammar" : "json-schema", path, &read) : CLI_OK;
    if (result != CLI_OK || !read) {
        return result;
    }
    if (options->grammar) {
        ask_settings_take_grammar(&options->set, read);
        read = NULL;
    } else if (ask_settings_take_schema(&options->set, read, strlen(read)) != IFLOW_OK) {
        cli_error("--json-schema %s: %s", path, iflow_error_message());
        result = CLI_FAILED;
    }
    options->set.grammar_name = path;
    free(read);
    return result;
}

void ask_options_free(ask_options *options) {
    ask_settings_free(&options->set);
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

static bool reuses(iflow_method method) {
    return method != IFLOW_METHOD_FULL;
}

void ask_options_note_given(ask_options *options) {
    for (int i = 0; i < N_ASK_SETTINGS; i++) {
        const setting_spelled name = settings_spell(SETTINGS_AS_OPTIONS, (ask_setting)i);
        options->set.given[i] = options_named(i == ASK_SETTING_TEMPERATURE ? "temp" : name.text + strlen("--"));
    }
}

int ask_options_check(const command_usage *usage, ask_options *options, const common_options *common, const iflow_method *method,
                      size_t n_methods) {
    const settings_use use = {.form = SETTINGS_AS_OPTIONS, .method = method, .n_methods = n_methods, .has_given = options->given != NULL};
    bool takes_given = false;
    for (size_t i = 0; i < n_methods; i++) {
        takes_given = takes_given || method[i] == IFLOW_METHOD_GIVEN;
    }
    if (options->given && !takes_given) {
        return options_wrong(usage, "--given goes with --method given");
    }
    if (!options->given && takes_given) {
        return options_wrong(usage, "method given needs positions or scores: `infoflow ask --method given --given FILE`");
    }
    ask_options_note_given(options);
    iflow_status status = ask_settings_check(&options->set, &use);
    if (status == IFLOW_OK && options_named("correction") && common->correction && strcmp(common->correction, "none") != 0) {
        status = settings_require(&use, "--correction", reuses, "reuse chunks");
    }
    return status == IFLOW_OK ? CLI_OK : options_wrong(usage, "%s", iflow_error_message());
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
    if (!out->silent && piece[0]) {
        char *clean = text_utf8(piece, strlen(piece)); /* a model can say bytes that are no characters */
        out->last = clean[strlen(clean) - 1];
        out->failed = !print_text(stdout, clean) || fflush(stdout) == EOF;
        free(clean);
    }
    return !out->failed;
}

void stream_end(stream *out) {
    if (!out->silent && out->last != '\n') {
        putchar('\n');
    }
    fflush(stdout);
}
