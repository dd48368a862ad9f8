/* calibration.c - finds by fidelity what suits a model, a choice at a time, and from which ratio on it can be trusted. */
#include "service/calibration.h"

#include "base/base.h"
#include "base/cancel.h"

#include <math.h>
#include <stdlib.h>

static const double MOST_KL = 100; /* stands for a divergence that is none: a token held impossible makes it infinite */

const double calibration_trusted = 0.9;
const double calibration_ratio[CALIBRATION_RATIOS] = {0.05, 0.1, 0.15, 0.2, 0.3, 0.5};

/* ---- Settings ----------------------------------------------------------------------------------------------------------------------- */

/* Of more layers than a pass can observe, every other one, and so on. */
static void add_set(calibration *c, const char *name, int from, int to) {
    calibration_layers *set = &c->set[c->n_sets++];
    const int step = 1 + (to - from - 1) / IFLOW_MAX_SCORE_LAYERS;
    set->name = name;
    for (int layer = from; layer < to; layer += step) {
        if (c->score_layer[layer] == layer) { /* else it sees a window alone */
            set->layer[set->n++] = layer;
        }
    }
    c->n_sets -= set->n == 0;
}

void calibration_begin(calibration *c) {
    const int n = c->n_layer;
    c->set[c->n_sets++] = (calibration_layers){.name = "default layers"};
    add_set(c, "first third", 0, n / 3 > 1 ? n / 3 : 1);
    add_set(c, "middle third", n / 3, 2 * n / 3 > n / 3 ? 2 * n / 3 : n / 3 + 1);
    add_set(c, "last third", 2 * n / 3 < n ? 2 * n / 3 : n - 1, n);
    add_set(c, "last two", n > 2 ? n - 2 : 0, n);
}

size_t calibration_settings(const calibration *c) {
    const size_t n_repairs = c->corrects >= 0 ? 2 : 1;
    return 2 + n_repairs + CALIBRATION_MAX_SETS - 1 + CALIBRATION_SCORES - 1 + CALIBRATION_METHODS - 1 + CALIBRATION_RATIOS - 1;
}

static bool is_same(const calibration_setting *a, const calibration_setting *b) {
    return a->method == b->method && a->score == b->score && a->set == b->set && a->fillers == b->fillers &&
           a->uncorrected == b->uncorrected && a->no_drift == b->no_drift && fabs(a->ratio - b->ratio) < 1e-9;
}

/* ---- Measuring ---------------------------------------------------------------------------------------------------------------------- */

/* Before an answer. E_CANCELLED. */
static iflow_status begin_answer(calibration *c, const calibration_setting *what) {
    if (c->progress) {
        c->progress(c, what, c->user);
    }
    return iflow_cancel_check();
}

static iflow_status lay(const calibration_item *item, iflow_context *ctx) {
    iflow_context_clear(ctx);
    return chunk_list_lay(&item->chunks, ctx);
}

static iflow_status measure_item(calibration *c, const calibration_setting *what, const calibration_item *item, iflow_fidelity *out) {
    iflow_context *ctx = what->fillers ? c->filled : c->bare;
    const calibration_layers *layers = &c->set[what->set];
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
    float *logits = iflow_calloc(item->n_tokens * c->n_vocab, sizeof *logits);
    iflow_status status = logits ? lay(item, ctx) : iflow_fail_memory(item->n_tokens * c->n_vocab * sizeof *logits);
    if (status == IFLOW_OK) {
        status = iflow_context_ask(ctx, &params, &answer);
    }
    if (status == IFLOW_OK) {
        status = iflow_context_replay(ctx, item->token, item->n_tokens, logits);
    }
    if (status == IFLOW_OK) {
        *out = iflow_fidelity_of(item->logits, logits, item->n_tokens, c->n_vocab);
    }
    iflow_answer_free(answer);
    free(logits);
    return status;
}

/* Measures a setting, unless it was, and gives its index. */
static iflow_status measure(calibration *c, const char *stage, const calibration_setting *what, size_t *index) {
    for (*index = 0; *index < c->n_done; ++*index) {
        if (is_same(&c->done[*index].what, what)) {
            return IFLOW_OK;
        }
    }
    calibration_measured *m = &c->done[c->n_done++];
    *m = (calibration_measured){.what = *what, .stage = stage};
    m->kl = iflow_calloc(c->n_items, sizeof *m->kl);
    m->top1 = iflow_calloc(c->n_items, sizeof *m->top1);
    if (!m->kl || !m->top1) {
        return iflow_fail_memory(2 * c->n_items * sizeof *m->kl);
    }
    iflow_status status = IFLOW_OK;
    for (size_t i = 0; i < c->n_items && status == IFLOW_OK; i++) {
        iflow_fidelity like = {0};
        status = begin_answer(c, what);
        if (status == IFLOW_OK) {
            status = measure_item(c, what, &c->item[i], &like);
        }
        m->kl[i] = like.kl <= MOST_KL ? like.kl : MOST_KL; /* not a number, too */
        m->top1[i] = like.top1;
    }
    return status;
}

/* ---- The search --------------------------------------------------------------------------------------------------------------------- */

static double mean_of(const double *value, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        sum += value[i];
    }
    return sum / (double)n;
}

/* Tries settings that differ from the best in one choice. The one with the least KL takes its place if the interval of their difference,
 * paired by question, is below zero; else what there was stays. */
static iflow_status try_all(calibration *c, const char *stage, const calibration_setting *other, size_t n) {
    const calibration_measured *was = &c->done[c->best];
    double *difference = iflow_calloc(c->n_items, sizeof *difference), least = 0;
    size_t winner = c->best;
    iflow_status status = IFLOW_OK;
    if (!difference) {
        return iflow_fail_memory(c->n_items * sizeof *difference);
    }
    for (size_t i = 0; i < n && status == IFLOW_OK; i++) {
        size_t index = 0;
        status = measure(c, stage, &other[i], &index);
        if (status != IFLOW_OK || index == c->best) {
            continue;
        }
        calibration_measured *m = &c->done[index];
        for (size_t q = 0; q < c->n_items; q++) {
            difference[q] = m->kl[q] - was->kl[q];
        }
        m->difference = stats_bootstrap(difference, c->n_items);
        m->compared = true;
        if (c->n_items >= CALIBRATION_MIN_QUESTIONS && m->difference.high < 0 && m->difference.mean < least) {
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
static iflow_status try_without(calibration *c) {
    calibration_setting other = c->done[c->best].what;
    iflow_status status = IFLOW_OK;
    if (c->corrects >= 0 && c->corrects == other.fillers) {
        other.uncorrected = true;
        status = try_all(c, "repair", &other, 1);
    }
    other = c->done[c->best].what;
    other.no_drift = true;
    return status == IFLOW_OK ? try_all(c, "repair", &other, 1) : status;
}

/* Tries the other sets of layers, scores and methods, each with the best so far. */
static iflow_status try_sets(calibration *c) {
    calibration_setting other[CALIBRATION_MAX_SETS];
    size_t n = 0;
    for (size_t i = 0; i < c->n_sets; i++) {
        other[n] = c->done[c->best].what;
        other[n].set = i;
        n += i != c->done[c->best].what.set;
    }
    return try_all(c, "layers", other, n);
}

static iflow_status try_scores(calibration *c) {
    calibration_setting other[CALIBRATION_SCORES];
    size_t n = 0;
    for (int i = 0; i < CALIBRATION_SCORES; i++) {
        other[n] = c->done[c->best].what;
        other[n].score = (iflow_score)i;
        n += n < CALIBRATION_SCORES - 1 && (iflow_score)i != c->done[c->best].what.score;
    }
    return try_all(c, "score", other, n);
}

static iflow_status try_methods(calibration *c) {
    static const iflow_method method[CALIBRATION_METHODS] = {IFLOW_METHOD_INFOFLOW, IFLOW_METHOD_STALENESS, IFLOW_METHOD_UNION,
                                                             IFLOW_METHOD_PRODUCT};
    calibration_setting other[CALIBRATION_METHODS];
    size_t n = 0;
    for (size_t i = 0; i < CALIBRATION_METHODS; i++) {
        other[n] = c->done[c->best].what;
        other[n].method = method[i];
        n += n < CALIBRATION_METHODS - 1 && method[i] != c->done[c->best].what.method;
    }
    return try_all(c, "method", other, n);
}

static iflow_status search(calibration *c) {
    const iflow_ask_params usual = iflow_ask_default_params();
    const calibration_setting start = {.method = usual.method, .score = usual.score, .fillers = c->n_fillers, .ratio = usual.ratio};
    iflow_status status = measure(c, "default", &start, &c->best);
    if (status != IFLOW_OK) {
        return status;
    }
    c->done[c->best].adopted = true;
    calibration_setting chunks = start;
    chunks.fillers = 0;
    if ((status = try_all(c, "chunks", &chunks, 1)) != IFLOW_OK || (status = try_without(c)) != IFLOW_OK) {
        return status;
    }
    if (iflow_method_get_info(start.method)->by_question && ((status = try_sets(c)) != IFLOW_OK || (status = try_scores(c)) != IFLOW_OK)) {
        return status;
    }
    return try_methods(c);
}

/* Which ratio is trusted, and which is asked with. */
static void choose_ratio(calibration *c) {
    const double usual = iflow_ask_default_params().ratio;
    const size_t n = CALIBRATION_RATIOS;
    const bool many = c->n_items >= CALIBRATION_MIN_QUESTIONS;
    c->trusted = n; /* a ratio is if it and all above it agree well enough: one that does by luck is not */
    while (many && c->trusted > 0 && calibration_agreement(c, c->trusted - 1) >= calibration_trusted) {
        c->trusted--;
    }
    /* Less than the default is not recomputed unasked: a few questions show what is needed better than what can be spared. */
    c->use = c->trusted == n ? calibration_ratio[n - 1] : fmax(calibration_ratio[c->trusted], usual);
    c->use = many ? c->use : usual;
}

iflow_status calibration_search(calibration *c) {
    iflow_status status = search(c);
    for (size_t i = 0; i < CALIBRATION_RATIOS && status == IFLOW_OK; i++) {
        calibration_setting what = c->done[c->best].what;
        what.ratio = calibration_ratio[i];
        status = measure(c, "ratio", &what, &c->ratio[i]);
    }
    if (status == IFLOW_OK) {
        choose_ratio(c);
    }
    return status;
}

double calibration_agreement(const calibration *c, size_t i) {
    return mean_of(c->done[c->ratio[i]].top1, c->n_items);
}

/* ---- Items -------------------------------------------------------------------------------------------------------------------------- */

static void item_free(calibration_item *item) {
    free(item->question);
    iflow_free(item->token);
    free(item->logits);
    chunk_list_free(&item->chunks);
    *item = (calibration_item){0};
}

/* Has full prefill answer the question and keeps what its tokens are predicted by; n_tokens stays 0 if it answers nothing. */
static iflow_status answer_item(calibration *c, calibration_item *item) {
    iflow_ask_params params = iflow_ask_default_params();
    iflow_answer *full = NULL;
    params.question = item->question;
    params.method = IFLOW_METHOD_FULL;
    params.max_tokens = CALIBRATION_TOKENS;
    iflow_status status = lay(item, c->bare);
    if (status == IFLOW_OK) {
        status = iflow_context_ask(c->bare, &params, &full);
    }
    if (status == IFLOW_OK && full->n_generated) { /* replayed like everybody's, so that both sides were computed in the same way */
        item->logits = iflow_calloc(full->n_generated * c->n_vocab, sizeof *item->logits);
        status = item->logits ? iflow_context_replay(c->bare, full->token, full->n_generated, item->logits)
                              : iflow_fail_memory(full->n_generated * c->n_vocab * sizeof *item->logits);
        item->n_tokens = full->n_generated;
        item->token = full->token;
        full->token = NULL;
    }
    iflow_answer_free(full);
    return status;
}

iflow_status calibration_answer(calibration *c) {
    const size_t n_all = c->n_items;
    size_t n = 0;
    for (size_t i = 0; i < n_all; i++) {
        calibration_item *item = &c->item[i], *to = &c->item[n];
        iflow_status status = begin_answer(c, NULL);
        if (status == IFLOW_OK) {
            status = answer_item(c, item);
        }
        if (status != IFLOW_OK && status != IFLOW_E_CONTEXT) {
            c->failed = item;
            return status;
        }
        if (status == IFLOW_E_CONTEXT || !item->n_tokens) {
            item_free(item);
        } else if (n++ != i) {
            *to = *item;
            *item = (calibration_item){0};
        }
    }
    c->n_items = n;
    return IFLOW_OK;
}

void calibration_free(calibration *c) {
    for (size_t i = 0; i < c->n_items; i++) {
        item_free(&c->item[i]);
    }
    for (size_t i = 0; i < c->n_done; i++) {
        free(c->done[i].kl);
        free(c->done[i].top1);
    }
    free(c->item);
    c->item = NULL;
    c->n_items = c->n_done = 0;
}
