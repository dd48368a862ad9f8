/* parts.c - opens a model's GGUF file, and the other parts where it is in parts. */
#include "model/parts.h"

#include "model/calls.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What a file says of itself as a part, as llama.cpp's gguf-split writes it. */
typedef struct split {
    int64_t no, count, n_tensors; /* no: from 0; count 1: a model in one file; n_tensors: of all parts, -1 unknown */
} split;

enum { MAX_PARTS = 65535 }; /* the format's numbers have 16 bits */

/* Reads n bytes at `offset`, fewer where the file ends (errno is 0 then) or cannot be read. */
static size_t read_at(int fd, uint64_t offset, void *out, size_t n) {
    size_t done = 0;
    while (done < n) {
        const ssize_t got = pread(fd, (char *)out + done, n - done, (off_t)(offset + done));
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            errno = got ? errno : 0;
            break;
        }
        done += (size_t)got;
    }
    return done;
}

iflow_status iflow_part_read(const iflow_part *part, const char *tensor, uint64_t offset, void *out, size_t n) {
    if (read_at(part->fd, offset, out, n) < n) {
        return iflow_fail(IFLOW_E_IO, "%s: cannot read tensor %s: %s", part->path, tensor, errno ? strerror(errno) : "end of file");
    }
    return IFLOW_OK;
}

/* Every tensor must lie inside the file: ggml trusts the offsets. */
static iflow_status check_extent(const iflow_part *part, uint64_t *n_tensor_bytes) {
    const uint64_t file_bytes = (uint64_t)part->st.st_size;
    for (int64_t i = 0; i < gguf_get_n_tensors(part->gguf); i++) {
        const uint64_t start = gguf_get_data_offset(part->gguf), at = gguf_get_tensor_offset(part->gguf, i);
        const uint64_t size = gguf_get_tensor_size(part->gguf, i);
        if (start > file_bytes || at > file_bytes - start || size > file_bytes - start - at) {
            return iflow_fail(IFLOW_E_FORMAT, "%s: truncated: tensor %s ends at byte %llu, the file at %llu; fetch it again", part->path,
                              gguf_get_tensor_name(part->gguf, i), (unsigned long long)(start + at + size), (unsigned long long)file_bytes);
        }
        *n_tensor_bytes += size;
    }
    return IFLOW_OK;
}

/* Opens one file. O_NONBLOCK: a pipe must not make us wait. path becomes the part's. */
static iflow_status open_part(char *path, iflow_parts *parts) {
    iflow_part *part = &parts->part[parts->n++];
    *part = (iflow_part){.path = path, .fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)};
    if (part->fd < 0 || fstat(part->fd, &part->st)) {
        return iflow_fail(errno == ENOENT ? IFLOW_E_NOT_FOUND : IFLOW_E_IO, "model %s: %s", path, strerror(errno));
    }
    if (!S_ISREG(part->st.st_mode)) {
        return iflow_not_a_file(path, &part->st);
    }
    char head[512];
    const size_t n = read_at(part->fd, 0, head, sizeof head);
    if (n < 8 || memcmp(head, GGUF_MAGIC, 4) != 0) {
        return iflow_not_a_model(path, head, n, (uint64_t)part->st.st_size);
    }
    iflow_status status = iflow_call_gguf(path, &part->gguf, &part->meta);
    if (status) {
        return status;
    }
    if (!part->gguf) { /* which ggml says without memory, too */
        return (status = iflow_memory_require(IFLOW_ENOUGH)) ? status : iflow_not_a_model(path, head, n, (uint64_t)part->st.st_size);
    }
    parts->n_bytes += (uint64_t)part->st.st_size;
    return check_extent(part, &parts->n_tensor_bytes);
}

/* A whole number of the metadata; `fallback` where there is none. */
static iflow_status read_whole(const iflow_part *part, const char *key, int64_t fallback, int64_t max, int64_t *out) {
    const int64_t id = gguf_find_key(part->gguf, key);
    int64_t value = id < 0 ? fallback : -1;
    switch (id < 0 ? GGUF_TYPE_COUNT : gguf_get_kv_type(part->gguf, id)) {
    case GGUF_TYPE_UINT16:
        value = gguf_get_val_u16(part->gguf, id);
        break;
    case GGUF_TYPE_INT32:
        value = gguf_get_val_i32(part->gguf, id);
        break;
    case GGUF_TYPE_UINT32:
        value = gguf_get_val_u32(part->gguf, id);
        break;
    default:
        break;
    }
    if (id >= 0 && (value < 0 || value > max)) {
        return iflow_fail(IFLOW_E_FORMAT, "model %s: metadata key %s is not a whole number from 0 to %lld", part->path, key,
                          (long long)max);
    }
    *out = value;
    return IFLOW_OK;
}

static iflow_status read_split(const iflow_part *part, split *out) {
    iflow_status status = read_whole(part, "split.count", 1, MAX_PARTS, &out->count);
    status = status ? status : read_whole(part, "split.no", 0, MAX_PARTS, &out->no);
    return status ? status : read_whole(part, "split.tensors.count", -1, INT32_MAX, &out->n_tensors);
}

/* The path of another part of the model that `path` is part `no` of, if it is named as parts are; else NULL. free(). */
static char *other_part(const char *path, int64_t no, int64_t count, int64_t other) {
    char ending[64];
    const int n = snprintf(ending, sizeof ending, "-%05lld-of-%05lld.gguf", (long long)no + 1, (long long)count);
    const size_t n_path = strlen(path), n_ending = (size_t)n;
    if (n_path <= n_ending || strcmp(path + n_path - n_ending, ending) != 0 || path[n_path - n_ending - 1] == '/') {
        return NULL;
    }
    return iflow_format("%.*s-%05lld-of-%05lld.gguf", (int)(n_path - n_ending), path, (long long)other + 1, (long long)count);
}

/* The first part, of which `s` was read: is it the first, and named so that libllama finds the others? */
static iflow_status check_first(const char *path, const split *s) {
    const long long no = (long long)s->no + 1, count = (long long)s->count;
    iflow_status status = IFLOW_OK;
    char *name = other_part(path, s->no, s->count, 0);
    if (s->no >= s->count) {
        status = iflow_fail(IFLOW_E_FORMAT, "model %s: it says that it is part %lld of %lld", path, no, count);
    } else if (s->no > 0) {
        status = name
                     ? iflow_fail(IFLOW_E_ARG, "model %s is part %lld of %lld of a model: give the first, %s, with the others beside it",
                                  path, no, count, name)
                     : iflow_fail(
                           IFLOW_E_ARG,
                           "model %s is part %lld of %lld of a model: give the first, with the others beside it and all named as they were "
                           "(NAME-00001-of-%05lld.gguf and so on)",
                           path, no, count, count);
    } else if (!name) {
        status = iflow_fail(IFLOW_E_FORMAT,
                            "model %s is part 1 of %lld of a model, and not named so: the others are found by its name, which must be "
                            "NAME-00001-of-%05lld.gguf, NAME as theirs",
                            path, count, count);
    }
    free(name);
    return status;
}

/* Opens part `no`, and sees that it belongs to the first. */
static iflow_status open_other(iflow_parts *parts, const split *first, int64_t no) {
    const char *path = parts->part[0].path;
    const long long count = (long long)first->count;
    char *name = other_part(path, 0, first->count, no);
    if (!name) {
        return iflow_fail_memory(strlen(path) + 1);
    }
    iflow_status status = open_part(name, parts);
    if (status == IFLOW_E_NOT_FOUND) {
        return iflow_fail(status,
                          "model %s is part 1 of %lld of a model, and part %lld, %s, is not there; all parts belong into one directory",
                          path, count, (long long)no + 1, name);
    }
    if (status) {
        return iflow_fail_in(status, "model %s is in %lld parts", path, count);
    }
    split s = {0};
    if ((status = read_split(&parts->part[parts->n - 1], &s))) {
        return status;
    }
    if (s.count != first->count || s.no != no || s.n_tensors != first->n_tensors) {
        return s.count == 1
                   ? iflow_fail(IFLOW_E_FORMAT, "%s: no part of a model; part %lld of %lld of %s is wanted", name, (long long)no + 1, count,
                                path)
                   : iflow_fail(IFLOW_E_FORMAT,
                                "%s: part %lld of %lld of another model (of %lld tensors in all); part %lld of %lld of %s (%lld tensors) "
                                "is wanted",
                                name, (long long)s.no + 1, (long long)s.count, (long long)s.n_tensors, (long long)no + 1, count, path,
                                (long long)first->n_tensors);
    }
    return IFLOW_OK;
}

static int by_name(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* All tensors are there, and none twice (within a file ggml has seen to that). */
static iflow_status check_tensors(const iflow_parts *parts, const split *first) {
    const char *path = parts->part[0].path;
    int64_t n = 0, at = 0;
    for (size_t i = 0; i < parts->n; i++) {
        n += gguf_get_n_tensors(parts->part[i].gguf);
    }
    if (first->n_tensors >= 0 && n != first->n_tensors) {
        return iflow_fail(IFLOW_E_FORMAT, "model %s: its %zu parts hold %lld tensors, but should %lld: a part is of another model", path,
                          parts->n, (long long)n, (long long)first->n_tensors);
    }
    const char **name = iflow_calloc((size_t)n, sizeof *name);
    if (!name) {
        return iflow_fail_memory((size_t)n * sizeof *name);
    }
    for (size_t i = 0; i < parts->n; i++) {
        for (int64_t k = 0; k < gguf_get_n_tensors(parts->part[i].gguf); k++) {
            name[at++] = gguf_get_tensor_name(parts->part[i].gguf, k);
        }
    }
    qsort(name, (size_t)n, sizeof *name, by_name);
    iflow_status status = IFLOW_OK;
    for (int64_t i = 1; i < n && !status; i++) {
        if (strcmp(name[i - 1], name[i]) == 0) {
            status = iflow_fail(IFLOW_E_FORMAT, "model %s: tensor %s is in two of its %zu parts: one is of another model", path, name[i],
                                parts->n);
        }
    }
    free(name);
    return status;
}

iflow_status iflow_parts_open(const char *path, iflow_parts *out) {
    *out = (iflow_parts){0};
    char *copy = iflow_strdup(path);
    out->part = calloc(1, sizeof *out->part);
    if (!copy || !out->part) {
        free(copy);
        return iflow_fail_memory(strlen(path) + sizeof *out->part);
    }
    split first = {0};
    iflow_status status = open_part(copy, out);
    status = status ? status : read_split(&out->part[0], &first);
    if (status || first.count <= 1) {
        return status;
    }
    if ((status = check_first(path, &first))) {
        return status;
    }
    iflow_part *more = iflow_realloc(out->part, (size_t)first.count, sizeof *more);
    if (!more) {
        return iflow_fail_memory((size_t)first.count * sizeof *more);
    }
    out->part = more;
    for (int64_t no = 1; no < first.count && !status; no++) {
        status = open_other(out, &first, no);
    }
    return status ? status : check_tensors(out, &first);
}

void iflow_parts_close(iflow_parts *parts) {
    for (size_t i = 0; i < parts->n; i++) {
        gguf_free(parts->part[i].gguf);
        ggml_free(parts->part[i].meta);
        if (parts->part[i].fd >= 0) {
            close(parts->part[i].fd);
        }
        free(parts->part[i].path);
    }
    free(parts->part);
    *parts = (iflow_parts){0};
}

static bool same_file(const struct stat *a, const struct stat *b) {
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size && a->st_mtim.tv_sec == b->st_mtim.tv_sec &&
           a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

iflow_status iflow_parts_check(const iflow_parts *parts) {
    for (size_t i = 0; i < parts->n; i++) {
        const iflow_part *part = &parts->part[i];
        struct stat opened, named;
        if (fstat(part->fd, &opened) || stat(part->path, &named) || !same_file(&part->st, &opened) || !same_file(&part->st, &named)) {
            return iflow_fail(IFLOW_E_IO, "model %s: the file changed while it was loaded; load it again when it is complete", part->path);
        }
    }
    return IFLOW_OK;
}

const struct ggml_tensor *iflow_parts_find(const iflow_parts *parts, const char *name, const iflow_part **part) {
    for (size_t i = 0; i < parts->n; i++) {
        const struct ggml_tensor *t = ggml_get_tensor(parts->part[i].meta, name);
        if (t) {
            *part = &parts->part[i];
            return t;
        }
    }
    return NULL;
}
