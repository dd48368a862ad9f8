/* conversation.c - a conversation of several messages, as a request brings it, made ready for iflow_context_ask(). */
#include "service/conversation.h"

#include "model/chat.h"

#include <stdlib.h>
#include <string.h>

static bool is_role(const char *role, const char *name) {
    return strcmp(role, name) == 0;
}

/* Appends to the system message, which is the first. */
static iflow_status extend_system(conversation *c, const char *content) {
    char *joined = iflow_format("%s\n\n%s", c->message[0].content, content);
    if (!joined) {
        return iflow_fail_memory(strlen(content));
    }
    free((char *)c->message[0].content);
    c->message[0].content = joined;
    return IFLOW_OK;
}

iflow_status conversation_add(conversation *c, const char *role, const char *content) {
    const char *known = iflow_chat_role(strcmp(role, "developer") == 0 ? "system" : role);
    if (!known) {
        return iflow_fail(IFLOW_E_ARG, "'%s' is no role of a message (system, developer, user, assistant and tool are)", role);
    }
    iflow_status status = iflow_utf8_require("a message is ", content, strlen(content));
    const bool is_system = is_role(known, "system"), has_system = c->n && is_role(c->message[0].role, "system");
    if (status || (is_system && has_system)) {
        return status ? status : extend_system(c, content);
    }
    char *copy = iflow_strdup(content);
    if (!copy) {
        return iflow_fail_memory(strlen(content));
    }
    if ((status = iflow_reserve((void **)&c->message, &c->capacity, c->n + 1, sizeof *c->message))) {
        free(copy);
        return status;
    }
    const size_t at = is_system ? 0 : c->n;
    memmove(c->message + at + 1, c->message + at, (c->n - at) * sizeof *c->message);
    c->message[at] = (iflow_message){.role = known, .content = copy};
    c->n++;
    return IFLOW_OK;
}

/* The text of a content. *out: free(). */
static iflow_status content_of(const json_t *content, size_t i, char **out) {
    iflow_buffer text = {0};
    iflow_status status = iflow_buffer_add(&text, "", 0);
    if (!status && json_is_string(content)) {
        status = iflow_buffer_add(&text, json_string_value(content), json_string_length(content));
    } else if (!status && json_is_array(content)) {
        for (size_t p = 0; p < json_array_size(content) && !status; p++) {
            const json_t *part = json_array_get(content, p), *of = json_object_get(part, "text");
            const char *type = json_string_value(json_object_get(part, "type"));
            if (!type || (strcmp(type, "text") == 0 && !json_is_string(of))) {
                status = iflow_fail(IFLOW_E_FORMAT, "message %zu: part %zu of its content is no {\"type\": \"text\", \"text\": ...}", i, p);
            } else if (strcmp(type, "text") != 0) {
                status = iflow_fail(IFLOW_E_UNSUPPORTED, "message %zu: a part of the type '%s' is not supported; text is", i, type);
            } else if (!(status = iflow_buffer_add(&text, "\n", p > 0))) {
                status = iflow_buffer_add(&text, json_string_value(of), json_string_length(of));
            }
        }
    } else if (!status && content && !json_is_null(content)) {
        status = iflow_fail(IFLOW_E_FORMAT, "message %zu: its content is neither a string nor an array of parts", i);
    }
    if (status) {
        iflow_buffer_free(&text);
        return status;
    }
    *out = text.text;
    return IFLOW_OK;
}

static iflow_status add_object(conversation *c, const json_t *message, size_t i) {
    const char *role = json_string_value(json_object_get(message, "role"));
    char *content = NULL;
    if (!role) {
        return iflow_fail(IFLOW_E_FORMAT, "message %zu is no object with a role", i);
    }
    if (json_array_size(json_object_get(message, "tool_calls")) > 0) {
        return iflow_fail(IFLOW_E_UNSUPPORTED, "message %zu: calls of tools are not supported", i);
    }
    iflow_status status = content_of(json_object_get(message, "content"), i, &content);
    if (!status && (status = conversation_add(c, role, content))) {
        status = iflow_fail_in(status, "message %zu", i);
    }
    free(content);
    return status;
}

iflow_status conversation_add_json(conversation *c, const json_t *messages) {
    conversation made = {0};
    iflow_status status = json_is_array(messages) ? IFLOW_OK : iflow_fail(IFLOW_E_FORMAT, "messages are no array");
    for (size_t i = 0; i < c->n && !status; i++) {
        status = conversation_add(&made, c->message[i].role, c->message[i].content);
    }
    for (size_t i = 0; i < json_array_size(messages) && !status; i++) {
        status = add_object(&made, json_array_get(messages, i), i);
    }
    if (status) {
        conversation_free(&made);
        return status;
    }
    conversation_free(c);
    *c = made;
    return IFLOW_OK;
}

iflow_status conversation_ask(const conversation *c, iflow_ask_params *params) {
    const char *last = c->n ? c->message[c->n - 1].role : "";
    bool has_user = false;
    for (size_t i = 0; i < c->n; i++) {
        has_user = has_user || is_role(c->message[i].role, "user");
    }
    if (!has_user) {
        return iflow_fail(IFLOW_E_ARG, "none of the messages is a user's");
    }
    if (!is_role(last, "user") && !is_role(last, "tool")) {
        return iflow_fail(IFLOW_E_ARG, "the last message must be a user's or a tool's; it is of the role '%s'", last);
    }
    params->question = NULL;
    params->messages = c->message;
    params->n_messages = c->n;
    return IFLOW_OK;
}

void conversation_free(conversation *c) {
    for (size_t i = 0; i < c->n; i++) {
        free((char *)c->message[i].content);
    }
    free(c->message);
    *c = (conversation){0};
}
