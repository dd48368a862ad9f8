/* helpers.h - threads that help one thread with the items of an op, as far as they get a processor. */
#ifndef IFLOW_KERNELS_HELPERS_H
#define IFLOW_KERNELS_HELPERS_H

#include "base/latch.h"

#include <stdint.h>

/* Does item i of an op. Items may be done at the same time, in any order. */
typedef void iflow_item(const void *op, int64_t i);

/* ggml's threads meet after each op of a graph, so that one that must share its processor holds up all of them. Helpers meet nobody: an op
 * is done when its items are, whoever did them. They sleep between ops. */
typedef struct iflow_helpers iflow_helpers;

/* n threads, at least 1. NULL: they cannot be started. Freed by iflow_helpers_free(), while they do nothing. */
iflow_helpers *iflow_helpers_new(int n);
void iflow_helpers_free(iflow_helpers *helpers); /* NULL: does nothing */

/* From now on n of the helpers help with the ops that the calling thread does by itself; 0: none. One thread may use them at a time. */
void iflow_helpers_use(iflow_helpers *helpers, int n);

/* How many the calling thread has; 0: none. */
int iflow_helpers_count(void);

/* Does items [0, n_items), with the calling thread's helpers if it has any and the op is not a short one, and returns when all are done.
 * Where the latch (NULL: none) is raised, items are left out. */
void iflow_helpers_do(int64_t n_items, iflow_item *item, const void *op, iflow_cancel_latch *cancel);

#endif
