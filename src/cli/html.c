/* html.c - an answer as one self-contained HTML page: the context shaded by score, the recomputed tokens, the time line. */
#include "cli/html.h"

#include "cli/page.h"
#include "service/pieces.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char style[] =
    ".answer{background:var(--card);border:1px solid var(--line);border-left:4px solid var(--mark);border-radius:6px;padding:1rem 1.2rem;"
    "white-space:pre-wrap;overflow-wrap:anywhere;font-size:1.1rem}\n"
    ".strip{background:var(--card);border:1px solid var(--line);border-radius:6px;padding:.5rem}\n"
    ".bar{fill:rgb(var(--hot) / "
    ".75)}.sel{fill:var(--mark)}.cut{stroke:var(--dim);stroke-width:1;vector-effect:non-scaling-stroke;opacity:.45}\n"
    ".scale{display:inline-block;width:7rem;height:.8em;border-radius:3px;vertical-align:-.05em;margin:0 .5em;"
    "background:linear-gradient(90deg,rgb(var(--hot) / 0),rgb(var(--hot) / .7))}\n"
    ".document{margin:1.6rem 0 .4rem;font-weight:600;overflow-wrap:anywhere}\n"
    ".page:has(#shade:not(:checked)) .text :is(span,mark){background:none}\n"
    ".page:has(#marks:not(:checked)) .text mark{box-shadow:none}\n";

/* ---- Scores ------------------------------------------------------------------------------------------------------------------------- */

typedef struct shades {
    float *shade;       /* [n_context] 0 to 1 */
    size_t *rank;       /* [n_context] from 1; 0: not scored */
    bool *is_selected;  /* [n_context] */
    size_t n, n_scored; /* n_scored 0: there are no scores */
} shades;

static const float *scores_to_sort;

static int by_score(const void *a, const void *b) {
    size_t i = *(const size_t *)a, j = *(const size_t *)b;
    float x = scores_to_sort[i], y = scores_to_sort[j];
    if (isnan(x) != isnan(y)) { /* what is no number comes last */
        return isnan(x) ? 1 : -1;
    }
    return x > y ? -1 : x < y ? 1 : i < j ? -1 : i > j;
}

/* Attention is heavy-tailed: the 99th percentile is full colour, so that a few sinks do not make the rest white, and the root lifts what is
 * small. */
static shades shades_of(const iflow_answer *answer) {
    shades out = {.n = answer->n_context};
    out.shade = must_alloc(out.n, sizeof *out.shade);
    out.rank = must_alloc(out.n, sizeof *out.rank);
    out.is_selected = must_alloc(out.n, sizeof *out.is_selected);
    for (size_t i = 0; i < answer->n_selected; i++) {
        if (answer->selected[i] >= 0 && (size_t)answer->selected[i] < out.n) {
            out.is_selected[answer->selected[i]] = true;
        }
    }
    size_t head = answer->n_chunks ? (size_t)answer->chunk[0].length : 0;
    if (!answer->score || head >= out.n) {
        return out;
    }
    out.n_scored = out.n - head;
    size_t *order = must_alloc(out.n_scored, sizeof *order);
    for (size_t i = 0; i < out.n_scored; i++) {
        order[i] = head + i;
    }
    scores_to_sort = answer->score;
    qsort(order, out.n_scored, sizeof *order, by_score);
    float full = answer->score[order[out.n_scored / 100]];
    for (size_t i = 0; i < out.n_scored; i++) {
        float score = answer->score[order[i]];
        out.rank[order[i]] = i + 1;
        out.shade[order[i]] = full > 0 && score > 0 ? fminf(1, sqrtf(score / full)) : 0;
    }
    free(order);
    return out;
}

static void shades_free(shades *s) {
    free(s->shade);
    free(s->rank);
    free(s->is_selected);
}

/* ---- Tokens ------------------------------------------------------------------------------------------------------------------------- */

typedef struct drawing {
    text *out;
    const iflow_answer *answer;
    const shades *shades;
} drawing;

/* One or several tokens that make up whole characters, as one element. */
static void add_tokens(size_t start, size_t end, const char *bytes, size_t n, void *user) {
    const drawing *d = user;
    const iflow_answer *answer = d->answer;
    const shades *s = d->shades;
    text *out = d->out;
    bool selected = false;
    size_t best = start;
    for (size_t i = start; i < end; i++) {
        selected = selected || s->is_selected[i];
        best = s->shade[i] > s->shade[best] ? i : best;
    }
    text_printf(out, "<%s", selected ? "mark" : "span");
    if (s->shade[best] > 0.005F) {
        text_printf(out, " style=\"--s:%.2f\"", (double)s->shade[best]);
    }
    text_printf(out, " title=\"position %zu", start);
    if (end - start > 1) {
        text_printf(out, " to %zu", end - 1);
    }
    text_printf(out, ", token %d", answer->context_token[start]);
    for (size_t i = start + 1; i < end; i++) {
        text_printf(out, " %d", answer->context_token[i]);
    }
    if (s->rank[best]) {
        text_printf(out, "\nscore %.4g, rank %zu of %zu", (double)answer->score[best], s->rank[best], s->n_scored);
    }
    text_printf(out, "%s\">", selected ? "\nrecomputed" : "");
    for (size_t i = 0, line; i < n; i = line) {
        line = i;
        while (line < n && bytes[line] != '\n') {
            line++;
        }
        page_escape(out, bytes + i, line - i);
        if (line < n) {
            text_puts(out, "<em>↵</em>\n"); /* a line end is a token that can be seen, too */
            line++;
        }
    }
    text_printf(out, "</%s>", selected ? "mark" : "span");
}

/* The document of the chunk that was added as index-th (from 1); documents->n if it is none's. */
static size_t document_of(const context_documents *documents, size_t index) {
    size_t i = 0;
    for (size_t end = 0; i < documents->n && index > (end += documents->document[i].n_chunks);) {
        i++;
    }
    return i;
}

static iflow_status add_context(text *out, const session *with, const context_documents *documents, const iflow_answer *answer,
                                const shades *s) {
    size_t last = documents->n; /* the document of the chunk before */
    for (size_t c = 0; c < answer->n_chunks; c++) {
        const iflow_chunk_span *span = &answer->chunk[c];
        size_t d = c ? document_of(documents, span->index) : documents->n;
        if (d != last && d < documents->n) {
            text_puts(out, "<div class=\"document\">");
            page_string(out, documents->document[d].name);
            text_puts(out, "</div>\n");
        }
        last = d;
        text_puts(out, "<div class=\"chunk\"><div class=\"about\">");
        if (c == 0) {
            text_puts(out, "<span>head</span>");
        } else {
            text_printf(out, "<span>chunk %zu</span><code>%s</code>", span->index, span->id);
        }
        text_printf(out, "<span>positions %d to %d</span>", span->start, span->start + span->length - 1);
        if (c > 0) {
            text_printf(out, "<span>%d of %d recomputed (%.1f %%)</span>", span->n_selected, span->length,
                        span->length ? 100.0 * span->n_selected / span->length : 0);
        }
        text_puts(out, "</div><div class=\"text\">");
        iflow_status status = token_pieces(with->model, answer->context_token, (size_t)span->start, (size_t)(span->start + span->length),
                                           add_tokens, &(drawing){out, answer, s});
        if (status != IFLOW_OK) {
            return status;
        }
        text_puts(out, "</div></div>\n");
    }
    return IFLOW_OK;
}

/* ---- Pictures ----------------------------------------------------------------------------------------------------------------------- */

static void add_time_line(text *out, const iflow_answer *answer) {
    enum { WIDTH = 1000, HEIGHT = 34 };
    answer_stage stage[ANSWER_STAGES];
    answer_stages(answer, stage);
    double sum = 0;
    for (size_t i = 0; i < ANSWER_STAGES; i++) {
        sum += stage[i].ms;
    }
    double scale = sum > 0 ? WIDTH / sum : 0, x = 0;
    text_printf(
        out, "<h2>Time</h2>\n<svg viewBox=\"0 0 %d %d\" height=\"%d\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"time line\">",
        WIDTH, HEIGHT, HEIGHT);
    for (size_t i = 0; i < ANSWER_STAGES; i++) {
        if (stage[i].ms * scale >= 0.05) {
            text_printf(out, "<rect x=\"%.2f\" width=\"%.2f\" height=\"%d\" fill=\"%s\"><title>%s: %.1f ms</title></rect>", x,
                        stage[i].ms * scale, HEIGHT, page_stage_colour[i], stage[i].name, stage[i].ms);
        }
        x += stage[i].ms * scale;
    }
    text_puts(out, "</svg>\n<ul class=\"legend\">");
    for (size_t i = 0; i < ANSWER_STAGES; i++) {
        text_printf(out, "<li><b style=\"background:%s\"></b>%s <span>%.1f ms</span></li>", page_stage_colour[i], stage[i].name,
                    stage[i].ms);
    }
    text_puts(out, "</ul>\n");
}

/* The whole context in one strip: mean shade above the line, share recomputed below it. */
static void add_strip(text *out, const iflow_answer *answer, const shades *s) {
    enum { BARS = 250, UP = 60, DOWN = 22 };
    if (s->n == 0) {
        return;
    }
    size_t n_bars = s->n < BARS ? s->n : BARS;
    text_printf(out,
                "<h2>Along the context</h2>\n<div class=\"strip\"><svg viewBox=\"0 0 %zu %d\" height=\"%d\" preserveAspectRatio=\"none\" "
                "role=\"img\" "
                "aria-label=\"score and recomputed tokens along the context\">",
                n_bars, UP + DOWN, UP + DOWN);
    for (size_t b = 0; b < n_bars; b++) {
        size_t start = b * s->n / n_bars, end = (b + 1) * s->n / n_bars, n_selected = 0;
        double shade = 0;
        for (size_t i = start; i < end; i++) {
            shade += (double)s->shade[i];
            n_selected += s->is_selected[i];
        }
        double up = shade / (double)(end - start) * UP, down = (double)n_selected / (double)(end - start) * DOWN;
        if (up > 0.1) {
            text_printf(out, "<rect class=\"bar\" x=\"%zu\" y=\"%.1f\" width=\".85\" height=\"%.1f\"/>", b, UP - up, up);
        }
        if (down > 0.1) {
            text_printf(out, "<rect class=\"sel\" x=\"%zu\" y=\"%d\" width=\".85\" height=\"%.1f\"/>", b, UP + 1, down);
        }
    }
    for (size_t c = 1; c < answer->n_chunks; c++) {
        double x = (double)answer->chunk[c].start * (double)n_bars / (double)s->n;
        text_printf(out, "<line class=\"cut\" x1=\"%.2f\" x2=\"%.2f\" y1=\"0\" y2=\"%d\"/>", x, x, UP + DOWN);
    }
    text_puts(out,
              "</svg></div>\n<p class=\"note\">Above: mean score; below: share of tokens recomputed. Lines: where chunks begin.</p>\n");
}

static void add_facts(text *out, const session *with, const iflow_answer *answer) {
    double share = answer->n_context ? 100.0 * (double)answer->n_recomputed / (double)answer->n_context : 0;
    const struct {
        const char *name;
        char *value;
    } fact[] = {
        {"method", text_format("%s", iflow_method_name(answer->method))},
        {"ratio", text_format("%g", answer->ratio)},
        {"context", text_format("%s tokens", human_count(answer->n_context))},
        {"recomputed", text_format("%s (%.1f %%)", human_count(answer->n_recomputed), share)},
        {"reused", text_format("%s tokens", human_count(answer->n_reused))},
        {"prompt", text_format("%s tokens", human_count(answer->n_prompt))},
        {"first token after", text_format("%.0f ms", answer->ms.ttft)},
        {"generated", text_format("%s tokens", human_count(answer->n_generated))},
        {"finish", text_format("%s%s", iflow_finish_name(answer->finish), answer->context_full ? " (the context is full)" : "")},
        {"decoding", answer_decode_rate(answer) > 0 ? text_format("%.1f tokens/s", answer_decode_rate(answer)) : text_format("-")},
        {"cache", text_format("%s", human_bytes(answer->cache_bytes))},
    };
    text_puts(out, "<dl class=\"facts\">");
    for (size_t i = 0; i < COUNT_OF(fact); i++) {
        page_fact(out, fact[i].name, fact[i].value);
        free(fact[i].value);
    }
    text_puts(out, "</dl>\n<p class=\"note\">");
    page_string(out, page_file_name(with->info.path));
    text_printf(out, " on %s</p>\n", with->info.device);
}

static void add_cut(text *out, const session *s, const iflow_answer *answer) {
    char *line = report_cut(s, answer);
    if (line) {
        text_puts(out, "<p class=\"note\">");
        page_string(out, line);
        text_puts(out, "</p>\n");
    }
    free(line);
}

int html_write(const char *path, const session *s, const context_documents *documents, const char *question, const iflow_answer *answer) {
    text out = {0};
    shades shade = shades_of(answer);
    page_begin(&out, question, style);
    text_puts(&out, "<h1>");
    page_string(&out, question);
    text_puts(&out, "</h1>\n<div class=\"answer\">");
    page_string(&out, answer->text);
    text_puts(&out, "</div>\n");
    add_cut(&out, s, answer);
    add_facts(&out, s, answer);
    add_time_line(&out, answer);
    add_strip(&out, answer, &shade);
    text_puts(&out, "<h2>Context</h2>\n<p><label><input type=\"checkbox\" id=\"shade\" checked> score<span class=\"scale\"></span></label>"
                    "<label><input type=\"checkbox\" id=\"marks\" checked> <span style=\"box-shadow:inset 0 -2px "
                    "var(--mark)\">recomputed</span></label></p>\n");
    if (shade.n_scored == 0) {
        text_puts(&out, "<p class=\"note\">This method scores no tokens.</p>\n");
    }
    iflow_status status = add_context(&out, s, documents, answer, &shade);
    page_end(&out);
    int result = status == IFLOW_OK ? write_file(path, out.text, out.n, false) : cli_failed(status, path);
    shades_free(&shade);
    text_free(&out);
    return result;
}
