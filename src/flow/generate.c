/* generate.c - the decoding loop. */
#include "flow/generate.h"

#include "flow/finite.h"
#include "flow/params.h"
#include "flow/stop.h"
#include "model/sampler.h"

#include <stdlib.h>
#include <string.h>

/* As the caller wants it, of a token after another. */
static iflow_status make_sampler(const iflow_timeline *t, const iflow_ask_params *params, iflow_sampler **out) {
    const int all = params->max_tokens < IFLOW_MOST_LAST_N ? params->max_tokens : IFLOW_MOST_LAST_N;
    const iflow_sampling how = {.temperature = params->temperature,
                                .seed = params->seed,
                                .top_k = params->top_k,
                                .top_p = params->top_p,
                                .min_p = params->min_p,
                                .repeat_penalty = params->repeat_penalty,
                                .frequency_penalty = params->frequency_penalty,
                                .presence_penalty = params->presence_penalty,
                                .last_n = params->penalty_last_n < 0 ? all : params->penalty_last_n,
                                .grammar = params->grammar};
    return iflow_sampler_new(t->model->vocab, t->model->n_vocab, &how, out);
}

/* A grammar that is complete allows the end, if the vocabulary has one. */
static void warn_incomplete(const iflow_timeline *t) {
    for (int32_t token = 0; token < t->model->n_vocab; token++) {
        if (iflow_token_is_end(t->model, token)) {
            iflow_log(IFLOW_LOG_WARN, "the answer ends before its grammar is complete: no token of the model goes on from here");
            return;
        }
    }
}

/* Length of text up to its last whole UTF-8 character: what is after it is the beginning of one, or no character at all. */
static size_t whole(const char *text, size_t n) {
    for (; n > 0; n--) {
        for (size_t back = 1; back <= 4 && back <= n; back++) {
            if (iflow_utf8_check(text + n - back, back) == back) {
                return n;
            }
        }
    }
    return 0;
}

/* An answer in the making. */
typedef struct making {
    iflow_timeline *t;
    const iflow_ask_params *params;
    iflow_answer *answer;
    iflow_sampler *sampler;                 /* NULL where the tokens are forced */
    iflow_buffer text;                      /* up to a stop string */
    size_t streamed;                        /* bytes of it */
    size_t token_capacity, logits_capacity; /* tokens */
    int n_rows;                             /* in use */
    int32_t pending;                        /* the last token, which has no row yet; -1: none */
    double first;                           /* when the first token was known; 0: it is not */
} making;

/* Adds a token's text, and ends the text before a stop string. */
static iflow_status add_text(making *m, int32_t token) {
    const iflow_ask_params *p = m->params;
    const size_t before = m->text.n;
    char *piece = NULL;
    iflow_status status = iflow_detokenize(m->t->model, &token, 1, &piece);
    if (status) {
        return status;
    }
    status = iflow_buffer_add(&m->text, piece, strlen(piece));
    free(piece);
    if (!status && m->sampler) {
        size_t at = 0;
        m->answer->stopped_by = iflow_stop_find(p->stop, p->n_stop, m->text.text, m->text.n, before, &at);
        m->text.n = m->answer->stopped_by >= 0 ? at : m->text.n;
    }
    return status;
}

/* Takes a token, predicted by logits, into the answer. */
static iflow_status take(making *m, int32_t token, const float *logits) {
    iflow_answer *a = m->answer;
    const size_t n_vocab = (size_t)m->t->model->n_vocab, n = a->n_generated + 1;
    iflow_status status = iflow_reserve((void **)&a->token, &m->token_capacity, n, sizeof *a->token);
    if (!status && m->params->keep_logits) {
        status = iflow_reserve((void **)&a->logits, &m->logits_capacity, n, n_vocab * sizeof *a->logits);
    }
    if (status || (status = add_text(m, token))) {
        return status;
    }
    if (m->params->keep_logits) {
        memcpy(a->logits + (n - 1) * n_vocab, logits, n_vocab * sizeof *logits);
    }
    a->token[n - 1] = token;
    a->n_generated = n;
    m->pending = token;
    return IFLOW_OK;
}

/* Hands new whole characters to the caller, but what can become a stop string only where the answer ends. *go_on: whether it wants more. */
static iflow_status stream(making *m, bool ends, bool *go_on) {
    const iflow_ask_params *p = m->params;
    const size_t begun = ends || !m->sampler ? 0 : iflow_stop_begun(p->stop, p->n_stop, m->text.text, m->text.n);
    const size_t n = p->on_text ? whole(m->text.text, m->text.n - begun) : 0;
    if (n <= m->streamed) {
        return IFLOW_OK;
    }
    char *piece = malloc(n - m->streamed + 1);
    if (!piece) {
        return iflow_fail_memory(n - m->streamed + 1);
    }
    memcpy(piece, m->text.text + m->streamed, n - m->streamed);
    piece[n - m->streamed] = '\0';
    m->t->answering = true;
    *go_on = p->on_text(piece, p->user);
    m->t->answering = false;
    free(piece);
    m->streamed = n;
    return IFLOW_OK;
}

/* The last token runs: logits become those of its successor. */
static iflow_status run_token(making *m, float *logits) {
    iflow_timeline *t = m->t;
    const int n_rows = m->n_rows;
    const iflow_pass pass = {.token = &m->pending, .n = 1, .logits = true, .out = logits};
    iflow_warn_beyond(t->model, (size_t)n_rows + 1, &t->builder->warned);
    iflow_status status = iflow_seq_reserve(&t->seq, n_rows + 1);
    if (!status && !(status = iflow_seq_run(&t->seq, n_rows, &pass))) {
        status = iflow_finite_logits("the answer", (size_t)n_rows, logits, (size_t)t->model->n_vocab);
    }
    if (!status) {
        m->n_rows++;
        m->pending = -1;
    }
    return status;
}

/* Why an answer ends that has its last token, or whose reader wants no more. */
static void finish(const making *m, size_t most, bool go_on) {
    iflow_answer *a = m->answer;
    const bool done = a->n_generated == most;
    a->finish = a->stopped_by >= 0          ? IFLOW_FINISH_STOP
                : !go_on                    ? IFLOW_FINISH_CANCELLED
                : done && m->params->forced ? IFLOW_FINISH_STOP
                                            : IFLOW_FINISH_LENGTH;
    a->context_full = a->finish == IFLOW_FINISH_LENGTH && !done;
}

/* Token after token. start: when the question was asked. */
static iflow_status decode(making *m, float *logits, double start) {
    const iflow_ask_params *p = m->params;
    iflow_answer *a = m->answer;
    const size_t most = p->forced ? p->n_forced : (size_t)p->max_tokens;
    iflow_status status = IFLOW_OK;
    for (bool go_on = true;;) {
        int32_t token = p->forced ? p->forced[a->n_generated] : -1;
        if (m->sampler && (status = iflow_sampler_next(m->sampler, logits, &token))) {
            return status;
        }
        if (m->first == 0) {
            m->first = iflow_now_ms();
            a->ms.ttft = m->first - start;
        }
        if (m->sampler && (token < 0 || iflow_token_is_end(m->t->model, token))) {
            if (token < 0) {
                warn_incomplete(m->t);
            }
            a->finish = IFLOW_FINISH_STOP;
            return stream(m, true, &go_on);
        }
        if ((status = take(m, token, logits))) {
            return status;
        }
        /* The last token needs no row, but has room for one. */
        const bool ends = a->stopped_by >= 0 || a->n_generated == most || m->n_rows + 1 >= m->t->n_ctx;
        if ((status = stream(m, ends, &go_on))) {
            return status;
        }
        if (ends || !go_on) {
            finish(m, most, go_on);
            return IFLOW_OK;
        }
        status = run_token(m, logits);
        if (status == IFLOW_E_CANCELLED) { /* the answer as far as it came; its last token has no row yet */
            a->finish = IFLOW_FINISH_CANCELLED;
            return stream(m, true, &go_on);
        }
        if (status) {
            return status;
        }
    }
}

iflow_status iflow_generate(iflow_timeline *t, const iflow_ask_params *params, float *logits, int n_rows, double start,
                            iflow_answer *answer) {
    const size_t n_vocab = (size_t)t->model->n_vocab;
    making m = {.t = t, .params = params, .answer = answer, .n_rows = n_rows, .pending = -1};
    float *before = iflow_calloc(n_vocab, sizeof *before); /* logits of the prompt */
    iflow_status status = IFLOW_OK;
    if (!before) {
        return iflow_fail_memory(n_vocab * sizeof *before);
    }
    answer->stopped_by = -1;
    if ((!params->forced && (status = make_sampler(t, params, &m.sampler))) || (status = iflow_buffer_add(&m.text, "", 0)) ||
        (status = iflow_reserve((void **)&answer->token, &m.token_capacity, 1, sizeof *answer->token))) {
        goto cleanup;
    }
    memcpy(before, logits, n_vocab * sizeof *logits);
    if ((status = decode(&m, logits, start))) {
        goto cleanup;
    }
    t->last.n_before = n_rows;
    t->last.n_rows = m.n_rows;
    t->last.pending = m.pending;
    free(t->last.logits);
    t->last.logits = before;
    before = NULL;
    answer->ms.decode = iflow_now_ms() - m.first;
    m.text.text[whole(m.text.text, m.text.n)] = '\0';
    answer->text = m.text.text;
    m.text = (iflow_buffer){0};

cleanup:
    iflow_sampler_free(m.sampler);
    free(before);
    iflow_buffer_free(&m.text);
    return status;
}
