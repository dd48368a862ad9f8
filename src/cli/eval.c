/* eval.c - `infoflow eval`: methods and ratios on a question set, by the paper's protocol or as `infoflow ask` asks. */
#include "eval_context.h"
#include "eval_report.h"
#include "eval_variants.h"
#include "f1.h"
#include "profile.h"
#include "progress.h"
#include "text.h"
#include "verify.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* The paper's prompt is this, the question and "Answer:", which the library's own prompt puts behind an instruction. There is no system
 * message, though the template may have one. Protocol `chat` is what `infoflow ask` does: the library's instruction unless another is
 * given, and as many tokens. */
static const char paper_instruction[] =
    "Answer the question based on the given passages. Only give me the answer and do not output any other words. "
    "The answer should be within 5 words.";
enum { PAPER_TOKENS = 32 };

typedef struct eval {
    session s;
    common_options common;
    ask_options asking;
    iflow_ask_params params; /* what they come to with this model; every asking starts from it */
    const char *methods, *ratios, *protocol, *needle, *depths, *output, *shard, *report;
    int limit, distractors;
    uint64_t shuffle; /* 0: passages stay in order */
    needle_grid grid;
    bool fidelity;
    gate gate;
    profile profile;
    eval_variant variant[EVAL_MAX_VARIANTS];
    size_t n_variants;
    iflow_context *ctx[IFLOW_MAX_BEHIND + 1]; /* whose chunks are prefilled behind so many texts; NULL: no variant needs it */
    eval_data data;
    const eval_question **question; /* of the data, those to ask */
    size_t n_questions;
    eval_records records;
    FILE *out;
    iflow_answer *full; /* full prefill's answer to the question at hand, once fidelity needed it */
    float *full_logits; /* and what its tokens were predicted by */
    size_t n_asked, n_to_ask, n_failed;
    double asking_seconds;
    bool warm;
} eval;

static bool is_chat(const eval *e) {
    return strcmp(e->protocol, "chat") == 0;
}

static int default_tokens(const eval *e) {
    return is_chat(e) ? ask_options_default().max_tokens : PAPER_TOKENS;
}

/* Settings that differ from the defaults, as text: a record stands for all that can change its numbers, and what can't change those of this
 * question and method is left out. Where it is computed and with how many threads is no setting: numbers differ by rounding, times by more.
 */
static char *settings_of(const eval *e, const eval_question *question, const eval_variant *v) {
    const ask_options *asking = &e->asking;
    const bool looks = iflow_method_looks(v->method);
    const bool reuses = v->method != IFLOW_METHOD_FULL;
    const size_t chunk = session_chunk_tokens(&e->common);
    text out = {0};
    if (is_chat(e))
        text_puts(&out, " protocol=chat");
    if (is_chat(e) && !asking->system)
        text_puts(&out, " system=own");
    if (is_chat(e) && asking->system && asking->system[0])
        text_printf(&out, " system=%016" PRIx64, eval_hash(asking->system));
    if (is_chat(e) && asking->instruction)
        text_printf(&out, " instruction=%016" PRIx64, eval_hash(asking->instruction));
    if (asking->max_tokens != default_tokens(e))
        text_printf(&out, " max-tokens=%d", asking->max_tokens);
    if (asking->temperature > 0)
        text_printf(&out, " temp=%g", asking->temperature);
    if (asking->seed && (asking->temperature > 0 || v->method == IFLOW_METHOD_RANDOM))
        text_printf(&out, " seed=%" PRIu64, asking->seed);
    if (question->text && chunk != session_chunk_tokens(&(common_options){0}))
        text_printf(&out, " chunk=%zu", chunk);
    if (e->shuffle)
        text_printf(&out, " shuffle=%" PRIu64, e->shuffle);
    if (reuses && e->common.kv_type && strcmp(e->common.kv_type, "f16") != 0)
        text_printf(&out, " kv-type=%s", e->common.kv_type);
    if (reuses)
        text_printf(&out, v->behind ? " behind=%d" : " alone", v->behind);
    if (v->drift)
        text_puts(&out, " drift");
    if (v->correct)
        text_printf(&out, " corrected=%.8s", e->s.corrected.id);
    if (iflow_method_scores(v->method) && asking->coverage > 0)
        text_printf(&out, " coverage=%g min-ratio=%g max-ratio=%g", asking->coverage, asking->min_ratio, asking->max_ratio);
    if (v->method == IFLOW_METHOD_UNION && fabs(asking->foreseen_share - ask_options_default().foreseen_share) > 5e-7)
        text_printf(&out, " foreseen-share=%g", asking->foreseen_share);
    if (looks && strcmp(asking->score_text, ask_options_default().score_text) != 0)
        text_printf(&out, " score-text=%s", asking->score_text);
    for (size_t i = 0; looks && i < asking->layers.n; i++) {
        const int layer = asking->layers.layer[i];
        text_printf(&out, "%s%d", i ? "," : " score-layers=", layer < 0 ? layer + e->s.info.n_layer : layer);
    }
    char *settings = text_format("%s", out.n ? out.bytes + 1 : "");
    text_free(&out);
    return settings;
}

/* Whether the answer is checked; full prefill's own is what answers are checked against. */
static bool is_verified(const eval *e, const eval_question *question, const eval_variant *v) {
    return v->method != IFLOW_METHOD_FULL && gate_draws(&e->gate, question->question);
}

/* The record of a question and a variant under this run's settings, or NULL. One without the fidelity or the check that is asked for does
 * not count. */
static const json_t *record_of(const eval *e, const eval_question *question, const eval_variant *v) {
    const bool looks = iflow_method_looks(v->method);
    char *settings = settings_of(e, question, v);
    const eval_key key = {.id = question->id,
                          .method = iflow_method_name(v->method),
                          .score = looks ? iflow_score_name(v->score) : "",
                          .geometry = looks ? iflow_geometry_name(v->geometry) : "",
                          .reorder = v->reorder,
                          .model = e->s.info.fingerprint,
                          .settings = settings,
                          .ratio = v->ratio,
                          .distractors = e->distractors};
    const json_t *record = eval_records_find(&e->records, &key);
    free(settings);
    if (e->fidelity && !json_object_get(record, "kl"))
        return NULL;
    return is_verified(e, question, v) && !json_object_get(record, "agreement") ? NULL : record;
}

static bool is_done(const eval *e, const eval_question *question, const eval_variant *v) {
    return record_of(e, question, v) != NULL;
}

/* An answer that nobody measures: it stores the head and touches the weights, which the first question would pay for. */
static iflow_status warm_up(eval *e, iflow_context *ctx, const eval_question *question) {
    iflow_answer *answer = NULL;
    iflow_ask_params params = e->params;
    params.method = IFLOW_METHOD_NONE;
    params.question = question->question;
    params.max_tokens = 1;
    const iflow_status status = iflow_context_ask(ctx, &params, &answer);
    iflow_answer_free(answer);
    return status;
}

/* Appends a chunk to the context; its KV is computed first, so that no method pays for it. */
static iflow_status add_chunk(iflow_context *ctx, const int32_t *tokens, size_t n) {
    iflow_status status;
    do {
        status = iflow_context_prefill(ctx, tokens, n, NULL, NULL);
        if (status == IFLOW_E_BUSY)
            nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    } while (status == IFLOW_E_BUSY && !cli_interrupted());
    return status ? status : iflow_context_add_tokens(ctx, tokens, n);
}

/* The context that a variant is asked in. */
static iflow_context *context_of(const eval *e, const eval_variant *v) {
    return e->ctx[v->behind];
}

/* Opens the contexts that the variants need; their chunks foresee where one of them wants that, so that no method pays for it. */
static int open_contexts(eval *e) {
    for (int behind = 0; behind <= IFLOW_MAX_BEHIND; behind++) {
        bool needed = false, foresee = e->common.foresee;
        for (size_t v = 0; v < e->n_variants; v++) {
            needed = needed || e->variant[v].behind == behind;
            foresee = foresee || (e->variant[v].behind == behind && iflow_method_foresees(e->variant[v].method));
        }
        common_options options = e->common;
        options.behind = behind;
        options.foresee = foresee;
        const int result = needed ? session_new_context(&options, &e->s, &e->ctx[behind]) : CLI_OK;
        if (result != CLI_OK)
            return result;
    }
    return CLI_OK;
}

/* Lays the question's text and passages into the contexts. */
static iflow_status prepare(eval *e, const eval_question *question) {
    document_chunks chunks;
    iflow_status status = eval_context_cut(e->s.model, question, session_chunk_tokens(&e->common), &chunks);
    for (size_t c = 0; c < COUNT_OF(e->ctx); c++) {
        if (!e->ctx[c])
            continue;
        iflow_context_clear(e->ctx[c]);
        for (size_t i = 0; status == IFLOW_OK && i < chunks.n_chunks; i++)
            status = add_chunk(e->ctx[c], chunks.token + chunks.start[i], chunks.start[i + 1] - chunks.start[i]);
        if (status == IFLOW_OK && !e->warm)
            status = warm_up(e, e->ctx[c], question);
    }
    e->warm = e->warm || status == IFLOW_OK;
    document_chunks_free(&chunks);
    return status;
}

/* like: NULL where fidelity is not measured. */
static int write_record(eval *e, const eval_question *question, const eval_variant *v, const iflow_answer *answer,
                        const iflow_fidelity *like, const verdict *checked) {
    char *settings = settings_of(e, question, v), *extracted = f1_extract(answer->text);
    double f1 = extracted ? f1_best(extracted, question->answer, question->n_answers) : -1;
    int exact = extracted ? f1_exact(extracted, question->answer, question->n_answers) : -1;
    int contains = f1_contains(answer->text, question->answer, question->n_answers);
    if (f1 < 0 || exact < 0 || contains < 0) {
        free(settings);
        free(extracted);
        cli_error("out of memory");
        return CLI_FAILED;
    }
    json_t *record = json_object();
    json_object_set_new(record, "id", json_text(question->id));
    json_object_set_new(record, "method", json_string(iflow_method_name(v->method)));
    if (iflow_method_looks(v->method)) {
        json_object_set_new(record, "score", json_string(iflow_score_name(v->score)));
        json_object_set_new(record, "geometry", json_string(iflow_geometry_name(v->geometry)));
        json_object_set_new(record, "reorder", json_boolean(v->reorder));
        if (v->reorder)
            json_object_set_new(record, "order", report_order_json(answer));
    }
    json_object_set_new(record, "ratio", json_finite(v->ratio));
    json_object_set_new(record, "distractors", json_integer(e->distractors));
    json_object_set_new(record, "settings", json_string(settings));
    if (question->needle_length) {
        json_object_set_new(record, "needle_length", json_integer(question->needle_length));
        json_object_set_new(record, "needle_depth", json_finite(question->needle_depth));
    }
    json_object_set_new(record, "model", json_string(e->s.info.fingerprint));
    json_object_set_new(record, "answer", json_text(extracted));
    json_object_set_new(record, "raw", json_text(answer->text));
    json_object_set_new(record, "finish", json_string(iflow_finish_name(answer->finish)));
    json_object_set_new(record, "f1", json_finite(f1));
    json_object_set_new(record, "em", json_integer(exact));
    json_object_set_new(record, "contains", json_integer(contains));
    if (like) {
        json_object_set_new(record, "kl", json_finite(like->kl));
        json_object_set_new(record, "top1", json_finite(like->top1));
    }
    if (checked->verified)
        verdict_json(record, checked);
    json_object_set_new(record, "tokens", report_tokens_json(answer));
    if (answer->n_corrected)
        json_object_set_new(record, "correction_held", json_finite(answer->correction_held));
    json_object_set_new(record, "timings_ms", report_timings_json(answer));
    json_object_set_new(record, "selected", report_selected_json(answer));
    int result = report_dump(record, e->out);
    if (result == CLI_OK)
        eval_records_add(&e->records, record);
    json_decref(record);
    free(settings);
    free(extracted);
    return result;
}

static void show_progress(const eval *e, const eval_question *question, const eval_variant *v) {
    double left = e->n_asked ? e->asking_seconds / (double)e->n_asked * (double)(e->n_to_ask - e->n_asked) : -1;
    char *rate = text_format("%zu of %zu", e->n_asked, e->n_to_ask);
    char *what =
        text_format(iflow_method_has_ratio(v->method) ? "%s, %s at %.2f" : "%s, %s", question->id, iflow_method_name(v->method), v->ratio);
    progress_show(e->n_to_ask ? (double)e->n_asked / (double)e->n_to_ask : 1, left, rate, what);
    free(what);
    free(rate);
}

static bool watch_interrupt(const char *piece, void *user) {
    (void)piece;
    (void)user;
    return !cli_interrupted();
}

static iflow_ask_params params_of(const eval *e, const eval_question *question, const eval_variant *v) {
    iflow_ask_params params = e->params;
    params.method = v->method;
    params.score = v->score;
    params.geometry = v->geometry;
    params.reorder = v->reorder;
    params.drift = v->drift ? IFLOW_ON : IFLOW_OFF;
    params.correct = v->correct ? IFLOW_ON : IFLOW_OFF;
    params.ratio = iflow_method_has_ratio(v->method) ? v->ratio : params.ratio;
    params.question = question->question;
    params.keep_logits = is_verified(e, question, v);
    params.on_text = watch_interrupt;
    return params;
}

static iflow_status ask(eval *e, const eval_question *question, const eval_variant *v, iflow_answer **out) {
    const iflow_ask_params params = params_of(e, question, v);
    return iflow_context_ask(context_of(e, v), &params, out);
}

/* Checks an answer against full prefill, and changes nothing: the variant is what is measured. */
static iflow_status verify(eval *e, const eval_question *question, const eval_variant *v, const iflow_answer *answer, verdict *out) {
    const iflow_ask_params params = params_of(e, question, v);
    iflow_fidelity like = {0};
    const iflow_status status = iflow_context_verify(context_of(e, v), &params, answer, &like);
    *out = (verdict){.verified = status == IFLOW_OK, .agreement = like.top1, .kl = like.kl, .n_asked = 1};
    return status;
}

/* What the tokens of full prefill's answer are predicted by behind the context that was asked last. *logits: [n_generated, n_vocab]. */
static iflow_status replay_full(eval *e, const eval_variant *v, float **logits) {
    *logits = must_alloc(e->full->n_generated * (size_t)e->s.info.n_vocab, sizeof **logits);
    return iflow_context_replay(context_of(e, v), e->full->token, e->full->n_generated, *logits);
}

/* Asks full prefill for the question, unless that was done. Its own answer is replayed like everybody's, so that both sides of a comparison
 * were computed in the same way. */
static iflow_status ask_full(eval *e, const eval_question *question) {
    eval_variant full = {.method = IFLOW_METHOD_FULL, .ratio = 1};
    while (!e->ctx[full.behind]) /* full prefill uses no chunk: any context will do */
        full.behind++;
    iflow_status status = e->full ? IFLOW_OK : ask(e, question, &full, &e->full);
    if (status == IFLOW_OK && !e->full_logits && e->full->n_generated && !cli_interrupted())
        status = replay_full(e, &full, &e->full_logits);
    return status;
}

/* How near the variant that was asked last is to full prefill, behind each token of its answer; not a number if that has none. */
static iflow_status measure_fidelity(eval *e, const eval_variant *v, iflow_fidelity *out) {
    float *logits = NULL;
    *out = e->full->n_generated ? (iflow_fidelity){0, 1, e->full->n_generated} : (iflow_fidelity){NAN, NAN, 0};
    if (e->full->n_generated == 0 || v->method == IFLOW_METHOD_FULL)
        return IFLOW_OK;
    const iflow_status status = replay_full(e, v, &logits);
    if (status == IFLOW_OK)
        *out = iflow_fidelity_of(e->full_logits, logits, e->full->n_generated, (size_t)e->s.info.n_vocab);
    free(logits);
    return status;
}

/* Asks one question of one variant and writes its record. False to stop. */
static bool run_variant(eval *e, const eval_question *question, const eval_variant *v, bool *prepared) {
    bool go_on = true;
    iflow_answer *own = NULL;
    iflow_fidelity like = {0};
    verdict checked = {0};
    iflow_status status = *prepared ? IFLOW_OK : prepare(e, question);
    *prepared = *prepared || status == IFLOW_OK;
    if (status == IFLOW_OK && e->fidelity)
        status = ask_full(e, question);
    if (status == IFLOW_OK && !(e->fidelity && v->method == IFLOW_METHOD_FULL))
        status = ask(e, question, v, &own);
    if (status == IFLOW_OK && e->fidelity && !cli_interrupted())
        status = measure_fidelity(e, v, &like);
    if (status == IFLOW_OK && is_verified(e, question, v) && !cli_interrupted()) /* last: it prefills the context anew */
        status = verify(e, question, v, own, &checked);
    if (cli_interrupted()) { /* an answer cut short is no measurement */
        go_on = false;
    } else if (status != IFLOW_OK) {
        char *what = text_format("%s:%zu: question %s, %s", e->data.path, question->line, question->id, iflow_method_name(v->method));
        cli_failed(status, what);
        free(what);
        e->n_failed++;
        go_on = status == IFLOW_E_CONTEXT || status == IFLOW_E_FORMAT || status == IFLOW_E_ARG;
    } else {
        go_on = write_record(e, question, v, own ? own : e->full, e->fidelity ? &like : NULL, &checked) == CLI_OK;
        e->n_failed += !go_on;
    }
    iflow_answer_free(own);
    return go_on;
}

/* Asks one question of every variant that is missing. False to stop. */
static bool run_question(eval *e, const eval_question *question) {
    bool prepared = false, go_on = true;
    for (size_t v = 0; v < e->n_variants && go_on; v++) {
        if (is_done(e, question, &e->variant[v]))
            continue;
        show_progress(e, question, &e->variant[v]);
        const double start = now_seconds();
        go_on = run_variant(e, question, &e->variant[v], &prepared);
        e->n_asked++;
        e->asking_seconds += now_seconds() - start;
    }
    iflow_answer_free(e->full);
    free(e->full_logits);
    e->full = NULL;
    e->full_logits = NULL;
    return go_on;
}

/* Makes the needles, unless they do not fit the context. */
static int make_needles(eval *e) {
    enum { AROUND = 128 }; /* tokens of a chat template and of a needle's question, at most */
    const char *const given[] = {e->asking.system, e->asking.instruction};
    size_t n_around = AROUND + (size_t)e->asking.max_tokens;
    for (size_t i = 0; i < COUNT_OF(given); i++) {
        int32_t *token = NULL;
        size_t n = 0;
        const iflow_status status = given[i] ? iflow_tokenize(e->s.model, given[i], strlen(given[i]), false, &token, &n) : IFLOW_OK;
        iflow_free(token);
        n_around += n;
        if (status != IFLOW_OK)
            return cli_failed(status, i ? "--instruction" : "--system");
    }
    const int result = needle_grid_check(&e->grid, e->common.ctx ? e->common.ctx : e->s.info.n_ctx_train, n_around);
    return result == CLI_OK ? eval_needles_make(e->s.model, &e->grid, (size_t)e->limit, &e->data) : result;
}

/* Which of the data are asked: the first of them up to the limit, of these those of the shard; they get their distractors and order. */
static int choose_questions(eval *e, size_t shard, size_t n_shards) {
    const bool limited = e->limit && !e->needle && (size_t)e->limit < e->data.n; /* needles: there are no more */
    const size_t n = limited ? (size_t)e->limit : e->data.n;
    e->question = must_alloc(n ? n : 1, sizeof *e->question);
    for (size_t q = shard - 1; q < n; q += n_shards) {
        if (e->distractors && eval_data_add_distractors(&e->data, q, (size_t)e->distractors) != CLI_OK)
            return CLI_FAILED;
        e->question[e->n_questions++] = &e->data.question[q];
    }
    for (size_t q = shard - 1; e->shuffle && q < n; q += n_shards) /* now that distractors are drawn */
        eval_question_shuffle(&e->data.question[q], e->shuffle);
    return CLI_OK;
}

static int parse_shard(const command_usage *usage, const char *given, size_t *shard, size_t *n_shards) {
    char end = '\0';
    unsigned i = 1, n = 1;
    /* A sign is no digit, though sscanf takes it. */
    if (given && (strspn(given, "0123456789/") != strlen(given) || strlen(given) > 15 || sscanf(given, "%7u/%7u%c", &i, &n, &end) != 2 ||
                  i < 1 || i > n))
        return options_wrong(usage, "--shard takes a part and the number of parts, like 1/4, not '%s'", given);
    *shard = i;
    *n_shards = n;
    return CLI_OK;
}

/* Prints the summary and writes the page, where one is wanted. */
static int summarise(const eval *e, int argc, char *const *argv) {
    int result = CLI_OK;
    eval_series *series = must_alloc(e->n_variants, sizeof *series);
    for (size_t v = 0; v < e->n_variants; v++) {
        series[v] = (eval_series){iflow_method_name(e->variant[v].method), e->variant[v].ratio, NULL};
        series[v].record = must_alloc(e->n_questions, sizeof *series[v].record);
        for (size_t q = 0; q < e->n_questions; q++)
            series[v].record[q] = record_of(e, e->question[q], &e->variant[v]);
    }
    eval_summary summary = eval_summary_make(series, e->n_variants, e->n_questions);
    eval_summary_print(&summary);
    verify_print_summary(&summary, e->gate.least);
    if (e->report)
        result = eval_report_write(&(eval_report){.path = e->report,
                                                  .data_path = e->data.path,
                                                  .argc = argc,
                                                  .argv = argv,
                                                  .s = &e->s,
                                                  .question = e->question,
                                                  .chunk_tokens = session_chunk_tokens(&e->common)},
                                   &summary);
    eval_summary_free(&summary);
    for (size_t v = 0; v < e->n_variants; v++)
        free(series[v].record);
    free(series);
    return result;
}

static int parse_variants(const command_usage *usage, eval *e) {
    e->n_variants = 0;
    const iflow_correction_info *corrected = e->s.model ? &e->s.corrected : NULL;
    return eval_variants_parse(usage, e->methods, e->ratios, &e->asking, e->common.behind, corrected, e->variant, &e->n_variants);
}

/* Takes methods and ratios, too, from the profile; those given were parsed before the model was loaded. */
static int use_profile(eval *e, const profile_options *wanted, char **methods, char **ratios) {
    const int result = profile_use(wanted, &e->s.info, &e->common, &e->asking, &e->profile);
    if (result != CLI_OK || !e->profile.path)
        return result;
    if (!e->common.quiet)
        cli_note("using the profile %s", e->profile.path);
    *methods = text_format("full,none,%s", e->profile.method);
    *ratios = text_format("%g", e->profile.ratio);
    e->methods = options_given(&e->methods) ? e->methods : *methods;
    e->ratios = options_given(&e->ratios) ? e->ratios : *ratios;
    return CLI_OK;
}

int cli_eval(int argc, char **argv) {
    eval e = {.common = common_options_asking(),
              .asking = ask_options_default(),
              .methods = "full,none,infoflow",
              .ratios = "0.15",
              .protocol = "paper",
              .gate = gate_default()};
    profile_options profiling = {0};
    char *methods = NULL, *ratios = NULL; /* of a profile */
    e.asking.max_tokens = 0;              /* the protocol's */
    const command_usage usage = {
        "eval", "-m MODEL --output OUT.jsonl [OPTION]... {DATA.jsonl|--needle LENGTHS}",
        "Asks the questions of a data set with several methods, a chunk a passage; F1 and exact match of what the answer comes\n"
        "to as SQuAD has them, and whether its text contains a gold answer.\n"
        "\n"
        "Protocol `paper` is the paper's: the model's chat template without a system message, an instruction to answer within 5\n"
        "words, greedy decoding of at most 32 tokens. Protocol `chat` asks as `infoflow ask` does: the same template with its own\n"
        "system message, if it has one, or that of --system, a general instruction or that of --instruction, at most 256 tokens.\n"
        "\n"
        "A line of the data is {\"id\", \"question\", \"answers\": [...], \"passages\": [...]}, or LongBench's\n"
        "{\"_id\", \"input\", \"answers\", \"context\"}, whose context is split where lines begin with \"Passage 1:\", \"Passage 2:\" and\n"
        "so on, else cut at paragraph ends to --chunk tokens. With --needle the questions are for a number that is told once at\n"
        "some depth of a long text. Passages are prefilled before the clock runs.\n"
        "\n"
        "Writes a JSON record a question, method and ratio as they come, and prints the means with 95% bootstrap intervals and\n"
        "the differences to full prefill, paired by question. What the output file has already, by the same settings,\n"
        "is not asked again, so that an interrupted run goes on.",
        "  infoflow eval -m model.gguf --methods full,none,infoflow --ratio 0.05,0.15,0.3 --fidelity -o out.jsonl hotpot.jsonl"};
    const option_spec spec[] = {
        OPTION_ROW_MODEL(e.common),
        OPTION_ROW_STORE(e.common),
        {'\0', "no-store", NULL, OPTION_FLAG, &e.common.no_store, 0, 0, "keep the passages in memory only"},
        {'\0', "methods", "LIST", OPTION_TEXT, &e.methods, 0, 0,
         "methods, separated by commas; `infoflow methods` lists them (default: full,none,infoflow). Settings may follow: "
         "infoflow:vatp+hl-tp+reorder+alone"},
        {'r', "ratio", "LIST", OPTION_TEXT, &e.ratios, 0, 0,
         "shares of the context's tokens that are recomputed, separated by commas; methods that have no ratio run once (default: 0.15)"},
        {'\0', "protocol", "paper|chat", OPTION_CHOICE, &e.protocol, 0, 0, "how questions are asked, see above (default: paper)"},
        {'\0', "system", "TEXT", OPTION_TEXT, &e.asking.system, 0, 0,
         "with chat: system message; \"\" is none (default: the chat template's own)"},
        {'\0', "instruction", "TEXT", OPTION_TEXT, &e.asking.instruction, 0, 0,
         "with chat: stands before the question (default: a general one)"},
        {'\0', "fidelity", NULL, OPTION_FLAG, &e.fidelity, 0, 0,
         "also measure how near each method is to full prefill, given full prefill's answer: mean KL divergence and agreement on the most "
         "likely token"},
        {'o', "output", "FILE", OPTION_TEXT, &e.output, 0, 0, "where the records go, a line each"},
        {'\0', "report", "FILE", OPTION_TEXT, &e.report, 0, 0,
         "write a page with tables, charts and every question's tokens; of a finished run, too, by repeating its command"},
        {'\0', "needle", "LENGTHS", OPTION_TEXT, &e.needle, 0, 0,
         "needles in a haystack instead of data: texts of so many tokens, separated by commas, for each of --depths"},
        {'\0', "depths", "LIST", OPTION_TEXT, &e.depths, 0, 0,
         "where needles stand, 0 at the beginning to 1 at the end (default: 0,0.25,0.5,0.75,1)"},
        {'\0', "repeat", "N", OPTION_INT, &e.grid.repeat, 1, 1000, "texts and needles for each length and depth (default: 1)"},
        {'\0', "limit", "N", OPTION_INT, &e.limit, 1, 1e9, "only the first N questions, or lengths and depths of needles (default: all)"},
        {'\0', "shard", "I/N", OPTION_TEXT, &e.shard, 0, 0,
         "only the I-th of N parts: every N-th question from the I-th on. Give each part its own --output; the files joined give the whole "
         "table"},
        {'\0', "distractors", "N", OPTION_INT, &e.distractors, 0, 1e6,
         "append to each question's passages N of other questions of the data, the same ones every time (default: 0)"},
        {'\0', "shuffle", "N", OPTION_SEED, &e.shuffle, 0, 0,
         "put each question's passages, distractors among them, into another order, the same one every time for an N (default: 0, as they "
         "are)"},
        {'\0', "chunk", "N", OPTION_INT, &e.common.chunk, 1, 1 << 24,
         "tokens a chunk has at most where a context without passages is cut, at paragraph, sentence or word ends (default: 512)"},
        {'n', "max-tokens", "N", OPTION_INT, &e.asking.max_tokens, 1, 1 << 20, "tokens of an answer at most (default: 32, with chat 256)"},
        {'\0', "temp", "T", OPTION_REAL, &e.asking.temperature, 0, 100, "temperature of sampling; 0 is greedy (default: 0)"},
        {'\0', "seed", "N", OPTION_SEED, &e.asking.seed, 0, 0, "seed of needles, of method random and of sampling (default: 0)"},
        OPTION_ROWS_BUDGET(e.asking),
        OPTION_ROWS_DRIFT(e.asking),
        OPTION_ROWS_SCORING(e.asking),
        OPTION_ROWS_PROFILE(profiling),
        OPTION_ROW_CORRECTION(e.common),
        OPTION_ROWS_VERIFY(e.gate, "; which ones: drawn by the question, the same every time; 1: all"),
        OPTION_ROW_KV_TYPE(e.common),
        OPTION_ROWS_PREFILL(e.common),
        OPTION_ROW_MAX_SIZE(e.common),
        OPTION_ROWS_ENGINE(e.common),
        OPTION_ROWS_OUTPUT(e.common),
        {0}};
    int first = 0;
    int result = options_parse(&usage, spec, argc, argv, &first);
    if (result != OPTIONS_GO)
        return result;
    if (!e.output)
        return options_wrong(&usage, "where do the records go? Give --output OUT.jsonl");
    if (e.needle && (first < argc || e.distractors || e.shuffle))
        return options_wrong(&usage, "--needle makes questions and texts of its own; leave out %s",
                             first < argc    ? argv[first]
                             : e.distractors ? "--distractors"
                                             : "--shuffle");
    if (!e.needle && (e.depths || e.grid.repeat))
        return options_wrong(&usage, "--%s goes with --needle", e.depths ? "depths" : "repeat");
    if (!e.needle && first + 1 != argc)
        return options_wrong(&usage, first == argc ? "which questions? Name a JSONL file, or give --needle LENGTHS"
                                                   : "one data file at a time, please");
    if (!is_chat(&e) && (e.asking.system || e.asking.instruction))
        return options_wrong(&usage, "--%s goes with --protocol chat; the paper's protocol has its own",
                             e.asking.system ? "system" : "instruction");
    if (!is_chat(&e)) {
        e.asking.instruction = paper_instruction;
        e.asking.system = "";
    }
    if (!e.asking.max_tokens)
        e.asking.max_tokens = default_tokens(&e);
    if ((result = profile_options_check(&usage, &profiling)) != CLI_OK || (result = gate_check(&usage, &e.gate, NULL)) != CLI_OK)
        return result;
    size_t shard = 1, n_shards = 1;
    e.grid.seed = e.asking.seed;
    e.grid.repeat = e.grid.repeat ? e.grid.repeat : 1;
    result = e.needle ? needle_grid_parse(&usage, e.needle, e.depths ? e.depths : "0,0.25,0.5,0.75,1", &e.grid) : CLI_OK;
    if (result == CLI_OK) /* faults show at once; a profile may still change them */
        result = parse_variants(&usage, &e);
    if (result == CLI_OK)
        result = parse_shard(&usage, e.shard, &shard, &n_shards);
    if (result != CLI_OK)
        return result;

    /* The data and the records first: their faults show before minutes were spent. */
    bool malformed = false;
    if (!e.needle)
        result = eval_data_read(argv[first], e.distractors ? 0 : (size_t)e.limit, &e.data, &malformed);
    if (result == CLI_OK && !e.needle)
        result = choose_questions(&e, shard, n_shards);
    if (result == CLI_OK)
        result = eval_records_read(e.output, &e.records);
    if (result == CLI_OK && e.report)
        result = eval_report_check(e.report, argv[first], e.output);
    if (result == CLI_OK)
        result = session_load_model(&usage, &e.common, &e.s);
    if (result == CLI_OK)
        result = use_profile(&e, &profiling, &methods, &ratios);
    if (result == CLI_OK)
        result = session_open_without_context(&usage, &e.common, &e.s);
    if (result == CLI_OK)
        result = parse_variants(&usage, &e);
    if (result == CLI_OK)
        result = open_contexts(&e);
    iflow_status status = result == CLI_OK ? ask_options_params(&e.asking, &e.s.info, &e.params) : IFLOW_OK;
    if (status != IFLOW_OK)
        result = cli_failed(status, NULL);
    if (result == CLI_OK && e.needle) /* their lengths are in tokens of the model */
        result = make_needles(&e);
    if (result == CLI_OK && e.needle)
        result = choose_questions(&e, shard, n_shards);
    if (result != CLI_OK)
        goto cleanup;
    e.out = fopen(e.output, "ab");
    if (!e.out) {
        cli_error("cannot write %s: %s", e.output, strerror(errno));
        result = CLI_FAILED;
        goto cleanup;
    }
    for (size_t q = 0; q < e.n_questions; q++)
        for (size_t v = 0; v < e.n_variants; v++)
            e.n_to_ask += !is_done(&e, e.question[q], &e.variant[v]);
    if (!e.common.quiet && e.n_to_ask < e.n_questions * e.n_variants)
        cli_note("%zu answers are in %s already", e.n_questions * e.n_variants - e.n_to_ask, e.output);
    cli_signals(CLI_SIGNAL_GRACEFUL);
    progress_start(e.common.quiet);
    for (size_t q = 0; q < e.n_questions && run_question(&e, e.question[q]); q++)
        ;
    progress_end();
    result = summarise(&e, argc, argv);
    if (cli_interrupted()) {
        cli_note("interrupted; the same command goes on where this one stopped");
        result = CLI_INTERRUPTED;
    } else if (e.n_failed || malformed) {
        result = CLI_FAILED;
    }
cleanup:
    if (e.out && fclose(e.out) != 0) {
        cli_error("cannot write %s: %s", e.output, strerror(errno));
        result = CLI_FAILED;
    }
    eval_records_free(&e.records);
    free(e.question);
    eval_data_free(&e.data);
    profile_free(&e.profile);
    free(methods);
    free(ratios);
    for (size_t c = 0; c < COUNT_OF(e.ctx); c++)
        iflow_context_free(e.ctx[c]);
    session_close(&e.s);
    return cli_finish(result);
}
