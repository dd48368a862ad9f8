/* template_limits.h - for C++ alone: what a rendering may use, and the engine's functions that are watched for it. */
#ifndef IFLOW_MODEL_TEMPLATE_LIMITS_H
#define IFLOW_MODEL_TEMPLATE_LIMITS_H

extern "C" {
#include "base/cancel.h"
}

#include <cstddef>
#include <cstdint>

namespace iflow {

/* What a rendering has used, and may. What is too much throws std::runtime_error. */
struct meter {
    const char *stack;          /* where the rendering's stack begins */
    size_t n_input;             /* bytes of the messages */
    const iflow_cancel *cancel; /* of the thread that asked; NULL: none */
    int64_t until;              /* processor time of this thread, ns */
    size_t n_steps = 0, n_appended = 0;
    bool cancelled = false; /* the token was seen raised */

    meter(const char *stack, size_t n_input, const iflow_cancel *cancel); /* counts for this thread from here on */
    ~meter();
    meter(const meter &) = delete;
    meter &operator=(const meter &) = delete;
    size_t longest() const; /* bytes of a string, at most */
};

/* Puts checks before the engine's functions, once a process. May throw. */
void watch_functions();

[[noreturn]] void stop_rendering(const char *why);

} // namespace iflow

#endif
