/* step.c - a call that cannot be cancelled, from which its caller can go away. */
#include "model/step.h"

#include "base/cancel.h"
#include "model/calls.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>

enum { CHECK_MS = 10 }; /* how often the caller looks whether it is cancelled */

/* A call in its thread; freed by whoever of the two goes last. */
typedef struct running {
    void (*call)(void *step);
    void (*drop)(void *step);
    void *step;
    pthread_cond_t ended;
    bool is_done, is_left;
} running;

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER; /* of all calls: it is held for moments only */
static pthread_cond_t all_ended = PTHREAD_COND_INITIALIZER;
static int n_left; /* calls that run on without their callers */

void iflow_step_wait(void) {
    pthread_mutex_lock(&mutex);
    while (n_left > 0) {
        pthread_cond_wait(&all_ended, &mutex);
    }
    pthread_mutex_unlock(&mutex);
}

/* The threads are not there in a process that is forked from theirs. */
static void begin_fork(void) {
    pthread_mutex_init(&mutex, NULL);
    pthread_cond_init(&all_ended, NULL);
    n_left = 0;
}

/* The end of the process destroys the objects that such calls use, and those that were made last go first. So the thread that goes away
 * from a call waits at its own end, which for the one that ends the process is before all that; and the process waits for the others. */
static void watch_process(void) {
    atexit(iflow_step_wait);
    pthread_atfork(NULL, NULL, begin_fork);
}

static void free_running(running *r) {
    pthread_cond_destroy(&r->ended);
    free(r);
}

static void *run(void *user) {
    running *r = user;
    r->call(r->step);
    pthread_mutex_lock(&mutex);
    const bool is_left = r->is_left;
    r->is_done = true;
    pthread_cond_signal(&r->ended);
    pthread_mutex_unlock(&mutex);
    if (is_left) {
        r->drop(r->step);
        free_running(r);
        pthread_mutex_lock(&mutex);
        n_left--;
        pthread_cond_broadcast(&all_ended);
        pthread_mutex_unlock(&mutex);
    }
    return NULL;
}

static bool start(running *r) {
    pthread_t thread;
    pthread_attr_t attributes;
    sigset_t all, before;
    if (pthread_attr_init(&attributes)) {
        return false;
    }
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    sigfillset(&all); /* signals are for the caller's threads */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    const bool started = !pthread_create(&thread, &attributes, run, r);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    return started;
}

static struct timespec next_check(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    at.tv_nsec += CHECK_MS * 1000000L;
    at.tv_sec += at.tv_nsec / 1000000000L;
    at.tv_nsec %= 1000000000L;
    return at;
}

iflow_status iflow_step(void (*call)(void *step), void (*drop)(void *step), void *step) {
    static pthread_once_t watched = PTHREAD_ONCE_INIT;
    running *r = malloc(sizeof *r);
    if (!r) {
        return iflow_fail_memory(sizeof *r);
    }
    pthread_once(&watched, watch_process);
    iflow_call_at_thread_end(iflow_step_wait);
    *r = (running){.call = call, .drop = drop, .step = step};
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&r->ended, &attributes);
    pthread_condattr_destroy(&attributes);
    if (!start(r)) {
        free_running(r);
        call(step);
        return IFLOW_OK;
    }
    iflow_status status = IFLOW_OK;
    pthread_mutex_lock(&mutex);
    while (!r->is_done && !(status = iflow_cancel_check())) {
        const struct timespec at = next_check();
        pthread_cond_timedwait(&r->ended, &mutex, &at);
    }
    r->is_left = !r->is_done;
    n_left += r->is_left;
    const bool is_done = r->is_done;
    pthread_mutex_unlock(&mutex);
    if (is_done) {
        free_running(r);
    }
    return status;
}
