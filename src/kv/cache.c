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
    free(cache->rows.order); /* one block with seq */
    free(cache->rows.coord);
    free(cache->owner);
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

/* Tensors and places of n_rows rows, all empty. */
static iflow_status allocate(iflow_cache *cache, int n_rows) {
    static _Atomic uint64_t last_serial;
    const int n_layer = cache->model->h.n_layer, kinds = cache->raw ? 3 : 2;
    iflow_rows *rows = &cache->rows;
    rows->serial = ++last_serial;
    rows->n_rows = n_rows;
    rows->order = iflow_calloc((size_t)n_rows * 2, sizeof *rows->order);
    rows->coord = iflow_calloc((size_t)n_rows, sizeof *rows->coord);
    cache->owner = iflow_calloc((size_t)(n_rows / IFLOW_CACHE_STEP), sizeof *cache->owner);
    rows->k = iflow_calloc((size_t)(n_layer * kinds), sizeof *rows->k);
    if (!rows->order || !rows->coord || !cache->owner || !rows->k) {
        return iflow_fail_memory((size_t)n_rows * (sizeof *rows->coord + 2 * sizeof *rows->order));
    }
    const iflow_status status = iflow_guard_context(ggml_tensor_overhead() * (size_t)(n_layer * kinds + 1), &cache->ctx);
    if (status) {
        return status;
    }
    rows->seq = rows->order + n_rows;
    rows->v = rows->k + n_layer;
    rows->k_raw = cache->raw ? rows->v + n_layer : NULL;
    for (int i = 0; i < n_layer * kinds; i++) {
        rows->k[i] = ggml_new_tensor_2d(cache->ctx, GGML_TYPE_F16, cache->model->n_embd_kv, n_rows);
    }
    cache->buffer = ggml_backend_alloc_ctx_tensors_from_buft(cache->ctx, iflow_engine_buft(cache->engine));
    if (!cache->buffer) {
        return iflow_fail(IFLOW_E_MEMORY, "no memory on %s for a cache of %d tokens (%.1f MiB)",
                          ggml_backend_dev_name(cache->model->device), n_rows,
                          (double)n_rows * cache->model->n_embd_kv * n_layer * kinds * 2.0 / (1 << 20));
    }
    ggml_backend_buffer_clear(cache->buffer, 0);
    iflow_cache_truncate(cache, 0);
    for (int i = 0; i < n_rows / IFLOW_CACHE_STEP; i++) {
        cache->owner[i] = -1;
    }
    return IFLOW_OK;
}

static bool is_empty(const iflow_cache *cache) {
    int row = 0;
    while (row < cache->rows.n_rows && cache->rows.order[row] == IFLOW_ROW_EMPTY) {
        row++;
    }
    return row == cache->rows.n_rows;
}

/* Copies all that the cache holds into a larger one. */
static iflow_status copy(iflow_cache *cache, iflow_cache *to) {
    const iflow_rows *rows = &cache->rows;
    const size_t n = (size_t)rows->n_rows, n_blocks = n / IFLOW_CACHE_STEP;
    iflow_status status = IFLOW_OK;
    for (int i = 0; !status && i < cache->model->h.n_layer * (cache->raw ? 3 : 2); i++) {
        status = copy_rows(cache, rows->k[i], to->rows.k[i]);
    }
    assert(to->rows.order && to->rows.seq && to->rows.coord && to->owner);
    memcpy(to->rows.order, rows->order, n * sizeof *rows->order);
    memcpy(to->rows.seq, rows->seq, n * sizeof *rows->seq);
    memcpy(to->rows.coord, rows->coord, n * sizeof *rows->coord);
    memcpy(to->owner, cache->owner, n_blocks * sizeof *cache->owner);
    return status;
}

static int blocks_of(int n) {
    return (int)(((int64_t)n + IFLOW_CACHE_STEP - 1) / IFLOW_CACHE_STEP);
}

/* A pool without rows in the place of another. */
static iflow_cache without_rows(const iflow_cache *cache) {
    return (iflow_cache){
        .model = cache->model, .engine = cache->engine, .raw = cache->raw, .n_seqs = cache->n_seqs, .n_lost = cache->n_lost};
}

/* Of a pool that holds nothing: what there was makes room first. Who has which block stays, but where it fails: then nobody has any. */
static iflow_status allocate_again(iflow_cache *cache, int n_rows) {
    const size_t n_blocks = (size_t)(cache->rows.n_rows / IFLOW_CACHE_STEP);
    const iflow_cache empty = without_rows(cache);
    iflow_cache again = empty;
    int32_t *owner = cache->owner;
    cache->owner = NULL;
    iflow_cache_free(cache);
    const iflow_status status = allocate(&again, n_rows);
    if (status) {
        iflow_cache_free(&again);
        again = empty;
        again.n_lost++;
    } else if (n_blocks) {
        assert(again.owner && owner);
        memcpy(again.owner, owner, n_blocks * sizeof *owner);
    }
    free(owner);
    *cache = again;
    return status;
}

static iflow_status grow(iflow_cache *cache, int n_rows) {
    iflow_cache grown = without_rows(cache);
    iflow_status status = allocate(&grown, n_rows);
    status = status ? status : copy(cache, &grown);
    if (status) {
        iflow_cache_free(&grown);
        return status;
    }
    iflow_cache_free(cache);
    *cache = grown;
    return IFLOW_OK;
}

iflow_status iflow_cache_reserve(iflow_cache *cache, int n) {
    const int n_before = cache->rows.n_rows;
    if (n <= n_before) {
        return IFLOW_OK;
    }
    const int more = n - n_before < n_before / 4 ? n_before / 4 : n - n_before;
    const iflow_status status = is_empty(cache) ? allocate_again(cache, blocks_of(n) * IFLOW_CACHE_STEP)
                                                : grow(cache, blocks_of(n_before + more) * IFLOW_CACHE_STEP);
    check(cache);
    return status;
}

void iflow_cache_truncate(iflow_cache *cache, int row) {
    for (int i = row; i < cache->rows.n_rows; i++) {
        cache->rows.order[i] = IFLOW_ROW_EMPTY;
    }
}

iflow_status iflow_cache_load(iflow_cache *cache, const iflow_chunk *chunk, size_t first, size_t n, int row) {
    const size_t width = (size_t)cache->model->n_embd_kv, row_bytes = width * sizeof(uint16_t);
    const size_t from_bytes = first * iflow_kv_row_bytes(chunk->identity.type, cache->model->n_embd_kv);
    assert(row >= 0 && (size_t)row + n <= (size_t)cache->rows.n_rows);
    const bool convert = chunk->identity.type != IFLOW_KV_F16;
    iflow_status status = iflow_chunk_require_plain(chunk, cache->model->h.n_layer, cache->model->n_embd_kv);
    if (!status && convert) {
        status = iflow_reserve((void **)&cache->staging, &cache->staging_capacity, n * width, sizeof *cache->staging);
    }
    if (status) {
        return status;
    }
    for (int il = 0; il < cache->model->h.n_layer; il++) {
        struct ggml_tensor *to[2] = {cache->rows.k[il], cache->rows.v[il]};
        const void *from[2] = {chunk->k[il], chunk->v[il]};
        for (int i = 0; i < 2; i++) {
            if (convert) {
                iflow_chunk_rows_f16(chunk, from[i], cache->model->n_embd_kv, first, n, cache->staging);
            }
            ggml_backend_tensor_set(to[i], convert ? (const void *)cache->staging : (const char *)from[i] + from_bytes,
                                    (size_t)row * row_bytes, n * row_bytes);
        }
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
