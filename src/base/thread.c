/* thread.c - threads that take no signals, and conditions that are waited for until a time. */
#include "base/thread.h"

#include <signal.h>
#include <stdint.h>
#include <time.h>

int iflow_thread_start(pthread_t *thread, const pthread_attr_t *attributes, void *(*body)(void *user), void *user) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    const int error = pthread_create(thread, attributes, body, user);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error;
}

void iflow_condition_init(pthread_cond_t *condition) {
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(condition, &attributes);
    pthread_condattr_destroy(&attributes);
}

void iflow_condition_wait(pthread_cond_t *condition, pthread_mutex_t *mutex, double ms) {
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    const int64_t ns = until.tv_nsec + (int64_t)(ms * 1e6);
    until.tv_sec += (time_t)(ns / 1000000000);
    until.tv_nsec = (long)(ns % 1000000000);
    pthread_cond_timedwait(condition, mutex, &until);
}
