/* text.h - strings of the command: those of base, ending it where there is no memory, and numbers as people read them. */
#ifndef IFLOW_CLI_TEXT_H
#define IFLOW_CLI_TEXT_H

#include "base/base.h"
#include "base/publish.h"
#include "cli/cli.h"

#include <stdarg.h>
#include <stdio.h>

/* Allocation that ends the command with a message when there is no memory: the library must not do that, a command may. */
void *must_alloc(size_t n, size_t size);
void *must_realloc(void *old, size_t n, size_t size);
char *must_copy(const char *text, size_t n_bytes);
/* The same of functions that fail only where there is no memory. */
void must(iflow_status status);

/* A growing string. Zero-initialised is empty; its text is NUL-terminated once anything was added. */
typedef iflow_buffer text;

void text_add(text *to, const void *bytes, size_t n_bytes);
void text_puts(text *to, const char *string);
void text_printf(text *to, const char *format, ...) CLI_PRINTF(2, 3);
void text_vprintf(text *to, const char *format, va_list arguments) CLI_PRINTF(2, 0);
void text_free(text *to);

/* printf into a new string, to be freed with free(). */
char *text_format(const char *format, ...) CLI_PRINTF(1, 2);

/* A copy in which each byte that is not UTF-8 is U+FFFD. */
char *text_utf8(const char *bytes, size_t n_bytes);
/* Characters in a string, as a terminal's columns. */
size_t text_columns(const char *string);

/* "12.3 MiB", "2,113", "3 hours ago", "1:05". Each call has one of eight static buffers, so that a printf can hold several. */
const char *human_bytes(uint64_t n_bytes);
const char *human_count(uint64_t n);
const char *human_age(int64_t seconds);
const char *human_clock(double seconds);
/* "s" unless n is 1. */
const char *plural(uint64_t n);

/* Writes a whole file or nothing of it (iflow_write_file). CLI_OK, or CLI_FAILED after a message. */
int write_file(const char *path, const char *bytes, size_t n_bytes, bool only_owner);

#endif
