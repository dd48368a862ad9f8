/* work.h - items of work that the threads of one op of a graph take, one after another. */
#ifndef IFLOW_KERNELS_WORK_H
#define IFLOW_KERNELS_WORK_H

#include "base/latch.h"
#include "kernels/helpers.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* The work of one op. Zero it first. */
typedef struct iflow_work {
    atomic_int next;            /* the item to take; 0 between computations */
    iflow_cancel_latch *cancel; /* of the computation; NULL: it cannot be cancelled in here */
} iflow_work;

/* How many threads an op that nth of ggml's threads do should have items for. */
static inline int iflow_work_threads(int nth) {
    return nth == 1 ? 1 + iflow_helpers_count() : nth;
}

/* Called by each of ggml's nth threads: does items [0, n_items) together with the others; one thread does them with its helpers. Where the
 * computation is cancelled, items are left out: the op's result is undefined then. work->next is 0 again when all threads have returned: a
 * graph is computed many times. */
static inline void iflow_work_do(iflow_work *work, int64_t n_items, int nth, iflow_item *item, const void *op) {
    if (nth == 1) {
        iflow_helpers_do(n_items, item, op, work->cancel);
        return;
    }
    int64_t i;
    while ((i = atomic_fetch_add(&work->next, 1)) < n_items) {
        if (!work->cancel || !iflow_cancel_seen(work->cancel)) {
            item(op, i);
        }
    }
    if (i == n_items + nth - 1) {
        atomic_store(&work->next, 0);
    }
}

/* The same for items that are alike: thread ith does each nth of them. */
static inline void iflow_work_split(int64_t n_items, int ith, int nth, iflow_item *item, const void *op) {
    if (nth == 1) {
        iflow_helpers_do(n_items, item, op, NULL);
        return;
    }
    for (int64_t i = ith; i < n_items; i += nth) {
        item(op, i);
    }
}

#endif
