/* helpers.c - threads that help one thread with the items of an op, as far as they get a processor. */
#include "kernels/helpers.h"

#include "base/base.h"
#include "base/thread.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

/* A helper that has to wait for a processor holds the op up, by a slice of the scheduler's time or more, so that one as short as this is
 * better done alone. */
static const double ALONE_MS = 0.2;

enum { STACK_BYTES = 2 << 20 };

/* An op whose items are taken one after another. */
typedef struct job {
    iflow_item *item;
    const void *op;
    int64_t n_items;
    iflow_cancel_latch *cancel;
    int n_places; /* how many more helpers may join */
    _Atomic int64_t next;
} job;

struct iflow_helpers {
    pthread_mutex_t mutex;
    pthread_cond_t begun, left; /* there is a job; the last helper has left it */
    job *job;                   /* NULL: none to join */
    int n_inside;               /* helpers that are at the job */
    bool ended;
    int n;
    pthread_t thread[];
};

static _Thread_local struct {
    iflow_helpers *helpers;
    int n;
} used;

/* Takes an item and does it. false: none is left. */
static bool do_item(job *j) {
    const int64_t i = atomic_fetch_add(&j->next, 1);
    if (i < j->n_items && (!j->cancel || !iflow_cancel_seen(j->cancel))) {
        j->item(j->op, i);
    }
    return i < j->n_items;
}

static void *help(void *user) {
    iflow_helpers *h = user;
    pthread_mutex_lock(&h->mutex);
    while (!h->ended) {
        if (!h->job || !h->job->n_places) {
            pthread_cond_wait(&h->begun, &h->mutex);
            continue;
        }
        job *j = h->job;
        j->n_places--;
        h->n_inside++;
        pthread_mutex_unlock(&h->mutex);
        while (do_item(j)) {
        }
        pthread_mutex_lock(&h->mutex);
        if (--h->n_inside == 0) {
            pthread_cond_signal(&h->left);
        }
    }
    pthread_mutex_unlock(&h->mutex);
    return NULL;
}

iflow_helpers *iflow_helpers_new(int n) {
    pthread_attr_t attributes;
    iflow_helpers *h = calloc(1, sizeof *h + (size_t)n * sizeof h->thread[0]);
    if (!h || pthread_attr_init(&attributes)) {
        free(h);
        return NULL;
    }
    pthread_attr_setstacksize(&attributes, STACK_BYTES); /* tiles lie on it */
    pthread_mutex_init(&h->mutex, NULL);
    pthread_cond_init(&h->begun, NULL);
    pthread_cond_init(&h->left, NULL);
    while (h->n < n && !iflow_thread_start(&h->thread[h->n], &attributes, help, h)) {
        h->n++;
    }
    pthread_attr_destroy(&attributes);
    if (h->n < n) {
        iflow_helpers_free(h);
        return NULL;
    }
    return h;
}

void iflow_helpers_free(iflow_helpers *h) {
    if (!h) {
        return;
    }
    pthread_mutex_lock(&h->mutex);
    h->ended = true;
    pthread_cond_broadcast(&h->begun);
    pthread_mutex_unlock(&h->mutex);
    for (int i = 0; i < h->n; i++) {
        pthread_join(h->thread[i], NULL);
    }
    pthread_cond_destroy(&h->left);
    pthread_cond_destroy(&h->begun);
    pthread_mutex_destroy(&h->mutex);
    free(h);
}

void iflow_helpers_use(iflow_helpers *helpers, int n) {
    used.n = !helpers ? 0 : n < helpers->n ? n : helpers->n;
    used.helpers = helpers;
}

int iflow_helpers_count(void) {
    return used.n;
}

/* Lets helpers join, if there are items left for them. */
static void invite(iflow_helpers *h, job *j) {
    if (atomic_load(&j->next) < j->n_items) {
        pthread_mutex_lock(&h->mutex);
        h->job = j;
        for (int i = 0; i < used.n; i++) {
            pthread_cond_signal(&h->begun);
        }
        pthread_mutex_unlock(&h->mutex);
    }
}

/* Nobody joins any more; returns when those that did are done. */
static void wait_for_all(iflow_helpers *h) {
    pthread_mutex_lock(&h->mutex);
    h->job = NULL;
    while (h->n_inside > 0) {
        pthread_cond_wait(&h->left, &h->mutex);
    }
    pthread_mutex_unlock(&h->mutex);
}

void iflow_helpers_do(int64_t n_items, iflow_item *item, const void *op, iflow_cancel_latch *cancel) {
    job j = {.item = item, .op = op, .n_items = n_items, .cancel = cancel, .n_places = used.n};
    const double begun = used.n ? iflow_now_ms() : 0;
    while (used.n && do_item(&j)) {
        if (iflow_now_ms() - begun > ALONE_MS) {
            invite(used.helpers, &j);
            break;
        }
    }
    while (do_item(&j)) {
    }
    if (used.n) {
        wait_for_all(used.helpers);
    }
}
