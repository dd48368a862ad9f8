/* profile.c - what `infoflow calibrate` found for a model: the file, and options that were not given taken from it. */
#include "cli/profile.h"

#include "cli/input.h"
#include "cli/report.h"
#include "cli/terminal.h"
#include "cli/text.h"
#include "service/calibration.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

char *profile_place(const char *fingerprint) {
    return session_config_path("profiles", fingerprint, "json");
}

/* A list of layers of the model, or null. */
static const char *read_layers(const json_t *list, int n_layer, layer_list *out) {
    if (!json_is_null(list) && (!json_is_array(list) || json_array_size(list) < 1 || json_array_size(list) > COUNT_OF(out->layer))) {
        return "\"score_layers\" is neither null nor a list of layers";
    }
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *layer = json_array_get(list, i);
        if (!json_is_integer(layer) || json_integer_value(layer) < 0 || json_integer_value(layer) >= n_layer) {
            return "\"score_layers\" has a layer that the model lacks";
        }
        out->layer[out->n] = (int)json_integer_value(layer);
        out->fraction[out->n++] = -1; /* the number counts */
    }
    return NULL;
}

/* Reads a member of a profile by jansson's format for it; NULL, or why it cannot be read, until the next call. */
static const char *read_member(json_t *root, const char *name, const char *format, void *to) {
    static char why[JSON_ERROR_TEXT_LENGTH + 32];
    json_error_t error;
    if (json_unpack_ex(root, &error, 0, format, name, to) == 0) {
        return NULL;
    }
    snprintf(why, sizeof why, "\"%.24s\": %s", name, error.text);
    return why;
}

/* Reads out->root; NULL, or why it is no profile of this model. */
static const char *read_root(const iflow_model_info *model, profile *out) {
    static char range[64];
    json_t *const root = out->root, *layers = NULL, *trusted = NULL, *correction = NULL;
    json_int_t version = 0, fillers = 0, n_questions = CALIBRATION_MIN_QUESTIONS;
    const char *fingerprint = "", *why = NULL;
    iflow_method method;
    iflow_score score;
    if (!json_is_object(root)) {
        return "it is no JSON object";
    }
    if ((why = read_member(root, "version", "{s:I}", &version))) {
        return why;
    }
    if (version != PROFILE_VERSION) {
        return "its version is another one's";
    }
    out->correct = out->drift = true; /* profiles written before these were tried lack them */
    if ((why = read_member(root, "fingerprint", "{s:s}", (void *)&fingerprint)) ||
        (why = read_member(root, "method", "{s:s}", (void *)&out->method)) ||
        (why = read_member(root, "score", "{s:s}", (void *)&out->score)) ||
        (why = read_member(root, "score_layers", "{s:o}", (void *)&layers)) ||
        (why = read_member(root, json_object_get(root, "fillers") ? "fillers" : "behind", "{s:I}", &fillers)) ||
        (why = read_member(root, "n_questions", "{s?I}", &n_questions)) ||
        (why = read_member(root, "correction", "{s?o}", (void *)&correction)) ||
        (why = read_member(root, "correct", "{s?b}", &out->correct)) || (why = read_member(root, "drift", "{s?b}", &out->drift)) ||
        (why = read_member(root, "ratio", "{s:F}", &out->ratio)) || (why = read_member(root, "trusted_ratio", "{s:o}", (void *)&trusted))) {
        return why;
    }
    out->correction = json_is_null(correction) ? "" : json_string_value(correction);
    out->trusted = json_is_null(trusted) ? -1 : json_number_value(trusted);
    if (strcmp(fingerprint, model->fingerprint) != 0) {
        return "it is of another model";
    }
    if (iflow_method_from_name(out->method, &method) != IFLOW_OK || !iflow_method_has_ratio(method)) {
        return "\"method\" is none that goes by a ratio";
    }
    if (iflow_score_from_name(out->score, &score) != IFLOW_OK) {
        return "\"score\" is none";
    }
    out->fillers = (int)fillers;
    out->few = n_questions < CALIBRATION_MIN_QUESTIONS;
    if (fillers < 0 || fillers > IFLOW_MAX_FILLERS) {
        snprintf(range, sizeof range, "\"fillers\" is not from 0 to %d", IFLOW_MAX_FILLERS);
        return range;
    }
    if (!(out->ratio >= 0 && out->ratio <= 1)) {
        return "\"ratio\" is not from 0 to 1";
    }
    if (correction && !out->correction) {
        return "\"correction\" is neither null nor an id";
    }
    if (!json_is_null(trusted) && !(json_is_number(trusted) && out->trusted >= 0 && out->trusted <= 1)) {
        return "\"trusted_ratio\" is neither null nor a number from 0 to 1";
    }
    return read_layers(layers, model->n_layer, &out->layers);
}

int profile_find(const profile_options *wanted, const iflow_model_info *model, profile *out) {
    *out = (profile){0};
    if (wanted->ignore) {
        return CLI_OK;
    }
    char *path = wanted->path ? text_format("%s", wanted->path) : profile_place(model->fingerprint);
    if (!path || (!wanted->path && access(path, F_OK) != 0)) {
        free(path);
        return CLI_OK;
    }
    json_error_t error = {0};
    input in;
    text content = {0};
    out->path = path;
    if (input_open_regular(&in, path) && input_all(&in, &content)) {
        out->root = json_loadb(content.text, content.n, JSON_REJECT_DUPLICATES, &error);
    }
    const char *why = in.why ? in.why : out->root ? read_root(model, out) : error.text;
    if (why) {
        cli_error("%s is no profile for %s: %s. `infoflow calibrate` writes one; --no-profile does without", path, model->path, why);
    }
    const int result = why ? CLI_FAILED : CLI_OK;
    if (why) {
        profile_free(out);
    }
    text_free(&content);
    input_close(&in);
    return result;
}

void profile_free(profile *p) {
    free(p->path);
    json_decref(p->root);
    *p = (profile){0};
}

int profile_use(const profile_options *wanted, const iflow_model_info *model, common_options *common, ask_options *how, profile *out) {
    if (wanted->ignore && !options_given(&common->correction)) {
        common->correction = NULL;
    }
    const int result = profile_find(wanted, model, out);
    if (result != CLI_OK || !out->path) {
        return result;
    }
    common->fillers = options_given(&common->fillers) ? common->fillers : out->fillers;
    if (!out->correct && !options_given(&common->correction)) {
        common->correction = NULL;
    }
    if (!how) {
        return CLI_OK;
    }
    if (!options_given(&how->method)) {
        how->method = out->method;
    }
    if (!options_given(&how->ratio)) {
        how->ratio = out->ratio;
    }
    if (!options_given(&how->score)) {
        how->score = out->score;
    }
    if (!out->drift && !options_given(&how->drift)) {
        how->drift = "off";
    }
    if (!options_given(&how->layers)) {
        how->layers = out->layers;
    }
    return CLI_OK;
}

int profile_open_session(const command_usage *usage, const profile_options *wanted, common_options *common, ask_options *how, session *s,
                         profile *found) {
    int result = s->model ? CLI_OK : session_load_model(usage, common, s);
    if (result == CLI_OK) {
        result = profile_use(wanted, &s->info, common, how, found);
    }
    if (result == CLI_OK) {
        result = session_open(usage, common, s);
    }
    if (result == CLI_OK && how && !common->quiet && strcmp(how->method, "full") != 0) {
        profile_warn_correction(found, s);
    }
    return result;
}

void profile_warn_correction(const profile *p, const session *s) {
    if (!p->path || !p->correction || !p->correct || strcmp(p->correction, s->corrected.id) == 0) {
        return;
    }
    char *was = p->correction[0] ? text_format("the correction %.8s", p->correction) : text_format("no correction");
    char *now = s->corrected.id[0] ? text_format("the correction %.8s", s->corrected.id) : text_format("none");
    cli_error("warning: the profile %s was measured with %s, and now there is %s; calibrate again", p->path, was, now);
    free(was);
    free(now);
}

void profile_warn(const profile *p, const ask_options *how) {
    iflow_method method = IFLOW_METHOD_FULL;
    if (!p->path || iflow_method_from_name(how->method, &method) != IFLOW_OK || method == IFLOW_METHOD_FULL) {
        return;
    }
    const double ratio = !iflow_method_has_ratio(method) ? 0 : how->coverage > 0 ? how->max_ratio : how->ratio;
    if (p->trusted < 0 && !p->few) {
        cli_error("warning: by %s this model agreed well enough with full prefill at no ratio that was tried; --verify checks answers",
                  p->path);
    } else if (ratio < p->trusted - 1e-9) {
        cli_error("warning: by %s this model should not be trusted below ratio %g; this is %g", p->path, p->trusted, ratio);
    }
}

void profile_print(FILE *to, const profile *p) {
    if (p->path) {
        fprintf(to, "  %-12s  %s\n", "profile", visible(p->path));
    }
}

void profile_json(json_t *object, const profile *p) {
    json_object_set_new(object, "profile", p->path ? json_text(p->path) : json_null());
}

int profile_write(const char *path, const json_t *root) {
    char *bytes = json_dumps(root, JSON_INDENT(2) | JSON_PRESERVE_ORDER | JSON_REAL_PRECISION(6));
    int result = CLI_FAILED;
    make_parents(path); /* what goes wrong there shows when the file is written */
    if (!bytes) {
        cli_error("out of memory");
    } else {
        result = write_file(path, bytes, strlen(bytes), true);
    }
    free(bytes);
    return result;
}
