/* operands.h - documents as a command line names them: read by the service, and what cannot be used is said. */
#ifndef IFLOW_CLI_OPERANDS_H
#define IFLOW_CLI_OPERANDS_H

#include "cli/options.h"
#include "cli/session.h"
#include "service/gathering.h"

/* What was said of sources that are not used. Zero-initialised is nothing. */
typedef struct notices {
    bool goes_on; /* what was found in a directory and cannot be used is left out with a warning; else it is an error as others are */
    size_t n;
} notices;

/* How sources are heard: each notice is a line, up to a number of them. */
source_events notices_events(notices *said);
/* Says how many more there were. */
void notices_end(const notices *said);

/* CLI_OK, or CLI_USAGE after a message: standard input is one document. */
int operands_check(const command_usage *usage, char *const *operands, size_t n);

/* Adds documents to the session's context: a file or directory, the id of a document or a chunk in the store, or - for standard input.
 * Files of a directory that cannot be used are left out with a warning (out->n_left_out). CLI_OK, or the exit status after a message. */
int context_documents_add(session *s, const common_options *options, bool jsonl, char **operands, size_t n, context_documents *out);

/* Reads and cuts all documents of the operands, to be put together. CLI_OK; CLI_FAILED, after messages, if one that was named could not be
 * read or they are less than two chunks. */
int operands_chunks(const iflow_model *model, size_t chunk_tokens, bool jsonl, char **operands, size_t n, chunk_list *out);

#endif
