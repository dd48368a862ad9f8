/* matmul_kernels.h - what a processor's kernels for products do, and the two formats between them. */
#ifndef IFLOW_KERNELS_MATMUL_KERNELS_H
#define IFLOW_KERNELS_MATMUL_KERNELS_H

#include "kernels/matmul.h"

#include <stdint.h>

enum {
    IFLOW_PANEL = 6,        /* rows of activations that go together: with 32 weights' rows they fill the registers of AVX-512 */
    IFLOW_TILE_ROWS = 32,   /* rows of a weight that go together */
    IFLOW_TILE_DEPTH = 512, /* and elements of each: a tile stays in the first cache while all activations pass it */
    IFLOW_BLOCK = 32,       /* activations that share a scale */
};

/* 32 successive activations of the rows of a panel: scale * code. A kernel takes them four at a time. */
typedef struct iflow_block {
    int8_t code[IFLOW_BLOCK / 4][IFLOW_PANEL][4];
    float scale[IFLOW_PANEL];
    int32_t minus_codes[3][IFLOW_PANEL]; /* the codes' sum negated, of each half and of both: what a weight's offset is multiplied by */
    float minus_sum[IFLOW_PANEL];        /* the activations' sum negated: what a weight's min is multiplied by */
} iflow_block;

/* What an element of a weight is: scale * (code - offset), with a scale every 16 or 32 elements, or scale * code - min. */
typedef enum iflow_element { IFLOW_ELEMENT_OFFSET16, IFLOW_ELEMENT_OFFSET32, IFLOW_ELEMENT_MIN32 } iflow_element;

/* A piece of a weight. */
typedef struct iflow_tile {
    _Alignas(64) uint8_t code[IFLOW_TILE_DEPTH / 4][IFLOW_TILE_ROWS][4];
    _Alignas(64) float scale[IFLOW_TILE_DEPTH / 16][IFLOW_TILE_ROWS];
    _Alignas(64) float min[IFLOW_TILE_DEPTH / 32][IFLOW_TILE_ROWS];
    iflow_element element;
    int code_bits;   /* codes are below 1 << code_bits */
    int offset_bits; /* the offset is 1 << offset_bits */
} iflow_tile;

typedef struct iflow_kernels {
    const char *name;
    int max_code_bits;
    /* Up to a panel of rows x, `stride` floats apart, to n_in / 32 blocks. Rows that are missing become zeros. */
    void (*quantise)(const float *x, size_t stride, int n_in, int n_rows, iflow_block *out);
    /* Elements [start, start + depth) of rows [row, row + 32) of a weight. Rows past the last repeat it. */
    void (*unpack)(const struct ggml_tensor *weight, iflow_layout layout, int64_t row, int64_t start, int depth, iflow_tile *tile);
    /* out[panel row * stride + tile row], six by 32, is set (first) or added to. */
    void (*multiply)(const iflow_tile *tile, const iflow_block *block, int n_blocks, float *out, size_t stride, bool first);
} iflow_kernels;

/* The i-th best that this processor has; NULL: it has no more. */
const iflow_kernels *iflow_kernels_get(int i);

#endif
