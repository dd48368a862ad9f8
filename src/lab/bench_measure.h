/* bench_measure.h - what `infoflow bench` measures, each in a process of its own: machine and model, lengths, ingest, load, memory. */
#ifndef IFLOW_LAB_BENCH_MEASURE_H
#define IFLOW_LAB_BENCH_MEASURE_H

#include "cli/cli.h"

#include <jansson.h>

typedef enum bench_side { SIDE_LIBLLAMA, SIDE_FULL, SIDE_INFOFLOW, SIDE_COLD, SIDE_NONE, N_SIDES } bench_side;
/* As in the JSON. */
extern const char *const bench_side_key[N_SIDES];
extern const char bench_question[];

enum { BENCH_TTFT = 1, BENCH_INGEST = 2, BENCH_DECODE = 4, BENCH_LOAD = 8, BENCH_MEMORY = 16 };
enum { BENCH_MAX_TURNS = 100, BENCH_MAX_LENGTHS = 16, BENCH_DECODED = 32, BENCH_INGESTED = 2048 };

typedef struct bench {
    const char *model, *device, *text; /* text: a file, NULL: made up */
    const char *place, *dir;           /* dir, of the run's stores, is made in place and removed at the end */
    int threads, chunk, turns, parts;
    int busy;               /* processes that spin beside, for bench_busy(); 0: that is not measured */
    int fillers;            /* texts that chunks are prefilled after */
    const char *correction; /* a file; NULL: none */
    bool exact;             /* ours computes as libllama */
    double ratio;
    bool quiet;
    size_t length[BENCH_MAX_LENGTHS], n_lengths;
    int32_t *token;            /* of the documents: all lengths begin with the same */
    size_t n_tokens, n_around; /* n_around: head and prompt */
} bench;

/* Each fills an object and gives an exit status, after a message where that is not CLI_OK. Both sides take turns (A B C D A B C D ...);
 * turn 0 is a warm-up that does not count. */
int bench_facts(const bench *b, json_t *out);                   /* and the tokens, as many as there are up to what the run needs */
int bench_length(const bench *b, size_t n_tokens, json_t *out); /* TTFT and decoding */
int bench_ingest(const bench *b, json_t *out);
int bench_load(const bench *b, json_t *out);
/* Infoflow from a warm store and decoding, in turns on the machine as it is and beside b->busy processes that only spin. */
int bench_busy(const bench *b, json_t *out);
/* One side once, in a process that did nothing else; its peak memory is the caller's to look up. */
int bench_once(const bench *b, size_t n_tokens, bench_side side, bool flash_attention);

#endif
