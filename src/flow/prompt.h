/* prompt.h - the texts around the context: the head before it, the prompt after it, and the text that scores it. */
#ifndef IFLOW_FLOW_PROMPT_H
#define IFLOW_FLOW_PROMPT_H

#include "model/model.h"

typedef struct iflow_tokens {
    int32_t *token;
    size_t n;
} iflow_tokens;

typedef struct iflow_prompt {
    iflow_tokens head;    /* sink and chat header: chunk 0 */
    iflow_tokens prompt;  /* what comes after the documents: instruction and question, or messages; chat footer */
    iflow_tokens score;   /* the scoring text */
    bool plain, no_place; /* as in iflow_chat */
} iflow_prompt;

/* E_ARG, E_UNSUPPORTED (messages that the chat template refuses), E_MEMORY, and what tokenising fails with. */
iflow_status iflow_prompt_make(const iflow_model *model, const iflow_ask_params *params, iflow_prompt *out);
void iflow_prompt_free(iflow_prompt *prompt);

/* What is asked: the question, or the last message of a user. It scores the context where nothing else is said. The params'. */
const char *iflow_prompt_question(const iflow_ask_params *params);

/* The tokens of a later turn, after an answer. *out: free(out->token). */
iflow_status iflow_prompt_turn(const iflow_model *model, const char *question, iflow_tokens *out);

#endif
