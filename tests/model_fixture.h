/* model_fixture.h - what the tests of loading share: model files written anew, and loads that must be refused. */
#ifndef IFLOW_TESTS_MODEL_FIXTURE_H
#define IFLOW_TESTS_MODEL_FIXTURE_H

#include "support.h"

#include <gguf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A group's own directory. */
static char *dir;

static inline int fixture_make_dir(void **state) {
    (void)state;
    dir = support_make_dir();
    return 0;
}

static inline int fixture_remove_dir(void **state) {
    (void)state;
    support_remove_dir(dir);
    return 0;
}

/* The bytes of a file; free(). */
static inline char *fixture_read(const char *path, size_t *n) {
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    assert_int_equal(fseek(file, 0, SEEK_END), 0);
    *n = (size_t)ftell(file);
    rewind(file);
    char *bytes = malloc(*n + 1);
    assert_non_null(bytes);
    assert_int_equal(fread(bytes, 1, *n, file), *n);
    bytes[*n] = '\0';
    fclose(file);
    return bytes;
}

/* Writes a file and gives its path; free(). */
static inline char *fixture_write(const char *in, const char *name, const char *bytes, size_t n) {
    char *path = iflow_format("%s/%s", in, name);
    assert_non_null(path);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, n, file), n);
    assert_int_equal(fclose(file), 0);
    return path;
}

/* A copy of a tiny model; free(). */
static inline char *fixture_copy(const char *in, const char *name, const char *model) {
    size_t n = 0;
    char *bytes = fixture_read(support_tiny_model(model), &n), *path = fixture_write(in, name, bytes, n);
    free(bytes);
    return path;
}

/* Loading must fail with one of two statuses (0: the first only) and name the file; the message has a word (NULL: any). */
static inline void fixture_refused(const char *path, iflow_status expected, iflow_status or, const char *word) {
    iflow_model *model = NULL;
    const iflow_status status = iflow_model_load(path, &IFLOW_PARAMS(iflow_model_params, .cache_dir = ""), &model);
    if (status == IFLOW_OK) {
        iflow_model_free(model);
        fail_msg("%s was loaded", path);
    }
    if (status != expected && (! or || status != or)) {
        fail_msg("%s: status %d: %s", path, (int)status, iflow_error_message());
    }
    assert_null(model);
    assert_non_null(strstr(iflow_error_message(), path));
    if (word && !strstr(iflow_error_message(), word)) {
        fail_msg("the message lacks '%s': %s", word, iflow_error_message());
    }
}

#endif
