/* templates.h - chat templates by the pinned distribution's Jinja engine. A template comes from a model's file and is not
 * trusted: it cannot run for long, use much memory or end the process. Without the engine (INFOFLOW_TEMPLATES=OFF at build time) all of
 * this is E_UNSUPPORTED and iflow_templates_available() false. */
#ifndef IFLOW_MODEL_TEMPLATES_H
#define IFLOW_MODEL_TEMPLATES_H

#ifdef __cplusplus
extern "C" {
#endif

#include "base/base.h"

bool iflow_templates_available(void);

/* A parsed template. Immutable, shared between threads. */
typedef struct iflow_template iflow_template;

/* E_FORMAT: no Jinja; E_UNSUPPORTED: longer than 128 KiB or nested too deeply; E_MEMORY. */
iflow_status iflow_template_parse(const char *text, iflow_template **out);
void iflow_template_free(iflow_template *tmpl);

typedef struct iflow_template_options {
    const char *bos, *eos;      /* texts of these tokens; NULL: "" */
    bool add_generation_prompt; /* open the assistant's turn at the end */
    int64_t now;                /* Unix seconds, for templates that write the date; 0: the clock's */
} iflow_template_options;

/* A piece of a rendering: text of the template, or text that came with the messages. */
typedef struct iflow_rendered_part {
    char *text; /* NUL-terminated */
    bool is_input;
} iflow_rendered_part;

typedef struct iflow_rendering {
    iflow_rendered_part *part; /* neighbours differ in is_input; none is empty */
    size_t n_parts;
} iflow_rendering;

void iflow_rendering_free(iflow_rendering *rendering);

/* Renders messages; roles are the template's text, contents are input. The template is told not to think (enable_thinking is false). Input
 * may be marked that came about from input and the template's own text together; the template's text is never input's alone, but for single
 * characters that the template took out of a content. E_UNSUPPORTED: the template refuses these messages, needs what the engine does not
 * have, or takes too much time or memory; E_MEMORY. */
iflow_status iflow_template_render(const iflow_template *tmpl, const iflow_message *message, size_t n_messages,
                                   const iflow_template_options *options, iflow_rendering *out);

#ifdef __cplusplus
}
#endif

#endif
