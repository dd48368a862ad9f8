/* engine_inner.h - the inside of an engine, for the passes and the edits of rows that share its scheduler. */
#ifndef IFLOW_COMPUTE_ENGINE_INNER_H
#define IFLOW_COMPUTE_ENGINE_INNER_H

#include "compute/engine.h"
#include "compute/graph.h"

struct iflow_engine {
    const iflow_model *model;
    int n_ubatch;
    ggml_backend_t backend[2]; /* the device's, then the CPU's; the CPU's alone where that is the device */
    int n_backends;
    ggml_backend_sched_t sched;
    iflow_graph graph;
    bool allocated; /* graph is allocated in sched: usable again as it is */
    int n_threads;
    size_t work_bytes; /* that were there for the CPU's work when a graph was allocated */
    ggml_fp16_t *mask;
    size_t mask_capacity;
    int32_t *seen;
    size_t seen_capacity;
    int64_t *row;
};

/* Allocates a graph in the scheduler, which holds one at a time. E_MEMORY. */
iflow_status iflow_engine_allocate(iflow_engine *engine, struct ggml_cgraph *cgraph);

/* Computes the allocated graph. E_BACKEND, E_CANCELLED, E_MEMORY. */
iflow_status iflow_engine_compute(iflow_engine *engine, struct ggml_cgraph *cgraph);

/* Writes all of an input. */
void iflow_engine_fill(struct ggml_tensor *input, const void *values);

#endif
