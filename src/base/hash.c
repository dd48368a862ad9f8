/* hash.c - XXH3 with 128 bits, whole and piece by piece; the UTF-8 check. */
#include "base/base.h"

#include <xxhash.h>

static void to_hex(XXH128_hash_t hash, char hex[IFLOW_ID_SIZE]) {
    static const char digit[] = "0123456789abcdef";
    XXH128_canonical_t canonical;
    XXH128_canonicalFromHash(&canonical, hash);
    for (size_t i = 0; i < sizeof canonical.digest; i++) {
        hex[2 * i] = digit[canonical.digest[i] >> 4];
        hex[2 * i + 1] = digit[canonical.digest[i] & 15];
    }
    hex[IFLOW_ID_SIZE - 1] = '\0';
}

void iflow_hash_hex(const void *data, size_t n_bytes, char hex[IFLOW_ID_SIZE]) {
    to_hex(XXH3_128bits(data, n_bytes), hex);
}

iflow_hasher *iflow_hasher_new(void) {
    XXH3_state_t *state = XXH3_createState();
    if (state) {
        XXH3_128bits_reset(state);
    }
    return (iflow_hasher *)state;
}

void iflow_hasher_add(iflow_hasher *hasher, const void *data, size_t n_bytes) {
    XXH3_128bits_update((XXH3_state_t *)hasher, data, n_bytes);
}

void iflow_hasher_hex(iflow_hasher *hasher, char hex[IFLOW_ID_SIZE]) {
    to_hex(XXH3_128bits_digest((XXH3_state_t *)hasher), hex);
    XXH3_freeState((XXH3_state_t *)hasher);
}

size_t iflow_utf8_check(const char *text, size_t n_bytes) {
    const unsigned char *s = (const unsigned char *)text;
    size_t i = 0;
    while (i < n_bytes) {
        size_t n_more;
        uint32_t low; /* the smallest code point that needs this many bytes */
        uint32_t code;
        if (s[i] < 0x80) {
            i++;
            continue;
        }
        if ((s[i] & 0xe0) == 0xc0) {
            n_more = 1, low = 0x80, code = s[i] & 0x1fu;
        } else if ((s[i] & 0xf0) == 0xe0) {
            n_more = 2, low = 0x800, code = s[i] & 0x0fu;
        } else if ((s[i] & 0xf8) == 0xf0) {
            n_more = 3, low = 0x10000, code = s[i] & 0x07u;
        } else {
            return i;
        }
        if (n_bytes - i <= n_more) {
            return i;
        }
        for (size_t k = 1; k <= n_more; k++) {
            if ((s[i + k] & 0xc0) != 0x80) {
                return i;
            }
            code = code << 6 | (s[i + k] & 0x3fu);
        }
        if (code < low || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff)) {
            return i;
        }
        i += n_more + 1;
    }
    return n_bytes;
}

iflow_status iflow_utf8_require(const char *beginning, const char *text, size_t n_bytes) {
    const size_t valid = iflow_utf8_check(text, n_bytes);
    return valid == n_bytes
               ? IFLOW_OK
               : iflow_fail(IFLOW_E_FORMAT, "%sinvalid UTF-8 at byte %zu (0x%02x)", beginning, valid, (unsigned)(unsigned char)text[valid]);
}
