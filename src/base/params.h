/* params.h - structs of parameters that begin with their size, as callers of any version pass them. */
#ifndef IFLOW_BASE_PARAMS_H
#define IFLOW_BASE_PARAMS_H

#include "base/base.h"

/* Fills own, of own_size bytes, which has the defaults, from the caller's struct, which begins with its size; NULL: nothing. name: of the
 * struct. E_ARG: the size is less than a size takes, or a field is set that own does not have. */
iflow_status iflow_params_take(void *own, size_t own_size, const void *given, const char *name);

#endif
