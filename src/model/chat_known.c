/* chat_known.c - conversations rendered by libllama, for templates that the Jinja engine cannot run and builds that do not have it. */
#include "model/calls.h"
#include "model/chat.h"

#include <llama.h>
#include <stdlib.h>
#include <string.h>

/* Renders messages through the template; *out stays NULL where libllama does not know it. E_MEMORY. free(). */
static iflow_status render(const char *template, const struct llama_chat_message *message, size_t n, char **out) {
    int32_t room = 256;
    for (size_t i = 0; i < n; i++) {
        room += (int32_t)strlen(message[i].content) * 2 + 256;
    }
    for (;;) {
        char *text = malloc((size_t)room + 1);
        int32_t used = -1;
        if (!text) {
            return iflow_fail_memory((size_t)room + 1);
        }
        const iflow_status status = iflow_call_template(template, message, n, text, room, &used);
        if (!status && used >= 0 && used <= room) {
            text[used] = '\0';
            *out = text;
            return IFLOW_OK;
        }
        free(text);
        if (status || used < 0) {
            return status == IFLOW_E_MEMORY ? status : IFLOW_OK;
        }
        room = used;
    }
}

char *iflow_chat_own_system(const char *template) {
    static const char open[] = "<|im_start|>system", close[] = "<|im_end|>";
    for (const char *at = template; (at = strstr(at, open)); at += strlen(open)) {
        const char quote = at > template ? at[-1] : '\0', *from = at + strlen(open);
        if (quote != '\'' && quote != '"') {
            continue;
        }
        from += *from == '\n' ? 1 : strncmp(from, "\\n", 2) == 0 ? 2 : 0;
        char *text = malloc(strlen(from) + 1), *to = text;
        for (; text && *from && *from != quote && strncmp(from, close, strlen(close)) != 0; from++) {
            const bool escaped = *from == '\\' && from[1];
            from += escaped;
            *to++ = (char)(escaped && *from == 'n' ? '\n' : *from);
        }
        if (text && to > text && strncmp(from, close, strlen(close)) == 0) {
            *to = '\0';
            return text;
        }
        free(text);
    }
    return NULL;
}

static iflow_status add_part(iflow_rendering *to, const char *text, size_t n_bytes, bool is_input) {
    if (n_bytes == 0) {
        return IFLOW_OK;
    }
    iflow_rendered_part *longer = iflow_realloc(to->part, to->n_parts + 1, sizeof *longer);
    char *copy = iflow_calloc(n_bytes + 1, 1);
    to->part = longer ? longer : to->part;
    if (!longer || !copy) {
        free(copy);
        return iflow_fail_memory(n_bytes);
    }
    memcpy(copy, text, n_bytes);
    to->part[to->n_parts++] = (iflow_rendered_part){.text = copy, .is_input = is_input};
    return IFLOW_OK;
}

/* In the rendering, a number between marks stands for each message's content, with tabs around it: a template that strips contents has
 * stripped them. */
static iflow_status put_contents(const char *text, const iflow_message *message, size_t n_messages, iflow_rendering *out) {
    static const char space[] = " \t\n\v\f\r", begin[] = "\x7f#";
    iflow_status status = IFLOW_OK;
    for (const char *at; !status && (at = strstr(text, begin));) {
        char *end = NULL;
        const size_t i = strtoull(at + strlen(begin), &end, 10);
        if (i >= n_messages || *end != ';') {
            break;
        }
        const bool tabs = at > text && at[-1] == '\t' && end[1] == '\t';
        const char *from = message[i].content, *to = from + strlen(from);
        for (; !tabs && *from && strchr(space, *from); from++) {
        }
        for (; !tabs && to > from && strchr(space, to[-1]); to--) {
        }
        if (!(status = add_part(out, text, (size_t)(at - tabs - text), false))) {
            status = add_part(out, from, (size_t)(to - from), true);
        }
        text = end + 1 + tabs;
    }
    return status ? status : add_part(out, text, strlen(text), false);
}

iflow_status iflow_chat_by_libllama(const char *template, const iflow_message *message, size_t n_messages, iflow_rendering *out) {
    struct llama_chat_message *laid = iflow_calloc(n_messages + 1, sizeof *laid);
    char *text = NULL, **content = iflow_calloc(n_messages + 1, sizeof *content), *own = NULL;
    size_t n = 0;
    iflow_status status = IFLOW_OK;
    const bool has_system = n_messages && strcmp(message[0].role, "system") == 0;
    if (!laid || !content) {
        status = iflow_fail_memory(n_messages * sizeof *laid);
        goto cleanup;
    }
    if (!has_system && (own = iflow_chat_own_system(template))) { /* rendered as a part of the template */
        laid[n++] = (struct llama_chat_message){"system", own};
    }
    for (size_t i = 0; i < n_messages; i++) {
        if (i == 0 && has_system && !message[i].content[0]) {
            continue;
        }
        content[i] = iflow_format("\t\x7f#%zu;\t", i);
        if (!content[i]) {
            status = iflow_fail_memory(sizeof *content);
            goto cleanup;
        }
        laid[n++] = (struct llama_chat_message){message[i].role, content[i]};
    }
    if (!(status = render(template, laid, n, &text)) && text) {
        status = put_contents(text, message, n_messages, out);
    }

cleanup:
    if (status) {
        iflow_rendering_free(out);
    }
    for (size_t i = 0; content && i < n_messages; i++) {
        free(content[i]);
    }
    free(content);
    free(laid);
    free(text);
    free(own);
    return status;
}
