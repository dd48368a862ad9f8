/* hash.c - XXH3 with 128 bits, whole and piece by piece, and FNV-1a. */
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

uint64_t iflow_fnv1a(uint64_t hash, const void *bytes, size_t n_bytes) {
    for (size_t i = 0; i < n_bytes; i++) {
        hash = (hash ^ ((const unsigned char *)bytes)[i]) * UINT64_C(0x100000001B3);
    }
    return hash;
}
