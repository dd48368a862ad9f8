/* params.h - whether what a caller asks for is possible, before anything is done. */
#ifndef IFLOW_FLOW_PARAMS_H
#define IFLOW_FLOW_PARAMS_H

#include "flow/timeline.h"

enum { IFLOW_MOST_LAST_N = 1 << 20 }; /* tokens that penalties look at */

/* first: of a question, whose context is assembled; else of a follow-up, for which less counts. E_ARG; E_FORMAT for text that is no UTF-8.
 */
iflow_status iflow_params_check(const iflow_timeline *t, const iflow_ask_params *params, bool first);

#endif
