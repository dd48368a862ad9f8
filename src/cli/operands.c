/* operands.c - documents as a command line names them: read by the service, and what cannot be used is said. */
#include "cli/operands.h"

#include "cli/text.h"

#include <string.h>

/* Lines on what is passed over; more of them are counted. */
enum { MAX_NOTICES = 20 };

static void say(const source_notice *what, void *user) {
    notices *said = user;
    if (what->kind == SOURCE_HIDDEN) {
        cli_note("%s: %s hidden file%s skipped", what->name, human_count(what->n), plural(what->n));
    } else if (what->kind == SOURCE_FAILED && (what->named || !said->goes_on)) {
        cli_error("%s: %s", what->name, what->why);
    } else if (++said->n > MAX_NOTICES) {
        return;
    } else if (what->kind == SOURCE_FAILED) {
        cli_error("warning: %s: skipped, %s", what->name, what->why);
    } else {
        cli_note("%s: skipped, %s", what->name, what->why);
    }
}

source_events notices_events(notices *said) {
    return (source_events){.notice = say, .user = said};
}

void notices_end(const notices *said) {
    if (said->n > MAX_NOTICES) {
        cli_note("%s more skipped", human_count(said->n - MAX_NOTICES));
    }
}

int operands_check(const command_usage *usage, char *const *operands, size_t n) {
    size_t n_stdin = 0;
    for (size_t i = 0; i < n; i++) {
        n_stdin += strcmp(operands[i], "-") == 0;
    }
    return n_stdin > 1 ? options_wrong(usage, "- is standard input, which can be read once") : CLI_OK;
}

/* The exit status of a gathering. What was named and could not be used was said, each. */
static int result_of(iflow_status status, const context_documents *out) {
    return status == IFLOW_OK ? CLI_OK : status == IFLOW_E_FORMAT && out->n_failed_named ? CLI_FAILED : cli_failed(status, NULL);
}

int context_documents_add(session *s, const common_options *options, bool jsonl, char **operands, size_t n, context_documents *out) {
    notices said = {.goes_on = true};
    const gathering from = {.model = s->model,
                            .ctx = s->ctx,
                            .store = s->store,
                            .store_name = s->store_dir,
                            .chunk_tokens = cli_session_chunk_tokens(options),
                            .jsonl = jsonl,
                            .events = notices_events(&said)};
    iflow_status status = IFLOW_OK;
    for (size_t i = 0; i < n && status == IFLOW_OK; i++) {
        status = gather(&from, operands[i], out);
    }
    notices_end(&said);
    return result_of(status, out);
}

int operands_chunks(const iflow_model *model, size_t chunk_tokens, bool jsonl, char **operands, size_t n, chunk_list *out) {
    notices said = {.goes_on = true};
    context_documents documents = {0};
    const gathering from = {.model = model, .chunk_tokens = chunk_tokens, .jsonl = jsonl, .events = notices_events(&said)};
    const iflow_status status = gather_sources(&from, (const char *const *)operands, n, &documents);
    notices_end(&said);
    int result = result_of(status, &documents);
    *out = documents.chunks;
    documents.chunks = (chunk_list){0};
    context_documents_free(&documents);
    if (result == CLI_OK && out->n_chunks < 2) {
        cli_error("the documents are %zu chunk%s; caches are put together from 2 on. Give more documents, or a smaller --chunk",
                  out->n_chunks, plural(out->n_chunks));
        result = CLI_FAILED;
    }
    return result;
}
