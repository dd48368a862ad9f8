/* page.c - what the HTML pages share: their style, escaped text and facts. */
#include "cli/page.h"

#include "cli/terminal.h"

#include <string.h>

const char *const page_stage_colour[ANSWER_STAGES] = {"#8792a5", "#56b4e9", "#2f6fdb", "#9b5de5",
                                                      "#e05299", "#e8772e", "#d9a90f", "#2a9d6f"};

/* Everything is in the page: that nothing else is loaded is said to the browser, too. */
static const char head[] =
    "<!DOCTYPE html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n"
    "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'\">\n"
    "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
    "<style>\n"
    ":root{color-scheme:light dark;--bg:#fbfaf8;--card:#fff;--ink:#1d1f23;--dim:#666b75;--line:#dedcd6;--hot:224 104 20;--mark:#1b5fd0}\n"
    "@media (prefers-color-scheme:dark){:root{--bg:#16181c;--card:#1e2126;--ink:#e6e4df;--dim:#989da8;--line:#343840;--hot:240 128 48;"
    "--mark:#7db4ff}}\n"
    "*{box-sizing:border-box}\n"
    "body{margin:0;background:var(--bg);color:var(--ink);font:16px/1.55 system-ui,-apple-system,'Segoe UI',Roboto,sans-serif}\n"
    ".page{max-width:62rem;margin:0 auto;padding:2rem 1.25rem 4rem}\n"
    "h1{font-size:1.45rem;line-height:1.3;margin:0 0 1rem}\n"
    "h2{font-size:.8rem;letter-spacing:.06em;text-transform:uppercase;color:var(--dim);margin:2.2rem 0 .7rem;font-weight:600}\n"
    ".facts{display:grid;grid-template-columns:repeat(auto-fill,minmax(9.5rem,1fr));gap:.75rem;margin:1rem 0 0;padding:0}\n"
    ".facts div{background:var(--card);border:1px solid var(--line);border-radius:6px;padding:.55rem .8rem}\n"
    ".facts dt{font-size:.78rem;color:var(--dim)}.facts "
    "dd{margin:0;font-size:1.1rem;font-variant-numeric:tabular-nums;overflow-wrap:anywhere}\n"
    "svg{display:block;width:100%}\n"
    ".legend{display:flex;flex-wrap:wrap;gap:.3rem 1.2rem;margin:.6rem 0 0;padding:0;list-style:none;font-size:.88rem;"
    "font-variant-numeric:tabular-nums}\n"
    ".legend b{display:inline-block;width:.75em;height:.75em;border-radius:2px;margin-right:.45em}\n"
    ".legend span{color:var(--dim)}\n"
    ".note{color:var(--dim);font-size:.88rem;margin:.4rem 0}\n"
    "label{margin-right:1.2rem;font-size:.88rem;cursor:pointer}\n"
    ".chunk{background:var(--card);border:1px solid var(--line);border-radius:6px;margin:.5rem 0;overflow:hidden}\n"
    ".about{display:flex;flex-wrap:wrap;gap:.1rem 1rem;padding:.35rem .8rem;border-bottom:1px solid var(--line);font-size:.78rem;"
    "color:var(--dim);font-variant-numeric:tabular-nums}\n"
    ".about code{font-size:.95em}\n"
    ".text{padding:.7rem .8rem;white-space:pre-wrap;overflow-wrap:anywhere;line-height:1.75}\n"
    ".text span,.text mark{color:inherit;background:rgb(var(--hot) / calc(var(--s,0)*.7));border-radius:2px}\n"
    ".text mark{box-shadow:inset 0 -2px var(--mark);border-radius:2px 2px 0 0}\n"
    ".text :hover{outline:1px solid var(--ink)}\n"
    ".text em{font-style:normal;opacity:.45}\n";

void page_begin(text *out, const char *title, const char *style) {
    text_puts(out, head);
    text_puts(out, style);
    text_puts(out, "</style>\n<title>");
    page_string(out, title);
    text_puts(out, "</title>\n<main class=\"page\">\n");
}

void page_end(text *out) {
    text_puts(out, "</main>\n</html>\n");
}

void page_escape(text *out, const char *bytes, size_t n) {
    for (size_t i = 0; i < n;) {
        int length = iflow_utf8_length(bytes + i, n - i);
        unsigned char c = (unsigned char)bytes[i];
        if (length <= 0) {
            text_puts(out, iflow_utf8_replacement);
            i++;
            continue;
        }
        if (c == '&') {
            text_puts(out, "&amp;");
        } else if (c == '<') {
            text_puts(out, "&lt;");
        } else if (c == '>') {
            text_puts(out, "&gt;");
        } else if (c == '"') {
            text_puts(out, "&quot;");
        } else if ((c < ' ' && c != '\n' && c != '\t') || c == 0x7F) {
            text_printf(out, "&#%d;", c == 0x7F ? 0x2421 : 0x2400 + c);
        } else if (c == '\n' || c == '\t') {
            text_add(out, bytes + i, 1);
        } else { /* what would turn the order of the page's own text around is shown */
            visible_line(out, bytes + i, (size_t)length);
        }
        i += (size_t)length;
    }
}

void page_string(text *out, const char *string) {
    page_escape(out, string, strlen(string));
}

void page_fact(text *out, const char *name, const char *value) {
    text_puts(out, "<div><dt>");
    page_string(out, name);
    text_puts(out, "</dt><dd>");
    page_string(out, value);
    text_puts(out, "</dd></div>");
}

const char *page_file_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}
