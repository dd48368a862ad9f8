/* page.h - what the HTML pages share: their style, escaped text and facts. */
#ifndef IFLOW_CLI_PAGE_H
#define IFLOW_CLI_PAGE_H

#include "cli/report.h"
#include "cli/text.h"

/* A stage's colour as CSS, in the order of answer_stage_name: apart from each other in light and dark, and for most who see colours
 * differently. */
extern const char *const page_stage_colour[ANSWER_STAGES];

/* The beginning of a page, its shared style and title, up to the open <main>; style: more of it, without tags. */
void page_begin(text *out, const char *title, const char *style);
void page_end(text *out);

/* Escapes bytes: HTML's own characters, control characters as pictures, bytes that are not UTF-8 as U+FFFD. */
void page_escape(text *out, const char *bytes, size_t n);
void page_string(text *out, const char *string);

/* One of the boxes of a <dl class="facts">. */
void page_fact(text *out, const char *name, const char *value);

/* Where a path's last part begins. */
const char *page_file_name(const char *path);

#endif
