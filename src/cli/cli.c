/* cli.c - messages on standard error, exit statuses, and what an interrupt does. */
#include "cli/cli.h"

#include "cli/progress.h"
#include "cli/terminal.h"
#include "cli/text.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static volatile sig_atomic_t interrupted;
static volatile sig_atomic_t ended; /* by a signal that means the process, not what it is doing */
static volatile sig_atomic_t mode = CLI_SIGNAL_IMMEDIATE;
static volatile int wake[2] = {-1, -1}; /* a pipe that has a byte while the flag is up, once somebody waits by it */
static const char *volatile last_word;

/* A message is a line, whatever the names in it are. */
static void print_message(const char *prefix, const char *format, va_list arguments) {
    text message = {0}, line = {0};
    text_vprintf(&message, format, arguments);
    visible_line(&line, message.text, message.n);
    progress_clear();
    fflush(stdout);
    fprintf(stderr, "%s%s\n", prefix, line.text);
    text_free(&message);
    text_free(&line);
}

void cli_error(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    print_message("infoflow: ", format, arguments);
    va_end(arguments);
}

void cli_note(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    print_message("", format, arguments);
    va_end(arguments);
}

int cli_failed(iflow_status status, const char *what) {
    if (status == IFLOW_E_CANCELLED) {
        return CLI_INTERRUPTED;
    }
    const char *message = iflow_error_message();
    if (message[0] == '\0') {
        message = iflow_status_string(status);
    }
    if (what) {
        cli_error("%s: %s", what, message);
    } else {
        cli_error("%s", message);
    }
    return CLI_FAILED;
}

int cli_finish(int status) {
    if (fflush(stdout) == 0 && !ferror(stdout)) {
        return status;
    }
    cli_error("cannot write to standard output: %s", strerror(errno));
    return status == CLI_OK ? CLI_FAILED : status;
}

static iflow_cancel *volatile token; /* NULL: none yet */

/* What a signal does where it does not end the process. Runs in a signal's handler, in any thread. */
static void raise_interrupt(int number) {
    const int error = errno;
    interrupted = 1;
    iflow_cancel_raise(token, true);
    ended = ended || number != SIGINT;
    if (wake[1] >= 0) {
        ssize_t ignored = write(wake[1], "", 1); /* full: it wakes already */
        (void)ignored;
    }
    errno = error;
}

static void on_signal(int number) {
    const bool again = interrupted && number != SIGHUP; /* a terminal that goes may say so twice */
    if (mode == CLI_SIGNAL_IMMEDIATE || (mode == CLI_SIGNAL_GRACEFUL && again)) {
        ssize_t ignored = write(STDERR_FILENO, "\n", 1);
        ignored = last_word ? write(STDERR_FILENO, last_word, strlen(last_word)) : ignored;
        (void)ignored;
        _exit(CLI_INTERRUPTED);
    }
    raise_interrupt(number);
}

void cli_last_word(const char *line) {
    last_word = line;
}

/* Has this thread use the token that signals raise. */
static void use_token(void) {
    iflow_cancel *made = NULL;
    if (!token) {
        must(iflow_cancel_new(&made));
        token = made;
    }
    iflow_cancel_use(token);
    if (interrupted) { /* it came before there was a token */
        iflow_cancel_raise(token, true);
    }
}

void cli_signals(cli_signal_mode wanted) {
    if (wanted != CLI_SIGNAL_IMMEDIATE) {
        use_token();
    }
    mode = (sig_atomic_t)wanted;
    struct sigaction action = {.sa_handler = on_signal}; /* no SA_RESTART: a read from the terminal must come back */
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    struct sigaction was = {0};
    if (sigaction(SIGHUP, NULL, &was) == 0 && was.sa_handler != SIG_IGN) { /* else it was started by nohup, to stay */
        sigaction(SIGHUP, &action, NULL);
    }
}

bool cli_interrupted(void) {
    return interrupted != 0;
}

bool cli_ended(void) {
    return ended != 0;
}

bool cli_take_interrupt(void) {
    bool was = interrupted != 0;
    char bytes[64];
    while (wake[0] >= 0 && read(wake[0], bytes, sizeof bytes) > 0) {
        ;
    }
    interrupted = 0;
    iflow_cancel_raise(token, false);
    return was;
}

int cli_wake_fd(void) {
    int ends[2];
    if (wake[0] < 0 && pipe2(ends, O_CLOEXEC | O_NONBLOCK) == 0) {
        wake[0] = ends[0];
        wake[1] = ends[1];
    }
    return wake[0];
}
