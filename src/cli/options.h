/* options.h - command lines as tables: one row an option, from which parsing, messages, --help, man pages and completion come. */
#ifndef IFLOW_CLI_OPTIONS_H
#define IFLOW_CLI_OPTIONS_H

#include "cli/cli.h"
#include "service/settings.h"

typedef enum option_kind {
    OPTION_FLAG,   /* bool */
    OPTION_COUNT,  /* int, one more each time */
    OPTION_TEXT,   /* const char *, not empty */
    OPTION_WORDS,  /* const char *, which may be empty */
    OPTION_DEVICE, /* const char *, the name of a compute device, or auto */
    OPTION_INT,    /* int, low..high */
    OPTION_SEED,   /* uint64_t */
    OPTION_REAL,   /* double, low..high, which are 0 or more */
    OPTION_SIGNED, /* double, low..high */
    OPTION_BYTES,  /* uint64_t: a number with K, M, G, T or B, from low on; without one, 0 or a MiB at least */
    OPTION_CHOICE, /* const char *, one of `value`, which is "a|b|c" */
    OPTION_STOPS,  /* stop_list: one more each time */
    OPTION_LAYERS, /* layer_list: numbers separated by commas; one with a point is a fraction of the depth */
} option_kind;

typedef struct option_spec {
    char letter;      /* '\0': none */
    const char *name; /* long name; NULL: a heading of --help all, whose text is `help`. The rows before the first heading are those of
                         every day, which --help shows */
    const char *value;
    option_kind kind;
    void *target;
    double low, high;
    const char *help; /* no period at the end. After a line end: what only --help all adds, as a sentence of its own */
} option_spec;

typedef struct command_usage {
    const char *name;     /* "store list" */
    const char *operands; /* "-m MODEL -q QUESTION [OPTION]... DOC..." */
    const char *about;    /* paragraphs; --help has the first one, --help all has all */
    const char *example;
} command_usage;

/* What options_parse gives when the command is to go on. */
enum { OPTIONS_GO = -1 };

/* Parses argv (argv[0]: the command's name) into the targets. *first: index of the first operand; operands are moved to the end.
 * OPTIONS_GO, or the status to exit with: after --help, or after a message about what is wrong. The table ends in a zero row. */
int options_parse(const command_usage *usage, const option_spec *spec, int argc, char **argv, int *first);

/* Whether the command line that was parsed last had the option with this target. */
bool options_given(const void *target);

/* The same by its long name, where several options have one target. */
bool options_named(const char *name);

/* A method's name as it is today, where it is written within an option's value; says so if it had another one. option: "--methods". */
const char *options_method_today(const char *option, const char *given);

/* Says what is wrong with the command line and gives CLI_USAGE. */
int options_wrong(const command_usage *usage, const char *format, ...) CLI_PRINTF(2, 3);

/* Bytes as in "20G", "512MiB", "1.5T" or "100B", at least low; a number without a unit is 0 or a MiB at least. False if it is none. */
bool parse_bytes(const char *string, double low, uint64_t *n_bytes);

/* A number of n characters in plain decimal, which may have a point and an exponent but no sign, space or other base, and is finite. */
bool parse_number(const char *string, size_t n, double low, double high, double *out);

enum { CLI_MAX_THREADS = 512 }; /* ggml's limit */

/* Options that most commands share. */
typedef struct common_options {
    const char *model, *store, *device, *kv_type;
    const char *correction; /* a file, "auto" or "none"; NULL: none */
    bool no_store, no_mmap, no_repack, exact, whole, estimate, quiet, shared;
    bool keep_own; /* as iflow_store_params has it: no option of its own */
    int verbose, threads, ctx, ubatch, chunk, fillers;
    uint64_t max_bytes;
} common_options;

common_options common_options_default(void);
/* Of a command that asks: it corrects. */
common_options common_options_for_questions(void);

/* How chunks are prefilled: "without fillers", "after 2 fillers". The caller's to free(). */
char *common_chunks(int fillers);

/* As iflow_context_params takes them. */
int common_fillers(int fillers);

/* Their rows. o: the name of a common_options variable. */
#define OPTION_ROW_MODEL(o)                                                                                                                \
    { 'm', "model", "MODEL", OPTION_TEXT, &(o).model, 0, 0, "the model, a GGUF file (default: $INFOFLOW_MODEL)" }
#define OPTION_ROW_STORE(o)                                                                                                                \
    {                                                                                                                                      \
        's', "store", "STORE", OPTION_TEXT, &(o).store, 0, 0,                                                                              \
            "directory that keeps the computed KV caches\nAlso dir:PATH; or memory: for a store that is gone when the command ends "       \
            "(default: $INFOFLOW_STORE, else infoflow/store in $XDG_CACHE_HOME if that is an absolute path, else in ~/.cache)"             \
    }
#define OPTION_ROW_NO_STORE(o)                                                                                                             \
    { '\0', "no-store", NULL, OPTION_FLAG, &(o).no_store, 0, 0, "keep nothing: compute the documents only for this call" }
#define OPTION_ROW_CUT(o)                                                                                                                  \
    {'\0',       "chunk",                                                                                                                  \
     "N",        OPTION_INT,                                                                                                               \
     &(o).chunk, 1,                                                                                                                        \
     1 << 24,    "most tokens of a chunk (default: 512)\nDocuments are cut into chunks where a paragraph, a sentence or a word ends"},     \
    {                                                                                                                                      \
        '\0', "whole", NULL, OPTION_FLAG, &(o).whole, 0, 0, "do not cut: each document is one chunk"                                       \
    }
#define OPTION_ROW_JSONL(flag)                                                                                                             \
    { '\0', "jsonl", NULL, OPTION_FLAG, &(flag), 0, 0, "read all files as JSON, one object a line\nFiles named .jsonl are always read so" }
#define OPTION_ROW_KV_TYPE(o)                                                                                                              \
    {                                                                                                                                      \
        '\0', "kv-type", "f16|q8_0", OPTION_CHOICE, &(o).kv_type, 0, 0,                                                                    \
            "numbers of stored KV caches (default: f16)\nq8_0 takes about half the space of f16"                                           \
    }
#define OPTION_ROWS_FILLERS(o)                                                                                                             \
    {                                                                                                                                      \
        '\0', "fillers", "N", OPTION_INT, &(o).fillers, 0, IFLOW_MAX_FILLERS,                                                              \
            "number of fillers (default: 2). A filler is a generic text. Each chunk is prefilled after each filler, and the mean KV is "   \
            "kept without the fillers. Each filler takes as much time as one prefill of the chunk, once. 0: none, as in the paper"         \
    }
#define OPTION_ROW_CORRECTION(o)                                                                                                           \
    {                                                                                                                                      \
        '\0', "correction", "FILE|none", OPTION_TEXT, &(o).correction, 0, 0,                                                               \
            "correct reused KV by this file, which `infoflow learn` made (default: the file of the model in infoflow/corrections in "      \
            "$XDG_CONFIG_HOME, else in ~/.config, if it is there)"                                                                         \
    }
#define OPTION_ROWS_PREFILL(o)                                                                                                             \
    OPTION_ROWS_FILLERS(o), {                                                                                                              \
        '\0', "estimate-staleness", NULL, OPTION_FLAG, &(o).estimate, 0, 0,                                                                \
            "store the estimated staleness of the tokens with each new chunk; the methods staleness, union and product need it. It takes " \
            "one more prefill. With 2 fillers or more it is always stored and takes no time"                                               \
    }
#define OPTION_ROW_EXACT(o)                                                                                                                \
    { '\0', "exact", NULL, OPTION_FLAG, &(o).exact, 0, 0, "compute exactly the numbers that libllama computes; slower on a CPU" }
#define OPTION_ROW_MAX_SIZE(o)                                                                                                             \
    {'\0',                                                                                                                                 \
     "max-size",                                                                                                                           \
     "BYTES",                                                                                                                              \
     OPTION_BYTES,                                                                                                                         \
     &(o).max_bytes,                                                                                                                       \
     1,                                                                                                                                    \
     0,                                                                                                                                    \
     "size limit of the store, like 20G (default: none)\nWhen it is full, the chunks that were not used for the longest time are "         \
     "deleted"},                                                                                                                           \
    {                                                                                                                                      \
        '\0', "shared", NULL, OPTION_FLAG, &(o).shared, 0, 0,                                                                              \
            "share the store with other users\nFrom now on its files get the permissions that the umask allows; without this option only " \
            "the owner can read them"                                                                                                      \
    }
#define OPTION_ROWS_ENGINE(o)                                                                                                              \
    {'\0',        "device", "NAME", OPTION_DEVICE,                                                                                         \
     &(o).device, 0,        0,      "compute device; `infoflow info` lists them (default: auto, a GPU if there is one)"},                  \
        {'t',                                                                                                                              \
         "threads",                                                                                                                        \
         "N",                                                                                                                              \
         OPTION_INT,                                                                                                                       \
         &(o).threads,                                                                                                                     \
         1,                                                                                                                                \
         CLI_MAX_THREADS,                                                                                                                  \
         "number of threads (default: the processors that this process can use)"},                                                         \
        {'\0', "ctx", "N", OPTION_INT, &(o).ctx, 1, 1 << 24, "most tokens of the context (default: as the model was trained)"},            \
        {'\0', "ubatch", "N", OPTION_INT, &(o).ubatch, 1, 1 << 16, "tokens that are computed at once (default: 512)"},                     \
        {'\0', "no-mmap", NULL, OPTION_FLAG, &(o).no_mmap, 0, 0, "read the model into memory; do not map the file"},                       \
        {'\0', "no-repack", NULL, OPTION_FLAG, &(o).no_repack, 0, 0, "do not repack the weights: less memory, slower"},                    \
        OPTION_ROW_EXACT(o)
#define OPTION_ROW_QUIET(o)                                                                                                                \
    { '\0', "quiet", NULL, OPTION_FLAG, &(o).quiet, 0, 0, "no report, progress or warnings\nFiles that are skipped are still named" }
#define OPTION_ROW_VERBOSE(o)                                                                                                              \
    { 'v', "verbose", NULL, OPTION_COUNT, &(o).verbose, 0, 0, "show messages of the library; twice: all of them" }
#define OPTION_ROWS_OUTPUT(o) OPTION_ROW_QUIET(o), OPTION_ROW_VERBOSE(o)

#endif
