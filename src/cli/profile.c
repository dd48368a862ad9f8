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

int profile_use(const profile_options *wanted, const iflow_model_info *model, common_options *common, ask_options *how, profile *out) {
    if (wanted->ignore && !options_given(&common->correction)) {
        common->correction = NULL;
    }
    const int result = profile_read(wanted, model, out);
    if (result != CLI_OK || !out->path) {
        return result;
    }
    profile_chunks chunks = {.fillers = common->fillers,
                             .correct = common->correction != NULL,
                             .fillers_given = options_given(&common->fillers),
                             .correct_given = options_given(&common->correction)};
    profile_apply_chunks(out, &chunks);
    common->fillers = chunks.fillers;
    common->correction = chunks.correct ? common->correction : NULL;
    if (how) {
        ask_options_note_given(how);
        profile_apply(out, &how->set);
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
    if (result == CLI_OK && how && !common->quiet && strcmp(how->set.method, "full") != 0) {
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
    iflow_ask_params params = {.coverage = how->set.coverage, .max_ratio = how->set.max_ratio, .ratio = how->set.ratio};
    double ratio = 0;
    if (iflow_method_from_name(how->set.method, &params.method) != IFLOW_OK) {
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
