/* test_ours.c - identities of what is not in the paper: a chunk after a text is a part of one pass, after several it is the mean of such
 * parts, staleness is computed when it is missing and kept, a union of one part is that part, a coverage between equal bounds is a
 * ratio, drift shifts the keys of a chunk's other tokens all alike. */
#include "identity_fixture.h"

#include <ggml.h>
#include <math.h>

/* A chunk's K before RoPE and V, in [n_layer, 2, n_tokens, n_embd_kv]. */
static float *rows_of(const iflow_chunk *chunk) {
    const size_t n_values = chunk->identity.n_tokens * (size_t)model->n_embd_kv;
    float *out = calloc(2 * n_values * (size_t)model->h.n_layer, sizeof *out);
    assert_non_null(out);
    for (int il = 0; il < model->h.n_layer; il++) {
        for (int kind = 0; kind < 2; kind++) {
            ggml_fp16_to_fp32_row(kind ? chunk->v[il] : chunk->k[il], out + (size_t)(2 * il + kind) * n_values, (int64_t)n_values);
        }
    }
    return out;
}

/* Adds the rows, divided by n_texts, that a chunk has in one pass over sink, text and chunk. */
static void add_one_pass(const iflow_context *ctx, const iflow_context_chunk *of, int text, int n_texts, float *sum) {
    const size_t n_text = ctx->builder.texts.end[text] - ctx->builder.texts.end[text - 1], n_lead = model->n_sink + n_text,
                 n = n_lead + of->n_tokens;
    const size_t n_values = 2 * of->n_tokens * (size_t)model->n_embd_kv;
    assert_int_equal(n_text, 160);
    int32_t *token = calloc(n, sizeof *token), *pos = calloc(n, sizeof *pos);
    uint16_t *kv = calloc(n_values, sizeof *kv);
    assert_true(token && pos && kv);
    memcpy(token, model->sink, model->n_sink * sizeof *token);
    memcpy(token + model->n_sink, ctx->builder.texts.token + ctx->builder.texts.end[text - 1], n_text * sizeof *token);
    memcpy(token + n_lead, of->token, of->n_tokens * sizeof *token);
    for (size_t i = 0; i < n; i++) {
        pos[i] = (int32_t)i;
    }
    iflow_cache cache;
    iflow_cache_init(&cache, model, ctx->engine, true);
    assert_ok(iflow_cache_reserve(&cache, (int)n));
    const iflow_pass pass = {.token = token, .order = pos, .row = pos, .n = (int)n};
    assert_ok(iflow_engine_forward(ctx->engine, &cache.rows, &pass));
    for (int il = 0; il < model->h.n_layer; il++) {
        iflow_cache_read_raw(&cache, il, (int)n_lead, (int)of->n_tokens, kv, kv + n_values / 2);
        for (size_t i = 0; i < n_values; i++) {
            sum[(size_t)il * n_values + i] += ggml_fp16_to_fp32(kv[i]) / (float)n_texts;
        }
    }
    iflow_cache_free(&cache);
    free(token), free(pos), free(kv);
}

/* The largest difference of any layer's K or V, as a share of its largest value. */
static double difference_of(const float *rows, const float *expected, size_t n_values) {
    double most = 0;
    for (size_t i = 0; i < 2 * (size_t)model->h.n_layer * n_values; i += n_values) {
        const double difference = support_max_difference(rows + i, expected + i, n_values) / support_max_size(expected + i, n_values);
        most = difference > most ? difference : most;
    }
    return most;
}

/* A chunk after n texts has the mean of the rows that it has in one pass over sink, text and chunk, and not the rows that it has after
 * fewer. */
static void test_behind_is_mean_of_passes(void **state) {
    (void)state;
    iflow_chunk *before = NULL;
    iflow_context *fewer = make_context_with(NULL, IFLOW_PARAMS(iflow_context_params, .fillers = IFLOW_NO_FILLERS), NULL);
    for (int n_texts = 1; n_texts <= IFLOW_MAX_FILLERS; n_texts++) {
        iflow_context *ctx = make_context_with(NULL, IFLOW_PARAMS(iflow_context_params, .fillers = n_texts), NULL);
        const iflow_context_chunk *of = &ctx->chunk[1]; /* not the first one that the texts stand before */
        iflow_chunk *chunk = NULL, *first = NULL;
        iflow_timings ms = {0};
        assert_string_not_equal(of->id, fewer->chunk[1].id);
        assert_ok(iflow_builder_get(&fewer->builder, &fewer->chunk[1], false, &before, &ms));
        assert_ok(iflow_builder_get(&ctx->builder, &ctx->chunk[0], false, &first, &ms));
        assert_ok(iflow_builder_get(&ctx->builder, of, false, &chunk, &ms));
        assert_int_equal(chunk->identity.n_prefix, model->n_sink + 160 * (size_t)n_texts);
        assert_memory_equal(chunk->identity.prefix, ctx->builder.texts.token, chunk->identity.n_prefix * sizeof(int32_t));

        const size_t n_values = of->n_tokens * (size_t)model->n_embd_kv;
        float *expected = calloc(2 * n_values * (size_t)model->h.n_layer, sizeof *expected), *is = rows_of(chunk), *was = rows_of(before);
        assert_non_null(expected);
        for (int text = 1; text <= n_texts; text++) {
            add_one_pass(ctx, of, text, n_texts, expected);
        }
        const double most = difference_of(is, expected, n_values), moved = difference_of(was, expected, n_values);
        print_message("%s after %d: largest difference of rows %.2g, of rows after fewer %.2g\n", strrchr(model->path, '/') + 1, n_texts,
                      most, moved);
        assert_true(most <= tolerance);
        assert_true(moved > 2 * tolerance);
        free(expected), free(is), free(was);
        iflow_chunk_free(chunk), iflow_chunk_free(first), iflow_chunk_free(before);
        iflow_context_free(fewer);
        fewer = ctx;
    }
    iflow_context_free(fewer);
}

/* Ratio 1 repairs chunks whatever stood before them: here the sink alone, in test_identities.c texts. */
static void test_alone_ratio_1_is_full(void **state) {
    (void)state;
    iflow_context *ctx = make_context_with(NULL, IFLOW_PARAMS(iflow_context_params, .fillers = IFLOW_NO_FILLERS), NULL);
    iflow_answer *full = NULL, *all = NULL, *none = NULL;
    float *a = ask(ctx, IFLOW_METHOD_FULL, 0, &full), *b = ask(ctx, IFLOW_METHOD_INFOFLOW, 1, &all),
          *c = ask(ctx, IFLOW_METHOD_NONE, 0, &none);
    assert_close(a, b);
    assert_true(support_max_difference(a, c, (size_t)model->n_vocab) > tolerance * support_max_size(a, (size_t)model->n_vocab));
    free(a), free(b), free(c);
    iflow_answer_free(full), iflow_answer_free(all), iflow_answer_free(none);
    iflow_context_free(ctx);
}

/* Chunks stored after texts are asked for by id in a context of any kind. */
static void test_behind_by_id(void **state) {
    (void)state;
    char *dir = support_make_dir();
    iflow_store *store = NULL;
    assert_ok(iflow_store_open(dir, NULL, &store));
    iflow_context *fillers = make_context_with(store, IFLOW_PARAMS(iflow_context_params, .fillers = 3), NULL), *plain = NULL;
    iflow_answer *x = NULL, *y = NULL, *z = NULL;
    float *a = ask(fillers, IFLOW_METHOD_INFOFLOW, 0.15, &x);
    assert_ok(iflow_context_new(model, store, &IFLOW_PARAMS(iflow_context_params, .fillers = IFLOW_NO_FILLERS), &plain));
    for (size_t i = 0; i < fillers->n_chunks; i++) {
        assert_ok(iflow_context_add_chunk(plain, fillers->chunk[i].id));
        assert_int_equal(plain->chunk[i].fillers, 3);
    }
    float *b = ask(plain, IFLOW_METHOD_INFOFLOW, 0.15, &y);
    assert_true(y->ms.prefill == 0);
    assert_memory_equal(a, b, (size_t)model->n_vocab * sizeof *a);
    assert_same_answer(x, y);
    /* One that was deleted since is computed again after the same texts. */
    assert_ok(iflow_store_delete(store, IFLOW_CHUNK, fillers->chunk[1].id));
    float *c = ask(plain, IFLOW_METHOD_INFOFLOW, 0.15, &z);
    assert_true(z->ms.prefill > 0);
    assert_memory_equal(a, c, (size_t)model->n_vocab * sizeof *a);
    assert_ok(iflow_store_verify(store, IFLOW_CHUNK, fillers->chunk[1].id));
    free(a), free(b), free(c);
    iflow_answer_free(x), iflow_answer_free(y), iflow_answer_free(z);
    iflow_context_free(fillers);
    iflow_context_free(plain);
    iflow_store_close(store);
    support_remove_dir(dir);
}

/* After several texts what chunks estimate comes with them: asked for or not, it is the same file, and no question computes it. */
static void test_foreseen_comes_along(void **state) {
    (void)state;
    iflow_blob blob[2] = {{0}};
    char *dir[2] = {support_make_dir(), support_make_dir()};
    for (int i = 0; i < 2; i++) {
        iflow_store *store = NULL;
        iflow_answer *none = NULL, *estimated = NULL;
        iflow_chunk_info info;
        assert_ok(iflow_store_open(dir[i], NULL, &store));
        iflow_context *ctx = make_context_with(store, IFLOW_PARAMS(iflow_context_params, .fillers = 3, .estimate_staleness = i == 1), NULL);
        free(ask(ctx, IFLOW_METHOD_NONE, 0, &none));
        assert_true(none->ms.prefill > 0);
        assert_ok(iflow_store_inspect(store, ctx->chunk[1].id, &info, NULL));
        assert_true(info.has_staleness);
        free(ask(ctx, IFLOW_METHOD_STALENESS, 0.2, &estimated));
        assert_true(estimated->ms.prefill == 0);
        assert_ok(store->ops->get(store, ctx->chunk[1].id, &blob[i]));
        iflow_answer_free(none), iflow_answer_free(estimated);
        iflow_context_free(ctx);
        iflow_store_close(store);
    }
    assert_int_equal(blob[0].n_bytes, blob[1].n_bytes);
    assert_memory_equal(blob[0].data, blob[1].data, blob[0].n_bytes);
    for (int i = 0; i < 2; i++) {
        iflow_blob_free(&blob[i]);
        support_remove_dir(dir[i]);
    }
}

/* A question that needs what chunks estimate has it computed and kept: the same file as one that was ingested with it, around the same KV.
 */
static void test_foreseen_when_asked(void **state) {
    (void)state;
    char *dir[2] = {support_make_dir(), support_make_dir()};
    iflow_store *store[2];
    const iflow_context_params one = IFLOW_PARAMS(iflow_context_params, .fillers = 1);
    iflow_context *late, *early, *memory = make_context_with(NULL, one, NULL);
    iflow_answer *answer[6] = {0};
    float *logits[6];
    for (int i = 0; i < 2; i++) {
        assert_ok(iflow_store_open(dir[i], NULL, &store[i]));
    }
    late = make_context_with(store[0], one, NULL);
    early = make_context_with(store[1], IFLOW_PARAMS(iflow_context_params, .fillers = 1, .estimate_staleness = true), NULL);
    const char *id = late->chunk[1].id;
    assert_string_equal(id, early->chunk[1].id);
    iflow_chunk_info info;
    iflow_chunk *before = NULL, *after = NULL;
    logits[0] = ask(late, IFLOW_METHOD_NONE, 0, &answer[0]);
    assert_ok(iflow_store_inspect(store[0], id, &info, NULL));
    assert_false(info.has_staleness);
    assert_ok(iflow_store_get_chunk(store[0], id, &before));
    logits[1] = ask(late, IFLOW_METHOD_STALENESS, 0.2, &answer[1]);
    assert_true(answer[1]->ms.prefill > 0);
    assert_ok(iflow_store_inspect(store[0], id, &info, NULL));
    assert_true(info.has_staleness);
    assert_ok(iflow_store_get_chunk(store[0], id, &after));
    for (int il = 0; il < model->h.n_layer; il++) {
        const size_t n_bytes = after->identity.n_tokens * (size_t)model->n_embd_kv * sizeof(uint16_t);
        assert_memory_equal(before->k[il], after->k[il], n_bytes);
        assert_memory_equal(before->v[il], after->v[il], n_bytes);
    }
    logits[2] = ask(late, IFLOW_METHOD_STALENESS, 0.2, &answer[2]);
    assert_true(answer[2]->ms.prefill == 0);

    logits[3] = ask(early, IFLOW_METHOD_NONE, 0, &answer[3]);
    iflow_blob blob[2] = {{0}};
    for (int i = 0; i < 2; i++) {
        assert_ok(store[i]->ops->get(store[i], id, &blob[i]));
    }
    assert_int_equal(blob[0].n_bytes, blob[1].n_bytes);
    assert_true(!memcmp(blob[0].data, blob[1].data, blob[0].n_bytes));

    /* And in memory, where a chunk that knows less was kept first. */
    iflow_answer_free(answer[3]), free(logits[3]);
    logits[3] = ask(memory, IFLOW_METHOD_NONE, 0, &answer[3]);
    logits[4] = ask(memory, IFLOW_METHOD_UNION, 0.2, &answer[4]);
    logits[5] = ask(memory, IFLOW_METHOD_STALENESS, 0.2, &answer[5]);
    assert_true(answer[4]->ms.prefill > 0 && answer[5]->ms.prefill == 0);
    const size_t n_bytes = (size_t)model->n_vocab * sizeof *logits[0];
    assert_memory_equal(logits[0], logits[3], n_bytes);
    assert_memory_equal(logits[1], logits[2], n_bytes);
    assert_memory_equal(logits[1], logits[5], n_bytes);
    assert_int_equal(answer[1]->n_selected, answer[5]->n_selected);
    assert_memory_equal(answer[1]->selected, answer[5]->selected, answer[1]->n_selected * sizeof(int32_t));
    assert_memory_equal(answer[1]->score, answer[5]->score, answer[1]->n_context * sizeof(float));
    for (int i = 0; i < 6; i++) {
        free(logits[i]);
        iflow_answer_free(answer[i]);
    }
    iflow_chunk_free(before), iflow_chunk_free(after);
    iflow_context_free(late), iflow_context_free(early), iflow_context_free(memory);
    for (int i = 0; i < 2; i++) {
        iflow_blob_free(&blob[i]);
        iflow_store_close(store[i]);
        support_remove_dir(dir[i]);
    }
}

/* The mean over a chunk's tokens of what it estimates is the number of what was summed; a chunk of one token therefore estimates just that.
 */
static void test_foreseen_is_relative(void **state) {
    (void)state;
    for (int fillers = 1; fillers <= 3; fillers += 2) {
        iflow_context *ctx = make_context_with(NULL, IFLOW_PARAMS(iflow_context_params, .fillers = fillers), NULL);
        assert_ok(iflow_context_add_tokens(ctx, ctx->chunk[0].token + 3, 1));
        iflow_answer *answer = NULL;
        free(ask(ctx, IFLOW_METHOD_STALENESS, 0.2, &answer));
        const double whole = 2.0 * (model->h.n_layer - 1);
        for (size_t c = 0; c < answer->n_chunks; c++) {
            double mean = 0, least = INFINITY;
            for (int i = 0; i < answer->chunk[c].length; i++) {
                const double x = (double)answer->score[answer->chunk[c].start + i];
                mean += x / answer->chunk[c].length;
                least = x < least ? x : least;
            }
            assert_true(fabs(mean - (c ? whole : 0)) < 1e-4 * whole);
            assert_true(c == 0 || answer->chunk[c].length == 1 || least < 0.98 * whole);
        }
        iflow_answer_free(answer);
        iflow_context_free(ctx);
    }
}

static void assert_same_ask(iflow_context *ctx, const iflow_ask_params *x, const iflow_ask_params *y) {
    iflow_answer *p = NULL, *q = NULL;
    float *a = ask_with(ctx, x, &p), *b = ask_with(ctx, y, &q);
    assert_int_equal(p->n_selected, q->n_selected);
    assert_memory_equal(p->selected, q->selected, p->n_selected * sizeof *p->selected);
    assert_memory_equal(a, b, (size_t)model->n_vocab * sizeof *a);
    assert_same_answer(p, q);
    free(a), free(b);
    iflow_answer_free(p), iflow_answer_free(q);
}

/* A union with one part is that part. */
static void test_union_of_one(void **state) {
    (void)state;
    iflow_context *ctx = make_context(NULL, 0, 0, NULL);
    iflow_ask_params both = ask_params(IFLOW_METHOD_UNION, 0.2);
    const iflow_ask_params estimated = ask_params(IFLOW_METHOD_STALENESS, 0.2), infoflow = ask_params(IFLOW_METHOD_INFOFLOW, 0.2);
    both.staleness_share = 1;
    assert_same_ask(ctx, &both, &estimated);
    both.staleness_share = 0;
    assert_same_ask(ctx, &both, &infoflow);
    both.staleness_share = 0.5;
    iflow_answer *x = NULL, *y = NULL, *z = NULL;
    free(ask_with(ctx, &both, &x)), free(ask_with(ctx, &estimated, &y)), free(ask_with(ctx, &infoflow, &z));
    assert_int_equal(x->n_selected, y->n_selected);
    assert_true(count_common(x, y) >= x->n_selected / 2 && count_common(x, z) >= x->n_selected - x->n_selected / 2 - count_common(y, z));
    assert_true(count_common(x, y) < x->n_selected && count_common(x, z) < x->n_selected);
    iflow_answer_free(x), iflow_answer_free(y), iflow_answer_free(z);
    iflow_context_free(ctx);
}

/* The product's score is infoflow's times the root of the staleness, and it selects as many, but others than either. */
static void test_product_of_both(void **state) {
    (void)state;
    iflow_context *ctx = make_context(NULL, 0, 0, NULL);
    const iflow_ask_params both = ask_params(IFLOW_METHOD_PRODUCT, 0.2), estimated = ask_params(IFLOW_METHOD_STALENESS, 0.2),
                           infoflow = ask_params(IFLOW_METHOD_INFOFLOW, 0.2);
    iflow_answer *x = NULL, *y = NULL, *z = NULL;
    free(ask_with(ctx, &both, &x)), free(ask_with(ctx, &estimated, &y)), free(ask_with(ctx, &infoflow, &z));
    for (size_t i = 0; i < x->n_context; i++) {
        assert_float_equal(x->score[i], z->score[i] * sqrtf(y->score[i]), 1e-6);
    }
    assert_int_equal(x->n_selected, y->n_selected);
    assert_true(count_common(x, y) < x->n_selected && count_common(x, z) < x->n_selected);
    iflow_answer_free(x), iflow_answer_free(y), iflow_answer_free(z);
    iflow_context_free(ctx);
}

/* Between a floor and a cap of the same ratio a coverage has no say; with nothing allowed it is no recompute; a method without a score goes
 * by its ratio. */
static void test_coverage_of_one_ratio(void **state) {
    (void)state;
    static const iflow_method methods[] = {IFLOW_METHOD_INFOFLOW, IFLOW_METHOD_STALENESS, IFLOW_METHOD_UNION, IFLOW_METHOD_PRODUCT,
                                           IFLOW_METHOD_CACHEBLEND};
    iflow_context *ctx = make_context(NULL, 0, 0, NULL);
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++) {
        iflow_ask_params covering = ask_params(methods[i], 0.9), fixed = ask_params(methods[i], 0.1);
        covering.coverage = 0.5;
        covering.min_ratio = covering.max_ratio = 0.1;
        assert_same_ask(ctx, &covering, &fixed);
        covering.min_ratio = covering.max_ratio = 0;
        if (methods[i] != IFLOW_METHOD_CACHEBLEND) { /* which has repaired layer 0 by then */
            const iflow_ask_params none = ask_params(IFLOW_METHOD_NONE, 0);
            assert_same_ask(ctx, &covering, &none);
        }
    }
    iflow_ask_params covering = ask_params(IFLOW_METHOD_RANDOM, 0.1), fixed = covering;
    covering.coverage = 0.9;
    assert_same_ask(ctx, &covering, &fixed);

    /* More coverage, more tokens; all of it is ratio 1, for there every token has some attention. */
    covering = ask_params(IFLOW_METHOD_INFOFLOW, 0);
    covering.min_ratio = 0;
    covering.max_ratio = 1;
    size_t before = 0;
    for (int i = 1; i <= 10; i++) {
        iflow_answer *answer = NULL;
        covering.coverage = i / 10.0;
        free(ask_with(ctx, &covering, &answer));
        assert_true(answer->n_selected > before);
        before = answer->n_selected;
        assert_true(i < 10 || before == answer->n_context - (size_t)answer->chunk[0].length);
        iflow_answer_free(answer);
    }
    iflow_answer *answer = NULL;
    covering.coverage = 1.1;
    assert_int_equal(iflow_context_ask(ctx, &covering, &answer), IFLOW_E_ARG);
    assert_non_null(strstr(iflow_error_message(), "coverage 1.1"));
    covering.coverage = 0.5;
    covering.min_ratio = 0.4;
    covering.max_ratio = 0.3;
    assert_int_equal(iflow_context_ask(ctx, &covering, &answer), IFLOW_E_ARG);
    assert_non_null(strstr(iflow_error_message(), "min_ratio 0.4"));
    covering.max_ratio = NAN;
    assert_int_equal(iflow_context_ask(ctx, &covering, &answer), IFLOW_E_ARG);
    covering = ask_params(IFLOW_METHOD_UNION, 0.2);
    covering.staleness_share = -0.1;
    assert_int_equal(iflow_context_ask(ctx, &covering, &answer), IFLOW_E_ARG);
    assert_non_null(strstr(iflow_error_message(), "staleness_share"));
    iflow_context_free(ctx);
}

/* K, then V, of a layer over the whole context, after asking: [2, n_context, n_embd_kv]. */
static float *rows_after(iflow_context *ctx, iflow_method method, iflow_switch drift, double ratio, int layer, iflow_answer **answer) {
    iflow_ask_params params = ask_params(method, ratio);
    params.drift = drift;
    params.max_tokens = 1;
    iflow_answer_free(*answer);
    *answer = NULL;
    assert_ok(iflow_context_ask(ctx, &params, answer));
    const size_t n = (*answer)->n_context * (size_t)model->n_embd_kv;
    float *rows = calloc(2 * n, sizeof *rows);
    ggml_fp16_t *half = calloc(n, sizeof *half);
    assert_true(rows && half);
    for (int kind = 0; kind < 2; kind++) {
        ggml_backend_tensor_get((kind ? ctx->pool.rows.v : ctx->pool.rows.k)[layer], half, 0, n * sizeof *half);
        ggml_fp16_to_fp32_row(half, rows + (size_t)kind * n, (int64_t)n);
    }
    free(half);
    return rows;
}

static bool is_selected(const iflow_answer *answer, int at) {
    size_t s = 0;
    while (s < answer->n_selected && answer->selected[s] != at) {
        s++;
    }
    return s < answer->n_selected;
}

/* The distance of a KV head's part of two rows. */
static double distance(const float *a, const float *b) {
    double sum = 0;
    for (int i = 0; i < model->h.spec[0].n_embd_head; i++) {
        sum += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
    }
    return sqrt(sum);
}

/* The keys of a chunk's tokens are all as far as each other from what they would be without drift, but those that were recomputed, which
 * are what they would be; so are the keys of the head, all of layer 0, and V. (Rotation keeps distances. That the shift is the right one is
 * test_golden's.) Returns the largest distance. */
static double check_shifted(const iflow_answer *answer, const float *on, const float *off, int layer) {
    const size_t width = (size_t)model->n_embd_kv, n = answer->n_context * width;
    const double rounding = support_max_size(off, n) * sqrt(model->h.spec[0].n_embd_head) / 1024; /* of f16, in each element */
    double largest = 0;
    assert_memory_equal(on + n, off + n, n * sizeof *on);
    for (size_t c = 0; c < answer->n_chunks; c++) {
        const iflow_chunk_span *span = &answer->chunk[c];
        for (size_t head = 0; head < width; head += (size_t)model->h.spec[0].n_embd_head) {
            double least = INFINITY, most = 0;
            for (int at = span->start; at < span->start + span->length; at++) {
                const double d = distance(on + (size_t)at * width + head, off + (size_t)at * width + head);
                if (!c || !layer || is_selected(answer, at)) {
                    assert_true(d == 0);
                    continue;
                }
                least = fmin(least, d);
                most = fmax(most, d);
            }
            assert_true(most <= least + 2 * rounding || most == 0);
            largest = fmax(largest, most > 4 * rounding ? most : 0);
        }
    }
    return largest;
}

/* Drift is the usual thing for methods of ours, and what comparators do when asked to only. */
static void test_drift_is_one_shift(void **state) {
    (void)state;
    iflow_context *ctx = make_context(NULL, 0, 0, NULL);
    const iflow_method methods[] = {IFLOW_METHOD_INFOFLOW, IFLOW_METHOD_STALENESS, IFLOW_METHOD_RANDOM, IFLOW_METHOD_EPIC_RATIO,
                                    IFLOW_METHOD_CACHEBLEND};
    for (size_t m = 0; m < sizeof methods / sizeof *methods; m++) {
        double largest = 0;
        for (int layer = 0; layer < model->h.n_layer; layer++) {
            iflow_answer *answer = NULL;
            float *off = rows_after(ctx, methods[m], IFLOW_OFF, 0.4, layer, &answer);
            float *usual = rows_after(ctx, methods[m], IFLOW_AUTO, 0.4, layer, &answer);
            float *on = rows_after(ctx, methods[m], IFLOW_ON, 0.4, layer, &answer);
            const size_t n_bytes = 2 * answer->n_context * (size_t)model->n_embd_kv * sizeof *on;
            assert_memory_equal(usual, iflow_method_get_info(methods[m])->repairs ? on : off, n_bytes);
            largest = fmax(largest, check_shifted(answer, on, off, layer));
            free(off), free(usual), free(on);
            iflow_answer_free(answer);
        }
        assert_true(largest > 0); /* beyond rounding */
    }
    iflow_context_free(ctx);
}

WITH_MODELS(test_behind_is_mean_of_passes)
WITH_F32_MODELS(test_drift_is_one_shift)
WITH_MODELS(test_alone_ratio_1_is_full)
WITH_MODELS(test_behind_by_id)
WITH_F32_MODELS(test_foreseen_comes_along)
WITH_F32_MODELS(test_foreseen_when_asked)
WITH_F32_MODELS(test_foreseen_is_relative)
WITH_F32_MODELS(test_union_of_one)
WITH_F32_MODELS(test_product_of_both)
WITH_F32_MODELS(test_coverage_of_one_ratio)

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_test_behind_is_mean_of_passes),
        cmocka_unit_test(all_test_alone_ratio_1_is_full),
        cmocka_unit_test(all_test_behind_by_id),
        cmocka_unit_test(all_test_foreseen_comes_along),
        cmocka_unit_test(all_test_foreseen_when_asked),
        cmocka_unit_test(all_test_foreseen_is_relative),
        cmocka_unit_test(all_test_union_of_one),
        cmocka_unit_test(all_test_product_of_both),
        cmocka_unit_test(all_test_coverage_of_one_ratio),
        cmocka_unit_test(all_test_drift_is_one_shift),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
