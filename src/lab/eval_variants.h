/* eval_variants.h - what an evaluation compares: methods with their settings, at ratios. */
#ifndef IFLOW_LAB_EVAL_VARIANTS_H
#define IFLOW_LAB_EVAL_VARIANTS_H

#include "cli/ask_options.h"

enum { EVAL_MAX_METHODS = 32, EVAL_MAX_RATIOS = 16, EVAL_MAX_VARIANTS = EVAL_MAX_METHODS * EVAL_MAX_RATIOS };

/* A method with what it is asked with, at a ratio, which is 0 or 1 where the method has none of its own. */
typedef struct eval_variant {
    iflow_method method;
    double ratio;
    iflow_score score;
    iflow_geometry geometry;
    bool reorder, drift, correct;
    int fillers; /* texts that chunks are prefilled after */
} eval_variant;

/* Parses --methods, "infoflow,infoflow:vatp+fillers=0,none": names, each with settings that differ from the options', and --ratio; methods
 * without a ratio are one variant. corrected: the correction, if there is one (else its id is empty); NULL: that is not known yet, and
 * comes with another call. *n: 0 before. CLI_OK, or CLI_USAGE after a message. */
int eval_variants_parse(const command_usage *usage, const char *methods, const char *ratios, const ask_options *how, int fillers,
                        const iflow_correction_info *corrected, eval_variant variant[EVAL_MAX_VARIANTS], size_t *n);

#endif
