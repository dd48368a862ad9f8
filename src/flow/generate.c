/* generate.c - the decoding loop. */
#include "flow/generate.h"

#include "flow/finite.h"

#include <llama.h>
#include <stdlib.h>
#include <string.h>

/* The chain of libllama's samplers; greedy at temperature 0. NULL when there is no memory. */
static struct llama_sampler *make_sampler(const iflow_ask_params *params) {
    struct llama_sampler *chain = llama_sampler_chain_init(llama_sampler_chain_default_params());
    if (params->temperature > 0) {
        llama_sampler_chain_add(chain, llama_sampler_init_temp((float)params->temperature));
        llama_sampler_chain_add(chain, llama_sampler_init_dist((uint32_t)(params->seed ^ params->seed >> 32)));
    } else {
        llama_sampler_chain_add(chain, llama_sampler_init_greedy());
    }
    return chain;
}

static int32_t sample(struct llama_sampler *sampler, llama_token_data *candidate, const float *logits, int n_vocab, double temperature) {
    /* Less the largest, so that no temperature, however low, makes one infinite. */
    float largest = 0;
    for (int i = 0; temperature > 0 && i < n_vocab; i++) {
        largest = i == 0 || logits[i] > largest ? logits[i] : largest;
    }
    for (int i = 0; i < n_vocab; i++) {
        candidate[i] = (llama_token_data){.id = i, .logit = logits[i] - largest};
    }
    llama_token_data_array all = {.data = candidate, .size = (size_t)n_vocab, .selected = -1};
    llama_sampler_apply(sampler, &all);
    return all.data[all.selected >= 0 ? all.selected : 0].id;
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
    iflow_buffer text;
    size_t streamed;                        /* bytes of it */
    size_t token_capacity, logits_capacity; /* tokens */
} making;

/* Takes a token, predicted by logits, into the answer. */
static iflow_status take(making *m, int32_t token, const float *logits) {
    iflow_answer *a = m->answer;
    const size_t n_vocab = (size_t)m->t->model->n_vocab, n = a->n_generated + 1;
    char *piece = NULL;
    iflow_status status = iflow_reserve((void **)&a->token, &m->token_capacity, n, sizeof *a->token);
    if (!status && m->params->keep_logits) {
        status = iflow_reserve((void **)&a->logits, &m->logits_capacity, n, n_vocab * sizeof *a->logits);
    }
    if (status || (status = iflow_detokenize(m->t->model, &token, 1, &piece))) {
        return status;
    }
    status = iflow_buffer_add(&m->text, piece, strlen(piece));
    free(piece);
    if (!status) {
        if (m->params->keep_logits) {
            memcpy(a->logits + (n - 1) * n_vocab, logits, n_vocab * sizeof *logits);
        }
        a->token[n - 1] = token;
        a->n_generated = n;
    }
    return status;
}

/* Hands new whole characters to the caller. *go_on: whether it wants more. */
static iflow_status stream(making *m, bool *go_on) {
    const size_t n = m->params->on_text ? whole(m->text.text, m->text.n) : 0;
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
    *go_on = m->params->on_text(piece, m->params->user);
    m->t->answering = false;
    free(piece);
    m->streamed = n;
    return IFLOW_OK;
}

/* The token runs, at the row after n_rows: logits become those of its successor. */
static iflow_status run_token(iflow_timeline *t, int32_t token, int n_rows, float *logits) {
    const iflow_pass pass = {.token = &token, .n = 1, .logits = true, .out = logits};
    iflow_warn_beyond(t->model, (size_t)n_rows + 1, &t->builder->warned);
    iflow_status status = iflow_seq_reserve(&t->seq, n_rows + 1);
    if (!status && !(status = iflow_seq_run(&t->seq, n_rows, &pass))) {
        status = iflow_finite_logits("the answer", (size_t)n_rows, logits, (size_t)t->model->n_vocab);
    }
    return status;
}

iflow_status iflow_generate(iflow_timeline *t, const iflow_ask_params *params, float *logits, int n_rows, double start,
                            iflow_answer *answer) {
    const int n_vocab = t->model->n_vocab, n_before = n_rows;
    making m = {.t = t, .params = params, .answer = answer};
    float *before = iflow_calloc((size_t)n_vocab, sizeof *before); /* logits of the prompt */
    struct llama_sampler *sampler = make_sampler(params);
    llama_token_data *candidate = iflow_calloc((size_t)n_vocab, sizeof *candidate);
    iflow_status status = IFLOW_OK;
    if (!sampler || !candidate || !before) {
        status = iflow_fail_memory((size_t)n_vocab * sizeof *candidate);
        goto cleanup;
    }
    if ((status = iflow_buffer_add(&m.text, "", 0)) ||
        (status = iflow_reserve((void **)&answer->token, &m.token_capacity, 1, sizeof *answer->token))) {
        goto cleanup;
    }
    double first = 0;
    int32_t pending = -1;
    memcpy(before, logits, (size_t)n_vocab * sizeof *logits);
    const size_t most = params->forced ? params->n_forced : (size_t)params->max_tokens;
    for (bool go_on = true;;) {
        const int32_t token =
            params->forced ? params->forced[answer->n_generated] : sample(sampler, candidate, logits, n_vocab, params->temperature);
        if (first == 0) {
            first = iflow_now_ms();
            answer->ms.ttft = first - start;
        }
        if (!params->forced && iflow_token_is_end(t->model, token)) {
            answer->finish = IFLOW_FINISH_STOP;
            break;
        }
        if ((status = take(&m, token, logits)) || (status = stream(&m, &go_on))) {
            goto cleanup;
        }
        pending = token;
        if (!go_on || answer->n_generated == most || n_rows + 1 >= t->n_ctx) { /* the last token needs no row, but has room for one */
            answer->finish = !go_on                        ? IFLOW_FINISH_CANCELLED
                             : answer->n_generated != most ? IFLOW_FINISH_CONTEXT
                             : params->forced              ? IFLOW_FINISH_STOP
                                                           : IFLOW_FINISH_LENGTH;
            break;
        }
        status = run_token(t, token, n_rows, logits);
        if (status == IFLOW_E_CANCELLED) { /* the answer as far as it came; the token at hand has no row */
            status = IFLOW_OK;
            answer->finish = IFLOW_FINISH_CANCELLED;
            break;
        }
        if (status) {
            goto cleanup;
        }
        n_rows++;
        pending = -1;
    }
    t->turn.n_before = n_before;
    t->turn.n_rows = n_rows;
    t->turn.pending = pending;
    free(t->turn.logits);
    t->turn.logits = before;
    before = NULL;
    answer->ms.decode = iflow_now_ms() - first;
    m.text.text[whole(m.text.text, m.text.n)] = '\0';
    answer->text = m.text.text;
    m.text = (iflow_buffer){0};

cleanup:
    if (sampler) {
        llama_sampler_free(sampler);
    }
    free(candidate);
    free(before);
    iflow_buffer_free(&m.text);
    return status;
}
