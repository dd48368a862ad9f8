/* numbers.h - whether a model's weights are finite. */
#ifndef IFLOW_MODEL_NUMBERS_H
#define IFLOW_MODEL_NUMBERS_H

#include "model/parts.h"

/* Looks at every weight of the files once. Products by 8 bits make a finite number of NaN, so that a pass cannot tell. Tells progress as
 * params want it. E_NOT_FINITE, naming the file and the tensor; E_CANCELLED, E_IO, E_MEMORY. */
iflow_status iflow_numbers_check(const iflow_parts *parts, const iflow_model_params *params);

#endif
