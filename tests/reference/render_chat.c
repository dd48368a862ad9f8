/* render_chat.c - conversations rendered as the product does it, for test_templates.py.
 *
 * Reads an object a line: {"model": PATH, "template": TEXT or null (the model's own), "messages": [{"role", "content"}...]}, and writes one
 * a line: {"pieces": [[TEXT, IS_INPUT]...], "n_head", "plain", "no_place", "by", "bos", "eos", "ms"}, or {"error": MESSAGE}. The model
 * stays loaded until another one is named. */
#include "model/chat.h"

#include <jansson.h>
#include <llama.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_MESSAGES = 64 };

static json_t *failure(void) {
    return json_pack("{s:s}", "error", iflow_error_message());
}

/* The model's template, or another in its place. */
static iflow_status choose(iflow_model *model, const char *text) {
    iflow_template *tmpl = NULL;
    if (!text) {
        return IFLOW_OK;
    }
    const iflow_status status = iflow_template_parse(text, &tmpl);
    if (!status) {
        iflow_template_free(model->chat_template);
        model->chat_template = tmpl;
        model->chat_by = IFLOW_CHAT_JINJA;
    }
    return status;
}

static json_t *answer(const iflow_model *model, const json_t *messages) {
    const struct llama_vocab *vocab = llama_model_get_vocab(model->vocab);
    iflow_message message[MAX_MESSAGES];
    iflow_chat chat = {0};
    const size_t n = json_array_size(messages);
    for (size_t i = 0; i < n && i < MAX_MESSAGES; i++) {
        const json_t *one = json_array_get(messages, i);
        message[i] = (iflow_message){.role = json_string_value(json_object_get(one, "role")),
                                     .content = json_string_value(json_object_get(one, "content"))};
    }
    const double start = iflow_now_ms();
    if (n > MAX_MESSAGES || iflow_chat_render(model, message, n, &chat)) {
        return failure();
    }
    const double ms = iflow_now_ms() - start;
    json_t *pieces = json_array();
    for (size_t i = 0; i < chat.n_pieces; i++) {
        json_array_append_new(pieces, json_pack("[s, b]", chat.piece[i].text, (int)chat.piece[i].is_input));
    }
    const int32_t bos = llama_vocab_bos(vocab), eos = llama_vocab_eos(vocab);
    json_t *made =
        json_pack("{s:o, s:I, s:b, s:b, s:i, s:s, s:s, s:f}", "pieces", pieces, "n_head", (json_int_t)chat.n_head, "plain", (int)chat.plain,
                  "no_place", (int)chat.no_place, "by", (int)model->chat_by, "bos", bos >= 0 ? llama_vocab_get_text(vocab, bos) : "", "eos",
                  eos >= 0 ? llama_vocab_get_text(vocab, eos) : "", "ms", ms);
    iflow_chat_free(&chat);
    return made;
}

int main(void) {
    char *line = NULL, *path = NULL;
    size_t capacity = 0;
    iflow_model *model = NULL;
    bool edited = false; /* it has another template than its own */
    while (getline(&line, &capacity, stdin) > 0) {
        json_t *asked = json_loads(line, 0, NULL), *made = NULL;
        const char *wanted = json_string_value(json_object_get(asked, "model")),
                   *text = json_string_value(json_object_get(asked, "template"));
        if (!path || strcmp(path, wanted) != 0 || (edited && !text)) {
            edited = false;
            iflow_model_free(model);
            free(path);
            model = NULL;
            path = iflow_strdup(wanted);
            if (iflow_model_load(path, &IFLOW_PARAMS(iflow_model_params, .no_repack = true), &model)) {
                made = failure();
                free(path);
                path = NULL;
            }
        }
        edited = edited || text;
        made = made ? made : choose(model, text) ? failure() : answer(model, json_object_get(asked, "messages"));
        json_dumpf(made, stdout, JSON_COMPACT);
        putchar('\n');
        fflush(stdout);
        json_decref(made);
        json_decref(asked);
    }
    iflow_model_free(model);
    free(path);
    free(line);
    return 0;
}
