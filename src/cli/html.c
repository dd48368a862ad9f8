/* html.c - an answer as one self-contained HTML page: the context shaded by score, the recomputed tokens, the time line. */
#include "html.h"

#include "report.h"
#include "text.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Colours that stand apart in light and dark, and for most who see colours differently. */
static const char *const stage_colour[REPORT_STAGES] = {"#8792a5", "#56b4e9", "#2f6fdb", "#9b5de5",
                                                        "#e05299", "#e8772e", "#d9a90f", "#2a9d6f"};

static const char page_head[] =
    "<!DOCTYPE html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n"
    "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
    "<style>\n"
    ":root{color-scheme:light dark;--bg:#fbfaf8;--card:#fff;--ink:#1d1f23;--dim:#666b75;--line:#dedcd6;--hot:224 104 20;--mark:#1b5fd0}\n"
    "@media (prefers-color-scheme:dark){:root{--bg:#16181c;--card:#1e2126;--ink:#e6e4df;--dim:#989da8;--line:#343840;--hot:240 128 48;"
    "--mark:#7db4ff}}\n"
    "*{box-sizing:border-box}\n"
    "body{margin:0;background:var(--bg);color:var(--ink);font:16px/1.55 system-ui,-apple-system,'Segoe UI',Roboto,sans-serif}\n"
    ".page{max-width:62rem;margin:0 auto;padding:2rem 1.25rem 4rem}\n"
    "h1{font-size:1.45rem;line-height:1.3;margin:0 0 1rem}\n"
    "h2{font-size:.8rem;letter-spacing:.06em;text-transform:uppercase;color:var(--dim);margin:2.2rem 0 .7rem;font-weight:600}\n"
    ".answer{background:var(--card);border:1px solid var(--line);border-left:4px solid var(--mark);border-radius:6px;padding:1rem 1.2rem;"
    "white-space:pre-wrap;overflow-wrap:anywhere;font-size:1.1rem}\n"
    ".facts{display:grid;grid-template-columns:repeat(auto-fill,minmax(9.5rem,1fr));gap:.75rem;margin:1rem 0 0;padding:0}\n"
    ".facts div{background:var(--card);border:1px solid var(--line);border-radius:6px;padding:.55rem .8rem}\n"
    ".facts dt{font-size:.78rem;color:var(--dim)}.facts "
    "dd{margin:0;font-size:1.1rem;font-variant-numeric:tabular-nums;overflow-wrap:anywhere}\n"
    "svg{display:block;width:100%}\n"
    ".legend{display:flex;flex-wrap:wrap;gap:.3rem 1.2rem;margin:.6rem 0 0;padding:0;list-style:none;font-size:.88rem;"
    "font-variant-numeric:tabular-nums}\n"
    ".legend b{display:inline-block;width:.75em;height:.75em;border-radius:2px;margin-right:.45em}\n"
    ".legend span{color:var(--dim)}\n"
    ".note{color:var(--dim);font-size:.88rem;margin:.4rem 0}\n"
    ".strip{background:var(--card);border:1px solid var(--line);border-radius:6px;padding:.5rem}\n"
    ".bar{fill:rgb(var(--hot) / "
    ".75)}.sel{fill:var(--mark)}.cut{stroke:var(--dim);stroke-width:1;vector-effect:non-scaling-stroke;opacity:.45}\n"
    ".scale{display:inline-block;width:7rem;height:.8em;border-radius:3px;vertical-align:-.05em;margin:0 .5em;"
    "background:linear-gradient(90deg,rgb(var(--hot) / 0),rgb(var(--hot) / .7))}\n"
    "label{margin-right:1.2rem;font-size:.88rem;cursor:pointer}\n"
    ".document{margin:1.6rem 0 .4rem;font-weight:600;overflow-wrap:anywhere}\n"
    ".chunk{background:var(--card);border:1px solid var(--line);border-radius:6px;margin:.5rem 0;overflow:hidden}\n"
    ".about{display:flex;flex-wrap:wrap;gap:.1rem 1rem;padding:.35rem .8rem;border-bottom:1px solid var(--line);font-size:.78rem;"
    "color:var(--dim);font-variant-numeric:tabular-nums}\n"
    ".about code{font-size:.95em}\n"
    ".text{padding:.7rem .8rem;white-space:pre-wrap;overflow-wrap:anywhere;line-height:1.75}\n"
    ".text span,.text mark{color:inherit;background:rgb(var(--hot) / calc(var(--s,0)*.7));border-radius:2px}\n"
    ".text mark{box-shadow:inset 0 -2px var(--mark);border-radius:2px 2px 0 0}\n"
    ".text :hover{outline:1px solid var(--ink)}\n"
    ".text em{font-style:normal;opacity:.45}\n"
    ".page:has(#shade:not(:checked)) .text :is(span,mark){background:none}\n"
    ".page:has(#marks:not(:checked)) .text mark{box-shadow:none}\n"
    "</style>\n";

/* ---- Text --------------------------------------------------------------------------------------------------------------------------- */

/* Escapes bytes: HTML's own characters, control characters as pictures, bytes that are not UTF-8 as U+FFFD. */
static void add_escaped(text *out, const char *bytes, size_t n) {
    for (size_t i = 0; i < n;) {
        int length = text_utf8_length(bytes + i, n - i);
        unsigned char c = (unsigned char)bytes[i];
        if (length <= 0) {
            text_puts(out, "\xEF\xBF\xBD");
            i++;
            continue;
        }
        if (c == '&')
            text_puts(out, "&amp;");
        else if (c == '<')
            text_puts(out, "&lt;");
        else if (c == '>')
            text_puts(out, "&gt;");
        else if (c == '"')
            text_puts(out, "&quot;");
        else if ((c < ' ' && c != '\n' && c != '\t') || c == 0x7F)
            text_printf(out, "&#%d;", c == 0x7F ? 0x2421 : 0x2400 + c);
        else
            text_add(out, bytes + i, (size_t)length);
        i += (size_t)length;
    }
}

static void add_string(text *out, const char *string) {
    add_escaped(out, string, strlen(string));
}

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
    return x > y ? -1 : x < y ? 1 : i < j ? -1 : i > j;
}

/* Attention is heavy-tailed: the 99th percentile is full colour, so that a few sinks do not make the rest white, and the root lifts what is
 * small. */
static shades shades_of(const iflow_answer *answer) {
    shades out = {.n = answer->n_context};
    out.shade = must_alloc(out.n, sizeof *out.shade);
    out.rank = must_alloc(out.n, sizeof *out.rank);
    out.is_selected = must_alloc(out.n, sizeof *out.is_selected);
    for (size_t i = 0; i < answer->n_selected; i++)
        if (answer->selected[i] >= 0 && (size_t)answer->selected[i] < out.n)
            out.is_selected[answer->selected[i]] = true;
    size_t head = answer->n_chunks ? (size_t)answer->chunk[0].length : 0;
    if (!answer->score || head >= out.n)
        return out;
    out.n_scored = out.n - head;
    size_t *order = must_alloc(out.n_scored, sizeof *order);
    for (size_t i = 0; i < out.n_scored; i++)
        order[i] = head + i;
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

/* One or several tokens that make up whole characters, as one element. */
static void add_tokens(text *out, const iflow_answer *answer, const shades *s, size_t start, size_t end, const char *bytes, size_t n) {
    bool selected = false;
    size_t best = start;
    for (size_t i = start; i < end; i++) {
        selected = selected || s->is_selected[i];
        best = s->shade[i] > s->shade[best] ? i : best;
    }
    text_printf(out, "<%s", selected ? "mark" : "span");
    if (s->shade[best] > 0.005F)
        text_printf(out, " style=\"--s:%.2f\"", (double)s->shade[best]);
    text_printf(out, " title=\"position %zu", start);
    if (end - start > 1)
        text_printf(out, " to %zu", end - 1);
    text_printf(out, ", token %d", answer->context_token[start]);
    for (size_t i = start + 1; i < end; i++)
        text_printf(out, " %d", answer->context_token[i]);
    if (s->rank[best])
        text_printf(out, "\nscore %.4g, rank %zu of %zu", (double)answer->score[best], s->rank[best], s->n_scored);
    text_printf(out, "%s\">", selected ? "\nrecomputed" : "");
    for (size_t i = 0, line; i < n; i = line) {
        line = i;
        while (line < n && bytes[line] != '\n')
            line++;
        add_escaped(out, bytes + i, line - i);
        if (line < n) {
            text_puts(out, "<em>↵</em>\n"); /* a line end is a token that can be seen, too */
            line++;
        }
    }
    text_printf(out, "</%s>", selected ? "mark" : "span");
}

/* The text of positions start..end-1. Tokens that hold parts of a character are joined, so that the page is valid UTF-8. */
static iflow_status add_text(text *out, const session *with, const iflow_answer *answer, const shades *s, size_t start, size_t end) {
    text pending = {0};
    size_t first = start;
    iflow_status status = IFLOW_OK;
    for (size_t i = start; i < end; i++) {
        char *piece = NULL;
        status = iflow_detokenize(with->model, &answer->context_token[i], 1, &piece);
        if (status != IFLOW_OK)
            break;
        text_puts(&pending, piece);
        iflow_free(piece);
        int cut = 0;
        for (size_t b = 0; b < pending.n && cut == 0;) {
            int length = text_utf8_length(pending.bytes + b, pending.n - b);
            cut = length < 0 ? length : 0;
            b += length > 0 ? (size_t)length : 1;
        }
        if (cut < 0 && i + 1 < end)
            continue;
        add_tokens(out, answer, s, first, i + 1, pending.bytes, pending.n);
        pending.n = 0;
        first = i + 1;
    }
    text_free(&pending);
    return status;
}

/* The document of the chunk that was added as index-th (from 1); documents->n if it is none's. */
static size_t document_of(const context_documents *documents, size_t index) {
    size_t i = 0;
    for (size_t end = 0; i < documents->n && index > (end += documents->document[i].n_chunks);)
        i++;
    return i;
}

static iflow_status add_context(text *out, const session *with, const context_documents *documents, const iflow_answer *answer,
                                const shades *s) {
    size_t last = documents->n; /* the document of the chunk before */
    for (size_t c = 0; c < answer->n_chunks; c++) {
        const iflow_chunk_span *span = &answer->chunk[c];
        size_t document = c ? document_of(documents, span->index) : documents->n;
        if (document != last && document < documents->n) {
            text_puts(out, "<div class=\"document\">");
            add_string(out, documents->document[document].name);
            text_puts(out, "</div>\n");
        }
        last = document;
        text_puts(out, "<div class=\"chunk\"><div class=\"about\">");
        if (c == 0)
            text_puts(out, "<span>head</span>");
        else
            text_printf(out, "<span>chunk %zu</span><code>%s</code>", span->index, span->id);
        text_printf(out, "<span>positions %d to %d</span>", span->start, span->start + span->length - 1);
        if (c > 0)
            text_printf(out, "<span>%d of %d recomputed (%.1f %%)</span>", span->n_selected, span->length,
                        span->length ? 100.0 * span->n_selected / span->length : 0);
        text_puts(out, "</div><div class=\"text\">");
        iflow_status status = add_text(out, with, answer, s, (size_t)span->start, (size_t)(span->start + span->length));
        if (status != IFLOW_OK)
            return status;
        text_puts(out, "</div></div>\n");
    }
    return IFLOW_OK;
}

/* ---- Pictures ----------------------------------------------------------------------------------------------------------------------- */

static void add_time_line(text *out, const iflow_answer *answer) {
    enum { WIDTH = 1000, HEIGHT = 34 };
    report_stage stage[REPORT_STAGES];
    report_stages(answer, stage);
    double sum = 0;
    for (size_t i = 0; i < REPORT_STAGES; i++)
        sum += stage[i].ms;
    double scale = sum > 0 ? WIDTH / sum : 0, x = 0;
    text_printf(
        out, "<h2>Time</h2>\n<svg viewBox=\"0 0 %d %d\" height=\"%d\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"time line\">",
        WIDTH, HEIGHT, HEIGHT);
    for (size_t i = 0; i < REPORT_STAGES; i++) {
        if (stage[i].ms * scale >= 0.05)
            text_printf(out, "<rect x=\"%.2f\" width=\"%.2f\" height=\"%d\" fill=\"%s\"><title>%s: %.1f ms</title></rect>", x,
                        stage[i].ms * scale, HEIGHT, stage_colour[i], stage[i].name, stage[i].ms);
        x += stage[i].ms * scale;
    }
    text_puts(out, "</svg>\n<ul class=\"legend\">");
    for (size_t i = 0; i < REPORT_STAGES; i++)
        text_printf(out, "<li><b style=\"background:%s\"></b>%s <span>%.1f ms</span></li>", stage_colour[i], stage[i].name, stage[i].ms);
    text_puts(out, "</ul>\n");
}

/* The whole context in one strip: mean shade above the line, share recomputed below it. */
static void add_strip(text *out, const iflow_answer *answer, const shades *s) {
    enum { BARS = 250, UP = 60, DOWN = 22 };
    if (s->n == 0)
        return;
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
        if (up > 0.1)
            text_printf(out, "<rect class=\"bar\" x=\"%zu\" y=\"%.1f\" width=\".85\" height=\"%.1f\"/>", b, UP - up, up);
        if (down > 0.1)
            text_printf(out, "<rect class=\"sel\" x=\"%zu\" y=\"%d\" width=\".85\" height=\"%.1f\"/>", b, UP + 1, down);
    }
    for (size_t c = 1; c < answer->n_chunks; c++) {
        double x = (double)answer->chunk[c].start * (double)n_bars / (double)s->n;
        text_printf(out, "<line class=\"cut\" x1=\"%.2f\" x2=\"%.2f\" y1=\"0\" y2=\"%d\"/>", x, x, UP + DOWN);
    }
    text_puts(out,
              "</svg></div>\n<p class=\"note\">Above: mean score; below: share of tokens recomputed. Lines: where chunks begin.</p>\n");
}

static void add_fact(text *out, const char *name, const char *value) {
    text_puts(out, "<div><dt>");
    add_string(out, name);
    text_puts(out, "</dt><dd>");
    add_string(out, value);
    text_puts(out, "</dd></div>");
}

static void add_facts(text *out, const session *with, const iflow_answer *answer) {
    const char *slash = strrchr(with->info.path, '/');
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
        {"decoding", report_decode_rate(answer) > 0 ? text_format("%.1f tokens/s", report_decode_rate(answer)) : text_format("-")},
        {"cache", text_format("%s", human_bytes(answer->cache_bytes))},
    };
    text_puts(out, "<dl class=\"facts\">");
    for (size_t i = 0; i < COUNT_OF(fact); i++) {
        add_fact(out, fact[i].name, fact[i].value);
        free(fact[i].value);
    }
    text_puts(out, "</dl>\n<p class=\"note\">");
    add_string(out, slash ? slash + 1 : with->info.path);
    text_printf(out, " on %s</p>\n", with->info.device);
}

int html_write(const char *path, const session *s, const context_documents *documents, const char *question, const iflow_answer *answer) {
    text out = {0};
    shades shade = shades_of(answer);
    text_puts(&out, page_head);
    text_puts(&out, "<title>");
    add_string(&out, question);
    text_puts(&out, "</title>\n<main class=\"page\">\n<h1>");
    add_string(&out, question);
    text_puts(&out, "</h1>\n<div class=\"answer\">");
    add_string(&out, answer->text);
    text_puts(&out, "</div>\n");
    add_facts(&out, s, answer);
    add_time_line(&out, answer);
    add_strip(&out, answer, &shade);
    text_puts(&out, "<h2>Context</h2>\n<p><label><input type=\"checkbox\" id=\"shade\" checked> score<span class=\"scale\"></span></label>"
                    "<label><input type=\"checkbox\" id=\"marks\" checked> <span style=\"box-shadow:inset 0 -2px "
                    "var(--mark)\">recomputed</span></label></p>\n");
    if (shade.n_scored == 0)
        text_puts(&out, "<p class=\"note\">This method scores no tokens.</p>\n");
    iflow_status status = add_context(&out, s, documents, answer, &shade);
    text_puts(&out, "</main>\n</html>\n");
    int result = status == IFLOW_OK ? write_file(path, out.bytes, out.n) : cli_failed(status, path);
    shades_free(&shade);
    text_free(&out);
    return result;
}
