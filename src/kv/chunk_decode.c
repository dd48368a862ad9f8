/* chunk_decode.c - the bytes of a GGUF file to a chunk, and everything that can be wrong with them. docs/FORMAT.md specifies them.
 *
 * ggml's GGUF reader is written for files that are meant well. So nothing of a chunk file reaches it before two things hold: the preamble
 * (the first fields, whose place is fixed) is ours, and the header's checksum, which covers every byte that the reader will look at, is
 * right. It is given the header alone, never the data; what it returns is checked type by type, for its getters abort on a wrong one. */
#include "kv/chunk_file.h"

#include <assert.h>
#include <gguf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DIGITS = IFLOW_CHUNK_DIGITS, SLICE_BYTES = 1 << 17 /* looked at and hashed in one go: it should stay in a cache in between */ };

/* ---- The preamble ------------------------------------------------------------------------------------------------------------------- */

static void put_number(unsigned char *at, uint64_t value, int n_bytes) {
    for (int i = 0; i < n_bytes; i++) {
        at[i] = (unsigned char)(value >> 8 * i);
    }
}

static uint32_t version_of(const unsigned char *data) {
    uint32_t version;
    memcpy(&version, data + IFLOW_AT_VERSION, sizeof version);
    return version;
}

/* Whether the first fields are a chunk's, but for the values at fixed places. */
static bool begins_as_chunk(const unsigned char *data, size_t n_bytes) {
    unsigned char expected[IFLOW_PREAMBLE_SIZE] = "GGUF\3";
    unsigned char *at = expected + IFLOW_AT_KEYS;
    static const struct {
        const char *key;
        uint32_t type;
        size_t value_bytes;
    } first[] = {{IFLOW_KEY_VERSION, GGUF_TYPE_UINT32, 4},
                 {IFLOW_KEY_HEADER_BYTES, GGUF_TYPE_UINT64, 8},
                 {IFLOW_KEY_HEADER_CHECKSUM, GGUF_TYPE_STRING, 8 + DIGITS}};
    if (n_bytes < IFLOW_PREAMBLE_SIZE) {
        return false;
    }
    memcpy(expected + IFLOW_AT_N_TENSORS, data + IFLOW_AT_N_TENSORS, 16);
    for (size_t i = 0; i < sizeof first / sizeof first[0]; i++) {
        const size_t length = strlen(first[i].key);
        put_number(at, length, 8);
        memcpy(at + 8, first[i].key, length);
        put_number(at + 8 + length, first[i].type, 4);
        at += 8 + length + 4 + first[i].value_bytes;
    }
    assert(at == expected + IFLOW_PREAMBLE_SIZE);
    memcpy(expected + IFLOW_AT_VERSION, data + IFLOW_AT_VERSION, 4);
    memcpy(expected + IFLOW_AT_HEADER_BYTES, data + IFLOW_AT_HEADER_BYTES, 8);
    put_number(expected + IFLOW_AT_HEADER_CHECKSUM - 8, DIGITS, 8);
    return memcmp(expected, data, IFLOW_AT_HEADER_CHECKSUM) == 0;
}

bool iflow_chunk_is_old(const void *data, size_t n_bytes) {
    static const char key[] = IFLOW_KEY_FINGERPRINT_VERSION;
    const unsigned char *at = data;
    if (!begins_as_chunk(at, n_bytes)) {
        return false;
    }
    const uint32_t version = version_of(at);
    if (version != IFLOW_CHUNK_VERSION) {
        return version > 0 && version < IFLOW_CHUNK_VERSION;
    }
    unsigned char expected[8 + sizeof key - 1 + 4 + 4]; /* the fourth key */
    put_number(expected, sizeof key - 1, 8);
    memcpy(expected + 8, key, sizeof key - 1);
    put_number(expected + 8 + sizeof key - 1, GGUF_TYPE_UINT32, 4);
    uint32_t made = 0;
    if (n_bytes < IFLOW_PREAMBLE_SIZE + sizeof expected || memcmp(at + IFLOW_PREAMBLE_SIZE, expected, sizeof expected - 4) != 0) {
        return false;
    }
    memcpy(&made, at + IFLOW_PREAMBLE_SIZE + sizeof expected - 4, sizeof made);
    return made < IFLOW_FINGERPRINT_VERSION;
}

iflow_status iflow_chunk_header_bytes(const void *first, size_t n_first, uint64_t n_file, const char *name, size_t *n_bytes) {
    const unsigned char *data = first;
    uint64_t size;
    if (n_first < IFLOW_PREAMBLE_SIZE) {
        return iflow_fail(IFLOW_E_CORRUPT, "%s: not a chunk file: it has %zu bytes and a chunk's first fields alone take %zu", name,
                          n_first, IFLOW_PREAMBLE_SIZE);
    }
    if (!begins_as_chunk(data, n_first)) {
        return iflow_fail(IFLOW_E_CORRUPT, "%s: not a chunk file: it does not begin with a chunk's first fields", name);
    }
    memcpy(&size, data + IFLOW_AT_HEADER_BYTES, sizeof size);
    if (size < IFLOW_PREAMBLE_SIZE || size > IFLOW_CHUNK_MAX_HEADER || size % IFLOW_CHUNK_ALIGNMENT != 0) {
        return iflow_fail(IFLOW_E_CORRUPT, "%s: its header claims to have %llu bytes", name, (unsigned long long)size);
    }
    if (size > n_file) {
        return iflow_fail(IFLOW_E_CORRUPT, "%s: truncated: the header alone has %llu bytes, the file has %llu", name,
                          (unsigned long long)size, (unsigned long long)n_file);
    }
    *n_bytes = (size_t)size;
    return IFLOW_OK;
}

static iflow_status refuse_version(const unsigned char *data, size_t n_bytes, const char *name) {
    const uint32_t version = version_of(data);
    if (iflow_chunk_is_old(data, n_bytes)) {
        return iflow_fail(IFLOW_E_UNSUPPORTED,
                          "%s: an old chunk (format version %u, this program uses version %d): ingest its document again; pruning the "
                          "store's old chunks removes it",
                          name, version, IFLOW_CHUNK_VERSION);
    }
    return version == IFLOW_CHUNK_VERSION ? IFLOW_OK
                                          : iflow_fail(IFLOW_E_UNSUPPORTED, "%s: chunk format version %u, this program reads version %d",
                                                       name, version, IFLOW_CHUNK_VERSION);
}

/* Checks preamble, header's checksum and versions. */
static iflow_status check_header(const unsigned char *data, size_t n_bytes, uint64_t n_file, const char *name, size_t *header_bytes) {
    char hex[IFLOW_ID_SIZE];
    iflow_status status = iflow_chunk_header_bytes(data, n_bytes, n_file, name, header_bytes);
    assert(status || *header_bytes <= n_bytes);
    status = status ? status : iflow_chunk_hash_header(data, *header_bytes, hex);
    if (status) {
        return status;
    }
    if (memcmp(hex, data + IFLOW_AT_HEADER_CHECKSUM, DIGITS) != 0) {
        return iflow_fail(IFLOW_E_CORRUPT, "%s: the header's checksum is wrong", name);
    }
    return refuse_version(data, *header_bytes, name);
}

/* ---- The header --------------------------------------------------------------------------------------------------------------------- */

static int64_t find_value(const struct gguf_context *gguf, const char *key, enum gguf_type type) {
    const int64_t i = gguf_find_key(gguf, key);
    return i >= 0 && gguf_get_kv_type(gguf, i) == type ? i : -1;
}

static const char *get_string(const struct gguf_context *gguf, const char *key) {
    const int64_t i = find_value(gguf, key, GGUF_TYPE_STRING);
    return i < 0 ? NULL : gguf_get_val_str(gguf, i);
}

/* An array of a type; NULL if there is none, else also where it is empty. */
static const void *get_array(const struct gguf_context *gguf, const char *key, enum gguf_type type, size_t *n) {
    static const int32_t none[4] = {0};
    const int64_t i = find_value(gguf, key, GGUF_TYPE_ARRAY);
    if (i < 0 || gguf_get_arr_type(gguf, i) != type) {
        return NULL;
    }
    *n = gguf_get_arr_n(gguf, i);
    return *n ? gguf_get_arr_data(gguf, i) : none;
}

static iflow_status lacks(const char *name, const char *key, const char *what) {
    return iflow_fail(IFLOW_E_CORRUPT, "%s: %s is missing or no %s", name, key, what);
}

static iflow_status read_layers(const struct gguf_context *gguf, const char *name, iflow_chunk *chunk) {
    static const char *const key[] = {IFLOW_KEY_LAYER_KIND, IFLOW_KEY_LAYER_K_WIDTH, IFLOW_KEY_LAYER_V_WIDTH};
    const void *array[3];
    size_t n[3] = {0};
    for (size_t i = 0; i < 3; i++) {
        array[i] = get_array(gguf, key[i], GGUF_TYPE_UINT32, &n[i]);
        if (!array[i]) {
            return lacks(name, key[i], "array of u32");
        }
        if (n[i] != n[0] || n[i] > INT32_MAX) {
            return iflow_fail(IFLOW_E_CORRUPT, "%s: %s has %zu elements, %s has %zu", name, key[i], n[i], key[0], n[0]);
        }
    }
    chunk->layer = iflow_calloc(n[0], sizeof chunk->layer[0]);
    if (!chunk->layer) {
        return iflow_fail_memory(n[0] * sizeof chunk->layer[0]);
    }
    for (size_t l = 0; l < n[0]; l++) {
        uint32_t value[3];
        for (size_t i = 0; i < 3; i++) {
            memcpy(&value[i], (const char *)array[i] + l * sizeof value[i], sizeof value[i]);
        }
        chunk->layer[l] = (iflow_kv_layer){.kind = value[0], .k_width = value[1], .v_width = value[2]};
    }
    chunk->identity.layer = chunk->layer;
    chunk->identity.n_layer = (int)n[0];
    const int64_t sums = find_value(gguf, IFLOW_KEY_LAYER_CHECKSUMS, GGUF_TYPE_ARRAY);
    if (sums < 0 || gguf_get_arr_type(gguf, sums) != GGUF_TYPE_STRING || gguf_get_arr_n(gguf, sums) != n[0]) {
        return iflow_fail(IFLOW_E_CORRUPT, "%s: %s is missing or no array of %zu strings", name, IFLOW_KEY_LAYER_CHECKSUMS, n[0]);
    }
    return get_string(gguf, IFLOW_KEY_REST_CHECKSUM) ? IFLOW_OK : lacks(name, IFLOW_KEY_REST_CHECKSUM, "string");
}

/* One array a token, or none at all. */
static iflow_status read_optional(const struct gguf_context *gguf, const char *name, const char *key, size_t n_wanted,
                                  const int32_t **out) {
    size_t n = 0;
    if (gguf_find_key(gguf, key) < 0) {
        return IFLOW_OK;
    }
    *out = get_array(gguf, key, GGUF_TYPE_INT32, &n);
    if (!*out) {
        return lacks(name, key, "array of i32");
    }
    return n == n_wanted ? IFLOW_OK : iflow_fail(IFLOW_E_CORRUPT, "%s: %s has %zu elements, this chunk's has %zu", name, key, n, n_wanted);
}

static iflow_status read_tokens(const struct gguf_context *gguf, const char *name, iflow_chunk_identity *identity) {
    const char *parent = get_string(gguf, IFLOW_KEY_PARENT), *content = get_string(gguf, IFLOW_KEY_CONTENT);
    const int64_t n_before = find_value(gguf, IFLOW_KEY_N_BEFORE, GGUF_TYPE_UINT64);
    identity->prefix = get_array(gguf, IFLOW_KEY_ROOT, GGUF_TYPE_INT32, &identity->n_prefix);
    identity->token = get_array(gguf, IFLOW_KEY_TOKENS, GGUF_TYPE_INT32, &identity->n_tokens);
    if (!identity->prefix || !identity->token) {
        return lacks(name, identity->prefix ? IFLOW_KEY_TOKENS : IFLOW_KEY_ROOT, "array of i32");
    }
    if (!parent || strlen(parent) >= sizeof identity->parent || n_before < 0) {
        return lacks(name, n_before < 0 ? IFLOW_KEY_N_BEFORE : IFLOW_KEY_PARENT, n_before < 0 ? "u64" : "id");
    }
    memcpy(identity->parent, parent, strlen(parent) + 1);
    identity->n_before = gguf_get_val_u64(gguf, n_before);
    if (gguf_find_key(gguf, IFLOW_KEY_CONTENT) >= 0 && (!content || strlen(content) != sizeof identity->content - 1)) {
        return lacks(name, IFLOW_KEY_CONTENT, "digest of 64 digits");
    }
    memcpy(identity->content, content ? content : "", content ? sizeof identity->content : 1);
    const iflow_status status = read_optional(gguf, name, IFLOW_KEY_COORDS, 4 * identity->n_tokens, &identity->coord);
    return status ? status : read_optional(gguf, name, IFLOW_KEY_GROUPS, identity->n_tokens, &identity->group);
}

static iflow_status read_class(const struct gguf_context *gguf, const char *name, iflow_chunk_identity *identity) {
    const char *architecture = get_string(gguf, IFLOW_KEY_ARCHITECTURE), *fingerprint = get_string(gguf, IFLOW_KEY_FINGERPRINT);
    const char *type = get_string(gguf, IFLOW_KEY_TYPE), *rope = get_string(gguf, IFLOW_KEY_ROPE);
    const int64_t made = find_value(gguf, IFLOW_KEY_FINGERPRINT_VERSION, GGUF_TYPE_UINT32), exact = gguf_find_key(gguf, IFLOW_KEY_EXACT);
    if (!architecture || strcmp(architecture, IFLOW_CHUNK_ARCHITECTURE) != 0) {
        return iflow_fail(IFLOW_E_CORRUPT, "%s: %s is not \"%s\"", name, IFLOW_KEY_ARCHITECTURE, IFLOW_CHUNK_ARCHITECTURE);
    }
    if (gguf_get_alignment(gguf) != IFLOW_CHUNK_ALIGNMENT) {
        return iflow_fail(IFLOW_E_CORRUPT, "%s: its alignment is %zu, a chunk's is %d", name, gguf_get_alignment(gguf),
                          IFLOW_CHUNK_ALIGNMENT);
    }
    if (made < 0) {
        return lacks(name, IFLOW_KEY_FINGERPRINT_VERSION, "u32");
    }
    if (gguf_get_val_u32(gguf, made) > IFLOW_FINGERPRINT_VERSION) {
        return iflow_fail(IFLOW_E_UNSUPPORTED, "%s: its model's fingerprint is of version %u, this program makes version %d", name,
                          gguf_get_val_u32(gguf, made), IFLOW_FINGERPRINT_VERSION);
    }
    if (gguf_get_val_u32(gguf, made) < IFLOW_FINGERPRINT_VERSION) { /* an old one has it where that is told before this */
        return iflow_fail(IFLOW_E_CORRUPT, "%s: %s does not stand where it should", name, IFLOW_KEY_FINGERPRINT_VERSION);
    }
    if (!type || !iflow_kv_find_type(type, &identity->type)) {
        return iflow_fail(IFLOW_E_CORRUPT, "%s: %s is neither f16 nor q8_0", name, IFLOW_KEY_TYPE);
    }
    if (!rope || (strcmp(rope, iflow_kv_rope_name(IFLOW_ROPE_BEFORE)) != 0 && strcmp(rope, iflow_kv_rope_name(IFLOW_ROPE_AFTER)) != 0)) {
        return iflow_fail(IFLOW_E_CORRUPT, "%s: %s is neither before nor after", name, IFLOW_KEY_ROPE);
    }
    identity->rope = strcmp(rope, iflow_kv_rope_name(IFLOW_ROPE_AFTER)) == 0 ? IFLOW_ROPE_AFTER : IFLOW_ROPE_BEFORE;
    if (exact >= 0 && gguf_get_kv_type(gguf, exact) != GGUF_TYPE_BOOL) {
        return iflow_fail(IFLOW_E_CORRUPT, "%s: %s is no bool", name, IFLOW_KEY_EXACT);
    }
    identity->exact = exact >= 0 && gguf_get_val_bool(gguf, exact);
    if (!iflow_id_is_valid(fingerprint)) {
        return iflow_fail(IFLOW_E_CORRUPT, "%s: %s is not 32 lower-case hexadecimal digits", name, IFLOW_KEY_FINGERPRINT);
    }
    memcpy(identity->fingerprint, fingerprint, IFLOW_ID_SIZE);
    return IFLOW_OK;
}

/* Fills chunk->identity; its arrays lie in chunk->gguf and chunk->layer. */
static iflow_status read_identity(const char *name, iflow_chunk *chunk) {
    iflow_chunk_identity *identity = &chunk->identity;
    iflow_status status = read_class(chunk->gguf, name, identity);
    status = status ? status : read_layers(chunk->gguf, name, chunk);
    status = status ? status : read_tokens(chunk->gguf, name, identity);
    if (status) {
        return status;
    }
    const char *problem = iflow_chunk_problem(identity);
    if (problem) {
        return iflow_fail(IFLOW_E_CORRUPT, "%s: %s", name, problem);
    }
    status = iflow_chunk_check_kinds(identity, name);
    const int width = status ? 0 : iflow_chunk_bad_width(identity);
    return width ? iflow_fail(IFLOW_E_CORRUPT, "%s: rows of %d elements cannot be %s", name, width, iflow_kv_type_name(identity->type))
                 : status;
}

/* That tensor i is what a layer stores. */
static iflow_status check_tensor(const struct gguf_context *gguf, int64_t i, const iflow_chunk_identity *identity, int layer, int kind,
                                 const char *name) {
    const int width = iflow_chunk_width(identity, layer, kind);
    const char *found = gguf_get_tensor_name(gguf, i);
    const int64_t *ne = gguf_get_tensor_ne(gguf, i);
    char wanted[GGML_MAX_NAME];
    iflow_chunk_tensor_name(layer, kind, wanted);
    if (strcmp(found, wanted) != 0) {
        return iflow_fail(IFLOW_E_CORRUPT, "%s: tensor \"%s\" stands where \"%s\" should", name, found, wanted);
    }
    if (gguf_get_tensor_type(gguf, i) != iflow_kv_ggml_type(identity->type) || ne[0] != width || ne[1] != (int64_t)identity->n_tokens ||
        ne[2] != 1 || ne[3] != 1) {
        return iflow_fail(IFLOW_E_CORRUPT, "%s: tensor \"%s\" is not %s [%zu tokens, %d elements]", name, found,
                          iflow_kv_type_name(identity->type), identity->n_tokens, width);
    }
    return IFLOW_OK;
}

/* Checks that the tensors are what the layers store, in order, then any others, without gaps, and fill the file to its end. */
static iflow_status check_tensors(const struct gguf_context *gguf, const iflow_chunk_identity *identity, uint64_t data_bytes,
                                  const char *name) {
    const int64_t n_tensors = gguf_get_n_tensors(gguf);
    int64_t n_kv = 0, i = 0;
    for (int at = 0; at < 2 * identity->n_layer; at++) {
        n_kv += iflow_chunk_width(identity, at / 2, at % 2) > 0;
    }
    if (n_tensors < n_kv) {
        return iflow_fail(IFLOW_E_CORRUPT, "%s: %lld tensors, its %d layers have %lld", name, (long long)n_tensors, identity->n_layer,
                          (long long)n_kv);
    }
    for (int at = 0; at < 2 * identity->n_layer; at++) {
        if (iflow_chunk_width(identity, at / 2, at % 2)) {
            const iflow_status status = check_tensor(gguf, i++, identity, at / 2, at % 2, name);
            if (status) {
                return status;
            }
        }
    }
    uint64_t end = 0;
    for (i = 0; i < n_tensors; i++) {
        const size_t size = gguf_get_tensor_size(gguf, i);
        if (gguf_get_tensor_offset(gguf, i) != end || size > data_bytes || iflow_chunk_padded(size) > data_bytes - end) {
            return iflow_fail(IFLOW_E_CORRUPT, "%s: truncated: tensor \"%s\" lies beyond the file's end", name,
                              gguf_get_tensor_name(gguf, i));
        }
        end += iflow_chunk_padded(size);
    }
    return end == data_bytes
               ? IFLOW_OK
               : iflow_fail(IFLOW_E_CORRUPT, "%s: %llu bytes follow the last tensor", name, (unsigned long long)(data_bytes - end));
}

/* Index of the numbers a token, -1 if there are none. */
static int64_t find_staleness(const struct gguf_context *gguf, const iflow_chunk_identity *identity) {
    const int64_t i = gguf_find_tensor(gguf, IFLOW_TENSOR_STALENESS);
    const bool ours =
        i >= 0 && gguf_get_tensor_type(gguf, i) == GGML_TYPE_F32 && gguf_get_tensor_size(gguf, i) == identity->n_tokens * sizeof(float);
    return ours ? i : -1;
}

iflow_status iflow_chunk_read_header(const void *header, size_t n_bytes, uint64_t n_file, const char *id, const char *name,
                                     iflow_chunk *chunk, size_t *header_bytes) {
    iflow_status status = check_header(header, n_bytes, n_file, name, header_bytes);
    if (status) {
        return status;
    }
    chunk->gguf = gguf_init_from_buffer(header, *header_bytes, (struct gguf_init_params){.no_alloc = true});
    if (!chunk->gguf || gguf_get_data_offset(chunk->gguf) != *header_bytes) {
        return iflow_fail(IFLOW_E_CORRUPT, "%s: its header is no GGUF header of %zu bytes", name, *header_bytes);
    }
    status = read_identity(name, chunk);
    status = status ? status : check_tensors(chunk->gguf, &chunk->identity, n_file - *header_bytes, name);
    if (status) {
        return status;
    }
    iflow_chunk_id(&chunk->identity, chunk->id);
    return !id || strcmp(id, chunk->id) == 0 ? IFLOW_OK : iflow_fail(IFLOW_E_CORRUPT, "%s: it holds the chunk %s", name, chunk->id);
}

/* ---- The data ----------------------------------------------------------------------------------------------------------------------- */

iflow_status iflow_chunk_check_layer(const iflow_chunk *chunk, int layer, const unsigned char *bytes, const char *name) {
    const iflow_chunk_identity *identity = &chunk->identity;
    int bad_kind = -1;
    size_t bad_token = 0;
    char hex[IFLOW_ID_SIZE];
    iflow_hasher *hasher = iflow_hasher_new();
    if (!hasher) {
        return iflow_fail_memory(1024);
    }
    for (int kind = 0; kind < 2; kind++) {
        const size_t n_tensor = iflow_chunk_tensor_bytes(identity, layer, kind), n_slot = iflow_chunk_padded(n_tensor);
        if (!n_tensor) {
            continue;
        }
        const size_t n_row = iflow_kv_row_bytes(identity->type, iflow_chunk_width(identity, layer, kind));
        assert(n_row > 0);
        const size_t slice = n_row > SLICE_BYTES ? n_row : SLICE_BYTES / n_row * n_row;
        for (size_t done = 0; done < n_tensor; done += slice) {
            const size_t n = n_tensor - done < slice ? n_tensor - done : slice;
            size_t bad = 0;
            if (bad_kind < 0 && !iflow_rows_finite(identity->type, bytes + done, n, &bad)) {
                bad_kind = kind;
                bad_token = (done + bad) / n_row;
            }
            iflow_hasher_add(hasher, bytes + done, n);
        }
        iflow_hasher_add(hasher, bytes + n_tensor, n_slot - n_tensor);
        bytes += n_slot;
    }
    iflow_hasher_hex(hasher, hex);
    const int64_t sums = gguf_find_key(chunk->gguf, IFLOW_KEY_LAYER_CHECKSUMS);
    if (strcmp(gguf_get_arr_str(chunk->gguf, sums, (size_t)layer), hex) != 0) {
        return iflow_fail(IFLOW_E_CORRUPT, "%s: layer %d: the data's checksum is wrong", name, layer);
    }
    if (bad_kind >= 0) {
        char tensor[GGML_MAX_NAME];
        iflow_chunk_tensor_name(layer, bad_kind, tensor);
        return iflow_fail(IFLOW_E_CORRUPT, "%s: tensor \"%s\": a number of token %zu is not finite, or too large", name, tensor, bad_token);
    }
    return IFLOW_OK;
}

/* Checks what follows the header: each layer, then the rest. */
static iflow_status check_data(const iflow_chunk *chunk, const unsigned char *data, size_t n_bytes, const char *name) {
    char hex[IFLOW_ID_SIZE];
    size_t at = 0;
    for (int layer = 0; layer < chunk->identity.n_layer; layer++) {
        const iflow_status status = iflow_chunk_check_layer(chunk, layer, data + at, name);
        if (status) {
            return status;
        }
        at += iflow_chunk_layer_bytes(&chunk->identity, layer);
    }
    iflow_hash_hex(data + at, n_bytes - at, hex);
    if (strcmp(get_string(chunk->gguf, IFLOW_KEY_REST_CHECKSUM), hex) != 0) {
        return iflow_fail(IFLOW_E_CORRUPT, "%s: after the layers: the data's checksum is wrong", name);
    }
    return IFLOW_OK;
}

/* Points k, v and staleness into the data. */
static iflow_status point(iflow_chunk *chunk, const unsigned char *data, const char *name) {
    const iflow_chunk_identity *identity = &chunk->identity;
    const size_t n_layer = (size_t)identity->n_layer;
    chunk->k = iflow_calloc(n_layer, sizeof chunk->k[0]);
    chunk->v = iflow_calloc(n_layer, sizeof chunk->v[0]);
    if (!chunk->k || !chunk->v) {
        return iflow_fail_memory(n_layer * sizeof chunk->k[0]);
    }
    const unsigned char *at = data;
    for (int layer = 0; layer < identity->n_layer; layer++) {
        const void **to[2] = {&chunk->k[layer], &chunk->v[layer]};
        for (int kind = 0; kind < 2; kind++) {
            const size_t n_bytes = iflow_chunk_tensor_bytes(identity, layer, kind);
            *to[kind] = n_bytes ? at : NULL;
            at += iflow_chunk_padded(n_bytes);
        }
    }
    const int64_t staleness = find_staleness(chunk->gguf, identity);
    if (staleness < 0) {
        return IFLOW_OK;
    }
    chunk->staleness = (const void *)(data + gguf_get_tensor_offset(chunk->gguf, staleness));
    const size_t bad = iflow_bad_staleness(chunk->staleness, identity->n_tokens);
    return bad == identity->n_tokens ? IFLOW_OK
                                     : iflow_fail(IFLOW_E_CORRUPT, "%s: tensor \"%s\": the staleness of token %zu is %g", name,
                                                  IFLOW_TENSOR_STALENESS, bad, (double)chunk->staleness[bad]);
}

iflow_status iflow_chunk_decode(iflow_blob *blob, const char *id, const char *name, iflow_chunk **out) {
    const unsigned char *data = blob->data;
    size_t header_bytes = 0;
    iflow_chunk *chunk = iflow_calloc(1, sizeof *chunk);
    if (!chunk) {
        return iflow_fail_memory(sizeof *chunk);
    }
    const bool checked = blob->checked && *blob->checked;
    iflow_status status = iflow_chunk_read_header(data, blob->n_bytes, blob->n_bytes, id, name, chunk, &header_bytes);
    if (!status && !checked) {
        status = check_data(chunk, data + header_bytes, blob->n_bytes - header_bytes, name);
    }
    status = status ? status : point(chunk, data + header_bytes, name);
    if (status) {
        iflow_chunk_free(chunk);
        return status;
    }
    if (blob->checked) {
        *blob->checked = true;
    }
    chunk->blob = *blob;
    *blob = (iflow_blob){0};
    *out = chunk;
    return IFLOW_OK;
}

iflow_status iflow_chunk_peek(const void *data, size_t n_bytes, const char *id, const char *name, iflow_chunk_info *info,
                              int32_t **tokens) {
    iflow_chunk chunk = {0};
    size_t header_bytes = 0;
    iflow_status status = iflow_chunk_read_header(data, n_bytes, n_bytes, id, name, &chunk, &header_bytes);
    if (status) {
        goto cleanup;
    }
    const iflow_chunk_identity *identity = &chunk.identity;
    if (tokens && identity->n_tokens > 0) { /* always: there is no chunk of none */
        int32_t *copy = iflow_calloc(identity->n_tokens, sizeof copy[0]);
        if (!copy) {
            status = iflow_fail_memory(identity->n_tokens * sizeof copy[0]);
            goto cleanup;
        }
        memcpy(copy, identity->token, identity->n_tokens * sizeof copy[0]);
        *tokens = copy;
    }
    *info = (iflow_chunk_info){.n_tokens = (int)identity->n_tokens,
                               .n_root = (int)identity->n_prefix,
                               .n_before = (int)identity->n_before,
                               .n_layer = identity->n_layer,
                               .type = iflow_kv_type_name(identity->type),
                               .has_staleness = find_staleness(chunk.gguf, identity) >= 0,
                               .after_rope = identity->rope == IFLOW_ROPE_AFTER,
                               .exact = identity->exact,
                               .n_bytes = n_bytes};
    for (int i = 0; i < 2 * identity->n_layer; i++) {
        const int width = iflow_chunk_width(identity, i / 2, i % 2);
        info->n_embd_kv = width > info->n_embd_kv ? width : info->n_embd_kv;
    }
    memcpy(info->id, chunk.id, sizeof info->id);
    memcpy(info->parent, identity->parent, sizeof info->parent);
    memcpy(info->fingerprint, identity->fingerprint, sizeof info->fingerprint);

cleanup:
    gguf_free(chunk.gguf);
    free(chunk.layer);
    return status;
}
