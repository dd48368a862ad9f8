/* chunk.c - what a chunk is: the conditions that its identity holds, and its id. docs/FORMAT.md specifies them. */
#include "kv/chunk_file.h"

#include <gguf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_LAYERS 4096
#define MAX_WIDTH  (1 << 20)
#define MAX_COORD  (1 << 30)

enum { DIGITS = IFLOW_CHUNK_DIGITS, CONTENT_DIGITS = IFLOW_CONTENT_SIZE - 1 };

const char iflow_chunk_zeros[IFLOW_ID_SIZE] = "00000000000000000000000000000000";

static bool are_digits(const char *text, size_t n) {
    return strspn(text, "0123456789abcdef") == n && text[n] == '\0';
}

bool iflow_id_is_valid(const char *text) {
    return text && are_digits(text, DIGITS);
}

iflow_status iflow_id_check(const char *id) {
    return iflow_id_is_valid(id)
               ? IFLOW_OK
               : iflow_fail(IFLOW_E_ARG, "\"%.64s\" is no id: an id is 32 lower-case hexadecimal digits", id ? id : "(null)");
}

iflow_kv_layer *iflow_kv_layers_alike(int n_layer, int width) {
    iflow_kv_layer *layer = iflow_calloc((size_t)n_layer, sizeof *layer);
    for (int l = 0; layer && l < n_layer; l++) {
        layer[l] = (iflow_kv_layer){.kind = IFLOW_KV_ROWS, .k_width = (uint32_t)width, .v_width = (uint32_t)width};
    }
    return layer;
}

/* ---- The id ------------------------------------------------------------------------------------------------------------------------- */

/* The block whose hash the id is. Arrays enter as their hashes: then it is of fixed size and there is nothing to allocate that could fail.
 */
typedef struct id_block {
    unsigned char byte[304];
    size_t n;
} id_block;

static void put(id_block *block, uint64_t value, int n_bytes) {
    for (int i = 0; i < n_bytes; i++) {
        block->byte[block->n++] = (unsigned char)(value >> 8 * i);
    }
}

/* 32 digits, or zero bytes in place of those that are not there. */
static void put_digits(id_block *block, const char *digits) {
    memcpy(block->byte + block->n, digits, strnlen(digits, DIGITS));
    block->n += DIGITS;
}

/* NULL: no array, which is another thing than one of no element. */
static void put_array(id_block *block, const void *array, size_t n_bytes) {
    char hex[IFLOW_ID_SIZE] = "";
    if (array) {
        iflow_hash_hex(array, n_bytes, hex);
    }
    put_digits(block, hex);
}

void iflow_chunk_id(const iflow_chunk_identity *identity, char id[IFLOW_ID_SIZE]) {
    static const int32_t none = 0;
    id_block block = {.n = 0};
    const size_t n = identity->n_tokens;
    put(&block, IFLOW_CHUNK_VERSION, 4);
    put(&block, IFLOW_FINGERPRINT_VERSION, 4);
    put(&block, (uint32_t)identity->n_layer, 4);
    put(&block, (uint32_t)iflow_kv_ggml_type(identity->type), 4);
    put(&block, (uint32_t)identity->rope, 4);
    put(&block, identity->exact, 4);
    put(&block, identity->n_prefix, 8);
    put(&block, identity->n_before, 8);
    put(&block, n, 8);
    put_digits(&block, identity->fingerprint);
    put_digits(&block, identity->parent);
    put_array(&block, identity->layer, (size_t)identity->n_layer * sizeof identity->layer[0]);
    put_array(&block, identity->n_prefix ? identity->prefix : &none, identity->n_prefix * sizeof identity->prefix[0]);
    put_array(&block, n ? identity->token : &none, n * sizeof identity->token[0]);
    put_array(&block, identity->coord, 4 * n * sizeof identity->token[0]);
    put_array(&block, identity->group, n * sizeof identity->token[0]);
    put_array(&block, identity->content[0] ? identity->content : NULL, strnlen(identity->content, CONTENT_DIGITS));
    iflow_hash_hex(block.byte, sizeof block.byte, id);
}

/* ---- Conditions --------------------------------------------------------------------------------------------------------------------- */

static const char *layers_problem(const iflow_chunk_identity *identity) {
    bool any = false;
    if (identity->n_layer < 1 || identity->n_layer > MAX_LAYERS) {
        return "the number of layers is not from 1 to 4096";
    }
    for (int l = 0; l < identity->n_layer; l++) {
        const iflow_kv_layer *layer = &identity->layer[l];
        if (layer->k_width > MAX_WIDTH || layer->v_width > MAX_WIDTH) {
            return "the elements of a layer's row are more than 1048576";
        }
        any = any || layer->k_width || layer->v_width;
    }
    return any ? NULL : "no layer stores anything";
}

/* Of what is not a chunk of text by itself. What says nothing is left out, so that a chunk has one id. */
static const char *extras_problem(const iflow_chunk_identity *identity) {
    bool plain = true;
    if (identity->parent[0] ? !iflow_id_is_valid(identity->parent) || !identity->n_before : identity->n_before != 0) {
        return "the parent is no id, or does not go with the number of tokens before the chunk";
    }
    if (identity->n_before > INT32_MAX) {
        return "there are more than 2147483647 tokens before the chunk";
    }
    if (identity->content[0] && !are_digits(identity->content, CONTENT_DIGITS)) {
        return "the digest of the content is not 64 lower-case hexadecimal digits";
    }
    for (size_t i = 0; identity->coord && i < 4 * identity->n_tokens; i++) {
        if (identity->coord[i] < 0 || identity->coord[i] > MAX_COORD) {
            return "a coordinate is not from 0 to 1073741824";
        }
        plain = plain && (size_t)identity->coord[i] == i / 4;
    }
    if (identity->coord && plain) {
        return "the coordinates are those that tokens have without any";
    }
    plain = true;
    for (size_t i = 0; identity->group && i < identity->n_tokens; i++) {
        if (identity->group[i] < -1) {
            return "a group is less than -1";
        }
        plain = plain && identity->group[i] < 0;
    }
    return identity->group && plain ? "no token is in a group" : NULL;
}

const char *iflow_chunk_problem(const iflow_chunk_identity *identity) {
    const size_t limit = IFLOW_CHUNK_MAX_HEADER / sizeof(int32_t) / 2;
    if (!iflow_id_is_valid(identity->fingerprint)) {
        return "the model's fingerprint is not 32 lower-case hexadecimal digits";
    }
    if (identity->n_tokens < 1) {
        return "there is no token";
    }
    const size_t each = 1U + (identity->coord ? 4U : 0U) + (identity->group ? 1U : 0U);
    if (identity->n_tokens > limit || identity->n_prefix > limit || identity->n_tokens * each + identity->n_prefix > limit) {
        return "there are more than 8388608 tokens, coordinates and groups";
    }
    for (size_t i = 0; i < identity->n_tokens; i++) {
        if (identity->token[i] < 0) {
            return "a token id is negative";
        }
    }
    for (size_t i = 0; i < identity->n_prefix; i++) {
        if (identity->prefix[i] < 0) {
            return "a token id of the prefix is negative";
        }
    }
    const char *problem = layers_problem(identity);
    return problem ? problem : extras_problem(identity);
}

iflow_status iflow_chunk_check_kinds(const iflow_chunk_identity *identity, const char *name) {
    for (int l = 0; l < identity->n_layer; l++) {
        const uint32_t kind = identity->layer[l].kind;
        if (kind != IFLOW_KV_ROWS) {
            return iflow_fail(IFLOW_E_UNSUPPORTED, "%s: layer %d is of kind %u%s, this program takes rows of K and V alone (kind 1)", name,
                              l, kind,
                              kind == IFLOW_KV_LATENT  ? " (latent)"
                              : kind == IFLOW_KV_STATE ? " (state)"
                                                       : "");
        }
    }
    return IFLOW_OK;
}

int iflow_chunk_bad_width(const iflow_chunk_identity *identity) {
    const int block = (int)ggml_blck_size(iflow_kv_ggml_type(identity->type));
    for (int i = 0; i < 2 * identity->n_layer; i++) {
        const int width = iflow_chunk_width(identity, i / 2, i % 2);
        if (width % block != 0) {
            return width;
        }
    }
    return 0;
}

iflow_status iflow_chunk_require_plain(const iflow_chunk *chunk, int n_layer, int width) {
    const iflow_chunk_identity *identity = &chunk->identity;
    bool plain = identity->n_layer == n_layer && identity->rope == IFLOW_ROPE_BEFORE && !identity->coord && !identity->group;
    for (int i = 0; plain && i < 2 * n_layer; i++) {
        plain = iflow_chunk_width(identity, i / 2, i % 2) == width;
    }
    return plain ? IFLOW_OK
                 : iflow_fail(IFLOW_E_UNSUPPORTED,
                              "chunk %s: this program uses chunks of text with K before RoPE and rows of %d elements in each of %d layers",
                              chunk->id, width, n_layer);
}

/* ---- Shared by writing and reading ----------------------------------------------------------------------------------------------------
 */

void iflow_chunk_tensor_name(int layer, int kind, char name[GGML_MAX_NAME]) {
    snprintf(name, GGML_MAX_NAME, "blk.%d.%c", layer, kind == 0 ? 'k' : 'v');
}

iflow_status iflow_chunk_hash_header(const unsigned char *header, size_t n_bytes, char hex[IFLOW_ID_SIZE]) {
    iflow_hasher *hasher = iflow_hasher_new();
    if (!hasher) {
        return iflow_fail_memory(1024);
    }
    iflow_hasher_add(hasher, header, IFLOW_AT_HEADER_CHECKSUM);
    iflow_hasher_add(hasher, iflow_chunk_zeros, DIGITS);
    iflow_hasher_add(hasher, header + IFLOW_PREAMBLE_SIZE, n_bytes - IFLOW_PREAMBLE_SIZE);
    iflow_hasher_hex(hasher, hex);
    return IFLOW_OK;
}

void iflow_chunk_free(iflow_chunk *chunk) {
    if (!chunk) {
        return;
    }
    gguf_free(chunk->gguf);
    free(chunk->layer);
    free(chunk->k);
    free(chunk->v);
    iflow_blob_free(&chunk->blob);
    free(chunk);
}
