/* store.h - what the actions of `infoflow store` share: the store as it was listed, what belongs to an operand, and the actions. */
#ifndef IFLOW_CLI_STORE_H
#define IFLOW_CLI_STORE_H

#include "cli/session.h"
#include "service/inventory.h"

/* A call of an action. */
typedef struct store_call {
    session s; /* with the store, open */
    common_options options;
    bool json;
    inventory all; /* not of `store verify` without operands */
} store_call;

/* What belongs to an operand: chunks, and the document if it is one's id. */
typedef struct store_target {
    char id[IFLOW_ID_SIZE];
    iflow_kind kind;
    iflow_document *document;
    const char (*chunk)[IFLOW_ID_SIZE];
    size_t n_chunks;
} store_target;

/* Resolves an operand, and says where ids are to be found if it is none. */
iflow_status store_resolve_id(const store_call *f, const char *operand, char id[IFLOW_ID_SIZE], iflow_kind *kind);
/* The same, for what belongs to it. CLI_OK, or CLI_FAILED after a message. The target points into itself: it must stay where it is. */
int store_resolve(const store_call *f, const char *operand, store_target *out);

/* How long ago, "-" if that is not known. */
const char *store_age(int64_t used_at);

/* Prints an object as one line, and takes it over; NULL: there was no memory for it. The exit status. */
int store_dump(json_t *object);

/* The actions, each in its file; their operands are ids. The exit status, after a message where that is a failure. */
int store_list(store_call *f);
int store_show(store_call *f, char **operand, size_t n, bool tokens);
int store_verify(store_call *f, char **operand, size_t n);
int store_pin(store_call *f, char **operand, size_t n, bool pinned);
int store_delete(store_call *f, char **operand, size_t n);
int store_prune(store_call *f, bool old);

#endif
