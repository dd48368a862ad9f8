/* tolerance.h - every tolerance of the tests, with its reason. Nothing else may loosen a comparison. */
#ifndef IFLOW_TESTS_TOLERANCE_H
#define IFLOW_TESTS_TOLERANCE_H

/* Logits against libllama on the same file, as a share of the largest logit in size. Both sides run the same ggml kernels on the same
 * weights, so they mostly agree to the bit; they differ where ggml sums in another order for another number of rows (libllama's batch and
 * ours are cut alike, but its output rows are gathered before the last layer), which moves f32 sums by some 1e-6 and, through an f16 cache
 * entry that rounds the other way (2^-11 = 5e-4 of one key), a logit by up to about 1e-3 of the largest. */
#define TOLERANCE_LIBLLAMA 2e-3

/* Against the float64 reference with f16 caches, on the tiny models. tests/reference/golden.py measures how far f32 arithmetic, f16
 * rounding and the f16 sums of ggml's CPU attention reach on each case, and takes none where a score moves by more than 0.0035 of the
 * largest or a logit by more than 0.035. Selections and answers are compared exactly; the methods' logits differ by 0.2 at least. */
#define TOLERANCE_SCORE 0.004
#define TOLERANCE_LOGIT 0.04

/* Identities, as a share of the largest logit in size: one slice length against another runs the same tokens at the same positions over the
 * same keys. With f32 weights and slices of at least 64 tokens ggml's CPU kernels give the same sums whatever the slice. */
#define TOLERANCE_IDENTITY_TILES 1e-5

/* For fewer than 64 queries ggml's CPU attention accumulates in f16. libllama itself, on the tiny f32 models, moves logits by up to 0.009
 * of the largest between n_ubatch 7, 33 or 64 and 512, and by 0 between 100 and 512 (measured on four models, six lengths each). Ratio 1
 * runs the prompt by itself, where full prefill runs it in the last slice. */
#define TOLERANCE_IDENTITY_F32 0.01

/* With 4-bit weights ggml quantises activations to 8 bits, and a sum that rounds the other way moves a value by 1/127 of its block's
 * largest. libllama itself, on SmolLM2 in Q4_1, moves logits by up to 0.07 of the largest between n_ubatch 7, 33, 64, 100 and 512 on the
 * same text (measured over six lengths; the median was 0.03). An identity cannot hold better than that; the f32 models above are what
 * catches a mistake. */
#define TOLERANCE_IDENTITY_Q4 0.07

/* Our products by a quantised weight against their definition, the weight's floats by activations rounded to 8 bits: what summing in f32
 * leaves, root mean square over the product's own. Measured: up to 2e-7. */
#define TOLERANCE_MATMUL 1e-6

/* Their distance from the product in floats over that of ggml's: both round the activations to 8 bits. Ours have a scale every 32, as
 * ggml's have for most types, and so differ by chance alone. For Q4_K, Q5_K and Q6_K ggml has one every 256, and is 1.4 times as far.
 * Measured: 1.00 and 0.70, over 4,600 results and more. */
#define TOLERANCE_MATMUL_GGML 1.05

/* Our attention against f64 over the same halves: what summing in f32 leaves, root mean square over the output's own, for scores of size 1;
 * larger scores round in proportion. Measured: up to 4.3e-7. */
#define TOLERANCE_ATTENTION 1e-6

/* Its distance from f64 over that of ggml's, which from 64 queries on sums in f32 too: they differ by chance alone. Measured over 650
 * draws: 1.06 once, where few keys weigh, else below 1.04. Below 64 queries ggml sums in f16 and is 1,000 times as far. */
#define TOLERANCE_ATTENTION_GGML 1.1

/* A correction's map against f64, root mean square over what it adds: where the product is ours, the map and what goes in are rounded to 8
 * bits, with a scale every 32 numbers, each by 1/254 of the largest of them at most; the result is stored in f16. Measured: up to 0.004. */
#define TOLERANCE_MAP 0.01

/* The part of a correction that comes about (evidence), and what is kept of it, against f64: what it is taken from and what is mixed is
 * rounded to f16. */
#define TOLERANCE_EVIDENCE 0.01

/* The share of 20,000 draws that a token has, against its probability: the standard deviation is 0.0035 at most, and four of them are what
 * one of some hundred shares may come to. The seeds are fixed: it passes always or never. */
#define TOLERANCE_DRAWS 0.015

#endif
