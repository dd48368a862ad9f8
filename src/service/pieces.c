/* pieces.c - the text of tokens, token by token. */
#include "service/pieces.h"

#include "base/base.h"

/* Whether the bytes end within a character. */
static bool is_cut(const iflow_buffer *bytes) {
    int length = 1;
    for (size_t b = 0; b < bytes->n && length >= 0; b += length > 0 ? (size_t)length : 1) {
        length = iflow_utf8_length(bytes->text + b, bytes->n - b);
    }
    return length < 0;
}

iflow_status token_pieces(const iflow_model *model, const int32_t *token, size_t start, size_t end, on_piece take, void *user) {
    iflow_buffer pending = {0};
    size_t first = start;
    iflow_status status = IFLOW_OK;
    for (size_t i = start; i < end && status == IFLOW_OK; i++) {
        char *piece = NULL;
        status = iflow_detokenize(model, &token[i], 1, &piece);
        if (status == IFLOW_OK) {
            status = iflow_buffer_puts(&pending, piece);
        }
        iflow_free(piece);
        if (status != IFLOW_OK || (i + 1 < end && is_cut(&pending))) {
            continue;
        }
        take(first, i + 1, pending.text, pending.n, user);
        pending.n = 0;
        first = i + 1;
    }
    iflow_buffer_free(&pending);
    return status;
}
