/* cancel.h - whether this thread's calls are to end: the token that iflow_cancel_use() gave it. */
#ifndef IFLOW_BASE_CANCEL_H
#define IFLOW_BASE_CANCEL_H

#include "base/base.h"

#include <stdatomic.h>

/* This thread's token, for other threads that work for it; NULL: none. */
const iflow_cancel *iflow_cancel_current(void);

/* Whether a token is raised; NULL is not. */
bool iflow_cancel_is_raised(const iflow_cancel *cancel);

/* For tests: raises the token when it is looked at for the n_looks-th time from now. */
void iflow_cancel_after(iflow_cancel *cancel, long n_looks);
long iflow_cancel_left(const iflow_cancel *cancel);

/* A token over one piece of work that several threads do: once one has seen it raised, it is cancelled for all, even if the token is
 * lowered meanwhile, so that work that was left undone is never taken for done. */
typedef struct iflow_cancel_latch {
    const iflow_cancel *token;
    atomic_bool seen;
} iflow_cancel_latch;

bool iflow_cancel_seen(iflow_cancel_latch *latch);

/* E_CANCELLED where this thread's token is raised. To be called at least every 20 ms or so of work. */
iflow_status iflow_cancel_check(void);

#endif
