/* cli.h - the command's own conventions: its subcommands, exit statuses, messages and signals. */
#ifndef IFLOW_CLI_H
#define IFLOW_CLI_H

#include "infoflow.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define CLI_PRINTF(at, first) __attribute__((format(printf, at, first)))
#else
#define CLI_PRINTF(at, first)
#endif

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

/* What a subcommand returns. */
enum { CLI_OK = 0, CLI_FAILED = 1, CLI_USAGE = 2, CLI_INTERRUPTED = 130 };

/* argv[0] is the subcommand's name. */
int cli_ask(int argc, char **argv);
int cli_chat(int argc, char **argv);
int cli_ingest(int argc, char **argv);
int cli_store(int argc, char **argv);
/* The name of the store's i-th action; NULL after the last one. */
const char *cli_store_action(size_t i);
int cli_methods(int argc, char **argv);
int cli_info(int argc, char **argv);

/* `infoflow: <message>` on standard error, on a line of its own even while a progress bar stands there. */
void cli_error(const char *format, ...) CLI_PRINTF(1, 2);
void cli_note(const char *format, ...) CLI_PRINTF(1, 2);

/* Reports the library's last failure, with what was being done before it (NULL: nothing), and gives the exit status of it. */
int cli_failed(iflow_status status, const char *what);

/* Flushes standard output; a failed write is an error like any other. Gives status, or CLI_FAILED. */
int cli_finish(int status);

/* SIGINT, SIGTERM and SIGHUP, unless that is ignored. IMMEDIATE ends the process at once, which is safe: the store publishes atomically and
 * a dead process's leases are void. GRACEFUL raises the flag and the token that this thread uses from then on: services and the library end
 * soon, with E_CANCELLED or the answer so far; a second signal ends the process. NOTED does the same, however many signals come: whoever
 * waits by cli_wake_fd() sees it at once. */
typedef enum cli_signal_mode { CLI_SIGNAL_IMMEDIATE, CLI_SIGNAL_GRACEFUL, CLI_SIGNAL_NOTED } cli_signal_mode;
void cli_signals(cli_signal_mode mode);
/* A line, with its end, that is said where a signal ends the process; NULL: none (the default). The string stays. */
void cli_last_word(const char *line);
bool cli_interrupted(void);
/* Whether a signal came that is to end the process, not only what it is doing: any but SIGINT. */
bool cli_ended(void);
/* Lowers flag and token again and says whether they were up. */
bool cli_take_interrupt(void);
/* A descriptor that can be read from while the flag is up, for poll(); nothing else reads it. -1: there is none, which poll() passes over.
 */
int cli_wake_fd(void);

#endif
