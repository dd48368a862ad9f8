/* bench_report.h - the result of `infoflow bench`, which is a JSON object, as tables and as a chart. */
#ifndef IFLOW_LAB_BENCH_REPORT_H
#define IFLOW_LAB_BENCH_REPORT_H

#include "cli/text.h"

#include <jansson.h>

/* Tables on standard output. */
void bench_print(const json_t *result);

/* Time to first token against length, both logarithmic, as SVG. Needs a length with TTFT. */
void bench_svg(const json_t *result, text *out);

#endif
