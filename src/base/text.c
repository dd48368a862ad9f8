/* text.c - growing strings, printf into them, white space, and UTF-8: what is valid, and U+FFFD in the place of what is not. */
#include "base/base.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

iflow_status iflow_buffer_add(iflow_buffer *buffer, const void *bytes, size_t n_bytes) {
    if (n_bytes > SIZE_MAX - buffer->n - 1) {
        return iflow_fail_memory(n_bytes);
    }
    const iflow_status status = iflow_reserve((void **)&buffer->text, &buffer->capacity, buffer->n + n_bytes + 1, 1);
    if (status) {
        return status;
    }
    if (n_bytes) {
        memcpy(buffer->text + buffer->n, bytes, n_bytes);
    }
    buffer->n += n_bytes;
    buffer->text[buffer->n] = '\0';
    return IFLOW_OK;
}

iflow_status iflow_buffer_puts(iflow_buffer *buffer, const char *string) {
    return iflow_buffer_add(buffer, string, strlen(string));
}

iflow_status iflow_buffer_vprintf(iflow_buffer *buffer, const char *format, va_list arguments) {
    va_list again;
    va_copy(again, arguments);
    const int n = vsnprintf(NULL, 0, format, arguments);
    const size_t n_bytes = n > 0 ? (size_t)n : 0;
    const iflow_status status = iflow_reserve((void **)&buffer->text, &buffer->capacity, buffer->n + n_bytes + 1, 1);
    if (status == IFLOW_OK) {
        buffer->text[buffer->n] = '\0'; /* stays where the format failed */
        vsnprintf(buffer->text + buffer->n, n_bytes + 1, format, again);
        buffer->n += n_bytes;
    }
    va_end(again);
    return status;
}

void iflow_buffer_free(iflow_buffer *buffer) {
    free(buffer->text);
    *buffer = (iflow_buffer){0};
}

char *iflow_format(const char *format, ...) {
    iflow_buffer out = {0};
    va_list arguments;
    va_start(arguments, format);
    const iflow_status status = iflow_buffer_vprintf(&out, format, arguments);
    va_end(arguments);
    return status == IFLOW_OK ? out.text : NULL;
}

iflow_status iflow_format_to(char **out, const char *format, ...) {
    iflow_buffer text = {0};
    va_list arguments;
    va_start(arguments, format);
    const iflow_status status = iflow_buffer_vprintf(&text, format, arguments);
    va_end(arguments);
    *out = status == IFLOW_OK ? text.text : NULL;
    return status;
}

int iflow_utf8_length(const char *bytes, size_t n_bytes) {
    const unsigned char *b = (const unsigned char *)bytes;
    if (n_bytes == 0) {
        return 0;
    }
    if (b[0] < 0x80) {
        return 1;
    }
    const int length = b[0] >= 0xC2 && b[0] <= 0xDF ? 2 : b[0] >= 0xE0 && b[0] <= 0xEF ? 3 : b[0] >= 0xF0 && b[0] <= 0xF4 ? 4 : 0;
    /* The second byte excludes overlong forms, surrogates and what lies beyond U+10FFFF. */
    unsigned low = b[0] == 0xE0 ? 0xA0 : b[0] == 0xF0 ? 0x90 : 0x80;
    unsigned high = b[0] == 0xED ? 0x9F : b[0] == 0xF4 ? 0x8F : 0xBF;
    for (int i = 1; i < length; i++) {
        if ((size_t)i == n_bytes) {
            return -length;
        }
        if (b[i] < low || b[i] > high) {
            return 0;
        }
        low = 0x80;
        high = 0xBF;
    }
    return length;
}

uint32_t iflow_utf8_decode(const char *bytes, int length) {
    const unsigned char *b = (const unsigned char *)bytes;
    uint32_t c = length == 1 ? b[0] : b[0] & (0x7FU >> length);
    for (int i = 1; i < length; i++) {
        c = c << 6 | (b[i] & 0x3FU);
    }
    return c;
}

bool iflow_is_space(char c) {
    return c == ' ' || (c >= '\t' && c <= '\r');
}

bool iflow_is_blank(const char *text, size_t n_bytes) {
    size_t i = 0;
    while (i < n_bytes && iflow_is_space(text[i])) {
        i++;
    }
    return i == n_bytes;
}

size_t iflow_utf8_check(const char *text, size_t n_bytes) {
    size_t i = 0;
    for (int length = 0; (length = iflow_utf8_length(text + i, n_bytes - i)) > 0;) {
        i += (size_t)length;
    }
    return i;
}

iflow_status iflow_utf8_require(const char *beginning, const char *text, size_t n_bytes) {
    const size_t valid = iflow_utf8_check(text, n_bytes);
    return valid == n_bytes
               ? IFLOW_OK
               : iflow_fail(IFLOW_E_FORMAT, "%sinvalid UTF-8 at byte %zu (0x%02x)", beginning, valid, (unsigned)(unsigned char)text[valid]);
}

const char iflow_utf8_replacement[] = "\xEF\xBF\xBD";

char *iflow_utf8_replaced(const char *bytes, size_t n_bytes) {
    iflow_buffer out = {0};
    iflow_status status = iflow_buffer_add(&out, "", 0);
    for (size_t i = 0; i < n_bytes && status == IFLOW_OK;) {
        const size_t valid = iflow_utf8_check(bytes + i, n_bytes - i);
        status = iflow_buffer_add(&out, bytes + i, valid);
        i += valid;
        if (status == IFLOW_OK && i < n_bytes) {
            status = iflow_buffer_add(&out, iflow_utf8_replacement, sizeof iflow_utf8_replacement - 1);
            i++;
        }
    }
    if (status != IFLOW_OK) {
        iflow_buffer_free(&out);
    }
    return out.text;
}
