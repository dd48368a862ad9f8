/* load.c - opens a GGUF model: metadata, then weights, tokenizer and identity. */
#include "model/calls.h"
#include "model/identity.h"

#include "base/params.h"
#include "model/model.h"

#include <llama.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

/* ggml's and libllama's warnings are about how models were converted and nothing a user can mend; their errors count as warnings, since
 * what failed is reported by the status. */
static void forward_log(enum ggml_log_level level, const char *text, void *user) {
    (void)user;
    const size_t n = strcspn(text, "\n");
    if (n) {
        iflow_log(level == GGML_LOG_LEVEL_ERROR ? IFLOW_LOG_WARN : IFLOW_LOG_DEBUG, "%.*s", (int)n, text);
    }
}

static void start_backends(void) {
    llama_log_set(forward_log, NULL);
    ggml_log_set(forward_log, NULL);
    if (iflow_call_load_backends()) {
        iflow_log(IFLOW_LOG_WARN, "%s", iflow_error_message());
    }
    llama_backend_init();
}

static pthread_once_t started = PTHREAD_ONCE_INIT;

const char *iflow_device_name(size_t i) {
    pthread_once(&started, start_backends);
    return i < ggml_backend_dev_count() ? ggml_backend_dev_name(ggml_backend_dev_get(i)) : NULL;
}

static iflow_status find_device(const char *name, ggml_backend_dev_t *out) {
    ggml_backend_dev_t dev = NULL;
    if (!name || !strcasecmp(name, "auto")) {
        dev = ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_GPU);
        dev = dev ? dev : ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU);
    } else if (!strcasecmp(name, "cpu")) {
        dev = ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU);
    } else {
        dev = ggml_backend_dev_by_name(name);
    }
    if (!dev || ggml_backend_dev_type(dev) == GGML_BACKEND_DEVICE_TYPE_ACCEL) {
        iflow_buffer names = {0};
        for (size_t i = 0; i < ggml_backend_dev_count(); i++) {
            const char *known = ggml_backend_dev_name(ggml_backend_dev_get(i));
            if (iflow_buffer_add(&names, i ? ", " : "", i ? 2 : 0) || iflow_buffer_add(&names, known, strlen(known))) {
                break;
            }
        }
        const iflow_status status = iflow_fail(IFLOW_E_UNSUPPORTED, "device '%s' is not here (these are: auto, %s)", name ? name : "auto",
                                               names.text ? names.text : "none");
        iflow_buffer_free(&names);
        return status;
    }
    *out = dev;
    return IFLOW_OK;
}

/* Takes the descriptors of mapped files over, to see whether somebody writes to them later. */
static iflow_status watch_files(iflow_model *model, iflow_parts *parts) {
    if (!model->map) {
        return IFLOW_OK;
    }
    model->watch = iflow_calloc(parts->n, sizeof *model->watch);
    if (!model->watch) {
        return iflow_fail_memory(parts->n * sizeof *model->watch);
    }
    for (size_t i = 0; i < parts->n; i++) {
        iflow_part *part = &parts->part[i];
        model->watch[i] = (iflow_watch){.fd = part->fd, .n_bytes = part->st.st_size, .written = part->st.st_mtim};
        part->fd = -1;
    }
    return IFLOW_OK;
}

iflow_status iflow_model_unchanged(const iflow_model *model) {
    for (int i = 0; model->watch && i < model->n_parts; i++) {
        const iflow_watch *watch = &model->watch[i];
        struct stat st;
        if (fstat(watch->fd, &st) || st.st_size != watch->n_bytes || st.st_mtim.tv_sec != watch->written.tv_sec ||
            st.st_mtim.tv_nsec != watch->written.tv_nsec) {
            return iflow_fail(IFLOW_E_IO, "model %s: its file was written to while it is in use; load it again", model->path);
        }
    }
    return IFLOW_OK;
}

iflow_status iflow_model_load(const char *path, const iflow_model_params *params, iflow_model **out) {
    iflow_model_params own = iflow_model_default_params();
    if (IFLOW_MISSING(path) || IFLOW_MISSING(out) || iflow_params_take(&own, sizeof own, params, "iflow_model_params")) {
        return IFLOW_E_ARG;
    }
    params = &own;
    pthread_once(&started, start_backends);

    iflow_status status = IFLOW_OK;
    iflow_parts parts = {0};
    iflow_model *model = NULL;
    model = calloc(1, sizeof *model);
    if (!model || !(model->path = iflow_strdup(path))) {
        status = iflow_fail_memory(sizeof *model);
        goto cleanup;
    }
    model->exact = params->exact;
    if ((status = iflow_parts_open(path, &parts)) || (status = find_device(params->device, &model->device))) {
        goto cleanup;
    }
    model->cpu = ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU);
    if (!model->cpu) {
        status = iflow_fail(IFLOW_E_BACKEND, "ggml has no CPU backend here; it is needed beside any device");
        goto cleanup;
    }
    const struct gguf_context *gguf = parts.part[0].gguf; /* the metadata of all parts */
    if ((status = iflow_plan_read(gguf, path, &model->arch, &model->h))) {
        goto cleanup;
    }
    model->n_embd_kv = model->h.spec[0].n_embd_k;
    model->score_layer = iflow_calloc((size_t)model->h.n_layer, sizeof *model->score_layer);
    if (!model->score_layer) {
        status = iflow_fail_memory((size_t)model->h.n_layer * sizeof *model->score_layer);
        goto cleanup;
    }
    for (int il = 0; il < model->h.n_layer; il++) {
        model->score_layer[il] = iflow_plan_whole_layer(&model->h, il);
    }
    model->n_parts = (int)parts.n;
    model->n_bytes = parts.n_tensor_bytes;
    /* The identity last: it can take long, and what is wrong with a file shows sooner otherwise. */
    if ((status = iflow_weights_load(model, &parts, params)) || (status = iflow_vocab_load(model, gguf)) ||
        (status = iflow_parts_check(&parts)) || (status = iflow_identity(&parts, params, model->fingerprint)) ||
        (status = iflow_parts_check(&parts)) || (status = watch_files(model, &parts))) {
        goto cleanup;
    }

cleanup:
    iflow_parts_close(&parts);
    if (status) {
        iflow_model_free(model);
    } else {
        *out = model;
    }
    return status;
}

void iflow_model_free(iflow_model *model) {
    if (model) {
        iflow_vocab_free(model);
        iflow_weights_free(model);
        iflow_plan_free(&model->h);
        free(model->score_layer);
        for (int i = 0; model->watch && i < model->n_parts; i++) {
            close(model->watch[i].fd);
        }
        free(model->watch);
        free(model->path);
        free(model);
    }
}

iflow_model_info iflow_model_get_info(const iflow_model *model) {
    if (!model) {
        return (iflow_model_info){0};
    }
    iflow_model_info info = {
        .path = model->path,
        .architecture = model->arch->name,
        .device = ggml_backend_dev_name(model->device),
        .n_vocab = model->n_vocab,
        .n_layer = model->h.n_layer,
        .n_embd = model->h.n_embd,
        .n_head = model->h.n_head,
        .n_head_kv = model->h.spec[0].n_head_kv,
        .n_embd_head = model->h.spec[0].n_embd_head,
        .n_ctx_train = model->h.n_ctx_train,
        .n_bytes = model->n_bytes,
        .n_parts = model->n_parts,
        .window = model->h.window,
        .score_layer = model->score_layer,
    };
    memcpy(info.fingerprint, model->fingerprint, sizeof info.fingerprint);
    return info;
}
