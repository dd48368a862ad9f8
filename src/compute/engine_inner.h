/* engine_inner.h - the inside of an engine, for the passes and the edits of rows that share its scheduler. */
#ifndef IFLOW_COMPUTE_ENGINE_INNER_H
#define IFLOW_COMPUTE_ENGINE_INNER_H

#include "compute/engine.h"
#include "compute/graph.h"
#include "compute/worker.h"

struct iflow_engine {
    const iflow_model *model;
    int n_ubatch;
    iflow_worker *worker;
    ggml_backend_sched_t sched;
    iflow_graph graph;
    bool allocated; /* graph is allocated in sched: usable again as it is */
    int n_threads;
    size_t work_bytes; /* that were there for the CPU's work when a graph was allocated */
    ggml_fp16_t *mask;
    size_t mask_capacity;
    int32_t *seen;    /* [n_seq, n_kv]: orders of rows as each sequence of a slice sees them */
    int32_t *seen_at; /* the same of coordinates, after it, where the model has windows */
    size_t seen_capacity;
    /* Of a slice, [n]: */
    int64_t *row;
    int32_t *of_seq; /* each token's sequence, counted from 0 among those of the slice */
    int32_t *coord;  /* coordinates as the graph takes them */
};

/* Allocates a graph in the scheduler, which holds one at a time. E_MEMORY. */
iflow_status iflow_engine_allocate(iflow_engine *engine, struct ggml_cgraph *cgraph);

/* Computes the allocated graph. fewer: what comes out does not depend on the number of threads, so that it may be less than the engine's
 * where the machine is busy. E_BACKEND, E_CANCELLED, E_MEMORY. */
iflow_status iflow_engine_compute(iflow_engine *engine, struct ggml_cgraph *cgraph, bool fewer);

/* Coordinates as the graphs take them: out [n] where all layers rotate by one, which is the first. */
void iflow_engine_coords(const iflow_coord *coord, int n, int32_t *out);

/* Writes all of an input. */
void iflow_engine_fill(struct ggml_tensor *input, const void *values);

#endif
