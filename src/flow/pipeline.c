/* pipeline.c - a question, answered by the steps of a method's row (arXiv 2603.05353): assemble, score, select, recompute, prompt. */
#include "flow/finite.h"
#include "flow/generate.h"
#include "flow/geometry.h"
#include "flow/repair/repair.h"
#include "flow/run.h"
#include "flow/select.h"
#include "model/templates.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    N_AHEAD = 8,       /* chunks that the store reads while one is taken in: more would only crowd out others' */
    MIN_ROTATED = 256, /* rows that are worth a graph of their own */
    N_ANSWER = 4096,   /* rows that an answer gets beforehand; for a longer one the cache grows */
};

static double lap(double *since) {
    const double now = iflow_now_ms(), ms = now - *since;
    *since = now;
    return ms;
}

/* Lays head and chunks out in reading order: spans and tokens. */
static void arrange(iflow_run *r) {
    iflow_answer *a = r->answer;
    int at = 0;
    for (size_t i = 0; i < a->n_chunks; i++) {
        const iflow_context_chunk *chunk = iflow_run_chunk(r, i);
        r->start[i] = at;
        r->length[i] = (int)chunk->n_tokens;
        a->chunk[i] = (iflow_chunk_span){.index = i ? r->order[i - 1] + 1 : 0, .start = at, .length = r->length[i]};
        memcpy(a->chunk[i].id, chunk->id, sizeof chunk->id);
        memcpy(a->context_token + at, chunk->token, chunk->n_tokens * sizeof *chunk->token);
        at += r->length[i];
    }
}

/* Where even one token of documents would not fit, leaving out documents does not help. */
static iflow_status check_room(const iflow_run *r) {
    const size_t n_after = r->text.prompt.n > r->text.score.n ? r->text.prompt.n : r->text.score.n,
                 least = r->text.head.n + 1 + n_after + 1;
    return least <= (size_t)r->t->n_ctx
               ? IFLOW_OK
               : iflow_fail(
                     IFLOW_E_CONTEXT,
                     "the context of %d is too small for the question with any document: %zu tokens of chat header and %zu of question "
                     "need one of at least %zu tokens",
                     r->t->n_ctx, r->text.head.n, n_after, least);
}

/* Counts what the question needs, checks that it fits, and lays out the chunks as they were added. */
static iflow_status lay_out(iflow_run *r) {
    iflow_timeline *t = r->t;
    iflow_answer *a = r->answer;
    const size_t n_chunks = r->n_chunks + 1;
    size_t n = r->text.head.n;
    for (size_t i = 0; i < r->n_chunks; i++) {
        n += r->chunk[i].n_tokens;
    }
    const size_t n_after = r->text.prompt.n > r->text.score.n ? r->text.prompt.n : r->text.score.n;
    if (n + n_after >= (size_t)t->n_ctx) {
        return iflow_fail(IFLOW_E_CONTEXT,
                          "%zu tokens of documents, %zu of the question and 1 of an answer are %zu more than the context of %d holds; "
                          "leave out documents%s",
                          n, n_after, n + n_after + 1 - (size_t)t->n_ctx, t->n_ctx, iflow_timeline_larger(t));
    }
    r->n = (int)n;
    r->n_head = (int)r->text.head.n;
    r->n_need = r->n + (int)n_after;
    r->head = iflow_builder_chunk(t->builder, r->text.head.token, r->text.head.n, t->kv_type, IFLOW_NO_PREFIX);
    r->order = iflow_calloc(n_chunks, sizeof *r->order);
    r->start = iflow_calloc(n_chunks, sizeof *r->start);
    r->length = iflow_calloc(n_chunks, sizeof *r->length);
    r->first = iflow_calloc(n_chunks, sizeof *r->first);
    r->staleness = iflow_calloc(n, sizeof *r->staleness);
    r->logits = iflow_calloc((size_t)t->model->n_vocab, sizeof *r->logits);
    a->chunk = iflow_calloc(n_chunks, sizeof *a->chunk);
    a->context_token = iflow_calloc(n + r->text.prompt.n, sizeof *a->context_token);
    a->selected = iflow_calloc(n, sizeof *a->selected);
    if (!r->order || !r->start || !r->length || !r->first || !r->staleness || !r->logits || !a->chunk || !a->context_token ||
        !a->selected) {
        return iflow_fail_memory((size_t)t->model->n_vocab * sizeof *r->logits);
    }
    for (size_t i = 0; i < r->n_chunks; i++) {
        r->order[i] = i;
    }
    a->n_chunks = n_chunks;
    a->n_context = n;
    a->n_prompt = r->text.prompt.n;
    arrange(r);
    return IFLOW_OK;
}

/* A chunk's KV into its rows. */
static iflow_status take_in(iflow_run *r, size_t i) {
    iflow_chunk *chunk = NULL;
    iflow_status status = iflow_builder_get(r->t->builder, iflow_run_chunk(r, i), iflow_run_estimates(r), &chunk, &r->answer->ms);
    double since = iflow_now_ms();
    if (!status) {
        status = iflow_seq_load(&r->t->seq, chunk, r->start[i], r->first[i]);
    }
    if (!status && chunk->staleness) {
        memcpy(r->staleness + r->start[i], chunk->staleness, chunk->identity.n_tokens * sizeof *r->staleness);
    }
    iflow_chunk_free(chunk);
    r->answer->ms.load += lap(&since);
    return status;
}

/* Step 2: every chunk's KV into its rows, repaired there as is wanted, and its keys rotated to the positions of a geometry (global for all
 * but scoring): while they are still in the processor's caches, and while the store reads the chunks that follow. */
static iflow_status assemble(iflow_run *r, iflow_geometry geometry) {
    iflow_timeline *t = r->t;
    const size_t n_chunks = r->answer->n_chunks;
    iflow_status status = IFLOW_OK;
    int32_t text = 0;
    int rotated = 0;
    size_t repaired = 0; /* chunks that repairs have seen */
    r->geometry = geometry;
    iflow_geometry_place(geometry, (int)t->model->n_sink, r->start, r->length, n_chunks, r->first, &text);
    for (size_t i = 0, ahead = 0; !status && i < n_chunks; i++) {
        double since = iflow_now_ms();
        for (; ahead < n_chunks && ahead <= i + N_AHEAD; ahead++) {
            t->builder->store->ops->prefetch(t->builder->store, iflow_run_chunk(r, ahead)->id);
        }
        r->answer->ms.load += lap(&since);
        status = take_in(r, i);
        const int loaded = r->start[i] + r->length[i];
        if (!status && (loaded - rotated >= MIN_ROTATED || i == n_chunks - 1)) {
            since = iflow_now_ms();
            if (!(status = iflow_repairs_assembled(r, repaired, i + 1))) {
                status = iflow_seq_rotate(&t->seq, rotated, loaded - rotated);
            }
            rotated = loaded;
            repaired = i + 1;
            r->answer->ms.assemble += lap(&since);
        }
    }
    return status;
}

/* Step 3, under the geometry that the context is assembled in. */
static iflow_status score(iflow_run *r) {
    double since = iflow_now_ms();
    const iflow_status status = r->method->score(r);
    r->answer->ms.score += lap(&since);
    return status;
}

/* Step 4, and how many of each chunk these are. */
static iflow_status select_tokens(iflow_run *r) {
    iflow_answer *a = r->answer;
    double since = iflow_now_ms();
    const iflow_status status = r->method->select(r);
    for (size_t c = 0, i = 0; !status && c < a->n_chunks; c++) {
        for (a->chunk[c].n_selected = 0; i < a->n_selected && a->selected[i] < r->start[c] + r->length[c]; i++) {
            a->chunk[c].n_selected++;
        }
    }
    a->ms.select += lap(&since);
    return status;
}

/* Step 5: the share of each chunk that a first look at local positions selects decides the order; the most informative comes last. */
static iflow_status reorder(iflow_run *r) {
    iflow_answer *a = r->answer;
    const size_t n_chunks = a->n_chunks - 1;
    int *n_selected = iflow_calloc(n_chunks, sizeof *n_selected);
    if (!n_selected) {
        return iflow_fail_memory(n_chunks * sizeof *n_selected);
    }
    iflow_status status = assemble(r, IFLOW_GEOMETRY_HL_TP);
    if (!status && !(status = score(r)) && !(status = select_tokens(r))) {
        for (size_t i = 0; i < n_chunks; i++) {
            n_selected[i] = a->chunk[i + 1].n_selected;
        }
        iflow_order_by_share(n_selected, r->length + 1, n_chunks, r->order);
        arrange(r);
    }
    free(n_selected);
    return status;
}

/* Step 6: the selected tokens run again, and what comes of that repairs the others. */
static iflow_status recompute(iflow_run *r) {
    iflow_answer *a = r->answer;
    double since = iflow_now_ms();
    const double other = a->ms.load + a->ms.prefill; /* chunks may be looked up again */
    const iflow_status status = a->n_selected ? iflow_repairs_recompute(r) : IFLOW_OK;
    a->n_recomputed = a->n_selected;
    a->ms.recompute = lap(&since) - (a->ms.load + a->ms.prefill - other);
    return status;
}

/* Step 7: the prompt after the repaired context. */
static iflow_status run_prompt(iflow_run *r) {
    double since = iflow_now_ms();
    const iflow_pass pass = {.token = r->text.prompt.token, .n = (int)r->text.prompt.n, .logits = true, .out = r->logits};
    const iflow_status status = iflow_seq_run(&r->t->seq, r->n, &pass);
    r->answer->ms.prompt = lap(&since);
    return status;
}

/* Chunks reused, and repaired as the method's row says. */
static iflow_status reuse(iflow_run *r) {
    const bool by_question = r->method->traits & IFLOW_BY_QUESTION;
    const iflow_geometry geometry = by_question ? r->params->geometry : IFLOW_GEOMETRY_GLOBAL;
    iflow_status status = IFLOW_OK;
    if (iflow_run_has_budget(r) && r->params->coverage <= 0 && !iflow_select_count(r->params->ratio, (size_t)r->n_head, (size_t)r->n)) {
        return assemble(r, IFLOW_GEOMETRY_GLOBAL); /* nothing is to be recomputed */
    }
    if ((by_question && r->params->reorder && (status = reorder(r))) || (status = assemble(r, geometry)) || (status = score(r)) ||
        (geometry != IFLOW_GEOMETRY_GLOBAL && (status = assemble(r, IFLOW_GEOMETRY_GLOBAL))) || (status = select_tokens(r))) {
        return status;
    }
    return recompute(r);
}

/* The baseline: context and prompt prefilled as one sequence. */
static iflow_status prefill_all(iflow_run *r) {
    double since = iflow_now_ms();
    int32_t *token = r->answer->context_token; /* has room for the prompt */
    memcpy(token + r->n, r->text.prompt.token, r->text.prompt.n * sizeof *token);
    const iflow_pass pass = {.token = token, .n = r->n + (int)r->text.prompt.n, .logits = true, .out = r->logits};
    const iflow_status status = iflow_seq_run(&r->t->seq, 0, &pass);
    r->answer->n_recomputed = (size_t)r->n;
    r->answer->ms.prefill = lap(&since);
    return status;
}

static iflow_status run_method(iflow_run *r) {
    const int traits = r->method->traits;
    iflow_status status = IFLOW_OK;
    r->answer->ratio = traits & IFLOW_WHOLE ? 1 : iflow_run_has_budget(r) ? r->params->ratio : 0;
    if (traits & IFLOW_WHOLE) {
        status = prefill_all(r);
    } else {
        status = reuse(r);
        status = status ? status : run_prompt(r);
    }
    const size_t n_rows = (size_t)r->n + r->text.prompt.n;
    return status ? status : iflow_finite_logits("the prompt", n_rows - 1, r->logits, (size_t)r->t->model->n_vocab);
}

/* What of the chat header is not as the caller may think. */
static void warn_of_template(iflow_run *r) {
    if (r->text.plain && iflow_timeline_warns(r->t, IFLOW_WARN_PLAIN)) {
        iflow_log(IFLOW_LOG_WARN, "the chat template of %s is missing, or not one that %s; plain text is used", r->t->model->path,
                  iflow_templates_available() ? "can be rendered" : "libllama knows, and this build has no Jinja engine");
    }
    if (r->text.no_place && iflow_timeline_warns(r->t, IFLOW_WARN_NO_PLACE)) {
        iflow_log(IFLOW_LOG_WARN, "the chat template of %s has no place for a system message; it stands at the beginning of the user's",
                  r->t->model->path);
    }
}

/* Frees all but the answer. */
static void run_free(iflow_run *r) {
    iflow_repairs_free(r);
    iflow_prompt_free(&r->text);
    free(r->order);
    free(r->start);
    free(r->length);
    free(r->first);
    free(r->staleness);
    free(r->logits);
}

iflow_status iflow_timeline_ask(iflow_timeline *t, const iflow_context_chunk *chunk, size_t n_chunks, const iflow_ask_params *params,
                                iflow_answer **out) {
    iflow_run r = {.t = t,
                   .chunk = chunk,
                   .n_chunks = n_chunks,
                   .params = params,
                   .method = iflow_method_find(params->method),
                   .asked_at = iflow_now_ms()};
    r.answer = calloc(1, sizeof *r.answer);
    if (!r.answer) {
        return iflow_fail_memory(sizeof *r.answer);
    }
    iflow_status status = IFLOW_OK;
    r.answer->method = params->method;
    r.answer->evidence = NAN;
    t->last.n_rows = 0;
    iflow_seq_truncate(&t->seq, 0);
    if ((status = iflow_prompt_make(t->model, params, &r.text)) || (status = check_room(&r)) || (status = lay_out(&r)) ||
        ((r.method->traits & IFLOW_FROM_CALLER) && (status = iflow_given_check(&r)))) {
        goto cleanup;
    }
    warn_of_template(&r);
    iflow_warn_beyond(t->model, (size_t)r.n_need, &t->builder->warned);
    const int most = params->max_tokens < N_ANSWER ? params->max_tokens : N_ANSWER;
    r.n_rows = r.n_need + (most < t->n_ctx - r.n_need ? most : t->n_ctx - r.n_need);
    if ((status = iflow_seq_reserve(&t->seq, r.n_rows)) || (status = run_method(&r))) {
        goto cleanup;
    }
    r.answer->n_reused = r.answer->n_context - r.answer->n_recomputed;
    if ((status = iflow_generate(t, params, r.logits, r.n + (int)r.text.prompt.n, r.asked_at, r.answer))) {
        goto cleanup;
    }
    r.answer->cache_bytes = iflow_cache_bytes(t->seq.cache);
    r.answer->ms.total = iflow_now_ms() - r.asked_at;
    *out = r.answer;
    r.answer = NULL;

cleanup:
    if (status == IFLOW_E_NOT_FINITE) {
        iflow_timeline_drop_rows(t);
    }
    iflow_answer_free(r.answer);
    run_free(&r);
    return status;
}
