/* ahead.h - what can be done before chunks are asked about: whether they fit the context and the store, and their KV. */
#ifndef IFLOW_SERVICE_AHEAD_H
#define IFLOW_SERVICE_AHEAD_H

#include "service/chunks.h"
#include "service/pace.h"

/* How far the computing of chunks ahead is. */
typedef struct chunks_state {
    pace pace;         /* in tokens */
    size_t n, n_all;   /* chunks that are done, and all */
    size_t n_computed; /* tokens of those that were not stored */
    double seconds;    /* that they were computed in */
} chunks_state;

/* What somebody hears of it. progress may be NULL. */
typedef struct chunks_events {
    void (*progress)(const chunks_state *state, void *user); /* after each chunk */
    void *user;
} chunks_events;

/* Computes ahead the KV of those that are not stored yet, one by one. Waits for those that another process computes, after all others.
 * E_CANCELLED; E_MEMORY. Any other failure ends it and is not said (OK): what is missing afterwards is computed by the call that uses it,
 * which goes on where a chunk cannot be kept, and says what is wrong. events NULL: none; state NULL: not wanted. */
iflow_status chunks_prefill(const chunk_list *chunks, iflow_context *ctx, const chunks_events *events, chunks_state *state);

/* A context in which chunks are to stand. */
typedef struct chunks_room {
    const iflow_model *model;
    int n_ctx;           /* tokens it holds; 0: what the model was trained for */
    int n_ubatch;        /* as in iflow_context_params */
    int n_threads;       /* as in iflow_context_params */
    const char *kv_type; /* as in iflow_context_params */
    bool has_store;
    uint64_t max_bytes; /* the store's limit; 0: none */
} chunks_room;

/* Whether the context holds these chunks, the question of params, and what stands around them, found out before any of it is prefilled.
 * E_CONTEXT, with how many tokens are too many; any other failure is the library's. Where it is close, it costs a pass over the prompt. */
iflow_status chunks_fit(const chunks_room *room, const chunk_list *chunks, const iflow_ask_params *params);

/* Whether the store's limit has room for the KV of these chunks in so many contexts that prefill them differently. Where it has not, to
 * compute them ahead is in vain: the first ones are evicted for the last ones, and computed again. */
bool chunks_are_kept(const chunks_room *room, const chunk_list *chunks, size_t n_contexts);

#endif
