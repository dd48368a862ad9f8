/* chunks.h - a list of chunks as tokens, which services are given and put together into contexts. */
#ifndef IFLOW_SERVICE_CHUNKS_H
#define IFLOW_SERVICE_CHUNKS_H

#include "infoflow.h"

/* Tokens of chunk i are token[start[i]] up to token[start[i + 1]]. Zero-initialised is empty; start is NULL then. */
typedef struct chunk_list {
    int32_t *token;
    size_t *start; /* [n_chunks + 1] */
    size_t n_chunks;
} chunk_list;

/* Puts a chunk after those that are there. E_MEMORY: the list is as it was. */
iflow_status chunk_list_add(chunk_list *list, const int32_t *tokens, size_t n);
/* Adds chunk i of another list. */
iflow_status chunk_list_append(chunk_list *list, const chunk_list *from, size_t i);
/* Tokens of chunk i, and of all chunks. */
size_t chunk_list_length(const chunk_list *list, size_t i);
size_t chunk_list_tokens(const chunk_list *list);
/* Adds all chunks to a context. */
iflow_status chunk_list_lay(const chunk_list *list, iflow_context *ctx);
void chunk_list_free(chunk_list *list);

#endif
