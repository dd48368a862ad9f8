/* pipeline.c - the method (arXiv 2603.05353): assemble, score, select, recompute, prompt; and what it is compared with. */
#include "compute/edits.h"
#include "flow/blend.h"
#include "flow/context.h"
#include "flow/correct.h"
#include "flow/drift.h"
#include "flow/finite.h"
#include "flow/generate.h"
#include "flow/geometry.h"
#include "flow/params.h"
#include "flow/prompt.h"
#include "flow/score.h"
#include "flow/select.h"
#include "flow/uphold.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    N_EPIC = 4,        /* tokens a chunk that EPIC recomputes */
    N_AHEAD = 8,       /* chunks that the store reads while one is taken in: more would only crowd out others' */
    MIN_ROTATED = 256, /* rows that are worth a graph of their own */
    N_ANSWER = 4096,   /* rows that an answer gets beforehand; for a longer one the cache grows */
};

/* One question being answered. */
typedef struct run {
    iflow_context *ctx;
    const iflow_ask_params *params;
    iflow_prompt text;
    iflow_answer *answer;
    iflow_context_chunk head; /* chunk 0; its tokens are text.head's */
    int32_t *pos;             /* 0, 1, 2, ...: global positions, which are also the cache rows */
    size_t *order;            /* [n_chunks]: the reading order of the context's chunks */
    int *start, *length;      /* of every chunk in reading order, the head first */
    int32_t *first;           /* where each stands while scoring */
    float *logits;            /* of the prompt's last token */
    float *foreseen;          /* [n]: staleness as the chunks know it */
    int n, n_head;            /* tokens in the context, in the head */
    int n_need, n_rows;       /* rows that the question needs, and these with the longest answer */
    double asked_at;
} run;

static double lap(double *since) {
    const double now = iflow_now_ms(), ms = now - *since;
    *since = now;
    return ms;
}

/* The chunk that is read as i-th; 0 is the head. */
static const iflow_context_chunk *chunk_at(const run *r, size_t i) {
    return i ? &r->ctx->chunk[r->order[i - 1]] : &r->head;
}

/* Lays head and chunks out in reading order: spans and tokens. */
static void arrange(run *r) {
    iflow_answer *a = r->answer;
    int at = 0;
    for (size_t i = 0; i < a->n_chunks; i++) {
        const iflow_context_chunk *chunk = chunk_at(r, i);
        r->start[i] = at;
        r->length[i] = (int)chunk->n_tokens;
        a->chunk[i] = (iflow_chunk_span){.index = i ? r->order[i - 1] + 1 : 0, .start = at, .length = r->length[i]};
        memcpy(a->chunk[i].id, chunk->id, sizeof chunk->id);
        memcpy(a->context_token + at, chunk->token, chunk->n_tokens * sizeof *chunk->token);
        at += r->length[i];
    }
}

/* Where even one token of documents would not fit, leaving out documents does not help. */
static iflow_status check_room(const run *r) {
    const size_t n_behind = r->text.prompt.n > r->text.score.n ? r->text.prompt.n : r->text.score.n,
                 least = r->text.head.n + 1 + n_behind + 1;
    return least <= (size_t)r->ctx->n_ctx
               ? IFLOW_OK
               : iflow_fail(
                     IFLOW_E_CONTEXT,
                     "the context of %d is too small for the question with any document: %zu tokens of chat header and %zu of question "
                     "need one of at least %zu tokens",
                     r->ctx->n_ctx, r->text.head.n, n_behind, least);
}

/* Counts what the question needs, checks that it fits, and lays out the chunks as they were added. */
static iflow_status lay_out(run *r) {
    iflow_context *ctx = r->ctx;
    iflow_answer *a = r->answer;
    const size_t n_chunks = ctx->n_chunks + 1;
    size_t n = r->text.head.n;
    for (size_t i = 0; i < ctx->n_chunks; i++) {
        n += ctx->chunk[i].n_tokens;
    }
    const size_t n_behind = r->text.prompt.n > r->text.score.n ? r->text.prompt.n : r->text.score.n;
    if (n + n_behind >= (size_t)ctx->n_ctx) {
        return iflow_fail(IFLOW_E_CONTEXT,
                          "%zu tokens of documents, %zu of the question and 1 of an answer are %zu more than the context of %d holds; "
                          "leave out documents%s",
                          n, n_behind, n + n_behind + 1 - (size_t)ctx->n_ctx, ctx->n_ctx, iflow_context_larger(ctx));
    }
    r->n = (int)n;
    r->n_head = (int)r->text.head.n;
    r->n_need = r->n + (int)n_behind;
    r->head = iflow_context_chunk_of(ctx, r->text.head.token, r->text.head.n, ctx->kv_type, IFLOW_BEHIND_NOTHING);
    r->pos = iflow_calloc((size_t)r->n_need, sizeof *r->pos);
    r->order = iflow_calloc(n_chunks, sizeof *r->order);
    r->start = iflow_calloc(n_chunks, sizeof *r->start);
    r->length = iflow_calloc(n_chunks, sizeof *r->length);
    r->first = iflow_calloc(n_chunks, sizeof *r->first);
    r->foreseen = iflow_calloc(n, sizeof *r->foreseen);
    r->logits = iflow_calloc((size_t)ctx->model->n_vocab, sizeof *r->logits);
    a->chunk = iflow_calloc(n_chunks, sizeof *a->chunk);
    a->context_token = iflow_calloc(n + r->text.prompt.n, sizeof *a->context_token);
    a->selected = iflow_calloc(n, sizeof *a->selected);
    if (!r->pos || !r->order || !r->start || !r->length || !r->first || !r->foreseen || !r->logits || !a->chunk || !a->context_token ||
        !a->selected) {
        return iflow_fail_memory((size_t)ctx->model->n_vocab * sizeof *r->logits);
    }
    for (int i = 0; i < r->n_need; i++) {
        r->pos[i] = i;
    }
    for (size_t i = 0; i < ctx->n_chunks; i++) {
        r->order[i] = i;
    }
    a->n_chunks = n_chunks;
    a->n_context = n;
    a->n_prompt = r->text.prompt.n;
    arrange(r);
    return IFLOW_OK;
}

/* A chunk's KV into its rows. */
static iflow_status take_in(run *r, size_t i) {
    iflow_chunk *chunk = NULL;
    bool owned = false;
    iflow_status status = iflow_context_obtain(r->ctx, chunk_at(r, i), &chunk, &owned, &r->answer->ms);
    double since = iflow_now_ms();
    if (!status) {
        status = iflow_cache_load(&r->ctx->cache, chunk, r->start[i], r->first[i]);
    }
    if (!status && chunk->foreseen) {
        memcpy(r->foreseen + r->start[i], chunk->foreseen, chunk->identity.n_tokens * sizeof *r->foreseen);
    }
    if (owned) {
        iflow_chunk_free(chunk);
    }
    r->answer->ms.load += lap(&since);
    return status;
}

/* Whether something of ours is done. */
static bool is_on(const run *r, iflow_switch what) {
    return what == IFLOW_ON || (what == IFLOW_AUTO && iflow_method_drifts(r->params->method));
}

/* Whether the i-th chunk is one that is corrected. */
static bool is_corrected(const run *r, size_t i) {
    const iflow_correction *correction = r->ctx->correction;
    return correction && is_on(r, r->params->correct) && chunk_at(r, i)->behind == correction->info.behind;
}

/* Corrects the chunks [from, to) that the context's correction is for. */
static iflow_status correct(run *r, size_t from, size_t to) {
    iflow_status status = IFLOW_OK;
    for (size_t end; !status && from < to; from = end + 1) {
        for (end = from; end < to && is_corrected(r, end); end++) {
            r->answer->n_corrected += (size_t)r->length[end];
        }
        status = iflow_correct(r->ctx, r->start + from, r->length + from, end - from);
    }
    return status;
}

/* Step 2: every chunk's KV into its rows, corrected if that is wanted, and its keys rotated to the positions of a geometry (global for all
 * but scoring): while they are still in the processor's caches, and while the store reads the chunks that follow. */
static iflow_status assemble(run *r, iflow_geometry geometry) {
    iflow_context *ctx = r->ctx;
    const size_t n_chunks = r->answer->n_chunks;
    iflow_status status = IFLOW_OK;
    int32_t text = 0;
    int rotated = 0;
    size_t corrected = 0; /* chunks that were looked at */
    r->answer->n_corrected = 0;
    iflow_geometry_place(geometry, (int)ctx->model->n_sink, r->start, r->length, n_chunks, r->first, &text);
    for (size_t i = 0, ahead = 0; !status && i < n_chunks; i++) {
        double since = iflow_now_ms();
        for (; ctx->store && ahead < n_chunks && ahead <= i + N_AHEAD; ahead++) {
            ctx->store->ops->prefetch(ctx->store, chunk_at(r, ahead)->id);
        }
        r->answer->ms.load += lap(&since);
        status = take_in(r, i);
        const int loaded = r->start[i] + r->length[i];
        if (!status && (loaded - rotated >= MIN_ROTATED || i == n_chunks - 1)) {
            since = iflow_now_ms();
            if (!(status = correct(r, corrected, i + 1))) {
                status = iflow_engine_rotate(ctx->engine, &ctx->cache.rows, rotated, loaded - rotated);
            }
            rotated = loaded;
            corrected = i + 1;
            r->answer->ms.assemble += lap(&since);
        }
    }
    return status;
}

/* Step 3: the scoring text looks at the context as assembled under a geometry, up to the last scoring layer. Its rows are given back. */
static iflow_status score(run *r, iflow_geometry geometry) {
    iflow_context *ctx = r->ctx;
    iflow_answer *a = r->answer;
    double since = iflow_now_ms();
    int layer[IFLOW_MAX_SCORE_LAYERS], n_layers = 0;
    iflow_status status = iflow_score_layers(r->params->score_layers, r->params->n_score_layers, &ctx->model->h, layer, &n_layers);
    if (status) {
        return status;
    }
    const size_t n_rows = (size_t)ctx->cache.rows.n_rows, n_text = r->text.score.n;
    float *observed = iflow_calloc((size_t)n_layers * n_rows, IFLOW_N_OBSERVATIONS * sizeof *observed);
    int32_t *pos = iflow_calloc(n_text, sizeof *pos), text = 0;
    a->score = a->score ? a->score : iflow_calloc((size_t)r->n, sizeof *a->score);
    if (!observed || !pos || !a->score) {
        status = iflow_fail_memory((size_t)n_layers * n_rows * IFLOW_N_OBSERVATIONS * sizeof *observed);
        goto cleanup;
    }
    iflow_geometry_place(geometry, (int)ctx->model->n_sink, r->start, r->length, a->n_chunks, r->first, &text);
    for (size_t i = 0; i < n_text; i++) {
        pos[i] = text + (int32_t)i;
    }
    const iflow_pass pass = {.token = r->text.score.token,
                             .pos = pos,
                             .row = r->pos + r->n,
                             .n = (int)n_text,
                             .observe = layer,
                             .observations = iflow_score_observations(r->params->score),
                             .n_observe = n_layers,
                             .observed = observed};
    status = iflow_engine_forward(ctx->engine, &ctx->cache.rows, &pass);
    iflow_cache_truncate(&ctx->cache, r->n);
    if (!status) {
        status = iflow_score_reduce(r->params->score, observed, n_layers, n_rows, (size_t)r->n_head, (size_t)r->n, a->score);
    }
    if (!status && r->params->method == IFLOW_METHOD_PRODUCT) {
        iflow_score_weigh(r->foreseen, (size_t)r->n, a->score);
    }
    if (!status) {
        status = iflow_finite_scores("score", a->score, (size_t)r->n);
    }

cleanup:
    free(observed);
    free(pos);
    a->ms.score += lap(&since);
    return status;
}

#define STALENESS "foreseen staleness of the token"

/* How many positions are recomputed. */
static iflow_status budget(run *r) {
    const iflow_ask_params *p = r->params;
    const size_t n_head = (size_t)r->n_head, n = (size_t)r->n;
    if (p->coverage > 0 && r->answer->score) {
        return iflow_select_covering(r->answer->score, n_head, n, p->coverage, iflow_select_count(p->min_ratio, n_head, n),
                                     iflow_select_count(p->max_ratio, n_head, n), &r->answer->n_selected);
    }
    r->answer->n_selected = iflow_select_count(p->ratio, n_head, n);
    return IFLOW_OK;
}

/* Step 4: the best-scoring positions outside the head; EPIC and random take theirs without a score. */
static iflow_status select_tokens(run *r) {
    iflow_answer *a = r->answer;
    double since = iflow_now_ms();
    const size_t n_head = (size_t)r->n_head, n = (size_t)r->n;
    iflow_status status = budget(r);
    if (status) {
        return status;
    }
    switch (r->params->method) {
    case IFLOW_METHOD_EPIC:
        iflow_select_first(r->start + 1, r->length + 1, a->n_chunks - 1, N_EPIC, a->selected, &a->n_selected);
        break;
    case IFLOW_METHOD_EPIC_RATIO:
        iflow_select_first_ratio(r->start + 1, r->length + 1, a->n_chunks - 1, r->params->ratio, a->selected, &a->n_selected);
        break;
    case IFLOW_METHOD_RANDOM:
        status = iflow_select_random(r->params->seed, n_head, n, a->n_selected, a->selected);
        break;
    case IFLOW_METHOD_UNION:
        if ((status = iflow_finite_scores(STALENESS, r->foreseen, n))) {
            break;
        }
        status = iflow_select_union(r->foreseen, r->params->foreseen_share, a->score, n_head, n, a->n_selected, a->selected);
        break;
    default:
        status = iflow_select_best(a->score, n_head, n, a->n_selected, a->selected);
        break;
    }
    for (size_t c = 0, i = 0; !status && c < a->n_chunks; c++) {
        for (a->chunk[c].n_selected = 0; i < a->n_selected && a->selected[i] < r->start[c] + r->length[c]; i++) {
            a->chunk[c].n_selected++;
        }
    }
    a->ms.select += lap(&since);
    return status;
}

/* Step 5: the share of each chunk that a first look at local positions selects decides the order; the most informative comes last. */
static iflow_status reorder(run *r) {
    iflow_answer *a = r->answer;
    const size_t n_chunks = a->n_chunks - 1;
    int *n_selected = iflow_calloc(n_chunks, sizeof *n_selected);
    if (!n_selected) {
        return iflow_fail_memory(n_chunks * sizeof *n_selected);
    }
    iflow_status status = assemble(r, IFLOW_GEOMETRY_HL_TP);
    if (!status && !(status = score(r, IFLOW_GEOMETRY_HL_TP)) && !(status = select_tokens(r))) {
        for (size_t i = 0; i < n_chunks; i++) {
            n_selected[i] = a->chunk[i + 1].n_selected;
        }
        iflow_order_by_share(n_selected, r->length + 1, n_chunks, r->order);
        arrange(r);
    }
    free(n_selected);
    return status;
}

/* The selected tokens run again from their embeddings, at their global positions, over their own rows. */
static iflow_status run_selected(run *r) {
    iflow_answer *a = r->answer;
    int32_t *token = iflow_calloc(a->n_selected, sizeof *token);
    if (!token) {
        return iflow_fail_memory(a->n_selected * sizeof *token);
    }
    for (size_t i = 0; i < a->n_selected; i++) {
        token[i] = a->context_token[a->selected[i]];
    }
    const iflow_pass pass = {.token = token, .pos = a->selected, .row = a->selected, .n = (int)a->n_selected};
    const iflow_status status = iflow_engine_forward(r->ctx->engine, &r->ctx->cache.rows, &pass);
    free(token);
    return status;
}

/* The selected tokens run again: from the start, or from the hidden rows that CacheBlend has of all tokens. */
static iflow_status run_again(run *r, const float *hidden) {
    const iflow_answer *a = r->answer;
    return hidden ? iflow_blend_recompute(r->ctx, hidden, a->selected, (int)a->n_selected) : run_selected(r);
}

/* Step 6: recompute. What came of it tells how much of the correction holds for the others, and these drift along, where that is wanted. */
static iflow_status recompute(run *r, const float *hidden) {
    iflow_answer *a = r->answer;
    double since = iflow_now_ms();
    const double other = a->ms.load + a->ms.prefill; /* chunks may be looked up again */
    iflow_uphold uphold = {.ctx = r->ctx, .answer = a, .aside = r->n_rows, .chunk = iflow_calloc(a->n_chunks, sizeof *uphold.chunk)};
    float *stale = NULL; /* what drift remembers */
    iflow_status status = IFLOW_OK;
    if (!uphold.chunk) {
        status = iflow_fail_memory(a->n_chunks * sizeof *uphold.chunk);
        goto cleanup;
    }
    for (size_t i = 0; i < a->n_chunks; i++) {
        uphold.chunk[i] = is_corrected(r, i) && !hidden ? chunk_at(r, i) : NULL; /* CacheBlend has all tokens fresh in layer 1 */
    }
    if ((is_on(r, r->params->drift) && (status = iflow_drift_begin(r->ctx, a, &stale))) || (status = iflow_uphold_begin(&uphold)) ||
        (status = run_again(r, hidden)) || (status = iflow_uphold_end(&uphold, stale)) || (status = iflow_drift_end(r->ctx, a, stale))) {
        goto cleanup;
    }
    a->n_recomputed = a->n_selected;
    a->ms.recompute = lap(&since) - (a->ms.load + a->ms.prefill - other);

cleanup:
    iflow_uphold_free(&uphold);
    free(uphold.chunk);
    free(stale);
    return status;
}

/* Step 7: the prompt behind the repaired context. */
static iflow_status run_prompt(run *r) {
    double since = iflow_now_ms();
    const int32_t *behind = r->pos + r->n;
    const iflow_pass pass = {
        .token = r->text.prompt.token, .pos = behind, .row = behind, .n = (int)r->text.prompt.n, .logits = true, .out = r->logits};
    const iflow_status status = iflow_engine_forward(r->ctx->engine, &r->ctx->cache.rows, &pass);
    r->answer->ms.prompt = lap(&since);
    return status;
}

/* CacheBlend: selects by how much V changes at layer 1, and goes on from there with fewer rows. */
static iflow_status cacheblend(run *r) {
    iflow_answer *a = r->answer;
    double since = iflow_now_ms();
    float *hidden = NULL;
    a->score = iflow_calloc((size_t)r->n, sizeof *a->score);
    if (!a->score) {
        return iflow_fail_memory((size_t)r->n * sizeof *a->score);
    }
    iflow_status status = iflow_blend_score(r->ctx, a->context_token, r->pos, r->n, r->n_head, a->score, &hidden);
    a->ms.score += lap(&since);
    if (!status && !(status = select_tokens(r))) {
        status = recompute(r, hidden);
    }
    free(hidden);
    return status;
}

/* The staleness that was foreseen is the score. */
static iflow_status foreseen(run *r) {
    r->answer->score = iflow_calloc((size_t)r->n, sizeof *r->answer->score);
    if (!r->answer->score) {
        return iflow_fail_memory((size_t)r->n * sizeof *r->answer->score);
    }
    memcpy(r->answer->score, r->foreseen, (size_t)r->n * sizeof *r->foreseen);
    iflow_status status = iflow_finite_scores(STALENESS, r->foreseen, (size_t)r->n);
    if (!status && !(status = select_tokens(r))) {
        status = recompute(r, NULL);
    }
    return status;
}

/* InfoFlow: score, select, recompute, over chunks that may have been reordered first. */
static iflow_status infoflow(run *r) {
    const iflow_geometry geometry = r->params->geometry;
    iflow_status status = IFLOW_OK;
    if ((r->params->reorder && (status = reorder(r))) || (status = assemble(r, geometry)) || (status = score(r, geometry)) ||
        (geometry != IFLOW_GEOMETRY_GLOBAL && (status = assemble(r, IFLOW_GEOMETRY_GLOBAL))) || (status = select_tokens(r))) {
        return status;
    }
    return recompute(r, NULL);
}

/* Caches reused, with one repair or another. */
static iflow_status reuse(run *r) {
    const iflow_method method = r->params->method;
    const bool nothing = iflow_method_has_ratio(method) && r->params->coverage <= 0 &&
                         !iflow_select_count(r->params->ratio, (size_t)r->n_head, (size_t)r->n);
    iflow_status status = IFLOW_OK;
    if (iflow_method_looks(method) && !nothing) {
        status = infoflow(r);
    } else if (!(status = assemble(r, IFLOW_GEOMETRY_GLOBAL)) && method != IFLOW_METHOD_NONE && !nothing) {
        if (method == IFLOW_METHOD_CACHEBLEND) {
            status = cacheblend(r);
        } else if (method == IFLOW_METHOD_FORESEEN) {
            status = foreseen(r);
        } else if (!(status = select_tokens(r))) {
            status = recompute(r, NULL);
        }
    }
    return status ? status : run_prompt(r);
}

/* The baseline: context and prompt prefilled as one sequence. */
static iflow_status prefill_all(run *r) {
    double since = iflow_now_ms();
    int32_t *token = r->answer->context_token; /* has room for the prompt */
    memcpy(token + r->n, r->text.prompt.token, r->text.prompt.n * sizeof *token);
    const iflow_pass pass = {
        .token = token, .pos = r->pos, .row = r->pos, .n = r->n + (int)r->text.prompt.n, .logits = true, .out = r->logits};
    const iflow_status status = iflow_engine_forward(r->ctx->engine, &r->ctx->cache.rows, &pass);
    r->answer->n_recomputed = (size_t)r->n;
    r->answer->ms.prefill = lap(&since);
    return status;
}

static iflow_status run_method(run *r) {
    const iflow_ask_params *p = r->params;
    r->answer->ratio = p->method == IFLOW_METHOD_FULL ? 1 : iflow_method_has_ratio(p->method) ? p->ratio : 0;
    const bool foresee = r->ctx->foresee;
    r->ctx->foresee = foresee || iflow_method_foresees(p->method);
    iflow_status status = p->method == IFLOW_METHOD_FULL ? prefill_all(r) : reuse(r);
    r->ctx->foresee = foresee;
    const size_t n_rows = (size_t)r->n + r->text.prompt.n;
    return status ? status : iflow_finite_logits("the prompt", n_rows - 1, r->logits, (size_t)r->ctx->model->n_vocab);
}

/* What of the chat header is not as the caller may think. */
static void warn_of_template(run *r) {
    if (r->text.plain && iflow_context_warns(r->ctx, IFLOW_WARN_PLAIN)) {
        iflow_log(IFLOW_LOG_WARN, "the chat template of %s is missing, or not one that libllama knows; plain text is used",
                  r->ctx->model->path);
    }
    if (r->text.no_place && iflow_context_warns(r->ctx, IFLOW_WARN_NO_PLACE)) {
        iflow_log(IFLOW_LOG_WARN, "the chat template of %s has no place for a system message; it stands at the beginning of the user's",
                  r->ctx->model->path);
    }
}

iflow_status iflow_context_ask(iflow_context *ctx, const iflow_ask_params *params, iflow_answer **out) {
    run r = {.ctx = ctx, .params = params, .asked_at = iflow_now_ms()};
    if (IFLOW_UNUSABLE(ctx) || IFLOW_MISSING(params) || IFLOW_MISSING(out)) {
        return IFLOW_E_ARG;
    }
    iflow_status status = iflow_params_check(ctx, params, true);
    status = status ? status : iflow_model_unchanged(ctx->model);
    if (!status && ctx->n_chunks == 0) {
        status = iflow_fail(IFLOW_E_ARG, "there are no documents to ask about");
    }
    if (status) {
        return status;
    }
    r.answer = calloc(1, sizeof *r.answer);
    if (!r.answer) {
        return iflow_fail_memory(sizeof *r.answer);
    }
    r.answer->method = params->method;
    r.answer->correction_held = NAN;
    ctx->turn.n_rows = 0;
    iflow_cache_truncate(&ctx->cache, 0);
    if ((status = iflow_prompt_make(ctx->model, params, &r.text)) || (status = check_room(&r)) || (status = lay_out(&r))) {
        goto cleanup;
    }
    warn_of_template(&r);
    iflow_context_warn_beyond(ctx, (size_t)r.n_need);
    const int most = params->max_tokens < N_ANSWER ? params->max_tokens : N_ANSWER;
    r.n_rows = r.n_need + (most < ctx->n_ctx - r.n_need ? most : ctx->n_ctx - r.n_need);
    if ((status = iflow_cache_reserve(&ctx->cache, r.n_rows)) || (status = run_method(&r))) {
        goto cleanup;
    }
    r.answer->n_reused = r.answer->n_context - r.answer->n_recomputed;
    if ((status = iflow_generate(ctx, params, r.logits, r.n + (int)r.text.prompt.n, r.asked_at, r.answer))) {
        goto cleanup;
    }
    free(ctx->turn.between);
    free(ctx->turn.footer);
    ctx->turn.between = r.text.between;
    ctx->turn.footer = r.text.footer;
    r.text.between = r.text.footer = NULL;
    r.answer->cache_bytes = iflow_cache_bytes(&ctx->cache);
    r.answer->ms.total = iflow_now_ms() - r.asked_at;
    *out = r.answer;
    r.answer = NULL;

cleanup:
    if (status == IFLOW_E_NOT_FINITE) {
        iflow_context_drop_rows(ctx);
    }
    iflow_prompt_free(&r.text);
    iflow_answer_free(r.answer);
    free(r.pos);
    free(r.order);
    free(r.start);
    free(r.length);
    free(r.first);
    free(r.foreseen);
    free(r.logits);
    return status;
}
