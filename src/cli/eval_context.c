/* eval_context.c - the chunks of a question's context: what is asked, and what a report draws, comes from here. */
#include "eval_context.h"

#include "text.h"

#include <stdlib.h>
#include <string.h>

iflow_status eval_context_cut(const iflow_model *model, const eval_question *question, size_t chunk_tokens, document_chunks *out) {
    iflow_status status = IFLOW_OK;
    document_chunks chunks = {0};
    *out = (document_chunks){0};
    if (question->text) {
        char *part = question->text;
        size_t n_bytes = strlen(part);
        status = document_cut(model, &(document){.part = &part, .part_bytes = &n_bytes, .n_parts = 1}, chunk_tokens, out);
    }
    for (size_t i = 0; status == IFLOW_OK && i < question->n_passages; i++) {
        char *passage = passage_text(i + 1, question->passage[i]);
        size_t n_bytes = strlen(passage);
        status = document_cut(model, &(document){.part = &passage, .part_bytes = &n_bytes, .n_parts = 1, .passages = true}, chunk_tokens,
                              &chunks);
        for (size_t c = 0; c < chunks.n_chunks; c++)
            document_chunks_add(out, chunks.token + chunks.start[c], chunks.start[c + 1] - chunks.start[c]);
        document_chunks_free(&chunks);
        free(passage);
    }
    if (status != IFLOW_OK)
        document_chunks_free(out);
    return status;
}

/* Counts the tokens of a text; NULL has none. */
static iflow_status count(const iflow_model *model, const char *string, size_t *n) {
    int32_t *token = NULL;
    const iflow_status status = string ? iflow_tokenize(model, string, strlen(string), false, &token, n) : IFLOW_OK;
    iflow_free(token);
    return status;
}

/* Asks over one token, in a context that is smaller by all others: the library refuses it if and only if it would refuse them. Costs a pass
 * over the prompt. */
static iflow_status ask_in_less(const session *s, const common_options *options, const document_chunks *chunks,
                                const iflow_ask_params *params, size_t n_ctx) {
    iflow_context *ctx = NULL;
    iflow_answer *answer = NULL;
    iflow_ask_params probe = *params;
    probe.method = IFLOW_METHOD_NONE;
    probe.drift = probe.correct = IFLOW_OFF;
    probe.max_tokens = 1;
    probe.on_text = NULL;
    const iflow_context_params small = {.n_ctx = (int)n_ctx, .n_ubatch = options->ubatch, .n_threads = options->threads, .alone = true};
    iflow_status status = iflow_context_new(s->model, NULL, &small, &ctx);
    if (status == IFLOW_OK)
        status = iflow_context_add_tokens(ctx, chunks->token, 1);
    if (status == IFLOW_OK)
        status = iflow_context_ask(ctx, &probe, &answer);
    iflow_answer_free(answer);
    iflow_context_free(ctx);
    return status;
}

iflow_status eval_context_fits(const session *s, const common_options *options, const document_chunks *chunks,
                               const iflow_ask_params *params, char **why) {
    enum { AROUND = 512 }; /* what templates and the general instruction have at most */
    const size_t n_ctx = (size_t)(options->ctx ? options->ctx : s->info.n_ctx_train);
    const size_t n = chunks->n_chunks ? chunks->start[chunks->n_chunks] : 0;
    size_t n_question = 0, n_system = 0, n_instruction = 0;
    iflow_status status = count(s->model, params->question, &n_question);
    if (status == IFLOW_OK)
        status = count(s->model, params->system, &n_system);
    if (status == IFLOW_OK)
        status = count(s->model, params->instruction, &n_instruction);
    if (status != IFLOW_OK || n + n_question + n_system + n_instruction + AROUND < n_ctx || n == 0)
        return status;
    if (n + n_question < n_ctx) /* it is close: how long head and prompt are exactly, the library knows */
        status = ask_in_less(s, options, chunks, params, n_ctx - n + 1);
    else
        status = IFLOW_E_CONTEXT;
    if (status == IFLOW_E_CONTEXT)
        *why = text_format("%zu tokens of passages and %zu of the question, with what stands around them, are more than the context of %zu "
                           "holds; leave out passages%s",
                           n, n_question, n_ctx, options->ctx ? ", or give a greater --ctx" : "");
    return status;
}
