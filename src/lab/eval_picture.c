/* eval_picture.c - the context of a question, cut again from the data, with the tokens that each series recomputed. */
#include "lab/eval_picture.h"

#include "cli/page.h"
#include "service/pieces.h"

#include <stdlib.h>
#include <string.h>

typedef struct picture {
    chunk_list chunks;
    size_t n_tokens, n_pieces;
    size_t *piece; /* [n_tokens] */
    json_t *texts;
} picture;

static void take_piece(size_t start, size_t end, const char *bytes, size_t n_bytes, void *user) {
    picture *p = user;
    char *clean = text_utf8(bytes, n_bytes);
    for (size_t i = start; i < end; i++) {
        p->piece[i] = p->n_pieces;
    }
    json_array_append_new(p->texts, json_string(clean));
    p->n_pieces++;
    free(clean);
}

static json_t *count(size_t n) {
    return json_integer((json_int_t)n);
}

static size_t chunk_length(const picture *p, size_t chunk) {
    return p->chunks.start[chunk + 1] - p->chunks.start[chunk];
}

/* Which of the data's chunks was read i-th. False if the record does not say it. */
static bool reading_order(const picture *p, const json_t *record, size_t *chunk) {
    const json_t *order = json_object_get(record, "order");
    const size_t n = p->chunks.n_chunks;
    bool *seen = must_alloc(n, sizeof *seen), good = !order || json_array_size(order) == n;
    good = good && (order || !json_is_true(json_object_get(record, "reorder")));
    for (size_t i = 0; i < n && good; i++) {
        const json_int_t index = order ? json_integer_value(json_array_get(order, i)) : (json_int_t)i + 1;
        good = index >= 1 && (size_t)index <= n && !seen[index - 1];
        if (good) {
            chunk[i] = (size_t)index - 1;
            seen[index - 1] = true;
        }
    }
    free(seen);
    return good;
}

/* What is recomputed of the data's tokens; false if the record does not say it. */
static bool recomputed(const picture *p, const json_t *record, size_t head, bool *is_selected) {
    const json_t *selected = json_object_get(record, "selected");
    size_t *chunk = must_alloc(p->chunks.n_chunks, sizeof *chunk), read = 0, start = head;
    bool good = json_is_array(selected) && reading_order(p, record, chunk);
    if (strcmp(json_string_value(json_object_get(record, "method")), "full") == 0) {
        memset(is_selected, true, p->n_tokens * sizeof *is_selected);
    }
    for (size_t i = 0; i < json_array_size(selected) && good; i++) {
        const json_int_t position = json_integer_value(json_array_get(selected, i));
        good = position >= (json_int_t)start; /* they ascend */
        while (good && (size_t)position >= start + chunk_length(p, chunk[read])) {
            start += chunk_length(p, chunk[read]);
            good = ++read < p->chunks.n_chunks;
        }
        if (good) {
            is_selected[p->chunks.start[chunk[read]] + (size_t)position - start] = true;
        }
    }
    free(chunk);
    return good;
}

static json_t *selection_json(const picture *p, const bool *is_selected) {
    json_t *runs = json_array(), *counts = json_array();
    bool *marked = must_alloc(p->n_pieces, sizeof *marked);
    for (size_t c = 0; c < p->chunks.n_chunks; c++) {
        size_t n = 0;
        for (size_t i = p->chunks.start[c]; i < p->chunks.start[c + 1]; i++) {
            n += is_selected[i];
            marked[p->piece[i]] = marked[p->piece[i]] || is_selected[i];
        }
        json_array_append_new(counts, count(n));
    }
    for (size_t i = 0, end = 0; i < p->n_pieces;) {
        size_t next = i;
        while (next < p->n_pieces && marked[next] == marked[i]) {
            next++;
        }
        if (marked[i]) {
            json_array_append_new(runs, count(i - end));
            json_array_append_new(runs, count(next - i));
            end = next;
        }
        i = next;
    }
    free(marked);
    return json_pack("{s:o, s:o}", "s", runs, "n", counts);
}

/* The head's length after a record; false if its context is shorter than what the data make. */
static bool head_of(const json_t *record, size_t n_tokens, size_t *head) {
    const json_int_t n_context = json_integer_value(json_object_get(json_object_get(record, "tokens"), "context"));
    *head = (size_t)n_context - n_tokens;
    return n_context >= (json_int_t)n_tokens;
}

static json_t *series_json(const picture *p, const eval_summary *summary, size_t q, size_t *head) {
    json_t *list = json_array();
    bool *is_selected = must_alloc(p->n_tokens, sizeof *is_selected);
    size_t n_known = 0;
    for (size_t s = 0; s < summary->n_series; s++) {
        const json_t *record = summary->series[s].record[q];
        size_t own_head;
        bool good = record && head_of(record, p->n_tokens, &own_head) && (*head == 0 || own_head == *head);
        memset(is_selected, 0, p->n_tokens * sizeof *is_selected);
        if (good) {
            *head = own_head;
        }
        good = good && recomputed(p, record, *head, is_selected);
        n_known += good;
        json_array_append_new(list, good ? selection_json(p, is_selected) : json_null());
    }
    free(is_selected);
    if (n_known) {
        return list;
    }
    json_decref(list);
    return NULL;
}

iflow_status eval_picture_make(const iflow_model *model, const eval_question *question, size_t chunk_tokens, const eval_summary *summary,
                               size_t q, size_t *head, json_t **out) {
    picture p = {0};
    json_t *pieces = json_array(), *tokens = json_array(), *series = NULL;
    *out = NULL;
    iflow_status status = eval_context_cut(model, question, chunk_tokens, &p.chunks);
    if (status != IFLOW_OK) {
        goto cleanup;
    }
    p.n_tokens = p.chunks.start[p.chunks.n_chunks];
    p.piece = must_alloc(p.n_tokens, sizeof *p.piece);
    p.texts = json_array();
    for (size_t c = 0; c < p.chunks.n_chunks && status == IFLOW_OK; c++) {
        const size_t before = p.n_pieces;
        status = token_pieces(model, p.chunks.token, p.chunks.start[c], p.chunks.start[c + 1], take_piece, &p);
        json_array_append_new(pieces, count(p.n_pieces - before));
        json_array_append_new(tokens, count(chunk_length(&p, c)));
    }
    if (status == IFLOW_OK && (series = series_json(&p, summary, q, head))) {
        *out = json_pack("{s:O, s:O, s:O, s:O}", "p", p.texts, "c", pieces, "n", tokens, "v", series);
    }
cleanup:
    json_decref(series);
    json_decref(pieces);
    json_decref(tokens);
    json_decref(p.texts);
    free(p.piece);
    chunk_list_free(&p.chunks);
    return status;
}
