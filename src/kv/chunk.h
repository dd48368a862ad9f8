/* chunk.h - what a chunk's KV is: its identity, and its bytes as one GGUF file. docs/FORMAT.md specifies the file. */
#ifndef IFLOW_KV_CHUNK_H
#define IFLOW_KV_CHUNK_H

#include "kv/blob.h"

/* Whether text is exactly 32 lower-case hexadecimal digits: an id or a fingerprint. NULL is not. */
bool iflow_id_is_valid(const char *text);

/* The same as a status: everything that comes from outside passes here before it becomes part of a path or key. E_ARG. */
iflow_status iflow_id_check(const char *id);

typedef enum iflow_kv_type { IFLOW_KV_F16, IFLOW_KV_Q8_0 } iflow_kv_type;

const char *iflow_kv_type_name(iflow_kv_type type);
iflow_status iflow_kv_type_from_name(const char *name, iflow_kv_type *type); /* E_ARG, listing the names; NULL: f16 */
/* Bytes of one row of `width` elements; q8_0 needs a multiple of 32. */
size_t iflow_kv_row_bytes(iflow_kv_type type, int width);

/* What a layer stores. A layer that stores nothing has rows of width 0. Only rows are read and written today. */
typedef enum iflow_kv_kind { IFLOW_KV_ROWS = 1, IFLOW_KV_LATENT = 2, IFLOW_KV_STATE = 3 } iflow_kv_kind;

/* In the order of a chunk's identity (docs/FORMAT.md). */
typedef struct iflow_kv_layer {
    uint32_t kind;             /* iflow_kv_kind */
    uint32_t k_width, v_width; /* elements of a token's row of K and of V; 0: not stored */
} iflow_kv_layer;

/* The table of a model whose layers are all alike: rows of `width` for K and V. free(); NULL: no memory. */
iflow_kv_layer *iflow_kv_layers_alike(int n_layer, int width);

typedef enum iflow_kv_rope { IFLOW_ROPE_BEFORE, IFLOW_ROPE_AFTER } iflow_kv_rope;

enum {
    IFLOW_CHUNK_VERSION = 2,
    IFLOW_FINGERPRINT_VERSION = 2, /* how the model's fingerprint is made: of all bytes of its files */
    IFLOW_CONTENT_SIZE = 65,       /* 64 hexadecimal digits and the NUL */
};

/* All that determines a chunk's content. Its id is the hash of this and of the two versions. What is left zero is as it is for an ordinary
 * chunk of text by itself. */
typedef struct iflow_chunk_identity {
    char fingerprint[IFLOW_ID_SIZE]; /* of the model */
    const int32_t *prefix;           /* [n_prefix]: tokens that stood before its document: sink, fillers, or a head; none for a head */
    size_t n_prefix;
    char parent[IFLOW_ID_SIZE]; /* the chunk of the same document before it; "": none */
    uint64_t n_before;          /* tokens of its document that stand before it in the chain: 0 without a parent, more with one */
    const int32_t *token;       /* [n_tokens] */
    size_t n_tokens;
    const int32_t *coord;             /* [n_tokens, 4]: relative to the chunk's start; NULL: token i has i in all four */
    const int32_t *group;             /* [n_tokens]: tokens of the same number see each other; -1: none. NULL: there are no groups */
    char content[IFLOW_CONTENT_SIZE]; /* digest of what the tokens do not say (an image's pixels, say); "": they say it all */
    const iflow_kv_layer *layer;      /* [n_layer] */
    int n_layer;
    iflow_kv_type type;
    iflow_kv_rope rope; /* whether K is before RoPE, or after it at the coordinates that it was computed at */
    bool exact;         /* computed as libllama does, to the bit; what is not may differ by rounding, and is another chunk */
} iflow_chunk_identity;

void iflow_chunk_id(const iflow_chunk_identity *identity, char id[IFLOW_ID_SIZE]);

/* A decoded chunk. Everything it points to lies in it or in the blob. Rows are [n_tokens, width of the layer]. */
typedef struct iflow_chunk {
    char id[IFLOW_ID_SIZE];
    iflow_chunk_identity identity;
    iflow_kv_layer *layer;  /* identity.layer */
    const void **k, **v;    /* [n_layer]; NULL where the width is 0 */
    const float *staleness; /* [n_tokens]: each token's estimated staleness (flow/samples.h); NULL: not known */
    iflow_blob blob;
    struct gguf_context *gguf; /* keeps the token arrays */
} iflow_chunk;

/* Encodes KV as the bytes of a chunk file. k[l], v[l]: f16 rows [n_tokens, width of the layer], not looked at where that is 0; stored as
 * identity->type. staleness [n_tokens], or NULL. The same input gives the same bytes. The blob can be shared (blob.h). E_ARG (no token, a
 * negative one, no valid fingerprint, ...), E_NOT_FINITE (a value that is not, or that q8_0 cannot hold), E_UNSUPPORTED (q8_0 with rows
 * that are no multiple of 32; a kind of layer), E_MEMORY. */
iflow_status iflow_chunk_encode(const iflow_chunk_identity *identity, const uint16_t *const *k, const uint16_t *const *v,
                                const float *staleness, iflow_blob *out);

/* Decodes a chunk file and checks all of it: structure, sizes, checksums, that all numbers are finite, and that id (NULL: any) is its own.
 * Where the blob says that its data were checked (blob.h), they are not again. Takes the blob over on success only. E_CORRUPT with what is
 * wrong; E_UNSUPPORTED for an intact file of another format version or with something that this version does not read; name: for messages.
 */
iflow_status iflow_chunk_decode(iflow_blob *blob, const char *id, const char *name, iflow_chunk **out);

/* The facts of a chunk file from its header alone (checked by the header's own checksum and against the file's size; the data is not read).
 * Fills info but for used_at and pinned; *tokens (NULL: not wanted) is the caller's to free(). Fails as decode does. */
iflow_status iflow_chunk_peek(const void *data, size_t n_bytes, const char *id, const char *name, iflow_chunk_info *info, int32_t **tokens);

/* Whether a file begins as one of an older format, or with a fingerprint that was made in an older way: such a chunk is never served. Looks
 * at the first IFLOW_CHUNK_FIRST_BYTES bytes, or as many as there are. Decode and peek give E_UNSUPPORTED for it, if it is intact. */
enum { IFLOW_CHUNK_FIRST_BYTES = 256 };
bool iflow_chunk_is_old(const void *data, size_t n_bytes);

void iflow_chunk_free(iflow_chunk *chunk);

/* Writes row_count rows from row_start of a layer's K or V, `width` elements each, as f16 to out [row_count, width]; for f16 this copies.
 */
void iflow_chunk_rows_f16(const iflow_chunk *chunk, const void *rows, int width, size_t row_start, size_t row_count, uint16_t *out);

/* That a chunk is what the passes of today take: K before RoPE, rows of one width in each of n_layer layers, text alone. E_UNSUPPORTED. */
iflow_status iflow_chunk_require_plain(const iflow_chunk *chunk, int n_layer, int width);

#endif
