/* load.c - opens a GGUF model: metadata, fingerprint, then weights and tokenizer. */
#include "model/model.h"

#include <errno.h>
#include <fcntl.h>
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
    ggml_backend_load_all();
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

/* Reads exactly n bytes at an offset. */
static bool read_at(int fd, void *out, size_t n, uint64_t offset) {
    for (size_t done = 0; done < n;) {
        const ssize_t got = pread(fd, (char *)out + done, n - done, (off_t)(offset + done));
        if (got <= 0) {
            return false;
        }
        done += (size_t)got;
    }
    return true;
}

/* Identity of a model: all bytes before the tensor data (metadata, names, shapes, types) and 16 samples of 4 KiB, evenly spread, of every
 * tensor. Two models that differ in one fine-tuned or requantised tensor differ in its samples; hashing every byte would cost a read of the
 * whole file before the first answer. */
static iflow_status fingerprint(iflow_model *model, const struct gguf_context *gguf, int fd) {
    enum { N_SAMPLES = 16, SAMPLE = 4096 };
    iflow_status status = IFLOW_OK;
    const size_t n_head = gguf_get_data_offset(gguf);
    char *head = malloc(n_head);
    iflow_hasher *hasher = iflow_hasher_new();
    if (!head || !hasher) {
        status = iflow_fail_memory(n_head);
        goto cleanup;
    }
    if (!read_at(fd, head, n_head, 0)) {
        status = iflow_fail(IFLOW_E_IO, "%s: cannot read: %s", model->path, strerror(errno));
        goto cleanup;
    }
    iflow_hasher_add(hasher, head, n_head);
    for (int64_t i = 0; i < gguf_get_n_tensors(gguf); i++) {
        const uint64_t start = n_head + gguf_get_tensor_offset(gguf, i), size = gguf_get_tensor_size(gguf, i);
        char sample[SAMPLE];
        for (uint64_t k = 0; k < N_SAMPLES; k++) {
            const uint64_t at = size / N_SAMPLES * k;
            const size_t n = size - at < SAMPLE ? (size_t)(size - at) : SAMPLE;
            if (!read_at(fd, sample, n, start + at)) {
                status = iflow_fail(IFLOW_E_IO, "%s: cannot read: %s", model->path, strerror(errno));
                goto cleanup;
            }
            iflow_hasher_add(hasher, sample, n);
        }
    }

cleanup:
    if (hasher) {
        iflow_hasher_hex(hasher, model->fingerprint);
    }
    free(head);
    return status;
}

/* Every tensor must lie inside the file: ggml trusts the offsets. */
static iflow_status check_extent(iflow_model *model, const struct gguf_context *gguf, uint64_t file_bytes) {
    for (int64_t i = 0; i < gguf_get_n_tensors(gguf); i++) {
        const uint64_t offset = gguf_get_data_offset(gguf) + gguf_get_tensor_offset(gguf, i), size = gguf_get_tensor_size(gguf, i);
        if (offset > file_bytes || size > file_bytes - offset) {
            return iflow_fail(IFLOW_E_FORMAT, "%s: truncated: tensor %s ends at byte %llu, the file at %llu; fetch it again", model->path,
                              gguf_get_tensor_name(gguf, i), (unsigned long long)(offset + size), (unsigned long long)file_bytes);
        }
        model->n_bytes += size;
    }
    return IFLOW_OK;
}

iflow_status iflow_model_load(const char *path, const iflow_model_params *params, iflow_model **out) {
    static const iflow_model_params defaults = {0};
    if (IFLOW_MISSING(path) || IFLOW_MISSING(out)) {
        return IFLOW_E_ARG;
    }
    pthread_once(&started, start_backends);
    params = params ? params : &defaults;

    iflow_status status = IFLOW_OK;
    int fd = -1;
    struct gguf_context *gguf = NULL;
    struct ggml_context *meta = NULL;
    struct stat st;
    iflow_model *model = calloc(1, sizeof *model);
    if (!model || !(model->path = iflow_strdup(path))) {
        status = iflow_fail_memory(sizeof *model);
        goto cleanup;
    }
    model->exact = params->exact;
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st)) {
        status = iflow_fail(errno == ENOENT ? IFLOW_E_NOT_FOUND : IFLOW_E_IO, "model %s: %s", path, strerror(errno));
        goto cleanup;
    }
    char magic[4];
    if (!S_ISREG(st.st_mode) || !read_at(fd, magic, sizeof magic, 0) || memcmp(magic, GGUF_MAGIC, sizeof magic) != 0) {
        status = iflow_fail(IFLOW_E_FORMAT, "model %s: not a GGUF file", path);
        goto cleanup;
    }
    if ((status = find_device(params->device, &model->device))) {
        goto cleanup;
    }
    model->cpu = ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU);
    if (!model->cpu) {
        status = iflow_fail(IFLOW_E_BACKEND, "ggml has no CPU backend here; it is needed beside any device");
        goto cleanup;
    }
    gguf = gguf_init_from_file(path, (struct gguf_init_params){.no_alloc = true, .ctx = &meta});
    if (!gguf) {
        status = iflow_fail(IFLOW_E_FORMAT, "model %s: the GGUF metadata is malformed or truncated", path);
        goto cleanup;
    }
    if ((status = iflow_hparams_read(gguf, path, &model->arch, &model->h))) {
        goto cleanup;
    }
    model->n_embd_kv = model->h.n_head_kv * model->h.n_embd_head;
    if ((status = check_extent(model, gguf, (uint64_t)st.st_size)) || (status = fingerprint(model, gguf, fd)) ||
        (status = iflow_weights_load(model, gguf, meta, fd, params)) || (status = iflow_vocab_load(model, gguf))) {
        goto cleanup;
    }

cleanup:
    gguf_free(gguf);
    ggml_free(meta);
    if (fd >= 0) {
        close(fd);
    }
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
        .n_head_kv = model->h.n_head_kv,
        .n_embd_head = model->h.n_embd_head,
        .n_ctx_train = model->h.n_ctx_train,
        .n_bytes = model->n_bytes,
    };
    memcpy(info.fingerprint, model->fingerprint, sizeof info.fingerprint);
    return info;
}
