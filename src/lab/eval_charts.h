/* eval_charts.h - the charts of an evaluation's page: measures against ratio and time, stages of time, the needle grid. */
#ifndef IFLOW_LAB_EVAL_CHARTS_H
#define IFLOW_LAB_EVAL_CHARTS_H

#include "cli/text.h"
#include "lab/eval_summary.h"

/* Goes into the page's <style>. */
extern const char eval_charts_style[];

/* F1 and KL against the share recomputed and against the time to first token, with one legend. */
void eval_charts_curves(text *out, const eval_summary *summary);
/* The stages of the time to first token as stacked bars. */
void eval_charts_stages(text *out, const eval_summary *summary);
/* A map a series: depth by length; nothing where no record is of a needle. */
void eval_charts_needles(text *out, const eval_summary *summary);

/* How good a share is (0 to 1), as the style of a cell. */
void eval_charts_shade(text *out, double share);

#endif
