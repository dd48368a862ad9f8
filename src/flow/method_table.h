/* method_table.h - the methods, a row each.
 *
 * A method scores the context's positions, selects some by that, and recomputes these. The names in a row are:
 * scores   iflow_score_by_NAME (iflow_run *): fills answer->score [n]
 * selects  iflow_take_NAME (iflow_run *): fills answer->selected, ascending, and n_selected
 * repairs  iflow_repair_NAME: the iflow_repair_ops (flow/repair/repair.h) that runs the selected ones again
 * They are declared by the row; any file of this room may define them. Rows stand in the order of enum iflow_method. A new method's row
 * goes to the end. It has a name, and the enum needs none for it: iflow_method_from_name() gives its number. */
#ifndef IFLOW_FLOW_METHOD_TABLE_H
#define IFLOW_FLOW_METHOD_TABLE_H

/* What is true of a method; its row has a sum of these. */
enum {
    IFLOW_BY_RATIO = 1,     /* the ratio says how many positions are recomputed */
    IFLOW_BY_QUESTION = 2,  /* the question's attention scores them: score, geometry, scoring layers and reordering are settings */
    IFLOW_BY_STALENESS = 4, /* chunks must know how stale their tokens will be */
    IFLOW_SCORES = 8,       /* every position has a score, so that coverage can be the budget */
    IFLOW_REPAIRS = 16,     /* reused KV is corrected and drifts, unless the caller says otherwise */
    IFLOW_WHOLE = 32,       /* no chunk is reused: context and prompt are prefilled as one sequence */
    IFLOW_FROM_CALLER = 64, /* positions or scores are the caller's: given_positions, given_scores */
};

/* clang-format off */
/*      name          scores     selects     repairs traits, about */
#define IFLOW_METHODS(ROW)                                                                                                                \
    ROW("infoflow",   attention, best,       rerun, IFLOW_BY_RATIO | IFLOW_BY_QUESTION | IFLOW_SCORES | IFLOW_REPAIRS,                    \
        "recompute the tokens that the question's attention scores best (the paper)")                                                     \
    ROW("full",       nothing,   nothing,    rerun, IFLOW_WHOLE,                                                                          \
        "prefill the whole sequence: the reference for quality and time")                                                                 \
    ROW("none",       nothing,   nothing,    rerun, 0,                                                                                    \
        "reuse the caches as they are, recompute nothing")                                                                                \
    ROW("epic",       nothing,   first,      rerun, 0,                                                                                    \
        "recompute the first 4 tokens of every chunk")                                                                                    \
    ROW("epic-ratio", nothing,   first_part, rerun, IFLOW_BY_RATIO,                                                                       \
        "recompute the first part of every chunk")                                                                                        \
    ROW("cacheblend", v_change,  best,       blend, IFLOW_BY_RATIO | IFLOW_SCORES,                                                        \
        "recompute the tokens whose V changes most at layer 1; costs one layer more")                                                      \
    ROW("random",     nothing,   random,     rerun, IFLOW_BY_RATIO,                                                                       \
        "recompute tokens drawn at random: what a score must beat")                                                                       \
    ROW("staleness",  staleness, best,       rerun, IFLOW_BY_RATIO | IFLOW_BY_STALENESS | IFLOW_SCORES | IFLOW_REPAIRS,                   \
        "recompute the tokens whose estimated staleness is largest (ours)")                                                     \
    ROW("union",      attention, union,      rerun, IFLOW_BY_RATIO | IFLOW_BY_QUESTION | IFLOW_BY_STALENESS | IFLOW_SCORES | IFLOW_REPAIRS,\
        "staleness's choice for a part of the budget, infoflow's for the rest (ours)")                                                     \
    ROW("product",    product,   best,       rerun, IFLOW_BY_RATIO | IFLOW_BY_QUESTION | IFLOW_BY_STALENESS | IFLOW_SCORES | IFLOW_REPAIRS,\
        "infoflow's score times the root of the estimated staleness (ours)")                                                               \
    ROW("given",      given,     given,      rerun, IFLOW_BY_RATIO | IFLOW_SCORES | IFLOW_REPAIRS | IFLOW_FROM_CALLER,                    \
        "recompute the positions that you give, or the best by scores that you give")
/* clang-format on */

#endif
