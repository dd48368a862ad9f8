/* learn.c - `infoflow learn`: puts documents together into contexts of several lengths, and learns from them what reuse does to KV. */
#include "base/random.h"
#include "cli/documents.h"
#include "cli/output.h"
#include "cli/profile.h"
#include "cli/progress.h"
#include "cli/terminal.h"
#include "cli/text.h"
#include "lab/lab.h"

#include <stdlib.h>

enum {
    DEFAULT_TOKENS = 16384,
    FEW_TOKENS = 4096, /* different ones, below which more documents would teach more */
    MAX_ROUNDS = 8,    /* how often a chunk is looked at, at other places among others, where there are few */
};

/* Tokens of the contexts, one after the other: most chunks that are asked about stand a thousand tokens deep, some more. */
static const size_t length[] = {1024, 2048, 4096};

typedef struct learning {
    session s;
    common_options common;
    document_chunks all;
    size_t *order, at; /* the chunks, shuffled; the next one */
    int round;
    uint64_t random;
    const char *output;
    int tokens;
    bool jsonl;
    iflow_learner *learner;
    size_t n_contexts;
} learning;

static size_t chunk_length(const learning *l, size_t chunk) {
    return l->all.start[chunk + 1] - l->all.start[chunk];
}

static void shuffle(learning *l) {
    iflow_random_order(&l->random, l->order, l->all.n_chunks);
    l->at = 0;
    l->round++;
}

/* Lays the next context: chunks to a length, two at least. */
static iflow_status lay(learning *l) {
    const size_t most = (size_t)l->s.info.n_ctx_train / 2, wanted = length[l->n_contexts % COUNT_OF(length)];
    const size_t target = wanted < most ? wanted : most;
    document_chunks next = {0};
    iflow_context_clear(l->s.ctx);
    if (l->at + 2 > l->all.n_chunks)
        shuffle(l);
    while (l->at < l->all.n_chunks && (next.n_chunks < 2 || next.start[next.n_chunks] < target)) {
        const size_t chunk = l->order[l->at++];
        document_chunks_add(&next, l->all.token + l->all.start[chunk], chunk_length(l, chunk));
    }
    iflow_status status = context_is_kept(&l->s, &l->common, &next, 1) ? document_chunks_prefill(&next, l->s.ctx) : IFLOW_OK;
    if (status == IFLOW_OK)
        status = document_chunks_lay(&next, l->s.ctx);
    document_chunks_free(&next);
    return status;
}

/* Computes the chunks of all contexts ahead, so that those which another process has in hand are waited for together. */
static iflow_status prefill(learning *l) {
    document_chunks next = {0};
    for (size_t i = 0; i < l->all.n_chunks && (!next.n_chunks || next.start[next.n_chunks] < (size_t)l->tokens); i++)
        document_chunks_add(&next, l->all.token + l->all.start[l->order[i]], chunk_length(l, l->order[i]));
    const iflow_status status =
        l->s.store && context_is_kept(&l->s, &l->common, &next, 1) ? document_chunks_prefill(&next, l->s.ctx) : IFLOW_OK;
    document_chunks_free(&next);
    return status;
}

static int learn(learning *l, const char *path) {
    const double start = now_seconds();
    const size_t n_all = l->all.start[l->all.n_chunks], wanted = (size_t)l->tokens;
    if (n_all < wanted && n_all < FEW_TOKENS && !l->common.quiet)
        cli_note("the documents have %s tokens; more would teach more", human_count(n_all));
    l->order = must_alloc(l->all.n_chunks, sizeof *l->order);
    for (size_t i = 0; i < l->all.n_chunks; i++)
        l->order[i] = i;
    shuffle(l);
    iflow_status status = iflow_learner_new(l->s.ctx, &l->learner);
    size_t n = 0;
    cli_signals(CLI_SIGNAL_GRACEFUL);
    status = status == IFLOW_OK ? prefill(l) : status;
    while (status == IFLOW_OK && n < wanted && l->round <= MAX_ROUNDS && !cli_interrupted()) {
        progress_show((double)n / (double)wanted, n ? (now_seconds() - start) / (double)n * (double)(wanted - n) : -1, "learning", "");
        if ((status = lay(l)) == IFLOW_OK && (status = iflow_learner_add(l->learner)) == IFLOW_OK) {
            n = iflow_learner_tokens(l->learner);
            l->n_contexts++;
        }
    }
    cli_signals(CLI_SIGNAL_IMMEDIATE); /* nothing is written before it is whole */
    if (cli_interrupted()) {
        progress_end();
        cli_note("interrupted; nothing was learned");
        return CLI_INTERRUPTED;
    }
    progress_show(1, -1, "solving", "");
    make_parents(path); /* what goes wrong there shows when the file is written */
    if (status == IFLOW_OK)
        status = iflow_learner_write(l->learner, path);
    progress_end();
    if (status != IFLOW_OK)
        return cli_failed(status, NULL);
    if (!l->common.quiet) {
        char *chunks = common_chunks(l->common.behind);
        cli_note("learned from %s tokens in %zu context%s, for chunks %s, in %s", human_count(n), l->n_contexts, plural(l->n_contexts),
                 chunks, human_clock(now_seconds() - start));
        free(chunks);
    }
    if (printf("%s\n", visible(path)) < 0)
        return CLI_FAILED;
    return CLI_OK;
}

int lab_learn(int argc, char **argv) {
    learning l = {.common = common_options_default(), .tokens = DEFAULT_TOKENS};
    profile_options profiling = {0};
    profile found = {0};
    const command_usage usage = {
        "learn", "-m MODEL [OPTION]... DOC...",
        "Learns, once a model, what becomes of a chunk's KV when other chunks come to stand before it: an affine map a layer, from\n"
        "documents like those that will be asked about, without questions or answers. `ask`, `chat`, `eval` and `calibrate` then\n"
        "change the KV that they reuse by it, which brings answers nearer to full prefill's and costs little; the store stays as\n"
        "it is. Learn first, calibrate then.\n"
        "\n"
        "DOC is a file, a directory, or - for standard input, as for `infoflow ingest`. Chunks are put together into contexts of\n"
        "1,024 to 4,096 tokens, in a random order that is the same every time, and compared with full prefill of the same.\n"
        "Prints where the correction is.",
        "  infoflow learn -m model.gguf reports/"};
    const option_spec spec[] = {
        OPTION_ROW_MODEL(l.common),
        OPTION_ROW_STORE(l.common),
        {'\0', "no-store", NULL, OPTION_FLAG, &l.common.no_store, 0, 0, "keep the chunks in memory only"},
        {'\0', "tokens", "N", OPTION_INT, &l.tokens, 1024, 1 << 24, "tokens to learn from, each chunk up to 8 times (default: 16384)"},
        {'o', "output", "FILE", OPTION_TEXT, &l.output, 0, 0,
         "where the correction goes (default: where the other commands look: infoflow/corrections in $XDG_CONFIG_HOME, else in ~/.config)"},
        {'\0', "jsonl", NULL, OPTION_FLAG, &l.jsonl, 0, 0, "documents hold a JSON object a line, whatever their names"},
        OPTION_ROW_CUT(l.common),
        OPTION_ROW_KV_TYPE(l.common),
        OPTION_ROWS_BEHIND(l.common),
        OPTION_ROWS_PROFILE(profiling),
        OPTION_ROW_MAX_SIZE(l.common),
        OPTION_ROWS_ENGINE(l.common),
        OPTION_ROWS_OUTPUT(l.common),
        {0}};
    int first = 0;
    int result = options_parse(&usage, spec, argc, argv, &first);
    if (result != OPTIONS_GO)
        return result;
    if (first == argc)
        return options_wrong(&usage, "from which documents? Name files, directories, or - for standard input");
    if ((result = sources_check(&usage, argv + first, (size_t)(argc - first))) != CLI_OK)
        return result;
    if (l.output && (result = output_check("--output", l.output, OUTPUT_CORRECTION)) != CLI_OK)
        return result;
    char *path = NULL;
    result = session_load_model(&usage, &l.common, &l.s);
    if (result == CLI_OK) {
        path = l.output ? text_format("%s", l.output) : session_config_path("corrections", l.s.info.fingerprint, "gguf");
        if (!path)
            result =
                options_wrong(&usage, "where does the correction go? Give -o FILE; neither XDG_CONFIG_HOME nor HOME is an absolute path");
    }
    if (result == CLI_OK && !l.output)
        result = output_check("--output", path, OUTPUT_CORRECTION);
    if (result == CLI_OK) /* chunks as `ask` will want them */
        result = profile_open_session(&usage, &profiling, &l.common, NULL, &l.s, &found);
    if (result == CLI_OK)
        result = document_chunks_read(l.s.model, session_chunk_tokens(&l.common), l.jsonl, argv + first, (size_t)(argc - first), &l.all);
    if (result == CLI_OK) {
        progress_start(l.common.quiet);
        result = learn(&l, path);
    }
    iflow_learner_free(l.learner);
    document_chunks_free(&l.all);
    free(l.order);
    free(path);
    profile_free(&found);
    session_close(&l.s);
    return cli_finish(result);
}
