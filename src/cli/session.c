/* session.c - the model, the store and the context that a command works with, opened from its common options. */
#include "cli/session.h"

#include "cli/progress.h"
#include "cli/text.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { DEFAULT_CHUNK = 512 };

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

void session_log(const common_options *options) {
    static common_options kept; /* the library may log until the process ends */
    kept = *options;
    iflow_set_log(on_log, &kept);
}

size_t session_chunk_tokens(const common_options *options) {
    return options->whole ? INT_MAX : options->chunk ? (size_t)options->chunk : DEFAULT_CHUNK;
}

/* Infoflow's directory in one of the XDG base directory specification, which has paths that are not absolute ignored; without the variable
 * in the home directory. NULL if nothing says where. */
static char *user_directory(const char *variable, const char *in_home) {
    const char *xdg = environment(variable), *home = environment("HOME");
    if (xdg && xdg[0] == '/') {
        return text_format("%s/infoflow", xdg);
    }
    return home && home[0] == '/' ? text_format("%s/%s/infoflow", home, in_home) : NULL;
}

/* NULL if nothing says where. */
static char *find_store_dir(const common_options *options) {
    const char *given = options->store ? options->store : environment("INFOFLOW_STORE");
    char *cache = given ? NULL : user_directory("XDG_CACHE_HOME", ".cache");
    char *dir = given ? text_format("%s", given) : cache ? text_format("%s/store", cache) : NULL;
    free(cache);
    return dir;
}

static int open_store(const command_usage *usage, const common_options *options, bool must_exist, session *out) {
    out->store_dir = find_store_dir(options);
    if (!out->store_dir) {
        return options_wrong(
            usage, "where is the store? Give -s STORE or set INFOFLOW_STORE; neither XDG_CACHE_HOME nor HOME is an absolute path");
    }
    iflow_store_params params =
        IFLOW_PARAMS(iflow_store_params, .max_bytes = options->max_bytes, .must_exist = must_exist, .shared = options->shared);
    iflow_status status = iflow_store_open(out->store_dir, &params, &out->store);
    return status == IFLOW_OK ? CLI_OK : cli_failed(status, NULL);
}

int session_open_store(const command_usage *usage, const common_options *options, session *out) {
    session_log(options);
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
    return !cli_interrupted();
}

int session_load_model(const command_usage *usage, const common_options *options, session *out) {
    const char *path = options->model ? options->model : environment("INFOFLOW_MODEL");
    if (!path) {
        return options_wrong(usage, "which model? Give -m MODEL.gguf or set INFOFLOW_MODEL");
    }
    session_log(options);
    double start = now_seconds();
    iflow_model_params params =
        IFLOW_PARAMS(iflow_model_params, .device = options->device, .no_mmap = options->no_mmap, .no_repack = options->no_repack,
                     .exact = options->exact, .on_progress = on_reading, .progress_user = &start);
    progress_start(options->quiet);
    iflow_status status = iflow_model_load(path, &params, &out->model);
    progress_end();
    if (status != IFLOW_OK) {
        return cli_failed(status, NULL);
    }
    out->model_load_ms = (now_seconds() - start) * 1e3;
    out->info = iflow_model_get_info(out->model);
    return CLI_OK;
}

char *session_config_path(const char *directory, const char *fingerprint, const char *ending) {
    char *config = user_directory("XDG_CONFIG_HOME", ".config");
    char *path = config ? text_format("%s/%s/%s.%s", config, directory, fingerprint, ending) : NULL;
    free(config);
    return path;
}

/* The correction that the options mean; none at the default place is no failure. */
static int load_correction(const common_options *options, session *s) {
    if (!options->correction || strcmp(options->correction, "none") == 0) {
        return CLI_OK;
    }
    const bool usual = strcmp(options->correction, "auto") == 0;
    char *path = usual ? session_config_path("corrections", s->info.fingerprint, "gguf") : text_format("%s", options->correction);
    if (!path || (usual && access(path, F_OK) != 0)) {
        free(path);
        return CLI_OK;
    }
    s->correction_path = path;
    const iflow_status status = iflow_correction_load(path, s->model, &s->correction);
    if (status != IFLOW_OK) {
        cli_failed(status, NULL);
        cli_note("`infoflow learn` makes a correction; --correction none does without");
        return CLI_FAILED;
    }
    s->corrected = iflow_correction_get_info(s->correction);
    return CLI_OK;
}

int session_new_context(const common_options *options, const session *s, iflow_context **out) {
    iflow_context_params params =
        IFLOW_PARAMS(iflow_context_params, .n_ctx = options->ctx, .n_ubatch = options->ubatch, .n_threads = options->threads,
                     .chunk_tokens = session_chunk_tokens(options), .kv_type = options->kv_type,
                     .fillers = common_fillers(options->fillers), .estimate_staleness = options->estimate, .correction = s->correction);
    iflow_status status = iflow_context_new(s->model, s->store, &params, out);
    return status == IFLOW_OK ? CLI_OK : cli_failed(status, NULL);
}

int session_open_without_context(const command_usage *usage, const common_options *options, session *out) {
    int result = out->model ? CLI_OK : session_load_model(usage, options, out);
    if (result == CLI_OK) {
        result = load_correction(options, out);
    }
    return result == CLI_OK && !options->no_store ? open_store(usage, options, false, out) : result;
}

int session_open(const command_usage *usage, const common_options *options, session *out) {
    const int result = session_open_without_context(usage, options, out);
    return result == CLI_OK ? session_new_context(options, out, &out->ctx) : result;
}

void session_close(session *s) {
    iflow_context_free(s->ctx);
    iflow_store_close(s->store);
    iflow_correction_free(s->correction);
    iflow_model_free(s->model);
    free(s->correction_path);
    free(s->store_dir);
    *s = (session){0};
}
