/* sources.c - where documents come from: files, directories, standard input and texts in memory, found and counted before any is read. */
#include "service/sources.h"

#include "base/base.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static void notice(sources *list, const source_notice *what) {
    if (list->events.notice) {
        list->events.notice(what, list->events.user);
    }
}

void sources_skip(sources *list, const char *name, const char *why) {
    list->n_skipped++;
    notice(list, &(source_notice){.kind = SOURCE_SKIPPED, .name = name, .why = why});
}

void sources_fail(sources *list, const char *name, bool named, const char *why) {
    list->n_failed++;
    list->n_failed_named += named;
    notice(list, &(source_notice){.kind = SOURCE_FAILED, .name = name, .why = why, .named = named});
}

iflow_status sources_require(const sources *list, const char *const *names, size_t n) {
    if (list->n_documents || list->n_failed_named) {
        return IFLOW_OK;
    }
    return n == 1 ? iflow_fail(IFLOW_E_FORMAT, "%s: none of its files can be used", names[0]) /* which of them lie where was noticed */
                  : iflow_fail(IFLOW_E_FORMAT, "none of the files in these %zu directories can be used", n);
}

static iflow_status add_source(sources *list, const char *path, const struct stat *file, bool named) {
    const iflow_status status = iflow_reserve((void **)&list->source, &list->capacity, list->n + 1, sizeof *list->source);
    char *copy = status == IFLOW_OK ? iflow_strdup(path) : NULL;
    if (!copy) {
        return iflow_fail_memory(strlen(path));
    }
    const bool known = file && S_ISREG(file->st_mode);
    const uint64_t n_bytes = known ? (uint64_t)file->st_size : 0;
    list->source[list->n++] = (source){.path = copy, .n_bytes = n_bytes, .named = named};
    list->n_bytes += n_bytes;
    list->is_open = list->is_open || !known;
    return IFLOW_OK;
}

void sources_free(sources *list) {
    for (size_t i = 0; i < list->n; i++) {
        free(list->source[i].path);
        free(list->source[i].title);
    }
    free(list->source);
    *list = (sources){0};
}

iflow_status sources_add_text(sources *list, const char *name, const char *title, const char *text, size_t n_bytes) {
    if (!name || !name[0]) {
        return iflow_fail(IFLOW_E_ARG, "a text in memory needs a name");
    }
    const iflow_status status = iflow_reserve((void **)&list->source, &list->capacity, list->n + 1, sizeof *list->source);
    source made = {.path = status == IFLOW_OK ? iflow_strdup(name) : NULL, .text = text ? text : "", .n_bytes = n_bytes, .named = true};
    made.title = made.path && title ? iflow_strdup(title) : NULL;
    if (!made.path || (title && !made.title)) {
        free(made.path);
        return iflow_fail_memory(strlen(name));
    }
    list->source[list->n++] = made;
    list->n_bytes += n_bytes;
    return IFLOW_OK;
}

static int by_name(const struct dirent **a, const struct dirent **b) {
    return strcmp((*a)->d_name, (*b)->d_name);
}

static iflow_status add_directory(sources *list, const char *dir, bool named, size_t *n_hidden);

/* What a directory has under a name: a file, a directory, or something to be passed over. */
static iflow_status add_entry(sources *list, const char *dir, const char *name, size_t *n_hidden) {
    const size_t length = strlen(dir);
    char *path = NULL;
    struct stat link, file;
    iflow_status status = iflow_format_to(&path, "%s%s%s", dir, length && dir[length - 1] == '/' ? "" : "/", name);
    if (status != IFLOW_OK) {
        return status;
    }
    if (name[0] == '.') {
        ++*n_hidden;
    } else if (lstat(path, &link) != 0 || stat(path, &file) != 0) {
        sources_fail(list, path, false, strerror(errno));
    } else if (S_ISDIR(link.st_mode)) {
        status = add_directory(list, path, false, n_hidden);
    } else if (S_ISREG(file.st_mode)) {
        status = add_source(list, path, &file, false);
    } else { /* a linked directory could lead in a circle; a pipe or a device could block */
        sources_skip(list, path, "not a regular file");
    }
    free(path);
    return status;
}

static iflow_status add_directory(sources *list, const char *dir, bool named, size_t *n_hidden) {
    struct dirent **entry = NULL;
    iflow_status status = IFLOW_OK;
    const int n = scandir(dir, &entry, NULL, by_name);
    if (n < 0 && errno == ENOMEM) {
        return iflow_fail_memory(sizeof **entry);
    }
    if (n < 0) {
        sources_fail(list, dir, named, strerror(errno));
        return IFLOW_OK;
    }
    for (int i = 0; i < n; i++) {
        const char *name = entry[i]->d_name;
        if (status == IFLOW_OK && strcmp(name, ".") != 0 && strcmp(name, "..") != 0) {
            status = add_entry(list, dir, name, n_hidden);
        }
        free(entry[i]);
    }
    free(entry);
    return status;
}

iflow_status sources_add(sources *list, const char *path) {
    struct stat file;
    if (strcmp(path, "-") == 0) {
        return add_source(list, path, NULL, true);
    }
    if (stat(path, &file) != 0) {
        sources_fail(list, path, true, strerror(errno));
        return IFLOW_OK;
    }
    if (!S_ISDIR(file.st_mode)) {
        return add_source(list, path, &file, true);
    }
    size_t n_hidden = 0;
    const size_t before = list->n, n_failed = list->n_failed;
    const iflow_status status = add_directory(list, path, true, &n_hidden);
    if (n_hidden) {
        list->n_skipped += n_hidden;
        notice(list, &(source_notice){.kind = SOURCE_HIDDEN, .name = path, .n = n_hidden});
    }
    if (status == IFLOW_OK && list->n == before && list->n_failed == n_failed) {
        sources_fail(list, path, true, "no file in this directory can be read");
    }
    return status;
}
