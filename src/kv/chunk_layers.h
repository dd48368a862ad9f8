/* chunk_layers.h - a stored chunk read layer by layer, lower ones first, so that the first are in use while the others are still read. */
#ifndef IFLOW_KV_CHUNK_LAYERS_H
#define IFLOW_KV_CHUNK_LAYERS_H

#include "kv/store.h"

typedef struct iflow_chunk_layers iflow_chunk_layers;

/* Opens a chunk: reads and checks its header alone. It stays the same chunk while it is open, whatever becomes of the id. Marks it as used.
 * A bad one is set aside: E_CORRUPT. Else as iflow_store_get_chunk(). */
iflow_status iflow_store_open_layers(iflow_store *store, const char *id, iflow_chunk_layers **out);
void iflow_chunk_layers_close(iflow_chunk_layers *layers);

const iflow_chunk_identity *iflow_chunk_layers_identity(const iflow_chunk_layers *layers);

/* Bytes of layers [first, end): of each K and then V [n_tokens, width], as the chunk's type stores them, each padded to 32 bytes. */
size_t iflow_chunk_layers_bytes(const iflow_chunk_layers *layers, int first, int end);
/* Where in these bytes a layer's K (kind 0) or V (kind 1) begins. */
size_t iflow_chunk_layers_at(const iflow_chunk_layers *layers, int first, int layer, int kind);

/* Reads layers [first, end) to out, and checks checksums and numbers of each. From several threads. E_CORRUPT: the chunk was set aside;
 * E_IO, E_MEMORY. What is in out is void then. */
iflow_status iflow_chunk_layers_read(iflow_chunk_layers *layers, int first, int end, void *out);

#endif
