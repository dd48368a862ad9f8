/* schema.c - grammars of JSON answers from JSON schemas, and what is wrong with a schema, in one line. */
#include "service/schema.h"

#include "base/base.h"
#include "model/schema.h"

#include <stdlib.h>
#include <string.h>

/* Fails with a message as one line: a run of control characters is a space. */
static iflow_status fail_in_line(iflow_status status, const char *message) {
    char *line = iflow_strdup(message);
    size_t n = 0;
    if (!line) {
        return iflow_fail_memory(strlen(message));
    }
    for (const char *c = message; *c; c++) {
        const bool is_control = (unsigned char)*c < ' ' || *c == 0x7F;
        if (!is_control || (n && line[n - 1] != ' ')) {
            line[n++] = is_control ? ' ' : *c;
        }
    }
    line[n] = '\0';
    iflow_fail(status, "%s", line);
    free(line);
    return status;
}

/* Says what the converter said of a schema that is JSON: without the names that it gives itself before the place. */
static iflow_status fail_conversion(iflow_status status) {
    static const char *const own[] = {"the JSON schema: ", "JSON schema conversion failed:\n", "JSON schema error "};
    char *said = iflow_strdup(iflow_error_message());
    if (!said) {
        return iflow_fail_memory(1);
    }
    const char *message = said;
    for (size_t i = 0; i < sizeof own / sizeof *own; i++) {
        message += strncmp(message, own[i], strlen(own[i])) == 0 ? strlen(own[i]) : 0;
    }
    status = fail_in_line(status, message);
    free(said);
    return status;
}

static iflow_status convert(const char *schema, size_t n_bytes, char **out) {
    const iflow_status status = iflow_schema_to_grammar(schema, n_bytes, out);
    return status == IFLOW_OK || status == IFLOW_E_MEMORY || status == IFLOW_E_CANCELLED ? status : fail_conversion(status);
}

iflow_status schema_to_grammar(const char *schema, size_t n_bytes, char **out) {
    json_error_t error = {0};
    json_t *root = json_loadb(schema, n_bytes, JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);
    if (!root && json_error_code(&error) == json_error_out_of_memory) {
        return iflow_fail_memory(n_bytes);
    }
    if (!root) {
        char where[64 + sizeof error.text];
        snprintf(where, sizeof where, "line %d, column %d: %s", error.line, error.column, error.text);
        return fail_in_line(IFLOW_E_FORMAT, where);
    }
    json_decref(root);
    return convert(schema, n_bytes, out);
}

iflow_status schema_json_to_grammar(const json_t *schema, char **out) {
    char *text = json_dumps(schema, JSON_COMPACT | JSON_ENCODE_ANY);
    if (!text) {
        return iflow_fail_memory(1);
    }
    const iflow_status status = convert(text, strlen(text), out);
    free(text);
    return status;
}
