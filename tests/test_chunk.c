/* test_chunk.c - chunk files: round trips, sameness of bytes, and every kind of damage. */
#include "chunk_fixture.h"

#include <gguf.h>
#include <math.h>

/* ---- Sound files -------------------------------------------------------------------------------------------------------------------- */

static void check_round_trip(iflow_kv_type type, size_t n_tokens, size_t n_root, int n_layer, int width, float tolerance) {
    fixture f = fixture_new(7, n_tokens, n_root, n_layer, width, type);
    iflow_blob blob = {0};
    iflow_chunk *chunk = NULL;
    char id[IFLOW_ID_SIZE];
    iflow_chunk_id(&f.identity, id);
    encode(&f, &blob);
    if (iflow_chunk_decode(&blob, id, "file", &chunk)) {
        fail_msg("%s", iflow_error_message());
    }
    assert_string_equal(chunk->id, id);
    assert_string_equal(chunk->identity.fingerprint, f.identity.fingerprint);
    assert_int_equal(chunk->identity.n_tokens, n_tokens);
    assert_int_equal(chunk->identity.n_prefix, n_root);
    assert_int_equal(chunk->identity.n_layer, n_layer);
    assert_memory_equal(chunk->identity.layer, f.layer, (size_t)n_layer * sizeof f.layer[0]);
    assert_true(!chunk->identity.parent[0] && !chunk->identity.coord && !chunk->identity.group && !chunk->identity.content[0]);
    assert_int_equal(chunk->identity.type, type);
    assert_memory_equal(chunk->identity.token, f.token, n_tokens * sizeof f.token[0]);
    if (n_root) {
        assert_memory_equal(chunk->identity.prefix, f.root, n_root * sizeof f.root[0]);
    }
    const size_t n = (size_t)width;
    uint16_t *rows = calloc(n_tokens * n, sizeof rows[0]);
    for (int l = 0; l < n_layer; l++) {
        for (int kind = 0; kind < 2; kind++) {
            const uint16_t *expected = kind ? f.v[l] : f.k[l];
            iflow_chunk_rows_f16(chunk, kind ? chunk->v[l] : chunk->k[l], width, 0, n_tokens, rows);
            for (size_t i = 0; i < n_tokens * n; i++) {
                assert_true(fabsf(ggml_fp16_to_fp32(rows[i]) - ggml_fp16_to_fp32(expected[i])) <= tolerance);
            }
            /* a part of the rows is that part of all rows */
            uint16_t *last = calloc(n, sizeof last[0]);
            iflow_chunk_rows_f16(chunk, kind ? chunk->v[l] : chunk->k[l], width, n_tokens - 1, 1, last);
            assert_memory_equal(last, rows + (n_tokens - 1) * n, n * sizeof last[0]);
            free(last);
        }
    }
    free(rows);
    iflow_chunk_free(chunk);
    iflow_blob_free(&blob);
    fixture_free(&f);
}

static void test_round_trip(void **state) {
    (void)state;
    check_round_trip(IFLOW_KV_F16, 5, 1, 3, 48, 0.0f);
    check_round_trip(IFLOW_KV_F16, 1, 0, 1, 1, 0.0f); /* rows that end anywhere but at a multiple of the alignment */
    check_round_trip(IFLOW_KV_F16, 3, 4, 2, 7, 0.0f);
    /* values lie in [-2, 2]: half a step of 2 / 127 and what f16 scales add */
    check_round_trip(IFLOW_KV_Q8_0, 5, 1, 3, 64, 0.0095f);
    check_round_trip(IFLOW_KV_Q8_0, 1, 0, 1, 32, 0.0095f);
}

static void test_peek_tells_the_same(void **state) {
    (void)state;
    fixture f = fixture_new(3, 9, 2, 2, 32, IFLOW_KV_Q8_0);
    iflow_blob blob = {0};
    iflow_chunk_info info;
    int32_t *tokens = NULL;
    encode(&f, &blob);
    assert_int_equal(iflow_chunk_peek(blob.data, blob.n_bytes, NULL, "file", &info, &tokens), IFLOW_OK);
    char id[IFLOW_ID_SIZE];
    iflow_chunk_id(&f.identity, id);
    assert_string_equal(info.id, id);
    assert_string_equal(info.fingerprint, f.identity.fingerprint);
    assert_int_equal(info.n_tokens, 9);
    assert_int_equal(info.n_root, 2);
    assert_true(!info.after_rope && !info.parent[0] && info.n_before == 0 && !info.old);
    assert_int_equal(info.n_layer, 2);
    assert_int_equal(info.n_embd_kv, 32);
    assert_string_equal(info.type, "q8_0");
    assert_int_equal(info.n_bytes, blob.n_bytes);
    assert_memory_equal(tokens, f.token, 9 * sizeof tokens[0]);
    free(tokens);
    iflow_blob_free(&blob);
    fixture_free(&f);
}

/* Numbers a token come back as they were, their presence is told without reading them, and id and KV are the same without them. */
static void test_foreseen(void **state) {
    (void)state;
    for (int type = IFLOW_KV_F16; type <= IFLOW_KV_Q8_0; type++) {
        fixture f = fixture_new(5, 3, 2, 2, 32, (iflow_kv_type)type);
        iflow_blob blob[2] = {{0}};
        iflow_chunk *chunk[2] = {0};
        encode(&f, &blob[0]);
        fixture_foresee(&f);
        encode(&f, &blob[1]);
        for (int i = 0; i < 2; i++) {
            iflow_chunk_info info;
            assert_int_equal(iflow_chunk_peek(blob[i].data, blob[i].n_bytes, NULL, "file", &info, NULL), IFLOW_OK);
            assert_int_equal(info.has_staleness, i);
            assert_int_equal(iflow_chunk_decode(&blob[i], info.id, "file", &chunk[i]), IFLOW_OK);
        }
        assert_string_equal(chunk[0]->id, chunk[1]->id);
        assert_null(chunk[0]->staleness);
        assert_memory_equal(chunk[1]->staleness, f.estimated, 3 * sizeof f.estimated[0]);
        for (int l = 0; l < 2; l++) {
            const size_t n_bytes = 3 * iflow_kv_row_bytes((iflow_kv_type)type, 32);
            assert_memory_equal(chunk[0]->k[l], chunk[1]->k[l], n_bytes);
            assert_memory_equal(chunk[0]->v[l], chunk[1]->v[l], n_bytes);
        }
        /* What pads the numbers to 32 bytes is zero. */
        const unsigned char *bytes = chunk[1]->blob.data;
        for (size_t i = 1; i <= 20; i++) {
            assert_int_equal(bytes[chunk[1]->blob.n_bytes - i], 0);
        }
        iflow_chunk_free(chunk[0]);
        iflow_chunk_free(chunk[1]);
        fixture_free(&f);
    }
}

static void test_same_input_same_bytes(void **state) {
    (void)state;
    for (int type = IFLOW_KV_F16; type <= IFLOW_KV_Q8_0; type++) {
        fixture a = fixture_new(11, 3, 1, 2, 32, (iflow_kv_type)type), b = fixture_new(11, 3, 1, 2, 32, (iflow_kv_type)type);
        iflow_blob x = {0}, y = {0};
        encode(&a, &x);
        encode(&b, &y);
        assert_int_equal(x.n_bytes, y.n_bytes);
        assert_memory_equal(x.data, y.data, x.n_bytes);
        iflow_blob_free(&x);
        iflow_blob_free(&y);
        fixture_free(&a);
        fixture_free(&b);
    }
}

static void test_id_depends_on_everything(void **state) {
    (void)state;
    fixture f = fixture_new(5, 4, 2, 2, 32, IFLOW_KV_F16);
    const int32_t coord[16] = {1}, other_coord[16] = {2}, group[4] = {0, 0, -1, -1};
    iflow_kv_layer layer[3];
    char ids[24][IFLOW_ID_SIZE];
    iflow_chunk_identity i = f.identity;
    int n = 0;
    iflow_chunk_id(&i, ids[n++]);
    i.fingerprint[31] = '0';
    iflow_chunk_id(&i, ids[n++]);
    i = f.identity, i.n_prefix = 1;
    iflow_chunk_id(&i, ids[n++]);
    i = f.identity, i.n_tokens = 3;
    iflow_chunk_id(&i, ids[n++]);
    for (int field = 0; field < 4; field++) { /* of the table of layers */
        memcpy(layer, f.layer, 2 * sizeof layer[0]);
        layer[2] = layer[1];
        layer[1].kind += field == 1;
        layer[1].k_width += field == 2;
        layer[1].v_width += field == 3;
        i = f.identity, i.layer = layer, i.n_layer += field == 0;
        iflow_chunk_id(&i, ids[n++]);
    }
    i = f.identity, i.type = IFLOW_KV_Q8_0;
    iflow_chunk_id(&i, ids[n++]);
    i = f.identity, i.exact = true;
    iflow_chunk_id(&i, ids[n++]);
    i = f.identity, i.rope = IFLOW_ROPE_AFTER;
    iflow_chunk_id(&i, ids[n++]);
    i = f.identity, memcpy(i.parent, ids[0], sizeof i.parent);
    iflow_chunk_id(&i, ids[n++]);
    i.n_before = 5;
    iflow_chunk_id(&i, ids[n++]);
    i = f.identity, i.coord = coord;
    iflow_chunk_id(&i, ids[n++]);
    i.coord = other_coord;
    iflow_chunk_id(&i, ids[n++]);
    i = f.identity, i.group = group;
    iflow_chunk_id(&i, ids[n++]);
    i = f.identity, memset(i.content, 'a', 64);
    iflow_chunk_id(&i, ids[n++]);
    i = f.identity, i.token = f.root, i.n_tokens = 2, i.prefix = f.token, i.n_prefix = 4; /* what moves from root to chunk */
    iflow_chunk_id(&i, ids[n++]);
    for (int a = 0; a < n; a++) {
        assert_true(iflow_id_is_valid(ids[a]));
        for (int b = 0; b < a; b++) {
            assert_string_not_equal(ids[a], ids[b]);
        }
    }
    fixture_free(&f);
}

static void test_padding_is_zero(void **state) {
    (void)state;
    fixture f = fixture_new(4, 3, 1, 1, 7, IFLOW_KV_F16); /* 42 bytes a tensor, each in 64 */
    iflow_blob blob = {0};
    encode(&f, &blob);
    const unsigned char *bytes = blob.data;
    for (size_t i = 1; i <= 22; i++) {
        assert_int_equal(bytes[blob.n_bytes - i], 0);
        assert_int_equal(bytes[blob.n_bytes - 64 - i], 0);
    }
    assert_memory_equal(bytes + blob.n_bytes - 64, f.v[0], 42);
    iflow_blob_free(&blob);
    fixture_free(&f);
}

/* Golden ids: computed from docs/FORMAT.md by tests/chunk_id.py, so that the format cannot change unnoticed. */
static void test_golden_id(void **state) {
    (void)state;
    const int32_t root[] = {1, 2}, token[] = {10, 20, 30}, coord[] = {0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 1, 0}, group[] = {-1, 0, 0};
    const iflow_kv_layer layer[] = {{IFLOW_KV_ROWS, 64, 64}, {IFLOW_KV_ROWS, 32, 96}, {IFLOW_KV_ROWS, 0, 0}, {IFLOW_KV_ROWS, 64, 64}};
    iflow_kv_layer *alike = iflow_kv_layers_alike(4, 64);
    iflow_chunk_identity identity = {.fingerprint = "00112233445566778899aabbccddeeff",
                                     .prefix = root,
                                     .n_prefix = 2,
                                     .token = token,
                                     .n_tokens = 3,
                                     .layer = alike,
                                     .n_layer = 4,
                                     .type = IFLOW_KV_Q8_0};
    char id[IFLOW_ID_SIZE];
    iflow_chunk_id(&identity, id);
    assert_string_equal(id, "5875eb1f859efb2b68eb0595a005c3f2");
    identity.exact = true;
    iflow_chunk_id(&identity, id);
    assert_string_equal(id, "aee9f1ae587a26d24b185377cf6fdbc8");
    identity = (iflow_chunk_identity){.fingerprint = "00112233445566778899aabbccddeeff",
                                      .parent = "ffeeddccbbaa99887766554433221100",
                                      .n_before = 512,
                                      .token = token,
                                      .n_tokens = 3,
                                      .coord = coord,
                                      .group = group,
                                      .content = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
                                      .layer = layer,
                                      .n_layer = 4,
                                      .type = IFLOW_KV_F16,
                                      .rope = IFLOW_ROPE_AFTER};
    iflow_chunk_id(&identity, id);
    assert_string_equal(id, "66a459e1c0757bc6dd2bfbb12be5f07b");
    free(alike);
}

/* Layers of several widths, some of which store nothing; a chunk that stands in a chain, with coordinates, groups and a digest. */
static void test_all_that_there_is(void **state) {
    (void)state;
    enum { N = 3, N_LAYER = 4 };
    for (int type = IFLOW_KV_F16; type <= IFLOW_KV_Q8_0; type++) {
        fixture f = fixture_new(9, N, 2, N_LAYER, 96, (iflow_kv_type)type);
        const int32_t coord[] = {0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 1, 0}, group[] = {-1, 0, 0};
        static const iflow_kv_layer layer[N_LAYER] = {
            {IFLOW_KV_ROWS, 64, 96}, {IFLOW_KV_ROWS, 0, 0}, {IFLOW_KV_ROWS, 32, 0}, {IFLOW_KV_ROWS, 0, 64}};
        memcpy(f.layer, layer, sizeof layer);
        memcpy(f.identity.parent, "ffeeddccbbaa99887766554433221100", IFLOW_ID_SIZE);
        memcpy(f.identity.content, "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", IFLOW_CONTENT_SIZE);
        f.identity.n_before = 40;
        f.identity.coord = coord;
        f.identity.group = group;
        f.identity.rope = IFLOW_ROPE_AFTER;
        fixture_foresee(&f);
        iflow_blob blob = {0};
        iflow_chunk *chunk = NULL;
        iflow_chunk_info info;
        char id[IFLOW_ID_SIZE];
        iflow_chunk_id(&f.identity, id);
        encode(&f, &blob);
        assert_int_equal(iflow_chunk_peek(blob.data, blob.n_bytes, id, "file", &info, NULL), IFLOW_OK);
        assert_true(info.after_rope && info.n_before == 40 && info.n_layer == N_LAYER && info.n_embd_kv == 96 && info.has_staleness);
        assert_string_equal(info.parent, f.identity.parent);
        assert_int_equal(iflow_chunk_decode(&blob, id, "file", &chunk), IFLOW_OK);
        assert_string_equal(chunk->identity.parent, f.identity.parent);
        assert_string_equal(chunk->identity.content, f.identity.content);
        assert_int_equal(chunk->identity.n_before, 40);
        assert_int_equal(chunk->identity.rope, IFLOW_ROPE_AFTER);
        assert_memory_equal(chunk->identity.coord, coord, sizeof coord);
        assert_memory_equal(chunk->identity.group, group, sizeof group);
        assert_memory_equal(chunk->identity.layer, layer, sizeof layer);
        assert_memory_equal(chunk->staleness, f.estimated, N * sizeof f.estimated[0]);
        for (int i = 0; i < 2 * N_LAYER; i++) {
            const int width = (int)(i % 2 ? layer[i / 2].v_width : layer[i / 2].k_width);
            const void *rows = (i % 2 ? chunk->v : chunk->k)[i / 2];
            uint16_t out[N * 96];
            assert_int_equal(rows != NULL, width > 0);
            if (width) {
                iflow_chunk_rows_f16(chunk, rows, width, 0, N, out);
                for (int e = 0; e < N * width; e++) {
                    const float expected = ggml_fp16_to_fp32((i % 2 ? f.v : f.k)[i / 2][e]);
                    assert_true(fabsf(ggml_fp16_to_fp32(out[e]) - expected) <= (type == IFLOW_KV_F16 ? 0.0f : 0.0095f));
                }
            }
        }
        assert_int_equal(iflow_chunk_require_plain(chunk, N_LAYER, 96), IFLOW_E_UNSUPPORTED);
        iflow_chunk_free(chunk);
        fixture_free(&f);
    }
}

static void test_require_plain(void **state) {
    (void)state;
    const int32_t coord[16] = {1}, group[4] = {0};
    for (int what = 0; what < 7; what++) {
        fixture f = fixture_new(9, 4, 2, 2, 32, IFLOW_KV_F16);
        iflow_blob blob = {0};
        iflow_chunk *chunk = NULL;
        f.identity.rope = what == 1 ? IFLOW_ROPE_AFTER : IFLOW_ROPE_BEFORE;
        f.identity.coord = what == 2 ? coord : NULL;
        f.identity.group = what == 3 ? group : NULL;
        f.layer[1].v_width = what == 4 ? 16 : 32;
        encode(&f, &blob);
        assert_int_equal(iflow_chunk_decode(&blob, NULL, "file", &chunk), IFLOW_OK);
        assert_int_equal(iflow_chunk_require_plain(chunk, what == 5 ? 3 : 2, what == 6 ? 64 : 32), what ? IFLOW_E_UNSUPPORTED : IFLOW_OK);
        iflow_chunk_free(chunk);
        fixture_free(&f);
    }
}

/* ---- Old files ---------------------------------------------------------------------------------------------------------------------- */

/* tests/data/chunk-1-*.bin: what the encoder of format 1 made of this fixture. */
static iflow_blob read_old(iflow_kv_type type) {
    const char *source = getenv("INFOFLOW_SOURCE");
    char path[4096];
    snprintf(path, sizeof path, "%s/tests/data/chunk-1-%s.bin", source ? source : ".", iflow_kv_type_name(type));
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    char bytes[8192];
    const size_t n = fread(bytes, 1, sizeof bytes, file);
    fclose(file);
    assert_true(n > 1000 && n < sizeof bytes);
    return copy_of(bytes, n);
}

/* The same rows give the same bytes as in format 1. */
static void test_rows_are_as_in_format_1(void **state) {
    (void)state;
    for (int type = IFLOW_KV_F16; type <= IFLOW_KV_Q8_0; type++) {
        fixture f = fixture_new(21, 5, 2, 2, 64, (iflow_kv_type)type);
        iflow_blob old = read_old((iflow_kv_type)type), blob = {0};
        iflow_chunk *chunk = NULL;
        fixture_foresee(&f);
        encode(&f, &blob);
        assert_int_equal(iflow_chunk_decode(&blob, NULL, "file", &chunk), IFLOW_OK);
        struct gguf_context *gguf = gguf_init_from_buffer(old.data, old.n_bytes, (struct gguf_init_params){.no_alloc = true});
        assert_non_null(gguf);
        assert_int_equal(gguf_get_n_tensors(gguf), 5);
        const unsigned char *data = (const unsigned char *)old.data + gguf_get_data_offset(gguf);
        const size_t n_bytes = 5 * iflow_kv_row_bytes((iflow_kv_type)type, 64);
        for (int i = 0; i < 4; i++) {
            assert_int_equal(gguf_get_tensor_size(gguf, i), n_bytes);
            assert_memory_equal(data + gguf_get_tensor_offset(gguf, i), (i % 2 ? chunk->v : chunk->k)[i / 2], n_bytes);
        }
        assert_memory_equal(data + gguf_get_tensor_offset(gguf, 4), chunk->staleness, 5 * sizeof(float));
        gguf_free(gguf);
        iflow_chunk_free(chunk);
        iflow_blob_free(&old);
        fixture_free(&f);
    }
}

/* A file of format 1 is told from one that is damaged, and is not read. */
static void test_old_file(void **state) {
    (void)state;
    iflow_blob old = read_old(IFLOW_KV_F16);
    unsigned char *bytes = (unsigned char *)(uintptr_t)old.data;
    iflow_chunk_info info;
    assert_true(iflow_chunk_is_old(bytes, IFLOW_CHUNK_FIRST_BYTES));
    assert_false(iflow_chunk_is_old(bytes, 100)); /* less than the first fields */
    assert_int_equal(status_of(bytes, old.n_bytes, NULL), IFLOW_E_UNSUPPORTED);
    assert_non_null(strstr(iflow_error_message(), "an old chunk (format version 1"));
    assert_non_null(strstr(iflow_error_message(), "pruning the store's old chunks"));
    assert_int_equal(iflow_chunk_peek(bytes, old.n_bytes, NULL, "file", &info, NULL), IFLOW_E_UNSUPPORTED);
    bytes[300] ^= 1;
    assert_int_equal(status_of(bytes, old.n_bytes, NULL), IFLOW_E_CORRUPT);
    bytes[300] ^= 1;
    bytes[0] ^= 1;
    assert_false(iflow_chunk_is_old(bytes, old.n_bytes));
    iflow_blob_free(&old);
    fixture f = fixture_new(3, 4, 1, 2, 32, IFLOW_KV_F16);
    encode(&f, &old);
    assert_false(iflow_chunk_is_old(old.data, old.n_bytes));
    iflow_blob_free(&old);
    fixture_free(&f);
}

/* ---- Bad input to the encoder ------------------------------------------------------------------------------------------------------- */

static void test_encode_refuses(void **state) {
    (void)state;
    iflow_blob blob = {0};
    fixture f = fixture_new(1, 2, 1, 1, 48, IFLOW_KV_Q8_0);
    assert_int_equal(fixture_encode(&f, &blob), IFLOW_E_UNSUPPORTED);
    assert_non_null(strstr(iflow_error_message(), "48"));
    f.identity.type = IFLOW_KV_F16;
    f.token[1] = -1;
    assert_int_equal(fixture_encode(&f, &blob), IFLOW_E_ARG);
    f.token[1] = 1;
    f.root[0] = -5;
    assert_int_equal(fixture_encode(&f, &blob), IFLOW_E_ARG);
    f.root[0] = 1;
    f.identity.fingerprint[0] = 'X';
    assert_int_equal(fixture_encode(&f, &blob), IFLOW_E_ARG);
    assert_non_null(strstr(iflow_error_message(), "fingerprint"));
    f.identity.fingerprint[0] = 'a';
    f.identity.n_tokens = 0;
    assert_int_equal(fixture_encode(&f, &blob), IFLOW_E_ARG);
    f.identity.n_tokens = 2;
    f.identity.n_before = 3; /* of no parent */
    assert_int_equal(fixture_encode(&f, &blob), IFLOW_E_ARG);
    f.identity.n_before = 0;
    f.layer[0].kind = IFLOW_KV_LATENT;
    assert_int_equal(fixture_encode(&f, &blob), IFLOW_E_UNSUPPORTED);
    assert_non_null(strstr(iflow_error_message(), "layer 0 is of kind 2 (latent)"));
    f.layer[0].kind = IFLOW_KV_ROWS;
    f.layer[0].k_width = f.layer[0].v_width = 0;
    assert_int_equal(fixture_encode(&f, &blob), IFLOW_E_ARG);
    assert_non_null(strstr(iflow_error_message(), "stores anything"));
    f.layer[0].k_width = f.layer[0].v_width = 48;
    assert_int_equal(fixture_encode(&f, &blob), IFLOW_OK);
    iflow_blob_free(&blob);
    fixture_free(&f);

    f = fixture_new(1, 2, 1, 1, 32, IFLOW_KV_Q8_0);
    f.v[0][40] = 0x7c00; /* infinity */
    assert_int_equal(fixture_encode(&f, &blob), IFLOW_E_NOT_FINITE);
    assert_non_null(strstr(iflow_error_message(), "layer 0: the value of token 1 does not fit f16"));
    assert_null(blob.data);
    fixture_free(&f);

    iflow_kv_type type;
    assert_int_equal(iflow_kv_type_from_name("q4_0", &type), IFLOW_E_ARG);
    assert_non_null(strstr(iflow_error_message(), "q8_0"));
    assert_int_equal(iflow_kv_type_from_name("q8_0", &type), IFLOW_OK);
    assert_int_equal(type, IFLOW_KV_Q8_0);
    assert_int_equal(iflow_kv_type_from_name(NULL, &type), IFLOW_OK);
    assert_int_equal(type, IFLOW_KV_F16);
}

/* ---- Damage ------------------------------------------------------------------------------------------------------------------------- */

static void test_every_truncation(void **state) {
    (void)state;
    for (int i = 0; i < 4; i++) {
        fixture f = fixture_new(2, 3, 1, 2, 32, i % 2 ? IFLOW_KV_F16 : IFLOW_KV_Q8_0);
        iflow_blob blob = {0};
        if (i >= 2) {
            fixture_foresee(&f);
        }
        encode(&f, &blob);
        for (size_t n = 0; n < blob.n_bytes; n++) {
            assert_int_equal(status_of(blob.data, n, NULL), IFLOW_E_CORRUPT);
            assert_non_null(strstr(iflow_error_message(), "file"));
            iflow_blob cut = copy_of(blob.data, n);
            iflow_chunk_info info;
            assert_int_equal(iflow_chunk_peek(cut.data, n, NULL, "file", &info, NULL), IFLOW_E_CORRUPT); /* without reading the data */
            iflow_blob_free(&cut);
        }
        iflow_blob_free(&blob);
        fixture_free(&f);
    }
}

static void check_every_bit_flip(bool estimated) {
    fixture f = fixture_new(2, 2, 1, 1, 32, IFLOW_KV_Q8_0);
    iflow_blob blob = {0};
    if (estimated) {
        fixture_foresee(&f);
    }
    encode(&f, &blob);
    unsigned char *bytes = (unsigned char *)(uintptr_t)blob.data;
    for (size_t i = 0; i < blob.n_bytes; i++) {
        for (int bit = 0; bit < 8; bit++) {
            bytes[i] ^= (unsigned char)(1 << bit);
            assert_int_equal(status_of(bytes, blob.n_bytes, NULL), IFLOW_E_CORRUPT);
            bytes[i] ^= (unsigned char)(1 << bit);
        }
    }
    assert_int_equal(status_of(bytes, blob.n_bytes, NULL), IFLOW_OK);
    iflow_blob_free(&blob);
    fixture_free(&f);
}

static void test_every_bit_flip(void **state) {
    (void)state;
    check_every_bit_flip(false);
    check_every_bit_flip(true);
}

static void test_more_than_a_chunk(void **state) {
    (void)state;
    fixture f = fixture_new(2, 2, 1, 1, 32, IFLOW_KV_F16);
    iflow_blob blob = {0};
    encode(&f, &blob);
    unsigned char *longer = calloc(blob.n_bytes + 64, 1);
    memcpy(longer, blob.data, blob.n_bytes);
    assert_int_equal(status_of(longer, blob.n_bytes + 1, NULL), IFLOW_E_CORRUPT);
    iflow_chunk_info info;
    assert_int_equal(iflow_chunk_peek(longer, blob.n_bytes + 64, NULL, "file", &info, NULL), IFLOW_E_CORRUPT);
    assert_int_equal(status_of(longer, blob.n_bytes + 64, NULL), IFLOW_E_CORRUPT);
    free(longer);
    iflow_blob_free(&blob);
    fixture_free(&f);
}

static void test_wrong_name(void **state) {
    (void)state;
    fixture f = fixture_new(2, 2, 1, 1, 32, IFLOW_KV_F16);
    iflow_blob blob = {0};
    encode(&f, &blob);
    assert_int_equal(status_of(blob.data, blob.n_bytes, "00000000000000000000000000000000"), IFLOW_E_CORRUPT);
    char id[IFLOW_ID_SIZE];
    iflow_chunk_id(&f.identity, id);
    assert_non_null(strstr(iflow_error_message(), id));
    iflow_blob_free(&blob);
    fixture_free(&f);
}

static void quiet(enum ggml_log_level level, const char *text, void *user) {
    (void)level;
    (void)text;
    (void)user;
}

int main(void) {
    ggml_log_set(quiet, NULL); /* ggml's reader complains about each forged file */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_peek_tells_the_same),
        cmocka_unit_test(test_foreseen),
        cmocka_unit_test(test_same_input_same_bytes),
        cmocka_unit_test(test_id_depends_on_everything),
        cmocka_unit_test(test_padding_is_zero),
        cmocka_unit_test(test_golden_id),
        cmocka_unit_test(test_all_that_there_is),
        cmocka_unit_test(test_require_plain),
        cmocka_unit_test(test_rows_are_as_in_format_1),
        cmocka_unit_test(test_old_file),
        cmocka_unit_test(test_encode_refuses),
        cmocka_unit_test(test_every_truncation),
        cmocka_unit_test(test_every_bit_flip),
        cmocka_unit_test(test_more_than_a_chunk),
        cmocka_unit_test(test_wrong_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
