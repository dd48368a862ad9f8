/* calibrate_report.c - what a calibration found: its table and verdict for people, and the profile. */
#include "lab/calibrate_report.h"

#include "cli/profile.h"
#include "cli/report.h"
#include "cli/terminal.h"
#include "cli/text.h"

#include <stdlib.h>
#include <time.h>

char *calibrate_name(const calibration *c, const calibration_setting *what) {
    text out = {0};
    text_printf(&out, "%s", iflow_method_name(what->method));
    if (iflow_method_get_info(what->method)->by_question) {
        text_printf(&out, ", %s, %s", iflow_score_name(what->score), c->set[what->set].name);
    }
    char *chunks = common_chunks(what->fillers);
    text_printf(&out, ", chunks %s", chunks);
    free(chunks);
    if (what->uncorrected) {
        text_puts(&out, ", uncorrected");
    }
    if (what->no_drift) {
        text_puts(&out, ", no drift");
    }
    return out.text;
}

static json_t *mean_json(const stats_mean *m) {
    return json_pack("{s:o, s:o, s:o}", "mean", json_finite(m->mean), "low", json_finite(m->low), "high", json_finite(m->high));
}

static json_t *layers_json(const calibration_layers *layers) {
    json_t *list = layers->n ? json_array() : json_null();
    for (size_t i = 0; i < layers->n; i++) {
        json_array_append_new(list, json_integer(layers->layer[i]));
    }
    return list;
}

/* The members that say how it is asked. */
static json_t *setting_json(const calibration *c, const calibration_setting *what) {
    return json_pack("{s:s, s:s, s:o, s:i, s:b, s:b, s:o}", "method", iflow_method_name(what->method), "score",
                     iflow_score_name(what->score), "score_layers", layers_json(&c->set[what->set]), "fillers", what->fillers, "correct",
                     !what->uncorrected, "drift", !what->no_drift, "ratio", json_finite(what->ratio));
}

static json_t *measured_json(const calibration *c, const calibration_measured *m) {
    const stats_mean kl = stats_bootstrap(m->kl, c->n_items), top1 = stats_bootstrap(m->top1, c->n_items);
    json_t *row = json_pack("{s:s}", "stage", m->stage);
    json_t *what = setting_json(c, &m->what);
    json_object_update(row, what);
    json_decref(what);
    json_object_set_new(row, "kl", mean_json(&kl));
    json_object_set_new(row, "top1", mean_json(&top1));
    json_object_set_new(row, "kl_difference", m->compared ? mean_json(&m->difference) : json_null());
    json_object_set_new(row, "adopted", json_boolean(m->adopted));
    return row;
}

json_t *calibrate_profile(const calibration *c, const session *s) {
    calibration_setting what = c->done[c->best].what;
    what.ratio = c->use;
    size_t n_tokens = 0;
    for (size_t i = 0; i < c->n_items; i++) {
        n_tokens += c->item[i].n_tokens;
    }
    char date[32] = "";
    const time_t now = time(NULL);
    strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%SZ", gmtime(&now));
    json_t *root =
        json_pack("{s:i, s:s, s:o, s:s, s:I, s:I}", "version", PROFILE_VERSION, "fingerprint", s->info.fingerprint, "model",
                  json_text(s->info.path), "date", date, "n_questions", (json_int_t)c->n_items, "n_tokens", (json_int_t)n_tokens);
    json_t *asking = setting_json(c, &what), *table = json_array();
    json_object_update(root, asking);
    json_decref(asking);
    json_object_set_new(root, "trusted_ratio", c->trusted < CALIBRATION_RATIOS ? json_finite(calibration_ratio[c->trusted]) : json_null());
    json_object_set_new(root, "trusted_top1", json_finite(calibration_trusted));
    json_object_set_new(root, "correction", s->correction ? json_string(s->corrected.id) : json_null());
    for (size_t i = 0; i < c->n_done; i++) {
        json_array_append_new(table, measured_json(c, &c->done[i]));
    }
    json_object_set_new(root, "measured", table);
    return root;
}

static void print_measured(const calibration *c, const calibration_measured *m) {
    const stats_mean kl = stats_bootstrap(m->kl, c->n_items), top1 = stats_bootstrap(m->top1, c->n_items);
    char *name = calibrate_name(c, &m->what),
         *difference = text_format("%+.3f [%+.3f, %+.3f]", m->difference.mean, m->difference.low, m->difference.high);
    printf("%-8s %-58s %5.2f  %.3f [%.3f, %.3f]  %.3f [%.3f, %.3f]  %s%s\n", m->stage, name, m->what.ratio, kl.mean, kl.low, kl.high,
           top1.mean, top1.low, top1.high, m->compared ? difference : "", m->adopted ? " *" : "");
    free(name);
    free(difference);
}

/* What was found, in words. */
static void print_verdict(const calibration *c) {
    const calibration_setting *best = &c->done[c->best].what;
    char *name = calibrate_name(c, best);
    printf("\nIt asks best with: %s.\n", name);
    free(name);
    if (c->n_items < CALIBRATION_MIN_QUESTIONS) {
        printf("Fewer than %d questions tell nothing apart: the defaults stay, the ratio %g, too.\n", CALIBRATION_MIN_QUESTIONS, c->use);
        return;
    }
    puts("A setting (*) replaced the one before only where the 95% interval of the difference in KL, paired by question, is below "
         "zero.");
    const bool any = c->trusted < CALIBRATION_RATIOS;
    const size_t at = any ? c->trusted : CALIBRATION_RATIOS - 1;
    const double agreement = calibration_agreement(c, at), wanted = calibration_trusted;
    if (any && at > 0) {
        printf("This model should not be trusted below ratio %g (agreement %.3f there, %.3f at %g; %.2f is wanted).\n",
               calibration_ratio[at], agreement, calibration_agreement(c, at - 1), calibration_ratio[at - 1], wanted);
    } else if (any) {
        printf("Every ratio that was tried can be trusted, from %g on (agreement %.3f there; %.2f is wanted).\n", calibration_ratio[at],
               agreement, wanted);
    } else {
        printf("None of the ratios is enough: at %g the agreement is %.3f, and %.2f is wanted. Use --method full, or --verify.\n",
               calibration_ratio[at], agreement, wanted);
    }
    printf("`ask`, `chat` and `eval` will use ratio %g.\n", c->use);
    if (best->fillers != c->n_fillers) {
        char *chunks = common_chunks(best->fillers);
        printf("They and `ingest` will prefill chunks %s; documents ingested before are computed again.\n", chunks);
        free(chunks);
    }
}

void calibrate_print(const calibration *c) {
    printf("%-8s %-58s %5s  %-22s  %-22s  %s\n", "", "", "ratio", "KL to full prefill", "agreement", "difference in KL");
    for (size_t i = 0; i < c->n_done; i++) {
        print_measured(c, &c->done[i]);
    }
    print_verdict(c);
}
