/* own.h - the chunks that one handle of a store was asked to have: what the handle may not evict. */
#ifndef IFLOW_KV_OWN_H
#define IFLOW_KV_OWN_H

#include "base/base.h"
#include "infoflow.h"

#include <pthread.h>

typedef struct iflow_own {
    pthread_mutex_t mutex;     /* guards what follows */
    char (*id)[IFLOW_ID_SIZE]; /* sorted */
    size_t n, capacity;
} iflow_own;

/* NULL: no memory, with a message. */
iflow_own *iflow_own_new(void);
void iflow_own_free(iflow_own *own);

/* Both from several threads. own NULL: nothing is ever in it. E_MEMORY. */
iflow_status iflow_own_add(iflow_own *own, const char *id);
bool iflow_own_has(iflow_own *own, const char *id);

#endif
