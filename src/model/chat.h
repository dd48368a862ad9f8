/* chat.h - a conversation as the model's chat template lays it out: pieces of text, in which what the template wrote is told from what
 * users did. */
#ifndef IFLOW_MODEL_CHAT_H
#define IFLOW_MODEL_CHAT_H

#include "model/model.h"
#include "model/templates.h"

/* Text that is tokenised by itself: with control tokens where the template wrote it, never else. */
typedef struct iflow_chat_piece {
    char *text; /* not empty */
    bool is_input;
} iflow_chat_piece;

typedef struct iflow_chat {
    iflow_chat_piece *piece;
    size_t n_pieces;
    size_t n_head; /* pieces before the documents, which stand where the first user's message begins */
    bool plain;    /* there is no template that can be rendered: plain text */
    bool no_place; /* the template has no place for a system message: it stands before the documents, in the user's message */
} iflow_chat;

/* The role's own name, static ("system", "user", "assistant", "tool"); NULL: there is no such role. */
const char *iflow_chat_role(const char *name);

/* Messages, of which one is a user's at least, with the assistant's turn opened at the end and, where the family has them, thoughts closed.
 * A system message is the template's own where none is given; one that is empty is none. E_ARG: a role that is none of the four; no user's
 * message; E_UNSUPPORTED: the template refuses the messages, or would leave out a tool's; E_MEMORY. */
iflow_status iflow_chat_render(const iflow_model *model, const iflow_message *message, size_t n_messages, iflow_chat *out);

/* What follows an answer: the end of its turn, the user's next message, and the assistant's turn opened. n_head is 0. */
iflow_status iflow_chat_turn(const iflow_model *model, const char *question, iflow_chat *out);

void iflow_chat_free(iflow_chat *chat);

/* Chooses how the model's conversations are rendered, as the model is loaded, by trying. E_MEMORY. */
iflow_status iflow_chat_prepare(iflow_model *model);

/* The system message that a ChatML template puts where a conversation has none: the string in the template's code that opens a system turn,
 * goes on with text and closes the turn. NULL: none. free(). */
char *iflow_chat_own_system(const char *template);

/* chat_known.c: rendering by libllama, which knows templates by their marks and does not run their code. *out has no parts where it does
 * not know this one. Contents are encoded, as chat_marks.h says. E_MEMORY. */
iflow_status iflow_chat_by_libllama(const char *template, const iflow_message *message, size_t n_messages, iflow_rendering *out);

#endif
