/* sequence.c - a sequence's blocks of a pool, and what is done to its rows. */
#include "kv/sequence.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

void iflow_seq_begin(iflow_seq *seq, iflow_cache *cache) {
    *seq = (iflow_seq){.cache = cache, .id = cache->n_seqs++, .n_lost = cache->n_lost};
}

/* Where the pool gave up its rows, none is left. */
static void find_out(iflow_seq *seq) {
    if (seq->n_lost != seq->cache->n_lost) {
        seq->n_lost = seq->cache->n_lost;
        seq->n = 0;
    }
}

void iflow_seq_end(iflow_seq *seq) {
    iflow_seq_truncate(seq, 0);
    for (int i = 0; i < seq->n; i += IFLOW_CACHE_STEP) {
        seq->cache->owner[seq->row[i] / IFLOW_CACHE_STEP] = -1;
    }
    free(seq->row);
    *seq = (iflow_seq){.cache = seq->cache, .id = seq->id};
}

/* Blocks that nobody has. */
static int count_free(const iflow_cache *cache) {
    int n = 0;
    for (int i = 0; i < cache->rows.n_rows / IFLOW_CACHE_STEP; i++) {
        n += cache->owner[i] < 0;
    }
    return n;
}

iflow_status iflow_seq_reserve(iflow_seq *seq, int n) {
    iflow_cache *cache = seq->cache;
    find_out(seq);
    if (n <= seq->n) {
        return IFLOW_OK;
    }
    const int n_blocks = (n - seq->n + IFLOW_CACHE_STEP - 1) / IFLOW_CACHE_STEP, missing = n_blocks - count_free(cache);
    iflow_status status =
        iflow_reserve((void **)&seq->row, &seq->capacity, (size_t)(seq->n + n_blocks * IFLOW_CACHE_STEP), sizeof *seq->row);
    if (status || (missing > 0 && (status = iflow_cache_reserve(cache, cache->rows.n_rows + missing * IFLOW_CACHE_STEP)))) {
        return status;
    }
    for (int block = 0, taken = 0; taken < n_blocks; block++) {
        if (cache->owner[block] >= 0) {
            continue;
        }
        cache->owner[block] = seq->id;
        taken++;
        for (int i = 0; i < IFLOW_CACHE_STEP; i++) {
            seq->row[seq->n++] = block * IFLOW_CACHE_STEP + i;
        }
    }
    return IFLOW_OK;
}

void iflow_seq_truncate(iflow_seq *seq, int at) {
    find_out(seq);
    for (int i = at; i < seq->n; i++) {
        seq->cache->rows.order[seq->row[i]] = IFLOW_ROW_EMPTY;
    }
}

void iflow_seq_wipe(iflow_seq *seq) {
    find_out(seq);
    const iflow_rows *rows = &seq->cache->rows;
    const int kinds = rows->k_raw ? 3 : 2;
    for (int i = 0; seq->n && i < kinds * seq->cache->model->h.n_layer; i++) {
        struct ggml_tensor *tensor = rows->k[i]; /* and v and k_raw after k */
        for (int at = 0; at < seq->n; at += IFLOW_CACHE_STEP) {
            ggml_backend_tensor_memset(tensor, 0, (size_t)seq->row[at] * tensor->nb[1], IFLOW_CACHE_STEP * tensor->nb[1]);
        }
    }
    iflow_seq_truncate(seq, 0);
}

/* Rows from `at` on that lie one after another in the pool, at most n. */
static int run_length(const iflow_seq *seq, int at, int n) {
    int length = 1;
    assert(at >= 0 && n > 0 && at + n <= seq->n);
    while (length < n && seq->row[at + length] == seq->row[at] + length) {
        length++;
    }
    return length;
}

/* A row's order. Here alone it is the row's number; who counts rows above this does not need to know. */
static int32_t order_of(int row) {
    return row;
}

/* Where rows at[n] lie in the pool; *rows: free(). E_MEMORY. */
static iflow_status find_rows(const iflow_seq *seq, const int32_t *at, int n, int32_t **rows) {
    int32_t *row = iflow_calloc((size_t)n, sizeof *row);
    if (!row) {
        return iflow_fail_memory((size_t)n * sizeof *row);
    }
    for (int i = 0; i < n; i++) {
        assert(at[i] >= 0 && at[i] < seq->n);
        row[i] = seq->row[at[i]];
    }
    *rows = row;
    return IFLOW_OK;
}

/* ---- Passes ------------------------------------------------------------------------------------------------------------------------- */

/* Lines of what a pass observes, of a number a row each. */
static size_t count_lines(const iflow_pass *pass) {
    size_t n = 0;
    for (int flag = 1; flag <= pass->observations; flag *= 2) {
        n += (pass->observations & flag) != 0;
    }
    return n * (size_t)pass->n_observe;
}

/* Row i of a pass: as it says, else at + i. */
static int row_at(const iflow_pass *pass, int at, int i) {
    return pass->row ? pass->row[i] : at + i;
}

static iflow_status forward(iflow_seq *seq, const iflow_pass *pass, int first) {
    const size_t n_rows = (size_t)seq->cache->rows.n_rows, n_lines = count_lines(pass);
    int32_t *at = iflow_calloc((size_t)pass->n, 3 * sizeof *at), *order = at ? at + 2 * pass->n : NULL; /* after the sequences */
    float *observed = n_lines ? iflow_calloc(n_lines * n_rows, sizeof *observed) : NULL;
    iflow_pass in_pool = *pass;
    iflow_status status = IFLOW_OK;
    assert(!pass->seq);
    if (!at || !order || (n_lines && !observed)) {
        status = iflow_fail_memory((size_t)pass->n * 3 * sizeof *at + n_lines * n_rows * sizeof *observed);
        goto cleanup;
    }
    for (int i = 0; i < pass->n; i++) {
        const int row = row_at(pass, first, i);
        assert(row >= 0 && row < seq->n);
        at[i] = seq->row[row];
        at[pass->n + i] = seq->id;
        order[i] = order_of(row);
    }
    in_pool.row = at;
    in_pool.seq = at + pass->n;
    in_pool.order = pass->order ? pass->order : order;
    in_pool.observed = observed;
    status = iflow_engine_forward(seq->cache->engine, &seq->cache->rows, &in_pool);
    for (size_t i = 0; !status && i < n_lines * (size_t)seq->n; i++) {
        pass->observed[i] += observed[i / (size_t)seq->n * n_rows + (size_t)seq->row[i % (size_t)seq->n]];
    }

cleanup:
    free(at);
    free(observed);
    return status;
}

iflow_status iflow_seq_forward(iflow_seq *seq, const iflow_pass *pass) {
    assert(pass->row);
    return forward(seq, pass, 0);
}

iflow_status iflow_seq_run(iflow_seq *seq, int at, const iflow_pass *pass) {
    assert(!pass->row);
    return forward(seq, pass, at);
}

iflow_status iflow_seq_decode(iflow_seq *const *seq, const int32_t *token, const int32_t *at, int n, float *out) {
    const size_t n_vocab = (size_t)seq[0]->cache->model->n_vocab;
    int32_t *in = iflow_calloc((size_t)n, 4 * sizeof *in); /* rows, tokens, orders, sequences, these ascending */
    int *from = iflow_calloc((size_t)n, sizeof *from);
    float *logits = iflow_calloc((size_t)n * n_vocab, sizeof *logits);
    iflow_status status = IFLOW_OK;
    if (!in || !from || !logits) {
        status = iflow_fail_memory((size_t)n * n_vocab * sizeof *logits);
        goto cleanup;
    }
    for (int i = 0; i < n; i++) { /* by insertion: they are few */
        int to = i;
        for (; to > 0 && seq[from[to - 1]]->id > seq[i]->id; to--) {
            from[to] = from[to - 1];
        }
        from[to] = i;
    }
    for (int i = 0; i < n; i++) {
        const iflow_seq *s = seq[from[i]];
        assert(s->cache == seq[0]->cache && at[from[i]] < s->n && (i == 0 || s->id != seq[from[i - 1]]->id));
        in[i] = s->row[at[from[i]]];
        in[n + i] = token[from[i]];
        in[2 * n + i] = order_of(at[from[i]]);
        in[3 * n + i] = s->id;
    }
    const iflow_pass pass = {.token = in + n, .order = in + 2 * n, .row = in, .seq = in + 3 * n, .n = n, .every = true, .out = logits};
    status = iflow_engine_forward(seq[0]->cache->engine, &seq[0]->cache->rows, &pass);
    for (int i = 0; !status && i < n; i++) {
        memcpy(out + (size_t)from[i] * n_vocab, logits + (size_t)i * n_vocab, n_vocab * sizeof *out);
    }

cleanup:
    free(in), free(from), free(logits);
    return status;
}

/* ---- Edits -------------------------------------------------------------------------------------------------------------------------- */

iflow_status iflow_seq_load(iflow_seq *seq, const iflow_chunk *chunk, int at, int32_t coord) {
    const int n_tokens = (int)chunk->identity.n_tokens;
    iflow_rows *rows = &seq->cache->rows;
    iflow_status status = IFLOW_OK;
    for (int done = 0, n; !status && done < n_tokens; done += n) {
        n = run_length(seq, at + done, n_tokens - done);
        status = iflow_cache_load(seq->cache, chunk, (size_t)done, (size_t)n, seq->row[at + done]);
    }
    for (int i = 0; !status && i < n_tokens; i++) {
        const int32_t row = seq->row[at + i];
        rows->order[row] = order_of(at + i);
        rows->seq[row] = seq->id;
        for (int c = 0; c < IFLOW_COORDS; c++) {
            rows->coord[row].at[c] = coord + i;
        }
    }
    return status;
}

iflow_status iflow_seq_rotate(iflow_seq *seq, int at, int n) {
    iflow_status status = IFLOW_OK;
    for (int done = 0, length; !status && done < n; done += length) {
        length = run_length(seq, at + done, n - done);
        status = iflow_engine_rotate(seq->cache->engine, &seq->cache->rows, seq->row[at + done], length);
    }
    return status;
}

iflow_status iflow_seq_map(iflow_seq *seq, const iflow_affine *map, const float *feature, int at, int n) {
    iflow_status status = IFLOW_OK;
    for (int done = 0, length; !status && done < n; done += length) {
        length = run_length(seq, at + done, n - done);
        status = iflow_engine_map(seq->cache->engine, &seq->cache->rows, map, feature + (size_t)done * IFLOW_AFFINE_FEATURES,
                                  seq->row[at + done], length);
    }
    return status;
}

iflow_status iflow_seq_read(iflow_seq *seq, const int32_t *at, int n, float *k, float *v) {
    int32_t *row = NULL;
    iflow_status status = find_rows(seq, at, n, &row);
    if (!status) {
        status = iflow_engine_read(seq->cache->engine, &seq->cache->rows, row, n, k, v);
    }
    free(row);
    return status;
}

iflow_status iflow_seq_mix(iflow_seq *seq, const int32_t *from, const int32_t *into, int n, float share) {
    int32_t *row = NULL, *to = NULL;
    iflow_status status = find_rows(seq, from, n, &row);
    if (!status && !(status = find_rows(seq, into, n, &to))) {
        status = iflow_engine_mix(seq->cache->engine, &seq->cache->rows, row, to, n, share);
    }
    free(row), free(to);
    return status;
}

iflow_status iflow_seq_shift_keys(iflow_seq *seq, const int32_t *at, const int32_t *which, int n, const float *shift, int n_shifts) {
    int32_t *row = NULL;
    iflow_status status = find_rows(seq, at, n, &row);
    if (!status) {
        status = iflow_engine_shift_keys(seq->cache->engine, &seq->cache->rows, row, which, n, shift, n_shifts);
    }
    free(row);
    return status;
}

iflow_status iflow_seq_read_v(iflow_seq *seq, int layer, int at, int n, float *out) {
    iflow_status status = IFLOW_OK;
    for (int done = 0, length; !status && done < n; done += length) {
        length = run_length(seq, at + done, n - done);
        status =
            iflow_cache_read_v(seq->cache, layer, seq->row[at + done], length, out + (size_t)done * (size_t)seq->cache->model->n_embd_kv);
    }
    return status;
}
