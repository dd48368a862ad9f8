/* eval_report.c - an evaluation as one self-contained HTML page: tables, charts, and every question with its tokens. */
#include "lab/eval_report.h"

#include "cli/output.h"
#include "cli/page.h"
#include "lab/eval_charts.h"
#include "lab/eval_picture.h"
#include "lab/svg.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Questions shown, and of these the first with their tokens: beyond, a browser becomes slow. */
enum { MAX_QUESTIONS = 500, MAX_PICTURES = 30 };

static const char style[] =
    ".page{max-width:74rem}h1{font-size:1.6rem}\n"
    "pre{background:var(--card);border:1px solid var(--line);border-radius:6px;padding:.6rem .8rem;white-space:pre-wrap;"
    "overflow-wrap:anywhere;font-size:.82rem;margin:1rem 0 0}\n"
    ".wide{overflow-x:auto;background:var(--card);border:1px solid var(--line);border-radius:6px}\n"
    ".wide table{border-collapse:collapse;width:100%;font-size:.88rem;font-variant-numeric:tabular-nums}\n"
    ".wide th{color:var(--dim);font-weight:600;font-size:.78rem;text-align:right;padding:.5rem .7rem;border-bottom:1px solid var(--line);"
    "white-space:nowrap}\n"
    ".wide td{text-align:right;padding:.32rem .7rem;border-top:1px solid var(--line);white-space:nowrap}\n"
    ".wide :is(th,td):first-child{text-align:left}.wide small{display:block;color:var(--dim);font-size:.76rem}\n"
    ".wide tr:hover td{background:color-mix(in srgb,var(--mark) 6%,transparent)}\n"
    ".wide td small.at{display:inline;margin-left:.4em}\n"
    ".wide .group{text-align:center;border-left:1px solid var(--line)}.wide .edge{border-left:1px solid var(--line)}\n"
    ".better{color:var(--mark);font-weight:600}.worse{color:rgb(var(--hot));font-weight:600}\n"
    ".figures{display:grid;gap:1rem}\n"
    ".wide td.better small,.wide td.worse small{font-weight:400}\n"
    "details.q{background:var(--card);border:1px solid var(--line);border-radius:6px;margin:.4rem 0}\n"
    "details.q>summary{display:flex;gap:.8rem;align-items:baseline;padding:.5rem .8rem;cursor:pointer;list-style:none}\n"
    "details.q>summary::-webkit-details-marker{display:none}\n"
    "details.q>summary::before{content:'▸';color:var(--dim)}details.q[open]>summary::before{content:'▾'}\n"
    "details.q>summary>span{flex:1;overflow-wrap:anywhere}\n"
    "details.q .inner{padding:0 .8rem .8rem}\n"
    ".cells{display:flex;flex-wrap:wrap;gap:1px;max-width:40%}.cells i{width:9px;height:14px;border-radius:1px;display:block}\n"
    ".cells i.gone{border:1px dashed var(--line)}\n"
    ".answers td.said{text-align:left;white-space:normal;overflow-wrap:anywhere;min-width:12rem}.answers th.said{text-align:left}\n"
    ".answers label{margin:0}.answers td svg{width:11rem;height:14px;background:color-mix(in srgb,var(--dim) 12%,transparent);"
    "border-radius:2px}\n"
    ".answers td svg path{fill:rgb(var(--hot))}\n"
    ".picture{max-height:36rem;overflow-y:auto;margin-top:.8rem}.picture .chunk{background:var(--bg)}\n"
    ".text .on{background:rgb(var(--hot) / .32);box-shadow:inset 0 -2px rgb(var(--hot))}\n"
    ".page:has(#differ:checked) details.q:not(.differs){display:none}\n";

/* Draws a question's tokens when it is opened, and marks what the chosen series recomputed. Highlights a series in all charts. */
static const char script[] =
    "<script>\n"
    "'use strict';\n"
    "const make = (name, css, text) => { const e = document.createElement(name); e.className = css; e.textContent = text ?? ''; return e "
    "};\n"
    "const runs = s => { const out = []; let at = 0; for (let i = 0; i < s.length; i += 2) { at += s[i]; out.push([at, at += s[i + 1]]) }"
    " return out };\n"
    "function draw(d) {\n"
    "  const t = JSON.parse(d.querySelector('script').textContent), box = d.querySelector('.picture'), piece = [], about = [];\n"
    "  t.c.forEach((n, c) => {\n"
    "    const chunk = make('div', 'chunk'), body = make('div', 'text');\n"
    "    about.push(make('div', 'about'));\n"
    "    for (const text of t.p.slice(piece.length, piece.length + n)) {\n"
    "      const e = make('span', '');\n"
    "      text.split('\\n').forEach((line, i) => { if (i) e.append(make('em', '', '↵'), '\\n'); e.append(line) });\n"
    "      piece.push(e); body.append(e);\n"
    "    }\n"
    "    chunk.append(about[c], body); box.append(chunk);\n"
    "  });\n"
    "  const show = s => {\n"
    "    piece.forEach(e => e.className = '');\n"
    "    if (t.v[s]) for (const [from, to] of runs(t.v[s].s)) for (let i = from; i < to; i++) piece[i].className = 'on';\n"
    "    about.forEach((e, c) => e.textContent = `chunk ${c + 1} · ${t.n[c]} tokens` +\n"
    "      (t.v[s] ? ` · ${t.v[s].n[c]} recomputed (${(100 * t.v[s].n[c] / Math.max(1, t.n[c])).toFixed(1)} %)` : ''));\n"
    "  };\n"
    "  for (const where of d.querySelectorAll('[data-where]')) {\n"
    "    const v = t.v[where.dataset.where], ns = 'http://www.w3.org/2000/svg';\n"
    "    if (!v) { where.textContent = '–'; continue }\n"
    "    const svg = document.createElementNS(ns, 'svg'), path = document.createElementNS(ns, 'path');\n"
    "    svg.setAttribute('viewBox', `0 0 ${t.p.length} 1`); svg.setAttribute('preserveAspectRatio', 'none');\n"
    "    path.setAttribute('d', runs(v.s).map(([from, to]) => `M${from} 0H${to}V1H${from}z`).join(''));\n"
    "    svg.append(path); where.append(svg);\n"
    "  }\n"
    "  d.addEventListener('change', e => show(e.target.value));\n"
    "  show(d.querySelector('input:checked')?.value);\n"
    "}\n"
    "for (const d of document.querySelectorAll('details.q'))\n"
    "  if (d.querySelector('script')) d.open ? draw(d) : d.addEventListener('toggle', () => draw(d), {once: true});\n"
    "const light = k => document.querySelectorAll('.curve').forEach(g => g.classList.toggle('faint', k !== null && g.dataset.k !== k));\n"
    "for (const key of document.querySelectorAll('[data-k]')) {\n"
    "  key.addEventListener('mouseenter', () => light(key.dataset.k));\n"
    "  key.addEventListener('mouseleave', () => light(null));\n"
    "}\n"
    "</script>\n";

/* ---- Before asking ------------------------------------------------------------------------------------------------------------------ */

int eval_report_check(const char *path, const char *data_path, const char *records_path) {
    const bool is_data = data_path && same_place(data_path, path);
    if (!is_data && !same_place(path, records_path)) {
        return output_check("--report", path, OUTPUT_PAGE);
    }
    cli_error("--report %s is %s itself; give the page a file of its own", path, is_data ? "the data" : "the --output");
    return CLI_FAILED;
}

/* ---- Tables ------------------------------------------------------------------------------------------------------------------------- */

/* A command line as a shell takes it. */
static void add_command(text *out, int argc, char *const *argv) {
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_=+,./:@%";
    text_puts(out, "<pre>infoflow");
    for (int i = 0; i < argc; i++) {
        const bool quoted = argv[i][0] == '\0' || argv[i][strspn(argv[i], plain)];
        text_puts(out, quoted ? " '" : " ");
        for (const char *c = argv[i], *end; *c; c = end) {
            end = c + (*c == '\'' ? 1 : strcspn(c, "'"));
            page_escape(out, *c == '\'' ? "'\\''" : c, *c == '\'' ? 4 : (size_t)(end - c));
        }
        text_puts(out, quoted ? "'" : "");
    }
    text_puts(out, "</pre>\n");
}

static const char *title_of(const eval_report *report) {
    return report->data_path ? page_file_name(report->data_path) : "needles in a haystack";
}

static void add_header(text *out, const eval_report *report, const eval_summary *summary) {
    char when[64] = "";
    size_t n_records = 0;
    const time_t now = time(NULL);
    struct tm utc;
    if (gmtime_r(&now, &utc)) {
        strftime(when, sizeof when, "%Y-%m-%d %H:%M UTC", &utc);
    }
    for (size_t s = 0; s < summary->n_series; s++) {
        n_records += summary->row[s].n_records;
    }
    const iflow_model_info *model = &report->s->info;
    text_puts(out, "<h1>");
    page_string(out, page_file_name(model->path));
    text_puts(out, " on ");
    page_string(out, title_of(report));
    text_puts(out, "</h1>\n<dl class=\"facts\">");
    page_fact(out, "architecture", model->architecture);
    page_fact(out, "device", model->device);
    page_fact(out, "questions", human_count(summary->n_questions));
    page_fact(out, "methods and ratios", human_count(summary->n_series));
    page_fact(out, "answers", human_count(n_records));
    page_fact(out, "written", when);
    text_puts(out, "</dl>\n<p class=\"note\">fingerprint of the model: ");
    page_string(out, model->fingerprint);
    text_puts(out, "</p>\n");
    add_command(out, report->argc, report->argv);
    const size_t n_missing = summary->n_series * summary->n_questions - n_records;
    if (n_missing) {
        text_printf(out, "<p class=\"note\">%s answer%s missing: the run was interrupted, or some questions failed.</p>\n",
                    human_count(n_missing), n_missing == 1 ? " is" : "s are");
    }
}

/* Digits that a number of this size needs no more. */
static int fewer(double value, int digits) {
    return fabs(value) >= 1000 && digits == 1 ? 0 : digits;
}

static void add_means(text *out, const eval_summary *summary) {
    text_puts(out, "<h2>Means</h2>\n<div class=\"wide\"><table>\n<tr><th>method</th><th>questions</th>");
    for (int m = 0; m < EVAL_MEASURES; m++) {
        if (summary->is_measured[m]) {
            text_printf(out, "<th>%s</th>", eval_measures[m].title);
        }
    }
    text_puts(out, "</tr>\n");
    for (size_t s = 0; s < summary->n_series; s++) {
        const eval_row *row = &summary->row[s];
        text_puts(out, "<tr><td>");
        page_string(out, row->label);
        text_printf(out, "</td><td>%zu</td>", row->n_records);
        for (int m = 0; m < EVAL_MEASURES; m++) {
            const eval_measure *what = &eval_measures[m];
            const eval_cell *cell = &row->cell[m];
            if (!summary->is_measured[m]) {
                continue;
            }
            if (cell->n == 0) {
                text_puts(out, "<td>–</td>");
                continue;
            }
            text_printf(out, "<td>%.*f%s", fewer(cell->mean.high, what->digits), cell->mean.mean, what->unit);
            if (what->interval_digits >= 0 && cell->n > 1) {
                text_printf(out, "<small>%.*f to %.*f</small>", fewer(cell->mean.high, what->interval_digits), cell->mean.low,
                            fewer(cell->mean.high, what->interval_digits), cell->mean.high);
            }
            text_puts(out, "</td>");
        }
        text_puts(out, "</tr>\n");
    }
    text_puts(out, "</table></div>\n<p class=\"note\">Below each mean its 95% bootstrap interval over the questions.</p>\n");
    for (size_t s = 0; s < summary->n_series; s++) {
        char *line[] = {eval_row_partial(&summary->row[s]), eval_row_cut(&summary->row[s])};
        for (size_t i = 0; i < COUNT_OF(line); i++) {
            if (line[i]) {
                text_puts(out, "<p class=\"note\">");
                page_string(out, line[i]);
                text_puts(out, ".</p>\n");
            }
            free(line[i]);
        }
    }
}

/* Whether the interval is clear of zero, and on which side. One question has none. */
static const char *verdict_of(int measure, const eval_cell *cell) {
    if (cell->n < 2 || (cell->mean.low <= 0 && cell->mean.high >= 0)) {
        return "";
    }
    return (cell->mean.mean < 0) == (measure == EVAL_KL) ? " better" : " worse";
}

static void add_differences(text *out, const eval_summary *summary) {
    if (summary->n_differences == 0) {
        return;
    }
    text_puts(out, "<h2>Differences</h2>\n<div class=\"wide\"><table>\n<tr><th></th>");
    size_t n_compared = 0;
    for (int m = 0; m < EVAL_MEASURES; m++) {
        n_compared += eval_measures[m].is_compared && summary->is_measured[m];
    }
    for (size_t d = 0; d < summary->n_differences; d++) {
        text_printf(out, "<th class=\"group\" colspan=\"%zu\">minus ", n_compared);
        page_string(out, summary->row[summary->difference[d].base].label);
        text_puts(out, "</th>");
    }
    text_puts(out, "</tr>\n<tr><th>method</th>");
    for (size_t d = 0; d < summary->n_differences; d++) {
        const char *edge = " class=\"edge\"";
        for (int m = 0; m < EVAL_MEASURES; m++) {
            if (!eval_measures[m].is_compared || !summary->is_measured[m]) {
                continue;
            }
            text_printf(out, "<th%s>%s</th>", edge, eval_measures[m].title);
            edge = "";
        }
    }
    text_puts(out, "</tr>\n");
    for (size_t s = 0; s < summary->n_series; s++) {
        text_puts(out, "<tr><td>");
        page_string(out, summary->row[s].label);
        text_puts(out, "</td>");
        for (size_t d = 0; d < summary->n_differences; d++) {
            const char *edge = "edge";
            for (int m = 0; m < EVAL_MEASURES; m++) {
                const eval_cell *cell = &summary->difference[d].row[s].cell[m];
                if (!eval_measures[m].is_compared || !summary->is_measured[m]) {
                    continue;
                }
                text_printf(out, "<td class=\"%s%s\">", edge, verdict_of(m, cell));
                if (cell->n) {
                    text_printf(out, "%+.4f", cell->mean.mean);
                } else {
                    text_puts(out, "–");
                }
                if (cell->n > 1) {
                    text_printf(out, "<small>%+.4f to %+.4f</small>", cell->mean.low, cell->mean.high);
                }
                text_puts(out, "</td>");
                edge = "";
            }
        }
        text_puts(out, "</tr>\n");
    }
    text_puts(out,
              "</table></div>\n<p class=\"note\">Paired by question, with 95% intervals. <span class=\"better\">Better</span> or <span "
              "class=\"worse\">worse</span> where the interval is clear of zero.</p>\n");
}

/* ---- Questions ---------------------------------------------------------------------------------------------------------------------- */

static const char *string_of(const json_t *record, const char *key) {
    const char *string = json_string_value(json_object_get(record, key));
    return string ? string : "";
}

static void add_number(text *out, double value, int digits, const char *unit) {
    if (isfinite(value)) {
        text_printf(out, "<td>%.*f%s</td>", digits, value, unit);
    } else {
        text_puts(out, "<td>–</td>");
    }
}

/* A cell a series, as dark as its F1. */
static void add_cells(text *out, const eval_summary *summary, size_t q) {
    text_puts(out, "<div class=\"cells\">");
    for (size_t s = 0; s < summary->n_series; s++) {
        const double f1 = eval_measure_of(summary->series[s].record[q], EVAL_F1);
        text_puts(out, "<i");
        if (isfinite(f1)) {
            eval_charts_shade(out, f1);
        } else {
            text_puts(out, " class=\"gone\"");
        }
        text_puts(out, " title=\"");
        page_string(out, summary->row[s].label);
        if (isfinite(f1)) {
            text_printf(out, ": F1 %.2f", f1);
        }
        text_puts(out, "\"></i>");
    }
    text_puts(out, "</div>");
}

static bool differs(const eval_summary *summary, size_t q) {
    double low = INFINITY, high = -INFINITY;
    for (size_t s = 0; s < summary->n_series; s++) {
        const double f1 = eval_measure_of(summary->series[s].record[q], EVAL_F1);
        low = fmin(low, f1); /* not a number counts for nothing */
        high = fmax(high, f1);
    }
    return high - low > 1e-9;
}

/* The series whose tokens are marked first: the paper's, else the first that is there. */
static size_t series_to_show(const eval_summary *summary, size_t q) {
    for (size_t d = summary->n_differences; d-- > 0;) {
        const size_t base = summary->difference[d].base;
        if (summary->series[base].record[q] && strcmp(summary->series[base].method, "infoflow") == 0) {
            return base;
        }
    }
    for (size_t s = 0; s < summary->n_series; s++) {
        if (json_array_size(json_object_get(summary->series[s].record[q], "selected"))) {
            return s;
        }
    }
    return 0;
}

static void add_answers(text *out, const eval_summary *summary, size_t q, const json_t *picture) {
    const size_t chosen = series_to_show(summary, q);
    text_puts(out, "<div class=\"wide\"><table class=\"answers\">\n<tr><th>method</th><th class=\"said\">answer</th><th>F1</th>");
    if (summary->is_measured[EVAL_KL]) {
        text_puts(out, "<th>KL</th><th>TOP-1</th>");
    }
    text_puts(out, "<th>TTFT ms</th><th>recomputed</th>");
    text_puts(out, picture ? "<th>where</th></tr>\n" : "</tr>\n");
    for (size_t s = 0; s < summary->n_series; s++) {
        const json_t *record = summary->series[s].record[q];
        if (!record) {
            continue;
        }
        text_puts(out, "<tr><td><label>");
        if (picture && json_is_object(json_array_get(json_object_get(picture, "v"), s))) {
            text_printf(out, "<input type=\"radio\" name=\"q%zu\" value=\"%zu\"%s> ", q, s, s == chosen ? " checked" : "");
        }
        page_string(out, summary->row[s].label);
        text_puts(out, "</label></td><td class=\"said\" title=\"");
        page_string(out, string_of(record, "raw"));
        text_puts(out, "\">");
        page_string(out, string_of(record, "answer"));
        text_puts(out, "</td>");
        add_number(out, eval_measure_of(record, EVAL_F1), 2, "");
        if (summary->is_measured[EVAL_KL]) {
            add_number(out, eval_measure_of(record, EVAL_KL), 3, "");
            add_number(out, eval_measure_of(record, EVAL_TOP1), 2, "");
        }
        add_number(out, eval_measure_of(record, EVAL_TTFT), 0, "");
        add_number(out, eval_measure_of(record, EVAL_RECOMPUTED), 1, "%");
        if (picture) {
            text_printf(out, "<td data-where=\"%zu\"></td>", s);
        }
        text_puts(out, "</tr>\n");
    }
    text_puts(out, "</table></div>\n");
}

/* JSON within <script>: a "<" could begin the end tag. */
static void add_json(text *out, const json_t *object) {
    char *json = json_dumps(object, JSON_COMPACT | JSON_PRESERVE_ORDER);
    text_puts(out, "<script type=\"application/json\">");
    for (const char *at = json ? json : "null"; *at;) {
        const size_t n = strcspn(at, "<");
        text_add(out, at, n);
        text_puts(out, at[n] ? "\\u003c" : "");
        at += n + (at[n] == '<');
    }
    text_puts(out, "</script>\n");
    free(json);
}

static bool has_records(const eval_summary *summary, size_t q) {
    for (size_t s = 0; s < summary->n_series; s++) {
        if (summary->series[s].record[q]) {
            return true;
        }
    }
    return false;
}

static iflow_status add_question(text *out, const eval_report *report, const eval_summary *summary, size_t q, bool drawn, size_t *head) {
    const eval_question *question = report->question[q];
    json_t *picture = NULL;
    iflow_status status =
        drawn ? eval_picture_make(report->s->model, question, report->chunk_tokens, summary, q, head, &picture) : IFLOW_OK;
    if (status != IFLOW_OK) {
        return status;
    }
    text_printf(out, "<details class=\"q%s\"><summary><span>", differs(summary, q) ? " differs" : "");
    page_string(out, question->question);
    text_puts(out, "</span>");
    add_cells(out, summary, q);
    text_puts(out, "</summary>\n<div class=\"inner\"><p class=\"note\">gold: ");
    for (size_t a = 0; a < question->n_answers; a++) {
        text_puts(out, a ? " · <b>" : "<b>");
        page_string(out, question->answer[a]);
        text_puts(out, "</b>");
    }
    text_puts(out, " — question ");
    page_string(out, question->id);
    text_puts(out, "</p>\n");
    add_answers(out, summary, q, picture);
    if (picture) {
        text_puts(out, "<div class=\"picture\"></div>\n");
        add_json(out, picture);
    } else if (drawn) {
        text_puts(out, "<p class=\"note\">The context that was asked is not what the data make now, so its tokens are not drawn.</p>\n");
    }
    text_puts(out, "</div></details>\n");
    json_decref(picture);
    return IFLOW_OK;
}

static iflow_status add_questions(text *out, const eval_report *report, const eval_summary *summary) {
    size_t n_shown = 0, n = 0, head = 0;
    for (size_t q = 0; q < summary->n_questions; q++) {
        n += has_records(summary, q);
    }
    text_puts(out, "<h2>Questions</h2>\n<p><label><input type=\"checkbox\" id=\"differ\"> only those whose F1 differs</label></p>\n");
    if (n > MAX_QUESTIONS) {
        text_printf(out, "<p class=\"note\">The first %d of %s.</p>\n", MAX_QUESTIONS, human_count(n));
    }
    if (n > MAX_PICTURES) {
        text_printf(out, "<p class=\"note\">The first %d have their tokens drawn.</p>\n", MAX_PICTURES);
    }
    for (size_t q = 0; q < summary->n_questions && n_shown < MAX_QUESTIONS; q++) {
        if (!has_records(summary, q)) {
            continue;
        }
        const iflow_status status = add_question(out, report, summary, q, n_shown < MAX_PICTURES, &head);
        if (status != IFLOW_OK) {
            return status;
        }
        n_shown++;
    }
    return IFLOW_OK;
}

int eval_report_write(const eval_report *report, const eval_summary *summary) {
    text out = {0};
    text css = {0};
    text_printf(&css, "%s%s%s", svg_style, eval_charts_style, style);
    page_begin(&out, title_of(report), css.text);
    add_header(&out, report, summary);
    add_means(&out, summary);
    add_differences(&out, summary);
    text_puts(&out, "<h2>What it gives, what it costs</h2>\n");
    eval_charts_curves(&out, summary);
    text_puts(&out, "<h2>Where the time goes</h2>\n<div class=\"figures\">\n");
    eval_charts_stages(&out, summary);
    text_puts(&out, "</div>\n");
    eval_charts_needles(&out, summary);
    const iflow_status status = add_questions(&out, report, summary);
    text_puts(&out, script);
    page_end(&out);
    const int result = status == IFLOW_OK ? write_file(report->path, out.text, out.n, false) : cli_failed(status, report->path);
    text_free(&css);
    text_free(&out);
    return result;
}
