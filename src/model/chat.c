/* chat.c - a conversation as the model's chat template lays it out, by libllama, with the messages kept apart from it. */
#include "model/calls.h"
#include "model/model.h"

#include <llama.h>
#include <stdlib.h>
#include <string.h>

/* Renders messages through the template; *out stays NULL where libllama does not know it. E_MEMORY. free(). */
static iflow_status render(const char *template, const struct llama_chat_message *message, size_t n, char **out) {
    int32_t room = 256;
    for (size_t i = 0; i < n; i++) {
        room += (int32_t)strlen(message[i].content) * 2 + 256;
    }
    for (;;) {
        char *text = malloc((size_t)room + 1);
        int32_t used = -1;
        if (!text) {
            return iflow_fail_memory((size_t)room + 1);
        }
        const iflow_status status = iflow_call_template(template, message, n, text, room, &used);
        if (!status && used >= 0 && used <= room) {
            text[used] = '\0';
            *out = text;
            return IFLOW_OK;
        }
        free(text);
        if (status || used < 0) {
            return status == IFLOW_E_MEMORY ? status : IFLOW_OK;
        }
        room = used;
    }
}

static char *copy_range(const char *from, const char *to) {
    const size_t n = (size_t)(to - from);
    char *text = malloc(n + 1);
    if (text) {
        memcpy(text, from, n);
        text[n] = '\0';
    }
    return text;
}

char *iflow_chat_own_system(const char *template) {
    static const char open[] = "<|im_start|>system", close[] = "<|im_end|>";
    for (const char *at = template; (at = strstr(at, open)); at += strlen(open)) {
        const char quote = at > template ? at[-1] : '\0', *from = at + strlen(open);
        if (quote != '\'' && quote != '"') {
            continue;
        }
        from += *from == '\n' ? 1 : strncmp(from, "\\n", 2) == 0 ? 2 : 0;
        char *text = malloc(strlen(from) + 1), *to = text;
        for (; text && *from && *from != quote && strncmp(from, close, strlen(close)) != 0; from++) {
            const bool escaped = *from == '\\' && from[1];
            from += escaped;
            *to++ = (char)(escaped && *from == 'n' ? '\n' : *from);
        }
        if (text && to > text && strncmp(from, close, strlen(close)) == 0) {
            *to = '\0';
            return text;
        }
        free(text);
    }
    return NULL;
}

/* Markers that no template contains stand for the messages, which must not be rendered: a template's text is parsed for control tokens. */
static const char system_mark[] = "\x01system1\x01", user1[] = "\x01user1\x01",
                  answer1[] = "\x01"
                              "answer1\x01",
                  user2[] = "\x01user2\x01";

/* Two turns as a template renders them: a question; and that, its answer and the next question. */
typedef struct rendering {
    char *one, *two;
    const char *system, *user; /* in one: the system message's mark (NULL: it is not there once, before user's), the user's */
    const char *answer, *next; /* in two */
    bool whole;                /* all of them but system's are there */
} rendering;

static void rendering_free(rendering *r) {
    free(r->one);
    free(r->two);
    *r = (rendering){0};
}

/* system: the message as it is to be rendered; NULL: none. E_MEMORY. */
static iflow_status render_turns(const char *template, const char *system, rendering *out) {
    const size_t skip = system ? 0 : 1;
    const struct llama_chat_message turns[] = {{"system", system}, {"user", user1}, {"assistant", answer1}, {"user", user2}};
    rendering r = {0};
    iflow_status status = render(template, turns + skip, 2 - skip, &r.one);
    if (status || (status = render(template, turns + skip, 4 - skip, &r.two))) {
        rendering_free(&r);
        return status;
    }
    r.user = r.one ? strstr(r.one, user1) : NULL;
    r.answer = r.two ? strstr(r.two, answer1) : NULL;
    r.next = r.answer ? strstr(r.answer, user2) : NULL;
    r.whole = r.user && r.next;
    r.system = r.whole ? strstr(r.one, system_mark) : NULL;
    if (r.system && (r.system > r.user || strstr(r.system + 1, system_mark) || strstr(r.answer, system_mark))) {
        r.system = NULL;
    }
    *out = r;
    return IFLOW_OK;
}

static char *stripped(const char *text) {
    static const char space[] = " \t\n\v\f\r";
    text += strspn(text, space);
    const char *end = text + strlen(text);
    while (end > text && strchr(space, end[-1])) {
        end--;
    }
    return copy_range(text, end);
}

/* Without a template that has a place for it the system message is text before the user's. */
static iflow_status split(const rendering *r, const char *system, const char *closed, iflow_chat *out) {
    const char *end = r->system ? r->system + strlen(system_mark) : r->one;
    /* A template that strips messages has stripped the tabs around the mark. */
    const bool tabs = r->system && r->system > r->one && r->system[-1] == '\t' && *end == '\t';
    out->no_place = system && !r->system && r->whole;
    out->plain = !r->whole;
    if (r->system) {
        out->open = copy_range(r->one, r->system - tabs);
        out->system = tabs ? iflow_strdup(system) : stripped(system);
        out->header = copy_range(end + tabs, r->user);
    } else {
        out->open = r->whole ? copy_range(r->one, r->user) : iflow_strdup("");
        out->system = iflow_format("%s%s", system ? system : "", system ? "\n\n" : "");
        out->header = iflow_strdup("");
    }
    out->footer = iflow_format("%s%s", r->whole ? r->user + strlen(user1) : "", r->whole ? closed : "");
    out->between = r->whole ? copy_range(r->answer + strlen(answer1), r->next) : iflow_strdup("\n\n");
    return out->open && out->system && out->header && out->footer && out->between ? IFLOW_OK
                                                                                  : iflow_fail_memory(strlen(system ? system : ""));
}

iflow_status iflow_chat_split(const iflow_model *model, const char *system, iflow_chat *out) {
    const char *template = llama_model_chat_template(model->vocab, NULL);
    const bool marked = strchr(template ? template : "", '\x01') != NULL; /* by marks of ours: none that anybody knows */
    template = marked ? NULL : template;
    /* The template's own message is rendered, as a part of the template. */
    char *own = template && !system ? iflow_chat_own_system(template) : NULL, *mark = iflow_format("\t%s\t", system_mark);
    system = system && system[0] ? system : NULL;
    rendering r = {0};
    iflow_chat chat = {0};
    iflow_status status = mark ? IFLOW_OK : iflow_fail_memory(sizeof system_mark);
    if (status) {
        goto cleanup;
    }
    if (template && (status = render_turns(template, system ? mark : own, &r))) {
        goto cleanup;
    }
    if (system && r.whole && !r.system) {
        rendering_free(&r);
        if ((status = render_turns(template, NULL, &r))) {
            goto cleanup;
        }
    }
    r.system = system ? r.system : NULL;
    const char *closed = r.whole && model->arch->no_thinking && strstr(template, "<think>") ? model->arch->no_thinking : "";
    if ((status = split(&r, system, closed, &chat))) {
        goto cleanup;
    }
    *out = chat;
    chat = (iflow_chat){0};

cleanup:
    iflow_chat_free(&chat);
    rendering_free(&r);
    free(own);
    free(mark);
    return status;
}

void iflow_chat_free(iflow_chat *chat) {
    free(chat->open);
    free(chat->system);
    free(chat->header);
    free(chat->footer);
    free(chat->between);
    *chat = (iflow_chat){0};
}
