/* calibrate_items.h - questions that a model is calibrated on: of a data set, or made by the model itself over pieces of documents. */
#ifndef IFLOW_LAB_CALIBRATE_ITEMS_H
#define IFLOW_LAB_CALIBRATE_ITEMS_H

#include "cli/session.h"
#include "lab/eval_data.h"

enum {
    CALIBRATE_TOKENS = 24, /* of an answer that are compared: their logits are kept, half a megabyte each */
    CALIBRATE_CHUNKS = 4,  /* of documents that stand in a question's context */
};

typedef struct calibrate_item {
    char *question;
    document_chunks chunks;
    int32_t *token; /* [n_tokens] full prefill's answer */
    float *logits;  /* [n_tokens, n_vocab]: what it was predicted by */
    size_t n_tokens, n_context;
} calibrate_item;

typedef struct calibrate_items {
    calibrate_item *item;
    size_t n;
} calibrate_items;

/* The first `limit` questions of a data set. CLI_OK, or the exit status after a message. */
int calibrate_items_read(const char *path, size_t limit, const iflow_model *model, size_t chunk_tokens, calibrate_items *out);

/* Cuts documents and has the model write a question over each of `limit` chunks, which stand evenly apart; the chunk's neighbours are in
 * its context. Chunks for which the model writes nothing are left out. */
int calibrate_items_make(session *s, const common_options *options, bool jsonl, char **operands, size_t n_operands, size_t limit,
                         calibrate_items *out);

/* Lays an item's chunks into a context. */
iflow_status calibrate_item_lay(const calibrate_item *item, iflow_context *ctx);

/* Has full prefill answer the question and keeps what its tokens are predicted by; n_tokens stays 0 if it answers nothing. */
iflow_status calibrate_item_answer(calibrate_item *item, iflow_context *ctx, size_t n_vocab);

void calibrate_item_free(calibrate_item *item);
void calibrate_items_free(calibrate_items *items);

#endif
