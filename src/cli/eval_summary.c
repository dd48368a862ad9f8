/* eval_summary.c - the table at the end of an evaluation: means, intervals and paired differences. */
#include "eval_summary.h"

#include "stats.h"
#include "text.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- What is measured --------------------------------------------------------------------------------------------------------------- */

/* A number of a record; NAN where it is not there, or null. */
static double number(const json_t *record, const char *outer, const char *key) {
    const json_t *value = json_object_get(outer ? json_object_get(record, outer) : record, key);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

static double get_f1(const json_t *record) {
    return number(record, NULL, "f1");
}

static double get_exact(const json_t *record) {
    return number(record, NULL, "em");
}

static double get_contains(const json_t *record) {
    return number(record, NULL, "contains");
}

static double get_kl(const json_t *record) {
    return number(record, NULL, "kl");
}

static double get_top1(const json_t *record) {
    return number(record, NULL, "top1");
}

static double get_ttft(const json_t *record) {
    return number(record, "timings_ms", "ttft");
}

static double get_recomputed(const json_t *record) {
    const double context = number(record, "tokens", "context");
    return context > 0 ? number(record, "tokens", "recomputed") / context * 100 : 0;
}

/* The widths make 120 columns with names as long as "epic-ratio". */
typedef struct measure {
    const char *title, *unit;
    double (*get)(const json_t *record);
    int width, digits, interval_digits; /* interval_digits negative: no interval, as nothing is left to chance in it */
    bool optional;                      /* left out where no record has it */
} measure;

static const measure measures[] = {
    {"F1", "", get_f1, 11, 4, 3, false},
    {"EM", "", get_exact, 11, 4, 3, false},
    {"CONTAINS", "", get_contains, 11, 4, 3, false},
    {"KL", "", get_kl, 13, 4, 4, true},
    {"TOP-1", "", get_top1, 11, 4, 3, true},
    {"TTFT ms", "", get_ttft, 11, 1, 1, false},
    {"RECOMPUTED", "%", get_recomputed, 10, 1, -1, false},
};
static const measure *const difference_measures[] = {&measures[0], &measures[3]};

/* The values of a series, less those of another (NULL: nothing) on the same questions. Gives their number. */
static size_t gather(const measure *what, const eval_series *series, const eval_series *less, size_t n_questions, double *value) {
    size_t n = 0;
    for (size_t q = 0; q < n_questions; q++) {
        if (!series->record[q] || (less && !less->record[q]))
            continue;
        const double v = what->get(series->record[q]) - (less ? what->get(less->record[q]) : 0);
        if (isfinite(v))
            value[n++] = v;
    }
    return n;
}

static bool is_measured(const measure *what, const eval_series *series, size_t n_series, size_t n_questions) {
    for (size_t s = 0; s < n_series; s++)
        for (size_t q = 0; q < n_questions; q++)
            if (series[s].record[q] && isfinite(what->get(series[s].record[q])))
                return true;
    return false;
}

static size_t count_records(const eval_series *series, const eval_series *less, size_t n_questions) {
    size_t n = 0;
    for (size_t q = 0; q < n_questions; q++)
        n += series->record[q] && (!less || less->record[q]);
    return n;
}

/* ---- Tables ------------------------------------------------------------------------------------------------------------------------- */

static int name_width(const eval_series *series, size_t n_series) {
    size_t width = strlen("epic-ratio");
    for (size_t s = 0; s < n_series; s++)
        width = strlen(series[s].method) > width ? strlen(series[s].method) : width;
    return (int)width;
}

/* Digits that a number of this size needs no more: milliseconds above 1000 and the like. */
static int fewer(double value, int digits) {
    return fabs(value) >= 1000 && digits == 1 ? 0 : digits;
}

static void print_means(const eval_series *series, size_t n_series, size_t n_questions, double *value) {
    const int name = name_width(series, n_series);
    bool show[COUNT_OF(measures)];
    printf("%-*s  %5s  %9s", name, "METHOD", "RATIO", "QUESTIONS");
    for (size_t m = 0; m < COUNT_OF(measures); m++) {
        show[m] = !measures[m].optional || is_measured(&measures[m], series, n_series, n_questions);
        if (show[m])
            printf("  %*s", measures[m].width, measures[m].title);
    }
    putchar('\n');
    for (size_t s = 0; s < n_series; s++) {
        text intervals = {0};
        const size_t n_records = count_records(&series[s], NULL, n_questions);
        printf("%-*s  %5.2f  %9zu", name, series[s].method, series[s].ratio, n_records);
        text_printf(&intervals, "%*s", name + 18, n_records > 1 ? "95%" : "");
        for (size_t m = 0; m < COUNT_OF(measures) && n_records; m++) {
            const measure *what = &measures[m];
            if (!show[m])
                continue;
            const size_t n = gather(what, &series[s], NULL, n_questions, value);
            if (n == 0) {
                printf("  %*s", what->width, "-");
                text_printf(&intervals, "  %*s", what->width, "");
                continue;
            }
            const stats_mean mean = stats_bootstrap(value, n);
            char cell[64] = "";
            printf("  %*.*f%s", what->width - (int)strlen(what->unit), fewer(mean.high, what->digits), mean.mean, what->unit);
            if (what->interval_digits >= 0 && n > 1)
                snprintf(cell, sizeof cell, "%.*f-%.*f", fewer(mean.high, what->interval_digits), mean.low,
                         fewer(mean.high, what->interval_digits), mean.high);
            text_printf(&intervals, "  %*s", what->width, cell);
        }
        putchar('\n');
        size_t end = intervals.n;
        while (end && intervals.bytes[end - 1] == ' ')
            end--;
        if (n_records > 1)
            printf("%.*s\n", (int)end, intervals.bytes);
        text_free(&intervals);
    }
}

static const eval_series *find_series(const eval_series *series, size_t n_series, const char *method) {
    for (size_t s = 0; s < n_series; s++)
        if (strcmp(series[s].method, method) == 0)
            return &series[s];
    return NULL;
}

static void print_differences(const eval_series *series, size_t n_series, size_t n_questions, double *value) {
    const eval_series *base = find_series(series, n_series, "full");
    const int name = name_width(series, n_series);
    if (base) {
        printf("\nDifference to full, paired by question, with its 95%% interval:\n");
    } else if ((base = find_series(series, n_series, "infoflow"))) {
        printf("\nDifference to infoflow at %.2f, paired by question, with its 95%% interval:\n", base->ratio);
    } else {
        return;
    }
    printf("%-*s  %5s  %9s", name, "METHOD", "RATIO", "QUESTIONS");
    bool show[COUNT_OF(difference_measures)];
    for (size_t m = 0; m < COUNT_OF(difference_measures); m++) {
        show[m] = !difference_measures[m]->optional || is_measured(difference_measures[m], series, n_series, n_questions);
        if (show[m])
            printf("  %26s", difference_measures[m]->title);
    }
    putchar('\n');
    for (size_t s = 0; s < n_series; s++) {
        if (&series[s] == base)
            continue;
        printf("%-*s  %5.2f  %9zu", name, series[s].method, series[s].ratio, count_records(&series[s], base, n_questions));
        for (size_t m = 0; m < COUNT_OF(difference_measures); m++) {
            const size_t n = show[m] ? gather(difference_measures[m], &series[s], base, n_questions, value) : 0;
            char cell[64] = "-";
            if (n) {
                const stats_mean mean = stats_bootstrap(value, n);
                snprintf(cell, sizeof cell, "%+.4f [%+.4f, %+.4f]", mean.mean, mean.low, mean.high);
            }
            if (show[m])
                printf("  %26s", cell);
        }
        putchar('\n');
    }
}

void eval_summary_print(const eval_series *series, size_t n_series, size_t n_questions) {
    double *value = must_alloc(n_questions ? n_questions : 1, sizeof *value);
    print_means(series, n_series, n_questions, value);
    if (n_series > 1)
        print_differences(series, n_series, n_questions, value);
    free(value);
}
