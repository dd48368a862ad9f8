/* eval_charts.c - the charts of an evaluation's page: measures against ratio and time, stages of time, the needle grid. */
#include "lab/eval_charts.h"

#include "cli/page.h"
#include "lab/svg.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const char eval_charts_style[] =
    ".charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(27rem,100%),1fr));gap:1rem}\n"
    ".chart{background:var(--card);border:1px solid var(--line);border-radius:6px;padding:.8rem .9rem .5rem;margin:0;min-width:0}\n"
    ".chart figcaption{font-weight:600;font-size:.92rem;margin:0 0 .5rem}.chart figcaption span{font-weight:400;color:var(--dim)}\n"
    ".cf{--c:var(--ink)}.cn{--c:var(--dim)}\n"
    ".keys{margin:0 0 .8rem}.keys li{display:flex;align-items:center;gap:.4rem;cursor:default}.keys svg{width:16px;height:16px}\n"
    ".curve path.way{stroke:var(--c);stroke-width:2;fill:none;stroke-linejoin:round}.curve path.thin{opacity:.4;stroke-width:1.4}\n"
    ".curve path.base{stroke:var(--c);stroke-width:1.6;stroke-dasharray:6 5;fill:none}\n"
    ".curve .band{fill:var(--c);opacity:.07}\n"
    ".curve{transition:opacity .12s}.curve.faint{opacity:.1}\n"
    ".frontier{stroke:var(--mark);stroke-width:9;fill:none;opacity:.22;stroke-linejoin:round;stroke-linecap:round}\n"
    ".bars text{fill:var(--ink)}.bars .tick{fill:var(--dim)}\n"
    ".needles{display:grid;grid-template-columns:repeat(auto-fill,minmax(15rem,1fr));gap:1rem}\n"
    ".map{border-collapse:separate;border-spacing:2px;width:100%;font-size:.74rem;font-variant-numeric:tabular-nums;table-layout:fixed}\n"
    ".map th{font-weight:400;color:var(--dim);padding:.1rem;text-align:center}.map "
    "th:first-child{width:2.7rem;text-align:right;padding-right:.3rem}"
    ".map td{text-align:center;padding:.3rem "
    "0;border-radius:3px}\n"
    ".good{background:color-mix(in srgb,var(--mark) calc(5% + var(--v)*83%),var(--card))}.good.full{color:var(--card)}\n";

void eval_charts_shade(text *out, double share) {
    text_printf(out, " class=\"good%s\" style=\"--v:%.2f\"", share > 0.62 ? " full" : "", share);
}

/* ---- Curves ------------------------------------------------------------------------------------------------------------------------- */

/* A method with its settings: its series by rising ratio, or the one of a method without. */
typedef struct curve {
    const char *name;
    size_t *series, n;
    bool is_full, is_none;
    size_t style; /* of its colour and shape, where it is neither full nor none */
} curve;

typedef struct curves {
    const eval_summary *summary;
    curve *curve;
    size_t n;
} curves;

static const eval_summary *summary_to_sort;

static int by_ratio(const void *a, const void *b) {
    const double x = summary_to_sort->series[*(const size_t *)a].ratio, y = summary_to_sort->series[*(const size_t *)b].ratio;
    return stats_compare(x, y);
}

static int by_ttft(const void *a, const void *b) {
    const double x = summary_to_sort->row[*(const size_t *)a].cell[EVAL_TTFT].mean.mean,
                 y = summary_to_sort->row[*(const size_t *)b].cell[EVAL_TTFT].mean.mean;
    return stats_compare(x, y);
}

static bool is_taken(const curves *all, size_t style) {
    for (size_t k = 0; k < all->n; k++) {
        if (!all->curve[k].is_full && !all->curve[k].is_none && all->curve[k].style == style) {
            return true;
        }
    }
    return false;
}

/* A method looks the same on every page, whichever others are there; of two curves of one method the second takes what is free. */
static size_t style_of(const curves *all, const char *name) {
    iflow_method method = IFLOW_METHOD_INFOFLOW;
    size_t style = iflow_method_from_name(name, &method) == IFLOW_OK && method > IFLOW_METHOD_NONE ? (size_t)method - IFLOW_METHOD_NONE : 0;
    while (is_taken(all, style)) {
        style++;
    }
    return style;
}

static curves curves_of(const eval_summary *summary) {
    curves out = {.summary = summary};
    out.curve = must_alloc(summary->n_series, sizeof *out.curve);
    for (size_t s = 0; s < summary->n_series; s++) {
        const char *name = summary->row[s].name, *method = summary->series[s].method;
        size_t k = 0;
        while (k < out.n && strcmp(out.curve[k].name, name) != 0) {
            k++;
        }
        if (k == out.n) {
            curve fresh = {.name = name,
                           .series = must_alloc(summary->n_series, sizeof(size_t)),
                           .is_full = strcmp(method, "full") == 0,
                           .is_none = strcmp(method, "none") == 0};
            fresh.style = fresh.is_full || fresh.is_none ? 0 : style_of(&out, method);
            out.curve[out.n++] = fresh;
        }
        out.curve[k].series[out.curve[k].n++] = s;
    }
    summary_to_sort = summary;
    for (size_t k = 0; k < out.n; k++) {
        qsort(out.curve[k].series, out.curve[k].n, sizeof(size_t), by_ratio);
    }
    return out;
}

static void curves_free(curves *all) {
    for (size_t k = 0; k < all->n; k++) {
        free(all->curve[k].series);
    }
    free(all->curve);
}

static void add_class(text *out, const curve *c) {
    if (c->is_full || c->is_none) {
        text_puts(out, c->is_full ? "cf" : "cn");
    } else {
        text_printf(out, "c%zu", c->style % SVG_COLOURS);
    }
}

static void curve_begin(text *out, const curves *all, size_t k) {
    text_puts(out, "<g class=\"curve ");
    add_class(out, &all->curve[k]);
    text_printf(out, "\" data-k=\"%zu\">", k);
}

static const eval_cell *cell_at(const curves *all, size_t series, int measure) {
    return &all->summary->row[series].cell[measure];
}

/* A mark and, as its tooltip, its numbers. */
static void add_point(svg_plot *plot, const curves *all, size_t k, size_t series, int measure, double x, double y) {
    const eval_cell *cell = cell_at(all, series, measure), *ttft = cell_at(all, series, EVAL_TTFT);
    text_puts(plot->out, "<g>");
    svg_mark(plot->out, all->curve[k].style, x, y);
    text_puts(plot->out, "<title>");
    page_string(plot->out, all->summary->row[series].label);
    text_printf(plot->out, "\n%s %.4f (%.4f to %.4f), %zu question%s", eval_measures[measure].title, cell->mean.mean, cell->mean.low,
                cell->mean.high, cell->n, plural(cell->n));
    if (ttft->n) {
        text_printf(plot->out, "\nfirst token after %.0f ms", ttft->mean.mean);
    }
    text_puts(plot->out, "</title></g>\n");
}

/* The range of a measure over all series, with its intervals. False if nobody has it. */
static bool range_of(const curves *all, int measure, double *low, double *high) {
    *low = INFINITY;
    *high = -INFINITY;
    for (size_t s = 0; s < all->summary->n_series; s++) {
        const eval_cell *cell = cell_at(all, s, measure);
        if (cell->n == 0) {
            continue;
        }
        *low = fmin(*low, cell->mean.low);
        *high = fmax(*high, cell->mean.high);
    }
    return *low <= *high;
}

/* The share that was recomputed, as it was measured: not all methods keep to a ratio. */
static double share_of(const curves *all, size_t series) {
    return cell_at(all, series, EVAL_RECOMPUTED)->mean.mean / 100;
}

/* Full prefill and no recompute as lines to compare with, over the whole width. */
static void add_base(svg_plot *plot, const curves *all, size_t k, int measure) {
    const eval_cell *cell = cell_at(all, all->curve[k].series[0], measure);
    const double y = svg_y(plot, cell->mean.mean), top = svg_y(plot, cell->mean.high);
    const svg_box *in = &plot->inside;
    curve_begin(plot->out, all, k);
    if (all->curve[k].is_full) {
        text_printf(plot->out, "<rect class=\"band\" x=\"%.0f\" y=\"%.1f\" width=\"%.0f\" height=\"%.1f\"/>", in->x0, top, in->x1 - in->x0,
                    svg_y(plot, cell->mean.low) - top);
    }
    text_printf(plot->out, "<path class=\"base\" d=\"M%.0f %.1fH%.0f\"/>", in->x0, y, in->x1);
    if (!svg_label(plot, in->x1, y, all->curve[k].name)) {
        svg_label(plot, in->x0, y, all->curve[k].name);
    }
    text_puts(plot->out, "</g>\n");
}

static void draw_by_share(text *out, const curves *all, int measure) {
    double low, high, right = 0.05;
    if (!range_of(all, measure, &low, &high)) {
        return;
    }
    for (size_t k = 0; k < all->n; k++) {
        for (size_t i = 0; i < all->curve[k].n && !all->curve[k].is_full; i++) {
            right = fmax(right, share_of(all, all->curve[k].series[i]));
        }
    }
    svg_axis shares = svg_axis_of(0, right, false);
    svg_axis_end(&shares, right * 1.08);
    text_printf(out, "<figure class=\"chart\"><figcaption>%s by share recomputed <span>· %s is better</span></figcaption>\n",
                eval_measures[measure].title, measure == EVAL_KL ? "lower" : "higher");
    svg_plot plot = svg_plot_begin(out, shares, svg_axis_of(low, high, false), eval_measures[measure].title,
                                   "share of the context's tokens recomputed", eval_measures[measure].title);
    /* Intervals at the same share stand side by side. */
    const double apart = fmin(3.5, 24.0 / (double)all->n), first = -(double)(all->n - 1) / 2 * apart;
    for (size_t k = 0; k < all->n; k++) {
        for (size_t i = 0; i < all->curve[k].n; i++) {
            if (!all->curve[k].is_full && !all->curve[k].is_none) {
                svg_take(&plot, svg_x(&plot, share_of(all, all->curve[k].series[i])) + first + (double)k * apart,
                         svg_y(&plot, cell_at(all, all->curve[k].series[i], measure)->mean.mean));
            }
        }
    }
    for (size_t k = 0; k < all->n; k++) {
        if ((all->curve[k].is_full || all->curve[k].is_none) && cell_at(all, all->curve[k].series[0], measure)->n) {
            add_base(&plot, all, k, measure);
        }
    }
    for (size_t k = 0; k < all->n; k++) {
        const curve *c = &all->curve[k];
        const double aside = first + (double)k * apart;
        const char *move = "<path class=\"way\" d=\"M";
        if (c->is_full || c->is_none) {
            continue;
        }
        curve_begin(out, all, k);
        for (size_t i = 0; i < c->n; i++) {
            const eval_cell *cell = cell_at(all, c->series[i], measure);
            if (cell->n) {
                text_printf(out, "%s%.1f %.1f", move, svg_x(&plot, share_of(all, c->series[i])) + aside, svg_y(&plot, cell->mean.mean));
            }
            move = cell->n ? "L" : move;
        }
        text_puts(out, move[0] == 'L' ? "\"/>" : "");
        for (size_t i = 0; i < c->n; i++) {
            const eval_cell *cell = cell_at(all, c->series[i], measure);
            const double x = svg_x(&plot, share_of(all, c->series[i])) + aside;
            if (cell->n > 1) {
                svg_whisker(&plot, x, cell->mean.low, cell->mean.high);
            }
            if (cell->n) {
                add_point(&plot, all, k, c->series[i], measure, x, svg_y(&plot, cell->mean.mean));
            }
        }
        text_puts(out, "</g>\n");
    }
    svg_plot_end(&plot);
    text_puts(out, "</figure>\n");
}

/* What no other series beats in both time and measure: a staircase, and the names of those on it. */
static void draw_frontier(svg_plot *plot, const curves *all, const size_t *by_time, size_t n, int measure) {
    const char *move = "<path class=\"frontier\" d=\"M";
    double best = NAN;
    size_t *on = must_alloc(n, sizeof *on), n_on = 0;
    for (size_t i = 0; i < n; i++) {
        const double value = cell_at(all, by_time[i], measure)->mean.mean;
        if (measure == EVAL_KL ? value > best - 1e-9 : value < best + 1e-9) { /* rounding is no progress */
            continue;
        }
        const double x = svg_x(plot, cell_at(all, by_time[i], EVAL_TTFT)->mean.mean), y = svg_y(plot, value);
        if (isnan(best)) {
            text_printf(plot->out, "%s%.1f %.1f", move, x, y);
        } else {
            text_printf(plot->out, "H%.1fV%.1f", x, y);
        }
        best = value;
        on[n_on++] = by_time[i];
    }
    text_printf(plot->out, "H%.1f\"/>\n", plot->inside.x1);
    for (size_t i = 0; i < n_on; i++) {
        svg_label(plot, svg_x(plot, cell_at(all, on[i], EVAL_TTFT)->mean.mean), svg_y(plot, cell_at(all, on[i], measure)->mean.mean),
                  all->summary->row[on[i]].label);
    }
    free(on);
}

static void draw_by_time(text *out, const curves *all, int measure) {
    size_t *by_time = must_alloc(all->summary->n_series, sizeof *by_time), n = 0;
    double low = INFINITY, high = -INFINITY;
    for (size_t s = 0; s < all->summary->n_series; s++) {
        if (cell_at(all, s, measure)->n == 0 || cell_at(all, s, EVAL_TTFT)->n == 0) {
            continue;
        }
        low = fmin(low, cell_at(all, s, measure)->mean.mean);
        high = fmax(high, cell_at(all, s, measure)->mean.mean);
        by_time[n++] = s;
    }
    summary_to_sort = all->summary;
    qsort(by_time, n, sizeof *by_time, by_ttft);
    if (n == 0) {
        free(by_time);
        return;
    }
    const double first = cell_at(all, by_time[0], EVAL_TTFT)->mean.mean, last = cell_at(all, by_time[n - 1], EVAL_TTFT)->mean.mean;
    const bool wide = first > 0 && last > 5 * first;
    text_printf(out, "<figure class=\"chart\"><figcaption>%s by time to first token <span>· %s is better</span></figcaption>\n",
                eval_measures[measure].title, measure == EVAL_KL ? "lower" : "higher");
    svg_plot plot =
        svg_plot_begin(out, svg_axis_of(wide ? first : 0, last, wide), svg_axis_of(low, high, false), eval_measures[measure].title,
                       wide ? "time to first token, ms (logarithmic)" : "time to first token, ms", eval_measures[measure].title);
    for (size_t i = 0; i < n; i++) {
        svg_take(&plot, svg_x(&plot, cell_at(all, by_time[i], EVAL_TTFT)->mean.mean),
                 svg_y(&plot, cell_at(all, by_time[i], measure)->mean.mean));
    }
    draw_frontier(&plot, all, by_time, n, measure);
    for (size_t k = 0; k < all->n; k++) {
        const curve *c = &all->curve[k];
        const char *move = "<path class=\"way thin\" d=\"M";
        curve_begin(out, all, k);
        for (int marks = 0; marks < 2; marks++) {
            for (size_t i = 0; i < c->n; i++) {
                const eval_cell *cell = cell_at(all, c->series[i], measure), *ttft = cell_at(all, c->series[i], EVAL_TTFT);
                if (cell->n == 0 || ttft->n == 0) {
                    continue;
                }
                const double x = svg_x(&plot, ttft->mean.mean), y = svg_y(&plot, cell->mean.mean);
                if (marks) {
                    add_point(&plot, all, k, c->series[i], measure, x, y);
                } else {
                    text_printf(out, "%s%.1f %.1f", move, x, y);
                }
                move = "L";
            }
            text_puts(out, marks == 0 && move[0] == 'L' ? "\"/>" : "");
        }
        text_puts(out, "</g>\n");
    }
    svg_plot_end(&plot);
    text_puts(out, "</figure>\n");
    free(by_time);
}

void eval_charts_curves(text *out, const eval_summary *summary) {
    curves all = curves_of(summary);
    text_puts(out, "<ul class=\"legend keys\">");
    for (size_t k = 0; k < all.n; k++) {
        text_printf(out, "<li data-k=\"%zu\" class=\"", k);
        add_class(out, &all.curve[k]);
        text_puts(out, "\"><svg viewBox=\"0 0 16 16\">");
        svg_mark(out, all.curve[k].style, 8, 8);
        text_puts(out, "</svg>");
        page_string(out, all.curve[k].name);
        text_puts(out, "</li>");
    }
    text_puts(out, "</ul>\n<div class=\"charts\">\n");
    draw_by_share(out, &all, EVAL_F1);
    draw_by_share(out, &all, EVAL_KL);
    draw_by_time(out, &all, EVAL_F1);
    draw_by_time(out, &all, EVAL_KL);
    text_puts(out, "</div>\n<p class=\"note\">Lines and marks are means, whiskers and the band their 95% intervals. The broad line is the "
                   "frontier: what no other is both faster and better than.</p>\n");
    curves_free(&all);
}

/* ---- Stages ------------------------------------------------------------------------------------------------------------------------- */

static double stages_sum(const eval_row *row) {
    double sum = 0;
    for (size_t i = 0; i < ANSWER_TTFT_STAGES; i++) {
        sum += isfinite(row->stage[i]) ? row->stage[i] : 0;
    }
    return sum;
}

static void draw_bars(text *out, const eval_summary *summary, bool but_full, double longest) {
    enum { WIDTH = 960, ROW = 25, BAR = 16, RIGHT = 76 };
    size_t n = 0, columns = 0;
    for (size_t s = 0; s < summary->n_series; s++) {
        if ((but_full && strcmp(summary->series[s].method, "full") == 0) || !isfinite(summary->row[s].ttft)) {
            continue;
        }
        columns = text_columns(summary->row[s].label) > columns ? text_columns(summary->row[s].label) : columns;
        n++;
    }
    const svg_axis axis = svg_axis_of(0, longest, false);
    const double left = 16 + 7 * (double)columns, scale = (WIDTH - left - RIGHT) / axis.high;
    text_printf(out, "<figure class=\"chart\"><figcaption>%s <span>· medians of the stages, ms</span></figcaption>\n",
                but_full ? "The same without full prefill" : "Time to first token");
    text_printf(out, "<svg class=\"plot bars\" viewBox=\"0 0 %d %zu\" role=\"img\" aria-label=\"stages of the time to first token\">\n",
                WIDTH, n * ROW + 26);
    for (size_t t = 0; t < axis.n_ticks; t++) {
        text_printf(
            out, "<path class=\"grid\" d=\"M%.1f 0V%zu\"/><text class=\"tick\" x=\"%.1f\" y=\"%zu\" text-anchor=\"middle\">%.*f</text>\n",
            left + axis.tick[t] * scale, n * ROW, left + axis.tick[t] * scale, n * ROW + 18, axis.digits, axis.tick[t]);
    }
    size_t at = 0;
    for (size_t s = 0; s < summary->n_series; s++) {
        const eval_row *row = &summary->row[s];
        double x = left;
        if ((but_full && strcmp(summary->series[s].method, "full") == 0) || !isfinite(row->ttft)) {
            continue;
        }
        const size_t y = at++ * ROW + (ROW - BAR) / 2;
        text_printf(out, "<text x=\"%.0f\" y=\"%zu\" text-anchor=\"end\">", left - 8, y + 12);
        page_string(out, row->label);
        text_puts(out, "</text>");
        for (size_t i = 0; i < ANSWER_TTFT_STAGES; i++) {
            const double width = isfinite(row->stage[i]) ? row->stage[i] * scale : 0;
            if (width >= 0.05) {
                text_printf(out, "<rect x=\"%.1f\" y=\"%zu\" width=\"%.1f\" height=\"%d\" fill=\"%s\"><title>%s %.1f ms</title></rect>", x,
                            y, width, BAR, page_stage_colour[i], answer_stage_name[i], row->stage[i]);
            }
            x += width;
        }
        text_printf(out, "<text x=\"%.1f\" y=\"%zu\">%.0f</text>\n", x + 7, y + 12, row->ttft);
    }
    text_puts(out, "</svg></figure>\n");
}

void eval_charts_stages(text *out, const eval_summary *summary) {
    double longest = 0, longest_other = 0;
    for (size_t s = 0; s < summary->n_series; s++) {
        const double sum = stages_sum(&summary->row[s]);
        longest = fmax(longest, sum);
        if (strcmp(summary->series[s].method, "full") != 0) {
            longest_other = fmax(longest_other, sum);
        }
    }
    text_puts(out, "<ul class=\"legend keys\">");
    for (size_t i = 0; i < ANSWER_TTFT_STAGES; i++) {
        text_printf(out, "<li><b style=\"background:%s;margin:0\"></b>%s</li>", page_stage_colour[i], answer_stage_name[i]);
    }
    text_puts(out, "</ul>\n");
    if (longest > 0) {
        draw_bars(out, summary, false, longest);
    }
    if (longest_other > 0 && longest > 2.5 * longest_other) { /* beside it the others' stages cannot be told apart */
        draw_bars(out, summary, true, longest_other);
    }
}

/* ---- Needles ------------------------------------------------------------------------------------------------------------------------ */

/* Different values, rising. */
typedef struct values {
    double *value;
    size_t n;
} values;

static values values_of(const eval_summary *summary, const char *key) {
    values out = {must_alloc(summary->n_series * summary->n_questions, sizeof(double)), 0};
    size_t n = 0;
    for (size_t s = 0; s < summary->n_series; s++) {
        for (size_t q = 0; q < summary->n_questions; q++) {
            const json_t *value = json_object_get(summary->series[s].record[q], key);
            if (json_is_number(value)) {
                out.value[n++] = json_number_value(value);
            }
        }
    }
    stats_sort(out.value, n);
    for (size_t i = 0; i < n; i++) {
        if (out.n == 0 || out.value[i] - out.value[out.n - 1] > 1e-9) {
            out.value[out.n++] = out.value[i];
        }
    }
    return out;
}

/* The mean F1 (and containment) of a series' records at a depth and a length; false if there are none. */
static bool needle_cell(const eval_series *series, size_t n_questions, double depth, double length, double *f1, double *contains,
                        size_t *n) {
    *f1 = *contains = 0;
    *n = 0;
    for (size_t q = 0; q < n_questions; q++) {
        const json_t *record = series->record[q], *at = json_object_get(record, "needle_depth"),
                     *tokens = json_object_get(record, "needle_length");
        if (!json_is_number(at) || !json_is_number(tokens) || fabs(json_number_value(at) - depth) > 1e-9 ||
            fabs(json_number_value(tokens) - length) > 1e-9) {
            continue;
        }
        const double one = eval_measure_of(record, EVAL_F1), has = eval_measure_of(record, EVAL_CONTAINS);
        *f1 += isfinite(one) ? one : 0;
        *contains += isfinite(has) ? has : 0;
        ++*n;
    }
    *f1 /= (double)*n;
    *contains /= (double)*n;
    return *n > 0;
}

void eval_charts_needles(text *out, const eval_summary *summary) {
    values length = values_of(summary, "needle_length"), depth = values_of(summary, "needle_depth");
    if (length.n == 0 || depth.n == 0) {
        goto cleanup;
    }
    text_puts(out, "<h2>Needle in a haystack</h2>\n<p class=\"note\">The share of answers that contain the needle, by the length of the "
                   "context in tokens (across) and its depth "
                   "(down).</p>\n<div class=\"needles\">\n");
    for (size_t s = 0; s < summary->n_series; s++) {
        text_puts(out, "<figure class=\"chart\"><figcaption>");
        page_string(out, summary->row[s].label);
        text_puts(out, "</figcaption>\n<table class=\"map\"><tr><th></th>");
        for (size_t l = 0; l < length.n; l++) {
            text_printf(out, length.value[l] >= 10000 ? "<th>%.0fk</th>" : "<th>%.0f</th>",
                        length.value[l] >= 10000 ? length.value[l] / 1000 : length.value[l]);
        }
        text_puts(out, "</tr>\n");
        for (size_t d = 0; d < depth.n; d++) {
            text_printf(out, "<tr><th>%.0f%%</th>", depth.value[d] * 100);
            for (size_t l = 0; l < length.n; l++) {
                double f1, contains;
                size_t n;
                if (!needle_cell(&summary->series[s], summary->n_questions, depth.value[d], length.value[l], &f1, &contains, &n)) {
                    text_puts(out, "<td>–</td>");
                    continue;
                }
                text_puts(out, "<td");
                eval_charts_shade(out, contains);
                text_printf(out, " title=\"contains an answer %.3f, F1 %.3f, %zu question%s\">%.2f</td>", contains, f1, n, plural(n),
                            contains);
            }
            text_puts(out, "</tr>\n");
        }
        text_puts(out, "</table></figure>\n");
    }
    text_puts(out, "</div>\n");
cleanup:
    free(length.value);
    free(depth.value);
}
