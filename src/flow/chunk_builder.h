/* chunk_builder.h - gets a chunk's KV: from the store, or computed and kept there. The same chunk wanted twice at once is computed once.
 *
 * Several builders may work at once, each in a thread or a process of its own, over one store: a lease says who computes a chunk. */
#ifndef IFLOW_FLOW_CHUNK_BUILDER_H
#define IFLOW_FLOW_CHUNK_BUILDER_H

#include "compute/engine.h"
#include "flow/fillers.h"
#include "flow/lease_wait.h"
#include "kv/cache.h"
#include "kv/store.h"

/* What a chunk is to be. */
typedef struct iflow_context_chunk {
    char id[IFLOW_ID_SIZE];
    int32_t *token;
    size_t n_tokens;
    iflow_kv_type type;
    int fillers; /* texts that it is prefilled after, each in its turn; or IFLOW_NO_PREFIX */
} iflow_context_chunk;

typedef struct iflow_chunk_builder {
    const iflow_model *model;
    iflow_store *store;
    iflow_engine *engine;
    int n_ctx;         /* most tokens of a chunk and of what it is prefilled after */
    int fillers;       /* of chunks that are made; here for messages alone */
    unsigned warned;   /* what was warned of, once: bits of iflow_warning */
    size_t n_computed; /* chunks, so far */
    iflow_texts texts;
    iflow_kv_layer *layer;                                /* [n_layer]: what chunks store */
    char prefix_id[IFLOW_MAX_FILLERS + 1][IFLOW_ID_SIZE]; /* hash of the tokens that stand before a chunk with so many fillers */
    iflow_lease_wait waits;                               /* chunks that others compute */
    /* Where chunks are prefilled: a prefix's rows, which stay for the next chunk, then the chunk's. [0]: for heads, which have no prefix;
     * [1]: the sink; [1 + i]: the sink and text i. */
    struct {
        iflow_cache cache;
        int n; /* rows of the prefix that are there */
    } prefix[IFLOW_MAX_FILLERS + 2];
} iflow_chunk_builder;

/* Model, store and engine stay the caller's and must outlive the builder. n_ctx, fillers: as above. E_MEMORY, and what tokenising
 * fails with; free it all the same. */
iflow_status iflow_builder_init(iflow_chunk_builder *b, const iflow_model *model, iflow_store *store, iflow_engine *engine, int n_ctx,
                                int fillers);
void iflow_builder_free(iflow_chunk_builder *b);

/* A chunk under this builder's model; the tokens stay the caller's. */
iflow_context_chunk iflow_builder_chunk(const iflow_chunk_builder *b, int32_t *tokens, size_t n_tokens, iflow_kv_type type, int fillers);

/* Gets a chunk's KV, for the caller to free; estimate: with its estimated staleness, but for a head's. Waits for one that is being computed
 * elsewhere, as long as its lease lasts. Times go to load and prefill. A chunk that cannot be kept (a full disk) is still handed out, with
 * a warning in the log. */
iflow_status iflow_builder_get(iflow_chunk_builder *b, const iflow_context_chunk *chunk, bool estimate, iflow_chunk **out,
                               iflow_timings *ms);

/* Computes and keeps those of n chunks that are not there, several in one pass where that changes nothing. The result is that of
 * iflow_context_prefill(). was_stored [n]; is_leased [n]: another has it in the making. */
iflow_status iflow_builder_make(iflow_chunk_builder *b, const iflow_context_chunk *chunk, size_t n, bool estimate, bool *was_stored,
                                bool *is_leased);

/* Gives up all rows. */
void iflow_builder_drop_rows(iflow_chunk_builder *b);

/* chunk_prefill.c: computes chunks that are prefilled alike, in one pass a text; out [n]. E_CONTEXT, E_NOT_FINITE, E_MEMORY, E_BACKEND;
 * E_IO where the model's file was written to. */
iflow_status iflow_builder_compute(iflow_chunk_builder *b, const iflow_context_chunk *chunk, size_t n, bool estimate, iflow_chunk **out);

iflow_chunk_identity iflow_builder_identity(const iflow_chunk_builder *b, const iflow_context_chunk *chunk);

/* limits.c: warns where n_rows are more than the model was trained for, unless *warned has it. */
void iflow_warn_beyond(const iflow_model *model, size_t n_rows, unsigned *warned);

/* limits.c: the failure of a chunk that does not fit together with what it is prefilled after. E_CONTEXT. */
iflow_status iflow_builder_too_long(const iflow_chunk_builder *b, size_t n_before, size_t n_tokens);

#endif
