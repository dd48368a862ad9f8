/* ask.c - `infoflow ask`: one question over documents. */
#include "given.h"
#include "html.h"
#include "input.h"
#include "output.h"
#include "profile.h"
#include "progress.h"
#include "text.h"
#include "verify.h"

#include <string.h>

int cli_ask(int argc, char **argv) {
    common_options common = common_options_asking();
    ask_options asking = ask_options_default();
    profile_options profiling = {0};
    gate checking = gate_default();
    const char *question = NULL, *html = NULL;
    bool json = false, scores = false, positions = false;
    const command_usage usage = {
        "ask", "-m MODEL -q QUESTION [OPTION]... DOC...",
        "Answers a question over documents. DOC is a file, a directory, the id of a document or chunk in the store (its first\n"
        "4 digits or more), or - for standard input; documents are read in the order given. Chunks that the store lacks are\n"
        "computed and kept there. Files in a directory that are not text are skipped with a note. The answer goes to standard\n"
        "output as it comes, the report to standard error.",
        "  infoflow ask -m model.gguf -q \"When was the treaty signed?\" treaty.txt 3fa94c --html answer.html"};
    const option_spec spec[] = {
        OPTION_ROW_MODEL(common),
        OPTION_ROW_STORE(common),
        {'\0', "no-store", NULL, OPTION_FLAG, &common.no_store, 0, 0, "keep nothing: compute the documents for this call"},
        {'q', "question", "QUESTION", OPTION_TEXT, &question, 0, 0, "the question"},
        {0, NULL, NULL, OPTION_FLAG, NULL, 0, 0, "Asking"},
        OPTION_ROWS_ASKING(asking),
        {'\0', "given", "FILE", OPTION_TEXT, &asking.given, 0, 0,
         "method given: a JSON file, {\"positions\": [...]}, those to recompute, or {\"scores\": [...]}, one for each position, the head's "
         "first; --json tells the positions (chunks, selected; with --positions all)"},
        OPTION_ROWS_PROFILE(profiling),
        OPTION_ROW_CORRECTION(common),
        OPTION_ROWS_VERIFY(checking, VERIFY_AGAIN),
        {0, NULL, NULL, OPTION_FLAG, NULL, 0, 0, "Output"},
        {'\0', "json", NULL, OPTION_FLAG, &json, 0, 0, "print one JSON object, and nothing else"},
        {'\0', "scores", NULL, OPTION_FLAG, &scores, 0, 0, "with --json: the score of every position as well"},
        {'\0', "positions", NULL, OPTION_FLAG, &positions, 0, 0, "with --json: token and text of every position as well"},
        {'\0', "html", "FILE", OPTION_TEXT, &html, 0, 0, "write a page with the context shaded by score"},
        OPTION_ROWS_OUTPUT(common),
        {0, NULL, NULL, OPTION_FLAG, NULL, 0, 0, "Documents and engine"},
        OPTION_ROW_CUT(common),
        OPTION_ROW_KV_TYPE(common),
        OPTION_ROWS_PREFILL(common),
        OPTION_ROW_MAX_SIZE(common),
        OPTION_ROWS_ENGINE(common),
        {0}};
    int first = 0;
    int result = options_parse(&usage, spec, argc, argv, &first);
    if (result != OPTIONS_GO)
        return result;
    if (!question || is_blank(question, strlen(question)))
        return options_wrong(&usage, question ? "--question has nothing but white space" : "which question? Give -q QUESTION");
    if (first == argc)
        return options_wrong(&usage, "over which documents? Name files, ids in the store, or - for standard input");
    if (scores && !json)
        return options_wrong(&usage, "--scores goes with --json");
    if (positions && !json)
        return options_wrong(&usage, "--positions goes with --json");
    if ((result = sources_check(&usage, argv + first, (size_t)(argc - first))) != CLI_OK)
        return result;
    iflow_method method = IFLOW_METHOD_INFOFLOW;
    iflow_method_from_name(asking.method, &method); /* one of the choices */
    if ((result = ask_options_check(&usage, &asking, &common, &method, 1)) != CLI_OK ||
        (result = gate_check(&usage, &checking, asking.method)) != CLI_OK ||
        (html && (result = output_check("--html", html, OUTPUT_PAGE)) != CLI_OK))
        return result;
    for (int i = first; html && i < argc; i++) { /* an earlier page, too, may have been written on since */
        if (same_place(argv[i], html)) {
            cli_error("--html %s is a document of this question: give the page a file of its own", html);
            return CLI_FAILED;
        }
    }

    given by = {0};
    session s = {0};
    context_documents documents = {0};
    profile found = {0};
    verdict checked = {0};
    iflow_answer *answer = NULL;
    stream out = {.silent = json};
    iflow_ask_params params;
    iflow_status status = IFLOW_OK;
    if (asking.given && (result = given_read(&usage, asking.given, argv + first, (size_t)(argc - first), &by)) != CLI_OK)
        goto cleanup;
    result = profile_open_session(&usage, &profiling, &common, &asking, &s, &found);
    if (result == CLI_OK && (status = ask_options_params(&asking, &s.info, &params)) != IFLOW_OK)
        result = cli_failed(status, NULL);
    if (result == CLI_OK)
        result = context_documents_add(&s, &common, asking.jsonl, argv + first, (size_t)(argc - first), &documents);
    if (result != CLI_OK)
        goto cleanup;

    if (!common.quiet)
        profile_warn(&found, &asking);
    given_use(&by, &params);
    params.question = question;
    params.on_text = stream_text;
    params.user = &out;
    stream_waiting(&documents, common.quiet);
    status = gate_ask(&checking, s.ctx, &params, common.quiet, &answer, &checked);
    progress_end();
    if (out.last)
        stream_end(&out);
    if (status != IFLOW_OK) {
        result = cli_failed(status, NULL);
        goto cleanup;
    }
    if (json) {
        json_t *object = report_json(&s, &documents, question, answer, scores);
        verdict_json(object, &checked);
        profile_json(object, &found);
        if (positions && (status = report_positions_json(object, &s, answer)) != IFLOW_OK)
            result = cli_failed(status, NULL);
        else
            result = report_dump(object, stdout);
        json_decref(object);
    } else if (!out.last) {
        stream_end(&out); /* an empty answer is a line, too */
    }
    if (!json && !common.quiet) {
        report_print(stderr, &s, answer);
        if (checking.share > 0)
            verdict_print(stderr, &checked, answer);
        profile_print(stderr, &found);
    }
    /* Looked at again: a file may have come there while the answer was made. */
    if (html && (output_check("--html", html, OUTPUT_PAGE) != CLI_OK || html_write(html, &s, &documents, question, answer) != CLI_OK))
        result = CLI_FAILED;
cleanup:
    given_free(&by);
    iflow_answer_free(answer);
    context_documents_free(&documents);
    profile_free(&found);
    session_close(&s);
    return cli_finish(result);
}
