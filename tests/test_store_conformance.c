/* test_store_conformance.c - what every store does, whatever it is made of: chunks, the limit, and a naive model to compare with. Runs over
 * each kind of store, as test_store_conformance2.c does, which has the rest. */
#include "store_kinds.h"

/* ---- Chunks ------------------------------------------------------------------------------------------------------------------------- */

static void test_put_and_get(void **state) {
    (void)state;
    iflow_store *store = open_kind(0);
    char id[IFLOW_ID_SIZE], other[IFLOW_ID_SIZE];
    iflow_blob blob = {0}, got = {0};
    iflow_chunk_info info;
    iflow_chunk *chunk = NULL;
    int32_t *tokens = NULL;
    make_chunk(8, id, &blob);
    make_chunk(9, other, &got);
    iflow_blob_free(&got);

    assert_false(store->ops->has(store, id));
    FAILS(store->ops->get(store, id, &got), IFLOW_E_NOT_FOUND, id);
    FAILS(iflow_store_get_chunk(store, id, &chunk), IFLOW_E_NOT_FOUND, id);
    FAILS(iflow_store_inspect(store, id, &info, NULL), IFLOW_E_NOT_FOUND, id);
    FAILS(iflow_store_verify(store, IFLOW_CHUNK, id), IFLOW_E_NOT_FOUND, id);
    FAILS(iflow_store_delete(store, IFLOW_CHUNK, id), IFLOW_E_NOT_FOUND, id);
    FAILS(iflow_store_pin(store, IFLOW_CHUNK, id, true), IFLOW_E_NOT_FOUND, id);
    FAILS(iflow_store_pin(store, IFLOW_CHUNK, id, false), IFLOW_E_NOT_FOUND, id);
    FAILS(store->ops->set_aside(store, id, NULL), IFLOW_E_NOT_FOUND, id);

    OK(store->ops->put(store, id, &blob, false));
    OK(store->ops->put(store, id, &blob, false)); /* no-op */
    assert_true(store->ops->has(store, id));
    OK(store->ops->get(store, id, &got));
    assert_int_equal(got.n_bytes, blob.n_bytes);
    assert_memory_equal(got.data, blob.data, blob.n_bytes);
    iflow_blob_free(&got);
    OK(iflow_store_inspect(store, id, &info, &tokens));
    assert_string_equal(info.id, id);
    assert_string_equal(info.type, "q8_0");
    assert_int_equal(info.n_tokens, 4);
    assert_int_equal(info.n_bytes, blob.n_bytes);
    assert_true(info.used_at > 1700000000);
    assert_false(info.pinned);
    OK(iflow_store_get_chunk(store, id, &chunk));
    assert_memory_equal(tokens, chunk->identity.token, 4 * sizeof tokens[0]);
    iflow_free(tokens);
    iflow_chunk_free(chunk);
    OK(iflow_store_verify(store, IFLOW_CHUNK, id));

    OK(iflow_store_pin(store, IFLOW_CHUNK, id, true));
    OK(iflow_store_pin(store, IFLOW_CHUNK, id, true));
    OK(iflow_store_inspect(store, id, &info, NULL));
    assert_true(info.pinned);
    OK(iflow_store_pin(store, IFLOW_CHUNK, id, false));
    OK(iflow_store_pin(store, IFLOW_CHUNK, id, false));
    OK(iflow_store_inspect(store, id, &info, NULL));
    assert_false(info.pinned);
    OK(iflow_store_pin(store, IFLOW_CHUNK, id, true));
    OK(iflow_store_delete(store, IFLOW_CHUNK, id));
    check_kind(store);
    assert_false(store->ops->has(store, id));
    check_kind(store);
    iflow_blob_free(&blob);
    close_kind(store);
}

static void test_ids_from_outside(void **state) {
    (void)state;
    static const char *const bad[] = {"",
                                      "..",
                                      "../../etc/passwd",
                                      "0123456789abcdef0123456789abcde",
                                      "0123456789abcdef0123456789abcdef0",
                                      "0123456789ABCDEF0123456789ABCDEF",
                                      "../3456789abcdef0123456789abcdef",
                                      "0123456789abcdef/123456789abcdef",
                                      "0123456789abcdef0123456789abcde\n"};
    iflow_store *store = open_kind(0);
    iflow_blob blob = {0};
    iflow_blob text = {0};
    iflow_chunk_info info;
    iflow_chunk *chunk = NULL;
    for (size_t i = 0; i <= sizeof bad / sizeof bad[0]; i++) {
        const char *id = i < sizeof bad / sizeof bad[0] ? bad[i] : NULL;
        const iflow_blob empty = {0};
        assert_false(store->ops->has(store, id));
        store->ops->prefetch(store, id);
        FAILS(store->ops->get(store, id, &blob), IFLOW_E_ARG, "is no id");
        FAILS(store->ops->put(store, id, &empty, false), IFLOW_E_ARG, "is no id");
        FAILS(store->ops->lease(store, id), IFLOW_E_ARG, "is no id");
        FAILS(store->ops->set_aside(store, id, NULL), IFLOW_E_ARG, "is no id");
        FAILS(store->ops->put_record(store, id, "x", 1), IFLOW_E_ARG, "is no id");
        FAILS(store->ops->get_record(store, id, &text), IFLOW_E_ARG, "is no id");
        FAILS(iflow_store_get_chunk(store, id, &chunk), IFLOW_E_ARG, "is no id");
        FAILS(iflow_store_inspect(store, id, &info, NULL), IFLOW_E_ARG, "is no id");
        FAILS(iflow_store_verify(store, IFLOW_CHUNK, id), IFLOW_E_ARG, "is no id");
        FAILS(iflow_store_pin(store, IFLOW_CHUNK, id, true), IFLOW_E_ARG, "is no id");
        FAILS(iflow_store_delete(store, IFLOW_CHUNK, id), IFLOW_E_ARG, "is no id");
        FAILS(iflow_store_delete(store, IFLOW_DOCUMENT, id), IFLOW_E_ARG, "is no id");
    }
    close_kind(store);
}

static void test_list_is_by_use(void **state) {
    (void)state;
    iflow_store *store = open_kind(0);
    char id[4][IFLOW_ID_SIZE];
    iflow_chunk_info *list = NULL;
    size_t n = 0;
    OK(iflow_store_list(store, &list, &n));
    assert_int_equal(n, 0);
    iflow_free(list);
    for (unsigned i = 0; i < 4; i++) {
        put_seed(store, i, id[i]);
    }
    use(store, id[1]);
    OK(iflow_store_verify(store, IFLOW_CHUNK, id[0])); /* looking is no use */
    iflow_chunk_info info;
    OK(iflow_store_inspect(store, id[0], &info, NULL));
    OK(iflow_store_list(store, &list, &n));
    assert_int_equal(n, 4);
    static const int expected[] = {1, 3, 2, 0};
    for (size_t i = 0; i < 4; i++) {
        assert_string_equal(list[i].id, id[expected[i]]);
    }
    iflow_free(list);
    close_kind(store);
}

/* ---- The limit ---------------------------------------------------------------------------------------------------------------------- */

static void test_eviction_order_and_pins(void **state) {
    (void)state;
    char id[5][IFLOW_ID_SIZE], ignored[IFLOW_ID_SIZE];
    size_t n_bytes[5];
    uint64_t total = 0;
    static const unsigned seeds[] = {3, 13, 23, 33, 43}; /* of one size */
    for (int i = 0; i < 5; i++) {
        iflow_blob blob = {0};
        make_chunk(seeds[i], ignored, &blob);
        n_bytes[i] = blob.n_bytes;
        total += i < 3 ? blob.n_bytes : 0;
        iflow_blob_free(&blob);
    }
    iflow_store *store = open_kind(total); /* three fit */
    for (int i = 0; i < 3; i++) {
        put_seed(store, seeds[i], id[i]);
    }
    OK(iflow_store_pin(store, IFLOW_CHUNK, id[1], true));
    use(store, id[0]); /* oldest is 1, pinned; then 2, 0 */
    put_seed(store, seeds[3], id[3]);
    assert_true(store->ops->has(store, id[0]));
    assert_true(store->ops->has(store, id[1]));
    assert_false(store->ops->has(store, id[2]));
    assert_true(store->ops->has(store, id[3]));
    put_seed(store, seeds[4], id[4]);
    assert_false(store->ops->has(store, id[0]));
    assert_true(store->ops->has(store, id[1]));

    /* All pinned: nothing can go, so nothing comes, and nothing was deleted in vain. */
    OK(iflow_store_pin(store, IFLOW_CHUNK, id[3], true));
    OK(iflow_store_pin(store, IFLOW_CHUNK, id[4], true));
    iflow_blob blob = {0};
    make_chunk(seeds[0], ignored, &blob);
    FAILS(store->ops->put(store, ignored, &blob, false), IFLOW_E_FULL, "pinned");
    assert_false(store->ops->has(store, ignored));
    check_kind(store);
    OK(iflow_store_pin(store, IFLOW_CHUNK, id[3], false));
    OK(store->ops->put(store, ignored, &blob, false));
    assert_false(store->ops->has(store, id[3]));
    iflow_blob_free(&blob);
    assert_int_equal(n_bytes[0], n_bytes[4]);

    /* A prune keeps the pinned, and says what it did. */
    size_t n_deleted = 99;
    uint64_t bytes_deleted = 99;
    OK(iflow_store_prune(store, total, &n_deleted, &bytes_deleted));
    assert_int_equal(n_deleted, 0);
    assert_int_equal(bytes_deleted, 0);
    OK(iflow_store_prune(store, 0, &n_deleted, &bytes_deleted));
    assert_int_equal(n_deleted, 1);
    assert_int_equal(bytes_deleted, n_bytes[0]);
    assert_true(store->ops->has(store, id[1]));
    assert_true(store->ops->has(store, id[4]));
    close_kind(store);
}

/* A handle that keeps its own chunks has others evicted for a new one, and refuses it before one of its own goes. */
static void test_own_chunks_stay(void **state) {
    (void)state;
    static const unsigned seeds[] = {3, 13, 23, 33}; /* of one size */
    char id[4][IFLOW_ID_SIZE];
    iflow_blob blob = {0}, last = {0};
    iflow_store *store = NULL;
    make_chunk(seeds[0], id[0], &blob);
    const iflow_store_params params = IFLOW_PARAMS(iflow_store_params, .max_bytes = 2 * blob.n_bytes, .keep_own = true);
    OK(iflow_store_open(kind->persists ? in_root("store") : "memory:", &params, &store));
    for (int i = 0; i < 2; i++) {
        put_seed(store, seeds[i], id[i]);
    }
    OK(iflow_own_add(store->own, id[0])); /* older than the other */
    OK(iflow_own_add(store->own, id[0]));
    put_seed(store, seeds[2], id[2]);
    assert_true(store->ops->has(store, id[0]) && !store->ops->has(store, id[1]) && store->ops->has(store, id[2]));
    OK(iflow_own_add(store->own, id[2]));
    make_chunk(seeds[3], id[3], &last);
    OK(iflow_own_add(store->own, id[3]));
    FAILS(store->ops->put(store, id[3], &last, false), IFLOW_E_FULL, "what this run keeps");
    assert_true(store->ops->has(store, id[0]) && store->ops->has(store, id[2]) && !store->ops->has(store, id[3]));
    OK(store->ops->put(store, id[0], &blob, true)); /* in its own place */
    check_kind(store);

    /* With a pin both are named, and what is deleted by hand is deleted. */
    OK(iflow_store_pin(store, IFLOW_CHUNK, id[0], true));
    FAILS(store->ops->put(store, id[3], &last, false), IFLOW_E_FULL, "with pinned chunks");
    OK(iflow_store_prune(store, 0, NULL, NULL));
    assert_true(store->ops->has(store, id[0]) && !store->ops->has(store, id[2]));
    OK(store->ops->put(store, id[3], &last, false));
    close_kind(store);
    iflow_blob_free(&blob);
    iflow_blob_free(&last);
}

static void test_larger_than_the_limit(void **state) {
    (void)state;
    char id[IFLOW_ID_SIZE], numbers[64];
    iflow_blob blob = {0};
    iflow_store *store = open_kind(1000);
    make_chunk(4, id, &blob);
    snprintf(numbers, sizeof numbers, "%zu bytes", blob.n_bytes);
    FAILS(store->ops->put(store, id, &blob, false), IFLOW_E_FULL, numbers);
    assert_non_null(strstr(iflow_error_message(), "1000"));
    check_kind(store);
    iflow_blob_free(&blob);
    close_kind(store);
}

static void test_mapped_chunk_outlives_eviction(void **state) {
    (void)state;
    char id[IFLOW_ID_SIZE];
    iflow_store *store = open_kind(0);
    iflow_blob blob = {0};
    iflow_chunk *chunk = NULL;
    make_chunk(6, id, &blob);
    OK(store->ops->put(store, id, &blob, false));
    OK(iflow_store_get_chunk(store, id, &chunk));
    OK(iflow_store_prune(store, 0, NULL, NULL));
    assert_false(store->ops->has(store, id));
    assert_memory_equal(chunk->blob.data, blob.data, blob.n_bytes);
    iflow_chunk_free(chunk);
    iflow_blob_free(&blob);
    close_kind(store);
}

/* A chunk that knows more takes the place of one that knows less, under the same id and all at once; only when that is asked for. */
static void test_replace(void **state) {
    (void)state;
    fixture f = fixture_new(3, 4, 1, 2, 32, IFLOW_KV_F16);
    char id[IFLOW_ID_SIZE], numbers[64];
    iflow_blob less = {0}, more = {0}, got = {0};
    iflow_chunk_info info, *list = NULL;
    iflow_chunk *chunk = NULL;
    size_t n = 0;
    iflow_chunk_id(&f.identity, id);
    OK(fixture_encode(&f, &less));
    fixture_foresee(&f);
    OK(fixture_encode(&f, &more));
    assert_true(more.n_bytes > less.n_bytes);

    iflow_store *store = open_kind(0);
    OK(store->ops->put(store, id, &less, true)); /* nothing to replace */
    OK(iflow_store_pin(store, IFLOW_CHUNK, id, true));
    OK(iflow_store_get_chunk(store, id, &chunk));
    OK(store->ops->put(store, id, &more, false)); /* stays */
    OK(store->ops->get(store, id, &got));
    assert_int_equal(got.n_bytes, less.n_bytes);
    iflow_blob_free(&got);
    OK(iflow_store_inspect(store, id, &info, NULL));
    assert_false(info.has_staleness);

    OK(store->ops->put(store, id, &more, true));
    OK(store->ops->get(store, id, &got));
    assert_int_equal(got.n_bytes, more.n_bytes);
    assert_memory_equal(got.data, more.data, more.n_bytes);
    iflow_blob_free(&got);
    OK(iflow_store_list(store, &list, &n));
    assert_int_equal(n, 1);
    assert_true(list[0].has_staleness && list[0].pinned);
    assert_int_equal(list[0].n_bytes, more.n_bytes);
    iflow_free(list);
    assert_memory_equal(chunk->blob.data, less.data, less.n_bytes); /* who reads the old one goes on reading it */
    iflow_chunk_free(chunk);
    OK(iflow_store_verify(store, IFLOW_CHUNK, id));
    check_kind(store);
    close_kind(store);

    /* Larger than the limit: refused, and what was there is still there. */
    store = open_kind(more.n_bytes - 1);
    store->ops->remove(store, id); /* it is there if the store outlived the handle */
    OK(store->ops->put(store, id, &less, false));
    snprintf(numbers, sizeof numbers, "%zu bytes", more.n_bytes);
    FAILS(store->ops->put(store, id, &more, true), IFLOW_E_FULL, numbers);
    use(store, id);
    check_kind(store);
    close_kind(store);
    iflow_blob_free(&less);
    iflow_blob_free(&more);
    fixture_free(&f);
}

/* What a chunk replaces makes room for it: nothing else has to go for that, and a pinned one is not in its own way. */
static void test_replace_at_the_limit(void **state) {
    (void)state;
    fixture f = fixture_new(3, 4, 1, 2, 32, IFLOW_KV_F16);
    char id[IFLOW_ID_SIZE], other[IFLOW_ID_SIZE], third[IFLOW_ID_SIZE];
    iflow_blob less = {0}, more = {0}, blob = {0};
    iflow_chunk_id(&f.identity, id);
    OK(fixture_encode(&f, &less));
    fixture_foresee(&f);
    OK(fixture_encode(&f, &more));
    make_chunk(6, other, &blob);
    iflow_store *store = open_kind(more.n_bytes + blob.n_bytes);
    OK(store->ops->put(store, other, &blob, false)); /* the least recently used */
    OK(store->ops->put(store, id, &less, false));
    OK(store->ops->put(store, id, &more, true));
    assert_true(store->ops->has(store, other) && store->ops->has(store, id));
    OK(iflow_store_pin(store, IFLOW_CHUNK, id, true));
    OK(store->ops->put(store, id, &more, true));
    assert_true(store->ops->has(store, other) && store->ops->has(store, id));
    close_kind(store);

    /* Where there is no room for the larger one, others go; if they may not, the old one stays. */
    store = open_kind(more.n_bytes + blob.n_bytes - 1);
    store->ops->remove(store, id);
    OK(store->ops->put(store, other, &blob, false));
    OK(store->ops->put(store, id, &less, false));
    OK(iflow_store_pin(store, IFLOW_CHUNK, other, true));
    FAILS(store->ops->put(store, id, &more, true), IFLOW_E_FULL, "pinned");
    use(store, id);
    OK(iflow_store_pin(store, IFLOW_CHUNK, other, false));
    OK(store->ops->put(store, id, &more, true));
    assert_false(store->ops->has(store, other));
    put_seed(store, 11, third);
    close_kind(store);
    iflow_blob_free(&less);
    iflow_blob_free(&more);
    iflow_blob_free(&blob);
    fixture_free(&f);
}

/* ---- Against a naive model ---------------------------------------------------------------------------------------------------------- */

typedef struct model_chunk {
    char id[IFLOW_ID_SIZE];
    iflow_blob blob;
    bool there, pinned;
    unsigned long used; /* a clock of operations */
} model_chunk;

static uint64_t model_bytes(const model_chunk *model, bool pinned_only) {
    uint64_t total = 0;
    for (int i = 0; i < SEEDS; i++) {
        total += model[i].there && (model[i].pinned || !pinned_only) ? model[i].blob.n_bytes : 0;
    }
    return total;
}

static void model_evict(model_chunk *model, uint64_t max_bytes) {
    while (model_bytes(model, false) > max_bytes) {
        int oldest = -1;
        for (int i = 0; i < SEEDS; i++) {
            if (model[i].there && !model[i].pinned && (oldest < 0 || model[i].used < model[oldest].used)) {
                oldest = i;
            }
        }
        if (oldest < 0) {
            return;
        }
        model[oldest].there = false;
    }
}

static void compare_with_model(iflow_store *store, const model_chunk *model) {
    iflow_chunk_info *list = NULL;
    size_t n = 0, n_model = 0;
    OK(iflow_store_list(store, &list, &n));
    for (int i = 0; i < SEEDS; i++) {
        assert_int_equal(store->ops->has(store, model[i].id), model[i].there);
        n_model += model[i].there;
    }
    assert_int_equal(n, n_model);
    unsigned long used = (unsigned long)-1;
    for (size_t k = 0; k < n; k++) {
        int i = 0;
        while (strcmp(model[i].id, list[k].id) != 0) {
            i++;
        }
        assert_int_equal(list[k].pinned, model[i].pinned);
        assert_int_equal(list[k].n_bytes, model[i].blob.n_bytes);
        assert_true(model[i].used < used); /* most recently used first */
        used = model[i].used;
    }
    iflow_free(list);
}

static void test_random_operations(void **state) {
    (void)state;
    model_chunk model[SEEDS] = {0};
    uint32_t random = 2026;
    for (unsigned i = 0; i < SEEDS; i++) {
        make_chunk(i, model[i].id, &model[i].blob);
    }
    const uint64_t limit = 8 * model[0].blob.n_bytes;
    iflow_store *store = open_kind(limit);
    for (unsigned long now = 1; now <= 1500; now++) {
        model_chunk *m = &model[fixture_random(&random) % SEEDS];
        const unsigned operation = fixture_random(&random) % 100;
        if (operation < 45) {
            const bool fits = m->there || model_bytes(model, true) + m->blob.n_bytes <= limit;
            assert_int_equal(store->ops->put(store, m->id, &m->blob, false), fits ? IFLOW_OK : IFLOW_E_FULL);
            if (fits && !m->there) {
                model_evict(model, limit - m->blob.n_bytes);
                m->there = true;
                m->used = now;
            }
        } else if (operation < 70) {
            iflow_chunk *chunk = NULL;
            const iflow_status status = iflow_store_get_chunk(store, m->id, &chunk);
            assert_int_equal(status, m->there ? IFLOW_OK : IFLOW_E_NOT_FOUND);
            if (m->there) {
                assert_memory_equal(chunk->blob.data, m->blob.data, m->blob.n_bytes);
                m->used = now;
            }
            iflow_chunk_free(chunk);
        } else if (operation < 78) {
            const bool pin = fixture_random(&random) % 3 == 0;
            const bool allowed = m->there || (!pin && m->pinned);
            assert_int_equal(iflow_store_pin(store, IFLOW_CHUNK, m->id, pin), allowed ? IFLOW_OK : IFLOW_E_NOT_FOUND);
            m->pinned = allowed ? pin : m->pinned;
        } else if (operation < 86) {
            assert_int_equal(iflow_store_delete(store, IFLOW_CHUNK, m->id), m->there ? IFLOW_OK : IFLOW_E_NOT_FOUND);
            m->pinned = m->there ? false : m->pinned;
            m->there = false;
        } else if (operation < 90) { /* damage, noticed by who looks at it */
            if (m->there) {
                iflow_chunk *chunk = NULL;
                iflow_blob damaged = {0};
                damage(&m->blob, &damaged);
                OK(store->ops->put(store, m->id, &damaged, true));
                iflow_blob_free(&damaged);
                if (operation % 2) {
                    FAILS(iflow_store_verify(store, IFLOW_CHUNK, m->id), IFLOW_E_CORRUPT, "set aside");
                } else {
                    FAILS(iflow_store_get_chunk(store, m->id, &chunk), IFLOW_E_CORRUPT, "set aside");
                }
                m->there = false; /* its pin stays */
            }
        } else if (operation < 94) {
            const uint64_t goal = limit * (fixture_random(&random) % 5) / 4;
            const uint64_t before = model_bytes(model, false);
            size_t n_deleted = 0;
            uint64_t n_bytes = 0;
            model_evict(model, goal);
            OK(iflow_store_prune(store, goal, &n_deleted, &n_bytes));
            assert_int_equal(n_bytes, before - model_bytes(model, false));
        } else if (operation < 97 && kind->persists) {
            iflow_store_close(store);
            store = open_kind(limit);
        } else {
            check_kind(store);
        }
        compare_with_model(store, model);
    }
    for (int i = 0; i < SEEDS; i++) {
        iflow_blob_free(&model[i].blob);
    }
    close_kind(store);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_put_and_get),
        TEST(test_ids_from_outside),
        TEST(test_list_is_by_use),
        TEST(test_eviction_order_and_pins),
        TEST(test_own_chunks_stay),
        TEST(test_larger_than_the_limit),
        TEST(test_mapped_chunk_outlives_eviction),
        TEST(test_replace),
        TEST(test_replace_at_the_limit),
        TEST(test_random_operations),
    };
    return OVER_EACH_KIND(tests);
}
