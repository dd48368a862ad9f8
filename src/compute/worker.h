/* worker.h - what computes on a device: its backends and one pool of threads. There is one a device in a process, for all engines. */
#ifndef IFLOW_COMPUTE_WORKER_H
#define IFLOW_COMPUTE_WORKER_H

#include "base/latch.h"
#include "compute/load.h"
#include "kernels/helpers.h"

#include <ggml-backend.h>

typedef struct iflow_worker {
    struct iflow_worker *next; /* in the process's list */
    size_t n_users;
    ggml_backend_t backend[2]; /* the device's, then the CPU's; the CPU's only where that is the device */
    int n_backends;
    struct ggml_threadpool *pool; /* of the CPU's backend; its threads sleep between graphs */
    int n_threads;                /* of the pool, the caller's included */
    iflow_helpers *helpers;       /* n_threads - 1 more, for ops of our own where the pool cannot be used; NULL: none */
    iflow_load load;              /* of the machine, by which a graph gets fewer threads */
    struct iflow_turns *turns;
} iflow_worker;

/* The process's worker for a device, which lasts until the last iflow_worker_put(). Its pool gets at least n_threads threads. E_BACKEND,
 * E_MEMORY. */
iflow_status iflow_worker_get(ggml_backend_dev_t device, ggml_backend_dev_t cpu, int n_threads, iflow_worker **out);
void iflow_worker_put(iflow_worker *worker);

/* Computes a graph that is allocated in a scheduler over the worker's backends, with n_threads of its threads; fewer: with less where the
 * machine is busy, down to one that has helpers, which must not change what comes out. One graph is computed at a time, in the order of the
 * calls. The latch, which has this thread's token, ends it between two nodes: E_CANCELLED, and what the graph writes is undefined.
 * E_BACKEND, E_MEMORY. */
iflow_status iflow_worker_compute(iflow_worker *worker, ggml_backend_sched_t sched, struct ggml_cgraph *cgraph, int n_threads, bool fewer,
                                  iflow_cancel_latch *cancel);

#endif
