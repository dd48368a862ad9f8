/* stop.h - stop strings: where an answer's text has one, and what of it can still become one. */
#ifndef IFLOW_FLOW_STOP_H
#define IFLOW_FLOW_STOP_H

#include "base/base.h"

/* That there are at most IFLOW_MAX_STOPS, and each is UTF-8 of 1 to IFLOW_MAX_STOP_BYTES bytes. E_ARG, E_FORMAT. */
iflow_status iflow_stop_check(const char *const *stop, size_t n_stop);

/* The stop string that is complete first in text[0, n), reading on from byte `from`, before which none was; of those that end at the same
 * byte the longest. -1: none; *at is where it begins. What is found does not depend on the pieces that the text came in. */
int iflow_stop_find(const char *const *stop, size_t n_stop, const char *text, size_t n, size_t from, size_t *at);

/* Bytes at the end of text that a stop string begins with: the most, but less than a whole one. */
size_t iflow_stop_begun(const char *const *stop, size_t n_stop, const char *text, size_t n);

#endif
