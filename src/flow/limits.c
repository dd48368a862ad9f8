/* limits.c - what a context is too small for, and what a model was not trained for. */
#include "flow/context.h"

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
