/* cache.c - allocates, grows, fills and reads the cache's rows. */
#include "kv/cache.h"

#include "model/guard.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

void iflow_cache_init(iflow_cache *cache, const iflow_model *model, iflow_engine *engine, bool raw) {
    *cache = (iflow_cache){.model = model, .engine = engine, .raw = raw};
}

void iflow_cache_free(iflow_cache *cache) {
    ggml_backend_buffer_free(cache->buffer);
    ggml_free(cache->ctx);
    free(cache->rows.pos);
    free(cache->rows.k); /* one block with v and k_raw */
    free(cache->staging);
    *cache = (iflow_cache){0};
}

static void check(const iflow_cache *cache) {
    assert(cache->rows.n_rows % IFLOW_CACHE_STEP == 0);
    assert(!cache->raw == !cache->rows.k_raw || cache->rows.n_rows == 0);
    (void)cache;
}

/* Copies the rows of one tensor into a larger one, through the host: growing is rare. */
static iflow_status copy_rows(iflow_cache *cache, const struct ggml_tensor *from, struct ggml_tensor *to) {
    const size_t n_bytes = ggml_nbytes(from);
    const iflow_status status =
        iflow_reserve((void **)&cache->staging, &cache->staging_capacity, n_bytes / sizeof *cache->staging, sizeof *cache->staging);
    if (!status) {
        ggml_backend_tensor_get(from, cache->staging, 0, n_bytes);
        ggml_backend_tensor_set(to, cache->staging, 0, n_bytes);
    }
    return status;
}

iflow_status iflow_cache_reserve(iflow_cache *cache, int n) {
    if (n <= cache->rows.n_rows) {
        return IFLOW_OK;
    }
    const int n_layer = cache->model->h.n_layer, kinds = cache->raw ? 3 : 2;
    const int n_rows = (n + IFLOW_CACHE_STEP - 1) / IFLOW_CACHE_STEP * IFLOW_CACHE_STEP;
    iflow_status status = IFLOW_OK;
    iflow_cache grown = {.model = cache->model, .engine = cache->engine, .raw = cache->raw};
    static _Atomic uint64_t last_serial;
    grown.rows.serial = ++last_serial;
    grown.rows.n_rows = n_rows;
    grown.rows.pos = iflow_calloc((size_t)n_rows, sizeof *grown.rows.pos);
    grown.rows.k = iflow_calloc((size_t)(n_layer * kinds), sizeof *grown.rows.k);
    if (!grown.rows.pos || !grown.rows.k) {
        status = iflow_fail_memory((size_t)n_rows * sizeof *grown.rows.pos);
        goto cleanup;
    }
    if ((status = iflow_guard_context(ggml_tensor_overhead() * (size_t)(n_layer * kinds + 1), &grown.ctx))) {
        goto cleanup;
    }
    grown.rows.v = grown.rows.k + n_layer;
    grown.rows.k_raw = cache->raw ? grown.rows.v + n_layer : NULL;
    for (int i = 0; i < n_layer * kinds; i++) {
        grown.rows.k[i] = ggml_new_tensor_2d(grown.ctx, GGML_TYPE_F16, cache->model->n_embd_kv, n_rows);
    }
    grown.buffer = ggml_backend_alloc_ctx_tensors_from_buft(grown.ctx, iflow_engine_buft(cache->engine));
    if (!grown.buffer) {
        status =
            iflow_fail(IFLOW_E_MEMORY, "no memory on %s for a cache of %d tokens (%.1f MiB)", ggml_backend_dev_name(cache->model->device),
                       n_rows, (double)n_rows * cache->model->n_embd_kv * n_layer * kinds * 2.0 / (1 << 20));
        goto cleanup;
    }
    ggml_backend_buffer_clear(grown.buffer, 0);
    for (int i = 0; i < n_layer * kinds && cache->rows.n_rows; i++) {
        if ((status = copy_rows(cache, cache->rows.k[i], grown.rows.k[i]))) {
            goto cleanup;
        }
    }
    for (int i = 0; i < n_rows; i++) {
        grown.rows.pos[i] = i < cache->rows.n_rows ? cache->rows.pos[i] : IFLOW_ROW_EMPTY;
    }
    iflow_cache_free(cache);
    *cache = grown;
    check(cache);
    return IFLOW_OK;

cleanup:
    iflow_cache_free(&grown);
    return status;
}

void iflow_cache_truncate(iflow_cache *cache, int row) {
    for (int i = row; i < cache->rows.n_rows; i++) {
        cache->rows.pos[i] = IFLOW_ROW_EMPTY;
    }
}

iflow_status iflow_cache_load(iflow_cache *cache, const iflow_chunk *chunk, int row, int32_t pos) {
    const size_t n = chunk->identity.n_tokens, row_bytes = (size_t)cache->model->n_embd_kv * sizeof(uint16_t);
    assert(row >= 0 && (size_t)row + n <= (size_t)cache->rows.n_rows);
    const bool convert = chunk->identity.type != IFLOW_KV_F16;
    iflow_status status = iflow_chunk_require_plain(chunk, cache->model->h.n_layer, cache->model->n_embd_kv);
    if (!status && convert) {
        status =
            iflow_reserve((void **)&cache->staging, &cache->staging_capacity, n * (size_t)cache->model->n_embd_kv, sizeof *cache->staging);
    }
    if (status) {
        return status;
    }
    for (int il = 0; il < cache->model->h.n_layer; il++) {
        struct ggml_tensor *to[2] = {cache->rows.k[il], cache->rows.v[il]};
        const void *from[2] = {chunk->k[il], chunk->v[il]};
        for (int i = 0; i < 2; i++) {
            if (convert) {
                iflow_chunk_rows_f16(chunk, from[i], cache->model->n_embd_kv, 0, n, cache->staging);
            }
            ggml_backend_tensor_set(to[i], convert ? cache->staging : from[i], (size_t)row * row_bytes, n * row_bytes);
        }
    }
    for (size_t i = 0; i < n; i++) {
        cache->rows.pos[(size_t)row + i] = pos + (int32_t)i;
    }
    return IFLOW_OK;
}

void iflow_cache_read_raw(const iflow_cache *cache, int layer, int row, int n, uint16_t *k, uint16_t *v) {
    const size_t row_bytes = (size_t)cache->model->n_embd_kv * sizeof(uint16_t);
    assert(cache->raw && row + n <= cache->rows.n_rows);
    ggml_backend_tensor_get(cache->rows.k_raw[layer], k, (size_t)row * row_bytes, (size_t)n * row_bytes);
    ggml_backend_tensor_get(cache->rows.v[layer], v, (size_t)row * row_bytes, (size_t)n * row_bytes);
}

iflow_status iflow_cache_read_v(iflow_cache *cache, int layer, int row, int n, float *out) {
    const size_t width = (size_t)cache->model->n_embd_kv, count = (size_t)n * width;
    const iflow_status status = iflow_reserve((void **)&cache->staging, &cache->staging_capacity, count, sizeof *cache->staging);
    if (!status) {
        ggml_backend_tensor_get(cache->rows.v[layer], cache->staging, (size_t)row * width * sizeof *cache->staging,
                                count * sizeof *cache->staging);
        ggml_fp16_to_fp32_row((const ggml_fp16_t *)cache->staging, out, (int64_t)count);
    }
    return status;
}

uint64_t iflow_cache_bytes(const iflow_cache *cache) {
    return cache->buffer ? ggml_backend_buffer_get_size(cache->buffer) : 0;
}
