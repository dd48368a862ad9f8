/* bench_cold.c - a store whose files are not in the page cache, and its removal. */
#include "lab/bench_cold.h"

#include "cli/text.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { MAX_OPEN = 16 };

/* nftw's callback has no argument of its own. */
static size_t n_pages, n_resident;

static void count_pages(int fd, size_t n_bytes) {
    const size_t page = (size_t)sysconf(_SC_PAGESIZE), n = (n_bytes + page - 1) / page;
    void *map = n ? mmap(NULL, n_bytes, PROT_READ, MAP_SHARED, fd, 0) : MAP_FAILED;
    if (map == MAP_FAILED) {
        return;
    }
    unsigned char *in_core = must_alloc(n, 1);
    if (mincore(map, n_bytes, in_core) == 0) {
        n_pages += n;
        for (size_t i = 0; i < n; i++) {
            n_resident += in_core[i] & 1;
        }
    }
    free(in_core);
    munmap(map, n_bytes);
}

static int drop_file(const char *path, const struct stat *about, int kind, struct FTW *at) {
    (void)at;
    if (kind != FTW_F) {
        return 0;
    }
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return -1;
    }
    int error = fsync(fd) ? errno : posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    if (!error) {
        count_pages(fd, (size_t)about->st_size);
    }
    close(fd);
    errno = error;
    return error ? -1 : 0;
}

int cold_drop(const char *dir, double *resident) {
    n_pages = n_resident = 0;
    if (nftw(dir, drop_file, MAX_OPEN, FTW_PHYS)) {
        cli_error("cannot drop %s from the page cache: %s", dir, strerror(errno));
        return CLI_FAILED;
    }
    *resident = n_pages ? (double)n_resident / (double)n_pages : 0;
    return CLI_OK;
}

static int remove_one(const char *path, const struct stat *about, int kind, struct FTW *at) {
    (void)about, (void)kind, (void)at;
    return remove(path);
}

void cold_remove(const char *dir) {
    if (nftw(dir, remove_one, MAX_OPEN, FTW_PHYS | FTW_DEPTH)) {
        cli_error("cannot remove %s: %s", dir, strerror(errno));
    }
}
