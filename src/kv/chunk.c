/* chunk.c - a chunk's identity, and its KV to and from the bytes of a GGUF file. docs/FORMAT.md specifies them.
 *
 * ggml's GGUF reader is written for files that are meant well. So nothing of a chunk file reaches it before two things hold: the preamble
 * (the first fields, whose place is fixed) is ours, and the header's checksum, which covers every byte that the reader will look at, is
 * right. It is given the header alone, never the data; what it returns is checked type by type, for its getters abort on a wrong one. */
#include "kv/rows.h"

#include <assert.h>
#include <ggml.h>
#include <gguf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "chunk files are little-endian and are mapped as they are"
#endif

#define DIGITS          32 /* of a hash */
#define ALIGNMENT       32 /* GGUF's default, of each tensor's data */
#define MAX_LAYERS      4096
#define MAX_EMBD_KV     (1 << 20)
#define MAX_HEADER_SIZE ((uint64_t)64 << 20) /* 16 million tokens: bounds what a forged header can make the reader allocate */

#define ARCHITECTURE        "infoflow-chunk"
#define KEY_VERSION         "infoflow.version"
#define KEY_HEADER_BYTES    "infoflow.header_bytes"
#define KEY_HEADER_CHECKSUM "infoflow.checksum.header"
#define KEY_DATA_CHECKSUM   "infoflow.checksum.data"
#define KEY_ARCHITECTURE    "general.architecture"
#define KEY_FINGERPRINT     "infoflow.fingerprint"
#define KEY_N_LAYER         "infoflow.n_layer"
#define KEY_N_EMBD_KV       "infoflow.n_embd_kv"
#define KEY_TYPE            "infoflow.type"
#define KEY_SINK            "infoflow.sink"
#define KEY_TOKENS          "infoflow.tokens"
#define KEY_EXACT           "infoflow.exact"
#define TENSOR_FORESEEN     "token.foreseen"

#define ID_EXACT ((uint32_t)1 << 31) /* in the type's place in the id's block */

/* The preamble: magic, GGUF version, the counts of tensors and keys, then the first three keys, in this order, in every format version. */
#define AT_N_TENSORS       8
#define AT_KEYS            24 /* behind the counts */
#define AT_VERSION         (AT_KEYS + 8 + sizeof KEY_VERSION - 1 + 4)
#define AT_HEADER_BYTES    (AT_VERSION + 4 + 8 + sizeof KEY_HEADER_BYTES - 1 + 4)
#define AT_HEADER_CHECKSUM (AT_HEADER_BYTES + 8 + 8 + sizeof KEY_HEADER_CHECKSUM - 1 + 4 + 8)
#define PREAMBLE_SIZE      (AT_HEADER_CHECKSUM + DIGITS)

static const char zeros[] = "00000000000000000000000000000000"; /* what stands for a checksum while it is computed */

void iflow_blob_free(iflow_blob *blob) {
    if (!blob) {
        return;
    }
    if (blob->mapped) {
        munmap((void *)(uintptr_t)blob->data, blob->n_bytes);
    } else {
        free((void *)(uintptr_t)blob->data);
    }
    *blob = (iflow_blob){0};
}

bool iflow_id_is_valid(const char *text) {
    return text && strspn(text, "0123456789abcdef") == DIGITS && text[DIGITS] == '\0';
}

/* ---- Identity ----------------------------------------------------------------------------------------------------------------------- */

static void put_u32(unsigned char *at, uint32_t value) {
    for (int i = 0; i < 4; i++) {
        at[i] = (unsigned char)(value >> 8 * i);
    }
}

static void put_u64(unsigned char *at, uint64_t value) {
    put_u32(at, (uint32_t)value);
    put_u32(at + 4, (uint32_t)(value >> 32));
}

void iflow_chunk_id(const iflow_chunk_identity *identity, char id[IFLOW_ID_SIZE]) {
    /* The arrays enter as their hashes: then the whole is of fixed size and there is nothing to allocate that could fail. */
    unsigned char block[128];
    char hex[IFLOW_ID_SIZE];
    put_u32(block, IFLOW_CHUNK_VERSION);
    put_u32(block + 4, (uint32_t)identity->n_layer);
    put_u32(block + 8, (uint32_t)identity->n_embd_kv);
    put_u32(block + 12, (uint32_t)iflow_kv_ggml_type(identity->type) | (identity->exact ? ID_EXACT : 0));
    put_u64(block + 16, identity->n_sink);
    put_u64(block + 24, identity->n_tokens);
    memset(block + 32, 0, DIGITS);
    memcpy(block + 32, identity->fingerprint, strnlen(identity->fingerprint, DIGITS));
    iflow_hash_hex(identity->sink, identity->n_sink * sizeof identity->sink[0], hex);
    memcpy(block + 64, hex, DIGITS);
    iflow_hash_hex(identity->token, identity->n_tokens * sizeof identity->token[0], hex);
    memcpy(block + 96, hex, DIGITS);
    iflow_hash_hex(block, sizeof block, id);
}

/* The same conditions for what is written and for what was read. */
static const char *identity_problem(const iflow_chunk_identity *identity) {
    if (!iflow_id_is_valid(identity->fingerprint)) {
        return "the model's fingerprint is not 32 lower-case hexadecimal digits";
    }
    if (identity->n_layer < 1 || identity->n_layer > MAX_LAYERS) {
        return "the number of layers is not from 1 to 4096";
    }
    if (identity->n_embd_kv < 1 || identity->n_embd_kv > MAX_EMBD_KV) {
        return "the elements of a row are not from 1 to 1048576";
    }
    if (identity->n_tokens < 1) {
        return "there is no token";
    }
    if (identity->n_tokens + identity->n_sink > MAX_HEADER_SIZE / sizeof(int32_t) / 2) {
        return "there are more than 8388608 tokens";
    }
    for (size_t i = 0; i < identity->n_tokens; i++) {
        if (identity->token[i] < 0) {
            return "a token id is negative";
        }
    }
    for (size_t i = 0; i < identity->n_sink; i++) {
        if (identity->sink[i] < 0) {
            return "a sink token's id is negative";
        }
    }
    return NULL;
}

static size_t padded(size_t n_bytes) {
    return (n_bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

/* Of the header, with its own checksum's digits taken as zeros. */
static iflow_status hash_header(const unsigned char *header, size_t n_bytes, char hex[IFLOW_ID_SIZE]) {
    iflow_hasher *hasher = iflow_hasher_new();
    if (!hasher) {
        return iflow_fail_memory(1024);
    }
    iflow_hasher_add(hasher, header, AT_HEADER_CHECKSUM);
    iflow_hasher_add(hasher, zeros, DIGITS);
    iflow_hasher_add(hasher, header + PREAMBLE_SIZE, n_bytes - PREAMBLE_SIZE);
    iflow_hasher_hex(hasher, hex);
    return IFLOW_OK;
}

/* ---- Encoding ----------------------------------------------------------------------------------------------------------------------- */

/* Layer l's K (kind 0) or V (kind 1) in the file. */
static void tensor_name(int layer, int kind, char name[GGML_MAX_NAME]) {
    snprintf(name, GGML_MAX_NAME, "blk.%d.%c", layer, kind == 0 ? 'k' : 'v');
}

static struct gguf_context *describe(const iflow_chunk_identity *identity, bool foreseen, uint64_t header_bytes,
                                     const char *data_checksum) {
    struct gguf_context *gguf = gguf_init_empty();
    if (!gguf) {
        return NULL;
    }
    const int32_t none = 0; /* an empty array still wants an address */
    gguf_set_val_u32(gguf, KEY_VERSION, IFLOW_CHUNK_VERSION);
    gguf_set_val_u64(gguf, KEY_HEADER_BYTES, header_bytes);
    gguf_set_val_str(gguf, KEY_HEADER_CHECKSUM, zeros);
    gguf_set_val_str(gguf, KEY_DATA_CHECKSUM, data_checksum);
    gguf_set_val_str(gguf, KEY_ARCHITECTURE, ARCHITECTURE);
    gguf_set_val_str(gguf, KEY_FINGERPRINT, identity->fingerprint);
    gguf_set_val_u32(gguf, KEY_N_LAYER, (uint32_t)identity->n_layer);
    gguf_set_val_u32(gguf, KEY_N_EMBD_KV, (uint32_t)identity->n_embd_kv);
    gguf_set_val_str(gguf, KEY_TYPE, iflow_kv_type_name(identity->type));
    if (identity->exact) {
        gguf_set_val_bool(gguf, KEY_EXACT, true);
    }
    gguf_set_arr_data(gguf, KEY_SINK, GGUF_TYPE_INT32, identity->n_sink ? identity->sink : &none, identity->n_sink);
    gguf_set_arr_data(gguf, KEY_TOKENS, GGUF_TYPE_INT32, identity->token, identity->n_tokens);

    const enum ggml_type type = iflow_kv_ggml_type(identity->type);
    for (int layer = 0; layer < identity->n_layer; layer++) {
        for (int kind = 0; kind < 2; kind++) {
            struct ggml_tensor tensor = {.type = type, .ne = {identity->n_embd_kv, (int64_t)identity->n_tokens, 1, 1}};
            tensor.nb[0] = ggml_type_size(type);
            tensor.nb[1] = iflow_kv_row_bytes(identity->type, identity->n_embd_kv);
            tensor.nb[2] = tensor.nb[3] = tensor.nb[1] * identity->n_tokens;
            tensor_name(layer, kind, tensor.name);
            gguf_add_tensor(gguf, &tensor);
        }
    }
    if (foreseen) {
        struct ggml_tensor tensor = {.type = GGML_TYPE_F32, .ne = {(int64_t)identity->n_tokens, 1, 1, 1}, .name = TENSOR_FORESEEN};
        tensor.nb[0] = sizeof(float);
        tensor.nb[1] = tensor.nb[2] = tensor.nb[3] = sizeof(float) * identity->n_tokens;
        gguf_add_tensor(gguf, &tensor);
    }
    return gguf;
}

iflow_status iflow_chunk_encode(const iflow_chunk_identity *identity, const uint16_t *const *k, const uint16_t *const *v,
                                const float *foreseen, iflow_blob *out) {
    iflow_status status = IFLOW_OK;
    struct gguf_context *gguf = NULL;
    unsigned char *bytes = NULL;
    float *scratch = NULL;
    char hex[IFLOW_ID_SIZE];

    const char *problem = identity_problem(identity);
    if (problem) {
        return iflow_fail(IFLOW_E_ARG, "cannot encode the chunk: %s", problem);
    }
    if (identity->n_embd_kv % ggml_blck_size(iflow_kv_ggml_type(identity->type)) != 0) {
        return iflow_fail(IFLOW_E_UNSUPPORTED, "KV of type %s needs rows of a multiple of %d elements, this model's have %d: use f16",
                          iflow_kv_type_name(identity->type), (int)ggml_blck_size(iflow_kv_ggml_type(identity->type)), identity->n_embd_kv);
    }
    const size_t row_bytes = iflow_kv_row_bytes(identity->type, identity->n_embd_kv);
    const size_t tensor_bytes = row_bytes * identity->n_tokens; /* the limits above: less than 2^21 * 2^23 */
    const size_t slot_bytes = padded(tensor_bytes);
    const size_t kv_bytes = slot_bytes * 2 * (size_t)identity->n_layer; /* less than 2^57 */
    const size_t data_bytes = kv_bytes + (foreseen ? padded(identity->n_tokens * sizeof foreseen[0]) : 0);

    /* The header's size does not depend on the values of its fields of fixed size, so a first description measures it. */
    gguf = describe(identity, foreseen != NULL, 0, zeros);
    if (!gguf) {
        return iflow_fail_memory(1024);
    }
    const size_t header_bytes = gguf_get_meta_size(gguf);
    gguf_free(gguf);
    gguf = NULL;

    bytes = malloc(header_bytes + data_bytes);
    if (!bytes) {
        return iflow_fail_memory(header_bytes + data_bytes);
    }
    if (identity->type != IFLOW_KV_F16) {
        scratch = iflow_calloc((size_t)identity->n_embd_kv, sizeof scratch[0]);
        if (!scratch) {
            status = iflow_fail_memory((size_t)identity->n_embd_kv * sizeof scratch[0]);
            goto cleanup;
        }
    }
    unsigned char *at = bytes + header_bytes;
    for (int layer = 0; layer < identity->n_layer; layer++) {
        for (int kind = 0; kind < 2; kind++) {
            status = iflow_rows_encode(identity, layer, kind, kind == 0 ? k[layer] : v[layer], scratch, at);
            if (status) {
                goto cleanup;
            }
            memset(at + tensor_bytes, 0, slot_bytes - tensor_bytes);
            at += slot_bytes;
        }
    }
    if (foreseen) {
        const size_t bad = iflow_bad_foreseen(foreseen, identity->n_tokens);
        if (bad < identity->n_tokens) {
            status = iflow_fail(IFLOW_E_NOT_FINITE, "the foreseen staleness of token %zu is %g", bad, (double)foreseen[bad]);
            goto cleanup;
        }
        memset(at, 0, data_bytes - kv_bytes);
        memcpy(at, foreseen, identity->n_tokens * sizeof foreseen[0]);
    }
    iflow_hash_hex(bytes + header_bytes, data_bytes, hex);

    gguf = describe(identity, foreseen != NULL, header_bytes, hex);
    if (!gguf) {
        status = iflow_fail_memory(1024);
        goto cleanup;
    }
    gguf_get_meta_data(gguf, bytes);
    assert(memcmp(bytes + AT_HEADER_CHECKSUM, zeros, DIGITS) == 0);
    status = hash_header(bytes, header_bytes, hex);
    if (status) {
        goto cleanup;
    }
    memcpy(bytes + AT_HEADER_CHECKSUM, hex, DIGITS);
    *out = (iflow_blob){.data = bytes, .n_bytes = header_bytes + data_bytes};
    bytes = NULL;

cleanup:
    gguf_free(gguf);
    free(scratch);
    free(bytes);
    return status;
}

/* ---- Decoding ----------------------------------------------------------------------------------------------------------------------- */

enum { SLICE_BYTES = 1 << 17 }; /* looked at and hashed in one go: it should stay in a cache in between */

/* Hashes a chunk's data and looks at the numbers of K and V on the way. *bad_tensor: the first with one that is not finite, or -1. */
static iflow_status hash_data(const iflow_chunk_identity *identity, const unsigned char *data, size_t n_bytes, char hex[IFLOW_ID_SIZE],
                              int *bad_tensor, size_t *bad_token) {
    const size_t row_bytes = iflow_kv_row_bytes(identity->type, identity->n_embd_kv), tensor_bytes = row_bytes * identity->n_tokens;
    const size_t slice = row_bytes > SLICE_BYTES ? row_bytes : SLICE_BYTES / row_bytes * row_bytes;
    iflow_hasher *hasher = iflow_hasher_new();
    if (!hasher) {
        return iflow_fail_memory(1024);
    }
    *bad_tensor = -1;
    size_t at = 0;
    for (int i = 0; i < 2 * identity->n_layer; i++) {
        for (size_t done = 0; done < tensor_bytes; done += slice) {
            const size_t n = tensor_bytes - done < slice ? tensor_bytes - done : slice;
            size_t bad = 0;
            if (*bad_tensor < 0 && !iflow_rows_finite(identity->type, data + at + done, n, &bad)) {
                *bad_tensor = i;
                *bad_token = (done + bad) / row_bytes;
            }
            iflow_hasher_add(hasher, data + at + done, n);
        }
        iflow_hasher_add(hasher, data + at + tensor_bytes, padded(tensor_bytes) - tensor_bytes);
        at += padded(tensor_bytes);
    }
    iflow_hasher_add(hasher, data + at, n_bytes - at);
    iflow_hasher_hex(hasher, hex);
    return IFLOW_OK;
}

static int64_t find_value(const struct gguf_context *gguf, const char *key, enum gguf_type type) {
    const int64_t i = gguf_find_key(gguf, key);
    return i >= 0 && gguf_get_kv_type(gguf, i) == type ? i : -1;
}

static bool get_int(const struct gguf_context *gguf, const char *key, int *out) {
    const int64_t i = find_value(gguf, key, GGUF_TYPE_UINT32);
    if (i < 0 || gguf_get_val_u32(gguf, i) > INT32_MAX) {
        return false;
    }
    *out = (int)gguf_get_val_u32(gguf, i);
    return true;
}

static const char *get_string(const struct gguf_context *gguf, const char *key) {
    const int64_t i = find_value(gguf, key, GGUF_TYPE_STRING);
    return i < 0 ? NULL : gguf_get_val_str(gguf, i);
}

static bool get_tokens(const struct gguf_context *gguf, const char *key, const int32_t **tokens, size_t *n) {
    const int64_t i = gguf_find_key(gguf, key);
    if (i < 0 || gguf_get_kv_type(gguf, i) != GGUF_TYPE_ARRAY || gguf_get_arr_type(gguf, i) != GGUF_TYPE_INT32) {
        return false;
    }
    *n = gguf_get_arr_n(gguf, i);
    *tokens = gguf_get_arr_data(gguf, i);
    return true;
}

/* Checks the preamble and the header's checksum; *header_bytes is the header's size. */
static iflow_status check_header(const unsigned char *data, size_t n_bytes, const char *name, size_t *header_bytes) {
    /* All of the preamble but the values at fixed places. */
    unsigned char expected[PREAMBLE_SIZE] = "GGUF\3";
    unsigned char *at = expected + AT_KEYS;
    static const struct {
        const char *key;
        uint32_t type;
        size_t value_bytes;
    } first[] = {
        {KEY_VERSION, GGUF_TYPE_UINT32, 4}, {KEY_HEADER_BYTES, GGUF_TYPE_UINT64, 8}, {KEY_HEADER_CHECKSUM, GGUF_TYPE_STRING, 8 + DIGITS}};
    if (n_bytes < PREAMBLE_SIZE) {
        return iflow_fail(IFLOW_E_CORRUPT, "%s: not a chunk file: it has %zu bytes and a chunk's first fields alone take %zu", name,
                          n_bytes, PREAMBLE_SIZE);
    }
    memcpy(expected + AT_N_TENSORS, data + AT_N_TENSORS, 16);
    for (size_t i = 0; i < sizeof first / sizeof first[0]; i++) {
        const size_t length = strlen(first[i].key);
        put_u64(at, length);
        memcpy(at + 8, first[i].key, length);
        put_u32(at + 8 + length, first[i].type);
        at += 8 + length + 4 + first[i].value_bytes;
    }
    assert(at == expected + PREAMBLE_SIZE);
    memcpy(expected + AT_VERSION, data + AT_VERSION, 4);
    memcpy(expected + AT_HEADER_BYTES, data + AT_HEADER_BYTES, 8);
    put_u64(expected + AT_HEADER_CHECKSUM - 8, DIGITS);
    if (memcmp(expected, data, AT_HEADER_CHECKSUM) != 0) {
        return iflow_fail(IFLOW_E_CORRUPT, "%s: not a chunk file: it does not begin with a chunk's first fields", name);
    }

    uint64_t size;
    memcpy(&size, data + AT_HEADER_BYTES, sizeof size);
    if (size < PREAMBLE_SIZE || size > MAX_HEADER_SIZE || size % ALIGNMENT != 0) {
        return iflow_fail(IFLOW_E_CORRUPT, "%s: its header claims to have %llu bytes", name, (unsigned long long)size);
    }
    if (size > n_bytes) {
        return iflow_fail(IFLOW_E_CORRUPT, "%s: truncated: the header alone has %llu bytes, the file has %zu", name,
                          (unsigned long long)size, n_bytes);
    }
    char hex[IFLOW_ID_SIZE];
    const iflow_status status = hash_header(data, (size_t)size, hex);
    if (status) {
        return status;
    }
    if (memcmp(hex, data + AT_HEADER_CHECKSUM, DIGITS) != 0) {
        return iflow_fail(IFLOW_E_CORRUPT, "%s: the header's checksum is wrong", name);
    }
    uint32_t version;
    memcpy(&version, data + AT_VERSION, sizeof version);
    if (version != IFLOW_CHUNK_VERSION) {
        return iflow_fail(IFLOW_E_UNSUPPORTED, "%s: chunk format version %u, this program reads version %d", name, version,
                          IFLOW_CHUNK_VERSION);
    }
    *header_bytes = (size_t)size;
    return IFLOW_OK;
}

/* Fills identity; its arrays lie in gguf. */
static iflow_status read_identity(const struct gguf_context *gguf, const char *name, iflow_chunk_identity *identity) {
    const char *architecture = get_string(gguf, KEY_ARCHITECTURE);
    const char *fingerprint = get_string(gguf, KEY_FINGERPRINT);
    const char *type = get_string(gguf, KEY_TYPE);
    if (!architecture || strcmp(architecture, ARCHITECTURE) != 0) {
        return iflow_fail(IFLOW_E_CORRUPT, "%s: %s is not \"%s\"", name, KEY_ARCHITECTURE, ARCHITECTURE);
    }
    if (gguf_get_alignment(gguf) != ALIGNMENT) {
        return iflow_fail(IFLOW_E_CORRUPT, "%s: its alignment is %zu, a chunk's is %d", name, gguf_get_alignment(gguf), ALIGNMENT);
    }
    if (!type || !iflow_kv_find_type(type, &identity->type)) {
        return iflow_fail(IFLOW_E_CORRUPT, "%s: %s is neither f16 nor q8_0", name, KEY_TYPE);
    }
    const int64_t exact = gguf_find_key(gguf, KEY_EXACT);
    if (exact >= 0 && gguf_get_kv_type(gguf, exact) != GGUF_TYPE_BOOL) {
        return iflow_fail(IFLOW_E_CORRUPT, "%s: %s is no bool", name, KEY_EXACT);
    }
    identity->exact = exact >= 0 && gguf_get_val_bool(gguf, exact);
    if (!iflow_id_is_valid(fingerprint)) {
        return iflow_fail(IFLOW_E_CORRUPT, "%s: %s is not 32 lower-case hexadecimal digits", name, KEY_FINGERPRINT);
    }
    memcpy(identity->fingerprint, fingerprint, IFLOW_ID_SIZE);
    if (!get_int(gguf, KEY_N_LAYER, &identity->n_layer) || !get_int(gguf, KEY_N_EMBD_KV, &identity->n_embd_kv)) {
        return iflow_fail(IFLOW_E_CORRUPT, "%s: %s or %s is missing or no u32 of this size", name, KEY_N_LAYER, KEY_N_EMBD_KV);
    }
    if (!get_tokens(gguf, KEY_SINK, &identity->sink, &identity->n_sink) ||
        !get_tokens(gguf, KEY_TOKENS, &identity->token, &identity->n_tokens)) {
        return iflow_fail(IFLOW_E_CORRUPT, "%s: %s or %s is missing or no array of i32", name, KEY_SINK, KEY_TOKENS);
    }
    const char *problem = identity_problem(identity);
    if (problem) {
        return iflow_fail(IFLOW_E_CORRUPT, "%s: %s", name, problem);
    }
    if (identity->n_embd_kv % ggml_blck_size(iflow_kv_ggml_type(identity->type)) != 0) {
        return iflow_fail(IFLOW_E_CORRUPT, "%s: rows of %d elements cannot be %s", name, identity->n_embd_kv,
                          iflow_kv_type_name(identity->type));
    }
    return IFLOW_OK;
}

/* Checks that the tensors are the layers' K and V, in order, then any others, without gaps, and fill the file to its end. */
static iflow_status check_tensors(const struct gguf_context *gguf, const iflow_chunk_identity *identity, size_t data_bytes,
                                  const char *name) {
    const int64_t n_tensors = gguf_get_n_tensors(gguf);
    const int64_t n_kv_tensors = 2 * (int64_t)identity->n_layer;
    size_t end = 0;
    if (n_tensors < n_kv_tensors) {
        return iflow_fail(IFLOW_E_CORRUPT, "%s: %lld tensors, %d layers have %lld", name, (long long)n_tensors, identity->n_layer,
                          (long long)n_kv_tensors);
    }
    for (int64_t i = 0; i < n_tensors; i++) {
        const char *found = gguf_get_tensor_name(gguf, i);
        if (i < n_kv_tensors) {
            const int64_t *ne = gguf_get_tensor_ne(gguf, i);
            char wanted[GGML_MAX_NAME];
            tensor_name((int)(i / 2), (int)(i % 2), wanted);
            if (strcmp(found, wanted) != 0) {
                return iflow_fail(IFLOW_E_CORRUPT, "%s: tensor \"%s\" stands where \"%s\" should", name, found, wanted);
            }
            if (gguf_get_tensor_type(gguf, i) != iflow_kv_ggml_type(identity->type) || ne[0] != identity->n_embd_kv ||
                ne[1] != (int64_t)identity->n_tokens || ne[2] != 1 || ne[3] != 1) {
                return iflow_fail(IFLOW_E_CORRUPT, "%s: tensor \"%s\" is not %s [%zu tokens, %d elements]", name, found,
                                  iflow_kv_type_name(identity->type), identity->n_tokens, identity->n_embd_kv);
            }
        }
        const size_t size = gguf_get_tensor_size(gguf, i);
        if (gguf_get_tensor_offset(gguf, i) != end || size > data_bytes || padded(size) > data_bytes - end) {
            return iflow_fail(IFLOW_E_CORRUPT, "%s: truncated: tensor \"%s\" lies beyond the file's end", name, found);
        }
        end += padded(size);
    }
    if (end != data_bytes) {
        return iflow_fail(IFLOW_E_CORRUPT, "%s: %zu bytes follow the last tensor", name, data_bytes - end);
    }
    return IFLOW_OK;
}

/* Index of the numbers a token, -1 if there are none. */
static int64_t find_foreseen(const struct gguf_context *gguf, const iflow_chunk_identity *identity) {
    const int64_t i = gguf_find_tensor(gguf, TENSOR_FORESEEN);
    const bool ours =
        i >= 0 && gguf_get_tensor_type(gguf, i) == GGML_TYPE_F32 && gguf_get_tensor_size(gguf, i) == identity->n_tokens * sizeof(float);
    return ours ? i : -1;
}

/* Everything but the data: checks and fills id, identity and gguf of an empty chunk; what is filled on failure is the caller's too. */
static iflow_status read_header(const unsigned char *data, size_t n_bytes, const char *id, const char *name, iflow_chunk *chunk,
                                size_t *header_bytes) {
    iflow_status status = check_header(data, n_bytes, name, header_bytes);
    if (status) {
        return status;
    }
    chunk->gguf = gguf_init_from_buffer(data, *header_bytes, (struct gguf_init_params){.no_alloc = true});
    if (!chunk->gguf || gguf_get_data_offset(chunk->gguf) != *header_bytes) {
        return iflow_fail(IFLOW_E_CORRUPT, "%s: its header is no GGUF header of %zu bytes", name, *header_bytes);
    }
    status = read_identity(chunk->gguf, name, &chunk->identity);
    if (status) {
        return status;
    }
    status = check_tensors(chunk->gguf, &chunk->identity, n_bytes - *header_bytes, name);
    if (status) {
        return status;
    }
    iflow_chunk_id(&chunk->identity, chunk->id);
    if (id && strcmp(id, chunk->id) != 0) {
        return iflow_fail(IFLOW_E_CORRUPT, "%s: it holds the chunk %s", name, chunk->id);
    }
    return IFLOW_OK;
}

iflow_status iflow_chunk_decode(iflow_blob *blob, const char *id, const char *name, iflow_chunk **out) {
    iflow_status status = IFLOW_OK;
    const unsigned char *data = blob->data;
    size_t header_bytes = 0;
    char hex[IFLOW_ID_SIZE];
    iflow_chunk *chunk = iflow_calloc(1, sizeof *chunk);
    if (!chunk) {
        return iflow_fail_memory(sizeof *chunk);
    }
    status = read_header(data, blob->n_bytes, id, name, chunk, &header_bytes);
    if (status) {
        goto cleanup;
    }
    int bad_tensor = -1;
    size_t bad_token = 0;
    status = hash_data(&chunk->identity, data + header_bytes, blob->n_bytes - header_bytes, hex, &bad_tensor, &bad_token);
    if (status) {
        goto cleanup;
    }
    const char *checksum = get_string(chunk->gguf, KEY_DATA_CHECKSUM);
    if (!checksum || strcmp(checksum, hex) != 0) {
        status = iflow_fail(IFLOW_E_CORRUPT, "%s: the data's checksum is wrong", name);
        goto cleanup;
    }
    if (bad_tensor >= 0) {
        status = iflow_fail(IFLOW_E_CORRUPT, "%s: tensor \"%s\": a number of token %zu is not finite, or too large", name,
                            gguf_get_tensor_name(chunk->gguf, bad_tensor), bad_token);
        goto cleanup;
    }

    const size_t n_layer = (size_t)chunk->identity.n_layer;
    chunk->k = iflow_calloc(n_layer, sizeof chunk->k[0]);
    chunk->v = iflow_calloc(n_layer, sizeof chunk->v[0]);
    if (!chunk->k || !chunk->v) {
        status = iflow_fail_memory(n_layer * sizeof chunk->k[0]);
        goto cleanup;
    }
    for (size_t layer = 0; layer < n_layer; layer++) {
        chunk->k[layer] = data + header_bytes + gguf_get_tensor_offset(chunk->gguf, (int64_t)(2 * layer));
        chunk->v[layer] = data + header_bytes + gguf_get_tensor_offset(chunk->gguf, (int64_t)(2 * layer + 1));
    }
    const int64_t foreseen = find_foreseen(chunk->gguf, &chunk->identity);
    if (foreseen >= 0) {
        chunk->foreseen = (const void *)(data + header_bytes + gguf_get_tensor_offset(chunk->gguf, foreseen));
        const size_t bad = iflow_bad_foreseen(chunk->foreseen, chunk->identity.n_tokens);
        if (bad < chunk->identity.n_tokens) {
            status = iflow_fail(IFLOW_E_CORRUPT, "%s: tensor \"%s\": the staleness of token %zu is %g", name, TENSOR_FORESEEN, bad,
                                (double)chunk->foreseen[bad]);
            goto cleanup;
        }
    }
    chunk->blob = *blob;
    *blob = (iflow_blob){0};
    *out = chunk;
    chunk = NULL;

cleanup:
    iflow_chunk_free(chunk);
    return status;
}

iflow_status iflow_chunk_peek(const void *data, size_t n_bytes, const char *id, const char *name, iflow_chunk_info *info,
                              int32_t **tokens) {
    iflow_chunk chunk = {0};
    int32_t *copy = NULL;
    size_t header_bytes = 0;
    iflow_status status = read_header(data, n_bytes, id, name, &chunk, &header_bytes);
    if (status) {
        goto cleanup;
    }
    const iflow_chunk_identity *identity = &chunk.identity;
    if (tokens && identity->n_tokens > 0) { /* always: there is no chunk of none */
        copy = iflow_calloc(identity->n_tokens, sizeof copy[0]);
        if (!copy) {
            status = iflow_fail_memory(identity->n_tokens * sizeof copy[0]);
            goto cleanup;
        }
        memcpy(copy, identity->token, identity->n_tokens * sizeof copy[0]);
        *tokens = copy;
    }
    *info = (iflow_chunk_info){.n_tokens = (int)identity->n_tokens,
                               .n_sink = (int)identity->n_sink,
                               .n_layer = identity->n_layer,
                               .n_embd_kv = identity->n_embd_kv,
                               .type = iflow_kv_type_name(identity->type),
                               .foreseen = find_foreseen(chunk.gguf, identity) >= 0,
                               .exact = identity->exact,
                               .n_bytes = n_bytes};
    memcpy(info->id, chunk.id, sizeof info->id);
    memcpy(info->fingerprint, identity->fingerprint, sizeof info->fingerprint);

cleanup:
    gguf_free(chunk.gguf);
    return status;
}

void iflow_chunk_free(iflow_chunk *chunk) {
    if (!chunk) {
        return;
    }
    gguf_free(chunk->gguf);
    free(chunk->k);
    free(chunk->v);
    iflow_blob_free(&chunk->blob);
    free(chunk);
}
