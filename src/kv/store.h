/* store.h - where chunks live: the interface between the engine and a store of bytes by id. store_dir.c keeps them in files of one
 * directory, store_memory.c in memory. tests/test_store_conformance*.c run over each.
 *
 * A store moves bytes and keeps small records; it knows nothing of KV but what chunk.h tells it. All functions may be called from several
 * threads. */
#ifndef IFLOW_KV_STORE_H
#define IFLOW_KV_STORE_H

#include "kv/chunk.h"
#include "kv/own.h"

/* A chunk that is open to be read by parts: of one and the same bytes, whatever becomes of its id. */
typedef struct iflow_reader {
    uint64_t n_bytes;  /* of the whole */
    uint64_t dev, ino; /* which one it is, as a blob says (blob.h) */
    /* From several threads. E_IO; E_CORRUPT: there are not so many. */
    iflow_status (*read)(struct iflow_reader *reader, uint64_t offset, size_t n_bytes, void *out);
    void (*close)(struct iflow_reader *reader);
} iflow_reader;

typedef struct iflow_store_ops {
    void (*close)(iflow_store *store);
    /* E_NOT_FOUND; E_CORRUPT: no regular file, and *out says only which one; E_IO. Marks the chunk as used. */
    iflow_status (*get)(iflow_store *store, const char *id, iflow_blob *out);
    /* The same for looking, not using: the order of eviction stays as it is. */
    iflow_status (*peek)(iflow_store *store, const char *id, iflow_blob *out);
    /* The same for reading parts of it, as layers one by one (chunk_layers.h). It outlives neither the store nor this process. */
    iflow_status (*open_chunk)(iflow_store *store, const char *id, iflow_reader **out);
    /* Says that the chunk will be got soon: a store may begin to read it. Nothing waits for that, and no failure of it is one. */
    void (*prefetch)(iflow_store *store, const char *id);
    /* Publishes atomically: readers see all of it or nothing, a crash leaves nothing half done under the id. One that is there stays,
     * unless it is to be replaced (by one that knows more of the same chunk); one that may not be read is not (E_IO). Evicts to the limit
     * first: old chunks (chunk.h), then the least recently used; neither pinned ones nor the handle's own. E_FULL (disk or limit), E_IO;
     * then nothing was published. */
    iflow_status (*put)(iflow_store *store, const char *id, const iflow_blob *blob, bool replace);
    bool (*has)(iflow_store *store, const char *id);
    iflow_status (*remove)(iflow_store *store, const char *id);
    /* Sets a bad chunk aside, out of readers' sight, if it is still the file that get or peek gave (NULL: whatever it is). E_NOT_FOUND
     * where it is not: another process has removed it, or published the chunk again. */
    iflow_status (*set_aside)(iflow_store *store, const char *id, const iflow_blob *judged);
    /* Sets aside all that is named by the id and lies where no reader looks: E_FORMAT, naming it; E_NOT_FOUND, without a message: nothing.
     */
    iflow_status (*sweep)(iflow_store *store, const char *id);
    /* Finds what stands where the store has something of its own and is something else, sets it aside and calls on_verified for each, as
     * iflow_store_verify_all() says; also for directories that cannot be read. *go_on: what on_verified returned. */
    iflow_status (*sweep_misfits)(iflow_store *store, iflow_on_verified on_verified, void *user, bool *go_on);
    iflow_status (*pin)(iflow_store *store, const char *id, bool pinned);
    /* The same of a document as a whole, which keeps nothing from being evicted by itself; and whether one of either kind is there. */
    iflow_status (*pin_record)(iflow_store *store, const char *id, bool pinned);
    bool (*is_pinned)(iflow_store *store, const char *id);
    /* All that change a chunk, its pin or a record's text give E_BUSY where another process has held the store for seconds. */
    /* Takes the lease of a chunk: its owner is the one to compute it. E_BUSY while another process (or thread) has it. A dead owner's lease
     * is void at once on its own host; an owner that is stopped, or on another host, loses it where it has shown no life for the lease's
     * length, and what it computes all the same does no harm. Ask has() again once it is taken: its last owner may just have published the
     * chunk. */
    iflow_status (*lease)(iflow_store *store, const char *id);
    void (*release)(iflow_store *store, const char *id); /* one that is not ours: nothing */
    /* Most recently used first, from the chunks' headers; also files that are damaged, or of another format version. *list: free() */
    iflow_status (*list)(iflow_store *store, iflow_chunk_info **list, size_t *n);
    /* One chunk's facts, from its header. */
    iflow_status (*stat)(iflow_store *store, const char *id, iflow_chunk_info *info);
    /* Ids that begin with prefix, sound or not. *ids: free() */
    iflow_status (*find)(iflow_store *store, const char *prefix, char (**ids)[IFLOW_ID_SIZE], size_t *n);
    /* Adds to what it counts, on failure too. */
    iflow_status (*prune)(iflow_store *store, uint64_t max_bytes, size_t *n_deleted, uint64_t *n_bytes);
    /* Deletes old chunks (chunk.h), pinned ones too. Counts as prune does. */
    iflow_status (*prune_old)(iflow_store *store, size_t *n_deleted, uint64_t *n_bytes);
    /* Small named records (documents), published as atomically. */
    iflow_status (*put_record)(iflow_store *store, const char *id, const char *text, size_t n_bytes);
    iflow_status (*get_record)(iflow_store *store, const char *id, iflow_blob *out); /* as peek; E_CORRUPT also where it is too large */
    iflow_status (*remove_record)(iflow_store *store, const char *id);
    iflow_status (*set_aside_record)(iflow_store *store, const char *id, const iflow_blob *judged);
    iflow_status (*list_records)(iflow_store *store, char (**ids)[IFLOW_ID_SIZE], size_t *n); /* *ids: free() */
} iflow_store_ops;

struct iflow_store {
    const iflow_store_ops *ops;
    iflow_own *own; /* chunks that put does not evict; NULL: it may evict any. iflow_store_open() and _close() make and free it */
};

enum { IFLOW_MAX_RECORD_BYTES = 64 << 20 };

/* For stores: the id and the size of a record that is to be put. E_ARG. */
iflow_status iflow_record_check(const char *id, size_t n_bytes);

/* For stores: the failure of a put for which there is no room beside what may not be evicted: pinned chunks, and the handle's own that are
 * not pinned. E_FULL. */
iflow_status iflow_store_full(const char *name, uint64_t pinned_bytes, uint64_t own_bytes, uint64_t max_bytes);

/* Opens the directory store; makes a store in memory. */
iflow_status iflow_store_dir_open(const char *dir, const iflow_store_params *params, iflow_store **out);
iflow_status iflow_store_memory_open(const iflow_store_params *params, iflow_store **out);

/* Checks a directory store's invariants (store_dir.c numbers them) while nobody else uses it; reads every chunk whole. E_CORRUPT, naming
 * the number and the file. For tests. */
iflow_status iflow_store_dir_check(iflow_store *store);

/* Gets, decodes and checks a chunk. A bad one is set aside and reported as E_CORRUPT: the caller recomputes. */
iflow_status iflow_store_get_chunk(iflow_store *store, const char *id, iflow_chunk **out);

/* store_docs.c: the id that a document of a model (its fingerprint) is recorded by. E_MEMORY. */
iflow_status iflow_document_id(const char *fingerprint, const char *name, char id[IFLOW_ID_SIZE]);

/* store_docs.c: a document's part of iflow_store_verify(), _pin() and _delete(). */
iflow_status iflow_document_verify(iflow_store *store, const char *id);
iflow_status iflow_document_pin(iflow_store *store, const char *id, bool pinned);
iflow_status iflow_document_delete(iflow_store *store, const char *id);

#endif
