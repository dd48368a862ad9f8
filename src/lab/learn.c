/* learn.c - `infoflow learn`: learns from documents what reuse does to KV, shows how far it is, and says where the correction is. */
#include "lab/lab.h"

#include "base/publish.h"
#include "cli/operands.h"
#include "cli/output.h"
#include "cli/profile.h"
#include "cli/progress.h"
#include "cli/terminal.h"
#include "cli/text.h"
#include "service/learning.h"

#include <stdlib.h>

enum {
    DEFAULT_TOKENS = 16384,
    FEW_TOKENS = 4096, /* different ones, below which more documents would teach more */
};

typedef struct learning {
    session s;
    common_options common;
    chunk_list all;
    const char *output;
    int tokens;
    bool jsonl;
    double start;
} learning;

/* Computes chunks ahead, where the store keeps them. */
static iflow_status prefill(const chunk_list *chunks, bool all, void *user) {
    const learning *l = user;
    const chunks_room room = cli_session_room(&l->common, &l->s);
    const bool ahead = (l->s.store || !all) && chunks_are_kept(&room, chunks, 1);
    return ahead ? chunks_prefill(chunks, l->s.ctx, NULL, NULL) : IFLOW_OK;
}

static void show_progress(size_t n, void *user) {
    const learning *l = user;
    const double wanted = (double)l->tokens;
    progress_show((double)n / wanted, n ? (now_seconds() - l->start) / (double)n * (wanted - (double)n) : -1, "learning", "");
}

static int report(const learning *l, size_t n_tokens, size_t n_contexts, const char *path) {
    if (!l->common.quiet) {
        char *chunks = common_chunks(l->common.fillers);
        cli_note("learned from %s tokens in %zu context%s, for chunks %s, in %s", human_count(n_tokens), n_contexts, plural(n_contexts),
                 chunks, human_clock(now_seconds() - l->start));
        free(chunks);
    }
    return printf("%s\n", visible(path)) < 0 ? CLI_FAILED : CLI_OK;
}

static int learn(learning *l, const char *path) {
    const size_t n_all = chunk_list_tokens(&l->all), wanted = (size_t)l->tokens;
    const learning_params params = {l->s.ctx, &l->all, wanted, (size_t)l->s.info.n_ctx_train, prefill, show_progress, l};
    learning_result learned = {0};
    l->start = now_seconds();
    if (n_all < wanted && n_all < FEW_TOKENS && !l->common.quiet) {
        cli_note("the documents have %s tokens; more would teach more", human_count(n_all));
    }
    cli_signals(CLI_SIGNAL_GRACEFUL);
    iflow_status status = learning_run(&params, &learned);
    cli_signals(CLI_SIGNAL_IMMEDIATE); /* nothing is written before it is whole */
    if (cli_interrupted()) {
        iflow_learner_free(learned.learner);
        progress_end();
        cli_note("interrupted; nothing was learned");
        return CLI_INTERRUPTED;
    }
    progress_show(1, -1, "solving", "");
    iflow_make_parents(path); /* what goes wrong there shows when the file is written */
    if (status == IFLOW_OK) {
        status = iflow_learner_write(learned.learner, path);
    }
    progress_end();
    const size_t n_tokens = learned.learner ? iflow_learner_tokens(learned.learner) : 0;
    iflow_learner_free(learned.learner);
    return status == IFLOW_OK ? report(l, n_tokens, learned.n_contexts, path) : cli_failed(status, NULL);
}

static const command_usage usage = {
    "learn", "-m MODEL [OPTION]... DOC...",
    "Learns a correction from documents: how the KV of a chunk changes when other\n"
    "chunks stand before it. Do this once a model, before `infoflow calibrate`.\n"
    "\n"
    "The documents should be like those that you will ask about; questions and answers are not needed. `ask`, `chat`, `eval` and "
    "`calibrate` then correct the KV that they reuse. This brings answers nearer to those of full prefill and takes little time. "
    "The store does not change.\n"
    "\n"
    "DOC is a file, a directory, or - for standard input, as for `infoflow ingest`. Chunks are put together to contexts of "
    "1,024 to 4,096 tokens, in a random order that is the same every time, and compared with full prefill of the same "
    "tokens. Prints where the correction is.",
    "  infoflow learn -m model.gguf reports/"};

static int parse_options(learning *l, profile_options *profiling, int argc, char **argv, int *first) {
    const option_spec spec[] = {
        OPTION_ROW_MODEL(l->common),
        OPTION_ROW_STORE(l->common),
        {'\0', "tokens", "N", OPTION_INT, &l->tokens, 1024, 1 << 24,
         "tokens to learn from (default: 16384)\nA chunk is used up to 8 times"},
        {'o', "output", "FILE", OPTION_TEXT, &l->output, 0, 0,
         "file of the correction (default: where it is found)\nThat is infoflow/corrections in $XDG_CONFIG_HOME, else in ~/.config"},
        OPTION_ROW_JSONL(l->jsonl),
        OPTION_ROW_QUIET(l->common),
        {0, NULL, NULL, OPTION_FLAG, NULL, 0, 0, "Documents and store"},
        OPTION_ROW_CUT(l->common),
        OPTION_ROWS_FILLERS(l->common),
        OPTION_ROWS_PROFILE(*profiling),
        OPTION_ROW_NO_STORE(l->common),
        OPTION_ROW_MAX_SIZE(l->common),
        OPTION_ROW_KV_TYPE(l->common),
        {0, NULL, NULL, OPTION_FLAG, NULL, 0, 0, "Computing"},
        OPTION_ROWS_ENGINE(l->common),
        OPTION_ROW_VERBOSE(l->common),
        {0}};
    return options_parse(&usage, spec, argc, argv, first);
}

int lab_learn(int argc, char **argv) {
    learning l = {.common = common_options_default(), .tokens = DEFAULT_TOKENS};
    profile_options profiling = {0};
    profile found = {0};
    int first = 0;
    int result = parse_options(&l, &profiling, argc, argv, &first);
    if (result != OPTIONS_GO) {
        return result;
    }
    if (first == argc) {
        return options_wrong(&usage, "from which documents? Name files, directories, or - for standard input");
    }
    if ((result = operands_check(&usage, argv + first, (size_t)(argc - first))) != CLI_OK) {
        return result;
    }
    if (l.output && (result = output_check("--output", l.output, OUTPUT_CORRECTION)) != CLI_OK) {
        return result;
    }
    char *path = NULL;
    result = cli_session_load_model(&usage, &l.common, &l.s);
    if (result == CLI_OK) {
        if (l.output) {
            path = text_format("%s", l.output);
        } else {
            must(session_config_path("corrections", l.s.info.fingerprint, "gguf", &path));
        }
        if (!path) {
            result =
                options_wrong(&usage, "where does the correction go? Give -o FILE; neither XDG_CONFIG_HOME nor HOME is an absolute path");
        }
    }
    if (result == CLI_OK && !l.output) {
        result = output_check("--output", path, OUTPUT_CORRECTION);
    }
    if (result == CLI_OK) { /* chunks as `ask` will want them */
        result = profile_open_session(&usage, &profiling, &l.common, NULL, &l.s, &found);
    }
    if (result == CLI_OK) {
        result = operands_chunks(l.s.model, cli_session_chunk_tokens(&l.common), l.jsonl, argv + first, (size_t)(argc - first), &l.all);
    }
    if (result == CLI_OK) {
        progress_start(l.common.quiet);
        result = learn(&l, path);
    }
    chunk_list_free(&l.all);
    free(path);
    profile_free(&found);
    session_close(&l.s);
    return cli_finish(result);
}
