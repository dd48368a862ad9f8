/* documents.c - documents from files, directories, JSONL and standard input, and the chunks that they are cut into. */
#include "cli/documents.h"

#include "cli/input.h"

#include <dirent.h>
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <time.h>

/* ---- Documents ---------------------------------------------------------------------------------------------------------------------- */

void document_free(document *doc) {
    if (!doc) {
        return;
    }
    for (size_t i = 0; i < doc->n_parts; i++) {
        free(doc->part[i]);
    }
    free(doc->part);
    free(doc->part_bytes);
    free(doc->name);
    free(doc->source);
    free(doc);
}

static document *document_new(char *name, size_t n_parts) {
    document *doc = must_alloc(1, sizeof *doc);
    doc->name = name;
    doc->part = must_alloc(n_parts, sizeof *doc->part);
    doc->part_bytes = must_alloc(n_parts, sizeof *doc->part_bytes);
    return doc;
}

static void document_add(document *doc, char *part, size_t n_bytes) {
    doc->part[doc->n_parts] = part;
    doc->part_bytes[doc->n_parts++] = n_bytes;
}

/* One text; it ends in an empty line, as the library's own iflow_context_add_text has it, so that the next document begins a paragraph. */
static document *document_of_text(char *name, text *content) {
    document *doc = document_new(name, 1);
    if (content->n < 2 || content->text[content->n - 1] != '\n') {
        text_puts(content, "\n\n");
    } else if (content->text[content->n - 2] != '\n') {
        text_puts(content, "\n");
    }
    document_add(doc, content->text, content->n);
    *content = (text){0};
    return doc;
}

char *passage_text(size_t i, const char *passage) {
    return text_format("Passage %zu:\n%s\n", i, passage);
}

/* ---- Chunks ------------------------------------------------------------------------------------------------------------------------- */

/* Computes the KV of chunk i, unless it is stored. IFLOW_E_BUSY: another process does. */
static iflow_status prefill_chunk(const chunk_list *chunks, size_t i, iflow_context *ctx) {
    char id[1][IFLOW_ID_SIZE];
    bool was_stored = false;
    return iflow_context_prefill(ctx, chunks->token, chunks->start + i, 1, id, &was_stored);
}

iflow_status document_chunks_prefill(const chunk_list *chunks, iflow_context *ctx) {
    size_t first = 0; /* the longest: what is refused because of its length is refused before anything was computed in vain */
    for (size_t i = 1; i < chunks->n_chunks; i++) {
        first = chunk_list_length(chunks, i) > chunk_list_length(chunks, first) ? i : first;
    }
    /* All are asked for before any is waited for: the library's patience with each begins then, and ends for all at about the same time. */
    bool *busy = must_alloc(chunks->n_chunks + 1, sizeof *busy);
    iflow_status status = IFLOW_OK;
    for (size_t n = 0; n < chunks->n_chunks && (status == IFLOW_OK || status == IFLOW_E_BUSY) && !cli_interrupted(); n++) {
        const size_t i = n == 0 ? first : n <= first ? n - 1 : n;
        status = prefill_chunk(chunks, i, ctx);
        busy[i] = status == IFLOW_E_BUSY;
    }
    status = status == IFLOW_E_BUSY ? IFLOW_OK : status;
    for (size_t i = 0; i < chunks->n_chunks && status == IFLOW_OK && !cli_interrupted();) {
        status = busy[i] ? prefill_chunk(chunks, i, ctx) : IFLOW_OK;
        if (status == IFLOW_E_BUSY) {
            nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
            status = IFLOW_OK;
        } else {
            i++;
        }
    }
    free(busy);
    return cli_interrupted() ? IFLOW_E_CANCELLED : IFLOW_OK;
}

static iflow_status cut_text(const iflow_model *model, const char *part, size_t n_bytes, size_t chunk_tokens, chunk_list *out) {
    iflow_pieces *pieces = NULL;
    iflow_status status = iflow_cut(model, part, n_bytes, chunk_tokens, &pieces);
    if (status != IFLOW_OK) {
        return status;
    }
    /* All tokens at once: thousands of pieces must not copy what was there thousands of times. */
    out->token = must_alloc(pieces->n_tokens, sizeof *out->token);
    out->start = must_alloc(pieces->n_pieces + 1, sizeof *out->start);
    for (size_t i = 0; i < pieces->n_pieces; i++) {
        const iflow_piece *piece = &pieces->piece[i];
        memcpy(out->token + out->start[i], pieces->token + piece->token_start, piece->n_tokens * sizeof *out->token);
        out->start[i + 1] = out->start[i] + piece->n_tokens;
    }
    out->n_chunks = pieces->n_pieces;
    iflow_pieces_free(pieces);
    return IFLOW_OK;
}

iflow_status document_cut(const iflow_model *model, const document *doc, size_t chunk_tokens, chunk_list *out) {
    *out = (chunk_list){0};
    if (!doc->passages) {
        return cut_text(model, doc->part[0], doc->part_bytes[0], chunk_tokens, out);
    }
    for (size_t i = 0; i < doc->n_parts; i++) {
        int32_t *tokens = NULL;
        size_t n = 0;
        iflow_status status = iflow_tokenize(model, doc->part[i], doc->part_bytes[i], false, &tokens, &n);
        if (status != IFLOW_OK) {
            chunk_list_free(out);
            return status;
        }
        must(chunk_list_add(out, tokens, n));
        iflow_free(tokens);
    }
    return IFLOW_OK;
}

/* ---- Sources ------------------------------------------------------------------------------------------------------------------------ */

static void add_source(sources *list, const char *path, uint64_t n_bytes, bool named) {
    list->source = must_realloc(list->source, list->n + 1, sizeof *list->source);
    list->source[list->n++] = (source){text_format("%s", path), n_bytes, named};
    list->n_bytes += n_bytes;
}

void sources_free(sources *list) {
    for (size_t i = 0; i < list->n; i++) {
        free(list->source[i].path);
    }
    free(list->source);
    *list = (sources){0};
}

static void failed(sources *list, const char *path, const char *why) {
    cli_error("%s: %s", path, why);
    list->n_failed++;
}

/* Notes on what was skipped; more of them are counted. */
enum { MAX_NOTES = 20 };

static void skipped(sources *list, const char *path, const char *why) {
    if (!list->lenient || ++list->n_noted <= MAX_NOTES) {
        cli_note("%s: skipped, %s", path, why);
    }
    list->n_skipped++;
}

/* What was found in a directory may be anything; what the user named should have been a document. */
static void unusable(sources *list, bool named, const char *path, const char *why) {
    if (named || !list->lenient) {
        failed(list, path, why);
    } else {
        skipped(list, path, why);
    }
}

bool document_is_at_fault(iflow_status status) {
    return status == IFLOW_E_FORMAT || status == IFLOW_E_ARG || status == IFLOW_E_CONTEXT || status == IFLOW_E_NOT_FINITE ||
           status == IFLOW_E_UNSUPPORTED;
}

bool document_may_be_skipped(const document *doc, iflow_status status) {
    return doc->found && document_is_at_fault(status);
}

void sources_skip(sources *list, const document *doc) {
    skipped(list, doc->name, iflow_error_message());
    list->n_documents--;
}

static int by_name(const struct dirent **a, const struct dirent **b) {
    return strcmp((*a)->d_name, (*b)->d_name);
}

static void add_directory(sources *list, const char *dir, bool named, size_t *n_hidden) {
    struct dirent **entry = NULL;
    int n = scandir(dir, &entry, NULL, by_name);
    if (n < 0) {
        unusable(list, named, dir, strerror(errno));
        return;
    }
    size_t length = strlen(dir);
    for (int i = 0; i < n; i++) {
        const char *name = entry[i]->d_name;
        if (strcmp(name, ".") != 0 && strcmp(name, "..") != 0) {
            char *path = text_format("%s%s%s", dir, length && dir[length - 1] == '/' ? "" : "/", name);
            struct stat link, file;
            if (name[0] == '.') {
                ++*n_hidden;
            } else if (lstat(path, &link) != 0 || stat(path, &file) != 0) {
                unusable(list, false, path, strerror(errno));
            } else if (S_ISDIR(link.st_mode)) {
                add_directory(list, path, false, n_hidden);
            } else if (S_ISREG(file.st_mode)) {
                add_source(list, path, (uint64_t)file.st_size, false);
            } else { /* a linked directory could lead in a circle; a pipe or a device could block */
                skipped(list, path, "not a regular file");
            }
            free(path);
        }
        free(entry[i]);
    }
    free(entry);
}

int sources_check(const command_usage *usage, char *const *operands, size_t n) {
    size_t n_stdin = 0;
    for (size_t i = 0; i < n; i++) {
        n_stdin += strcmp(operands[i], "-") == 0;
    }
    return n_stdin > 1 ? options_wrong(usage, "- is standard input, which can be read once") : CLI_OK;
}

void sources_add(sources *list, const char *path) {
    list->operand = path;
    list->n_operands++;
    struct stat file;
    if (strcmp(path, "-") == 0) {
        add_source(list, path, 0, true);
    } else if (stat(path, &file) != 0) {
        failed(list, path, strerror(errno));
    } else if (S_ISDIR(file.st_mode)) {
        size_t n_hidden = 0, before = list->n, n_failed = list->n_failed;
        add_directory(list, path, true, &n_hidden);
        if (n_hidden) {
            cli_note("%s: %s hidden file%s skipped", path, human_count(n_hidden), plural(n_hidden));
        }
        list->n_skipped += n_hidden;
        if (list->n == before && list->n_failed == n_failed) {
            failed(list, path, "no file in this directory can be read");
        }
    } else {
        add_source(list, path, S_ISREG(file.st_mode) ? (uint64_t)file.st_size : 0, true);
    }
}

/* ---- Reading ------------------------------------------------------------------------------------------------------------------------ */

typedef struct reading {
    sources *list;
    const source *from;
    const char *name; /* for messages */
    on_document take;
    void *user;
    bool stopped;
} reading;

static void give(reading *r, document *doc, size_t line, uint64_t source_bytes) {
    doc->source = strcmp(r->from->path, "-") != 0 ? text_format("%s", r->from->path) : NULL;
    doc->line = line;
    doc->source_bytes = source_bytes;
    doc->found = !r->from->named;
    r->list->n_documents++;
    r->stopped = !r->take(doc, r->user);
}

static void refuse(reading *r, const input *in, const char *why) {
    if (in->binary && !r->from->named) { /* `ingest`, too, passes over what was never meant to be a text */
        skipped(r->list, r->name, why);
    } else {
        unusable(r->list, r->from->named, r->name, why);
    }
}

static void read_text(reading *r, input *in) {
    text content = {0};
    if (!input_all(in, &content)) {
        refuse(r, in, in->why);
    } else if (is_blank(content.text, content.n)) {
        refuse(r, in, "empty");
    } else {
        const uint64_t n_read = content.n;
        give(r, document_of_text(text_format("%s", r->name), &content), 0, n_read);
    }
    text_free(&content);
}

static char *line_name(const json_t *object, const char *source_name, size_t line) {
    static const char *const key[] = {"title", "id", "_id"};
    for (size_t i = 0; i < COUNT_OF(key); i++) {
        const json_t *value = json_object_get(object, key[i]);
        if (json_is_string(value) && json_string_length(value)) {
            return text_format("%s", json_string_value(value));
        }
        if (json_is_integer(value)) {
            return text_format("%" JSON_INTEGER_FORMAT, json_integer_value(value));
        }
    }
    return text_format("%s:%zu", source_name, line);
}

/* NULL with *why if the line is no document. */
static document *document_of_json(const json_t *object, const char *source_name, size_t line, const char **why) {
    const json_t *passages = json_object_get(object, "passages");
    if (passages) {
        if (!json_is_array(passages) || json_array_size(passages) == 0) {
            *why = "\"passages\" must be a list of one text or more";
            return NULL;
        }
        document *doc = document_new(line_name(object, source_name, line), json_array_size(passages));
        doc->passages = true;
        for (size_t i = 0; i < json_array_size(passages); i++) {
            const char *passage = json_string_value(json_array_get(passages, i));
            if (!passage) {
                *why = "every passage must be a text";
                document_free(doc);
                return NULL;
            }
            char *part = passage_text(i + 1, passage);
            document_add(doc, part, strlen(part));
        }
        return doc;
    }
    const char *string = json_string_value(json_object_get(object, "text"));
    if (!string) {
        string = json_string_value(json_object_get(object, "context"));
    }
    if (!string) {
        *why = "needs \"text\" or \"context\" (a text), or \"passages\" (a list of texts)";
        return NULL;
    }
    if (is_blank(string, strlen(string))) {
        *why = "empty text";
        return NULL;
    }
    text content = {0};
    text_puts(&content, string);
    return document_of_text(line_name(object, source_name, line), &content);
}

static void refuse_line(reading *r, size_t line, const char *why) {
    char *where = text_format("%s:%zu", r->name, line);
    unusable(r->list, r->from->named, where, why);
    free(where);
}

static void take_line(reading *r, size_t number, const text *line) {
    json_error_t error;
    const char *why = NULL;
    json_t *object = json_loadb(line->text, line->n, JSON_REJECT_DUPLICATES, &error);
    document *doc = json_is_object(object) ? document_of_json(object, r->name, number, &why) : NULL;
    if (doc) {
        give(r, doc, number, (uint64_t)line->n + 1);
    } else {
        char *message = why ? text_format("%s", why) : object ? text_format("not a JSON object") : text_format("not JSON: %s", error.text);
        refuse_line(r, number, message);
        free(message);
    }
    json_decref(object);
}

static void read_jsonl(reading *r, input *in) {
    text line = {0};
    size_t n_lines = 0;
    for (int got; !r->stopped && !input_failed(in) && (got = input_line(in, &line)) != 0;) {
        n_lines += got < 0 || !is_blank(line.text, line.n);
        if (got > 0 && !is_blank(line.text, line.n)) {
            take_line(r, in->line, &line);
        } else if (got < 0 && !input_failed(in)) {
            refuse_line(r, in->line, in->why);
        }
    }
    if (input_failed(in)) {
        refuse(r, in, in->why);
    } else if (!r->stopped && n_lines == 0) {
        refuse(r, in, "empty");
    }
    text_free(&line);
}

static bool is_jsonl(const char *path) {
    const char *dot = strrchr(path, '.');
    return dot && (strcasecmp(dot, ".jsonl") == 0 || strcasecmp(dot, ".ndjson") == 0);
}

void sources_read(sources *list, bool jsonl, on_document take, void *user) {
    reading r = {.list = list, .take = take, .user = user};
    for (size_t i = 0; i < list->n && !r.stopped; i++) {
        const source *from = &list->source[i];
        input in;
        r.from = from;
        if (!input_open(&in, from->path)) {
            unusable(list, from->named, in.name, in.why);
        } else {
            r.name = in.name;
            if (jsonl || is_jsonl(from->path)) {
                read_jsonl(&r, &in);
            } else {
                read_text(&r, &in);
            }
        }
        input_close(&in);
    }
    if (list->n_noted > MAX_NOTES) {
        cli_note("%s more skipped", human_count(list->n_noted - MAX_NOTES));
    }
    if (list->lenient && list->n && list->n_documents == 0 && list->n_failed == 0 && !r.stopped) {
        if (list->n_operands == 1) {
            cli_error("%s: none of its files can be used", list->operand);
        } else { /* which of them lie where, the notes say */
            cli_error("none of the files in these %zu directories can be used", list->n_operands);
        }
        list->n_failed++;
    }
}

/* ---- All of them -------------------------------------------------------------------------------------------------------------------- */

typedef struct collecting {
    const iflow_model *model;
    size_t chunk_tokens;
    sources *list;
    chunk_list *all;
    int result;
} collecting;

static bool collect(document *doc, void *user) {
    collecting *c = user;
    chunk_list chunks = {0};
    const iflow_status status = document_cut(c->model, doc, c->chunk_tokens, &chunks);
    for (size_t i = 0; i < chunks.n_chunks; i++) {
        must(chunk_list_append(c->all, &chunks, i));
    }
    if (status != IFLOW_OK && document_may_be_skipped(doc, status)) {
        sources_skip(c->list, doc);
    } else if (status != IFLOW_OK) {
        c->result = cli_failed(status, doc->name);
    }
    chunk_list_free(&chunks);
    document_free(doc);
    return c->result == CLI_OK;
}

int document_chunks_read(const iflow_model *model, size_t chunk_tokens, bool jsonl, char **operands, size_t n_operands, chunk_list *out) {
    sources list = {.lenient = true};
    collecting c = {.model = model, .chunk_tokens = chunk_tokens, .list = &list, .all = out, .result = CLI_OK};
    for (size_t i = 0; i < n_operands; i++) {
        sources_add(&list, operands[i]);
    }
    sources_read(&list, jsonl, collect, &c);
    if (list.n_failed) {
        c.result = CLI_FAILED;
    }
    sources_free(&list);
    if (c.result == CLI_OK && out->n_chunks < 2) {
        cli_error("the documents are %zu chunk%s; caches are put together from 2 on. Give more documents, or a smaller --chunk",
                  out->n_chunks, plural(out->n_chunks));
        c.result = CLI_FAILED;
    }
    return c.result;
}
