/* test_service_inventory.c - what is in a store: found and summed up, deleted with what nothing else has, verified, and as JSON. */
#include "service/ingestion.h"
#include "service/inventory.h"
#include "service_fixture.h"

enum { CHUNK = 16 };

static iflow_model *model;

static int load_model(void **state) {
    (void)state;
    return iflow_model_load(support_tiny_model("llama"), NULL, &model);
}

static int free_model(void **state) {
    (void)state;
    iflow_model_free(model);
    return 0;
}

static const char sea[] =
    "The sea is old and the ship goes north over the river to the harbour, where the keeper of the light waits for it.";
static const char light[] = "Another text: a small house of stone stands by the river, and the wind is bright and cold there in the north.";

/* Two documents of the same text, and one of another. */
static iflow_store *make_store(inventory *all) {
    static const char *const text[][2] = {{"one", sea}, {"two", sea}, {"three", light}};
    const iflow_context_params params = IFLOW_PARAMS(iflow_context_params, .n_ctx = 1024, .n_threads = 1, .fillers = IFLOW_NO_FILLERS);
    iflow_store *store = NULL;
    iflow_context *ctx = NULL;
    sources list = {0};
    assert_ok(iflow_store_open("memory:", NULL, &store));
    assert_ok(iflow_context_new(model, store, &params, &ctx));
    for (size_t i = 0; i < 3; i++) {
        assert_ok(sources_add_text(&list, text[i][0], NULL, text[i][1], strlen(text[i][1])));
    }
    ingestion in = {.model = model, .store = store, .ctx = ctx, .chunk_tokens = CHUNK, .sources = &list};
    assert_ok(ingestion_run(&in));
    assert_int_equal(in.n_documents, 3);
    ingestion_free(&in);
    sources_free(&list);
    iflow_context_free(ctx);
    assert_ok(inventory_take(all, store));
    return store;
}

static const iflow_document *named(const inventory *all, const char *name) {
    for (size_t i = 0; i < all->n_documents; i++) {
        if (strcmp(all->document[i]->name, name) == 0) {
            return all->document[i];
        }
    }
    return NULL;
}

/* Each list against one that is made here: ids and sums. */
static void test_sums(void **state) {
    (void)state;
    inventory all = {0};
    iflow_store *store = make_store(&all);
    inventory_total total;
    uint64_t n_bytes = 0;
    assert_int_equal(all.n_documents, 3);
    for (size_t i = 0; i < all.n_chunks; i++) {
        assert_true(i == 0 || strcmp(all.chunk[i - 1].id, all.chunk[i].id) < 0);
        assert_ptr_equal(inventory_chunk(&all, all.chunk[i].id), &all.chunk[i]);
        n_bytes += all.chunk[i].n_bytes;
    }
    assert_null(inventory_chunk(&all, "00000000000000000000000000000000"));
    assert_null(inventory_document(&all, all.chunk[0].id));
    const iflow_document *one = named(&all, "one"), *three = named(&all, "three");
    const inventory_sum sum = inventory_sum_of(&all, one), other = inventory_sum_of(&all, three);
    assert_true(one->n_chunks >= 2 && sum.n_missing == 0 && !sum.pinned && sum.n_bytes > 0 && sum.used_at > 0);
    assert_string_equal(sum.type, "f16");
    assert_ok(inventory_total_of(&all, &total));
    assert_int_equal(total.n_bytes, n_bytes);
    assert_int_equal(total.n_loose, all.n_chunks - one->n_chunks - three->n_chunks);
    assert_true(total.n_bytes >= sum.n_bytes + other.n_bytes);

    json_t *object = inventory_json(&all, "memory:");
    assert_int_equal(json_array_size(json_object_get(object, "documents")), 3);
    assert_int_equal(json_array_size(json_object_get(object, "chunks")), all.n_chunks);
    assert_int_equal(json_integer_value(json_object_get(object, "bytes")), n_bytes);
    assert_string_equal(json_string_value(json_object_get(object, "store")), "memory:");
    json_decref(object);
    inventory_free(&all);
    iflow_store_close(store);
}

/* A document goes with its chunks, but for those that another has or that were pinned by themselves. */
static void test_delete(void **state) {
    (void)state;
    inventory all = {0};
    iflow_store *store = make_store(&all);
    inventory_deleted gone;
    char id[IFLOW_ID_SIZE], pinned[IFLOW_ID_SIZE];
    const size_t n_sea = named(&all, "one")->n_chunks, n_light = named(&all, "three")->n_chunks, n_before = all.n_chunks;
    memcpy(id, named(&all, "one")->id, sizeof id);
    assert_ok(inventory_delete(&all, IFLOW_DOCUMENT, id, &gone));
    assert_int_equal(gone.n_chunks, 0); /* two has them */
    assert_int_equal(all.n_documents, 2);
    assert_int_equal(all.n_chunks, n_before);
    assert_int_equal(inventory_delete(&all, IFLOW_DOCUMENT, id, &gone), IFLOW_E_NOT_FOUND);

    memcpy(id, named(&all, "two")->id, sizeof id);
    memcpy(pinned, named(&all, "two")->chunk_id[0], sizeof pinned);
    assert_ok(iflow_store_pin(store, IFLOW_CHUNK, pinned, true));
    assert_ok(inventory_take(&all, store));
    assert_ok(inventory_delete(&all, IFLOW_DOCUMENT, id, &gone));
    assert_int_equal(gone.n_chunks, n_sea - 1);
    assert_int_equal(gone.n_pinned, 1);
    assert_non_null(inventory_chunk(&all, pinned));
    assert_ok(inventory_delete(&all, IFLOW_CHUNK, pinned, &gone));
    assert_int_equal(gone.n_chunks, 1);
    assert_true(gone.n_bytes > 0);
    assert_int_equal(all.n_chunks, n_before - n_sea);

    memcpy(id, named(&all, "three")->id, sizeof id); /* one that lost a chunk is deleted all the same */
    assert_ok(iflow_store_delete(store, IFLOW_CHUNK, named(&all, "three")->chunk_id[0]));
    assert_ok(inventory_take(&all, store));
    assert_int_equal(inventory_sum_of(&all, named(&all, "three")).n_missing, 1);
    assert_ok(inventory_delete(&all, IFLOW_DOCUMENT, id, &gone));
    assert_int_equal(gone.n_chunks, n_light - 1);
    assert_int_equal(all.n_documents, 0);
    inventory_free(&all);
    iflow_store_close(store);
}

typedef struct verified {
    size_t n, n_documents, n_missing, stop_after; /* 0: never */
} verified;

static bool on_verified(const char *id, iflow_kind kind, iflow_status status, const char *message, void *user) {
    verified *v = user;
    assert_int_equal(strlen(id), IFLOW_ID_SIZE - 1);
    assert_true((status == IFLOW_OK) == !message);
    v->n++;
    v->n_documents += kind == IFLOW_DOCUMENT;
    v->n_missing += status == IFLOW_E_NOT_FOUND;
    return v->n != v->stop_after;
}

static void test_verify(void **state) {
    (void)state;
    inventory all = {0};
    iflow_store *store = make_store(&all);
    const iflow_document *three = named(&all, "three");
    verified v = {0};
    assert_ok(inventory_verify(&all, IFLOW_DOCUMENT, three->id, on_verified, &v));
    assert_int_equal(v.n, 1 + three->n_chunks);
    assert_int_equal(v.n_documents, 1);
    assert_int_equal(v.n_missing, 0);
    assert_ok(iflow_store_delete(store, IFLOW_CHUNK, three->chunk_id[1]));
    v = (verified){0};
    assert_ok(inventory_verify(&all, IFLOW_DOCUMENT, three->id, on_verified, &v));
    assert_int_equal(v.n_missing, 1);
    v = (verified){.stop_after = 2};
    assert_ok(inventory_verify(&all, IFLOW_DOCUMENT, three->id, on_verified, &v));
    assert_int_equal(v.n, 2);
    v = (verified){0};
    assert_ok(inventory_verify(&all, IFLOW_CHUNK, three->chunk_id[0], on_verified, &v));
    assert_int_equal(v.n, 1);
    inventory_free(&all);
    iflow_store_close(store);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_sums), cmocka_unit_test(test_delete), cmocka_unit_test(test_verify)};
    return cmocka_run_group_tests(tests, load_model, free_model);
}
