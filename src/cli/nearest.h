/* nearest.h - which of several names a mistyped one was to be. */
#ifndef IFLOW_CLI_NEAREST_H
#define IFLOW_CLI_NEAREST_H

#include <stddef.h>

/* The name that differs least from a word of n bytes: by one letter in three at most that was left out, added, replaced, or swapped with
 * the next one. NULL: none is near, or two are as near. */
const char *nearest(const char *word, size_t n, const char *const *names, size_t n_names);

#endif
