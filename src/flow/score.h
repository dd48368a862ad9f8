/* score.h - which layers score (step 3 of the method). */
#ifndef IFLOW_FLOW_SCORE_H
#define IFLOW_FLOW_SCORE_H

#include "compute/engine.h"

/* Resolves the caller's layers (negative: from the end; n_wanted 0: the layers at 0.55, 0.575, 0.6 and 0.625 of the depth, or the
 * nearest to each that sees the whole context) to ascending layers without duplicates. E_ARG naming a layer that is not there or sees a
 * window alone. */
iflow_status iflow_score_layers(const int *wanted, size_t n_wanted, const iflow_hparams *h, int layer[IFLOW_MAX_SCORE_LAYERS], int *n);

#endif
