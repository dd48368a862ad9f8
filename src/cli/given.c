/* given.c - the file of --given: the positions to recompute, or a score for each position. */
#include "cli/given.h"

#include "cli/text.h"
#include "service/input.h"

#include <jansson.h>
#include <string.h>

int given_read(const command_usage *usage, const char *path, const ask_settings *settings, char *const *documents, size_t n, given *out) {
    for (size_t i = 0; i < n && strcmp(path, "-") == 0; i++) {
        if (strcmp(documents[i], "-") == 0) {
            return options_wrong(usage, "--given - and the document - are standard input, which can be read once");
        }
    }
    json_error_t error = {0};
    input in;
    text content = {0};
    int result = CLI_OK;
    if (input_open(&in, path) && input_all(&in, &content)) {
        json_t *root = json_loadb(content.text ? content.text : "", content.n, JSON_REJECT_DUPLICATES, &error);
        const iflow_status status = root ? given_take(out, root) : IFLOW_E_FORMAT;
        if (!root) {
            cli_error("--given %s: it is no JSON: line %d: %s", in.name, error.line, error.text);
        } else if (status != IFLOW_OK) {
            cli_error("--given %s: %s", in.name, iflow_error_message());
        }
        json_decref(root);
        result = status == IFLOW_OK ? CLI_OK : CLI_FAILED;
    } else {
        cli_error("--given %s: %s", in.name, in.why);
        result = CLI_FAILED;
    }
    if (result == CLI_OK && given_check(out, settings, SETTINGS_AS_OPTIONS) != IFLOW_OK) {
        result = options_wrong(usage, "--given %s: %s", in.name, iflow_error_message());
    }
    text_free(&content);
    input_close(&in);
    return result;
}
