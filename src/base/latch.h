/* latch.h - a token over one piece of work that several threads do. */
#ifndef IFLOW_BASE_LATCH_H
#define IFLOW_BASE_LATCH_H

#include "base/cancel.h"

#include <stdatomic.h>

/* A token over one piece of work that several threads do: once one has seen it raised, it is cancelled for all, even if the token is
 * lowered meanwhile, so that work that was left undone is never taken for done. */
typedef struct iflow_cancel_latch {
    const iflow_cancel *token;
    atomic_bool seen;
} iflow_cancel_latch;

bool iflow_cancel_seen(iflow_cancel_latch *latch);

#endif
