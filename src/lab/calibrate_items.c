/* calibrate_items.c - questions that a model is calibrated on: of a data set, or made by the model itself over pieces of documents. */
#include "lab/calibrate_items.h"

#include "cli/progress.h"
#include "cli/text.h"
#include "lab/eval_context.h"

#include <stdlib.h>
#include <string.h>

int calibrate_items_read(const char *path, size_t limit, const iflow_model *model, size_t chunk_tokens, calibrate_items *out) {
    eval_data data = {0};
    bool malformed = false;
    int result = eval_data_read(path, limit, &data, &malformed);
    out->item = must_alloc(data.n, sizeof *out->item);
    for (size_t i = 0; i < data.n && result == CLI_OK; i++) {
        const eval_question *question = &data.question[i];
        calibrate_item *item = &out->item[out->n++];
        item->question = text_format("%s", question->question);
        const iflow_status status = eval_context_cut(model, question, chunk_tokens, &item->chunks);
        if (status != IFLOW_OK) {
            char *what = text_format("%s:%zu", path, question->line);
            result = cli_failed(status, what);
            free(what);
        }
    }
    eval_data_free(&data);
    return result == CLI_OK && malformed ? CLI_FAILED : result;
}

iflow_status calibrate_item_lay(const calibrate_item *item, iflow_context *ctx) {
    iflow_context_clear(ctx);
    return document_chunks_lay(&item->chunks, ctx);
}

iflow_status calibrate_item_answer(calibrate_item *item, iflow_context *ctx, size_t n_vocab) {
    iflow_ask_params params = iflow_ask_default_params();
    iflow_answer *full = NULL;
    params.question = item->question;
    params.method = IFLOW_METHOD_FULL;
    params.max_tokens = CALIBRATE_TOKENS;
    iflow_status status = calibrate_item_lay(item, ctx);
    if (status == IFLOW_OK)
        status = iflow_context_ask(ctx, &params, &full);
    if (status != IFLOW_OK)
        return status;
    item->n_context = full->n_context;
    if (full->n_generated) { /* replayed like everybody's, so that both sides of a comparison were computed in the same way */
        item->logits = must_alloc(full->n_generated * n_vocab, sizeof *item->logits);
        status = iflow_context_replay(ctx, full->token, full->n_generated, item->logits);
        item->n_tokens = full->n_generated;
        item->token = full->token;
        full->token = NULL;
    }
    iflow_answer_free(full);
    return status;
}

/* ---- Questions that the model writes ------------------------------------------------------------------------------------------------ */

static void append_chunk(document_chunks *to, const document_chunks *from, size_t i) {
    document_chunks_add(to, from->token + from->start[i], from->start[i + 1] - from->start[i]);
}

/* The first line of what the model wrote, without white space around, whatever bytes it wrote; NULL if that is empty. */
static char *first_line(const char *written) {
    written += strspn(written, " \t\r\n\"");
    size_t n = strcspn(written, "\r\n");
    while (n && strchr(" \t\"", written[n - 1]))
        n--;
    return n ? text_utf8(written, n) : NULL;
}

/* A question over one chunk; *out NULL: the model wrote none. */
static iflow_status write_question(iflow_context *ctx, const document_chunks *all, size_t i, char **out) {
    iflow_ask_params params = iflow_ask_default_params();
    iflow_answer *answer = NULL;
    params.method = IFLOW_METHOD_FULL;
    params.max_tokens = 32;
    params.instruction = "Read the text above and write one short question that it answers. Write only the question.";
    params.question = "Which short question does the text answer?";
    iflow_context_clear(ctx);
    iflow_status status = iflow_context_add_tokens(ctx, all->token + all->start[i], all->start[i + 1] - all->start[i]);
    if (status == IFLOW_OK)
        status = iflow_context_ask(ctx, &params, &answer);
    *out = answer ? first_line(answer->text) : NULL;
    iflow_answer_free(answer);
    return status;
}

/* Chunk i and its neighbours; i is now first, now last, now in between. */
static void choose_context(const document_chunks *all, size_t i, size_t turn, document_chunks *out) {
    const size_t n = all->n_chunks < CALIBRATE_CHUNKS ? all->n_chunks : CALIBRATE_CHUNKS, before = turn % n;
    size_t from = i < before ? 0 : i - before;
    from = from + n > all->n_chunks ? all->n_chunks - n : from;
    for (size_t c = from; c < from + n; c++)
        append_chunk(out, all, c);
}

int calibrate_items_make(session *s, const common_options *options, bool jsonl, char **operands, size_t n_operands, size_t limit,
                         calibrate_items *out) {
    document_chunks all = {0};
    int result = document_chunks_read(s->model, session_chunk_tokens(options), jsonl, operands, n_operands, &all);
    const size_t n_all = all.n_chunks, n = limit < n_all ? limit : n_all;
    out->item = must_alloc(n, sizeof *out->item);
    const double start = now_seconds();
    for (size_t q = 0; q < n && result == CLI_OK; q++) {
        char *question = NULL;
        progress_show((double)q / (double)n, q ? (now_seconds() - start) / (double)q * (double)(n - q) : -1, "writing questions", "");
        const size_t i = q * n_all / n;
        const iflow_status status = write_question(s->ctx, &all, i, &question);
        if (status != IFLOW_OK)
            result = cli_failed(status, "writing a question");
        else if (question) {
            out->item[out->n].question = question;
            choose_context(&all, i, q, &out->item[out->n++].chunks);
        }
    }
    document_chunks_free(&all);
    return result;
}

void calibrate_item_free(calibrate_item *item) {
    free(item->question);
    iflow_free(item->token);
    free(item->logits);
    document_chunks_free(&item->chunks);
    *item = (calibrate_item){0};
}

void calibrate_items_free(calibrate_items *items) {
    for (size_t i = 0; i < items->n; i++)
        calibrate_item_free(&items->item[i]);
    free(items->item);
    *items = (calibrate_items){0};
}
