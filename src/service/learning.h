/* learning.h - learns a correction from documents: contexts of several lengths, put together of their chunks, compared with full prefill.
 */
#ifndef IFLOW_SERVICE_LEARNING_H
#define IFLOW_SERVICE_LEARNING_H

#include "service/chunks.h"

typedef struct learning_params {
    iflow_context *ctx;       /* whose chunks are prefilled as those that the correction is for */
    const chunk_list *chunks; /* two at least */
    size_t n_tokens;          /* to learn from; fewer, if each chunk was looked at several times */
    size_t n_ctx_train;       /* the model's; contexts have half of it at most */
    /* Computes the KV of chunks ahead, where that is not in vain. all: those of all contexts together, before the first one is laid; else
     * those of the next. A failure ends learning. NULL: they are computed as they are laid. */
    iflow_status (*prefill)(const chunk_list *chunks, bool all, void *user);
    /* Called before each context, with the tokens learned from so far. NULL: nobody listens. */
    void (*progress)(size_t n_learned, void *user);
    void *user;
} learning_params;

typedef struct learning_result {
    iflow_learner *learner; /* to be written with iflow_learner_write(), and freed */
    size_t n_contexts;
} learning_result;

/* Learns. The order of chunks is random and the same every time. On failure, E_CANCELLED too, there is no learner. */
iflow_status learning_run(const learning_params *params, learning_result *out);

#endif
