/* eval_data.h - the questions of a data set, and the records that an earlier run left. */
#ifndef IFLOW_LAB_EVAL_DATA_H
#define IFLOW_LAB_EVAL_DATA_H

#include "cli/options.h"

#include <jansson.h>
#include <stdio.h>

/* The context: a text to be cut (NULL: none), then passages that are a chunk each. */
typedef struct eval_question {
    char *id;
    const char *question;
    const char **answer, **passage;
    char *text;
    size_t n_answers, n_passages, line;
    size_t n_own;      /* of the passages; the others after these are distractors, whose strings other questions own */
    char *split;       /* owns the strings of passages that were split out of a context */
    json_t *object;    /* owns the other strings */
    int needle_length; /* tokens of a haystack, as they were asked for; 0: none */
    double needle_depth;
    char digest[17]; /* of all that is asked, see eval_question_digest */
} eval_question;

typedef struct eval_data {
    const char *path;
    eval_question *question;
    size_t n;
} eval_data;

/* Reads the questions, of the form {"id", "question", "answers", "passages"} or LongBench's {"_id", "input", "answers", "context"}; the
 * names may be mixed. A context is split where lines begin with "Passage 1:", "Passage 2:" and so on; without them it is a text. limit 0:
 * all. A malformed line is said as file:line, *malformed is set and the rest is used. CLI_OK, or CLI_FAILED if the file cannot be read or
 * has no question. */
int eval_data_read(const char *path, size_t limit, eval_data *out, bool *malformed);
void eval_data_free(eval_data *data);

/* Appends an object of that form, which is taken over; false after *why it is none. seen: ids that were there before, or NULL. */
bool eval_data_add(eval_data *data, json_t *object, size_t line, json_t *seen, const char **why);

/* Needles in a haystack: a fact at every depth of texts of every length, and the question for it. A text is of sentences that a grammar
 * makes out of the seed, as many as `length` tokens of the model hold with the needle, which stands where the share `depth` of them is
 * over. Nothing is drawn but from seed, length, depth and number. */
enum { NEEDLE_AXIS = 64 };
typedef struct needle_grid {
    int length[NEEDLE_AXIS];
    double depth[NEEDLE_AXIS];
    size_t n_lengths, n_depths;
    int repeat; /* questions a cell */
    uint64_t seed;
} needle_grid;

/* Fills lengths and depths. CLI_OK, or CLI_USAGE after a message that names what is wrong. */
int needle_grid_parse(const command_usage *usage, const char *lengths, const char *depths, needle_grid *out);
/* Whether every length, with n_around tokens of header, prompt and answer, fits a context. CLI_OK, or CLI_FAILED after a message. */
int needle_grid_check(const needle_grid *grid, int n_ctx, size_t n_around);
/* Makes the questions, lengths outermost, of the first `limit` cells (0: all). CLI_OK, or CLI_FAILED after a message. */
int eval_needles_make(const iflow_model *model, const needle_grid *grid, size_t limit, eval_data *out);

/* Appends to question q n passages of the others. They are drawn one by one, without putting back, from all own passages of the other
 * questions in the order of the data; the random sequence is splitmix64 from the FNV-1a hash of the question's id, so that neither the
 * limit nor the shard changes them. A passage that the question has already is passed over. CLI_OK; CLI_FAILED after a message if there are
 * not enough. */
int eval_data_add_distractors(eval_data *data, size_t q, size_t n);

/* Puts the passages of a question, distractors among them, into an order drawn by splitmix64 from the FNV-1a hash of its id, xor seed.
 * First all questions get their distractors, which are drawn from the order of the data. */
void eval_question_shuffle(eval_question *question, uint64_t seed);

/* Hashes what is asked: the question, the gold answers, the text and the passages as they will be laid, so that records of other data under
 * the same id are not taken for these. For when distractors and order are settled. */
void eval_question_digest(eval_question *question);

/* FNV-1a, 64 bits. */
uint64_t eval_hash(const char *string);

/* What makes a record another one. */
typedef struct eval_key {
    const char *id, *method, *model;
    const char *score, *geometry; /* "" for methods that don't score */
    const char *settings;         /* others that are not the defaults, as text; "" if there are none */
    const char *digest;           /* of what was asked; records of earlier versions have none, and match nothing */
    bool reorder;
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
/* Opens the file for more records. CLI_OK, or CLI_FAILED after a message. */
int eval_records_append(const char *path, FILE **out);
/* Of records with the same key the last counts. */
void eval_records_add(eval_records *records, json_t *record);
/* Borrowed; NULL if there is none. */
const json_t *eval_records_find(const eval_records *records, const eval_key *key);
void eval_records_free(eval_records *records);

#endif
