/* record_names.c - the names that documents are recorded by: the same for the same place, another for another one. */
#include "service/record_names.h"

#include "base/base.h"

#include <inttypes.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* What a name in this run stands for. */
typedef struct place {
    char *name, *source;
    size_t line;
} place;

static int by_name(const void *a, const void *b) {
    return strcmp(((const place *)a)->name, ((const place *)b)->name);
}

static void free_place(void *found) {
    place *p = found;
    if (p) {
        free(p->name);
        free(p->source);
        free(p);
    }
}

/* Takes a name for what is on a line of a source: *taken is false if something else of this run has it. */
static iflow_status take_name(record_names *names, const char *name, const char *path, size_t line, bool *taken) {
    place *mine = iflow_calloc(1, sizeof *mine);
    if (mine) {
        *mine = (place){iflow_strdup(name), iflow_strdup(path), line};
    }
    place **found = mine && mine->name && mine->source ? tsearch(mine, &names->tree, by_name) : NULL;
    if (!found) {
        free_place(mine);
        return iflow_fail_memory(strlen(name) + strlen(path));
    }
    *taken = *found == mine || ((*found)->line == line && strcmp((*found)->source, path) == 0);
    if (*found != mine) {
        free_place(mine);
    }
    return IFLOW_OK;
}

/* Of what comes through a pipe or standard input, where the next one may be another by the same name: the name is told apart by what it
 * says, so that none replaces another. No path of a file begins so. */
static iflow_status passing_name(const document *doc, bool titled, char **out) {
    const char *from = doc->source ? "pipe" : "stdin";
    uint64_t hash = iflow_fnv1a(IFLOW_FNV1A, &doc->passages, sizeof doc->passages);
    for (size_t i = 0; i < doc->n_parts; i++) {
        hash = iflow_fnv1a(hash, &doc->part_bytes[i], sizeof doc->part_bytes[i]); /* parts do not run together */
        hash = iflow_fnv1a(hash, doc->part[i], doc->part_bytes[i]);
    }
    return titled ? iflow_format_to(out, "%s/%s #%016" PRIx64, from, doc->name, hash) : iflow_format_to(out, "%s #%016" PRIx64, from, hash);
}

/* Of a regular file, or a line of it. */
static iflow_status lasting_name(record_names *names, const document *doc, const char *path, bool titled, char **out) {
    iflow_status status = !doc->line ? iflow_format_to(out, "%s", path)
                          : titled   ? iflow_format_to(out, "%s/%s", path, doc->name)
                                     : iflow_format_to(out, "%s/%zu", path, doc->line);
    for (bool taken = false; status == IFLOW_OK;) {
        status = take_name(names, *out, path, doc->line, &taken);
        if (status != IFLOW_OK || taken) {
            break;
        }
        char *longer = NULL; /* a title that comes twice */
        status = iflow_format_to(&longer, "%s:%zu", *out, doc->line);
        free(*out);
        *out = longer;
    }
    return status;
}

iflow_status record_names_of(record_names *names, const document *doc, char **out) {
    struct stat file;
    char *untitled = NULL;
    *out = NULL;
    if (doc->in_memory) {
        return strcmp(doc->name, doc->source) != 0 ? iflow_format_to(out, "%s/%s", doc->source, doc->name)
                                                   : iflow_format_to(out, "%s", doc->source);
    }
    iflow_status status = iflow_format_to(&untitled, "%s:%zu", doc->source ? doc->source : "stdin", doc->line);
    if (status != IFLOW_OK) {
        return status;
    }
    char *resolved = doc->source ? realpath(doc->source, NULL) : NULL;
    const bool titled = doc->line && strcmp(doc->name, untitled) != 0;
    if (!resolved || stat(resolved, &file) != 0 || !S_ISREG(file.st_mode)) {
        status = passing_name(doc, titled, out);
    } else {
        status = lasting_name(names, doc, resolved, titled, out);
    }
    if (status != IFLOW_OK) {
        free(*out);
        *out = NULL;
    }
    free(untitled);
    free(resolved);
    return status;
}

void record_names_free(record_names *names) {
    tdestroy(names->tree, free_place);
    names->tree = NULL;
}
