/* chunk.h - what a chunk's KV is: its identity, and its bytes as one GGUF file. docs/FORMAT.md specifies the file. */
#ifndef IFLOW_KV_CHUNK_H
#define IFLOW_KV_CHUNK_H

#include "base/base.h"

/* Bytes that somebody owns: malloc'ed, or a mapped file. */
typedef struct iflow_blob {
    const void *data;
    size_t n_bytes;
    bool mapped; /* munmap, not free */
    uint64_t dev,
        ino; /* a file of a store: which one, among those that come and go under its name; it is not another's while it is mapped */
} iflow_blob;

void iflow_blob_free(iflow_blob *blob);

/* Whether text is exactly 32 lower-case hexadecimal digits: an id or a fingerprint. NULL is not. */
bool iflow_id_is_valid(const char *text);

typedef enum iflow_kv_type { IFLOW_KV_F16, IFLOW_KV_Q8_0 } iflow_kv_type;

const char *iflow_kv_type_name(iflow_kv_type type);
iflow_status iflow_kv_type_from_name(const char *name, iflow_kv_type *type); /* E_ARG, listing the names; NULL: f16 */
/* Bytes of one row of n_embd_kv elements; q8_0 needs a multiple of 32. */
size_t iflow_kv_row_bytes(iflow_kv_type type, int n_embd_kv);

#define IFLOW_CHUNK_VERSION 1

/* All that determines a chunk's content. Its id is the hash of this and of the format version. */
typedef struct iflow_chunk_identity {
    char fingerprint[IFLOW_ID_SIZE]; /* of the model */
    const int32_t *sink;             /* tokens that stood before the chunk while it was prefilled; none for the head */
    size_t n_sink;
    const int32_t *token;
    size_t n_tokens;
    int n_layer, n_embd_kv; /* n_embd_kv = n_head_kv * n_embd_head, the elements of one row of K or V */
    iflow_kv_type type;
    bool exact; /* computed as libllama does, to the bit; what is not may differ by rounding, and is another chunk */
} iflow_chunk_identity;

void iflow_chunk_id(const iflow_chunk_identity *identity, char id[IFLOW_ID_SIZE]);

/* A decoded chunk. Everything it points to lies in the blob. Rows are [n_tokens, n_head_kv, n_embd_head]; K is before RoPE. */
typedef struct iflow_chunk {
    char id[IFLOW_ID_SIZE];
    iflow_chunk_identity identity;
    const void **k, **v;   /* [n_layer] */
    const float *foreseen; /* [n_tokens]: how stale each token's KV will be among others (flow/samples.h); NULL: not known */
    iflow_blob blob;
    struct gguf_context *gguf; /* keeps the token arrays */
} iflow_chunk;

/* Encodes KV as the bytes of a chunk file. k[l], v[l]: f16 rows [n_tokens, n_embd_kv]; stored as identity->type. foreseen [n_tokens], or
 * NULL. The same input gives the same bytes. E_ARG (no token, a negative one, no valid fingerprint), E_NOT_FINITE (a value that is not, or
 * that q8_0 cannot hold), E_UNSUPPORTED (q8_0 with rows that are no multiple of 32), E_MEMORY. */
iflow_status iflow_chunk_encode(const iflow_chunk_identity *identity, const uint16_t *const *k, const uint16_t *const *v,
                                const float *foreseen, iflow_blob *out);

/* Decodes a chunk file and checks all of it: structure, sizes, checksums, that all numbers are finite, and that id (NULL: any) is its own.
 * Takes the blob over on success only. E_CORRUPT with what is wrong; E_UNSUPPORTED for an intact file of another format version; name: for
 * messages. */
iflow_status iflow_chunk_decode(iflow_blob *blob, const char *id, const char *name, iflow_chunk **out);

/* The facts of a chunk file from its header alone (checked by the header's own checksum and against the file's size; the data is not read).
 * Fills info but for used_at and pinned; *tokens (NULL: not wanted) is the caller's to free(). Fails as decode does. */
iflow_status iflow_chunk_peek(const void *data, size_t n_bytes, const char *id, const char *name, iflow_chunk_info *info, int32_t **tokens);

void iflow_chunk_free(iflow_chunk *chunk);

/* Writes row_count rows from row_start of a layer's K or V as f16 to out [row_count, n_embd_kv]; for f16 this copies. */
void iflow_chunk_rows_f16(const iflow_chunk *chunk, const void *rows, size_t row_start, size_t row_count, uint16_t *out);

#endif
