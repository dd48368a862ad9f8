/* eval_context.h - the chunks of a question's context: what is asked, and what a report draws, comes from here. */
#ifndef IFLOW_LAB_EVAL_CONTEXT_H
#define IFLOW_LAB_EVAL_CONTEXT_H

#include "lab/eval_data.h"
#include "service/chunks.h"

/* Cuts the question's text, then its passages, in the order in which they stand in the context. */
iflow_status eval_context_cut(const iflow_model *model, const eval_question *question, size_t chunk_tokens, chunk_list *out);

#endif
