/* bench_cancel.c - how soon a call ends once its token is raised, stage by stage. */
#include "lab/bench_measure.h"

#include "cli/options.h"
#include "cli/progress.h"
#include "cli/report.h"
#include "cli/text.h"
#include "service/stats.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { N_PLACES = 8 }; /* times of a call at which it is cancelled, a turn */

/* What the stages work on. */
typedef struct subject {
    const bench *b;
    size_t n_tokens;
    iflow_model *model;
    iflow_store *store;
    iflow_context *ctx;
    size_t *start; /* [n_chunks + 1] */
    size_t n_chunks;
    char (*id)[IFLOW_ID_SIZE];
    bool *was_stored;
    double begun_at; /* when the stage itself began, in seconds: a call has others before it */
} subject;

static iflow_status load(subject *s) {
    iflow_model *model = NULL;
    s->begun_at = now_seconds();
    const iflow_status status =
        iflow_model_load(s->b->model, &IFLOW_PARAMS(iflow_model_params, .device = s->b->device, .cache_dir = ""), &model);
    iflow_model_free(model);
    return status;
}

static iflow_status prefill(subject *s) {
    size_t n = 0;
    uint64_t n_bytes = 0;
    iflow_status status = iflow_store_prune(s->store, 0, &n, &n_bytes);
    s->begun_at = now_seconds();
    return status ? status : iflow_context_prefill(s->ctx, s->b->token, s->start, s->n_chunks, s->id, s->was_stored);
}

static iflow_status ask(subject *s, iflow_method method, int n_forced) {
    iflow_answer *answer = NULL;
    iflow_ask_params params = iflow_ask_default_params();
    params.question = bench_question;
    params.method = method;
    params.ratio = s->b->ratio;
    params.max_tokens = n_forced;
    params.forced = s->b->token;
    params.n_forced = (size_t)n_forced;
    const double since = now_seconds();
    iflow_status status = iflow_context_ask(s->ctx, &params, &answer);
    s->begun_at = since + (!status && n_forced > 1 ? answer->ms.ttft / 1e3 : 0);
    if (!status && answer->finish == IFLOW_FINISH_CANCELLED) {
        status = IFLOW_E_CANCELLED;
    }
    iflow_answer_free(answer);
    return status;
}

static iflow_status full(subject *s) {
    return ask(s, IFLOW_METHOD_FULL, 1);
}

static iflow_status infoflow(subject *s) {
    return ask(s, IFLOW_METHOD_INFOFLOW, 1);
}

static iflow_status decode(subject *s) {
    return ask(s, IFLOW_METHOD_NONE, BENCH_DECODED + 1);
}

static iflow_status learn(subject *s) {
    iflow_learner *learner = NULL;
    iflow_status status = iflow_learner_new(s->ctx, &learner);
    s->begun_at = now_seconds();
    status = status ? status : iflow_learner_add(learner);
    iflow_learner_free(learner);
    return status;
}

static const struct {
    const char *name;
    iflow_status (*call)(subject *s);
} stage[] = {{"load", load}, {"prefill", prefill}, {"full", full}, {"infoflow", infoflow}, {"decode", decode}, {"learn", learn}};

/* ---- Cancelling --------------------------------------------------------------------------------------------------------------------- */

typedef struct alarm {
    iflow_cancel *token;
    double after; /* seconds */
    double rang_at;
} alarm;

static void *ring(void *user) {
    alarm *a = user;
    const time_t whole = (time_t)a->after;
    nanosleep(&(struct timespec){.tv_sec = whole, .tv_nsec = (long)((a->after - (double)whole) * 1e9)}, NULL);
    a->rang_at = now_seconds();
    iflow_cancel_raise(a->token, true);
    return NULL;
}

/* Milliseconds from the raise to the end of a call, which is cancelled `after` seconds; negative: it was done before. */
static iflow_status latency(subject *s, iflow_status (*call)(subject *s), iflow_cancel *token, double after, double *ms) {
    pthread_t thread;
    alarm a = {.token = token, .after = after};
    if (pthread_create(&thread, NULL, ring, &a)) {
        return IFLOW_E_MEMORY;
    }
    const iflow_status status = call(s);
    const double end = now_seconds();
    pthread_join(thread, NULL);
    iflow_cancel_raise(token, false);
    *ms = status == IFLOW_E_CANCELLED ? (end - a.rang_at) * 1e3 : -1;
    return status == IFLOW_E_CANCELLED ? IFLOW_OK : status;
}

/* Cancels a stage at times spread over it; a summary of how long that took goes to out. */
static iflow_status measure(subject *s, size_t i, iflow_cancel *token, json_t *out) {
    double found[N_PLACES * BENCH_MAX_TURNS];
    size_t n = 0;
    const double since = now_seconds();
    iflow_status status = stage[i].call(s);
    const double before = s->begun_at - since, lasts = now_seconds() - s->begun_at;
    for (int k = 0; k < N_PLACES * s->b->turns && !status; k++) {
        double ms = 0;
        progress_show((double)k / (N_PLACES * s->b->turns), -1, "cancelling", stage[i].name);
        status = latency(s, stage[i].call, token, before + lasts * (k + 0.5) / (N_PLACES * s->b->turns), &ms);
        if (!status && ms >= 0) {
            found[n++] = ms;
        }
    }
    if (!status && n) {
        const double median = stats_median(found, n);
        json_object_set_new(out, stage[i].name,
                            json_pack("{s:I, s:o, s:o, s:o}", "cancelled", (json_int_t)n, "lasts_ms", json_finite(lasts * 1e3), "median_ms",
                                      json_finite(median), "max_ms", json_finite(found[n - 1])));
    }
    return status;
}

static iflow_status open_subject(const bench *b, subject *s) {
    iflow_status status = iflow_model_load(b->model, &IFLOW_PARAMS(iflow_model_params, .device = b->device, .exact = b->exact), &s->model);
    status = status ? status : iflow_store_open("memory:", NULL, &s->store);
    status = status ? status
                    : iflow_context_new(s->model, s->store,
                                        &IFLOW_PARAMS(iflow_context_params, .n_threads = b->threads, .fillers = common_fillers(b->fillers)),
                                        &s->ctx);
    const size_t chunk = (size_t)b->chunk;
    s->n_chunks = (s->n_tokens + chunk - 1) / chunk;
    s->start = must_alloc(s->n_chunks + 1, sizeof *s->start);
    s->id = must_alloc(s->n_chunks, sizeof *s->id);
    s->was_stored = must_alloc(s->n_chunks, sizeof *s->was_stored);
    for (size_t i = 0; i <= s->n_chunks; i++) {
        s->start[i] = i * chunk < s->n_tokens ? i * chunk : s->n_tokens;
    }
    for (size_t i = 0; i < s->n_chunks && !status; i++) {
        status = iflow_context_add_tokens(s->ctx, b->token + s->start[i], s->start[i + 1] - s->start[i]);
    }
    return status;
}

int bench_cancel(const bench *b, json_t *out) {
    subject s = {.b = b, .n_tokens = b->length[0]};
    iflow_cancel *token = NULL;
    json_t *stages = json_object();
    iflow_status status = open_subject(b, &s);
    status = status ? status : iflow_cancel_new(&token);
    iflow_cancel_use(token);
    for (size_t i = 0; i < COUNT_OF(stage) && !status; i++) {
        status = measure(&s, i, token, stages);
    }
    iflow_cancel_use(NULL);
    const int result = status ? cli_failed(status, NULL) : CLI_OK;
    if (!status) {
        json_object_set(out, "cancel", stages);
    }
    json_decref(stages);
    iflow_cancel_free(token);
    iflow_context_free(s.ctx);
    iflow_store_close(s.store);
    iflow_model_free(s.model);
    free(s.start), free(s.id), free(s.was_stored);
    return result;
}
