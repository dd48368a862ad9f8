/* eval_run.h - one evaluation: its settings, and asking its questions of its methods. */
#ifndef IFLOW_LAB_EVAL_RUN_H
#define IFLOW_LAB_EVAL_RUN_H

#include "cli/profile.h"
#include "cli/verify.h"
#include "lab/eval_context.h"
#include "lab/eval_variants.h"

typedef struct eval {
    session s;
    common_options common;
    ask_options how;
    iflow_ask_params params; /* what they come to with this model; every asking starts from it */
    const char *methods, *ratios, *protocol, *needle, *depths, *output, *shard, *report;
    int limit, distractors;
    uint64_t shuffle; /* 0: passages stay in order */
    needle_grid grid;
    bool fidelity;
    gate gate;
    profile profile;
    eval_variant variant[EVAL_MAX_VARIANTS];
    size_t n_variants;
    iflow_context *ctx[IFLOW_MAX_FILLERS + 1]; /* whose chunks are prefilled after so many texts; NULL: no variant needs it */
    eval_data data;
    const eval_question **question; /* of the data, those to ask */
    size_t n_questions;
    eval_records records;
    FILE *out;
    iflow_answer *full; /* full prefill's answer to the question at hand, once fidelity needed it */
    float *full_logits; /* and what its tokens were predicted by */
    size_t n_asked, n_to_ask, n_failed;
    double asking_seconds;
    bool warm;
} eval;

bool eval_is_chat(const eval *e);
/* Tokens of an answer by the protocol. */
int eval_default_tokens(const eval *e);

/* Opens the contexts that the variants need. CLI_OK, or the exit status after a message. */
int eval_open_contexts(eval *e);

/* The record of a question and a variant under this run's settings, or NULL. One without the fidelity or the check that is asked for does
 * not count. */
const json_t *eval_record_of(const eval *e, const eval_question *question, const eval_variant *v);

/* Asks one question of every variant that has no record. False to stop: after an interrupt, or a failure that the next would meet, too. */
bool eval_run_question(eval *e, const eval_question *question);

#endif
