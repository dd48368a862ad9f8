/* calibrate_items.c - questions that a model is calibrated on: of a data set, or made by the model itself over pieces of documents. */
#include "lab/calibrate_items.h"

#include "cli/operands.h"
#include "cli/progress.h"
#include "cli/text.h"
#include "lab/eval_context.h"

#include <stdlib.h>

int calibrate_items_read(const char *path, size_t limit, const iflow_model *model, size_t chunk_tokens, calibration *out) {
    eval_data data = {0};
    bool malformed = false;
    int result = eval_data_read(path, limit, &data, &malformed);
    out->item = must_alloc(data.n, sizeof *out->item);
    for (size_t i = 0; i < data.n && result == CLI_OK; i++) {
        const eval_question *question = &data.question[i];
        calibration_item *item = &out->item[out->n_items++];
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

static void show_progress(size_t done, size_t total, void *user) {
    const double *start = user, left = (double)(total - done);
    progress_show((double)done / (double)total, done ? (now_seconds() - *start) / (double)done * left : -1, "writing questions", "");
}

int calibrate_items_make(const session *s, const common_options *options, bool jsonl, char **operands, size_t n_operands, size_t limit,
                         calibration *out) {
    chunk_list all = {0};
    const int result = operands_chunks(s->model, cli_session_chunk_tokens(options), jsonl, operands, n_operands, &all);
    double start = now_seconds();
    const iflow_status status = result == CLI_OK ? calibration_write_items(out, &all, limit, show_progress, &start) : IFLOW_OK;
    chunk_list_free(&all);
    return status == IFLOW_OK ? result : cli_failed(status, "writing a question");
}
