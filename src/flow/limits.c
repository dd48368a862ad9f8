/* limits.c - what a context can hold: its parameters, counts of tokens, what it is too small for and what a model was not trained for. */
#include "flow/context.h"

#include <string.h>

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

iflow_status iflow_builder_too_long(const iflow_chunk_builder *b, size_t n_before, size_t n_tokens) {
    const bool text = n_before > b->texts.end[0]; /* a filler stands before it, which the chunk has or which estimates its staleness */
    if (n_before >= (size_t)b->n_ctx) {
        return iflow_fail(
            IFLOW_E_CONTEXT,
            "the context of %d tokens is too small for any chunk: %zu tokens stand before one while it is prefilled, so that at "
            "least %zu are needed%s",
            b->n_ctx, n_before, n_before + 1,
            !text        ? ""
            : b->fillers ? "; fewer without fillers"
                         : "; fewer where no staleness is estimated");
    }
    return iflow_fail(
        IFLOW_E_CONTEXT,
        "a chunk of %zu tokens (and %zu that stand before it) is longer than the context of %d; cut it into smaller ones, of at "
        "most %zu tokens",
        n_tokens, n_before, b->n_ctx, (size_t)b->n_ctx - n_before);
}

/* context_length is what the model was trained for, with its rope scaling where that was so: files of linear scaling and of models that
 * were trained with YaRN name the extended length, and the one before as rope.scaling.original_context_length. Where YaRN was put on a
 * model without training, context_length can be the one before, and the scaling reaches further than it. */
static size_t trained_for(const iflow_hparams *h) {
    double scaled = 0;
    for (int il = 0; il < h->n_layer; il++) {
        const iflow_rope *rope = &h->spec[il].rope;
        const double here = rope->ext_factor > 0 ? (double)rope->n_ctx_orig / (double)rope->freq_scale : 0;
        scaled = here > scaled ? here : scaled;
    }
    return scaled <= h->n_ctx_train ? (size_t)h->n_ctx_train : scaled < IFLOW_MAX_CTX ? (size_t)(scaled + 0.5) : IFLOW_MAX_CTX;
}

bool iflow_context_unusable(const char *function, const iflow_context *ctx) {
    if (ctx && ctx->timeline.answering) {
        iflow_fail(IFLOW_E_ARG, "%s: the context is answering; call it when on_text has returned and the answer is there", function);
    } else if (!ctx) {
        iflow_fail(IFLOW_E_ARG, "%s: ctx is NULL", function);
    }
    return !ctx || ctx->timeline.answering;
}

const char *iflow_timeline_larger(const iflow_timeline *t) {
    return (size_t)t->n_ctx < trained_for(&t->model->h) ? ", or make the context larger" : "";
}

bool iflow_timeline_warns(iflow_timeline *t, iflow_warning what) {
    const bool due = !(t->warned & what);
    t->warned |= what;
    return due;
}

void iflow_warn_beyond(const iflow_model *model, size_t n_rows, unsigned *warned) {
    const size_t most = trained_for(&model->h);
    if (n_rows > most && !(*warned & IFLOW_WARN_BEYOND)) {
        *warned |= IFLOW_WARN_BEYOND;
        iflow_log(IFLOW_LOG_WARN,
                  "%zu tokens are more than the %zu that the model was trained for, and answers become worthless beyond these: leave out "
                  "documents, or use a model with a longer context",
                  n_rows, most);
    }
}
