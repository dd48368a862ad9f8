/* guarded.h - for C++ alone: a call whose exceptions become a status and a message. */
#ifndef IFLOW_MODEL_GUARDED_H
#define IFLOW_MODEL_GUARDED_H

#include "model/calls.h"

#include <cstdio>
#include <exception>
#include <new>

namespace iflow {

inline void note(iflow_call_error *error, iflow_status status, const char *why) noexcept {
    error->status = status;
    std::snprintf(error->why, sizeof error->why, "%s", why);
}

/* Runs a call. Memory that it lacks is E_MEMORY; what else it throws is `other`. */
template <typename Call> void guard(iflow_call_error *error, iflow_status other, Call call) noexcept {
    error->status = IFLOW_OK;
    try {
        call();
    } catch (const std::bad_alloc &) {
        note(error, IFLOW_E_MEMORY, "out of memory");
    } catch (const std::exception &e) {
        note(error, other, e.what());
    } catch (...) {
        note(error, other, "an exception of no known type");
    }
}

template <typename Call> iflow_status guarded(const char *what, iflow_status other, Call call) noexcept {
    iflow_call_error error;
    guard(&error, other, call);
    return error.status ? iflow_call_failed(&error, what) : IFLOW_OK;
}

} // namespace iflow

#endif
