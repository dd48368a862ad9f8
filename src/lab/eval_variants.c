/* eval_variants.c - parses the methods, settings and ratios that an evaluation compares. */
#include "lab/eval_variants.h"

#include "cli/text.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int parse_ratios(const command_usage *usage, const char *ratios, double ratio[EVAL_MAX_RATIOS], size_t *n) {
    for (const char *at = ratios; *n < EVAL_MAX_RATIOS;) {
        const size_t length = strcspn(at, ",");
        if (!parse_number(at, length, 0, 1, &ratio[*n])) {
            break;
        }
        ++*n;
        if (!at[length]) {
            return CLI_OK;
        }
        at += length + 1;
    }
    return options_wrong(usage, "--ratio takes numbers from 0 to 1 separated by commas, at most %d of them, not '%s'", EVAL_MAX_RATIOS,
                         ratios);
}

/* What the words after a method's colon set, one of each. */
enum { WORD_SCORE, WORD_GEOMETRY, WORD_REORDER, WORD_DRIFT, WORD_CORRECT, WORD_CHUNKS, WORDS, WORD_UNKNOWN };

/* A word as it is called today, where it has an earlier version's name; says so then. now [16]: where it is written. */
static const char *word_today(const char *word, char now[16]) {
    static const char behind[] = "behind";
    const size_t n = sizeof behind - 1;
    int fillers = -1;
    if (strcmp(word, "alone") == 0) {
        fillers = 0;
    } else if (strcmp(word, behind) == 0) {
        fillers = common_options_default().fillers;
    } else if (strncmp(word, behind, n) == 0 && word[n] == '=' && word[n + 1] >= '0' && word[n + 1] <= '9' && !word[n + 2]) {
        fillers = word[n + 1] - '0';
    } else {
        return word;
    }
    snprintf(now, 16, "fillers=%d", fillers);
    cli_note("infoflow: --methods: %s is %s now", word, now);
    return now;
}

/* Sets what a word says. */
static int set(eval_variant *v, const char *word) {
    if (strcmp(word, "reorder") == 0) {
        v->reorder = true;
        return WORD_REORDER;
    }
    if (strcmp(word, "drift") == 0 || strcmp(word, "nodrift") == 0) {
        v->drift = word[0] == 'd';
        return WORD_DRIFT;
    }
    if (strcmp(word, "corrected") == 0 || strcmp(word, "uncorrected") == 0) {
        v->correct = word[0] == 'c';
        return WORD_CORRECT;
    }
    static const char fillers[] = "fillers=";
    const size_t n = sizeof fillers - 1;
    if (strncmp(word, fillers, n) == 0 && word[n] >= '0' && word[n] <= '0' + IFLOW_MAX_FILLERS && !word[n + 1]) {
        v->fillers = word[n] - '0';
        return WORD_CHUNKS;
    }
    if (iflow_score_from_name(word, &v->score) == IFLOW_OK) {
        return WORD_SCORE;
    }
    return iflow_geometry_from_name(word, &v->geometry) == IFLOW_OK ? WORD_GEOMETRY : WORD_UNKNOWN;
}

/* Whether a word can make a difference to a method. */
static bool matters(int what, iflow_method method) {
    if (what <= WORD_REORDER) {
        return iflow_method_get_info(method)->by_question;
    }
    return method != IFLOW_METHOD_FULL && (what != WORD_DRIFT || method != IFLOW_METHOD_NONE);
}

/* Takes a word of a method's; said: the words before it, by what they set. */
static int take_word(const command_usage *usage, const char *item, const char *word, const char *said[WORDS], eval_variant *v) {
    char now[16];
    const int what = set(v, word_today(word, now));
    if (what == WORD_UNKNOWN) {
        return options_wrong(usage,
                             "--methods: '%s' of %s is no setting: there are the scores and geometries of `infoflow methods`, "
                             "reorder, drift, nodrift, corrected, uncorrected, and fillers=0 to fillers=%d",
                             word, item, IFLOW_MAX_FILLERS);
    }
    if (!matters(what, v->method)) {
        return options_wrong(usage, "--methods: '%s' makes no difference to %s; leave it out", word, item);
    }
    if (said[what] && strcmp(said[what], word) != 0) {
        return options_wrong(usage, "--methods: '%s' and '%s' of %s exclude one another", said[what], word, item);
    }
    said[what] = word;
    return CLI_OK;
}

/* What can make no difference is the same in all variants, so that they are known as one. */
static void settle(eval_variant *v, int fillers, const iflow_correction_info *corrected) {
    const ask_settings usual = ask_settings_default();
    if (!iflow_method_get_info(v->method)->by_question) {
        iflow_score_from_name(usual.score, &v->score);
        iflow_geometry_from_name(usual.geometry, &v->geometry);
        v->reorder = false;
    }
    v->drift = v->drift && v->method != IFLOW_METHOD_FULL && v->method != IFLOW_METHOD_NONE;
    v->correct = v->correct && v->method != IFLOW_METHOD_FULL && corrected && corrected->id[0] && v->fillers == corrected->fillers;
    v->fillers = v->method == IFLOW_METHOD_FULL ? fillers : v->fillers; /* it uses no chunk */
}

static bool same(const eval_variant *a, const eval_variant *b) {
    return a->method == b->method && fabs(a->ratio - b->ratio) < 5e-7 /* records have six digits of it */ && a->score == b->score &&
           a->geometry == b->geometry && a->reorder == b->reorder && a->drift == b->drift && a->correct == b->correct &&
           a->fillers == b->fillers;
}

static void add(eval_variant variant[EVAL_MAX_VARIANTS], size_t *n, const eval_variant *v) {
    size_t i = 0;
    while (i < *n && !same(&variant[i], v)) {
        i++;
    }
    if (i == *n) {
        variant[(*n)++] = *v;
    }
}

/* One item of --methods: a name, perhaps a colon and words joined by '+'. */
static int parse_method(const command_usage *usage, char *item, const char *drift, const iflow_correction_info *corrected,
                        eval_variant *v) {
    char *words = strchr(item, ':');
    if (words) {
        *words++ = '\0';
    }
    if (iflow_method_from_name(options_method_today("--methods", item), &v->method) != IFLOW_OK) {
        return options_wrong(usage, "--methods takes names separated by commas: %s", iflow_error_message());
    }
    v->drift = strcmp(drift, "on") == 0 || (strcmp(drift, "auto") == 0 && iflow_method_get_info(v->method)->repairs);
    v->correct = iflow_method_get_info(v->method)->repairs;
    const char *said[WORDS] = {0};
    for (char *word = words, *next; word; word = next) {
        next = strchr(word, '+');
        if (next) {
            *next++ = '\0';
        }
        const int result = take_word(usage, item, word, said, v);
        if (result != CLI_OK) {
            return result;
        }
    }
    if (!corrected || !said[WORD_CORRECT] || !v->correct) {
        return CLI_OK;
    }
    if (!corrected->id[0]) {
        return options_wrong(usage, "--methods: there is no correction for %s; `infoflow learn` makes one, --correction names one", item);
    }
    if (v->fillers != corrected->fillers) {
        char *chunks = common_chunks(corrected->fillers);
        const int result = options_wrong(usage, "--methods: %s cannot be corrected: the correction is for chunks %s", item, chunks);
        free(chunks);
        return result;
    }
    return CLI_OK;
}

int eval_variants_parse(const command_usage *usage, const char *methods, const char *ratios, const ask_options *how, int fillers,
                        const iflow_correction_info *corrected, eval_variant variant[EVAL_MAX_VARIANTS], size_t *n) {
    double ratio[EVAL_MAX_RATIOS];
    size_t n_ratios = 0, n_methods = 0;
    int result = parse_ratios(usage, ratios, ratio, &n_ratios);
    for (const char *at = methods; at && result == CLI_OK;) {
        const size_t length = strcspn(at, ",");
        char *item = text_format("%.*s", (int)length, at);
        eval_variant v = {.reorder = how->set.reorder, .fillers = fillers};
        iflow_score_from_name(how->set.score, &v.score);
        iflow_geometry_from_name(how->set.geometry, &v.geometry);
        result = n_methods++ == EVAL_MAX_METHODS ? options_wrong(usage, "--methods: more than %d of them", EVAL_MAX_METHODS)
                                                 : parse_method(usage, item, how->set.drift, corrected, &v);
        settle(&v, fillers, corrected);
        const bool one =
            !iflow_method_get_info(v.method)->by_ratio || (how->set.coverage > 0 && iflow_method_get_info(v.method)->has_scores);
        for (size_t r = 0; result == CLI_OK && r < (one ? 1 : n_ratios); r++) {
            v.ratio = iflow_method_get_info(v.method)->by_ratio ? ratio[r] : v.method == IFLOW_METHOD_FULL ? 1 : 0;
            add(variant, n, &v);
        }
        free(item);
        at = at[length] ? at + length + 1 : NULL;
    }
    return result;
}
