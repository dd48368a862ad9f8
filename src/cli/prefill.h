/* prefill.h - computes the chunks of documents before a question is asked over them, and shows how far that is. */
#ifndef IFLOW_CLI_PREFILL_H
#define IFLOW_CLI_PREFILL_H

#include "cli/ask_options.h"

/* Computes what the documents lack, chunk by chunk, where an interrupt is heard (E_CANCELLED), and leaves a line of progress for what comes
 * next, which the caller ends. What does not fit the context is left to the library to refuse; what does not fit the store, to compute.
 * *ms: how long it took, 0 if all was there. */
iflow_status documents_prefill(const session *s, const common_options *common, const context_documents *documents,
                               const iflow_ask_params *params, double *ms);

/* Adds to an answer's times what was waited for before. answer NULL: nothing. */
void documents_waited(iflow_answer *answer, double ms);

/* Reports the failure of a question, as cli_failed() does; where the context is too small, with what makes it larger. */
int context_failed(iflow_status status, const common_options *common, const session *s);

/* What is said where a signal ends a question: a line. */
const char *documents_last_word(const session *s);

#endif
