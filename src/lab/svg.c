/* svg.c - charts as inline SVG: axes with ticks that people would choose, marks that differ in shape as well as in colour, labels. */
#include "lab/svg.h"

#include "cli/page.h"

#include <math.h>
#include <string.h>

/* After Okabe and Ito, whose colours stand apart for most who see colours differently; the yellow is darker where the ground is white. */
const char svg_style[] =
    ".c0{--c:#0072b2}.c1{--c:#d55e00}.c2{--c:#009e73}.c3{--c:#c0619a}.c4{--c:#9a7500}.c5{--c:#3fa0d8}.c6{--c:#7a3fb8}.c7{--c:#7a6a5a}\n"
    "@media (prefers-color-scheme:dark){.c0{--c:#5cb0f0}.c1{--c:#ff8a4c}.c2{--c:#2fc79a}.c3{--c:#ec9bcb}.c4{--c:#ecd04a}.c5{--c:#a5dcff}"
    ".c6{--c:#b892ff}.c7{--c:#c4b39f}}\n"
    ".plot text{fill:var(--dim);font-size:12px;font-variant-numeric:tabular-nums}\n"
    ".plot .grid{stroke:var(--line);stroke-width:1}.plot .axis{stroke:var(--dim);stroke-width:1}\n"
    ".plot .whisker{stroke:var(--c);stroke-width:1.2;opacity:.55;fill:none}\n"
    ".mark{fill:var(--c);stroke:var(--card);stroke-width:1.2}\n"
    ".plot .label{fill:var(--ink);font-size:11.5px;paint-order:stroke;stroke:var(--card);stroke-width:3px}\n";

enum { WIDTH = 560, HEIGHT = 370, LEFT = 62, RIGHT = 14, TOP = 14, BOTTOM = 48 };

/* ---- Axes --------------------------------------------------------------------------------------------------------------------------- */

/* Ticks are at 1, 2 and 5 times powers of ten. */
static double nice_step(double about) {
    const double power = pow(10, floor(log10(about))), times = about / power;
    return power * (times <= 1 ? 1 : times <= 2 ? 2 : times <= 5 ? 5 : 10);
}

static svg_axis log_axis(double low, double high) {
    static const double times[] = {1, 2, 5};
    svg_axis axis = {.low = low / 1.15, .high = high * 1.15, .log = true};
    const int first = (int)floor(log10(axis.low)), last = (int)floor(log10(axis.high));
    /* Over many powers of ten the ticks at 2 and 5 would crowd. */
    const size_t n_times = last - first < 4 ? COUNT_OF(times) : 1;
    for (int power = first; power <= last; power++) {
        for (size_t t = 0; t < n_times; t++) {
            const double tick = times[t] * pow(10, power);
            if (tick >= axis.low && tick <= axis.high && axis.n_ticks < COUNT_OF(axis.tick)) {
                axis.tick[axis.n_ticks++] = tick;
            }
        }
    }
    axis.digits = first < 0 ? -first : 0;
    return axis;
}

svg_axis svg_axis_of(double low, double high, bool log) {
    if (log && low > 0) {
        return log_axis(low, high);
    }
    if (high - low < 1e-9 * fmax(1, fabs(high))) { /* a single value gets room around it */
        const double room = fmax(1e-3, fabs(low) * 0.2);
        low = low >= 0 ? fmax(0, low - room) : low - room;
        high += room;
    }
    const double step = nice_step((high - low) / 6);
    svg_axis axis = {.low = floor(low / step + 1e-9) * step, .high = ceil(high / step - 1e-9) * step};
    axis.digits = step < 1 ? (int)ceil(-log10(step) - 1e-9) : 0;
    for (double tick = axis.low; tick <= axis.high + step / 2 && axis.n_ticks < COUNT_OF(axis.tick); tick += step) {
        axis.tick[axis.n_ticks++] = fabs(tick) < step / 2 ? 0 : tick;
    }
    return axis;
}

void svg_axis_end(svg_axis *axis, double high) {
    axis->high = high;
    while (axis->n_ticks && axis->tick[axis->n_ticks - 1] > high) {
        axis->n_ticks--;
    }
}

static double share_of(const svg_axis *axis, double value) {
    return axis->log ? log(value / axis->low) / log(axis->high / axis->low) : (value - axis->low) / (axis->high - axis->low);
}

double svg_x(const svg_plot *plot, double value) {
    return plot->inside.x0 + share_of(&plot->x, value) * (plot->inside.x1 - plot->inside.x0);
}

double svg_y(const svg_plot *plot, double value) {
    return plot->inside.y1 - share_of(&plot->y, value) * (plot->inside.y1 - plot->inside.y0);
}

svg_plot svg_plot_begin(text *out, svg_axis x, svg_axis y, const char *about, const char *x_title, const char *y_title) {
    svg_plot plot = {.out = out, .x = x, .y = y, .inside = {LEFT, TOP, WIDTH - RIGHT, HEIGHT - BOTTOM}};
    const svg_box *in = &plot.inside;
    text_printf(out, "<svg class=\"plot\" viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"%s\">\n", WIDTH, HEIGHT, about);
    for (size_t i = 0; i < y.n_ticks; i++) {
        const double at = svg_y(&plot, y.tick[i]);
        text_printf(out, "<path class=\"grid\" d=\"M%.0f %.1fH%.0f\"/><text x=\"%.0f\" y=\"%.1f\" text-anchor=\"end\">%.*f</text>\n",
                    in->x0, at, in->x1, in->x0 - 8, at + 4, y.digits, y.tick[i]);
    }
    for (size_t i = 0; i < x.n_ticks; i++) {
        const double at = svg_x(&plot, x.tick[i]);
        text_printf(out, "<path class=\"axis\" d=\"M%.1f %.0fv5\"/><text x=\"%.1f\" y=\"%.0f\" text-anchor=\"middle\">%.*f</text>\n", at,
                    in->y1, at, in->y1 + 19, x.tick[i] >= 1 && x.log ? 0 : x.digits, x.tick[i]);
    }
    text_printf(out, "<path class=\"axis\" d=\"M%.0f %.0fH%.0f\"/>\n", in->x0, in->y1, in->x1);
    text_printf(out, "<text x=\"%.0f\" y=\"%d\" text-anchor=\"middle\">%s</text>\n", (in->x0 + in->x1) / 2, HEIGHT - 8, x_title);
    text_printf(out, "<text transform=\"translate(14 %.0f) rotate(-90)\" text-anchor=\"middle\">%s</text>\n", (in->y0 + in->y1) / 2,
                y_title);
    return plot;
}

void svg_plot_end(svg_plot *plot) {
    text_puts(plot->out, "</svg>\n");
}

/* ---- Marks -------------------------------------------------------------------------------------------------------------------------- */

void svg_mark(text *out, size_t shape, double x, double y) {
    static const char *const path[SVG_SHAPES - 1] = {"m-4.6 -4.6h9.2v9.2h-9.2z", "m0 -6l6 10.2h-12z", "m0 -6.2l6.2 6.2l-6.2 6.2l-6.2 -6.2z",
                                                     "m0 6l6 -10.2h-12z", "m-2 -6h4v4h4v4h-4v4h-4v-4h-4v-4h4z"};
    if (shape % SVG_SHAPES == 0) {
        text_printf(out, "<circle class=\"mark\" cx=\"%.1f\" cy=\"%.1f\" r=\"5\"/>", x, y);
    } else {
        text_printf(out, "<path class=\"mark\" d=\"M%.1f %.1f%s\"/>", x, y, path[shape % SVG_SHAPES - 1]);
    }
}

void svg_whisker(const svg_plot *plot, double x, double low, double high) {
    text_printf(plot->out, "<path class=\"whisker\" d=\"M%.1f %.1fh6m-3 0V%.1fm-3 0h6\"/>", x - 3, svg_y(plot, low), svg_y(plot, high));
}

void svg_take(svg_plot *plot, double x, double y) {
    if (plot->n_taken < COUNT_OF(plot->taken)) {
        plot->taken[plot->n_taken++] = (svg_box){x - 5, y - 5, x + 5, y + 5};
    }
}

static bool is_free(const svg_plot *plot, const svg_box *box) {
    if (box->x0 < plot->inside.x0 || box->x1 > plot->inside.x1 || box->y0 < plot->inside.y0 || box->y1 > plot->inside.y1) {
        return false;
    }
    for (size_t i = 0; i < plot->n_taken; i++) {
        const svg_box *other = &plot->taken[i];
        if (box->x0 < other->x1 && other->x0 < box->x1 && box->y0 < other->y1 && other->y0 < box->y1) {
            return false;
        }
    }
    return true;
}

bool svg_label(svg_plot *plot, double x, double y, const char *label) {
    const double width = (double)text_columns(label) * 6.2, height = 13;
    const struct {
        double dx, dy; /* from the point to the label's left upper corner */
    } place[] = {{8, -16}, {-8 - width, -16}, {8, 4},    {-8 - width, 4},    {-width / 2, -21}, {-width / 2, 8},
                 {9, -6},  {-9 - width, -6},  {14, -28}, {-14 - width, -28}, {14, 16},          {-14 - width, 16}};
    for (size_t i = 0; i < COUNT_OF(place) && plot->n_taken < COUNT_OF(plot->taken); i++) {
        const svg_box box = {x + place[i].dx, y + place[i].dy, x + place[i].dx + width, y + place[i].dy + height};
        if (!is_free(plot, &box)) {
            continue;
        }
        plot->taken[plot->n_taken++] = box;
        text_printf(plot->out, "<text class=\"label\" x=\"%.1f\" y=\"%.1f\">", box.x0, box.y1 - 3);
        page_string(plot->out, label);
        text_puts(plot->out, "</text>");
        return true;
    }
    return false;
}
