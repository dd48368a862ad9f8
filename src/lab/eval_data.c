/* eval_data.c - the questions of a data set, and the records that an earlier run left. */
#include "lab/eval_data.h"

#include "base/random.h"
#include "cli/text.h"
#include "service/input.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- Questions ---------------------------------------------------------------------------------------------------------------------- */

/* The strings of a list; NULL if it is not a list of strings. */
static const char **strings_of(const json_t *list, size_t *n) {
    if (!json_is_array(list)) {
        return NULL;
    }
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
    free(q->text);
    free(q->split);
    json_decref(q->object);
}

static const char space[] = " \t\r\n\f\v";

/* Appends what is left of a passage between two markers once its white space is off; ends it by a NUL. */
static void add_passage(eval_question *q, char *start, char *end) {
    start += strspn(start, space);
    while (end > start && strchr(space, end[-1])) {
        end--;
    }
    if (end <= start) {
        return;
    }
    *end = '\0';
    q->passage = must_realloc(q->passage, q->n_passages + 1, sizeof *q->passage);
    q->passage[q->n_passages++] = start;
}

/* The next line that begins with "Passage <number>:" (NULL: none); *after: what follows the colon. The numbers count up from 1, so that a
 * text that only mentions passages is not torn. */
static char *find_marker(const char *text_start, char *at, size_t number, char **after) {
    char *marker = text_format("Passage %zu:", number), *found = at;
    while ((found = strstr(found, marker)) && found != text_start && found[-1] != '\n') {
        found++;
    }
    *after = found ? found + strlen(marker) : NULL;
    free(marker);
    return found;
}

/* Splits a context at its markers, or takes it as a text, with an empty line at its end as every document has it. False if it is empty. */
static bool take_context(eval_question *q, const char *context) {
    if (context[strspn(context, space)] == '\0') {
        return false;
    }
    char *after = NULL;
    q->split = must_copy(context, strlen(context));
    char *at = q->split, *marker = find_marker(at, at, 1, &after);
    for (size_t number = 1; marker; number++) {
        char *next_after = NULL, *next = find_marker(at, after, number + 1, &next_after);
        if (number == 1) {
            add_passage(q, at, marker);
        }
        add_passage(q, after, next ? next : after + strlen(after));
        marker = next;
        after = next_after;
    }
    if (q->n_passages) {
        return true;
    }
    const size_t n = strlen(context);
    const bool newline = context[n - 1] == '\n';
    q->text = text_format("%s%s", context, newline && n > 1 && context[n - 2] == '\n' ? "" : newline ? "\n" : "\n\n");
    return true;
}

/* Takes the object over if it is a question; else says in *why what is missing. */
static bool question_of(json_t *object, size_t line, json_t *seen, eval_question *out, const char **why) {
    eval_question q = {.line = line, .object = object};
    const json_t *id = json_object_get(object, "id"), *passages = json_object_get(object, "passages");
    const char *context = json_string_value(json_object_get(object, "context"));
    if (!id) {
        id = json_object_get(object, "_id");
    }
    q.question = json_string_value(json_object_get(object, "question"));
    if (!q.question) {
        q.question = json_string_value(json_object_get(object, "input"));
    }
    q.answer = strings_of(json_object_get(object, "answers"), &q.n_answers);
    q.passage = strings_of(passages, &q.n_passages);
    bool has_context = q.passage ? q.n_passages > 0 : !passages && context && take_context(&q, context);
    q.n_own = q.n_passages;
    q.id = json_is_string(id) ? text_format("%s", json_string_value(id)) : text_format("%" JSON_INTEGER_FORMAT, json_integer_value(id));
    if (!json_is_object(object)) {
        *why = "not a JSON object";
    } else if (!json_is_string(id) && !json_is_integer(id)) {
        *why = "needs \"id\" or \"_id\" (a text or a whole number)";
    } else if (!q.question || !q.question[0]) {
        *why = "needs \"question\" or \"input\" (a text)";
    } else if (!q.answer || q.n_answers == 0) {
        *why = "needs \"answers\" (a list of texts)";
    } else if (!has_context) {
        *why = "needs \"passages\" (a list of texts) or \"context\" (a text)";
    } else if (json_object_get(seen, q.id)) {
        *why = "its \"id\" is that of an earlier question";
    }
    if (*why) {
        q.object = NULL;
        question_free(&q);
        return false;
    }
    json_object_set_new(seen, q.id, json_true());
    *out = q;
    return true;
}

bool eval_data_add(eval_data *data, json_t *object, size_t line, json_t *seen, const char **why) {
    eval_question question;
    if (!question_of(object, line, seen, &question, why)) {
        return false;
    }
    data->question = must_realloc(data->question, data->n + 1, sizeof *data->question);
    data->question[data->n++] = question;
    return true;
}

int eval_data_read(const char *path, size_t limit, eval_data *out, bool *malformed) {
    text line = {0};
    int got = 1, result = CLI_OK;
    json_t *seen = json_object(); /* records are found by id: it must be a question's own */
    input in;
    out->path = path;
    input_open(&in, path);
    while (!input_failed(&in) && (limit == 0 || out->n < limit) && (got = input_line(&in, &line)) != 0) {
        json_error_t error = {0};
        if (input_failed(&in) || (got > 0 && iflow_is_blank(line.text, line.n))) {
            continue;
        }
        const char *why = got < 0 ? in.why : NULL;
        json_t *object = got > 0 ? json_loadb(line.text, line.n, JSON_REJECT_DUPLICATES, &error) : NULL;
        if (object && eval_data_add(out, object, in.line, seen, &why)) {
            continue;
        }
        cli_error("%s:%zu: %s%s", path, in.line, why ? "" : "not JSON: ", why ? why : error.text);
        *malformed = true;
        json_decref(object);
    }
    if (input_failed(&in)) {
        cli_error("cannot read %s: %s", path, in.why);
        result = CLI_FAILED;
    } else if (out->n == 0) {
        cli_error("%s has no question", path);
        result = CLI_FAILED;
    }
    text_free(&line);
    input_close(&in);
    json_decref(seen);
    return result;
}

void eval_data_free(eval_data *data) {
    for (size_t i = 0; i < data->n; i++) {
        question_free(&data->question[i]);
    }
    free(data->question);
    *data = (eval_data){0};
}

/* ---- Distractors -------------------------------------------------------------------------------------------------------------------- */

uint64_t eval_hash(const char *string) {
    return iflow_fnv1a(IFLOW_FNV1A, string, strlen(string));
}

/* Their number and, with its NUL, each of them: no two lists run together. */
static uint64_t hash_list(uint64_t hash, const char *const *list, size_t n) {
    char count[24];
    const int length = snprintf(count, sizeof count, "%zu", n);
    hash = iflow_fnv1a(hash, count, (size_t)length + 1);
    for (size_t i = 0; i < n; i++) {
        hash = iflow_fnv1a(hash, list[i], strlen(list[i]) + 1);
    }
    return hash;
}

void eval_question_digest(eval_question *q) {
    const char *whole = q->text ? q->text : "";
    uint64_t hash = hash_list(IFLOW_FNV1A, &q->question, 1);
    hash = hash_list(hash, q->answer, q->n_answers);
    hash = hash_list(hash, &whole, q->text ? 1 : 0);
    hash = hash_list(hash, q->passage, q->n_passages);
    snprintf(q->digest, sizeof q->digest, "%016" PRIx64, hash);
}

static bool has_passage(const eval_question *q, const char *passage) {
    for (size_t i = 0; i < q->n_passages; i++) {
        if (strcmp(q->passage[i], passage) == 0) {
            return true;
        }
    }
    return false;
}

int eval_data_add_distractors(eval_data *data, size_t q, size_t n) {
    eval_question *question = &data->question[q];
    size_t n_pool = 0, n_added = 0;
    for (size_t i = 0; i < data->n; i++) {
        n_pool += i == q ? 0 : data->question[i].n_own;
    }
    const char **pool = must_alloc(n_pool ? n_pool : 1, sizeof *pool);
    n_pool = 0;
    for (size_t i = 0; i < data->n; i++) {
        for (size_t p = 0; i != q && p < data->question[i].n_own; p++) {
            pool[n_pool++] = data->question[i].passage[p];
        }
    }
    uint64_t state = eval_hash(question->id);
    question->passage = must_realloc(question->passage, question->n_passages + n, sizeof *question->passage);
    for (size_t i = 0; i < n_pool && n_added < n; i++) {
        const size_t drawn = i + iflow_random_below(&state, n_pool - i);
        const char *passage = pool[drawn];
        pool[drawn] = pool[i];
        if (has_passage(question, passage)) {
            continue;
        }
        question->passage[question->n_passages++] = passage;
        n_added++;
    }
    free(pool);
    if (n_added == n) {
        return CLI_OK;
    }
    cli_error("%s:%zu: question %s can have at most %zu distractors: so many other passages have the other questions", data->path,
              question->line, question->id, n_added);
    return CLI_FAILED;
}

void eval_question_shuffle(eval_question *question, uint64_t seed) {
    uint64_t state = eval_hash(question->id) ^ seed;
    for (size_t i = question->n_passages; i > 1; i--) {
        const size_t drawn = iflow_random_below(&state, i);
        const char *passage = question->passage[drawn];
        question->passage[drawn] = question->passage[i - 1];
        question->passage[i - 1] = passage;
    }
}

/* ---- Records ------------------------------------------------------------------------------------------------------------------------ */

/* Only methods that select by it have a ratio of their own; the others' are fixed, so that writing them makes no difference. */
static char *key_text(const eval_key *key) {
    return text_format("%s %s %s %d %.6f %d %s [%s] %s %s", key->method, key->score, key->geometry, key->reorder, key->ratio,
                       key->distractors, key->model, key->settings, key->digest, key->id);
}

static const char *string_or_empty(const json_t *object, const char *name) {
    const char *string = json_string_value(json_object_get(object, name));
    return string ? string : "";
}

void eval_records_add(eval_records *records, json_t *record) {
    const json_int_t distractors = json_integer_value(json_object_get(record, "distractors"));
    const eval_key key = {.id = string_or_empty(record, "id"),
                          .method = string_or_empty(record, "method"),
                          .score = string_or_empty(record, "score"),
                          .geometry = string_or_empty(record, "geometry"),
                          .reorder = json_is_true(json_object_get(record, "reorder")),
                          .model = string_or_empty(record, "model"),
                          .settings = string_or_empty(record, "settings"),
                          .digest = string_or_empty(record, "digest"),
                          .ratio = json_number_value(json_object_get(record, "ratio")),
                          .distractors = distractors >= 0 && distractors <= INT_MAX ? (int)distractors : -1};
    if (!records->by_key) {
        records->by_key = json_object();
    }
    if (!key.method[0]) {
        return;
    }
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

/* Opens a file to read ("rb") or to append ("ab"). */
static int open_records(const char *path, const char *mode, FILE **out) {
    const bool reads = mode[0] == 'r';
    const char *why = NULL;
    const int fd = open_regular(path, reads ? O_RDONLY : O_WRONLY | O_APPEND | O_CREAT, &why);
    if (fd >= 0 && (*out = fdopen(fd, mode))) {
        return CLI_OK;
    }
    why = why ? why : strerror(errno);
    cli_error("cannot %s %s: %s", reads ? "read" : "write", path, why);
    if (fd >= 0) {
        close(fd);
    }
    return CLI_FAILED;
}

int eval_records_append(const char *path, FILE **out) {
    FILE *file = NULL;
    int result = access(path, F_OK) == 0 ? open_records(path, "rb", &file) : CLI_OK;
    const bool unended = file && fseek(file, -1, SEEK_END) == 0 && getc(file) != '\n';
    if (file) {
        fclose(file);
    }
    if (result == CLI_OK) {
        result = open_records(path, "ab", out);
    }
    if (result == CLI_OK && unended) {
        putc('\n', *out); /* a failure shows when the file is closed */
    }
    return result;
}

static bool is_record(const json_t *object) {
    return json_is_string(json_object_get(object, "id")) && json_is_string(json_object_get(object, "method"));
}

/* Whether a line begins as report_dump writes a record, as far as it goes. *whole: it goes on until no other file would begin so. */
static bool begins_as_record(const char *line, size_t n, bool *whole) {
    static const char id[] = "{\"id\":\"", method[] = "\",\"method\":\"";
    size_t at = sizeof id - 1, length = sizeof method - 1;
    *whole = false;
    if (n < at) {
        return memcmp(line, id, n) == 0;
    }
    if (memcmp(line, id, at) != 0) {
        return false;
    }
    while (at < n && line[at] != '"') {
        at += line[at] == '\\' ? 2 : 1;
    }
    if (at >= n) {
        return true;
    }
    *whole = n - at >= length;
    return memcmp(line + at, method, *whole ? length : n - at) == 0;
}

/* Whether the last line of a file is what an interruption left of a record: it is cut off, so it must not be somebody's own. Before it are
 * n_records of ours. */
static bool is_cut_short(const char *line, size_t n, size_t n_records) {
    bool whole = false;
    if (line[n - 1] == '\n' || !begins_as_record(line, n, &whole) || (n_records == 0 && !whole)) {
        return false;
    }
    json_error_t error;
    json_t *object = json_loadb(line, n, JSON_DISABLE_EOF_CHECK, &error);
    const bool is_json = object || json_error_code(&error) == json_error_out_of_memory;
    json_decref(object);
    return !is_json;
}

int eval_records_read(const char *path, eval_records *out) {
    char *line = NULL;
    size_t capacity = 0, number = 0;
    off_t good = 0;
    ssize_t n;
    int result = CLI_OK;
    FILE *file = NULL;
    if (access(path, F_OK) != 0 && errno == ENOENT) {
        return CLI_OK;
    }
    if (open_records(path, "rb", &file) != CLI_OK) {
        return CLI_FAILED;
    }
    errno = 0;
    while (result == CLI_OK && (n = getline(&line, &capacity, file)) > 0) {
        json_error_t error;
        json_t *record = json_loadb(line, (size_t)n, JSON_REJECT_DUPLICATES, &error);
        if (is_record(record)) {
            eval_records_add(out, record);
            good += n;
        } else if (is_cut_short(line, (size_t)n, number)) {
            cli_note("%s:%zu: a record cut short by an interruption; it is asked again", path, number + 1);
            if (truncate(path, good) != 0) {
                cli_error("cannot write %s: %s", path, strerror(errno));
                result = CLI_FAILED;
            }
        } else {
            cli_error("%s:%zu: not a record of infoflow eval; give another --output", path, number + 1);
            result = CLI_FAILED;
        }
        number++;
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
