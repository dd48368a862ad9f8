/* learning.c - learns a correction from documents: contexts of several lengths, put together of their chunks, compared with full prefill.
 */
#include "service/learning.h"

#include "base/base.h"
#include "base/cancel.h"
#include "base/random.h"

#include <stdlib.h>

enum { MAX_ROUNDS = 8 }; /* how often a chunk is looked at, at other places among others, where there are few */

/* Tokens of the contexts, one after the other: most chunks that are asked about stand a thousand tokens deep, some more. */
static const size_t length[] = {1024, 2048, 4096};

typedef struct learning {
    const learning_params *params;
    size_t *order, at; /* the chunks, shuffled; the next one */
    int round;
    uint64_t random;
} learning;

static void shuffle(learning *l) {
    iflow_random_order(&l->random, l->order, l->params->chunks->n_chunks);
    l->at = 0;
    l->round++;
}

/* Lays the next context: chunks to a length, two at least. */
static iflow_status lay(learning *l, size_t n_contexts) {
    const chunk_list *all = l->params->chunks;
    const size_t most = l->params->n_ctx_train / 2, wanted = length[n_contexts % (sizeof length / sizeof length[0])];
    const size_t target = wanted < most ? wanted : most;
    chunk_list next = {0};
    iflow_status status = IFLOW_OK;
    iflow_context_clear(l->params->ctx);
    if (l->at + 2 > all->n_chunks) {
        shuffle(l);
    }
    while (status == IFLOW_OK && l->at < all->n_chunks && (next.n_chunks < 2 || chunk_list_tokens(&next) < target)) {
        status = chunk_list_append(&next, all, l->order[l->at++]);
    }
    if (status == IFLOW_OK && l->params->prefill) {
        status = l->params->prefill(&next, false, l->params->user);
    }
    if (status == IFLOW_OK) {
        status = chunk_list_lay(&next, l->params->ctx);
    }
    chunk_list_free(&next);
    return status;
}

/* Computes the chunks of all contexts ahead, so that those which another process has in hand are waited for together. */
static iflow_status prefill(const learning *l) {
    const chunk_list *all = l->params->chunks;
    chunk_list next = {0};
    iflow_status status = IFLOW_OK;
    for (size_t i = 0; status == IFLOW_OK && i < all->n_chunks && chunk_list_tokens(&next) < l->params->n_tokens; i++) {
        status = chunk_list_append(&next, all, l->order[i]);
    }
    if (status == IFLOW_OK && l->params->prefill) {
        status = l->params->prefill(&next, true, l->params->user);
    }
    chunk_list_free(&next);
    return status;
}

iflow_status learning_run(const learning_params *params, learning_result *out) {
    const size_t n_chunks = params->chunks->n_chunks;
    learning l = {.params = params, .order = iflow_calloc(n_chunks, sizeof *l.order)};
    size_t n = 0;
    *out = (learning_result){0};
    if (!l.order) {
        return iflow_fail_memory(n_chunks * sizeof *l.order);
    }
    for (size_t i = 0; i < n_chunks; i++) {
        l.order[i] = i;
    }
    shuffle(&l);
    iflow_status status = iflow_learner_new(params->ctx, &out->learner);
    status = status == IFLOW_OK ? prefill(&l) : status;
    while (status == IFLOW_OK && n < params->n_tokens && l.round <= MAX_ROUNDS) {
        if (params->progress) {
            params->progress(n, params->user);
        }
        status = iflow_cancel_check();
        if (status == IFLOW_OK && (status = lay(&l, out->n_contexts)) == IFLOW_OK &&
            (status = iflow_learner_add(out->learner)) == IFLOW_OK) {
            n = iflow_learner_tokens(out->learner);
            out->n_contexts++;
        }
    }
    if (status != IFLOW_OK) {
        iflow_learner_free(out->learner);
        out->learner = NULL;
    }
    free(l.order);
    return status;
}
