/* verification.c - the gate: a share of the answers is checked against full prefill, and asked for again at a higher ratio until they
 * agree. */
#include "service/verification.h"

#include "base/base.h"
#include "base/cancel.h"
#include "base/random.h"
#include "flow/prompt.h"

#include <math.h>
#include <string.h>

static const double FIRST_RATIO = 0.15, MOST = 0.6; /* where methods without a ratio go on, and the last one before full prefill */

enum { MOST_LOGITS = 1024 }; /* longer answers have no KL: room for a token's logits is half a megabyte */

gate gate_default(void) {
    return (gate){.least = 0.8};
}

bool gate_draws(const gate *g, const char *question) {
    uint64_t state = iflow_fnv1a(IFLOW_FNV1A, question, strlen(question));
    return iflow_random_share(&state) < g->share;
}

/* Text is kept back until the answer has passed. */
static bool keep_back(const char *piece, void *user) {
    (void)piece;
    (void)user;
    return true;
}

bool gate_goes_by_ratio(const iflow_ask_params *params) {
    return iflow_method_get_info(params->method)->by_ratio && !(params->method == IFLOW_METHOD_GIVEN && params->given_positions);
}

/* What is tried next: twice what was recomputed, by the method if it goes by a ratio. */
static void raise_ratio(gate *g, const iflow_ask_params *params, const iflow_answer *answer) {
    const bool has_ratio = gate_goes_by_ratio(params);
    const bool covers = params->coverage > 0 && answer->n_context;
    const double was = covers ? (double)answer->n_recomputed / (double)answer->n_context : params->ratio;
    g->raised = true;
    g->method = !has_ratio ? IFLOW_METHOD_INFOFLOW : was >= MOST ? IFLOW_METHOD_FULL : params->method;
    g->ratio = !has_ratio || was <= 0 ? FIRST_RATIO : fmin(2 * was, MOST);
}

static void apply(const gate *g, iflow_ask_params *params) {
    if (!g->raised) {
        return;
    }
    params->method = g->method;
    params->ratio = g->ratio;
    params->coverage = 0;
}

/* Checks the answer that was given last. */
static iflow_status check(iflow_context *ctx, const iflow_ask_params *params, const iflow_answer *answer, verdict *v) {
    iflow_fidelity like = {0, 1, answer->n_generated}; /* of full prefill's own */
    const iflow_status status = params->method == IFLOW_METHOD_FULL ? IFLOW_OK : iflow_context_verify(ctx, params, answer, &like);
    v->verified = status == IFLOW_OK;
    v->agreement = like.top1;
    v->kl = like.kl;
    return status;
}

/* Asks until an answer passes. */
static iflow_status ask_until(gate *g, iflow_context *ctx, iflow_ask_params *params, const gate_events *events, iflow_answer **answer,
                              verdict *out) {
    for (;; out->n_asked++) {
        iflow_status status = iflow_context_ask(ctx, params, answer);
        if (status != IFLOW_OK || (*answer)->finish == IFLOW_FINISH_CANCELLED) {
            return status; /* an answer cut short stands unchecked */
        }
        status = check(ctx, params, *answer, out);
        if (status == IFLOW_E_CANCELLED) { /* and so does one whose check was cut short */
            return IFLOW_OK;
        }
        if (status != IFLOW_OK || out->agreement >= g->least || iflow_cancel_check()) {
            return status;
        }
        const iflow_ask_params was = *params;
        raise_ratio(g, params, *answer);
        apply(g, params);
        if (events->retry) {
            events->retry(&(gate_retry){&was, params, *answer, out, g->least}, events->user);
        }
        iflow_answer_free(*answer);
        *answer = NULL;
    }
}

iflow_status gate_run(gate *g, iflow_context *ctx, iflow_ask_params *params, const gate_events *events, iflow_answer **answer,
                      verdict *out) {
    const gate_events nobody = {0};
    const gate_events *heard = events ? events : &nobody;
    *out = (verdict){.n_asked = 1};
    *answer = NULL;
    apply(g, params);
    if (!gate_draws(g, iflow_prompt_question(params))) {
        return iflow_context_ask(ctx, params, answer);
    }
    const iflow_on_text show = params->on_text;
    void *const shown_to = params->user;
    const double start = iflow_now_ms();
    params->on_text = keep_back;
    params->user = NULL;
    params->keep_logits = params->max_tokens <= MOST_LOGITS;
    const iflow_status status = ask_until(g, ctx, params, heard, answer, out);
    params->on_text = show;
    params->user = shown_to;
    if (status != IFLOW_OK) {
        iflow_answer_free(*answer);
        *answer = NULL;
        return status;
    }
    out->ms = iflow_now_ms() - start - (*answer)->ms.total;
    if (show) {
        show((*answer)->text, shown_to);
    }
    return IFLOW_OK;
}
