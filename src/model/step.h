/* step.h - a call that cannot be cancelled, from which its caller can go away. */
#ifndef IFLOW_MODEL_STEP_H
#define IFLOW_MODEL_STEP_H

#ifdef __cplusplus
extern "C" {
#endif

#include "base/base.h"

/* Runs call(step) in a thread of its own and waits for it. Where this thread's token is raised meanwhile: E_CANCELLED at once; the call
 * runs on, and drop(step) is called in its thread when it is done. So step must belong to nobody else: it is freed by drop() then, and by
 * the caller in all other cases. The thread does not end before such calls have ended. Where no thread can be started, it runs in this
 * one. */
iflow_status iflow_step(void (*call)(void *step), void (*drop)(void *step), void *step);

/* Waits for all calls that run on without their callers: before something is freed that they use. */
void iflow_step_wait(void);

#ifdef __cplusplus
}
#endif

#endif
