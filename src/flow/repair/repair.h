/* repair.h - what is done to the context's rows so that they fit together: one interface for the selected tokens, which are run again, and
 * for the others, whose rows are changed without running them. */
#ifndef IFLOW_FLOW_REPAIR_REPAIR_H
#define IFLOW_FLOW_REPAIR_REPAIR_H

#include "flow/run.h"

/* Reused rows of one chunk were mixed with others: they are now share of what they were and 1 - share of the others. */
typedef struct iflow_mixture {
    size_t first, n;     /* of the selected positions, those of this chunk: which were not mixed, as they were run again */
    const int32_t *from; /* [n]: the rows that these would have been mixed with */
    float share;
} iflow_mixture;

/* A repair. What it keeps during one question is *state (NULL at first), freed by free(). A step that is NULL does nothing. */
struct iflow_repair_ops {
    int fresh_layers; /* so many layers, from the first, are computed anew for all tokens before the selected ones run again */
    /* Chunks [from, to) in reading order are in their rows, K before RoPE: once for each time that the context is assembled. */
    iflow_status (*assembled)(iflow_run *run, void **state, size_t from, size_t to);
    iflow_status (*before)(iflow_run *run, void **state); /* the selected tokens are about to run again */
    iflow_status (*rerun)(iflow_run *run, void **state);  /* runs them: of the method's own repair alone */
    iflow_status (*mixed)(iflow_run *run, void **state, const iflow_mixture *mixture);
    iflow_status (*after)(iflow_run *run, void **state); /* they have run */
    void (*free)(void *state);
};

/* The standing repairs, each made where the caller and the context want it. Of the last one the steps come last, but `after` first. */
extern const iflow_repair_ops iflow_repair_correction, iflow_repair_drift, iflow_repair_evidence;

/* The steps of all repairs of a question. E_MEMORY, E_BACKEND, E_NOT_FINITE, and what getting a chunk fails with. */
iflow_status iflow_repairs_assembled(iflow_run *run, size_t from, size_t to);
/* The selected tokens run again, and what is to be done before and after. */
iflow_status iflow_repairs_recompute(iflow_run *run);
iflow_status iflow_repairs_mixed(iflow_run *run, const iflow_mixture *mixture);
void iflow_repairs_free(iflow_run *run);

/* What the method's own repair keeps: its scoring may put it there. */
void **iflow_repairs_own(iflow_run *run);

#endif
