/* identity.h - what a model is: the hash of all bytes of its files, computed once and remembered. */
#ifndef IFLOW_MODEL_IDENTITY_H
#define IFLOW_MODEL_IDENTITY_H

#include "model/parts.h"

/* XXH3 of 128 bits over all bytes of all parts, in order. It is remembered, by path and what the file system says of the files, in the
 * directory that params say, so that it is computed once; that it can't be is a warning. E_IO, E_CANCELLED, E_MEMORY. */
iflow_status iflow_identity(const iflow_parts *parts, const iflow_model_params *params, char hex[IFLOW_ID_SIZE]);

#endif
