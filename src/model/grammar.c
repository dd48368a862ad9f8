/* grammar.c - reads a grammar in GBNF as libllama does, and says what is wrong and where. */
#include "model/grammar.h"

#include "base/cancel.h"
#include "model/grammar_rules.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N_SLOTS = 4 * IFLOW_GRAMMAR_RULES, TOKEN_BYTES = 128, MOST_DIGITS = 9 };

static const uint64_t NO_MOST = UINT64_MAX;

typedef struct parser {
    const iflow_model *model;
    const char *text, *at;
    iflow_rules rules;
    uint32_t *slot; /* [N_SLOTS]: number of a named rule and 1, by the hash of its name */
    size_t n_named, n_elements;
    int depth; /* of parentheses */
} parser;

/* A rule in the making, and what of it a repetition would repeat: from `last` on. */
typedef struct sequence {
    iflow_rule rule;
    size_t last;
    uint64_t n_last; /* rules that the last item took, times its repetitions; libllama bounds it */
    const char *name;
    size_t n_name;
} sequence;

static iflow_status wrong(const parser *p, const char *at, const char *what) {
    size_t line = 1, column = 1;
    for (const char *c = p->text; c < at; c++) {
        line += *c == '\n';
        column = *c == '\n' ? 1 : column + ((*c & 0xc0) != 0x80);
    }
    return iflow_fail(IFLOW_E_ARG, "the grammar, line %zu, column %zu: %s", line, column, what);
}

static bool is_word(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-';
}

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

static void skip_space(parser *p, bool lines) {
    for (;;) {
        if (*p->at == '#') {
            p->at += strcspn(p->at, "\r\n");
        } else if (*p->at == ' ' || *p->at == '\t' || (lines && (*p->at == '\r' || *p->at == '\n'))) {
            p->at++;
        } else {
            return;
        }
    }
}

/* ---- Rules -------------------------------------------------------------------------------------------------------------------------- */

static iflow_status push(parser *p, iflow_rule *rule, iflow_element_kind kind, uint32_t value) {
    p->n_elements += kind == IFLOW_ELEMENT_TERMINAL ? value : 1;
    if (p->n_elements > IFLOW_GRAMMAR_ELEMENTS) {
        return wrong(p, p->at, "up to here it has, its repetitions written out, more than a million characters and names");
    }
    const iflow_status status = iflow_reserve((void **)&rule->element, &rule->capacity, rule->n + 1, sizeof *rule->element);
    if (!status) {
        rule->element[rule->n++] = (iflow_element){kind, value};
    }
    return status;
}

static iflow_status new_rule(parser *p, const char *name, size_t n_name, uint32_t *number) {
    iflow_rules *r = &p->rules;
    const iflow_status status = iflow_reserve((void **)&r->rule, &r->capacity, r->n + 1, sizeof *r->rule);
    if (!status) {
        *number = (uint32_t)r->n;
        r->rule[r->n++] = (iflow_rule){.name = name, .n_name = n_name};
    }
    return status;
}

/* Gives a rule its elements, which are taken. */
static void define(parser *p, uint32_t number, sequence *s) {
    iflow_rule *rule = &p->rules.rule[number];
    rule->element = s->rule.element;
    rule->n = s->rule.n;
    rule->capacity = s->rule.capacity;
    rule->defined = true;
    s->rule = (iflow_rule){0};
}

/* The number of the rule whose name begins here; the name is passed over. */
static iflow_status named_rule(parser *p, uint32_t *number) {
    const char *name = p->at;
    uint32_t hash = 2166136261U;
    for (; is_word(*p->at); p->at++) {
        hash = (hash ^ (unsigned char)*p->at) * 16777619U;
    }
    const size_t n = (size_t)(p->at - name);
    if (n == 0) {
        return wrong(p, name,
                     "the name of a rule (letters, digits and -) is expected; a rule goes on in the next line after | and in parentheses");
    }
    if (n > IFLOW_GRAMMAR_NAME) {
        return wrong(p, name, "this name has more than 512 bytes");
    }
    size_t at = (hash ^ hash >> 16) % N_SLOTS;
    for (; p->slot[at]; at = (at + 1) % N_SLOTS) {
        assert(p->rules.rule);
        const iflow_rule *rule = &p->rules.rule[p->slot[at] - 1];
        if (rule->n_name == n && memcmp(rule->name, name, n) == 0) {
            *number = p->slot[at] - 1;
            return IFLOW_OK;
        }
    }
    if (p->n_named == IFLOW_GRAMMAR_RULES) {
        return wrong(p, name, "there are more than 16384 rules");
    }
    const iflow_status status = new_rule(p, name, n, number);
    if (!status) {
        p->slot[at] = *number + 1;
        p->n_named++;
    }
    return status;
}

/* ---- Characters and tokens ---------------------------------------------------------------------------------------------------------- */

/* Passes over n hexadecimal digits. */
static iflow_status read_hex(parser *p, const char *start, int n, uint32_t *value) {
    *value = 0;
    for (int i = 0; i < n; i++, p->at++) {
        const char c = *p->at;
        const int lower = c >= 'A' && c <= 'F' ? c - 'A' + 'a' : c;
        if (!is_digit(c) && !(lower >= 'a' && lower <= 'f')) {
            return wrong(p, start,
                         n == 2   ? "\\x takes 2 hexadecimal digits"
                         : n == 4 ? "\\u takes 4 hexadecimal digits"
                                  : "\\U takes 8 hexadecimal digits");
        }
        *value = *value * 16 + (uint32_t)(is_digit(c) ? c - '0' : lower - 'a' + 10);
    }
    return IFLOW_OK;
}

/* A character, or what stands for one after \. The text is UTF-8. */
static iflow_status read_character(parser *p, uint32_t *value) {
    const char *start = p->at;
    if (*start != '\\') {
        const int n = iflow_utf8_length(start, strlen(start) < 4 ? strlen(start) : 4);
        *value = iflow_utf8_decode(start, n);
        p->at += n;
        return IFLOW_OK;
    }
    const char kind = start[1];
    p->at += kind ? 2 : 1;
    switch (kind) {
    case 'x':
        return read_hex(p, start, 2, value);
    case 'u':
        return read_hex(p, start, 4, value);
    case 'U':
        return read_hex(p, start, 8, value);
    case 't':
    case 'r':
    case 'n':
        *value = kind == 't' ? '\t' : kind == 'r' ? '\r' : '\n';
        return IFLOW_OK;
    case '\\':
    case '"':
    case '[':
    case ']':
    case '-':
        *value = (uint32_t)kind;
        return IFLOW_OK;
    default:
        return wrong(p, start, "\\ is followed by none of x u U t r n \\ \" [ ] -");
    }
}

static iflow_status read_literal(parser *p, sequence *s) {
    const char *start = p->at++;
    while (*p->at != '"') {
        uint32_t value = 0;
        if (!*p->at) {
            return wrong(p, start, "this \" is not closed");
        }
        iflow_status status = read_character(p, &value);
        if (status || (status = push(p, &s->rule, IFLOW_ELEMENT_TERMINAL, 1))) {
            return status;
        }
    }
    p->at++;
    return IFLOW_OK;
}

static iflow_status read_class(parser *p, sequence *s) {
    const char *start = p->at++;
    uint32_t n = 0;
    p->at += *p->at == '^';
    while (*p->at != ']') {
        uint32_t low = 0, high = 0;
        const char *at = p->at;
        if (!*at) {
            return wrong(p, start, "this [ is not closed");
        }
        iflow_status status = read_character(p, &low);
        n++;
        if (!status && p->at[0] == '-' && p->at[1] != ']') {
            p->at++;
            status = *p->at ? read_character(p, &high) : wrong(p, start, "this [ is not closed");
            n++;
            if (!status && high < low) {
                status = wrong(p, at, "this range ends before it begins");
            }
        }
        if (status) {
            return status;
        }
    }
    p->at++;
    return n ? push(p, &s->rule, IFLOW_ELEMENT_TERMINAL, n) : IFLOW_OK;
}

/* <text> or <[number]>, after a ! that turns it around. */
static iflow_status read_token(parser *p, sequence *s) {
    p->at += *p->at == '!';
    const char *start = p->at;
    const size_t n = strcspn(start, ">\r\n");
    if (*start != '<' || start[n] != '>') {
        return wrong(p, start, *start == '<' ? "this < is not closed" : "a token, <text> or <[number]>, is expected");
    }
    if (n > TOKEN_BYTES) {
        return wrong(p, start, "the name of a token has at most 128 bytes");
    }
    p->at = start + n + 1;
    if (start[1] == '[') {
        const size_t digits = strspn(start + 2, "0123456789");
        if (digits == 0 || digits > MOST_DIGITS || start[2 + digits] != ']' || start[3 + digits] != '>' ||
            strtol(start + 2, NULL, 10) >= p->model->n_vocab) {
            return wrong(p, start, "this is not the number of a token of the model");
        }
        return push(p, &s->rule, IFLOW_ELEMENT_TERMINAL, 1);
    }
    int32_t *token = NULL;
    size_t n_tokens = 0;
    const iflow_status status = iflow_tokenize(p->model, start, n + 1, true, &token, &n_tokens);
    iflow_free(token);
    if (status) {
        return status;
    }
    return n_tokens == 1 ? push(p, &s->rule, IFLOW_ELEMENT_TERMINAL, 1) : wrong(p, start, "this is not the text of one token of the model");
}

/* ---- Repetitions -------------------------------------------------------------------------------------------------------------------- */

/* The item of a sequence that was read last, again: as libllama writes it out.
 *   item{m,n}  item m times, then rest(n - m), where rest(i) ::= item rest(i - 1) | nothing
 *   item{m,}   item m times, then rest, where rest ::= item rest | nothing */
static iflow_status repeat(parser *p, sequence *s, const char *at, uint64_t least, uint64_t most) {
    const size_t start = s->last, n = s->rule.n - start;
    const uint64_t n_rules = most != NO_MOST && most > 0 ? most : least > 0 ? least : 1;
    if (n == 0) {
        return wrong(p, at, "there is nothing before it to repeat");
    }
    if (s->n_last * n_rules > IFLOW_GRAMMAR_REPEAT) {
        return wrong(p, at, "repetitions of repetitions make more than 2000");
    }
    iflow_element *item = iflow_calloc(n, sizeof *item);
    if (!item) {
        return iflow_fail_memory(n * sizeof *item);
    }
    memcpy(item, s->rule.element + start, n * sizeof *item);
    iflow_status status = IFLOW_OK;
    s->rule.n = least == 0 ? start : s->rule.n;
    for (uint64_t i = 1; i < least && !status; i++) {
        for (size_t k = 0; k < n && !status; k++) {
            status = push(p, &s->rule, item[k].kind, item[k].value);
        }
    }
    const uint64_t n_rest = most == NO_MOST ? 1 : most - least;
    uint32_t rest = 0;
    for (uint64_t i = 0; i < n_rest && !status; i++) {
        sequence one = {0};
        const uint32_t before = rest;
        status = new_rule(p, s->name, s->n_name, &rest);
        for (size_t k = 0; k < n && !status; k++) {
            status = push(p, &one.rule, item[k].kind, item[k].value);
        }
        if (!status && (i > 0 || most == NO_MOST)) {
            status = push(p, &one.rule, IFLOW_ELEMENT_REFERENCE, most == NO_MOST ? rest : before);
        }
        if (!status && !(status = push(p, &one.rule, IFLOW_ELEMENT_OR, 0))) {
            define(p, rest, &one);
        }
        free(one.rule.element);
    }
    if (!status && n_rest) {
        status = push(p, &s->rule, IFLOW_ELEMENT_REFERENCE, rest);
    }
    s->n_last *= n_rules;
    free(item);
    return status;
}

static iflow_status read_number(parser *p, uint64_t *value) {
    const size_t n = strspn(p->at, "0123456789");
    if (n == 0 || n > MOST_DIGITS) {
        return wrong(p, p->at, n ? "this number is too large" : "a number is expected");
    }
    *value = strtoull(p->at, NULL, 10);
    p->at += n;
    return IFLOW_OK;
}

static iflow_status read_repetition(parser *p, sequence *s, bool lines) {
    const char *start = p->at++;
    uint64_t least = *start == '+', most = *start == '?' ? 1 : NO_MOST;
    iflow_status status = IFLOW_OK;
    skip_space(p, lines);
    if (*start == '{') {
        if ((status = read_number(p, &least))) {
            return status;
        }
        most = least;
        skip_space(p, lines);
        if (*p->at == ',') {
            p->at++;
            skip_space(p, lines);
            most = NO_MOST;
            if (*p->at != '}' && (status = read_number(p, &most))) {
                return status;
            }
            skip_space(p, lines);
        }
        if (*p->at != '}') {
            return wrong(p, p->at, "a } is expected");
        }
        p->at++;
        skip_space(p, lines);
        if (least > IFLOW_GRAMMAR_REPEAT) {
            return wrong(p, start, "more than 2000 repetitions are required");
        }
        if (most < least) {
            return wrong(p, start, "the most repetitions are less than the least");
        }
        most = most > IFLOW_GRAMMAR_REPEAT ? NO_MOST : most; /* as libllama has it */
    }
    return repeat(p, s, start, least, most);
}

/* ---- Sequences ---------------------------------------------------------------------------------------------------------------------- */

static iflow_status read_alternatives(parser *p, uint32_t rule, const char *name, size_t n_name, bool nested);

static iflow_status read_group(parser *p, sequence *s, bool lines) {
    const char *start = p->at++;
    const size_t n_before = p->rules.n;
    uint32_t inner = 0;
    if (p->depth == IFLOW_GRAMMAR_DEPTH) {
        return wrong(p, start, "more than 128 parentheses are open");
    }
    skip_space(p, true);
    p->depth++;
    iflow_status status = new_rule(p, s->name, s->n_name, &inner);
    if (status || (status = read_alternatives(p, inner, s->name, s->n_name, true))) {
        return status;
    }
    p->depth--;
    if (*p->at != ')') {
        return *p->at ? wrong(p, p->at, "a ) is expected") : wrong(p, start, "this ( is not closed");
    }
    p->at++;
    s->last = s->rule.n;
    s->n_last = p->rules.n - n_before;
    skip_space(p, lines);
    return push(p, &s->rule, IFLOW_ELEMENT_REFERENCE, inner);
}

static iflow_status read_reference(parser *p, sequence *s) {
    uint32_t number = 0;
    const iflow_status status = named_rule(p, &number);
    return status ? status : push(p, &s->rule, IFLOW_ELEMENT_REFERENCE, number);
}

/* Up to what is no item of a sequence. */
static iflow_status read_sequence(parser *p, sequence *s, bool nested) {
    iflow_status status = IFLOW_OK;
    s->last = s->rule.n;
    s->n_last = 1;
    while (*p->at && !status) {
        const char c = *p->at;
        if (strchr("*+?{", c)) {
            status = read_repetition(p, s, nested);
            continue;
        }
        if (c == '(') {
            status = read_group(p, s, nested);
            continue;
        }
        const size_t before = s->rule.n;
        if (c == '"') {
            status = read_literal(p, s);
        } else if (c == '[') {
            status = read_class(p, s);
        } else if (c == '<' || c == '!') {
            status = read_token(p, s);
        } else if (c == '.') {
            p->at++;
            status = push(p, &s->rule, IFLOW_ELEMENT_TERMINAL, 1);
        } else if (is_word(c)) {
            status = read_reference(p, s);
        } else {
            return IFLOW_OK;
        }
        s->last = before;
        s->n_last = 1;
        skip_space(p, nested);
    }
    return status;
}

static iflow_status read_alternatives(parser *p, uint32_t rule, const char *name, size_t n_name, bool nested) {
    sequence s = {.name = name, .n_name = n_name};
    iflow_status status = read_sequence(p, &s, nested);
    while (!status && *p->at == '|') {
        p->at++;
        if (!(status = push(p, &s.rule, IFLOW_ELEMENT_OR, 0))) {
            skip_space(p, true);
            status = read_sequence(p, &s, nested);
        }
    }
    if (!status) {
        define(p, rule, &s);
    }
    free(s.rule.element);
    return status;
}

static iflow_status read_rule(parser *p) {
    const char *name = p->at;
    uint32_t number = 0;
    iflow_status status = named_rule(p, &number);
    if (status) {
        return status;
    }
    const size_t n_name = (size_t)(p->at - name);
    assert(p->rules.rule);
    if (p->rules.rule[number].defined) {
        return wrong(p, name, "this rule is there already");
    }
    skip_space(p, false);
    if (strncmp(p->at, "::=", 3) != 0) {
        return wrong(p, p->at, "::= is expected after the name of a rule");
    }
    p->at += 3;
    skip_space(p, true);
    if ((status = read_alternatives(p, number, name, n_name, false))) {
        return status;
    }
    if (*p->at && *p->at != '\r' && *p->at != '\n') {
        return wrong(p, p->at, "this is no part of a rule; a new rule begins on a line of its own");
    }
    skip_space(p, true);
    return IFLOW_OK;
}

static iflow_status check_defined(const parser *p) {
    bool found = false;
    for (size_t i = 0; i < p->rules.n; i++) {
        const iflow_rule *rule = &p->rules.rule[i];
        if (!rule->defined) {
            char what[IFLOW_GRAMMAR_NAME + 32];
            snprintf(what, sizeof what, "there is no rule %.*s", (int)rule->n_name, rule->name);
            return wrong(p, rule->name, what);
        }
        found = found || (rule->n_name == 4 && memcmp(rule->name, "root", 4) == 0);
    }
    return found ? IFLOW_OK : iflow_fail(IFLOW_E_ARG, "the grammar has no rule root, with which an answer begins");
}

iflow_status iflow_grammar_check(const iflow_model *model, const char *text) {
    if (strlen(text) > IFLOW_GRAMMAR_BYTES) {
        return iflow_fail(IFLOW_E_ARG, "the grammar has %zu bytes; %d are possible", strlen(text), (int)IFLOW_GRAMMAR_BYTES);
    }
    const size_t valid = iflow_utf8_check(text, strlen(text));
    parser p = {.model = model, .text = text, .at = text, .slot = iflow_calloc(N_SLOTS, sizeof *p.slot)};
    iflow_status status = !p.slot                ? iflow_fail_memory(N_SLOTS * sizeof *p.slot)
                          : valid < strlen(text) ? wrong(&p, text + valid, "this is not UTF-8")
                                                 : IFLOW_OK;
    skip_space(&p, true);
    while (!status && *p.at) {
        status = read_rule(&p);
        status = status ? status : iflow_cancel_check();
    }
    if (!status && !(status = check_defined(&p))) {
        status = iflow_rules_check(&p.rules);
    }
    for (size_t i = 0; i < p.rules.n; i++) {
        free(p.rules.rule[i].element);
    }
    free(p.rules.rule);
    free(p.slot);
    return status;
}
