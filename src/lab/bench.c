/* bench.c - `infoflow bench`: time to first token, ingest, decoding, model load and memory against libllama, on the same tokens. */
#include "lab/lab.h"

#include "cli/options.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/report.h"
#include "cli/session.h"
#include "compute/load.h"
#include "lab/bench_cold.h"
#include "lab/bench_measure.h"
#include "lab/bench_report.h"
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static const size_t default_length[] = {2048, 4096, 8192, 16384};
static const struct {
    const char *name;
    int part;
} part[] = {{"ttft", BENCH_TTFT}, {"ingest", BENCH_INGEST}, {"decode", BENCH_DECODE},
            {"load", BENCH_LOAD}, {"memory", BENCH_MEMORY}, {"cancel", BENCH_CANCEL}};
enum { LEAST_LENGTH = 64, MOST_LENGTH = 1 << 24 };

/* ---- A process for each measurement ------------------------------------------------------------------------------------------------- */

/* What a process is to do. This one loads no model and starts no thread, so that each begins afresh: its peak memory is what it used
 * itself, no earlier measurement's heap or threads are in its way, and if it is killed the run can say so. */
typedef struct job {
    enum { JOB_FACTS, JOB_LENGTH, JOB_INGEST, JOB_LOAD, JOB_BUSY, JOB_CANCEL, JOB_ONCE } kind;
    size_t n_tokens;
    bench_side side;
    bool flash_attention;
} job;

static int do_job(const bench *b, const job *j, json_t *out) {
    switch (j->kind) {
    case JOB_FACTS:
        return bench_facts(b, out);
    case JOB_LENGTH:
        return bench_length(b, j->n_tokens, out);
    case JOB_INGEST:
        return bench_ingest(b, out);
    case JOB_LOAD:
        return bench_load(b, out);
    case JOB_BUSY:
        return bench_busy(b, out);
    case JOB_CANCEL:
        return bench_cancel(b, out);
    case JOB_ONCE:
        return bench_once(b, j->n_tokens, j->side, j->flash_attention);
    }
    return CLI_FAILED;
}

_Noreturn static void be_child(const bench *b, const job *j, int to, pid_t parent) {
    cli_signals(CLI_SIGNAL_IMMEDIATE);
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* nobody would read what it measures */
    if (getppid() != parent) {
        _exit(CLI_FAILED);
    }
    progress_start(b->quiet);
    json_t *out = json_object();
    int status = do_job(b, j, out);
    progress_end();
    if (json_dumpfd(out, to, JSON_REAL_PRECISION(9)) && status == CLI_OK) {
        status = CLI_FAILED;
    }
    json_decref(out);
    exit(status);
}

static void read_all(int from, text *out) {
    char part_of_it[1024];
    ssize_t n = 0;
    enum { LOOK_MS = 200 }; /* a signal between the question for it and the wait would be missed */
    while (!cli_interrupted()) {
        if (poll(&(struct pollfd){.fd = from, .events = POLLIN}, 1, LOOK_MS) <= 0) {
            continue;
        }
        if ((n = read(from, part_of_it, sizeof part_of_it)) <= 0 && !(n < 0 && errno == EINTR)) {
            break;
        }
        text_add(out, part_of_it, n > 0 ? (size_t)n : 0);
    }
}

/* Waits for a process and says what became of it. */
static int end_of(pid_t child, struct rusage *usage) {
    int status = 0;
    if (cli_interrupted()) {
        kill(child, SIGTERM);
    }
    while (wait4(child, &status, 0, usage) < 0) {
        if (cli_interrupted()) {
            kill(child, SIGTERM);
        }
        if (errno != EINTR) {
            cli_error("lost the process that measures: %s", strerror(errno));
            return CLI_FAILED;
        }
    }
    if (cli_interrupted()) {
        return CLI_INTERRUPTED;
    }
    if (WIFEXITED(status)) {
        return WEXITSTATUS(status);
    }
    cli_error("the process that measures was ended by signal %d%s", WTERMSIG(status),
              WTERMSIG(status) == SIGKILL ? "; when memory runs out the kernel does that: try shorter lengths or a smaller model" : "");
    return CLI_FAILED;
}

/* Does a job in a process of its own; what it found is put into `out`. peak_bytes may be NULL. */
static int in_process(const bench *b, const job *j, json_t *out, uint64_t *peak_bytes) {
    int ends[2];
    fflush(NULL);
    if (pipe(ends)) {
        cli_error("cannot make a pipe: %s", strerror(errno));
        return CLI_FAILED;
    }
    const pid_t parent = getpid(), child = fork();
    if (child == 0) {
        close(ends[0]);
        be_child(b, j, ends[1], parent);
    }
    close(ends[1]);
    if (child < 0) {
        cli_error("cannot start a process: %s", strerror(errno));
        close(ends[0]);
        return CLI_FAILED;
    }
    text said = {0};
    struct rusage usage = {0};
    read_all(ends[0], &said);
    close(ends[0]);
    int status = end_of(child, &usage);
    if (peak_bytes) {
        *peak_bytes = (uint64_t)usage.ru_maxrss * 1024;
    }
    if (status == CLI_OK) {
        json_t *found = json_loadb(said.text ? said.text : "", said.n, 0, NULL);
        if (!found || json_object_update(out, found)) {
            cli_error("the process that measures gave no result");
            status = CLI_FAILED;
        }
        json_decref(found);
    }
    text_free(&said);
    return status;
}

/* ---- The command line --------------------------------------------------------------------------------------------------------------- */

static int parse_lengths(const command_usage *usage, const char *string, bench *b) {
    for (const char *at = string; b->n_lengths < COUNT_OF(b->length);) {
        const size_t n = strcspn(at, ",");
        double value = 0;
        if (strspn(at, "0123456789") != n || !parse_number(at, n, LEAST_LENGTH, MOST_LENGTH, &value)) {
            break;
        }
        b->length[b->n_lengths++] = (size_t)value;
        if (!at[n]) {
            return CLI_OK;
        }
        at += n + 1;
    }
    return options_wrong(usage, "--lengths takes numbers of tokens from %d to %d separated by commas, at most %d of them, not '%s'",
                         LEAST_LENGTH, MOST_LENGTH, BENCH_MAX_LENGTHS, string);
}

static int parse_parts(const command_usage *usage, const char *string, int *parts) {
    if (strcmp(string, "none") == 0) {
        return CLI_OK;
    }
    for (const char *at = string;;) {
        const size_t n = strcspn(at, ",");
        size_t i = 0;
        while (i < COUNT_OF(part) && (strlen(part[i].name) != n || memcmp(part[i].name, at, n) != 0)) {
            i++;
        }
        if (i == COUNT_OF(part)) {
            return options_wrong(usage, "--only takes some of ttft,ingest,decode,load,memory,cancel, or none, not '%s'", string);
        }
        *parts |= part[i].part;
        if (!at[n]) {
            return CLI_OK;
        }
        at += n + 1;
    }
}

/* ---- The run ------------------------------------------------------------------------------------------------------------------------ */

static size_t longest(const bench *b) {
    size_t most = 0;
    for (size_t i = 0; i < b->n_lengths; i++) {
        most = b->length[i] > most ? b->length[i] : most;
    }
    return most;
}

static uint64_t available_memory(void) {
    FILE *file = fopen("/proc/meminfo", "r");
    char line[256];
    unsigned long long kib = 0;
    while (file && fgets(line, sizeof line, file) && sscanf(line, "MemAvailable: %llu", &kib) != 1) {
    }
    if (file) {
        fclose(file);
    }
    return (uint64_t)kib * 1024;
}

/* Takes tokens and limits from the facts, and refuses what cannot be measured before anything is. default_lengths: those that do not fit
 * are left out. */
static int check(bench *b, json_t *facts, bool default_lengths) {
    json_t *token = json_object_get(facts, "token"), *model = json_object_get(facts, "model");
    b->n_tokens = json_array_size(token);
    b->token = must_alloc(b->n_tokens, sizeof *b->token);
    for (size_t i = 0; i < b->n_tokens; i++) {
        b->token[i] = (int32_t)json_integer_value(json_array_get(token, i));
    }
    b->n_around = (size_t)json_integer_value(json_object_get(facts, "n_around"));
    json_object_del(facts, "token");
    json_object_del(facts, "n_around");

    const size_t n_ctx = (size_t)json_integer_value(json_object_get(model, "n_ctx_train")), n_more = b->n_around + BENCH_DECODED + 1;
    while (default_lengths && b->n_lengths > 1 && longest(b) + n_more > n_ctx) {
        b->n_lengths--; /* the defaults ascend */
    }
    if (longest(b) + n_more > n_ctx) {
        cli_error("%s tokens, with %s of question and answer, do not fit %s, whose context is %s; ask for at most %s",
                  human_count(longest(b)), human_count(n_more), b->model, human_count(n_ctx),
                  human_count(n_ctx > n_more ? n_ctx - n_more : 0));
        return CLI_FAILED;
    }
    if (b->n_tokens < longest(b)) {
        cli_error("%s has %s tokens, and %s are asked for; give a longer text, or none", b->text, human_count(b->n_tokens),
                  human_count(longest(b)));
        return CLI_FAILED;
    }
    const uint64_t row = (uint64_t)json_integer_value(json_object_get(model, "kv_bytes_a_token"));
    const uint64_t need = 2 * ((uint64_t)json_integer_value(json_object_get(model, "n_bytes")) + row * (longest(b) + n_more));
    const uint64_t have = available_memory();
    if (have && need > have) {
        cli_error(
            "two copies of the weights and of the cache of %s tokens need %s, and %s of memory are available; ask for shorter lengths "
            "or take a smaller model",
            human_count(longest(b)), human_bytes(need), human_bytes(have));
        return CLI_FAILED;
    }
    return CLI_OK;
}

static int measure_memory(const bench *b, size_t n_tokens, json_t *out) {
    static const bench_side side[] = {SIDE_LIBLLAMA, SIDE_FULL, SIDE_INFOFLOW, SIDE_NONE};
    const bool flash_attention = !json_is_false(json_object_get(out, "flash_attention"));
    json_t *memory = json_object();
    json_object_set_new(out, "peak_memory_bytes", memory);
    uint64_t peak[N_SIDES] = {0};
    int result = CLI_OK;
    if (!(b->parts & (BENCH_TTFT | BENCH_DECODE))) { /* nobody has stored the chunks yet, and a reader of stored ones needs less */
        result = in_process(b, &(job){.kind = JOB_ONCE, .n_tokens = n_tokens, .side = SIDE_NONE}, memory, NULL);
    }
    for (size_t i = 0; i < COUNT_OF(side) && result == CLI_OK; i++) {
        const job j = {.kind = JOB_ONCE, .n_tokens = n_tokens, .side = side[i], .flash_attention = flash_attention};
        result = in_process(b, &j, memory, &peak[side[i]]);
        json_object_set_new(memory, bench_side_key[side[i]], json_integer((json_int_t)peak[side[i]]));
    }
    if (result == CLI_OK) {
        json_object_set_new(out, "peak_memory_ratio", json_finite((double)peak[SIDE_INFOFLOW] / (double)peak[SIDE_LIBLLAMA]));
    }
    return result;
}

static int measure(const bench *b, json_t *out) {
    int result = CLI_OK;
    json_t *lengths = json_array();
    if (b->n_lengths) {
        json_object_set(out, "lengths", lengths);
    }
    for (size_t i = 0; i < b->n_lengths && result == CLI_OK; i++) {
        json_t *length = json_pack("{s:I}", "tokens", (json_int_t)b->length[i]);
        json_array_append_new(lengths, length);
        if (b->parts & (BENCH_TTFT | BENCH_DECODE)) {
            result = in_process(b, &(job){.kind = JOB_LENGTH, .n_tokens = b->length[i]}, length, NULL);
        }
        if (result == CLI_OK && b->parts & BENCH_MEMORY) {
            result = measure_memory(b, b->length[i], length);
        }
    }
    json_decref(lengths);
    if (result == CLI_OK && b->parts & BENCH_INGEST) {
        result = in_process(b, &(job){.kind = JOB_INGEST}, out, NULL);
    }
    if (result == CLI_OK && b->parts & BENCH_LOAD) {
        result = in_process(b, &(job){.kind = JOB_LOAD}, out, NULL);
    }
    if (result == CLI_OK && b->busy) {
        result = in_process(b, &(job){.kind = JOB_BUSY}, out, NULL);
    }
    if (result == CLI_OK && b->parts & BENCH_CANCEL) {
        result = in_process(b, &(job){.kind = JOB_CANCEL}, out, NULL);
    }
    return result;
}

static int show(const json_t *out, bool json, const char *svg) {
    int result = CLI_OK;
    if (svg) {
        text chart = {0};
        bench_svg(out, &chart);
        result = output_check("--svg", svg, OUTPUT_CHART); /* again: a file may have come there meanwhile */
        result = result == CLI_OK ? write_file(svg, chart.text, chart.n, false) : result;
        text_free(&chart);
    }
    if (json) {
        return json_print(out, JSON_INDENT(2) | JSON_REAL_PRECISION(6), stdout) == CLI_OK ? result : CLI_FAILED;
    }
    bench_print(out);
    return result;
}

/* Makes the directory of the run's stores, which the caller frees. NULL: it was said why. */
static char *make_dir(const char *in) {
    char *dir = text_format("%s/infoflow-bench-XXXXXX", in);
    if (mkdtemp(dir)) {
        return dir;
    }
    cli_error("cannot make a temporary store in %s: %s", in, strerror(errno));
    free(dir);
    return NULL;
}

static const command_usage usage = {
    "bench", "-m MODEL [OPTION]...",
    "Compares infoflow with libllama: time to first token, decoding, memory, ingest\n"
    "and model load. No other program should run at the same time.\n"
    "\n"
    "Both have the same weights, tokens and threads; libllama runs with flash attention on or off, whichever is faster. For each "
    "length, the time to first token is measured in turns (A B C D E A B C D E ...), after one turn that warms up, of: libllama's "
    "full prefill, full prefill of infoflow, infoflow with the chunks in memory, infoflow with the chunks on the disk, and no "
    "recompute. Printed are medians, their range, and ratios turn by turn. Then come decoding after that many tokens, peak memory "
    "(in a new process each), ingest (libllama computes the same pieces and stores nothing), and model load.",
    "  infoflow bench -m model.gguf --lengths 2048,8192 --svg ttft.svg"};

/* What the command line has besides what a bench is. */
typedef struct bench_options {
    common_options common;
    const char *lengths, *only, *svg;
    bool json;
} bench_options;

static int parse_options(bench *b, bench_options *o, int argc, char **argv, int *first) {
    const option_spec spec[] = {
        OPTION_ROW_MODEL(o->common),
        {'c', "lengths", "N,...", OPTION_TEXT, &o->lengths, 0, 0,
         "tokens of the documents\nDefault: those of 2048,4096,8192,16384 that the model's context holds"},
        {'r', "ratio", "R", OPTION_REAL, &b->ratio, 0, 1, "share of the tokens to recompute (default: 0.15)"},
        {'\0', "turns", "N", OPTION_INT, &b->turns, 1, BENCH_MAX_TURNS, "number of turns (default: 3)"},
        {'\0', "only", "PART,...", OPTION_TEXT, &o->only, 0, 0,
         "parts to measure: ttft, ingest, decode, load, memory, cancel, or none\nDefault: all but cancel, which measures how soon a "
         "cancelled call ends, and needs two chunks"},
        {'t', "threads", "N", OPTION_INT, &b->threads, 1, CLI_MAX_THREADS,
         "threads of both\nDefault: the processors that this process can use"},
        {'\0', "json", NULL, OPTION_FLAG, &o->json, 0, 0, "print one JSON object"},
        {'\0', "svg", "FILE", OPTION_TEXT, &o->svg, 0, 0, "also draw time to first token against length"},
        OPTION_ROW_QUIET(o->common),
        {0, NULL, NULL, OPTION_FLAG, NULL, 0, 0, "Documents and store"},
        {'\0', "chunk", "N", OPTION_INT, &b->chunk, 16, 1 << 24, "tokens of a chunk (default: 512)"},
        OPTION_ROWS_FILLERS(o->common),
        {'\0', "correction", "FILE|none", OPTION_TEXT, &b->correction, 0, 0,
         "infoflow corrects KV by this file of `infoflow learn` (default: none)"},
        {'\0', "busy", "N", OPTION_INT, &b->busy, 1, 1024,
         "also measure the first length while N other processes keep the processors busy, in turns with the idle machine"},
        {'\0', "text", "FILE", OPTION_TEXT, &b->text, 0, 0, "text of the documents (default: a made-up text, the same every time)"},
        {'s', "store", "DIR", OPTION_TEXT, &o->common.store, 0, 0,
         "directory for a temporary store, on the disk that you want to measure (default: $TMPDIR, else /tmp)"},
        {0, NULL, NULL, OPTION_FLAG, NULL, 0, 0, "Computing"},
        {'\0', "device", "auto|cpu", OPTION_CHOICE, &b->device, 0, 0, "compute device of both (default: auto, a GPU if there is one)"},
        OPTION_ROW_EXACT(o->common),
        OPTION_ROW_VERBOSE(o->common),
        {0}};
    return options_parse(&usage, spec, argc, argv, first);
}

/* Options that do not go together, and what follows from those that were given. */
static int settle_options(bench *b, const bench_options *o) {
    int result = CLI_OK;
    for (size_t i = 0; !o->lengths && i < COUNT_OF(default_length); i++) {
        b->length[b->n_lengths++] = default_length[i];
    }
    if ((o->lengths && (result = parse_lengths(&usage, o->lengths, b)) != CLI_OK) ||
        (result = parse_parts(&usage, o->only ? o->only : "ttft,ingest,decode,load,memory", &b->parts)) != CLI_OK) {
        return result;
    }
    if (o->svg && !(b->parts & BENCH_TTFT)) {
        return options_wrong(&usage, "--svg draws the time to first token, which --only leaves out");
    }
    if (o->svg && (result = output_check("--svg", o->svg, OUTPUT_CHART)) != CLI_OK) {
        return result;
    }
    if (!(b->parts & (BENCH_TTFT | BENCH_DECODE | BENCH_MEMORY | BENCH_CANCEL)) && !b->busy) {
        if (o->lengths) {
            return options_wrong(&usage, "--lengths goes with ttft, decode or memory, which --only leaves out");
        }
        b->n_lengths = 0;
    }
    b->model = o->common.model ? o->common.model : iflow_environment("INFOFLOW_MODEL");
    if (!b->model) {
        return options_wrong(&usage, "which model? Give -m MODEL.gguf or set INFOFLOW_MODEL");
    }
    if (b->correction && strcmp(b->correction, "none") == 0) {
        b->correction = NULL;
    }
    const char *temporary = iflow_environment("TMPDIR");
    b->place = o->common.store ? o->common.store : temporary ? temporary : "/tmp";
    b->quiet = o->common.quiet;
    b->fillers = o->common.fillers;
    b->exact = o->common.exact;
    b->threads = b->threads ? b->threads : iflow_load_processors();
    return CLI_OK;
}

int lab_bench(int argc, char **argv) {
    bench b = {.chunk = 512, .turns = 3, .ratio = 0.15};
    bench_options o = {.common = common_options_default()};
    int first = 0, result = parse_options(&b, &o, argc, argv, &first);
    if (result != OPTIONS_GO) {
        return result;
    }
    if (first < argc) {
        return options_wrong(&usage, "'%s' is one argument too many", argv[first]);
    }
    if ((result = settle_options(&b, &o)) != CLI_OK) {
        return result;
    }
    cli_session_log(&o.common);
    cli_signals(CLI_SIGNAL_GRACEFUL); /* the directory is removed whatever happens */
    signal(SIGPIPE, SIG_IGN);         /* an output that nobody reads is a write that fails */
    json_t *out = json_object();
    char *dir = make_dir(b.place);
    result = CLI_FAILED;
    if (!dir) {
        goto cleanup;
    }
    b.dir = dir;
    result = in_process(&b, &(job){.kind = JOB_FACTS}, out, NULL);
    if (result == CLI_OK && (result = check(&b, out, !o.lengths)) == CLI_OK) {
        result = measure(&b, out);
    }
    cold_remove(dir);
    if (result == CLI_OK) {
        result = show(out, o.json, o.svg);
    }
cleanup:
    json_decref(out);
    free(dir);
    free(b.token);
    return cli_finish(result);
}
