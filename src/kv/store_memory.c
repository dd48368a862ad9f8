/* store_memory.c - the store that is gone with its process: chunks and records in memory, bounded as the directory store is.
 *
 * Chunks are kept as the bytes of their files and handed out without copying: a blob of its own that counts (blob.h). Ones that were
 * decoded from it once are not checked again. Entries, records and pins are arrays sorted by id. */
#include "kv/store.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* A chunk, a record, a pin, or a lease: which array it is in says which, and what of it is set. */
typedef struct item {
    char id[IFLOW_ID_SIZE];
    iflow_blob blob;
    uint64_t serial; /* unlike that of any other item, of the same id too */
    uint64_t used;   /* when last, by the store's own clock, which counts uses */
    int64_t used_at; /* Unix seconds */
    bool old;        /* chunk.h */
} item;

typedef struct items {
    item *at;
    size_t n, capacity;
} items;

typedef struct memory_store {
    iflow_store base; /* first: the handle is this */
    uint64_t max_bytes;
    pthread_mutex_t mutex; /* guards what follows */
    items chunks, records, pins, leases;
    uint64_t n_serials, n_uses;
} memory_store;

static const iflow_store_ops memory_ops;

static memory_store *lock(iflow_store *base) {
    memory_store *store = (memory_store *)base;
    pthread_mutex_lock(&store->mutex);
    return store;
}

static iflow_status unlock(memory_store *store, iflow_status status) {
    pthread_mutex_unlock(&store->mutex);
    return status;
}

static iflow_status not_found(const char *what, const char *id) {
    return iflow_fail(IFLOW_E_NOT_FOUND, "%s %s is not in the store memory:", what, id);
}

/* ---- Sorted arrays ------------------------------------------------------------------------------------------------------------------ */

/* Where an id is or would be. */
static size_t place_of(const items *list, const char *id) {
    size_t first = 0, end = list->n;
    while (first < end) {
        const size_t middle = first + (end - first) / 2;
        if (strcmp(list->at[middle].id, id) < 0) {
            first = middle + 1;
        } else {
            end = middle;
        }
    }
    return first;
}

static item *find(const items *list, const char *id) {
    const size_t place = place_of(list, id);
    return place < list->n && strcmp(list->at[place].id, id) == 0 ? &list->at[place] : NULL;
}

/* Adds an item that is not there; NULL: no memory, with a message. */
static item *add(memory_store *store, items *list, const char *id) {
    const size_t place = place_of(list, id);
    if (iflow_reserve((void **)&list->at, &list->capacity, list->n + 1, sizeof list->at[0])) {
        return NULL;
    }
    memmove(list->at + place + 1, list->at + place, (list->n - place) * sizeof list->at[0]);
    list->n++;
    item *added = &list->at[place];
    *added = (item){.serial = ++store->n_serials};
    memcpy(added->id, id, IFLOW_ID_SIZE);
    return added;
}

static void drop(items *list, item *gone) {
    const size_t place = (size_t)(gone - list->at);
    iflow_blob_free(&gone->blob);
    memmove(gone, gone + 1, (list->n - place - 1) * sizeof *gone);
    list->n--;
}

static void drop_id(items *list, const char *id) {
    item *gone = find(list, id);
    if (gone) {
        drop(list, gone);
    }
}

static void free_items(items *list) {
    while (list->n) {
        drop(list, &list->at[list->n - 1]);
    }
    free(list->at);
}

static iflow_status ids_of(const items *list, const char *prefix, char (**ids)[IFLOW_ID_SIZE], size_t *n) {
    size_t n_found = 0;
    char(*found)[IFLOW_ID_SIZE] = iflow_calloc(list->n, sizeof found[0]);
    if (!found) {
        return iflow_fail_memory(list->n * sizeof found[0]);
    }
    for (size_t i = 0; i < list->n; i++) {
        if (strncmp(list->at[i].id, prefix, strlen(prefix)) == 0) {
            memcpy(found[n_found++], list->at[i].id, sizeof found[0]);
        }
    }
    *ids = found;
    *n = n_found;
    return IFLOW_OK;
}

/* Locks the store and finds what has an id; on failure it is not locked. *one can be NULL only then. */
static iflow_status lock_item(iflow_store *base, items *list, const char *what, const char *id, item **one) {
    const iflow_status status = iflow_id_check(id);
    if (status) {
        return status;
    }
    memory_store *store = lock(base);
    *one = find(list, id);
    return *one ? IFLOW_OK : unlock(store, not_found(what, id));
}

/* ---- Bounding ----------------------------------------------------------------------------------------------------------------------- */

/* Whether a chunk stays because it is the handle's own: for a chunk that is to come. */
static bool is_own(const memory_store *store, const char *incoming, const item *one) {
    return incoming && iflow_own_has(store->base.own, one->id);
}

/* Which goes next: old ones first, then the least recently used; no pinned one. NULL: none can. */
static item *next_to_go(const memory_store *store, const char *incoming) {
    item *next = NULL;
    for (size_t i = 0; i < store->chunks.n; i++) {
        item *one = &store->chunks.at[i];
        const bool sooner = !next || one->old > next->old || (one->old == next->old && one->used < next->used);
        if (sooner && (!incoming || strcmp(one->id, incoming) != 0) && !find(&store->pins, one->id) && !is_own(store, incoming, one)) {
            next = one;
        }
    }
    return next;
}

/* As the directory store's: for a chunk that is to come it must come to max_bytes, or nothing goes. */
static iflow_status evict(memory_store *store, uint64_t max_bytes, const char *incoming, size_t *n_deleted, uint64_t *n_bytes) {
    uint64_t total = 0, pinned = 0, own = 0;
    for (size_t i = 0; i < store->chunks.n; i++) {
        const item *one = &store->chunks.at[i];
        const bool counts = !incoming || strcmp(one->id, incoming) != 0, is_pinned = find(&store->pins, one->id) != NULL;
        total += counts ? one->blob.n_bytes : 0;
        pinned += counts && is_pinned ? one->blob.n_bytes : 0;
        own += counts && !is_pinned && is_own(store, incoming, one) ? one->blob.n_bytes : 0;
    }
    if (incoming && pinned + own > max_bytes) {
        return iflow_store_full("memory:", pinned, own, store->max_bytes);
    }
    for (item *gone; total > max_bytes && (gone = next_to_go(store, incoming));) {
        total -= gone->blob.n_bytes;
        *n_bytes += gone->blob.n_bytes;
        ++*n_deleted;
        drop(&store->chunks, gone);
    }
    return IFLOW_OK;
}

static iflow_status memory_prune(iflow_store *base, uint64_t max_bytes, size_t *n_deleted, uint64_t *n_bytes) {
    memory_store *store = lock(base);
    return unlock(store, evict(store, max_bytes, NULL, n_deleted, n_bytes));
}

static iflow_status memory_prune_old(iflow_store *base, size_t *n_deleted, uint64_t *n_bytes) {
    memory_store *store = lock(base);
    for (size_t i = store->chunks.n; i-- > 0;) {
        item *one = &store->chunks.at[i];
        if (one->old) {
            ++*n_deleted;
            *n_bytes += one->blob.n_bytes;
            drop_id(&store->pins, one->id);
            drop(&store->chunks, one);
        }
    }
    return unlock(store, IFLOW_OK);
}

/* ---- Chunks ------------------------------------------------------------------------------------------------------------------------- */

static iflow_status hand_out(iflow_store *base, const char *id, bool used, iflow_blob *out) {
    memory_store *store = (memory_store *)base;
    item *one = NULL;
    iflow_status status = lock_item(base, &store->chunks, "chunk", id, &one);
    if (status) {
        return status;
    }
    status = iflow_blob_again(&one->blob, out);
    if (!status) {
        out->ino = one->serial;
        out->checked = used ? out->checked : NULL; /* who looks after a store looks at all of it */
    }
    if (!status && used) {
        one->used = ++store->n_uses;
        one->used_at = (int64_t)time(NULL);
    }
    return unlock(store, status);
}

static iflow_status memory_get(iflow_store *base, const char *id, iflow_blob *out) {
    return hand_out(base, id, true, out);
}

static iflow_status memory_peek(iflow_store *base, const char *id, iflow_blob *out) {
    return hand_out(base, id, false, out);
}

static void memory_prefetch(iflow_store *base, const char *id) {
    (void)base;
    (void)id;
}

/* Whether an array has an id, which may be any text. */
static bool has_in(iflow_store *base, const items *list, const char *id) {
    memory_store *store = lock(base);
    const bool there = iflow_id_is_valid(id) && find(list, id);
    unlock(store, IFLOW_OK);
    return there;
}

static bool memory_has(iflow_store *base, const char *id) {
    return has_in(base, &((memory_store *)base)->chunks, id);
}

/* Puts a blob in the place of what is there. Takes it over on success only. */
static iflow_status place(memory_store *store, items *list, const char *id, iflow_blob *blob) {
    item *one = find(list, id);
    if (one) {
        iflow_blob_free(&one->blob);
        one->serial = ++store->n_serials;
    } else if (!(one = add(store, list, id))) {
        return IFLOW_E_MEMORY;
    }
    one->blob = *blob;
    one->used = ++store->n_uses;
    one->used_at = (int64_t)time(NULL);
    *blob = (iflow_blob){0};
    return IFLOW_OK;
}

static iflow_status memory_put(iflow_store *base, const char *id, const iflow_blob *blob, bool replace) {
    const uint64_t max_bytes = ((memory_store *)base)->max_bytes;
    iflow_blob own = {0};
    size_t n_deleted = 0;
    uint64_t n_bytes = 0;
    iflow_status status = iflow_id_check(id);
    if (status || (!replace && memory_has(base, id))) {
        return status;
    }
    if (max_bytes && blob->n_bytes > max_bytes) {
        return iflow_fail(IFLOW_E_FULL, "chunk %s has %zu bytes, the store memory: holds at most %llu: raise the limit", id, blob->n_bytes,
                          (unsigned long long)max_bytes);
    }
    status = iflow_blob_again(blob, &own);
    if (status) {
        return status;
    }
    const bool old = iflow_chunk_is_old(own.data, own.n_bytes);
    memory_store *store = lock(base);
    if (replace || !find(&store->chunks, id)) {
        status = max_bytes ? evict(store, max_bytes - own.n_bytes, id, &n_deleted, &n_bytes) : IFLOW_OK;
        status = status ? status : place(store, &store->chunks, id, &own);
    }
    if (!status) {
        find(&store->chunks, id)->old = old;
    }
    unlock(store, status);
    iflow_blob_free(&own);
    return status;
}

static iflow_status memory_remove(iflow_store *base, const char *id) {
    memory_store *store = (memory_store *)base;
    item *one = NULL;
    const iflow_status status = lock_item(base, &store->chunks, "chunk", id, &one);
    if (status) {
        return status;
    }
    drop(&store->chunks, one);
    drop_id(&store->pins, id);
    return unlock(store, IFLOW_OK);
}

/* There is no place aside: it is gone. */
static iflow_status set_aside(iflow_store *base, items *list, const char *what, const char *id, const iflow_blob *judged) {
    memory_store *store = (memory_store *)base;
    item *one = NULL;
    const iflow_status status = lock_item(base, list, what, id, &one);
    if (status) {
        return status;
    }
    if (judged && judged->ino != one->serial) {
        return unlock(store, iflow_fail(IFLOW_E_NOT_FOUND, "%s %s was published again meanwhile: that one stays", what, id));
    }
    drop(list, one);
    return unlock(store, IFLOW_OK);
}

static iflow_status memory_set_aside(iflow_store *base, const char *id, const iflow_blob *judged) {
    return set_aside(base, &((memory_store *)base)->chunks, "chunk", id, judged);
}

static iflow_status memory_sweep(iflow_store *base, const char *id) {
    (void)base;
    const iflow_status status = iflow_id_check(id);
    return status ? status : IFLOW_E_NOT_FOUND;
}

static iflow_status memory_sweep_misfits(iflow_store *base, iflow_on_verified on_verified, void *user, bool *go_on) {
    (void)base;
    (void)on_verified;
    (void)user;
    *go_on = true;
    return IFLOW_OK;
}

static iflow_status fill_info(const memory_store *store, const item *one, iflow_chunk_info *info) {
    iflow_status status = iflow_chunk_peek(one->blob.data, one->blob.n_bytes, one->id, one->id, info, NULL);
    if (!status) {
        info->used_at = one->used_at;
        info->pinned = find(&store->pins, one->id) != NULL;
    }
    return status;
}

static int by_use(const void *a, const void *b) {
    const item *x = *(const item *const *)a, *y = *(const item *const *)b;
    return x->used > y->used ? -1 : x->used < y->used;
}

static iflow_chunk_info unread(const memory_store *store, const item *one, iflow_status status) {
    iflow_chunk_info info = {.type = "-",
                             .n_bytes = one->blob.n_bytes,
                             .used_at = one->used_at,
                             .pinned = find(&store->pins, one->id) != NULL,
                             .old = status == IFLOW_E_UNSUPPORTED && one->old,
                             .unsupported = status == IFLOW_E_UNSUPPORTED && !one->old,
                             .damaged = status != IFLOW_E_UNSUPPORTED};
    memcpy(info.id, one->id, sizeof info.id);
    return info;
}

static iflow_status memory_list(iflow_store *base, iflow_chunk_info **list, size_t *n) {
    iflow_status status = IFLOW_OK;
    memory_store *store = lock(base);
    const size_t n_chunks = store->chunks.n;
    const item **order = iflow_calloc(n_chunks, sizeof order[0]);
    iflow_chunk_info *infos = iflow_calloc(n_chunks, sizeof infos[0]);
    if (!order || !infos) {
        status = iflow_fail_memory(n_chunks * sizeof infos[0]);
        goto cleanup;
    }
    for (size_t i = 0; i < n_chunks; i++) {
        order[i] = &store->chunks.at[i];
    }
    if (n_chunks) {
        qsort(order, n_chunks, sizeof order[0], by_use);
    }
    for (size_t i = 0; i < n_chunks; i++) {
        const iflow_status read = fill_info(store, order[i], &infos[i]);
        if (read == IFLOW_E_MEMORY) {
            status = read;
            goto cleanup;
        }
        infos[i] = read ? unread(store, order[i], read) : infos[i];
    }
    *list = infos;
    *n = n_chunks;
    infos = NULL;

cleanup:
    unlock(store, status);
    free(infos);
    free(order);
    return status;
}

static iflow_status memory_stat(iflow_store *base, const char *id, iflow_chunk_info *info) {
    memory_store *store = (memory_store *)base;
    item *one = NULL;
    const iflow_status status = lock_item(base, &store->chunks, "chunk", id, &one);
    return status ? status : unlock(store, fill_info(store, one, info));
}

static iflow_status memory_find(iflow_store *base, const char *prefix, char (**ids)[IFLOW_ID_SIZE], size_t *n) {
    memory_store *store = lock(base);
    return unlock(store, ids_of(&store->chunks, prefix ? prefix : "", ids, n));
}

/* ---- Pins and leases ---------------------------------------------------------------------------------------------------------------- */

static iflow_status pin(memory_store *store, const char *id, bool pinned) {
    if (!pinned) {
        drop_id(&store->pins, id);
        return IFLOW_OK;
    }
    return find(&store->pins, id) || add(store, &store->pins, id) ? IFLOW_OK : IFLOW_E_MEMORY;
}

static iflow_status memory_pin(iflow_store *base, const char *id, bool pinned) {
    iflow_status status = iflow_id_check(id);
    if (status) {
        return status;
    }
    memory_store *store = lock(base);
    const bool there = find(&store->chunks, id) || (!pinned && find(&store->pins, id)); /* a pin may outlive its chunk */
    return unlock(store, there ? pin(store, id, pinned) : not_found("chunk", id));
}

static iflow_status memory_pin_record(iflow_store *base, const char *id, bool pinned) {
    iflow_status status = iflow_id_check(id);
    if (status) {
        return status;
    }
    memory_store *store = lock(base);
    return unlock(store, pin(store, id, pinned));
}

static bool memory_is_pinned(iflow_store *base, const char *id) {
    return has_in(base, &((memory_store *)base)->pins, id);
}

/* Between threads: the process is the only one that knows this store, and its leases end with it. */
static iflow_status memory_lease(iflow_store *base, const char *id) {
    iflow_status status = iflow_id_check(id);
    if (status) {
        return status;
    }
    memory_store *store = lock(base);
    if (find(&store->leases, id)) {
        return unlock(store, iflow_fail(IFLOW_E_BUSY, "chunk %s is being computed by another thread", id));
    }
    return unlock(store, add(store, &store->leases, id) ? IFLOW_OK : IFLOW_E_MEMORY);
}

static void memory_release(iflow_store *base, const char *id) {
    memory_store *store = lock(base);
    drop_id(&store->leases, id);
    unlock(store, IFLOW_OK);
}

/* ---- Reading by parts --------------------------------------------------------------------------------------------------------------- */

typedef struct memory_reader {
    iflow_reader base; /* first */
    iflow_blob blob;
} memory_reader;

static iflow_status read_part(iflow_reader *base, uint64_t offset, size_t n_bytes, void *out) {
    const memory_reader *reader = (memory_reader *)base;
    if (offset > reader->blob.n_bytes || n_bytes > reader->blob.n_bytes - offset) {
        return iflow_fail(IFLOW_E_CORRUPT, "the chunk has %zu bytes, not %llu", reader->blob.n_bytes, (unsigned long long)offset + n_bytes);
    }
    if (n_bytes) {
        memcpy(out, (const char *)reader->blob.data + offset, n_bytes);
    }
    return IFLOW_OK;
}

static void close_reader(iflow_reader *base) {
    memory_reader *reader = (memory_reader *)base;
    iflow_blob_free(&reader->blob);
    free(reader);
}

static iflow_status memory_open_chunk(iflow_store *base, const char *id, iflow_reader **out) {
    memory_reader *reader = iflow_calloc(1, sizeof *reader);
    if (!reader) {
        return iflow_fail_memory(sizeof *reader);
    }
    const iflow_status status = memory_get(base, id, &reader->blob);
    if (status) {
        free(reader);
        return status;
    }
    reader->base = (iflow_reader){.n_bytes = reader->blob.n_bytes, .ino = reader->blob.ino, .read = read_part, .close = close_reader};
    *out = &reader->base;
    return IFLOW_OK;
}

/* ---- Records ------------------------------------------------------------------------------------------------------------------------ */

static iflow_status memory_put_record(iflow_store *base, const char *id, const char *text, size_t n_bytes) {
    iflow_blob own = {0};
    iflow_status status = iflow_record_check(id, n_bytes);
    status = status ? status : iflow_blob_again(&(iflow_blob){.data = text, .n_bytes = n_bytes}, &own);
    if (status) {
        return status;
    }
    memory_store *store = lock(base);
    unlock(store, status = place(store, &store->records, id, &own));
    iflow_blob_free(&own);
    return status;
}

static iflow_status memory_get_record(iflow_store *base, const char *id, iflow_blob *out) {
    memory_store *store = (memory_store *)base;
    item *one = NULL;
    iflow_status status = lock_item(base, &store->records, "document", id, &one);
    if (status) {
        return status;
    }
    status = iflow_blob_again(&one->blob, out);
    if (!status) {
        out->ino = one->serial;
    }
    return unlock(store, status);
}

static iflow_status memory_set_aside_record(iflow_store *base, const char *id, const iflow_blob *judged) {
    return set_aside(base, &((memory_store *)base)->records, "document", id, judged);
}

static iflow_status memory_remove_record(iflow_store *base, const char *id) {
    return memory_set_aside_record(base, id, NULL);
}

static iflow_status memory_list_records(iflow_store *base, char (**ids)[IFLOW_ID_SIZE], size_t *n) {
    memory_store *store = lock(base);
    return unlock(store, ids_of(&store->records, "", ids, n));
}

/* ---- As a whole --------------------------------------------------------------------------------------------------------------------- */

static void memory_close(iflow_store *base) {
    memory_store *store = (memory_store *)base;
    free_items(&store->chunks);
    free_items(&store->records);
    free_items(&store->pins);
    free_items(&store->leases);
    pthread_mutex_destroy(&store->mutex);
    free(store);
}

static const iflow_store_ops memory_ops = {
    .close = memory_close,
    .get = memory_get,
    .peek = memory_peek,
    .open_chunk = memory_open_chunk,
    .prefetch = memory_prefetch,
    .put = memory_put,
    .has = memory_has,
    .remove = memory_remove,
    .set_aside = memory_set_aside,
    .sweep = memory_sweep,
    .sweep_misfits = memory_sweep_misfits,
    .pin = memory_pin,
    .pin_record = memory_pin_record,
    .is_pinned = memory_is_pinned,
    .lease = memory_lease,
    .release = memory_release,
    .list = memory_list,
    .stat = memory_stat,
    .find = memory_find,
    .prune = memory_prune,
    .prune_old = memory_prune_old,
    .put_record = memory_put_record,
    .get_record = memory_get_record,
    .remove_record = memory_remove_record,
    .set_aside_record = memory_set_aside_record,
    .list_records = memory_list_records,
};

iflow_status iflow_store_memory_open(const iflow_store_params *params, iflow_store **out) {
    memory_store *store = iflow_calloc(1, sizeof *store);
    if (!store) {
        return iflow_fail_memory(sizeof *store);
    }
    store->base.ops = &memory_ops;
    store->max_bytes = params ? params->max_bytes : 0;
    pthread_mutex_init(&store->mutex, NULL);
    *out = &store->base;
    return IFLOW_OK;
}
