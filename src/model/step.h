/* step.h - a call that cannot be cancelled, from which its caller can go away. */
#ifndef IFLOW_MODEL_STEP_H
#define IFLOW_MODEL_STEP_H

#ifdef __cplusplus
extern "C" {
#endif

#include "base/base.h"

/* Runs call(step) in a thread of its own and waits for it. Where this thread's token is raised meanwhile: E_CANCELLED at once; the call
 * runs on, and drop(step) is called in its thread when it is done. So step must belong to nobody else: it is freed by drop() then, and by
 * the caller in all other cases. owner: of what else the call uses, which must live until iflow_step_wait(owner); NULL: of nothing. A few
 * calls of a process can be left like this at a time; the next begins when one of them has ended. The thread that left a call does not end
 * before it has. Where no thread can be started, the call runs in this one. E_MEMORY: it did not run. */
iflow_status iflow_step(const void *owner, void (*call)(void *step), void (*drop)(void *step), void *step);

/* Waits for the calls of this owner that run on without their callers: before what they use is freed. */
void iflow_step_wait(const void *owner);

#ifdef __cplusplus
}
#endif

#endif
