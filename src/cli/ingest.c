/* ingest.c - `infoflow ingest`: prefills documents into the store, once each. */
#include "cli/documents.h"
#include "cli/profile.h"
#include "cli/progress.h"
#include "cli/terminal.h"
#include "cli/text.h"

#include <inttypes.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#define INTERRUPTED "interrupted; the same command goes on where this one stopped"

/* A document whose chunks are not all there yet, because another process computes some of them. */
typedef struct waiting {
    char *name, *recorded; /* as it was given, and as it is recorded */
    chunk_list chunks;
    char (*id)[IFLOW_ID_SIZE]; /* empty string: not there yet */
} waiting;

typedef struct ingest {
    session s;
    common_options options;
    sources sources;
    waiting *waiting;
    size_t n_waiting;
    void *names; /* that this run records documents by: a tree of place */
    size_t n_documents, n_computed, n_present, n_tokens, n_computed_tokens;
    uint64_t bytes_done, bytes_computed; /* of the sources */
    double started, computing;           /* seconds */
    bool fatal;
} ingest;

static void show_progress(ingest *in, double done_of_document, uint64_t document_bytes, const char *name) {
    double done = (double)in->bytes_done + done_of_document * (double)document_bytes;
    double whole = (double)in->sources.n_bytes;
    double left = -1;
    if (whole > 0 && in->bytes_computed > 0) {
        left = in->computing / (double)in->bytes_computed * (whole - done);
    }
    char *rate = in->computing > 0 ? text_format("%s tokens/s", human_count((uint64_t)((double)in->n_computed_tokens / in->computing)))
                                   : text_format("%s tokens", human_count(in->n_tokens));
    progress_show(whole > 0 ? done / whole : -1, left, rate, name);
    free(rate);
}

/* Prefills chunks [first, end), those that are not there. IFLOW_E_BUSY: those without an id later. */
static iflow_status prefill(ingest *in, const chunk_list *chunks, size_t first, size_t end, char (*id)[IFLOW_ID_SIZE]) {
    bool *was_stored = must_alloc(end - first, sizeof *was_stored);
    const double start = now_seconds();
    const size_t n_computed = in->n_computed;
    const iflow_status status = iflow_context_prefill(in->s.ctx, chunks->token, chunks->start + first, end - first, id + first, was_stored);
    for (size_t i = first; i < end && (status == IFLOW_OK || status == IFLOW_E_BUSY); i++) {
        const size_t n = chunks->start[i + 1] - chunks->start[i];
        if (!id[i][0]) {
            continue;
        }
        in->n_tokens += n;
        if (was_stored[i - first]) {
            in->n_present++;
        } else {
            in->n_computed++;
            in->n_computed_tokens += n;
        }
    }
    if (in->n_computed > n_computed) {
        in->computing += now_seconds() - start;
    }
    free(was_stored);
    return status;
}

/* The end of the chunks from `first` on that go together: short ones are computed in one pass. */
static size_t together(const chunk_list *chunks, size_t first) {
    enum { TOKENS = 512 };
    size_t end = first + 1;
    while (end < chunks->n_chunks && chunks->start[end + 1] - chunks->start[first] <= TOKENS) {
        end++;
    }
    return end;
}

/* What a name in this run stands for. */
typedef struct place {
    char *name, *source;
    size_t line;
} place;

static int by_name(const void *a, const void *b) {
    return strcmp(((const place *)a)->name, ((const place *)b)->name);
}

static void free_place(void *found) {
    place *p = found;
    free(p->name);
    free(p->source);
    free(p);
}

/* Takes a name for what is on a line of a source; false if something else of this run has it. */
static bool take_name(ingest *in, const char *name, const char *path, size_t line) {
    place *mine = must_alloc(1, sizeof *mine);
    *mine = (place){text_format("%s", name), text_format("%s", path), line};
    place **found = tsearch(mine, &in->names, by_name);
    if (found && *found == mine) {
        return true;
    }
    const bool same = found && (*found)->line == line && strcmp((*found)->source, path) == 0;
    free_place(mine);
    return same;
}

/* Of what comes through a pipe or standard input, where the next one may be another by the same name: the name is told apart by what it
 * says, so that none replaces another. No path of a file begins so. */
static char *passing_name(const document *doc, bool titled) {
    const char *from = doc->source ? "pipe" : "stdin";
    uint64_t hash = text_hash(TEXT_HASH, &doc->passages, sizeof doc->passages);
    for (size_t i = 0; i < doc->n_parts; i++) {
        hash = text_hash(hash, &doc->part_bytes[i], sizeof doc->part_bytes[i]); /* parts do not run together */
        hash = text_hash(hash, doc->part[i], doc->part_bytes[i]);
    }
    return titled ? text_format("%s/%s #%016" PRIx64, from, doc->name, hash) : text_format("%s #%016" PRIx64, from, hash);
}

/* The name that a document is recorded by: documents of the same name in different places are different ones. A line's begins with its
 * file's path as if that were a directory: no file has such a path. */
static char *recorded_name(ingest *in, const document *doc) {
    struct stat file;
    char *untitled = text_format("%s:%zu", doc->source ? doc->source : "stdin", doc->line);
    char *resolved = doc->source ? realpath(doc->source, NULL) : NULL, *name = NULL;
    const bool titled = doc->line && strcmp(doc->name, untitled) != 0;
    if (!resolved || stat(resolved, &file) != 0 || !S_ISREG(file.st_mode)) {
        name = passing_name(doc, titled);
        goto cleanup;
    }
    if (!doc->line) {
        name = text_format("%s", resolved);
    } else {
        name = titled ? text_format("%s/%s", resolved, doc->name) : text_format("%s/%zu", resolved, doc->line);
    }
    while (!take_name(in, name, resolved, doc->line)) { /* a title that comes twice */
        char *longer = text_format("%s:%zu", name, doc->line);
        free(name);
        name = longer;
    }
cleanup:
    free(untitled);
    free(resolved);
    return name;
}

/* Records a document whose chunks are all there, and prints its id. */
static bool record(ingest *in, const char *name, char *recorded, const chunk_list *chunks, char (*id)[IFLOW_ID_SIZE]) {
    char *clean = text_utf8(name, strlen(name));
    iflow_document doc = {.name = recorded, .chunk_id = id, .n_chunks = chunks->n_chunks, .n_tokens = chunks->start[chunks->n_chunks]};
    memcpy(doc.fingerprint, in->s.info.fingerprint, sizeof doc.fingerprint);
    iflow_status status = iflow_store_put_document(in->s.store, &doc);
    if (status == IFLOW_OK) {
        progress_clear();
        printf("%s  %s\n", doc.id, visible(clean));
        fflush(stdout);
        in->n_documents++;
        if (doc.replaced) {
            cli_note("%s: replaced; its earlier chunks stay in the store until they are pruned", clean);
        }
    } else {
        cli_failed(status, name);
        in->fatal = true;
    }
    free(clean);
    return status == IFLOW_OK;
}

/* Says that a document cannot be used; the rest goes on unless that is pointless. */
static void give_up(ingest *in, iflow_status status, const char *name) {
    cli_failed(status, name);
    in->sources.n_failed++;
    in->fatal = !document_is_at_fault(status);
}

static bool ingest_document(document *doc, void *user) {
    ingest *in = user;
    chunk_list chunks = {0};
    char(*id)[IFLOW_ID_SIZE] = NULL;
    char *recorded = recorded_name(in, doc);
    show_progress(in, 0, doc->source_bytes, doc->name);
    iflow_status status = document_cut(in->s.model, doc, session_chunk_tokens(&in->options), &chunks);
    if (status != IFLOW_OK) {
        give_up(in, status, doc->name);
        goto cleanup;
    }
    id = must_alloc(chunks.n_chunks, sizeof *id);
    cli_signals(CLI_SIGNAL_GRACEFUL); /* what is computed is kept; while files are read and cut there is nothing to finish */
    size_t n_busy = 0, n_all = chunks.start[chunks.n_chunks];
    for (size_t i = 0, end; i < chunks.n_chunks; i = end) {
        if (cli_interrupted()) {
            goto cleanup;
        }
        size_t n_computed = in->n_computed_tokens;
        end = together(&chunks, i);
        status = prefill(in, &chunks, i, end, id);
        if (status != IFLOW_OK && status != IFLOW_E_BUSY) {
            give_up(in, status, doc->name);
            goto cleanup;
        }
        n_busy += status == IFLOW_E_BUSY;
        double share = (double)(in->n_computed_tokens - n_computed) / (double)n_all;
        if (share > 0) {
            in->bytes_computed += (uint64_t)(share * (double)doc->source_bytes) + 1;
        }
        show_progress(in, (double)chunks.start[end] / (double)n_all, doc->source_bytes, doc->name);
    }
    if (n_busy == 0) {
        record(in, doc->name, recorded, &chunks, id);
    } else {
        in->waiting = must_realloc(in->waiting, in->n_waiting + 1, sizeof *in->waiting);
        in->waiting[in->n_waiting++] = (waiting){doc->name, recorded, chunks, id};
        doc->name = recorded = NULL;
        chunks = (chunk_list){0};
        id = NULL;
    }
cleanup:
    cli_signals(CLI_SIGNAL_IMMEDIATE);
    in->bytes_done += doc->source_bytes;
    chunk_list_free(&chunks);
    free(id);
    free(recorded);
    document_free(doc);
    return !in->fatal && !cli_interrupted();
}

/* The second round: chunks that another process had in hand. It finishes them, or dies and leaves them to us; the library waits for one no
 * longer than half a minute, and says for whom. */
static void finish_waiting(ingest *in) {
    cli_signals(CLI_SIGNAL_GRACEFUL);
    for (size_t w = 0; w < in->n_waiting; w++) {
        waiting *doc = &in->waiting[w];
        iflow_status status = IFLOW_OK;
        for (size_t i = 0; i < doc->chunks.n_chunks && status == IFLOW_OK; i++) {
            while (!doc->id[i][0] && !cli_interrupted() && (status = prefill(in, &doc->chunks, i, i + 1, doc->id)) == IFLOW_E_BUSY) {
                char *what = text_format("%s: waiting for another process", doc->name);
                show_progress(in, 0, 0, what);
                free(what);
                nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
            }
            if (cli_interrupted()) {
                return;
            }
        }
        if (status == IFLOW_OK) {
            record(in, doc->name, doc->recorded, &doc->chunks, doc->id);
        } else {
            give_up(in, status, doc->name);
        }
        if (in->fatal) {
            return;
        }
    }
}

static void summarise(const ingest *in) {
    text line = {0};
    text_printf(&line, "%s document%s, %s tokens: ", human_count(in->n_documents), plural(in->n_documents), human_count(in->n_tokens));
    text_printf(&line, "%s chunk%s computed", human_count(in->n_computed), plural(in->n_computed));
    if (in->n_computed_tokens) {
        text_printf(&line, " (%s tokens, %s tokens/s)", human_count(in->n_computed_tokens),
                    human_count((uint64_t)((double)in->n_computed_tokens / in->computing)));
    }
    text_printf(&line, ", %s already stored", human_count(in->n_present));
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

/* Reads, computes and records all sources; says how it went. */
static int run(ingest *in, bool jsonl) {
    cli_last_word(INTERRUPTED "\n"); /* between documents a signal ends it at once */
    progress_start(in->options.quiet);
    sources_read(&in->sources, jsonl, ingest_document, in);
    if (!in->fatal && !cli_interrupted()) {
        finish_waiting(in);
    }
    progress_end();
    cli_last_word(NULL);
    if (!in->options.quiet) {
        summarise(in);
    }
    if (in->fatal) {
        cli_error("stopped there, since the store cannot take more: what comes after it was not tried");
    }
    if (cli_interrupted()) {
        cli_note(INTERRUPTED);
        return CLI_INTERRUPTED;
    }
    return in->fatal || in->sources.n_failed ? CLI_FAILED : CLI_OK;
}

static void ingest_free(ingest *in) {
    for (size_t i = 0; i < in->n_waiting; i++) {
        free(in->waiting[i].name);
        free(in->waiting[i].recorded);
        free(in->waiting[i].id);
        chunk_list_free(&in->waiting[i].chunks);
    }
    free(in->waiting);
    tdestroy(in->names, free_place);
    sources_free(&in->sources);
    session_close(&in->s);
}

int cli_ingest(int argc, char **argv) {
    ingest in = {.options = common_options_default()};
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
        "processes can work on the same documents.",
        "  infoflow ingest -m model.gguf -s ~/kv --max-size 20G docs/ notes.txt"};
    const option_spec spec[] = {OPTION_ROW_MODEL(in.options),
                                OPTION_ROW_STORE(in.options),
                                OPTION_ROW_CUT(in.options),
                                OPTION_ROW_KV_TYPE(in.options),
                                OPTION_ROW_MAX_SIZE(in.options),
                                {'\0', "jsonl", NULL, OPTION_FLAG, &jsonl, 0, 0,
                                 "read all files as JSON, one object a line\nFiles named .jsonl are always read so"},
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

    if ((result = sources_check(&usage, argv + first, (size_t)(argc - first))) != CLI_OK) {
        return result;
    }
    in.started = now_seconds();
    result = profile_open_session(&usage, &profiling, &in.options, NULL, &in.s, &found); /* chunks as `ask` will want them */
    if (result != CLI_OK) {
        goto cleanup;
    }
    for (int i = first; i < argc; i++) {
        sources_add(&in.sources, argv[i]);
    }
    result = run(&in, jsonl);

cleanup:
    ingest_free(&in);
    profile_free(&found);
    return cli_finish(result);
}
