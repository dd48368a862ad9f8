/* ask_options.c - what `ask` and `chat` share: their options, the documents of the context, and the answer as it comes. */
#include "cli/ask_options.h"

#include "cli/progress.h"
#include "cli/terminal.h"
#include "cli/text.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

ask_options ask_options_default(void) {
    iflow_ask_params params = iflow_ask_default_params();
    return (ask_options){.method = iflow_method_name(params.method),
                         .score = iflow_score_name(params.score),
                         .geometry = iflow_geometry_name(params.geometry),
                         .score_text = "question",
                         .ratio = params.ratio,
                         .drift = "auto",
                         .coverage = params.coverage,
                         .min_ratio = params.min_ratio,
                         .max_ratio = params.max_ratio,
                         .staleness_share = params.staleness_share,
                         .temperature = params.temperature,
                         .max_tokens = params.max_tokens,
                         .seed = params.seed};
}

iflow_status ask_options_params(ask_options *options, const iflow_model_info *model, iflow_ask_params *out) {
    for (size_t i = 0; i < options->layers.n; i++) {
        if (options->layers.fraction[i] >= 0) { /* 0.575 of 40 is 23, though the product may be a little less */
            options->layers.layer[i] = model->score_layer[(int)floor(options->layers.fraction[i] * model->n_layer + 1e-9)];
        }
    }
    *out = iflow_ask_default_params();
    out->system = options->system;
    out->instruction = options->instruction;
    out->ratio = options->ratio;
    out->coverage = options->coverage;
    out->min_ratio = options->min_ratio;
    out->max_ratio = options->max_ratio;
    out->staleness_share = options->staleness_share;
    out->score_layers = options->layers.n ? options->layers.layer : NULL;
    out->n_score_layers = options->layers.n;
    out->score_text = strcmp(options->score_text, "prompt") == 0 ? IFLOW_SCORE_PROMPT : IFLOW_SCORE_QUESTION;
    out->max_tokens = options->max_tokens;
    out->temperature = options->temperature;
    out->seed = options->seed;
    out->reorder = options->reorder;
    out->drift = strcmp(options->drift, "on") == 0 ? IFLOW_ON : strcmp(options->drift, "off") == 0 ? IFLOW_OFF : IFLOW_AUTO;
    iflow_status status = iflow_score_from_name(options->score, &out->score);
    if (!status) {
        status = iflow_geometry_from_name(options->geometry, &out->geometry);
    }
    return status ? status : iflow_method_from_name(options->method, &out->method);
}

/* ---- Choices ------------------------------------------------------------------------------------------------------------------------ */

/* Joins the library's names in a buffer that stays. */
static const char *join(char *buffer, size_t size, const char *(*name_of)(int i)) {
    size_t n = 0;
    for (int i = 0; name_of(i) && n < size; i++) {
        n += (size_t)snprintf(buffer + n, size - n, "%s%s", i ? "|" : "", name_of(i));
    }
    return buffer;
}

static const char *method_name(int i) {
    return iflow_method_name((iflow_method)i);
}

static const char *score_name(int i) {
    return iflow_score_name((iflow_score)i);
}

static const char *geometry_name(int i) {
    return iflow_geometry_name((iflow_geometry)i);
}

const char *ask_methods(void) {
    static char names[512];
    return join(names, sizeof names, method_name);
}

const char *ask_scores(void) {
    static char names[512];
    return join(names, sizeof names, score_name);
}

const char *ask_geometries(void) {
    static char names[512];
    return join(names, sizeof names, geometry_name);
}

/* ---- Contradictions ----------------------------------------------------------------------------------------------------------------- */

static bool is_union(iflow_method method) {
    return method == IFLOW_METHOD_UNION;
}

static bool recomputes_some(iflow_method method) {
    return method != IFLOW_METHOD_FULL && method != IFLOW_METHOD_NONE;
}

static bool reuses(iflow_method method) {
    return method != IFLOW_METHOD_FULL;
}

static bool is_given(iflow_method method) {
    return method == IFLOW_METHOD_GIVEN;
}

static bool any(bool (*uses)(iflow_method), const iflow_method *method, size_t n_methods) {
    bool found = false;
    for (size_t i = 0; i < n_methods; i++) {
        found = found || uses(method[i]);
    }
    return found;
}

/* Options that only some methods use. */
static int check_methods(const command_usage *usage, const ask_options *options, const common_options *common, const iflow_method *method,
                         size_t n_methods) {
    const bool drifts = strcmp(options->drift, "on") == 0, corrects = common->correction && strcmp(common->correction, "none") != 0;
    const struct {
        const char *name, *methods;
        bool (*uses)(iflow_method);
        bool matters;
    } row[] = {{"score", "look at the context from the question", iflow_method_uses_question, true},
               {"geometry", "look at the context from the question", iflow_method_uses_question, true},
               {"reorder", "look at the context from the question", iflow_method_uses_question, true},
               {"score-layers", "look at the context from the question", iflow_method_uses_question, true},
               {"score-text", "look at the context from the question", iflow_method_uses_question, true},
               {"coverage", "score every token", iflow_method_scores, options->coverage > 0},
               {"ratio", "recompute by a ratio", iflow_method_has_ratio, true},
               {"staleness-share", "take staleness's choice and infoflow's together (union)", is_union, true},
               {"drift", "recompute a part of the tokens", recomputes_some, drifts},
               {"correction", "reuse chunks", reuses, corrects}};
    for (size_t i = 0; i < COUNT_OF(row); i++) {
        if (row[i].matters && options_named(row[i].name) && !any(row[i].uses, method, n_methods)) {
            return n_methods == 1
                       ? options_wrong(usage, "--%s goes with methods that %s; --method %s does not", row[i].name, row[i].methods,
                                       iflow_method_name(method[0]))
                       : options_wrong(usage, "--%s goes with methods that %s; none of --methods does", row[i].name, row[i].methods);
        }
    }
    return CLI_OK;
}

int ask_options_check(const command_usage *usage, const ask_options *options, const common_options *common, const iflow_method *method,
                      size_t n_methods) {
    bool by_ratio = false; /* with coverage, too */
    for (size_t i = 0; i < n_methods; i++) {
        by_ratio = by_ratio || (iflow_method_has_ratio(method[i]) && !iflow_method_scores(method[i]));
    }
    if (options->coverage > 0 && options_named("ratio") && !by_ratio) {
        return options_wrong(usage, "--coverage and --ratio exclude one another; --min-ratio and --max-ratio bound coverage");
    }
    if (options->coverage <= 0 && (options_named("min-ratio") || options_named("max-ratio"))) {
        return options_wrong(usage, "--%s goes with --coverage", options_named("min-ratio") ? "min-ratio" : "max-ratio");
    }
    if (options->coverage > 0 && options->min_ratio > options->max_ratio) {
        return options_wrong(usage, "--min-ratio %g is more than --max-ratio %g", options->min_ratio, options->max_ratio);
    }
    if (!options->given && any(is_given, method, n_methods)) {
        return options_wrong(usage, "method given needs positions or scores: `infoflow ask --method given --given FILE`");
    }
    if (options->given && !any(is_given, method, n_methods)) {
        return options_wrong(usage, "--given goes with --method given");
    }
    return check_methods(usage, options, common, method, n_methods);
}

/* ---- Documents ---------------------------------------------------------------------------------------------------------------------- */

typedef struct adding {
    session *s;
    size_t chunk_tokens;
    sources *list;
    context_documents *out;
    int result;
} adding;

static void add_name(context_documents *out, const char *name, size_t n_chunks) {
    out->document = must_realloc(out->document, out->n + 1, sizeof *out->document);
    out->document[out->n++] = (context_document){text_utf8(name, strlen(name)), n_chunks};
}

static void take_chunks(context_documents *out, const char *name, const chunk_list *chunks) {
    add_name(out, name, chunks->n_chunks);
    for (size_t i = 0; i < chunks->n_chunks; i++) {
        must(chunk_list_append(&out->chunks, chunks, i));
    }
}

static bool take_document(document *doc, void *user) {
    adding *a = user;
    chunk_list chunks = {0};
    iflow_status status = document_cut(a->s->model, doc, a->chunk_tokens, &chunks);
    if (status == IFLOW_OK) {
        status = chunk_list_lay(&chunks, a->s->ctx);
    }
    if (status == IFLOW_OK) {
        take_chunks(a->out, doc->name, &chunks);
    } else if (document_may_be_skipped(doc, status)) {
        sources_skip(a->list, doc);
    } else {
        a->result = cli_failed(status, doc->name);
    }
    chunk_list_free(&chunks);
    document_free(doc);
    return a->result == CLI_OK;
}

static int add_stored_document(adding *a, const char *id) {
    iflow_document *doc = NULL;
    int result = CLI_OK;
    iflow_status status = iflow_store_get_document(a->s->store, id, &doc);
    if (status != IFLOW_OK) {
        return cli_failed(status, NULL);
    }
    if (strcmp(doc->fingerprint, a->s->info.fingerprint) != 0) {
        cli_error("%s (%s) was ingested with another model, or by a version before 0.2; ingest it with this one", id, doc->name);
        result = CLI_FAILED;
    }
    for (size_t i = 0; result == CLI_OK && i < doc->n_chunks; i++) {
        status = iflow_context_add_chunk(a->s->ctx, doc->chunk_id[i]);
        if (status != IFLOW_OK) {
            result = cli_failed(status, doc->name);
        }
    }
    if (result == CLI_OK) {
        add_name(a->out, doc->name, doc->n_chunks);
    }
    iflow_document_free(doc);
    return result;
}

static int add_stored(adding *a, const char *operand) {
    char id[IFLOW_ID_SIZE];
    bool is_document = false;
    if (!a->s->store) {
        cli_error("%s: no such file, and without a store no id", operand);
        return CLI_FAILED;
    }
    iflow_status status = iflow_store_resolve(a->s->store, operand, id, &is_document);
    if (status == IFLOW_E_NOT_FOUND ||
        (status == IFLOW_E_ARG && (strlen(operand) < 4 || strspn(operand, "0123456789abcdefABCDEF") != strlen(operand)))) {
        cli_error("%s: no such file, and no document or chunk of the store %s has this id", operand, a->s->store_dir);
        return CLI_FAILED;
    }
    if (status != IFLOW_OK) {
        return cli_failed(status, operand);
    }
    if (is_document) {
        return add_stored_document(a, id);
    }
    status = iflow_context_add_chunk(a->s->ctx, id);
    if (status != IFLOW_OK) {
        return cli_failed(status, operand);
    }
    char *name = text_format("chunk %s", id);
    add_name(a->out, name, 1);
    free(name);
    return CLI_OK;
}

int context_documents_add(session *s, const common_options *options, bool jsonl, char **operands, size_t n, context_documents *out) {
    adding a = {.s = s, .chunk_tokens = session_chunk_tokens(options), .out = out, .result = CLI_OK};
    for (size_t i = 0; i < n && a.result == CLI_OK; i++) {
        struct stat file;
        if (strcmp(operands[i], "-") != 0 && stat(operands[i], &file) != 0) {
            a.result = add_stored(&a, operands[i]);
            continue;
        }
        sources list = {.lenient = true};
        a.list = &list;
        sources_add(&list, operands[i]);
        sources_read(&list, jsonl, take_document, &a);
        if (list.n_failed) { /* an answer over fewer documents than were named would mislead */
            a.result = CLI_FAILED;
        }
        sources_free(&list);
    }
    return a.result;
}

void context_documents_free(context_documents *documents) {
    for (size_t i = 0; i < documents->n; i++) {
        free(documents->document[i].name);
    }
    free(documents->document);
    chunk_list_free(&documents->chunks);
    *documents = (context_documents){0};
}

/* ---- Whether it fits ---------------------------------------------------------------------------------------------------------------- */

/* Counts the tokens of a text; NULL has none. */
static iflow_status count(const iflow_model *model, const char *string, size_t *n) {
    int32_t *token = NULL;
    const iflow_status status = string ? iflow_tokenize(model, string, strlen(string), false, &token, n) : IFLOW_OK;
    iflow_free(token);
    return status;
}

/* Asks over one token, in a context that is smaller by all others: the library refuses it if and only if it would refuse them. Costs a pass
 * over the prompt. */
static iflow_status ask_in_less(const session *s, const common_options *options, const chunk_list *chunks, const iflow_ask_params *params,
                                size_t n_ctx) {
    iflow_context *ctx = NULL;
    iflow_answer *answer = NULL;
    iflow_ask_params probe = *params;
    probe.method = IFLOW_METHOD_NONE;
    probe.drift = probe.correct = IFLOW_OFF;
    probe.max_tokens = 1;
    probe.on_text = NULL;
    const iflow_context_params small = {
        .n_ctx = (int)n_ctx, .n_ubatch = options->ubatch, .n_threads = options->threads, .fillers = IFLOW_NO_FILLERS};
    iflow_status status = iflow_context_new(s->model, NULL, &small, &ctx);
    if (status == IFLOW_OK) {
        status = iflow_context_add_tokens(ctx, chunks->token, 1);
    }
    if (status == IFLOW_OK) {
        status = iflow_context_ask(ctx, &probe, &answer);
    }
    iflow_answer_free(answer);
    iflow_context_free(ctx);
    return status;
}

iflow_status context_fits(const session *s, const common_options *options, const chunk_list *chunks, const iflow_ask_params *params,
                          char **why) {
    enum { AROUND = 512 }; /* what templates and the general instruction have at most */
    const size_t n_ctx = (size_t)(options->ctx ? options->ctx : s->info.n_ctx_train);
    const size_t n = chunks->n_chunks ? chunks->start[chunks->n_chunks] : 0;
    size_t n_question = 0, n_system = 0, n_instruction = 0;
    iflow_status status = count(s->model, params->question, &n_question);
    if (status == IFLOW_OK) {
        status = count(s->model, params->system, &n_system);
    }
    if (status == IFLOW_OK) {
        status = count(s->model, params->instruction, &n_instruction);
    }
    if (status != IFLOW_OK || n + n_question + n_system + n_instruction + AROUND < n_ctx || n == 0) {
        return status;
    }
    if (n + n_question < n_ctx) { /* it is close: how long head and prompt are exactly, the library knows */
        status = ask_in_less(s, options, chunks, params, n_ctx - n + 1);
    } else {
        status = IFLOW_E_CONTEXT;
    }
    if (status == IFLOW_E_CONTEXT) {
        *why = text_format("%zu tokens of passages and %zu of the question, with what stands around them, are more than the context of %zu "
                           "holds; leave out passages%s",
                           n, n_question, n_ctx, options->ctx ? ", or give a greater --ctx" : "");
    }
    return status;
}

bool context_is_kept(const session *s, const common_options *options, const chunk_list *chunks, size_t n_contexts) {
    enum { A_TOKEN = 16, A_FILE = 4096, HEAD = 64 }; /* bytes besides the KV, at most; tokens of the head, about */
    const size_t n_tokens = HEAD + (chunks->n_chunks ? chunks->start[chunks->n_chunks] : 0);
    const iflow_model_info *m = &s->info;
    const uint64_t n_values = 2 * (uint64_t)m->n_layer * (uint64_t)m->n_head_kv * (uint64_t)m->n_embd_head; /* K and V of a token */
    const uint64_t n_kv = options->kv_type && strcmp(options->kv_type, "q8_0") == 0 ? n_values / 32 * 34 : n_values * 2;
    return !s->store || !options->max_bytes ||
           options->max_bytes / n_contexts >= n_tokens * (n_kv + A_TOKEN) + (chunks->n_chunks + 1) * A_FILE;
}

/* ---- The answer as it comes --------------------------------------------------------------------------------------------------------- */

void stream_waiting(const context_documents *documents, bool off) {
    size_t n = 0;
    for (size_t i = 0; i < documents->n; i++) {
        n += documents->document[i].n_chunks;
    }
    char *what = text_format("reading %s chunk%s", human_count(n), plural(n));
    progress_start(off);
    progress_show(-1, -1, what, "");
    free(what);
}

bool stream_text(const char *piece, void *user) {
    stream *out = user;
    progress_end();
    if (!out->silent && piece[0]) {
        char *clean = text_utf8(piece, strlen(piece)); /* a model can say bytes that are no characters */
        out->last = clean[strlen(clean) - 1];
        out->failed = !print_text(stdout, clean) || fflush(stdout) == EOF;
        free(clean);
    }
    return !out->failed && !cli_interrupted();
}

void stream_end(stream *out) {
    if (!out->silent && out->last != '\n') {
        putchar('\n');
    }
    fflush(stdout);
}
