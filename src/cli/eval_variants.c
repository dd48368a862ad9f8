/* eval_variants.c - parses the methods, settings and ratios that an evaluation compares. */
#include "eval_variants.h"

#include "text.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static int parse_ratios(const command_usage *usage, const char *ratios, double ratio[EVAL_MAX_RATIOS], size_t *n) {
    for (const char *at = ratios; *n < EVAL_MAX_RATIOS;) {
        char *end = NULL;
        ratio[*n] = strtod(at, &end);
        if (end == at || (*end && *end != ',') || !(ratio[*n] >= 0 && ratio[*n] <= 1))
            break;
        ++*n;
        if (!*end)
            return CLI_OK;
        at = end + 1;
    }
    return options_wrong(usage, "--ratio takes numbers from 0 to 1 separated by commas, at most %d, not '%s'", EVAL_MAX_RATIOS, ratios);
}

/* A word behind a method's colon. */
static bool set(eval_variant *v, const char *word) {
    if (strcmp(word, "reorder") == 0)
        v->reorder = true;
    else if (strcmp(word, "drift") == 0 || strcmp(word, "nodrift") == 0)
        v->drift = word[0] == 'd';
    else if (strcmp(word, "corrected") == 0 || strcmp(word, "uncorrected") == 0)
        v->correct = word[0] == 'c';
    else if (strcmp(word, "behind") == 0)
        v->behind = common_options_default().behind;
    else if (strncmp(word, "behind=", 7) == 0 && word[7] >= '0' && word[7] <= '0' + IFLOW_MAX_BEHIND && !word[8])
        v->behind = word[7] - '0';
    else if (strcmp(word, "alone") == 0)
        v->behind = 0;
    else
        return iflow_score_from_name(word, &v->score) == IFLOW_OK || iflow_geometry_from_name(word, &v->geometry) == IFLOW_OK;
    return true;
}

/* What can make no difference is the same in all variants, so that they are known as one. */
static void settle(eval_variant *v, int behind, const iflow_correction_info *corrected) {
    const ask_options usual = ask_options_default();
    if (!iflow_method_looks(v->method)) {
        iflow_score_from_name(usual.score, &v->score);
        iflow_geometry_from_name(usual.geometry, &v->geometry);
        v->reorder = false;
    }
    v->drift = v->drift && v->method != IFLOW_METHOD_FULL && v->method != IFLOW_METHOD_NONE;
    v->correct = v->correct && v->method != IFLOW_METHOD_FULL && corrected && corrected->id[0] && v->behind == corrected->behind;
    v->behind = v->method == IFLOW_METHOD_FULL ? behind : v->behind; /* it uses no chunk */
}

static bool same(const eval_variant *a, const eval_variant *b) {
    return a->method == b->method && fabs(a->ratio - b->ratio) < 5e-7 /* records have six digits of it */ && a->score == b->score &&
           a->geometry == b->geometry && a->reorder == b->reorder && a->drift == b->drift && a->correct == b->correct &&
           a->behind == b->behind;
}

static void add(eval_variant variant[EVAL_MAX_VARIANTS], size_t *n, const eval_variant *v) {
    size_t i = 0;
    while (i < *n && !same(&variant[i], v))
        i++;
    if (i == *n)
        variant[(*n)++] = *v;
}

/* One item of --methods: a name, perhaps a colon and words joined by '+'. */
static int parse_method(const command_usage *usage, char *item, const char *drift, const iflow_correction_info *corrected,
                        eval_variant *v) {
    char *words = strchr(item, ':');
    if (words)
        *words++ = '\0';
    if (iflow_method_from_name(item, &v->method) != IFLOW_OK)
        return options_wrong(usage, "--methods takes names separated by commas: %s", iflow_error_message());
    v->drift = strcmp(drift, "on") == 0 || (strcmp(drift, "auto") == 0 && iflow_method_drifts(v->method));
    v->correct = iflow_method_drifts(v->method);
    for (char *word = words, *next; word; word = next) {
        next = strchr(word, '+');
        if (next)
            *next++ = '\0';
        if (strcmp(word, "corrected") == 0 && corrected && !corrected->id[0])
            return options_wrong(usage, "--methods: there is no correction for %s; `infoflow learn` makes one, --correction names one",
                                 item);
        if (!set(v, word))
            return options_wrong(usage,
                                 "--methods: '%s' of %s is no setting: there are the scores and geometries of `infoflow methods`, "
                                 "reorder, drift, nodrift, corrected, uncorrected, alone and behind=1 to behind=%d",
                                 word, item, IFLOW_MAX_BEHIND);
    }
    return CLI_OK;
}

int eval_variants_parse(const command_usage *usage, const char *methods, const char *ratios, const ask_options *asking, int behind,
                        const iflow_correction_info *corrected, eval_variant variant[EVAL_MAX_VARIANTS], size_t *n) {
    double ratio[EVAL_MAX_RATIOS];
    size_t n_ratios = 0, n_methods = 0;
    int result = parse_ratios(usage, ratios, ratio, &n_ratios);
    for (const char *at = methods; *at && result == CLI_OK;) {
        const size_t length = strcspn(at, ",");
        char *item = text_format("%.*s", (int)length, at);
        eval_variant v = {.reorder = asking->reorder, .behind = behind};
        iflow_score_from_name(asking->score, &v.score);
        iflow_geometry_from_name(asking->geometry, &v.geometry);
        result = n_methods++ == EVAL_MAX_METHODS ? options_wrong(usage, "--methods: more than %d of them", EVAL_MAX_METHODS)
                                                 : parse_method(usage, item, asking->drift, corrected, &v);
        settle(&v, behind, corrected);
        const bool one = !iflow_method_has_ratio(v.method) || (asking->coverage > 0 && iflow_method_scores(v.method));
        for (size_t r = 0; result == CLI_OK && r < (one ? 1 : n_ratios); r++) {
            v.ratio = iflow_method_has_ratio(v.method) ? ratio[r] : v.method == IFLOW_METHOD_FULL ? 1 : 0;
            add(variant, n, &v);
        }
        free(item);
        at += length + (at[length] == ',');
    }
    if (result != CLI_OK)
        return result;
    return n_methods ? CLI_OK : options_wrong(usage, "--methods is empty; `infoflow methods` lists them");
}
