/* prompt.c - tokenises head, prompt and scoring text. What users wrote is never parsed for control tokens; what the template wrote is. */
#include "flow/prompt.h"

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

/* Sink and chat header, the caller's system message in it. A header that begins with the sink's first token (<|im_start|> as BOS, Llama 3's
 * <|begin_of_text|>) opens with an attention sink of its own and is the head alone. */
static iflow_status make_head(const iflow_model *model, const iflow_chat *chat, iflow_tokens *head) {
    iflow_tokens text = {0};
    iflow_status status = append_text(model, &text, chat->open, true);
    if (!status && !(status = append_text(model, &text, chat->system, false))) {
        status = append_text(model, &text, chat->header, true);
    }
    if (!status && (text.n == 0 || text.token[0] != model->sink[0])) {
        /* A sink of several tokens is a BOS and what the template puts after it, and libllama renders templates without their BOS. */
        status = append(head, model->sink, 1);
    }
    if (!status) {
        status = append(head, text.token, text.n);
    }
    free(text.token);
    return status;
}

iflow_status iflow_prompt_make(const iflow_model *model, const iflow_ask_params *params, iflow_prompt *out) {
    char *text = NULL;
    iflow_chat chat = {0};
    iflow_prompt p = {0};
    iflow_status status = iflow_chat_split(model, params->system, &chat);
    if (status) {
        goto cleanup;
    }
    text = iflow_format("%s\nQuestion: %s\nAnswer:", params->instruction ? params->instruction : default_instruction, params->question);
    if (!text) {
        status = iflow_fail_memory(strlen(params->question));
        goto cleanup;
    }
    if ((status = make_head(model, &chat, &p.head)) || (status = append_text(model, &p.prompt, text, false)) ||
        (status = append_text(model, &p.prompt, chat.footer, true))) {
        goto cleanup;
    }
    status = params->score_text == IFLOW_SCORE_PROMPT ? append(&p.score, p.prompt.token, p.prompt.n)
                                                      : append_text(model, &p.score, params->question, false);

    p.plain = chat.plain;
    p.no_place = chat.no_place;
    p.footer = chat.footer;
    p.between = chat.between;
    chat.footer = chat.between = NULL;

cleanup:
    iflow_chat_free(&chat);
    free(text);
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
    free(prompt->footer);
    free(prompt->between);
    *prompt = (iflow_prompt){0};
}

iflow_status iflow_prompt_turn(const iflow_model *model, const char *between, const char *question, const char *footer, iflow_tokens *out) {
    iflow_tokens turn = {0};
    iflow_status status = append_text(model, &turn, between, true);
    if (!status) {
        status = append_text(model, &turn, question, false);
    }
    if (!status) {
        status = append_text(model, &turn, footer, true);
    }
    if (status) {
        free(turn.token);
    } else {
        *out = turn;
    }
    return status;
}
