/* sampler.h - the next token from its logits, through libllama's chain of samplers; nothing that it throws gets out. */
#ifndef IFLOW_MODEL_SAMPLER_H
#define IFLOW_MODEL_SAMPLER_H

#ifdef __cplusplus
extern "C" {
#endif

#include "base/base.h"

struct llama_model;

/* The fields are as in iflow_ask_params, and within the ranges that stand there. last_n: tokens, 0 is none. */
typedef struct iflow_sampling {
    double temperature, top_p, min_p, repeat_penalty, frequency_penalty, presence_penalty;
    int top_k, last_n;
    uint64_t seed;
    const char *grammar; /* NULL: none. It has passed iflow_grammar_check() */
} iflow_sampling;

typedef struct iflow_sampler iflow_sampler;

/* vocab: the model's vocabulary, which must outlive it. E_ARG where libllama refuses the grammar; E_MEMORY, E_BACKEND,
 * E_CANCELLED while it reads the grammar. */
iflow_status iflow_sampler_new(const struct llama_model *vocab, int n_vocab, const iflow_sampling *how, iflow_sampler **out);
void iflow_sampler_free(iflow_sampler *sampler);

/* *token: the one to come next by logits [n_vocab], which are finite and stay as they are; it counts for the penalties, and the grammar
 * goes on from it, unless it ends generation. -1: the grammar allows none. E_MEMORY, E_BACKEND: the sampler is of no further use. */
iflow_status iflow_sampler_next(iflow_sampler *sampler, const float *logits, int32_t *token);

#ifdef __cplusplus
}
#endif

#endif
