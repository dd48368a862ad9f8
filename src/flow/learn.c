/* learn.c - learns a correction: ridge regression of what KV changes by, a layer at a time, on KV as it is reused. */
#include "flow/context.h"

#include "base/cancel.h"
#include "flow/finite.h"
#include "flow/prompt.h"
#include "flow/repair/correct.h"

#include <ggml.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Ridge penalties: how strongly the map is drawn to 0, in shares of the variance of what goes in: of K and V, and of a place. Fidelity
 * hardly depends on them (docs/results/APPENDIX.md). */
static const double RIDGE = 1e-2, RIDGE_PLACE = 1e-4;

/* How much of what is predicted is done. A regression predicts the mean of what may happen, and tokens that matter are not like the mean:
 * all of it is nearer to full prefill for most questions, and much farther for some (docs/results/APPENDIX.md). */
static const double SHARE = 0.75;

enum {
    MIN_TOKENS = 1024,
    SLICE = 64,                              /* tokens whose sums are kept in floats */
    N_PLACE = IFLOW_CORRECTION_FEATURES - 1, /* the first is always 1 */
};

/* Sums over tokens, of one layer: x = (K, V, place) less reference, y what K and V change by. */
typedef struct moments {
    float *reference; /* [n_in]: near the mean, so that little cancels */
    double *x, *y;    /* [n_in], [n_out] */
    double *xx;       /* [n_in, n_in], columns from the row's on */
    double *xy;       /* [n_in, n_out] */
} moments;

struct iflow_learner {
    iflow_context *ctx;
    size_t n_in, n_out, n_tokens;
    moments *layer; /* [n_layer - 1]: of all but the first */
};

iflow_status iflow_learner_new(iflow_context *ctx, iflow_learner **out) {
    if (IFLOW_MISSING(ctx) || IFLOW_MISSING(out)) {
        return IFLOW_E_ARG;
    }
    const size_t n_layer = (size_t)ctx->model->h.n_layer, n_out = 2 * (size_t)ctx->model->n_embd_kv, n_in = n_out + N_PLACE;
    const size_t n_bytes = n_in * sizeof(float) + (n_in + n_out + n_in * (n_in + n_out)) * sizeof(double);
    iflow_learner *l = iflow_calloc(1, sizeof *l);
    if (!l) {
        return iflow_fail_memory(sizeof *l);
    }
    *l = (iflow_learner){.ctx = ctx, .n_in = n_in, .n_out = n_out, .layer = iflow_calloc(n_layer, sizeof *l->layer)};
    bool complete = l->layer != NULL;
    for (size_t i = 0; complete && i + 1 < n_layer; i++) {
        moments *m = &l->layer[i];
        m->reference = iflow_calloc(n_in, sizeof *m->reference);
        m->x = iflow_calloc(n_in, sizeof *m->x);
        m->y = iflow_calloc(n_out, sizeof *m->y);
        m->xx = iflow_calloc(n_in * n_in, sizeof *m->xx);
        m->xy = iflow_calloc(n_in * n_out, sizeof *m->xy);
        complete = m->reference && m->x && m->y && m->xx && m->xy;
    }
    if (!complete) {
        iflow_learner_free(l);
        return iflow_fail_memory((n_layer - 1) * n_bytes);
    }
    *out = l;
    return IFLOW_OK;
}

void iflow_learner_free(iflow_learner *l) {
    if (!l) {
        return;
    }
    for (int i = 0; l->layer && i + 1 < l->ctx->model->h.n_layer; i++) {
        moments *m = &l->layer[i];
        free(m->reference);
        free(m->x), free(m->y);
        free(m->xx), free(m->xy);
    }
    free(l->layer);
    free(l);
}

size_t iflow_learner_tokens(const iflow_learner *l) {
    return l ? l->n_tokens : 0;
}

/* ---- Comparing ---------------------------------------------------------------------------------------------------------------------- */

/* A context that is learned from. */
typedef struct comparison {
    int32_t *token, *pos; /* [n]: the head's, then the chunks' */
    size_t n, n_head;
    iflow_chunk **chunk; /* [n_chunks] as they are reused */
    size_t n_chunks;
    iflow_cache cache; /* full prefill's KV, K before RoPE too */
    uint16_t *half;    /* [longest chunk, n_embd_kv]: of a chunk */
    uint16_t *now;     /* [2 (K, V), n - n_head, n_embd_kv]: of full prefill */
    float *x, *y;      /* [n - n_head, n_in], [n - n_head, n_out] */
    float *line;       /* [n_in + n_out] */
} comparison;

static void comparison_free(comparison *s) {
    for (size_t i = 0; s->chunk && i < s->n_chunks; i++) {
        iflow_chunk_free(s->chunk[i]);
    }
    free(s->token), free(s->pos);
    free(s->chunk);
    iflow_cache_free(&s->cache);
    free(s->half), free(s->now);
    free(s->x), free(s->y), free(s->line);
}

/* Tokens of a context whose head is that of a question, and its chunks. */
static iflow_status comparison_begin(const iflow_learner *l, comparison *s) {
    iflow_context *ctx = l->ctx;
    iflow_prompt prompt = {0};
    iflow_ask_params params = iflow_ask_default_params();
    params.question = "?";
    iflow_status status = iflow_prompt_make(ctx->model, &params, &prompt);
    size_t longest = 0;
    iflow_cache_init(&s->cache, ctx->model, ctx->engine, true);
    s->n_chunks = ctx->n_chunks;
    s->n = s->n_head = prompt.head.n;
    for (size_t i = 0; !status && i < ctx->n_chunks; i++) {
        const iflow_context_chunk *chunk = &ctx->chunk[i];
        if (chunk->fillers != ctx->fillers) {
            status = iflow_fail(IFLOW_E_ARG, "chunk %s was prefilled in another way than this context does it", chunk->id);
        }
        s->n += chunk->n_tokens;
        longest = chunk->n_tokens > longest ? chunk->n_tokens : longest;
    }
    if (!status && s->n > (size_t)ctx->timeline.n_ctx) {
        status = iflow_fail(IFLOW_E_CONTEXT,
                            "%zu tokens (%zu of them of the head) are more than the context of %d holds; learn from fewer at a time, or "
                            "make the context larger",
                            s->n, s->n_head, ctx->timeline.n_ctx);
    }
    if (status) {
        goto cleanup;
    }
    iflow_warn_beyond(ctx->model, s->n, &ctx->builder.warned);
    const size_t width = (size_t)ctx->model->n_embd_kv, n = s->n - s->n_head;
    s->token = iflow_calloc(s->n, sizeof *s->token);
    s->pos = iflow_calloc(s->n, sizeof *s->pos);
    s->chunk = iflow_calloc(s->n_chunks, sizeof *s->chunk);
    s->half = iflow_calloc(longest * width, sizeof *s->half);
    s->now = iflow_calloc(2 * n * width, sizeof *s->now);
    s->x = iflow_calloc(n * l->n_in, sizeof *s->x);
    s->y = iflow_calloc(n * l->n_out, sizeof *s->y);
    s->line = iflow_calloc(l->n_in + l->n_out, sizeof *s->line);
    if (!s->token || !s->pos || !s->chunk || !s->half || !s->now || !s->x || !s->y || !s->line) {
        status = iflow_fail_memory(n * (l->n_in + l->n_out) * sizeof *s->x);
        goto cleanup;
    }
    memcpy(s->token, prompt.head.token, s->n_head * sizeof *s->token);
    for (size_t i = 0, at = s->n_head; i < s->n_chunks; at += ctx->chunk[i++].n_tokens) {
        memcpy(s->token + at, ctx->chunk[i].token, ctx->chunk[i].n_tokens * sizeof *s->token);
    }
    for (size_t i = 0; i < s->n; i++) {
        s->pos[i] = (int32_t)i;
    }

cleanup:
    iflow_prompt_free(&prompt);
    return status;
}

/* x and y of a layer: what the chunks have against what full prefill, which is in the cache, has. */
static void observe(const iflow_learner *l, comparison *s, int layer) {
    const iflow_context *ctx = l->ctx;
    const size_t width = (size_t)ctx->model->n_embd_kv, n = s->n - s->n_head;
    iflow_cache_read_raw(&s->cache, layer, (int)s->n_head, (int)n, s->now, s->now + n * width);
    for (size_t c = 0, first = 0; c < s->n_chunks; first += ctx->chunk[c++].n_tokens) {
        const iflow_chunk *chunk = s->chunk[c];
        const void *from[2] = {chunk->k[layer], chunk->v[layer]};
        for (size_t kind = 0; kind < 2; kind++) {
            iflow_chunk_rows_f16(chunk, from[kind], (int)width, 0, ctx->chunk[c].n_tokens, s->half);
            for (size_t i = 0; i < ctx->chunk[c].n_tokens; i++) {
                float *x = s->x + (first + i) * l->n_in + kind * width, *y = s->y + (first + i) * l->n_out + kind * width;
                ggml_fp16_to_fp32_row((const ggml_fp16_t *)s->half + i * width, x, (int64_t)width);
                ggml_fp16_to_fp32_row((const ggml_fp16_t *)s->now + (kind * n + first + i) * width, y, (int64_t)width);
                for (size_t j = 0; j < width; j++) {
                    y[j] -= x[j];
                }
            }
        }
        for (size_t i = 0; i < ctx->chunk[c].n_tokens; i++) {
            float feature[IFLOW_CORRECTION_FEATURES];
            iflow_correct_features((int)i, (int)(s->n_head + first + i), feature);
            memcpy(s->x + (first + i) * l->n_in + l->n_out, feature + 1, N_PLACE * sizeof *feature);
        }
    }
}

/* Adds the products of up to SLICE tokens. */
static void add_slice(const iflow_learner *l, const float *x, const float *y, size_t n, float *line, moments *m) {
    const size_t n_in = l->n_in, n_out = l->n_out;
    for (size_t a = 0; a < n_in; a++) {
        float *with_x = line, *with_y = line + n_in;
        memset(line, 0, (n_in + n_out) * sizeof *line);
        for (size_t t = 0; t < n; t++) {
            const float by = x[t * n_in + a], *xt = x + t * n_in, *yt = y + t * n_out;
            for (size_t b = a; b < n_in; b++) {
                with_x[b] += by * xt[b];
            }
            for (size_t b = 0; b < n_out; b++) {
                with_y[b] += by * yt[b];
            }
        }
        for (size_t b = a; b < n_in; b++) {
            m->xx[a * n_in + b] += (double)with_x[b];
        }
        for (size_t b = 0; b < n_out; b++) {
            m->xy[a * n_out + b] += (double)with_y[b];
        }
    }
    for (size_t t = 0; t < n; t++) {
        for (size_t a = 0; a < n_in; a++) {
            m->x[a] += (double)x[t * n_in + a];
        }
        for (size_t b = 0; b < n_out; b++) {
            m->y[b] += (double)y[t * n_out + b];
        }
    }
}

/* One number that is none would spoil all sums for good. */
static iflow_status check_finite(const iflow_learner *l, const comparison *s, int layer) {
    const size_t n = s->n - s->n_head, x = iflow_finite_first(s->x, n * l->n_in), y = iflow_finite_first(s->y, n * l->n_out);
    return x < n * l->n_in
               ? iflow_not_finite((double)s->x[x], "the KV of the chunk token at position %zu in layer %d", s->n_head + x / l->n_in, layer)
           : y < n * l->n_out ? iflow_not_finite((double)s->y[y], "what full prefill changes KV by at position %zu in layer %d",
                                                 s->n_head + y / l->n_out, layer)
                              : IFLOW_OK;
}

static iflow_status add(iflow_learner *l, comparison *s, moments *m) {
    const size_t n_in = l->n_in, n = s->n - s->n_head;
    if (!l->n_tokens) {
        for (size_t a = 0; a < n_in; a++) {
            double sum = 0;
            for (size_t t = 0; t < n; t++) {
                sum += (double)s->x[t * n_in + a];
            }
            m->reference[a] = (float)(sum / (double)n);
        }
    }
    for (size_t t = 0; t < n; t++) {
        for (size_t a = 0; a < n_in; a++) {
            s->x[t * n_in + a] -= m->reference[a];
        }
    }
    iflow_status status = IFLOW_OK;
    for (size_t t = 0; !status && t < n; t += SLICE) {
        status = iflow_cancel_check();
        if (!status) {
            add_slice(l, s->x + t * n_in, s->y + t * l->n_out, n - t < SLICE ? n - t : SLICE, s->line, m);
        }
    }
    return status;
}

/* Forgets what was learned: of a part of the layers only, it would be wrong. */
static void forget(iflow_learner *l) {
    for (int i = 0; i + 1 < l->ctx->model->h.n_layer; i++) {
        const moments *m = &l->layer[i];
        memset(m->x, 0, l->n_in * sizeof *m->x);
        memset(m->y, 0, l->n_out * sizeof *m->y);
        memset(m->xx, 0, l->n_in * l->n_in * sizeof *m->xx);
        memset(m->xy, 0, l->n_in * l->n_out * sizeof *m->xy);
    }
    l->n_tokens = 0;
}

iflow_status iflow_learner_add(iflow_learner *learner) {
    if (IFLOW_MISSING(learner)) {
        return IFLOW_E_ARG;
    }
    iflow_learner *l = learner;
    iflow_context *ctx = l->ctx;
    if (IFLOW_UNUSABLE(ctx)) {
        return IFLOW_E_ARG;
    }
    if (ctx->n_chunks < 2) {
        return iflow_fail(IFLOW_E_ARG, "a context of %zu chunk%s has nothing to learn from: at least 2 are needed", ctx->n_chunks,
                          ctx->n_chunks == 1 ? "" : "s");
    }
    comparison s = {0};
    iflow_timings ms = {0};
    iflow_status status = comparison_begin(l, &s);
    for (size_t i = 0; !status && i < s.n_chunks; i++) {
        status = iflow_builder_get(&ctx->builder, &ctx->chunk[i], ctx->timeline.estimate, &s.chunk[i], &ms);
    }
    if (status || (status = iflow_cache_reserve(&s.cache, (int)s.n))) {
        goto cleanup;
    }
    const iflow_pass pass = {.token = s.token, .order = s.pos, .row = s.pos, .n = (int)s.n};
    status = iflow_engine_forward(ctx->engine, &s.cache.rows, &pass);
    for (int layer = 1; !status && layer < ctx->model->h.n_layer; layer++) { /* all layers or none are learned from */
        status = iflow_cancel_check();
        if (!status) {
            observe(l, &s, layer);
            status = check_finite(l, &s, layer);
        }
    }
    if (status) {
        goto cleanup;
    }
    for (int layer = 1; !status && layer < ctx->model->h.n_layer; layer++) {
        observe(l, &s, layer);
        status = add(l, &s, &l->layer[layer - 1]);
    }
    if (status) {
        forget(l);
    } else {
        l->n_tokens += s.n - s.n_head;
    }

cleanup:
    comparison_free(&s);
    if (status == IFLOW_E_NOT_FINITE) {
        iflow_timeline_drop_rows(&ctx->timeline);
    }
    return status;
}

/* ---- Solving ------------------------------------------------------------------------------------------------------------------------ */

/* Solves a u = b for the columns of b [n, n_columns], in place, by Cholesky's factors. a [n, n], positive definite, columns from the row's
 * on; overwritten. E_CANCELLED. */
static iflow_status solve(double *a, double *b, size_t n, size_t n_columns) {
    for (size_t i = 0; i < n; i++) { /* a = u' u, and b becomes u'^-1 b */
        const iflow_status status = iflow_cancel_check();
        if (status) {
            return status;
        }
        double *row = a + i * n;
        const double root = sqrt(row[i]);
        for (size_t j = i; j < n; j++) {
            row[j] /= root;
        }
        for (size_t c = 0; c < n_columns; c++) {
            b[i * n_columns + c] /= root;
        }
        for (size_t k = i + 1; k < n; k++) {
            const double by = row[k];
            for (size_t j = k; j < n; j++) {
                a[k * n + j] -= by * row[j];
            }
            for (size_t c = 0; c < n_columns; c++) {
                b[k * n_columns + c] -= by * b[i * n_columns + c];
            }
        }
    }
    for (size_t i = n; i-- > 0;) {
        const iflow_status status = iflow_cancel_check();
        if (status) {
            return status;
        }
        for (size_t k = i + 1; k < n; k++) {
            for (size_t c = 0; c < n_columns; c++) {
                b[i * n_columns + c] -= a[i * n + k] * b[k * n_columns + c];
            }
        }
        for (size_t c = 0; c < n_columns; c++) {
            b[i * n_columns + c] /= a[i * n + i];
        }
    }
    return IFLOW_OK;
}

/* The regression of a layer, from copies a [n_in, n_in] and b [n_in, n_out] of its sums, which are overwritten. E_CANCELLED. */
static iflow_status regress(const iflow_learner *l, const moments *m, double *a, double *b, float *mean, uint16_t *map, float *position) {
    const size_t n_in = l->n_in, n_out = l->n_out;
    const double n = (double)l->n_tokens;
    double variance = 0; /* of K and V, the mean of all their elements; times n */
    for (size_t i = 0; i < n_in; i++) {
        for (size_t j = i; j < n_in; j++) {
            a[i * n_in + j] = m->xx[i * n_in + j] - m->x[i] * m->x[j] / n;
        }
        for (size_t j = 0; j < n_out; j++) {
            b[i * n_out + j] = m->xy[i * n_out + j] - m->x[i] * m->y[j] / n;
        }
        variance += i < n_out ? a[i * n_in + i] / (double)n_out : 0;
    }
    for (size_t i = 0; i < n_in; i++) {
        a[i * n_in + i] += (i < n_out ? RIDGE * variance : RIDGE_PLACE * a[i * n_in + i]) + 1e-9 * n;
    }
    const iflow_status status = solve(a, b, n_in, n_out);
    if (status) {
        return status;
    }
    for (size_t i = 0; i < n_out; i++) {
        mean[i] = (float)((double)m->reference[i] + m->x[i] / n);
        for (size_t o = 0; o < n_out; o++) {
            map[o * n_out + i] = ggml_fp32_to_fp16((float)(SHARE * b[i * n_out + o]));
        }
    }
    for (size_t o = 0; o < n_out; o++) {
        double constant = m->y[o] / n;
        for (size_t i = n_out; i < n_in; i++) {
            constant -= b[i * n_out + o] * ((double)m->reference[i] + m->x[i] / n);
            position[o * IFLOW_CORRECTION_FEATURES + 1 + i - n_out] = (float)(SHARE * b[i * n_out + o]);
        }
        position[o * IFLOW_CORRECTION_FEATURES] = (float)(SHARE * constant);
    }
    return IFLOW_OK;
}

iflow_status iflow_learner_write(const iflow_learner *learner, const char *path) {
    if (IFLOW_MISSING(learner) || IFLOW_MISSING(path)) {
        return IFLOW_E_ARG;
    }
    const iflow_learner *l = learner;
    if (l->n_tokens < MIN_TOKENS) {
        return iflow_fail(IFLOW_E_ARG, "%zu tokens are too few to learn from: at least %d are needed, and 10,000 are better", l->n_tokens,
                          MIN_TOKENS);
    }
    const iflow_context *ctx = l->ctx;
    const size_t n_in = l->n_in, n_out = l->n_out, n_layer = (size_t)ctx->model->h.n_layer;
    iflow_correction_values values = {.fingerprint = ctx->model->fingerprint,
                                      .prefix_id = ctx->builder.prefix_id[ctx->fillers],
                                      .fillers = ctx->fillers,
                                      .n_layer = ctx->model->h.n_layer,
                                      .n_embd_kv = ctx->model->n_embd_kv,
                                      .n_tokens = l->n_tokens,
                                      .mean = iflow_calloc(n_layer * n_out, sizeof *values.mean),
                                      .map = iflow_calloc(n_layer * n_out * n_out, sizeof *values.map),
                                      .position = iflow_calloc(n_layer * n_out, IFLOW_CORRECTION_FEATURES * sizeof *values.position)};
    double *a = iflow_calloc(n_in * n_in, sizeof *a), *b = iflow_calloc(n_in * n_out, sizeof *b);
    iflow_status status = IFLOW_OK;
    if (!values.mean || !values.map || !values.position || !a || !b) {
        status = iflow_fail_memory(n_layer * n_out * n_out * sizeof *values.map + n_in * (n_in + n_out) * sizeof *a);
        goto cleanup;
    }
    for (size_t i = 0; !status && i + 1 < n_layer; i++) {
        status = regress(l, &l->layer[i], a, b, values.mean + i * n_out, values.map + i * n_out * n_out,
                         values.position + i * n_out * IFLOW_CORRECTION_FEATURES);
    }
    status = status ? status : iflow_correction_write(path, &values); /* which says so where a number is not finite */

cleanup:
    free(values.mean), free(values.map), free(values.position);
    free(a), free(b);
    return status;
}
