/* cache.h - a KV cache on the device: a pool of rows, which sequences share by blocks; grows.
 *
 * Invariants:
 * 1. n_rows is a multiple of IFLOW_CACHE_STEP.
 * 2. A row is empty (order IFLOW_ROW_EMPTY), or a pass or a chunk has written all its layers since it last was.
 * 3. Memory never written is zero: attention multiplies masked values by 0, which NaN would survive.
 * 4. A row that is not empty lies in a block that its sequence has, but where passes use the rows of a pool directly. */
#ifndef IFLOW_KV_CACHE_H
#define IFLOW_KV_CACHE_H

#include "compute/engine.h"
#include "kv/chunk.h"

enum { IFLOW_CACHE_STEP = 256 }; /* rows of a block */

typedef struct iflow_cache {
    const iflow_model *model;
    iflow_engine *engine;
    bool raw; /* keeps K before RoPE too: for prefilling chunks */
    iflow_rows rows;
    int32_t *owner; /* [n_rows / IFLOW_CACHE_STEP]: the sequence that has a block; -1: none */
    int32_t n_seqs; /* sequences that there were: the next one's number */
    int32_t n_lost; /* times that all rows were given up, for want of memory */
    struct ggml_context *ctx;
    ggml_backend_buffer_t buffer;
    uint16_t *staging; /* rows on their way to the device */
    size_t staging_capacity;
} iflow_cache;

void iflow_cache_init(iflow_cache *cache, const iflow_model *model, iflow_engine *engine, bool raw);
void iflow_cache_free(iflow_cache *cache);

/* Makes room for at least n rows and keeps what the cache holds, if it holds anything: then it grows by a quarter at least, since all is
 * copied. E_MEMORY: unchanged, or without rows where it held nothing. */
iflow_status iflow_cache_reserve(iflow_cache *cache, int n);

/* Empties the rows from `row` on. */
void iflow_cache_truncate(iflow_cache *cache, int row);

/* Copies tokens [first, first + n) of a chunk into rows [row, row + n): V as it is, K still before RoPE. Their order and coordinates are
 * the caller's to set. E_MEMORY. */
iflow_status iflow_cache_load(iflow_cache *cache, const iflow_chunk *chunk, size_t first, size_t n, int row);

/* Reads rows [row, row + n) of one layer back as f16 [n, n_embd_kv]: K before RoPE (raw caches only) and V. */
void iflow_cache_read_raw(const iflow_cache *cache, int layer, int row, int n, uint16_t *k, uint16_t *v);

/* Reads V of rows [row, row + n) of one layer: out [n, n_embd_kv]. E_MEMORY. */
iflow_status iflow_cache_read_v(iflow_cache *cache, int layer, int row, int n, float *out);

uint64_t iflow_cache_bytes(const iflow_cache *cache);

#endif
