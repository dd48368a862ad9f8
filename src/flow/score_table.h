/* score_table.h - what a token can score by, a row each.
 *
 * A scoring pass observes something of the attention in each scoring layer: a row names what, a sum of flags of compute/engine.h. From that
 * iflow_reduce_NAME makes a score: it adds `weight` times the layer's score of each of n positions to sum [n]. observed[i] are the
 * n numbers of flag 1 << i; NULL: not wanted. The row declares the function; any file of this room may define it. Rows stand in the order
 * of enum iflow_score. A new score's row goes to the end. It has a name, and the enum needs none for it. */
#ifndef IFLOW_FLOW_SCORE_TABLE_H
#define IFLOW_FLOW_SCORE_TABLE_H

/* clang-format off */
/*      name        reduces   observes, about */
#define IFLOW_SCORES_BY(ROW)                                                                                                              \
    ROW("norm",     norm,     IFLOW_OBSERVE_NORM,                                                                                         \
        "norm over the queries of the attention averaged over heads (the paper)")                                                         \
    ROW("mass",     mass,     IFLOW_OBSERVE_MASS,                                                                                         \
        "sum over the queries of the attention averaged over heads")                                                                      \
    ROW("entropy",  entropy,  IFLOW_OBSERVE_ENTROPY,                                                                                      \
        "what the token adds to the entropy of the queries' attention")                                                                   \
    ROW("vatp",     vatp,     IFLOW_OBSERVE_VATP,                                                                                         \
        "attention times the length of the token's value, summed over heads and queries")                                                 \
    ROW("combined", combined, IFLOW_OBSERVE_NORM | IFLOW_OBSERVE_ENTROPY | IFLOW_OBSERVE_VATP,                                            \
        "mean of norm, entropy and vatp, each scaled to 0..1 a layer")
/* clang-format on */

#endif
