/* chat.c - `infoflow chat`: questions one after another over the same repaired context. */
#include "cli/line.h"
#include "cli/nearest.h"
#include "cli/operands.h"
#include "cli/prefill.h"
#include "cli/profile.h"
#include "cli/progress.h"
#include "cli/text.h"
#include "cli/verify.h"
#include "service/input.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

typedef struct chat {
    session s;
    common_options common;
    ask_options how;
    context_documents documents;
    profile profile;
    gate gate;
    iflow_answer *last;
    verdict verdict;     /* on the last answer */
    iflow_method method; /* by which the context was put together, and its ratio */
    double ratio;
    bool terminal, json, asked, no_history;
} chat;

static const char commands[] = "/again QUESTION   prepare the context anew for this question\n"
                               "/stats            what the last answer cost\n"
                               "/help             this list\n"
                               "/quit             end (exit and Ctrl-D, too); Ctrl-C stops an answer\n";

/* Asks on, or anew. A failed question is said and the chat goes on; CLI_FAILED then. */
static int ask(chat *c, const char *question, bool anew) {
    stream out = {.silent = c->json};
    iflow_answer *answer = NULL;
    verdict checked = {0};
    iflow_ask_params params;
    iflow_status status = ask_settings_params(&c->how.set, &c->s.info, &params);
    params.question = question;
    params.on_text = stream_text;
    params.user = &out;
    anew = anew || !c->asked;
    cli_signals(CLI_SIGNAL_GRACEFUL); /* an interrupt stops the answer, not the chat */
    double prefill_ms = 0;
    if (status == IFLOW_OK && anew) {
        status = documents_prefill(&c->s, &c->common, &c->documents, &params, &prefill_ms);
    }
    if (status == IFLOW_OK) {
        status = anew ? gate_ask(&c->gate, c->s.ctx, &params, c->common.quiet, &answer, &checked)
                      : iflow_context_follow_up(c->s.ctx, &params, &answer);
    }
    progress_end();
    bool stopped = cli_take_interrupt();
    cli_signals(c->terminal ? CLI_SIGNAL_NOTED : CLI_SIGNAL_IMMEDIATE);
    if (out.last || (status == IFLOW_OK && !c->json)) {
        stream_end(&out);
    }
    if (stopped && !c->common.quiet) {
        cli_note("[stopped]");
    }
    if (status != IFLOW_OK &&
        (anew || status == IFLOW_E_NOT_FINITE)) { /* a follow-up that is cancelled leaves the conversation as it was */
        c->asked = false;                         /* there is nothing to go on from: the next question begins anew */
    }
    if (status == IFLOW_E_CANCELLED && stopped) {
        return CLI_OK;
    }
    if (status != IFLOW_OK) {
        return context_failed(status, &c->common, &c->s);
    }
    documents_waited(answer, prefill_ms);
    c->asked = true;
    iflow_answer_free(c->last);
    c->last = answer;
    c->verdict = checked;
    c->method = answer->method = anew ? answer->method : c->method;
    c->ratio = answer->ratio = anew ? answer->ratio : c->ratio;
    if (c->json) {
        return report_json(&(answer_report){.session = &c->s,
                                            .documents = &c->documents,
                                            .question = question,
                                            .answer = answer,
                                            .in_chat = true,
                                            .follow_up = !anew,
                                            .settings = &c->how.set,
                                            .checked = &checked,
                                            .profile = &c->profile});
    }
    if (!c->common.quiet) {
        report_print_line(stderr, &c->s, answer, !anew);
    }
    if (!c->common.quiet && checked.verified) {
        verdict_print(stderr, &checked, answer);
    }
    return CLI_OK;
}

static void print_stats(const chat *c) {
    if (!c->last) {
        cli_note("nothing was asked yet");
        return;
    }
    report_print(stderr, &c->s, c->last);
    if (c->gate.share > 0) {
        verdict_print(stderr, &c->verdict, c->last);
    }
    profile_print(stderr, &c->profile);
}

static int unknown_command(const char *line) {
    static const char *const names[] = {"/again", "/stats", "/help", "/quit", "/exit"};
    const size_t n = strcspn(line, " ");
    const bool no_question = n == strlen(names[0]) && strncmp(line, names[0], n) == 0;
    const char *near = no_question ? NULL : nearest(line, n, names, COUNT_OF(names));
    cli_error("there is no %.*s here%s%s%s:", (int)n, line, no_question ? " without a question" : "", near ? "; did you mean " : "",
              near ? near : "");
    fputs(commands, stderr);
    return CLI_FAILED;
}

/* Whether a line is this command: with its slash, or the bare word, which nobody asks documents. */
static bool is_command(const char *line, const char *command) {
    return strcmp(line, command) == 0 || strcasecmp(line, command + 1) == 0;
}

/* Does what a line says. *end: whether it ends the chat. */
static int take_line(chat *c, char *line, bool *end) {
    line += strspn(line, " \t");
    size_t n = strcspn(line, "\r\n");
    while (n && (line[n - 1] == ' ' || line[n - 1] == '\t')) {
        n--;
    }
    line[n] = '\0';
    if (!line[0]) {
        return CLI_OK;
    }
    if (is_command(line, "/quit") || is_command(line, "/exit")) {
        *end = true;
    } else if (is_command(line, "/help")) {
        fputs(commands, stderr);
    } else if (strcmp(line, "/stats") == 0) {
        print_stats(c);
    } else if (strncmp(line, "/again ", 7) == 0) {
        return ask(c, line + 7 + strspn(line + 7, " "), true);
    } else if (line[0] == '/') {
        return unknown_command(line);
    } else {
        return ask(c, line, false);
    }
    return CLI_OK;
}

/* Questions of a file or a pipe, a line each. CLI_FAILED if one of them failed: a script wants to know. */
static int talk_to_script(chat *c) {
    text line = {0};
    input in;
    int result = CLI_OK;
    input_open(&in, "-");
    for (bool end = false; !end;) {
        const int got = input_line(&in, &line);
        if (got < 0) {
            cli_error("cannot read question %zu: %s", in.line + input_failed(&in), in.why);
            result = CLI_FAILED;
        }
        if (got == 0 || input_failed(&in)) {
            break;
        }
        if (got > 0 && take_line(c, line.text, &end) != CLI_OK) {
            result = CLI_FAILED;
        }
        if (ferror(stdout) || cli_ended()) {
            break;
        }
    }
    text_free(&line);
    input_close(&in);
    return result;
}

/* Questions of a terminal. Its user sees what fails and goes on. */
static int talk_to_terminal(chat *c) {
    text line = {0};
    line_reader *reader = line_open("> ", !c->no_history);
    cli_signals(CLI_SIGNAL_NOTED); /* nothing is lost: the prompt hears of it at once, and an answer begins with it */
    if (!c->common.quiet) {
        cli_note("/quit or Ctrl-D ends the chat; Ctrl-C stops an answer; /help lists the commands.");
    }
    for (bool end = false; !end && !ferror(stdout) && !cli_ended();) {
        const line_event event = line_read(reader, &line);
        if (event == LINE_READ && !iflow_is_blank(line.text, line.n)) {
            char *const said = must_copy(line.text, line.n); /* take_line cuts its line */
            take_line(c, line.text, &end);
            if (!end) {
                line_keep(reader, said);
            }
            free(said);
        } else if (event == LINE_BAD) {
            cli_error("this line is not UTF-8: set your terminal to UTF-8");
        } else if (event == LINE_INTERRUPTED) {
            cli_take_interrupt();
        }
        end = end || event == LINE_END;
    }
    line_close(reader);
    cli_signals(CLI_SIGNAL_IMMEDIATE);
    text_free(&line);
    return CLI_OK;
}

static int talk(chat *c) {
    const int result = c->terminal ? talk_to_terminal(c) : talk_to_script(c);
    return cli_ended() ? CLI_INTERRUPTED : result;
}

static const command_usage usage = {
    "chat", "-m MODEL [OPTION]... DOC...",
    "Answers questions over documents, one question a line. The first question\n"
    "prepares the context, as `infoflow ask` does; later questions go on from there.\n"
    "DOC is a file, a directory, or the id of a document or chunk in the store.\n"
    "  /again QUESTION   prepare the context anew for this question\n"
    "  /stats            what the last answer cost\n"
    "  /quit             end (exit and Ctrl-D, too); Ctrl-C stops an answer\n"
    "\n"
    "A line that is only help, quit or exit is a command as well, with or without the slash.\n"
    "\n"
    "On a terminal, lines can be edited, and the arrow keys bring back earlier questions, also of earlier chats. They are in "
    "infoflow/history in $XDG_STATE_HOME, else in ~/.local/state; only you can read that file.\n"
    "\n"
    "Exit status: where questions do not come from a terminal, it is 1 if a question failed, a line could not be read, or a "
    "line began with / and is no command. The questions after it are still answered.",
    "  infoflow chat -m model.gguf --ratio 0.2 manual.txt"};

static int parse_options(chat *c, profile_options *profiling, int argc, char **argv, int *first) {
    const option_spec spec[] = {OPTION_ROW_MODEL(c->common),
                                OPTION_ROW_STORE(c->common),
                                OPTION_ROWS_EVERY_DAY(c->how, ask_methods_of_chat()),
                                OPTION_ROW_SYSTEM(c->how),
                                {'\0', "no-history", NULL, OPTION_FLAG, &c->no_history, 0, 0, "do not keep the questions of this chat"},
                                {'\0', "json", NULL, OPTION_FLAG, &c->json, 0, 0, "print one JSON object a question"},
                                OPTION_ROW_QUIET(c->common),
                                {0, NULL, NULL, OPTION_FLAG, NULL, 0, 0, "What is recomputed"},
                                OPTION_ROWS_REPAIR(c->how),
                                OPTION_ROW_CORRECTION(c->common),
                                OPTION_ROWS_PROFILE(*profiling),
                                OPTION_ROWS_VERIFY(c->gate, VERIFY_AGAIN ". Later questions of a chat are not compared"),
                                {0, NULL, NULL, OPTION_FLAG, NULL, 0, 0, "Answer"},
                                OPTION_ROWS_QUESTION(c->how),
                                OPTION_ROW_VERBOSE(c->common),
                                OPTION_ROWS_SAMPLING(c->how),
                                {0, NULL, NULL, OPTION_FLAG, NULL, 0, 0, "Documents and store"},
                                OPTION_ROW_JSONL(c->how.jsonl),
                                OPTION_ROW_CUT(c->common),
                                OPTION_ROWS_PREFILL(c->common),
                                OPTION_ROW_NO_STORE(c->common),
                                OPTION_ROW_MAX_SIZE(c->common),
                                OPTION_ROW_KV_TYPE(c->common),
                                {0, NULL, NULL, OPTION_FLAG, NULL, 0, 0, "Computing"},
                                OPTION_ROWS_ENGINE(c->common),
                                {0}};
    return options_parse(&usage, spec, argc, argv, first);
}

int cli_chat(int argc, char **argv) {
    chat c = {.common = common_options_for_questions(), .how = ask_options_default(), .gate = gate_default()};
    profile_options profiling = {0};
    int first = 0;
    int result = parse_options(&c, &profiling, argc, argv, &first);
    if (result != OPTIONS_GO) {
        return result;
    }
    if (first == argc) {
        return options_wrong(&usage, "over which documents? Name files or ids in the store");
    }
    for (int i = first; i < argc; i++) {
        if (strcmp(argv[i], "-") == 0) {
            return options_wrong(&usage, "standard input has the questions; documents must be files or ids");
        }
    }
    iflow_method method = IFLOW_METHOD_INFOFLOW;
    iflow_method_from_name(c.how.set.method, &method); /* one of the choices */
    if ((result = ask_options_check(&usage, &c.how, &c.common, &method, 1)) != CLI_OK ||
        (result = gate_check(&usage, &c.gate, c.how.set.method)) != CLI_OK || (result = ask_options_read(&usage, &c.how)) != CLI_OK) {
        ask_options_free(&c.how);
        return result;
    }

    c.terminal = isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
    result = profile_open_session(&usage, &profiling, &c.common, &c.how, &c.s, &c.profile);
    if (result == CLI_OK && !c.common.quiet) {
        profile_warn(&c.profile, &c.how);
    }
    if (result == CLI_OK) {
        result = context_documents_add(&c.s, &c.common, c.how.jsonl, argv + first, (size_t)(argc - first), &c.documents);
    }
    if (result == CLI_OK) {
        result = talk(&c);
    }
    if (result == CLI_OK && c.documents.n_left_out) { /* it was said before the first question */
        result = CLI_FAILED;
    }
    iflow_answer_free(c.last);
    context_documents_free(&c.documents);
    profile_free(&c.profile);
    ask_options_free(&c.how);
    session_close(&c.s);
    return cli_finish(result);
}
