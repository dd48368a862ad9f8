/* matmul.h - products of many rows by a quantised weight on the CPU, by kernels of our own where the processor has what they need. */
#ifndef IFLOW_KERNELS_MATMUL_H
#define IFLOW_KERNELS_MATMUL_H

#include "kernels/work.h"

#include <ggml.h>
#include <stdbool.h>

/* The products here use the weights as they are stored, as ggml's do, and activations in 8 bits with a scale every 32. Each row's result is
 * the same whatever other rows go with it, and no further from the product in floats than ggml's (tests/test_matmul.c). */

/* How the rows of a weight lie in memory. */
typedef enum iflow_layout {
    IFLOW_LAYOUT_OTHER, /* only ggml can multiply by it */
    IFLOW_LAYOUT_ROWS,  /* as in the file */
    IFLOW_LAYOUT_ROWS8, /* ggml's repacked layout: eight rows side by side */
} iflow_layout;

/* From so many rows on these products are taken. Measured at 1, 8, 16 and more: at 8 they were as fast as ggml's or faster (but for Q4_K
 * that is not repacked, on one of three shapes), at 1 slower. */
enum { IFLOW_MATMUL_MIN_ROWS = 8 };

/* Whether this processor has kernels for a weight type in a layout. */
bool iflow_matmul_can(enum ggml_type type, iflow_layout layout);

/* Whether a weight that ggml's CPU backend repacked lies as ROWS8. rows: the same weight as in the file. The layout is ggml's own affair
 * and its versions may change it, so it is compared rather than assumed. */
bool iflow_matmul_is_rows8(const struct ggml_tensor *repacked, const void *rows);

/* One product of a graph, which it must outlive. Zero it first. */
typedef struct iflow_product {
    const struct ggml_tensor *weight; /* [n_in, n_out] */
    iflow_layout layout;
    const struct iflow_kernels *kernels; /* NULL: the processor's best */
    iflow_work work;
} iflow_product;

/* x f32 [n_in, n] in 8 bits, for iflow_matmul_multiply; several weights can share it. */
struct ggml_tensor *iflow_matmul_quantise(struct ggml_context *ctx, struct ggml_tensor *x);

/* f32 [n_out, n] of quantised x [n_in, n]. */
struct ggml_tensor *iflow_matmul_multiply(struct ggml_context *ctx, iflow_product *product, struct ggml_tensor *quantised, int64_t n);

#endif
