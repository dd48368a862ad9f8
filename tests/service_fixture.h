/* service_fixture.h - what the tests of the service share: a directory of files, and what is heard of sources. */
#ifndef IFLOW_TESTS_SERVICE_FIXTURE_H
#define IFLOW_TESTS_SERVICE_FIXTURE_H

#include "service/sources.h"
#include "support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Each test's own, and its working directory. */
static char *dir;

static inline int fixture_enter(void **state) {
    (void)state;
    dir = support_make_dir();
    return chdir(dir);
}

static inline int fixture_leave(void **state) {
    (void)state;
    const int result = chdir("/");
    support_remove_dir(dir);
    return result;
}

static inline void fixture_write(const char *name, const void *bytes, size_t n) {
    FILE *file = fopen(name, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, n, file), n);
    assert_int_equal(fclose(file), 0);
}

/* n sentences, other ones for another seed. */
static inline void fixture_write_text(const char *name, int n, int seed) {
    FILE *file = fopen(name, "wb");
    assert_non_null(file);
    for (int i = 0; i < n; i++) {
        fprintf(file, "Keeper %d of light %d went over the river. ", seed, i);
    }
    assert_int_equal(fclose(file), 0);
}

/* All notices, a line each: kind, name and reason. */
typedef struct heard {
    char text[4096];
    size_t n;
} heard;

static inline void hear(const source_notice *what, void *user) {
    static const char *const kind[] = {"skipped", "failed", "hidden"};
    heard *to = user;
    const int n = what->why ? snprintf(to->text + to->n, sizeof to->text - to->n, "%s%s %s: %s\n", what->named ? "named " : "",
                                       kind[what->kind], what->name, what->why)
                            : snprintf(to->text + to->n, sizeof to->text - to->n, "%s %s: %zu\n", kind[what->kind], what->name, what->n);
    to->n += (size_t)n;
    assert_true(to->n < sizeof to->text);
}

#endif
