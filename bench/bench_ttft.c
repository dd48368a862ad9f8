/* bench_ttft.c - time to the first token and peak memory: libllama's full prefill, ours, infoflow and none, on the same tokens.
 *
 * Times what a user waits for after a question, everything warm (model loaded, chunks in the store and the page cache), in turn
 * A B C D A B C D ... in one process; medians, range, and ratios turn by turn, since these machines drift. Peak memory comes from one fresh
 * process for each. */
#include "flow/context.h"
#include "flow/prompt.h"

#include <getopt.h>
#include <llama.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

typedef enum side { LIBLLAMA, FULL, INFOFLOW, NONE, N_SIDES } side;
static const char *const side_name[N_SIDES] = {"libllama full prefill", "our full prefill", "infoflow", "none (no recompute)"};
static const char *const side_option[N_SIDES] = {"libllama", "full", "infoflow", "none"};

enum { MAX_TURNS = 64 };

typedef struct options {
    const char *model, *store, *text;
    int n, chunk, turns, threads, only;
    double ratio;
} options;

static const char question[] = "Which town keeps the diary of the engineer who designed the lighthouse?";

/* Ends the program with the library's message; a benchmark has nothing to go on with. */
static void need(iflow_status status) {
    if (status) {
        fprintf(stderr, "bench_ttft: %s\n", iflow_error_message());
        exit(1);
    }
}

/* Text to fill the context: a file's, or made up, no two sentences alike. */
static char *make_text(const options *o, size_t *n_bytes) {
    iflow_buffer text = {0};
    if (o->text) {
        FILE *file = fopen(o->text, "rb");
        if (!file) {
            perror(o->text);
            exit(1);
        }
        char part[65536];
        for (size_t got; (got = fread(part, 1, sizeof part, file)) > 0;) {
            need(iflow_buffer_add(&text, part, got));
        }
        fclose(file);
    } else {
        static const char *const who[] = {"The keeper",   "An engineer",     "The harbour master", "A brewer",
                                          "The surveyor", "A schoolteacher", "The mayor"};
        static const char *const did[] = {"wrote down", "measured", "argued about", "drew a map of", "paid for", "remembered", "sold"};
        static const char *const what[] = {"the northern lighthouse", "seven stone bridges",  "the winter storms",
                                           "an unfinished canal",     "the old library",      "forty crates of glass",
                                           "the ferry's timetable",   "a diary of the voyage"};
        for (int i = 0; text.n < (size_t)o->n * 6; i++) {
            char line[256];
            const int used = snprintf(line, sizeof line, "%s %s %s in the year %d, and again %d days later%s", who[i % 7], did[i / 7 % 7],
                                      what[i * 5 % 8], 1700 + i * 37 % 300, i * 11 % 97 + 2, i % 6 == 5 ? ".\n\n" : ". ");
            need(iflow_buffer_add(&text, line, (size_t)used));
        }
    }
    *n_bytes = text.n;
    return text.text;
}

/* Everything both peers work on. */
typedef struct bench {
    const options *o;
    iflow_model *model;
    iflow_store *store;
    iflow_context *ctx;
    struct llama_model *peer_model;
    struct llama_context *peer;
    int32_t *token; /* context and prompt */
    int n_token;
    bool flash_attention;
} bench;

static void open_ours(bench *b) {
    need(iflow_model_load(b->o->model, NULL, &b->model));
    need(iflow_store_open(b->o->store, NULL, &b->store));
    need(iflow_context_new(b->model, b->store, &(iflow_context_params){.n_threads = b->o->threads}, &b->ctx));
    size_t n_bytes = 0, n = 0;
    char *text = make_text(b->o, &n_bytes);
    int32_t *token = NULL;
    need(iflow_tokenize(b->model, text, n_bytes, false, &token, &n));
    if (n < (size_t)b->o->n) {
        fprintf(stderr, "bench_ttft: the text has %zu tokens, %d are asked for\n", n, b->o->n);
        exit(1);
    }
    for (int at = 0; at < b->o->n; at += b->o->chunk) {
        const int left = b->o->n - at;
        need(iflow_context_add_tokens(b->ctx, token + at, (size_t)(left < b->o->chunk ? left : b->o->chunk)));
    }
    free(token);
    free(text);
}

static iflow_ask_params ask_params(const bench *b, side s) {
    iflow_ask_params params = iflow_ask_default_params();
    params.question = question;
    params.method = s == FULL ? IFLOW_METHOD_FULL : s == NONE ? IFLOW_METHOD_NONE : IFLOW_METHOD_INFOFLOW;
    params.ratio = b->o->ratio;
    params.max_tokens = 1;
    return params;
}

static iflow_answer *ask(const bench *b, side s) {
    const iflow_ask_params params = ask_params(b, s);
    iflow_answer *answer = NULL;
    need(iflow_context_ask(b->ctx, &params, &answer));
    return answer;
}

/* The sequence that full prefill runs: libllama gets the same. */
static void take_tokens(bench *b) {
    iflow_answer *answer = ask(b, NONE); /* also puts all chunks into the store */
    const iflow_ask_params params = ask_params(b, NONE);
    iflow_prompt prompt;
    need(iflow_prompt_make(b->model, &params, &prompt));
    b->n_token = (int)(answer->n_context + prompt.prompt.n);
    b->token = calloc((size_t)b->n_token, sizeof *b->token);
    if (!b->token) {
        exit(1);
    }
    memcpy(b->token, answer->context_token, answer->n_context * sizeof *b->token);
    memcpy(b->token + answer->n_context, prompt.prompt.token, prompt.prompt.n * sizeof *b->token);
    iflow_prompt_free(&prompt);
    iflow_answer_free(answer);
}

static void open_peer(bench *b) {
    if (!b->peer_model && !(b->peer_model = llama_model_load_from_file(b->o->model, llama_model_default_params()))) {
        fprintf(stderr, "bench_ttft: libllama cannot load %s\n", b->o->model);
        exit(1);
    }
    struct llama_context_params params = llama_context_default_params();
    params.n_ctx = params.n_batch = (uint32_t)(b->n_token + 255) / 256 * 256 + 256;
    params.n_ubatch = 512;
    params.n_threads = params.n_threads_batch = b->o->threads;
    params.flash_attn_type = b->flash_attention ? LLAMA_FLASH_ATTN_TYPE_ENABLED : LLAMA_FLASH_ATTN_TYPE_DISABLED;
    if (b->peer) {
        llama_free(b->peer);
    }
    b->peer = llama_init_from_model(b->peer_model, params);
    if (!b->peer) {
        fprintf(stderr, "bench_ttft: libllama cannot make a context\n");
        exit(1);
    }
}

static double run_peer(bench *b) {
    llama_memory_clear(llama_get_memory(b->peer), true);
    const double start = iflow_now_ms();
    if (llama_decode(b->peer, llama_batch_get_one(b->token, b->n_token))) {
        fprintf(stderr, "bench_ttft: libllama's decode failed\n");
        exit(1);
    }
    const float *logits = llama_get_logits_ith(b->peer, -1);
    volatile int best = 0;
    for (int i = 1; i < b->model->n_vocab; i++) {
        best = logits[i] > logits[best] ? i : best;
    }
    return iflow_now_ms() - start;
}

static double run_side(bench *b, side s, iflow_timings *ms) {
    if (s == LIBLLAMA) {
        return run_peer(b);
    }
    iflow_answer *answer = ask(b, s);
    const double ttft = answer->ms.ttft;
    *ms = answer->ms;
    iflow_answer_free(answer);
    return ttft;
}

static void close_bench(bench *b) {
    if (b->peer) {
        llama_free(b->peer);
    }
    if (b->peer_model) {
        llama_model_free(b->peer_model);
    }
    free(b->token);
    iflow_context_free(b->ctx);
    iflow_store_close(b->store);
    iflow_model_free(b->model);
}

static int ascending(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

typedef struct spread {
    double min, median, max;
} spread;

static spread spread_of(const double *value, int n) {
    double sorted[MAX_TURNS];
    memcpy(sorted, value, (size_t)n * sizeof *value);
    qsort(sorted, (size_t)n, sizeof *sorted, ascending);
    return (spread){sorted[0], n % 2 ? sorted[n / 2] : (sorted[n / 2 - 1] + sorted[n / 2]) / 2, sorted[n - 1]};
}

/* Peak resident memory, in MiB, of a fresh process that does one side once. */
static double peak_memory(char **argv, side s) {
    char self[4096];
    const ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n <= 0) {
        return 0;
    }
    self[n] = '\0';
    int count = 0;
    while (argv[count]) {
        count++;
    }
    char **again = calloc((size_t)count + 3, sizeof *again);
    if (!again) {
        return 0;
    }
    memcpy(again, argv, (size_t)count * sizeof *argv);
    static char only[] = "--only";
    again[count] = only;
    again[count + 1] = iflow_strdup(side_option[s]);
    const pid_t child = fork();
    if (child == 0) {
        execv(self, again);
        _exit(127);
    }
    free(again[count + 1]);
    free(again);
    int status = 0;
    struct rusage usage;
    if (child < 0 || wait4(child, &status, 0, &usage) != child || !WIFEXITED(status) || WEXITSTATUS(status)) {
        return 0;
    }
    return (double)usage.ru_maxrss / 1024;
}

/* In the child: the least that this side needs. libllama gets its tokens from our tokenizer alone. */
static void run_only(bench *b, side s) {
    if (s != LIBLLAMA) {
        open_ours(b);
        iflow_timings ms;
        run_side(b, s, &ms);
        return;
    }
    b->n_token = b->o->n + 64;
    b->token = calloc((size_t)b->n_token, sizeof *b->token);
    if (!b->token) {
        exit(1);
    }
    for (int i = 0; i < b->n_token; i++) {
        b->token[i] = 100 + i * 31 % 1000;
    }
    b->flash_attention = true;
    open_peer(b);
    if (llama_decode(b->peer, llama_batch_get_one(b->token, b->n_token))) {
        exit(1);
    }
}

static void print_processor(void) {
    FILE *file = fopen("/proc/cpuinfo", "r");
    char line[4096];
    while (file && fgets(line, sizeof line, file)) {
        if (!strncmp(line, "model name", 10)) {
            printf("processor   %s", strchr(line, ':') + 2);
            break;
        }
    }
    if (file) {
        fclose(file);
    }
    printf("ggml        %s (%s), %s\n", ggml_version(), ggml_commit(), llama_print_system_info());
}

static const char help[] =
    "bench_ttft -m MODEL [options]: time to the first token, and peak memory, against libllama's full prefill of the same tokens\n"
    "  -m, --model FILE     GGUF model (required)\n"
    "  -n, --tokens N       tokens of documents (2048)\n"
    "  -c, --chunk N        tokens a chunk (512)\n"
    "  -r, --ratio R        share recomputed (0.15)\n"
    "  -p, --turns N        measured turns A B C D (5)\n"
    "  -t, --threads N      threads of both (2)\n"
    "  -s, --store DIR      where chunks are kept (a directory under /tmp that is removed)\n"
    "  -f, --text FILE      text of the documents (made up)\n";

static options parse(int argc, char **argv) {
    static const struct option longs[] = {{"model", required_argument, NULL, 'm'},
                                          {"tokens", required_argument, NULL, 'n'},
                                          {"chunk", required_argument, NULL, 'c'},
                                          {"ratio", required_argument, NULL, 'r'},
                                          {"turns", required_argument, NULL, 'p'},
                                          {"threads", required_argument, NULL, 't'},
                                          {"store", required_argument, NULL, 's'},
                                          {"text", required_argument, NULL, 'f'},
                                          {"only", required_argument, NULL, 'o'},
                                          {"help", no_argument, NULL, 'h'},
                                          {0}};
    options o = {.n = 2048, .chunk = 512, .turns = 5, .threads = 2, .ratio = 0.15, .only = -1};
    for (int c; (c = getopt_long(argc, argv, "m:n:c:r:p:t:s:f:h", longs, NULL)) != -1;) {
        switch (c) {
        case 'm':
            o.model = optarg;
            break;
        case 'n':
            o.n = atoi(optarg);
            break;
        case 'c':
            o.chunk = atoi(optarg);
            break;
        case 'r':
            o.ratio = atof(optarg);
            break;
        case 'p':
            o.turns = atoi(optarg);
            break;
        case 't':
            o.threads = atoi(optarg);
            break;
        case 's':
            o.store = optarg;
            break;
        case 'f':
            o.text = optarg;
            break;
        case 'o':
            for (int i = 0; i < N_SIDES; i++) {
                o.only = strcmp(optarg, side_option[i]) ? o.only : i;
            }
            break;
        case 'h':
            fputs(help, stdout);
            exit(0);
        default:
            fputs(help, stderr);
            exit(2);
        }
    }
    if (!o.model || o.n < 1 || o.chunk < 1 || o.turns < 1 || o.turns > MAX_TURNS || o.threads < 1) {
        fputs(help, stderr);
        exit(2);
    }
    return o;
}

static void measure(bench *b, double ttft[N_SIDES][MAX_TURNS], iflow_timings stage[MAX_TURNS]) {
    open_ours(b);
    take_tokens(b);
    double best[2];
    for (int fa = 0; fa < 2; fa++) {
        b->flash_attention = fa;
        open_peer(b);
        run_peer(b);
        best[fa] = run_peer(b);
    }
    b->flash_attention = best[1] <= best[0];
    open_peer(b);
    printf("libllama    flash attention %s is its faster setting here (%.0f ms against %.0f)\n", b->flash_attention ? "on" : "off",
           best[b->flash_attention], best[!b->flash_attention]);
    iflow_timings ms;
    for (int i = -1; i < b->o->turns; i++) { /* turn -1 warms up */
        for (side s = 0; s < N_SIDES; s++) {
            const double t = run_side(b, s, &ms);
            if (i >= 0) {
                ttft[s][i] = t;
                if (s == INFOFLOW) {
                    stage[i] = ms;
                }
            }
        }
        if (isatty(2)) {
            fprintf(stderr, "\rturn %d of %d ", i + 1, b->o->turns);
        }
    }
    if (isatty(2)) {
        fprintf(stderr, "\r                    \r");
    }
}

static void report(const options *o, double ttft[N_SIDES][MAX_TURNS], const iflow_timings *stage, char **argv) {
    printf("\n%-24s %10s %21s %10s %19s %12s\n", "", "TTFT ms", "(min .. max)", "libllama/x", "(min .. max)", "peak MiB");
    for (side s = 0; s < N_SIDES; s++) {
        double ratio[MAX_TURNS];
        for (int i = 0; i < o->turns; i++) {
            ratio[i] = ttft[LIBLLAMA][i] / ttft[s][i];
        }
        const spread t = spread_of(ttft[s], o->turns), r = spread_of(ratio, o->turns);
        printf("%-24s %10.0f  (%8.0f ..%8.0f) %9.2f  (%6.2f ..%6.2f) %11.0f\n", side_name[s], t.median, t.min, t.max, r.median, r.min,
               r.max, peak_memory(argv, s));
    }
    double own[MAX_TURNS];
    for (int i = 0; i < o->turns; i++) {
        own[i] = ttft[FULL][i] / ttft[INFOFLOW][i];
    }
    const spread f = spread_of(own, o->turns);
    printf("\nour full prefill over infoflow: %.2f (%.2f .. %.2f)\n", f.median, f.min, f.max);
    static const struct {
        const char *name;
        size_t offset;
    } part[] = {{"load", offsetof(iflow_timings, load)},           {"assemble", offsetof(iflow_timings, assemble)},
                {"score", offsetof(iflow_timings, score)},         {"select", offsetof(iflow_timings, select)},
                {"recompute", offsetof(iflow_timings, recompute)}, {"prompt", offsetof(iflow_timings, prompt)}};
    printf("infoflow's stages, median ms:");
    for (size_t k = 0; k < sizeof part / sizeof *part; k++) {
        double value[MAX_TURNS];
        for (int i = 0; i < o->turns; i++) {
            memcpy(&value[i], (const char *)&stage[i] + part[k].offset, sizeof *value);
        }
        printf(" %s %.1f", part[k].name, spread_of(value, o->turns).median);
    }
    printf("\n");
}

static void no_log(enum ggml_log_level level, const char *text, void *user) {
    (void)level, (void)text, (void)user;
}

int main(int argc, char **argv) {
    options o = parse(argc, argv);
    llama_log_set(no_log, NULL);
    ggml_log_set(no_log, NULL);
    bench b = {.o = &o};
    if (o.only >= 0) {
        run_only(&b, (side)o.only);
        close_bench(&b);
        return 0;
    }
    static char temporary[] = "/tmp/infoflow-bench-XXXXXX", store_option[] = "-s";
    const bool own_store = !o.store;
    char **child_argv = calloc((size_t)argc + 3, sizeof *child_argv);
    if (!child_argv || (own_store && !mkdtemp(temporary))) {
        perror("bench_ttft");
        free(child_argv);
        return 1;
    }
    memcpy(child_argv, argv, (size_t)argc * sizeof *argv);
    if (own_store) {
        o.store = temporary;
        child_argv[argc] = store_option;
        child_argv[argc + 1] = temporary;
    }
    static double ttft[N_SIDES][MAX_TURNS];
    static iflow_timings stage[MAX_TURNS];
    printf("model       %s\ndocuments   %d tokens in chunks of %d, ratio %g, %d threads, %d turns\n", o.model, o.n, o.chunk, o.ratio,
           o.threads, o.turns);
    print_processor();
    measure(&b, ttft, stage);
    close_bench(&b); /* before the children: memory is theirs */
    report(&o, ttft, stage, child_argv);
    if (own_store) {
        iflow_store *store = NULL;
        size_t n = 0;
        uint64_t n_bytes = 0;
        if (!iflow_store_open(temporary, NULL, &store)) {
            iflow_store_prune(store, 0, &n, &n_bytes);
            iflow_store_close(store);
        }
        char *command = iflow_format("rm -rf '%s'", temporary);
        if (!command || system(command)) {
            fprintf(stderr, "bench_ttft: %s is left\n", temporary);
        }
        free(command);
    }
    free(child_argv);
    return 0;
}
