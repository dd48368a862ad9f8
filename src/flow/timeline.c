/* timeline.c - begins, clears and ends a timeline; and one pass that decodes for several. */
#include "flow/timeline.h"

#include "flow/finite.h"

#include <stdlib.h>
#include <string.h>

void iflow_timeline_begin(iflow_timeline *t, iflow_chunk_builder *builder, iflow_cache *pool) {
    *t = (iflow_timeline){.model = builder->model, .builder = builder, .last.pending = -1};
    iflow_seq_begin(&t->seq, pool);
}

void iflow_timeline_clear(iflow_timeline *t) {
    if (t->seq.cache) {
        iflow_seq_truncate(&t->seq, 0);
    }
    free(t->last.logits);
    memset(&t->last, 0, sizeof t->last);
    t->last.pending = -1;
}

void iflow_timeline_end(iflow_timeline *t) {
    iflow_timeline_clear(t);
    if (t->seq.cache) {
        iflow_seq_end(&t->seq);
    }
}

void iflow_timeline_drop_rows(iflow_timeline *t) {
    iflow_seq_wipe(&t->seq);
    t->last.n_rows = 0;
    t->last.pending = -1;
}

iflow_status iflow_timelines_decode(iflow_timeline *const *t, const int32_t *token, int n, float *logits) {
    const size_t n_vocab = (size_t)t[0]->model->n_vocab;
    iflow_seq **seq = iflow_calloc((size_t)n, sizeof *seq);
    int32_t *at = iflow_calloc((size_t)n, sizeof *at);
    iflow_status status = IFLOW_OK;
    if (!seq || !at) {
        status = iflow_fail_memory((size_t)n * sizeof *seq);
        goto cleanup;
    }
    for (int i = 0; !status && i < n; i++) {
        seq[i] = &t[i]->seq;
        at[i] = t[i]->last.n_rows;
        if (!at[i]) {
            status = iflow_fail(IFLOW_E_ARG, "timeline %d has no answer to go on from; ask first", i);
        } else if (at[i] >= t[i]->n_ctx) {
            status = iflow_fail(IFLOW_E_CONTEXT, "the context of %d tokens is full", t[i]->n_ctx);
        } else {
            iflow_warn_beyond(t[i]->model, (size_t)at[i] + 1, &t[i]->builder->warned);
            status = iflow_seq_reserve(seq[i], at[i] + 1);
        }
    }
    status = status ? status : iflow_seq_decode(seq, token, at, n, logits);
    const bool ran = !status;
    for (int i = 0; ran && i < n; i++) {
        const iflow_status finite = iflow_finite_logits("the answer", (size_t)at[i], logits + (size_t)i * n_vocab, n_vocab);
        t[i]->last.n_rows = at[i] + 1;
        t[i]->last.pending = -1;
        if (finite) { /* the others are not touched by that */
            iflow_timeline_drop_rows(t[i]);
            status = finite;
        }
    }

cleanup:
    free(seq), free(at);
    return status;
}
