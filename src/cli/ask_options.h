/* ask_options.h - what `ask` and `chat` share: their options, and the answer as it comes. */
#ifndef IFLOW_CLI_ASK_OPTIONS_H
#define IFLOW_CLI_ASK_OPTIONS_H

#include "cli/session.h"
#include "service/gathering.h"

typedef struct ask_options {
    ask_settings set;
    const char *grammar, *json_schema; /* files; NULL: none */
    const char *given;                 /* the file of method given; NULL: none, as where a command does not take it */
    bool jsonl;
} ask_options;

ask_options ask_options_default(void);

/* Reads the files that options name, before a model is loaded. CLI_OK, or the exit status after a message. Free them either way. */
int ask_options_read(const command_usage *usage, ask_options *options);
void ask_options_free(ask_options *options);

/* How much is recomputed, besides the ratio. */
#define OPTION_ROWS_BUDGET(o)                                                                                                              \
    {'\0',                                                                                                                                 \
     "coverage",                                                                                                                           \
     "C",                                                                                                                                  \
     OPTION_REAL,                                                                                                                          \
     &(o).set.coverage,                                                                                                                    \
     0,                                                                                                                                    \
     1,                                                                                                                                    \
     "instead of a ratio: recompute the best tokens until they have this share of the sum of all scores"},                                 \
        {'\0', "min-ratio", "R", OPTION_REAL, &(o).set.min_ratio, 0, 1, "with --coverage: recompute at least this share (default: 0.05)"}, \
        {'\0', "max-ratio", "R", OPTION_REAL, &(o).set.max_ratio, 0, 1, "with --coverage: recompute at most this share (default: 0.3)"}, { \
        '\0', "staleness-share", "F", OPTION_REAL, &(o).set.staleness_share, 0, 1,                                                         \
            "method union: the part of the recomputed tokens that estimated staleness chooses (default: 0.667)"                            \
    }

/* What becomes of the tokens that are not recomputed. */
#define OPTION_ROWS_DRIFT(o)                                                                                                               \
    {                                                                                                                                      \
        '\0', "drift", "auto|on|off", OPTION_CHOICE, &(o).set.drift, 0, 0,                                                                 \
            "add the drift of a chunk, which its recomputed tokens show, to the keys of its other tokens (default: auto: `infoflow "       \
            "methods` tells the methods that do)"                                                                                          \
    }

/* The names of all methods, scores and geometries, "a|b|c". They stay. */
const char *ask_methods(void);
const char *ask_scores(void);
const char *ask_geometries(void);
/* The methods of a command that takes no --given. */
const char *ask_methods_of_chat(void);

/* How a method looks at the context from the question. */
#define OPTION_ROWS_SCORING(o)                                                                                                             \
    {'\0',                                                                                                                                 \
     "score",                                                                                                                              \
     ask_scores(),                                                                                                                         \
     OPTION_CHOICE,                                                                                                                        \
     &(o).set.score,                                                                                                                       \
     0,                                                                                                                                    \
     0,                                                                                                                                    \
     "how the score of a token is computed; `infoflow methods` explains each (default: norm)"},                                            \
        {'\0',                                                                                                                             \
         "geometry",                                                                                                                       \
         ask_geometries(),                                                                                                                 \
         OPTION_CHOICE,                                                                                                                    \
         &(o).set.geometry,                                                                                                                \
         0,                                                                                                                                \
         0,                                                                                                                                \
         "positions of keys and text while tokens are scored; `infoflow methods` explains each (default: global)"},                        \
        {'\0',                                                                                                                             \
         "reorder",                                                                                                                        \
         NULL,                                                                                                                             \
         OPTION_FLAG,                                                                                                                      \
         &(o).set.reorder,                                                                                                                 \
         0,                                                                                                                                \
         0,                                                                                                                                \
         "move the chunks with the best scores to the end, next to the question, before tokens are recomputed"},                           \
        {'\0',                                                                                                                             \
         "score-layers",                                                                                                                   \
         "LIST",                                                                                                                           \
         OPTION_LAYERS,                                                                                                                    \
         &(o).set.layers,                                                                                                                  \
         0,                                                                                                                                \
         0,                                                                                                                                \
         "layers that give the scores, separated by commas: a number from 0, like 13; from the end, like -9; or a part of the depth, "     \
         "like 0.55 (default: 0.55,0.575,0.6,0.625)"},                                                                                     \
    {                                                                                                                                      \
        '\0', "score-text", "question|prompt", OPTION_CHOICE, &(o).set.score_text, 0, 0,                                                   \
            "the text whose attention gives the scores (default: question)"                                                                \
    }

/* What is asked every day. methods: "a|b|c". */
#define OPTION_ROWS_EVERY_DAY(o, methods)                                                                                                  \
    {'r', "ratio", "R", OPTION_REAL, &(o).set.ratio, 0, 1, "share of the tokens to recompute (default: 0.15)"},                            \
        {'\0',                                                                                                                             \
         "method",                                                                                                                         \
         methods,                                                                                                                          \
         OPTION_CHOICE,                                                                                                                    \
         &(o).set.method,                                                                                                                  \
         0,                                                                                                                                \
         0,                                                                                                                                \
         "how these tokens are chosen (default: infoflow)\n`infoflow methods` explains each"},                                             \
    {                                                                                                                                      \
        'n', "max-tokens", "N", OPTION_INT, &(o).set.max_tokens, 1, 1 << 20, "most tokens of the answer (default: 256)"                    \
    }
/* Which tokens are recomputed, and what becomes of the others. */
#define OPTION_ROWS_REPAIR(o) OPTION_ROWS_BUDGET(o), OPTION_ROWS_SCORING(o), OPTION_ROWS_DRIFT(o)
#define OPTION_ROW_SYSTEM(o)                                                                                                               \
    {                                                                                                                                      \
        '\0', "system", "TEXT", OPTION_WORDS, &(o).set.system, 0, 0,                                                                       \
            "system message; \"\" is none\nDefault: that of the model's chat template, if it has one"                                      \
    }
/* How the answer is generated. */
#define OPTION_ROWS_QUESTION(o)                                                                                                            \
    { '\0', "instruction", "TEXT", OPTION_WORDS, &(o).set.instruction, 0, 0, "text before the question (default: a general instruction)" }

/* How the answer's tokens are drawn, with their heading. */
#define OPTION_ROWS_SAMPLING(o)                                                                                                            \
    {0, NULL, NULL, OPTION_FLAG, NULL, 0, 0, "Sampling"}, {'\0',                                                                           \
                                                           "temp",                                                                         \
                                                           "T",                                                                            \
                                                           OPTION_REAL,                                                                    \
                                                           &(o).set.temperature,                                                           \
                                                           0,                                                                              \
                                                           100,                                                                            \
                                                           "temperature; 0 is greedy: always the most likely token (default: 0)"},         \
        {'\0', "seed", "N", OPTION_SEED, &(o).set.seed, 0, 0, "seed: the same seed gives the same answer (default: 0)"},                   \
        {'\0', "top-k", "N", OPTION_INT, &(o).set.top_k, 0, 1 << 30, "draw among the N most likely tokens; 0: among all (default: 0)"},    \
        {'\0',           "top-p", "P", OPTION_REAL,                                                                                        \
         &(o).set.top_p, 0,       1,   "draw among the fewest tokens with probability P together (default: 1, all)"},                      \
        {'\0',           "min-p", "P", OPTION_REAL,                                                                                        \
         &(o).set.min_p, 0,       1,   "draw among tokens at least P times as likely as the best (default: 0, all)"},                      \
        {'\0',                                                                                                                             \
         "repeat-penalty",                                                                                                                 \
         "X",                                                                                                                              \
         OPTION_REAL,                                                                                                                      \
         &(o).set.repeat_penalty,                                                                                                          \
         0.1,                                                                                                                              \
         10,                                                                                                                               \
         "make tokens that the answer has less likely: X above 1 does, below 1 the opposite (default: 1, off)"},                           \
        {'\0',                                                                                                                             \
         "presence-penalty",                                                                                                               \
         "X",                                                                                                                              \
         OPTION_SIGNED,                                                                                                                    \
         &(o).set.presence_penalty,                                                                                                        \
         -2,                                                                                                                               \
         2,                                                                                                                                \
         "take X from the logit of tokens that the answer has (default: 0)"},                                                              \
        {'\0',                                                                                                                             \
         "frequency-penalty",                                                                                                              \
         "X",                                                                                                                              \
         OPTION_SIGNED,                                                                                                                    \
         &(o).set.frequency_penalty,                                                                                                       \
         -2,                                                                                                                               \
         2,                                                                                                                                \
         "take X from a token's logit for each time that the answer has it (default: 0)"},                                                 \
        {'\0',                                                                                                                             \
         "penalty-last-n",                                                                                                                 \
         "N",                                                                                                                              \
         OPTION_INT,                                                                                                                       \
         &(o).set.penalty_last_n,                                                                                                          \
         0,                                                                                                                                \
         1 << 20,                                                                                                                          \
         "penalties look at the answer's last N tokens (default: all)"},                                                                   \
        {'\0', "grammar", "FILE", OPTION_TEXT, &(o).grammar, 0, 0, "the answer is a sentence of this grammar, in GBNF (default: none)"},   \
        {'\0',                                                                                                                             \
         "json-schema",                                                                                                                    \
         "FILE",                                                                                                                           \
         OPTION_TEXT,                                                                                                                      \
         &(o).json_schema,                                                                                                                 \
         0,                                                                                                                                \
         0,                                                                                                                                \
         "the answer is JSON that this JSON schema allows (default: none)"},                                                               \
    {                                                                                                                                      \
        '\0', "stop", "TEXT", OPTION_STOPS, &(o).set.stop, 0, 0, "end the answer before this text; up to 16 times (default: none)"         \
    }

/* Notes which settings the command line gives, by the names of their options. */
void ask_options_note_given(ask_options *options);

/* The same, and checks them. CLI_OK, or CLI_USAGE after a message on options that contradict one another or that none of these
 * methods uses. */
int ask_options_check(const command_usage *usage, ask_options *options, const common_options *common, const iflow_method *method,
                      size_t n_methods);

/* On a terminal, shows that something is being done until the first piece of the answer comes. */
void stream_waiting(const context_documents *documents, bool off);

/* Streams an answer to standard output. */
typedef struct stream {
    bool failed; /* standard output cannot be written */
    char last;   /* what was printed last, '\0' if nothing was */
    bool silent; /* nothing is printed */
} stream;

bool stream_text(const char *piece, void *user); /* an iflow_on_text; user: a stream */
/* Ends the line if the answer did not. */
void stream_end(stream *out);

#endif
