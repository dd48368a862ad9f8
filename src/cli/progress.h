/* progress.h - one progress line on standard error: a bar on a terminal, a plain line now and then elsewhere. */
#ifndef IFLOW_CLI_PROGRESS_H
#define IFLOW_CLI_PROGRESS_H

#include "cli/cli.h"

/* off: shows nothing. */
void progress_start(bool off);
/* share: 0 to 1, negative if the whole is unknown; seconds_left: negative if unknown; rate: like "312 tokens/s"; what: being worked on. */
void progress_show(double share, double seconds_left, const char *rate, const char *what);
/* Takes the bar off the terminal, so that other text can be printed; the next progress_show brings it back. */
void progress_clear(void);
void progress_end(void);

/* Monotonic seconds. */
double now_seconds(void);

#endif
