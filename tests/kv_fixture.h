/* kv_fixture.h - small chunks for the tests of the store's room: their KV is a fixed pseudo-random function of a seed. */
#ifndef IFLOW_TESTS_KV_FIXTURE_H
#define IFLOW_TESTS_KV_FIXTURE_H

#include "kv/chunk.h"

#include <ggml.h>
#include <stdlib.h>
#include <string.h>

typedef struct fixture {
    iflow_chunk_identity identity;
    int32_t *token, *root;
    iflow_kv_layer *layer;
    uint16_t **k, **v; /* [n_layer] of [n_tokens, width] */
    float *estimated;  /* [n_tokens], or NULL */
} fixture;

static inline uint32_t fixture_random(uint32_t *state) {
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

static inline uint16_t **fixture_rows(size_t n_layer, size_t n_values, uint32_t *state) {
    uint16_t **rows = calloc(n_layer, sizeof rows[0]);
    for (size_t l = 0; rows && l < n_layer; l++) {
        rows[l] = calloc(n_values, sizeof rows[l][0]);
        for (size_t i = 0; rows[l] && i < n_values; i++) {
            rows[l][i] = ggml_fp32_to_fp16((float)fixture_random(state) / (float)(1 << 22) - 2.0f);
        }
    }
    return rows;
}

static inline fixture fixture_new(uint32_t seed, size_t n_tokens, size_t n_root, int n_layer, int width, iflow_kv_type type) {
    fixture f = {0};
    uint32_t state = seed * 2654435761u + 1;
    f.token = calloc(n_tokens ? n_tokens : 1, sizeof f.token[0]);
    f.root = calloc(n_root ? n_root : 1, sizeof f.root[0]);
    f.layer = iflow_kv_layers_alike(n_layer, width);
    for (size_t i = 0; i < n_tokens; i++) {
        f.token[i] = (int32_t)(fixture_random(&state) % 50000);
    }
    for (size_t i = 0; i < n_root; i++) {
        f.root[i] = (int32_t)i + 1;
    }
    f.k = fixture_rows((size_t)n_layer, n_tokens * (size_t)width, &state);
    f.v = fixture_rows((size_t)n_layer, n_tokens * (size_t)width, &state);
    f.identity = (iflow_chunk_identity){
        .prefix = f.root, .n_prefix = n_root, .token = f.token, .n_tokens = n_tokens, .layer = f.layer, .n_layer = n_layer, .type = type};
    memcpy(f.identity.fingerprint, "0123456789abcdef0123456789abcdef", IFLOW_ID_SIZE);
    return f;
}

/* Gives it numbers a token; its id stays. */
static inline void fixture_foresee(fixture *f) {
    uint32_t state = 77;
    f->estimated = calloc(f->identity.n_tokens, sizeof f->estimated[0]);
    for (size_t i = 0; f->estimated && i < f->identity.n_tokens; i++) {
        f->estimated[i] = (float)fixture_random(&state) / (float)(1 << 20);
    }
}

static inline iflow_status fixture_encode(const fixture *f, iflow_blob *out) {
    return iflow_chunk_encode(&f->identity, (const uint16_t *const *)f->k, (const uint16_t *const *)f->v, f->estimated, out);
}

static inline void fixture_free(fixture *f) {
    for (int l = 0; l < f->identity.n_layer; l++) {
        free(f->k[l]);
        free(f->v[l]);
    }
    free(f->k);
    free(f->v);
    free(f->token);
    free(f->root);
    free(f->layer);
    free(f->estimated);
}

#endif
