/* test_golden.c - the whole method, and what is not in the paper, against the golden vectors of the independent numpy reference
 * (tests/reference/golden.py and golden_ours.py). */
#include "support.h"
#include "tolerance.h"

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A golden file: `key count`, then the values. */
typedef struct golden {
    char *text;
    char name[64];
} golden;

static golden read_golden(const char *path) {
    golden g = {0};
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    assert_int_equal(fseek(file, 0, SEEK_END), 0);
    const long n = ftell(file);
    assert_true(n > 0);
    rewind(file);
    g.text = calloc((size_t)n + 1, 1);
    assert_non_null(g.text);
    assert_int_equal(fread(g.text, 1, (size_t)n, file), n);
    fclose(file);
    assert_int_equal(sscanf(g.text, "model 1\n%63s", g.name), 1);
    return g;
}

/* What follows a key; NULL: it is not there. */
static const char *find(const golden *g, const char *key) {
    char start[80];
    const int n = snprintf(start, sizeof start, "\n%s ", key);
    const char *at = strstr(g->text, start);
    return at ? at + n : NULL;
}

/* The values of a key, and how many; fails when it is not there. free(). */
static double *values(const golden *g, const char *key, size_t *n) {
    const char *at = find(g, key);
    if (!at) {
        fail_msg("%s: no key %s", g->name, key);
    }
    char *end = NULL;
    *n = strtoul(at, &end, 10);
    double *value = calloc(*n + 1, sizeof *value);
    assert_non_null(value);
    for (size_t i = 0; i < *n; i++) {
        char *next = NULL;
        value[i] = strtod(end, &next);
        assert_ptr_not_equal(next, end);
        end = next;
    }
    return value;
}

static int32_t *tokens(const golden *g, const char *key, size_t *n) {
    double *value = values(g, key, n);
    int32_t *token = calloc(*n + 1, sizeof *token);
    assert_non_null(token);
    for (size_t i = 0; i < *n; i++) {
        token[i] = (int32_t)value[i];
    }
    free(value);
    return token;
}

static void check_tokens(const golden *g, const char *key, const int32_t *token, size_t n) {
    size_t n_golden = 0;
    int32_t *expected = tokens(g, key, &n_golden);
    if (n != n_golden) {
        fail_msg("%s: %s has %zu values, not %zu", g->name, key, n, n_golden);
    }
    for (size_t i = 0; i < n; i++) {
        if (token[i] != expected[i]) {
            fail_msg("%s: %s[%zu] is %d, not %d", g->name, key, i, (int)token[i], (int)expected[i]);
        }
    }
    free(expected);
}

static double difference(const golden *g, const char *key, const float *value, size_t from, size_t n, double scale);

/* Scores under a key (NULL: not in the file) and, where the file has them, the positions that they select. */
static void check_scored(const golden *g, iflow_context *ctx, const iflow_ask_params *asked, const char *score_key,
                         const char *selected_key) {
    iflow_ask_params params = *asked;
    params.max_tokens = 1;
    iflow_answer *answer = NULL;
    assert_ok(iflow_context_ask(ctx, &params, &answer));
    const size_t n_head = (size_t)answer->chunk[0].length;
    const double most = score_key ? difference(g, score_key, answer->score, n_head, answer->n_context, 0) : 0;
    if (!(most <= TOLERANCE_SCORE)) {
        fail_msg("%s: %s differs by %g", g->name, score_key, most);
    }
    if (selected_key) {
        check_tokens(g, selected_key, answer->selected, answer->n_selected);
    }
    iflow_answer_free(answer);
}

/* Every score, and scoring by norm under every geometry but global, which is every other test's. */
static void check_scores(const golden *g, iflow_context *ctx, const iflow_ask_params *base) {
    char score_key[64], selected_key[64];
    for (int i = 0; iflow_score_name((iflow_score)i); i++) {
        iflow_ask_params params = *base;
        params.score = (iflow_score)i;
        snprintf(score_key, sizeof score_key, "score_%s", iflow_score_name(params.score));
        check_scored(g, ctx, &params, score_key, NULL);
    }
    for (int i = IFLOW_GEOMETRY_GLOBAL + 1; iflow_geometry_name((iflow_geometry)i); i++) {
        iflow_ask_params params = *base;
        params.geometry = (iflow_geometry)i;
        snprintf(score_key, sizeof score_key, "score_norm_%s", iflow_geometry_name(params.geometry));
        snprintf(selected_key, sizeof selected_key, "selected_%s", iflow_geometry_name(params.geometry));
        check_scored(g, ctx, &params, score_key, selected_key);
    }
}

/* Largest difference from a key's values in [from, n), as a share of `scale` (0: the largest value). */
static double difference(const golden *g, const char *key, const float *value, size_t from, size_t n, double scale) {
    size_t n_golden = 0;
    double *expected = values(g, key, &n_golden), most = 0, largest = 0;
    assert_int_equal(n, n_golden);
    for (size_t i = from; i < n; i++) {
        const double d = fabs((double)value[i] - expected[i]);
        most = !(d <= most) ? d : most;
        largest = fabs(expected[i]) > largest ? fabs(expected[i]) : largest;
    }
    free(expected);
    return most / (scale > 0 ? scale : largest);
}

/* One method under its golden name: tokens, logits of the prompt's last token and, where the file has them, selected positions. */
static void check_method(const golden *g, iflow_context *ctx, const iflow_ask_params *params, const char *name, const char *selected) {
    iflow_answer *answer = NULL;
    assert_ok(iflow_context_ask(ctx, params, &answer));
    char key[64];
    size_t n_prompt = 0;
    int32_t *prompt = tokens(g, "prompt", &n_prompt);
    assert_int_equal(answer->n_prompt, n_prompt);
    float *logits = support_logits(ctx, prompt[n_prompt - 1], (int)(answer->n_context + n_prompt));
    snprintf(key, sizeof key, "logits_%s", name);
    const double in_logits = difference(g, key, logits, 0, (size_t)ctx->model->n_vocab, 1);
    if (!(in_logits <= TOLERANCE_LOGIT)) {
        fail_msg("%s: %s differ by %g", g->name, key, in_logits);
    }
    snprintf(key, sizeof key, "tokens_%s", name);
    check_tokens(g, key, answer->token, answer->n_generated);
    if (selected) {
        check_tokens(g, selected, answer->selected, answer->n_selected);
    }
    if (params->reorder) {
        int32_t *order = calloc(answer->n_chunks, sizeof *order);
        assert_non_null(order);
        for (size_t i = 1; i < answer->n_chunks; i++) {
            order[i - 1] = (int32_t)answer->chunk[i].index;
        }
        check_tokens(g, "order", order, answer->n_chunks - 1);
        free(order);
    }
    print_message("%-14s %-18s logits differ by %.2g\n", g->name, name, in_logits);
    free(logits);
    free(prompt);
    iflow_answer_free(answer);
}

static void check_given(const golden *g, iflow_context *ctx, const iflow_ask_params *base) {
    iflow_ask_params params = *base;
    int32_t *selected = tokens(g, "selected", &params.n_given_positions);
    for (size_t i = 0, j = params.n_given_positions; i + 1 < j--; i++) {
        const int32_t other = selected[i];
        selected[i] = selected[j];
        selected[j] = other;
    }
    params.given_positions = selected;
    check_method(g, ctx, &params, "infoflow", "selected");
    free(selected);
}

static void check_methods(const golden *g, iflow_context *ctx, const iflow_ask_params *base) {
    for (int i = 0; iflow_method_name((iflow_method)i); i++) {
        iflow_ask_params params = *base;
        params.method = (iflow_method)i;
        const char *name = iflow_method_name(params.method);
        if (params.method == IFLOW_METHOD_RANDOM || iflow_method_get_info(params.method)->by_staleness) {
            continue; /* its positions are the C side's own: test_select.c has what must hold of them; the others are test_ours' */
        }
        if (params.method == IFLOW_METHOD_GIVEN) { /* infoflow's positions, from the last to the first: whatever follows is infoflow's */
            check_given(g, ctx, &params);
            continue;
        }
        const bool selects = params.method != IFLOW_METHOD_FULL && params.method != IFLOW_METHOD_NONE;
        char selected[64] = "selected";
        if (params.method != IFLOW_METHOD_INFOFLOW) {
            snprintf(selected, sizeof selected, "selected_%s", name);
        }
        check_method(g, ctx, &params, name, selects ? selected : NULL);
    }
    iflow_ask_params params = *base;
    params.reorder = true;
    check_method(g, ctx, &params, "reorder", "selected_reorder");
}

/* The context of a golden file, its chunks after that many texts, and the parameters that all its asks share. */
static iflow_context *make_context(const golden *g, const iflow_model *model, int fillers, int32_t **layer, iflow_ask_params *params) {
    iflow_context *ctx = NULL;
    size_t n_chunks = 0, n_tokens = 0, n_layers = 0, n_ratio = 0, at = 0;
    int32_t *length = tokens(g, "chunk_length", &n_chunks), *token = tokens(g, "chunk_tokens", &n_tokens);
    double *ratio = values(g, "ratio", &n_ratio);
    assert_ok(iflow_context_new(model, NULL, &IFLOW_PARAMS(iflow_context_params, .fillers = fillers ? fillers : IFLOW_NO_FILLERS), &ctx));
    for (size_t i = 0; i < n_chunks; i++) {
        assert_ok(iflow_context_add_tokens(ctx, token + at, (size_t)length[i]));
        at += (size_t)length[i];
    }
    assert_int_equal(at, n_tokens);
    *layer = tokens(g, "score_layers", &n_layers);
    *params = iflow_ask_default_params();
    params->instruction = "Answer the question."; /* golden.py's */
    params->question = "Which of the rivers is in the west?";
    params->ratio = ratio[0];
    params->drift = IFLOW_OFF;
    params->score_layers = *layer;
    params->n_score_layers = n_layers;
    free(length), free(token), free(ratio);
    return ctx;
}

static void check_golden(const char *path) {
    const golden g = read_golden(path);
    iflow_model *model = NULL;
    iflow_ask_params params;
    int32_t *layer = NULL;
    assert_ok(iflow_model_load(support_tiny_model(g.name), NULL, &model));
    check_tokens(&g, "sink", model->sink, model->n_sink);
    iflow_context *ctx = make_context(&g, model, 0, &layer, &params);
    params.max_tokens = 12;
    check_methods(&g, ctx, &params);
    check_scores(&g, ctx, &params);

    /* The context is the golden head, then the chunks. */
    iflow_answer *answer = NULL;
    size_t n_tokens = 0, n_head = 0;
    int32_t *head = tokens(&g, "head", &n_head), *token = tokens(&g, "chunk_tokens", &n_tokens);
    assert_ok(iflow_context_ask(ctx, &params, &answer));
    assert_int_equal(answer->n_context, n_head + n_tokens);
    assert_memory_equal(answer->context_token, head, n_head * sizeof *head);
    assert_memory_equal(answer->context_token + n_head, token, n_tokens * sizeof *token);
    iflow_answer_free(answer);

    free(layer), free(head), free(token);
    iflow_context_free(ctx);
    iflow_model_free(model);
    free(g.text);
}

/* ASKS of golden_ours.py. */
static const struct {
    const char *name, *score_key; /* of the scores that the answer comes with, where the file has them */
    iflow_method method;
    int fillers;
    bool answers;
    double share, coverage, min_ratio, max_ratio; /* 0: as it is by default */
    iflow_switch drift;                           /* AUTO: off */
    float corrected;                              /* by so many times what is learned from the same context */
} ours[] = {
    {"none-filler", NULL, IFLOW_METHOD_NONE, 1, true, 0, 0, 0, 0, IFLOW_AUTO, 0},
    {"infoflow-filler", "score_norm_infoflow-filler", IFLOW_METHOD_INFOFLOW, 1, true, 0, 0, 0, 0, IFLOW_AUTO, 0},
    {"staleness", "staleness", IFLOW_METHOD_STALENESS, 0, true, 0, 0, 0, 0, IFLOW_AUTO, 0},
    {"staleness-filler", "staleness", IFLOW_METHOD_STALENESS, 1, true, 0, 0, 0, 0, IFLOW_AUTO, 0},
    {"union", NULL, IFLOW_METHOD_UNION, 0, true, 0, 0, 0, 0, IFLOW_AUTO, 0},
    {"union-filler", "score_norm_infoflow-filler", IFLOW_METHOD_UNION, 1, true, 0, 0, 0, 0, IFLOW_AUTO, 0},
    {"union-third", NULL, IFLOW_METHOD_UNION, 0, false, 1.0 / 3, 0, 0, 0, IFLOW_AUTO, 0},
    {"union-third-filler", NULL, IFLOW_METHOD_UNION, 1, false, 1.0 / 3, 0, 0, 0, IFLOW_AUTO, 0},
    {"inside", NULL, IFLOW_METHOD_INFOFLOW, 0, false, 0, 0.4, 0.05, 0.9, IFLOW_AUTO, 0},
    {"floor", NULL, IFLOW_METHOD_INFOFLOW, 0, false, 0, 0.2, 0.3, 0.6, IFLOW_AUTO, 0},
    {"cap", NULL, IFLOW_METHOD_INFOFLOW, 0, false, 0, 0.9, 0.1, 0.25, IFLOW_AUTO, 0},
    {"inside-staleness", "staleness", IFLOW_METHOD_STALENESS, 0, false, 0, 0.4, 0.05, 0.9, IFLOW_AUTO, 0},
    {"none-three", NULL, IFLOW_METHOD_NONE, 3, true, 0, 0, 0, 0, IFLOW_AUTO, 0},
    {"infoflow-three", "score_norm_infoflow-three", IFLOW_METHOD_INFOFLOW, 3, true, 0, 0, 0, 0, IFLOW_AUTO, 0},
    {"staleness-three", "staleness_three", IFLOW_METHOD_STALENESS, 3, true, 0, 0, 0, 0, IFLOW_AUTO, 0},
    {"union-three", "score_norm_infoflow-three", IFLOW_METHOD_UNION, 3, true, 0, 0, 0, 0, IFLOW_AUTO, 0},
    {"product-three", "score_product-three", IFLOW_METHOD_PRODUCT, 3, true, 0, 0, 0, 0, IFLOW_AUTO, 0},
    {"drift", NULL, IFLOW_METHOD_INFOFLOW, 2, true, 0, 0, 0, 0, IFLOW_ON, 0},
    {"no-drift", NULL, IFLOW_METHOD_INFOFLOW, 2, true, 0, 0, 0, 0, IFLOW_AUTO, 0},
    {"corrected", NULL, IFLOW_METHOD_INFOFLOW, 2, true, 0, 0, 0, 0, IFLOW_AUTO, 1},
    {"overcorrected", NULL, IFLOW_METHOD_INFOFLOW, 2, true, 0, 0, 0, 0, IFLOW_ON, 2},
};
enum { N_OURS = sizeof ours / sizeof *ours };
static int n_checked[N_OURS]; /* files that ask it */

static void check_ask(const golden *g, iflow_context *ctx, const iflow_ask_params *base, int i) {
    iflow_ask_params params = *base;
    char selected[64];
    snprintf(selected, sizeof selected, "selected_%s", ours[i].name);
    if (!find(g, selected)) {
        return;
    }
    iflow_correction *correction = ours[i].corrected > 0 ? support_learn(ctx) : NULL;
    if (correction) {
        support_overdo(correction, ctx->model->h.n_layer, ours[i].corrected);
    }
    ctx->timeline.correction = correction;
    params.method = ours[i].method;
    params.max_tokens = 4;
    params.drift = ours[i].drift ? ours[i].drift : IFLOW_OFF;
    params.staleness_share = ours[i].share > 0 ? ours[i].share : params.staleness_share;
    if (ours[i].coverage > 0) {
        params.coverage = ours[i].coverage;
        params.min_ratio = ours[i].min_ratio;
        params.max_ratio = ours[i].max_ratio;
    }
    if (ours[i].answers) {
        check_method(g, ctx, &params, ours[i].name, selected);
    }
    if (ours[i].score_key || !ours[i].answers) {
        check_scored(g, ctx, &params, ours[i].score_key, selected);
    }
    n_checked[i]++;
    ctx->timeline.correction = NULL;
    iflow_correction_free(correction);
}

static void check_ours(const char *path) {
    const golden g = read_golden(path);
    iflow_model *model = NULL;
    size_t n_text_tokens = 0;
    free(tokens(&g, "texts", &n_text_tokens));
    /* Not in 8 bits, by which a map's products are elsewhere (test_correct). */
    const iflow_model_params exact = IFLOW_PARAMS(iflow_model_params, .exact = find(&g, "selected_corrected") != NULL);
    assert_ok(iflow_model_load(support_tiny_model(g.name), &exact, &model));
    for (int fillers = 0; fillers <= 3; fillers++) {
        iflow_ask_params base;
        int32_t *layer = NULL;
        iflow_context *ctx = make_context(&g, model, fillers, &layer, &base);
        check_tokens(&g, "texts", ctx->builder.texts.token + model->n_sink, ctx->builder.texts.end[n_text_tokens / 160] - model->n_sink);
        for (int i = 0; i < N_OURS; i++) {
            if (ours[i].fillers == fillers) {
                check_ask(&g, ctx, &base, i);
            }
        }
        free(layer);
        iflow_context_free(ctx);
    }
    iflow_model_free(model);
    free(g.text);
}

/* Checks every golden file of a directory, and that there are that many at least. */
static void check_dir(const char *dir_name, void (*check)(const char *path), int n_least) {
    DIR *dir = opendir(dir_name);
    assert_non_null(dir);
    int n = 0;
    for (struct dirent *entry; (entry = readdir(dir));) {
        const size_t length = strlen(entry->d_name);
        if (length > 4 && !strcmp(entry->d_name + length - 4, ".txt")) {
            char path[8192];
            snprintf(path, sizeof path, "%s/%s", dir_name, entry->d_name);
            check(path);
            n++;
        }
    }
    closedir(dir);
    assert_true(n >= n_least);
}

static void test_golden(void **state) {
    (void)state;
    check_dir(support_env("INFOFLOW_GOLDEN"), check_golden, 13);
}

static void test_ours(void **state) {
    (void)state;
    char dir[4096];
    snprintf(dir, sizeof dir, "%s/ours", support_env("INFOFLOW_GOLDEN"));
    check_dir(dir, check_ours, 25);
    for (int i = 0; i < N_OURS; i++) {
        assert_true(n_checked[i] >= 5);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_golden), cmocka_unit_test(test_ours)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
