/* calibrate_items.h - questions that a model is calibrated on: of a data set, or made by the model itself over pieces of documents. */
#ifndef IFLOW_LAB_CALIBRATE_ITEMS_H
#define IFLOW_LAB_CALIBRATE_ITEMS_H

#include "cli/session.h"
#include "service/calibration.h"

/* The first `limit` questions of a data set. CLI_OK, or the exit status after a message. */
int calibrate_items_read(const char *path, size_t limit, const iflow_model *model, size_t chunk_tokens, calibration *out);

/* Cuts documents and has the model write questions over their chunks, `limit` at most. CLI_OK, or the exit status after a message. */
int calibrate_items_make(const session *s, const common_options *options, bool jsonl, char **operands, size_t n_operands, size_t limit,
                         calibration *out);

#endif
