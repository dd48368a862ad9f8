/* stack.c - a call on a stack of a size of its own. */
#include "model/stack.h"

#include "base/thread.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

typedef struct job {
    void (*call)(void *user);
    void *user;
} job;

static void *run(void *user) {
    const job *j = user;
    j->call(j->user);
    return NULL;
}

/* Starts and joins. */
static int run_on(void *stack, size_t n_bytes, job *j) {
    pthread_attr_t attributes;
    pthread_t thread;
    int error = pthread_attr_init(&attributes);
    if (error) {
        return error;
    }
    error = pthread_attr_setstack(&attributes, stack, n_bytes);
    error = error ? error : iflow_thread_start(&thread, &attributes, run, j);
    pthread_attr_destroy(&attributes);
    return error ? error : pthread_join(thread, NULL);
}

iflow_status iflow_on_stack(size_t n_bytes, void (*call)(void *user), void *user) {
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    if (n_bytes > SIZE_MAX / 4) {
        return iflow_fail_memory(n_bytes);
    }
    n_bytes = (n_bytes + (size_t)PTHREAD_STACK_MIN + page - 1) / page * page;
    /* One page more, below, that nothing may touch. Not glibc's own mapping: that one is counted as if it were all used. */
    char *map = mmap(NULL, n_bytes + page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
    if (map == MAP_FAILED) {
        return iflow_fail_memory(n_bytes);
    }
    iflow_status status = IFLOW_OK;
    if (mprotect(map + page, n_bytes, PROT_READ | PROT_WRITE)) {
        status = iflow_fail_memory(n_bytes);
    } else {
        const int error = run_on(map + page, n_bytes, &(job){.call = call, .user = user});
        if (error) {
            status = iflow_fail(IFLOW_E_MEMORY, "cannot start a thread with a stack of %zu bytes: %s", n_bytes, strerror(error));
        }
    }
    munmap(map, n_bytes + page);
    return status;
}
