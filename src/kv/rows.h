/* rows.h - rows of K and V as they are stored: their types, to and from f16, and whether their numbers are finite. */
#ifndef IFLOW_KV_ROWS_H
#define IFLOW_KV_ROWS_H

#include "kv/chunk.h"

#include <ggml.h>

enum ggml_type iflow_kv_ggml_type(iflow_kv_type type);
/* Whether there is a type of this name. */
bool iflow_kv_find_type(const char *name, iflow_kv_type *type);
const char *iflow_kv_rope_name(iflow_kv_rope rope);

/* Whether all numbers of whole rows, or of any part of f16, are finite, also once they are f16 again. *at: the first byte of one that is
 * not, or of its block. */
bool iflow_rows_finite(iflow_kv_type type, const void *bytes, size_t n_bytes, size_t *at);

/* A chunk's rows of f16 of a layer's K (kind 0) or V (kind 1), of the width that its identity says, to the bytes of a tensor. scratch: a
 * row of floats, for q8_0 only. E_NOT_FINITE. */
iflow_status iflow_rows_encode(const iflow_chunk_identity *identity, int layer, int kind, const uint16_t *rows, float *scratch,
                               unsigned char *out);

/* The token whose estimated staleness is negative or not finite; n_tokens: there is none. */
size_t iflow_bad_staleness(const float *staleness, size_t n_tokens);

#endif
