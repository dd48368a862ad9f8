/* work.h - items of work that the threads of one op of a graph take, one after another. */
#ifndef IFLOW_KERNELS_WORK_H
#define IFLOW_KERNELS_WORK_H

#include "base/latch.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* The work of one op. Zero it first. */
typedef struct iflow_work {
    atomic_int next;            /* the item to take; 0 between computations */
    iflow_cancel_latch *cancel; /* of the computation; NULL: it cannot be cancelled in here */
} iflow_work;

/* The next of n_items, to *item; false when none is left, or the computation is cancelled: the op's result is undefined then. work->next is
 * 0 again once all nth threads have been told so: a graph is computed many times. */
static inline bool iflow_work_take(iflow_work *work, int64_t n_items, int nth, int64_t *item) {
    do {
        *item = atomic_fetch_add(&work->next, 1);
    } while (*item < n_items && work->cancel && iflow_cancel_seen(work->cancel));
    if (*item == n_items + nth - 1) {
        atomic_store(&work->next, 0);
    }
    return *item < n_items;
}

#endif
