/* test_chunk.c - chunk files: round trips, sameness of bytes, and every kind of damage. */
#include "chunk_fixture.h"

#include <gguf.h>
#include <math.h>

/* ---- Sound files -------------------------------------------------------------------------------------------------------------------- */

static void check_round_trip(iflow_kv_type type, size_t n_tokens, size_t n_sink, int n_layer, int n_embd_kv, float tolerance) {
    fixture f = fixture_new(7, n_tokens, n_sink, n_layer, n_embd_kv, type);
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
    assert_int_equal(chunk->identity.n_sink, n_sink);
    assert_int_equal(chunk->identity.n_layer, n_layer);
    assert_int_equal(chunk->identity.n_embd_kv, n_embd_kv);
    assert_int_equal(chunk->identity.type, type);
    assert_memory_equal(chunk->identity.token, f.token, n_tokens * sizeof f.token[0]);
    if (n_sink) {
        assert_memory_equal(chunk->identity.sink, f.sink, n_sink * sizeof f.sink[0]);
    }
    const size_t n = (size_t)n_embd_kv;
    uint16_t *rows = calloc(n_tokens * n, sizeof rows[0]);
    for (int l = 0; l < n_layer; l++) {
        for (int kind = 0; kind < 2; kind++) {
            const uint16_t *expected = kind ? f.v[l] : f.k[l];
            iflow_chunk_rows_f16(chunk, kind ? chunk->v[l] : chunk->k[l], 0, n_tokens, rows);
            for (size_t i = 0; i < n_tokens * n; i++) {
                assert_true(fabsf(ggml_fp16_to_fp32(rows[i]) - ggml_fp16_to_fp32(expected[i])) <= tolerance);
            }
            /* a part of the rows is that part of all rows */
            uint16_t *last = calloc(n, sizeof last[0]);
            iflow_chunk_rows_f16(chunk, kind ? chunk->v[l] : chunk->k[l], n_tokens - 1, 1, last);
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
    assert_int_equal(info.n_sink, 2);
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
            assert_int_equal(info.foreseen, i);
            assert_int_equal(iflow_chunk_decode(&blob[i], info.id, "file", &chunk[i]), IFLOW_OK);
        }
        assert_string_equal(chunk[0]->id, chunk[1]->id);
        assert_null(chunk[0]->foreseen);
        assert_memory_equal(chunk[1]->foreseen, f.foreseen, 3 * sizeof f.foreseen[0]);
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
    char ids[9][IFLOW_ID_SIZE];
    iflow_chunk_identity i = f.identity;
    int n = 0;
    iflow_chunk_id(&i, ids[n++]);
    i.fingerprint[31] = '0';
    iflow_chunk_id(&i, ids[n++]);
    i = f.identity, i.n_sink = 1;
    iflow_chunk_id(&i, ids[n++]);
    i = f.identity, i.n_tokens = 3;
    iflow_chunk_id(&i, ids[n++]);
    i = f.identity, i.n_layer = 3;
    iflow_chunk_id(&i, ids[n++]);
    i = f.identity, i.n_embd_kv = 64;
    iflow_chunk_id(&i, ids[n++]);
    i = f.identity, i.type = IFLOW_KV_Q8_0;
    iflow_chunk_id(&i, ids[n++]);
    i = f.identity, i.exact = true;
    iflow_chunk_id(&i, ids[n++]);
    i = f.identity, i.token = f.sink, i.n_tokens = 2, i.sink = f.token, i.n_sink = 4; /* what moves from sink to chunk */
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

/* A golden id: computed from docs/FORMAT.md by tests/chunk_id.py, so that the format cannot change unnoticed. */
static void test_golden_id(void **state) {
    (void)state;
    const int32_t sink[] = {1, 2}, token[] = {10, 20, 30};
    iflow_chunk_identity identity = {.fingerprint = "00112233445566778899aabbccddeeff",
                                     .sink = sink,
                                     .n_sink = 2,
                                     .token = token,
                                     .n_tokens = 3,
                                     .n_layer = 4,
                                     .n_embd_kv = 64,
                                     .type = IFLOW_KV_Q8_0};
    char id[IFLOW_ID_SIZE];
    iflow_chunk_id(&identity, id);
    assert_string_equal(id, "2ecdb890dfc872d149d8ed49d60002d8");
    identity.exact = true;
    iflow_chunk_id(&identity, id);
    assert_string_equal(id, "a71742e18a63de4b35c1e3849e064fc9");
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
    f.sink[0] = -5;
    assert_int_equal(fixture_encode(&f, &blob), IFLOW_E_ARG);
    f.sink[0] = 1;
    f.identity.fingerprint[0] = 'X';
    assert_int_equal(fixture_encode(&f, &blob), IFLOW_E_ARG);
    assert_non_null(strstr(iflow_error_message(), "fingerprint"));
    f.identity.fingerprint[0] = 'a';
    f.identity.n_tokens = 0;
    assert_int_equal(fixture_encode(&f, &blob), IFLOW_E_ARG);
    f.identity.n_tokens = 2;
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

static void check_every_bit_flip(bool foreseen) {
    fixture f = fixture_new(2, 2, 1, 1, 32, IFLOW_KV_Q8_0);
    iflow_blob blob = {0};
    if (foreseen) {
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

/* ---- Forgeries: wrong files whose checksums are right ------------------------------------------------------------------------------- */

/* Writes a chunk file through ggml as a stranger would. what: which field to get wrong. */
typedef enum forgery {
    NOTHING,
    NO_ARCHITECTURE,
    WRONG_ARCHITECTURE,
    NO_FINGERPRINT,
    SHORT_FINGERPRINT,
    UPPER_FINGERPRINT,
    NUMBER_FINGERPRINT,
    TEXT_N_LAYER,
    ZERO_LAYERS,
    HUGE_LAYERS,
    MORE_LAYERS,
    FEWER_LAYERS,
    ZERO_EMBD,
    HUGE_EMBD,
    NEGATIVE_EMBD,
    OTHER_EMBD,
    NO_TYPE,
    UNKNOWN_TYPE,
    NO_SINK,
    NO_TOKENS,
    EMPTY_TOKENS,
    WIDE_TOKENS,
    TEXT_TOKENS,
    SCALAR_TOKENS,
    NEGATIVE_TOKEN,
    NEGATIVE_SINK,
    OTHER_ALIGNMENT,
    NO_DATA_CHECKSUM,
    TENSOR_NAME,
    TENSOR_ORDER,
    TENSOR_TYPE,
    TENSOR_SHAPE,
    TENSOR_DIMS,
    TENSOR_BEFORE,
    NO_TENSORS,
    OTHER_VERSION,
    ZERO_VERSION,
    TOKEN_NUMBERS,  /* allowed */
    FORESEEN,       /* and taken */
    FORESEEN_SHORT, /* allowed, but not taken for ours: this and the next three */
    FORESEEN_LONG,
    FORESEEN_F16,
    FORESEEN_TWICE_HALF,
    UNKNOWN_KEY, /* allowed */
    TEXT_EXACT,
} forgery;

static const struct {
    forgery what;
    iflow_status expected;
    const char *message;
} forgeries[] = {
    {NOTHING, IFLOW_OK, ""},
    {NO_ARCHITECTURE, IFLOW_E_CORRUPT, "general.architecture"},
    {WRONG_ARCHITECTURE, IFLOW_E_CORRUPT, "general.architecture"},
    {NO_FINGERPRINT, IFLOW_E_CORRUPT, "fingerprint"},
    {SHORT_FINGERPRINT, IFLOW_E_CORRUPT, "fingerprint"},
    {UPPER_FINGERPRINT, IFLOW_E_CORRUPT, "fingerprint"},
    {NUMBER_FINGERPRINT, IFLOW_E_CORRUPT, "fingerprint"},
    {TEXT_N_LAYER, IFLOW_E_CORRUPT, "n_layer"},
    {ZERO_LAYERS, IFLOW_E_CORRUPT, "layers"},
    {HUGE_LAYERS, IFLOW_E_CORRUPT, "layer"},
    {MORE_LAYERS, IFLOW_E_CORRUPT, "4 tensors"},
    {FEWER_LAYERS, IFLOW_OK, ""}, /* what is left over counts as unknown tensors: but the id is another one */
    {ZERO_EMBD, IFLOW_E_CORRUPT, "elements"},
    {HUGE_EMBD, IFLOW_E_CORRUPT, "elements"},
    {NEGATIVE_EMBD, IFLOW_E_CORRUPT, "n_embd_kv"},
    {OTHER_EMBD, IFLOW_E_CORRUPT, "blk.0.k"},
    {NO_TYPE, IFLOW_E_CORRUPT, "type"},
    {UNKNOWN_TYPE, IFLOW_E_CORRUPT, "type"},
    {NO_SINK, IFLOW_E_CORRUPT, "sink"},
    {NO_TOKENS, IFLOW_E_CORRUPT, "tokens"},
    {EMPTY_TOKENS, IFLOW_E_CORRUPT, "no token"},
    {WIDE_TOKENS, IFLOW_E_CORRUPT, "tokens"},
    {TEXT_TOKENS, IFLOW_E_CORRUPT, "tokens"},
    {SCALAR_TOKENS, IFLOW_E_CORRUPT, "tokens"},
    {NEGATIVE_TOKEN, IFLOW_E_CORRUPT, "negative"},
    {NEGATIVE_SINK, IFLOW_E_CORRUPT, "negative"},
    {OTHER_ALIGNMENT, IFLOW_E_CORRUPT, "alignment"},
    {NO_DATA_CHECKSUM, IFLOW_E_CORRUPT, "checksum"},
    {TENSOR_NAME, IFLOW_E_CORRUPT, "blk.1.v"},
    {TENSOR_ORDER, IFLOW_E_CORRUPT, "blk.0.k"},
    {TENSOR_TYPE, IFLOW_E_CORRUPT, "blk.1.v"},
    {TENSOR_SHAPE, IFLOW_E_CORRUPT, "blk.1.v"},
    {TENSOR_DIMS, IFLOW_E_CORRUPT, "blk.1.v"},
    {TENSOR_BEFORE, IFLOW_E_CORRUPT, "blk.0.k"},
    {NO_TENSORS, IFLOW_E_CORRUPT, "header"},
    {OTHER_VERSION, IFLOW_E_UNSUPPORTED, "version 2"},
    {ZERO_VERSION, IFLOW_E_UNSUPPORTED, "version 0"},
    {TOKEN_NUMBERS, IFLOW_OK, ""},
    {FORESEEN, IFLOW_OK, ""},
    {FORESEEN_SHORT, IFLOW_OK, ""},
    {FORESEEN_LONG, IFLOW_OK, ""},
    {FORESEEN_F16, IFLOW_OK, ""},
    {FORESEEN_TWICE_HALF, IFLOW_OK, ""},
    {UNKNOWN_KEY, IFLOW_OK, ""},
    {TEXT_EXACT, IFLOW_E_CORRUPT, "infoflow.exact"},
};

static void add_tensor(struct gguf_context *gguf, const char *name, enum ggml_type type, int64_t ne0, int64_t ne1, int64_t ne2) {
    struct ggml_tensor tensor = {.type = type, .ne = {ne0, ne1, ne2, 1}};
    tensor.nb[0] = ggml_type_size(type);
    tensor.nb[1] = ggml_row_size(type, ne0);
    tensor.nb[2] = tensor.nb[1] * (size_t)ne1;
    tensor.nb[3] = tensor.nb[2] * (size_t)ne2;
    snprintf(tensor.name, sizeof tensor.name, "%s", name);
    gguf_add_tensor(gguf, &tensor);
}

static unsigned char *forge(forgery what, size_t *n_bytes, size_t *n_header) {
    struct gguf_context *gguf = gguf_init_empty();
    const int32_t sink[] = {what == NEGATIVE_SINK ? -1 : 1}, token[] = {5, what == NEGATIVE_TOKEN ? -7 : 6, 7};
    const int64_t wide[] = {5, 6, 7};
    const char *texts[] = {"5", "6", "7"};
    const char *zeros = "00000000000000000000000000000000";
    const uint32_t n_embd = what == ZERO_EMBD       ? 0
                            : what == HUGE_EMBD     ? 1u << 21
                            : what == NEGATIVE_EMBD ? 0xffffffe0u
                            : what == OTHER_EMBD    ? 64
                                                    : 32;
    const uint32_t n_layer = what == ZERO_LAYERS    ? 0
                             : what == HUGE_LAYERS  ? 0x7fffffffu
                             : what == MORE_LAYERS  ? 3
                             : what == FEWER_LAYERS ? 1
                                                    : 2;
    gguf_set_val_u32(gguf, "infoflow.version", what == OTHER_VERSION ? 2 : what == ZERO_VERSION ? 0 : 1);
    gguf_set_val_u64(gguf, "infoflow.header_bytes", 0);
    gguf_set_val_str(gguf, "infoflow.checksum.header", zeros);
    gguf_set_val_str(gguf, what == NO_DATA_CHECKSUM ? "x.infoflow.checksum.data" : "infoflow.checksum.data", zeros);
    if (what != NO_ARCHITECTURE) {
        gguf_set_val_str(gguf, "general.architecture", what == WRONG_ARCHITECTURE ? "llama" : "infoflow-chunk");
    }
    if (what == NUMBER_FINGERPRINT) {
        gguf_set_val_u64(gguf, "infoflow.fingerprint", 1);
    } else if (what != NO_FINGERPRINT) {
        gguf_set_val_str(gguf, "infoflow.fingerprint",
                         what == SHORT_FINGERPRINT   ? "0123456789abcdef0123456789abcde"
                         : what == UPPER_FINGERPRINT ? "0123456789ABCDEF0123456789ABCDEF"
                                                     : "0123456789abcdef0123456789abcdef");
    }
    if (what == TEXT_N_LAYER) {
        gguf_set_val_str(gguf, "infoflow.n_layer", "2");
    } else {
        gguf_set_val_u32(gguf, "infoflow.n_layer", n_layer);
    }
    gguf_set_val_u32(gguf, "infoflow.n_embd_kv", n_embd);
    if (what != NO_TYPE) {
        gguf_set_val_str(gguf, "infoflow.type", what == UNKNOWN_TYPE ? "f32" : "f16");
    }
    if (what != NO_SINK) {
        gguf_set_arr_data(gguf, "infoflow.sink", GGUF_TYPE_INT32, sink, 1);
    }
    if (what == WIDE_TOKENS) {
        gguf_set_arr_data(gguf, "infoflow.tokens", GGUF_TYPE_INT64, wide, 3);
    } else if (what == TEXT_TOKENS) {
        gguf_set_arr_str(gguf, "infoflow.tokens", texts, 3);
    } else if (what == SCALAR_TOKENS) {
        gguf_set_val_i32(gguf, "infoflow.tokens", 5);
    } else if (what != NO_TOKENS) {
        gguf_set_arr_data(gguf, "infoflow.tokens", GGUF_TYPE_INT32, token, what == EMPTY_TOKENS ? 0 : 3);
    }
    if (what == OTHER_ALIGNMENT) {
        gguf_set_val_u32(gguf, "general.alignment", 16);
    }
    if (what == TEXT_EXACT) {
        gguf_set_val_str(gguf, "infoflow.exact", "true");
    }
    if (what == UNKNOWN_KEY) {
        gguf_set_val_str(gguf, "later.thing", "of a later writer");
    }
    if (what == TENSOR_BEFORE) {
        add_tensor(gguf, "token.staleness", GGML_TYPE_F32, 3, 1, 1);
    }
    for (int i = 0; i < 4 && what != NO_TENSORS; i++) {
        const int at = what == TENSOR_ORDER ? 3 - i : i;
        const bool wrong = i == 3;
        char name[32];
        snprintf(name, sizeof name, "blk.%d.%c", at / 2, at % 2 ? 'v' : 'k');
        add_tensor(gguf, wrong && what == TENSOR_NAME ? "blk.1.w" : name, wrong && what == TENSOR_TYPE ? GGML_TYPE_Q8_0 : GGML_TYPE_F16, 32,
                   wrong && what == TENSOR_SHAPE ? 4 : 3, wrong && what == TENSOR_DIMS ? 2 : 1);
    }
    if (what == TOKEN_NUMBERS) {
        add_tensor(gguf, "token.staleness", GGML_TYPE_F32, 3, 1, 1);
    }
    if (what >= FORESEEN && what <= FORESEEN_TWICE_HALF) {
        add_tensor(gguf, "token.foreseen", what >= FORESEEN_F16 ? GGML_TYPE_F16 : GGML_TYPE_F32,
                   what == FORESEEN_SHORT  ? 2
                   : what == FORESEEN_LONG ? 4
                                           : 3,
                   what == FORESEEN_TWICE_HALF ? 2 : 1, 1);
    }

    *n_header = gguf_get_meta_size(gguf);
    size_t n_data = 0;
    for (int64_t i = 0; i < gguf_get_n_tensors(gguf); i++) {
        n_data += GGML_PAD(gguf_get_tensor_size(gguf, i), gguf_get_alignment(gguf));
    }
    *n_bytes = *n_header + n_data;
    unsigned char *bytes = calloc(*n_bytes, 1);
    assert_non_null(bytes);
    gguf_get_meta_data(gguf, bytes);
    gguf_free(gguf);
    const uint64_t size = *n_header;
    memcpy(bytes + find(bytes, *n_header, "infoflow.header_bytes") + strlen("infoflow.header_bytes") + 4, &size, sizeof size);
    seal(bytes, *n_bytes, *n_header);
    return bytes;
}

static void test_forgeries(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof forgeries / sizeof forgeries[0]; i++) {
        size_t n_bytes, n_header;
        unsigned char *bytes = forge(forgeries[i].what, &n_bytes, &n_header);
        const iflow_status status = status_of(bytes, n_bytes, NULL);
        if (status != forgeries[i].expected || (status && !strstr(iflow_error_message(), forgeries[i].message))) {
            fail_msg("forgery %d: status %d: %s", (int)forgeries[i].what, (int)status, iflow_error_message());
        }
        free(bytes);
    }
}

/* Numbers of another length or type than one f32 a token are some other writer's: the chunk is good, and has none. */
static void test_foreseen_of_a_stranger(void **state) {
    (void)state;
    for (int what = FORESEEN; what <= FORESEEN_TWICE_HALF; what++) {
        size_t n_bytes, n_header;
        unsigned char *bytes = forge((forgery)what, &n_bytes, &n_header);
        iflow_chunk_info info;
        iflow_chunk *chunk = NULL;
        assert_int_equal(iflow_chunk_peek(bytes, n_bytes, NULL, "file", &info, NULL), IFLOW_OK);
        assert_int_equal(info.foreseen, what == FORESEEN);
        iflow_blob blob = {.data = bytes, .n_bytes = n_bytes};
        assert_int_equal(iflow_chunk_decode(&blob, NULL, "file", &chunk), IFLOW_OK);
        assert_int_equal(chunk->foreseen != NULL, what == FORESEEN);
        iflow_chunk_free(chunk);
    }
}

/* A forged file of what the encoder writes is what the encoder writes: the forger and it agree on the format. */
static void test_forger_is_exact(void **state) {
    (void)state;
    size_t n_bytes, n_header;
    unsigned char *forged = forge(NOTHING, &n_bytes, &n_header);
    int32_t sink[] = {1}, token[] = {5, 6, 7};
    fixture f = fixture_new(1, 3, 1, 2, 32, IFLOW_KV_F16);
    memcpy(f.sink, sink, sizeof sink);
    memcpy(f.token, token, sizeof token);
    for (int l = 0; l < 2; l++) {
        memset(f.k[l], 0, 3 * 32 * sizeof f.k[l][0]);
        memset(f.v[l], 0, 3 * 32 * sizeof f.v[l][0]);
    }
    iflow_blob blob = {0};
    encode(&f, &blob);
    assert_int_equal(n_bytes, blob.n_bytes);
    assert_memory_equal(forged, blob.data, n_bytes);
    iflow_blob_free(&blob);
    fixture_free(&f);
    free(forged);
}

/* Single fields of the header overwritten, then sealed: what ggml's reader sees and must not trip over. */
static void test_sealed_damage(void **state) {
    (void)state;
    static const struct {
        const char *after; /* the text that stands before the field; NULL: from the beginning of the file */
        size_t offset;
        uint64_t value;
        size_t n_bytes;
    } damages[] = {
        {NULL, 0, 0x46464747, 4}, /* magic */
        {NULL, 4, 2, 4},          /* GGUF version 2: the same layout, but not ours */
        {NULL, 4, 0x03000000, 4}, /* big endian */
        {NULL, 8, UINT64_MAX, 8}, /* number of tensors */
        {NULL, 8, (uint64_t)1 << 40, 8},
        {NULL, 8, 5, 8},
        {NULL, 8, 3, 8},
        {NULL, 16, UINT64_MAX, 8}, /* number of keys */
        {NULL, 16, (uint64_t)1 << 50, 8},
        {NULL, 16, 12, 8},
        {NULL, 16, 10, 8},
        {NULL, 16, 0, 8},
        {"infoflow.checksum.data", 0, 9, 4},          /* an array where the checksum is */
        {"infoflow.checksum.data", 4, UINT64_MAX, 8}, /* length of a string */
        {"infoflow.checksum.data", 4, (uint64_t)1 << 30, 8},
        {"infoflow.checksum.data", 4, 0, 8},
        {"general.architecture", 4, 1 << 20, 8},
        {"infoflow.tokens", 0, 1000, 4}, /* type of a value */
        {"infoflow.tokens", 0, UINT32_MAX, 4},
        {"infoflow.tokens", 4, 9, 4}, /* an array of arrays */
        {"infoflow.tokens", 4, 8, 4}, /* an array of strings */
        {"infoflow.tokens", 4, 1000, 4},
        {"infoflow.tokens", 8, UINT64_MAX, 8}, /* length of an array */
        {"infoflow.tokens", 8, (uint64_t)1 << 61, 8},
        {"infoflow.tokens", 8, (uint64_t)1 << 28, 8},
        {"infoflow.tokens", 8, 4, 8},
        {"infoflow.tokens", 8, 2, 8},
        {"blk.0.k", 0, 5, 4}, /* dimensions */
        {"blk.0.k", 0, UINT32_MAX, 4},
        {"blk.0.k", 0, 0, 4},
        {"blk.0.k", 4, UINT64_MAX, 8}, /* elements */
        {"blk.0.k", 4, (uint64_t)1 << 62, 8},
        {"blk.0.k", 4, 0, 8},
        {"blk.0.k", 12, (uint64_t)1 << 62, 8},
        {"blk.0.k", 12, (uint64_t)1 << 57, 8},
        {"blk.0.k", 20, 4, 4}, /* a type that ggml has dropped */
        {"blk.0.k", 20, 1000, 4},
        {"blk.0.k", 20, UINT32_MAX, 4},
        {"blk.0.k", 20, 0, 4},
        {"blk.0.k", 24, 32, 8}, /* offset */
        {"blk.0.v", 24, 0, 8},
        {"blk.0.v", 24, UINT64_MAX - 31, 8},
        {"blk.0.", 0, 'v', 1}, /* two of a name */
        {"infoflow.header_bytes", 4, 0, 8},
        {"infoflow.header_bytes", 4, UINT64_MAX, 8},
        {"infoflow.header_bytes", 4, UINT64_MAX - 31, 8},
        {"infoflow.header_bytes", 4, 192, 8},
        {"infoflow.header_bytes", 4, 160, 8},
    };
    for (size_t i = 0; i < sizeof damages / sizeof damages[0]; i++) {
        size_t n_bytes, n_header;
        unsigned char *bytes = forge(NOTHING, &n_bytes, &n_header);
        size_t at = damages[i].offset;
        if (damages[i].after) {
            at += find(bytes, n_header, damages[i].after) + strlen(damages[i].after);
        }
        for (size_t b = 0; b < damages[i].n_bytes; b++) {
            bytes[at + b] = (unsigned char)(damages[i].value >> 8 * b);
        }
        const size_t claimed = header_size(bytes, n_bytes);
        seal(bytes, n_bytes, claimed >= 192 && claimed <= n_bytes ? claimed : n_header);
        const iflow_status status = status_of(bytes, n_bytes, NULL);
        if (status != IFLOW_E_CORRUPT) {
            fail_msg("damage %zu: status %d: %s", i, (int)status, iflow_error_message());
        }
        free(bytes);
    }
}

/* Random bytes of the header overwritten and sealed. Whatever comes of it, it is a status. */
static void test_sealed_noise(void **state) {
    (void)state;
    static const unsigned char favourites[] = {0, 1, 2, 4, 8, 9, 32, 64, 127, 128, 255};
    uint32_t random = 42;
    size_t n_bytes, n_header, n_sound = 0;
    unsigned char *bytes = forge(FORESEEN, &n_bytes, &n_header), *noisy = malloc(n_bytes);
    assert_non_null(noisy);
    for (int round = 0; round < 20000; round++) {
        memcpy(noisy, bytes, n_bytes);
        const size_t sum = find(noisy, n_header, "infoflow.checksum.data") + strlen("infoflow.checksum.data");
        const unsigned n_changes = 1 + fixture_random(&random) % 4;
        for (unsigned c = 0; c < n_changes; c++) {
            const size_t at = sum + 44 + fixture_random(&random) % (n_header - sum - 44); /* behind what seal() looks for */
            noisy[at] = fixture_random(&random) % 2 ? (unsigned char)fixture_random(&random)
                                                    : favourites[fixture_random(&random) % sizeof favourites];
        }
        seal(noisy, n_bytes, n_header);
        const iflow_status status = status_of(noisy, n_bytes, NULL);
        n_sound += status == IFLOW_OK;
        assert_true(status == IFLOW_OK || status == IFLOW_E_CORRUPT);
    }
    assert_true(n_sound > 0 && n_sound < 20000); /* some only change a token: the seal works */
    free(noisy);
    free(bytes);
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
        cmocka_unit_test(test_encode_refuses),
        cmocka_unit_test(test_every_truncation),
        cmocka_unit_test(test_every_bit_flip),
        cmocka_unit_test(test_more_than_a_chunk),
        cmocka_unit_test(test_wrong_name),
        cmocka_unit_test(test_forger_is_exact),
        cmocka_unit_test(test_forgeries),
        cmocka_unit_test(test_foreseen_of_a_stranger),
        cmocka_unit_test(test_sealed_damage),
        cmocka_unit_test(test_sealed_noise),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
