/* ahead.c - what can be done before chunks are asked about: whether they fit the context and the store, and their KV. */
#include "service/ahead.h"

#include "base/base.h"
#include "base/cancel.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

/* ---- Computing ---------------------------------------------------------------------------------------------------------------------- */

typedef struct ahead {
    const chunk_list *chunks;
    iflow_context *ctx;
    const chunks_events *events; /* NULL: none */
    chunks_state *state;
} ahead;

/* Computes the KV of chunk i, unless it is stored. E_BUSY: another process does. */
static iflow_status prefill_chunk(const ahead *a, size_t i) {
    char id[1][IFLOW_ID_SIZE];
    bool was_stored = false;
    chunks_state *state = a->state;
    const double start = iflow_now_ms();
    const iflow_status status = iflow_context_prefill(a->ctx, a->chunks->token, a->chunks->start + i, 1, id, &was_stored);
    if (status == IFLOW_OK) {
        const size_t n = chunk_list_length(a->chunks, i), n_computed = was_stored ? 0 : n;
        const double seconds = was_stored ? 0 : (iflow_now_ms() - start) * 1e-3;
        state->n++;
        state->n_computed += n_computed;
        state->seconds += seconds;
        pace_pass(&state->pace, state->pace.passed + (double)n, (double)n_computed, seconds);
    }
    if (status == IFLOW_OK && a->events && a->events->progress) {
        a->events->progress(state, a->events->user);
    }
    return status;
}

/* Asks for all of them; busy [n_chunks]: another process has it in hand. The longest comes first: what is refused because of its length is
 * refused before anything was computed in vain. */
static iflow_status prefill_all(const ahead *a, bool *busy) {
    const chunk_list *chunks = a->chunks;
    iflow_status status = IFLOW_OK;
    size_t first = 0;
    for (size_t i = 1; i < chunks->n_chunks; i++) {
        first = chunk_list_length(chunks, i) > chunk_list_length(chunks, first) ? i : first;
    }
    for (size_t n = 0; n < chunks->n_chunks && (status == IFLOW_OK || status == IFLOW_E_BUSY); n++) {
        const size_t i = n == 0 ? first : n <= first ? n - 1 : n;
        status = prefill_chunk(a, i);
        busy[i] = status == IFLOW_E_BUSY;
    }
    return status == IFLOW_E_BUSY ? IFLOW_OK : status;
}

iflow_status chunks_prefill(const chunk_list *chunks, iflow_context *ctx, const chunks_events *events, chunks_state *state) {
    chunks_state unseen;
    const ahead a = {.chunks = chunks, .ctx = ctx, .events = events, .state = state ? state : &unseen};
    *a.state = (chunks_state){.pace.whole = (double)chunk_list_tokens(chunks), .n_all = chunks->n_chunks};
    /* All are asked for before any is waited for: the library's patience with each begins then, and ends for all at about the same time. */
    bool *busy = iflow_calloc(chunks->n_chunks, sizeof *busy);
    if (!busy) {
        return iflow_fail_memory(chunks->n_chunks);
    }
    iflow_status status = prefill_all(&a, busy);
    for (size_t i = 0; i < chunks->n_chunks && status == IFLOW_OK;) {
        status = busy[i] ? prefill_chunk(&a, i) : IFLOW_OK;
        if (status == IFLOW_E_BUSY) {
            nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
            status = iflow_cancel_check();
        } else {
            i++;
        }
    }
    free(busy);
    return status == IFLOW_E_CANCELLED ? status : iflow_cancel_check();
}

/* ---- Whether it fits ---------------------------------------------------------------------------------------------------------------- */

/* Counts the tokens of a text; NULL has none. */
static iflow_status count(const iflow_model *model, const char *string, size_t *n) {
    int32_t *token = NULL;
    const iflow_status status = string ? iflow_tokenize(model, string, strlen(string), false, &token, n) : IFLOW_OK;
    iflow_free(token);
    return status;
}

/* Asks over one token, in a context that is smaller by all others: the library refuses it if and only if it would refuse them. Costs a pass
 * over the prompt. */
static iflow_status ask_in_less(const chunks_room *room, const chunk_list *chunks, const iflow_ask_params *params, size_t n_ctx) {
    iflow_context *ctx = NULL;
    iflow_answer *answer = NULL;
    iflow_ask_params probe = *params;
    probe.method = IFLOW_METHOD_NONE;
    probe.drift = probe.correct = IFLOW_OFF;
    probe.max_tokens = 1;
    probe.on_text = NULL;
    const iflow_context_params small = IFLOW_PARAMS(iflow_context_params, .n_ctx = (int)n_ctx, .n_ubatch = room->n_ubatch,
                                                    .n_threads = room->n_threads, .fillers = IFLOW_NO_FILLERS);
    iflow_status status = iflow_context_new(room->model, NULL, &small, &ctx);
    if (status == IFLOW_OK) {
        status = iflow_context_add_tokens(ctx, chunks->token, 1);
    }
    if (status == IFLOW_OK) {
        status = iflow_context_ask(ctx, &probe, &answer);
    }
    iflow_answer_free(answer);
    iflow_context_free(ctx);
    return status;
}

iflow_status chunks_fit(const chunks_room *room, const chunk_list *chunks, const iflow_ask_params *params) {
    enum { AROUND = 512 }; /* what templates and the general instruction have at most */
    const size_t n_ctx = (size_t)(room->n_ctx ? room->n_ctx : iflow_model_get_info(room->model).n_ctx_train);
    const size_t n = chunk_list_tokens(chunks);
    size_t n_question = 0, n_system = 0, n_instruction = 0;
    iflow_status status = count(room->model, params->question, &n_question);
    if (status == IFLOW_OK) {
        status = count(room->model, params->system, &n_system);
    }
    if (status == IFLOW_OK) {
        status = count(room->model, params->instruction, &n_instruction);
    }
    for (size_t i = 0; i < params->n_messages && status == IFLOW_OK; i++) {
        size_t n_message = 0;
        status = count(room->model, params->messages[i].content, &n_message);
        n_question += n_message;
    }
    if (status != IFLOW_OK || n + n_question + n_system + n_instruction + AROUND < n_ctx || n == 0) {
        return status;
    }
    /* Where it is close, the library knows how long head and prompt are exactly. */
    status = n + n_question < n_ctx ? ask_in_less(room, chunks, params, n_ctx - n + 1) : IFLOW_E_CONTEXT;
    if (status != IFLOW_E_CONTEXT) {
        return status;
    }
    return iflow_fail(status,
                      "%zu tokens of passages and %zu of the question, with what stands around them, are more than the context of %zu "
                      "holds; leave out passages%s",
                      n, n_question, n_ctx, room->n_ctx ? ", or make it larger" : "");
}

bool chunks_are_kept(const chunks_room *room, const chunk_list *chunks, size_t n_contexts) {
    enum { A_TOKEN = 16, A_FILE = 4096, HEAD = 64 }; /* bytes besides the KV, at most; tokens of the head, about */
    const size_t n_tokens = HEAD + chunk_list_tokens(chunks);
    const iflow_model_info m = iflow_model_get_info(room->model);
    const uint64_t n_values = 2 * (uint64_t)m.n_layer * (uint64_t)m.n_head_kv * (uint64_t)m.n_embd_head; /* K and V of a token */
    const uint64_t n_kv = room->kv_type && strcmp(room->kv_type, "q8_0") == 0 ? n_values / 32 * 34 : n_values * 2;
    return !room->has_store || !room->max_bytes ||
           room->max_bytes / n_contexts >= n_tokens * (n_kv + A_TOKEN) + (chunks->n_chunks + 1) * A_FILE;
}
