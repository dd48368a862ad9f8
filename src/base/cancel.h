/* cancel.h - whether this thread's calls are to end: the token that iflow_cancel_use() gave it. */
#ifndef IFLOW_BASE_CANCEL_H
#define IFLOW_BASE_CANCEL_H

#include "base/base.h"

/* This thread's token, for other threads that work for it; NULL: none. */
const iflow_cancel *iflow_cancel_current(void);

/* Whether a token is raised; NULL is not. */
bool iflow_cancel_is_raised(const iflow_cancel *cancel);

/* For tests: raises the token when it is checked for the n_checks-th time from now. */
void iflow_cancel_after(iflow_cancel *cancel, long n_checks);
long iflow_cancel_left(const iflow_cancel *cancel);

/* E_CANCELLED where this thread's token is raised. To be called at least every 20 ms or so of work. */
iflow_status iflow_cancel_check(void);

#endif
