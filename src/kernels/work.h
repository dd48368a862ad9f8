/* work.h - items of work that the threads of one op of a graph take, one after another. */
#ifndef IFLOW_KERNELS_WORK_H
#define IFLOW_KERNELS_WORK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* The next of n_items, to *item; false when none is left. *next is 0 before the op is computed, and is again once all nth threads have
 * been told so: a graph is computed many times. */
static inline bool iflow_work_take(atomic_int *next, int64_t n_items, int nth, int64_t *item) {
    *item = atomic_fetch_add(next, 1);
    if (*item == n_items + nth - 1) {
        atomic_store(next, 0);
    }
    return *item < n_items;
}

#endif
