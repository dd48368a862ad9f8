/* run.h - one question being answered over a context: what the steps of a method work on. */
#ifndef IFLOW_FLOW_RUN_H
#define IFLOW_FLOW_RUN_H

#include "flow/methods.h"
#include "flow/prompt.h"
#include "flow/timeline.h"

enum { IFLOW_N_REPAIRS = 4 }; /* the standing ones of flow/repair/repair.c, and the method's own */

/* Positions in the context are rows of its timeline: 0 to n - 1, the head's n_head first. */
typedef struct iflow_run {
    iflow_timeline *t;
    const iflow_context_chunk *chunk; /* [n_chunks]: the context's, as the caller has them */
    size_t n_chunks;
    const iflow_ask_params *params;
    const iflow_method_row *method;
    iflow_prompt text;
    iflow_answer *answer;          /* a step fills its part: score, selected and n_selected, ... */
    iflow_context_chunk head;      /* chunk 0; its tokens are text.head's */
    size_t *order;                 /* [n_chunks]: the reading order of the context's chunks */
    int *start, *length;           /* of every chunk in reading order, the head first */
    int32_t *first;                /* where each stands while scoring */
    float *logits;                 /* of the prompt's last token */
    float *staleness;              /* [n]: as the chunks estimate it; 0 where they do not */
    int n, n_head;                 /* tokens in the context, in the head */
    int n_need, n_rows;            /* rows that the question needs, and these with the longest answer */
    iflow_geometry geometry;       /* that the context is assembled under */
    void *repair[IFLOW_N_REPAIRS]; /* what each repair keeps; NULL: nothing */
    double asked_at;
} iflow_run;

/* The chunk that is read as i-th; 0 is the head. */
static inline const iflow_context_chunk *iflow_run_chunk(const iflow_run *run, size_t i) {
    return i ? &run->chunk[run->order[i - 1]] : &run->head;
}

/* Whether a repair of ours is made: as the caller says, else as the method's traits do. */
static inline bool iflow_run_wants(const iflow_run *run, iflow_switch repair) {
    return repair == IFLOW_ON || (repair == IFLOW_AUTO && (run->method->traits & IFLOW_REPAIRS));
}

/* Whether chunks are to have their estimated staleness. */
static inline bool iflow_run_estimates(const iflow_run *run) {
    return run->t->estimate || (run->method->traits & IFLOW_BY_STALENESS);
}

/* Whether ratio or coverage say how many positions are recomputed. */
static inline bool iflow_run_has_budget(const iflow_run *run) {
    return (run->method->traits & IFLOW_BY_RATIO) && !((run->method->traits & IFLOW_FROM_CALLER) && run->params->given_positions);
}

/* Makes room for answer->score, [n], where there is none. E_MEMORY. */
iflow_status iflow_run_make_scores(iflow_run *run);

/* How many positions the ratio or, where there are scores, the coverage selects. E_MEMORY. */
iflow_status iflow_run_budget(const iflow_run *run, size_t *n_selected);

/* That the caller's positions or scores fit this context. E_ARG. */
iflow_status iflow_given_check(const iflow_run *run);

#endif
