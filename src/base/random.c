/* random.c - the generators of random numbers: the same sequence from a seed on every machine. Nothing secret hangs on them. */
#include "base/random.h"

uint64_t iflow_random(uint64_t *state) {
    uint64_t z = *state += 0x9E3779B97F4A7C15U;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9U;
    z = (z ^ z >> 27) * 0x94D049BB133111EBU;
    return z ^ z >> 31;
}

/* The upper 32 bits scaled: nearer to uniform than any count of questions can show. */
size_t iflow_random_below(uint64_t *state, size_t n) {
    return (size_t)((iflow_random(state) >> 32) * (uint64_t)n >> 32);
}

double iflow_random_share(uint64_t *state) {
    return (double)(iflow_random(state) >> 11) * 0x1p-53;
}

void iflow_random_order(uint64_t *state, size_t *order, size_t n) {
    for (size_t i = n; i > 1; i--) {
        *state = *state * 6364136223846793005U + 1442695040888963407U;
        const size_t j = (size_t)(*state >> 33) % i, other = order[j];
        order[j] = order[i - 1];
        order[i - 1] = other;
    }
}
