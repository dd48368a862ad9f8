/* answers.c - what an answer is and what it cost, as JSON: what a command prints and a server sends. */
#include "service/answers.h"

#include "base/base.h"
#include "service/pieces.h"

#include <stdlib.h>

double answer_decode_rate(const iflow_answer *answer) {
    return answer->n_generated > 1 && answer->ms.decode > 0 ? (double)(answer->n_generated - 1) / answer->ms.decode * 1e3 : 0;
}

const char *const answer_stage_name[ANSWER_STAGES] = {"prefill", "load", "assemble", "score", "select", "recompute", "prompt", "decode"};

void answer_stages(const iflow_answer *answer, answer_stage stage[ANSWER_STAGES]) {
    const iflow_timings *ms = &answer->ms;
    const double all[ANSWER_STAGES] = {ms->prefill, ms->load, ms->assemble, ms->score, ms->select, ms->recompute, ms->prompt, ms->decode};
    for (size_t i = 0; i < ANSWER_STAGES; i++) {
        stage[i] = (answer_stage){answer_stage_name[i], all[i]};
    }
}

/* ---- Parts -------------------------------------------------------------------------------------------------------------------------- */

/* What was made, if all of it was. */
static json_t *whole(json_t *made, bool ok) {
    if (ok) {
        return made;
    }
    json_decref(made);
    return NULL;
}

json_t *answer_tokens_json(const iflow_answer *answer) {
    json_t *tokens = json_object();
    const bool ok =
        json_put(tokens, "context", json_count(answer->n_context)) && json_put(tokens, "reused", json_count(answer->n_reused)) &&
        json_put(tokens, "corrected", json_count(answer->n_corrected)) &&
        json_put(tokens, "recomputed", json_count(answer->n_recomputed)) && json_put(tokens, "prompt", json_count(answer->n_prompt)) &&
        json_put(tokens, "generated", json_count(answer->n_generated));
    return whole(tokens, ok);
}

json_t *answer_timings_json(const iflow_answer *answer) {
    json_t *timings = json_object();
    answer_stage stage[ANSWER_STAGES];
    bool ok = true;
    answer_stages(answer, stage);
    for (size_t i = 0; i < ANSWER_TTFT_STAGES; i++) {
        ok = ok && json_put(timings, stage[i].name, json_finite(stage[i].ms));
    }
    ok = ok && json_put(timings, "ttft", json_finite(answer->ms.ttft)) && json_put(timings, "decode", json_finite(answer->ms.decode)) &&
         json_put(timings, "total", json_finite(answer->ms.total));
    return whole(timings, ok);
}

json_t *answer_selected_json(const iflow_answer *answer) {
    json_t *selected = json_array();
    bool ok = selected != NULL;
    for (size_t i = 0; i < answer->n_selected && ok; i++) {
        ok = json_append(selected, json_integer(answer->selected[i]));
    }
    return whole(selected, ok);
}

json_t *answer_order_json(const iflow_answer *answer) {
    json_t *order = json_array();
    bool ok = order != NULL;
    for (size_t i = 1; i < answer->n_chunks && ok; i++) {
        ok = json_append(order, json_count(answer->chunk[i].index));
    }
    return whole(order, ok);
}

static json_t *chunk_json(const iflow_chunk_span *span) {
    json_t *chunk = json_object();
    const bool ok = json_put(chunk, "id", json_string(span->id)) && json_put(chunk, "index", json_count(span->index)) &&
                    json_put(chunk, "start", json_integer(span->start)) && json_put(chunk, "length", json_integer(span->length)) &&
                    json_put(chunk, "selected", json_integer(span->n_selected));
    return whole(chunk, ok);
}

static json_t *chunks_json(const iflow_answer *answer) {
    json_t *chunks = json_array();
    bool ok = chunks != NULL;
    for (size_t i = 0; i < answer->n_chunks && ok; i++) {
        ok = json_append(chunks, chunk_json(&answer->chunk[i]));
    }
    return whole(chunks, ok);
}

static json_t *document_json(const context_document *document, size_t first) {
    json_t *object = json_object();
    const bool ok = json_put(object, "name", json_text(document->name)) && json_put(object, "first_chunk", json_count(first)) &&
                    json_put(object, "chunks", json_count(document->n_chunks));
    return whole(object, ok);
}

static json_t *documents_json(const context_documents *documents) {
    json_t *list = json_array();
    bool ok = list != NULL;
    size_t first = 1; /* chunk 0 is the head */
    for (size_t i = 0; i < documents->n && ok; i++) {
        ok = json_append(list, document_json(&documents->document[i], first));
        first += documents->document[i].n_chunks;
    }
    return whole(list, ok);
}

static json_t *model_json(const session *s) {
    json_t *model = json_object();
    const bool ok = json_put(model, "path", json_text(s->info.path)) && json_put(model, "architecture", json_text(s->info.architecture)) &&
                    json_put(model, "fingerprint", json_text(s->info.fingerprint)) &&
                    json_put(model, "device", json_text(s->info.device)) && json_put(model, "load_ms", json_finite(s->model_load_ms));
    return whole(model, ok);
}

static json_t *scores_json(const iflow_answer *answer) {
    json_t *list = answer->score ? json_array() : json_null();
    bool ok = list != NULL;
    for (size_t i = 0; answer->score && i < answer->n_context && ok; i++) {
        ok = json_append(list, json_finite((double)answer->score[i]));
    }
    return whole(list, ok);
}

/* ---- Members ------------------------------------------------------------------------------------------------------------------------ */

bool answer_put_finish(json_t *object, const iflow_answer *answer) {
    return json_put(object, "finish", json_string(iflow_finish_name(answer->finish))) &&
           json_put(object, "context_full", json_boolean(answer->context_full));
}

bool answer_put_verdict(json_t *object, const verdict *v) {
    return json_put(object, "verified", json_boolean(v->verified)) &&
           json_put(object, "agreement", v->verified ? json_finite(v->agreement) : json_null()) &&
           json_put(object, "agreement_kl", v->verified ? json_finite(v->kl) : json_null());
}

bool answer_put_profile(json_t *object, const profile *p) {
    return json_put(object, "profile", p->path ? json_text(p->path) : json_null());
}

static bool put_other(json_t *object, const char *key, double value, double usual) {
    return value == usual || json_put(object, key, json_finite(value));
}

static bool put_other_count(json_t *object, const char *key, int value, int usual) {
    return value == usual || json_put(object, key, json_integer(value));
}

static json_t *stops_json(const stop_list *stops) {
    json_t *list = json_array();
    bool ok = list != NULL;
    for (size_t i = 0; i < stops->n && ok; i++) {
        ok = json_append(list, json_text(stops->item[i]));
    }
    return whole(list, ok);
}

/* What of sampling is not the default. */
static json_t *sampling_json(const ask_settings *how) {
    const iflow_ask_params usual = iflow_ask_default_params();
    json_t *sampling = json_object();
    bool ok = sampling && put_other(sampling, "temperature", how->temperature, usual.temperature);
    if (how->temperature > 0) {
        ok = ok && json_put(sampling, "seed", json_count(how->seed)) && put_other_count(sampling, "top_k", how->top_k, usual.top_k) &&
             put_other(sampling, "top_p", how->top_p, usual.top_p) && put_other(sampling, "min_p", how->min_p, usual.min_p);
    }
    ok = ok && put_other(sampling, "repeat_penalty", how->repeat_penalty, usual.repeat_penalty) &&
         put_other(sampling, "presence_penalty", how->presence_penalty, usual.presence_penalty) &&
         put_other(sampling, "frequency_penalty", how->frequency_penalty, usual.frequency_penalty) &&
         put_other_count(sampling, "penalty_last_n", how->penalty_last_n, usual.penalty_last_n);
    if (how->grammar) {
        ok = ok && json_put(sampling, how->grammar_is_schemas ? "json_schema" : "grammar",
                            how->grammar_name ? json_text(how->grammar_name) : json_true());
    }
    if (how->stop.n) {
        ok = ok && json_put(sampling, "stop", stops_json(&how->stop));
    }
    return whole(sampling, ok);
}

/* How it was sampled, where that is not the default, and the stop string that ended it. */
static bool put_sampling(json_t *object, const ask_settings *how, const iflow_answer *answer) {
    json_t *sampling = sampling_json(how);
    bool ok = sampling != NULL;
    if (ok && json_object_size(sampling)) {
        ok = json_object_set(object, "sampling", sampling) == 0;
    }
    json_decref(sampling);
    return ok && (answer->stopped_by < 0 || json_put(object, "stopped_by", json_text(how->stop.item[answer->stopped_by])));
}

typedef struct texts {
    json_t *list;
    bool ok;
} texts;

static void add_piece(size_t start, size_t end, const char *bytes, size_t n_bytes, void *user) {
    texts *to = user;
    char *clean = iflow_utf8_replaced(bytes, n_bytes);
    to->ok = to->ok && clean;
    for (size_t i = start; i < end && to->ok; i++) {
        to->ok = json_append(to->list, json_string(i == start ? clean : ""));
    }
    free(clean);
}

/* The tokens of the context's positions and their texts, which joined are the context's: where tokens share a character, the first has it
 * and the others are empty. */
static iflow_status put_positions(json_t *object, const iflow_model *model, const iflow_answer *answer) {
    json_t *tokens = json_array();
    texts to = {json_array(), true};
    iflow_status status = IFLOW_OK;
    bool ok = tokens && to.list;
    for (size_t i = 0; i < answer->n_context && ok; i++) {
        ok = json_append(tokens, json_integer(answer->context_token[i]));
    }
    for (size_t c = 0; status == IFLOW_OK && ok && c < answer->n_chunks; c++) {
        const size_t start = (size_t)answer->chunk[c].start, end = start + (size_t)answer->chunk[c].length;
        status = token_pieces(model, answer->context_token, start, end, add_piece, &to);
        ok = to.ok;
    }
    ok = json_put(object, "context_tokens", tokens) && ok;
    ok = json_put(object, "context_texts", to.list) && ok;
    return status == IFLOW_OK && !ok ? iflow_fail_memory(answer->n_context) : status;
}

/* ---- The whole ---------------------------------------------------------------------------------------------------------------------- */

static bool put_answer(json_t *object, const answer_report *what) {
    const iflow_answer *answer = what->answer;
    return json_put(object, "answer", json_text(answer->text)) && answer_put_finish(object, answer) &&
           json_put(object, "question", json_text(what->question)) &&
           (!what->in_chat || json_put(object, "follow_up", json_boolean(what->follow_up))) &&
           json_put(object, "method", json_string(iflow_method_name(answer->method))) &&
           json_put(object, "ratio", json_finite(answer->ratio)) && json_put(object, "tokens", answer_tokens_json(answer)) &&
           json_put(object, "evidence", json_finite(answer->evidence)) && json_put(object, "timings_ms", answer_timings_json(answer)) &&
           json_put(object, "decode_tokens_per_second", json_finite(answer_decode_rate(answer))) &&
           json_put(object, "cache_bytes", json_count(answer->cache_bytes)) && json_put(object, "model", model_json(what->session)) &&
           json_put(object, "documents", documents_json(what->documents)) &&
           json_put(object, "left_out", json_count(what->documents->n_left_out)) && json_put(object, "chunks", chunks_json(answer)) &&
           json_put(object, "selected", answer_selected_json(answer)) &&
           (!what->scores || json_put(object, "scores", scores_json(answer))) &&
           (!what->settings || put_sampling(object, what->settings, answer)) &&
           (!what->checked || answer_put_verdict(object, what->checked)) && (!what->profile || answer_put_profile(object, what->profile));
}

iflow_status answer_to_json(const answer_report *what, json_t **out) {
    json_t *object = json_object();
    iflow_status status = put_answer(object, what) ? IFLOW_OK : iflow_fail_memory(what->answer->n_context);
    if (status == IFLOW_OK && what->positions) {
        status = put_positions(object, what->session->model, what->answer);
    }
    if (status != IFLOW_OK) {
        json_decref(object);
        return status;
    }
    *out = object;
    return IFLOW_OK;
}
