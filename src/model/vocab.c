/* vocab.c - loads the vocabulary of a model's file: that it is sound, its sink tokens, and the tokens that no text may become. */
#include "model/calls.h"
#include "model/chat.h"
#include "model/model.h"
#include "model/step.h"

#include <ctype.h>
#include <llama.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- What libllama takes for granted ------------------------------------------------------------------------------------------------- */

/* A string of the metadata; NULL where there is none of this name. */
static const char *metadata_string(const struct gguf_context *gguf, const char *key) {
    const int64_t id = gguf_find_key(gguf, key);
    return id >= 0 && gguf_get_kv_type(gguf, id) == GGUF_TYPE_STRING ? gguf_get_val_str(gguf, id) : NULL;
}

/* The text of a token as libllama takes it: an empty one gets a name, in room. */
static const char *token_text(const struct gguf_context *gguf, int64_t list, size_t i, char room[32]) {
    const char *text = gguf_get_arr_str(gguf, list, i);
    if (text[0]) {
        return text;
    }
    snprintf(room, 32, "[EMPTY_%zu]", i);
    return room;
}

/* No token's text comes twice: a table of n tokens by their hash (FNV-1a), at most half full. */
static iflow_status check_distinct(const iflow_model *model, const struct gguf_context *gguf, int64_t list, size_t n) {
    size_t n_slots = 16;
    while (n_slots < 2 * n) {
        n_slots *= 2;
    }
    uint32_t *slot = iflow_calloc(n_slots, sizeof *slot); /* a token's number and 1 */
    if (!slot) {
        return iflow_fail_memory(n_slots * sizeof *slot);
    }
    iflow_status status = IFLOW_OK;
    for (size_t i = 0; i < n && !status; i++) {
        char room[32], other[32];
        const char *text = token_text(gguf, list, i, room);
        const uint64_t hash = iflow_fnv1a(IFLOW_FNV1A, text, strlen(text));
        size_t at = (size_t)(hash ^ hash >> 32) & (n_slots - 1);
        for (; slot[at] && !status; at = (at + 1) & (n_slots - 1)) {
            if (strcmp(text, token_text(gguf, list, slot[at] - 1, other)) == 0) {
                status = iflow_fail(IFLOW_E_FORMAT, "model %s: tokens %u and %zu of the tokenizer are the same text", model->path,
                                    slot[at] - 1, i);
            }
        }
        slot[at] = (uint32_t)i + 1;
    }
    free(slot);
    return status;
}

/* libllama's own checks of the token lists are assertions, so what they take for granted is checked before. */
static iflow_status check_vocab(iflow_model *model, const struct gguf_context *gguf) {
    static const char *const kinds[] = {"gpt2", "llama", "t5"};
    const char *kind = metadata_string(gguf, "tokenizer.ggml.model"), *pre = metadata_string(gguf, "tokenizer.ggml.pre");
    const int64_t list = gguf_find_key(gguf, "tokenizer.ggml.tokens");
    if (!kind || list < 0 || gguf_get_kv_type(gguf, list) != GGUF_TYPE_ARRAY || gguf_get_arr_type(gguf, list) != GGUF_TYPE_STRING) {
        return iflow_fail(IFLOW_E_FORMAT, "model %s: it holds no tokenizer (tokenizer.ggml.model and .tokens)", model->path);
    }
    bool known = false;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        known = known || strcmp(kind, kinds[i]) == 0;
    }
    if (!known || (pre && strcmp(pre, "whitespace") == 0)) { /* libllama aborts at spaces with that one */
        return iflow_fail(IFLOW_E_UNSUPPORTED, "model %s: a tokenizer of the kind '%s' is not supported (gpt2, llama and t5 are)",
                          model->path, known ? pre : kind);
    }
    model->digits_take_long = pre && strcmp(pre, "superbpe") == 0;
    const size_t n = gguf_get_arr_n(gguf, list);
    if (n != (size_t)model->n_vocab) {
        return iflow_fail(IFLOW_E_FORMAT, "model %s: the tokenizer has %zu tokens, the embeddings have %d rows", model->path, n,
                          model->n_vocab);
    }
    static const struct {
        const char *key;
        enum gguf_type type;
    } same_length[] = {{"tokenizer.ggml.scores", GGUF_TYPE_FLOAT32}, {"tokenizer.ggml.token_type", GGUF_TYPE_INT32}};
    for (size_t i = 0; i < sizeof same_length / sizeof *same_length; i++) {
        const int64_t id = gguf_find_key(gguf, same_length[i].key);
        if (id >= 0 && (gguf_get_kv_type(gguf, id) != GGUF_TYPE_ARRAY || gguf_get_arr_type(gguf, id) != same_length[i].type ||
                        gguf_get_arr_n(gguf, id) != n)) {
            return iflow_fail(IFLOW_E_FORMAT, "model %s: %s is not an array of %zu", model->path, same_length[i].key, n);
        }
    }
    return check_distinct(model, gguf, list, n);
}

/* ---- Sink and markers ---------------------------------------------------------------------------------------------------------------- */

static iflow_status tokenize_special(const iflow_model *model, const char *text, int32_t **tokens, size_t *n_tokens) {
    return iflow_tokenize(model, text, strlen(text), true, tokens, n_tokens);
}

/* *token: what text is, where it is one control token of this vocabulary, else -1. E_MEMORY. */
static iflow_status find_token(const iflow_model *model, const char *text, int32_t *token) {
    int32_t out[2], n = 0;
    iflow_call_error error;
    iflow_call_tokenize(llama_model_get_vocab(model->vocab), text, (int32_t)strlen(text), out, 2, true, &n, &error);
    *token = !error.status && n == 1 ? out[0] : -1;
    return error.status == IFLOW_E_MEMORY ? iflow_call_failed(&error, text) : IFLOW_OK;
}

/* The tokens that stand before every chunk while it is prefilled: what the published method uses for each family. */
static iflow_status find_sink(iflow_model *model, const struct gguf_context *gguf) {
    const struct llama_vocab *vocab = llama_model_get_vocab(model->vocab);
    for (const iflow_sink *sink = model->arch->sinks; sink && sink->text; sink++) {
        bool all = true;
        for (size_t i = 0; i < sizeof sink->known / sizeof *sink->known && sink->known[i]; i++) {
            int32_t token = -1;
            const iflow_status status = find_token(model, sink->known[i], &token);
            if (status) {
                return status;
            }
            all = all && token >= 0;
        }
        if (all) {
            return tokenize_special(model, sink->text, &model->sink, &model->n_sink);
        }
    }
    /* libllama makes up a BOS for a vocabulary that names none, so the metadata decides. */
    const int32_t token = gguf_find_key(gguf, "tokenizer.ggml.bos_token_id") >= 0 ? llama_vocab_bos(vocab) : llama_vocab_eos(vocab);
    if (token < 0 || token >= model->n_vocab) {
        return iflow_fail(IFLOW_E_UNSUPPORTED, "model %s: it names neither a BOS nor an EOS token to serve as attention sink", model->path);
    }
    model->sink = malloc(sizeof *model->sink);
    if (!model->sink) {
        return iflow_fail_memory(sizeof *model->sink);
    }
    model->sink[0] = token;
    model->n_sink = 1;
    return IFLOW_OK;
}

/* Words and white space are in templates, too. */
static bool is_tag(const char *text) {
    return text[0] && text[1] && !iflow_is_space(text[0]) && !isalnum((unsigned char)text[0]);
}

static bool is_in(const iflow_chat *chat, const char *text) {
    for (size_t i = 0; i < chat->n_pieces; i++) {
        if (!chat->piece[i].is_input && strstr(chat->piece[i].text, text)) {
            return true;
        }
    }
    return false;
}

/* Whether a token of a user's own is one that turns are made of: an answer ends with it, the chat template or a turn has it, it looks like
 * one, or the family says so. */
static bool is_marker(const iflow_model *model, const iflow_chat *first, const iflow_chat *later, int32_t token, const char *text) {
    const char *template = llama_model_chat_template(model->vocab, NULL);
    const size_t n = strlen(text);
    bool found = iflow_token_is_end(model, token) || (n > 4 && !strncmp(text, "<|", 2) && !strcmp(text + n - 2, "|>"));
    for (const char *const *of = model->arch->markers; of && *of; of++) {
        found = found || strcmp(*of, text) == 0;
    }
    return is_tag(text) && (found || (template && strstr(template, text)) || is_in(first, text) || is_in(later, text));
}

/* Tokens that text must not become: the bytes that they begin with, and of those that are a user's own, which libllama finds in any text,
 * the texts. */
static iflow_status list_markers(iflow_model *model) {
    const struct llama_vocab *vocab = llama_model_get_vocab(model->vocab);
    const iflow_message turn[] = {{"system", "S"}, {"user", "?"}};
    iflow_chat first = {0}, later = {0};
    iflow_status status = iflow_chat_render(model, turn, 2, &first);
    status = status ? status : iflow_chat_turn(model, "?", &later);
    size_t capacity = 0;
    for (int32_t token = 0; token < model->n_vocab && !status; token++) {
        char *text = NULL;
        const enum llama_token_attr attr = llama_vocab_get_attr(vocab, token);
        if (!(attr & (LLAMA_TOKEN_ATTR_USER_DEFINED | LLAMA_TOKEN_ATTR_CONTROL | LLAMA_TOKEN_ATTR_UNKNOWN))) {
            continue;
        }
        const char *begin = llama_vocab_get_text(vocab, token);
        if (is_tag(begin)) {
            model->opens_control[(unsigned char)begin[0]] = true;
        }
        if (!(attr & LLAMA_TOKEN_ATTR_USER_DEFINED)) {
            continue;
        }
        if (!(status = iflow_detokenize(model, &token, 1, &text)) && is_marker(model, &first, &later, token, text) &&
            !(status = iflow_reserve((void **)&model->marker, &capacity, model->n_markers + 1, sizeof *model->marker))) {
            model->marker[model->n_markers++] = text;
            text = NULL;
        }
        free(text);
    }
    iflow_chat_free(&first);
    iflow_chat_free(&later);
    return status;
}

/* libllama's reading of a vocabulary, which takes 100 ms and more of a large one and cannot be cancelled. */
typedef struct reading {
    char *path;
    struct llama_model *vocab;
    iflow_call_error error;
} reading;

static void do_read(void *step) {
    reading *r = step;
    iflow_call_load_vocab(r->path, &r->vocab, &r->error);
}

static void free_reading(void *step) {
    reading *r = step;
    if (r->vocab) {
        llama_model_free(r->vocab);
    }
    free(r->path);
    free(r);
}

/* *vocab is NULL where libllama refuses the file. */
static iflow_status read_vocab(const char *path, struct llama_model **vocab) {
    reading *r = calloc(1, sizeof *r);
    if (!r || !(r->path = iflow_strdup(path))) {
        free(r);
        return iflow_fail_memory(sizeof *r);
    }
    iflow_status status = iflow_step(NULL, do_read, free_reading, r);
    if (status == IFLOW_E_CANCELLED) {
        return status; /* the reading is not ours any more */
    }
    if (!status && r->error.status) {
        status = iflow_call_failed(&r->error, path);
    }
    *vocab = status ? NULL : r->vocab;
    r->vocab = status ? r->vocab : NULL;
    free_reading(r);
    return status;
}

iflow_status iflow_vocab_load(iflow_model *model, const struct gguf_context *gguf) {
    iflow_status status = check_vocab(model, gguf);
    if (status) {
        return status;
    }
    if ((status = read_vocab(model->path, &model->vocab))) {
        return status;
    }
    if (!model->vocab && (status = iflow_memory_require(IFLOW_ENOUGH))) { /* libllama does not say why it could not */
        return status;
    }
    if (!model->vocab) {
        return iflow_fail(IFLOW_E_UNSUPPORTED, "model %s: libllama cannot read its tokenizer", model->path);
    }
    if (!(status = iflow_chat_prepare(model))) {
        status = list_markers(model);
    }
    return status ? status : find_sink(model, gguf);
}

void iflow_vocab_free(iflow_model *model) {
    if (model->vocab) {
        iflow_step_wait(llama_model_get_vocab(model->vocab)); /* texts that its tokenizer is at, and grammars */
        llama_model_free(model->vocab);
    }
    for (size_t i = 0; i < model->n_markers; i++) {
        free(model->marker[i]);
    }
    free(model->marker);
    free(model->sink);
    iflow_template_free(model->chat_template);
}

bool iflow_token_is_end(const iflow_model *model, int32_t token) {
    return llama_vocab_is_eog(llama_model_get_vocab(model->vocab), token);
}
