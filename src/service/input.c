/* input.c - the reader of texts: files, pipes, standard input and memory as UTF-8, whole or line by line. */
#include "service/input.h"

#include "base/cancel.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BLOCK = 1 << 16 };
/* Tokens and pieces of a larger text, or line, would need many times its size. */
static const size_t MAX_BYTES = (size_t)1 << 30;

/* Forgets what was wrong. */
static void clear(input *in) {
    free(in->made);
    in->made = NULL;
    in->why = NULL;
    in->status = IFLOW_OK;
}

/* Takes a message over; NULL: there was no memory for it. */
static void fail(input *in, iflow_status status, char *made) {
    clear(in);
    in->made = made;
    in->why = made ? made : "out of memory";
    in->status = made ? status : IFLOW_E_MEMORY;
}

/* The same, and nothing more is read. */
static bool give_up(input *in, iflow_status status, char *made) {
    fail(in, status, made);
    in->ended = true;
    in->fd = in->fd > STDIN_FILENO ? (close(in->fd), -1) : -1;
    return false;
}

static bool give_up_memory(input *in) {
    return give_up(in, IFLOW_E_MEMORY, NULL);
}

/* ---- Opening ------------------------------------------------------------------------------------------------------------------------ */

bool input_open(input *in, const char *path) {
    const bool is_stdin = strcmp(path, "-") == 0;
    *in = (input){.path = path, .name = is_stdin ? "stdin" : path, .fd = STDIN_FILENO};
    struct stat file;
    /* Without waiting for a writer of a pipe: await() does. */
    if (!is_stdin && (in->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)) < 0) {
        return give_up(in, IFLOW_E_IO, iflow_strdup(strerror(errno)));
    }
    const bool known = fstat(in->fd, &file) == 0;
    if (known && S_ISDIR(file.st_mode)) { /* read would say so, too, but not of every file system */
        return give_up(in, IFLOW_E_IO, iflow_strdup(strerror(EISDIR)));
    }
    in->odd = known && S_ISREG(file.st_mode) && file.st_size % 2;
    return true;
}

int open_regular(const char *path, int flags, const char **why) {
    struct stat file = {0};
    const int fd = open(path, flags | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0666);
    const bool known = fd >= 0 && fstat(fd, &file) == 0;
    if (known && S_ISREG(file.st_mode)) {
        return fd;
    }
    /* ENXIO: a pipe that nobody reads */
    *why = known && S_ISDIR(file.st_mode) ? strerror(EISDIR) : known || errno == ENXIO ? "not a regular file" : strerror(errno);
    if (fd >= 0) {
        close(fd);
    }
    return -1;
}

bool input_open_regular(input *in, const char *path) {
    const char *why = NULL;
    *in = (input){.path = path, .name = path};
    in->fd = open_regular(path, O_RDONLY, &why);
    return in->fd >= 0 || give_up(in, IFLOW_E_IO, iflow_strdup(why));
}

void input_open_memory(input *in, const char *name, const char *bytes, size_t n_bytes) {
    /* The descriptor is never read. */
    *in = (input){.path = name, .name = name, .memory = bytes, .n_memory = n_bytes, .fd = STDIN_FILENO, .odd = n_bytes % 2};
}

void input_close(input *in) {
    if (in->fd > STDIN_FILENO) {
        close(in->fd);
    }
    iflow_buffer_free(&in->raw);
    iflow_buffer_free(&in->ready);
    free(in->made);
    *in = (input){.fd = -1};
}

bool input_failed(const input *in) {
    return in->why && in->fd < 0;
}

/* ---- Encodings ---------------------------------------------------------------------------------------------------------------------- */

static const char *const encoding_name[] = {"", "UTF-8", "UTF-16LE", "UTF-16BE", "UTF-32LE", "UTF-32BE"};

static size_t unit_of(input_encoding encoding) {
    return encoding >= INPUT_UTF32LE ? 4 : encoding >= INPUT_UTF16LE ? 2 : 1;
}

/* The source's name in a command that a message advises. A name that a shell would take for something else is not put there. */
static const char *in_command(const input *in) {
    static const char plain[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz._/+-";
    const bool is_plain = in->path[0] != '-' && strspn(in->path, plain) == strlen(in->path);
    return is_plain ? in->path : "OLD";
}

/* What is wrong, and how to convert the source. Takes `what` over, as with_guess does; NULL: there is no memory. */
static char *with_way_out(const input *in, const char *from, char *what) {
    char *why = what ? iflow_format("%s convert it: iconv -f %s -t UTF-8 %s > NEW", what, from, in_command(in)) : NULL;
    free(what);
    return why;
}

/* Files that people give by mistake, by their first bytes. command: makes a text of one; NULL: nothing does. */
static const struct {
    const char *bytes;
    size_t n;
    const char *what, *command;
} known_binary[] = {{"%PDF-", 5, "a PDF file", "pdftotext %s NEW.txt"},
                    {"PK\3\4", 4, "a ZIP archive, as .docx, .odt, .epub and .xlsx files are", "pandoc -t plain %s > NEW.txt"},
                    {"\xD0\xCF\x11\xE0", 4, "an old office document, as .doc and .xls files are", NULL},
                    {"\x1F\x8B", 2, "compressed", "gzip -dc %s > NEW.txt"},
                    {"BZh", 3, "compressed", "bzip2 -dc %s > NEW.txt"},
                    {"\xFD\x37zXZ", 5, "compressed", "xz -dc %s > NEW.txt"},
                    {"\x28\xB5\x2F\xFD", 4, "compressed", "zstd -dc %s > NEW.txt"},
                    {"\x89PNG", 4, "a picture", NULL},
                    {"\xFF\xD8\xFF", 3, "a picture", NULL},
                    {"GIF8", 4, "a picture", NULL},
                    {"\x7F"
                     "ELF",
                     4, "a program", NULL},
                    {"GGUF", 4, "a GGUF file, as models are", NULL},
                    {"SQLite format 3", 15, "a database", NULL}};

/* Whether the first bytes are those of a known kind of file that is no text. Gives it up then. */
static bool is_known_binary(input *in) {
    for (size_t i = 0; i < sizeof known_binary / sizeof known_binary[0]; i++) {
        if (in->raw.n < known_binary[i].n || memcmp(in->raw.text, known_binary[i].bytes, known_binary[i].n) != 0) {
            continue;
        }
        char *why = iflow_format("not a text: it is %s", known_binary[i].what), *command = NULL;
        const char *percent = known_binary[i].command ? strchr(known_binary[i].command, '%') : NULL;
        if (why && percent) {
            command = iflow_format("%s. Make a text of it: %.*s%s%s", why, (int)(percent - known_binary[i].command),
                                   known_binary[i].command, in_command(in), percent + 2);
            free(why);
            why = command;
        }
        in->binary = true;
        give_up(in, IFLOW_E_FORMAT, why);
        return true;
    }
    return false;
}

/* UTF-16 without a mark: of the first bytes, every other one is zero (mostly, as not all of it is ASCII) and those between are not. UTF-32
 * has three of four. NULL: neither. */
static const char *unmarked(const iflow_buffer *raw) {
    size_t zero[4] = {0}, n = raw->n < 1024 ? raw->n : 1024;
    for (size_t i = 0; i < n; i++) {
        zero[i % 4] += raw->text[i] == '\0';
    }
    const size_t most = n / 4 - n / 16, few = n / 32; /* of each fourth of them */
    if (n < 4) {
        return NULL;
    }
    if (zero[1] >= most && zero[3] >= most && zero[0] <= few) {
        return zero[2] >= most ? "UTF-32LE" : zero[2] <= few ? "UTF-16LE" : NULL;
    }
    if (zero[0] >= most && zero[2] >= most && zero[3] <= few) {
        return zero[1] >= most ? "UTF-32BE" : zero[1] <= few ? "UTF-16BE" : NULL;
    }
    return NULL;
}

static uint32_t unit_at(const unsigned char *b, size_t size, bool big) {
    uint32_t c = 0;
    for (size_t i = 0; i < size; i++) {
        c |= (uint32_t)b[big ? i : size - 1 - i] << 8 * (size - 1 - i);
    }
    return c;
}

/* Whether people write with it: a character of UTF-16 in the blocks of the living scripts. *certain: it hardly comes about
 * by chance. */
static bool is_written(uint32_t c, bool *certain) {
    static const struct {
        uint16_t first, last;
    } block[] = {{'\t', '\r'},     {' ', '~'},       {0xA0, 0x17FF},   {0x1E00, 0x1FFF}, {0x2010, 0x206F}, {0x20A0, 0x20CF},
                 {0x2100, 0x23FF}, {0x2500, 0x26FF}, {0x3000, 0x30FF}, {0x3400, 0x9FFF}, {0xAC00, 0xD7A3}, {0xFF01, 0xFFEE}};
    *certain = *certain || c == ' ' || c == '\n' || c == 0x3000 || c == 0x3001 || c == 0x3002 || c == 0xFF0C ||
               (c >= 0x100 && c < 0x900); /* half of it would be a control character */
    for (size_t i = 0; i < sizeof block / sizeof block[0]; i++) {
        if (c >= block[i].first && c <= block[i].last) {
            return true;
        }
    }
    return false;
}

/* How many of the first bytes' characters are written ones, if they are taken for UTF-16; 0: they cannot be. */
static size_t count_written(const unsigned char *b, size_t n, bool big, bool *certain) {
    size_t n_written = 0, n_all = 0;
    for (size_t at = 0; at + 2 <= n; at += 2, n_all++) {
        const uint32_t c = unit_at(b + at, 2, big);
        if (c >= 0xDC00 && c < 0xE000) {
            return 0;
        }
        if (c >= 0xD800 && c < 0xDC00) {
            const uint32_t low = at + 4 <= n ? unit_at(b + at + 2, 2, big) : 0xDC00;
            if (low < 0xDC00 || low >= 0xE000) {
                return 0;
            }
            at += 2;
            n_written++;
        } else {
            n_written += is_written(c, certain);
        }
    }
    return n_written * 20 >= n_all * 19 ? n_written : 0;
}

/* Whether the bytes at odd and at even places are much the same ones, as in all encodings of a byte or two a character. */
static bool is_even(const unsigned char *b, size_t n) {
    size_t count[2][256] = {{0}}, common = 0;
    for (size_t i = 0; i < n; i++) {
        count[i % 2][b[i]]++;
    }
    for (size_t i = 0; i < 256; i++) {
        common += count[0][i] < count[1][i] ? count[0][i] : count[1][i];
    }
    return common * 4 >= n; /* half of either's */
}

/* Whether bytes could begin a text in UTF-8: no zero, no control character, nothing damaged. */
static bool may_be_utf8(const char *bytes, size_t n) {
    for (size_t i = 0; i < n;) {
        const int length = iflow_utf8_length(bytes + i, n - i);
        const unsigned char c = (unsigned char)bytes[i];
        if (length == 0 || (c < ' ' && !(c >= '\t' && c <= '\r') && c != '\033')) {
            return false;
        }
        i += length > 0 ? (size_t)length : n - i;
    }
    return true;
}

/* UTF-16 without a mark of a script whose characters have no zero bytes. Sets what it may be; true if it can hardly be anything else. An
 * odd number of bytes is never UTF-16: then nothing is set. */
static bool guess_utf16(input *in) {
    const unsigned char *b = (const unsigned char *)in->raw.text;
    const size_t n = (in->raw.n < 1024 ? in->raw.n : 1024) & ~(size_t)1;
    bool certain[2] = {false, false};
    if (n < 4 || in->odd || is_even(b, n) || may_be_utf8(in->raw.text, n)) {
        return false;
    }
    const size_t little = count_written(b, n, false, &certain[0]), big = count_written(b, n, true, &certain[1]);
    if (!little && !big) {
        return false;
    }
    in->maybe = big > little ? "UTF-16BE" : "UTF-16LE";
    in->swapped = little && big ? (big > little ? "UTF-16LE" : "UTF-16BE") : NULL;
    return !in->swapped && certain[big > little];
}

/* Finds out from the first bytes. False if they are of an encoding that has to be named. */
static bool recognise(input *in) {
    static const struct {
        const char *bytes;
        size_t n;
        input_encoding encoding;
    } mark[] = {{"\xEF\xBB\xBF", 3, INPUT_UTF8},
                {"\xFF\xFE\0\0", 4, INPUT_UTF32LE}, /* before UTF-16, whose mark is a part of it */
                {"\0\0\xFE\xFF", 4, INPUT_UTF32BE},
                {"\xFF\xFE", 2, INPUT_UTF16LE},
                {"\xFE\xFF", 2, INPUT_UTF16BE}};
    if (is_known_binary(in)) {
        return false;
    }
    in->encoding = INPUT_UTF8;
    for (size_t m = 0; m < sizeof mark / sizeof mark[0]; m++) {
        if (in->raw.n >= mark[m].n && memcmp(in->raw.text, mark[m].bytes, mark[m].n) == 0) {
            in->encoding = mark[m].encoding;
            in->offset = in->raw_at = mark[m].n;
            in->raw.n -= mark[m].n;
            memmove(in->raw.text, in->raw.text + mark[m].n, in->raw.n);
            return true;
        }
    }
    const char *name = unmarked(&in->raw);
    if (!name && guess_utf16(in)) {
        name = in->maybe;
    }
    return !name || give_up(in, IFLOW_E_FORMAT,
                            with_way_out(in, name, iflow_format("not UTF-8 but %s, it seems, without a byte-order mark;", name)));
}

static iflow_status add_character(iflow_buffer *out, uint32_t c) {
    static const uint32_t first[] = {0, 0, 0xC0, 0xE0, 0xF0}; /* bits of the first byte, by length */
    const int n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    char bytes[4];
    for (int i = n - 1; i > 0; i--, c >>= 6) {
        bytes[i] = (char)(0x80 | (c & 0x3F));
    }
    bytes[0] = (char)(first[n] | c);
    return iflow_buffer_add(out, bytes, (size_t)n);
}

/* Moves what is whole of raw into ready, as UTF-8. False if it is no text in this encoding. */
static bool convert(input *in) {
    const size_t size = unit_of(in->encoding), n = in->raw.n;
    const bool big = in->encoding == INPUT_UTF16BE || in->encoding == INPUT_UTF32BE;
    const unsigned char *b = (const unsigned char *)in->raw.text;
    const char *name = encoding_name[in->encoding];
    size_t at = 0;
    while (at + size <= n) {
        uint32_t c = unit_at(b + at, size, big);
        size_t used = size;
        if (size == 2 && c >= 0xD800 && c < 0xDC00) {
            if (at + 4 > n && !in->ended) {
                break;
            }
            const uint32_t low = at + 4 <= n ? unit_at(b + at + 2, 2, big) : 0;
            c = low >= 0xDC00 && low < 0xE000 ? 0x10000 + ((c - 0xD800) << 10) + (low - 0xDC00) : c;
            used = 4;
        }
        if ((c >= 0xD800 && c < 0xE000) || c > 0x10FFFF) {
            return give_up(in, IFLOW_E_FORMAT,
                           iflow_format("damaged %s: half a pair, or no character, at byte offset %" PRIu64, name, in->raw_at + at));
        }
        if (add_character(&in->ready, c) != IFLOW_OK) {
            return give_up_memory(in);
        }
        at += used;
    }
    if (in->ended && at < n) {
        return give_up(in, IFLOW_E_FORMAT,
                       iflow_format("damaged %s: it ends in the middle of a character, at byte offset %" PRIu64, name, in->raw_at + at));
    }
    in->raw_at += at;
    in->raw.n -= at;
    memmove(in->raw.text, in->raw.text + at, in->raw.n);
    return true;
}

/* ---- Reading ------------------------------------------------------------------------------------------------------------------------ */

/* Waits until there is something to be read, or the end; in short turns, so that a cancellation is seen. */
static iflow_status await(const input *in) {
    enum { TURN_MS = 50 };
    for (;;) {
        const iflow_status status = iflow_cancel_check();
        const int n = status ? 0 : poll(&(struct pollfd){.fd = in->fd, .events = POLLIN}, 1, TURN_MS);
        if (status || n > 0 || (n < 0 && errno != EINTR)) {
            return status;
        }
    }
}

/* Bytes read; negative: errno, which is ECANCELED where this thread's token is raised. */
static ssize_t read_block(input *in, char *block) {
    ssize_t n = 0;
    if (in->memory) {
        const size_t taken = in->n_memory < BLOCK ? in->n_memory : BLOCK;
        if (iflow_cancel_check()) {
            errno = ECANCELED;
            return -1;
        }
        memcpy(block, in->memory, taken);
        in->memory += taken;
        in->n_memory -= taken;
        return (ssize_t)taken;
    }
    do {
        if (await(in)) {
            errno = ECANCELED;
            return -1;
        }
        n = read(in->fd, block, BLOCK);
    } while (n < 0 && (errno == EINTR || errno == EAGAIN));
    return n;
}

/* Reads on; `ended` at the end. False if that cannot be. */
static bool fill(input *in) {
    char *block = malloc(BLOCK); /* a stack may be small */
    if (!block) {
        return give_up_memory(in);
    }
    const ssize_t n = read_block(in, block);
    const bool added = n < 0 || iflow_buffer_add(in->encoding == INPUT_UTF8 ? &in->ready : &in->raw, block, (size_t)n) == IFLOW_OK;
    free(block);
    if (!added) {
        return give_up_memory(in);
    }
    if (n < 0) {
        return give_up(in, errno == ECANCELED ? IFLOW_E_CANCELLED : IFLOW_E_IO, iflow_strdup(strerror(errno)));
    }
    in->ended = n == 0;
    if (in->encoding == INPUT_UTF8) {
        return true;
    }
    if (in->encoding == INPUT_UNKNOWN) {
        /* A mark may come in pieces, but somebody who types waits for an answer to a line. */
        const bool may_be_mark = in->raw.n < 4 && (!memchr(in->raw.text, '\n', in->raw.n) || memchr("\xEF\xFE\xFF", in->raw.text[0], 4));
        if (may_be_mark && !in->ended) {
            return true;
        }
        if (!recognise(in)) {
            return false;
        }
        if (in->encoding == INPUT_UTF8) {
            const bool moved = iflow_buffer_add(&in->ready, in->raw.text, in->raw.n) == IFLOW_OK;
            iflow_buffer_free(&in->raw);
            return moved || give_up_memory(in);
        }
    }
    return convert(in);
}

/* The same with what it may be, if that is UTF-16. */
static char *with_guess(const input *in, char *what) {
    char *maybe = what ? iflow_format("%s; it may be %s%s%s without a byte-order mark: then", what, in->maybe, in->swapped ? " or " : "",
                                      in->swapped ? in->swapped : "")
                       : NULL;
    free(what);
    return with_way_out(in, in->maybe, maybe);
}

/* Where byte i of a text is, as editors count: from 1, characters. Of a line that is read alone, its number is known to the caller. NULL:
 * no memory. */
static char *place_of(const input *in, const char *bytes, size_t i) {
    size_t line = 1, column = 1;
    for (size_t k = 0; k < i; k++) {
        const bool ends = bytes[k] == '\n';
        line += ends;
        column = ends ? 1 : column + (((unsigned char)bytes[k] & 0xC0) != 0x80);
    }
    return in->line ? iflow_format("column %zu", column) : iflow_format("line %zu, column %zu", line, column);
}

/* Whether the first bytes have control characters that no text has. */
static bool has_controls(const char *bytes, size_t n) {
    enum { LOOKED_AT = 4096 };
    for (size_t i = 0; i < n && i < LOOKED_AT; i++) {
        const unsigned char c = (unsigned char)bytes[i];
        if (c < ' ' && !(c >= '\t' && c <= '\r') && c != '\033') {
            return true;
        }
    }
    return false;
}

/* What is wrong with bytes that are not UTF-8 at i. */
static char *not_utf8(input *in, const char *bytes, size_t n, size_t i, const char *place) {
    const unsigned char c = (unsigned char)bytes[i];
    const bool guess = in->maybe && !in->odd;
    if (!guess && has_controls(bytes, n)) {
        in->binary = true;
        return iflow_format("not a text: it has control characters, and no UTF-8 at %s (byte 0x%02x)", place, c);
    }
    char *what = iflow_format("not UTF-8 at %s (byte 0x%02x)", place, c);
    what = guess ? with_guess(in, what) : what;
    char *else_latin = what ? iflow_format("%s; if it is Latin-1 or the like,", what) : NULL;
    free(what);
    return with_way_out(in, "WINDOWS-1252", else_latin);
}

/* Whether bytes, of which those before `from` were looked at, are no text: *why says why not (NULL: there is no memory for it). They begin
 * where the text does, or a line that is read alone. `last`: nothing follows. */
static bool is_wrong(input *in, const char *bytes, size_t n, size_t from, bool last, char **why) {
    for (size_t i = from; i < n;) {
        const int length = iflow_utf8_length(bytes + i, n - i);
        if (bytes[i] != '\0' && length > 0) {
            i += (size_t)length;
            continue;
        }
        char *place = place_of(in, bytes, i);
        if (!place) {
            *why = NULL;
        } else if (bytes[i] == '\0') {
            in->binary = true;
            char *zero = iflow_format("not a text: it has a zero byte at %s", place);
            *why = in->maybe && !in->odd ? with_guess(in, zero) : zero;
        } else if (length < 0 && last) {
            *why = iflow_format("damaged UTF-8: it ends in the middle of a character, at %s", place);
        } else {
            *why = not_utf8(in, bytes, n, i, place);
        }
        free(place);
        return true;
    }
    return false;
}

/* Whether a text of n bytes has one line end at least, and all of them are carriage returns. */
static bool has_cr_alone(const char *bytes, size_t n) {
    return !memchr(bytes, '\n', n) && memchr(bytes, '\r', n);
}

bool input_all(input *in, iflow_buffer *out) {
    char *why = NULL;
    while (!in->ended) {
        const size_t was = in->ready.n;
        if (!fill(in)) {
            return false;
        }
        if (in->ready.n > MAX_BYTES) {
            return give_up(in, IFLOW_E_FORMAT, iflow_format("a text of more than 1 GiB; split it into several files"));
        }
        const char *zero = in->ready.n > was ? memchr(in->ready.text + was, '\0', in->ready.n - was) : NULL;
        const size_t at = zero ? (size_t)(zero - in->ready.text) : 0;
        if (zero && is_wrong(in, in->ready.text, at + 1, at, false, &why)) { /* what is binary may be long */
            return give_up(in, IFLOW_E_FORMAT, why);
        }
    }
    if (in->why) {
        return false;
    }
    if (iflow_buffer_add(&in->ready, "", 0) != IFLOW_OK) {
        return give_up_memory(in);
    }
    in->odd = (in->offset + in->ready.n) % 2; /* all of it is there now */
    if (is_wrong(in, in->ready.text, in->ready.n, 0, true, &why)) {
        return give_up(in, IFLOW_E_FORMAT, why);
    }
    if (has_cr_alone(in->ready.text, in->ready.n)) {
        for (size_t i = 0; i < in->ready.n; i++) {
            in->ready.text[i] = in->ready.text[i] == '\r' ? '\n' : in->ready.text[i];
        }
    }
    *out = in->ready;
    in->ready = (iflow_buffer){0};
    return true;
}

/* Where the line at `taken` ends: at a line feed, or, in a source that has none, a carriage return; at the end of the source. NULL: unknown
 * yet. */
static const char *line_end(input *in) {
    const char *end = in->ready.text + in->ready.n;
    if (in->cr_ends) {
        const char *cr = memchr(in->ready.text + in->taken, '\r', in->ready.n - in->taken);
        return cr ? cr : end;
    }
    const char *lf = memchr(in->ready.text + in->looked, '\n', in->ready.n - in->looked);
    in->looked = in->ready.n;
    if (lf || !in->ended) {
        return lf;
    }
    in->cr_ends = in->line == 0 && has_cr_alone(in->ready.text, in->ready.n); /* all of the source is there */
    return in->cr_ends ? line_end(in) : end;
}

/* Forgets what was handed out. */
static void compact(input *in) {
    in->offset += in->taken;
    in->ready.n -= in->taken;
    memmove(in->ready.text, in->ready.text + in->taken, in->ready.n);
    in->looked -= in->taken;
    in->taken = 0;
}

int input_line(input *in, iflow_buffer *line) {
    const char *end = NULL;
    char *why = NULL;
    if (input_failed(in)) {
        return -1;
    }
    clear(in);
    if (iflow_buffer_add(&in->ready, "", 0) != IFLOW_OK) {
        give_up_memory(in);
        return -1;
    }
    while (!(end = line_end(in))) {
        if (in->taken) {
            compact(in);
        }
        if (!fill(in)) {
            return -1;
        }
        if (in->ready.n > MAX_BYTES) {
            give_up(in, IFLOW_E_FORMAT, iflow_format("a line of more than 1 GiB"));
            return -1;
        }
    }
    const char *start = in->ready.text + in->taken;
    const bool last = end == in->ready.text + in->ready.n;
    const size_t n = (size_t)(end - start);
    if (last && n == 0) {
        return 0;
    }
    const size_t mark = n >= 3 && memcmp(start, "\xEF\xBB\xBF", 3) == 0 ? 3 : 0; /* of a file that was put after another */
    in->line++;
    line->n = 0;
    if (iflow_buffer_add(line, start + mark, n - mark) != IFLOW_OK) {
        give_up_memory(in);
        return -1;
    }
    if (is_wrong(in, start, n, 0, last, &why)) {
        fail(in, IFLOW_E_FORMAT, why);
    }
    in->taken += n + !last;
    in->looked = in->taken;
    return in->why ? -1 : 1;
}
