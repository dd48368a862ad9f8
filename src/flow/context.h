/* context.h - the inside of an iflow_context: the list of chunks, the cache they are laid out in, and getting a chunk's KV. */
#ifndef IFLOW_FLOW_CONTEXT_H
#define IFLOW_FLOW_CONTEXT_H

#include "compute/engine.h"
#include "flow/behind.h"
#include "flow/busy.h"
#include "kv/cache.h"
#include "kv/correction.h"
#include "kv/store.h"

/* Rows, tokens of a document's pieces and positions are ints, of which sums must be possible. */
enum { IFLOW_MAX_CTX = 1 << 30, IFLOW_MAX_UBATCH = 1 << 16 };

typedef struct iflow_context_chunk {
    char id[IFLOW_ID_SIZE];
    int32_t *token;
    size_t n_tokens;
    iflow_kv_type type;
    int behind; /* texts that it is prefilled behind, each in its turn; or IFLOW_BEHIND_NOTHING */
} iflow_context_chunk;

struct iflow_context {
    const iflow_model *model;
    iflow_store *store; /* NULL: memory serves */
    iflow_engine *engine;
    int n_ctx; /* most rows of the cache */
    size_t chunk_tokens;
    iflow_kv_type kv_type;
    int behind;                         /* of chunks that this context makes */
    bool foresee;                       /* these get their foreseen staleness */
    const iflow_correction *correction; /* NULL: none */
    iflow_texts texts;
    iflow_kv_layer *layer;                             /* [n_layer]: what chunks store */
    char lead_id[IFLOW_MAX_BEHIND + 1][IFLOW_ID_SIZE]; /* hash of the tokens that chunks behind so many texts stand behind */
    iflow_busy busy;                                   /* chunks that others compute */
    iflow_cache cache;                                 /* the context, prompt and answer, at their global positions */
    /* Where chunks are prefilled: a lead's rows, which stay for the next chunk, then the chunk's. By text, behind that of no text at all.
     */
    struct {
        iflow_cache cache;
        int n; /* rows of the lead that are there */
    } lead[IFLOW_MAX_BEHIND + 2];
    iflow_context_chunk *chunk;
    size_t n_chunks, chunk_capacity;
    iflow_chunk **memory; /* chunks kept where there is no store */
    size_t n_memory, memory_capacity;
    bool answering;  /* on_text is being called */
    unsigned warned; /* what this context has warned of, each once: bits of iflow_context_warning */
    /* The state that a follow-up goes on from; n_rows 0: nothing was asked. */
    struct {
        int n_rows;      /* rows in use: context, prompt, answer */
        int n_before;    /* of these, before the answer */
        float *logits;   /* [n_vocab]: what the answer's first token was predicted by */
        int32_t pending; /* last generated token, which has no row yet; -1: none */
        char *between, *footer;
    } turn;
};

typedef enum iflow_context_warning { IFLOW_WARN_BEYOND = 1, IFLOW_WARN_PLAIN = 2, IFLOW_WARN_NO_PLACE = 4 } iflow_context_warning;

/* Whether a context cannot be used: it is NULL, or on_text is being called by its answer. The message names function and reason. Use:
 * if (IFLOW_UNUSABLE(ctx)) { return IFLOW_E_ARG; } */
#define IFLOW_UNUSABLE(ctx) iflow_context_unusable(__func__, (ctx))
bool iflow_context_unusable(const char *function, const iflow_context *ctx);

/* Whether a warning is due: not where it was given before. */
bool iflow_context_warns(iflow_context *ctx, iflow_context_warning what);

/* What else helps where something does not fit, as the end of a sentence: a larger context, if the model was trained for one; else "". */
const char *iflow_context_larger(const iflow_context *ctx);

/* Warns, once, where n_rows are more than the model was trained for. */
void iflow_context_warn_beyond(iflow_context *ctx, size_t n_rows);

/* Gives up all rows after a pass that was not finite, and with them the conversation: what is masked is multiplied by 0, which NaN
 * survives, so that later questions would end as this one did. */
void iflow_context_drop_rows(iflow_context *ctx);

/* A chunk under this context's model; the tokens stay the caller's. */
iflow_context_chunk iflow_context_chunk_of(const iflow_context *ctx, int32_t *tokens, size_t n_tokens, iflow_kv_type type, int behind);

/* limits.c */
iflow_status iflow_context_check_params(const iflow_model *model, const iflow_context_params *params);

/* The failure of a chunk that does not fit behind what it is prefilled behind. E_CONTEXT. */
iflow_status iflow_context_chunk_too_long(const iflow_context *ctx, size_t n_before, size_t n_tokens);

/* That there are no more tokens than any context can hold, before they are read; what: "a chunk". E_ARG. */
iflow_status iflow_context_check_count(const char *what, size_t n_tokens);

/* That there is a token besides, and all are in the vocabulary. E_ARG. */
iflow_status iflow_context_check_tokens(const iflow_context *ctx, const char *what, const int32_t *tokens, size_t n_tokens);

/* Gets a chunk's KV, from the store or from memory, or computes and keeps it. *owned: the caller frees it. Times go to load and prefill.
 * A chunk that cannot be kept (a full disk) is still handed out, with a warning in the log. */
iflow_status iflow_context_obtain(iflow_context *ctx, const iflow_context_chunk *chunk, iflow_chunk **out, bool *owned, iflow_timings *ms);

#endif
