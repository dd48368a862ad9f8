/* store_dir.h - what the parts of the directory store share. Its layout and its invariants stand in store_dir.c. */
#ifndef IFLOW_KV_STORE_DIR_H
#define IFLOW_KV_STORE_DIR_H

#include "kv/files.h"
#include "kv/store.h"

#include <pthread.h>
#include <stdatomic.h>

enum {
    IFLOW_DIR_LEASE_MS = 10000, /* a lease's length */
    IFLOW_DIR_HOST_SIZE = 37,   /* a boot id and the NUL */
    IFLOW_DIR_LEASE_TEXT = 80,  /* what a lease's file says, and the NUL */
    IFLOW_DIR_WATCHES = 256,    /* others' leases that are watched at a time */
};

/* A chunk that this process computes. */
typedef struct iflow_dir_lease {
    char id[IFLOW_ID_SIZE];
    int fd;
    uint64_t counter;
    struct iflow_dir_lease *next;
} iflow_dir_lease;

/* A chunk that another one computes: what its lease says, since when, and when somebody last asked for it. */
typedef struct iflow_dir_watch {
    char id[IFLOW_ID_SIZE];
    char text[IFLOW_DIR_LEASE_TEXT];
    double since_ms, asked_ms;
} iflow_dir_watch;

/* The chunks that are old, or could not be read, when all were looked at: their ids, sorted. */
typedef struct iflow_dir_old {
    size_t n;
    char ids[][IFLOW_ID_SIZE];
} iflow_dir_old;

typedef struct iflow_dir_store {
    iflow_store base; /* first: the handle is this */
    iflow_files files;
    uint64_t max_bytes;
    double lock_warn_ms, lock_end_ms;  /* waiting for the store's lock: when that is said, and when it ends */
    iflow_dir_old *old;                /* NULL: not all were looked at; else others come only by hand. Changed under the store's lock */
    atomic_bool told_unread;           /* that a directory of chunks cannot be read: said once */
    atomic_bool lock_timed_out;        /* then the next ones wait only shortly, until the lock was got once */
    double lease_ms;                   /* a lease's length */
    char host[IFLOW_DIR_HOST_SIZE];    /* this one's boot id */
    atomic_int process;                /* whose the leases are; negative: that one makes them its own just now */
    pthread_mutex_t mutex;             /* guards what follows; everything else is constant or in the file system */
    _Atomic(iflow_dir_lease *) leases; /* whole at every moment, so that a process forked at any can drop them */
    iflow_dir_watch watches[IFLOW_DIR_WATCHES];
    size_t n_watches;
    pthread_t raiser;    /* raises the leases' counters */
    pid_t raiser_of;     /* the process that has started it; 0: none */
    pthread_cond_t wake; /* there is a first lease, or it is to end */
    bool ending;
} iflow_dir_store;

#define IFLOW_DIR_VERSION_TAG  "version" /* of VERSION in the making */
#define IFLOW_DIR_SHARED       "shared"
#define IFLOW_DIR_LEASE_SUFFIX ".lease"

extern const iflow_store_ops iflow_dir_ops;

static inline iflow_dir_store *iflow_dir_of(iflow_store *store) {
    return (iflow_dir_store *)store;
}

void iflow_dir_chunk_path(const char *id, char path[IFLOW_FILES_PATH_SIZE]);
/* The id in a name ID + suffix; false if it is not of this form. */
bool iflow_dir_id_of_name(const char *name, const char *suffix, char id[IFLOW_ID_SIZE]);
/* Whether a name in chunks/ is one of the directories there. */
bool iflow_dir_is_chunk_dir(const char *name);
bool iflow_dir_is_pinned(const iflow_dir_store *store, const char *id);
/* Whether a name in tmp/ is one that this program gives: no other is ever removed. */
bool iflow_dir_is_temp_name(const char *name);
/* Whether a name in tmp/ is a lease of another host, whose lock may not reach here, and of a chunk that is not there: it stays. */
bool iflow_dir_lease_is_others(const iflow_dir_store *store, const char *name);
/* Removes what a dead process left in tmp/ under such a name. user: the store. */
iflow_status iflow_dir_visit_temp(void *user, const char *dir, const char *name);
/* Locks the store against all that publish, evict, delete, set aside and pin. *lock: close(). E_BUSY after some time: whoever has it may
 * have been stopped. */
iflow_status iflow_dir_lock(iflow_dir_store *store, int *lock);
/* Ends it, also where a process was forked meanwhile, which has the file open, too. */
void iflow_dir_unlock(int lock);
/* Moves a file to bad/, in place of one that is there; beside it where that is a directory. 0 or errno; ESTALE: it is not the one that was
 * judged (NULL: any). The store is locked. */
int iflow_dir_move_aside(const iflow_dir_store *store, const char *path, const char *id, const char *suffix, const iflow_blob *judged);
/* The version of the layout, which is one that this program takes. E_NOT_FOUND, without a message of its own, if there is no VERSION. */
iflow_status iflow_dir_check_version(const iflow_dir_store *store, int *version);

typedef struct iflow_dir_entry {
    char id[IFLOW_ID_SIZE];
    char dir[16];    /* where it lies */
    bool misplaced;  /* no regular file, or not where a reader looks for it */
    bool old;        /* chunk.h; where that was asked for */
    bool look_again; /* it is old, or that could not be told */
    uint64_t n_bytes;
    int64_t used_ns;
} iflow_dir_entry;

typedef struct iflow_dir_scan {
    const iflow_dir_store *store;
    const char *prefix; /* of the ids wanted; NULL: all */
    const char *suffix; /* of the names */
    bool misplaced;     /* those too */
    iflow_dir_entry *entries;
    size_t n, capacity;
    size_t n_unread; /* directories that could not be read, which are left out, and what is wrong with the first */
    char why[1024];
} iflow_dir_scan;

/* All chunks whose ids begin with prefix (NULL: all), least recently used first. misplaced: whatever is named like one as well.
 * s->entries: free(), on failure too. */
iflow_status iflow_dir_scan_chunks(const iflow_dir_store *store, const char *prefix, bool misplaced, iflow_dir_scan *s);

void iflow_dir_warn_unread(iflow_dir_store *store, const iflow_dir_scan *s);

/* Deletes a chunk's file if it is there. The store is locked. */
iflow_status iflow_dir_unlink_chunk(const iflow_dir_store *store, const char *id);
/* Deletes old and then least recently used, unpinned chunks until at most max_bytes remain, or only pinned ones do. For a chunk about to be
 * published (incoming; else NULL) it must come to that: E_FULL otherwise, and nothing is deleted; one that it replaces is neither counted
 * nor deleted. What cannot be deleted is passed over: a failure for incoming where there is no room then, else in any case. Adds to what it
 * counts, on failure too. The store is locked. */
iflow_status iflow_dir_evict(iflow_dir_store *store, uint64_t max_bytes, const char *incoming, size_t *n_deleted, uint64_t *n_bytes);
/* Deletes old chunks and their pins. Of the store's operations. */
iflow_status iflow_dir_prune_old(iflow_store *base, size_t *n_deleted, uint64_t *n_bytes);
/* The records' part of the store's operations. */
iflow_status iflow_dir_put_record(iflow_store *base, const char *id, const char *text, size_t n_bytes);
iflow_status iflow_dir_get_record(iflow_store *base, const char *id, iflow_blob *out);
iflow_status iflow_dir_remove_record(iflow_store *base, const char *id);
iflow_status iflow_dir_set_aside_record(iflow_store *base, const char *id, const iflow_blob *judged);
iflow_status iflow_dir_list_records(iflow_store *base, char (**ids)[IFLOW_ID_SIZE], size_t *n);

/* Of the store's operations. */
iflow_status iflow_dir_open_chunk(iflow_store *base, const char *id, iflow_reader **out);

/* Leases: of the store's operations, and what opening and closing one takes. */
iflow_status iflow_dir_take_lease(iflow_store *base, const char *id);
void iflow_dir_release(iflow_store *base, const char *id);
void iflow_dir_find_host(char host[IFLOW_DIR_HOST_SIZE]);
void iflow_dir_end_leases(iflow_dir_store *store);
/* To be called before the store's mutex or leases are used: in a process forked from the one that has opened the store, leaves the leases
 * to that one. */
void iflow_dir_own_process(iflow_dir_store *store);

/* Of the store's operations; records are looked at one by one. */
iflow_status iflow_dir_sweep_misfits(iflow_store *base, iflow_on_verified on_verified, void *user, bool *go_on);

/* Gives what the store made of its own, and belongs to this user, the permissions that the umask leaves: none is taken away. existed: it
 * is no new store, and its directory is one of them, if that is its owner's alone. A warning where others still cannot read something or,
 * if it is shared for the first time, reach it. */
iflow_status iflow_dir_share(const iflow_dir_store *store, bool existed, bool first);

/* Keeps bad/ from growing without end. The store is locked. */
void iflow_dir_trim_bad(const iflow_dir_store *store);

#endif
