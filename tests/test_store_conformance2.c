/* test_store_conformance2.c - what every store does, whatever it is made of: shared bytes, reading by layers, documents, leases, verifying,
 * threads. Runs over each kind of store, as test_store_conformance.c does. */
#include "store_kinds.h"

#include "kv/chunk_layers.h"

#include <pthread.h>

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
    OK(iflow_store_delete(store, IFLOW_CHUNK, id));
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
        OK(iflow_store_delete(store, IFLOW_CHUNK, id)); /* who has it open goes on reading it */
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
    iflow_kind found_kind = IFLOW_CHUNK;
    for (unsigned i = 0; i < 3; i++) {
        put_seed(store, i, chunks[i]);
    }
    put_document(store, "b", chunks, 2, b);
    put_document(store, "a", chunks + 1, 2, a);
    OK(iflow_store_list_documents(store, &list, &n));
    assert_int_equal(n, 2);
    assert_string_equal(list[0]->name, "a");
    iflow_documents_free(list, n);
    OK(iflow_store_resolve(store, a, found, &found_kind));
    assert_int_equal(found_kind, IFLOW_DOCUMENT);

    OK(iflow_store_get_document(store, a, &document));
    assert_string_equal(document->id, a);
    assert_string_equal(document->name, "a");
    assert_true(document->n_chunks == 2 && document->n_tokens == 20 && !document->pinned && !document->replaced);
    assert_string_equal(document->chunk_id[0], chunks[1]);
    iflow_document_free(document);
    OK(iflow_store_pin(store, IFLOW_DOCUMENT, a, true));
    OK(iflow_store_get_document(store, a, &document));
    assert_true(document->pinned);
    iflow_document_free(document);
    FAILS(iflow_store_get_document(store, chunks[0], &document), IFLOW_E_NOT_FOUND, chunks[0]);
    FAILS(iflow_store_get_document(store, "../a", &document), IFLOW_E_ARG, "is no id");

    OK(iflow_store_prune(store, 0, NULL, NULL));
    assert_true(!store->ops->has(store, chunks[0]) && store->ops->has(store, chunks[1]) && store->ops->has(store, chunks[2]));
    OK(store->ops->put_record(store, b, "{", 1));
    FAILS(iflow_store_get_document(store, b, &document), IFLOW_E_FORMAT, "no JSON");
    FAILS(iflow_store_verify(store, IFLOW_DOCUMENT, b), IFLOW_E_CORRUPT, "set aside");
    FAILS(iflow_store_get_document(store, b, &document), IFLOW_E_NOT_FOUND, b);
    OK(iflow_store_delete(store, IFLOW_DOCUMENT, a));
    FAILS(iflow_store_delete(store, IFLOW_DOCUMENT, a), IFLOW_E_NOT_FOUND, a);
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

static bool count_verified(const char *id, iflow_kind of, iflow_status status, const char *message, void *user) {
    size_t *n = user; /* good chunks, good records, bad ones */
    (void)id;
    assert_int_equal(status == IFLOW_OK, message == NULL);
    n[status ? 2 : of]++;
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
            w->failed |= chunk && (chunk->blob.n_bytes != blob.n_bytes || memcmp(chunk->blob.data, blob.data, blob.n_bytes) != 0) ? 2 : 0;
        } else if (operation == 6) {
            status = iflow_store_pin(store, IFLOW_CHUNK, id, i % 2);
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
    const struct CMUnitTest tests[] = {
        TEST(test_blob_outlives_the_store),
        TEST(test_damage_is_found),
        TEST(test_layers),
        TEST(test_documents),
        TEST(test_leases),
        TEST(test_verify_all),
        TEST(test_threads),
    };
    return OVER_EACH_KIND(tests);
}
