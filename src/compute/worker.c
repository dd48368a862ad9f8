/* worker.c - the workers of a process, and whose turn it is on each. */
#include "compute/worker.h"

#include "base/thread.h"
#include "model/guard.h"

#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

enum { WAIT_MS = 20 }; /* how often one that waits for its turn looks whether it is cancelled */

/* Turns are numbered as they are taken; the one that is `now` computes. */
struct iflow_turns {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    struct waiting {
        struct waiting *next;
    } * first, **last; /* those that wait or compute, in their order */
    pid_t owner;       /* the process that the pool's threads are in */
};

static pthread_mutex_t registry = PTHREAD_MUTEX_INITIALIZER;
static iflow_worker *workers;

/* A function of the CPU's backend by its name: where backends are loaded at run time, it cannot be linked. */
static void *cpu_function(ggml_backend_t cpu, const char *name) {
    return ggml_backend_reg_get_proc_address(ggml_backend_dev_backend_reg(ggml_backend_get_device(cpu)), name);
}

static ggml_backend_t cpu_of(const iflow_worker *w) {
    return w->backend[w->n_backends - 1];
}

/* ---- Threads ------------------------------------------------------------------------------------------------------------------------ */

static void release_pool(const iflow_worker *w, struct ggml_threadpool *pool) {
    void (*release)(struct ggml_threadpool *) = NULL;
    *(void **)&release = cpu_function(cpu_of(w), "ggml_threadpool_free"); /* POSIX gives functions as void * */
    if (pool && release) {
        release(pool);
    }
}

static void free_pool(iflow_worker *w) {
    if (w->turns->owner == getpid()) { /* in a fork the threads are not there to be joined */
        release_pool(w, w->pool);
        iflow_helpers_free(w->helpers);
    }
    w->pool = NULL;
    w->helpers = NULL;
}

static void set_pool(iflow_worker *w, struct ggml_threadpool *pool) {
    void (*set)(ggml_backend_t, struct ggml_threadpool *) = NULL;
    *(void **)&set = cpu_function(cpu_of(w), "ggml_backend_cpu_set_threadpool");
    if (set) {
        set(cpu_of(w), pool);
    }
}

/* Replaces the pool by a larger one. poll 0: a thread that waits for the next graph sleeps. Where the CPU's backend has no pools of the
 * caller's, ggml makes its own. E_MEMORY, and the old pool stays. */
static iflow_status grow_pool(iflow_worker *w, int n_threads) {
    struct ggml_threadpool *(*make)(struct ggml_threadpool_params *) = NULL;
    *(void **)&make = cpu_function(cpu_of(w), "ggml_threadpool_new");
    const iflow_status status = iflow_guard_threads(n_threads);
    if (status) {
        return status;
    }
    struct ggml_threadpool_params params = ggml_threadpool_params_default(n_threads);
    params.poll = 0;
    struct ggml_threadpool *pool = make ? make(&params) : NULL;
    if (make && !pool) {
        return iflow_fail(IFLOW_E_MEMORY, "a pool of %d threads cannot be made; give fewer", n_threads);
    }
    set_pool(w, NULL);
    free_pool(w);
    set_pool(w, pool);
    w->pool = pool;
    w->helpers = n_threads > 1 ? iflow_helpers_new(n_threads - 1) : NULL; /* a busy machine is slower without */
    w->n_threads = n_threads;
    w->turns->owner = getpid();
    return IFLOW_OK;
}

static void set_threads(ggml_backend_t backend, int n_threads) {
    ggml_backend_set_n_threads_t set = NULL;
    *(void **)&set = cpu_function(backend, "ggml_backend_set_n_threads");
    if (set) {
        set(backend, n_threads);
    }
}

/* ---- Turns -------------------------------------------------------------------------------------------------------------------------- */

/* Waits until all who came before are done. E_CANCELLED: this one does not wait any more. */
static iflow_status begin_turn(struct iflow_turns *t, struct waiting *own) {
    iflow_status status = IFLOW_OK;
    pthread_mutex_lock(&t->mutex);
    own->next = NULL;
    *t->last = own;
    t->last = &own->next;
    while (t->first != own && !(status = iflow_cancel_check())) {
        iflow_condition_wait(&t->changed, &t->mutex, WAIT_MS);
    }
    pthread_mutex_unlock(&t->mutex);
    return status;
}

static void end_turn(struct iflow_turns *t, struct waiting *own) {
    pthread_mutex_lock(&t->mutex);
    struct waiting **at = &t->first;
    while (*at != own) {
        at = &(*at)->next;
    }
    *at = own->next;
    t->last = own->next ? t->last : at;
    pthread_cond_broadcast(&t->changed);
    pthread_mutex_unlock(&t->mutex);
}

static struct iflow_turns *new_turns(void) {
    struct iflow_turns *t = calloc(1, sizeof *t);
    if (!t) {
        return NULL;
    }
    t->last = &t->first;
    pthread_mutex_init(&t->mutex, NULL);
    iflow_condition_init(&t->changed);
    return t;
}

/* ---- Workers ------------------------------------------------------------------------------------------------------------------------ */

static void free_worker(iflow_worker *w) {
    if (w->turns && w->n_backends) {
        free_pool(w);
    }
    for (int i = 0; i < w->n_backends; i++) {
        ggml_backend_free(w->backend[i]);
    }
    if (w->turns) {
        pthread_cond_destroy(&w->turns->changed);
        pthread_mutex_destroy(&w->turns->mutex);
    }
    free(w->turns);
    free(w);
}

static iflow_status new_worker(ggml_backend_dev_t device, ggml_backend_dev_t cpu, iflow_worker **out) {
    const ggml_backend_dev_t devs[2] = {device, cpu};
    iflow_worker *w = calloc(1, sizeof *w);
    if (!w || !(w->turns = new_turns())) {
        free(w);
        return iflow_fail_memory(sizeof *w + sizeof *w->turns);
    }
    for (int i = device == cpu; i < 2; i++) {
        ggml_backend_t backend = ggml_backend_dev_init(devs[i], NULL);
        if (!backend) {
            free_worker(w);
            return iflow_fail(IFLOW_E_BACKEND, "device %s cannot be started", ggml_backend_dev_name(devs[i]));
        }
        w->backend[w->n_backends++] = backend;
    }
    *out = w;
    return IFLOW_OK;
}

/* In a process that was forked, others' turns will never end, and a mutex may be one that a thread of the parent had. New contexts get a
 * worker of their own there; what the parent's hold is left as it is. */
static void begin_fork(void) {
    pthread_mutex_init(&registry, NULL);
    for (iflow_worker *w = workers; w; w = w->next) {
        pthread_mutex_init(&w->turns->mutex, NULL);
        iflow_condition_init(&w->turns->changed); /* somebody may wait for it in the parent, whom its end would wait for here */
        w->turns->first = NULL;
        w->turns->last = &w->turns->first;
    }
    workers = NULL;
}

static void watch_forks(void) {
    pthread_atfork(NULL, NULL, begin_fork);
}

iflow_status iflow_worker_get(ggml_backend_dev_t device, ggml_backend_dev_t cpu, int n_threads, iflow_worker **out) {
    iflow_status status = IFLOW_OK;
    static pthread_once_t watched = PTHREAD_ONCE_INIT;
    struct waiting own;
    pthread_once(&watched, watch_forks);
    pthread_mutex_lock(&registry);
    iflow_worker *w = workers;
    while (w && ggml_backend_get_device(w->backend[0]) != device) {
        w = w->next;
    }
    if (!w && !(status = new_worker(device, cpu, &w)) && w) {
        w->next = workers;
        workers = w;
    }
    if (!status && w) {
        w->n_users++;
    }
    pthread_mutex_unlock(&registry);
    if (status || !w) {
        return status;
    }
    if (!(status = begin_turn(w->turns, &own)) && n_threads > w->n_threads) {
        status = grow_pool(w, n_threads);
    }
    end_turn(w->turns, &own);
    if (status) {
        iflow_worker_put(w);
        return status;
    }
    *out = w;
    return IFLOW_OK;
}

void iflow_worker_put(iflow_worker *w) {
    if (!w) {
        return;
    }
    pthread_mutex_lock(&registry);
    const bool last = --w->n_users == 0;
    for (iflow_worker **at = &workers; last && *at; at = &(*at)->next) {
        if (*at == w) {
            *at = w->next;
            break;
        }
    }
    pthread_mutex_unlock(&registry);
    if (last) {
        free_worker(w);
    }
}

/* The threads of a pool are not there in a process that is forked from its own, which would wait for them for ever. */
static iflow_status check_process(const iflow_worker *w, int n_threads) {
    if (n_threads > 1 && w->turns->owner != getpid()) {
        return iflow_fail(IFLOW_E_BACKEND,
                          "this process was forked from one that computes with several threads, which are not here: start a "
                          "new program, or give 1 thread");
    }
    return IFLOW_OK;
}

/* ggml asks this between two nodes. */
static bool is_cancelled(void *latch) {
    return iflow_cancel_seen(latch);
}

static void set_abort(const iflow_worker *w, iflow_cancel_latch *cancel) {
    ggml_backend_set_abort_callback_t set = NULL;
    *(void **)&set = cpu_function(cpu_of(w), "ggml_backend_set_abort_callback");
    if (set) {
        set(cpu_of(w), cancel ? is_cancelled : NULL, cancel);
    }
}

static iflow_status compute(iflow_worker *w, ggml_backend_sched_t sched, struct ggml_cgraph *cgraph, int n_threads, bool fewer,
                            iflow_cancel_latch *cancel) {
    iflow_status status = check_process(w, n_threads);
    if (status || (status = iflow_cancel_check())) {
        return status;
    }
    const int n_used = fewer ? iflow_load_threads(&w->load, n_threads) : n_threads;
    set_abort(w, cancel);
    for (int i = 0; i < w->n_backends; i++) {
        set_threads(w->backend[i], n_used);
    }
    iflow_helpers_use(w->helpers, n_used == 1 ? n_threads - 1 : 0);
    const enum ggml_status result = ggml_backend_sched_graph_compute(sched, cgraph);
    iflow_helpers_use(NULL, 0);
    const char *name = ggml_backend_name(w->backend[0]);
    set_abort(w, NULL);
    if (iflow_cancel_seen(cancel)) { /* kernels of our own leave work undone then, whatever ggml says */
        return iflow_fail(IFLOW_E_CANCELLED, "cancelled by the caller");
    }
    switch (result) {
    case GGML_STATUS_SUCCESS:
        return IFLOW_OK;
    case GGML_STATUS_ALLOC_FAILED:
        return iflow_fail(IFLOW_E_MEMORY, "no memory for the computation on device %s", name);
    default:
        return iflow_fail(IFLOW_E_BACKEND, "the computation failed on device %s", name);
    }
}

iflow_status iflow_worker_compute(iflow_worker *w, ggml_backend_sched_t sched, struct ggml_cgraph *cgraph, int n_threads, bool fewer,
                                  iflow_cancel_latch *cancel) {
    struct waiting own;
    iflow_status status = begin_turn(w->turns, &own);
    if (!status) {
        status = compute(w, sched, cgraph, n_threads, fewer, cancel);
    }
    end_turn(w->turns, &own);
    return status;
}
