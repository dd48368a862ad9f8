/* step.c - a call that cannot be cancelled, from which its caller can go away. */
#include "model/step.h"

#include "base/cancel.h"
#include "base/thread.h"
#include "model/calls.h"

#include <pthread.h>
#include <stdlib.h>

enum { CHECK_MS = 10, MOST_LEFT = 8, STACK_BYTES = 8 << 20 }; /* between two checks of the token; calls of a process without callers */

/* A call in its thread; freed by whoever of the two goes last. */
typedef struct running {
    struct running *next; /* of those that were left */
    const void *owner;
    pthread_t caller;
    void (*call)(void *step);
    void (*drop)(void *step);
    void *step;
    pthread_cond_t ended;
    bool is_done, is_left;
} running;

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER; /* of all calls: it is held for moments only */
static pthread_cond_t one_ended;                          /* made before the first call */
static running *left;                                     /* calls that run on without their callers */

typedef bool is_meant(const running *r, const void *user);

static bool is_any(const running *r, const void *user) {
    (void)user;
    return r != NULL;
}

static bool is_of_owner(const running *r, const void *owner) {
    return r->owner == owner;
}

static bool is_of_thread(const running *r, const void *thread) {
    return pthread_equal(r->caller, *(const pthread_t *)thread) != 0;
}

static int count_left(is_meant *meant, const void *user) {
    int n = 0;
    for (const running *r = left; r; r = r->next) {
        n += meant(r, user);
    }
    return n;
}

static void wait_for(is_meant *meant, const void *user) {
    pthread_mutex_lock(&mutex);
    while (count_left(meant, user) > 0) {
        pthread_cond_wait(&one_ended, &mutex);
    }
    pthread_mutex_unlock(&mutex);
}

void iflow_step_wait(const void *owner) {
    wait_for(is_of_owner, owner);
}

static void wait_for_own(void) {
    const pthread_t self = pthread_self();
    wait_for(is_of_thread, &self);
}

static void wait_for_all(void) {
    wait_for(is_any, NULL);
}

/* The threads are not there in a process that is forked from theirs. */
static void begin_fork(void) {
    pthread_mutex_init(&mutex, NULL);
    iflow_condition_init(&one_ended);
    left = NULL;
}

/* The end of the process destroys the objects that such calls use, and those that were made last go first. So the thread that goes away
 * from a call waits at its own end, which for the one that ends the process is before all that; and the process waits for the others. */
static void watch_process(void) {
    iflow_condition_init(&one_ended);
    atexit(wait_for_all);
    pthread_atfork(NULL, NULL, begin_fork);
}

static void free_running(running *r) {
    pthread_cond_destroy(&r->ended);
    free(r);
}

/* What a call that was left used is freed before anybody hears that it has ended. */
static void end_left(running *r) {
    r->drop(r->step);
    pthread_mutex_lock(&mutex);
    running **at = &left;
    while (*at != r) {
        at = &(*at)->next;
    }
    *at = r->next;
    pthread_cond_broadcast(&one_ended);
    pthread_mutex_unlock(&mutex);
    free_running(r);
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
        end_left(r);
    }
    return NULL;
}

static bool start(running *r) {
    pthread_t thread;
    pthread_attr_t attributes;
    if (pthread_attr_init(&attributes)) {
        return false;
    }
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attributes, STACK_BYTES); /* whatever the limit of the process is: libllama recurses */
    const bool started = !iflow_thread_start(&thread, &attributes, run, r);
    pthread_attr_destroy(&attributes);
    return started;
}

/* Waits until another call may be left. E_CANCELLED. */
static iflow_status wait_for_room(void) {
    iflow_status status = IFLOW_OK;
    pthread_mutex_lock(&mutex);
    while (count_left(is_any, NULL) >= MOST_LEFT && !(status = iflow_cancel_check())) {
        iflow_condition_wait(&one_ended, &mutex, CHECK_MS);
    }
    pthread_mutex_unlock(&mutex);
    return status;
}

static running *new_running(const void *owner, void (*call)(void *step), void (*drop)(void *step), void *step) {
    running *r = malloc(sizeof *r);
    if (!r) {
        return NULL;
    }
    *r = (running){.owner = owner, .caller = pthread_self(), .call = call, .drop = drop, .step = step};
    iflow_condition_init(&r->ended);
    return r;
}

/* Until the call has ended, or the token is raised: then it is left. */
static iflow_status wait_or_leave(running *r) {
    iflow_status status = IFLOW_OK;
    pthread_mutex_lock(&mutex);
    while (!r->is_done && !(status = iflow_cancel_check())) {
        iflow_condition_wait(&r->ended, &mutex, CHECK_MS);
    }
    const bool is_done = r->is_done;
    if (!is_done) {
        r->is_left = true;
        r->next = left;
        left = r;
    }
    pthread_mutex_unlock(&mutex);
    if (is_done) {
        free_running(r);
    }
    return status;
}

iflow_status iflow_step(const void *owner, void (*call)(void *step), void (*drop)(void *step), void *step) {
    static pthread_once_t watched = PTHREAD_ONCE_INIT;
    pthread_once(&watched, watch_process);
    iflow_call_at_thread_end(wait_for_own);
    if (wait_for_room()) {
        drop(step);
        return IFLOW_E_CANCELLED;
    }
    running *r = new_running(owner, call, drop, step);
    if (!r) {
        return iflow_fail_memory(sizeof *r);
    }
    if (!start(r)) {
        free_running(r);
        call(step);
        return IFLOW_OK;
    }
    return wait_or_leave(r);
}
