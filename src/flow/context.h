/* context.h - the inside of an iflow_context: a list of chunks, over one timeline and what that needs. */
#ifndef IFLOW_FLOW_CONTEXT_H
#define IFLOW_FLOW_CONTEXT_H

#include "flow/timeline.h"

struct iflow_context {
    const iflow_model *model;
    iflow_store *store;     /* the caller's, or NULL */
    iflow_store *own_store; /* in memory, where the caller gave none; else NULL */
    iflow_engine *engine;
    iflow_chunk_builder builder;
    iflow_cache pool;
    iflow_timeline timeline;
    size_t chunk_tokens;
    iflow_kv_type kv_type;
    int fillers; /* of chunks that this context makes */
    iflow_context_chunk *chunk;
    size_t n_chunks, chunk_capacity;
};

/* Whether a context cannot be used: it is NULL, or on_text is being called by its answer. The message names function and reason. Use:
 * if (IFLOW_UNUSABLE(ctx)) { return IFLOW_E_ARG; } */
#define IFLOW_UNUSABLE(ctx) iflow_context_unusable(__func__, (ctx))
bool iflow_context_unusable(const char *function, const iflow_context *ctx);

/* checks.c */
iflow_status iflow_context_check_params(const iflow_model *model, const iflow_context_params *params);

/* checks.c: that there are no more tokens than any context can hold, before they are read; what: "a chunk". E_ARG. */
iflow_status iflow_context_check_count(const char *what, size_t n_tokens);

#endif
