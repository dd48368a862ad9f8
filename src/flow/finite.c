/* finite.c - where numbers stop being finite, as a status. */
#include "flow/finite.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* A vocabulary's logits are looked at with every token, so in a form that compilers vectorise: an exponent of ones is no finite number's.
 */
static bool all_finite(const float *value, size_t n) {
    const uint32_t ones = 0x7f800000;
    uint32_t bad = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t bits = 0;
        memcpy(&bits, &value[i], sizeof bits);
        bad |= (bits & ones) == ones;
    }
    return !bad;
}

size_t iflow_finite_first(const float *value, size_t n) {
    size_t i = n && all_finite(value, n) ? n : 0;
    while (i < n && isfinite(value[i])) {
        i++;
    }
    return i;
}

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
    return at == n_vocab ? IFLOW_OK : iflow_not_finite((double)logits[at], "behind %s, at position %zu, a logit", stage, position);
}

iflow_status iflow_finite_scores(const char *what, const float *score, size_t n) {
    const size_t at = iflow_finite_first(score, n);
    return at == n ? IFLOW_OK : iflow_not_finite((double)score[at], "the %s at position %zu", what, at);
}
