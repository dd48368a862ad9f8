/* fillers.h - the texts that chunks are prefilled after, one at a time; they are dropped again. */
#ifndef IFLOW_FLOW_FILLERS_H
#define IFLOW_FLOW_FILLERS_H

#include "flow/prompt.h"

/* In place of a number of fillers: nothing stands before the chunk, which is a head and has the sink in it. */
enum { IFLOW_NO_PREFIX = -1 };

/* The sink's tokens under a model, then those of every text, one text after the other. */
typedef struct iflow_texts {
    int32_t *token;
    size_t end[IFLOW_MAX_FILLERS + 1]; /* of the sink, of the first text, of the second, ... */
} iflow_texts;

iflow_status iflow_texts_make(const iflow_model *model, iflow_texts *out); /* free(out->token). E_MEMORY */

/* What stands before a chunk: the sink and the text of that number from 1 on; 0: the sink alone; IFLOW_NO_PREFIX. free(out->token). */
iflow_status iflow_texts_prefix(const iflow_texts *texts, int text, iflow_tokens *out);

#endif
