/* stack.h - a call on a stack of a size of its own. */
#ifndef IFLOW_MODEL_STACK_H
#define IFLOW_MODEL_STACK_H

#ifdef __cplusplus
extern "C" {
#endif

#include "base/base.h"

/* Runs call(user) in a thread with at least n_bytes of stack, and waits for it. Only the stack that is used takes memory. E_MEMORY where
 * there is no address space or no thread for it; then the call did not run. A failure inside leaves its message in the other thread. */
iflow_status iflow_on_stack(size_t n_bytes, void (*call)(void *user), void *user);

#ifdef __cplusplus
}
#endif

#endif
