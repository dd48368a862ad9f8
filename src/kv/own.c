/* own.c - the chunks that one handle of a store was asked to have: what the handle may not evict. */
#include "kv/own.h"

#include <stdlib.h>
#include <string.h>

iflow_own *iflow_own_new(void) {
    iflow_own *own = iflow_calloc(1, sizeof *own);
    if (!own) {
        iflow_fail_memory(sizeof *own);
        return NULL;
    }
    pthread_mutex_init(&own->mutex, NULL);
    return own;
}

void iflow_own_free(iflow_own *own) {
    if (own) {
        pthread_mutex_destroy(&own->mutex);
        free(own->id);
        free(own);
    }
}

/* Where an id is or would be. */
static size_t place_of(const iflow_own *own, const char *id) {
    size_t first = 0, end = own->n;
    while (first < end) {
        const size_t middle = first + (end - first) / 2;
        if (strcmp(own->id[middle], id) < 0) {
            first = middle + 1;
        } else {
            end = middle;
        }
    }
    return first;
}

static bool is_at(const iflow_own *own, size_t place, const char *id) {
    return place < own->n && strcmp(own->id[place], id) == 0;
}

iflow_status iflow_own_add(iflow_own *own, const char *id) {
    iflow_status status = IFLOW_OK;
    if (!own) {
        return IFLOW_OK;
    }
    pthread_mutex_lock(&own->mutex);
    const size_t place = place_of(own, id);
    if (!is_at(own, place, id) && !(status = iflow_reserve((void **)&own->id, &own->capacity, own->n + 1, sizeof own->id[0]))) {
        memmove(own->id + place + 1, own->id + place, (own->n - place) * sizeof own->id[0]);
        memcpy(own->id[place], id, IFLOW_ID_SIZE);
        own->n++;
    }
    pthread_mutex_unlock(&own->mutex);
    return status;
}

bool iflow_own_has(iflow_own *own, const char *id) {
    if (!own) {
        return false;
    }
    pthread_mutex_lock(&own->mutex);
    const bool found = is_at(own, place_of(own, id), id);
    pthread_mutex_unlock(&own->mutex);
    return found;
}
