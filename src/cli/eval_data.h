/* eval_data.h - the questions of a data set, and the records that an earlier run left. */
#ifndef IFLOW_CLI_EVAL_DATA_H
#define IFLOW_CLI_EVAL_DATA_H

#include "documents.h"

#include <jansson.h>

typedef struct eval_question {
    char *id;
    const char *question;
    const char **answer, **passage;
    size_t n_answers, n_passages, line;
    json_t *object; /* owns the strings */
} eval_question;

typedef struct eval_data {
    const char *path;
    eval_question *question;
    size_t n;
} eval_data;

/* Reads the questions; limit 0: all. A malformed line is said as file:line, *malformed is set and the rest is used. CLI_OK, or CLI_FAILED
 * if the file cannot be read or has no question. */
int eval_data_read(const char *path, size_t limit, eval_data *out, bool *malformed);
void eval_data_free(eval_data *data);

/* What makes a record another one. */
typedef struct eval_key {
    const char *id, *method, *score, *model; /* score: "" for methods that don't score */
    double ratio;
    int distractors;
} eval_key;

/* Records by what was asked. */
typedef struct eval_records {
    json_t *by_key; /* object: key to record */
} eval_records;

/* Reads the records of a file; no file is no record. A last line without an end, which a crash leaves, is taken off the file; any other
 * malformed line is said as file:line and fails, as the file may not be one of ours. */
int eval_records_read(const char *path, eval_records *out);
/* Of records with the same key the last counts. */
void eval_records_add(eval_records *records, json_t *record);
/* Borrowed; NULL if there is none. */
const json_t *eval_records_find(const eval_records *records, const eval_key *key);
void eval_records_free(eval_records *records);

#endif
