/* test_ours.c - identities of what is not in the paper: a chunk behind a text is a part of one pass, what is foreseen is computed when it
 * is missing and kept, a union of one part is that part, a coverage between equal bounds is a ratio. */
#include "identity_fixture.h"

#include <ggml.h>

static float *floats(const uint16_t *values, size_t n) {
    float *out = calloc(n, sizeof *out);
    assert_non_null(out);
    ggml_fp16_to_fp32_row(values, out, (int64_t)n);
    return out;
}

/* A chunk behind the text has the rows that it has in one pass over sink, text and chunk, and not those that it has behind the sink. */
static void test_behind_is_one_pass(void **state) {
    (void)state;
    iflow_context *alone = make_context_with(NULL, (iflow_context_params){.alone = true}, NULL), *behind = make_context(NULL, 0, 0, NULL);
    const iflow_tokens *lead = &behind->lead[IFLOW_LEAD_TEXT].token;
    assert_int_equal(lead->n, model->n_sink + 160);
    assert_memory_equal(lead->token, model->sink, model->n_sink * sizeof *model->sink);
    for (size_t i = 0; i < behind->n_chunks; i++) {
        assert_string_not_equal(behind->chunk[i].id, alone->chunk[i].id);
    }
    iflow_timings ms = {0};
    iflow_chunk *chunk[2];
    bool owned[2];
    const iflow_context_chunk *of = &behind->chunk[1]; /* not the first one that the lead stands before */
    iflow_chunk *first = NULL;
    assert_ok(iflow_context_obtain(behind, &behind->chunk[0], &first, &owned[0], &ms));
    assert_ok(iflow_context_obtain(alone, &alone->chunk[1], &chunk[0], &owned[0], &ms));
    assert_ok(iflow_context_obtain(behind, of, &chunk[1], &owned[1], &ms));
    assert_int_equal(chunk[1]->identity.n_sink, lead->n);

    const size_t n = lead->n + of->n_tokens, n_values = of->n_tokens * (size_t)model->n_embd_kv;
    int32_t *token = calloc(n, sizeof *token), *pos = calloc(n, sizeof *pos);
    uint16_t *k = calloc(2 * n_values, sizeof *k);
    assert_true(token && pos && k);
    memcpy(token, lead->token, lead->n * sizeof *token);
    memcpy(token + lead->n, of->token, of->n_tokens * sizeof *token);
    for (size_t i = 0; i < n; i++) {
        pos[i] = (int32_t)i;
    }
    iflow_cache cache;
    iflow_cache_init(&cache, model, behind->engine, true);
    assert_ok(iflow_cache_reserve(&cache, (int)n));
    const iflow_pass pass = {.token = token, .pos = pos, .row = pos, .n = (int)n};
    assert_ok(iflow_engine_forward(behind->engine, &cache.rows, &pass));
    double most = 0, moved = 0;
    for (int il = 0; il < model->h.n_layer; il++) {
        iflow_cache_read_raw(&cache, il, (int)lead->n, (int)of->n_tokens, k, k + n_values);
        for (int kind = 0; kind < 2; kind++) {
            float *expected = floats(k + (size_t)kind * n_values, n_values);
            float *is = floats(kind ? chunk[1]->v[il] : chunk[1]->k[il], n_values);
            float *was = floats(kind ? chunk[0]->v[il] : chunk[0]->k[il], n_values);
            const double scale = support_max_size(expected, n_values), difference = support_max_difference(is, expected, n_values) / scale;
            const double movement = support_max_difference(was, expected, n_values) / scale;
            most = difference > most ? difference : most;
            moved = movement > moved ? movement : moved;
            free(expected), free(is), free(was);
        }
    }
    print_message("%s: largest difference of rows %.2g, of rows behind the sink alone %.2g\n", strrchr(model->path, '/') + 1, most, moved);
    assert_true(most <= tolerance);
    assert_true(moved > 2 * tolerance);
    iflow_cache_free(&cache);
    free(token), free(pos), free(k);
    iflow_context_free(alone);
    iflow_context_free(behind);
}

/* Ratio 1 repairs whatever the chunks were prefilled behind: here the sink alone, in test_identities.c the text. */
static void test_alone_ratio_1_is_full(void **state) {
    (void)state;
    iflow_context *ctx = make_context_with(NULL, (iflow_context_params){.alone = true}, NULL);
    iflow_answer *full = NULL, *all = NULL, *none = NULL;
    float *a = ask(ctx, IFLOW_METHOD_FULL, 0, &full), *b = ask(ctx, IFLOW_METHOD_INFOFLOW, 1, &all),
          *c = ask(ctx, IFLOW_METHOD_NONE, 0, &none);
    assert_close(a, b);
    assert_true(support_max_difference(a, c, (size_t)model->n_vocab) > tolerance * support_max_size(a, (size_t)model->n_vocab));
    free(a), free(b), free(c);
    iflow_answer_free(full), iflow_answer_free(all), iflow_answer_free(none);
    iflow_context_free(ctx);
}

/* Chunks stored behind the text are asked for by id in a context of any kind. */
static void test_behind_by_id(void **state) {
    (void)state;
    char *dir = support_make_dir();
    iflow_store *store = NULL;
    assert_ok(iflow_store_open(dir, NULL, &store));
    iflow_context *behind = make_context(store, 0, 0, NULL), *plain = NULL;
    iflow_answer *x = NULL, *y = NULL, *z = NULL;
    float *a = ask(behind, IFLOW_METHOD_INFOFLOW, 0.15, &x);
    assert_ok(iflow_context_new(model, store, &(iflow_context_params){.alone = true}, &plain));
    for (size_t i = 0; i < behind->n_chunks; i++) {
        assert_ok(iflow_context_add_chunk(plain, behind->chunk[i].id));
        assert_int_equal(plain->chunk[i].lead, IFLOW_LEAD_TEXT);
    }
    float *b = ask(plain, IFLOW_METHOD_INFOFLOW, 0.15, &y);
    assert_true(y->ms.prefill == 0);
    assert_memory_equal(a, b, (size_t)model->n_vocab * sizeof *a);
    assert_same_answer(x, y);
    /* One that was deleted since is computed again behind the same text. */
    assert_ok(iflow_store_delete(store, behind->chunk[1].id));
    float *c = ask(plain, IFLOW_METHOD_INFOFLOW, 0.15, &z);
    assert_true(z->ms.prefill > 0);
    assert_memory_equal(a, c, (size_t)model->n_vocab * sizeof *a);
    assert_ok(iflow_store_verify(store, behind->chunk[1].id));
    free(a), free(b), free(c);
    iflow_answer_free(x), iflow_answer_free(y), iflow_answer_free(z);
    iflow_context_free(behind);
    iflow_context_free(plain);
    iflow_store_close(store);
    support_remove_dir(dir);
}

/* A question that needs what chunks foresee has it computed and kept: the same file as one that was ingested with it, around the same KV.
 */
static void test_foreseen_when_asked(void **state) {
    (void)state;
    char *dir[2] = {support_make_dir(), support_make_dir()};
    iflow_store *store[2];
    iflow_context *late, *early, *memory = make_context(NULL, 0, 0, NULL);
    iflow_answer *answer[6] = {0};
    float *logits[6];
    for (int i = 0; i < 2; i++) {
        assert_ok(iflow_store_open(dir[i], NULL, &store[i]));
    }
    late = make_context(store[0], 0, 0, NULL);
    early = make_context_with(store[1], (iflow_context_params){.foresee = true}, NULL);
    const char *id = late->chunk[1].id;
    assert_string_equal(id, early->chunk[1].id);
    iflow_chunk_info info;
    iflow_chunk *before = NULL, *after = NULL;
    logits[0] = ask(late, IFLOW_METHOD_NONE, 0, &answer[0]);
    assert_ok(iflow_store_inspect(store[0], id, &info, NULL));
    assert_false(info.foreseen);
    assert_ok(iflow_store_get_chunk(store[0], id, &before));
    logits[1] = ask(late, IFLOW_METHOD_FORESEEN, 0.2, &answer[1]);
    assert_true(answer[1]->ms.prefill > 0);
    assert_ok(iflow_store_inspect(store[0], id, &info, NULL));
    assert_true(info.foreseen);
    assert_ok(iflow_store_get_chunk(store[0], id, &after));
    for (int il = 0; il < model->h.n_layer; il++) {
        const size_t n_bytes = after->identity.n_tokens * (size_t)model->n_embd_kv * sizeof(uint16_t);
        assert_memory_equal(before->k[il], after->k[il], n_bytes);
        assert_memory_equal(before->v[il], after->v[il], n_bytes);
    }
    logits[2] = ask(late, IFLOW_METHOD_FORESEEN, 0.2, &answer[2]);
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
    logits[5] = ask(memory, IFLOW_METHOD_FORESEEN, 0.2, &answer[5]);
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

/* The mean over a chunk's tokens of what it foresees is the number of what was summed; a chunk of one token therefore foresees just that.
 */
static void test_foreseen_is_relative(void **state) {
    (void)state;
    iflow_context *ctx = make_context(NULL, 0, 0, NULL);
    assert_ok(iflow_context_add_tokens(ctx, ctx->chunk[0].token + 3, 1));
    iflow_answer *answer = NULL;
    free(ask(ctx, IFLOW_METHOD_FORESEEN, 0.2, &answer));
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
    const iflow_ask_params foreseen = ask_params(IFLOW_METHOD_FORESEEN, 0.2), infoflow = ask_params(IFLOW_METHOD_INFOFLOW, 0.2);
    both.foreseen_share = 1;
    assert_same_ask(ctx, &both, &foreseen);
    both.foreseen_share = 0;
    assert_same_ask(ctx, &both, &infoflow);
    both.foreseen_share = 0.5;
    iflow_answer *x = NULL, *y = NULL, *z = NULL;
    free(ask_with(ctx, &both, &x)), free(ask_with(ctx, &foreseen, &y)), free(ask_with(ctx, &infoflow, &z));
    assert_int_equal(x->n_selected, y->n_selected);
    assert_true(count_common(x, y) >= x->n_selected / 2 && count_common(x, z) >= x->n_selected - x->n_selected / 2 - count_common(y, z));
    assert_true(count_common(x, y) < x->n_selected && count_common(x, z) < x->n_selected);
    iflow_answer_free(x), iflow_answer_free(y), iflow_answer_free(z);
    iflow_context_free(ctx);
}

/* Between a floor and a cap of the same ratio a coverage has no say; with nothing allowed it is no recompute; a method without a score goes
 * by its ratio. */
static void test_coverage_of_one_ratio(void **state) {
    (void)state;
    static const iflow_method methods[] = {IFLOW_METHOD_INFOFLOW, IFLOW_METHOD_FORESEEN, IFLOW_METHOD_UNION, IFLOW_METHOD_CACHEBLEND};
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
    covering.foreseen_share = -0.1;
    assert_int_equal(iflow_context_ask(ctx, &covering, &answer), IFLOW_E_ARG);
    assert_non_null(strstr(iflow_error_message(), "foreseen_share"));
    iflow_context_free(ctx);
}

WITH_MODELS(test_behind_is_one_pass)
WITH_MODELS(test_alone_ratio_1_is_full)
WITH_MODELS(test_behind_by_id)
WITH_F32_MODELS(test_foreseen_when_asked)
WITH_F32_MODELS(test_foreseen_is_relative)
WITH_F32_MODELS(test_union_of_one)
WITH_F32_MODELS(test_coverage_of_one_ratio)

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_test_behind_is_one_pass),    cmocka_unit_test(all_test_alone_ratio_1_is_full),
        cmocka_unit_test(all_test_behind_by_id),          cmocka_unit_test(all_test_foreseen_when_asked),
        cmocka_unit_test(all_test_foreseen_is_relative),  cmocka_unit_test(all_test_union_of_one),
        cmocka_unit_test(all_test_coverage_of_one_ratio),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
