/* test_service_ingestion.c - documents through the service into a store and from there into contexts, without the command. */
#include "service/ahead.h"
#include "service/gathering.h"
#include "service/ingestion.h"
#include "service/session.h"
#include "service_fixture.h"

enum { CHUNK = 64 };

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

/* A store in memory, a context, and what is heard. */
typedef struct world {
    iflow_store *store;
    iflow_context *ctx;
    heard notices;
    char id[8][IFLOW_ID_SIZE]; /* of the documents that were recorded */
    size_t n_recorded, n_replaced, n_failed, n_progress;
    size_t cancel_after; /* calls of progress; 0: never */
    iflow_cancel *token; /* of this thread */
    double share;        /* the last one */
} world;

static void world_open(world *w) {
    const iflow_context_params params = IFLOW_PARAMS(iflow_context_params, .n_ctx = 8192, .n_threads = 1, .fillers = IFLOW_NO_FILLERS);
    *w = (world){0};
    assert_ok(iflow_cancel_new(&w->token));
    iflow_cancel_use(w->token);
    assert_ok(iflow_store_open("memory:", NULL, &w->store));
    assert_ok(iflow_context_new(model, w->store, &params, &w->ctx));
}

static void world_close(world *w) {
    iflow_context_free(w->ctx);
    iflow_store_close(w->store);
    iflow_cancel_use(NULL);
    iflow_cancel_free(w->token);
}

static void on_recorded(const iflow_document *doc, const char *name, void *user) {
    world *w = user;
    assert_non_null(name);
    memcpy(w->id[w->n_recorded++], doc->id, IFLOW_ID_SIZE);
    w->n_replaced += doc->replaced;
}

static void on_failed(const char *name, iflow_status status, void *user) {
    world *w = user;
    assert_non_null(name);
    assert_int_not_equal(status, IFLOW_OK);
    w->n_failed++;
}

static void on_progress(const ingestion *in, const char *name, bool waiting, void *user) {
    world *w = user;
    assert_non_null(name);
    assert_false(waiting);
    assert_true(pace_share(&in->pace) >= w->share); /* never back */
    w->share = pace_share(&in->pace);
    w->n_progress++;
    iflow_cancel_raise(w->token, w->cancel_after && w->n_progress >= w->cancel_after);
}

/* Ingests what lies at a path. */
static iflow_status ingest(world *w, const char *path, ingestion *in) {
    sources list = {.events = {.notice = hear, .user = &w->notices}};
    *in = (ingestion){.model = model,
                      .store = w->store,
                      .ctx = w->ctx,
                      .chunk_tokens = CHUNK,
                      .sources = &list,
                      .events = {.recorded = on_recorded, .failed = on_failed, .progress = on_progress, .user = w}};
    w->n_recorded = w->n_progress = 0;
    w->share = 0;
    assert_ok(sources_add(&list, path));
    const iflow_status status = ingestion_run(in);
    ingestion_free(in);
    sources_free(&list);
    return status;
}

static void make_folder(void) {
    assert_int_equal(mkdir("folder", 0700), 0);
    fixture_write_text("folder/a.txt", 30, 1);
    fixture_write("folder/b.txt", "Caf\xE9", 4);
    fixture_write_text("folder/c.txt", 20, 2);
    fixture_write("folder/d.txt", "", 0);
}

static void test_ingest(void **state) {
    (void)state;
    world w;
    ingestion in;
    make_folder();
    world_open(&w);
    assert_ok(ingest(&w, "folder", &in));
    assert_int_equal(w.n_recorded, 2);
    assert_int_equal(in.n_documents, 2);
    assert_true(in.n_computed >= 4 && in.n_present == 0);
    assert_int_equal(in.n_tokens, in.n_computed_tokens);
    assert_true(w.share > 0.99); /* with what could not be used */
    const size_t n_chunks = in.n_computed;
    assert_ok(ingest(&w, "folder", &in)); /* again: nothing is computed */
    assert_int_equal(in.n_computed, 0);
    assert_int_equal(in.n_present, n_chunks);
    assert_int_equal(w.n_replaced, 0);
    fixture_write_text("folder/a.txt", 30, 3); /* another text in its place */
    assert_ok(ingest(&w, "folder", &in));
    assert_int_equal(w.n_replaced, 1);
    assert_true(in.n_computed > 0 && in.n_present > 0);
    assert_non_null(strstr(w.notices.text, "failed folder/b.txt: "));
    assert_non_null(strstr(w.notices.text, "skipped folder/d.txt: empty"));
    world_close(&w);
}

/* Cancelled after every number of steps: what was computed stays, and the next run goes on from there to the same. */
static void test_cancel(void **state) {
    (void)state;
    world w;
    ingestion in;
    make_folder();
    for (size_t after = 1; after < 6; after++) {
        world_open(&w);
        w.cancel_after = after;
        assert_int_equal(ingest(&w, "folder", &in), IFLOW_E_CANCELLED);
        const size_t n_computed = in.n_computed;
        w.cancel_after = 0;
        iflow_cancel_raise(w.token, false);
        assert_ok(ingest(&w, "folder", &in));
        assert_int_equal(in.n_present, n_computed);
        assert_int_equal(w.n_recorded, 2);
        world_close(&w);
    }
}

/* Documents by file, by directory, by id; and what cannot be had. */
static void test_gather(void **state) {
    (void)state;
    world w;
    ingestion in;
    context_documents documents = {0};
    iflow_answer *answer = NULL;
    make_folder();
    world_open(&w);
    assert_ok(ingest(&w, "folder/a.txt", &in));
    const gathering from = {.model = model,
                            .ctx = w.ctx,
                            .store = w.store,
                            .store_name = "memory:",
                            .chunk_tokens = CHUNK,
                            .events = {.notice = hear, .user = &w.notices}};
    assert_ok(gather(&from, w.id[0], &documents));
    assert_ok(gather(&from, "folder", &documents));
    assert_int_equal(documents.n, 3);
    assert_int_equal(documents.document[0].n_chunks, documents.document[1].n_chunks); /* the same one */
    assert_string_equal(documents.document[2].name, "folder/c.txt");
    assert_int_equal(documents.n_left_out, 1);
    assert_int_equal(documents.n_failed_named, 0);
    assert_int_equal(documents.chunks.n_chunks, documents.document[1].n_chunks + documents.document[2].n_chunks);

    iflow_ask_params params = iflow_ask_default_params();
    params.question = "Who?";
    params.max_tokens = 2;
    const chunks_room room = {.model = model, .n_ctx = 8192, .n_threads = 1}, little = {.model = model, .n_ctx = 128, .n_threads = 1};
    assert_ok(chunks_fit(&room, &documents.chunks, &params));
    assert_int_equal(chunks_fit(&little, &documents.chunks, &params), IFLOW_E_CONTEXT);
    assert_non_null(strstr(iflow_error_message(), "are more than the context of 128 holds"));
    assert_ok(chunks_prefill(&documents.chunks, w.ctx, NULL, NULL));
    iflow_cancel_raise(w.token, true);
    assert_int_equal(chunks_prefill(&documents.chunks, w.ctx, NULL, NULL), IFLOW_E_CANCELLED);
    assert_int_equal(gather(&from, "folder", &documents), IFLOW_E_CANCELLED);
    assert_int_equal(documents.n, 3); /* as they were */
    iflow_cancel_raise(w.token, false);
    assert_ok(iflow_context_ask(w.ctx, &params, &answer));
    assert_int_equal(answer->n_chunks, 1 + 2 * documents.document[1].n_chunks + documents.document[2].n_chunks);
    iflow_answer_free(answer);

    assert_int_equal(gather(&from, "folder/b.txt", &documents), IFLOW_E_FORMAT);
    assert_int_equal(documents.n_failed_named, 1);
    assert_int_equal(gather(&from, "missing", &documents), IFLOW_E_NOT_FOUND);
    assert_string_equal(iflow_error_message(), "missing: no such file");
    assert_int_equal(gather(&from, "abc", &documents), IFLOW_E_NOT_FOUND);
    assert_non_null(strstr(iflow_error_message(), "at least 4 digits"));
    assert_int_equal(gather(&from, "abcdef", &documents), IFLOW_E_NOT_FOUND);
    assert_non_null(strstr(iflow_error_message(), "must be ingested again"));
    gathering bare = from;
    bare.store = NULL;
    assert_int_equal(gather(&bare, "missing", &documents), IFLOW_E_NOT_FOUND);
    context_documents_free(&documents);
    world_close(&w);
}

/* Ingests texts in memory: name, title, text; NULL ends. */
static iflow_status ingest_texts(world *w, const char *const text[][3], ingestion *in) {
    sources list = {.events = {.notice = hear, .user = &w->notices}};
    *in = (ingestion){.model = model,
                      .store = w->store,
                      .ctx = w->ctx,
                      .chunk_tokens = CHUNK,
                      .sources = &list,
                      .events = {.recorded = on_recorded, .failed = on_failed, .progress = on_progress, .user = w}};
    w->n_recorded = w->n_progress = 0;
    w->share = 0;
    for (size_t i = 0; text[i][0]; i++) {
        assert_ok(sources_add_text(&list, text[i][0], text[i][1], text[i][2], strlen(text[i][2])));
    }
    assert_false(list.is_open);
    const iflow_status status = ingestion_run(in);
    ingestion_free(in);
    sources_free(&list);
    return status;
}

/* What a request brings: texts in memory and documents of the store by id and name, in one context; no file is opened. */
static void test_memory(void **state) {
    (void)state;
    static const char sea[] = "The sea is old.\r\nThe ship goes north.", light[] = "The keeper of the light went over the river.";
    static const char *const texts[][3] = {
        {"notes", NULL, sea}, {"/upload/1", "Light", light}, {"bad", NULL, "Caf\xE9\n"}, {NULL, NULL, NULL}};
    static const char *const other[][3] = {{"notes", NULL, light}, {NULL, NULL, NULL}};
    world w;
    ingestion in;
    context_documents documents = {0};
    iflow_document *doc = NULL;
    iflow_answer *answer = NULL;
    world_open(&w);
    assert_ok(ingest_texts(&w, texts, &in));
    assert_int_equal(w.n_recorded, 2);
    assert_non_null(strstr(w.notices.text, "named failed bad: not UTF-8 at line 1, column 4 (byte 0xe9)"));
    assert_ok(iflow_store_get_document(w.store, w.id[1], &doc));
    assert_string_equal(doc->name, "/upload/1/Light");
    iflow_document_free(doc);
    char notes[IFLOW_ID_SIZE];
    memcpy(notes, w.id[0], sizeof notes);
    fixture_write("same.txt", sea, sizeof sea - 1); /* the same bytes are the same chunks, wherever they come from */
    assert_ok(ingest(&w, "same.txt", &in));
    assert_int_equal(in.n_computed, 0);
    assert_ok(ingest_texts(&w, other, &in)); /* the same name is the same document */
    assert_int_equal(w.n_replaced, 1);
    assert_int_equal(strcmp(w.id[0], notes), 0);

    const gathering from = {.model = model, .ctx = w.ctx, .store = w.store, .store_name = "memory:", .chunk_tokens = CHUNK};
    assert_ok(gather_stored(&from, "/upload/1/Light", &documents));
    assert_ok(gather_text(&from, "question", "Harbour", sea, sizeof sea - 1, &documents));
    assert_ok(gather_stored(&from, notes, &documents));
    notes[6] = '\0';
    assert_ok(gather_stored(&from, notes, &documents));
    static const char *const name[] = {"/upload/1/Light", "Harbour", "notes", "notes"};
    assert_int_equal(documents.n, 4);
    for (size_t i = 0; i < documents.n; i++) {
        assert_string_equal(documents.document[i].name, name[i]);
        assert_true(documents.document[i].n_chunks > 0);
    }
    char id[1][IFLOW_ID_SIZE];
    bool was_stored = false; /* the text in memory, as same.txt */
    assert_int_equal(documents.chunks.n_chunks, 1);
    assert_ok(iflow_context_prefill(w.ctx, documents.chunks.token, documents.chunks.start, 1, id, &was_stored));
    assert_true(was_stored);
    iflow_ask_params params = iflow_ask_default_params();
    params.question = "Who?";
    params.max_tokens = 2;
    assert_ok(iflow_context_ask(w.ctx, &params, &answer));
    assert_int_equal(answer->n_chunks, 5);
    iflow_answer_free(answer);

    assert_int_equal(gather_stored(&from, "same.txt", &documents), IFLOW_E_NOT_FOUND); /* a file here, and no name of a document */
    assert_string_equal(iflow_error_message(), "same.txt: no document or chunk of the store memory: has this name or id");
    assert_int_equal(gather_stored(&from, "", &documents), IFLOW_E_NOT_FOUND);
    assert_int_equal(gather_text(&from, "x", NULL, "a\0b", 3, &documents), IFLOW_E_FORMAT);
    assert_string_equal(iflow_error_message(), "x: not a text: it has a zero byte at line 1, column 2");
    assert_int_equal(gather_text(&from, "x", "T", " ", 1, &documents), IFLOW_E_FORMAT);
    assert_string_equal(iflow_error_message(), "T: empty");
    assert_int_equal(gather_text(&from, "", NULL, "a", 1, &documents), IFLOW_E_ARG);
    gathering bare = from;
    bare.store = NULL;
    assert_int_equal(gather_stored(&bare, "notes", &documents), IFLOW_E_NOT_FOUND);
    assert_int_equal(documents.n, 4);
    context_documents_free(&documents);
    world_close(&w);
}

/* The store's limit: K and V of every layer, and what a file has besides. */
static void test_kept(void **state) {
    (void)state;
    int32_t token[100] = {0};
    chunk_list chunks = {0};
    assert_ok(chunk_list_add(&chunks, token, 100));
    chunks_room room = {.model = model, .has_store = true};
    assert_true(chunks_are_kept(&room, &chunks, 1)); /* no limit */
    room.max_bytes = 1000;
    assert_false(chunks_are_kept(&room, &chunks, 1));
    room.max_bytes = (uint64_t)1 << 30;
    assert_true(chunks_are_kept(&room, &chunks, 1));
    room.has_store = false;
    room.max_bytes = 1000;
    assert_true(chunks_are_kept(&room, &chunks, 1));
    chunk_list_free(&chunks);
}

/* A session: from the model to a context, and where things lie. */
static void test_session(void **state) {
    (void)state;
    session s = {0};
    char *place = NULL, want[4200];
    assert_int_equal(setenv("XDG_CONFIG_HOME", dir, 1), 0);
    assert_int_equal(unsetenv("INFOFLOW_STORE"), 0);
    assert_ok(session_load_model(&s, support_tiny_model("llama"), NULL));
    assert_true(s.model_load_ms > 0);
    assert_ok(session_load_correction(&s, "auto")); /* there is none at the default place */
    assert_null(s.correction);
    assert_int_equal(session_load_correction(&s, "missing"), IFLOW_E_NOT_FOUND);
    assert_ok(session_config_path("profiles", s.info.fingerprint, "json", &place));
    snprintf(want, sizeof want, "%s/infoflow/profiles/%s.json", dir, s.info.fingerprint);
    assert_string_equal(place, want);
    free(place);
    assert_int_equal(setenv("INFOFLOW_STORE", "memory:", 1), 0);
    assert_ok(session_open_store(&s, NULL, NULL));
    assert_string_equal(s.store_dir, "memory:");
    assert_ok(session_new_context(&s, &IFLOW_PARAMS(iflow_context_params, .n_threads = 1), &s.ctx));
    session_close(&s);
    assert_null(s.model);
    assert_int_equal(unsetenv("INFOFLOW_STORE"), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_ingest, fixture_enter, fixture_leave),
        cmocka_unit_test_setup_teardown(test_cancel, fixture_enter, fixture_leave),
        cmocka_unit_test_setup_teardown(test_gather, fixture_enter, fixture_leave),
        cmocka_unit_test_setup_teardown(test_memory, fixture_enter, fixture_leave),
        cmocka_unit_test(test_kept),
        cmocka_unit_test_setup_teardown(test_session, fixture_enter, fixture_leave),
    };
    return cmocka_run_group_tests(tests, load_model, free_model);
}
