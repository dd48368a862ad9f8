/* conversation.h - a conversation of several messages, as a request brings it, made ready for iflow_context_ask().
 *
 * Documents stand between the head and the prompt: at the beginning of the first user's message. System messages, wherever they came, go to
 * the head as one; so the head is the same in every turn of a conversation, and so is what was computed after it. Earlier turns and the
 * question go to the prompt. */
#ifndef IFLOW_SERVICE_CONVERSATION_H
#define IFLOW_SERVICE_CONVERSATION_H

#include "base/base.h"

#include <jansson.h>

/* Zero-initialised is empty. */
typedef struct conversation {
    iflow_message *message; /* [n]: copies of their own; a system message is the first, if there is one */
    size_t n, capacity;
} conversation;

/* Adds a message. role: "user", "assistant", "tool", "system" or "developer", which is the same; system messages are joined by an empty
 * line. E_ARG: another role; E_FORMAT: the content is not UTF-8; E_MEMORY. */
iflow_status conversation_add(conversation *c, const char *role, const char *content);

/* Adds an array of messages in the form of OpenAI's chat completions: {"role", "content"}, where content is a string, null (none), or an
 * array of
 * {"type": "text", "text"}, which are joined by line ends. Other members are not looked at, but "tool_calls" must be empty. Nothing is
 * added on failure. E_FORMAT: another form; E_UNSUPPORTED: a part that is no text, calls of tools; else as conversation_add(). */
iflow_status conversation_add_json(conversation *c, const json_t *messages);

/* Has params ask with it: sets messages and n_messages, which are the conversation's, and question to NULL. E_ARG: the last message is
 * neither a user's nor a tool's, or no user's is there. */
iflow_status conversation_ask(const conversation *c, iflow_ask_params *params);

void conversation_free(conversation *c);

#endif
