/* thread.h - threads that take no signals, and conditions that are waited for until a time. */
#ifndef IFLOW_BASE_THREAD_H
#define IFLOW_BASE_THREAD_H

#include <pthread.h>

/* Starts body(user) in a thread that gets no signals: these are for the caller's threads, whose reads they are to interrupt. attributes: as
 * of pthread_create(); NULL: the defaults. Returns 0, or the number of an error as errno has it. */
int iflow_thread_start(pthread_t *thread, const pthread_attr_t *attributes, void *(*body)(void *user), void *user);

/* A condition for iflow_condition_wait(). Also makes one anew in a process that was forked while somebody waited for it. */
void iflow_condition_init(pthread_cond_t *condition);

/* Waits, under the mutex, until the condition is told or ms have passed, however the clock of the machine is set meanwhile. */
void iflow_condition_wait(pthread_cond_t *condition, pthread_mutex_t *mutex, double ms);

#endif
