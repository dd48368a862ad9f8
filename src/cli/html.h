/* html.h - an answer as one self-contained HTML page: the context shaded by score, the recomputed tokens, the time line. */
#ifndef IFLOW_CLI_HTML_H
#define IFLOW_CLI_HTML_H

#include "cli/ask_options.h"

/* Writes the page to a file. CLI_OK, or CLI_FAILED after a message. */
int html_write(const char *path, const session *s, const context_documents *documents, const char *question, const iflow_answer *answer);

#endif
