/* load.h - how many processors other processes leave free. */
#ifndef IFLOW_COMPUTE_LOAD_H
#define IFLOW_COMPUTE_LOAD_H

#include <stdbool.h>

/* Processors that this process may use. At least 1. */
int iflow_load_processors(void);

/* What was seen of the machine. Zero-initialised: nothing yet. */
typedef struct iflow_load {
    double others; /* other runnable threads on this process's processors, averaged over time */
    double at_ms;  /* of the last look; 0: none */
    int n_free;    /* processors that they leave free, at least 1 */
} iflow_load;

/* Threads to compute with, 1 to n_threads: no more than processors are free. Threads of one graph wait for each other after each node, so
 * that a thread that must share its processor slows all of them, by far more than its share: one thread fewer is faster. To be called
 * before a graph, while of this process's threads only the caller runs. Looks at most every 5 ms; takes some microseconds. */
int iflow_load_threads(iflow_load *load, int n_threads);

/* The number of runnable threads in the text of /proc/loadavg; negative: it is not there. */
int iflow_load_parse(const char *loadavg);

/* What iflow_load_threads() makes of one look: n_running threads run, of which one is the caller's; n_usable of n_online processors may be
 * used. */
int iflow_load_judge(iflow_load *load, double now_ms, int n_running, int n_usable, int n_online, int n_threads);

#endif
