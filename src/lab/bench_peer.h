/* bench_peer.h - libllama as what infoflow is measured against: full prefill and decoding of given tokens. */
#ifndef IFLOW_LAB_BENCH_PEER_H
#define IFLOW_LAB_BENCH_PEER_H

#include "cli/cli.h"

typedef struct peer peer;

/* Loads a model. device: "cpu", or else a GPU if there is one, like the library. NULL: it was said why. */
peer *peer_load(const char *model, const char *device);
void peer_free(peer *p);

/* Makes a context of n_ctx tokens in place of the one there was. Here and below false: it was said why. */
bool peer_open(peer *p, size_t n_ctx, int n_threads, bool flash_attention);

/* Prefills tokens in pieces, each alone, and times it; the last piece stays in the cache. first NULL: nobody wants logits. Else the time
 * ends with the most probable token after the last piece, which *first is; -1: an end of generation. */
bool peer_prefill(peer *p, const int32_t *token, size_t n, size_t piece, int32_t *first, double *ms);

/* Runs tokens one by one after what is in the cache. */
bool peer_decode(peer *p, const int32_t *token, size_t n, double *ms);

/* Prefills with flash attention off and on, and leaves the context open that was faster. ms: of off and on. */
bool peer_choose_attention(peer *p, const int32_t *token, size_t n, size_t piece, size_t n_ctx, int n_threads, bool *flash_attention,
                           double ms[2]);

/* What ggml and libllama are, static strings. */
typedef struct peer_facts {
    const char *ggml_version, *ggml_commit, *features;
} peer_facts;
peer_facts peer_get_facts(void);

#endif
