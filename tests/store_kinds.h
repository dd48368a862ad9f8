/* store_kinds.h - the kinds of store that there are, for the tests of what each does: they run over one after the other. */
#ifndef IFLOW_TESTS_STORE_KINDS_H
#define IFLOW_TESTS_STORE_KINDS_H

#include "store_fixture.h"

/* A new kind of store needs a row here. */
static const struct kind {
    const char *name;
    bool persists;  /* beyond its handle */
    bool is_shared; /* two handles are one store */
} kinds[] = {{"directory", true, true}, {"memory", false, false}};

static const struct kind *kind;

static inline iflow_store *open_kind(uint64_t max_bytes) {
    iflow_store *store = NULL;
    const iflow_store_params params = IFLOW_PARAMS(iflow_store_params, .max_bytes = max_bytes);
    OK(iflow_store_open(kind->persists ? in_root("store") : "memory:", &params, &store));
    return store;
}

/* What a store can check of itself while nobody uses it. */
static inline void check_kind(iflow_store *store) {
    if (kind->persists) {
        OK(iflow_store_dir_check(store));
        assert_int_equal(n_entries("store/tmp"), 0);
    }
}

static inline void close_kind(iflow_store *store) {
    check_kind(store);
    iflow_store_close(store);
}

/* The same bytes, but for the last one of the header's or the data's. */
static inline void damage(const iflow_blob *blob, iflow_blob *out) {
    unsigned char *bytes = malloc(blob->n_bytes);
    assert_non_null(bytes);
    memcpy(bytes, blob->data, blob->n_bytes);
    bytes[blob->n_bytes - 1] ^= 0x10;
    *out = (iflow_blob){.data = bytes, .n_bytes = blob->n_bytes};
}

/* Runs a group of tests once for each kind. */
#define OVER_EACH_KIND(tests) over_each_kind((tests), sizeof(tests) / sizeof(tests)[0])

static inline int over_each_kind(const struct CMUnitTest *tests, size_t n) {
    int failed = 0;
    iflow_set_log(count_warnings, NULL);
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        kind = &kinds[i];
        failed += _cmocka_run_group_tests(kind->name, tests, n, NULL, NULL);
    }
    return failed;
}

#endif
