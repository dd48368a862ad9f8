/* eval.c - `infoflow eval`: methods and ratios on a question set, by the paper's protocol or as `infoflow ask` asks. */
#include "lab/lab.h"

#include "cli/output.h"
#include "cli/progress.h"
#include "cli/text.h"
#include "lab/eval_report.h"
#include "lab/eval_run.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* The paper's prompt is this, the question and "Answer:", which the library's own prompt puts after an instruction. There is no system
 * message, though the template may have one. Protocol `chat` is what `infoflow ask` does: the library's instruction unless another is
 * given, and as many tokens. */
static const char paper_instruction[] =
    "Answer the question based on the given passages. Only give me the answer and do not output any other words. "
    "The answer should be within 5 words.";

static const command_usage usage = {
    "eval", "-m MODEL -o OUT [OPTION]... {DATA.jsonl|--needle LENGTHS}",
    "Asks the questions of a data set with several methods and prints how good and\n"
    "how fast the answers are. Each passage is a chunk.\n"
    "\n"
    "F1 and exact match are computed from what an answer comes to, as SQuAD does; containment tells whether its text contains a "
    "correct answer.\n"
    "\n"
    "A line of the data is {\"id\", \"question\", \"answers\": [...], \"passages\": [...]}, or LongBench's {\"_id\", \"input\", "
    "\"answers\", \"context\"}. Such a context is split where lines begin with \"Passage 1:\", \"Passage 2:\" and so on; without "
    "these it is cut at paragraph ends into chunks of --chunk tokens. With --needle, a long text has a number at some place, and "
    "the question is for that number. Passages are prefilled before the time is taken.\n"
    "\n"
    "Protocol `paper` is that of the paper: the model's chat template without a system message, an instruction to answer within "
    "5 words, always the most likely token, at most 32 tokens. Protocol `chat` asks as `infoflow ask` does: at most 256 tokens, "
    "with --system and --instruction.\n"
    "\n"
    "Writes one JSON record for each question, method and ratio. Prints means with 95% bootstrap intervals, and the differences "
    "to full prefill, paired by question. A question is not asked again if the output file has a record of it with the same "
    "passages, answers and settings; so you can repeat an interrupted command. Records of earlier versions do not contain "
    "these: they stay, and their questions are asked again.",
    "  infoflow eval -m model.gguf --methods full,infoflow -o out.jsonl hotpot.jsonl"};

/* Makes the needles, unless they do not fit the context. */
static int make_needles(eval *e) {
    enum { AROUND = 128 }; /* tokens of a chat template and of a needle's question, at most */
    const char *const given[] = {e->how.set.system, e->how.set.instruction};
    size_t n_around = AROUND + (size_t)e->how.set.max_tokens;
    for (size_t i = 0; i < COUNT_OF(given); i++) {
        int32_t *token = NULL;
        size_t n = 0;
        const iflow_status status = given[i] ? iflow_tokenize(e->s.model, given[i], strlen(given[i]), false, &token, &n) : IFLOW_OK;
        iflow_free(token);
        n_around += n;
        if (status != IFLOW_OK) {
            return cli_failed(status, i ? "--instruction" : "--system");
        }
    }
    const int result = needle_grid_check(&e->grid, e->common.ctx ? e->common.ctx : e->s.info.n_ctx_train, n_around);
    return result == CLI_OK ? eval_needles_make(e->s.model, &e->grid, (size_t)e->limit, &e->data) : result;
}

/* Which of the data are asked: the first of them up to the limit, of these those of the shard; they get their distractors and order. */
static int choose_questions(eval *e, size_t shard, size_t n_shards) {
    const bool limited = e->limit && !e->needle && (size_t)e->limit < e->data.n; /* needles: there are no more */
    const size_t n = limited ? (size_t)e->limit : e->data.n;
    e->question = must_alloc(n ? n : 1, sizeof *e->question);
    for (size_t q = shard - 1; q < n; q += n_shards) {
        if (e->distractors && eval_data_add_distractors(&e->data, q, (size_t)e->distractors) != CLI_OK) {
            return CLI_FAILED;
        }
        e->question[e->n_questions++] = &e->data.question[q];
    }
    for (size_t q = shard - 1; q < n; q += n_shards) { /* now that distractors are drawn */
        if (e->shuffle) {
            eval_question_shuffle(&e->data.question[q], e->shuffle);
        }
        eval_question_digest(&e->data.question[q]);
    }
    return CLI_OK;
}

static int parse_shard(const char *given, size_t *shard, size_t *n_shards) {
    char end = '\0';
    unsigned i = 1, n = 1;
    /* A sign is no digit, though sscanf takes it. */
    if (given && (strspn(given, "0123456789/") != strlen(given) || strlen(given) > 15 || sscanf(given, "%7u/%7u%c", &i, &n, &end) != 2 ||
                  i < 1 || i > n)) {
        return options_wrong(&usage, "--shard takes a part and the number of parts, like 1/4, not '%s'", given);
    }
    *shard = i;
    *n_shards = n;
    return CLI_OK;
}

/* Prints the summary and writes the page, where one is wanted. */
static int summarise(const eval *e, int argc, char *const *argv) {
    int result = CLI_OK;
    eval_series *series = must_alloc(e->n_variants, sizeof *series);
    for (size_t v = 0; v < e->n_variants; v++) {
        series[v] = (eval_series){iflow_method_name(e->variant[v].method), e->variant[v].ratio, NULL};
        series[v].record = must_alloc(e->n_questions, sizeof *series[v].record);
        for (size_t q = 0; q < e->n_questions; q++) {
            series[v].record[q] = eval_record_of(e, e->question[q], &e->variant[v]);
        }
    }
    eval_summary summary = eval_summary_make(series, e->n_variants, e->n_questions);
    eval_summary_print(&summary);
    eval_summary_print_verified(&summary, e->gate.least);
    if (e->report && (result = output_check("--report", e->report, OUTPUT_PAGE)) == CLI_OK) { /* again: a file may have come there */
        result = eval_report_write(&(eval_report){.path = e->report,
                                                  .data_path = e->data.path,
                                                  .argc = argc,
                                                  .argv = argv,
                                                  .s = &e->s,
                                                  .question = e->question,
                                                  .chunk_tokens = cli_session_chunk_tokens(&e->common)},
                                   &summary);
    }
    eval_summary_free(&summary);
    for (size_t v = 0; v < e->n_variants; v++) {
        free(series[v].record);
    }
    free(series);
    return result;
}

static int parse_variants(eval *e) {
    e->n_variants = 0;
    const iflow_correction_info *corrected = e->s.model ? &e->s.corrected : NULL;
    return eval_variants_parse(&usage, e->methods, e->ratios, &e->how, e->common.fillers, corrected, e->variant, &e->n_variants);
}

/* Options that none of the methods uses. */
static int check_methods(eval *e) {
    iflow_method method[EVAL_MAX_VARIANTS];
    for (size_t v = 0; v < e->n_variants; v++) {
        method[v] = e->variant[v].method;
    }
    if (e->gate.share > 0 && e->n_variants == 1 && method[0] == IFLOW_METHOD_FULL) {
        return options_wrong(&usage, "--verify checks against full prefill, which is the only method");
    }
    return ask_options_check(&usage, &e->how, &e->common, method, e->n_variants);
}

/* Takes methods and ratios, too, from the profile; those given were parsed before the model was loaded. */
static int use_profile(eval *e, const profile_options *wanted, char **methods, char **ratios) {
    const int result = profile_use(wanted, &e->s.info, &e->common, &e->how, &e->profile);
    if (result != CLI_OK || !e->profile.path) {
        return result;
    }
    if (!e->common.quiet) {
        cli_note("using the profile %s", e->profile.path);
    }
    *methods = text_format("full,none,%s", iflow_method_name(e->profile.method));
    *ratios = text_format("%g", e->profile.ratio);
    e->methods = options_given(&e->methods) ? e->methods : *methods;
    e->ratios = options_given(&e->ratios) ? e->ratios : *ratios;
    return CLI_OK;
}

static int parse_options(eval *e, profile_options *profiling, int argc, char **argv, int *first) {
    const option_spec spec[] = {
        OPTION_ROW_MODEL(e->common),
        OPTION_ROW_STORE(e->common),
        {'o', "output", "FILE", OPTION_TEXT, &e->output, 0, 0, "file of the records, one a line"},
        {'\0', "methods", "LIST", OPTION_TEXT, &e->methods, 0, 0,
         "methods (default: full,none,infoflow)\nSeparate them by commas; `infoflow methods` lists them. Settings can follow a method: "
         "infoflow:vatp+hl-tp+reorder+fillers=0"},
        {'r', "ratio", "LIST", OPTION_TEXT, &e->ratios, 0, 0,
         "shares of tokens to recompute (default: 0.15)\nSeparate them by commas. A method without a ratio runs once"},
        {'\0', "protocol", "paper|chat", OPTION_CHOICE, &e->protocol, 0, 0, "how questions are asked (default: paper)"},
        {'\0', "limit", "N", OPTION_INT, &e->limit, 1, 1e9,
         "only the first N questions (default: all)\nOf needles: the first N lengths and depths"},
        {'\0', "fidelity", NULL, OPTION_FLAG, &e->fidelity, 0, 0,
         "also measure the nearness to full prefill\nThat is, over the answer of full prefill, the mean KL divergence and the agreement on "
         "the most likely token"},
        {'\0', "report", "FILE", OPTION_TEXT, &e->report, 0, 0,
         "also write a page with tables and charts\nIt shows the tokens of every question, too. To get it of a finished run, repeat the "
         "command"},
        OPTION_ROW_QUIET(e->common),
        {0, NULL, NULL, OPTION_FLAG, NULL, 0, 0, "Questions"},
        {'\0', "needle", "LENGTHS", OPTION_TEXT, &e->needle, 0, 0,
         "no data set, but needles: texts of these lengths in tokens, separated by commas, each with every one of --depths"},
        {'\0', "depths", "LIST", OPTION_TEXT, &e->depths, 0, 0,
         "places of needles, from 0 at the beginning to 1 at the end (default: 0,0.25,0.5,0.75,1)"},
        {'\0', "repeat", "N", OPTION_INT, &e->grid.repeat, 1, 1000, "needles for each length and depth (default: 1)"},
        {'\0', "shard", "I/N", OPTION_TEXT, &e->shard, 0, 0,
         "only part I of N: every N-th question from the I-th on. Give each part its own --output. The files put together give the "
         "whole table"},
        {'\0', "distractors", "N", OPTION_INT, &e->distractors, 0, 1e6,
         "add to each question N passages of other questions, the same ones every time (default: 0)"},
        {'\0', "shuffle", "N", OPTION_SEED, &e->shuffle, 0, 0,
         "put the passages of each question, with its distractors, into another order; the same N gives the same order (default: 0, the "
         "order of the data)"},
        {0, NULL, NULL, OPTION_FLAG, NULL, 0, 0, "What is recomputed"},
        OPTION_ROWS_REPAIR(e->how),
        OPTION_ROW_CORRECTION(e->common),
        OPTION_ROWS_PROFILE(*profiling),
        OPTION_ROWS_VERIFY(e->gate, ". The question decides whether an answer is compared; 1: all are"),
        {0, NULL, NULL, OPTION_FLAG, NULL, 0, 0, "Answer"},
        {'\0', "system", "TEXT", OPTION_WORDS, &e->how.set.system, 0, 0,
         "protocol chat: system message; \"\" is none (default: that of the model's chat template, if it has one)"},
        {'\0', "instruction", "TEXT", OPTION_WORDS, &e->how.set.instruction, 0, 0,
         "protocol chat: text before the question (default: a general instruction)"},
        {'n', "max-tokens", "N", OPTION_INT, &e->how.set.max_tokens, 1, 1 << 20,
         "most tokens of an answer (default: 32; protocol chat: 256)"},
        {'\0', "temp", "T", OPTION_REAL, &e->how.set.temperature, 0, 100,
         "temperature of sampling; 0 always takes the most likely token (default: 0)"},
        {'\0', "seed", "N", OPTION_SEED, &e->how.set.seed, 0, 0, "seed of needles, of method random and of sampling (default: 0)"},
        {0, NULL, NULL, OPTION_FLAG, NULL, 0, 0, "Documents and store"},
        {'\0', "chunk", "N", OPTION_INT, &e->common.chunk, 1, 1 << 24,
         "most tokens of a chunk of a context that has no passages (default: 512)"},
        OPTION_ROWS_PREFILL(e->common),
        OPTION_ROW_NO_STORE(e->common),
        OPTION_ROW_MAX_SIZE(e->common),
        OPTION_ROW_KV_TYPE(e->common),
        {0, NULL, NULL, OPTION_FLAG, NULL, 0, 0, "Computing"},
        OPTION_ROWS_ENGINE(e->common),
        OPTION_ROW_VERBOSE(e->common),
        {0}};
    return options_parse(&usage, spec, argc, argv, first);
}

/* Options that do not go together, and what one leaves open that another decides. operand: of n_operands, the first. */
static int check_options(eval *e, const char *operand, int n_operands) {
    if (!e->output) {
        return options_wrong(&usage, "where do the records go? Give --output OUT.jsonl");
    }
    if (strcmp(e->output, "-") == 0) {
        return options_wrong(&usage, "--output writes to a file, not to standard output: give its name (./- is a file of the name -)");
    }
    if (e->needle && (n_operands > 0 || e->distractors || e->shuffle)) {
        return options_wrong(&usage, "--needle makes questions and texts of its own; leave out %s",
                             n_operands > 0   ? operand
                             : e->distractors ? "--distractors"
                                              : "--shuffle");
    }
    if (!e->needle && (e->depths || e->grid.repeat)) {
        return options_wrong(&usage, "--%s goes with --needle", e->depths ? "depths" : "repeat");
    }
    if (!e->needle && n_operands != 1) {
        return options_wrong(&usage, n_operands == 0 ? "which questions? Name a JSONL file, or give --needle LENGTHS"
                                                     : "one data file at a time, please");
    }
    if (!eval_is_chat(e) && (e->how.set.system || e->how.set.instruction)) {
        return options_wrong(&usage, "--%s goes with --protocol chat; the paper's protocol has its own",
                             e->how.set.system ? "system" : "instruction");
    }
    if (!eval_is_chat(e)) {
        e->how.set.instruction = paper_instruction;
        e->how.set.system = "";
    }
    if (!e->how.set.max_tokens) {
        e->how.set.max_tokens = eval_default_tokens(e);
    }
    return gate_check(&usage, &e->gate, NULL);
}

/* Parses what lists and shares say: faults show at once; a profile may still change methods and ratios. */
static int parse_lists(eval *e, size_t *shard, size_t *n_shards) {
    e->grid.seed = e->how.set.seed;
    e->grid.repeat = e->grid.repeat ? e->grid.repeat : 1;
    int result = e->needle ? needle_grid_parse(&usage, e->needle, e->depths ? e->depths : "0,0.25,0.5,0.75,1", &e->grid) : CLI_OK;
    if (result == CLI_OK) {
        result = parse_variants(e);
    }
    if (result == CLI_OK) {
        result = check_methods(e);
    }
    return result == CLI_OK ? parse_shard(e->shard, shard, n_shards) : result;
}

/* The files come before the model: their faults show before minutes were spent. data_path: NULL with needles. */
static int read_files(eval *e, const char *data_path, size_t shard, size_t n_shards, bool *malformed) {
    int result = CLI_OK;
    if (data_path && same_place(data_path, e->output)) {
        cli_error("--output %s is the data itself; give the records a file of their own", e->output);
        return CLI_FAILED;
    }
    if (e->report) {
        result = eval_report_check(e->report, data_path, e->output);
    }
    if (result == CLI_OK && data_path) {
        result = eval_data_read(data_path, e->distractors ? 0 : (size_t)e->limit, &e->data, malformed);
    }
    if (result == CLI_OK && data_path) {
        result = choose_questions(e, shard, n_shards);
    }
    return result == CLI_OK ? eval_records_read(e->output, &e->records) : result;
}

/* Loads the model, takes from its profile what was not given, and opens contexts. methods, ratios: what the profile gave, for free(). */
static int open_model(eval *e, const profile_options *profiling, char **methods, char **ratios) {
    int result = cli_session_load_model(&usage, &e->common, &e->s);
    if (result == CLI_OK) {
        result = use_profile(e, profiling, methods, ratios);
    }
    if (result == CLI_OK) {
        result = cli_session_open_without_context(&usage, &e->common, &e->s);
    }
    if (result == CLI_OK && !e->common.quiet) {
        profile_warn_correction(&e->profile, &e->s);
    }
    if (result == CLI_OK) {
        result = parse_variants(e);
    }
    if (result == CLI_OK) {
        result = eval_open_contexts(e);
    }
    const iflow_status status = result == CLI_OK ? ask_settings_params(&e->how.set, &e->s.info, &e->params) : IFLOW_OK;
    return status == IFLOW_OK ? result : cli_failed(status, NULL);
}

/* Asks what has no record yet, and sums up. */
static int ask_all(eval *e, int argc, char **argv) {
    int result = eval_records_append(e->output, &e->out);
    if (result != CLI_OK) {
        return result;
    }
    for (size_t q = 0; q < e->n_questions; q++) {
        for (size_t v = 0; v < e->n_variants; v++) {
            e->n_to_ask += !eval_record_of(e, e->question[q], &e->variant[v]);
        }
    }
    if (!e->common.quiet && e->n_to_ask < e->n_questions * e->n_variants) {
        cli_note("%zu answers are in %s already", e->n_questions * e->n_variants - e->n_to_ask, e->output);
    }
    cli_signals(CLI_SIGNAL_GRACEFUL);
    progress_start(e->common.quiet);
    for (size_t q = 0; q < e->n_questions && eval_run_question(e, e->question[q]); q++) {
        ;
    }
    progress_end();
    result = summarise(e, argc, argv);
    if (cli_interrupted()) {
        cli_note("interrupted; the same command goes on where this one stopped");
        return CLI_INTERRUPTED;
    }
    return e->n_failed ? CLI_FAILED : result;
}

static int close_all(eval *e, int result) {
    if (e->out && fclose(e->out) != 0) {
        cli_error("cannot write %s: %s", e->output, strerror(errno));
        result = CLI_FAILED;
    }
    eval_records_free(&e->records);
    free(e->question);
    eval_data_free(&e->data);
    profile_free(&e->profile);
    for (size_t c = 0; c < COUNT_OF(e->ctx); c++) {
        iflow_context_free(e->ctx[c]);
    }
    session_close(&e->s);
    return result;
}

int lab_eval(int argc, char **argv) {
    static eval e = {.methods = "full,none,infoflow", .ratios = "0.15", .protocol = "paper"}; /* too much for a small stack */
    profile_options profiling = {0};
    char *methods = NULL, *ratios = NULL; /* of a profile */
    size_t shard = 1, n_shards = 1;
    bool malformed = false;
    int first = 0;
    e.common = common_options_for_questions();
    e.how = ask_options_default();
    e.gate = gate_default();
    e.how.set.max_tokens = 0; /* the protocol's */
    int result = parse_options(&e, &profiling, argc, argv, &first);
    if (result != OPTIONS_GO) {
        return result;
    }
    if ((result = check_options(&e, argv[first], argc - first)) != CLI_OK || (result = parse_lists(&e, &shard, &n_shards)) != CLI_OK) {
        return result;
    }
    result = read_files(&e, e.needle ? NULL : argv[first], shard, n_shards, &malformed);
    if (result == CLI_OK) {
        result = open_model(&e, &profiling, &methods, &ratios);
    }
    if (result == CLI_OK && e.needle) { /* their lengths are in tokens of the model */
        result = make_needles(&e);
    }
    if (result == CLI_OK && e.needle) {
        result = choose_questions(&e, shard, n_shards);
    }
    if (result == CLI_OK) {
        result = ask_all(&e, argc, argv);
    }
    if (result == CLI_OK && malformed) {
        result = CLI_FAILED;
    }
    result = close_all(&e, result);
    free(methods);
    free(ratios);
    return cli_finish(result);
}
