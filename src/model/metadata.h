/* metadata.h - a reader of one model's metadata keys, all of which begin with "<architecture>.". */
#ifndef IFLOW_MODEL_METADATA_H
#define IFLOW_MODEL_METADATA_H

#include "base/base.h"

struct gguf_context;

/* The first failure sticks in status, and what is read afterwards is a number that does no harm. */
typedef struct iflow_metadata {
    const struct gguf_context *gguf;
    const char *path, *arch; /* for messages; of the keys */
    iflow_status status;
} iflow_metadata;

/* A number, `fallback` if the key is absent. An array with a number for every layer counts as one when all are equal. E_FORMAT,
 * E_UNSUPPORTED
 */
double iflow_metadata_number(iflow_metadata *meta, const char *key, double fallback);

/* A whole number from 1 to max; fallback 0 makes the key required. */
int iflow_metadata_count(iflow_metadata *meta, const char *key, int fallback, int max);

const char *iflow_metadata_string(iflow_metadata *meta, const char *key, const char *fallback);

/* An array of n true or false (bool, or numbers) to out; false where the key is absent or no array. E_FORMAT where it has another length.
 */
bool iflow_metadata_flags(iflow_metadata *meta, const char *key, bool *out, int n);

/* E_UNSUPPORTED where a key is there: `what` this version does not compute. */
void iflow_metadata_refuse(iflow_metadata *meta, const char *key, const char *what);

#endif
