/* bench_svg.c - the chart of `infoflow bench`: time to first token against length, both logarithmic, as a file of its own. */
#include "cli/page.h"
#include "lab/bench_measure.h"
#include "lab/bench_report.h"
#include "lab/svg.h"

#include <math.h>

static const struct {
    bench_side side;
    const char *name;
    int colour;
} series[] = {{SIDE_LIBLLAMA, "libllama, full prefill", 1},
              {SIDE_FULL, "our full prefill", 4},
              {SIDE_INFOFLOW, "infoflow", 0},
              {SIDE_NONE, "no recompute", 7}};

/* The page's colours that svg_style stands on. */
static const char colours[] = "svg{--card:#fff;--ink:#1d1f23;--dim:#666b75;--line:#dedcd6;font-family:system-ui,sans-serif}\n"
                              "@media (prefers-color-scheme:dark){svg{--card:#1e2126;--ink:#e6e4df;--dim:#989da8;--line:#343840}}\n";

static double seconds(const json_t *length, bench_side side, const char *which) {
    return json_number_value(json_object_get(json_object_get(json_object_get(length, "ttft_ms"), bench_side_key[side]), which)) / 1e3;
}

static double tokens(const json_t *length) {
    return json_number_value(json_object_get(length, "tokens"));
}

static const char *string(const json_t *result, const char *a, const char *b) {
    return json_string_value(json_object_get(json_object_get(result, a), b));
}

static svg_plot begin(const json_t *lengths, text *out) {
    double low = HUGE_VAL, high = 0, shortest = HUGE_VAL, longest = 0;
    size_t i = 0;
    const json_t *each = NULL;
    json_array_foreach(lengths, i, each) {
        shortest = fmin(shortest, tokens(each));
        longest = fmax(longest, tokens(each));
        for (size_t s = 0; s < COUNT_OF(series); s++) {
            low = fmin(low, seconds(each, series[s].side, "min"));
            high = fmax(high, seconds(each, series[s].side, "max"));
        }
    }
    svg_axis x = svg_axis_of(shortest, longest, true);
    x.digits = 0;
    x.n_ticks = 0; /* where something was measured */
    json_array_foreach(lengths, i, each) if (x.n_ticks < COUNT_OF(x.tick)) {
        x.tick[x.n_ticks++] = tokens(each);
    }
    return svg_plot_begin(out, x, svg_axis_of(low, high, true), "Time to first token against length", "tokens of documents",
                          "time to first token, s");
}

/* Points with the range of their turns, a line through them, and the name at the last. */
static void draw_series(const json_t *lengths, size_t s, svg_plot *plot) {
    size_t i = 0;
    const json_t *each = NULL;
    double x = 0, y = 0;
    text_printf(plot->out, "<g class=\"c%d\"><path style=\"fill:none;stroke:var(--c);stroke-width:1.6\" d=\"", series[s].colour);
    json_array_foreach(lengths, i, each) text_printf(plot->out, "%s%.1f %.1f", i ? "L" : "M", svg_x(plot, tokens(each)),
                                                     svg_y(plot, seconds(each, series[s].side, "median")));
    text_puts(plot->out, "\"/>");
    json_array_foreach(lengths, i, each) {
        x = svg_x(plot, tokens(each));
        y = svg_y(plot, seconds(each, series[s].side, "median"));
        svg_whisker(plot, x, seconds(each, series[s].side, "min"), seconds(each, series[s].side, "max"));
        svg_mark(plot->out, s, x, y);
        svg_take(plot, x, y);
    }
    svg_label(plot, x, y, series[s].name);
    text_puts(plot->out, "</g>\n");
}

void bench_svg(const json_t *result, text *out) {
    const json_t *lengths = json_object_get(result, "lengths"), *settings = json_object_get(result, "settings");
    text_puts(out, "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 560 430\">\n<style>");
    text_puts(out, colours);
    text_puts(out, svg_style);
    text_puts(out, "</style>\n<rect width=\"560\" height=\"430\" style=\"fill:var(--card)\"/>\n"
                   "<text x=\"280\" y=\"21\" text-anchor=\"middle\" font-size=\"14\" style=\"fill:var(--ink)\">");
    page_string(out, string(result, "model", "name"));
    text_puts(out, "</text>\n<text x=\"280\" y=\"418\" text-anchor=\"middle\" font-size=\"12\" style=\"fill:var(--dim)\">");
    page_string(out, string(result, "machine", "processor"));
    text_printf(out, ", %.0f threads; chunks of %.0f, ratio %g</text>\n", json_number_value(json_object_get(settings, "threads")),
                json_number_value(json_object_get(settings, "chunk")), json_number_value(json_object_get(settings, "ratio")));
    svg_plot plot = begin(lengths, out);
    for (size_t s = 0; s < COUNT_OF(series); s++) {
        draw_series(lengths, s, &plot);
    }
    svg_plot_end(&plot);
    text_puts(out, "</svg>\n");
}
