/* chat_marks.c - puts marks into texts that go through a template, and takes them out again. */
#include "model/chat_marks.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { MARK = '\x7f', BREAK = 'b', LONGEST_TAG = 24 };

/* Whether a mark like <think>, </think> or [THINK] begins here. */
static bool is_thinking(const char *text) {
    for (size_t i = 1; i < LONGEST_TAG && text[i] && text[i] != '>' && text[i] != ']' && !isspace((unsigned char)text[i]); i++) {
        if (strncasecmp(text + i, "think", 5) == 0) {
            return true;
        }
    }
    return false;
}

iflow_status iflow_chat_encode(const iflow_model *model, const char *before, const char *text, bool is_assistant, char **out) {
    static const char break_mark[] = {MARK, BREAK};
    iflow_buffer all = {0};
    iflow_status status = iflow_buffer_add(&all, before, strlen(before));
    for (const char *c = text; *c && !status;) {
        size_t n = 1;
        while ((c[n] & 0xc0) == 0x80) { /* a whole character */
            n++;
        }
        status = iflow_buffer_add(&all, c, n);
        if (!status && *c == MARK) {
            status = iflow_buffer_add(&all, c, 1);
        } else if (!status && model->opens_control[(unsigned char)*c] && c[n] && !(is_assistant && is_thinking(c))) {
            status = iflow_buffer_add(&all, break_mark, sizeof break_mark);
        }
        c += n;
    }
    if (status) {
        iflow_buffer_free(&all);
        return status;
    }
    *out = all.text;
    return IFLOW_OK;
}

iflow_status iflow_chat_add(iflow_chat *chat, const char *text, size_t n_bytes, bool is_input) {
    if (n_bytes == 0) {
        return IFLOW_OK;
    }
    iflow_chat_piece *longer = iflow_realloc(chat->piece, chat->n_pieces + 1, sizeof *longer);
    char *copy = malloc(n_bytes + 1);
    chat->piece = longer ? longer : chat->piece;
    if (!longer || !copy) {
        free(copy);
        return iflow_fail_memory(n_bytes);
    }
    memcpy(copy, text, n_bytes);
    copy[n_bytes] = '\0';
    chat->piece[chat->n_pieces++] = (iflow_chat_piece){.text = copy, .is_input = is_input};
    return IFLOW_OK;
}

iflow_status iflow_chat_decode(const iflow_rendering *rendering, char letter, iflow_chat *chat, size_t *n_marks) {
    iflow_buffer text = {0};
    iflow_status status = iflow_buffer_add(&text, "", 0);
    *n_marks = 0;
    for (size_t i = 0; i < rendering->n_parts && !status; i++) {
        const iflow_rendered_part *part = &rendering->part[i];
        for (const char *c = part->text; *c && !status; c++) {
            const bool is_mark = *c == MARK && (c[1] == letter || c[1] == BREAK), is_doubled = *c == MARK && c[1] == MARK;
            if (!is_mark) {
                status = iflow_buffer_add(&text, c, 1);
                c += is_doubled;
                continue;
            }
            if (*++c == letter || !part->is_input) { /* text of input needs no break */
                status = iflow_chat_add(chat, text.text, text.n, part->is_input);
                text.n = 0;
            }
            if (!status && *c == letter && (*n_marks)++ == 0) {
                chat->n_head = chat->n_pieces;
            }
        }
        if (!status) {
            status = iflow_chat_add(chat, text.text, text.n, part->is_input);
            text.n = 0;
        }
    }
    iflow_buffer_free(&text);
    return status;
}
