/* eval.c - `infoflow eval`: methods on a question set, by the `paper` protocol. */
#include "eval_data.h"
#include "f1.h"
#include "progress.h"
#include "report.h"
#include "text.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* The protocol's prompt is this, the question and "Answer:", which the library's own prompt puts behind an instruction. */
static const char instruction[] =
    "Answer the question based on the given passages. Only give me the answer and do not output any other words. "
    "The answer should be within 5 words.";
enum { MAX_METHODS = 8, PROTOCOL_TOKENS = 32 };

typedef struct eval {
    session s;
    common_options common;
    ask_options asking;
    const char *methods, *output;
    int limit;
    iflow_method method[MAX_METHODS];
    size_t n_methods;
    eval_data data;
    eval_records records;
    FILE *out;
    size_t n_asked, n_to_ask, n_failed;
    double asking_seconds;
    bool warm;
} eval;

static int parse_methods(const command_usage *usage, eval *e) {
    for (const char *at = e->methods; *at;) {
        char name[32];
        size_t n = strcspn(at, ",");
        snprintf(name, sizeof name, "%.*s", (int)n, at);
        if (e->n_methods == MAX_METHODS || iflow_method_from_name(name, &e->method[e->n_methods]) != IFLOW_OK)
            return options_wrong(usage, "--methods takes names separated by commas: %s",
                                 e->n_methods == MAX_METHODS ? "too many of them" : iflow_error_message());
        e->n_methods++;
        at += n + (at[n] == ',');
    }
    return e->n_methods ? CLI_OK : options_wrong(usage, "--methods is empty; full,none,infoflow are all");
}

/* What the method's ratio is in records: that of --ratio where it means something. */
static double ratio_of(const eval *e, iflow_method method) {
    return method == IFLOW_METHOD_FULL ? 1 : iflow_method_has_ratio(method) ? e->asking.ratio : 0;
}

/* The record of a question and method under this run's settings, or NULL. */
static const json_t *record_of(const eval *e, const eval_question *question, iflow_method method) {
    return eval_records_find(&e->records, question->id, iflow_method_name(method), method == IFLOW_METHOD_INFOFLOW ? e->asking.score : "",
                             ratio_of(e, method), e->s.info.fingerprint);
}

static bool is_done(const eval *e, const eval_question *question, iflow_method method) {
    return record_of(e, question, method) != NULL;
}

/* An answer that nobody measures: it stores the head and touches the weights, which the first question would pay for. */
static iflow_status warm_up(eval *e, const eval_question *question) {
    iflow_answer *answer = NULL;
    iflow_ask_params params;
    iflow_status status = ask_options_params(&e->asking, &params);
    params.method = IFLOW_METHOD_NONE;
    params.question = question->question;
    params.max_tokens = 1;
    if (status == IFLOW_OK)
        status = iflow_context_ask(e->s.ctx, &params, &answer);
    iflow_answer_free(answer);
    return status;
}

/* Lays the passages into the context; their KV is computed first, so that no method pays for it. */
static iflow_status prepare(eval *e, const eval_question *question) {
    iflow_context_clear(e->s.ctx);
    for (size_t i = 0; i < question->n_passages; i++) {
        char *passage = passage_text(i + 1, question->passage[i]);
        int32_t *tokens = NULL;
        size_t n = 0;
        iflow_status status = iflow_tokenize(e->s.model, passage, strlen(passage), false, &tokens, &n);
        free(passage);
        if (status != IFLOW_OK)
            return status;
        do {
            status = iflow_context_prefill(e->s.ctx, tokens, n, NULL, NULL);
            if (status == IFLOW_E_BUSY)
                nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
        } while (status == IFLOW_E_BUSY && !cli_interrupted());
        if (status == IFLOW_OK)
            status = iflow_context_add_tokens(e->s.ctx, tokens, n);
        iflow_free(tokens);
        if (status != IFLOW_OK)
            return status;
    }
    return IFLOW_OK;
}

static int write_record(eval *e, const eval_question *question, iflow_method method, const iflow_answer *answer) {
    char *extracted = f1_extract(answer->text);
    double f1 = extracted ? f1_best(extracted, question->answer, question->n_answers) : -1;
    if (f1 < 0) {
        free(extracted);
        cli_error("out of memory");
        return CLI_FAILED;
    }
    json_t *record = json_object();
    json_object_set_new(record, "id", json_text(question->id));
    json_object_set_new(record, "method", json_string(iflow_method_name(method)));
    if (method == IFLOW_METHOD_INFOFLOW)
        json_object_set_new(record, "score", json_string(e->asking.score));
    json_object_set_new(record, "ratio", json_real(ratio_of(e, method)));
    json_object_set_new(record, "model", json_string(e->s.info.fingerprint));
    json_object_set_new(record, "answer", json_text(extracted));
    json_object_set_new(record, "raw", json_text(answer->text));
    json_object_set_new(record, "f1", json_real(f1));
    json_object_set_new(record, "tokens", report_tokens_json(answer));
    json_object_set_new(record, "timings_ms", report_timings_json(answer));
    json_object_set_new(record, "selected", report_selected_json(answer));
    int result = report_dump(record, e->out);
    if (result == CLI_OK)
        eval_records_add(&e->records, record);
    json_decref(record);
    free(extracted);
    return result;
}

static void show_progress(const eval *e, const char *id) {
    double left = e->n_asked ? e->asking_seconds / (double)e->n_asked * (double)(e->n_to_ask - e->n_asked) : -1;
    char *rate = text_format("%zu of %zu", e->n_asked, e->n_to_ask);
    progress_show(e->n_to_ask ? (double)e->n_asked / (double)e->n_to_ask : 1, left, rate, id);
    free(rate);
}

static bool watch_interrupt(const char *piece, void *user) {
    (void)piece;
    (void)user;
    return !cli_interrupted();
}

/* Asks one question with every method that is missing. False to stop. */
static bool run_question(eval *e, const eval_question *question) {
    bool prepared = false, go_on = true;
    for (size_t m = 0; m < e->n_methods && go_on; m++) {
        if (is_done(e, question, e->method[m]))
            continue;
        show_progress(e, question->id);
        double start = now_seconds();
        iflow_answer *answer = NULL;
        iflow_ask_params params;
        iflow_status status = ask_options_params(&e->asking, &params);
        params.method = e->method[m];
        params.question = question->question;
        params.on_text = watch_interrupt;
        if (status == IFLOW_OK && !prepared)
            status = prepare(e, question);
        if (status == IFLOW_OK && !e->warm)
            status = warm_up(e, question);
        e->warm = e->warm || status == IFLOW_OK;
        prepared = prepared || status == IFLOW_OK;
        if (status == IFLOW_OK)
            status = iflow_context_ask(e->s.ctx, &params, &answer);
        if (cli_interrupted()) { /* an answer cut short is no measurement */
            go_on = false;
        } else if (status != IFLOW_OK) {
            char *what =
                text_format("%s:%zu: question %s, %s", e->data.path, question->line, question->id, iflow_method_name(e->method[m]));
            cli_failed(status, what);
            free(what);
            e->n_failed++;
            go_on = status == IFLOW_E_CONTEXT || status == IFLOW_E_FORMAT || status == IFLOW_E_ARG;
        } else {
            go_on = write_record(e, question, e->method[m], answer) == CLI_OK;
            e->n_failed += !go_on;
        }
        iflow_answer_free(answer);
        e->n_asked++;
        e->asking_seconds += now_seconds() - start;
    }
    return go_on;
}

static double number(const json_t *record, const char *outer, const char *key) {
    return json_number_value(json_object_get(outer ? json_object_get(record, outer) : record, key));
}

static void print_means(const eval *e) {
    printf("%-10s  %5s  %9s  %7s  %10s  %10s\n", "METHOD", "RATIO", "QUESTIONS", "F1", "TTFT ms", "RECOMPUTED");
    for (size_t m = 0; m < e->n_methods; m++) {
        double f1 = 0, ttft = 0, share = 0;
        size_t n = 0;
        for (size_t q = 0; q < e->data.n; q++) {
            const json_t *record = record_of(e, &e->data.question[q], e->method[m]);
            if (!record)
                continue;
            double context = number(record, "tokens", "context");
            f1 += number(record, NULL, "f1");
            ttft += number(record, "timings_ms", "ttft");
            share += context > 0 ? number(record, "tokens", "recomputed") / context : 0;
            n++;
        }
        printf("%-10s  %5.2f  %9zu", iflow_method_name(e->method[m]), ratio_of(e, e->method[m]), n);
        if (n)
            printf("  %7.4f  %10.1f  %9.1f%%", f1 / (double)n, ttft / (double)n, share / (double)n * 100);
        putchar('\n');
    }
}

int cli_eval(int argc, char **argv) {
    eval e = {.asking = ask_options_default(), .methods = "full,none,infoflow"};
    e.asking.max_tokens = PROTOCOL_TOKENS;
    e.asking.instruction = instruction;
    const command_usage usage = {
        "eval", "-m MODEL --output OUT.jsonl [OPTION]... DATA.jsonl",
        "Asks the questions of a data set with several methods, by the paper's protocol: a chunk a passage, greedy decoding,\n"
        "short answers, F1 as SQuAD has it. A line of the data is {\"id\", \"question\", \"answers\": [...], \"passages\": [...]}.\n"
        "Writes a JSON record a question and method, as they come, and prints the means. What the output file has already is\n"
        "not asked again, so that an interrupted run goes on. Passages are prefilled before the clock runs.",
        "  infoflow eval -m model.gguf --methods full,none,infoflow --ratio 0.15 --output out.jsonl --limit 30 hotpot.jsonl"};
    const option_spec spec[] = {
        OPTION_ROW_MODEL(e.common),
        OPTION_ROW_STORE(e.common),
        {'\0', "no-store", NULL, OPTION_FLAG, &e.common.no_store, 0, 0, "keep the passages in memory only"},
        {'\0', "methods", "LIST", OPTION_TEXT, &e.methods, 0, 0,
         "methods, separated by commas; `infoflow methods` lists them (default: full,none,infoflow)"},
        {'r', "ratio", "R", OPTION_REAL, &e.asking.ratio, 0, 1, "share of the context's tokens that is recomputed (default: 0.15)"},
        {'o', "output", "FILE", OPTION_TEXT, &e.output, 0, 0, "where the records go, a line each"},
        {'\0', "limit", "N", OPTION_INT, &e.limit, 1, 1e9, "only the first N questions (default: all)"},
        {'n', "max-tokens", "N", OPTION_INT, &e.asking.max_tokens, 1, 1 << 20, "tokens of an answer at most (default: 32)"},
        {'\0', "score", "norm|mass|entropy|vatp|combined", OPTION_CHOICE, &e.asking.score, 0, 0, "what infoflow scores by (default: norm)"},
        {'\0', "score-layers", "LIST", OPTION_LAYERS, &e.asking.layers, 0, 0,
         "layers whose attention is scored (default: at 0.55, 0.575, 0.6 and 0.625 of the depth)"},
        {'\0', "score-text", "question|prompt", OPTION_CHOICE, &e.asking.score_text, 0, 0, "what looks at the context (default: question)"},
        OPTION_ROW_KV_TYPE(e.common),
        OPTION_ROW_MAX_SIZE(e.common),
        OPTION_ROWS_ENGINE(e.common),
        OPTION_ROWS_OUTPUT(e.common),
        {0}};
    int first = 0;
    int result = options_parse(&usage, spec, argc, argv, &first);
    if (result != OPTIONS_GO)
        return result;
    if (!e.output)
        return options_wrong(&usage, "where do the records go? Give --output OUT.jsonl");
    if (first + 1 != argc)
        return options_wrong(&usage, first == argc ? "which questions? Name a JSONL file" : "one data file at a time, please");
    result = parse_methods(&usage, &e);
    if (result != CLI_OK)
        return result;

    /* The data and the records first: their faults show before minutes were spent. */
    bool malformed = false;
    result = eval_data_read(argv[first], (size_t)e.limit, &e.data, &malformed);
    if (result == CLI_OK)
        result = eval_records_read(e.output, &e.records);
    if (result == CLI_OK)
        result = session_open(&usage, &e.common, &e.s);
    if (result != CLI_OK)
        goto cleanup;
    e.out = fopen(e.output, "ab");
    if (!e.out) {
        cli_error("cannot write %s: %s", e.output, strerror(errno));
        result = CLI_FAILED;
        goto cleanup;
    }
    for (size_t q = 0; q < e.data.n; q++)
        for (size_t m = 0; m < e.n_methods; m++)
            e.n_to_ask += !is_done(&e, &e.data.question[q], e.method[m]);
    if (!e.common.quiet && e.n_to_ask < e.data.n * e.n_methods)
        cli_note("%zu answers are in %s already", e.data.n * e.n_methods - e.n_to_ask, e.output);
    cli_signals(CLI_SIGNAL_GRACEFUL);
    progress_start(e.common.quiet);
    for (size_t q = 0; q < e.data.n && run_question(&e, &e.data.question[q]); q++)
        ;
    progress_end();
    print_means(&e);
    if (cli_interrupted()) {
        cli_note("interrupted; the same command goes on where this one stopped");
        result = CLI_INTERRUPTED;
    } else if (e.n_failed || malformed) {
        result = CLI_FAILED;
    }
cleanup:
    if (e.out && fclose(e.out) != 0) {
        cli_error("cannot write %s: %s", e.output, strerror(errno));
        result = CLI_FAILED;
    }
    eval_records_free(&e.records);
    eval_data_free(&e.data);
    session_close(&e.s);
    return cli_finish(result);
}
