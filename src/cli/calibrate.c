/* calibrate.c - `infoflow calibrate`: finds by fidelity what suits a model, a choice at a time, and writes it down as its profile. */
#include "calibrate_items.h"
#include "eval_variants.h"
#include "input.h"
#include "output.h"
#include "profile.h"
#include "progress.h"
#include "report.h"
#include "stats.h"
#include "terminal.h"
#include "text.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* An agreement that is trusted, and the KL that stands for none (a token held impossible makes it infinite). */
static const double TRUSTED = 0.9, MOST_KL = 100;
enum { MAX_SETS = 5, N_SCORES = 5, N_METHODS = 4, MAX_MEASURED = 32 };
static const double search_ratio[] = {0.05, 0.1, 0.15, 0.2, 0.3, 0.5};

typedef struct layer_set {
    const char *name;
    layer_list layers; /* n 0: the default's */
} layer_set;

/* Everything that is chosen. */
typedef struct setting {
    iflow_method method;
    iflow_score score;
    size_t set; /* of layers */
    int behind;
    bool uncorrected, no_drift;
    double ratio;
} setting;

/* A setting and what was measured, question by question. */
typedef struct measured {
    setting what;
    const char *stage;
    double *kl, *top1;
    stats_mean difference; /* of KL, to what was the best before */
    bool compared, adopted;
} measured;

typedef struct calibrate {
    session s;
    common_options common;
    const char *questions, *output;
    int limit;
    bool jsonl;
    iflow_context *behind; /* the session's context has chunks alone */
    layer_set set[MAX_SETS];
    size_t n_sets;
    calibrate_items items;
    measured done[MAX_MEASURED];
    size_t n_done, best;    /* index of the setting that is the best so far */
    size_t n_run, n_to_run; /* answers, for the progress */
    double started;
} calibrate;

/* ---- Settings ----------------------------------------------------------------------------------------------------------------------- */

static void add_set(calibrate *c, const char *name, int from, int to) {
    enum { MOST = 16 }; /* layers that a pass can observe; of more, every other one, and so on */
    layer_set *set = &c->set[c->n_sets++];
    const int step = 1 + (to - from - 1) / MOST;
    set->name = name;
    for (int layer = from; layer < to; layer += step) {
        if (c->s.info.score_layer[layer] != layer)
            continue; /* it sees a window alone */
        set->layers.fraction[set->layers.n] = -1;
        set->layers.layer[set->layers.n++] = layer;
    }
    if (set->layers.n == 0)
        c->n_sets--;
}

static void make_sets(calibrate *c) {
    const int n = c->s.info.n_layer;
    c->set[c->n_sets++] = (layer_set){.name = "default layers"};
    add_set(c, "first third", 0, n / 3 > 1 ? n / 3 : 1);
    add_set(c, "middle third", n / 3, 2 * n / 3 > n / 3 ? 2 * n / 3 : n / 3 + 1);
    add_set(c, "last third", 2 * n / 3 < n ? 2 * n / 3 : n - 1, n);
    add_set(c, "last two", n > 2 ? n - 2 : 0, n);
}

static char *name_of(const calibrate *c, const setting *what) {
    text out = {0};
    text_printf(&out, "%s", iflow_method_name(what->method));
    if (iflow_method_looks(what->method))
        text_printf(&out, ", %s, %s", iflow_score_name(what->score), c->set[what->set].name);
    char *chunks = common_chunks(what->behind);
    text_printf(&out, ", chunks %s", chunks);
    free(chunks);
    if (what->uncorrected)
        text_puts(&out, ", uncorrected");
    if (what->no_drift)
        text_puts(&out, ", no drift");
    return out.bytes;
}

static bool is_same(const setting *a, const setting *b) {
    return a->method == b->method && a->score == b->score && a->set == b->set && a->behind == b->behind &&
           a->uncorrected == b->uncorrected && a->no_drift == b->no_drift && fabs(a->ratio - b->ratio) < 1e-9;
}

/* ---- Measuring ---------------------------------------------------------------------------------------------------------------------- */

static void show_progress(calibrate *c, const char *what) {
    char *rate = text_format("%zu of %zu", c->n_run, c->n_to_run);
    const double each = c->n_run ? (now_seconds() - c->started) / (double)c->n_run : 0;
    progress_show((double)c->n_run / (double)c->n_to_run, c->n_run ? each * (double)(c->n_to_run - c->n_run) : -1, rate, what);
    free(rate);
    c->n_run++;
}

static iflow_status measure_item(calibrate *c, const setting *what, const calibrate_item *item, iflow_fidelity *out) {
    iflow_context *ctx = what->behind ? c->behind : c->s.ctx;
    const layer_list *layers = &c->set[what->set].layers;
    iflow_ask_params params = iflow_ask_default_params();
    iflow_answer *answer = NULL;
    params.question = item->question;
    params.method = what->method;
    params.score = what->score;
    params.ratio = what->ratio;
    params.correct = what->uncorrected ? IFLOW_OFF : IFLOW_AUTO;
    params.drift = what->no_drift ? IFLOW_OFF : IFLOW_AUTO;
    params.score_layers = layers->n ? layers->layer : NULL;
    params.n_score_layers = layers->n;
    params.max_tokens = 1; /* the answer is full prefill's, below */
    const size_t n_vocab = (size_t)c->s.info.n_vocab;
    float *logits = must_alloc(item->n_tokens * n_vocab, sizeof *logits);
    iflow_status status = calibrate_item_lay(item, ctx);
    if (status == IFLOW_OK)
        status = iflow_context_ask(ctx, &params, &answer);
    if (status == IFLOW_OK)
        status = iflow_context_replay(ctx, item->token, item->n_tokens, logits);
    if (status == IFLOW_OK)
        *out = iflow_fidelity_of(item->logits, logits, item->n_tokens, n_vocab);
    iflow_answer_free(answer);
    free(logits);
    return status;
}

/* Measures a setting, unless it was, and gives its index. */
static iflow_status measure(calibrate *c, const char *stage, const setting *what, size_t *index) {
    for (*index = 0; *index < c->n_done; ++*index)
        if (is_same(&c->done[*index].what, what))
            return IFLOW_OK;
    measured *m = &c->done[c->n_done++];
    *m = (measured){.what = *what, .stage = stage};
    m->kl = must_alloc(c->items.n, sizeof *m->kl);
    m->top1 = must_alloc(c->items.n, sizeof *m->top1);
    char *name = name_of(c, what);
    iflow_status status = IFLOW_OK;
    for (size_t i = 0; i < c->items.n && status == IFLOW_OK; i++) {
        iflow_fidelity like = {0};
        show_progress(c, name);
        status = measure_item(c, what, &c->items.item[i], &like);
        m->kl[i] = like.kl <= MOST_KL ? like.kl : MOST_KL; /* not a number, too */
        m->top1[i] = like.top1;
    }
    free(name);
    return status;
}

/* ---- The search --------------------------------------------------------------------------------------------------------------------- */

static double mean_of(const double *value, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += value[i];
    return sum / (double)n;
}

/* Tries settings that differ from the best in one choice. The one with the least KL takes its place if the interval of their difference,
 * paired by question, is below zero; else what there was stays. */
static iflow_status try_all(calibrate *c, const char *stage, const setting *other, size_t n) {
    const measured *was = &c->done[c->best];
    const size_t n_items = c->items.n;
    double *difference = must_alloc(n_items, sizeof *difference), least = 0;
    size_t winner = c->best;
    iflow_status status = IFLOW_OK;
    for (size_t i = 0; i < n && status == IFLOW_OK; i++) {
        size_t index = 0;
        status = measure(c, stage, &other[i], &index);
        if (status != IFLOW_OK || index == c->best)
            continue;
        measured *m = &c->done[index];
        for (size_t q = 0; q < n_items; q++)
            difference[q] = m->kl[q] - was->kl[q];
        m->difference = stats_bootstrap(difference, n_items);
        m->compared = true;
        if (n_items >= PROFILE_MIN_QUESTIONS && m->difference.high < 0 && m->difference.mean < least) {
            least = m->difference.mean;
            winner = index;
        }
    }
    c->done[winner].adopted = true;
    c->best = winner;
    free(difference);
    return status;
}

/* Tries to do without what is repaired beside the recompute: the correction, if there is one for the chunks that are best, and drift. */
static iflow_status try_without(calibrate *c) {
    setting other = c->done[c->best].what;
    iflow_status status = IFLOW_OK;
    if (c->s.correction && c->s.corrected.behind == other.behind) {
        other.uncorrected = true;
        status = try_all(c, "repair", &other, 1);
    }
    other = c->done[c->best].what;
    other.no_drift = true;
    return status == IFLOW_OK ? try_all(c, "repair", &other, 1) : status;
}

/* Tries the other sets of layers, scores and methods, each with the best so far. */
static iflow_status try_sets(calibrate *c) {
    setting other[MAX_SETS];
    size_t n = 0;
    for (size_t i = 0; i < c->n_sets; i++) {
        other[n] = c->done[c->best].what;
        other[n].set = i;
        n += i != c->done[c->best].what.set;
    }
    return try_all(c, "layers", other, n);
}

static iflow_status try_scores(calibrate *c) {
    setting other[N_SCORES];
    size_t n = 0;
    for (int i = 0; i < N_SCORES; i++) {
        other[n] = c->done[c->best].what;
        other[n].score = (iflow_score)i;
        n += n < N_SCORES - 1 && (iflow_score)i != c->done[c->best].what.score;
    }
    return try_all(c, "score", other, n);
}

static iflow_status try_methods(calibrate *c) {
    static const iflow_method method[N_METHODS] = {IFLOW_METHOD_INFOFLOW, IFLOW_METHOD_FORESEEN, IFLOW_METHOD_UNION, IFLOW_METHOD_PRODUCT};
    setting other[N_METHODS];
    size_t n = 0;
    for (size_t i = 0; i < N_METHODS; i++) {
        other[n] = c->done[c->best].what;
        other[n].method = method[i];
        n += n < N_METHODS - 1 && method[i] != c->done[c->best].what.method;
    }
    return try_all(c, "method", other, n);
}

static iflow_status search(calibrate *c) {
    const iflow_ask_params usual = iflow_ask_default_params();
    const setting start = {.method = usual.method, .score = usual.score, .behind = common_options_default().behind, .ratio = usual.ratio};
    iflow_status status = measure(c, "default", &start, &c->best);
    if (status != IFLOW_OK)
        return status;
    c->done[c->best].adopted = true;
    setting chunks = start;
    chunks.behind = 0;
    if ((status = try_all(c, "chunks", &chunks, 1)) != IFLOW_OK || (status = try_without(c)) != IFLOW_OK)
        return status;
    if (iflow_method_looks(start.method) && ((status = try_sets(c)) != IFLOW_OK || (status = try_scores(c)) != IFLOW_OK))
        return status;
    return try_methods(c);
}

/* The best at every ratio. index: of search_ratio's. */
static iflow_status measure_ratios(calibrate *c, size_t index[COUNT_OF(search_ratio)]) {
    iflow_status status = IFLOW_OK;
    for (size_t i = 0; i < COUNT_OF(search_ratio) && status == IFLOW_OK; i++) {
        setting what = c->done[c->best].what;
        what.ratio = search_ratio[i];
        status = measure(c, "ratio", &what, &index[i]);
    }
    return status;
}

/* ---- Results ------------------------------------------------------------------------------------------------------------------------ */

static json_t *mean_json(const stats_mean *m) {
    return json_pack("{s:o, s:o, s:o}", "mean", json_finite(m->mean), "low", json_finite(m->low), "high", json_finite(m->high));
}

static json_t *layers_json(const layer_list *layers) {
    json_t *list = layers->n ? json_array() : json_null();
    for (size_t i = 0; i < layers->n; i++)
        json_array_append_new(list, json_integer(layers->layer[i]));
    return list;
}

/* The members that say how it is asked. */
static json_t *setting_json(const calibrate *c, const setting *what) {
    return json_pack("{s:s, s:s, s:o, s:i, s:b, s:b, s:o}", "method", iflow_method_name(what->method), "score",
                     iflow_score_name(what->score), "score_layers", layers_json(&c->set[what->set].layers), "behind", what->behind,
                     "correct", !what->uncorrected, "drift", !what->no_drift, "ratio", json_finite(what->ratio));
}

static json_t *measured_json(const calibrate *c, const measured *m) {
    const stats_mean kl = stats_bootstrap(m->kl, c->items.n), top1 = stats_bootstrap(m->top1, c->items.n);
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

static void print_measured(const calibrate *c, const measured *m) {
    const stats_mean kl = stats_bootstrap(m->kl, c->items.n), top1 = stats_bootstrap(m->top1, c->items.n);
    char *name = name_of(c, &m->what),
         *difference = text_format("%+.3f [%+.3f, %+.3f]", m->difference.mean, m->difference.low, m->difference.high);
    printf("%-8s %-58s %5.2f  %.3f [%.3f, %.3f]  %.3f [%.3f, %.3f]  %s%s\n", m->stage, name, m->what.ratio, kl.mean, kl.low, kl.high,
           top1.mean, top1.low, top1.high, m->compared ? difference : "", m->adopted ? " *" : "");
    free(name);
    free(difference);
}

/* What was found, in words. trusted: index of search_ratio, or their number. */
static void print_verdict(const calibrate *c, const size_t index[COUNT_OF(search_ratio)], size_t trusted, double ratio) {
    const setting *best = &c->done[c->best].what;
    char *name = name_of(c, best);
    printf("\nIt asks best with: %s.\n", name);
    free(name);
    if (c->items.n < PROFILE_MIN_QUESTIONS) {
        printf("Fewer than %d questions tell nothing apart: the defaults stay, the ratio %g, too.\n", PROFILE_MIN_QUESTIONS, ratio);
        return;
    }
    puts("A setting (*) replaced the one before only where the 95% interval of the difference in KL, paired by question, is below "
         "zero.");
    const bool any = trusted < COUNT_OF(search_ratio);
    const size_t at = any ? trusted : COUNT_OF(search_ratio) - 1;
    const double agreement = mean_of(c->done[index[at]].top1, c->items.n);
    if (any && at > 0)
        printf("This model should not be trusted below ratio %g (agreement %.3f there, %.3f at %g; %.2f is wanted).\n", search_ratio[at],
               agreement, mean_of(c->done[index[at - 1]].top1, c->items.n), search_ratio[at - 1], TRUSTED);
    else if (any)
        printf("Every ratio that was tried can be trusted, from %g on (agreement %.3f there; %.2f is wanted).\n", search_ratio[at],
               agreement, TRUSTED);
    else
        printf("None of the ratios is enough: at %g the agreement is %.3f, and %.2f is wanted. Use --method full, or --verify.\n",
               search_ratio[at], agreement, TRUSTED);
    printf("`ask`, `chat` and `eval` will use ratio %g.\n", ratio);
    if (best->behind != common_options_default().behind) {
        char *chunks = common_chunks(best->behind);
        printf("They and `ingest` will prefill chunks %s; documents ingested before are computed again.\n", chunks);
        free(chunks);
    }
}

static int finish(const calibrate *c, const char *path, const size_t index[COUNT_OF(search_ratio)]) {
    const size_t n = COUNT_OF(search_ratio);
    const double usual = iflow_ask_default_params().ratio;
    size_t trusted = n; /* a ratio is if it and all above it agree well enough: one that does by luck is not */
    while (c->items.n >= PROFILE_MIN_QUESTIONS && trusted > 0 && mean_of(c->done[index[trusted - 1]].top1, c->items.n) >= TRUSTED)
        trusted--;
    setting what = c->done[c->best].what;
    /* Less than the default is not recomputed unasked: a few questions show what is needed better than what can be spared. */
    what.ratio = trusted == n ? search_ratio[n - 1] : search_ratio[trusted] > usual ? search_ratio[trusted] : usual;
    if (c->items.n < PROFILE_MIN_QUESTIONS)
        what.ratio = usual;

    size_t n_tokens = 0;
    for (size_t i = 0; i < c->items.n; i++)
        n_tokens += c->items.item[i].n_tokens;
    char date[32] = "";
    const time_t now = time(NULL);
    strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%SZ", gmtime(&now));
    json_t *root =
        json_pack("{s:i, s:s, s:o, s:s, s:I, s:I}", "version", PROFILE_VERSION, "fingerprint", c->s.info.fingerprint, "model",
                  json_text(c->s.info.path), "date", date, "n_questions", (json_int_t)c->items.n, "n_tokens", (json_int_t)n_tokens);
    json_t *asking = setting_json(c, &what), *table = json_array();
    json_object_update(root, asking);
    json_object_set_new(root, "trusted_ratio", trusted < n ? json_finite(search_ratio[trusted]) : json_null());
    json_object_set_new(root, "trusted_top1", json_finite(TRUSTED));
    json_object_set_new(root, "correction", c->s.correction ? json_string(c->s.corrected.id) : json_null());
    printf("%-8s %-58s %5s  %-22s  %-22s  %s\n", "", "", "ratio", "KL to full prefill", "agreement", "difference in KL");
    for (size_t i = 0; i < c->n_done; i++) {
        json_array_append_new(table, measured_json(c, &c->done[i]));
        print_measured(c, &c->done[i]);
    }
    json_object_set_new(root, "measured", table);
    print_verdict(c, index, trusted, what.ratio);
    cli_last_word(NULL);
    const int result = profile_write(path, root);
    if (result == CLI_OK)
        printf("Written to %s\n", visible(path));
    json_decref(asking);
    json_decref(root);
    return result;
}

/* ---- The command -------------------------------------------------------------------------------------------------------------------- */

/* Full prefill's answers; questions that it answers with nothing, or that do not fit, are left out. */
static int answer_items(calibrate *c) {
    const size_t n_all = c->items.n;
    size_t n = 0;
    for (size_t i = 0; i < n_all; i++) {
        calibrate_item *item = &c->items.item[i], *to = &c->items.item[n];
        show_progress(c, "full prefill");
        const iflow_status status = calibrate_item_answer(item, c->s.ctx, (size_t)c->s.info.n_vocab);
        if (status != IFLOW_OK && status != IFLOW_E_CONTEXT)
            return cli_failed(status, item->question);
        if (status == IFLOW_E_CONTEXT || !item->n_tokens) {
            calibrate_item_free(item);
        } else if (n++ != i) {
            *to = *item;
            *item = (calibrate_item){0};
        }
    }
    c->items.n = n;
    if (n < n_all && n)
        cli_note("%zu question%s left out: full prefill gives no answer to them, or they do not fit", n_all - n, plural(n_all - n));
    if (n)
        return CLI_OK;
    cli_error("full prefill gives no answer to any of the %zu questions, or they do not fit: nothing can be measured", n_all);
    return CLI_FAILED;
}

/* Whether the profile that the other commands use was measured on more questions, where these are too few to choose by: it stays unless it
 * is named. Says so. */
static bool is_outweighed(const calibrate *c, const char *path) {
    input in;
    text content = {0};
    if (c->output || c->items.n >= PROFILE_MIN_QUESTIONS)
        return false;
    const bool is_read = input_open_regular(&in, path) && input_all(&in, &content);
    json_t *root = is_read ? json_loadb(content.bytes, content.n, 0, NULL) : NULL;
    const json_int_t n = json_integer_value(json_object_get(root, "n_questions"));
    json_decref(root);
    text_free(&content);
    input_close(&in);
    if (n <= (json_int_t)c->items.n)
        return false;
    cli_error(
        "%s was measured on %s questions and stays: fewer than %d, here %zu, tell nothing apart. Give more, or --output with its name",
        path, human_count((uint64_t)n), PROFILE_MIN_QUESTIONS, c->items.n);
    return true;
}

static int run(calibrate *c, const char *path) {
    if (is_outweighed(c, path))
        return CLI_FAILED;
    size_t index[COUNT_OF(search_ratio)] = {0};
    const size_t n_ratios = COUNT_OF(search_ratio), n_repairs = c->s.correction ? 2 : 1,
                 n_settings = 2 + n_repairs + c->n_sets - 1 + N_SCORES - 1 + N_METHODS - 1 + n_ratios - 1;
    c->n_to_run = c->items.n * (1 + n_settings);
    if (!c->common.quiet)
        cli_note("%zu questions: full prefill, then %zu settings: chunks alone and behind texts, without %sdrift, %zu sets of scoring "
                 "layers, %d scores, %d methods, each with the best so far; and the best at %zu ratios",
                 c->items.n, n_settings, c->s.correction ? "the correction and without " : "", c->n_sets, N_SCORES, N_METHODS, n_ratios);
    c->started = now_seconds();
    int result = answer_items(c);
    if (result == CLI_OK && is_outweighed(c, path)) /* now that some were left out */
        result = CLI_FAILED;
    if (result != CLI_OK)
        return result;
    c->n_to_run = c->n_run + c->items.n * n_settings;
    iflow_status status = search(c);
    if (status == IFLOW_OK)
        status = measure_ratios(c, index);
    progress_end();
    return status == IFLOW_OK ? finish(c, path, index) : cli_failed(status, NULL);
}

/* Opens the two contexts; both note how stale tokens will be, as two of the methods go by it. */
static int open_contexts(const command_usage *usage, calibrate *c) {
    c->common.foresee = true;
    c->common.behind = 0;
    const int result = session_open(usage, &c->common, &c->s);
    if (result != CLI_OK)
        return result;
    common_options behind = c->common;
    behind.behind = common_options_default().behind;
    return session_new_context(&behind, &c->s, &c->behind);
}

int cli_calibrate(int argc, char **argv) {
    static calibrate c = {.limit = 12}; /* too much for a small stack */
    c.common = common_options_asking();
    const command_usage usage = {
        "calibrate", "-m MODEL [OPTION]... {--questions FILE.jsonl|DOC...}",
        "Measures which way of repairing caches keeps a model nearest to full prefill, and from which ratio on it can be trusted;\n"
        "writes a profile that `ask`, `chat`, `eval` and `ingest` then take what is not given from. Questions come from a data set\n"
        "as `infoflow eval` reads, or the model writes them itself over pieces of the documents.\n"
        "\n"
        "Full prefill answers each question; then each setting is measured by what it would have said at each of these tokens\n"
        "(mean KL divergence and agreement on the most likely token). One choice after the other: chunks alone or behind texts,\n"
        "the correction of `infoflow learn` or none, drift or none, scoring layers, score, method, at the default ratio; a choice\n"
        "replaces the default only where the 95% interval of the difference in KL, paired by question, is below zero. The best is\n"
        "then measured at ratios 0.05 to 0.5; trusted is the least of them from which on all agree by at least 0.9. The profile's\n"
        "ratio is that one or the default, whichever is more; 0.5 if none is trusted. Fewer than 6 questions change no default, and\n"
        "replace a profile of more only where --output names it.",
        "  infoflow calibrate -m model.gguf --questions hotpot.jsonl\n  infoflow calibrate -m model.gguf reports/"};
    const option_spec spec[] = {
        OPTION_ROW_MODEL(c.common),
        OPTION_ROW_STORE(c.common),
        {'\0', "no-store", NULL, OPTION_FLAG, &c.common.no_store, 0, 0, "keep the chunks in memory only"},
        {'\0', "questions", "FILE", OPTION_TEXT, &c.questions, 0, 0, "questions and passages, a JSON object a line, instead of documents"},
        {'\0', "limit", "N", OPTION_INT, &c.limit, 1, 1000, "questions at most (default: 12)"},
        {'o', "output", "PROFILE", OPTION_TEXT, &c.output, 0, 0,
         "where the profile goes (default: where the other commands look: infoflow/profiles in $XDG_CONFIG_HOME, else in ~/.config)"},
        {'\0', "jsonl", NULL, OPTION_FLAG, &c.jsonl, 0, 0, "documents hold a JSON object a line, whatever their names"},
        OPTION_ROW_CUT(c.common),
        OPTION_ROW_CORRECTION(c.common),
        OPTION_ROW_KV_TYPE(c.common),
        OPTION_ROW_MAX_SIZE(c.common),
        OPTION_ROWS_ENGINE(c.common),
        OPTION_ROWS_OUTPUT(c.common),
        {0}};
    int first = 0;
    int result = options_parse(&usage, spec, argc, argv, &first);
    if (result != OPTIONS_GO)
        return result;
    if (!c.questions == (first == argc))
        return options_wrong(&usage, c.questions ? "--questions and documents exclude one another"
                                                 : "by what? Give --questions FILE.jsonl, or documents");
    if ((result = sources_check(&usage, argv + first, (size_t)(argc - first))) != CLI_OK)
        return result;
    if (c.output && (result = output_check("--output", c.output, OUTPUT_PROFILE)) != CLI_OK)
        return result;
    char *path = NULL;
    result = session_load_model(&usage, &c.common, &c.s);
    if (result == CLI_OK) {
        path = c.output ? text_format("%s", c.output) : profile_place(c.s.info.fingerprint);
        if (!path)
            result =
                options_wrong(&usage, "where does the profile go? Give -o PROFILE; neither XDG_CONFIG_HOME nor HOME is an absolute path");
    }
    if (result == CLI_OK && !c.output) /* not found out after hours */
        result = output_check("--output", path, OUTPUT_PROFILE);
    cli_last_word("interrupted; nothing was written\n");
    if (result == CLI_OK)
        result = open_contexts(&usage, &c);
    progress_start(c.common.quiet);
    const size_t limit = (size_t)c.limit;
    if (result == CLI_OK)
        result = c.questions ? calibrate_items_read(c.questions, limit, c.s.model, session_chunk_tokens(&c.common), &c.items)
                             : calibrate_items_make(&c.s, &c.common, c.jsonl, argv + first, (size_t)(argc - first), limit, &c.items);
    if (result == CLI_OK) {
        make_sets(&c);
        result = run(&c, path);
    }
    progress_end();
    for (size_t i = 0; i < c.n_done; i++) {
        free(c.done[i].kl);
        free(c.done[i].top1);
    }
    calibrate_items_free(&c.items);
    iflow_context_free(c.behind);
    session_close(&c.s);
    free(path);
    return cli_finish(result);
}
