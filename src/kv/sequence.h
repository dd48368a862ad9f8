/* sequence.h - one sequence's rows in a pool that several share: counted from 0, wherever they lie.
 *
 * What is done to rows (a pass, a rotation, reading them back) is said in the sequence's own rows, and done to the pool's. A sequence has
 * whole blocks of the pool, which grows as needed. One thread uses a pool at a time. */
#ifndef IFLOW_KV_SEQUENCE_H
#define IFLOW_KV_SEQUENCE_H

#include "compute/edits.h"
#include "kv/cache.h"

typedef struct iflow_seq {
    iflow_cache *cache;
    int32_t id;     /* in the pool's rows */
    int32_t *row;   /* [n]: where each row lies in the pool */
    int n;          /* rows that it has, in use or not */
    int32_t n_lost; /* of the pool, when it took them */
    size_t capacity;
} iflow_seq;

/* The pool must outlive the sequence. */
void iflow_seq_begin(iflow_seq *seq, iflow_cache *cache);
/* Gives its rows back. */
void iflow_seq_end(iflow_seq *seq);

/* Has at least n rows, and keeps what they hold. E_MEMORY: unchanged. */
iflow_status iflow_seq_reserve(iflow_seq *seq, int n);

/* Empties the rows from `at` on; they stay the sequence's. */
void iflow_seq_truncate(iflow_seq *seq, int at);

/* Makes zeros of all that its rows hold, and empties them: what was not finite survives masks, which multiply by 0. */
void iflow_seq_wipe(iflow_seq *seq);

/* A pass whose rows are the sequence's (its seq must be NULL), and so is what it observes: observed [n_observe, number of flags, n]. order
 * NULL: that of the rows in the sequence, which is their number. */
iflow_status iflow_seq_forward(iflow_seq *seq, const iflow_pass *pass);

/* The same of rows that follow one another, from `at` on; the pass names none. */
iflow_status iflow_seq_run(iflow_seq *seq, int at, const iflow_pass *pass);

/* One pass over several sequences of one pool: token[i] of sequence i is run as its row and order at[i], and out [n, n_vocab] gets what
 * comes after it. Sequences must differ. E_MEMORY, and what a pass fails with. */
iflow_status iflow_seq_decode(iflow_seq *const *seq, const int32_t *token, const int32_t *at, int n, float *out);

/* Copies a chunk into rows [at, at + n_tokens), whose coordinates are coord, coord + 1, ...: K still before RoPE, so that one
 * iflow_seq_rotate() follows. E_MEMORY. */
iflow_status iflow_seq_load(iflow_seq *seq, const iflow_chunk *chunk, int at, int32_t coord);

/* As the edits of compute/edits.h, of rows [at, at + n) or at[n]. */
iflow_status iflow_seq_rotate(iflow_seq *seq, int at, int n);
iflow_status iflow_seq_map(iflow_seq *seq, const iflow_affine *map, const float *feature, int at, int n);
iflow_status iflow_seq_read(iflow_seq *seq, const int32_t *at, int n, float *k, float *v);
iflow_status iflow_seq_mix(iflow_seq *seq, const int32_t *from, const int32_t *into, int n, float share);
iflow_status iflow_seq_shift_keys(iflow_seq *seq, const int32_t *at, const int32_t *which, int n, const float *shift, int n_shifts);

/* V of rows [at, at + n) of one layer: out [n, n_embd_kv]. E_MEMORY. */
iflow_status iflow_seq_read_v(iflow_seq *seq, int layer, int at, int n, float *out);

#endif
