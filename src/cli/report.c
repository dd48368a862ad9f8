/* report.c - what an answer cost, printed: a table for people, and JSON. */
#include "cli/report.h"

#include "cli/terminal.h"
#include "cli/text.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

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

/* What each stage of the time to the first token does. */
static const char *const does[ANSWER_TTFT_STAGES] = {
    "documents that were not in the store",
    "stored chunks into the KV cache",
    "their keys to their positions",
    "how much each token matters to the question",
    "the tokens that matter most",
    "these tokens, again",
    "the question",
};

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
    answer_stage stage[ANSWER_STAGES];
    answer_stages(answer, stage);
    for (size_t i = 0; i < ANSWER_TTFT_STAGES; i++) {
        fprintf(to, "  %-12s%10.1f ms  %s\n", stage[i].name, stage[i].ms, does[i]);
    }
    fprintf(to, "  %-12s%10.1f ms  from the question to the first token\n", "first token", answer->ms.ttft);
    fprintf(to, "  %-12s%10.1f ms", "decode", answer->ms.decode);
    if (answer_decode_rate(answer) > 0) {
        fprintf(to, "  %.1f tokens/s", answer_decode_rate(answer));
    }
    fprintf(to, "\n\n  %-12s%10.1f ms  %s\n", "model load", s->model_load_ms, visible(s->info.device));
    fprintf(to, "  %-12s%10s\n", "KV cache", human_bytes(answer->cache_bytes));
}

void report_print_line(FILE *to, const session *s, const iflow_answer *answer, bool follow_up) {
    fprintf(to, "[%s, %s tokens of context", follow_up ? "follow-up" : iflow_method_name(answer->method), human_count(answer->n_context));
    if (!follow_up) {
        fprintf(to, ", %s recomputed", human_count(answer->n_recomputed));
    }
    fprintf(to, "; first token after %.0f ms, %zu token%s", answer->ms.ttft, answer->n_generated, plural(answer->n_generated));
    if (answer_decode_rate(answer) > 0) {
        fprintf(to, " at %.1f tokens/s", answer_decode_rate(answer));
    }
    fprintf(to, "]\n");
    print_cut(to, s, answer);
}

/* ---- JSON --------------------------------------------------------------------------------------------------------------------------- */

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

int report_json(const answer_report *what) {
    json_t *object = NULL;
    const iflow_status status = answer_to_json(what, &object);
    const int result = status == IFLOW_OK ? report_dump(object, stdout) : cli_failed(status, NULL);
    json_decref(object);
    return result;
}
