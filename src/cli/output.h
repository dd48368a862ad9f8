/* output.h - files that the command writes where the user says: looked at before the work begins, and never somebody's own document. */
#ifndef IFLOW_CLI_OUTPUT_H
#define IFLOW_CLI_OUTPUT_H

#include "cli/cli.h"

typedef enum output_kind { OUTPUT_PAGE, OUTPUT_CHART, OUTPUT_PROFILE, OUTPUT_CORRECTION } output_kind;

/* Whether a file of a kind can go to path: there is none yet, or an empty one, or an earlier one of the same kind, and its directory can be
 * written to; a pipe or a device is written to. Nothing is opened to be written, made or removed. option: "--html", for messages. "-" is
 * refused. CLI_OK, or the exit status after a message. */
int output_check(const char *option, const char *path, output_kind kind);

/* Whether two paths are one file, or one name. "-" as the first is standard input. */
bool same_file(const char *a, const char *b);
/* The same, or would be one, however they are spelt. */
bool same_place(const char *a, const char *b);

#endif
