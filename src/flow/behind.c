/* behind.c - the generic text that chunks can be prefilled behind. */
#include "flow/behind.h"

#include <stdlib.h>
#include <string.h>

enum { N_TEXT = 160 }; /* tokens of it that are used */

/* Short articles about nothing that is: passages of this kind measured better than one text about itself (docs/RESULTS.md). Part of the
 * identity of all chunks prefilled behind it: a changed word is another text, and its chunks have to be computed again. */
static const char text[] =
    "Tallow Bridge\n"
    "Tallow Bridge is a stone road bridge of three arches over the river Orne, built between 1764 and 1771 by the mason Peter "
    "Halden. It carried the post road to the coast until a wider crossing was opened upstream in 1932. The bridge was damaged by "
    "floods twice, and its parapets were renewed in 1958. Today only walkers and cyclists may use it.\n"
    "\n"
    "Anna Lindqvist\n"
    "Anna Maria Lindqvist (4 May 1887 - 19 October 1961) was a chemist and teacher. After her studies she worked for eight years in "
    "the laboratory of a sugar factory, where she developed a method for measuring impurities in syrup. From 1921 she taught at a "
    "school for girls, and she wrote two textbooks that remained in print until the 1950s. She never married, and left her library "
    "to the town.\n"
    "\n"
    "The Glass Orchard\n"
    "The Glass Orchard is a 1996 drama film directed by Tomas Ferrer from a screenplay by Ruth Calloway. It follows three sisters "
    "who return to the farm of their late father and find that it has been sold. The film was shot in eleven weeks in the south of "
    "the country and received mixed reviews, with praise for its photography and for the performance of the youngest of the leads.\n"
    "\n";

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
