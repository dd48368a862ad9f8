/* bench_measure.c - what `infoflow bench` measures, each in a process of its own: machine and model, lengths, ingest, load, memory. */
#include "lab/bench_measure.h"

#include "cli/progress.h"
#include "cli/report.h"
#include "cli/text.h"
#include "lab/bench_cold.h"
#include "lab/bench_peer.h"
#include "service/stats.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

const char *const bench_side_key[N_SIDES] = {"libllama", "full", "infoflow", "infoflow_cold", "none"};
static const char *const side_doing[N_SIDES] = {"libllama's full prefill", "our full prefill", "infoflow", "infoflow, cold store",
                                                "no recompute"};
const char bench_question[] = "Which town keeps the diary of the engineer who designed the lighthouse?";

/* More than this of the chunks in the page cache after it was told to drop them: a memory file system, and no cold store. */
static const double MOST_RESIDENT = 0.1;

/* ---- Medians ------------------------------------------------------------------------------------------------------------------------ */

static json_t *spread(const double *value, int n) {
    double sorted[BENCH_MAX_TURNS];
    memcpy(sorted, value, (size_t)n * sizeof *value);
    const double median = stats_median(sorted, (size_t)n);
    return json_pack("{s:o, s:o, s:o}", "median", json_finite(median), "min", json_finite(sorted[0]), "max", json_finite(sorted[n - 1]));
}

/* Of a over b, turn by turn. */
static json_t *ratio_spread(const double *a, const double *b, int n) {
    double ratio[BENCH_MAX_TURNS];
    for (int i = 0; i < n; i++) {
        ratio[i] = b[i] > 0 ? a[i] / b[i] : 0;
    }
    return spread(ratio, n);
}

static void rates(double n_tokens, const double *ms, int n, double *out) {
    for (int i = 0; i < n; i++) {
        out[i] = ms[i] > 0 ? n_tokens * 1e3 / ms[i] : 0;
    }
}

/* Both sides' tokens a second, and their ratio: above 1, ours is the faster. */
static json_t *rates_json(double n_tokens, const double *ours_ms, const double *peer_ms, int n) {
    double ours[BENCH_MAX_TURNS], libllama[BENCH_MAX_TURNS];
    rates(n_tokens, ours_ms, n, ours);
    rates(n_tokens, peer_ms, n, libllama);
    return json_pack("{s:o, s:o, s:o}", "infoflow", spread(ours, n), "libllama", spread(libllama, n), "ratio",
                     ratio_spread(ours, libllama, n));
}

/* ---- Our side ----------------------------------------------------------------------------------------------------------------------- */

typedef struct ours {
    iflow_model *model;
    iflow_store *store;
    iflow_correction *correction;
    iflow_context *ctx;
    char *dir;
} ours;

static void close_ours(ours *o) {
    iflow_context_free(o->ctx);
    iflow_store_close(o->store);
    iflow_correction_free(o->correction);
    iflow_model_free(o->model);
    free(o->dir);
    *o = (ours){0};
}

/* store: its name in the run's directory; NULL: chunks stay in memory. */
static iflow_status open_ours(const bench *b, const char *store, ours *o) {
    iflow_status status = iflow_model_load(b->model, &IFLOW_PARAMS(iflow_model_params, .device = b->device, .exact = b->exact), &o->model);
    if (!status && store) {
        o->dir = text_format("%s/%s", b->dir, store);
        status = iflow_store_open(o->dir, NULL, &o->store);
    }
    if (!status && b->correction) {
        status = iflow_correction_load(b->correction, o->model, &o->correction);
    }
    const iflow_context_params params =
        IFLOW_PARAMS(iflow_context_params, .n_threads = b->threads, .fillers = common_fillers(b->fillers), .correction = o->correction);
    return status ? status : iflow_context_new(o->model, o->store, &params, &o->ctx);
}

static iflow_status add_chunks(const bench *b, ours *o, size_t n_tokens) {
    iflow_status status = IFLOW_OK;
    for (size_t at = 0; !status && at < n_tokens; at += (size_t)b->chunk) {
        status = iflow_context_add_tokens(o->ctx, b->token + at, n_tokens - at < (size_t)b->chunk ? n_tokens - at : (size_t)b->chunk);
    }
    return status;
}

/* n_forced: tokens to generate, whatever the model would say, or 0: the first alone. */
static iflow_status ask(const bench *b, ours *o, bench_side side, size_t n_forced, iflow_answer **answer) {
    iflow_ask_params params = iflow_ask_default_params();
    params.question = bench_question;
    params.method = side == SIDE_FULL ? IFLOW_METHOD_FULL : side == SIDE_NONE ? IFLOW_METHOD_NONE : IFLOW_METHOD_INFOFLOW;
    params.ratio = b->ratio;
    params.max_tokens = n_forced ? (int)n_forced : 1;
    params.forced = n_forced ? b->token : NULL;
    params.n_forced = n_forced;
    return iflow_context_ask(o->ctx, &params, answer);
}

/* ---- A length ----------------------------------------------------------------------------------------------------------------------- */

typedef struct samples {
    double ttft[N_SIDES][BENCH_MAX_TURNS];
    iflow_timings stage[N_SIDES][BENCH_MAX_TURNS];
    double decode[BENCH_MAX_TURNS], peer_decode[BENCH_MAX_TURNS];
    bool has[N_SIDES];
    size_t n_recomputed;
    int32_t first, peer_first; /* tokens of the two full prefills; -1: an end of generation */
} samples;

typedef struct length {
    const bench *b;
    size_t n_tokens;
    ours o;
    peer *p;
    int32_t *sequence; /* what full prefill runs: context and prompt */
    size_t n_sequence;
    double attention_ms[2];
    bool flash_attention;
    samples s;
} length;

static void show(const length *l, int turn, const char *doing) {
    char *facts = text_format("%s tokens, turn %d of %d", human_count(l->n_tokens), turn, l->b->turns);
    progress_show((double)turn / (l->b->turns + 1), -1, facts, doing);
    free(facts);
}

static void keep_sequence(length *l, const iflow_answer *full) {
    l->n_sequence = full->n_context + full->n_prompt;
    l->sequence = must_alloc(l->n_sequence, sizeof *l->sequence);
    memcpy(l->sequence, full->context_token, l->n_sequence * sizeof *l->sequence);
    l->s.first = full->n_generated ? full->token[0] : -1;
}

/* Stores the chunks, runs every side once, and finds out whether a cold store can be had and how libllama is fastest. */
static int warm_up(length *l) {
    static const bench_side order[] = {SIDE_NONE, SIDE_FULL, SIDE_INFOFLOW};
    const bool all = l->b->parts & BENCH_TTFT;
    l->s.has[SIDE_LIBLLAMA] = true;
    for (size_t i = 0; i < COUNT_OF(order); i++) {
        iflow_answer *answer = NULL;
        show(l, 0, i ? side_doing[order[i]] : "prefilling the chunks");
        const iflow_status status = ask(l->b, &l->o, order[i], 0, &answer);
        if (status) {
            return cli_failed(status, NULL);
        }
        l->s.has[order[i]] = all;
        if (order[i] == SIDE_FULL) {
            keep_sequence(l, answer);
        }
        iflow_answer_free(answer);
    }
    if (all) {
        double resident = 1;
        const int result = cold_drop(l->o.dir, &resident);
        if (result != CLI_OK) {
            return result;
        }
        l->s.has[SIDE_COLD] = resident <= MOST_RESIDENT;
        if (!l->s.has[SIDE_COLD]) {
            cli_note("%s keeps %.0f%% of the chunks in memory, whatever it is told: no cold store there; --store DIR takes a directory on "
                     "a disk",
                     l->b->dir, resident * 100);
        }
    }
    show(l, 0, "libllama, flash attention off and on");
    const size_t n_ctx = l->n_sequence + BENCH_DECODED + 1;
    return peer_choose_attention(l->p, l->sequence, l->n_sequence, l->n_sequence, n_ctx, l->b->threads, &l->flash_attention,
                                 l->attention_ms)
               ? CLI_OK
               : CLI_FAILED;
}

static int run_ours(length *l, bench_side side, int turn) {
    iflow_answer *answer = NULL;
    double resident = 0;
    if (side == SIDE_COLD && cold_drop(l->o.dir, &resident) != CLI_OK) {
        return CLI_FAILED;
    }
    const iflow_status status = ask(l->b, &l->o, side, 0, &answer);
    if (status) {
        return cli_failed(status, NULL);
    }
    l->s.ttft[side][turn] = answer->ms.ttft;
    l->s.stage[side][turn] = answer->ms;
    if (side == SIDE_INFOFLOW) {
        l->s.n_recomputed = answer->n_recomputed;
    }
    const bool computed = side != SIDE_FULL && answer->ms.prefill > 0;
    iflow_answer_free(answer);
    if (!computed) {
        return CLI_OK;
    }
    cli_error("%s does not keep the chunks, which had to be computed again; is there too little room?", l->b->dir);
    return CLI_FAILED;
}

/* Of both after the same number of tokens, one after the other. */
static int run_decode(length *l, int turn) {
    iflow_answer *answer = NULL;
    show(l, turn + 1, "decoding");
    if (!peer_decode(l->p, l->b->token, BENCH_DECODED, &l->s.peer_decode[turn])) {
        return CLI_FAILED;
    }
    const iflow_status status = ask(l->b, &l->o, SIDE_NONE, BENCH_DECODED + 1, &answer); /* the first comes from the prompt */
    if (status) {
        return cli_failed(status, NULL);
    }
    l->s.decode[turn] = answer->ms.decode;
    iflow_answer_free(answer);
    return CLI_OK;
}

static int run_turn(length *l, int turn) {
    int result = CLI_OK;
    for (int side = 0; side < N_SIDES && result == CLI_OK; side++) {
        if (!l->s.has[side]) {
            continue;
        }
        show(l, turn + 1, side_doing[side]);
        if (side != SIDE_LIBLLAMA) {
            result = run_ours(l, (bench_side)side, turn);
            continue;
        }
        if (!peer_prefill(l->p, l->sequence, l->n_sequence, l->n_sequence, &l->s.peer_first, &l->s.ttft[side][turn])) {
            return CLI_FAILED;
        }
        if (l->b->parts & BENCH_DECODE) {
            result = run_decode(l, turn);
        }
    }
    return result;
}

static json_t *stages_json(const iflow_timings *ms, int n) {
    static const struct {
        const char *name;
        size_t offset;
    } stage[] = {{"load", offsetof(iflow_timings, load)},           {"assemble", offsetof(iflow_timings, assemble)},
                 {"score", offsetof(iflow_timings, score)},         {"select", offsetof(iflow_timings, select)},
                 {"recompute", offsetof(iflow_timings, recompute)}, {"prompt", offsetof(iflow_timings, prompt)}};
    json_t *object = json_object();
    for (size_t k = 0; k < COUNT_OF(stage); k++) {
        double value[BENCH_MAX_TURNS];
        for (int i = 0; i < n; i++) {
            memcpy(&value[i], (const char *)&ms[i] + stage[k].offset, sizeof *value);
        }
        json_object_set_new(object, stage[k].name, spread(value, n));
    }
    return object;
}

static void ttft_json(const length *l, json_t *out) {
    const samples *s = &l->s;
    const int n = l->b->turns;
    json_t *ttft = json_object(), *ratio = json_object(), *stages = json_object();
    for (int side = 0; side < N_SIDES; side++) {
        if (!s->has[side]) {
            continue;
        }
        json_object_set_new(ttft, bench_side_key[side], spread(s->ttft[side], n));
        json_object_set_new(ratio, bench_side_key[side], ratio_spread(s->ttft[SIDE_LIBLLAMA], s->ttft[side], n));
        if (side == SIDE_INFOFLOW || side == SIDE_COLD) {
            json_object_set_new(stages, bench_side_key[side], stages_json(s->stage[side], n));
        }
    }
    double recompute_ms[BENCH_MAX_TURNS], prefill_ms[BENCH_MAX_TURNS];
    for (int i = 0; i < n; i++) { /* of as many tokens as were recomputed */
        recompute_ms[i] = s->stage[SIDE_INFOFLOW][i].recompute;
        prefill_ms[i] = s->ttft[SIDE_LIBLLAMA][i] * (double)s->n_recomputed / (double)l->n_sequence;
    }
    json_object_set(out, "ttft_ratio", json_object_get(json_object_get(ratio, "infoflow"), "median"));
    json_object_set_new(out, "full_over_infoflow", ratio_spread(s->ttft[SIDE_FULL], s->ttft[SIDE_INFOFLOW], n));
    json_object_set_new(out, "ttft_ms", ttft);
    json_object_set_new(out, "libllama_over", ratio);
    json_object_set_new(out, "stages_ms", stages);
    json_object_set_new(out, "n_recomputed", json_integer((json_int_t)s->n_recomputed));
    json_object_set_new(out, "recompute_tokens_per_s", rates_json((double)s->n_recomputed, recompute_ms, prefill_ms, n));
}

/* Both sides compute with as many threads, of pools of their own; the one's sleep while the other's compute. */
int bench_length(const bench *b, size_t n_tokens, json_t *out) {
    length *l = must_alloc(1, sizeof *l);
    *l = (length){.b = b, .n_tokens = n_tokens};
    int result = CLI_FAILED;
    iflow_status status = open_ours(b, "store", &l->o);
    if (status || (status = add_chunks(b, &l->o, n_tokens))) {
        result = cli_failed(status, NULL);
        goto cleanup;
    }
    l->p = peer_load(b->model, b->device);
    if (!l->p || (result = warm_up(l)) != CLI_OK) {
        goto cleanup;
    }
    for (int turn = 0; turn < b->turns; turn++) {
        if ((result = run_turn(l, turn)) != CLI_OK) {
            goto cleanup;
        }
    }
    json_object_set_new(out, "n_sequence", json_integer((json_int_t)l->n_sequence));
    json_object_set_new(out, "flash_attention", json_boolean(l->flash_attention));
    json_object_set_new(out, "attention_ms",
                        json_pack("{s:o, s:o}", "off", json_finite(l->attention_ms[0]), "on", json_finite(l->attention_ms[1])));
    json_object_set_new(out, "same_first_token", json_boolean(l->s.first == l->s.peer_first));
    if (b->parts & BENCH_TTFT) {
        ttft_json(l, out);
    }
    if (b->parts & BENCH_DECODE) {
        json_object_set_new(out, "decode_tokens_per_s", rates_json(BENCH_DECODED, l->s.decode, l->s.peer_decode, b->turns));
    }
cleanup:
    close_ours(&l->o);
    peer_free(l->p);
    free(l->sequence);
    free(l);
    return result;
}

/* ---- Ingest ------------------------------------------------------------------------------------------------------------------------- */

/* Computes and stores pieces of `chunk` tokens, and deletes them again. */
static int ingest_ours(const bench *b, ours *o, size_t n, size_t chunk, double *ms) {
    int result = CLI_FAILED;
    const size_t n_pieces = (n + chunk - 1) / chunk;
    char(*id)[IFLOW_ID_SIZE] = must_alloc(n_pieces, sizeof *id);
    bool *stored = must_alloc(n_pieces, sizeof *stored), was_stored = false;
    size_t *start = must_alloc(n_pieces + 1, sizeof *start);
    for (size_t i = 0; i <= n_pieces; i++) {
        start[i] = i * chunk < n ? i * chunk : n;
    }
    const double since = now_seconds();
    iflow_status status = iflow_context_prefill(o->ctx, b->token, start, n_pieces, id, stored);
    *ms = (now_seconds() - since) * 1e3;
    for (size_t i = 0; i < n_pieces && !status; i++) {
        was_stored = was_stored || stored[i];
    }
    for (size_t i = 0; i < n_pieces && !status && !was_stored; i++) {
        status = iflow_store_delete(o->store, IFLOW_CHUNK, id[i]);
    }
    if (status) {
        result = cli_failed(status, NULL);
    } else if (was_stored) {
        cli_error("two pieces of %zu tokens of the text are the same, and the second costs nothing; use another text", chunk);
    } else {
        result = CLI_OK;
    }
    free(id);
    free(stored);
    free(start);
    return result;
}

static int ingest_chunk(const bench *b, ours *o, peer *p, size_t n, size_t chunk, json_t *list) {
    double ms[BENCH_MAX_TURNS], peer_ms[BENCH_MAX_TURNS], attention_ms[2];
    bool flash_attention = false;
    char *facts = text_format("ingest, chunks of %zu", chunk);
    int result = ingest_ours(b, o, n, chunk, &ms[0]);
    if (result == CLI_OK && !peer_choose_attention(p, b->token, n, chunk, chunk, b->threads, &flash_attention, attention_ms)) {
        result = CLI_FAILED;
    }
    for (int turn = 0; turn < b->turns && result == CLI_OK; turn++) {
        progress_show((double)turn / b->turns, -1, facts, "");
        result = peer_prefill(p, b->token, n, chunk, NULL, &peer_ms[turn]) ? ingest_ours(b, o, n, chunk, &ms[turn]) : CLI_FAILED;
    }
    free(facts);
    if (result == CLI_OK) {
        json_array_append_new(list,
                              json_pack("{s:I, s:I, s:b, s:o}", "chunk", (json_int_t)chunk, "tokens", (json_int_t)n, "flash_attention",
                                        flash_attention, "tokens_per_s", rates_json((double)n, ms, peer_ms, b->turns)));
    }
    return result;
}

int bench_ingest(const bench *b, json_t *out) {
    static const size_t chunk[] = {128, 512, 2048};
    const size_t n = b->n_tokens < BENCH_INGESTED ? b->n_tokens : BENCH_INGESTED;
    ours o = {0};
    int result = CLI_FAILED;
    peer *p = NULL;
    json_t *list = json_array();
    const iflow_status status = open_ours(b, "ingest", &o);
    if (status) {
        result = cli_failed(status, NULL);
        goto cleanup;
    }
    if (!(p = peer_load(b->model, b->device))) {
        goto cleanup;
    }
    const size_t most = (size_t)iflow_model_get_info(o.model).n_ctx_train - b->n_around;
    result = CLI_OK;
    for (size_t i = 0; i < COUNT_OF(chunk) && result == CLI_OK; i++) {
        if (chunk[i] <= n && chunk[i] <= most) {
            result = ingest_chunk(b, &o, p, n, chunk[i], list);
        }
    }
    json_object_set(out, "ingest", list);
cleanup:
    json_decref(list);
    close_ours(&o);
    peer_free(p);
    return result;
}

/* ---- A busy machine ----------------------------------------------------------------------------------------------------------------- */

/* Starts processes that spin until this one ends, stopped. They are forked before there are threads. */
static bool start_spinners(pid_t *pid, int n) {
    const pid_t parent = getpid();
    for (int i = 0; i < n; i++) {
        pid[i] = fork();
        if (pid[i] == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            raise(SIGSTOP);
            while (getppid() == parent) { /* a system call now and then, as a busy program makes */
                for (volatile int spin = 0; spin < 1 << 20; spin++) {
                }
            }
            _exit(0);
        }
        if (pid[i] < 0) {
            cli_error("cannot start process %d of %d that spin: %s", i + 1, n, strerror(errno));
            return false;
        }
    }
    return true;
}

static void signal_spinners(const pid_t *pid, int n, int number) {
    for (int i = 0; i < n && pid[i] > 0; i++) {
        kill(pid[i], number);
    }
}

static json_t *busy_json(double ms[2][BENCH_MAX_TURNS], int n) {
    return json_pack("{s:o, s:o, s:o}", "idle", spread(ms[0], n), "busy", spread(ms[1], n), "ratio", ratio_spread(ms[1], ms[0], n));
}

int bench_busy(const bench *b, json_t *out) {
    enum { MOST = 1024, SETTLE_MS = 500 };
    static pid_t spinner[MOST];
    double ttft[2][BENCH_MAX_TURNS] = {{0}}, token[2][BENCH_MAX_TURNS] = {{0}};
    int result = CLI_FAILED;
    ours o = {0};
    if (!start_spinners(spinner, b->busy)) {
        goto cleanup;
    }
    iflow_status status = open_ours(b, "store", &o);
    status = status ? status : add_chunks(b, &o, b->length[0]);
    for (int i = -1; i < 2 * b->turns && !status; i++) { /* -1 warms up */
        const int turn = i / 2, busy = i > 0 ? i % 2 : 0;
        iflow_answer *answer = NULL;
        char *facts = text_format("busy machine, turn %d of %d", turn + 1, b->turns);
        progress_show((double)(i + 1) / (2 * b->turns + 1), -1, facts, busy ? "busy" : "idle");
        free(facts);
        signal_spinners(spinner, b->busy, busy ? SIGCONT : SIGSTOP);
        nanosleep(&(struct timespec){.tv_nsec = SETTLE_MS * 1000000L}, NULL);
        status = ask(b, &o, SIDE_INFOFLOW, BENCH_DECODED + 1, &answer);
        if (!status && i >= 0) {
            ttft[busy][turn] = answer->ms.ttft;
            token[busy][turn] = answer->ms.decode / BENCH_DECODED;
        }
        iflow_answer_free(answer);
    }
    result = status ? cli_failed(status, NULL) : CLI_OK;
    if (result == CLI_OK) {
        json_object_set_new(out, "busy",
                            json_pack("{s:i, s:I, s:o, s:o}", "processes", b->busy, "tokens", (json_int_t)b->length[0], "ttft_ms",
                                      busy_json(ttft, b->turns), "decode_ms_a_token", busy_json(token, b->turns)));
    }
cleanup:
    signal_spinners(spinner, b->busy, SIGKILL);
    for (int i = 0; i < b->busy && spinner[i] > 0; i++) {
        waitpid(spinner[i], NULL, 0);
    }
    close_ours(&o);
    return result;
}

/* ---- Model load, and one side alone ------------------------------------------------------------------------------------------------- */

int bench_load(const bench *b, json_t *out) {
    double ours_ms[BENCH_MAX_TURNS + 1], peer_ms[BENCH_MAX_TURNS + 1];
    for (int turn = 0; turn <= b->turns; turn++) { /* turn 0 brings the file into the page cache */
        progress_show((double)turn / (b->turns + 1), -1, "loading the model", "");
        iflow_model *model = NULL;
        double since = now_seconds();
        peer *p = peer_load(b->model, b->device);
        peer_ms[turn] = (now_seconds() - since) * 1e3;
        if (!p) {
            return CLI_FAILED;
        }
        peer_free(p);
        since = now_seconds();
        const iflow_status status = iflow_model_load(b->model, &IFLOW_PARAMS(iflow_model_params, .device = b->device), &model);
        ours_ms[turn] = (now_seconds() - since) * 1e3;
        iflow_model_free(model);
        if (status) {
            return cli_failed(status, NULL);
        }
    }
    json_object_set_new(out, "model_load_ms",
                        json_pack("{s:o, s:o, s:o}", "infoflow", spread(ours_ms + 1, b->turns), "libllama", spread(peer_ms + 1, b->turns),
                                  "ratio", ratio_spread(ours_ms + 1, peer_ms + 1, b->turns)));
    return CLI_OK;
}

static int peer_once(const bench *b, size_t n_tokens, bool flash_attention) {
    const size_t n = n_tokens + b->n_around;
    int32_t *token = must_alloc(n, sizeof *token), first = 0;
    double ms = 0;
    for (size_t i = 0; i < n; i++) {
        token[i] = b->token[i % n_tokens];
    }
    peer *p = peer_load(b->model, b->device);
    const bool ok = p && peer_open(p, n + BENCH_DECODED + 1, b->threads, flash_attention) && peer_prefill(p, token, n, n, &first, &ms);
    peer_free(p);
    free(token);
    return ok ? CLI_OK : CLI_FAILED;
}

int bench_once(const bench *b, size_t n_tokens, bench_side side, bool flash_attention) {
    char *facts = text_format("%s tokens, memory", human_count(n_tokens));
    progress_show(-1, -1, facts, side_doing[side]);
    free(facts);
    if (side == SIDE_LIBLLAMA) {
        return peer_once(b, n_tokens, flash_attention);
    }
    ours o = {0};
    iflow_answer *answer = NULL;
    iflow_status status = open_ours(b, "store", &o);
    if (!status && !(status = add_chunks(b, &o, n_tokens))) {
        status = ask(b, &o, side, 0, &answer);
    }
    iflow_answer_free(answer);
    close_ours(&o);
    return status ? cli_failed(status, NULL) : CLI_OK;
}
