/* test_store_conformance.c - what every store does, whatever it is made of: chunks, the limit, pins, documents, leases, verifying, reading
 * by layers, threads, and a naive model to compare with. It runs over each kind of store. */
#include "store_fixture.h"

#include "kv/chunk_layers.h"

#include <pthread.h>

/* A new kind of store needs a row here. */
static const struct kind {
    const char *name;
    bool persists;  /* beyond its handle */
    bool is_shared; /* two handles are one store */
} kinds[] = {{"directory", true, true}, {"memory", false, false}};

static const struct kind *kind;

static iflow_store *open_kind(uint64_t max_bytes) {
    iflow_store *store = NULL;
    const iflow_store_params params = {.max_bytes = max_bytes};
    OK(iflow_store_open(kind->persists ? in_root("store") : "memory:", &params, &store));
    return store;
}

/* What a store can check of itself while nobody uses it. */
static void check_kind(iflow_store *store) {
    if (kind->persists) {
        OK(iflow_store_dir_check(store));
        assert_int_equal(n_entries("store/tmp"), 0);
    }
}

static void close_kind(iflow_store *store) {
    check_kind(store);
    iflow_store_close(store);
}

/* The same bytes, but for the last one of the header's or the data's. */
static void damage(const iflow_blob *blob, iflow_blob *out) {
    unsigned char *bytes = malloc(blob->n_bytes);
    assert_non_null(bytes);
    memcpy(bytes, blob->data, blob->n_bytes);
    bytes[blob->n_bytes - 1] ^= 0x10;
    *out = (iflow_blob){.data = bytes, .n_bytes = blob->n_bytes};
}

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
    FAILS(iflow_store_verify(store, id), IFLOW_E_NOT_FOUND, id);
    FAILS(iflow_store_delete(store, id), IFLOW_E_NOT_FOUND, id);
    FAILS(iflow_store_pin(store, id, true), IFLOW_E_NOT_FOUND, id);
    FAILS(iflow_store_pin(store, id, false), IFLOW_E_NOT_FOUND, id);
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
    OK(iflow_store_verify(store, id));

    OK(iflow_store_pin(store, id, true));
    OK(iflow_store_pin(store, id, true));
    OK(iflow_store_inspect(store, id, &info, NULL));
    assert_true(info.pinned);
    OK(iflow_store_pin(store, id, false));
    OK(iflow_store_pin(store, id, false));
    OK(iflow_store_inspect(store, id, &info, NULL));
    assert_false(info.pinned);
    OK(iflow_store_pin(store, id, true));
    OK(iflow_store_delete(store, id));
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
        FAILS(iflow_store_verify(store, id), IFLOW_E_ARG, "is no id");
        FAILS(iflow_store_pin(store, id, true), IFLOW_E_ARG, "is no id");
        FAILS(iflow_store_delete(store, id), IFLOW_E_ARG, "is no id");
        FAILS(iflow_store_delete_document(store, id), IFLOW_E_ARG, "is no id");
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
    OK(iflow_store_verify(store, id[0])); /* looking is no use */
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
    OK(iflow_store_pin(store, id[1], true));
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
    OK(iflow_store_pin(store, id[3], true));
    OK(iflow_store_pin(store, id[4], true));
    iflow_blob blob = {0};
    make_chunk(seeds[0], ignored, &blob);
    FAILS(store->ops->put(store, ignored, &blob, false), IFLOW_E_FULL, "pinned");
    assert_false(store->ops->has(store, ignored));
    check_kind(store);
    OK(iflow_store_pin(store, id[3], false));
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
    OK(iflow_store_pin(store, id, true));
    OK(iflow_store_get_chunk(store, id, &chunk));
    OK(store->ops->put(store, id, &more, false)); /* stays */
    OK(store->ops->get(store, id, &got));
    assert_int_equal(got.n_bytes, less.n_bytes);
    iflow_blob_free(&got);
    OK(iflow_store_inspect(store, id, &info, NULL));
    assert_false(info.foreseen);

    OK(store->ops->put(store, id, &more, true));
    OK(store->ops->get(store, id, &got));
    assert_int_equal(got.n_bytes, more.n_bytes);
    assert_memory_equal(got.data, more.data, more.n_bytes);
    iflow_blob_free(&got);
    OK(iflow_store_list(store, &list, &n));
    assert_int_equal(n, 1);
    assert_true(list[0].foreseen && list[0].pinned);
    assert_int_equal(list[0].n_bytes, more.n_bytes);
    iflow_free(list);
    assert_memory_equal(chunk->blob.data, less.data, less.n_bytes); /* who reads the old one goes on reading it */
    iflow_chunk_free(chunk);
    OK(iflow_store_verify(store, id));
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
    OK(iflow_store_pin(store, id, true));
    OK(store->ops->put(store, id, &more, true));
    assert_true(store->ops->has(store, other) && store->ops->has(store, id));
    close_kind(store);

    /* Where there is no room for the larger one, others go; if they may not, the old one stays. */
    store = open_kind(more.n_bytes + blob.n_bytes - 1);
    store->ops->remove(store, id);
    OK(store->ops->put(store, other, &blob, false));
    OK(store->ops->put(store, id, &less, false));
    OK(iflow_store_pin(store, other, true));
    FAILS(store->ops->put(store, id, &more, true), IFLOW_E_FULL, "pinned");
    use(store, id);
    OK(iflow_store_pin(store, other, false));
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
            assert_int_equal(iflow_store_pin(store, m->id, pin), allowed ? IFLOW_OK : IFLOW_E_NOT_FOUND);
            m->pinned = allowed ? pin : m->pinned;
        } else if (operation < 86) {
            assert_int_equal(iflow_store_delete(store, m->id), m->there ? IFLOW_OK : IFLOW_E_NOT_FOUND);
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
                    FAILS(iflow_store_verify(store, m->id), IFLOW_E_CORRUPT, "set aside");
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

/* ---- Bytes that are shared, and checked once ---------------------------------------------------------------------------------------- */

/* What a store gives stays as it was while the store changes, and beyond its end. */
static void test_blob_outlives_the_store(void **state) {
    (void)state;
    char id[IFLOW_ID_SIZE];
    iflow_store *store = open_kind(0);
    iflow_blob blob = {0}, got[2] = {{0}};
    iflow_chunk *chunk = NULL;
    make_chunk(6, id, &blob);
    OK(store->ops->put(store, id, &blob, false));
    OK(store->ops->get(store, id, &got[0]));
    OK(store->ops->peek(store, id, &got[1]));
    OK(iflow_store_get_chunk(store, id, &chunk));
    OK(iflow_store_delete(store, id));
    close_kind(store);
    assert_memory_equal(chunk->blob.data, blob.data, blob.n_bytes);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(got[i].n_bytes, blob.n_bytes);
        assert_memory_equal(got[i].data, blob.data, blob.n_bytes);
        iflow_blob_free(&got[i]);
    }
    iflow_chunk_free(chunk);
    iflow_blob_free(&blob);
}

/* Damage is found by the first who gets a chunk, also where later ones would not look again. */
static void test_damage_is_found(void **state) {
    (void)state;
    char id[IFLOW_ID_SIZE];
    iflow_store *store = open_kind(0);
    iflow_blob blob = {0}, damaged = {0};
    iflow_chunk *chunk = NULL;
    make_chunk(6, id, &blob);
    damage(&blob, &damaged);
    for (int looked = 0; looked < 2; looked++) {
        OK(store->ops->put(store, id, &blob, true));
        if (looked) {
            use(store, id);
            use(store, id);
        }
        OK(store->ops->put(store, id, &damaged, true));
        FAILS(iflow_store_get_chunk(store, id, &chunk), IFLOW_E_CORRUPT, "the data's checksum is wrong");
        assert_false(store->ops->has(store, id));
    }
    /* What is judged is what is set aside, and not what came in its place. */
    iflow_blob judged = {0};
    OK(store->ops->put(store, id, &damaged, true));
    OK(store->ops->peek(store, id, &judged));
    OK(store->ops->put(store, id, &blob, true));
    FAILS(store->ops->set_aside(store, id, &judged), IFLOW_E_NOT_FOUND, "published again");
    use(store, id);
    iflow_blob_free(&judged);
    iflow_blob_free(&blob);
    iflow_blob_free(&damaged);
    close_kind(store);
}

/* ---- Reading by layers -------------------------------------------------------------------------------------------------------------- */

static void test_layers(void **state) {
    (void)state;
    enum { N = 5, N_LAYER = 4 };
    iflow_store *store = open_kind(0);
    char id[IFLOW_ID_SIZE];
    for (int type = IFLOW_KV_F16; type <= IFLOW_KV_Q8_0; type++) {
        fixture f = fixture_new(9, N, 2, N_LAYER, 96, (iflow_kv_type)type);
        f.layer[1].k_width = f.layer[1].v_width = 0;
        f.layer[2].k_width = 32;
        fixture_foresee(&f);
        iflow_blob blob = {0}, damaged = {0};
        iflow_chunk_layers *layers = NULL;
        iflow_chunk *chunk = NULL;
        iflow_chunk_id(&f.identity, id);
        FAILS(iflow_store_open_layers(store, id, &layers), IFLOW_E_NOT_FOUND, id);
        OK(fixture_encode(&f, &blob));
        OK(store->ops->put(store, id, &blob, false));
        OK(iflow_store_get_chunk(store, id, &chunk));
        OK(iflow_store_open_layers(store, id, &layers));
        assert_memory_equal(iflow_chunk_layers_identity(layers)->token, f.token, N * sizeof f.token[0]);
        for (int first = 0; first < N_LAYER; first++) {
            for (int end = first; end <= N_LAYER; end++) {
                const size_t n_bytes = iflow_chunk_layers_bytes(layers, first, end);
                unsigned char *out = malloc(n_bytes ? n_bytes : 1); /* of its size to the byte */
                OK(iflow_chunk_layers_read(layers, first, end, out));
                for (int i = 2 * first; i < 2 * end; i++) {
                    const void *rows = (i % 2 ? chunk->v : chunk->k)[i / 2];
                    const int width = (int)(i % 2 ? f.layer[i / 2].v_width : f.layer[i / 2].k_width);
                    if (rows) {
                        assert_memory_equal(out + iflow_chunk_layers_at(layers, first, i / 2, i % 2), rows,
                                            N * iflow_kv_row_bytes((iflow_kv_type)type, width));
                    }
                }
                free(out);
            }
        }
        OK(iflow_store_delete(store, id)); /* who has it open goes on reading it */
        unsigned char *out = malloc(iflow_chunk_layers_bytes(layers, 0, N_LAYER));
        OK(iflow_chunk_layers_read(layers, 0, N_LAYER, out));
        free(out);
        iflow_chunk_layers_close(layers);

        /* Only the layer that is damaged is refused, and the chunk is set aside then. */
        const long last = (const char *)chunk->v[3] - (const char *)chunk->blob.data;
        damage(&blob, &damaged);
        ((unsigned char *)(uintptr_t)damaged.data)[damaged.n_bytes - 1] ^= 0x10;
        ((unsigned char *)(uintptr_t)damaged.data)[last] ^= 0x10;
        OK(store->ops->put(store, id, &damaged, true));
        OK(iflow_store_open_layers(store, id, &layers));
        out = malloc(iflow_chunk_layers_bytes(layers, 0, N_LAYER));
        OK(iflow_chunk_layers_read(layers, 0, 3, out));
        assert_true(store->ops->has(store, id));
        FAILS(iflow_chunk_layers_read(layers, 3, 4, out), IFLOW_E_CORRUPT, "layer 3: the data's checksum is wrong; it was set aside");
        assert_false(store->ops->has(store, id));
        free(out);
        iflow_chunk_layers_close(layers);
        ((unsigned char *)(uintptr_t)damaged.data)[300] ^= 0x10;
        OK(store->ops->put(store, id, &damaged, true));
        FAILS(iflow_store_open_layers(store, id, &layers), IFLOW_E_CORRUPT, "the header's checksum is wrong; it was set aside");
        iflow_blob_free(&damaged);
        damaged = (iflow_blob){.data = malloc(40), .n_bytes = 40};
        memset((void *)(uintptr_t)damaged.data, 0, 40);
        OK(store->ops->put(store, id, &damaged, true));
        FAILS(iflow_store_open_layers(store, id, &layers), IFLOW_E_CORRUPT, "it has 40 bytes");
        iflow_blob_free(&damaged);
        iflow_chunk_free(chunk);
        iflow_blob_free(&blob);
        fixture_free(&f);
    }
    close_kind(store);
}

/* ---- Documents, leases, verifying --------------------------------------------------------------------------------------------------- */

static void test_documents(void **state) {
    (void)state;
    iflow_store *store = open_kind(0);
    char chunks[3][IFLOW_ID_SIZE], a[IFLOW_ID_SIZE], b[IFLOW_ID_SIZE], found[IFLOW_ID_SIZE];
    iflow_document **list = NULL, *document = NULL;
    size_t n = 0;
    bool is_document = false;
    for (unsigned i = 0; i < 3; i++) {
        put_seed(store, i, chunks[i]);
    }
    put_document(store, "b", chunks, 2, b);
    put_document(store, "a", chunks + 1, 2, a);
    OK(iflow_store_list_documents(store, &list, &n));
    assert_int_equal(n, 2);
    assert_string_equal(list[0]->name, "a");
    iflow_documents_free(list, n);
    OK(iflow_store_resolve(store, a, found, &is_document));
    assert_true(is_document);

    OK(iflow_store_get_document(store, a, &document));
    assert_string_equal(document->id, a);
    assert_string_equal(document->name, "a");
    assert_true(document->n_chunks == 2 && document->n_tokens == 20 && !document->pinned && !document->replaced);
    assert_string_equal(document->chunk_id[0], chunks[1]);
    iflow_document_free(document);
    OK(iflow_store_pin_document(store, a, true));
    OK(iflow_store_get_document(store, a, &document));
    assert_true(document->pinned);
    iflow_document_free(document);
    FAILS(iflow_store_get_document(store, chunks[0], &document), IFLOW_E_NOT_FOUND, chunks[0]);
    FAILS(iflow_store_get_document(store, "../a", &document), IFLOW_E_ARG, "is no id");

    OK(iflow_store_prune(store, 0, NULL, NULL));
    assert_true(!store->ops->has(store, chunks[0]) && store->ops->has(store, chunks[1]) && store->ops->has(store, chunks[2]));
    OK(store->ops->put_record(store, b, "{", 1));
    FAILS(iflow_store_get_document(store, b, &document), IFLOW_E_FORMAT, "no JSON");
    FAILS(iflow_store_verify_document(store, b), IFLOW_E_CORRUPT, "set aside");
    FAILS(iflow_store_get_document(store, b, &document), IFLOW_E_NOT_FOUND, b);
    OK(iflow_store_delete_document(store, a));
    FAILS(iflow_store_delete_document(store, a), IFLOW_E_NOT_FOUND, a);
    OK(iflow_store_prune(store, 0, &n, NULL));
    assert_int_equal(n, 2); /* its pins went with it */
    close_kind(store);
}

static void test_leases(void **state) {
    (void)state;
    iflow_store *store = open_kind(0);
    const char *a = "00000000000000000000000000000001", *b = "00000000000000000000000000000002";
    FAILS(store->ops->lease(store, "a"), IFLOW_E_ARG, "is no id");
    store->ops->release(store, a); /* not ours: nothing */
    OK(store->ops->lease(store, a));
    FAILS(store->ops->lease(store, a), IFLOW_E_BUSY, a);
    OK(store->ops->lease(store, b));
    store->ops->release(store, a);
    OK(store->ops->lease(store, a));
    if (kind->is_shared) {
        iflow_store *other = open_kind(0);
        FAILS(other->ops->lease(other, a), IFLOW_E_BUSY, a);
        other->ops->release(other, a);
        FAILS(other->ops->lease(other, a), IFLOW_E_BUSY, a);
        iflow_store_close(store); /* gives its leases back */
        OK(other->ops->lease(other, a));
        store = other;
    }
    store->ops->release(store, a);
    store->ops->release(store, b);
    close_kind(store);
}

static bool count_verified(const char *id, bool is_document, iflow_status status, const char *message, void *user) {
    size_t *n = user; /* good chunks, good records, bad ones */
    (void)id;
    assert_int_equal(status == IFLOW_OK, message == NULL);
    n[status ? 2 : is_document]++;
    return true;
}

static void test_verify_all(void **state) {
    (void)state;
    iflow_store *store = open_kind(0);
    char chunks[3][IFLOW_ID_SIZE], document[IFLOW_ID_SIZE];
    iflow_blob blob = {0}, damaged = {0};
    for (unsigned i = 0; i < 3; i++) {
        put_seed(store, i, chunks[i]);
    }
    put_document(store, "a", chunks, 3, document);
    OK(store->ops->put_record(store, "00000000000000000000000000000001", "{}", 2));
    make_chunk(1, chunks[1], &blob);
    damage(&blob, &damaged);
    OK(store->ops->put(store, chunks[1], &damaged, true));
    for (int again = 0; again < 2; again++) {
        size_t n[3] = {0};
        OK(iflow_store_verify_all(store, count_verified, n));
        assert_true(n[0] == 2 && n[1] == 1 && n[2] == (again ? 0 : 2));
    }
    iflow_blob_free(&blob);
    iflow_blob_free(&damaged);
    close_kind(store);
}

/* ---- Threads ------------------------------------------------------------------------------------------------------------------------ */

enum { N_THREADS = 4, ROUNDS = 150 };

typedef struct worker {
    iflow_store *store;
    unsigned seed;
    int failed;
    size_t *n_computed; /* [SEEDS]: guarded by the leases */
} worker;

/* Takes leases, publishes, reads, pins, lists and prunes at random; no assertion, which is the main thread's. */
static void *work(void *user) {
    worker *w = user;
    iflow_store *store = w->store;
    uint32_t random = w->seed;
    for (int i = 0; i < ROUNDS && !w->failed; i++) {
        const unsigned seed = fixture_random(&random) % 6, operation = fixture_random(&random) % 8;
        char id[IFLOW_ID_SIZE];
        iflow_blob blob = {0};
        iflow_chunk *chunk = NULL;
        iflow_chunk_info *list = NULL;
        size_t n = 0;
        make_chunk(seed, id, &blob);
        iflow_status status = IFLOW_OK;
        if (operation < 3) {
            status = store->ops->lease(store, id);
            if (!status) {
                const size_t before = w->n_computed[seed];
                status = store->ops->put(store, id, &blob, operation == 2);
                w->failed |= w->n_computed[seed] != before ? 1 : 0; /* another had the lease, too */
                w->n_computed[seed] = before + 1;
                store->ops->release(store, id);
            }
        } else if (operation < 6) {
            status = iflow_store_get_chunk(store, id, &chunk);
            w->failed |= chunk && (chunk->blob.n_bytes != blob.n_bytes || memcmp(chunk->blob.data, blob.data, blob.n_bytes)) ? 2 : 0;
        } else if (operation == 6) {
            status = iflow_store_pin(store, id, i % 2);
        } else {
            status = iflow_store_list(store, &list, &n);
            status = status || i % 5 ? status : iflow_store_prune(store, 0, NULL, NULL);
        }
        w->failed |= status && status != IFLOW_E_NOT_FOUND && status != IFLOW_E_BUSY ? 4 : 0;
        iflow_free(list);
        iflow_chunk_free(chunk);
        iflow_blob_free(&blob);
    }
    return NULL;
}

static void test_threads(void **state) {
    (void)state;
    iflow_store *store = open_kind(1 << 20);
    pthread_t thread[N_THREADS];
    worker w[N_THREADS];
    size_t n_computed[SEEDS] = {0};
    for (unsigned i = 0; i < N_THREADS; i++) {
        w[i] = (worker){.store = store, .seed = i + 1, .n_computed = n_computed};
        assert_int_equal(pthread_create(&thread[i], NULL, work, &w[i]), 0);
    }
    for (int i = 0; i < N_THREADS; i++) {
        pthread_join(thread[i], NULL);
        assert_int_equal(w[i].failed, 0);
    }
    close_kind(store);
}

int main(void) {
    iflow_set_log(count_warnings, NULL);
    const struct CMUnitTest tests[] = {
        TEST(test_put_and_get),
        TEST(test_ids_from_outside),
        TEST(test_list_is_by_use),
        TEST(test_eviction_order_and_pins),
        TEST(test_larger_than_the_limit),
        TEST(test_mapped_chunk_outlives_eviction),
        TEST(test_replace),
        TEST(test_replace_at_the_limit),
        TEST(test_random_operations),
        TEST(test_blob_outlives_the_store),
        TEST(test_damage_is_found),
        TEST(test_layers),
        TEST(test_documents),
        TEST(test_leases),
        TEST(test_verify_all),
        TEST(test_threads),
    };
    int failed = 0;
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        kind = &kinds[i];
        print_message("over a store of the kind %s:\n", kind->name);
        failed += cmocka_run_group_tests_name(kind->name, tests, NULL, NULL);
    }
    return failed;
}
