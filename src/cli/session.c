/* session.c - opens the session that a command works with, from its common options. */
#include "cli/session.h"

#include "cli/progress.h"
#include "cli/text.h"
#include "service/documents.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

/* ggml ends its messages with newlines and sends continuations of a line; empty ones are dropped. */
static void on_log(iflow_log_level level, const char *message, void *user) {
    const common_options *options = user;
    iflow_log_level shown = options->quiet         ? IFLOW_LOG_ERROR
                            : options->verbose > 1 ? IFLOW_LOG_DEBUG
                            : options->verbose     ? IFLOW_LOG_INFO
                                                   : IFLOW_LOG_WARN;
    size_t n = strlen(message);
    while (n && message[n - 1] == '\n') {
        n--;
    }
    if (level < shown || n == 0) {
        return;
    }
    static const char *const name[] = {"debug: ", "", "warning: ", ""};
    cli_error("%s%.*s", name[level], (int)n, message);
}

void cli_session_log(const common_options *options) {
    static common_options kept; /* the library may log until the process ends */
    kept = *options;
    iflow_set_log(on_log, &kept);
}

size_t cli_session_chunk_tokens(const common_options *options) {
    return options->whole ? INT_MAX : options->chunk ? (size_t)options->chunk : DOCUMENT_CHUNK_TOKENS;
}

static int open_store(const command_usage *usage, const common_options *options, bool must_exist, session *out) {
    const iflow_store_params params = IFLOW_PARAMS(iflow_store_params, .max_bytes = options->max_bytes, .must_exist = must_exist,
                                                   .shared = options->shared, .keep_own = options->keep_own);
    const iflow_status status = session_open_store(out, options->store, &params);
    if (status != IFLOW_OK && status != IFLOW_E_MEMORY && !out->store_dir) {
        return options_wrong(
            usage, "where is the store? Give -s STORE or set INFOFLOW_STORE; neither XDG_CACHE_HOME nor HOME is an absolute path");
    }
    return status == IFLOW_OK ? CLI_OK : cli_failed(status, NULL);
}

int cli_session_open_store(const command_usage *usage, const common_options *options, session *out) {
    cli_session_log(options);
    return open_store(usage, options, true, out);
}

/* Shows how far the first reading of a model is. */
static bool on_reading(const char *what, uint64_t done, uint64_t total, void *user) {
    const double *start = user, seconds = now_seconds() - *start, share = total ? (double)done / (double)total : 1;
    char *rate = text_format("%s of %s", human_bytes(done), human_bytes(total));
    char *doing = text_format("reading %s, once", what);
    progress_show(share, share > 0 ? seconds / share - seconds : -1, rate, doing);
    free(rate);
    free(doing);
    return true;
}

int cli_session_load_model(const command_usage *usage, const common_options *options, session *out) {
    const char *path = options->model ? options->model : iflow_environment("INFOFLOW_MODEL");
    if (!path) {
        return options_wrong(usage, "which model? Give -m MODEL.gguf or set INFOFLOW_MODEL");
    }
    cli_session_log(options);
    double start = now_seconds();
    const iflow_model_params params =
        IFLOW_PARAMS(iflow_model_params, .device = options->device, .no_mmap = options->no_mmap, .no_repack = options->no_repack,
                     .exact = options->exact, .on_progress = on_reading, .progress_user = &start);
    progress_start(options->quiet);
    const iflow_status status = session_load_model(out, path, &params);
    progress_end();
    return status == IFLOW_OK ? CLI_OK : cli_failed(status, NULL);
}

int cli_session_new_context(const common_options *options, const session *s, iflow_context **out) {
    const iflow_context_params params =
        IFLOW_PARAMS(iflow_context_params, .n_ctx = options->ctx, .n_ubatch = options->ubatch, .n_threads = options->threads,
                     .chunk_tokens = cli_session_chunk_tokens(options), .kv_type = options->kv_type,
                     .fillers = common_fillers(options->fillers), .estimate_staleness = options->estimate);
    const iflow_status status = session_new_context(s, &params, out);
    return status == IFLOW_OK ? CLI_OK : cli_failed(status, NULL);
}

int cli_session_open_without_context(const command_usage *usage, const common_options *options, session *out) {
    const int result = out->model ? CLI_OK : cli_session_load_model(usage, options, out);
    if (result != CLI_OK) {
        return result;
    }
    const iflow_status status = session_load_correction(out, options->correction);
    if (status != IFLOW_OK) {
        cli_failed(status, NULL);
        cli_note("`infoflow learn` makes a correction; --correction none does without");
        return CLI_FAILED;
    }
    return options->no_store ? CLI_OK : open_store(usage, options, false, out);
}

int cli_session_open(const command_usage *usage, const common_options *options, session *out) {
    const int result = cli_session_open_without_context(usage, options, out);
    return result == CLI_OK ? cli_session_new_context(options, out, &out->ctx) : result;
}

chunks_room cli_session_room(const common_options *options, const session *s) {
    return (chunks_room){.model = s->model,
                         .n_ctx = options->ctx,
                         .n_ubatch = options->ubatch,
                         .n_threads = options->threads,
                         .kv_type = options->kv_type,
                         .has_store = s->store != NULL,
                         .max_bytes = options->max_bytes};
}
