/* checks.c - what a caller gives a context: its parameters, counts of tokens and the tokens themselves, and a context that can be used. */
#include "flow/context.h"

#include <string.h>

bool iflow_context_unusable(const char *function, const iflow_context *ctx) {
    if (ctx && ctx->timeline.answering) {
        iflow_fail(IFLOW_E_ARG, "%s: the context is answering; call it when on_text has returned and the answer is there", function);
    } else if (!ctx) {
        iflow_fail(IFLOW_E_ARG, "%s: ctx is NULL", function);
    }
    return !ctx || ctx->timeline.answering;
}

static iflow_status check_limit(const char *name, int value, int most) {
    return value >= 0 && value <= most ? IFLOW_OK
                                       : iflow_fail(IFLOW_E_ARG, "%s is %d; from 0 (the default) to %d are possible", name, value, most);
}

iflow_status iflow_context_check_params(const iflow_model *model, const iflow_context_params *params) {
    iflow_status status = IFLOW_OK;
    if ((status = check_limit("n_ctx", params->n_ctx, IFLOW_MAX_CTX)) ||
        (status = check_limit("n_ubatch", params->n_ubatch, IFLOW_MAX_UBATCH)) ||
        (status = check_limit("n_threads", params->n_threads, GGML_MAX_N_THREADS))) {
        return status;
    }
    if (params->chunk_tokens > INT32_MAX) {
        return iflow_fail(IFLOW_E_ARG, "chunk_tokens is %zu; at most %d are possible", params->chunk_tokens, INT32_MAX);
    }
    if (params->correction && strcmp(params->correction->model->fingerprint, model->fingerprint) != 0) {
        return iflow_fail(IFLOW_E_ARG, "the correction is of another model (fingerprint %.8s, this one is %.8s)",
                          params->correction->model->fingerprint, model->fingerprint);
    }
    if (params->fillers < IFLOW_NO_FILLERS || params->fillers > IFLOW_MAX_FILLERS) {
        return iflow_fail(IFLOW_E_ARG, "%d fillers; there are %d", params->fillers, IFLOW_MAX_FILLERS);
    }
    return IFLOW_OK;
}

/* More than any context holds is a caller's mistake, and would be read before anything else finds that out. */
iflow_status iflow_context_check_count(const char *what, size_t n_tokens) {
    return n_tokens <= IFLOW_MAX_CTX ? IFLOW_OK
                                     : iflow_fail(IFLOW_E_ARG, "%s of %zu tokens; at most %d are possible", what, n_tokens, IFLOW_MAX_CTX);
}

iflow_status iflow_check_tokens(const iflow_model *model, const char *what, const int32_t *tokens, size_t n_tokens) {
    if (n_tokens == 0) {
        return iflow_fail(IFLOW_E_ARG, "%s must have at least one token", what);
    }
    if (iflow_context_check_count(what, n_tokens)) {
        return IFLOW_E_ARG;
    }
    for (size_t i = 0; i < n_tokens; i++) {
        if (tokens[i] < 0 || tokens[i] >= model->n_vocab) {
            return iflow_fail(IFLOW_E_ARG, "token %d is not in the vocabulary of %d", (int)tokens[i], model->n_vocab);
        }
    }
    return IFLOW_OK;
}
