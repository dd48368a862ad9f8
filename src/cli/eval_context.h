/* eval_context.h - the chunks of a question's context: what is asked, and what a report draws, comes from here. */
#ifndef IFLOW_CLI_EVAL_CONTEXT_H
#define IFLOW_CLI_EVAL_CONTEXT_H

#include "eval_data.h"
#include "session.h"

/* Cuts the question's text, then its passages, in the order in which they stand in the context. */
iflow_status eval_context_cut(const iflow_model *model, const eval_question *question, size_t chunk_tokens, document_chunks *out);

/* Whether the context holds these chunks, the question of params, and what stands around them, found out before any of it is prefilled.
 * IFLOW_E_CONTEXT with *why, to be freed with free(); any other failure is the library's. */
iflow_status eval_context_fits(const session *s, const common_options *options, const document_chunks *chunks,
                               const iflow_ask_params *params, char **why);

#endif
