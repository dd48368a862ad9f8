/* prompt.c - tokenises head, prompt and scoring text. What users wrote is never parsed for control tokens; what the template wrote is. */
#include "flow/prompt.h"
#include "model/chat.h"

#include <stdlib.h>
#include <string.h>

static const char default_instruction[] = "Answer the question using the documents above.";

static iflow_status append(iflow_tokens *to, const int32_t *token, size_t n) {
    int32_t *longer = iflow_realloc(to->token, to->n + n, sizeof *longer);
    if (!longer) {
        return iflow_fail_memory((to->n + n) * sizeof *longer);
    }
    to->token = longer;
    if (n) {
        memcpy(to->token + to->n, token, n * sizeof *token);
    }
    to->n += n;
    return IFLOW_OK;
}

static iflow_status append_text(const iflow_model *model, iflow_tokens *to, const char *text, bool parse_special) {
    int32_t *token = NULL;
    size_t n = 0;
    iflow_status status = iflow_tokenize(model, text, strlen(text), parse_special, &token, &n);
    if (!status) {
        status = append(to, token, n);
    }
    free(token);
    return status;
}

static iflow_status append_pieces(const iflow_model *model, iflow_tokens *to, const iflow_chat *chat, size_t from, size_t end) {
    iflow_status status = IFLOW_OK;
    for (size_t i = from; i < end && !status; i++) {
        status = append_text(model, to, chat->piece[i].text, !chat->piece[i].is_input);
    }
    return status;
}

/* Sink and chat header, the caller's system message in it. A header that begins with the sink's first token (<|im_start|> as BOS, Llama 3's
 * <|begin_of_text|>) opens with an attention sink of its own and is the head alone. */
static iflow_status make_head(const iflow_model *model, const iflow_chat *chat, iflow_tokens *head) {
    iflow_tokens text = {0};
    iflow_status status = append_pieces(model, &text, chat, 0, chat->n_head);
    if (!status && (text.n == 0 || text.token[0] != model->sink[0])) {
        /* A sink of several tokens is a BOS and what the template puts after it, and not all templates write the BOS. */
        status = append(head, model->sink, 1);
    }
    if (!status) {
        status = append(head, text.token, text.n);
    }
    free(text.token);
    return status;
}

/* The conversation that a question is: instruction and question as one message. */
static iflow_status render_question(const iflow_model *model, const iflow_ask_params *params, iflow_chat *chat) {
    char *text =
        iflow_format("%s\nQuestion: %s\nAnswer:", params->instruction ? params->instruction : default_instruction, params->question);
    if (!text) {
        return iflow_fail_memory(strlen(params->question));
    }
    const iflow_message message[] = {{"system", params->system}, {"user", text}};
    const size_t skip = params->system ? 0 : 1;
    const iflow_status status = iflow_chat_render(model, message + skip, 2 - skip, chat);
    free(text);
    return status;
}

const char *iflow_prompt_question(const iflow_ask_params *params) {
    const char *text = params->question;
    for (size_t i = params->n_messages; !text && i-- > 0;) {
        text = strcmp(params->messages[i].role, "user") == 0 ? params->messages[i].content : NULL;
    }
    return text ? text : "";
}

iflow_status iflow_prompt_make(const iflow_model *model, const iflow_ask_params *params, iflow_prompt *out) {
    iflow_chat chat = {0};
    iflow_prompt p = {0};
    iflow_status status =
        params->n_messages ? iflow_chat_render(model, params->messages, params->n_messages, &chat) : render_question(model, params, &chat);
    if (!status && !(status = make_head(model, &chat, &p.head)) &&
        !(status = append_pieces(model, &p.prompt, &chat, chat.n_head, chat.n_pieces))) {
        status = params->score_text == IFLOW_SCORE_PROMPT ? append(&p.score, p.prompt.token, p.prompt.n)
                                                          : append_text(model, &p.score, iflow_prompt_question(params), false);
    }
    p.plain = chat.plain;
    p.no_place = chat.no_place;
    iflow_chat_free(&chat);
    if (status) {
        iflow_prompt_free(&p);
    } else {
        *out = p;
    }
    return status;
}

void iflow_prompt_free(iflow_prompt *prompt) {
    free(prompt->head.token);
    free(prompt->prompt.token);
    free(prompt->score.token);
    *prompt = (iflow_prompt){0};
}

iflow_status iflow_prompt_turn(const iflow_model *model, const char *question, iflow_tokens *out) {
    iflow_chat chat = {0};
    iflow_tokens turn = {0};
    iflow_status status = iflow_chat_turn(model, question, &chat);
    if (!status) {
        status = append_pieces(model, &turn, &chat, 0, chat.n_pieces);
    }
    iflow_chat_free(&chat);
    if (status) {
        free(turn.token);
    } else {
        *out = turn;
    }
    return status;
}
