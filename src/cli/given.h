/* given.h - the file of --given: the positions to recompute, or a score for each position. */
#ifndef IFLOW_CLI_GIVEN_H
#define IFLOW_CLI_GIVEN_H

#include "cli/ask_options.h"
#include "service/given.h"

/* Reads a JSON file, {"positions": [...]} or {"scores": [...]}, whatever else the object has; "-": standard input, which none of the n
 * documents may be then. CLI_OK; CLI_FAILED after a message on what is wrong with it; CLI_USAGE after one on the command line: options that
 * go with scores where the file has positions. */
int given_read(const command_usage *usage, const char *path, const ask_settings *settings, char *const *documents, size_t n, given *out);

#endif
