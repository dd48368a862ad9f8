/* fidelity.c - how far next-token distributions are from full prefill's, of logits and of a context's own answer. */
#include "flow/context.h"

#include "base/params.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static size_t largest_of(const float *logit, size_t n_vocab) {
    size_t largest = 0;
    for (size_t i = 1; i < n_vocab; i++) {
        if (logit[i] > logit[largest]) {
            largest = i;
        }
    }
    return largest;
}

/* What a logit is less to become a log probability, beyond the largest: log sum exp(logit - largest). Sums are in double, for a
 * vocabulary has a hundred thousand terms and a KL of interest a thousandth. */
static double log_sum(const float *logit, size_t n_vocab, size_t largest) {
    double sum = 0;
    for (size_t i = 0; i < n_vocab; i++) {
        sum += exp((double)logit[i] - (double)logit[largest]);
    }
    return log(sum);
}

iflow_fidelity iflow_fidelity_of(const float *full, const float *method, size_t n_tokens, size_t n_vocab) {
    double kl = 0;
    size_t n_same = 0;
    if (!full || !method || !n_tokens || !n_vocab) {
        return (iflow_fidelity){.kl = NAN};
    }
    for (size_t t = 0; t < n_tokens; t++) {
        const float *p = full + t * n_vocab, *q = method + t * n_vocab;
        const size_t best_p = largest_of(p, n_vocab), best_q = largest_of(q, n_vocab);
        const double log_p = log_sum(p, n_vocab, best_p), log_q = log_sum(q, n_vocab, best_q);
        double here = 0;
        for (size_t i = 0; i < n_vocab; i++) {
            /* The largest is taken off before the rest, so that large logits cancel exactly. */
            const double of_p = (double)p[i] - (double)p[best_p] - log_p;
            const double of_q = (double)q[i] - (double)q[best_q] - log_q;
            const double share = exp(of_p);
            if (share != 0) { /* also where it is not a number; 0 log 0 is 0 */
                here += share * (of_p - of_q);
            }
        }
        kl += here < 0 ? 0 : here;                  /* no KL is: that is rounding */
        n_same += best_p == best_q && !isnan(here); /* what is largest is not to be told among what is no number */
    }
    return (iflow_fidelity){kl / (double)n_tokens, (double)n_same / (double)n_tokens, n_tokens};
}

/* An answer without tokens agrees if full prefill, too, ends at once. The context goes on from it: no token, no row. */
static iflow_fidelity of_empty(iflow_timeline *t, const iflow_answer *full) {
    iflow_seq_truncate(&t->seq, t->last.n_before);
    t->last.n_rows = t->last.n_before;
    t->last.pending = -1;
    return (iflow_fidelity){NAN, full->n_generated ? 0 : 1, 0};
}

/* Replays the answer after full prefill, which was just asked for. */
static iflow_status of_tokens(iflow_context *ctx, const iflow_answer *answer, iflow_fidelity *out) {
    const size_t n = answer->n_generated, n_vocab = (size_t)ctx->model->n_vocab;
    float *logits = iflow_calloc(n, n_vocab * sizeof *logits);
    if (!logits) {
        return iflow_fail_memory(n_vocab * sizeof *logits);
    }
    const iflow_status status = iflow_context_replay(ctx, answer->token, n, logits);
    if (!status) {
        size_t n_same = 0;
        for (size_t t = 0; t < n; t++) {
            n_same += (int32_t)largest_of(logits + t * n_vocab, n_vocab) == answer->token[t];
        }
        const double kl = answer->logits ? iflow_fidelity_of(logits, answer->logits, n, n_vocab).kl : NAN;
        *out = (iflow_fidelity){kl, (double)n_same / (double)n, n};
    }
    free(logits);
    return status;
}

iflow_status iflow_context_verify(iflow_context *ctx, const iflow_ask_params *params, const iflow_answer *answer, iflow_fidelity *out) {
    if (IFLOW_UNUSABLE(ctx) || IFLOW_MISSING(params) || IFLOW_MISSING(answer) || IFLOW_MISSING(out) ||
        (answer->n_generated && IFLOW_MISSING(answer->token))) {
        return IFLOW_E_ARG;
    }
    iflow_ask_params all = iflow_ask_default_params();
    if (iflow_params_take(&all, sizeof all, params, "iflow_ask_params")) {
        return IFLOW_E_ARG;
    }
    iflow_answer *full = NULL;
    all.method = IFLOW_METHOD_FULL;
    all.max_tokens = 1;
    all.temperature = 0;
    all.repeat_penalty = 1; /* full prefill says what is most likely, and nothing keeps it from that */
    all.frequency_penalty = all.presence_penalty = 0;
    all.grammar = NULL;
    all.n_stop = 0;
    all.forced = NULL;
    all.n_forced = 0;
    all.keep_logits = false;
    all.on_text = NULL;
    iflow_status status = iflow_context_ask(ctx, &all, &full);
    if (!status && full->n_context != answer->n_context) {
        status =
            iflow_fail(IFLOW_E_ARG, "the answer is over %zu tokens and the context has %zu; verify an answer before the context changes",
                       answer->n_context, full->n_context);
    } else if (!status && answer->n_generated) {
        status = of_tokens(ctx, answer, out);
    } else if (!status) {
        *out = of_empty(&ctx->timeline, full);
    }
    iflow_answer_free(full);
    return status;
}
