/* eval_run.c - one evaluation: its settings, and asking its questions of its methods. */
#include "lab/eval_run.h"

#include "cli/progress.h"
#include "cli/text.h"
#include "lab/f1.h"
#include "service/documents.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { PAPER_TOKENS = 32 };

bool eval_is_chat(const eval *e) {
    return strcmp(e->protocol, "chat") == 0;
}

int eval_default_tokens(const eval *e) {
    return eval_is_chat(e) ? ask_settings_default().max_tokens : PAPER_TOKENS;
}

/* Settings that differ from the defaults, as text: a record stands for all that can change its numbers, and what can't change those of this
 * question and method is left out. Where it is computed and with how many threads is no setting: numbers differ by rounding, times by more.
 */
static char *settings_of(const eval *e, const eval_question *question, const eval_variant *v) {
    const ask_settings *how = &e->how.set;
    const bool looks = iflow_method_get_info(v->method)->by_question;
    const bool reuses = v->method != IFLOW_METHOD_FULL;
    const size_t chunk = cli_session_chunk_tokens(&e->common);
    text out = {0};
    if (eval_is_chat(e)) {
        text_puts(&out, " protocol=chat");
    }
    if (eval_is_chat(e) && !how->system) {
        text_puts(&out, " system=own");
    }
    if (eval_is_chat(e) && how->system && how->system[0]) {
        text_printf(&out, " system=%016" PRIx64, eval_hash(how->system));
    }
    if (eval_is_chat(e) && how->instruction) {
        text_printf(&out, " instruction=%016" PRIx64, eval_hash(how->instruction));
    }
    if (how->max_tokens != eval_default_tokens(e)) {
        text_printf(&out, " max-tokens=%d", how->max_tokens);
    }
    if (how->temperature > 0) {
        text_printf(&out, " temp=%.9g", how->temperature);
    }
    if (how->seed && (how->temperature > 0 || v->method == IFLOW_METHOD_RANDOM)) {
        text_printf(&out, " seed=%" PRIu64, how->seed);
    }
    if (question->text && chunk != cli_session_chunk_tokens(&(common_options){0})) {
        text_printf(&out, " chunk=%zu", chunk);
    }
    if (e->common.exact) { /* other arithmetic, and other chunks */
        text_puts(&out, " exact");
    }
    if (e->common.ctx && e->common.ctx != e->s.info.n_ctx_train) { /* an answer ends where the context does */
        text_printf(&out, " ctx=%d", e->common.ctx);
    }
    if (e->shuffle) {
        text_printf(&out, " shuffle=%" PRIu64, e->shuffle);
    }
    if (reuses && e->common.kv_type && strcmp(e->common.kv_type, "f16") != 0) {
        text_printf(&out, " kv-type=%s", e->common.kv_type);
    }
    if (reuses) {
        text_printf(&out, " fillers=%d", v->fillers);
    }
    if (v->drift) {
        text_puts(&out, " drift");
    }
    if (v->correct) {
        text_printf(&out, " corrected=%.8s", e->s.corrected.id);
    }
    if (iflow_method_get_info(v->method)->has_scores && how->coverage > 0) {
        text_printf(&out, " coverage=%.9g min-ratio=%.9g max-ratio=%.9g", how->coverage, how->min_ratio, how->max_ratio);
    }
    if (v->method == IFLOW_METHOD_UNION && fabs(how->staleness_share - ask_settings_default().staleness_share) > 5e-7) {
        text_printf(&out, " staleness-share=%.9g", how->staleness_share);
    }
    if (looks && strcmp(how->score_text, ask_settings_default().score_text) != 0) {
        text_printf(&out, " score-text=%s", how->score_text);
    }
    for (size_t i = 0; looks && i < how->layers.n; i++) {
        const int layer = how->layers.layer[i];
        text_printf(&out, "%s%d", i ? "," : " score-layers=", layer < 0 ? layer + e->s.info.n_layer : layer);
    }
    char *settings = text_format("%s", out.n ? out.text + 1 : "");
    text_free(&out);
    return settings;
}

/* Whether the answer is checked; full prefill's own is what answers are checked against. */
static bool is_verified(const eval *e, const eval_question *question, const eval_variant *v) {
    return v->method != IFLOW_METHOD_FULL && gate_draws(&e->gate, question->question);
}

const json_t *eval_record_of(const eval *e, const eval_question *question, const eval_variant *v) {
    const bool looks = iflow_method_get_info(v->method)->by_question;
    char *settings = settings_of(e, question, v);
    const eval_key key = {.id = question->id,
                          .method = iflow_method_name(v->method),
                          .score = looks ? iflow_score_name(v->score) : "",
                          .geometry = looks ? iflow_geometry_name(v->geometry) : "",
                          .reorder = v->reorder,
                          .model = e->s.info.fingerprint,
                          .settings = settings,
                          .digest = question->digest,
                          .ratio = v->ratio,
                          .distractors = e->distractors};
    const json_t *record = eval_records_find(&e->records, &key);
    free(settings);
    if (e->fidelity && !json_object_get(record, "kl")) {
        return NULL;
    }
    return is_verified(e, question, v) && !json_object_get(record, "agreement") ? NULL : record;
}

static bool is_done(const eval *e, const eval_question *question, const eval_variant *v) {
    return eval_record_of(e, question, v) != NULL;
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

/* The context that a variant is asked in. */
static iflow_context *context_of(const eval *e, const eval_variant *v) {
    return e->ctx[v->fillers];
}

/* Opens the contexts that the variants need. Chunks get their staleness where one of these wants it, so that no method pays for it. */
int eval_open_contexts(eval *e) {
    for (int fillers = 0; fillers <= IFLOW_MAX_FILLERS; fillers++) {
        bool needed = false, estimate = e->common.estimate;
        for (size_t v = 0; v < e->n_variants; v++) {
            needed = needed || e->variant[v].fillers == fillers;
            estimate = estimate || (e->variant[v].fillers == fillers && iflow_method_get_info(e->variant[v].method)->by_staleness);
        }
        common_options options = e->common;
        options.fillers = fillers;
        options.estimate = estimate;
        const int result = needed ? cli_session_new_context(&options, &e->s, &e->ctx[fillers]) : CLI_OK;
        if (result != CLI_OK) {
            return result;
        }
    }
    return CLI_OK;
}

/* Lays the question's text and passages into the contexts. Their KV is computed first, so that no method pays for it, unless it cannot be
 * kept; and what does not fit is known before. */
static iflow_status prepare(eval *e, const eval_question *question) {
    chunk_list chunks;
    const chunks_room room = cli_session_room(&e->common, &e->s);
    iflow_ask_params params = e->params;
    params.question = question->question;
    iflow_status status = eval_context_cut(e->s.model, question, cli_session_chunk_tokens(&e->common), &chunks);
    if (status == IFLOW_OK) {
        status = chunks_fit(&room, &chunks, &params);
    }
    size_t n_contexts = 0;
    for (size_t c = 0; c < COUNT_OF(e->ctx); c++) {
        n_contexts += e->ctx[c] != NULL;
    }
    bool warm = true;
    const bool ahead = status == IFLOW_OK && chunks_are_kept(&room, &chunks, n_contexts);
    for (size_t c = 0; c < COUNT_OF(e->ctx); c++) {
        if (!e->ctx[c]) {
            continue;
        }
        iflow_context_clear(e->ctx[c]);
        if (status == IFLOW_OK && ahead) {
            status = chunks_prefill(&chunks, e->ctx[c], NULL, NULL);
        }
        if (status == IFLOW_OK) {
            status = chunk_list_lay(&chunks, e->ctx[c]);
        }
        if (status == IFLOW_OK && !e->warm) { /* what fails here fails below, where it is said of which method */
            warm = warm_up(e, e->ctx[c], question) == IFLOW_OK && warm;
        }
    }
    e->warm = e->warm || (status == IFLOW_OK && warm);
    chunk_list_free(&chunks);
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
    if (iflow_method_get_info(v->method)->by_question) {
        json_object_set_new(record, "score", json_string(iflow_score_name(v->score)));
        json_object_set_new(record, "geometry", json_string(iflow_geometry_name(v->geometry)));
        json_object_set_new(record, "reorder", json_boolean(v->reorder));
        if (v->reorder) {
            json_object_set_new(record, "order", answer_order_json(answer));
        }
    }
    json_object_set_new(record, "ratio", json_finite(v->ratio));
    json_object_set_new(record, "distractors", json_integer(e->distractors));
    json_object_set_new(record, "settings", json_string(settings));
    json_object_set_new(record, "digest", json_string(question->digest));
    if (question->needle_length) {
        json_object_set_new(record, "needle_length", json_integer(question->needle_length));
        json_object_set_new(record, "needle_depth", json_finite(question->needle_depth));
    }
    json_object_set_new(record, "model", json_string(e->s.info.fingerprint));
    json_object_set_new(record, "answer", json_text(extracted));
    json_object_set_new(record, "raw", json_text(answer->text));
    answer_put_finish(record, answer);
    json_object_set_new(record, "f1", json_finite(f1));
    json_object_set_new(record, "em", json_integer(exact));
    json_object_set_new(record, "contains", json_integer(contains));
    if (like) {
        json_object_set_new(record, "kl", json_finite(like->kl));
        json_object_set_new(record, "top1", json_finite(like->top1));
    }
    if (checked->verified) {
        answer_put_verdict(record, checked);
    }
    json_object_set_new(record, "tokens", answer_tokens_json(answer));
    if (answer->n_corrected) {
        json_object_set_new(record, "evidence", json_finite(answer->evidence));
    }
    json_object_set_new(record, "timings_ms", answer_timings_json(answer));
    json_object_set_new(record, "selected", answer_selected_json(answer));
    int result = report_dump(record, e->out);
    if (result == CLI_OK) {
        eval_records_add(&e->records, record);
    }
    json_decref(record);
    free(settings);
    free(extracted);
    return result;
}

static void show_progress(const eval *e, const eval_question *question, const eval_variant *v) {
    double left = e->n_asked ? e->asking_seconds / (double)e->n_asked * (double)(e->n_to_ask - e->n_asked) : -1;
    char *rate = text_format("%zu of %zu", e->n_asked, e->n_to_ask);
    char *what = text_format(iflow_method_get_info(v->method)->by_ratio ? "%s, %s at %.2f" : "%s, %s", question->id,
                             iflow_method_name(v->method), v->ratio);
    progress_show(e->n_to_ask ? (double)e->n_asked / (double)e->n_to_ask : 1, left, rate, what);
    free(what);
    free(rate);
}

static iflow_ask_params params_of(const eval *e, const eval_question *question, const eval_variant *v) {
    iflow_ask_params params = e->params;
    params.method = v->method;
    params.score = v->score;
    params.geometry = v->geometry;
    params.reorder = v->reorder;
    params.drift = v->drift ? IFLOW_ON : IFLOW_OFF;
    params.correct = v->correct ? IFLOW_ON : IFLOW_OFF;
    params.ratio = iflow_method_get_info(v->method)->by_ratio ? v->ratio : params.ratio;
    params.question = question->question;
    params.keep_logits = is_verified(e, question, v);
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

/* What the tokens of full prefill's answer are predicted by after the context that was asked last. *logits: [n_generated, n_vocab]. */
static iflow_status replay_full(eval *e, const eval_variant *v, float **logits) {
    *logits = must_alloc(e->full->n_generated * (size_t)e->s.info.n_vocab, sizeof **logits);
    return iflow_context_replay(context_of(e, v), e->full->token, e->full->n_generated, *logits);
}

/* Asks full prefill for the question, unless that was done. Its own answer is replayed like everybody's, so that both sides of a comparison
 * were computed in the same way. */
static iflow_status ask_full(eval *e, const eval_question *question) {
    eval_variant full = {.method = IFLOW_METHOD_FULL, .ratio = 1};
    while (!e->ctx[full.fillers]) { /* full prefill uses no chunk: any context will do */
        full.fillers++;
    }
    iflow_status status = e->full ? IFLOW_OK : ask(e, question, &full, &e->full);
    if (status == IFLOW_OK && !e->full_logits && e->full->n_generated && !cli_interrupted()) {
        status = replay_full(e, &full, &e->full_logits);
    }
    if (status != IFLOW_OK) { /* nothing is compared with numbers that were not computed */
        free(e->full_logits);
        e->full_logits = NULL;
    }
    return status;
}

/* How near the variant that was asked last is to full prefill, after each token of its answer; not a number if that has none. */
static iflow_status measure_fidelity(eval *e, const eval_variant *v, iflow_fidelity *out) {
    float *logits = NULL;
    *out = e->full->n_generated ? (iflow_fidelity){0, 1, e->full->n_generated} : (iflow_fidelity){NAN, NAN, 0};
    if (e->full->n_generated == 0 || v->method == IFLOW_METHOD_FULL) {
        return IFLOW_OK;
    }
    const iflow_status status = replay_full(e, v, &logits);
    if (status == IFLOW_OK) {
        *out = iflow_fidelity_of(e->full_logits, logits, e->full->n_generated, (size_t)e->s.info.n_vocab);
    }
    free(logits);
    return status;
}

static bool goes_on(iflow_status status) {
    return status == IFLOW_OK && !cli_interrupted();
}

/* Says that a question failed, of a method or (NULL) altogether. False if the next one would, too. */
static bool give_up(eval *e, const eval_question *question, const char *method, iflow_status status) {
    char *what =
        text_format("%s:%zu: question %s%s%s", e->data.path, question->line, question->id, method ? ", " : "", method ? method : "");
    cli_failed(status, what);
    free(what);
    e->n_failed++;
    return document_is_at_fault(status);
}

/* Asks one question of one variant and writes its record. False to stop. */
static bool run_variant(eval *e, const eval_question *question, const eval_variant *v) {
    bool go_on = true;
    iflow_answer *own = NULL;
    iflow_fidelity like = {0};
    verdict checked = {0};
    iflow_status status = e->fidelity ? ask_full(e, question) : IFLOW_OK;
    if (goes_on(status) && !(e->fidelity && v->method == IFLOW_METHOD_FULL)) {
        status = ask(e, question, v, &own);
    }
    if (goes_on(status) && e->fidelity) {
        status = measure_fidelity(e, v, &like);
    }
    if (goes_on(status) && is_verified(e, question, v)) { /* last: it prefills the context anew */
        status = verify(e, question, v, own, &checked);
    }
    if (cli_interrupted()) { /* an answer cut short is no measurement */
        go_on = false;
    } else if (status != IFLOW_OK) {
        go_on = give_up(e, question, iflow_method_name(v->method), status);
    } else {
        go_on = write_record(e, question, v, own ? own : e->full, e->fidelity ? &like : NULL, &checked) == CLI_OK;
        e->n_failed += !go_on;
    }
    iflow_answer_free(own);
    return go_on;
}

bool eval_run_question(eval *e, const eval_question *question) {
    bool prepared = false, go_on = true;
    for (size_t v = 0; v < e->n_variants && go_on; v++) {
        if (is_done(e, question, &e->variant[v])) {
            continue;
        }
        show_progress(e, question, &e->variant[v]);
        const double start = now_seconds();
        const iflow_status status = prepared ? IFLOW_OK : prepare(e, question);
        prepared = true;
        if (cli_interrupted()) {
            go_on = false;
        } else if (status == IFLOW_OK) {
            go_on = run_variant(e, question, &e->variant[v]);
        } else {
            go_on = give_up(e, question, NULL, status);
        }
        e->n_asked++;
        e->asking_seconds += now_seconds() - start;
        if (status != IFLOW_OK) {
            break; /* the others would fail alike */
        }
    }
    iflow_answer_free(e->full);
    free(e->full_logits);
    e->full = NULL;
    e->full_logits = NULL;
    return go_on;
}
