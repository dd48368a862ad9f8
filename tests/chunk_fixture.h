/* chunk_fixture.h - what the tests of chunk files do to files: decode copies, and put checksums right after a change. */
#ifndef IFLOW_TESTS_CHUNK_FIXTURE_H
#define IFLOW_TESTS_CHUNK_FIXTURE_H

#include "kv_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

/* A copy of its own size to the byte, so that AddressSanitizer sees a read beyond it. */
static inline iflow_blob copy_of(const void *data, size_t n_bytes) {
    void *copy = malloc(n_bytes ? n_bytes : 1);
    assert_non_null(copy);
    memcpy(copy, data, n_bytes);
    return (iflow_blob){.data = copy, .n_bytes = n_bytes};
}

/* Decodes a copy and throws the result away; the file must also be the same to peek, unless only its data is damaged. */
static inline iflow_status status_of(const void *data, size_t n_bytes, const char *id) {
    iflow_blob blob = copy_of(data, n_bytes);
    iflow_chunk *chunk = NULL;
    const iflow_status status = iflow_chunk_decode(&blob, id, "file", &chunk);
    assert_int_equal(status == IFLOW_OK, chunk != NULL);
    assert_int_equal(status == IFLOW_OK, blob.data == NULL);
    iflow_chunk_free(chunk);
    iflow_blob_free(&blob);
    return status;
}

static inline void encode(const fixture *f, iflow_blob *blob) {
    if (fixture_encode(f, blob)) {
        fail_msg("%s", iflow_error_message());
    }
}

static inline size_t find(const unsigned char *bytes, size_t n_bytes, const char *text) {
    const size_t n = strlen(text);
    for (size_t i = 0; i + n <= n_bytes; i++) {
        if (memcmp(bytes + i, text, n) == 0) {
            return i;
        }
    }
    fail_msg("\"%s\" is not in the file", text);
    return 0;
}

/* Puts the right checksum of the header, which has n_header bytes, into a file. */
static inline void seal_header(unsigned char *bytes, size_t n_header) {
    char hex[IFLOW_ID_SIZE];
    unsigned char *header_sum = bytes + find(bytes, n_header, "infoflow.checksum.header") + strlen("infoflow.checksum.header") + 12;
    memset(header_sum, '0', 32);
    iflow_hash_hex(bytes, n_header, hex);
    memcpy(header_sum, hex, 32);
}

/* Puts all right checksums into a file of layers that have layer_bytes each, and of which it may have fewer than it says. */
static inline void seal(unsigned char *bytes, size_t n_bytes, size_t n_header, size_t layer_bytes) {
    static const char layers[] = "infoflow.checksum.layers", rest[] = "infoflow.checksum.rest";
    char hex[IFLOW_ID_SIZE];
    unsigned char *at = bytes + find(bytes, n_header, layers) + strlen(layers) + 8;
    const unsigned char *data = bytes + n_header, *end = bytes + n_bytes;
    uint64_t n_layer;
    memcpy(&n_layer, at, sizeof n_layer);
    at += 8;
    for (uint64_t l = 0; l < n_layer; l++, at += 8 + 32) {
        const size_t n = (size_t)(end - data) < layer_bytes ? (size_t)(end - data) : layer_bytes;
        iflow_hash_hex(data, n, hex);
        memcpy(at + 8, hex, 32);
        data += n;
    }
    iflow_hash_hex(data, (size_t)(end - data), hex);
    memcpy(bytes + find(bytes, n_header, rest) + strlen(rest) + 12, hex, 32);
    seal_header(bytes, n_header);
}

static inline size_t header_size(const unsigned char *bytes, size_t n_bytes) {
    uint64_t size;
    memcpy(&size, bytes + find(bytes, n_bytes, "infoflow.header_bytes") + strlen("infoflow.header_bytes") + 4, sizeof size);
    return (size_t)size;
}

#endif
