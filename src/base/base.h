/* base.h - what every room uses: failing with a message, logging, time, growing arrays, hashing, numbers that are not finite. */
#ifndef IFLOW_BASE_H
#define IFLOW_BASE_H

#include "infoflow.h"

#include <stdarg.h>

#if defined(__GNUC__)
#define IFLOW_PRINTF(at, first) __attribute__((format(printf, at, first)))
#else
#define IFLOW_PRINTF(at, first)
#endif

/* Records the message of this thread's last failure and returns status, so that a failing function ends in `return iflow_fail(...)`. */
iflow_status iflow_fail(iflow_status status, const char *format, ...) IFLOW_PRINTF(2, 3);

/* The same for an allocation of n_bytes that failed. */
iflow_status iflow_fail_memory(size_t n_bytes);

/* Whether n_bytes (and a little for what goes with them) are to be had, asked before a call into a library that ends the process where they
 * are not. They are not kept: another thread may take them in between. E_MEMORY. */
iflow_status iflow_memory_require(size_t n_bytes);

/* Whether an argument that a public function needs is NULL; the message names both. Use: if (IFLOW_MISSING(out)) { return IFLOW_E_ARG; } */
#define IFLOW_MISSING(pointer) iflow_missing(__func__, #pointer, (pointer))
bool iflow_missing(const char *function, const char *name, const void *pointer);

/* Puts `prefix: ` before the message of the failure that a callee just reported and returns its status. */
iflow_status iflow_fail_in(iflow_status status, const char *format, ...) IFLOW_PRINTF(2, 3);

void iflow_log(iflow_log_level level, const char *format, ...) IFLOW_PRINTF(2, 3);

/* Monotonic milliseconds. */
double iflow_now_ms(void);

/* calloc and realloc whose product cannot overflow; NULL when there is no memory. n 0 gives a block that free() takes. */
void *iflow_calloc(size_t n, size_t size);
void *iflow_realloc(void *old, size_t n, size_t size);
char *iflow_strdup(const char *text);

/* Makes room for `need` elements in an array that doubles: *array has room for *capacity elements of `size` bytes. */
iflow_status iflow_reserve(void **array, size_t *capacity, size_t need, size_t size);

/* printf into a new string; NULL when there is no memory. */
char *iflow_format(const char *format, ...) IFLOW_PRINTF(1, 2);

/* The same as a status: *out, or E_MEMORY and NULL. */
iflow_status iflow_format_to(char **out, const char *format, ...) IFLOW_PRINTF(2, 3);

/* A growing string. Zero-initialised is empty; text is NUL-terminated once anything was added. */
typedef struct iflow_buffer {
    char *text;
    size_t n, capacity;
} iflow_buffer;

iflow_status iflow_buffer_add(iflow_buffer *buffer, const void *bytes, size_t n_bytes);
iflow_status iflow_buffer_puts(iflow_buffer *buffer, const char *string);
iflow_status iflow_buffer_vprintf(iflow_buffer *buffer, const char *format, va_list arguments) IFLOW_PRINTF(2, 0);
void iflow_buffer_free(iflow_buffer *buffer);

/* XXH3 of 128 bits as 32 lower-case hexadecimal digits. */
void iflow_hash_hex(const void *data, size_t n_bytes, char hex[IFLOW_ID_SIZE]);

/* FNV-1a of 64 bits, of bytes after those that gave `hash`; IFLOW_FNV1A is that of none. */
#define IFLOW_FNV1A UINT64_C(0xCBF29CE484222325)
uint64_t iflow_fnv1a(uint64_t hash, const void *bytes, size_t n_bytes);

/* Hashing piece by piece. iflow_hasher_new() gives NULL when there is no memory; iflow_hasher_hex() ends it and frees. */
typedef struct iflow_hasher iflow_hasher;
iflow_hasher *iflow_hasher_new(void);
void iflow_hasher_add(iflow_hasher *hasher, const void *data, size_t n_bytes);
void iflow_hasher_hex(iflow_hasher *hasher, char hex[IFLOW_ID_SIZE]);

/* The value of an environment variable; NULL if it is not set or empty. */
const char *iflow_environment(const char *name);

/* Infoflow's directory in one of the XDG base directory specification: that which the variable names, else `in_home` in the home
 * directory. Paths that are not absolute are ignored, as the specification has it. *out: a new string; NULL if nothing says where.
 * E_MEMORY. */
iflow_status iflow_user_directory(const char *variable, const char *in_home, char **out);

/* Index of the first of n numbers that is NaN or infinite; n: none is. */
size_t iflow_finite_first(const float *value, size_t n);

/* Bytes of the UTF-8 character at bytes: 1 to 4; 0 if there is none; negative: of one that n_bytes cuts off. */
int iflow_utf8_length(const char *bytes, size_t n_bytes);

/* The character of `length` bytes that iflow_utf8_length() has measured. */
uint32_t iflow_utf8_decode(const char *bytes, int length);

/* White space as texts are cut and judged by it: ASCII's (space, \t \n \v \f \r). NUL is none. */
bool iflow_is_space(char c);
/* Whether there is nothing else in it. */
bool iflow_is_blank(const char *text, size_t n_bytes);

/* Offset of the first byte that does not continue valid UTF-8 (no overlong forms, no surrogates), n_bytes when all is valid. A character
 * cut off at the end is invalid. */
size_t iflow_utf8_check(const char *text, size_t n_bytes);

/* E_FORMAT where that is not all: "invalid UTF-8 at byte 5 (0xff)" after a beginning of the caller's, such as "the question is ". */
iflow_status iflow_utf8_require(const char *beginning, const char *text, size_t n_bytes);

/* U+FFFD, and a copy in which it stands for each byte that is not UTF-8 (NULL: no memory). */
extern const char iflow_utf8_replacement[4];
char *iflow_utf8_replaced(const char *bytes, size_t n_bytes);

#endif
