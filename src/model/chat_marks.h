/* chat_marks.h - marks in texts that go through a template: where documents stand, and where no control token may come about.
 *
 * A mark is a DEL (0x7f) and a letter; a DEL of the text itself is doubled. Templates leave both as they are, JSON too. So it is known of
 * every piece of a rendering whether a control token's beginning in it came from a user, even where the engine took the piece for the
 * template's own text. */
#ifndef IFLOW_MODEL_CHAT_MARKS_H
#define IFLOW_MODEL_CHAT_MARKS_H

#include "model/chat.h"

#define IFLOW_MARK_DOCUMENTS                                                                                                               \
    "\x7f"                                                                                                                                 \
    "d"
#define IFLOW_MARK_ANSWER                                                                                                                  \
    "\x7f"                                                                                                                                 \
    "a"
#define IFLOW_MARK_THERE                                                                                                                   \
    "\x7f"                                                                                                                                 \
    "t"

/* A content, encoded: before follows as it is, then text. The marks of an assistant's thoughts stay whole, as templates look for them. */
iflow_status iflow_chat_encode(const iflow_model *model, const char *before, const char *text, bool is_assistant, char **out);

/* The pieces of a rendering. *n_marks: how many marks of this letter it had; chat->n_head: pieces before the first of them. E_MEMORY. */
iflow_status iflow_chat_decode(const iflow_rendering *rendering, char letter, iflow_chat *chat, size_t *n_marks);

/* Adds a piece, unless it is empty. E_MEMORY. */
iflow_status iflow_chat_add(iflow_chat *chat, const char *text, size_t n_bytes, bool is_input);

#endif
