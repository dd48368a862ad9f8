/* bench_peer.c - libllama as what infoflow is measured against: full prefill and decoding of given tokens. */
#include "lab/bench_peer.h"

#include "cli/progress.h"
#include "cli/text.h"

#include <ggml-cpu.h>
#include <llama.h>
#include <stdlib.h>
#include <string.h>

enum { UBATCH = 512, PADDING = 256, WARM_UP = 32 };

struct peer {
    struct llama_model *model;
    const struct llama_vocab *vocab;
    struct llama_context *ctx;
    struct llama_batch batch;
    struct ggml_threadpool *pool; /* as llama.cpp's own programs give it; only while it is measured, so that it does not spin else */
    int n_threads;
    bool cpu;
};

/* A function of the CPU's backend by its name: where backends are loaded at run time, it cannot be linked. */
static void *cpu_function(const char *name) {
    return ggml_backend_reg_get_proc_address(ggml_backend_dev_backend_reg(ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU)), name);
}

/* Before the clock runs. */
static void take_pool(peer *p) {
    struct ggml_threadpool *(*make)(struct ggml_threadpool_params *) = NULL;
    *(void **)&make = cpu_function("ggml_threadpool_new"); /* POSIX gives functions as void * */
    struct ggml_threadpool_params params = ggml_threadpool_params_default(p->n_threads);
    params.paused = true; /* until the first graph */
    p->pool = make ? make(&params) : NULL;
    if (p->pool) {
        llama_attach_threadpool(p->ctx, p->pool, p->pool);
    }
}

/* After it. */
static void drop_pool(peer *p) {
    void (*release)(struct ggml_threadpool *) = NULL;
    *(void **)&release = cpu_function("ggml_threadpool_free");
    if (p->pool) {
        llama_detach_threadpool(p->ctx);
        release(p->pool);
        p->pool = NULL;
    }
}

/* Starts the backends and sends libllama's messages where the library's go. */
static void start(void) {
    iflow_device_name(0);
}

peer *peer_load(const char *path, const char *device) {
    start();
    peer *p = must_alloc(1, sizeof *p);
    ggml_backend_dev_t none = NULL;
    struct llama_model_params params = llama_model_default_params();
    p->cpu = device && strcmp(device, "cpu") == 0;
    if (p->cpu) {
        params.n_gpu_layers = 0;
        params.devices = &none;
    }
    p->model = llama_model_load_from_file(path, params);
    if (!p->model) {
        cli_error("%s: libllama cannot load it, so there is nothing to measure against", path);
        peer_free(p);
        return NULL;
    }
    p->vocab = llama_model_get_vocab(p->model);
    return p;
}

static void close_context(peer *p) {
    if (!p->ctx) {
        return;
    }
    llama_free(p->ctx);
    llama_batch_free(p->batch);
    p->ctx = NULL;
}

void peer_free(peer *p) {
    if (!p) {
        return;
    }
    close_context(p);
    if (p->model) {
        llama_model_free(p->model);
    }
    free(p);
}

bool peer_open(peer *p, size_t n_ctx, int n_threads, bool flash_attention) {
    close_context(p);
    struct llama_context_params params = llama_context_default_params();
    params.n_ctx = params.n_batch = (uint32_t)((n_ctx + PADDING - 1) / PADDING * PADDING);
    params.n_ubatch = UBATCH;
    params.n_threads = params.n_threads_batch = n_threads;
    params.flash_attn_type = flash_attention ? LLAMA_FLASH_ATTN_TYPE_ENABLED : LLAMA_FLASH_ATTN_TYPE_DISABLED;
    params.swa_full = false; /* a smaller cache where the model has sliding windows */
    params.no_perf = true;
    params.offload_kqv = params.op_offload = !p->cpu;
    p->ctx = llama_init_from_model(p->model, params);
    if (!p->ctx) {
        cli_error("libllama cannot make a context of %s tokens; is there too little memory?", human_count(params.n_ctx));
        return false;
    }
    p->batch = llama_batch_init((int32_t)params.n_batch, 0, 1);
    p->n_threads = n_threads;
    return true;
}

static bool run_batch(peer *p, const int32_t *token, size_t n, size_t at, bool logits) {
    p->batch.n_tokens = (int32_t)n;
    for (size_t i = 0; i < n; i++) {
        p->batch.token[i] = token[i];
        p->batch.pos[i] = (llama_pos)(at + i);
        p->batch.n_seq_id[i] = 1;
        p->batch.seq_id[i][0] = 0;
        p->batch.logits[i] = logits && i + 1 == n;
    }
    const int status = llama_decode(p->ctx, p->batch);
    llama_synchronize(p->ctx);
    if (status) {
        cli_error("libllama's decode of %s tokens failed (%d)", human_count(n), status);
    }
    return status == 0;
}

static int32_t most_probable(const peer *p) {
    const float *logits = llama_get_logits_ith(p->ctx, -1);
    int32_t best = 0;
    for (int32_t i = 1; i < llama_vocab_n_tokens(p->vocab); i++) {
        best = logits[i] > logits[best] ? i : best;
    }
    return llama_vocab_is_eog(p->vocab, best) ? -1 : best;
}

bool peer_prefill(peer *p, const int32_t *token, size_t n, size_t piece, int32_t *first, double *ms) {
    bool ok = true;
    take_pool(p);
    const double since = now_seconds();
    for (size_t at = 0; at < n && ok; at += piece) {
        const size_t n_piece = n - at < piece ? n - at : piece;
        llama_memory_clear(llama_get_memory(p->ctx), false);
        ok = run_batch(p, token + at, n_piece, 0, first && at + n_piece == n);
    }
    if (first && ok) {
        *first = most_probable(p);
    }
    *ms = (now_seconds() - since) * 1e3;
    drop_pool(p);
    return ok;
}

bool peer_decode(peer *p, const int32_t *token, size_t n, double *ms) {
    const size_t at = (size_t)(llama_memory_seq_pos_max(llama_get_memory(p->ctx), 0) + 1);
    bool ok = true;
    take_pool(p);
    const double since = now_seconds();
    for (size_t i = 0; i < n && ok; i++) {
        ok = run_batch(p, token + i, 1, at + i, true);
    }
    *ms = (now_seconds() - since) * 1e3;
    drop_pool(p);
    return ok;
}

bool peer_choose_attention(peer *p, const int32_t *token, size_t n, size_t piece, size_t n_ctx, int n_threads, bool *flash_attention,
                           double ms[2]) {
    for (int on = 0; on < 2; on++) {
        if (!peer_open(p, n_ctx, n_threads, on) || !peer_prefill(p, token, n < WARM_UP ? n : WARM_UP, WARM_UP, NULL, &ms[on]) ||
            !peer_prefill(p, token, n, piece, NULL, &ms[on])) {
            return false;
        }
    }
    *flash_attention = ms[1] <= ms[0];
    return *flash_attention || peer_open(p, n_ctx, n_threads, false);
}

peer_facts peer_get_facts(void) {
    start();
    return (peer_facts){ggml_version(), ggml_commit(), llama_print_system_info()};
}
