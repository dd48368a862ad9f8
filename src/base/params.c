/* params.c - structs of parameters that begin with their size, as callers of any version pass them. */
#include "base/params.h"

#include <string.h>

iflow_status iflow_params_take(void *own, size_t own_size, const void *given, const char *name) {
    if (!given) {
        return IFLOW_OK;
    }
    size_t size = 0;
    memcpy(&size, given, sizeof size);
    if (size <= sizeof size) {
        return iflow_fail(IFLOW_E_ARG, "size of %s is %zu: begin from its default parameters", name, size);
    }
    for (size_t i = own_size; i < size; i++) {
        if (((const char *)given)[i]) {
            return iflow_fail(IFLOW_E_ARG, "%s of %zu bytes has a field set that this library (%s, %zu bytes) does not know", name, size,
                              iflow_version(), own_size);
        }
    }
    memcpy(own, given, size < own_size ? size : own_size);
    memcpy(own, &own_size, sizeof own_size);
    return IFLOW_OK;
}
