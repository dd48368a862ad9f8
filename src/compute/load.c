/* load.c - how many processors other processes leave free, as Linux tells in /proc/loadavg. */
#include "compute/load.h"

#include "base/base.h"

#include <fcntl.h>
#include <math.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { LOOK_MS = 5, MEMORY_MS = 100 }; /* between two looks; in which an earlier one loses most of its weight */

int iflow_load_processors(void) {
    cpu_set_t set;
    return sched_getaffinity(0, sizeof set, &set) ? 1 : CPU_COUNT(&set);
}

int iflow_load_parse(const char *loadavg) {
    int n_running = 0;
    /* "0.20 0.18 0.12 1/80 11206": averages, runnable and existing threads, the last process. */
    return sscanf(loadavg, "%*s %*s %*s %d/", &n_running) == 1 ? n_running : -1;
}

/* Threads to compute with: no more than processors are free, and at least one. */
static int threads_of(const iflow_load *load, int n_threads) {
    return load->n_free < n_threads ? load->n_free : n_threads;
}

int iflow_load_judge(iflow_load *load, double now_ms, int n_running, int n_usable, int n_online, int n_threads) {
    const double share = n_online > n_usable ? (double)n_usable / n_online : 1;
    const double others = (n_running > 1 ? n_running - 1 : 0) * share;
    const double keep = load->at_ms > 0 ? exp(-(now_ms - load->at_ms) / MEMORY_MS) : 0;
    load->others = keep * load->others + (1 - keep) * others;
    load->at_ms = now_ms;
    const int n_free = n_usable - (int)lround(load->others);
    load->n_free = n_free < 1 ? 1 : n_free;
    return threads_of(load, n_threads);
}

static int count_running(void) {
    char text[128];
    const int fd = open("/proc/loadavg", O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return -1;
    }
    const ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    if (n <= 0) {
        return -1;
    }
    text[n] = '\0';
    return iflow_load_parse(text);
}

int iflow_load_threads(iflow_load *load, int n_threads) {
    const double now = iflow_now_ms();
    if (n_threads == 1) {
        return 1;
    }
    if (load->at_ms > 0 && now - load->at_ms < LOOK_MS) {
        return threads_of(load, n_threads);
    }
    const int n_running = count_running();
    if (n_running < 0) {
        return n_threads; /* no such file: not Linux, or not to be read */
    }
    return iflow_load_judge(load, now, n_running, iflow_load_processors(), (int)sysconf(_SC_NPROCESSORS_ONLN), n_threads);
}
