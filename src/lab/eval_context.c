/* eval_context.c - the chunks of a question's context: what is asked, and what a report draws, comes from here. */
#include "lab/eval_context.h"

#include "cli/text.h"
#include "service/documents.h"

#include <stdlib.h>
#include <string.h>

iflow_status eval_context_cut(const iflow_model *model, const eval_question *question, size_t chunk_tokens, chunk_list *out) {
    iflow_status status = IFLOW_OK;
    chunk_list chunks = {0};
    *out = (chunk_list){0};
    if (question->text) {
        char *part = question->text;
        size_t n_bytes = strlen(part);
        status = document_cut(model, &(document){.part = &part, .part_bytes = &n_bytes, .n_parts = 1}, chunk_tokens, out);
    }
    for (size_t i = 0; status == IFLOW_OK && i < question->n_passages; i++) {
        char *passage = passage_text(i + 1, question->passage[i]);
        size_t n_bytes = passage ? strlen(passage) : 0;
        must(passage ? IFLOW_OK : IFLOW_E_MEMORY);
        status = document_cut(model, &(document){.part = &passage, .part_bytes = &n_bytes, .n_parts = 1, .passages = true}, chunk_tokens,
                              &chunks);
        for (size_t c = 0; c < chunks.n_chunks; c++) {
            must(chunk_list_append(out, &chunks, c));
        }
        chunk_list_free(&chunks);
        free(passage);
    }
    if (status != IFLOW_OK) {
        chunk_list_free(out);
    }
    return status;
}
