/* fidelity.h - how far a method's next-token distributions are from full prefill's. Depends on libc alone. */
#ifndef IFLOW_CLI_FIDELITY_H
#define IFLOW_CLI_FIDELITY_H

#include <stddef.h>

typedef struct fidelity {
    double kl;   /* mean KL(full || method) over the positions, in nats */
    double top1; /* share of the positions at which both have the same most likely token */
} fidelity;

/* Logits of both are [n, n_vocab], taken behind the same tokens (teacher forcing). n and n_vocab: at least 1. A token that the method
 * holds impossible and full prefill does not makes kl infinite; a logit that is not a number makes it one that is not. */
fidelity fidelity_of(const float *full, const float *method, size_t n, size_t n_vocab);

#endif
