/* cut.c - cuts a document into pieces of a given number of tokens, at natural boundaries. */
#include "base/base.h"

#include "base/cancel.h"
#include <stdlib.h>
#include <string.h>

enum { DEFAULT_CHUNK_TOKENS = 512, MOST_CHUNK_TOKENS = INT32_MAX };

static size_t skip_space(const char *text, size_t at, size_t end) {
    while (at < end && iflow_is_space(text[at])) {
        at++;
    }
    return at;
}

static size_t next_character(const char *text, size_t at, size_t end) {
    at++;
    while (at < end && (text[at] & 0xc0) == 0x80) {
        at++;
    }
    return at;
}

/* Boundaries from the one a reader would choose first to the one that is always there. */
typedef enum level { PARAGRAPH, SENTENCE, WORD, CHARACTER, N_LEVELS } level;

/* Whether a piece that starts at `start` may end before byte `at`, at this level. White space belongs to the piece before it. */
static bool is_boundary(const char *text, size_t start, size_t at, level l) {
    if (l == CHARACTER) {
        return (text[at] & 0xc0) != 0x80;
    }
    if (l == SENTENCE && at - start >= 3 &&
        (!memcmp(text + at - 3, "\xe3\x80\x82", 3) || !memcmp(text + at - 3, "\xef\xbc\x81", 3) ||
         !memcmp(text + at - 3, "\xef\xbc\x9f", 3))) {
        return true; /* the full-width full stop, exclamation and question marks, after which no space stands */
    }
    if (iflow_is_space(text[at]) || !iflow_is_space(text[at - 1])) {
        return false;
    }
    size_t before = at; /* end of the last word */
    int n_lines = 0;
    while (before > start && iflow_is_space(text[before - 1])) {
        n_lines += text[--before] == '\n';
    }
    switch (l) {
    case PARAGRAPH:
        return n_lines >= 2;
    case SENTENCE:
        if (n_lines >= 1) {
            return true;
        }
        while (before > start && text[before - 1] && strchr("\"')]}", text[before - 1])) {
            before--;
        }
        return before > start && text[before - 1] && strchr(".!?", text[before - 1]);
    default:
        return true;
    }
}

/* The best place to end a piece in (start, limit]: the highest level that has a boundary in the second half, else in the first half. */
static size_t best_boundary(const char *text, size_t start, size_t limit, size_t end) {
    if (limit >= end) {
        return end;
    }
    for (size_t half = 0; half < 2; half++) {
        const size_t low = half ? start : start + (limit - start) / 2;
        for (level l = PARAGRAPH; l < N_LEVELS; l++) {
            for (size_t at = limit; at > low; at--) {
                if (is_boundary(text, start, at, l)) {
                    return at;
                }
            }
        }
    }
    return next_character(text, start, end); /* the limit lies within the first character */
}

static iflow_status append(iflow_pieces *out, size_t capacity[2], iflow_piece piece, const int32_t *tokens) {
    iflow_status status = iflow_reserve((void **)&out->piece, &capacity[0], out->n_pieces + 1, sizeof *out->piece);
    if (!status) {
        status = iflow_reserve((void **)&out->token, &capacity[1], out->n_tokens + piece.n_tokens, sizeof *out->token);
    }
    if (!status) {
        piece.token_start = out->n_tokens;
        memcpy(out->token + out->n_tokens, tokens, piece.n_tokens * sizeof *tokens);
        out->n_tokens += piece.n_tokens;
        out->piece[out->n_pieces++] = piece;
    }
    return status;
}

/* Counts the tokens of text[start, end) alone; *tokens: free(). */
static iflow_status count(const iflow_model *model, const char *text, size_t start, size_t end, int32_t **tokens, size_t *n) {
    free(*tokens);
    *tokens = NULL;
    return iflow_tokenize(model, text + start, end - start, false, tokens, n);
}

/* A long prefix of text[start, n_bytes) whose tokens fit: nearly the longest. It is found by trying, since a text's tokens cannot be
 * counted up to a cut: what stands at the cut tokenises differently alone. A try is at most four times as long as one that fitted, so that
 * a run with many bytes a token, before a text with few, does not have all of that text tokenised for each piece. */
static iflow_status fitting_prefix(const iflow_model *model, const char *text, size_t start, size_t n_bytes, size_t max_tokens,
                                   size_t *end) {
    iflow_status status = IFLOW_OK;
    int32_t *tokens = NULL;
    size_t low = start, high = n_bytes + 1;                                               /* low fits, high does not */
    size_t guess = max_tokens < (n_bytes - start) / 4 ? start + max_tokens * 4 : n_bytes; /* bytes a token, for a start */
    for (;;) {
        guess = guess < n_bytes ? guess : n_bytes;
        while (guess < n_bytes && (text[guess] & 0xc0) == 0x80) {
            guess++;
        }
        size_t n = 0;
        if (guess <= low || guess >= high || (status = count(model, text, start, guess, &tokens, &n))) {
            break;
        }
        if (n <= max_tokens) {
            low = guess;
            if (low == n_bytes || n * 16 >= max_tokens * 15) {
                break; /* full enough */
            }
        } else {
            high = guess;
        }
        const double scale = (double)max_tokens * 0.99 / (double)(n ? n : 1);
        const size_t scaled = start + (size_t)((double)(guess - start) * (scale < 4 ? scale : 4));
        guess = scaled > low && scaled < high ? scaled : low + (high - low) / 2;
    }
    free(tokens);
    *end = low > start ? low : next_character(text, start, n_bytes);
    return status;
}

iflow_status iflow_cut(const iflow_model *model, const char *text, size_t n_bytes, size_t chunk_tokens, iflow_pieces **out) {
    if (IFLOW_MISSING(model) || (n_bytes && IFLOW_MISSING(text)) || IFLOW_MISSING(out)) {
        return IFLOW_E_ARG;
    }
    if (chunk_tokens > MOST_CHUNK_TOKENS || n_bytes > INT32_MAX) {
        return iflow_fail(IFLOW_E_ARG, "%zu bytes in pieces of %zu tokens; at most %d bytes and %d tokens are possible", n_bytes,
                          chunk_tokens, INT32_MAX, (int)MOST_CHUNK_TOKENS);
    }
    if (skip_space(text, 0, n_bytes) == n_bytes) {
        return iflow_fail(IFLOW_E_ARG, "the document is empty");
    }
    const size_t max_tokens = chunk_tokens ? chunk_tokens : DEFAULT_CHUNK_TOKENS;
    iflow_status status = iflow_utf8_require("", text, n_bytes);
    if (status) {
        return status;
    }
    size_t capacity[2] = {0};
    int32_t *tokens = NULL;
    iflow_pieces *pieces = calloc(1, sizeof *pieces);
    if (!pieces) {
        return iflow_fail_memory(sizeof *pieces);
    }
    for (size_t start = 0; start < n_bytes;) {
        size_t limit = 0, cut = 0, n = 0;
        if ((status = iflow_cancel_check()) || (status = fitting_prefix(model, text, start, n_bytes, max_tokens, &limit))) {
            goto cleanup;
        }
        for (;; limit = start + (limit - start) / 2) { /* a shorter text has more tokens now and then */
            cut = best_boundary(text, start, limit, n_bytes);
            if ((status = count(model, text, start, cut, &tokens, &n))) {
                goto cleanup;
            }
            if (n <= max_tokens || cut <= next_character(text, start, n_bytes)) { /* one character may be more tokens than fit */
                break;
            }
        }
        if ((status = append(pieces, capacity, (iflow_piece){.byte_start = start, .byte_end = cut, .n_tokens = n}, tokens))) {
            goto cleanup;
        }
        start = cut;
    }

cleanup:
    free(tokens);
    if (status) {
        iflow_pieces_free(pieces);
    } else {
        *out = pieces;
    }
    return status;
}

void iflow_pieces_free(iflow_pieces *pieces) {
    if (pieces) {
        free(pieces->piece);
        free(pieces->token);
        free(pieces);
    }
}
