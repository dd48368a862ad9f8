/* template_engine.h - for C++ alone: what the files over the distribution's Jinja engine and JSON schema converter share. */
#ifndef IFLOW_MODEL_TEMPLATE_ENGINE_H
#define IFLOW_MODEL_TEMPLATE_ENGINE_H

#include "model/guarded.h"

#include "model/stack.h"

#include <cstring>
#include <stdexcept>

namespace iflow {

constexpr int MAX_NESTING = 100;   /* brackets in a template or a schema, and of values in one another */
constexpr size_t STACK = 64 << 20; /* bytes, for parsing; only what is used takes memory */

/* What the engine says, without its picture of the source. */
inline const char *engine_reason(const char *what) {
    static const char mark[] = "Error: ";
    for (const char *at; (at = strstr(what, mark));) {
        what = at + sizeof mark - 1;
    }
    return what;
}

/* guard() for calls of the engine, which wraps what goes through it, memory that it lacks too. */
template <typename Call> void guard_engine(iflow_call_error *error, iflow_status otherwise, Call call) noexcept {
    guard(error, otherwise, [&call] {
        try {
            call();
        } catch (const std::exception &e) {
            if (strstr(e.what(), "bad_alloc")) {
                throw std::bad_alloc();
            }
            throw std::runtime_error(engine_reason(e.what()));
        }
    });
}

/* Runs a job (run(), and an iflow_call_error `error`) on a stack that its recursion fits. */
template <typename Job> iflow_status on_stack(size_t n_bytes, const char *what, Job *job) {
    const iflow_status status = iflow_on_stack(
        n_bytes, [](void *user) { static_cast<Job *>(user)->run(); }, job);
    return status ? status : job->error.status ? iflow_call_failed(&job->error, what) : IFLOW_OK;
}

} // namespace iflow

#endif
