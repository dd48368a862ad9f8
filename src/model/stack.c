/* stack.c - calls on a stack of a size of their own, which their caller waits for, or leaves where it is cancelled. */
#include "model/stack.h"

#include "base/cancel.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { CHECK_NS = 10000000 }; /* between two checks of the token */

typedef struct job {
    void (*call)(void *user), (*drop)(void *user);
    void *user;
    char *map; /* the stack, and below it a page that nothing may touch */
    size_t n_map;
    pthread_t thread;
    /* Of one that can be left: */
    const void *owner;
    pthread_mutex_t mutex; /* of what follows */
    pthread_cond_t end;
    bool ended, left;
    struct job *next; /* of those that were left, under left_mutex */
} job;

static pthread_mutex_t left_mutex = PTHREAD_MUTEX_INITIALIZER;
static job *left_jobs;

static void *run(void *user) {
    const job *j = user;
    j->call(j->user);
    return NULL;
}

static void *run_to_the_end(void *user) {
    job *j = user;
    j->call(j->user);
    pthread_mutex_lock(&j->mutex);
    j->ended = true;
    const bool left = j->left;
    pthread_cond_signal(&j->end);
    pthread_mutex_unlock(&j->mutex);
    if (left) {
        j->drop(j->user);
    }
    return NULL;
}

static iflow_status map_stack(size_t n_bytes, job *j) {
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    if (n_bytes > SIZE_MAX / 4) {
        return iflow_fail_memory(n_bytes);
    }
    n_bytes = (n_bytes + (size_t)PTHREAD_STACK_MIN + page - 1) / page * page;
    /* Not glibc's own mapping: that one is counted as if it were all used. */
    char *map = mmap(NULL, n_bytes + page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
    if (map == MAP_FAILED) {
        return iflow_fail_memory(n_bytes);
    }
    if (mprotect(map + page, n_bytes, PROT_READ | PROT_WRITE)) {
        munmap(map, n_bytes + page);
        return iflow_fail_memory(n_bytes);
    }
    j->map = map;
    j->n_map = n_bytes + page;
    return IFLOW_OK;
}

/* Starts a job on a stack of n_bytes. Signals stay with the threads of the caller, whose reads they are to interrupt. */
static iflow_status start(size_t n_bytes, job *j, void *(*body)(void *)) {
    const iflow_status status = map_stack(n_bytes, j);
    if (status) {
        return status;
    }
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    pthread_attr_t attributes;
    sigset_t all, before;
    int error = pthread_attr_init(&attributes);
    if (!error) {
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        error = pthread_attr_setstack(&attributes, j->map + page, j->n_map - page);
        error = error ? error : pthread_create(&j->thread, &attributes, body, j);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        pthread_attr_destroy(&attributes);
    }
    if (error) {
        munmap(j->map, j->n_map);
        return iflow_fail(IFLOW_E_MEMORY, "cannot start a thread with a stack of %zu bytes: %s", n_bytes, strerror(error));
    }
    return IFLOW_OK;
}

static void finish(const job *j) {
    pthread_join(j->thread, NULL);
    munmap(j->map, j->n_map);
}

iflow_status iflow_on_stack(size_t n_bytes, void (*call)(void *user), void *user) {
    job j = {.call = call, .user = user};
    const iflow_status status = start(n_bytes, &j, run);
    if (!status) {
        finish(&j);
    }
    return status;
}

/* ---- Calls that can be left --------------------------------------------------------------------------------------------------------- */

static void free_job(job *j) {
    pthread_cond_destroy(&j->end);
    pthread_mutex_destroy(&j->mutex);
    free(j);
}

static bool has_ended(job *j) {
    pthread_mutex_lock(&j->mutex);
    const bool ended = j->ended;
    pthread_mutex_unlock(&j->mutex);
    return ended;
}

/* Finishes the jobs of an owner that were left, and those of others that have ended. */
static void collect(const void *owner) {
    for (;;) {
        pthread_mutex_lock(&left_mutex);
        job **at = &left_jobs;
        while (*at && (*at)->owner != owner && !has_ended(*at)) {
            at = &(*at)->next;
        }
        job *j = *at;
        if (j) {
            *at = j->next;
        }
        pthread_mutex_unlock(&left_mutex);
        if (!j) {
            return;
        }
        finish(j);
        free_job(j);
    }
}

void iflow_wait_for_left(const void *owner) {
    collect(owner);
}

/* Waits for the end, or for the token. E_CANCELLED: the job was left. */
static iflow_status wait_or_leave(job *j) {
    iflow_status status = IFLOW_OK;
    pthread_mutex_lock(&j->mutex);
    while (!j->ended && !(status = iflow_cancel_check())) {
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_nsec += CHECK_NS;
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        pthread_cond_timedwait(&j->end, &j->mutex, &until);
    }
    j->left = status != IFLOW_OK;
    pthread_mutex_unlock(&j->mutex);
    return status;
}

iflow_status iflow_on_stack_or_leave(const void *owner, size_t n_bytes, void (*call)(void *user), void (*drop)(void *user), void *user) {
    collect(NULL);
    iflow_status status = iflow_cancel_check();
    if (status) {
        drop(user);
        return status;
    }
    job *j = calloc(1, sizeof *j);
    if (!j) {
        drop(user);
        return iflow_fail_memory(sizeof *j);
    }
    pthread_condattr_t clock;
    *j = (job){.call = call, .drop = drop, .user = user, .owner = owner};
    pthread_mutex_init(&j->mutex, NULL);
    pthread_condattr_init(&clock);
    pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    pthread_cond_init(&j->end, &clock);
    pthread_condattr_destroy(&clock);
    if ((status = start(n_bytes, j, run_to_the_end))) {
        drop(user);
        free_job(j);
        return status;
    }
    if (!(status = wait_or_leave(j))) {
        finish(j);
        free_job(j);
        return IFLOW_OK;
    }
    pthread_mutex_lock(&left_mutex);
    j->next = left_jobs;
    left_jobs = j;
    pthread_mutex_unlock(&left_mutex);
    return status;
}
