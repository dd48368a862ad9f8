/* terminal.c - text for people: characters that would steer a terminal or forge a line are shown instead. */
#include "cli/terminal.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool is_shown(uint32_t c) {
    return c < 0x20 || (c >= 0x7F && c < 0xA0) || (c >= 0x2028 && c <= 0x202E) || (c >= 0x2066 && c <= 0x2069);
}

static void show(text *out, uint32_t c) {
    if (c == '\n' || c == '\r' || c == '\t') {
        text_puts(out, c == '\n' ? "\\n" : c == '\r' ? "\\r" : "\\t");
    } else {
        text_printf(out, c < 0x80 ? "\\x%02x" : "\\u%04x", (unsigned)c);
    }
}

/* lines: the text may have several. */
static void add_visible(text *out, const char *bytes, size_t n, bool lines) {
    text_add(out, "", 0);
    for (size_t i = 0; i < n;) {
        const int length = iflow_utf8_length(bytes + i, n - i);
        const uint32_t c = length > 0 ? iflow_utf8_decode(bytes + i, length) : 0;
        /* A carriage return before a line end moves nothing that is there. */
        const bool passes = lines && (c == '\n' || c == '\t' || (c == '\r' && i + 1 < n && bytes[i + 1] == '\n'));
        if (length <= 0) {
            text_printf(out, "\\x%02x", (unsigned char)bytes[i]);
        } else if (is_shown(c) && !passes) {
            show(out, c);
        } else {
            text_add(out, bytes + i, (size_t)length);
        }
        i += length > 0 ? (size_t)length : 1;
    }
}

void visible_line(text *out, const char *bytes, size_t n) {
    add_visible(out, bytes, n, false);
}

const char *visible(const char *string) {
    static text ring[8];
    static size_t next;
    text *out = &ring[next++ % COUNT_OF(ring)];
    out->n = 0;
    visible_line(out, string, strlen(string));
    return out->text;
}

bool print_text(FILE *to, const char *string) {
    if (!isatty(fileno(to))) {
        return fputs(string, to) != EOF;
    }
    text shown = {0};
    add_visible(&shown, string, strlen(string), true);
    const bool ok = fputs(shown.text, to) != EOF;
    text_free(&shown);
    return ok;
}
