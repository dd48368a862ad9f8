/* line.h - the prompt of a terminal: reads a line, with editing and a history where the build has libedit. */
#ifndef IFLOW_CLI_LINE_H
#define IFLOW_CLI_LINE_H

#include "cli/text.h"

typedef struct line_reader line_reader;

/* Standard input and standard output must be a terminal. prompt stays. history: whether lines are kept for later chats, and those of
 * earlier ones brought back; the file is infoflow/history in $XDG_STATE_HOME, else in ~/.local/state, its owner's alone. */
line_reader *line_open(const char *prompt, bool history);

typedef enum line_event {
    LINE_END,         /* Ctrl-D, or the terminal is gone */
    LINE_READ,        /* a line, without its end */
    LINE_BAD,         /* a line that is no UTF-8; the next one can be read */
    LINE_INTERRUPTED, /* a signal: what was typed is dropped. The flag is still up: cli_take_interrupt(), cli_ended() */
} line_event;

/* Prompts, and reads a line. Signals must only be noted meanwhile (CLI_SIGNAL_NOTED): the terminal is in a mode of its own. */
line_event line_read(line_reader *reader, text *line);

/* Keeps a line in the history, of this chat and, where that is wanted, of later ones. A file that cannot be written is said once. */
void line_keep(line_reader *reader, const char *line);

/* NULL is allowed. */
void line_close(line_reader *reader);

#endif
