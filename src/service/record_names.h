/* record_names.h - the names that documents are recorded by: the same for the same place, another for another one. */
#ifndef IFLOW_SERVICE_RECORD_NAMES_H
#define IFLOW_SERVICE_RECORD_NAMES_H

#include "service/documents.h"

/* The names that a run has given, so that none stands for two documents. Zero-initialised is empty. */
typedef struct record_names {
    void *tree;
} record_names;

/* The name that a document is recorded by: *out, a new string. A file's is its path; a line's begins with its file's path as if that were a
 * directory, which no file has; what comes from a pipe or standard input goes by what it says; a text in memory by the name that it was
 * given, as NAME or NAME/TITLE: the same name is the same document, whoever gave it. E_MEMORY. */
iflow_status record_names_of(record_names *names, const document *doc, char **out);
void record_names_free(record_names *names);

#endif
