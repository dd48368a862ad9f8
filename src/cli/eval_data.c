/* eval_data.c - the questions of a data set, and the records that an earlier run left. */
#include "eval_data.h"

#include "text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- Questions ---------------------------------------------------------------------------------------------------------------------- */

/* The strings of a list; NULL if it is not a list of strings. */
static const char **strings_of(const json_t *list, size_t *n) {
    if (!json_is_array(list))
        return NULL;
    *n = json_array_size(list);
    const char **out = must_alloc(*n, sizeof *out);
    for (size_t i = 0; i < *n; i++) {
        out[i] = json_string_value(json_array_get(list, i));
        if (!out[i]) {
            free(out);
            return NULL;
        }
    }
    return out;
}

static void question_free(eval_question *q) {
    free(q->id);
    free(q->answer);
    free(q->passage);
    json_decref(q->object);
}

/* Takes the object over if it is a question; else says in *why what is missing. */
static bool question_of(json_t *object, size_t line, json_t *seen, eval_question *out, const char **why) {
    eval_question q = {.line = line, .object = object};
    const json_t *id = json_object_get(object, "id");
    q.question = json_string_value(json_object_get(object, "question"));
    q.answer = strings_of(json_object_get(object, "answers"), &q.n_answers);
    q.passage = strings_of(json_object_get(object, "passages"), &q.n_passages);
    q.id = json_is_string(id) ? text_format("%s", json_string_value(id)) : text_format("%" JSON_INTEGER_FORMAT, json_integer_value(id));
    if (!json_is_object(object))
        *why = "not a JSON object";
    else if (!json_is_string(id) && !json_is_integer(id))
        *why = "needs \"id\" (a text or a whole number)";
    else if (!q.question || !q.question[0])
        *why = "needs \"question\" (a text)";
    else if (!q.answer || q.n_answers == 0)
        *why = "needs \"answers\" (a list of texts)";
    else if (!q.passage || q.n_passages == 0)
        *why = "needs \"passages\" (a list of texts)";
    else if (json_object_get(seen, q.id))
        *why = "its \"id\" is that of an earlier question";
    if (*why) {
        q.object = NULL;
        question_free(&q);
        return false;
    }
    json_object_set_new(seen, q.id, json_true());
    *out = q;
    return true;
}

int eval_data_read(const char *path, size_t limit, eval_data *out, bool *malformed) {
    char *line = NULL;
    size_t capacity = 0, number = 0;
    ssize_t n;
    int result = CLI_OK;
    json_t *seen = json_object(); /* records are found by id: it must be a question's own */
    out->path = path;
    FILE *file = fopen(path, "rb");
    if (!file) {
        cli_error("cannot read %s: %s", path, strerror(errno));
        json_decref(seen);
        return CLI_FAILED;
    }
    errno = 0;
    while ((limit == 0 || out->n < limit) && (n = getline(&line, &capacity, file)) > 0) {
        number++;
        if ((size_t)n == strspn(line, " \t\r\n"))
            continue;
        json_error_t error;
        const char *why = NULL;
        eval_question question;
        json_t *object = json_loadb(line, (size_t)n, 0, &error);
        if (object && question_of(object, number, seen, &question, &why)) {
            out->question = must_realloc(out->question, out->n + 1, sizeof *out->question);
            out->question[out->n++] = question;
            continue;
        }
        cli_error("%s:%zu: %s%s", path, number, object ? "" : "not JSON: ", object ? why : error.text);
        *malformed = true;
        json_decref(object);
    }
    if (ferror(file)) {
        cli_error("cannot read %s: %s", path, strerror(errno));
        result = CLI_FAILED;
    } else if (out->n == 0) {
        cli_error("%s has no question", path);
        result = CLI_FAILED;
    }
    free(line);
    fclose(file);
    json_decref(seen);
    return result;
}

void eval_data_free(eval_data *data) {
    for (size_t i = 0; i < data->n; i++)
        question_free(&data->question[i]);
    free(data->question);
    *data = (eval_data){0};
}

/* ---- Records ------------------------------------------------------------------------------------------------------------------------ */

/* Only methods that select by it have a ratio of their own; the others' are fixed, so that writing them makes no difference. */
static char *key_text(const eval_key *key) {
    return text_format("%s %s %.6f %d %s %s", key->method, key->score, key->ratio, key->distractors, key->model, key->id);
}

static const char *string_or_empty(const json_t *object, const char *name) {
    const char *string = json_string_value(json_object_get(object, name));
    return string ? string : "";
}

void eval_records_add(eval_records *records, json_t *record) {
    const eval_key key = {.id = string_or_empty(record, "id"),
                          .method = string_or_empty(record, "method"),
                          .score = string_or_empty(record, "score"),
                          .model = string_or_empty(record, "model"),
                          .ratio = json_number_value(json_object_get(record, "ratio")),
                          .distractors = (int)json_integer_value(json_object_get(record, "distractors"))};
    if (!records->by_key)
        records->by_key = json_object();
    if (!key.method[0])
        return;
    char *name = key_text(&key);
    json_object_set(records->by_key, name, record);
    free(name);
}

const json_t *eval_records_find(const eval_records *records, const eval_key *key) {
    char *clean = text_utf8(key->id, strlen(key->id));
    eval_key cleaned = *key;
    cleaned.id = clean;
    char *name = key_text(&cleaned);
    const json_t *record = json_object_get(records->by_key, name);
    free(name);
    free(clean);
    return record;
}

int eval_records_read(const char *path, eval_records *out) {
    char *line = NULL;
    size_t capacity = 0, number = 0;
    off_t good = 0;
    ssize_t n;
    int result = CLI_OK;
    FILE *file = fopen(path, "rb");
    if (!file && errno == ENOENT)
        return CLI_OK;
    if (!file) {
        cli_error("cannot read %s: %s", path, strerror(errno));
        return CLI_FAILED;
    }
    errno = 0;
    while (result == CLI_OK && (n = getline(&line, &capacity, file)) > 0) {
        number++;
        json_error_t error;
        json_t *record = json_loadb(line, (size_t)n, 0, &error);
        bool whole = line[n - 1] == '\n';
        /* Only what begins like a record of ours is cut off: the file could be the user's own, named by mistake. */
        static const char beginning[] = "{\"id\":\"";
        bool ours = memcmp(line, beginning, (size_t)n < sizeof beginning - 1 ? (size_t)n : sizeof beginning - 1) == 0;
        if (whole && json_is_string(json_object_get(record, "id")) && json_is_string(json_object_get(record, "method"))) {
            eval_records_add(out, record);
            good += n;
        } else if (!whole && ours) {
            cli_note("%s:%zu: a record cut short by an interruption; it is asked again", path, number);
            if (truncate(path, good) != 0) {
                cli_error("cannot write %s: %s", path, strerror(errno));
                result = CLI_FAILED;
            }
        } else {
            cli_error("%s:%zu: not a record of infoflow eval; give another --output", path, number);
            result = CLI_FAILED;
        }
        json_decref(record);
    }
    if (ferror(file)) {
        cli_error("cannot read %s: %s", path, strerror(errno));
        result = CLI_FAILED;
    }
    free(line);
    fclose(file);
    return result;
}

void eval_records_free(eval_records *records) {
    json_decref(records->by_key);
    records->by_key = NULL;
}
