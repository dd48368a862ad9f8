/* behind.h - what stands before a chunk while it is prefilled, and is dropped again. */
#ifndef IFLOW_FLOW_BEHIND_H
#define IFLOW_FLOW_BEHIND_H

#include "flow/prompt.h"

typedef enum iflow_lead {
    IFLOW_LEAD_NONE, /* nothing: the head, which holds its sink */
    IFLOW_LEAD_SINK, /* the sink tokens */
    IFLOW_LEAD_TEXT, /* the sink tokens and a text that has to do with nothing: the chunk's tokens are not the first of a document then */
    IFLOW_N_LEADS,
} iflow_lead;

/* The tokens of a lead under a model. free(out->token). E_MEMORY. */
iflow_status iflow_lead_make(const iflow_model *model, iflow_lead lead, iflow_tokens *out);

#endif
