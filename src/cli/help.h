/* help.h - what is printed from a command's table of options: its help, short or whole, and its part of a shell's completion. */
#ifndef IFLOW_CLI_HELP_H
#define IFLOW_CLI_HELP_H

#include "cli/options.h"

/* Help is at most this wide, and the short one at most this high: a terminal's page. tests/cli_usage.sh checks both. */
enum { HELP_WIDTH = 80, HELP_HEIGHT = 24 };

/* The short help has the rows before the table's first heading, the first paragraph of `about`, and of an option's text what comes before a
 * line end. The whole one has all of it, a heading a group. */
typedef enum help_form { HELP_SHORT, HELP_WHOLE, HELP_BASH, HELP_ZSH } help_form;

/* Prints to standard output. CLI_OK, or CLI_FAILED after a message if that cannot be written. */
int help_print(const command_usage *usage, const option_spec *spec, help_form form);

/* What --help prints from here on instead of help, as a shell's completion is made: HELP_BASH or HELP_ZSH. */
void help_instead(help_form form);

/* How a shell completes what follows an option or what is no option. */
typedef enum help_value { HELP_VALUE_NONE, HELP_VALUE_CHOICE, HELP_VALUE_PATH, HELP_VALUE_OTHER } help_value;
help_value help_value_of(const option_spec *row);

#endif
