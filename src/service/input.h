/* input.h - the reader of texts: files, pipes, standard input and memory as UTF-8, whole or line by line. */
#ifndef IFLOW_SERVICE_INPUT_H
#define IFLOW_SERVICE_INPUT_H

#include "base/base.h"

typedef enum input_encoding { INPUT_UNKNOWN, INPUT_UTF8, INPUT_UTF16LE, INPUT_UTF16BE, INPUT_UTF32LE, INPUT_UTF32BE } input_encoding;

/* A byte-order mark at the beginning is dropped; UTF-16 and UTF-32 are converted where it tells them. What is no text, is in another
 * encoding or ends within a character is refused: `why` then says at which byte of the source, and the way out. Where no line feed comes,
 * carriage returns end lines. */
typedef struct input {
    const char *name;    /* for messages; standard input: "stdin" */
    const char *path;    /* "-": standard input */
    const char *why;     /* what is wrong, until the next call; NULL: nothing */
    iflow_status status; /* of it: E_IO, E_FORMAT (not such a text), E_MEMORY, E_CANCELLED (also while a pipe has nothing); or OK */
    bool binary;         /* what is wrong is that this is no text at all */
    size_t line;         /* the number of the last line */
    /* The reader's own. */
    const char *memory; /* what of a text in memory was not read yet; NULL: it is a file */
    size_t n_memory;
    int fd;
    input_encoding encoding;
    iflow_buffer raw, ready;     /* read; converted and not handed out yet, from `taken` on */
    size_t taken, looked;        /* of ready: up to here there is no line feed */
    uint64_t raw_at;             /* of the source, where raw begins */
    uint64_t offset;             /* of the source, where ready begins, if it is UTF-8 */
    const char *maybe, *swapped; /* what it may be instead, of the first bytes: UTF-16 of either order; NULL: nothing says so */
    char *made;                  /* the memory of `why` */
    bool odd;                    /* the source has an odd number of bytes, so far as is known */
    bool ended, cr_ends;
} input;

/* Opens a regular file, by flags of open(2), and gives its descriptor; -1 with *why (static, until the next call). Nothing waits for a pipe
 * or a device: they are refused. */
int open_regular(const char *path, int flags, const char **why);

/* Opens a file, or standard input for "-". False with `why`. Close it either way. */
bool input_open(input *in, const char *path);
/* The same where nothing but a regular file will do: a pipe or a device fails, and nothing waits for it. */
bool input_open_regular(input *in, const char *path);
/* The same of a text in memory, which must stay. name: for messages. */
void input_open_memory(input *in, const char *name, const char *bytes, size_t n_bytes);
/* The whole text, at most 1 GiB. */
bool input_all(input *in, iflow_buffer *out);
/* The next line, without its end, until the next call. 1; 0 at the end; -1 with `why`, when the line cannot be used (the next can be read,
 * unless input_failed). */
int input_line(input *in, iflow_buffer *line);
/* Whether nothing more can be read. */
bool input_failed(const input *in);
void input_close(input *in);

#endif
