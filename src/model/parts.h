/* parts.h - the file of a model, or the files of one in parts: open, their metadata read, and what they were when they were opened. */
#ifndef IFLOW_MODEL_PARTS_H
#define IFLOW_MODEL_PARTS_H

#include "base/base.h"

#include <ggml.h>
#include <gguf.h>
#include <sys/stat.h>

/* Memory that reading a model's metadata takes at the most, as far as models go: where there is less, that is why it could not be read. */
enum { IFLOW_ENOUGH = 64 << 20 };

typedef struct iflow_part {
    char *path;
    int fd;
    struct stat st; /* when it was opened */
    struct gguf_context *gguf;
    struct ggml_context *meta; /* its tensors, without data */
    size_t map_at;             /* where it begins in the mapping of all parts; weights.c sets it */
} iflow_part;

typedef struct iflow_parts {
    iflow_part *part; /* in order; metadata of the model is in the first */
    size_t n;
    uint64_t n_bytes; /* of all files */
    uint64_t n_tensor_bytes;
} iflow_parts;

/* Opens a model's GGUF file and, where it is the first of several parts, the others beside it. Every tensor lies within its file, and no
 * name comes twice. E_NOT_FOUND, E_IO, E_FORMAT (what the file is, if it is not a model, and which file would be right), E_ARG (another
 * part than the first), E_MEMORY. Close `out` either way. */
iflow_status iflow_parts_open(const char *path, iflow_parts *out);
void iflow_parts_close(iflow_parts *parts);

/* E_IO where a path leads to another file than was opened, or the file has another size or time of writing: ggml and libllama open the
 * paths themselves, and what they read must be what is mapped and hashed. */
iflow_status iflow_parts_check(const iflow_parts *parts);

/* A tensor and the part that it is in; NULL when there is none of this name. */
const struct ggml_tensor *iflow_parts_find(const iflow_parts *parts, const char *name, const iflow_part **part);

/* n bytes at `offset` of the part's file, which belong to the tensor of this name: E_IO names it. */
iflow_status iflow_part_read(const iflow_part *part, const char *tensor, uint64_t offset, void *out, size_t n);

/* what.c: E_FORMAT that says what a file is which is no GGUF file that can be read, and what would be right. head: its first n bytes. */
iflow_status iflow_not_a_model(const char *path, const char *head, size_t n, uint64_t file_bytes);
/* The same for what is no regular file. */
iflow_status iflow_not_a_file(const char *path, const struct stat *st);

#endif
