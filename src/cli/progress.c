/* progress.c - one progress line on standard error: a bar on a terminal, a plain line now and then elsewhere. */
#include "cli/progress.h"

#include "cli/terminal.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

/* A terminal is redrawn at most this often; a log gets a line at most this often. */
static const double BAR_SECONDS = 0.1, LINE_SECONDS = 10;

static struct {
    bool on, terminal, drawn;
    double shown_at;
} state;

double now_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

void progress_start(bool off) {
    state.on = !off;
    state.terminal = isatty(STDERR_FILENO) != 0;
    state.drawn = false;
    state.shown_at = state.terminal ? 0 : now_seconds();
}

static size_t terminal_columns(void) {
    struct winsize size = {0};
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col >= 20) {
        return size.ws_col;
    }
    return 80;
}

/* Prints at most `columns` characters of a string, without breaking one. */
static void print_columns(const char *string, size_t columns) {
    for (; *string && (columns || ((unsigned char)*string & 0xC0) == 0x80); string++) {
        columns -= ((unsigned char)*string & 0xC0) != 0x80;
        fputc(*string, stderr);
    }
}

static void draw_bar(double share, const char *facts, const char *what) {
    enum { BAR = 24 };
    size_t columns = terminal_columns() - 1, used = 0;
    fputs("\r\033[K", stderr);
    if (share >= 0) {
        int filled = (int)(share * BAR + 0.5);
        fprintf(stderr, "%3.0f%% ", share * 100);
        for (int i = 0; i < BAR; i++) {
            fputs(i < filled ? "█" : "░", stderr);
        }
        fputc(' ', stderr);
        used = BAR + 6;
    }
    fprintf(stderr, "%s", facts);
    used += text_columns(facts);
    if (used + 4 < columns) {
        fputs("  ", stderr);
        print_columns(what, columns - used - 2);
    }
    fflush(stderr);
    state.drawn = true;
}

void progress_show(double share, double seconds_left, const char *rate, const char *what) {
    double now = now_seconds();
    if (!state.on || now - state.shown_at < (state.terminal ? BAR_SECONDS : LINE_SECONDS)) {
        return;
    }
    state.shown_at = now;
    share = share > 1 ? 1 : share;
    what = visible(what);
    char *facts = seconds_left >= 0 ? text_format("%s  %s left", rate, human_clock(seconds_left)) : text_format("%s", rate);
    if (state.terminal) {
        draw_bar(share, facts, what);
    } else if (share >= 0) {
        fprintf(stderr, "%.0f%%  %s  %s\n", share * 100, facts, what);
    } else {
        fprintf(stderr, "%s  %s\n", facts, what);
    }
    free(facts);
}

void progress_clear(void) {
    if (!state.drawn) {
        return;
    }
    fputs("\r\033[K", stderr);
    fflush(stderr);
    state.drawn = false;
    state.shown_at = 0;
}

void progress_end(void) {
    progress_clear();
    state.on = false;
}
