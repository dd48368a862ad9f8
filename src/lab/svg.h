/* svg.h - charts as inline SVG: axes with ticks that people would choose, marks that differ in shape as well as in colour, labels. */
#ifndef IFLOW_LAB_SVG_H
#define IFLOW_LAB_SVG_H

#include "cli/text.h"

/* Goes into the page's <style>: classes c0 to c7 set the colour of a series, --c, for light and dark. */
extern const char svg_style[];
enum { SVG_COLOURS = 8, SVG_SHAPES = 6 };

typedef struct svg_axis {
    double low, high;
    double tick[16];
    size_t n_ticks;
    int digits; /* of the ticks' labels */
    bool log;
} svg_axis;

/* An axis over low..high (finite), widened to whole ticks; log: where low > 0. */
svg_axis svg_axis_of(double low, double high, bool log);

typedef struct svg_box {
    double x0, y0, x1, y1;
} svg_box;

/* Ends the axis at a value short of its last tick. */
void svg_axis_end(svg_axis *axis, double high);

/* A chart of two axes. */
typedef struct svg_plot {
    text *out;
    svg_axis x, y;
    svg_box inside;    /* where data are drawn, in the SVG's own units */
    svg_box taken[96]; /* by marks and labels: labels keep off them */
    size_t n_taken;
} svg_plot;

/* Opens the <svg> and draws the axes. Titles are plain text of ours. */
svg_plot svg_plot_begin(text *out, svg_axis x, svg_axis y, const char *about, const char *x_title, const char *y_title);
void svg_plot_end(svg_plot *plot);

/* Where a value stands. */
double svg_x(const svg_plot *plot, double value);
double svg_y(const svg_plot *plot, double value);

/* A mark of one of SVG_SHAPES at a place, in the colour --c. */
void svg_mark(text *out, size_t shape, double x, double y);
/* A vertical interval at x. */
void svg_whisker(const svg_plot *plot, double x, double low, double high);
/* Keeps labels off a place. */
void svg_take(svg_plot *plot, double x, double y);
/* A short text beside a point, where there is room. False if there is none. */
bool svg_label(svg_plot *plot, double x, double y, const char *label);

#endif
