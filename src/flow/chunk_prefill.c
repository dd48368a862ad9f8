/* chunk_prefill.c - computes a chunk's KV after what stands before it, and encodes it (step 1 of the method). */
#include "flow/chunk_builder.h"

#include "flow/samples.h"

#include <stdlib.h>
#include <string.h>

/* Values [n_layer, 2 (K before RoPE, V), n_tokens, n_embd_kv] of a chunk's KV in one layer. */
static size_t layer_values(const iflow_chunk_builder *b, const iflow_context_chunk *chunk) {
    return 2 * chunk->n_tokens * (size_t)b->model->n_embd_kv;
}

static size_t next_block(size_t row) {
    return (row + IFLOW_ROWS_BLOCK - 1) / IFLOW_ROWS_BLOCK * IFLOW_ROWS_BLOCK;
}

/* Puts a prefix's rows where they are not there yet, for all chunks to see. order: 0, 1, 2, ...; all: IFLOW_SEQ_ALL for each. */
static iflow_status prefill_prefix(iflow_chunk_builder *b, int text, const int32_t *order, const int32_t *all) {
    if (text == IFLOW_NO_PREFIX || b->prefix[text + 1].n) {
        return IFLOW_OK;
    }
    iflow_tokens prefix = {0};
    iflow_status status = iflow_texts_prefix(&b->texts, text, &prefix);
    if (!status && prefix.n) {
        const iflow_pass pass = {.token = prefix.token, .order = order, .row = order, .seq = all, .n = (int)prefix.n, .fixed_slices = true};
        status = iflow_engine_forward(b->engine, &b->prefix[text + 1].cache.rows, &pass);
        b->prefix[text + 1].n = status ? 0 : (int)prefix.n;
    }
    free(prefix.token);
    return status;
}

/* A chunk while it is computed. */
typedef struct making {
    const iflow_context_chunk *chunk;
    uint16_t *values, *other; /* as in layer_values: of the last prefill, then the mean; of one more for staleness, or NULL */
    float *staleness;         /* [n_tokens], or NULL */
    iflow_samples samples;
} making;

static void making_free(making *m) {
    free(m->values);
    free(m->other);
    free(m->staleness);
    iflow_samples_free(&m->samples);
}

static iflow_status making_begin(const iflow_chunk_builder *b, const iflow_context_chunk *chunk, bool wanted, making *m) {
    const size_t n_layer = (size_t)b->model->h.n_layer, n_values = n_layer * layer_values(b, chunk);
    const bool estimate = wanted || chunk->fillers > 1, one_more = estimate && chunk->fillers <= 1;
    *m = (making){.chunk = chunk, .samples = {.n_layer = n_layer, .n = chunk->n_tokens, .n_embd_kv = (size_t)b->model->n_embd_kv}};
    m->values = iflow_calloc(n_values, sizeof *m->values);
    m->other = one_more ? iflow_calloc(n_values, sizeof *m->other) : NULL;
    m->staleness = estimate ? iflow_calloc(chunk->n_tokens, sizeof *m->staleness) : NULL;
    return m->values && (m->other || !one_more) && (m->staleness || !estimate) ? IFLOW_OK : iflow_fail_memory(n_values * sizeof *m->values);
}

/* Runs chunks after a text (0: the sink; or nothing), each as if it were alone, and keeps their rows. The text runs once for all chunks;
 * several chunks are sequences that share its rows, and fit a slice. */
static iflow_status prefill(iflow_chunk_builder *b, making *m, size_t n_chunks, int text, bool other) {
    iflow_cache *cache = &b->prefix[text + 1].cache;
    const size_t n_layer = (size_t)b->model->h.n_layer;
    const size_t n_sink = text == IFLOW_NO_PREFIX ? 0 : b->texts.end[0];
    const size_t n_before = n_sink + (text > 0 ? b->texts.end[text] - b->texts.end[text - 1] : 0);
    size_t n = 0, end = next_block(n_before); /* tokens; rows */
    for (size_t c = 0; c < n_chunks; c++) {
        const size_t n_tokens = m[c].chunk->n_tokens;
        if (n_before + n_tokens > (size_t)b->n_ctx) {
            return iflow_builder_too_long(b, n_before, n_tokens);
        }
        iflow_warn_beyond(b->model, n_before + n_tokens, &b->warned);
        n += n_tokens;
        end = next_block(end) + n_tokens;
    }
    int32_t *at = iflow_calloc(4 * n + 2 * n_before, sizeof *at); /* of the chunks' tokens, then of the prefix's */
    if (!at) {
        return iflow_fail_memory((4 * n + 2 * n_before) * sizeof *at);
    }
    int32_t *token = at, *order = at + n, *row = at + 2 * n, *seq = at + 3 * n, *before = at + 4 * n, *all = before + n_before;
    for (size_t i = 0; i < n_before; i++) {
        before[i] = (int32_t)i;
        all[i] = IFLOW_SEQ_ALL;
    }
    for (size_t c = 0, i = 0, first = n_before; c < n_chunks; c++) {
        first = next_block(first);
        for (size_t t = 0; t < m[c].chunk->n_tokens; t++, i++) {
            token[i] = m[c].chunk->token[t];
            order[i] = (int32_t)(n_before + t);
            row[i] = (int32_t)first++;
            seq[i] = (int32_t)c;
        }
    }
    iflow_cache_truncate(cache, b->prefix[text + 1].n); /* what is not needed any more is not copied */
    iflow_status status = iflow_cache_reserve(cache, (int)end);
    if (!status) {
        status = prefill_prefix(b, text, before, all);
    }
    if (!status) {
        const iflow_pass pass = {.token = token, .order = order, .row = row, .seq = seq, .n = (int)n, .fixed_slices = true};
        status = iflow_engine_forward(b->engine, &cache->rows, &pass);
    }
    for (size_t c = 0, i = 0; !status && c < n_chunks; i += m[c++].chunk->n_tokens) {
        const size_t n_values = layer_values(b, m[c].chunk);
        for (size_t il = 0; il < n_layer; il++) {
            uint16_t *k = (other ? m[c].other : m[c].values) + il * n_values;
            iflow_cache_read_raw(cache, (int)il, row[i], (int)m[c].chunk->n_tokens, k, k + n_values / 2);
        }
    }
    free(at);
    return status;
}

/* Prefills chunks after each of their fillers; values: the mean. One prefill tells no staleness, so that there is another then. */
static iflow_status prefill_after_fillers(iflow_chunk_builder *b, making *m, size_t n_chunks) {
    const int fillers = m->chunk->fillers;
    iflow_status status = IFLOW_OK;
    for (int text = fillers > 0 ? 1 : fillers; !status && text <= fillers; text++) {
        status = prefill(b, m, n_chunks, text, false);
        for (size_t c = 0; !status && m->staleness && c < n_chunks; c++) {
            status = iflow_samples_add(&m[c].samples, m[c].values);
        }
    }
    if (!status && m->other) {
        status = prefill(b, m, n_chunks, fillers ? 0 : 1, true);
        for (size_t c = 0; !status && c < n_chunks; c++) {
            status = iflow_samples_add(&m[c].samples, m[c].other);
        }
    }
    for (size_t c = 0; !status && c < n_chunks; c++) {
        if (fillers > 1) {
            iflow_samples_mean(&m[c].samples, m[c].values);
        }
        if (m[c].staleness) {
            iflow_samples_spread(&m[c].samples, m[c].staleness);
        }
    }
    return status;
}

/* A chunk file of what was computed. */
static iflow_status making_encode(const iflow_chunk_builder *b, const making *m, iflow_blob *out) {
    const iflow_chunk_identity identity = iflow_builder_identity(b, m->chunk);
    const size_t n_layer = (size_t)identity.n_layer, n_values = layer_values(b, m->chunk);
    const uint16_t **rows = iflow_calloc(n_layer * 2, sizeof *rows); /* K of all layers, then V */
    if (!rows) {
        return iflow_fail_memory(n_layer * 2 * sizeof *rows);
    }
    for (size_t il = 0; il < n_layer; il++) {
        rows[il] = m->values + il * n_values;
        rows[n_layer + il] = rows[il] + n_values / 2;
    }
    const iflow_status status = iflow_chunk_encode(&identity, rows, rows + n_layer, m->staleness, out);
    free(rows);
    return status;
}

iflow_status iflow_builder_compute(iflow_chunk_builder *b, const iflow_context_chunk *chunk, size_t n, bool estimate, iflow_chunk **out) {
    iflow_status status = IFLOW_OK;
    making *m = iflow_calloc(n, sizeof *m);
    if (!m) {
        return iflow_fail_memory(n * sizeof *m);
    }
    memset(out, 0, n * sizeof *out);
    for (size_t i = 0; !status && i < n; i++) {
        status = making_begin(b, &chunk[i], estimate, &m[i]);
    }
    status = status ? status : prefill_after_fillers(b, m, n);
    b->n_computed += status ? 0 : n;
    status = status ? status : iflow_model_unchanged(b->model); /* else the chunk were of other weights than its id says */
    for (size_t i = 0; !status && i < n; i++) {
        iflow_blob blob = {0};
        status = making_encode(b, &m[i], &blob);
        if (!status && (status = iflow_chunk_decode(&blob, chunk[i].id, chunk[i].id, &out[i]))) {
            iflow_blob_free(&blob);
        }
    }
    if (status == IFLOW_E_NOT_FINITE) { /* what is masked is multiplied by 0, which NaN survives */
        iflow_builder_drop_rows(b);
    }
    for (size_t i = 0; i < n; i++) {
        making_free(&m[i]);
        if (status) {
            iflow_chunk_free(out[i]);
            out[i] = NULL;
        }
    }
    free(m);
    return status;
}
