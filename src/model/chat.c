/* chat.c - a conversation as the model's chat template lays it out: by the Jinja engine, else by libllama, else as plain text. */
#include "model/chat.h"
#include "model/chat_marks.h"

#include <llama.h>
#include <stdlib.h>
#include <string.h>

/* Messages with encoded contents, as they go to the template. */
typedef struct messages {
    iflow_message *message;
    size_t n;
} messages;

static void messages_free(messages *t) {
    for (size_t i = 0; i < t->n; i++) {
        free((char *)t->message[i].content);
    }
    free(t->message);
    *t = (messages){0};
}

static bool is_role(const iflow_message *message, const char *role) {
    return strcmp(message->role, role) == 0;
}

static bool has_role(const messages *t, const char *role) {
    for (size_t i = 0; i < t->n; i++) {
        if (is_role(&t->message[i], role)) {
            return true;
        }
    }
    return false;
}

/* ---- Rendering ----------------------------------------------------------------------------------------------------------------------- */

/* Contents one after the other, an empty line between them. */
static iflow_status render_plain(const messages *t, iflow_rendering *out) {
    out->part = iflow_calloc(t->n, sizeof *out->part);
    if (!out->part) {
        return iflow_fail_memory(t->n * sizeof *out->part);
    }
    for (size_t i = 0; i < t->n; i++) {
        char *text = iflow_format("%s%s", t->message[i].content, i + 1 < t->n ? "\n\n" : "");
        if (!text) {
            return iflow_fail_memory(strlen(t->message[i].content));
        }
        out->part[out->n_parts++] = (iflow_rendered_part){.text = text, .is_input = true};
    }
    return IFLOW_OK;
}

static iflow_status render(const iflow_model *model, const messages *t, iflow_rendering *out) {
    const struct llama_vocab *vocab = llama_model_get_vocab(model->vocab);
    const int32_t bos = llama_vocab_bos(vocab), eos = llama_vocab_eos(vocab);
    const iflow_template_options options = {.bos = bos >= 0 ? llama_vocab_get_text(vocab, bos) : "",
                                            .eos = eos >= 0 ? llama_vocab_get_text(vocab, eos) : "",
                                            .add_generation_prompt = true};
    iflow_status status = model->chat_by == IFLOW_CHAT_JINJA ? iflow_template_render(model->chat_template, t->message, t->n, &options, out)
                          : model->chat_by == IFLOW_CHAT_KNOWN
                              ? iflow_chat_by_libllama(llama_model_chat_template(model->vocab, NULL), t->message, t->n, out)
                              : render_plain(t, out);
    if (status) {
        iflow_rendering_free(out);
    }
    return status;
}

/* The pieces, which must have one mark of this letter. */
static iflow_status render_marked(const iflow_model *model, const messages *t, char letter, iflow_chat *out) {
    iflow_rendering rendering = {0};
    iflow_chat chat = {0};
    size_t n_marks = 0;
    iflow_status status = render(model, t, &rendering);
    if (!status && !(status = iflow_chat_decode(&rendering, letter, &chat, &n_marks)) && n_marks != 1) {
        status = iflow_fail(IFLOW_E_UNSUPPORTED, "the chat template of %s writes a user's message %zu times", model->path, n_marks);
    }
    iflow_rendering_free(&rendering);
    if (status) {
        iflow_chat_free(&chat);
        return status;
    }
    *out = chat;
    return IFLOW_OK;
}

/* Where the family's thoughts are to be closed and the template did not, they are. */
static iflow_status close_thoughts(const iflow_model *model, iflow_chat *chat) {
    const char *template = llama_model_chat_template(model->vocab, NULL), *closed = model->arch->no_thinking;
    if (!closed || model->chat_by == IFLOW_CHAT_PLAIN || !template || !strstr(template, "<think>") || !chat->n_pieces) {
        return IFLOW_OK;
    }
    iflow_chat_piece *last = &chat->piece[chat->n_pieces - 1];
    const char *opened = last->is_input ? NULL : strstr(last->text, "<think>");
    if (opened && strstr(opened, "</think>")) {
        return IFLOW_OK;
    }
    if (last->is_input) {
        return iflow_chat_add(chat, closed, strlen(closed), false);
    }
    char *text = iflow_format("%.*s%s", opened ? (int)(opened - last->text) : (int)strlen(last->text), last->text, closed);
    if (!text) {
        return iflow_fail_memory(strlen(last->text));
    }
    free(last->text);
    last->text = text;
    return IFLOW_OK;
}

/* ---- Messages ------------------------------------------------------------------------------------------------------------------------ */

/* Encoded copies; documents stand at the beginning of message `first`. */
static iflow_status encode(const iflow_model *model, const iflow_message *message, size_t n, size_t first, messages *out) {
    messages t = {.message = iflow_calloc(n, sizeof *t.message)};
    iflow_status status = IFLOW_OK;
    if (!t.message) {
        return iflow_fail_memory(n * sizeof *t.message);
    }
    for (size_t i = 0; i < n && !status; i++) {
        char *content = NULL;
        status = iflow_chat_encode(model, i == first ? IFLOW_MARK_DOCUMENTS : "", message[i].content, is_role(&message[i], "assistant"),
                                   &content);
        if (!status) {
            t.message[t.n++] = (iflow_message){.role = message[i].role, .content = content};
        }
    }
    if (status) {
        messages_free(&t);
    }
    *out = t;
    return status;
}

/* The same messages with b's content after a's, which an empty line parts; b is removed. */
static iflow_status join(messages *t, size_t a, size_t b) {
    const bool before = b < a; /* b's content then comes first */
    char *content = iflow_format("%s\n\n%s", t->message[before ? b : a].content, t->message[before ? a : b].content);
    if (!content) {
        return iflow_fail_memory(strlen(t->message[a].content) + strlen(t->message[b].content));
    }
    free((char *)t->message[a].content);
    t->message[a].content = content;
    free((char *)t->message[b].content);
    memmove(t->message + b, t->message + b + 1, (t->n - b - 1) * sizeof *t->message);
    t->n--;
    return IFLOW_OK;
}

/* System messages go to the beginning of the first user's. */
static iflow_status move_system(messages *t) {
    for (size_t i = t->n; i-- > 0;) {
        size_t user = 0;
        while (user < t->n && !is_role(&t->message[user], "user")) {
            user++;
        }
        if (!is_role(&t->message[i], "system")) {
            continue;
        }
        if (i > user) { /* only what stands before can be moved */
            return iflow_fail(IFLOW_E_UNSUPPORTED, "the chat template has no place for a system message after a user's");
        }
        const iflow_status status = join(t, user, i);
        if (status) {
            return status;
        }
    }
    return IFLOW_OK;
}

/* Neighbours of one role become one message. */
static iflow_status merge(messages *t, bool *merged) {
    *merged = false;
    for (size_t i = 1; i < t->n;) {
        if (is_role(&t->message[i], t->message[i - 1].role) && !is_role(&t->message[i], "tool")) {
            const iflow_status status = join(t, i - 1, i);
            if (status) {
                return status;
            }
            *merged = true;
        } else {
            i++;
        }
    }
    return IFLOW_OK;
}

/* Whether every system message and every tool's is in the rendering: with a mark for the content of each, they are as many. */
static iflow_status check_all_there(const iflow_model *model, const messages *t) {
    messages probe = {.message = iflow_calloc(t->n, sizeof *probe.message)};
    size_t n_systems = 0, n_tools = 0, n_marks = 0;
    iflow_rendering rendering = {0};
    iflow_chat chat = {0};
    if (!probe.message) {
        return iflow_fail_memory(t->n * sizeof *probe.message);
    }
    for (size_t i = 0; i < t->n; i++) {
        const bool is_system = is_role(&t->message[i], "system") && !iflow_is_blank(t->message[i].content, strlen(t->message[i].content)),
                   is_tool = is_role(&t->message[i], "tool");
        n_systems += is_system;
        n_tools += is_tool;
        probe.message[probe.n++] =
            (iflow_message){.role = t->message[i].role, .content = is_system || is_tool ? IFLOW_MARK_THERE : t->message[i].content};
    }
    iflow_status status = n_systems + n_tools ? render(model, &probe, &rendering) : IFLOW_OK;
    if (!status && !(status = iflow_chat_decode(&rendering, IFLOW_MARK_THERE[1], &chat, &n_marks)) && n_marks < n_systems + n_tools) {
        status = iflow_fail(IFLOW_E_UNSUPPORTED, "the chat template of %s leaves out a %s", model->path,
                            n_tools ? "message of a system or a tool" : "system message");
    }
    free(probe.message); /* contents are t's */
    iflow_rendering_free(&rendering);
    iflow_chat_free(&chat);
    return status;
}

static iflow_status attempt(const iflow_model *model, const messages *t, iflow_chat *out) {
    const iflow_status status = check_all_there(model, t);
    return status ? status : render_marked(model, t, IFLOW_MARK_DOCUMENTS[1], out);
}

/* As they are; else with system messages in the user's; else with neighbours of one role as one message. */
static iflow_status place(const iflow_model *model, messages *t, iflow_chat *out) {
    bool no_place = false, merged = false;
    iflow_status status = attempt(model, t, out);
    if (status == IFLOW_E_UNSUPPORTED && has_role(t, "system")) {
        no_place = true;
        status = move_system(t);
        status = status ? status : attempt(model, t, out);
    }
    if (status == IFLOW_E_UNSUPPORTED) {
        const iflow_status failed = merge(t, &merged);
        status = failed ? failed : merged ? attempt(model, t, out) : status;
    }
    if (!status) {
        out->no_place = no_place;
    }
    return status;
}

const char *iflow_chat_role(const char *name) {
    static const char *const roles[] = {"system", "user", "assistant", "tool"};
    for (size_t i = 0; i < sizeof roles / sizeof *roles; i++) {
        if (strcmp(roles[i], name) == 0) {
            return roles[i];
        }
    }
    return NULL;
}

iflow_status iflow_chat_render(const iflow_model *model, const iflow_message *message, size_t n_messages, iflow_chat *out) {
    size_t first = n_messages;
    for (size_t i = n_messages; i-- > 0;) {
        if (!iflow_chat_role(message[i].role)) {
            return iflow_fail(IFLOW_E_ARG, "message %zu: '%s' is no role (system, user, assistant and tool are)", i, message[i].role);
        }
        first = is_role(&message[i], "user") ? i : first;
    }
    if (first == n_messages) {
        return iflow_fail(IFLOW_E_ARG, "none of %zu messages is a user's", n_messages);
    }
    /* An empty system message is for templates that would put their own there. */
    size_t skip = 0;
    if (is_role(&message[0], "system") && !message[0].content[0]) {
        const char *template = llama_model_chat_template(model->vocab, NULL);
        char *own = model->chat_by == IFLOW_CHAT_PLAIN ? NULL : iflow_chat_own_system(template);
        skip = own ? 0 : 1;
        free(own);
    }
    messages t = {0};
    iflow_chat chat = {0};
    iflow_status status = encode(model, message + skip, n_messages - skip, first - skip, &t);
    if (!status && !(status = place(model, &t, &chat)) && !(status = close_thoughts(model, &chat))) {
        chat.plain = model->chat_by == IFLOW_CHAT_PLAIN;
        *out = chat;
        chat = (iflow_chat){0};
    }
    iflow_chat_free(&chat);
    messages_free(&t);
    return status;
}

iflow_status iflow_chat_turn(const iflow_model *model, const char *question, iflow_chat *out) {
    const iflow_message message[] = {{"user", "?"}, {"assistant", ""}, {"user", question}};
    messages t = {0};
    iflow_chat chat = {0};
    iflow_status status = encode(model, message, 3, 3, &t);
    if (t.message) {
        free((char *)t.message[1].content);
        t.message[1].content = iflow_strdup(IFLOW_MARK_ANSWER);
        status = t.message[1].content ? IFLOW_OK : iflow_fail_memory(sizeof IFLOW_MARK_ANSWER);
    }
    if (!status && !(status = render_marked(model, &t, IFLOW_MARK_ANSWER[1], &chat)) && !(status = close_thoughts(model, &chat))) {
        for (size_t i = 0; i < chat.n_head; i++) {
            free(chat.piece[i].text);
        }
        chat.n_pieces -= chat.n_head;
        memmove(chat.piece, chat.piece + chat.n_head, chat.n_pieces * sizeof *chat.piece);
        chat.n_head = 0;
        *out = chat;
        chat = (iflow_chat){0};
    }
    iflow_chat_free(&chat);
    messages_free(&t);
    return status;
}

void iflow_chat_free(iflow_chat *chat) {
    for (size_t i = 0; i < chat->n_pieces; i++) {
        free(chat->piece[i].text);
    }
    free(chat->piece);
    *chat = (iflow_chat){0};
}

/* Whether a question and a later one come out of it where they can be found. */
static iflow_status try_out(const iflow_model *model, bool *works) {
    const iflow_message message = {"user", "?"};
    iflow_chat first = {0}, later = {0};
    iflow_status status = iflow_chat_render(model, &message, 1, &first);
    status = status ? status : iflow_chat_turn(model, "?", &later);
    *works = !status;
    iflow_chat_free(&first);
    iflow_chat_free(&later);
    return status == IFLOW_E_MEMORY ? status : IFLOW_OK;
}

iflow_status iflow_chat_prepare(iflow_model *model) {
    const char *template = llama_model_chat_template(model->vocab, NULL);
    bool works = false;
    iflow_status status = IFLOW_OK;
    model->chat_by = IFLOW_CHAT_PLAIN;
    if (!template || strchr(template, '\x7f')) { /* by marks of ours: none that anybody knows */
        return IFLOW_OK;
    }
    status = iflow_template_parse(template, &model->chat_template);
    if (status == IFLOW_OK) {
        model->chat_by = IFLOW_CHAT_JINJA;
        status = try_out(model, &works);
    }
    if (status == IFLOW_E_MEMORY || works) {
        return status;
    }
    iflow_template_free(model->chat_template);
    model->chat_template = NULL;
    model->chat_by = IFLOW_CHAT_KNOWN;
    status = try_out(model, &works);
    model->chat_by = works ? IFLOW_CHAT_KNOWN : IFLOW_CHAT_PLAIN;
    return status;
}
