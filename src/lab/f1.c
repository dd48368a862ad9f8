/* f1.c - the answer that a generated text gives, and SQuAD's F1, exact match and containment of it. Depends on libc alone. */
#include "lab/f1.h"

#include <ctype.h>
#include <locale.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <wctype.h>

/* ---- Characters --------------------------------------------------------------------------------------------------------------------- */

/* Decodes one character; a byte that is not UTF-8 stands for itself, above all of Unicode, so that it survives encode(). */
static const uint32_t RAW_BYTE = 0x200000;

static uint32_t decode(const char **at) {
    const unsigned char *b = (const unsigned char *)*at;
    int n = b[0] < 0x80 ? 1 : (b[0] & 0xE0) == 0xC0 ? 2 : (b[0] & 0xF0) == 0xE0 ? 3 : (b[0] & 0xF8) == 0xF0 ? 4 : 0;
    uint32_t c = n == 1 ? b[0] : n == 2 ? b[0] & 0x1FU : n == 3 ? b[0] & 0x0FU : b[0] & 0x07U;
    for (int i = 1; i < n; i++) {
        if ((b[i] & 0xC0) != 0x80) {
            n = 0;
            break;
        }
        c = c << 6 | (b[i] & 0x3FU);
    }
    *at += n ? n : 1;
    return n ? c : RAW_BYTE + b[0];
}

static char *encode(char *to, uint32_t c) {
    if (c >= RAW_BYTE) {
        *to++ = (char)(c - RAW_BYTE);
    } else if (c < 0x80) {
        *to++ = (char)c;
    } else if (c < 0x800) {
        *to++ = (char)(0xC0 | c >> 6);
        *to++ = (char)(0x80 | (c & 0x3F));
    } else if (c < 0x10000) {
        *to++ = (char)(0xE0 | c >> 12);
        *to++ = (char)(0x80 | (c >> 6 & 0x3F));
        *to++ = (char)(0x80 | (c & 0x3F));
    } else {
        *to++ = (char)(0xF0 | c >> 18);
        *to++ = (char)(0x80 | (c >> 12 & 0x3F));
        *to++ = (char)(0x80 | (c >> 6 & 0x3F));
        *to++ = (char)(0x80 | (c & 0x3F));
    }
    return to;
}

static bool is_space(uint32_t c) {
    return c == ' ' || (c >= '\t' && c <= '\r') || (c >= 0x1C && c <= 0x1F) || c == 0x85 || c == 0xA0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

static bool is_quote(uint32_t c) {
    return c == '"' || c == '\'' || c == '`' || (c >= 0x2018 && c <= 0x201F) || c == 0xAB || c == 0xBB;
}

/* The Unicode tables of libc, whatever the user's locale. Without that locale only ASCII is lowered. */
static locale_t unicode(void) {
    static locale_t locale;
    if (!locale) {
        locale = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);
    }
    return locale;
}

static uint32_t lower(uint32_t c) {
    if (c < 0x80) {
        return (uint32_t)tolower((int)c);
    }
    return c < RAW_BYTE && unicode() ? (uint32_t)towlower_l((wint_t)c, unicode()) : c;
}

static bool is_word(uint32_t c) {
    if (c < 0x80) {
        return isalnum((int)c) || c == '_';
    }
    return c >= RAW_BYTE || !unicode() || iswalnum_l((wint_t)c, unicode());
}

/* ---- Extraction --------------------------------------------------------------------------------------------------------------------- */

typedef struct span {
    const char *at, *end;
} span;

/* Drops characters of a kind from both ends. */
static span trim(span s, bool (*drop)(uint32_t)) {
    while (s.at < s.end) {
        const char *next = s.at;
        if (!drop(decode(&next))) {
            break;
        }
        s.at = next;
    }
    const char *keep = s.at;
    for (const char *p = s.at; p < s.end;) {
        if (!drop(decode(&p))) {
            keep = p;
        }
    }
    s.end = keep;
    return s;
}

static bool starts(span s, const char *prefix) {
    size_t n = strlen(prefix);
    return (size_t)(s.end - s.at) >= n && strncasecmp(s.at, prefix, n) == 0;
}

/* Cuts before the first separator at or after s.at; *next: after that separator, NULL if there was none. */
static span until_separator(span s, const char **next) {
    *next = NULL;
    for (const char *p = s.at; p < s.end;) {
        const char *here = p;
        uint32_t c = decode(&p);
        if (c == ',' || c == ';' || c == 0xFF0C || c == 0x3002 || c == 0xFF1B) {
            *next = p;
            s.end = here;
            break;
        }
    }
    return s;
}

static bool starts_word(span s, const char *word) {
    if (!starts(s, word)) {
        return false;
    }
    const char *after = s.at + strlen(word);
    return after == s.end || !is_word(decode(&after));
}

char *f1_extract(const char *generated) {
    span s = trim((span){generated, generated + strlen(generated)}, is_space);
    static const char *const prefix[] = {"answer:", "final answer:", "the answer is"};
    for (size_t i = 0; i < sizeof prefix / sizeof prefix[0]; i++) {
        if (!starts(s, prefix[i])) {
            continue;
        }
        s.at += strlen(prefix[i]);
        s = trim(s, is_space);
        break;
    }
    const char *line_end = memchr(s.at, '\n', (size_t)(s.end - s.at));
    if (line_end) {
        s.end = line_end;
    }
    s = trim(s, is_space);

    span piece = {s.end, s.end};
    for (const char *next = s.at; next;) {
        span rest = {next, s.end};
        span found = trim(until_separator(rest, &next), is_space);
        if (found.at < found.end) {
            piece = found;
            break;
        }
    }
    piece = trim(trim(piece, is_quote), is_space);
    if (starts_word(piece, "yes")) {
        piece.end = piece.at + 3;
    } else if (starts_word(piece, "no")) {
        piece.end = piece.at + 2;
    }
    return strndup(piece.at, (size_t)(piece.end - piece.at));
}

/* ---- Score -------------------------------------------------------------------------------------------------------------------------- */

static bool is_article(const char *word, size_t n) {
    return (n == 1 && word[0] == 'a') || (n == 2 && memcmp(word, "an", 2) == 0) || (n == 3 && memcmp(word, "the", 3) == 0);
}

char *f1_normalise(const char *string) {
    /* A lowered character may need a byte more than it had, never twice as many. */
    char *lowered = malloc(strlen(string) * 2 + 1), *out = malloc(strlen(string) * 2 + 2);
    if (!lowered || !out) {
        free(lowered);
        free(out);
        return NULL;
    }
    char *to = lowered;
    for (const char *p = string; *p;) {
        uint32_t c = decode(&p);
        if (c < 0x80 && ispunct((int)c)) {
            continue;
        }
        to = encode(to, lower(c));
    }
    *to = '\0';

    /* Articles are whole runs of word characters; what stands around them stays. */
    to = out;
    bool space = true;
    for (const char *p = lowered; *p;) {
        const char *start = p;
        uint32_t c = decode(&p);
        if (is_space(c)) {
            if (!space) {
                *to++ = ' ';
            }
            space = true;
            continue;
        }
        if (is_word(c)) {
            for (const char *q = p; *q && is_word(decode(&q));) {
                p = q;
            }
            if (is_article(start, (size_t)(p - start))) {
                if (!space) {
                    *to++ = ' ';
                }
                space = true;
                continue;
            }
        }
        memcpy(to, start, (size_t)(p - start));
        to += p - start;
        space = false;
    }
    if (to > out && to[-1] == ' ') {
        to--;
    }
    *to = '\0';
    free(lowered);
    return out;
}

typedef struct words {
    char **word;
    size_t n;
} words;

static int compare_words(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Splits a normalised string in place, sorted. */
static bool split(char *string, words *out) {
    size_t n = 0;
    for (const char *p = string; *p; p++) {
        n += *p == ' ';
    }
    out->word = calloc(n + 1, sizeof *out->word);
    if (!out->word) {
        return false;
    }
    for (char *p = string; *p;) {
        out->word[out->n++] = p;
        p += strcspn(p, " ");
        if (*p) {
            *p++ = '\0';
        }
    }
    qsort(out->word, out->n, sizeof *out->word, compare_words);
    return true;
}

double f1_score(const char *answer, const char *gold) {
    double result = -1;
    char *a = f1_normalise(answer), *g = f1_normalise(gold);
    words wa = {0}, wg = {0};
    if (!a || !g || !split(a, &wa) || !split(g, &wg)) {
        goto cleanup;
    }
    if (wa.n == 0 || wg.n == 0) {
        result = wa.n == wg.n ? 1 : 0;
        goto cleanup;
    }
    size_t common = 0;
    for (size_t i = 0, j = 0; i < wa.n && j < wg.n;) {
        int order = strcmp(wa.word[i], wg.word[j]);
        common += order == 0;
        i += order <= 0;
        j += order >= 0;
    }
    result = 2.0 * (double)common / (double)(wa.n + wg.n); /* = 2PR/(P+R) */
cleanup:
    free(wa.word);
    free(wg.word);
    free(a);
    free(g);
    return result;
}

double f1_best(const char *answer, const char *const *gold, size_t n) {
    double best = 0;
    for (size_t i = 0; i < n; i++) {
        double f1 = f1_score(answer, gold[i]);
        if (f1 < 0) {
            return f1;
        }
        best = f1 > best ? f1 : best;
    }
    return best;
}

/* From here scripts are written without spaces between words: any place may be a word's end. */
static const uint32_t FIRST_IDEOGRAPH = 0x2E80;

static bool joins(uint32_t a, uint32_t b) {
    return is_word(a) && is_word(b) && a < FIRST_IDEOGRAPH && b < FIRST_IDEOGRAPH;
}

/* Whether a string stands in a text as words of its own; both are normalised. */
static bool stands_in(const char *string, const char *in) {
    size_t n = strlen(string);
    uint32_t first = 0, last = 0, before = ' ';
    for (const char *p = string; *p;) {
        bool at_first = p == string;
        last = decode(&p);
        first = at_first ? last : first;
    }
    while (n && *in) {
        if (strncmp(in, string, n) == 0 && !joins(before, first)) {
            const char *after = in + n;
            if (!*after || !joins(last, decode(&after))) {
                return true;
            }
        }
        before = decode(&in);
    }
    return false;
}

static bool is_equal(const char *string, const char *in) {
    return strcmp(string, in) == 0;
}

/* Whether one of the gold answers is to the text what `found` says, all normalised. */
static int any_gold(const char *generated, const char *const *gold, size_t n, bool (*found)(const char *, const char *)) {
    char *in = f1_normalise(generated);
    int result = in ? 0 : -1;
    for (size_t i = 0; i < n && result == 0; i++) {
        char *g = f1_normalise(gold[i]);
        result = !g ? -1 : found(g, in);
        free(g);
    }
    free(in);
    return result;
}

int f1_exact(const char *answer, const char *const *gold, size_t n) {
    return any_gold(answer, gold, n, is_equal);
}

int f1_contains(const char *generated, const char *const *gold, size_t n) {
    return any_gold(generated, gold, n, stands_in);
}
