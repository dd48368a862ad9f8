/* generate.h - ordinary decoding after a prompt: sampling, streaming, stopping. */
#ifndef IFLOW_FLOW_GENERATE_H
#define IFLOW_FLOW_GENERATE_H

#include "flow/timeline.h"

/* Decodes from the logits of the prompt's last token, whose successor goes to cache row and position n_rows. Fills answer's text, token,
 * n_generated, finish, context_full, stopped_by, ms.ttft (from `start`) and ms.decode; at most params->max_tokens, and no more than the
 * context holds. On success sets t->last. logits [n_vocab] is overwritten. E_MEMORY, E_NOT_FINITE,
 * E_BACKEND, and what a pass fails with. */
iflow_status iflow_generate(iflow_timeline *t, const iflow_ask_params *params, float *logits, int n_rows, double start,
                            iflow_answer *answer);

#endif
