/* guard.h - asks for memory before ggml does: where it gets none, ggml ends the process, which a library must not do to its caller. */
#ifndef IFLOW_MODEL_GUARD_H
#define IFLOW_MODEL_GUARD_H

#include "base/base.h"

#include <ggml-backend.h>
#include <ggml.h>

/* A context for the descriptions of tensors and graphs, without their data. E_MEMORY. Freed with ggml_free(). */
iflow_status iflow_guard_context(size_t mem_size, struct ggml_context **out);

/* Before ggml_backend_sched_new() for graphs of max_nodes nodes and leaves. E_MEMORY. */
iflow_status iflow_guard_scheduler(size_t max_nodes);

/* Before a graph is allocated: for what ggml notes of each node; the tensors' data it asks for itself, and says when there is none. */
iflow_status iflow_guard_graph(struct ggml_cgraph *cgraph);

/* What the CPU works in while it computes an allocated graph, at most. */
size_t iflow_guard_work_bytes(struct ggml_cgraph *cgraph, int n_threads);

/* That n_threads threads can be started: the runtime beneath ggml ends the process where one cannot. E_MEMORY, naming the number. */
iflow_status iflow_guard_threads(int n_threads);

#endif
