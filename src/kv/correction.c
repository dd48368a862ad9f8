/* correction.c - a learned correction to and from its file. */
#include "kv/correction.h"
#include "base/publish.h"

#include "kv/files.h"
#include "kv/rows.h"
#include "model/guard.h"

#include <errno.h>
#include <fcntl.h>
#include <gguf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ARCHITECTURE     "infoflow-correction"
#define KEY_ARCHITECTURE "general.architecture"
#define KEY_VERSION      "infoflow.version"
#define KEY_FINGERPRINT  "infoflow.fingerprint"
#define KEY_FILLERS      "infoflow.behind" /* as files have it since version 2 */
#define KEY_PREFIX       "infoflow.lead"   /* as files have it */
#define KEY_N_TOKENS     "infoflow.learned_tokens"

enum { DIGITS = IFLOW_ID_SIZE - 1 };
enum { MEAN, MAP, POSITION, N_PARTS };

/* What a layer has in the file, in this order: shapes in ggml's order. */
static const struct {
    const char *name;
    enum ggml_type type;
} part[N_PARTS] = {[MEAN] = {"mean", GGML_TYPE_F32}, [MAP] = {"map", GGML_TYPE_F16}, [POSITION] = {"position", GGML_TYPE_F32}};

static void part_shape(int i, int64_t width, int64_t ne[2]) {
    ne[0] = i == POSITION ? IFLOW_CORRECTION_FEATURES : width;
    ne[1] = i == MEAN ? 1 : width;
}

static void part_name(int i, int layer, char name[GGML_MAX_NAME]) {
    snprintf(name, GGML_MAX_NAME, "blk.%d.%s", layer, part[i].name);
}

/* Whether all numbers of a tensor are finite. */
static bool part_finite(int i, const void *bytes, size_t n) {
    size_t at = 0;
    return part[i].type == GGML_TYPE_F16 ? iflow_rows_finite(IFLOW_KV_F16, bytes, n * sizeof(uint16_t), &at)
                                         : iflow_finite_first(bytes, n) == n;
}

/* ---- Writing ------------------------------------------------------------------------------------------------------------------------ */

/* A tensor's numbers among those to be written. */
static const void *values_of(const iflow_correction_values *values, int i, int layer) {
    const size_t width = 2 * (size_t)values->n_embd_kv, at = (size_t)(layer - 1) * width;
    return i == MEAN  ? (const void *)(values->mean + at)
           : i == MAP ? (const void *)(values->map + at * width)
                      : (const void *)(values->position + at * IFLOW_CORRECTION_FEATURES);
}

static iflow_status check_values(const iflow_correction_values *values) {
    for (int layer = 1; layer < values->n_layer; layer++) {
        for (int i = 0; i < N_PARTS; i++) {
            int64_t ne[2];
            char name[GGML_MAX_NAME];
            part_shape(i, 2 * (int64_t)values->n_embd_kv, ne);
            part_name(i, layer, name);
            if (!part_finite(i, values_of(values, i, layer), (size_t)(ne[0] * ne[1]))) {
                return iflow_fail(IFLOW_E_NOT_FINITE, "%s of the correction has a number that is not finite: other documents may do better",
                                  name);
            }
        }
    }
    return IFLOW_OK;
}

/* The header. */
static struct gguf_context *describe(const iflow_correction_values *values) {
    const int64_t width = 2 * (int64_t)values->n_embd_kv;
    struct gguf_context *gguf = gguf_init_empty();
    if (!gguf) {
        return NULL;
    }
    gguf_set_val_str(gguf, KEY_ARCHITECTURE, ARCHITECTURE);
    gguf_set_val_u32(gguf, KEY_VERSION, IFLOW_CORRECTION_VERSION);
    gguf_set_val_str(gguf, KEY_FINGERPRINT, values->fingerprint);
    gguf_set_val_u32(gguf, KEY_FILLERS, (uint32_t)values->fillers);
    gguf_set_val_str(gguf, KEY_PREFIX, values->prefix_id);
    gguf_set_val_u64(gguf, KEY_N_TOKENS, values->n_tokens);
    for (int layer = 1; layer < values->n_layer; layer++) {
        for (int i = 0; i < N_PARTS; i++) {
            struct ggml_tensor tensor = {.type = part[i].type, .ne = {1, 1, 1, 1}};
            part_shape(i, width, tensor.ne);
            tensor.nb[0] = ggml_type_size(tensor.type);
            tensor.nb[1] = tensor.nb[0] * (size_t)tensor.ne[0];
            tensor.nb[2] = tensor.nb[3] = tensor.nb[1] * (size_t)tensor.ne[1];
            part_name(i, layer, tensor.name);
            gguf_add_tensor(gguf, &tensor);
        }
    }
    return gguf;
}

/* Header, the tensors' data, each padded, and the checksum of all that. */
static iflow_status encode(const iflow_correction_values *values, unsigned char **out, size_t *n_bytes) {
    struct gguf_context *gguf = describe(values);
    if (!gguf) {
        return iflow_fail_memory(1024);
    }
    const size_t n_header = gguf_get_meta_size(gguf), alignment = gguf_get_alignment(gguf);
    const int64_t n_tensors = gguf_get_n_tensors(gguf);
    size_t n_data = 0;
    for (int64_t i = 0; i < n_tensors; i++) {
        n_data = gguf_get_tensor_offset(gguf, i) + GGML_PAD(gguf_get_tensor_size(gguf, i), alignment);
    }
    unsigned char *bytes = iflow_calloc(n_header + n_data + DIGITS, 1);
    if (bytes) {
        char hex[IFLOW_ID_SIZE];
        gguf_get_meta_data(gguf, bytes);
        for (int64_t i = 0; i < n_tensors; i++) {
            memcpy(bytes + n_header + gguf_get_tensor_offset(gguf, i), values_of(values, (int)(i % N_PARTS), (int)(i / N_PARTS) + 1),
                   gguf_get_tensor_size(gguf, i));
        }
        iflow_hash_hex(bytes, n_header + n_data, hex);
        memcpy(bytes + n_header + n_data, hex, DIGITS);
        *out = bytes;
        *n_bytes = n_header + n_data + DIGITS;
    }
    gguf_free(gguf);
    return bytes ? IFLOW_OK : iflow_fail_memory(n_header + n_data + DIGITS);
}

iflow_status iflow_correction_write(const char *path, const iflow_correction_values *values) {
    unsigned char *bytes = NULL;
    size_t n_bytes = 0;
    iflow_status status = check_values(values);
    status = status ? status : encode(values, &bytes, &n_bytes);
    status = status ? status : iflow_write_file(path, bytes, n_bytes, true);
    free(bytes);
    return status;
}

/* ---- Reading ------------------------------------------------------------------------------------------------------------------------ */

static iflow_status map_file(const char *path, iflow_blob *out) {
    struct stat st;
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a FIFO would hold us up for ever */
    if (fd < 0) {
        return iflow_fail(errno == ENOENT ? IFLOW_E_NOT_FOUND : IFLOW_E_IO, "%s: %s", path, strerror(errno));
    }
    iflow_status status = IFLOW_OK;
    if (fstat(fd, &st) || !S_ISREG(st.st_mode)) {
        status = iflow_fail(IFLOW_E_FORMAT, "%s is no correction: not a regular file", path);
    } else if (st.st_size <= DIGITS) {
        status = iflow_fail(IFLOW_E_FORMAT, "%s is no correction", path);
    } else if (!iflow_files_map_fd(fd, (size_t)st.st_size, false, out)) {
        status = iflow_fail(IFLOW_E_IO, "%s: cannot map: %s", path, strerror(errno));
    }
    close(fd);
    return status;
}

/* A value of a type that is there; -1 if it is not. */
static int64_t find(const struct gguf_context *gguf, const char *key, enum gguf_type type) {
    const int64_t i = gguf_find_key(gguf, key);
    return i >= 0 && gguf_get_kv_type(gguf, i) == type ? i : -1;
}

static iflow_status check(const struct gguf_context *gguf, const char *path, const iflow_model *model, iflow_correction *c) {
    const int64_t architecture = find(gguf, KEY_ARCHITECTURE, GGUF_TYPE_STRING), version = find(gguf, KEY_VERSION, GGUF_TYPE_UINT32),
                  fingerprint = find(gguf, KEY_FINGERPRINT, GGUF_TYPE_STRING), prefix = find(gguf, KEY_PREFIX, GGUF_TYPE_STRING),
                  fillers = find(gguf, KEY_FILLERS, GGUF_TYPE_UINT32), n_tokens = find(gguf, KEY_N_TOKENS, GGUF_TYPE_UINT64);
    if (architecture < 0 || version < 0 || strcmp(gguf_get_val_str(gguf, architecture), ARCHITECTURE) != 0) {
        return iflow_fail(IFLOW_E_FORMAT, "%s is no correction", path);
    }
    if (gguf_get_val_u32(gguf, version) != IFLOW_CORRECTION_VERSION) {
        return iflow_fail(IFLOW_E_UNSUPPORTED, "%s: a correction of version %u; this is version %d: learn it again", path,
                          gguf_get_val_u32(gguf, version), IFLOW_CORRECTION_VERSION);
    }
    if (fingerprint < 0 || strcmp(gguf_get_val_str(gguf, fingerprint), model->fingerprint) != 0) {
        return iflow_fail(IFLOW_E_ARG, "%s is a correction for another model than %s", path, model->path);
    }
    if (fillers < 0 || n_tokens < 0 || prefix < 0 || !iflow_id_is_valid(gguf_get_val_str(gguf, prefix)) ||
        gguf_get_val_u32(gguf, fillers) > IFLOW_MAX_FILLERS || gguf_get_n_tensors(gguf) != (int64_t)N_PARTS * (model->h.n_layer - 1)) {
        return iflow_fail(IFLOW_E_CORRUPT, "%s: parts of the correction are missing", path);
    }
    memcpy(c->prefix_id, gguf_get_val_str(gguf, prefix), sizeof c->prefix_id);
    c->info.fillers = (int)gguf_get_val_u32(gguf, fillers);
    c->info.n_tokens = gguf_get_val_u64(gguf, n_tokens);
    return IFLOW_OK;
}

/* A tensor's bytes in the file; NULL after a message if it is not as it should be. */
static const void *bytes_of(const struct gguf_context *gguf, const iflow_blob *blob, const char *path, int i, int layer, int64_t width) {
    int64_t ne[2];
    char name[GGML_MAX_NAME];
    part_shape(i, width, ne);
    part_name(i, layer, name);
    const int64_t at = gguf_find_tensor(gguf, name);
    const size_t n_bytes = ggml_row_size(part[i].type, ne[0]) * (size_t)ne[1];
    const size_t from = at < 0 ? 0 : gguf_get_data_offset(gguf) + gguf_get_tensor_offset(gguf, at);
    if (at < 0 || gguf_get_tensor_type(gguf, at) != part[i].type || gguf_get_tensor_size(gguf, at) != n_bytes || from > blob->n_bytes ||
        n_bytes > blob->n_bytes - from) {
        iflow_fail(IFLOW_E_CORRUPT, "%s: tensor %s is missing, or not of this model's size", path, name);
        return NULL;
    }
    const char *bytes = (const char *)blob->data + from;
    if (!part_finite(i, bytes, (size_t)(ne[0] * ne[1]))) {
        iflow_fail(IFLOW_E_CORRUPT, "%s: tensor %s has a number that is not finite: learn it again", path, name);
        return NULL;
    }
    return bytes;
}

/* A tensor from its bytes, which are halves where it is to be q8_0. line, row: room for a row of floats each. */
static void set(struct ggml_tensor *tensor, int i_part, const void *bytes, float *line, void *row) {
    if (i_part == POSITION) { /* and 0 for features that are not there */
        for (int64_t i = 0; i < tensor->ne[1]; i++) {
            memset(line, 0, tensor->nb[1]);
            memcpy(line, (const float *)bytes + i * IFLOW_CORRECTION_FEATURES, IFLOW_CORRECTION_FEATURES * sizeof *line);
            ggml_backend_tensor_set(tensor, line, (size_t)i * tensor->nb[1], tensor->nb[1]);
        }
        return;
    }
    if (tensor->type != GGML_TYPE_Q8_0) {
        ggml_backend_tensor_set(tensor, bytes, 0, ggml_nbytes(tensor));
        return;
    }
    for (int64_t i = 0; i < tensor->ne[1]; i++) {
        ggml_fp16_to_fp32_row((const ggml_fp16_t *)bytes + i * tensor->ne[0], line, tensor->ne[0]);
        ggml_quantize_chunk(tensor->type, line, row, 0, 1, tensor->ne[0], NULL);
        ggml_backend_tensor_set(tensor, row, (size_t)i * tensor->nb[1], tensor->nb[1]);
    }
}

/* The tensors, on the model's device. */
static iflow_status take(const struct gguf_context *gguf, const iflow_blob *blob, const char *path, const iflow_model *model,
                         iflow_correction *c) {
    const int64_t width = 2 * (int64_t)model->n_embd_kv;
    const int n_layer = model->h.n_layer;
    iflow_status status = IFLOW_OK;
    const size_t n_line = (size_t)(width > IFLOW_AFFINE_FEATURES ? width : IFLOW_AFFINE_FEATURES);
    float *line = iflow_calloc(n_line, sizeof *line), *row = iflow_calloc(n_line, sizeof *row);
    c->layer = iflow_calloc((size_t)n_layer, sizeof *c->layer);
    if (!line || !row || !c->layer) {
        status = iflow_fail_memory(n_line * sizeof *line);
        goto cleanup;
    }
    if ((status = iflow_guard_context((size_t)(N_PARTS * n_layer) * ggml_tensor_overhead(), &c->ctx))) {
        goto cleanup;
    }
    for (int layer = 1; layer < n_layer; layer++) {
        iflow_affine *to = &c->layer[layer - 1];
        to->mean = ggml_new_tensor_1d(c->ctx, GGML_TYPE_F32, width);
        to->map = ggml_new_tensor_2d(c->ctx, iflow_affine_type(model), width, width);
        to->position = ggml_new_tensor_2d(c->ctx, GGML_TYPE_F32, IFLOW_AFFINE_FEATURES, width);
    }
    if (n_layer > 1 && !(c->buffer = ggml_backend_alloc_ctx_tensors_from_buft(c->ctx, ggml_backend_dev_buffer_type(model->device)))) {
        status = iflow_fail(IFLOW_E_MEMORY, "no memory on %s for the correction %s", ggml_backend_dev_name(model->device), path);
        goto cleanup;
    }
    for (int layer = 1; layer < n_layer; layer++) {
        struct ggml_tensor *const to[N_PARTS] = {c->layer[layer - 1].mean, c->layer[layer - 1].map, c->layer[layer - 1].position};
        for (int i = 0; i < N_PARTS; i++) {
            const void *bytes = bytes_of(gguf, blob, path, i, layer, width);
            if (!bytes) {
                status = IFLOW_E_CORRUPT;
                goto cleanup;
            }
            set(to[i], i, bytes, line, row);
        }
    }

cleanup:
    free(line);
    free(row);
    return status;
}

iflow_status iflow_correction_load(const char *path, const iflow_model *model, iflow_correction **out) {
    iflow_blob blob = {0};
    struct gguf_context *gguf = NULL;
    char hex[IFLOW_ID_SIZE];
    if (IFLOW_MISSING(path) || IFLOW_MISSING(model) || IFLOW_MISSING(out)) {
        return IFLOW_E_ARG;
    }
    iflow_correction *c = calloc(1, sizeof *c);
    if (!c) {
        return iflow_fail_memory(sizeof *c);
    }
    c->model = model;
    iflow_status status = (c->path = iflow_strdup(path)) ? map_file(path, &blob) : iflow_fail_memory(strlen(path));
    if (status || !blob.data) {
        goto cleanup;
    }
    const size_t n_bytes = blob.n_bytes - DIGITS;
    if (memcmp(blob.data, "GGUF", 4) != 0) {
        status = iflow_fail(IFLOW_E_FORMAT, "%s is no correction", path);
        goto cleanup;
    }
    iflow_hash_hex(blob.data, n_bytes, hex); /* before ggml's reader, which trusts files, sees any of it */
    if (memcmp(hex, (const char *)blob.data + n_bytes, DIGITS) != 0) {
        status = iflow_fail(IFLOW_E_CORRUPT, "%s: no correction, or a damaged one (its checksum is wrong): learn it again", path);
        goto cleanup;
    }
    gguf = gguf_init_from_buffer(blob.data, n_bytes, (struct gguf_init_params){.no_alloc = true});
    if (!gguf) {
        status = iflow_fail(IFLOW_E_CORRUPT, "%s: its header is no GGUF header", path);
        goto cleanup;
    }
    blob.n_bytes = n_bytes;
    memcpy(c->info.id, hex, sizeof hex);
    if (!(status = check(gguf, path, model, c)) && !(status = take(gguf, &blob, path, model, c))) {
        *out = c;
        c = NULL;
    }
    blob.n_bytes = n_bytes + DIGITS;

cleanup:
    iflow_correction_free(c);
    gguf_free(gguf);
    iflow_blob_free(&blob);
    return status;
}

void iflow_correction_free(iflow_correction *c) {
    if (!c) {
        return;
    }
    ggml_backend_buffer_free(c->buffer);
    ggml_free(c->ctx);
    free(c->layer);
    free(c->path);
    free(c);
}

iflow_correction_info iflow_correction_get_info(const iflow_correction *c) {
    return c ? c->info : (iflow_correction_info){0};
}
