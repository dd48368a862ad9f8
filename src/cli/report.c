/* report.c - what an answer cost: a table for people, and JSON. */
#include "cli/report.h"

#include "cli/page.h"
#include "cli/terminal.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

double report_decode_rate(const iflow_answer *answer) {
    return answer->n_generated > 1 && answer->ms.decode > 0 ? (double)(answer->n_generated - 1) / answer->ms.decode * 1e3 : 0;
}

const char *const report_stage_name[REPORT_STAGES] = {"prefill", "load", "assemble", "score", "select", "recompute", "prompt", "decode"};

void report_stages(const iflow_answer *answer, report_stage stage[REPORT_STAGES]) {
    const iflow_timings *ms = &answer->ms;
    const double all[REPORT_STAGES] = {ms->prefill, ms->load, ms->assemble, ms->score, ms->select, ms->recompute, ms->prompt, ms->decode};
    for (size_t i = 0; i < REPORT_STAGES; i++) {
        stage[i] = (report_stage){report_stage_name[i], all[i]};
    }
}

static double share(size_t part, size_t whole) {
    return whole ? (double)part / (double)whole * 100 : 0;
}

static void print_tokens(FILE *to, const char *name, size_t n, const char *more) {
    fprintf(to, "  %-12s%10s tokens%s\n", name, human_count(n), more);
}

static void print_share(FILE *to, const char *name, const iflow_answer *answer, size_t n) {
    char more[32];
    snprintf(more, sizeof more, "  %5.1f %%", share(n, answer->n_context));
    print_tokens(to, name, n, more);
}

char *report_cut(const session *s, const iflow_answer *answer) {
    size_t n_rows = answer->n_context + answer->n_prompt + answer->n_generated;
    switch (answer->finish) {
    case IFLOW_FINISH_STOP:
        break;
    case IFLOW_FINISH_LENGTH:
        if (!answer->context_full) {
            return text_format("the answer was cut: --max-tokens %zu is reached", answer->n_generated);
        }
        if (n_rows < (size_t)s->info.n_ctx_train) {
            return text_format(
                "the answer was cut: the context of %zu tokens is full; give --ctx more (the model was trained for %d) or leave "
                "out documents",
                n_rows, s->info.n_ctx_train);
        }
        return text_format("the answer was cut: the context of %zu tokens is full; leave out documents", n_rows);
    case IFLOW_FINISH_CANCELLED:
        return text_format("the answer was cut: it was interrupted");
    }
    return NULL;
}

static void print_cut(FILE *to, const session *s, const iflow_answer *answer) {
    char *line = report_cut(s, answer);
    if (line) {
        fprintf(to, "[%s]\n", line);
    }
    free(line);
}

void report_print(FILE *to, const session *s, const iflow_answer *answer) {
    size_t n_chunks = answer->n_chunks ? answer->n_chunks - 1 : 0;
    char more[64];
    print_cut(to, s, answer);
    fprintf(to, "\n");
    more[0] = '\0';
    if (answer->n_chunks) { /* a follow-up's context is what there was */
        snprintf(more, sizeof more, "  in %zu chunk%s and the head", n_chunks, plural(n_chunks));
    }
    print_tokens(to, "context", answer->n_context, more);
    print_share(to, "reused", answer, answer->n_reused);
    if (answer->n_corrected && isfinite(answer->evidence)) {
        snprintf(more, sizeof more, "  %5.1f %%, evidence %.2f", share(answer->n_corrected, answer->n_context), answer->evidence);
        print_tokens(to, "corrected", answer->n_corrected, more);
    } else if (answer->n_corrected) {
        print_share(to, "corrected", answer, answer->n_corrected);
    }
    print_share(to, "recomputed", answer, answer->n_recomputed);
    print_tokens(to, "prompt", answer->n_prompt, "");
    print_tokens(to, "generated", answer->n_generated, "");
    fprintf(to, "\n");
    report_stage stage[REPORT_STAGES];
    report_stages(answer, stage);
    for (size_t i = 0; i < REPORT_TTFT_STAGES; i++) {
        fprintf(to, "  %-12s%10.1f ms\n", stage[i].name, stage[i].ms);
    }
    fprintf(to, "  %-12s%10.1f ms  to the first token\n", "all of these", answer->ms.ttft);
    fprintf(to, "  %-12s%10.1f ms", "decode", answer->ms.decode);
    if (report_decode_rate(answer) > 0) {
        fprintf(to, "  %.1f tokens/s", report_decode_rate(answer));
    }
    fprintf(to, "\n\n  %-12s%10.1f ms  %s\n", "model load", s->model_load_ms, visible(s->info.device));
    fprintf(to, "  %-12s%10s\n", "cache", human_bytes(answer->cache_bytes));
}

void report_print_line(FILE *to, const session *s, const iflow_answer *answer, bool follow_up) {
    fprintf(to, "[%s, %s tokens of context", follow_up ? "follow-up" : iflow_method_name(answer->method), human_count(answer->n_context));
    if (!follow_up) {
        fprintf(to, ", %s recomputed", human_count(answer->n_recomputed));
    }
    fprintf(to, "; first token after %.0f ms, %zu token%s", answer->ms.ttft, answer->n_generated, plural(answer->n_generated));
    if (report_decode_rate(answer) > 0) {
        fprintf(to, " at %.1f tokens/s", report_decode_rate(answer));
    }
    fprintf(to, "]\n");
    print_cut(to, s, answer);
}

/* ---- JSON --------------------------------------------------------------------------------------------------------------------------- */

json_t *json_text(const char *bytes) {
    char *clean = text_utf8(bytes, strlen(bytes));
    json_t *string = json_string(clean);
    free(clean);
    return string;
}

json_t *json_finite(double value) {
    return isfinite(value) ? json_real(value) : json_null();
}

/* A count fits: jansson's integers have 64 bits. */
static void set_count(json_t *object, const char *key, uint64_t n) {
    json_object_set_new(object, key, json_integer((json_int_t)n));
}

json_t *report_tokens_json(const iflow_answer *answer) {
    json_t *tokens = json_object();
    set_count(tokens, "context", answer->n_context);
    set_count(tokens, "reused", answer->n_reused);
    set_count(tokens, "corrected", answer->n_corrected);
    set_count(tokens, "recomputed", answer->n_recomputed);
    set_count(tokens, "prompt", answer->n_prompt);
    set_count(tokens, "generated", answer->n_generated);
    return tokens;
}

void report_finish_json(json_t *object, const iflow_answer *answer) {
    json_object_set_new(object, "finish", json_string(iflow_finish_name(answer->finish)));
    json_object_set_new(object, "context_full", json_boolean(answer->context_full));
}

static void set_other(json_t *object, const char *key, double value, double usual) {
    if (value != usual) {
        json_object_set_new(object, key, json_finite(value));
    }
}

static void set_other_count(json_t *object, const char *key, int value, int usual) {
    if (value != usual) {
        json_object_set_new(object, key, json_integer(value));
    }
}

void report_sampling_json(json_t *object, const ask_options *how, const iflow_answer *answer) {
    const iflow_ask_params usual = iflow_ask_default_params();
    json_t *sampling = json_object();
    set_other(sampling, "temperature", how->set.temperature, usual.temperature);
    if (how->set.temperature > 0) {
        set_count(sampling, "seed", how->set.seed);
        set_other_count(sampling, "top_k", how->set.top_k, usual.top_k);
        set_other(sampling, "top_p", how->set.top_p, usual.top_p);
        set_other(sampling, "min_p", how->set.min_p, usual.min_p);
    }
    set_other(sampling, "repeat_penalty", how->set.repeat_penalty, usual.repeat_penalty);
    set_other(sampling, "presence_penalty", how->set.presence_penalty, usual.presence_penalty);
    set_other(sampling, "frequency_penalty", how->set.frequency_penalty, usual.frequency_penalty);
    set_other_count(sampling, "penalty_last_n", how->set.penalty_last_n, usual.penalty_last_n);
    if (how->json_schema) {
        json_object_set_new(sampling, "json_schema", json_text(how->json_schema));
    }
    if (how->grammar) {
        json_object_set_new(sampling, "grammar", json_text(how->grammar));
    }
    if (how->set.stop.n) {
        json_t *stop = json_array();
        for (size_t i = 0; i < how->set.stop.n; i++) {
            json_array_append_new(stop, json_text(how->set.stop.item[i]));
        }
        json_object_set_new(sampling, "stop", stop);
    }
    if (json_object_size(sampling)) {
        json_object_set(object, "sampling", sampling);
    }
    json_decref(sampling);
    if (answer->stopped_by >= 0) {
        json_object_set_new(object, "stopped_by", json_text(how->set.stop.item[answer->stopped_by]));
    }
}

json_t *report_timings_json(const iflow_answer *answer) {
    json_t *timings = json_object();
    report_stage stage[REPORT_STAGES];
    report_stages(answer, stage);
    for (size_t i = 0; i < REPORT_TTFT_STAGES; i++) {
        json_object_set_new(timings, stage[i].name, json_finite(stage[i].ms));
    }
    json_object_set_new(timings, "ttft", json_finite(answer->ms.ttft));
    json_object_set_new(timings, "decode", json_finite(answer->ms.decode));
    json_object_set_new(timings, "total", json_finite(answer->ms.total));
    return timings;
}

json_t *report_selected_json(const iflow_answer *answer) {
    json_t *selected = json_array();
    for (size_t i = 0; i < answer->n_selected; i++) {
        json_array_append_new(selected, json_integer(answer->selected[i]));
    }
    return selected;
}

json_t *report_order_json(const iflow_answer *answer) {
    json_t *order = json_array();
    for (size_t i = 1; i < answer->n_chunks; i++) {
        json_array_append_new(order, json_integer((json_int_t)answer->chunk[i].index));
    }
    return order;
}

static json_t *chunks_json(const iflow_answer *answer) {
    json_t *chunks = json_array();
    for (size_t i = 0; i < answer->n_chunks; i++) {
        const iflow_chunk_span *span = &answer->chunk[i];
        json_t *chunk = json_object();
        json_object_set_new(chunk, "id", json_string(span->id));
        set_count(chunk, "index", span->index);
        json_object_set_new(chunk, "start", json_integer(span->start));
        json_object_set_new(chunk, "length", json_integer(span->length));
        json_object_set_new(chunk, "selected", json_integer(span->n_selected));
        json_array_append_new(chunks, chunk);
    }
    return chunks;
}

static json_t *documents_json(const context_documents *documents) {
    json_t *list = json_array();
    size_t first = 1; /* chunk 0 is the head */
    for (size_t i = 0; i < documents->n; i++) {
        json_t *object = json_object();
        json_object_set_new(object, "name", json_text(documents->document[i].name));
        set_count(object, "first_chunk", first);
        set_count(object, "chunks", documents->document[i].n_chunks);
        json_array_append_new(list, object);
        first += documents->document[i].n_chunks;
    }
    return list;
}

static json_t *model_json(const session *s) {
    json_t *model = json_object();
    json_object_set_new(model, "path", json_text(s->info.path));
    json_object_set_new(model, "architecture", json_text(s->info.architecture));
    json_object_set_new(model, "fingerprint", json_text(s->info.fingerprint));
    json_object_set_new(model, "device", json_text(s->info.device));
    json_object_set_new(model, "load_ms", json_finite(s->model_load_ms));
    return model;
}

json_t *report_json(const session *s, const context_documents *documents, const char *question, const iflow_answer *answer, bool scores) {
    json_t *object = json_object();
    json_object_set_new(object, "answer", json_text(answer->text));
    report_finish_json(object, answer);
    json_object_set_new(object, "question", json_text(question));
    json_object_set_new(object, "method", json_string(iflow_method_name(answer->method)));
    json_object_set_new(object, "ratio", json_finite(answer->ratio));
    json_object_set_new(object, "tokens", report_tokens_json(answer));
    json_object_set_new(object, "evidence", json_finite(answer->evidence));
    json_object_set_new(object, "timings_ms", report_timings_json(answer));
    json_object_set_new(object, "decode_tokens_per_second", json_finite(report_decode_rate(answer)));
    set_count(object, "cache_bytes", answer->cache_bytes);
    json_object_set_new(object, "model", model_json(s));
    json_object_set_new(object, "documents", documents_json(documents));
    set_count(object, "left_out", documents->n_left_out);
    json_object_set_new(object, "chunks", chunks_json(answer));
    json_object_set_new(object, "selected", report_selected_json(answer));
    if (scores) {
        json_t *list = answer->score ? json_array() : json_null();
        for (size_t i = 0; answer->score && i < answer->n_context; i++) {
            json_array_append_new(list, json_finite((double)answer->score[i]));
        }
        json_object_set_new(object, "scores", list);
    }
    return object;
}

static void add_piece(size_t start, size_t end, const char *bytes, size_t n_bytes, void *user) {
    char *clean = text_utf8(bytes, n_bytes);
    for (size_t i = start; i < end; i++) {
        json_array_append_new(user, json_string(i == start ? clean : ""));
    }
    free(clean);
}

iflow_status report_positions_json(json_t *object, const session *s, const iflow_answer *answer) {
    json_t *tokens = json_array(), *texts = json_array();
    for (size_t i = 0; i < answer->n_context; i++) {
        json_array_append_new(tokens, json_integer(answer->context_token[i]));
    }
    iflow_status status = IFLOW_OK;
    for (size_t c = 0; status == IFLOW_OK && c < answer->n_chunks; c++) {
        const size_t start = (size_t)answer->chunk[c].start, end = start + (size_t)answer->chunk[c].length;
        status = page_pieces(s->model, answer->context_token, start, end, add_piece, texts);
    }
    json_object_set_new(object, "context_tokens", tokens);
    json_object_set_new(object, "context_texts", texts);
    return status;
}

/* The bytes of a string that JSON lets through and a terminal would obey become \uXXXX. They stand nowhere but in strings. */
static void escape(text *out, const char *json) {
    while (*json) {
        const size_t plain = strcspn(json, "\x7F\xC2\xE2");
        text_add(out, json, plain);
        json += plain;
        if (!*json) {
            break;
        }
        const int length = iflow_utf8_length(json, strlen(json));
        const size_t n = length > 0 ? (size_t)length : 1;
        text shown = {0};
        visible_line(&shown, json, n);
        if (shown.n && shown.text[0] == '\\') {
            text_puts(out, shown.text[1] == 'x' ? "\\u007f" : shown.text);
        } else {
            text_add(out, json, n);
        }
        text_free(&shown);
        json += n;
    }
}

int json_print(const json_t *object, size_t flags, FILE *to) {
    char *json = json_dumps(object, flags | JSON_PRESERVE_ORDER);
    text escaped = {0};
    escape(&escaped, json ? json : "");
    text_puts(&escaped, "\n");
    errno = json ? 0 : ENOMEM;
    const bool ok = json && fwrite(escaped.text, 1, escaped.n, to) == escaped.n && fflush(to) == 0;
    if (!ok) {
        cli_error("cannot write JSON: %s", strerror(errno));
    }
    text_free(&escaped);
    free(json);
    return ok ? CLI_OK : CLI_FAILED;
}

int report_dump(const json_t *object, FILE *to) {
    return json_print(object, JSON_COMPACT | JSON_REAL_PRECISION(9), to);
}
