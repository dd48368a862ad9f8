/* store_dir_read.c - a directory store's chunk, open to be read by parts. */
#include "kv/store_dir.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

typedef struct dir_reader {
    iflow_reader base; /* first */
    const iflow_files *files;
    char path[IFLOW_FILES_PATH_SIZE];
    int fd;
} dir_reader;

static iflow_status read_part(iflow_reader *base, uint64_t offset, size_t n_bytes, void *out) {
    const dir_reader *reader = (dir_reader *)base;
    for (size_t done = 0; done < n_bytes;) {
        const ssize_t n = pread(reader->fd, (char *)out + done, n_bytes - done, (off_t)(offset + done));
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return iflow_files_fail(reader->files, "read", reader->path, errno);
        }
        if (n == 0) {
            return iflow_fail(IFLOW_E_CORRUPT, "%s/%s: truncated: it has %llu bytes", reader->files->dir, reader->path,
                              (unsigned long long)offset + done);
        }
        done += (size_t)n;
    }
    return IFLOW_OK;
}

static void close_reader(iflow_reader *base) {
    dir_reader *reader = (dir_reader *)base;
    close(reader->fd);
    free(reader);
}

iflow_status iflow_dir_open_chunk(iflow_store *base, const char *id, iflow_reader **out) {
    const iflow_dir_store *store = iflow_dir_of(base);
    iflow_blob which = {0};
    struct stat st;
    iflow_status status = iflow_id_check(id);
    if (status) {
        return status;
    }
    dir_reader *reader = iflow_calloc(1, sizeof *reader);
    if (!reader) {
        return iflow_fail_memory(sizeof *reader);
    }
    iflow_dir_chunk_path(id, reader->path);
    status = iflow_files_open_regular(&store->files, reader->path, true, &reader->fd, &which, &st);
    if (status) {
        free(reader);
        return status == IFLOW_E_NOT_FOUND ? iflow_fail(status, "chunk %s is not in the store %s", id, store->files.dir) : status;
    }
    reader->files = &store->files;
    reader->base =
        (iflow_reader){.n_bytes = (uint64_t)st.st_size, .dev = which.dev, .ino = which.ino, .read = read_part, .close = close_reader};
    *out = &reader->base;
    return IFLOW_OK;
}
