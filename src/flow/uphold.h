/* uphold.h - how much of a correction holds in this context, as the recomputed tokens tell; of the other tokens' no more stays (ours).
 *
 * A correction that was learned from another kind of text than it meets foretells too much. What recompute gives for some tokens shows by
 * how much, nearly as well as all tokens would. */
#ifndef IFLOW_FLOW_UPHOLD_H
#define IFLOW_FLOW_UPHOLD_H

#include "flow/context.h"

/* Beginning as {ctx, answer, chunk, aside}. Ends with iflow_uphold_free(). */
typedef struct iflow_uphold {
    iflow_context *ctx;
    iflow_answer *answer;              /* spans and selected positions, which are rows too; gets correction_held, and times */
    const iflow_context_chunk **chunk; /* [n_chunks] in reading order; NULL: it was not corrected */
    int aside;                         /* from this row on there is nothing: one after another is laid there, where that is needed */
    size_t n;                          /* witnesses: of the selected tokens of corrected chunks at most 256 */
    int32_t *row;                      /* [n] */
    float *added[2];                   /* [n_layer - 1, n, n_embd_kv]: by the correction, to K (before RoPE, with its magnitude) and V */
    double *before[2];                 /* [n_layer - 1]: what was added times what it was added up to, summed */
} iflow_uphold;

/* Before the selected tokens are recomputed. E_MEMORY, and what getting a chunk fails with. */
iflow_status iflow_uphold_begin(iflow_uphold *u);

/* After it. correction_held becomes the part of what was added to a layer's K or V that came about, by least squares, in the mean of these.
 * Where it is less than 1, of what was added to the tokens that were not selected that part stays (none, below 0). stale: what drift
 * remembers of the selected ones, changed alike; NULL: nothing. */
iflow_status iflow_uphold_end(iflow_uphold *u, float *stale);
void iflow_uphold_free(iflow_uphold *u);

#endif
