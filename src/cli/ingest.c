/* ingest.c - `infoflow ingest`: prefills documents into the store, once each. */
#include "cli/operands.h"
#include "cli/profile.h"
#include "cli/progress.h"
#include "cli/terminal.h"
#include "cli/text.h"
#include "service/ingestion.h"

#include <stdlib.h>
#include <string.h>

#define INTERRUPTED "interrupted; what was computed is kept: the same command goes on where this one stopped"

typedef struct ingest {
    session s;
    common_options options;
    sources sources;
    notices said;
    ingestion work;
    double started;     /* seconds */
    iflow_status heard; /* the last failure that was said */
    bool advised;       /* which options set what was too long or too small: once */
} ingest;

/* ---- What is said while it runs ----------------------------------------------------------------------------------------------------- */

static void show_progress(const ingestion *work, const char *name, bool waiting, void *user) {
    (void)user;
    char *what = waiting ? text_format("%s: waiting for another process", name) : text_format("%s", name);
    char *rate = work->seconds > 0 ? text_format("%s tokens/s", human_count((uint64_t)((double)work->n_computed_tokens / work->seconds)))
                                   : text_format("%s tokens", human_count(work->n_tokens));
    progress_show(pace_share(&work->pace), pace_left(&work->pace), rate, what);
    free(what);
    free(rate);
}

static void print_recorded(const iflow_document *doc, const char *name, void *user) {
    (void)user;
    char *clean = text_utf8(name, strlen(name));
    progress_clear();
    printf("%s  %s\n", doc->id, visible(clean));
    fflush(stdout);
    if (doc->replaced) {
        cli_note("%s: replaced; its earlier chunks stay in the store until they are pruned", clean);
    }
    free(clean);
}

static void say_failed(const char *name, iflow_status status, void *user) {
    ingest *in = user;
    cli_failed(status, name);
    if (status == IFLOW_E_CONTEXT && !in->advised) {
        cli_note("--chunk sets the length of chunks, --ctx the size of the context; --whole does not cut");
        in->advised = true;
    }
    in->heard = status;
}

static void summarise(const ingest *in) {
    const ingestion *work = &in->work;
    text line = {0};
    text_printf(&line, "%s document%s, %s tokens: ", human_count(work->n_documents), plural(work->n_documents),
                human_count(work->n_tokens));
    text_printf(&line, "%s chunk%s computed", human_count(work->n_computed), plural(work->n_computed));
    if (work->n_computed_tokens) {
        text_printf(&line, " (%s tokens, %s tokens/s)", human_count(work->n_computed_tokens),
                    human_count((uint64_t)((double)work->n_computed_tokens / work->seconds)));
    }
    text_printf(&line, ", %s already stored", human_count(work->n_present));
    if (in->sources.n_skipped) {
        text_printf(&line, "; %s skipped", human_count(in->sources.n_skipped));
    }
    if (in->sources.n_failed) {
        text_printf(&line, "; %s failed", human_count(in->sources.n_failed));
    }
    text_printf(&line, "; %s", human_clock(now_seconds() - in->started));
    cli_note("%s", line.text);
    text_free(&line);
}

/* ---- The command -------------------------------------------------------------------------------------------------------------------- */

/* Reads, computes and records all sources; says how it went. */
static int run(ingest *in, bool jsonl, char **operands, size_t n_operands) {
    in->work = (ingestion){.model = in->s.model,
                           .store = in->s.store,
                           .ctx = in->s.ctx,
                           .chunk_tokens = cli_session_chunk_tokens(&in->options),
                           .jsonl = jsonl,
                           .sources = &in->sources,
                           .events = {.recorded = print_recorded, .failed = say_failed, .progress = show_progress, .user = in}};
    cli_last_word(INTERRUPTED "\n"); /* of a second signal */
    cli_signals(CLI_SIGNAL_GRACEFUL);
    progress_start(in->options.quiet);
    iflow_status status = ingestion_run(&in->work);
    progress_end();
    cli_signals(CLI_SIGNAL_IMMEDIATE);
    cli_last_word(NULL);
    notices_end(&in->said);
    const bool stopped = status != IFLOW_OK && status != IFLOW_E_CANCELLED;
    if (stopped && in->heard != status) {
        cli_failed(status, NULL);
    }
    if (!in->options.quiet) {
        summarise(in);
    }
    if (stopped && in->heard == status) {
        cli_error("stopped there, since the store cannot take more: what comes after it was not tried%s",
                  status == IFLOW_E_FULL && in->options.max_bytes
                      ? in->work.n_documents ? ". What this run recorded is kept; --max-size sets the limit" : "; --max-size sets the limit"
                      : "");
    }
    if (cli_interrupted()) {
        cli_note("%s", strcmp(in->s.store_dir, "memory:") == 0 ? "interrupted; nothing is kept" : INTERRUPTED);
        return CLI_INTERRUPTED;
    }
    if (!stopped && (status = sources_require(&in->sources, (const char *const *)operands, n_operands)) != IFLOW_OK) {
        return cli_failed(status, NULL);
    }
    return stopped || in->sources.n_failed ? CLI_FAILED : CLI_OK;
}

static int add_sources(ingest *in, char **operands, size_t n) {
    iflow_status status = IFLOW_OK;
    in->sources.events = notices_events(&in->said);
    for (size_t i = 0; i < n && status == IFLOW_OK; i++) {
        status = sources_add(&in->sources, operands[i]);
    }
    return status == IFLOW_OK ? CLI_OK : cli_failed(status, NULL);
}

int cli_ingest(int argc, char **argv) {
    ingest in = {.options = common_options_default()};
    in.options.keep_own = true; /* else the last documents would take the place of the first ones, unseen */
    profile_options profiling = {0};
    profile found = {0};
    bool jsonl = false;
    const command_usage usage = {
        "ingest", "-m MODEL [OPTION]... PATH...",
        "Computes the KV caches of documents, once, and keeps them in the store. PATH is\n"
        "a file, a directory (with all text files in it) or - for standard input.\n"
        "\n"
        "A .jsonl file has one document a line: {\"text\": ...}, {\"context\": ...} or {\"passages\": [...]}, where each passage is a "
        "chunk, as `infoflow eval` wants them; \"title\" or \"id\" can name it.\n"
        "\n"
        "Prints the id and name of each document. A file is recorded by its path, and a line by PATH/TITLE or PATH/LINE. A "
        "document from standard input or a pipe is recorded by its text, so that it never replaces another one.\n"
        "\n"
        "What is in the store is not computed again. So you can interrupt a run and repeat the command, and several "
        "processes can work on the same documents.\n"
        "\n"
        "With --max-size, chunks of earlier runs are deleted to make room, never those of this run: it stops first, with a message, "
        "and the exit status is 1.",
        "  infoflow ingest -m model.gguf -s ~/kv --max-size 20G docs/ notes.txt"};
    const option_spec spec[] = {OPTION_ROW_MODEL(in.options),
                                OPTION_ROW_STORE(in.options),
                                OPTION_ROW_CUT(in.options),
                                OPTION_ROW_KV_TYPE(in.options),
                                OPTION_ROW_MAX_SIZE(in.options),
                                OPTION_ROW_JSONL(jsonl),
                                OPTION_ROW_QUIET(in.options),
                                {0, NULL, NULL, OPTION_FLAG, NULL, 0, 0, "How chunks are computed"},
                                OPTION_ROWS_PREFILL(in.options),
                                OPTION_ROWS_PROFILE(profiling),
                                {0, NULL, NULL, OPTION_FLAG, NULL, 0, 0, "Computing"},
                                OPTION_ROWS_ENGINE(in.options),
                                OPTION_ROW_VERBOSE(in.options),
                                {0}};
    int first = 0;
    int result = options_parse(&usage, spec, argc, argv, &first);
    if (result != OPTIONS_GO) {
        return result;
    }
    if (first == argc) {
        return options_wrong(&usage, "which documents? Name files, directories, or - for standard input");
    }

    if ((result = operands_check(&usage, argv + first, (size_t)(argc - first))) != CLI_OK) {
        return result;
    }
    in.started = now_seconds();
    cli_last_word("interrupted; nothing was computed\n");
    result = profile_open_session(&usage, &profiling, &in.options, NULL, &in.s, &found); /* chunks as `ask` will want them */
    if (result != CLI_OK) {
        goto cleanup;
    }
    if (!in.options.quiet && strcmp(in.s.store_dir, "memory:") == 0) {
        cli_error("warning: the store memory: is gone when this command ends: nothing of what is computed will be kept");
    }
    result = add_sources(&in, argv + first, (size_t)(argc - first));
    if (result == CLI_OK) {
        result = run(&in, jsonl, argv + first, (size_t)(argc - first));
    }

cleanup:
    ingestion_free(&in.work);
    sources_free(&in.sources);
    session_close(&in.s);
    profile_free(&found);
    return cli_finish(result);
}
