/* stack.h - calls on a stack of a size of their own, which their caller waits for, or leaves where it is cancelled. */
#ifndef IFLOW_MODEL_STACK_H
#define IFLOW_MODEL_STACK_H

#ifdef __cplusplus
extern "C" {
#endif

#include "base/base.h"

/* Runs call(user) in a thread with at least n_bytes of stack, and waits for it. Only the stack that is used takes memory. E_MEMORY where
 * there is no address space or no thread for it; then the call did not run. A failure inside leaves its message in the other thread. */
iflow_status iflow_on_stack(size_t n_bytes, void (*call)(void *user), void *user);

/* The same for work that nothing can stop. Where the caller's token is raised meanwhile, it is E_CANCELLED within some 10 ms: the thread
 * works on by itself, and ends with drop(user), which frees what the call was given and made. drop(user) is also called on any other
 * failure, so that user is the caller's on success alone. owner: of what the call uses (not NULL), which must live until
 * iflow_wait_for_left(owner). */
iflow_status iflow_on_stack_or_leave(const void *owner, size_t n_bytes, void (*call)(void *user), void (*drop)(void *user), void *user);

/* Waits for the calls of this owner that were left. */
void iflow_wait_for_left(const void *owner);

#ifdef __cplusplus
}
#endif

#endif
