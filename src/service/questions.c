/* questions.c - questions that a model is calibrated on, written by the model itself over chunks of documents. */
#include "base/base.h"
#include "base/cancel.h"
#include "service/calibration.h"

#include <stdlib.h>
#include <string.h>

static bool is_around(char c) {
    return iflow_is_space(c) || c == '"';
}

/* The first line of what the model wrote, without white space and quotes around, whatever bytes it wrote: *out, NULL if that is empty. */
static iflow_status first_line(const char *written, char **out) {
    while (is_around(*written)) {
        written++;
    }
    size_t n = strcspn(written, "\r\n");
    while (n && is_around(written[n - 1])) {
        n--;
    }
    *out = n ? iflow_utf8_replaced(written, n) : NULL;
    return n && !*out ? iflow_fail_memory(n) : IFLOW_OK;
}

/* A question over one chunk; *out NULL: the model wrote none. */
static iflow_status write_question(iflow_context *ctx, const chunk_list *all, size_t i, char **out) {
    iflow_ask_params params = iflow_ask_default_params();
    iflow_answer *answer = NULL;
    params.method = IFLOW_METHOD_FULL;
    params.max_tokens = 32;
    params.instruction = "Read the text above and write one short question that it answers. Write only the question.";
    params.question = "Which short question does the text answer?";
    iflow_context_clear(ctx);
    iflow_status status = iflow_context_add_tokens(ctx, all->token + all->start[i], chunk_list_length(all, i));
    if (status == IFLOW_OK) {
        status = iflow_context_ask(ctx, &params, &answer);
    }
    if (status == IFLOW_OK) {
        status = first_line(answer->text, out);
    }
    iflow_answer_free(answer);
    return status;
}

/* Chunk i and its neighbours; i is now first, now last, now in between. */
static iflow_status choose_context(const chunk_list *all, size_t i, size_t turn, chunk_list *out) {
    const size_t n = all->n_chunks < CALIBRATION_CHUNKS ? all->n_chunks : CALIBRATION_CHUNKS, before = turn % n;
    size_t from = i < before ? 0 : i - before;
    from = from + n > all->n_chunks ? all->n_chunks - n : from;
    iflow_status status = IFLOW_OK;
    for (size_t k = from; k < from + n && status == IFLOW_OK; k++) {
        status = chunk_list_append(out, all, k);
    }
    return status;
}

iflow_status calibration_write_items(calibration *c, const chunk_list *all, size_t limit,
                                     void (*progress)(size_t done, size_t total, void *user), void *user) {
    const size_t n_all = all->n_chunks, n = limit < n_all ? limit : n_all;
    c->item = iflow_calloc(n, sizeof *c->item);
    iflow_status status = IFLOW_OK;
    if (!c->item) {
        return iflow_fail_memory(n * sizeof *c->item);
    }
    for (size_t q = 0; q < n && status == IFLOW_OK; q++) {
        char *question = NULL;
        const size_t i = q * n_all / n;
        if (progress) {
            progress(q, n, user);
        }
        status = iflow_cancel_check();
        if (status == IFLOW_OK) {
            status = write_question(c->bare, all, i, &question);
        }
        if (status == IFLOW_OK && question) {
            calibration_item *item = &c->item[c->n_items++];
            item->question = question;
            status = choose_context(all, i, q, &item->chunks);
        }
    }
    return status;
}
