/* timeline.h - an inference timeline: the rows that chunks are assembled in and repaired, the prompt's and the answer's; and what a later
 * turn goes on from.
 *
 * It has rows of a pool and a builder of chunks that other timelines may have, too; one thread uses these at a time. Positions are its
 * rows, 0 to n_rows - 1. */
#ifndef IFLOW_FLOW_TIMELINE_H
#define IFLOW_FLOW_TIMELINE_H

#include "flow/chunk_builder.h"
#include "kv/correction.h"
#include "kv/sequence.h"

/* Rows, tokens of a document's pieces and positions are ints, of which sums must be possible. */
enum { IFLOW_MAX_CTX = 1 << 30, IFLOW_MAX_UBATCH = 1 << 16 };

typedef struct iflow_timeline {
    const iflow_model *model;
    iflow_chunk_builder *builder;
    iflow_seq seq;
    int n_ctx;                          /* most rows */
    iflow_kv_type kv_type;              /* of the head's chunk */
    bool estimate;                      /* chunks that are made get their estimated staleness */
    const iflow_correction *correction; /* NULL: none */
    bool answering;                     /* on_text is being called */
    unsigned warned;                    /* what was warned of, each once: bits of iflow_warning */
    /* The last answer, which a follow-up goes on from; n_rows 0: nothing was asked. */
    struct {
        int n_rows;      /* rows in use: context, prompt, answer */
        int n_before;    /* of these, before the answer */
        float *logits;   /* [n_vocab]: what the answer's first token was predicted by */
        int32_t pending; /* last generated token, which has no row yet; -1: none */
    } last;
} iflow_timeline;

typedef enum iflow_warning { IFLOW_WARN_BEYOND = 1, IFLOW_WARN_PLAIN = 2, IFLOW_WARN_NO_PLACE = 4 } iflow_warning;

/* Pool and builder must outlive it. n_ctx, kv_type, estimate and correction are the caller's to set. */
void iflow_timeline_begin(iflow_timeline *t, iflow_chunk_builder *builder, iflow_cache *pool);
void iflow_timeline_end(iflow_timeline *t);

/* Forgets the conversation. */
void iflow_timeline_clear(iflow_timeline *t);

/* Wipes its rows after a pass that was not finite, and forgets the answer. */
void iflow_timeline_drop_rows(iflow_timeline *t);

/* Answers over chunks, as iflow_context_ask(), _follow_up() and _replay() say. What they are given was checked. */
iflow_status iflow_timeline_ask(iflow_timeline *t, const iflow_context_chunk *chunk, size_t n_chunks, const iflow_ask_params *params,
                                iflow_answer **out);
iflow_status iflow_timeline_follow_up(iflow_timeline *t, const iflow_ask_params *params, iflow_answer **out);
iflow_status iflow_timeline_replay(iflow_timeline *t, const int32_t *tokens, size_t n_tokens, float *logits);

/* One pass that decodes a token for each of n timelines of one pool: token[i] comes after the rows of t[i], which has one more then, and
 * logits [n, n_vocab] are what comes after it. The first token after an answer must be its last one, where that has no row yet
 * (last.pending). E_ARG: nothing was asked there; E_CONTEXT: one is full; E_MEMORY, E_BACKEND: then none went on. E_NOT_FINITE: those whose
 * last.n_rows is 0 now did not go on, the others did. */
iflow_status iflow_timelines_decode(iflow_timeline *const *t, const int32_t *token, int n, float *logits);

/* limits.c: whether a warning is due: not where it was given before. */
bool iflow_timeline_warns(iflow_timeline *t, iflow_warning what);

/* limits.c: what else helps where something does not fit, as the end of a sentence: a larger context, if the model was trained for one;
 * else
 * "". */
const char *iflow_timeline_larger(const iflow_timeline *t);

/* checks.c: that there is a token besides, and all are in the vocabulary. what: "a chunk". E_ARG. */
iflow_status iflow_check_tokens(const iflow_model *model, const char *what, const int32_t *tokens, size_t n_tokens);

#endif
