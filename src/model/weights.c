/* weights.c - a model's tensors: checks shape and type, chooses each tensor's buffer type, loads. */
#include "model/guard.h"

#include "base/cancel.h"
#include "model/model.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

typedef struct loader {
    iflow_model *model;
    iflow_parts *parts;
    iflow_tensors list;
    ggml_backend_buffer_type_t buft[IFLOW_MAX_BUFTS]; /* candidates, best first: the device's own, repacked layouts, plain CPU */
    ggml_backend_dev_t buft_dev[IFLOW_MAX_BUFTS];
    int n_bufts, first_cpu;
    iflow_status status;
} loader;

/* The tensors outside the layers are the same in all families. */
static void list_tensors(loader *l) {
    iflow_model *m = l->model;
    iflow_tensors *list = &l->list;
    const int64_t n_embd = m->h.n_embd;
    const iflow_part *part;
    const char *output = iflow_parts_find(l->parts, "output.weight", &part) ? "output.weight" : "token_embd.weight";
    iflow_tensors_add(list, &m->tok_embd, "token_embd.weight", n_embd, m->n_vocab, IFLOW_USE_ROWS, true);
    iflow_tensors_add(list, &m->output_norm, "output_norm.weight", n_embd, 1, IFLOW_USE_ELEMENTWISE, true);
    iflow_tensors_add(list, &m->output, output, n_embd, m->n_vocab, IFLOW_USE_PRODUCT, true);
    iflow_tensors_add(list, &m->output_b, "output.bias", m->n_vocab, 1, IFLOW_USE_ELEMENTWISE, false);
    bool factors = false;
    for (int i = 0; i < m->h.n_layer; i++) {
        factors = factors || m->h.spec[i].rope.factors;
        m->arch->tensors(list, &m->h, i, &m->layer[i]);
    }
    if (factors) {
        iflow_tensors_add(list, &m->rope_freqs, "rope_freqs.weight", m->h.spec[0].n_embd_head / 2, 1, IFLOW_USE_ROPE, false);
    }
    l->status = list->status;
}

static void add_buft(loader *l, ggml_backend_dev_t dev, ggml_backend_buffer_type_t buft) {
    if (buft && l->n_bufts < IFLOW_MAX_BUFTS) {
        l->buft[l->n_bufts] = buft;
        l->buft_dev[l->n_bufts++] = dev;
    }
}

static void list_bufts(loader *l, bool no_repack) {
    const iflow_model *m = l->model;
    if (m->device != m->cpu) {
        add_buft(l, m->device, ggml_backend_dev_buffer_type(m->device));
    }
    l->first_cpu = l->n_bufts;
    ggml_backend_dev_get_extra_bufts_t extra = NULL;
    *(void **)&extra = ggml_backend_reg_get_proc_address(ggml_backend_dev_backend_reg(m->cpu), "ggml_backend_dev_get_extra_bufts");
    if (extra && !no_repack) {
        for (ggml_backend_buffer_type_t *b = extra(m->cpu); b && *b && l->n_bufts < IFLOW_MAX_BUFTS - 1; b++) {
            add_buft(l, m->cpu, *b);
        }
    }
    add_buft(l, m->cpu, ggml_backend_dev_buffer_type(m->cpu));
}

/* *can: whether a device can use a weight from a buffer type: asked with the op it will be used in, on an empty buffer of that type.
 * E_MEMORY. */
static iflow_status buft_can(ggml_backend_dev_t dev, ggml_backend_buffer_type_t buft, const struct ggml_tensor *weight, const iflow_slot *s,
                             const iflow_model *m, bool *can) {
    struct ggml_context *ctx = NULL;
    const iflow_status status = iflow_guard_context(ggml_tensor_overhead() * 8, &ctx);
    if (status) {
        return status;
    }
    enum { N_ROWS = 512 };
    const iflow_layer_spec *head = &m->h.spec[0];
    struct ggml_tensor *w = ggml_dup_tensor(ctx, weight), *op = NULL;
    switch (s->use) {
    case IFLOW_USE_ROWS:
        op = ggml_get_rows(ctx, w, ggml_new_tensor_1d(ctx, GGML_TYPE_I32, N_ROWS));
        break;
    case IFLOW_USE_PRODUCT:
        op = ggml_mul_mat(ctx, w, ggml_new_tensor_2d(ctx, GGML_TYPE_F32, w->ne[0], N_ROWS));
        break;
    case IFLOW_USE_ELEMENTWISE:
        op = ggml_mul(ctx, ggml_new_tensor_2d(ctx, GGML_TYPE_F32, w->ne[0], N_ROWS), w);
        break;
    case IFLOW_USE_ROPE:
        op = ggml_rope_ext(ctx, ggml_new_tensor_3d(ctx, GGML_TYPE_F32, head->n_embd_head, head->n_head, N_ROWS),
                           ggml_new_tensor_1d(ctx, GGML_TYPE_I32, N_ROWS), w, head->n_embd_head, head->rope.type, 0, 1e4f, 1, 0, 1, 0, 0);
        break;
    }
    w->buffer = ggml_backend_buft_alloc_buffer(buft, 0);
    *can = w->buffer && ggml_backend_dev_supports_op(dev, op);
    ggml_backend_buffer_free(w->buffer);
    ggml_free(ctx);
    return IFLOW_OK;
}

/* The context that holds the tensors of a buffer type; its index is the buffer's too. -1 when out of memory. */
static int ctx_of(loader *l, ggml_backend_buffer_type_t buft, ggml_backend_buffer_type_t of[IFLOW_MAX_BUFTS]) {
    iflow_model *m = l->model;
    for (int i = 0; i < m->n_bufts; i++) {
        if (of[i] == buft) {
            return i;
        }
    }
    struct ggml_context *ctx = NULL;
    if (iflow_guard_context(ggml_tensor_overhead() * (l->list.n + 1), &ctx)) {
        return -1;
    }
    of[m->n_bufts] = buft;
    m->ctx[m->n_bufts] = ctx;
    return m->n_bufts++;
}

static iflow_status place(loader *l, iflow_slot *s, ggml_backend_buffer_type_t of[IFLOW_MAX_BUFTS]) {
    const char *path = l->model->path;
    const iflow_part *part;
    const struct ggml_tensor *t = iflow_parts_find(l->parts, s->name, &part);
    if (!t) {
        return s->required ? iflow_fail(IFLOW_E_FORMAT, "%s: tensor %s is missing", path, s->name) : IFLOW_OK;
    }
    if (t->ne[0] != s->ne[0] || t->ne[1] != s->ne[1] || t->ne[2] != 1 || t->ne[3] != 1) {
        return iflow_fail(IFLOW_E_FORMAT, "%s: tensor %s is [%lld, %lld, %lld]; the metadata says [%lld, %lld]", path, s->name,
                          (long long)t->ne[0], (long long)t->ne[1], (long long)t->ne[2], (long long)s->ne[0], (long long)s->ne[1]);
    }
    if ((s->use == IFLOW_USE_ELEMENTWISE || s->use == IFLOW_USE_ROPE) && t->type != GGML_TYPE_F32) {
        return iflow_fail(IFLOW_E_UNSUPPORTED, "%s: tensor %s is %s; norms and biases must be f32", path, s->name, ggml_type_name(t->type));
    }
    /* Rows of the embeddings are looked up on the CPU, as libllama does: a GPU would hold them twice where they are tied. */
    for (int i = s->use == IFLOW_USE_ROWS ? l->first_cpu : 0; i < l->n_bufts; i++) {
        bool can = false;
        const iflow_status status = buft_can(l->buft_dev[i], l->buft[i], t, s, l->model, &can);
        if (status) {
            return status;
        }
        if (can) {
            const int c = ctx_of(l, l->buft[i], of);
            if (c < 0) {
                return iflow_fail_memory(ggml_tensor_overhead() * l->list.n);
            }
            *s->where = ggml_dup_tensor(l->model->ctx[c], t);
            ggml_set_name(*s->where, s->name);
            return IFLOW_OK;
        }
    }
    return iflow_fail(IFLOW_E_UNSUPPORTED, "%s: tensor %s of type %s cannot be used on device %s or the CPU", path, s->name,
                      ggml_type_name(t->type), ggml_backend_dev_name(l->model->device));
}

/* Where a tensor's data lie in the file of its part. */
static uint64_t file_offset(const loader *l, const struct ggml_tensor *t, const iflow_part **part) {
    iflow_parts_find(l->parts, t->name, part);
    const struct gguf_context *gguf = (*part)->gguf;
    return gguf_get_data_offset(gguf) + gguf_get_tensor_offset(gguf, gguf_find_tensor(gguf, t->name));
}

static char *mapped_at(const loader *l, const struct ggml_tensor *t) {
    const iflow_part *part = NULL;
    const uint64_t offset = file_offset(l, t, &part);
    return (char *)l->model->map + part->map_at + offset;
}

/* Tensors of the CPU's plain layout stay in the mapped files. */
static bool load_mapped(loader *l, int c) {
    iflow_model *m = l->model;
    m->buffer[c] = ggml_backend_cpu_buffer_from_ptr(m->map, m->map_bytes);
    if (!m->buffer[c]) {
        return false;
    }
    for (struct ggml_tensor *t = ggml_get_first_tensor(m->ctx[c]); t; t = ggml_get_next_tensor(m->ctx[c], t)) {
        if (ggml_backend_tensor_alloc(m->buffer[c], t, mapped_at(l, t)) != GGML_STATUS_SUCCESS) {
            return false;
        }
    }
    return true;
}

static iflow_status read_tensor(const loader *l, const struct ggml_tensor *t, char *out, size_t n_bytes) {
    const iflow_part *part = NULL;
    const uint64_t offset = file_offset(l, t, &part);
    return iflow_part_read(part, t->name, offset, out, n_bytes);
}

/* The others are copied, and repacked on the way by their buffer type. */
static iflow_status load_copied(loader *l, int c, ggml_backend_buffer_type_t buft) {
    iflow_model *m = l->model;
    const bool repacked = ggml_backend_buft_get_device(buft) == m->cpu && buft != ggml_backend_dev_buffer_type(m->cpu);
    iflow_status status = IFLOW_OK;
    void *staging = NULL;
    uint64_t rows8 = 0, not_rows8 = 0; /* types, as bits */
    m->buffer[c] = ggml_backend_alloc_ctx_tensors_from_buft(m->ctx[c], buft);
    if (!m->buffer[c]) {
        return iflow_fail(IFLOW_E_MEMORY, "%s: no room for the weights in %s memory", m->path, ggml_backend_buft_name(buft));
    }
    for (struct ggml_tensor *t = ggml_get_first_tensor(m->ctx[c]); t; t = ggml_get_next_tensor(m->ctx[c], t)) {
        if ((status = iflow_cancel_check())) {
            goto cleanup;
        }
        const size_t n_bytes = ggml_nbytes(t);
        const uint64_t type_bit = UINT64_C(1) << t->type;
        if (m->map) {
            char *data = mapped_at(l, t);
            const uint64_t offset = (uint64_t)(data - (char *)m->map);
            ggml_backend_tensor_set(t, data, 0, n_bytes);
            *(repacked && iflow_matmul_is_rows8(t, data) ? &rows8 : &not_rows8) |= type_bit;
            const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), from = (offset + page - 1) / page * page,
                           to = (offset + n_bytes) / page * page;
            if (from < to) {
                madvise((char *)m->map + from, (size_t)(to - from), MADV_DONTNEED); /* the copy is what is used from now on */
            }
            continue;
        }
        void *bigger = iflow_realloc(staging, n_bytes, 1);
        if (!bigger) {
            status = iflow_fail_memory(n_bytes);
            goto cleanup;
        }
        staging = bigger;
        if ((status = read_tensor(l, t, staging, n_bytes))) {
            goto cleanup;
        }
        ggml_backend_tensor_set(t, staging, 0, n_bytes);
        *(repacked && iflow_matmul_is_rows8(t, staging) ? &rows8 : &not_rows8) |= type_bit;
    }
    m->rows8[c] = rows8 & ~not_rows8;

cleanup:
    free(staging);
    return status;
}

/* Maps all files into one range, since a buffer of ggml's is one range. */
static iflow_status map_files(loader *l) {
    iflow_model *m = l->model;
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t n_bytes = 0;
    for (size_t i = 0; i < l->parts->n; i++) {
        l->parts->part[i].map_at = n_bytes;
        n_bytes += ((size_t)l->parts->part[i].st.st_size + page - 1) / page * page;
    }
    char *map = mmap(NULL, n_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (map == MAP_FAILED) {
        return iflow_fail(errno == ENOMEM ? IFLOW_E_MEMORY : IFLOW_E_IO, "%s: cannot map %zu bytes: %s", m->path, n_bytes, strerror(errno));
    }
    m->map = map;
    m->map_bytes = n_bytes;
    for (size_t i = 0; i < l->parts->n; i++) {
        const iflow_part *part = &l->parts->part[i];
        const size_t size = (size_t)part->st.st_size;
        if (mmap(map + part->map_at, size, PROT_READ, MAP_SHARED | MAP_FIXED, part->fd, 0) == MAP_FAILED) {
            return iflow_fail(errno == ENOMEM ? IFLOW_E_MEMORY : IFLOW_E_IO, "%s: cannot map: %s", part->path, strerror(errno));
        }
        posix_madvise(map + part->map_at, size, POSIX_MADV_WILLNEED);
    }
    return IFLOW_OK;
}

/* Whether every file aligns its tensors as the CPU's kernels want them. */
static bool aligned(const iflow_parts *parts) {
    for (size_t i = 0; i < parts->n; i++) {
        if (gguf_get_alignment(parts->part[i].gguf) % 32 != 0) {
            return false;
        }
    }
    return true;
}

/* Whether the family says that text is computed without a tensor: its name, or that in a layer. */
static bool unneeded(const iflow_arch *arch, const char *name) {
    const char *in_layer = strncmp(name, "blk.", 4) == 0 ? strchr(name + 4, '.') : NULL;
    for (const char *const *of = arch->unneeded; of && *of; of++) {
        if (strcmp(*of, name) == 0 || (in_layer && strcmp(*of, in_layer + 1) == 0)) {
            return true;
        }
    }
    return false;
}

/* A tensor that nothing here uses is one that the model was made to be computed with. */
static iflow_status check_all_used(const loader *l) {
    for (size_t p = 0; p < l->parts->n; p++) {
        const struct gguf_context *gguf = l->parts->part[p].gguf;
        for (int64_t i = 0; i < gguf_get_n_tensors(gguf); i++) {
            const char *name = gguf_get_tensor_name(gguf, i);
            size_t s = 0;
            while (s < l->list.n && strcmp(l->list.slot[s].name, name) != 0) {
                s++;
            }
            if (s == l->list.n && !unneeded(l->model->arch, name)) {
                return iflow_fail(IFLOW_E_UNSUPPORTED,
                                  "%s: tensor %s is none that architecture %s has with these metadata; without it answers would be wrong",
                                  l->parts->part[p].path, name, l->model->arch->name);
            }
        }
    }
    return IFLOW_OK;
}

iflow_status iflow_weights_load(iflow_model *model, iflow_parts *parts, const iflow_model_params *params) {
    ggml_backend_buffer_type_t of[IFLOW_MAX_BUFTS] = {0};
    loader l = {.model = model, .parts = parts};
    const iflow_part *part = NULL;
    const struct ggml_tensor *embd = iflow_parts_find(parts, "token_embd.weight", &part);
    if (!embd || embd->ne[1] < 1 || embd->ne[1] > INT32_MAX) {
        l.status = iflow_fail(IFLOW_E_FORMAT, "%s: tensor token_embd.weight is missing or empty", model->path);
        goto cleanup;
    }
    model->n_vocab = (int)embd->ne[1];
    model->layer = iflow_calloc((size_t)model->h.n_layer, sizeof *model->layer);
    if (!model->layer) {
        l.status = iflow_fail_memory((size_t)model->h.n_layer * sizeof *model->layer);
        goto cleanup;
    }
    list_bufts(&l, params->no_repack);
    list_tensors(&l);
    for (size_t i = 0; !l.status && i < l.list.n; i++) {
        l.status = place(&l, &l.list.slot[i], of);
    }
    l.status = l.status ? l.status : check_all_used(&l);
    /* A file whose alignment is below what the CPU's kernels want is copied rather than mapped. */
    if (!l.status && !params->no_mmap && aligned(parts)) {
        l.status = map_files(&l);
    }
    const ggml_backend_buffer_type_t plain = ggml_backend_dev_buffer_type(model->cpu);
    for (int c = 0; !l.status && c < model->n_bufts; c++) {
        model->plain[c] = of[c] == plain;
        if (model->plain[c] && model->map) {
            l.status = load_mapped(&l, c) ? IFLOW_OK : iflow_fail(IFLOW_E_BACKEND, "%s: ggml refused the mapped weights", model->path);
        } else {
            l.status = load_copied(&l, c, of[c]);
        }
        if (!l.status) {
            ggml_backend_buffer_set_usage(model->buffer[c], GGML_BACKEND_BUFFER_USAGE_WEIGHTS);
        }
    }

cleanup:
    free(l.list.slot);
    return l.status;
}

iflow_layout iflow_weight_layout(const iflow_model *model, const struct ggml_tensor *weight) {
    iflow_layout layout = IFLOW_LAYOUT_OTHER;
    for (int c = 0; c < model->n_bufts; c++) {
        if (weight->buffer == model->buffer[c]) {
            layout = model->plain[c] ? IFLOW_LAYOUT_ROWS : model->rows8[c] >> weight->type & 1 ? IFLOW_LAYOUT_ROWS8 : IFLOW_LAYOUT_OTHER;
        }
    }
    const bool ours = model->device == model->cpu && !model->exact && iflow_matmul_can(weight->type, layout);
    return ours ? layout : IFLOW_LAYOUT_OTHER;
}

void iflow_weights_free(iflow_model *model) {
    for (int i = 0; i < model->n_bufts; i++) {
        ggml_backend_buffer_free(model->buffer[i]);
        ggml_free(model->ctx[i]);
    }
    if (model->map) {
        munmap(model->map, model->map_bytes);
    }
    free(model->layer);
}
