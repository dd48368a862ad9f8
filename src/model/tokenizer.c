/* tokenizer.c - text to tokens and back, through libllama's tokenizer. */
#include "base/cancel.h"
#include "model/calls.h"
#include "model/model.h"
#include "model/stack.h"
#include "model/step.h"

#include <llama.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* libllama splits a text by regular expressions before it looks for tokens, and for many vocabularies by std::regex, which recurses once a
 * character of a match and never says that its stack ends. So the stack is made for the text. Measured: 321 bytes a character with every
 * expression that libllama has, 500 without optimisation. */
enum { STACK_A_CHARACTER = 1024, STACK_BESIDES = 1 << 20, SHORT_STRETCH = 128, LONG_DIGITS = 10000 };

/* Bytes that libllama may tokenise while nobody can cancel it; bytes that we go through between two checks. */
enum { LONG_TEXT = 64 << 10, UNCHECKED = 1 << 20, DETOKENIZED = 4096 /* tokens between two checks */ };

static bool is_letter(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c & 0x80);
}

/* The most characters that one match can span. Of all expressions, none goes on after white space that follows text, except for letters
 * after single spaces (exaone-moe's); white space on either side belongs to it. White space that is not ASCII counts as text, which
 * gives more, never less. */
static iflow_status find_longest_stretch(const char *text, size_t n_bytes, size_t *longest) {
    size_t before = 0, at = 0, checked = 0;
    *longest = 0;
    while (at < n_bytes) {
        if (at - checked >= UNCHECKED) {
            const iflow_status status = iflow_cancel_check();
            if (status) {
                return status;
            }
            checked = at;
        }
        size_t n_text = 0, n_white = 0;
        for (; at < n_bytes; at++) {
            const bool joins = text[at] == ' ' && at > 0 && at + 1 < n_bytes && is_letter(text[at - 1]) && is_letter(text[at + 1]);
            if (iflow_is_space(text[at]) && !joins) {
                break;
            }
            n_text += (text[at] & 0xc0) != 0x80;
        }
        for (; at < n_bytes && iflow_is_space(text[at]); at++) {
            n_white++;
        }
        const size_t n = before + n_text + n_white;
        *longest = n > *longest ? n : *longest;
        before = n_white;
    }
    return IFLOW_OK;
}

/* E_FORMAT, naming the offset; E_CANCELLED. */
static iflow_status check_utf8(const char *text, size_t n_bytes) {
    for (size_t at = 0; n_bytes - at > UNCHECKED;) {
        const size_t n = iflow_utf8_check(text + at, UNCHECKED);
        const iflow_status status = iflow_cancel_check();
        if (status) {
            return status;
        }
        if (n + 4 <= UNCHECKED) { /* no character that the end of this part cuts */
            break;
        }
        at += n;
        if (n_bytes - at <= UNCHECKED && iflow_utf8_check(text + at, n_bytes - at) == n_bytes - at) {
            return IFLOW_OK;
        }
    }
    return iflow_utf8_require("", text, n_bytes);
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
    char *copy; /* text is this, where the call may be left; else NULL */
    int32_t n_bytes, room, n;
    int32_t *out; /* [room] */
    bool parse_special;
    size_t n_stack;
    iflow_status status; /* of the stack */
    iflow_call_error error;
} tokenising;

/* Twice, where there is not room enough: libllama says how much it takes. */
static void run_tokenising(void *user) {
    tokenising *t = user;
    for (bool more = true; more;) {
        iflow_call_tokenize(t->vocab, t->text, t->n_bytes, t->out, t->room, t->parse_special, &t->n, &t->error);
        more = !t->error.status && t->n < 0 && t->n != INT32_MIN;
        if (more) {
            t->room = -t->n;
            free(t->out);
            t->out = iflow_calloc((size_t)t->room, sizeof *t->out);
            if (!t->out) {
                t->error = (iflow_call_error){IFLOW_E_MEMORY, "out of memory"};
                more = false;
            }
        }
    }
}

static void free_tokenising(void *user) {
    tokenising *t = user;
    if (t) {
        free(t->out);
        free(t->copy);
        free(t);
    }
}

/* What libllama is to do with a text. */
static iflow_status new_tokenising(const iflow_model *model, const char *text, size_t n_bytes, bool parse_special, tokenising **out) {
    tokenising *t = calloc(1, sizeof *t);
    const bool is_long = n_bytes > LONG_TEXT;
    if (!t) {
        return iflow_fail_memory(sizeof *t);
    }
    t->vocab = llama_model_get_vocab(model->vocab);
    t->n_bytes = (int32_t)n_bytes;
    t->room = (int32_t)n_bytes / 2 + 16; /* more than enough for most texts */
    t->parse_special = parse_special;
    t->out = iflow_calloc((size_t)t->room, sizeof *t->out);
    t->copy = is_long ? iflow_calloc(n_bytes, 1) : NULL;
    if (!t->out || (is_long && !t->copy)) {
        free_tokenising(t);
        return iflow_fail_memory(n_bytes * 3);
    }
    if (is_long) {
        memcpy(t->copy, text, n_bytes);
    }
    t->text = is_long ? t->copy : text;
    *out = t;
    return IFLOW_OK;
}

/* On a stack of t->n_stack, of which t->status tells. */
static void step_tokenising(void *step) {
    tokenising *t = step;
    t->status = iflow_on_stack(t->n_stack, run_tokenising, t);
}

/* On a stack of n_bytes. *t is NULL where a long text was left. */
static iflow_status tokenize_on_stack(tokenising **t, size_t n_bytes) {
    const size_t page = (size_t)sysconf(_SC_PAGESIZE), n_pages = (size_t)sysconf(_SC_PHYS_PAGES);
    if (n_bytes / page > n_pages / 2 * 3) { /* a third of the stack is really used, so this leaves half of the memory */
        return iflow_fail_memory(n_bytes);
    }
    tokenising *given = *t;
    given->n_stack = n_bytes;
    if (!given->copy) {
        return iflow_on_stack(n_bytes, run_tokenising, given);
    }
    const iflow_status status = iflow_step(given->vocab, step_tokenising, free_tokenising, given);
    if (status) {
        *t = status == IFLOW_E_CANCELLED ? NULL : given;
        return status;
    }
    return given->status ? iflow_fail_memory(n_bytes) : IFLOW_OK; /* its message is the other thread's */
}

/* On this stack where text and matches are short, else on one that is long enough. *t is NULL where a long text was left. */
static iflow_status call_tokenize(tokenising **t, size_t stretch) {
    const size_t n_stack = stretch * STACK_A_CHARACTER + STACK_BESIDES;
    iflow_status status = IFLOW_OK;
    if ((*t)->copy || stretch > SHORT_STRETCH) {
        status = tokenize_on_stack(t, n_stack);
    } else {
        run_tokenising(*t);
    }
    if (status == IFLOW_E_MEMORY && stretch > SHORT_STRETCH) {
        /* Other texts need no such stack: that is a limit on the text, not a machine out of memory. */
        return iflow_fail_in(IFLOW_E_UNSUPPORTED,
                             "a run of %zu characters is too long to be tokenised here (it takes a stack of %zu bytes; line ends or spaces "
                             "in it would do without)",
                             stretch, n_stack);
    }
    return !status && *t && (*t)->error.status ? iflow_call_failed(&(*t)->error, "libllama cannot tokenise the text") : status;
}

/* Tokenises a text at once; *tokens: free(). */
static iflow_status tokenize_piece(const iflow_model *model, const char *text, size_t n_bytes, bool parse_special, int32_t **tokens,
                                   size_t *n_tokens) {
    tokenising *t = NULL;
    size_t stretch = 0;
    iflow_status status = iflow_cancel_check();
    status = status ? status : find_longest_stretch(text, n_bytes, &stretch);
    status = status ? status : new_tokenising(model, text, n_bytes, parse_special, &t);
    if (!status && t) {
        status = call_tokenize(&t, stretch);
    }
    if (!status && t && t->n < 0) {
        status = iflow_fail(IFLOW_E_ARG, "a text of %zu bytes gives more tokens than fit in 31 bits", n_bytes);
    } else if (!status && t) {
        *tokens = t->out;
        *n_tokens = (size_t)t->n;
        t->out = NULL;
    }
    free_tokenising(t);
    return status;
}

/* Where each marker comes next in a text: looked for again only when it is passed, so that a text is gone through once a marker. */
typedef struct marker_search {
    const iflow_model *model;
    const char *text;
    size_t n_bytes;
    size_t *next; /* [n_markers]: n_bytes where there is none */
} marker_search;

static void find_marker(marker_search *s, size_t i, size_t from) {
    const char *marker = s->model->marker[i], *found = memmem(s->text + from, s->n_bytes - from, marker, strlen(marker));
    s->next[i] = found ? (size_t)(found - s->text) : s->n_bytes;
}

/* E_MEMORY, E_CANCELLED; *next is to be freed on success. */
static iflow_status search_markers(const iflow_model *model, const char *text, size_t n_bytes, marker_search *out) {
    iflow_status status = IFLOW_OK;
    *out = (marker_search){model, text, n_bytes, iflow_calloc(model->n_markers, sizeof *out->next)};
    if (!out->next) {
        return iflow_fail_memory(model->n_markers * sizeof *out->next);
    }
    for (size_t i = 0; i < model->n_markers && !(status = iflow_cancel_check()); i++) {
        find_marker(out, i, 0);
    }
    if (status) {
        free(out->next);
        out->next = NULL;
    }
    return status;
}

/* Where the text from `from` on is cut so that no token comes of a marker: after the first character of the next one; else its end. */
static size_t before_marker(marker_search *s, size_t from) {
    size_t end = s->n_bytes;
    for (size_t i = 0; i < s->model->n_markers; i++) {
        if (s->next[i] < from) {
            find_marker(s, i, from);
        }
        end = s->next[i] < end ? s->next[i] + 1 : end;
    }
    while (end < s->n_bytes && (s->text[end] & 0xc0) == 0x80) { /* after a whole character */
        end++;
    }
    return end;
}

/* Text in which markers are text, too. */
static iflow_status tokenize_text(marker_search *s, int32_t **tokens, size_t *n_tokens) {
    iflow_status status = IFLOW_OK;
    int32_t *all = NULL;
    size_t n_all = 0, capacity = 0;
    for (size_t at = 0, end; at < s->n_bytes && !status; at = end) {
        int32_t *piece = NULL;
        size_t n_piece = 0;
        end = before_marker(s, at);
        status = tokenize_piece(s->model, s->text + at, end - at, false, &piece, &n_piece);
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
    iflow_status status = check_utf8(text, n_bytes);
    if (status) {
        return status;
    }
    if (model->digits_take_long && longest_digits(text, n_bytes) > LONG_DIGITS) {
        return iflow_fail(IFLOW_E_UNSUPPORTED,
                          "a run of %zu digits: this model's tokenizer takes time that grows with the square of it; the limit is %d",
                          longest_digits(text, n_bytes), (int)LONG_DIGITS);
    }
    text = text ? text : "";
    if (parse_special || !n_bytes) {
        return tokenize_piece(model, text, n_bytes, parse_special, tokens, n_tokens);
    }
    marker_search search;
    if (!(status = search_markers(model, text, n_bytes, &search))) {
        status = tokenize_text(&search, tokens, n_tokens);
        free(search.next);
    }
    return status;
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
        if (i % DETOKENIZED == DETOKENIZED - 1 && (status = iflow_cancel_check())) {
            break;
        }
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
