/* sources.h - where documents come from: files, directories, standard input and texts in memory, found and counted before any is read. */
#ifndef IFLOW_SERVICE_SOURCES_H
#define IFLOW_SERVICE_SOURCES_H

#include "infoflow.h"

/* What becomes of a source, or of a document in it, that is not used. */
typedef enum source_notice_kind {
    SOURCE_SKIPPED, /* found in a directory and never meant to be a text: binary, empty, or not a regular file */
    SOURCE_FAILED,  /* cannot be used: it cannot be read, its text is damaged, or the model cannot take it */
    SOURCE_HIDDEN,  /* n hidden files of a directory are passed over */
} source_notice_kind;

typedef struct source_notice {
    source_notice_kind kind;
    const char *name; /* the file, directory, or FILE:LINE */
    const char *why;  /* NULL: hidden files */
    size_t n;         /* hidden files */
    bool named;       /* on the command line or in the request, not found in a directory */
} source_notice;

/* What somebody hears while sources are looked for and read. notice may be NULL. */
typedef struct source_events {
    void (*notice)(const source_notice *notice, void *user);
    void *user;
} source_events;

/* A file, standard input, or a text in memory. */
typedef struct source {
    char *path;  /* "-": standard input; of a text its name */
    char *title; /* of a text; NULL: it has none */
    const char *text;
    uint64_t n_bytes;
    bool named;
} source;

/* Zero-initialised, but for events, is empty. */
typedef struct sources {
    source_events events;
    source *source;
    size_t n, capacity;
    uint64_t n_bytes;  /* of all sources; without meaning if one's is not known */
    bool is_open;      /* one's size is not known: a pipe, or standard input */
    uint64_t n_passed; /* bytes of the sources that were read to their end, whatever became of them */
    size_t n_skipped;  /* with hidden ones */
    size_t n_failed;   /* with named ones */
    size_t n_failed_named;
    size_t n_documents;
} sources;

/* Adds a path: a file, or all files below a directory in the order of their names, hidden ones left out. What cannot be read is noticed and
 * counted, and is no failure of this function. E_MEMORY. */
iflow_status sources_add(sources *list, const char *path);
/* Adds a text of n_bytes in memory, which must stay until the sources are freed. name, title: as in document_from_text(). E_ARG: no name;
 * E_MEMORY. */
iflow_status sources_add_text(sources *list, const char *name, const char *title, const char *text, size_t n_bytes);
void sources_free(sources *list);

/* Once all are read: OK if a document came of them, or something that was named failed; else E_FORMAT, which says so of the n names that
 * were added. */
iflow_status sources_require(const sources *list, const char *const *names, size_t n);

/* Count, and tell whoever listens. why: iflow_error_message() may be. */
void sources_skip(sources *list, const char *name, const char *why);
void sources_fail(sources *list, const char *name, bool named, const char *why);

#endif
