/* cancel.c - tokens that end calls from another thread or from a signal handler. */
#include "base/cancel.h"

#include "base/latch.h"

#include <stdatomic.h>
#include <stdlib.h>

struct iflow_cancel {
    atomic_bool raised; /* lock-free on every platform of ours, so a signal handler may write it */
    atomic_long left;   /* checks until it raises itself; 0 or less: it does not */
};

static _Thread_local const iflow_cancel *current;

iflow_status iflow_cancel_new(iflow_cancel **out) {
    if (IFLOW_MISSING(out)) {
        return IFLOW_E_ARG;
    }
    iflow_cancel *cancel = calloc(1, sizeof *cancel);
    if (!cancel) {
        return iflow_fail_memory(sizeof *cancel);
    }
    *out = cancel;
    return IFLOW_OK;
}

void iflow_cancel_free(iflow_cancel *cancel) {
    if (cancel && cancel == current) {
        current = NULL;
    }
    free(cancel);
}

void iflow_cancel_raise(iflow_cancel *cancel, bool raised) {
    if (cancel) {
        atomic_store(&cancel->raised, raised);
    }
}

void iflow_cancel_use(const iflow_cancel *cancel) {
    current = cancel;
}

const iflow_cancel *iflow_cancel_current(void) {
    return current;
}

void iflow_cancel_after(iflow_cancel *cancel, long n_checks) {
    atomic_store(&cancel->left, n_checks);
}

long iflow_cancel_left(const iflow_cancel *cancel) {
    return atomic_load(&cancel->left);
}

bool iflow_cancel_is_raised(const iflow_cancel *cancel) {
    if (!cancel) {
        return false;
    }
    if (atomic_load_explicit(&cancel->left, memory_order_relaxed) > 0) {
        iflow_cancel *armed = (iflow_cancel *)(uintptr_t)cancel;
        if (atomic_fetch_sub(&armed->left, 1) == 1) {
            atomic_store(&armed->raised, true);
        }
    }
    return atomic_load_explicit(&cancel->raised, memory_order_relaxed);
}

bool iflow_cancel_seen(iflow_cancel_latch *latch) {
    if (!iflow_cancel_is_raised(latch->token)) {
        return atomic_load_explicit(&latch->seen, memory_order_relaxed);
    }
    atomic_store_explicit(&latch->seen, true, memory_order_relaxed);
    return true;
}

iflow_status iflow_cancel_check(void) {
    return iflow_cancel_is_raised(current) ? iflow_fail(IFLOW_E_CANCELLED, "cancelled by the caller") : IFLOW_OK;
}
