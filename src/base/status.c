/* status.c - status codes, the message of the last failure, and the log. */
#include "base/base.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MESSAGE_SIZE 1024

static _Thread_local char last_message[MESSAGE_SIZE];

static iflow_log_fn log_fn;
static void *log_user;

const char *iflow_status_string(iflow_status status) {
    switch (status) {
#define STATUS_CASE(name, value, sentence)                                                                                                 \
    case IFLOW_##name:                                                                                                                     \
        return sentence;
        IFLOW_STATUS_LIST(STATUS_CASE)
#undef STATUS_CASE
    }
    return "unknown status";
}

const char *iflow_error_message(void) {
    return last_message;
}

const char *iflow_version(void) {
    return IFLOW_VERSION;
}

void iflow_free(void *memory) {
    free(memory);
}

iflow_status iflow_fail(iflow_status status, const char *format, ...) {
    char message[MESSAGE_SIZE]; /* an argument may be the last message itself */
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    memcpy(last_message, message, sizeof message);
    return status;
}

iflow_status iflow_fail_memory(size_t n_bytes) {
    return iflow_fail(IFLOW_E_MEMORY, "out of memory: cannot allocate %zu bytes", n_bytes);
}

bool iflow_missing(const char *function, const char *name, const void *pointer) {
    if (!pointer) {
        iflow_fail(IFLOW_E_ARG, "%s: %s is NULL", function, name);
    }
    return !pointer;
}

iflow_status iflow_fail_in(iflow_status status, const char *format, ...) {
    char prefix[MESSAGE_SIZE / 2];
    va_list args;
    va_start(args, format);
    vsnprintf(prefix, sizeof prefix, format, args);
    va_end(args);
    return iflow_fail(status, "%s: %s", prefix, last_message);
}

void iflow_set_log(iflow_log_fn fn, void *user) {
    log_fn = fn;
    log_user = user;
}

void iflow_log(iflow_log_level level, const char *format, ...) {
    if (!log_fn) {
        return;
    }
    char message[MESSAGE_SIZE];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    log_fn(level, message, log_user);
}
