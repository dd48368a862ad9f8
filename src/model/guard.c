/* guard.c - asks for memory before ggml does: bounds of what its calls allocate, from its sources. */
#include "model/guard.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

iflow_status iflow_guard_context(size_t mem_size, struct ggml_context **out) {
    iflow_status status = iflow_memory_require(mem_size);
    if (status) {
        return status;
    }
    struct ggml_context *ctx = ggml_init((struct ggml_init_params){.mem_size = mem_size, .no_alloc = true});
    if (!ctx) {
        return iflow_fail_memory(mem_size);
    }
    *out = ctx;
    return IFLOW_OK;
}

iflow_status iflow_guard_scheduler(size_t max_nodes) {
    /* A split a node, each with 30 inputs, for each of which there are two tensors and four indices; and the graph itself. */
    enum { INPUTS = 2 * 30, INDICES = 4 };
    const size_t each = INPUTS * (sizeof(struct ggml_tensor) + INDICES * sizeof(int)) + 1024;
    return iflow_memory_require(max_nodes * each + ggml_graph_overhead_custom(max_nodes, false));
}

iflow_status iflow_guard_graph(struct ggml_cgraph *cgraph) {
    /* A node and its GGML_MAX_SRC sources: where each is allocated; and its places in two hash tables, which are at most half full. */
    enum { PLACE = 48, HASHED = 4 * 128 };
    const size_t each = (1 + GGML_MAX_SRC) * PLACE + HASHED;
    return iflow_memory_require((size_t)ggml_graph_n_nodes(cgraph) * 2 * each); /* leaves are fewer than nodes */
}

static size_t larger(size_t a, size_t b) {
    return a > b ? a : b;
}

size_t iflow_guard_work_bytes(struct ggml_cgraph *cgraph, int n_threads) {
    /* A product converts its input to another type, which is no wider than f32; others take some rows a thread. */
    enum { CACHE_LINES = 1 << 16 };
    size_t input = 0, row = 0;
    for (int i = 0; i < ggml_graph_n_nodes(cgraph); i++) {
        const struct ggml_tensor *node = ggml_graph_node(cgraph, i);
        row = larger(row, (size_t)node->ne[0] * sizeof(float));
        for (int k = 0; k < GGML_MAX_SRC && node->src[k]; k++) {
            const struct ggml_tensor *src = node->src[k];
            row = larger(row, (size_t)src->ne[0] * sizeof(float));
            if (src->op != GGML_OP_NONE && src->type == GGML_TYPE_F32) { /* weights and the cache are leaves, and stay as they are */
                input = larger(input, ggml_nbytes(src));
            }
        }
    }
    return input + (size_t)n_threads * (4 * row + CACHE_LINES);
}

static void *wait_for_all(void *mutex) {
    pthread_mutex_lock(mutex);
    pthread_mutex_unlock(mutex);
    return NULL;
}

iflow_status iflow_guard_threads(int n_threads) {
    iflow_status status = IFLOW_OK;
    pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER; /* closed until all are there: they must be able to live at the same time */
    pthread_t *thread = iflow_calloc((size_t)n_threads, sizeof *thread);
    int n = 0, error = 0;
    if (!thread) {
        return iflow_fail_memory((size_t)n_threads * sizeof *thread);
    }
    pthread_mutex_lock(&mutex);
    for (; n < n_threads - 1 && !error; n += !error) { /* the caller is one of them */
        error = pthread_create(&thread[n], NULL, wait_for_all, &mutex);
    }
    pthread_mutex_unlock(&mutex);
    if (error) {
        status = iflow_fail(IFLOW_E_MEMORY, "only %d of %d threads can be started (%s); give fewer", n + 1, n_threads, strerror(error));
    }
    while (n > 0) {
        pthread_join(thread[--n], NULL);
    }
    free(thread);
    return status;
}
