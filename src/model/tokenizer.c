/* tokenizer.c - text to tokens and back, and the sink tokens, through libllama's vocabulary. */
#include "base/cancel.h"
#include "model/calls.h"
#include "model/chat.h"
#include "model/model.h"
#include "model/stack.h"
#include "model/step.h"

#include <ctype.h>
#include <llama.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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
        uint64_t hash = UINT64_C(0xcbf29ce484222325);
        for (const char *c = text; *c; c++) {
            hash = (hash ^ (unsigned char)*c) * UINT64_C(0x100000001b3);
        }
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

/* ---- Tokenising -------------------------------------------------------------------------------------------------------------------- */

/* libllama splits a text by regular expressions before it looks for tokens, and for many vocabularies by std::regex, which recurses once a
 * character of a match and never says that its stack ends. So the stack is made for the text. Measured: 321 bytes a character with every
 * expression that libllama has, 500 without optimisation. */
enum { STACK_A_CHARACTER = 1024, STACK_BESIDES = 1 << 20, SHORT_STRETCH = 128, LONG_DIGITS = 10000 };

static bool is_white(char c) {
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool is_letter(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c & 0x80);
}

/* The most characters that one match can span. Of all expressions, none goes on after white space that follows text, except for letters
 * after single spaces (exaone-moe's); white space on either side belongs to it. White space that is not ASCII counts as text, which
 * gives more, never less. */
static size_t longest_stretch(const char *text, size_t n_bytes) {
    size_t longest = 0, before = 0, at = 0;
    while (at < n_bytes) {
        size_t n_text = 0, n_white = 0;
        for (; at < n_bytes; at++) {
            const bool joins = text[at] == ' ' && at > 0 && at + 1 < n_bytes && is_letter(text[at - 1]) && is_letter(text[at + 1]);
            if (is_white(text[at]) && !joins) {
                break;
            }
            n_text += (text[at] & 0xc0) != 0x80;
        }
        for (; at < n_bytes && is_white(text[at]); at++) {
            n_white++;
        }
        const size_t n = before + n_text + n_white;
        longest = n > longest ? n : longest;
        before = n_white;
    }
    return longest;
}

static size_t longest_digits(const char *text, size_t n_bytes) {
    size_t longest = 0, n = 0;
    for (size_t i = 0; i < n_bytes; i++) {
        n = text[i] >= '0' && text[i] <= '9' ? n + 1 : 0;
        longest = n > longest ? n : longest;
    }
    return longest;
}

typedef struct tokenising {
    const struct llama_vocab *vocab;
    const char *text;
    int32_t n_bytes, room, n;
    int32_t *out;
    bool parse_special;
    iflow_call_error error;
} tokenising;

static void run_tokenising(void *user) {
    tokenising *t = user;
    iflow_call_tokenize(t->vocab, t->text, t->n_bytes, t->out, t->room, t->parse_special, &t->n, &t->error);
}

/* On this stack where matches are short, else on one that is long enough. */
static iflow_status call_tokenize(tokenising *t, size_t stretch) {
    if (stretch <= SHORT_STRETCH) {
        run_tokenising(t);
    } else {
        const size_t page = (size_t)sysconf(_SC_PAGESIZE), n_pages = (size_t)sysconf(_SC_PHYS_PAGES);
        const size_t n_stack = stretch * STACK_A_CHARACTER + STACK_BESIDES;
        /* A third of the stack is really used, so this leaves half of the memory. */
        const iflow_status status =
            n_stack / page > n_pages / 2 * 3 ? iflow_fail_memory(n_stack) : iflow_on_stack(n_stack, run_tokenising, t);
        if (status) {
            /* Other texts need no such stack: that is a limit on the text, not a machine out of memory. */
            return iflow_fail_in(
                IFLOW_E_UNSUPPORTED,
                "a run of %zu characters is too long to be tokenised here (it takes a stack of %zu bytes; line ends or spaces "
                "in it would do without)",
                stretch, n_stack);
        }
    }
    return t->error.status ? iflow_call_failed(&t->error, "libllama cannot tokenise the text") : IFLOW_OK;
}

/* Tokenises a text at once; *tokens: free(). */
static iflow_status tokenize_piece(const iflow_model *model, const char *text, size_t n_bytes, bool parse_special, int32_t **tokens,
                                   size_t *n_tokens) {
    const iflow_status cancelled = iflow_cancel_check();
    if (cancelled) {
        return cancelled;
    }
    const size_t stretch = longest_stretch(text, n_bytes);
    tokenising t = {.vocab = llama_model_get_vocab(model->vocab),
                    .text = text,
                    .n_bytes = (int32_t)n_bytes,
                    .room = (int32_t)n_bytes / 2 + 16, /* more than enough for most texts; libllama says how much else */
                    .parse_special = parse_special};
    for (;;) {
        t.out = iflow_calloc((size_t)t.room, sizeof *t.out);
        if (!t.out) {
            return iflow_fail_memory((size_t)t.room * sizeof *t.out);
        }
        const iflow_status status = call_tokenize(&t, stretch);
        if (!status && t.n >= 0) {
            *tokens = t.out;
            *n_tokens = (size_t)t.n;
            return IFLOW_OK;
        }
        free(t.out);
        if (status || t.n == INT32_MIN) {
            return status ? status : iflow_fail(IFLOW_E_ARG, "a text of %zu bytes gives more tokens than fit in 31 bits", n_bytes);
        }
        t.room = -t.n;
    }
}

/* Bytes up to after the first character of the next marker in a text, where it is cut so that no token comes of it; all, if there is none.
 */
static size_t before_marker(const iflow_model *model, const char *text, size_t n_bytes) {
    size_t n = n_bytes;
    for (size_t i = 0; i < model->n_markers; i++) {
        const char *found = memmem(text, n, model->marker[i], strlen(model->marker[i]));
        n = found ? (size_t)(found - text) + 1 : n;
    }
    while (n < n_bytes && (text[n] & 0xc0) == 0x80) { /* after a whole character */
        n++;
    }
    return n;
}

/* Text in which markers are text, too. */
static iflow_status tokenize_text(const iflow_model *model, const char *text, size_t n_bytes, int32_t **tokens, size_t *n_tokens) {
    iflow_status status = IFLOW_OK;
    int32_t *all = NULL;
    size_t n_all = 0, capacity = 0;
    for (size_t at = 0, n; at < n_bytes && !status; at += n) {
        int32_t *piece = NULL;
        size_t n_piece = 0;
        n = before_marker(model, text + at, n_bytes - at);
        status = tokenize_piece(model, text + at, n, false, &piece, &n_piece);
        if (!status && !(status = iflow_reserve((void **)&all, &capacity, n_all + n_piece + 1, sizeof *all)) && n_piece) {
            memcpy(all + n_all, piece, n_piece * sizeof *all);
            n_all += n_piece;
        }
        free(piece);
    }
    if (status) {
        free(all);
        return status;
    }
    *tokens = all;
    *n_tokens = n_all;
    return IFLOW_OK;
}

iflow_status iflow_tokenize(const iflow_model *model, const char *text, size_t n_bytes, bool parse_special, int32_t **tokens,
                            size_t *n_tokens) {
    if (IFLOW_MISSING(model) || (n_bytes && IFLOW_MISSING(text)) || IFLOW_MISSING(tokens) || IFLOW_MISSING(n_tokens)) {
        return IFLOW_E_ARG;
    }
    if (n_bytes > INT32_MAX / 2) {
        return iflow_fail(IFLOW_E_ARG, "a text of %zu bytes is too long to tokenise at once; the limit is %d", n_bytes, INT32_MAX / 2);
    }
    iflow_status status = iflow_utf8_require("", text, n_bytes);
    if (status) {
        return status;
    }
    if (model->digits_take_long && longest_digits(text, n_bytes) > LONG_DIGITS) {
        return iflow_fail(IFLOW_E_UNSUPPORTED,
                          "a run of %zu digits: this model's tokenizer takes time that grows with the square of it; the limit is %d",
                          longest_digits(text, n_bytes), (int)LONG_DIGITS);
    }
    text = text ? text : "";
    return !parse_special && before_marker(model, text, n_bytes) < n_bytes
               ? tokenize_text(model, text, n_bytes, tokens, n_tokens)
               : tokenize_piece(model, text, n_bytes, parse_special, tokens, n_tokens);
}

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
    return text[0] && text[1] && !is_white(text[0]) && !isalnum((unsigned char)text[0]);
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
    iflow_status status = iflow_step(do_read, free_reading, r);
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

iflow_status iflow_detokenize(const iflow_model *model, const int32_t *tokens, size_t n_tokens, char **text) {
    if (IFLOW_MISSING(model) || (n_tokens && IFLOW_MISSING(tokens)) || IFLOW_MISSING(text)) {
        return IFLOW_E_ARG;
    }
    if (n_tokens > INT32_MAX) {
        return iflow_fail(IFLOW_E_ARG, "%zu tokens; at most %d are possible", n_tokens, INT32_MAX);
    }
    const struct llama_vocab *vocab = llama_model_get_vocab(model->vocab);
    iflow_buffer buffer = {0};
    iflow_status status = iflow_buffer_add(&buffer, "", 0);
    for (size_t i = 0; !status && i < n_tokens; i++) {
        char piece[256], *longer = NULL;
        if (tokens[i] < 0 || tokens[i] >= model->n_vocab) {
            status = iflow_fail(IFLOW_E_ARG, "token %d is not in the vocabulary of %d", (int)tokens[i], model->n_vocab);
            break;
        }
        int32_t n = 0;
        status = iflow_call_piece(vocab, tokens[i], piece, sizeof piece, &n);
        if (!status && n < 0) {
            longer = malloc((size_t)-n);
            if (!longer) {
                status = iflow_fail_memory((size_t)-n);
                break;
            }
            status = iflow_call_piece(vocab, tokens[i], longer, -n, &n);
        }
        status = status ? status : iflow_buffer_add(&buffer, longer ? longer : piece, n > 0 ? (size_t)n : 0);
        free(longer);
    }
    if (status) {
        iflow_buffer_free(&buffer);
        return status;
    }
    *text = buffer.text;
    return IFLOW_OK;
}
