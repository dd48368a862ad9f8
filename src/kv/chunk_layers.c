/* chunk_layers.c - a stored chunk read layer by layer, lower ones first. */
#include "kv/chunk_layers.h"

#include "kv/chunk_file.h"

#include <assert.h>
#include <gguf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct iflow_chunk_layers {
    iflow_store *store;
    iflow_reader *reader;
    iflow_chunk chunk; /* of the header: no k, v and blob */
    char id[IFLOW_ID_SIZE], name[IFLOW_ID_SIZE + 8];
    uint64_t data; /* where the layers begin */
};

/* A bad chunk is set aside, so that it is computed anew. */
static iflow_status aside(const iflow_chunk_layers *l, iflow_status status) {
    if (status == IFLOW_E_CORRUPT) {
        const iflow_blob judged = {.dev = l->reader->dev, .ino = l->reader->ino};
        char why[1024];
        snprintf(why, sizeof why, "%s", iflow_error_message());
        const iflow_status moved = l->store->ops->set_aside(l->store, l->id, &judged);
        iflow_fail(status, "%s; %s", why, moved ? iflow_error_message() : "it was set aside");
    }
    return status;
}

static iflow_status read_header(iflow_chunk_layers *l) {
    unsigned char first[IFLOW_CHUNK_FIRST_BYTES];
    const size_t n_first = l->reader->n_bytes < sizeof first ? (size_t)l->reader->n_bytes : sizeof first;
    size_t n_header = 0;
    iflow_status status = l->reader->read(l->reader, 0, n_first, first);
    status = status ? status : iflow_chunk_header_bytes(first, n_first, l->reader->n_bytes, l->name, &n_header);
    if (status) {
        return status;
    }
    unsigned char *header = malloc(n_header);
    if (!header) {
        return iflow_fail_memory(n_header);
    }
    status = l->reader->read(l->reader, 0, n_header, header);
    status = status ? status : iflow_chunk_read_header(header, n_header, l->reader->n_bytes, l->id, l->name, &l->chunk, &n_header);
    l->data = n_header;
    free(header);
    return status;
}

iflow_status iflow_store_open_layers(iflow_store *store, const char *id, iflow_chunk_layers **out) {
    iflow_chunk_layers *l = iflow_calloc(1, sizeof *l);
    if (!l) {
        return iflow_fail_memory(sizeof *l);
    }
    l->store = store;
    iflow_status status = store->ops->open_chunk(store, id, &l->reader);
    if (!status) {
        snprintf(l->id, sizeof l->id, "%s", id);
        snprintf(l->name, sizeof l->name, "chunk %s", id);
        status = aside(l, read_header(l));
    }
    if (status) {
        iflow_chunk_layers_close(l);
        return status;
    }
    *out = l;
    return IFLOW_OK;
}

void iflow_chunk_layers_close(iflow_chunk_layers *l) {
    if (!l) {
        return;
    }
    if (l->reader) {
        l->reader->close(l->reader);
    }
    gguf_free(l->chunk.gguf);
    free(l->chunk.layer);
    free(l);
}

const iflow_chunk_identity *iflow_chunk_layers_identity(const iflow_chunk_layers *l) {
    return &l->chunk.identity;
}

size_t iflow_chunk_layers_bytes(const iflow_chunk_layers *l, int first, int end) {
    size_t n = 0;
    assert(first >= 0 && first <= end && end <= l->chunk.identity.n_layer);
    for (int layer = first; layer < end; layer++) {
        n += iflow_chunk_layer_bytes(&l->chunk.identity, layer);
    }
    return n;
}

size_t iflow_chunk_layers_at(const iflow_chunk_layers *l, int first, int layer, int kind) {
    return iflow_chunk_layers_bytes(l, first, layer) +
           (kind ? iflow_chunk_padded(iflow_chunk_tensor_bytes(&l->chunk.identity, layer, 0)) : 0);
}

iflow_status iflow_chunk_layers_read(iflow_chunk_layers *l, int first, int end, void *out) {
    const uint64_t offset = l->data + iflow_chunk_layers_bytes(l, 0, first);
    iflow_status status = l->reader->read(l->reader, offset, iflow_chunk_layers_bytes(l, first, end), out);
    const unsigned char *at = out;
    for (int layer = first; !status && layer < end; layer++) {
        status = iflow_chunk_check_layer(&l->chunk, layer, at, l->name);
        at += iflow_chunk_layer_bytes(&l->chunk.identity, layer);
    }
    return aside(l, status);
}
