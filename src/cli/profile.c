/* profile.c - profiles on the command line: their options, what options take from them, and what is said of them. */
#include "cli/profile.h"

#include "cli/report.h"
#include "cli/terminal.h"
#include "cli/text.h"

#include <stdlib.h>
#include <string.h>

int profile_read(const profile_options *wanted, const iflow_model_info *model, profile *out) {
    *out = (profile){0};
    const iflow_status status = wanted->ignore ? IFLOW_OK : profile_find(wanted->path, model, out);
    if (status != IFLOW_OK) {
        cli_error("%s. `infoflow calibrate` writes one; --no-profile does without", iflow_error_message());
    }
    return status == IFLOW_OK ? CLI_OK : CLI_FAILED;
}

/* Takes into the options of questions what was applied. */
static void take(const profile_settings *settings, ask_options *how) {
    how->method = iflow_method_name(settings->method);
    how->score = iflow_score_name(settings->score);
    how->ratio = settings->ratio;
    how->drift = settings->drift == IFLOW_ON ? "on" : settings->drift == IFLOW_OFF ? "off" : "auto";
    if (options_given(&how->layers)) {
        return;
    }
    how->layers.n = settings->n_layers;
    for (size_t i = 0; i < settings->n_layers; i++) {
        how->layers.layer[i] = settings->layer[i];
        how->layers.fraction[i] = -1; /* the number counts */
    }
}

int profile_use(const profile_options *wanted, const iflow_model_info *model, common_options *common, ask_options *how, profile *out) {
    if (wanted->ignore && !options_given(&common->correction)) {
        common->correction = NULL;
    }
    const int result = profile_read(wanted, model, out);
    if (result != CLI_OK || !out->path) {
        return result;
    }
    const ask_options usual = ask_options_default(), *from = how ? how : &usual;
    profile_settings settings = {.fillers = common->fillers, .correct = common->correction != NULL, .ratio = from->ratio};
    settings.drift = strcmp(from->drift, "on") == 0 ? IFLOW_ON : strcmp(from->drift, "off") == 0 ? IFLOW_OFF : IFLOW_AUTO;
    iflow_method_from_name(from->method, &settings.method); /* choices, both */
    iflow_score_from_name(from->score, &settings.score);
    const profile_given given = {.fillers = options_given(&common->fillers),
                                 .correct = options_given(&common->correction),
                                 .method = how && options_given(&how->method),
                                 .score = how && options_given(&how->score),
                                 .ratio = how && options_given(&how->ratio),
                                 .drift = how && options_given(&how->drift),
                                 .layers = how && options_given(&how->layers)};
    profile_apply(out, &given, &settings);
    common->fillers = settings.fillers;
    common->correction = settings.correct ? common->correction : NULL;
    if (how) {
        take(&settings, how);
    }
    return CLI_OK;
}

int profile_open_session(const command_usage *usage, const profile_options *wanted, common_options *common, ask_options *how, session *s,
                         profile *found) {
    int result = s->model ? CLI_OK : cli_session_load_model(usage, common, s);
    if (result == CLI_OK) {
        result = profile_use(wanted, &s->info, common, how, found);
    }
    if (result == CLI_OK) {
        result = cli_session_open(usage, common, s);
    }
    if (result == CLI_OK && how && !common->quiet && strcmp(how->method, "full") != 0) {
        profile_warn_correction(found, s);
    }
    return result;
}

void profile_warn_correction(const profile *p, const session *s) {
    if (!profile_differs_in_correction(p, s->corrected.id)) {
        return;
    }
    char *was = p->correction[0] ? text_format("the correction %.8s", p->correction) : text_format("no correction");
    char *now = s->corrected.id[0] ? text_format("the correction %.8s", s->corrected.id) : text_format("none");
    cli_error("warning: the profile %s was measured with %s, and now there is %s; calibrate again", p->path, was, now);
    free(was);
    free(now);
}

void profile_warn(const profile *p, const ask_options *how) {
    iflow_ask_params params = {.coverage = how->coverage, .max_ratio = how->max_ratio, .ratio = how->ratio};
    double ratio = 0;
    if (iflow_method_from_name(how->method, &params.method) != IFLOW_OK) {
        return;
    }
    switch (profile_trust_in(p, &params, &ratio)) {
    case PROFILE_TRUSTS:
        break;
    case PROFILE_TRUSTS_NONE:
        cli_error("warning: by %s this model agreed well enough with full prefill at no ratio that was tried; --verify checks answers",
                  p->path);
        break;
    case PROFILE_TRUSTS_MORE:
        cli_error("warning: by %s this model should not be trusted below ratio %g; this is %g", p->path, p->trusted, ratio);
        break;
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
