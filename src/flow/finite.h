/* finite.h - what is computed with must be finite numbers: a status that says where one is not, and what to do. */
#ifndef IFLOW_FLOW_FINITE_H
#define IFLOW_FLOW_FINITE_H

#include "base/base.h"

/* E_NOT_FINITE for a number, which the format names: "the score at position 5" becomes "the score at position 5 is not a number:
 * ...". */
iflow_status iflow_not_finite(double value, const char *format, ...) IFLOW_PRINTF(2, 3);

/* E_NOT_FINITE unless all of the logits [n_vocab] of the token at a position are finite. stage: "the prompt". */
iflow_status iflow_finite_logits(const char *stage, size_t position, const float *logits, size_t n_vocab);

#define IFLOW_STALENESS "estimated staleness of the token" /* as messages name it */

/* The same for scores [n], one a position. */
iflow_status iflow_finite_scores(const char *what, const float *score, size_t n);

#endif
