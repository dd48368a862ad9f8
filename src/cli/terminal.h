/* terminal.h - text for people: characters that would steer a terminal or forge a line are shown instead. */
#ifndef IFLOW_CLI_TERMINAL_H
#define IFLOW_CLI_TERMINAL_H

#include "cli/text.h"

/* Names, titles, paths and messages are not ours, and texts and answers even less: all of them come to a terminal through here. What is
 * shown: control characters (C0, DEL and C1), the overrides and isolates of the bidirectional algorithm, line and paragraph separators, and
 * bytes that are not UTF-8; as \n, \r, \t, \x1b for a byte and \u202e for other characters. */

/* Appends n bytes as one line: nothing in them can end it. */
void visible_line(text *out, const char *bytes, size_t n);

/* The same of a string. Each call has one of eight buffers of its own, so that a printf can hold several. */
const char *visible(const char *string);

/* Writes a text of several lines. A terminal gets what is above shown, but line ends and tabs as they are; a file or a pipe gets the bytes.
 * False if the stream failed. */
bool print_text(FILE *to, const char *string);

#endif
