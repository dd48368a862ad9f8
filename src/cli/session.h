/* session.h - opens the session that a command works with, from its common options. */
#ifndef IFLOW_CLI_SESSION_H
#define IFLOW_CLI_SESSION_H

#include "cli/options.h"
#include "service/ahead.h"
#include "service/session.h"

/* Loads the model, unless that was done, and opens store and context. CLI_OK; else it was said what is wrong and this is the exit status.
 * Close it either way, with session_close(). */
int cli_session_open(const command_usage *usage, const common_options *options, session *out);

/* The same for a command that makes its contexts itself. */
int cli_session_open_without_context(const command_usage *usage, const common_options *options, session *out);

/* Another context of the session's model and store, by the options. The caller frees it, before the session is closed. */
int cli_session_new_context(const common_options *options, const session *s, iflow_context **out);

/* Sends the library's messages where the options want them. */
void cli_session_log(const common_options *options);

/* The store alone, which must exist. */
int cli_session_open_store(const command_usage *usage, const common_options *options, session *out);

/* Loads the model alone. */
int cli_session_load_model(const command_usage *usage, const common_options *options, session *out);

/* Tokens a chunk may have: what --chunk or --whole say. */
size_t cli_session_chunk_tokens(const common_options *options);

/* The session's contexts and store, for what is done ahead. */
chunks_room cli_session_room(const common_options *options, const session *s);

#endif
