/* eval_summary.c - the numbers of an evaluation, computed once: means, intervals, paired differences, stages; and their tables as text. */
#include "lab/eval_summary.h"

#include "cli/text.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- What is measured --------------------------------------------------------------------------------------------------------------- */

/* The widths make 120 columns with names as long as "epic-ratio". */
const eval_measure eval_measures[EVAL_MEASURES] = {
    [EVAL_F1] = {"F1", "", 11, 4, 3, false, true},
    [EVAL_EXACT] = {"EM", "", 11, 4, 3, false, false},
    [EVAL_CONTAINS] = {"CONTAINS", "", 11, 4, 3, false, false},
    [EVAL_KL] = {"KL", "", 13, 4, 4, true, true},
    [EVAL_TOP1] = {"TOP-1", "", 11, 4, 3, true, false},
    [EVAL_TTFT] = {"TTFT ms", "", 11, 1, 1, false, false},
    [EVAL_RECOMPUTED] = {"RECOMPUTED", "%", 10, 1, -1, false, false},
};

/* A number of a record; NAN where it is not there, or null. */
static double number(const json_t *record, const char *outer, const char *key) {
    const json_t *value = json_object_get(outer ? json_object_get(record, outer) : record, key);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

double eval_measure_of(const json_t *record, int measure) {
    static const char *const key[] = {"f1", "em", "contains", "kl", "top1"};
    if (measure == EVAL_TTFT) {
        return number(record, "timings_ms", "ttft");
    }
    if (measure != EVAL_RECOMPUTED) {
        return number(record, NULL, key[measure]);
    }
    const double context = number(record, "tokens", "context");
    return context > 0 ? number(record, "tokens", "recomputed") / context * 100 : 0;
}

/* ---- Computing ---------------------------------------------------------------------------------------------------------------------- */

/* The mean of a series, less that of another (NULL: nothing) on the same questions. value: room for a number a question. */
static eval_cell cell_of(int measure, const eval_series *series, const eval_series *less, size_t n_questions, double *value) {
    eval_cell cell = {0};
    for (size_t q = 0; q < n_questions; q++) {
        if (!series->record[q] || (less && !less->record[q])) {
            continue;
        }
        const double v = eval_measure_of(series->record[q], measure) - (less ? eval_measure_of(less->record[q], measure) : 0);
        if (isfinite(v)) {
            value[cell.n++] = v;
        }
    }
    if (cell.n) {
        cell.mean = stats_bootstrap(value, cell.n);
    }
    return cell;
}

static size_t count_records(const eval_series *series, const eval_series *less, size_t n_questions) {
    size_t n = 0;
    for (size_t q = 0; q < n_questions; q++) {
        n += series->record[q] && (!less || less->record[q]);
    }
    return n;
}

static double median_ms(const eval_series *series, const char *stage, size_t n_questions, double *value) {
    size_t n = 0;
    for (size_t q = 0; q < n_questions; q++) {
        const double ms = number(series->record[q], "timings_ms", stage);
        if (isfinite(ms)) {
            value[n++] = ms;
        }
    }
    return n ? stats_median(value, n) : NAN;
}

/* What a record says of its settings is the same in all of a series. */
static char *name_of(const eval_series *series, size_t n_questions) {
    const iflow_ask_params params = iflow_ask_default_params();
    const struct {
        const char *key, *usual;
    } setting[] = {{"score", iflow_score_name(params.score)}, {"geometry", iflow_geometry_name(params.geometry)}};
    const json_t *record = NULL;
    for (size_t q = 0; q < n_questions && !record; q++) {
        record = series->record[q];
    }
    text out = {0};
    text_puts(&out, series->method);
    for (size_t i = 0; i < COUNT_OF(setting); i++) {
        const char *value = json_string_value(json_object_get(record, setting[i].key));
        if (value && strcmp(value, setting[i].usual) != 0) {
            text_printf(&out, "/%s", value);
        }
    }
    if (json_is_true(json_object_get(record, "reorder"))) {
        text_puts(&out, "/reorder");
    }
    const char *settings = json_string_value(json_object_get(record, "settings"));
    bool drift = false, corrected = false;
    for (const char *word = settings ? settings : ""; *word; word += strspn(word, " ")) {
        const size_t n = strcspn(word, " ");
        corrected = corrected || strncmp(word, "corrected=", 10) == 0;
        drift = drift || (n == 5 && strncmp(word, "drift", 5) == 0);
        /* The others are the run's; these are the budget, and chunks that are not as usual. */
        const bool chunks = strncmp(word, "fillers=", 8) == 0 && atoi(word + 8) != common_options_default().fillers;
        if (strncmp(word, "coverage=", 9) == 0 || chunks) {
            text_printf(&out, "/%.*s", (int)n, word);
        }
        word += n;
    }
    iflow_method method = IFLOW_METHOD_FULL;
    iflow_method_from_name(series->method, &method);
    if (drift != iflow_method_get_info(method)->repairs) {
        text_puts(&out, drift ? "/drift" : "/nodrift");
    }
    if (corrected) {
        text_puts(&out, "/corrected");
    }
    return out.text;
}

/* The first series of a method, but one at a ratio rather if there is one; n_series if there is none. */
static size_t find_series(const eval_series *series, size_t n_series, const char *method, double ratio) {
    size_t found = n_series;
    for (size_t s = 0; s < n_series; s++) {
        if (strcmp(series[s].method, method) != 0) {
            continue;
        }
        if (fabs(series[s].ratio - ratio) < 5e-7) {
            return s;
        }
        found = found < n_series ? found : s;
    }
    return found;
}

static void add_difference(eval_summary *out, size_t base, double *value) {
    if (base == out->n_series) {
        return;
    }
    eval_difference *difference = &out->difference[out->n_differences++];
    difference->base = base;
    difference->row = must_alloc(out->n_series, sizeof *difference->row);
    for (size_t s = 0; s < out->n_series; s++) {
        difference->row[s].n_records = count_records(&out->series[s], &out->series[base], out->n_questions);
        for (int m = 0; m < EVAL_MEASURES; m++) {
            if (s != base && eval_measures[m].is_compared) {
                difference->row[s].cell[m] = cell_of(m, &out->series[s], &out->series[base], out->n_questions, value);
            }
        }
    }
}

/* Whether an answer was cut, as the context was full. Records of earlier versions say so in `finish`. */
static bool was_full(const json_t *record) {
    const char *finish = json_string_value(json_object_get(record, "finish"));
    return json_is_true(json_object_get(record, "context_full")) || (finish && strcmp(finish, "context") == 0);
}

eval_summary eval_summary_make(const eval_series *series, size_t n_series, size_t n_questions) {
    eval_summary out = {.series = series, .n_series = n_series, .n_questions = n_questions};
    double *value = must_alloc(n_questions, sizeof *value);
    out.row = must_alloc(n_series, sizeof *out.row);
    for (int m = 0; m < EVAL_MEASURES; m++) {
        out.is_measured[m] = !eval_measures[m].optional;
    }
    for (size_t s = 0; s < n_series; s++) {
        iflow_method method;
        eval_row *row = &out.row[s];
        row->name = name_of(&series[s], n_questions);
        row->has_ratio = iflow_method_from_name(series[s].method, &method) == IFLOW_OK && iflow_method_get_info(method)->by_ratio;
        row->label = row->has_ratio ? text_format("%s %.4g", row->name, series[s].ratio) : text_format("%s", row->name);
        row->n_records = count_records(&series[s], NULL, n_questions);
        for (size_t q = 0; q < n_questions; q++) {
            row->n_full += was_full(series[s].record[q]);
        }
        for (int m = 0; m < EVAL_MEASURES; m++) {
            row->cell[m] = cell_of(m, &series[s], NULL, n_questions, value);
            out.is_measured[m] = out.is_measured[m] || row->cell[m].n;
        }
        for (size_t i = 0; i < ANSWER_STAGES; i++) {
            row->stage[i] = median_ms(&series[s], answer_stage_name[i], n_questions, value);
        }
        row->ttft = median_ms(&series[s], "ttft", n_questions, value);
    }
    if (n_series > 1) {
        add_difference(&out, find_series(series, n_series, "full", 1), value);
    }
    if (n_series > 1 + out.n_differences) { /* of two, one difference is all there is to know */
        add_difference(&out, find_series(series, n_series, "infoflow", iflow_ask_default_params().ratio), value);
    }
    free(value);
    return out;
}

void eval_summary_free(eval_summary *summary) {
    for (size_t s = 0; s < summary->n_series; s++) {
        free(summary->row[s].name);
        free(summary->row[s].label);
    }
    free(summary->row);
    for (size_t d = 0; d < summary->n_differences; d++) {
        free(summary->difference[d].row);
    }
    *summary = (eval_summary){0};
}

/* ---- Tables ------------------------------------------------------------------------------------------------------------------------- */

static int name_width(const eval_summary *summary) {
    size_t width = strlen("epic-ratio");
    for (size_t s = 0; s < summary->n_series; s++) {
        width = strlen(summary->row[s].name) > width ? strlen(summary->row[s].name) : width;
    }
    return (int)width;
}

/* Digits that a number of this size needs no more: milliseconds above 1000 and the like. */
static int fewer(double value, int digits) {
    return fabs(value) >= 1000 && digits == 1 ? 0 : digits;
}

static void print_means(const eval_summary *summary) {
    const int name = name_width(summary);
    printf("%-*s  %5s  %9s", name, "METHOD", "RATIO", "QUESTIONS");
    for (int m = 0; m < EVAL_MEASURES; m++) {
        if (summary->is_measured[m]) {
            printf("  %*s", eval_measures[m].width, eval_measures[m].title);
        }
    }
    putchar('\n');
    for (size_t s = 0; s < summary->n_series; s++) {
        const eval_row *row = &summary->row[s];
        text intervals = {0};
        printf("%-*s  %5.2f  %9zu", name, row->name, summary->series[s].ratio, row->n_records);
        text_printf(&intervals, "%*s", name + 18, row->n_records > 1 ? "95%" : "");
        for (int m = 0; m < EVAL_MEASURES && row->n_records; m++) {
            const eval_measure *what = &eval_measures[m];
            const eval_cell *cell = &row->cell[m];
            if (!summary->is_measured[m]) {
                continue;
            }
            if (cell->n == 0) {
                printf("  %*s", what->width, "-");
                text_printf(&intervals, "  %*s", what->width, "");
                continue;
            }
            char interval[64] = "";
            const double high = cell->mean.high;
            printf("  %*.*f%s", what->width - (int)strlen(what->unit), fewer(high, what->digits), cell->mean.mean, what->unit);
            if (what->interval_digits >= 0 && cell->n > 1) {
                snprintf(interval, sizeof interval, "%.*f-%.*f", fewer(high, what->interval_digits), cell->mean.low,
                         fewer(high, what->interval_digits), high);
            }
            text_printf(&intervals, "  %*s", what->width, interval);
        }
        putchar('\n');
        size_t end = intervals.n;
        while (end && intervals.text[end - 1] == ' ') {
            end--;
        }
        if (row->n_records > 1) {
            printf("%.*s\n", (int)end, intervals.text);
        }
        text_free(&intervals);
    }
}

char *eval_row_partial(const eval_row *row) {
    const size_t n = row->cell[EVAL_KL].n;
    return n && n < row->n_records ? text_format("%s: KL and TOP-1 are of %zu of %zu questions", row->label, n, row->n_records) : NULL;
}

char *eval_row_cut(const eval_row *row) {
    return row->n_full ? text_format("%s: %zu of %zu answers were cut, as the context was full", row->label, row->n_full, row->n_records)
                       : NULL;
}

static void print_partial(const eval_summary *summary) {
    for (size_t s = 0; s < summary->n_series; s++) {
        char *line[] = {eval_row_partial(&summary->row[s]), eval_row_cut(&summary->row[s])};
        for (size_t i = 0; i < COUNT_OF(line); i++) {
            if (line[i]) {
                puts(line[i]);
            }
            free(line[i]);
        }
    }
}

static void print_difference(const eval_summary *summary, const eval_difference *difference) {
    const int name = name_width(summary);
    printf("\nDifference to %s", summary->row[difference->base].name);
    if (summary->row[difference->base].has_ratio) {
        printf(" at %.2f", summary->series[difference->base].ratio);
    }
    printf(", paired by question, with its 95%% interval:\n%-*s  %5s  %9s", name, "METHOD", "RATIO", "QUESTIONS");
    for (int m = 0; m < EVAL_MEASURES; m++) {
        if (eval_measures[m].is_compared && summary->is_measured[m]) {
            printf("  %26s", eval_measures[m].title);
        }
    }
    putchar('\n');
    for (size_t s = 0; s < summary->n_series; s++) {
        if (s == difference->base) {
            continue;
        }
        printf("%-*s  %5.2f  %9zu", name, summary->row[s].name, summary->series[s].ratio, difference->row[s].n_records);
        for (int m = 0; m < EVAL_MEASURES; m++) {
            const eval_cell *cell = &difference->row[s].cell[m];
            char shown[64] = "-";
            if (!eval_measures[m].is_compared || !summary->is_measured[m]) {
                continue;
            }
            if (cell->n) {
                snprintf(shown, sizeof shown, "%+.4f [%+.4f, %+.4f]", cell->mean.mean, cell->mean.low, cell->mean.high);
            }
            printf("  %26s", shown);
        }
        putchar('\n');
    }
}

static void print_ms(double ms) {
    if (isfinite(ms)) {
        printf("  %9.*f", fewer(ms, 1), ms);
    } else {
        printf("  %9s", "-");
    }
}

static void print_stages(const eval_summary *summary) {
    const int name = name_width(summary);
    printf("\nTime to first token and its stages, medians in ms:\n%-*s  %5s", name, "METHOD", "RATIO");
    for (size_t i = 0; i < ANSWER_TTFT_STAGES; i++) {
        printf("  %9s", answer_stage_name[i]);
    }
    printf("  %9s\n", "TTFT");
    for (size_t s = 0; s < summary->n_series; s++) {
        printf("%-*s  %5.2f", name, summary->row[s].name, summary->series[s].ratio);
        for (size_t i = 0; i < ANSWER_TTFT_STAGES; i++) {
            print_ms(summary->row[s].stage[i]);
        }
        print_ms(summary->row[s].ttft);
        putchar('\n');
    }
}

void eval_summary_print(const eval_summary *summary) {
    print_means(summary);
    print_partial(summary);
    for (size_t d = 0; d < summary->n_differences; d++) {
        print_difference(summary, &summary->difference[d]);
    }
    print_stages(summary);
}

void eval_summary_print_verified(const eval_summary *summary, double least) {
    for (size_t i = 0; i < summary->n_series; i++) {
        size_t n = 0, n_below = 0;
        double sum = 0;
        for (size_t q = 0; q < summary->n_questions; q++) {
            const json_t *record = summary->series[i].record[q];
            if (!json_is_true(json_object_get(record, "verified"))) {
                continue;
            }
            const double agreement = json_number_value(json_object_get(record, "agreement"));
            n++;
            sum += agreement;
            n_below += agreement < least;
        }
        if (n) {
            printf("%s: %zu of %zu answers verified, agreement %.3f, %zu below %.2f\n", summary->row[i].label, n, summary->row[i].n_records,
                   sum / (double)n, n_below, least);
        }
    }
}
