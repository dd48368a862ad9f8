/* session.h - the model, the store and the context that a command works with, opened from its common options. */
#ifndef IFLOW_CLI_SESSION_H
#define IFLOW_CLI_SESSION_H

#include "cli/options.h"

typedef struct session {
    iflow_model *model;
    iflow_model_info info;
    iflow_store *store; /* NULL with --no-store */
    iflow_context *ctx;
    iflow_correction *correction; /* NULL: none; contexts have it */
    iflow_correction_info corrected;
    char *correction_path;
    char *store_dir;
    double model_load_ms;
} session;

/* Loads the model, unless that was done, and opens store and context. CLI_OK; else it was said what is wrong and this is the exit status.
 * Close it either way. */
int session_open(const command_usage *usage, const common_options *options, session *out);
void session_close(session *s);

/* The same for a command that makes its contexts itself. */
int session_open_without_context(const command_usage *usage, const common_options *options, session *out);

/* Another context of the session's model and store, by the options. The caller frees it, before the session is closed. */
int session_new_context(const common_options *options, const session *s, iflow_context **out);

/* Sends the library's messages where the options want them. */
void session_log(const common_options *options);

/* The store alone, which must exist. */
int session_open_store(const command_usage *usage, const common_options *options, session *out);

/* Loads the model alone. */
int session_load_model(const command_usage *usage, const common_options *options, session *out);

/* Where a file about a model lies by default: directory/fingerprint.ending in infoflow's configuration; NULL if nothing says where. A new
 * string. */
char *session_config_path(const char *directory, const char *fingerprint, const char *ending);

/* Tokens a chunk may have: what --chunk or --whole say. */
size_t session_chunk_tokens(const common_options *options);

#endif
