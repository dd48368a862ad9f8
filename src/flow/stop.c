/* stop.c - stop strings: where an answer's text has one, and what of it can still become one. */
#include "flow/stop.h"

#include <stdio.h>
#include <string.h>

iflow_status iflow_stop_check(const char *const *stop, size_t n_stop) {
    if (n_stop > IFLOW_MAX_STOPS) {
        return iflow_fail(IFLOW_E_ARG, "there are %zu stop strings; %d are possible", n_stop, (int)IFLOW_MAX_STOPS);
    }
    if (n_stop && !stop) {
        return iflow_fail(IFLOW_E_ARG, "stop is NULL, but n_stop is %zu", n_stop);
    }
    for (size_t i = 0; i < n_stop; i++) {
        const size_t n = stop[i] ? strnlen(stop[i], IFLOW_MAX_STOP_BYTES + 1) : 0;
        char beginning[48];
        if (n < 1 || n > IFLOW_MAX_STOP_BYTES) {
            return iflow_fail(IFLOW_E_ARG, "stop string %zu %s; from 1 to %d bytes are possible", i + 1, n ? "is longer" : "is empty",
                              (int)IFLOW_MAX_STOP_BYTES);
        }
        snprintf(beginning, sizeof beginning, "stop string %zu is ", i + 1);
        const iflow_status status = iflow_utf8_require(beginning, stop[i], n);
        if (status) {
            return status;
        }
    }
    return IFLOW_OK;
}

int iflow_stop_find(const char *const *stop, size_t n_stop, const char *text, size_t n, size_t from, size_t *at) {
    for (size_t end = from + 1; end <= n; end++) {
        int found = -1;
        size_t longest = 0;
        for (size_t i = 0; i < n_stop; i++) {
            const size_t length = strlen(stop[i]);
            if (length > longest && length <= end && memcmp(text + end - length, stop[i], length) == 0) {
                found = (int)i;
                longest = length;
            }
        }
        if (found >= 0) {
            *at = end - longest;
            return found;
        }
    }
    return -1;
}

size_t iflow_stop_begun(const char *const *stop, size_t n_stop, const char *text, size_t n) {
    size_t most = 0;
    for (size_t i = 0; i < n_stop; i++) {
        const size_t length = strlen(stop[i]);
        for (size_t k = length - 1 < n ? length - 1 : n; k > most; k--) {
            if (memcmp(text + n - k, stop[i], k) == 0) {
                most = k;
            }
        }
    }
    return most;
}
