/* test_chunk_numbers.c - chunk files with numbers that are none, and of both classes: ordinary and exact. */
#include "chunk_fixture.h"

#include <math.h>

/* What is no number is not stored, wherever it stands, and which it is. */
static void test_encode_refuses_not_finite(void **state) {
    (void)state;
    static const uint16_t wrong[] = {0x7c00, 0xfc00, 0x7e00, 0xfe01, 0x7c01};
    for (int type = IFLOW_KV_F16; type <= IFLOW_KV_Q8_0; type++) {
        fixture f = fixture_new(1, 70, 1, 2, 32, (iflow_kv_type)type);
        iflow_blob blob = {0};
        for (size_t i = 0; i < 70 * 32; i += 97) {
            uint16_t *rows = i % 2 ? f.k[1] : f.v[1], was = rows[i];
            char message[64];
            rows[i] = wrong[i % 5];
            snprintf(message, sizeof message, "layer 1: the %s of token %zu ", i % 2 ? "key" : "value", i / 32);
            assert_int_equal(fixture_encode(&f, &blob), IFLOW_E_NOT_FINITE);
            assert_non_null(strstr(iflow_error_message(), message));
            rows[i] = was;
        }
        fixture_foresee(&f);
        static const float estimated[] = {NAN, INFINITY, -INFINITY, -1e-9F};
        for (size_t i = 0; i < 4; i++) {
            f.estimated[69] = estimated[i];
            assert_int_equal(fixture_encode(&f, &blob), IFLOW_E_NOT_FINITE);
            assert_non_null(strstr(iflow_error_message(), "staleness of token 69"));
        }
        f.estimated[69] = 0;
        /* The largest number fits f16; of q8_0 it would be more than that when it is read. */
        f.k[0][5] = 0x7bff;
        assert_int_equal(fixture_encode(&f, &blob), type == IFLOW_KV_F16 ? IFLOW_OK : IFLOW_E_NOT_FINITE);
        assert_true(type == IFLOW_KV_F16 || strstr(iflow_error_message(), "layer 0: the key of token 0 does not fit q8_0"));
        iflow_blob_free(&blob);
        f.k[0][5] = 0x7bc0; /* 63,488 */
        encode(&f, &blob);
        assert_int_equal(status_of(blob.data, blob.n_bytes, NULL), IFLOW_OK);
        iflow_blob_free(&blob);
        fixture_free(&f);
    }
}

/* Numbers that are not finite under right checksums: found wherever they are, named, and not taken for such in what only pads. */
static void test_decode_refuses_not_finite(void **state) {
    (void)state;
    enum { N = 70, WIDTH = 96 };
    for (int type = IFLOW_KV_F16; type <= IFLOW_KV_Q8_0; type++) {
        fixture f = fixture_new(3, N, 1, 2, WIDTH, (iflow_kv_type)type);
        iflow_blob blob = {0};
        fixture_foresee(&f);
        encode(&f, &blob);
        unsigned char *bytes = (unsigned char *)(uintptr_t)blob.data;
        const size_t n_header = header_size(bytes, blob.n_bytes), row = iflow_kv_row_bytes((iflow_kv_type)type, WIDTH);
        const size_t tensor = (row * N + 31) / 32 * 32, step = type == IFLOW_KV_F16 ? 2 : 34;
        static const uint16_t wrong[] = {0x7c00, 0xfc00, 0x7e00, 0xffff};
        for (size_t i = 0; i < 4; i++) {
            for (size_t t = 0; t < N; t += 23) {
                unsigned char *at = bytes + n_header + i * tensor + t * row + (t * 7 % (row / step)) * step;
                uint16_t was;
                char message[64];
                memcpy(&was, at, 2);
                memcpy(at, &wrong[(i + t) % 4], 2);
                seal(bytes, blob.n_bytes, n_header, 2 * tensor);
                assert_int_equal(status_of(bytes, blob.n_bytes, NULL), IFLOW_E_CORRUPT);
                snprintf(message, sizeof message, "\"blk.%zu.%c\": a number of token %zu ", i / 2, i % 2 ? 'v' : 'k', t);
                assert_non_null(strstr(iflow_error_message(), message));
                memcpy(at, &was, 2);
            }
        }
        static const float estimated[] = {NAN, INFINITY, -1};
        for (size_t i = 0; i < 3; i++) {
            unsigned char *at = bytes + n_header + 4 * tensor + 17 * sizeof(float);
            float was;
            memcpy(&was, at, sizeof was);
            memcpy(at, &estimated[i], sizeof was);
            seal(bytes, blob.n_bytes, n_header, 2 * tensor);
            assert_int_equal(status_of(bytes, blob.n_bytes, NULL), IFLOW_E_CORRUPT);
            assert_non_null(strstr(iflow_error_message(), "staleness of token 17"));
            memcpy(at, &was, sizeof was);
        }
        if (tensor > row * N) {
            bytes[n_header + row * N] = bytes[n_header + row * N + 1] = 0xff;
        }
        seal(bytes, blob.n_bytes, n_header, 2 * tensor);
        assert_int_equal(status_of(bytes, blob.n_bytes, NULL), IFLOW_OK);
        if (type == IFLOW_KV_Q8_0) { /* finite scales whose products are not */
            memcpy(bytes + n_header, &(uint16_t){0x6000}, 2);
            seal(bytes, blob.n_bytes, n_header, 2 * tensor);
            assert_int_equal(status_of(bytes, blob.n_bytes, NULL), IFLOW_E_CORRUPT);
        }
        iflow_blob_free(&blob);
        fixture_free(&f);
    }
}

/* An exact chunk says so, and is another one than the ordinary chunk of the same tokens; the ordinary one says nothing. */
static void test_exact(void **state) {
    (void)state;
    fixture f = fixture_new(3, 4, 1, 2, 32, IFLOW_KV_F16);
    iflow_blob blob[2] = {{0}};
    iflow_chunk *chunk[2] = {0};
    for (int exact = 0; exact < 2; exact++) {
        iflow_chunk_info info;
        f.identity.exact = exact;
        encode(&f, &blob[exact]);
        assert_int_equal(iflow_chunk_peek(blob[exact].data, blob[exact].n_bytes, NULL, "file", &info, NULL), IFLOW_OK);
        assert_int_equal(info.exact, exact);
        assert_int_equal(memmem(blob[exact].data, blob[exact].n_bytes, "infoflow.exact", 14) != NULL, exact);
        assert_int_equal(iflow_chunk_decode(&blob[exact], NULL, "file", &chunk[exact]), IFLOW_OK);
        assert_int_equal(chunk[exact]->identity.exact, exact);
    }
    assert_string_not_equal(chunk[0]->id, chunk[1]->id);
    iflow_blob copy = copy_of(chunk[1]->blob.data, chunk[1]->blob.n_bytes);
    iflow_chunk *none = NULL;
    assert_int_equal(iflow_chunk_decode(&copy, chunk[0]->id, "file", &none), IFLOW_E_CORRUPT);
    iflow_blob_free(&copy);
    iflow_chunk_free(chunk[0]);
    iflow_chunk_free(chunk[1]);
    fixture_free(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_encode_refuses_not_finite),
        cmocka_unit_test(test_decode_refuses_not_finite),
        cmocka_unit_test(test_exact),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
