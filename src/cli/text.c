/* text.c - strings of the command: those of base, ending it where there is no memory, and numbers as people read them. */
#include "cli/text.h"

#include "base/publish.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static _Noreturn void end_without_memory(void) {
    fputs("infoflow: out of memory\n", stderr); /* a message of cli_error would need some */
    exit(CLI_FAILED);
}

void *must_realloc(void *old, size_t n, size_t size) {
    void *memory = size && n > SIZE_MAX / size ? NULL : realloc(old, n * size + 1);
    if (!memory) {
        end_without_memory();
    }
    return memory;
}

void *must_alloc(size_t n, size_t size) {
    void *memory = must_realloc(NULL, n, size);
    memset(memory, 0, n * size + 1);
    return memory;
}

char *must_copy(const char *bytes, size_t n_bytes) {
    char *copy = must_alloc(n_bytes, 1);
    memcpy(copy, bytes, n_bytes);
    return copy;
}

void must(iflow_status status) {
    if (status != IFLOW_OK) {
        end_without_memory();
    }
}

void text_add(text *to, const void *bytes, size_t n_bytes) {
    must(iflow_buffer_add(to, bytes, n_bytes));
}

void text_puts(text *to, const char *string) {
    text_add(to, string, strlen(string));
}

void text_vprintf(text *to, const char *format, va_list arguments) {
    must(iflow_buffer_vprintf(to, format, arguments));
}

void text_printf(text *to, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    text_vprintf(to, format, arguments);
    va_end(arguments);
}

void text_free(text *to) {
    iflow_buffer_free(to);
}

char *text_format(const char *format, ...) {
    text out = {0};
    va_list arguments;
    va_start(arguments, format);
    text_vprintf(&out, format, arguments);
    va_end(arguments);
    return out.text;
}

char *text_utf8(const char *bytes, size_t n_bytes) {
    char *copy = iflow_utf8_replaced(bytes, n_bytes);
    must(copy ? IFLOW_OK : IFLOW_E_MEMORY);
    return copy;
}

size_t text_columns(const char *string) {
    size_t n = 0;
    for (; *string; string++) {
        n += ((unsigned char)*string & 0xC0) != 0x80;
    }
    return n;
}

enum { HUMAN_SIZE = 48 };

static char *human_buffer(void) {
    static char ring[8][HUMAN_SIZE];
    static size_t next;
    return ring[next++ % COUNT_OF(ring)];
}

const char *human_bytes(uint64_t n_bytes) {
    static const char *const unit[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    char *out = human_buffer();
    double value = (double)n_bytes;
    size_t u = 0;
    while (value >= 1023.95 && u + 1 < COUNT_OF(unit)) {
        value /= 1024;
        u++;
    }
    snprintf(out, HUMAN_SIZE, u ? "%.1f %s" : "%.0f %s", value, unit[u]);
    return out;
}

const char *human_count(uint64_t n) {
    char digits[24];
    int length = snprintf(digits, sizeof digits, "%" PRIu64, n);
    char *out = human_buffer();
    char *to = out;
    for (int i = 0; i < length; i++) {
        if (i && (length - i) % 3 == 0) {
            *to++ = ',';
        }
        *to++ = digits[i];
    }
    *to = '\0';
    return out;
}

const char *human_age(int64_t seconds) {
    static const struct {
        int64_t seconds;
        const char *name;
    } unit[] = {{86400 * 7, "week"}, {86400, "day"}, {3600, "hour"}, {60, "minute"}, {1, "second"}};
    if (seconds < 1) {
        return "now";
    }
    char *out = human_buffer();
    for (size_t i = 0; i < COUNT_OF(unit); i++) {
        if (seconds < unit[i].seconds) {
            continue;
        }
        int64_t n = seconds / unit[i].seconds;
        snprintf(out, HUMAN_SIZE, "%" PRId64 " %s%s ago", n, unit[i].name, plural((uint64_t)n));
        break;
    }
    return out;
}

const char *human_clock(double seconds) {
    char *out = human_buffer();
    uint64_t s = seconds > 0 ? (uint64_t)(seconds + 0.5) : 0;
    if (s >= 3600) {
        snprintf(out, HUMAN_SIZE, "%" PRIu64 ":%02" PRIu64 ":%02" PRIu64, s / 3600, s / 60 % 60, s % 60);
    } else {
        snprintf(out, HUMAN_SIZE, "%" PRIu64 ":%02" PRIu64, s / 60, s % 60);
    }
    return out;
}

const char *plural(uint64_t n) {
    return n == 1 ? "" : "s";
}

int write_file(const char *path, const char *bytes, size_t n_bytes, bool only_owner) {
    fflush(stdout); /* it may be the same file */
    iflow_status status = iflow_write_file(path, bytes, n_bytes, only_owner);
    return status == IFLOW_OK ? CLI_OK : cli_failed(status, NULL);
}
