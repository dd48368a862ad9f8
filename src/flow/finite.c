/* finite.c - where numbers stop being finite, as a status. */
#include "flow/finite.h"

#include <math.h>
#include <stdio.h>

iflow_status iflow_not_finite(double value, const char *format, ...) {
    char what[256];
    va_list args;
    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    /* Weights were looked at when the model was loaded, chunks and corrections for what is not finite, but not for what is too large. f16
     * ends at 65,504, and nothing else in a pass is that narrow. */
    return iflow_fail(
        IFLOW_E_NOT_FINITE,
        "%s is %s: the model's keys or values do not fit f16, which KV is kept in (use another model), or a stored chunk or a "
        "correction has numbers that are far too large (prefill or learn again)",
        what, isnan(value) ? "not a number" : "infinite");
}

iflow_status iflow_finite_logits(const char *stage, size_t position, const float *logits, size_t n_vocab) {
    const size_t at = iflow_finite_first(logits, n_vocab);
    return at == n_vocab ? IFLOW_OK : iflow_not_finite((double)logits[at], "after %s, at position %zu, a logit", stage, position);
}

iflow_status iflow_finite_scores(const char *what, const float *score, size_t n) {
    const size_t at = iflow_finite_first(score, n);
    return at == n ? IFLOW_OK : iflow_not_finite((double)score[at], "the %s at position %zu", what, at);
}
