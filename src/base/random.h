/* random.h - the generators of random numbers: the same sequence from a seed on every machine. Nothing secret hangs on them. */
#ifndef IFLOW_BASE_RANDOM_H
#define IFLOW_BASE_RANDOM_H

#include <stddef.h>
#include <stdint.h>

/* The next 64 bits of a sequence (splitmix64); any start is good. */
uint64_t iflow_random(uint64_t *state);
/* The next, below n (1 to 2^32). */
size_t iflow_random_below(uint64_t *state, size_t n);
/* The next, from 0 to below 1. */
double iflow_random_share(uint64_t *state);

/* An order of n things, drawn by Knuth's linear congruential generator. Corrections were learned in such orders, and another generator
 * would make others of the same documents. */
void iflow_random_order(uint64_t *state, size_t *order, size_t n);

#endif
