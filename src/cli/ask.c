/* ask.c - `infoflow ask`: one question over documents. */
#include "cli/given.h"
#include "cli/html.h"
#include "cli/operands.h"
#include "cli/output.h"
#include "cli/prefill.h"
#include "cli/profile.h"
#include "cli/progress.h"
#include "cli/text.h"
#include "cli/verify.h"
#include "service/input.h"

#include <string.h>

static const command_usage usage = {
    "ask", "-m MODEL -q QUESTION [OPTION]... DOC...",
    "Answers a question over documents. DOC is a file, a directory, the id of a\n"
    "document or chunk in the store, or - for standard input.\n"
    "\n"
    "Documents are read in the order given. Of an id the first 4 digits are enough. KV caches that the store does not have "
    "are computed and kept there. Files in a directory that are empty or not text are skipped with a note. A file in a directory that "
    "cannot be used otherwise is left out with a warning: the exit status is 1 then, though there is an answer. The answer goes to "
    "standard output as it is generated; the report goes to standard error.",
    "  infoflow ask -m model.gguf -q \"When was it signed?\" treaty.txt"};

typedef struct ask {
    common_options common;
    ask_options how;
    profile_options profiling;
    gate checking;
    const char *question, *html;
    bool json, scores, positions;
    given by;
    session s;
    context_documents documents;
    profile found;
} ask;

static int parse_options(ask *a, int argc, char **argv, int *first) {
    const option_spec spec[] = {
        OPTION_ROW_MODEL(a->common),
        OPTION_ROW_STORE(a->common),
        {'q', "question", "QUESTION", OPTION_TEXT, &a->question, 0, 0, "the question"},
        OPTION_ROWS_EVERY_DAY(a->how, ask_methods()),
        OPTION_ROW_SYSTEM(a->how),
        {'\0', "json", NULL, OPTION_FLAG, &a->json, 0, 0, "print the answer and its report as one JSON object"},
        {'\0', "html", "FILE", OPTION_TEXT, &a->html, 0, 0, "also write a page that shows each token's score"},
        OPTION_ROW_QUIET(a->common),
        {0, NULL, NULL, OPTION_FLAG, NULL, 0, 0, "What is recomputed"},
        OPTION_ROWS_REPAIR(a->how),
        OPTION_ROW_CORRECTION(a->common),
        {'\0', "given", "FILE", OPTION_TEXT, &a->how.given, 0, 0,
         "method given: a JSON file that says what to recompute: {\"positions\": [...]}, or {\"scores\": [...]} with one score for each "
         "position of the context. --json --positions prints the context's positions"},
        OPTION_ROWS_PROFILE(a->profiling),
        OPTION_ROWS_VERIFY(a->checking, VERIFY_AGAIN),
        {0, NULL, NULL, OPTION_FLAG, NULL, 0, 0, "Answer"},
        OPTION_ROWS_QUESTION(a->how),

        {'\0', "scores", NULL, OPTION_FLAG, &a->scores, 0, 0, "with --json: also print the score of each position"},
        {'\0', "positions", NULL, OPTION_FLAG, &a->positions, 0, 0, "with --json: also print the token and text of each position"},
        OPTION_ROW_VERBOSE(a->common),
        OPTION_ROWS_SAMPLING(a->how),
        {0, NULL, NULL, OPTION_FLAG, NULL, 0, 0, "Documents and store"},
        OPTION_ROW_JSONL(a->how.jsonl),
        OPTION_ROW_CUT(a->common),
        OPTION_ROWS_PREFILL(a->common),
        OPTION_ROW_NO_STORE(a->common),
        OPTION_ROW_MAX_SIZE(a->common),
        OPTION_ROW_KV_TYPE(a->common),
        {0, NULL, NULL, OPTION_FLAG, NULL, 0, 0, "Computing"},
        OPTION_ROWS_ENGINE(a->common),
        {0}};
    return options_parse(&usage, spec, argc, argv, first);
}

static int check_options(ask *a, char **operands, size_t n_operands) {
    int result = CLI_OK;
    if (!a->question || iflow_is_blank(a->question, strlen(a->question))) {
        return options_wrong(&usage, a->question ? "--question has nothing but white space" : "which question? Give -q QUESTION");
    }
    if (!n_operands) {
        return options_wrong(&usage, "over which documents? Name files, ids in the store, or - for standard input");
    }
    if (a->scores && !a->json) {
        return options_wrong(&usage, "--scores goes with --json");
    }
    if (a->positions && !a->json) {
        return options_wrong(&usage, "--positions goes with --json");
    }
    if ((result = operands_check(&usage, operands, n_operands)) != CLI_OK) {
        return result;
    }
    iflow_method method = IFLOW_METHOD_INFOFLOW;
    iflow_method_from_name(a->how.set.method, &method); /* one of the choices */
    if ((result = ask_options_check(&usage, &a->how, &a->common, &method, 1)) != CLI_OK ||
        (result = gate_check(&usage, &a->checking, a->how.set.method)) != CLI_OK ||
        (a->html && (result = output_check("--html", a->html, OUTPUT_PAGE)) != CLI_OK)) {
        return result;
    }
    for (size_t i = 0; a->html && i < n_operands; i++) { /* an earlier page, too, may have been written on since */
        if (same_place(operands[i], a->html)) {
            cli_error("--html %s is a document of this question: give the page a file of its own", a->html);
            return CLI_FAILED;
        }
    }
    return CLI_OK;
}

/* What is said of an answer once it was streamed: JSON, the report, and the page. */
static int report(const ask *a, stream *out, const iflow_answer *answer, const verdict *checked) {
    int result = CLI_OK;
    if (a->json) {
        result = report_json(&(answer_report){.session = &a->s,
                                              .documents = &a->documents,
                                              .question = a->question,
                                              .answer = answer,
                                              .scores = a->scores,
                                              .positions = a->positions,
                                              .settings = &a->how.set,
                                              .checked = checked,
                                              .profile = &a->found});
    } else if (!out->last) {
        stream_end(out); /* an empty answer is a line, too */
    }
    if (!a->json && !a->common.quiet) {
        report_print(stderr, &a->s, answer);
        if (a->checking.share > 0) {
            verdict_print(stderr, checked, answer);
        }
        profile_print(stderr, &a->found);
    }
    /* Looked at again: a file may have come there while the answer was made. */
    if (a->html && (output_check("--html", a->html, OUTPUT_PAGE) != CLI_OK ||
                    html_write(a->html, &a->s, &a->documents, a->question, answer) != CLI_OK)) {
        result = CLI_FAILED;
    }
    return result;
}

/* The documents are in the context. */
static int answer_question(ask *a, iflow_ask_params *params) {
    stream out = {.silent = a->json};
    verdict checked = {0};
    iflow_answer *answer = NULL;
    double prefill_ms = 0;
    if (!a->common.quiet) {
        profile_warn(&a->found, &a->how);
    }
    given_use(&a->by, params);
    params->question = a->question;
    params->on_text = stream_text;
    params->user = &out;
    cli_last_word(documents_last_word(&a->s));
    iflow_status status = documents_prefill(&a->s, &a->common, &a->documents, params, &prefill_ms);
    if (status == IFLOW_OK) {
        status = gate_ask(&a->checking, a->s.ctx, params, a->common.quiet, &answer, &checked);
    }
    progress_end();
    documents_waited(answer, prefill_ms);
    if (out.last) {
        stream_end(&out);
    }
    const int result = status == IFLOW_OK ? report(a, &out, answer, &checked) : context_failed(status, &a->common, &a->s);
    iflow_answer_free(answer);
    return result;
}

int cli_ask(int argc, char **argv) {
    ask a = {.common = common_options_for_questions(), .how = ask_options_default(), .checking = gate_default()};
    iflow_ask_params params;
    int first = 0, result = parse_options(&a, argc, argv, &first);
    if (result != OPTIONS_GO) {
        return result;
    }
    char **operands = argv + first;
    const size_t n_operands = (size_t)(argc - first);
    if ((result = check_options(&a, operands, n_operands)) != CLI_OK) {
        return result;
    }
    cli_last_word("interrupted; nothing was computed\n");
    result = a.how.given ? given_read(&usage, a.how.given, &a.how.set, operands, n_operands, &a.by) : CLI_OK;
    if (result == CLI_OK) {
        result = ask_options_read(&usage, &a.how);
    }
    if (result == CLI_OK) {
        result = profile_open_session(&usage, &a.profiling, &a.common, &a.how, &a.s, &a.found);
    }
    const iflow_status status = result == CLI_OK ? ask_settings_params(&a.how.set, &a.s.info, &params) : IFLOW_OK;
    if (status != IFLOW_OK) {
        result = cli_failed(status, NULL);
    }
    if (result == CLI_OK) {
        result = context_documents_add(&a.s, &a.common, a.how.jsonl, operands, n_operands, &a.documents);
    }
    if (result == CLI_OK) {
        result = answer_question(&a, &params);
    }
    if (result == CLI_OK && a.documents.n_left_out) { /* the warnings name them */
        result = CLI_FAILED;
    }
    given_free(&a.by);
    ask_options_free(&a.how);
    context_documents_free(&a.documents);
    profile_free(&a.found);
    session_close(&a.s);
    return cli_finish(result);
}
