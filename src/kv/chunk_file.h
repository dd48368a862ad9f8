/* chunk_file.h - what writing and reading a chunk file share: keys, fixed places, sizes and conditions. docs/FORMAT.md specifies the file.
 */
#ifndef IFLOW_KV_CHUNK_FILE_H
#define IFLOW_KV_CHUNK_FILE_H

#include "kv/rows.h"

enum {
    IFLOW_CHUNK_DIGITS = 32,           /* of a hash */
    IFLOW_CHUNK_ALIGNMENT = 32,        /* GGUF's default, of each tensor's data */
    IFLOW_CHUNK_MAX_HEADER = 64 << 20, /* bounds what a forged header can make the reader allocate */
};

#define IFLOW_KEY_VERSION             "infoflow.version"
#define IFLOW_KEY_HEADER_BYTES        "infoflow.header_bytes"
#define IFLOW_KEY_HEADER_CHECKSUM     "infoflow.checksum.header"
#define IFLOW_KEY_FINGERPRINT_VERSION "infoflow.fingerprint_version"
#define IFLOW_KEY_LAYER_CHECKSUMS     "infoflow.checksum.layers"
#define IFLOW_KEY_REST_CHECKSUM       "infoflow.checksum.rest"
#define IFLOW_KEY_ARCHITECTURE        "general.architecture"
#define IFLOW_KEY_FINGERPRINT         "infoflow.fingerprint"
#define IFLOW_KEY_LAYER_KIND          "infoflow.layer.kind"
#define IFLOW_KEY_LAYER_K_WIDTH       "infoflow.layer.k_width"
#define IFLOW_KEY_LAYER_V_WIDTH       "infoflow.layer.v_width"
#define IFLOW_KEY_TYPE                "infoflow.type"
#define IFLOW_KEY_ROPE                "infoflow.rope"
#define IFLOW_KEY_EXACT               "infoflow.exact"
#define IFLOW_KEY_ROOT                "infoflow.root"
#define IFLOW_KEY_PARENT              "infoflow.parent"
#define IFLOW_KEY_N_BEFORE            "infoflow.n_before"
#define IFLOW_KEY_TOKENS              "infoflow.tokens"
#define IFLOW_KEY_COORDS              "infoflow.coords"
#define IFLOW_KEY_GROUPS              "infoflow.groups"
#define IFLOW_KEY_CONTENT             "infoflow.content"
#define IFLOW_CHUNK_ARCHITECTURE      "infoflow-chunk"
#define IFLOW_TENSOR_STALENESS        "token.staleness"

/* The preamble: magic, GGUF version, the counts of tensors and keys, then the first three keys, in this order, in every format version. */
#define IFLOW_AT_N_TENSORS       8
#define IFLOW_AT_KEYS            24 /* after the counts */
#define IFLOW_AT_VERSION         (IFLOW_AT_KEYS + 8 + sizeof IFLOW_KEY_VERSION - 1 + 4)
#define IFLOW_AT_HEADER_BYTES    (IFLOW_AT_VERSION + 4 + 8 + sizeof IFLOW_KEY_HEADER_BYTES - 1 + 4)
#define IFLOW_AT_HEADER_CHECKSUM (IFLOW_AT_HEADER_BYTES + 8 + 8 + sizeof IFLOW_KEY_HEADER_CHECKSUM - 1 + 4 + 8)
#define IFLOW_PREAMBLE_SIZE      (IFLOW_AT_HEADER_CHECKSUM + IFLOW_CHUNK_DIGITS)

extern const char iflow_chunk_zeros[IFLOW_ID_SIZE]; /* what stands for a checksum while it is computed */

static inline size_t iflow_chunk_padded(size_t n_bytes) {
    return (n_bytes + IFLOW_CHUNK_ALIGNMENT - 1) / IFLOW_CHUNK_ALIGNMENT * IFLOW_CHUNK_ALIGNMENT;
}

/* Elements of a row of a layer's K (kind 0) or V (kind 1). */
static inline int iflow_chunk_width(const iflow_chunk_identity *identity, int layer, int kind) {
    return (int)(kind == 0 ? identity->layer[layer].k_width : identity->layer[layer].v_width);
}

/* Bytes of a layer's K or V, without padding. */
static inline size_t iflow_chunk_tensor_bytes(const iflow_chunk_identity *identity, int layer, int kind) {
    const int width = iflow_chunk_width(identity, layer, kind);
    return width ? iflow_kv_row_bytes(identity->type, width) * identity->n_tokens : 0;
}

/* Bytes of a layer in the file, padding included. Its limits make all sums of these less than 2^58. */
static inline size_t iflow_chunk_layer_bytes(const iflow_chunk_identity *identity, int layer) {
    return iflow_chunk_padded(iflow_chunk_tensor_bytes(identity, layer, 0)) +
           iflow_chunk_padded(iflow_chunk_tensor_bytes(identity, layer, 1));
}

/* The name in the file of layer l's K (kind 0) or V (kind 1). */
void iflow_chunk_tensor_name(int layer, int kind, char name[GGML_MAX_NAME]);

/* What is wrong with an identity, the same for what is written and for what was read; NULL: nothing. */
const char *iflow_chunk_problem(const iflow_chunk_identity *identity);

/* That layers are of kinds that are read and written today. E_UNSUPPORTED. */
iflow_status iflow_chunk_check_kinds(const iflow_chunk_identity *identity, const char *name);

/* The first width that cannot be of the identity's type; 0: there is none. */
int iflow_chunk_bad_width(const iflow_chunk_identity *identity);

/* Of the header, with its own checksum's digits taken as zeros. */
iflow_status iflow_chunk_hash_header(const unsigned char *header, size_t n_bytes, char hex[IFLOW_ID_SIZE]);

/* How many bytes of header a file of n_file bytes has, by its first bytes (IFLOW_CHUNK_FIRST_BYTES or all there are). E_CORRUPT. */
iflow_status iflow_chunk_header_bytes(const void *first, size_t n_first, uint64_t n_file, const char *name, size_t *n_bytes);

/* Everything but the data, of a file of n_file bytes whose first bytes, the header at least, these are: checks and fills id, identity,
 * layer and gguf of an empty chunk; what is filled on failure is the caller's too. */
iflow_status iflow_chunk_read_header(const void *header, size_t n_bytes, uint64_t n_file, const char *id, const char *name,
                                     iflow_chunk *chunk, size_t *header_bytes);

/* Checks checksum and numbers of a layer's bytes (iflow_chunk_layer_bytes()). E_CORRUPT. */
iflow_status iflow_chunk_check_layer(const iflow_chunk *chunk, int layer, const unsigned char *bytes, const char *name);

#endif
