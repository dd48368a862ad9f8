/* test_cut.c - cutting documents: nothing is lost, every piece fits, and pieces end where a reader would end them. */
#include "support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static iflow_model *model;

static int load_model(void **state) {
    (void)state;
    return iflow_model_load(support_env("INFOFLOW_SMOLLM2"), NULL, &model);
}

static int free_model(void **state) {
    (void)state;
    iflow_model_free(model);
    return 0;
}

/* The pieces joined are the text, each is what it says when tokenised alone, and none has more tokens than may_have. */
static iflow_pieces *cut(const char *text, size_t chunk_tokens, size_t may_have) {
    iflow_pieces *pieces = NULL;
    assert_ok(iflow_cut(model, text, strlen(text), chunk_tokens, &pieces));
    size_t at = 0, token_at = 0;
    for (size_t i = 0; i < pieces->n_pieces; i++) {
        const iflow_piece *piece = &pieces->piece[i];
        assert_int_equal(piece->byte_start, at);
        assert_int_equal(piece->token_start, token_at);
        assert_true(piece->byte_end > piece->byte_start);
        assert_true(piece->n_tokens <= may_have);
        int32_t *token = NULL;
        size_t n = 0;
        assert_ok(iflow_tokenize(model, text + at, piece->byte_end - at, false, &token, &n));
        assert_int_equal(n, piece->n_tokens);
        assert_memory_equal(token, pieces->token + token_at, n * sizeof *token);
        free(token);
        at = piece->byte_end;
        token_at += n;
    }
    assert_int_equal(at, strlen(text));
    assert_int_equal(token_at, pieces->n_tokens);
    return pieces;
}

static void assert_ends_with(const char *text, const iflow_pieces *pieces, size_t i, const char *end) {
    const size_t n = strlen(end), at = pieces->piece[i].byte_end;
    assert_true(at >= n);
    if (memcmp(text + at - n, end, n) != 0) {
        fail_msg("piece %zu ends in '%.*s', not in '%s'", i, 20, text + (at > 20 ? at - 20 : 0), end);
    }
}

static void test_one_piece(void **state) {
    (void)state;
    static const char text[] = "A short document. It is one piece.";
    iflow_pieces *pieces = cut(text, 0, 512);
    assert_int_equal(pieces->n_pieces, 1);
    iflow_pieces_free(pieces);
}

/* Paragraphs of about 30 tokens, pieces of at most 40: every piece is one paragraph with the empty line after it. */
static void test_paragraphs(void **state) {
    (void)state;
    char text[4096] = "";
    for (int i = 0; i < 12; i++) {
        strcat(
            text,
            "The keeper climbed the stairs before dawn. He lit the lamp and wrote down the wind. Then he slept until the ferry came.\n\n");
    }
    iflow_pieces *pieces = cut(text, 40, 40);
    assert_int_equal(pieces->n_pieces, 12);
    for (size_t i = 0; i < pieces->n_pieces; i++) {
        assert_ends_with(text, pieces, i, "came.\n\n");
    }
    iflow_pieces_free(pieces);
}

static void test_sentences(void **state) {
    (void)state;
    char text[4096] = "";
    for (int i = 0; i < 12; i++) {
        strcat(text, "He lit the lamp, climbed down again and wrote \"all well.\" ");
    }
    iflow_pieces *pieces = cut(text, 40, 40);
    assert_true(pieces->n_pieces > 3);
    for (size_t i = 0; i < pieces->n_pieces; i++) {
        assert_ends_with(text, pieces, i, "well.\" ");
    }
    iflow_pieces_free(pieces);
}

static void test_words(void **state) {
    (void)state;
    char text[4096] = "";
    for (int i = 0; i < 200; i++) {
        strcat(text, "lighthouse ");
    }
    iflow_pieces *pieces = cut(text, 16, 16);
    for (size_t i = 0; i < pieces->n_pieces; i++) {
        assert_ends_with(text, pieces, i, "lighthouse ");
    }
    iflow_pieces_free(pieces);
}

/* Text without any space, of characters of one to four bytes, and pieces down to a single token; a character may need a few. */
static void test_characters(void **state) {
    (void)state;
    char text[4096] = "";
    for (int i = 0; i < 40; i++) {
        strcat(text, "x\xc3\xa9\xe6\xbc\xa2\xe5\xad\x97\xf0\x9f\x98\x80yz");
    }
    for (size_t chunk_tokens = 1; chunk_tokens <= 9; chunk_tokens++) {
        iflow_pieces_free(cut(text, chunk_tokens, chunk_tokens > 8 ? chunk_tokens : 8));
    }
    iflow_pieces_free(cut("\xe4\xb8\x80\xe4\xba\x8c\xe3\x80\x82\xe4\xb8\x89\xe5\x9b\x9b\xe3\x80\x82", 7, 8));
}

static void test_white_space(void **state) {
    (void)state;
    char text[4096] = "\n\n  start";
    for (int i = 0; i < 30; i++) {
        strcat(text, "   \n \t\n\n\n     word");
    }
    strcat(text, "\n\n\n\n\n\n\n\n");
    for (size_t chunk_tokens = 1; chunk_tokens <= 30; chunk_tokens += 3) {
        iflow_pieces_free(cut(text, chunk_tokens, chunk_tokens > 8 ? chunk_tokens : 8));
    }
}

/* Pieces are filled: a long text is not cut into crumbs. */
static void test_fill(void **state) {
    (void)state;
    iflow_buffer text = {0};
    for (int i = 0; i < 3000; i++) {
        char line[128];
        const int n = snprintf(line, sizeof line, "Entry %d was written on day %d of a %s year.%s", i, i * 7 % 365, i % 3 ? "dry" : "wet",
                               i % 5 ? " " : "\n\n");
        assert_ok(iflow_buffer_add(&text, line, (size_t)n));
    }
    iflow_pieces *pieces = cut(text.text, 512, 512); /* paragraphs have about 85 tokens */
    assert_true(pieces->n_tokens / pieces->n_pieces > 400);
    iflow_pieces_free(pieces);
    iflow_buffer_free(&text);
}

/* A limit that nothing reaches leaves one piece, up to the greatest one there is. */
static void test_no_limit(void **state) {
    (void)state;
    static const char text[] = "One piece. Two sentences.";
    static const size_t limit[] = {INT32_MAX, INT32_MAX - 1, INT32_MAX / 4 + 1, 1000};
    for (size_t i = 0; i < sizeof limit / sizeof *limit; i++) {
        iflow_pieces *pieces = cut(text, limit[i], 512);
        assert_int_equal(pieces->n_pieces, 1);
        iflow_pieces_free(pieces);
    }
}

/* A NUL is a character like others, and ends no sentence. */
static void test_nul(void **state) {
    (void)state;
    char text[400];
    for (size_t i = 0; i < sizeof text; i++) {
        text[i] = "one two\0 six "[i % 13];
    }
    iflow_pieces *pieces = NULL;
    assert_ok(iflow_cut(model, text, sizeof text, 20, &pieces));
    size_t at = 0, n_at_nul = 0;
    for (size_t i = 0; i < pieces->n_pieces; at = pieces->piece[i++].byte_end) {
        assert_int_equal(pieces->piece[i].byte_start, at);
        n_at_nul += text[pieces->piece[i].byte_end - 2] == '\0';
    }
    assert_int_equal(at, sizeof text);
    assert_true(n_at_nul * 2 < pieces->n_pieces);
    iflow_pieces_free(pieces);
}

static void test_refusals(void **state) {
    (void)state;
    iflow_pieces *pieces = NULL;
    assert_int_equal(iflow_cut(model, "", 0, 0, &pieces), IFLOW_E_ARG);
    assert_int_equal(iflow_cut(model, " \n\t ", 4, 0, &pieces), IFLOW_E_ARG);
    assert_int_equal(iflow_cut(model, "good \xff bad", 10, 0, &pieces), IFLOW_E_FORMAT);
    assert_non_null(strstr(iflow_error_message(), "byte 5"));
    static const char *const invalid[] = {
        "\x80", "\xc0\xaf", "\xe0\x80\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xf8\x88\x80\x80\x80", "a\xe2\x82"};
    for (size_t i = 0; i < sizeof invalid / sizeof *invalid; i++) {
        assert_int_equal(iflow_cut(model, invalid[i], strlen(invalid[i]), 0, &pieces), IFLOW_E_FORMAT);
    }
    assert_null(pieces);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_piece), cmocka_unit_test(test_paragraphs), cmocka_unit_test(test_sentences),
        cmocka_unit_test(test_words),     cmocka_unit_test(test_characters), cmocka_unit_test(test_white_space),
        cmocka_unit_test(test_fill),      cmocka_unit_test(test_no_limit),   cmocka_unit_test(test_nul),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, load_model, free_model);
}
