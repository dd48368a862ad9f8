/* behind.c - the generic text that chunks can be prefilled behind. */
#include "flow/behind.h"

#include <stdlib.h>
#include <string.h>

enum { N_TEXT = 160 }; /* tokens of it that are used */

/* Part of the identity of all chunks prefilled behind it: a changed word is another text, and its chunks have to be computed again. */
static const char text[] =
    "The following pages collect short notes on many subjects. They were written at different times and by different hands, and nothing in "
    "one of them depends on another. Some describe a place or a person, some explain how a thing is made, some report what happened on a "
    "certain day. A reader may begin anywhere, skip what is of no interest, and come back later. Where a note gives a number or a name, it "
    "holds for that note alone. No order is intended: a remark about the weather can stand beside the account of a journey, a recipe "
    "beside the history of a bridge. Most are a few sentences long, a few go on for a page or more. Sources are named where they were "
    "known. Small mistakes have been left as they were found, since it was not always clear what had been meant. Words in other languages "
    "are given with a translation when one was at hand. The collection is not complete, and more notes are added from time to time.\n\n";

iflow_status iflow_lead_make(const iflow_model *model, iflow_lead lead, iflow_tokens *out) {
    const size_t n_sink = lead == IFLOW_LEAD_NONE ? 0 : model->n_sink;
    int32_t *generic = NULL, *token = NULL;
    size_t n_text = 0;
    iflow_status status = lead == IFLOW_LEAD_TEXT ? iflow_tokenize(model, text, strlen(text), false, &generic, &n_text) : IFLOW_OK;
    if (status) {
        return status;
    }
    n_text = n_text > N_TEXT ? N_TEXT : n_text;
    token = iflow_calloc(n_sink + n_text, sizeof *token);
    if (!token) {
        status = iflow_fail_memory((n_sink + n_text) * sizeof *token);
        goto cleanup;
    }
    memcpy(token, n_sink ? model->sink : token, n_sink * sizeof *token);
    memcpy(token + n_sink, n_text ? generic : token, n_text * sizeof *token);
    *out = (iflow_tokens){token, n_sink + n_text};

cleanup:
    free(generic);
    return status;
}
