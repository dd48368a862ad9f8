/* correct.h - reused KV is changed as a learned correction foretells (ours): as chunks are put together, before their keys are rotated. */
#ifndef IFLOW_FLOW_CORRECT_H
#define IFLOW_FLOW_CORRECT_H

#include "flow/context.h"

/* The numbers of a token's place, out [IFLOW_CORRECTION_FEATURES]: of its place in its chunk, from 0, and in the context. The first tokens
 * of a chunk change most, and over the context what all tokens change by goes with the logarithm of how many stand before them. */
void iflow_correct_features(int in_chunk, int in_context, float *out);

/* Corrects the rows of chunks that follow one another: start, length [n_chunks], their first positions, which are rows too, and tokens. */
iflow_status iflow_correct(iflow_context *ctx, const int *start, const int *length, size_t n_chunks);

#endif
