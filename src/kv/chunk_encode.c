/* chunk_encode.c - a chunk's KV to the bytes of a GGUF file. docs/FORMAT.md specifies them. */
#include "kv/chunk_file.h"

#include <assert.h>
#include <gguf.h>
#include <stdlib.h>
#include <string.h>

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "chunk files are little-endian and are mapped as they are"
#endif

enum { DIGITS = IFLOW_CHUNK_DIGITS };

/* A chunk while it is encoded. */
typedef struct encoding {
    const iflow_chunk_identity *identity;
    const float *staleness;
    char (*sum)[IFLOW_ID_SIZE]; /* [n_layer + 1]: of the layers, and of what follows them */
    const char **sum_text;      /* [n_layer]: the same, as ggml takes it */
    uint32_t *number;           /* [n_layer] */
    float *scratch;             /* [widest row], for q8_0 only */
    size_t header_bytes, data_bytes;
    unsigned char *bytes; /* header, then data */
} encoding;

static void encoding_free(encoding *e) {
    free(e->sum);
    free(e->sum_text);
    free(e->number);
    free(e->scratch);
    free(e->bytes);
}

static void add_tensor(struct gguf_context *gguf, const char *name, enum ggml_type type, int64_t width, int64_t n_rows) {
    struct ggml_tensor tensor = {.type = type, .ne = {width, n_rows, 1, 1}};
    tensor.nb[0] = ggml_type_size(type);
    tensor.nb[1] = ggml_row_size(type, width);
    tensor.nb[2] = tensor.nb[3] = tensor.nb[1] * (size_t)n_rows;
    memcpy(tensor.name, name, strlen(name) + 1);
    gguf_add_tensor(gguf, &tensor);
}

static void add_tokens(struct gguf_context *gguf, const char *key, const int32_t *value, size_t n) {
    const int32_t none = 0; /* an empty array still wants an address */
    gguf_set_arr_data(gguf, key, GGUF_TYPE_INT32, n ? value : &none, n);
}

static void add_layers(struct gguf_context *gguf, const encoding *e) {
    static const char *const key[] = {IFLOW_KEY_LAYER_KIND, IFLOW_KEY_LAYER_K_WIDTH, IFLOW_KEY_LAYER_V_WIDTH};
    const size_t n_layer = (size_t)e->identity->n_layer;
    for (size_t i = 0; i < 3; i++) {
        for (size_t l = 0; l < n_layer; l++) {
            const iflow_kv_layer *layer = &e->identity->layer[l];
            e->number[l] = i == 0 ? layer->kind : i == 1 ? layer->k_width : layer->v_width;
        }
        gguf_set_arr_data(gguf, key[i], GGUF_TYPE_UINT32, e->number, n_layer);
    }
}

/* The header, with the checksums that are known by now. NULL: no memory. */
static struct gguf_context *describe(const encoding *e) {
    const iflow_chunk_identity *identity = e->identity;
    struct gguf_context *gguf = gguf_init_empty();
    if (!gguf) {
        return NULL;
    }
    gguf_set_val_u32(gguf, IFLOW_KEY_VERSION, IFLOW_CHUNK_VERSION);
    gguf_set_val_u64(gguf, IFLOW_KEY_HEADER_BYTES, e->header_bytes);
    gguf_set_val_str(gguf, IFLOW_KEY_HEADER_CHECKSUM, iflow_chunk_zeros);
    gguf_set_val_u32(gguf, IFLOW_KEY_FINGERPRINT_VERSION, IFLOW_FINGERPRINT_VERSION);
    gguf_set_arr_str(gguf, IFLOW_KEY_LAYER_CHECKSUMS, e->sum_text, (size_t)identity->n_layer);
    gguf_set_val_str(gguf, IFLOW_KEY_REST_CHECKSUM, e->sum[identity->n_layer]);
    gguf_set_val_str(gguf, IFLOW_KEY_ARCHITECTURE, IFLOW_CHUNK_ARCHITECTURE);
    gguf_set_val_str(gguf, IFLOW_KEY_FINGERPRINT, identity->fingerprint);
    add_layers(gguf, e);
    gguf_set_val_str(gguf, IFLOW_KEY_TYPE, iflow_kv_type_name(identity->type));
    gguf_set_val_str(gguf, IFLOW_KEY_ROPE, iflow_kv_rope_name(identity->rope));
    if (identity->exact) {
        gguf_set_val_bool(gguf, IFLOW_KEY_EXACT, true);
    }
    add_tokens(gguf, IFLOW_KEY_ROOT, identity->prefix, identity->n_prefix);
    gguf_set_val_str(gguf, IFLOW_KEY_PARENT, identity->parent);
    gguf_set_val_u64(gguf, IFLOW_KEY_N_BEFORE, identity->n_before);
    add_tokens(gguf, IFLOW_KEY_TOKENS, identity->token, identity->n_tokens);
    if (identity->coord) {
        add_tokens(gguf, IFLOW_KEY_COORDS, identity->coord, 4 * identity->n_tokens);
    }
    if (identity->group) {
        add_tokens(gguf, IFLOW_KEY_GROUPS, identity->group, identity->n_tokens);
    }
    if (identity->content[0]) {
        gguf_set_val_str(gguf, IFLOW_KEY_CONTENT, identity->content);
    }
    for (int i = 0; i < 2 * identity->n_layer; i++) {
        const int width = iflow_chunk_width(identity, i / 2, i % 2);
        char name[GGML_MAX_NAME];
        iflow_chunk_tensor_name(i / 2, i % 2, name);
        if (width) {
            add_tensor(gguf, name, iflow_kv_ggml_type(identity->type), width, (int64_t)identity->n_tokens);
        }
    }
    if (e->staleness) {
        add_tensor(gguf, IFLOW_TENSOR_STALENESS, GGML_TYPE_F32, (int64_t)identity->n_tokens, 1);
    }
    return gguf;
}

static iflow_status check_input(const iflow_chunk_identity *identity, const float *staleness) {
    const char *problem = iflow_chunk_problem(identity);
    if (problem) {
        return iflow_fail(IFLOW_E_ARG, "cannot encode the chunk: %s", problem);
    }
    iflow_status status = iflow_chunk_check_kinds(identity, "cannot encode the chunk");
    if (status) {
        return status;
    }
    const int width = iflow_chunk_bad_width(identity);
    if (width) {
        return iflow_fail(IFLOW_E_UNSUPPORTED, "KV of type %s needs rows of a multiple of %d elements, this model's have %d: use f16",
                          iflow_kv_type_name(identity->type), (int)ggml_blck_size(iflow_kv_ggml_type(identity->type)), width);
    }
    const size_t bad = staleness ? iflow_bad_staleness(staleness, identity->n_tokens) : identity->n_tokens;
    return bad < identity->n_tokens
               ? iflow_fail(IFLOW_E_NOT_FINITE, "the estimated staleness of token %zu is %g", bad, (double)staleness[bad])
               : IFLOW_OK;
}

/* Measures the header, whose size does not depend on the values of its fields of fixed size, and makes room for it and the data. */
static iflow_status make_room(encoding *e) {
    const iflow_chunk_identity *identity = e->identity;
    const size_t n_layer = (size_t)identity->n_layer;
    int widest = 0;
    e->sum = iflow_calloc(n_layer + 1, sizeof e->sum[0]);
    e->sum_text = iflow_calloc(n_layer, sizeof e->sum_text[0]);
    e->number = iflow_calloc(n_layer, sizeof e->number[0]);
    if (!e->sum || !e->sum_text || !e->number) {
        return iflow_fail_memory(n_layer * sizeof e->sum[0]);
    }
    for (int l = 0; l < identity->n_layer; l++) {
        e->data_bytes += iflow_chunk_layer_bytes(identity, l);
        for (int kind = 0; kind < 2; kind++) {
            const int width = iflow_chunk_width(identity, l, kind);
            widest = width > widest ? width : widest;
        }
        e->sum_text[l] = e->sum[l];
    }
    for (size_t l = 0; l <= n_layer; l++) {
        memcpy(e->sum[l], iflow_chunk_zeros, sizeof e->sum[l]);
    }
    e->data_bytes += e->staleness ? iflow_chunk_padded(identity->n_tokens * sizeof e->staleness[0]) : 0;
    struct gguf_context *gguf = describe(e);
    if (!gguf) {
        return iflow_fail_memory(1024);
    }
    e->header_bytes = gguf_get_meta_size(gguf);
    gguf_free(gguf);
    e->bytes = malloc(e->header_bytes + e->data_bytes);
    if (!e->bytes) {
        return iflow_fail_memory(e->header_bytes + e->data_bytes);
    }
    if (identity->type != IFLOW_KV_F16) {
        e->scratch = iflow_calloc((size_t)widest, sizeof e->scratch[0]);
        if (!e->scratch) {
            return iflow_fail_memory((size_t)widest * sizeof e->scratch[0]);
        }
    }
    return IFLOW_OK;
}

static iflow_status fill_data(encoding *e, const uint16_t *const *k, const uint16_t *const *v) {
    const iflow_chunk_identity *identity = e->identity;
    assert(e->bytes);
    unsigned char *at = e->bytes + e->header_bytes;
    for (int layer = 0; layer < identity->n_layer; layer++) {
        unsigned char *first = at;
        for (int kind = 0; kind < 2; kind++) {
            const size_t n_bytes = iflow_chunk_tensor_bytes(identity, layer, kind), n_slot = iflow_chunk_padded(n_bytes);
            const iflow_status status =
                n_bytes ? iflow_rows_encode(identity, layer, kind, kind == 0 ? k[layer] : v[layer], e->scratch, at) : IFLOW_OK;
            if (status) {
                return status;
            }
            memset(at + n_bytes, 0, n_slot - n_bytes);
            at += n_slot;
        }
        iflow_hash_hex(first, (size_t)(at - first), e->sum[layer]);
    }
    const size_t n_rest = (size_t)(e->bytes + e->header_bytes + e->data_bytes - at);
    if (e->staleness) {
        memset(at, 0, n_rest);
        memcpy(at, e->staleness, identity->n_tokens * sizeof e->staleness[0]);
    }
    iflow_hash_hex(at, n_rest, e->sum[identity->n_layer]);
    return IFLOW_OK;
}

static iflow_status fill_header(encoding *e) {
    char hex[IFLOW_ID_SIZE];
    struct gguf_context *gguf = describe(e);
    if (!gguf) {
        return iflow_fail_memory(1024);
    }
    assert(e->bytes && gguf_get_meta_size(gguf) == e->header_bytes);
    gguf_get_meta_data(gguf, e->bytes);
    gguf_free(gguf);
    assert(memcmp(e->bytes + IFLOW_AT_HEADER_CHECKSUM, iflow_chunk_zeros, DIGITS) == 0);
    const iflow_status status = iflow_chunk_hash_header(e->bytes, e->header_bytes, hex);
    if (!status) {
        memcpy(e->bytes + IFLOW_AT_HEADER_CHECKSUM, hex, DIGITS);
    }
    return status;
}

iflow_status iflow_chunk_encode(const iflow_chunk_identity *identity, const uint16_t *const *k, const uint16_t *const *v,
                                const float *staleness, iflow_blob *out) {
    encoding e = {.identity = identity, .staleness = staleness};
    iflow_status status = check_input(identity, staleness);
    status = status ? status : make_room(&e);
    status = status ? status : fill_data(&e, k, v);
    status = status ? status : fill_header(&e);
    status = status ? status : iflow_blob_share(e.bytes, e.header_bytes + e.data_bytes, out);
    if (!status) {
        e.bytes = NULL;
    }
    encoding_free(&e);
    return status;
}
