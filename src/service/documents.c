/* documents.c - documents: read from their sources, one text or passages each, and cut into chunks. */
#include "service/documents.h"

#include "base/base.h"
#include "service/input.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

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

/* Takes the name over; NULL: there was no memory for it. NULL, after E_MEMORY, where there is none for the document. */
static document *document_new(char *name, size_t n_parts) {
    document *doc = iflow_calloc(1, sizeof *doc);
    char **part = iflow_calloc(n_parts, sizeof *part);
    size_t *part_bytes = iflow_calloc(n_parts, sizeof *part_bytes);
    if (doc && part && part_bytes && name) {
        *doc = (document){.name = name, .part = part, .part_bytes = part_bytes};
        return doc;
    }
    iflow_fail_memory(sizeof *doc + n_parts * (sizeof *part + sizeof *part_bytes));
    free(doc);
    free(part);
    free(part_bytes);
    free(name);
    return NULL;
}

static void document_add(document *doc, char *part, size_t n_bytes) {
    doc->part[doc->n_parts] = part;
    doc->part_bytes[doc->n_parts++] = n_bytes;
}

/* One text, which is taken over; it ends in an empty line, as the library's own iflow_context_add_text has it, so that the next document
 * begins a paragraph. */
static iflow_status document_of_text(char *name, iflow_buffer *content, document **out) {
    document *doc = document_new(name, 1);
    iflow_status status = doc ? IFLOW_OK : IFLOW_E_MEMORY;
    if (doc && (content->n < 2 || content->text[content->n - 1] != '\n')) {
        status = iflow_buffer_puts(content, "\n\n");
    } else if (doc && content->text[content->n - 2] != '\n') {
        status = iflow_buffer_puts(content, "\n");
    }
    if (!doc || status != IFLOW_OK) {
        document_free(doc);
        return status;
    }
    document_add(doc, content->text, content->n);
    *content = (iflow_buffer){0};
    *out = doc;
    return IFLOW_OK;
}

char *passage_text(size_t i, const char *passage) {
    return iflow_format("Passage %zu:\n%s\n", i, passage);
}

bool document_is_at_fault(iflow_status status) {
    return status == IFLOW_E_FORMAT || status == IFLOW_E_ARG || status == IFLOW_E_CONTEXT || status == IFLOW_E_NOT_FINITE ||
           status == IFLOW_E_UNSUPPORTED;
}

/* ---- Chunks ------------------------------------------------------------------------------------------------------------------------- */

static iflow_status cut_text(const iflow_model *model, const char *part, size_t n_bytes, size_t chunk_tokens, chunk_list *out) {
    iflow_pieces *pieces = NULL;
    iflow_status status = iflow_cut(model, part, n_bytes, chunk_tokens, &pieces);
    if (status != IFLOW_OK) {
        return status;
    }
    /* All tokens at once: thousands of pieces must not copy what was there thousands of times. */
    out->token = iflow_calloc(pieces->n_tokens, sizeof *out->token);
    out->start = iflow_calloc(pieces->n_pieces + 1, sizeof *out->start);
    if (!out->token || !out->start) {
        status = iflow_fail_memory(pieces->n_tokens * sizeof *out->token);
        chunk_list_free(out);
    }
    for (size_t i = 0; status == IFLOW_OK && i < pieces->n_pieces; i++) {
        const iflow_piece *piece = &pieces->piece[i];
        memcpy(out->token + out->start[i], pieces->token + piece->token_start, piece->n_tokens * sizeof *out->token);
        out->start[i + 1] = out->start[i] + piece->n_tokens;
    }
    out->n_chunks = status == IFLOW_OK ? pieces->n_pieces : 0;
    iflow_pieces_free(pieces);
    return status;
}

iflow_status document_cut(const iflow_model *model, const document *doc, size_t chunk_tokens, chunk_list *out) {
    *out = (chunk_list){0};
    if (!doc->passages) {
        return cut_text(model, doc->part[0], doc->part_bytes[0], chunk_tokens, out);
    }
    iflow_status status = IFLOW_OK;
    for (size_t i = 0; i < doc->n_parts && status == IFLOW_OK; i++) {
        int32_t *tokens = NULL;
        size_t n = 0;
        status = iflow_tokenize(model, doc->part[i], doc->part_bytes[i], false, &tokens, &n);
        if (status == IFLOW_OK) {
            status = chunk_list_add(out, tokens, n);
        }
        iflow_free(tokens);
    }
    if (status != IFLOW_OK) {
        chunk_list_free(out);
    }
    return status;
}

/* ---- Reading ------------------------------------------------------------------------------------------------------------------------ */

typedef struct reading {
    sources *list;
    const source *from;
    const char *name; /* for messages */
    uint64_t n_bytes; /* of the source's lines so far */
    on_document take;
    void *user;
    iflow_status status;
    bool more;
} reading;

static bool goes_on(const reading *r) {
    return r->more && r->status == IFLOW_OK;
}

static void give(reading *r, document *doc, size_t line, uint64_t source_bytes) {
    const bool is_file = r->from->text || strcmp(r->from->path, "-") != 0;
    doc->in_memory = r->from->text != NULL;
    doc->source = is_file ? iflow_strdup(r->from->path) : NULL;
    doc->line = line;
    doc->source_at = r->list->n_passed + r->n_bytes;
    doc->source_bytes = source_bytes;
    doc->found = !r->from->named;
    if (is_file && !doc->source) {
        document_free(doc);
        r->status = iflow_fail_memory(strlen(r->from->path));
        return;
    }
    r->list->n_documents++;
    r->status = r->take(doc, &r->more, r->user);
}

/* The source, or what is left of it, cannot be used. no_text: it was never meant to be one. */
static void refuse(reading *r, iflow_status status, bool no_text, const char *why) {
    if (status == IFLOW_E_MEMORY || status == IFLOW_E_CANCELLED) { /* no fault of the source's */
        r->status = iflow_fail(status, "%s: %s", r->name, why);
    } else if (no_text && !r->from->named) {
        sources_skip(r->list, r->name, why);
    } else {
        sources_fail(r->list, r->name, r->from->named, why);
    }
}

/* The document that a whole source is. *why, until the input is closed: what is wrong with the source; *no_text: it was never meant to be a
 * text. */
static iflow_status document_of_input(input *in, const char *name, document **out, const char **why, bool *no_text, size_t *n_read) {
    iflow_buffer content = {0};
    iflow_status status = input_all(in, &content) ? IFLOW_OK : in->status;
    *why = status == IFLOW_OK ? NULL : in->why;
    *no_text = in->binary;
    *n_read = content.n;
    if (status == IFLOW_OK && iflow_is_blank(content.text, content.n)) {
        status = IFLOW_E_FORMAT;
        *why = "empty";
        *no_text = true;
    }
    if (status == IFLOW_OK) {
        status = document_of_text(iflow_strdup(name), &content, out);
    }
    iflow_buffer_free(&content);
    return status;
}

static void read_text(reading *r, input *in) {
    document *doc = NULL;
    const char *why = NULL;
    bool no_text = false;
    size_t n_read = 0;
    const char *name = r->from->title ? r->from->title : r->name;
    const iflow_status status = document_of_input(in, name, &doc, &why, &no_text, &n_read);
    if (why) {
        refuse(r, status, no_text, why);
    } else if (status != IFLOW_OK) {
        r->status = status;
    } else {
        give(r, doc, 0, r->from->n_bytes ? r->from->n_bytes : n_read);
    }
}

iflow_status document_from_text(const char *name, const char *title, const char *text, size_t n_bytes, document **out) {
    input in;
    document *doc = NULL;
    const char *why = NULL;
    bool no_text = false;
    size_t n_read = 0;
    if (!name || !name[0]) {
        return iflow_fail(IFLOW_E_ARG, "a text in memory needs a name");
    }
    input_open_memory(&in, name, text ? text : "", n_bytes);
    iflow_status status = document_of_input(&in, title ? title : name, &doc, &why, &no_text, &n_read);
    if (why) {
        status = iflow_fail(status, "%s: %s", title ? title : name, why);
    }
    input_close(&in);
    if (status == IFLOW_OK && !(doc->source = iflow_strdup(name))) {
        document_free(doc);
        status = iflow_fail_memory(strlen(name));
    }
    if (status == IFLOW_OK) {
        doc->in_memory = true;
        doc->source_bytes = n_bytes;
        *out = doc;
    }
    return status;
}

static char *line_name(const json_t *object, const char *source_name, size_t line) {
    static const char *const key[] = {"title", "id", "_id"};
    for (size_t i = 0; i < sizeof key / sizeof key[0]; i++) {
        const json_t *value = json_object_get(object, key[i]);
        if (json_is_string(value) && json_string_length(value)) {
            return iflow_strdup(json_string_value(value));
        }
        if (json_is_integer(value)) {
            return iflow_format("%" JSON_INTEGER_FORMAT, json_integer_value(value));
        }
    }
    return iflow_format("%s:%zu", source_name, line);
}

static iflow_status document_of_passages(const json_t *passages, char *name, document **out, const char **why) {
    document *doc = document_new(name, json_array_size(passages));
    iflow_status status = doc ? IFLOW_OK : IFLOW_E_MEMORY;
    for (size_t i = 0; doc && i < json_array_size(passages) && status == IFLOW_OK && !*why; i++) {
        const char *passage = json_string_value(json_array_get(passages, i));
        char *part = passage ? passage_text(i + 1, passage) : NULL;
        if (!passage) {
            *why = "every passage must be a text";
        } else if (!part) {
            status = iflow_fail_memory(strlen(passage));
        } else {
            document_add(doc, part, strlen(part));
        }
    }
    if (!doc || *why || status != IFLOW_OK) {
        document_free(doc);
        return status;
    }
    doc->passages = true;
    *out = doc;
    return IFLOW_OK;
}

/* *out NULL with *why if the line is no document. E_MEMORY. */
static iflow_status document_of_json(const json_t *object, const char *source_name, size_t line, document **out, const char **why) {
    const json_t *passages = json_object_get(object, "passages");
    if (passages && (!json_is_array(passages) || json_array_size(passages) == 0)) {
        *why = "\"passages\" must be a list of one text or more";
        return IFLOW_OK;
    }
    if (passages) {
        return document_of_passages(passages, line_name(object, source_name, line), out, why);
    }
    const char *string = json_string_value(json_object_get(object, "text"));
    if (!string) {
        string = json_string_value(json_object_get(object, "context"));
    }
    if (!string || iflow_is_blank(string, strlen(string))) {
        *why = string ? "empty text" : "needs \"text\" or \"context\" (a text), or \"passages\" (a list of texts)";
        return IFLOW_OK;
    }
    iflow_buffer content = {0};
    iflow_status status = iflow_buffer_puts(&content, string);
    if (status == IFLOW_OK) {
        status = document_of_text(line_name(object, source_name, line), &content, out);
    }
    iflow_buffer_free(&content);
    return status;
}

static void refuse_line(reading *r, size_t line, const char *beginning, const char *why) {
    char *where = NULL, *message = NULL;
    r->status = iflow_format_to(&where, "%s:%zu", r->name, line);
    if (r->status == IFLOW_OK) {
        r->status = iflow_format_to(&message, "%s%s", beginning, why);
    }
    if (r->status == IFLOW_OK) {
        sources_fail(r->list, where, r->from->named, message);
    }
    free(where);
    free(message);
}

static void take_line(reading *r, size_t number, const iflow_buffer *line) {
    json_error_t error;
    const char *why = NULL;
    document *doc = NULL;
    json_t *object = json_loadb(line->text, line->n, JSON_REJECT_DUPLICATES, &error);
    if (json_is_object(object)) {
        r->status = document_of_json(object, r->name, number, &doc, &why);
    }
    if (doc) {
        give(r, doc, number, (uint64_t)line->n + 1);
    } else if (r->status == IFLOW_OK) {
        refuse_line(r, number, object ? "" : "not JSON: ", why ? why : object ? "not a JSON object" : error.text);
    }
    json_decref(object);
}

static void read_jsonl(reading *r, input *in) {
    iflow_buffer line = {0};
    size_t n_lines = 0;
    for (int got; goes_on(r) && !input_failed(in) && (got = input_line(in, &line)) != 0; r->n_bytes += line.n + 1) {
        n_lines += got < 0 || !iflow_is_blank(line.text, line.n);
        if (got > 0 && !iflow_is_blank(line.text, line.n)) {
            take_line(r, in->line, &line);
        } else if (got < 0 && !input_failed(in)) {
            refuse_line(r, in->line, "", in->why);
        }
    }
    if (input_failed(in)) {
        refuse(r, in->status, in->binary, in->why);
    } else if (goes_on(r) && n_lines == 0) {
        refuse(r, IFLOW_E_FORMAT, true, "empty");
    }
    iflow_buffer_free(&line);
}

static bool is_jsonl(const char *path) {
    const char *dot = strrchr(path, '.');
    return dot && (strcasecmp(dot, ".jsonl") == 0 || strcasecmp(dot, ".ndjson") == 0);
}

iflow_status documents_read(sources *list, bool jsonl, on_document take, void *user) {
    reading r = {.list = list, .take = take, .user = user, .more = true};
    for (size_t i = 0; i < list->n && goes_on(&r); i++) {
        input in;
        r.from = &list->source[i];
        r.n_bytes = 0;
        if (r.from->text) {
            input_open_memory(&in, r.from->path, r.from->text, (size_t)r.from->n_bytes);
        }
        const bool is_open = r.from->text || input_open(&in, r.from->path);
        r.name = in.name;
        if (!is_open) {
            refuse(&r, in.status, false, in.why);
        } else if (!r.from->text && (jsonl || is_jsonl(r.from->path))) {
            read_jsonl(&r, &in);
        } else {
            read_text(&r, &in);
        }
        input_close(&in);
        list->n_passed += r.from->n_bytes;
    }
    return r.status;
}
