/* memory.c - allocation that cannot overflow, growing arrays, monotonic time. */
#include "base/base.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

void *iflow_calloc(size_t n, size_t size) {
    return calloc(n ? n : 1, size ? size : 1); /* calloc checks the product */
}

void *iflow_realloc(void *old, size_t n, size_t size) {
    if (size && n > SIZE_MAX / size) {
        return NULL;
    }
    const size_t n_bytes = n * size;
    return realloc(old, n_bytes ? n_bytes : 1);
}

iflow_status iflow_memory_require(size_t n_bytes) {
    enum { SLACK = 1 << 20 }; /* for what is allocated in small pieces meanwhile */
    const size_t n = n_bytes < SIZE_MAX - SLACK ? n_bytes + SLACK : n_bytes;
    /* Not by malloc: a large block that is freed changes where it takes the next ones from. */
    void *memory = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        return iflow_fail_memory(n);
    }
    munmap(memory, n);
    return IFLOW_OK;
}

char *iflow_strdup(const char *text) {
    const size_t n_bytes = strlen(text) + 1;
    char *copy = malloc(n_bytes);
    if (copy) {
        memcpy(copy, text, n_bytes);
    }
    return copy;
}

iflow_status iflow_reserve(void **array, size_t *capacity, size_t need, size_t size) {
    if (need <= *capacity) {
        return IFLOW_OK;
    }
    size_t grown = *capacity < 16 ? 16 : *capacity * 2;
    if (grown < need) {
        grown = need;
    }
    void *bigger = iflow_realloc(*array, grown, size);
    if (!bigger) {
        return iflow_fail_memory(grown * size);
    }
    *array = bigger;
    *capacity = grown;
    return IFLOW_OK;
}

double iflow_now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec * 1e-6;
}
