/* finite.c - where numbers stop being finite. */
#include "base/base.h"

#include <math.h>
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
