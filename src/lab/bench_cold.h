/* bench_cold.h - a store whose files are not in the page cache, and its removal. */
#ifndef IFLOW_LAB_BENCH_COLD_H
#define IFLOW_LAB_BENCH_COLD_H

/* Writes a directory's files out and drops them from the page cache. *resident: the share of them that is there still. CLI_OK, or it was
 * said what went wrong. */
int cold_drop(const char *dir, double *resident);

/* Removes a directory and all that is in it. What cannot be removed is reported. */
void cold_remove(const char *dir);

#endif
