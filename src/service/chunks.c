/* chunks.c - a list of chunks as tokens, which services are given and put together into contexts. */
#include "service/chunks.h"

#include "base/base.h"

#include <stdlib.h>
#include <string.h>

iflow_status chunk_list_add(chunk_list *list, const int32_t *tokens, size_t n) {
    const size_t end = chunk_list_tokens(list);
    int32_t *token = iflow_realloc(list->token, end + n, sizeof *token);
    list->token = token ? token : list->token;
    size_t *start = iflow_realloc(list->start, list->n_chunks + 2, sizeof *start);
    list->start = start ? start : list->start;
    if (!token || !start) {
        return iflow_fail_memory((end + n) * sizeof *token);
    }
    if (n) {
        memcpy(list->token + end, tokens, n * sizeof *tokens);
    }
    list->start[0] = 0;
    list->start[++list->n_chunks] = end + n;
    return IFLOW_OK;
}

iflow_status chunk_list_append(chunk_list *list, const chunk_list *from, size_t i) {
    return chunk_list_add(list, from->token + from->start[i], chunk_list_length(from, i));
}

size_t chunk_list_length(const chunk_list *list, size_t i) {
    return list->start[i + 1] - list->start[i];
}

size_t chunk_list_tokens(const chunk_list *list) {
    return list->n_chunks ? list->start[list->n_chunks] : 0;
}

iflow_status chunk_list_lay(const chunk_list *list, iflow_context *ctx) {
    iflow_status status = IFLOW_OK;
    for (size_t i = 0; i < list->n_chunks && status == IFLOW_OK; i++) {
        status = iflow_context_add_tokens(ctx, list->token + list->start[i], chunk_list_length(list, i));
    }
    return status;
}

void chunk_list_free(chunk_list *list) {
    free(list->token);
    free(list->start);
    *list = (chunk_list){0};
}
