/* verify.c - the gate: a share of the answers is checked against full prefill, and asked for again at a higher ratio until they agree. */
#include "cli/verify.h"

#include "base/random.h"
#include "cli/progress.h"
#include "cli/text.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const double FIRST_RATIO = 0.15, MOST = 0.6; /* where methods without a ratio go on, and the last one before full prefill */

enum { MOST_LOGITS = 1024 }; /* longer answers have no KL: room for a token's logits is half a megabyte */

gate gate_default(void) {
    return (gate){.least = 0.8};
}

int gate_check(const command_usage *usage, const gate *g, const char *method) {
    if (g->share <= 0 && options_given(&g->least)) {
        return options_wrong(usage, "--verify-min goes with --verify");
    }
    if (g->share > 0 && method && strcmp(method, iflow_method_name(IFLOW_METHOD_FULL)) == 0) {
        return options_wrong(usage, "--verify checks against full prefill, which --method full is; leave out one of them");
    }
    return CLI_OK;
}

bool gate_draws(const gate *g, const char *question) {
    uint64_t state = text_hash(TEXT_HASH, question, strlen(question));
    return iflow_random_share(&state) < g->share;
}

/* Text is held back until the answer has passed; an interrupt still stops it. */
static bool hold_back(const char *piece, void *user) {
    (void)piece;
    (void)user;
    return !cli_interrupted();
}

/* Whether the method recomputes by ratio, and not the positions that it is given. */
static bool goes_by_ratio(const iflow_ask_params *params) {
    return iflow_method_get_info(params->method)->by_ratio && !(params->method == IFLOW_METHOD_GIVEN && params->given_positions);
}

/* What is tried next: twice what was recomputed, by the method if it goes by a ratio. */
static void raise_ratio(gate *g, const iflow_ask_params *params, const iflow_answer *answer) {
    const bool has_ratio = goes_by_ratio(params);
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

static char *name_of(const iflow_ask_params *params, const iflow_answer *answer) {
    if (!goes_by_ratio(params)) {
        return text_format("%s", iflow_method_name(params->method));
    }
    if (params->coverage > 0 && answer) {
        return text_format("%s at ratio %.2f", iflow_method_name(params->method), (double)answer->n_recomputed / (double)answer->n_context);
    }
    return text_format("%s at ratio %.2f", iflow_method_name(params->method), params->ratio);
}

static void say_raised(const iflow_ask_params *was, const iflow_ask_params *now, const iflow_answer *answer, const verdict *v,
                       const gate *g) {
    char *before = name_of(was, answer), *after = name_of(now, NULL);
    cli_error("warning: %s agrees with full prefill on %.2f of the answer's tokens, less than %.2f; asking again, and from now on, with %s",
              before, v->agreement, g->least, after);
    free(before);
    free(after);
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

iflow_status gate_ask(gate *g, iflow_context *ctx, iflow_ask_params *params, bool quiet, iflow_answer **answer, verdict *out) {
    *out = (verdict){.n_asked = 1};
    apply(g, params);
    if (!gate_draws(g, params->question)) {
        return iflow_context_ask(ctx, params, answer);
    }
    const iflow_on_text show = params->on_text;
    iflow_answer *now = NULL;
    iflow_status status = IFLOW_OK;
    const double start = now_seconds();
    params->on_text = hold_back;
    params->keep_logits = params->max_tokens <= MOST_LOGITS;
    for (;; out->n_asked++) {
        status = iflow_context_ask(ctx, params, &now);
        if (status != IFLOW_OK || cli_interrupted()) { /* an answer cut short stands unchecked */
            break;
        }
        status = check(ctx, params, now, out);
        if (status != IFLOW_OK || out->agreement >= g->least || cli_interrupted()) {
            break;
        }
        const iflow_ask_params was = *params;
        raise_ratio(g, params, now);
        apply(g, params);
        if (!quiet) {
            say_raised(&was, params, now, out, g);
        }
        iflow_answer_free(now);
        now = NULL;
    }
    if (status != IFLOW_OK) {
        iflow_answer_free(now);
        return status;
    }
    out->ms = (now_seconds() - start) * 1e3 - now->ms.total;
    show(now->text, params->user);
    *answer = now;
    return IFLOW_OK;
}

/* ---- Reports ------------------------------------------------------------------------------------------------------------------------ */

void verdict_print(FILE *to, const verdict *v, const iflow_answer *answer) {
    if (!v->verified) {
        fprintf(to, "  %-12s  no\n", "verified");
        return;
    }
    fprintf(to, "  %-12s  yes: %.2f of the answer's tokens are full prefill's", "verified", v->agreement);
    if (isfinite(v->kl)) {
        fprintf(to, " (KL %.3g)", v->kl);
    }
    if (answer->method == IFLOW_METHOD_FULL) {
        fprintf(to, "; it is full prefill's own");
    } else {
        fprintf(to, ", %s", iflow_method_name(answer->method));
    }
    if (iflow_method_get_info(answer->method)->by_ratio) {
        fprintf(to, " at ratio %.2f", answer->ratio);
    }
    fprintf(to, "; asked %d time%s, %.1f ms more\n", v->n_asked, plural((uint64_t)v->n_asked), v->ms);
}

void verdict_json(json_t *object, const verdict *v) {
    json_object_set_new(object, "verified", json_boolean(v->verified));
    json_object_set_new(object, "agreement", v->verified ? json_finite(v->agreement) : json_null());
    json_object_set_new(object, "agreement_kl", v->verified ? json_finite(v->kl) : json_null());
}
