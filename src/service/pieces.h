/* pieces.h - the text of tokens, token by token. */
#ifndef IFLOW_SERVICE_PIECES_H
#define IFLOW_SERVICE_PIECES_H

#include "infoflow.h"

/* Gets the text of tokens one by one. Tokens that hold parts of a character are joined: start to end - 1 are given as one. */
typedef void (*on_piece)(size_t start, size_t end, const char *bytes, size_t n_bytes, void *user);

/* Gives the text of token[start] to token[end - 1]. As iflow_detokenize(). */
iflow_status token_pieces(const iflow_model *model, const int32_t *token, size_t start, size_t end, on_piece take, void *user);

#endif
