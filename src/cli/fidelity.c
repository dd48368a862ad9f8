/* fidelity.c - how far a method's next-token distributions are from full prefill's. Depends on libc alone. */
#include "fidelity.h"

#include <math.h>

/* What a logit is less to become a log probability, beyond the largest: log sum exp(logit - largest). Sums are in double, for a
 * vocabulary has a hundred thousand terms and a KL of interest a thousandth. */
static double log_sum(const float *logit, size_t n_vocab, size_t *largest) {
    *largest = 0;
    for (size_t i = 1; i < n_vocab; i++)
        if (logit[i] > logit[*largest])
            *largest = i;
    double sum = 0;
    for (size_t i = 0; i < n_vocab; i++)
        sum += exp((double)logit[i] - (double)logit[*largest]);
    return log(sum);
}

fidelity fidelity_of(const float *full, const float *method, size_t n, size_t n_vocab) {
    double kl = 0;
    size_t n_same = 0;
    for (size_t t = 0; t < n; t++) {
        const float *p = full + t * n_vocab, *q = method + t * n_vocab;
        size_t best_p = 0, best_q = 0;
        const double log_p = log_sum(p, n_vocab, &best_p), log_q = log_sum(q, n_vocab, &best_q);
        double here = 0;
        for (size_t i = 0; i < n_vocab; i++) {
            /* The largest is taken off before the rest, so that large logits cancel exactly. */
            const double of_p = (double)p[i] - (double)p[best_p] - log_p;
            const double of_q = (double)q[i] - (double)q[best_q] - log_q;
            const double share = exp(of_p);
            if (share != 0) /* also where it is not a number; 0 log 0 is 0 */
                here += share * (of_p - of_q);
        }
        kl += here < 0 ? 0 : here; /* no KL is: that is rounding */
        n_same += best_p == best_q;
    }
    return (fidelity){kl / (double)n, (double)n_same / (double)n};
}
