/* test_chunk_forged.c - chunk files that are wrong under right checksums: what a stranger, a bug or a later program could write. */
#include "chunk_fixture.h"

#include <gguf.h>

/* Writes a chunk file through ggml as a stranger would. what: which field to get wrong. */
typedef enum forgery {
    NOTHING,
    NO_ARCHITECTURE,
    WRONG_ARCHITECTURE,
    NO_FINGERPRINT,
    SHORT_FINGERPRINT,
    UPPER_FINGERPRINT,
    NUMBER_FINGERPRINT,
    NO_KIND,
    TEXT_K_WIDTH,
    SHORT_V_WIDTH,
    ZERO_LAYERS,
    MORE_LAYERS,
    FEWER_LAYERS,
    ZERO_WIDTH,
    ALL_ZERO_WIDTH,
    HUGE_WIDTH,
    NEGATIVE_WIDTH,
    OTHER_WIDTH,
    KIND_NOTHING,
    KIND_LATENT,
    KIND_STATE,
    KIND_LATER,
    NO_ROPE,
    NUMBER_ROPE,
    OTHER_ROPE,
    AFTER_ROPE, /* allowed */
    NO_PARENT,
    SHORT_PARENT,
    LONG_PARENT,
    PARENT_ALONE,
    NO_BEFORE,
    SMALL_BEFORE,
    BEFORE_ALONE,
    HUGE_BEFORE,
    CHILD,  /* allowed */
    COORDS, /* allowed */
    SHORT_COORDS,
    EMPTY_COORDS,
    TEXT_COORDS,
    NEGATIVE_COORD,
    HUGE_COORD,
    PLAIN_COORDS,
    GROUPS, /* allowed */
    LONG_GROUPS,
    WIDE_GROUPS,
    LOW_GROUP,
    NO_GROUP,
    CONTENT, /* allowed */
    SHORT_CONTENT,
    UPPER_CONTENT,
    NUMBER_CONTENT,
    NO_TYPE,
    UNKNOWN_TYPE,
    NO_ROOT,
    NO_TOKENS,
    EMPTY_TOKENS,
    WIDE_TOKENS,
    TEXT_TOKENS,
    SCALAR_TOKENS,
    NEGATIVE_TOKEN,
    NEGATIVE_ROOT,
    OTHER_ALIGNMENT,
    NO_LAYER_CHECKSUMS,
    SHORT_LAYER_CHECKSUMS,
    WRONG_LAYER_CHECKSUM,
    NO_REST_CHECKSUM,
    WRONG_REST_CHECKSUM,
    NO_FINGERPRINT_VERSION,
    TEXT_FINGERPRINT_VERSION,
    OLD_FINGERPRINT,
    NEW_FINGERPRINT,
    TENSOR_NAME,
    TENSOR_ORDER,
    TENSOR_TYPE,
    TENSOR_SHAPE,
    TENSOR_DIMS,
    TENSOR_BEFORE,
    NO_TENSORS,
    OTHER_VERSION,
    OLD_VERSION,
    ZERO_VERSION,
    TOKEN_NUMBERS,  /* allowed */
    ESTIMATED,      /* and taken */
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
    {NO_KIND, IFLOW_E_CORRUPT, "layer.kind"},
    {TEXT_K_WIDTH, IFLOW_E_CORRUPT, "layer.k_width"},
    {SHORT_V_WIDTH, IFLOW_E_CORRUPT, "layer.v_width has 1 elements"},
    {ZERO_LAYERS, IFLOW_E_CORRUPT, "layers"},
    {MORE_LAYERS, IFLOW_E_CORRUPT, "4 tensors"},
    {FEWER_LAYERS, IFLOW_OK, ""},             /* what is left over counts as unknown tensors: but the id is another one */
    {ZERO_WIDTH, IFLOW_E_CORRUPT, "blk.0.k"}, /* the tensors are there */
    {ALL_ZERO_WIDTH, IFLOW_E_CORRUPT, "stores anything"},
    {HUGE_WIDTH, IFLOW_E_CORRUPT, "elements"},
    {NEGATIVE_WIDTH, IFLOW_E_CORRUPT, "elements"},
    {OTHER_WIDTH, IFLOW_E_CORRUPT, "blk.0.k"},
    {KIND_NOTHING, IFLOW_E_UNSUPPORTED, "layer 1 is of kind 0,"},
    {KIND_LATENT, IFLOW_E_UNSUPPORTED, "layer 1 is of kind 2 (latent)"},
    {KIND_STATE, IFLOW_E_UNSUPPORTED, "layer 1 is of kind 3 (state)"},
    {KIND_LATER, IFLOW_E_UNSUPPORTED, "layer 1 is of kind 4,"},
    {NO_ROPE, IFLOW_E_CORRUPT, "infoflow.rope"},
    {NUMBER_ROPE, IFLOW_E_CORRUPT, "infoflow.rope"},
    {OTHER_ROPE, IFLOW_E_CORRUPT, "infoflow.rope"},
    {AFTER_ROPE, IFLOW_OK, ""},
    {NO_PARENT, IFLOW_E_CORRUPT, "infoflow.parent"},
    {SHORT_PARENT, IFLOW_E_CORRUPT, "parent"},
    {LONG_PARENT, IFLOW_E_CORRUPT, "infoflow.parent"},
    {PARENT_ALONE, IFLOW_E_CORRUPT, "parent"},
    {NO_BEFORE, IFLOW_E_CORRUPT, "infoflow.n_before"},
    {SMALL_BEFORE, IFLOW_E_CORRUPT, "infoflow.n_before"},
    {BEFORE_ALONE, IFLOW_E_CORRUPT, "parent"},
    {HUGE_BEFORE, IFLOW_E_CORRUPT, "before the chunk"},
    {CHILD, IFLOW_OK, ""},
    {COORDS, IFLOW_OK, ""},
    {SHORT_COORDS, IFLOW_E_CORRUPT, "infoflow.coords has 11 elements"},
    {EMPTY_COORDS, IFLOW_E_CORRUPT, "infoflow.coords has 0 elements"},
    {TEXT_COORDS, IFLOW_E_CORRUPT, "infoflow.coords"},
    {NEGATIVE_COORD, IFLOW_E_CORRUPT, "coordinate"},
    {HUGE_COORD, IFLOW_E_CORRUPT, "coordinate"},
    {PLAIN_COORDS, IFLOW_E_CORRUPT, "coordinates"},
    {GROUPS, IFLOW_OK, ""},
    {LONG_GROUPS, IFLOW_E_CORRUPT, "infoflow.groups has 4 elements"},
    {WIDE_GROUPS, IFLOW_E_CORRUPT, "infoflow.groups"},
    {LOW_GROUP, IFLOW_E_CORRUPT, "group"},
    {NO_GROUP, IFLOW_E_CORRUPT, "group"},
    {CONTENT, IFLOW_OK, ""},
    {SHORT_CONTENT, IFLOW_E_CORRUPT, "infoflow.content"},
    {UPPER_CONTENT, IFLOW_E_CORRUPT, "digest"},
    {NUMBER_CONTENT, IFLOW_E_CORRUPT, "infoflow.content"},
    {NO_TYPE, IFLOW_E_CORRUPT, "type"},
    {UNKNOWN_TYPE, IFLOW_E_CORRUPT, "type"},
    {NO_ROOT, IFLOW_E_CORRUPT, "root"},
    {NO_TOKENS, IFLOW_E_CORRUPT, "tokens"},
    {EMPTY_TOKENS, IFLOW_E_CORRUPT, "no token"},
    {WIDE_TOKENS, IFLOW_E_CORRUPT, "tokens"},
    {TEXT_TOKENS, IFLOW_E_CORRUPT, "tokens"},
    {SCALAR_TOKENS, IFLOW_E_CORRUPT, "tokens"},
    {NEGATIVE_TOKEN, IFLOW_E_CORRUPT, "negative"},
    {NEGATIVE_ROOT, IFLOW_E_CORRUPT, "negative"},
    {OTHER_ALIGNMENT, IFLOW_E_CORRUPT, "alignment"},
    {NO_LAYER_CHECKSUMS, IFLOW_E_CORRUPT, "checksum.layers"},
    {SHORT_LAYER_CHECKSUMS, IFLOW_E_CORRUPT, "checksum.layers"},
    {WRONG_LAYER_CHECKSUM, IFLOW_E_CORRUPT, "layer 1: the data's checksum is wrong"},
    {NO_REST_CHECKSUM, IFLOW_E_CORRUPT, "checksum.rest"},
    {WRONG_REST_CHECKSUM, IFLOW_E_CORRUPT, "after the layers: the data's checksum is wrong"},
    {NO_FINGERPRINT_VERSION, IFLOW_E_CORRUPT, "fingerprint_version"},
    {TEXT_FINGERPRINT_VERSION, IFLOW_E_CORRUPT, "fingerprint_version"},
    {OLD_FINGERPRINT, IFLOW_E_UNSUPPORTED, "an old chunk"},
    {NEW_FINGERPRINT, IFLOW_E_UNSUPPORTED, "fingerprint is of version 3"},
    {TENSOR_NAME, IFLOW_E_CORRUPT, "blk.1.v"},
    {TENSOR_ORDER, IFLOW_E_CORRUPT, "blk.0.k"},
    {TENSOR_TYPE, IFLOW_E_CORRUPT, "blk.1.v"},
    {TENSOR_SHAPE, IFLOW_E_CORRUPT, "blk.1.v"},
    {TENSOR_DIMS, IFLOW_E_CORRUPT, "blk.1.v"},
    {TENSOR_BEFORE, IFLOW_E_CORRUPT, "blk.0.k"},
    {NO_TENSORS, IFLOW_E_CORRUPT, "header"},
    {OTHER_VERSION, IFLOW_E_UNSUPPORTED, "version 3"},
    {OLD_VERSION, IFLOW_E_UNSUPPORTED, "an old chunk (format version 1"},
    {ZERO_VERSION, IFLOW_E_UNSUPPORTED, "version 0"},
    {TOKEN_NUMBERS, IFLOW_OK, ""},
    {ESTIMATED, IFLOW_OK, ""},
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

static void forge_layers(struct gguf_context *gguf, forgery what) {
    const char *text = "32";
    const uint32_t last = what == KIND_NOTHING ? 0 : what == KIND_LATENT ? 2 : what == KIND_STATE ? 3 : what == KIND_LATER ? 4 : 1;
    const uint32_t kind[] = {1, last, 1};
    const uint32_t width = what == HUGE_WIDTH                             ? 1u << 21
                           : what == NEGATIVE_WIDTH                       ? 0xffffffe0u
                           : what == OTHER_WIDTH                          ? 64
                           : what == ZERO_WIDTH || what == ALL_ZERO_WIDTH ? 0
                                                                          : 32;
    const uint32_t other = what == ALL_ZERO_WIDTH ? 0 : 32;
    const uint32_t k_width[] = {width, other, 32}, v_width[] = {other, other, 32};
    const size_t n_layer = what == ZERO_LAYERS ? 0 : what == MORE_LAYERS ? 3 : what == FEWER_LAYERS ? 1 : 2;
    gguf_set_arr_data(gguf, what == NO_KIND ? "x.infoflow.layer.kind" : "infoflow.layer.kind", GGUF_TYPE_UINT32, kind, n_layer);
    if (what == TEXT_K_WIDTH) {
        gguf_set_arr_str(gguf, "infoflow.layer.k_width", &text, 1);
    } else {
        gguf_set_arr_data(gguf, "infoflow.layer.k_width", GGUF_TYPE_UINT32, k_width, n_layer);
    }
    gguf_set_arr_data(gguf, "infoflow.layer.v_width", GGUF_TYPE_UINT32, v_width, what == SHORT_V_WIDTH ? 1 : n_layer);
}

static void forge_sums(struct gguf_context *gguf, forgery what) {
    const char *zeros = "00000000000000000000000000000000";
    const char *sums[] = {zeros, zeros, zeros};
    const size_t n_layer = what == ZERO_LAYERS ? 0 : what == MORE_LAYERS ? 3 : what == FEWER_LAYERS ? 1 : 2;
    if (what == TEXT_FINGERPRINT_VERSION) {
        gguf_set_val_str(gguf, "infoflow.fingerprint_version", "2");
    } else if (what != NO_FINGERPRINT_VERSION) {
        gguf_set_val_u32(gguf, "infoflow.fingerprint_version", what == OLD_FINGERPRINT ? 1 : what == NEW_FINGERPRINT ? 3 : 2);
    }
    gguf_set_arr_str(gguf, what == NO_LAYER_CHECKSUMS ? "x.infoflow.checksum.layers" : "infoflow.checksum.layers", sums,
                     what == SHORT_LAYER_CHECKSUMS ? 1 : n_layer);
    gguf_set_val_str(gguf, what == NO_REST_CHECKSUM ? "x.infoflow.checksum.rest" : "infoflow.checksum.rest", zeros);
}

/* What a chunk of text by itself has nothing of. */
static void forge_extras(struct gguf_context *gguf, forgery what) {
    const int32_t far = what == NEGATIVE_COORD ? -1 : what == HUGE_COORD ? INT32_MAX : what == PLAIN_COORDS ? 2 : 1;
    const int32_t coord[] = {0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, far}, group[] = {-1,
                                                                               what == LOW_GROUP  ? -2
                                                                               : what == NO_GROUP ? -1
                                                                                                  : 0,
                                                                               -1, 0};
    const int64_t wide[] = {0, 0, 0};
    const char *texts[] = {"0", "1"}, *digest = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    if (what >= COORDS && what <= PLAIN_COORDS) {
        if (what == TEXT_COORDS) {
            gguf_set_arr_str(gguf, "infoflow.coords", texts, 2);
        } else {
            gguf_set_arr_data(gguf, "infoflow.coords", GGUF_TYPE_INT32, coord, what == SHORT_COORDS ? 11 : what == EMPTY_COORDS ? 0 : 12);
        }
    }
    if (what >= GROUPS && what <= NO_GROUP) {
        gguf_set_arr_data(gguf, "infoflow.groups", what == WIDE_GROUPS ? GGUF_TYPE_INT64 : GGUF_TYPE_INT32,
                          what == WIDE_GROUPS ? (const void *)wide : group, what == LONG_GROUPS ? 4 : 3);
    }
    if (what == NUMBER_CONTENT) {
        gguf_set_val_u64(gguf, "infoflow.content", 1);
    } else if (what >= CONTENT && what <= UPPER_CONTENT) {
        gguf_set_val_str(gguf, "infoflow.content",
                         what == SHORT_CONTENT   ? digest + 1
                         : what == UPPER_CONTENT ? "0123456789ABCDEF0123456789abcdef0123456789abcdef0123456789abcdef"
                                                 : digest);
    }
}

static void forge_tokens(struct gguf_context *gguf, forgery what) {
    const int32_t root[] = {what == NEGATIVE_ROOT ? -1 : 1}, token[] = {5, what == NEGATIVE_TOKEN ? -7 : 6, 7};
    const int64_t wide[] = {5, 6, 7};
    const char *texts[] = {"5", "6", "7"}, *id = "0123456789abcdef0123456789abcdef";
    if (what != NO_ROOT) {
        gguf_set_arr_data(gguf, "infoflow.root", GGUF_TYPE_INT32, root, 1);
    }
    if (what != NO_PARENT) {
        gguf_set_val_str(gguf, "infoflow.parent",
                         what == SHORT_PARENT                                           ? id + 1
                         : what == LONG_PARENT                                          ? "0123456789abcdef0123456789abcdef0"
                         : what == PARENT_ALONE || what == HUGE_BEFORE || what == CHILD ? id
                                                                                        : "");
    }
    if (what == SMALL_BEFORE) {
        gguf_set_val_u32(gguf, "infoflow.n_before", 0);
    } else if (what != NO_BEFORE) {
        gguf_set_val_u64(gguf, "infoflow.n_before",
                         what == HUGE_BEFORE                                             ? UINT64_MAX
                         : what == BEFORE_ALONE || what == CHILD || what == SHORT_PARENT ? 7
                                                                                         : 0);
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
}

enum { LAYER_BYTES = 2 * 3 * 32 * 2 }; /* of a forged file */

static void forge_tensors(struct gguf_context *gguf, forgery what) {
    if (what == TENSOR_BEFORE) {
        add_tensor(gguf, "token.later", GGML_TYPE_F32, 3, 1, 1);
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
        add_tensor(gguf, "token.later", GGML_TYPE_F32, 3, 1, 1);
    }
    if (what >= ESTIMATED && what <= FORESEEN_TWICE_HALF) {
        add_tensor(gguf, "token.staleness", what >= FORESEEN_F16 ? GGML_TYPE_F16 : GGML_TYPE_F32,
                   what == FORESEEN_SHORT  ? 2
                   : what == FORESEEN_LONG ? 4
                                           : 3,
                   what == FORESEEN_TWICE_HALF ? 2 : 1, 1);
    }
}

/* The bytes of a file, under checksums that are right, but where the forgery is one of them. Frees gguf. */
static unsigned char *sealed(struct gguf_context *gguf, forgery what, size_t *n_bytes, size_t *n_header) {
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
    if (what == NO_LAYER_CHECKSUMS || what == NO_REST_CHECKSUM) {
        seal_header(bytes, *n_header);
    } else {
        seal(bytes, *n_bytes, *n_header, LAYER_BYTES);
    }
    if (what == WRONG_LAYER_CHECKSUM || what == WRONG_REST_CHECKSUM) {
        const char *key = what == WRONG_LAYER_CHECKSUM ? "infoflow.checksum.layers" : "infoflow.checksum.rest";
        bytes[find(bytes, *n_header, key) + strlen(key) + (what == WRONG_LAYER_CHECKSUM ? 4 + 4 + 8 + 40 + 8 : 4 + 8)] ^= 1;
        seal_header(bytes, *n_header);
    }
    return bytes;
}

static unsigned char *forge(forgery what, size_t *n_bytes, size_t *n_header) {
    struct gguf_context *gguf = gguf_init_empty();
    gguf_set_val_u32(gguf, "infoflow.version", what == OTHER_VERSION ? 3 : what == OLD_VERSION ? 1 : what == ZERO_VERSION ? 0 : 2);
    gguf_set_val_u64(gguf, "infoflow.header_bytes", 0);
    gguf_set_val_str(gguf, "infoflow.checksum.header", "00000000000000000000000000000000");
    forge_sums(gguf, what);
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
    forge_layers(gguf, what);
    if (what != NO_TYPE) {
        gguf_set_val_str(gguf, "infoflow.type", what == UNKNOWN_TYPE ? "f32" : "f16");
    }
    if (what == NUMBER_ROPE) {
        gguf_set_val_u32(gguf, "infoflow.rope", 0);
    } else if (what != NO_ROPE) {
        gguf_set_val_str(gguf, "infoflow.rope", what == OTHER_ROPE ? "between" : what == AFTER_ROPE ? "after" : "before");
    }
    forge_tokens(gguf, what);
    forge_extras(gguf, what);
    if (what == OTHER_ALIGNMENT) {
        gguf_set_val_u32(gguf, "general.alignment", 16);
        gguf_set_val_u8(gguf, "x", 0); /* so that the header ends alike with either */
    }
    if (what == TEXT_EXACT) {
        gguf_set_val_str(gguf, "infoflow.exact", "true");
    }
    if (what == UNKNOWN_KEY) {
        gguf_set_val_str(gguf, "later.thing", "of a later writer");
    }
    forge_tensors(gguf, what);
    return sealed(gguf, what, n_bytes, n_header);
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
    for (int what = ESTIMATED; what <= FORESEEN_TWICE_HALF; what++) {
        size_t n_bytes, n_header;
        unsigned char *bytes = forge((forgery)what, &n_bytes, &n_header);
        iflow_chunk_info info;
        iflow_chunk *chunk = NULL;
        assert_int_equal(iflow_chunk_peek(bytes, n_bytes, NULL, "file", &info, NULL), IFLOW_OK);
        assert_int_equal(info.has_staleness, what == ESTIMATED);
        iflow_blob blob = {.data = bytes, .n_bytes = n_bytes};
        assert_int_equal(iflow_chunk_decode(&blob, NULL, "file", &chunk), IFLOW_OK);
        assert_int_equal(chunk->staleness != NULL, what == ESTIMATED);
        iflow_chunk_free(chunk);
    }
}

/* A forged file of what the encoder writes is what the encoder writes: the forger and it agree on the format. */
static void test_forger_is_exact(void **state) {
    (void)state;
    size_t n_bytes, n_header;
    unsigned char *forged = forge(NOTHING, &n_bytes, &n_header);
    int32_t root[] = {1}, token[] = {5, 6, 7};
    fixture f = fixture_new(1, 3, 1, 2, 32, IFLOW_KV_F16);
    memcpy(f.root, root, sizeof root);
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
    {NULL, 16, 18, 8},
    {NULL, 16, 16, 8},
    {NULL, 16, 0, 8},
    {"infoflow.checksum.rest", 0, 9, 4},          /* an array where the checksum is */
    {"infoflow.checksum.rest", 4, UINT64_MAX, 8}, /* length of a string */
    {"infoflow.checksum.rest", 4, (uint64_t)1 << 30, 8},
    {"infoflow.checksum.rest", 4, 0, 8},
    {"infoflow.checksum.layers", 4, 4, 4}, /* an array of numbers */
    {"infoflow.checksum.layers", 8, UINT64_MAX, 8},
    {"infoflow.checksum.layers", 8, 1, 8},
    {"infoflow.checksum.layers", 16, UINT64_MAX, 8}, /* length of the first string */
    {"infoflow.layer.kind", 4, 5, 4},                /* i32 */
    {"infoflow.layer.kind", 8, 0, 8},
    {"infoflow.layer.k_width", 8, 3, 8},
    {"infoflow.layer.v_width", 8, (uint64_t)1 << 60, 8},
    {"infoflow.layer.v_width", 16, 0, 4}, /* a layer that stores no V: but it is there */
    {"infoflow.parent", 4, 1, 8},
    {"infoflow.n_before", 4, 1, 8},
    {"infoflow.root", 4, 4, 4},
    {"infoflow.root", 8, UINT64_MAX, 8},
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

/* Single fields of the header overwritten, then sealed: what ggml's reader sees and must not trip over. */
static void test_sealed_damage(void **state) {
    (void)state;
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
        seal_header(bytes, claimed >= 192 && claimed <= n_bytes ? claimed : n_header);
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
    unsigned char *bytes = forge(ESTIMATED, &n_bytes, &n_header), *noisy = malloc(n_bytes);
    assert_non_null(noisy);
    for (int round = 0; round < 20000; round++) {
        memcpy(noisy, bytes, n_bytes);
        const size_t first = find(noisy, n_header, "infoflow.checksum.header") + strlen("infoflow.checksum.header") + 12 + 32;
        const unsigned n_changes = 1 + fixture_random(&random) % 4;
        for (unsigned c = 0; c < n_changes; c++) {
            const size_t at = first + fixture_random(&random) % (n_header - first); /* after what seal_header() looks for */
            noisy[at] = fixture_random(&random) % 2 ? (unsigned char)fixture_random(&random)
                                                    : favourites[fixture_random(&random) % sizeof favourites];
        }
        seal_header(noisy, n_header);
        const iflow_status status = status_of(noisy, n_bytes, NULL);
        n_sound += status == IFLOW_OK;
        assert_true(status == IFLOW_OK || status == IFLOW_E_CORRUPT || status == IFLOW_E_UNSUPPORTED);
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
        cmocka_unit_test(test_forger_is_exact), cmocka_unit_test(test_forgeries),    cmocka_unit_test(test_foreseen_of_a_stranger),
        cmocka_unit_test(test_sealed_damage),   cmocka_unit_test(test_sealed_noise),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
