/* correct.h - reused KV is changed as a learned correction says (ours): as chunks are put together, before their keys are rotated. */
#ifndef IFLOW_FLOW_REPAIR_CORRECT_H
#define IFLOW_FLOW_REPAIR_CORRECT_H

#include "flow/run.h"

/* The numbers of a token's place, out [IFLOW_CORRECTION_FEATURES]: of its place in its chunk, from 0, and in the context. The first tokens
 * of a chunk change most, and over the context what all tokens change by goes with the logarithm of how many stand before them. */
void iflow_correct_features(int in_chunk, int in_context, float *out);

/* Whether the chunk that is read as i-th is one that is corrected for this question. */
bool iflow_is_corrected(const iflow_run *run, size_t i);

#endif
