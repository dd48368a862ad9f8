/* ingestion.h - prefills documents into the store, once each, and records them. */
#ifndef IFLOW_SERVICE_INGESTION_H
#define IFLOW_SERVICE_INGESTION_H

#include "service/chunks.h"
#include "service/pace.h"
#include "service/record_names.h"
#include "service/sources.h"

typedef struct ingestion ingestion;

/* What somebody hears of it. All may be NULL. */
typedef struct ingestion_events {
    /* A document is recorded; name: as it was given, doc->name: as it is recorded. */
    void (*recorded)(const iflow_document *doc, const char *name, void *user);
    /* A document cannot be used; iflow_error_message() says why. It is counted with its sources as failed. */
    void (*failed)(const char *name, iflow_status status, void *user);
    /* Something was done for what goes by a name; waiting: another process is computing it. */
    void (*progress)(const ingestion *in, const char *name, bool waiting, void *user);
    void *user;
} ingestion_events;

/* A document whose chunks are not all there yet, because another process computes some of them. */
typedef struct ingestion_waiting {
    char *name, *recorded; /* as it was given, and as it is recorded */
    chunk_list chunks;
    char (*id)[IFLOW_ID_SIZE]; /* empty string: not there yet */
} ingestion_waiting;

struct ingestion {
    /* Filled by the caller, who keeps them. */
    const iflow_model *model;
    iflow_store *store;
    iflow_context *ctx; /* of both */
    size_t chunk_tokens;
    bool jsonl;       /* files hold a JSON object a line, whatever their names */
    sources *sources; /* with all paths added; read by this */
    ingestion_events events;

    /* How far it is. */
    size_t n_documents;                 /* recorded */
    size_t n_computed, n_present;       /* chunks */
    size_t n_tokens, n_computed_tokens; /* of those, and of the computed ones */
    double seconds;                     /* that they were computed in */
    pace pace;

    /* Its own. */
    ingestion_waiting *waiting;
    size_t n_waiting, capacity;
    record_names names;
};

/* Reads, cuts, computes and records all sources. OK where some documents failed, too: sources->n_failed counts them. E_CANCELLED: the
 * chunks that were computed are kept. Any other failure is the store's or the machine's, the next document would meet it, too, and it was
 * heard as `failed` (E_MEMORY need not be). */
iflow_status ingestion_run(ingestion *in);
/* Frees what is its own. */
void ingestion_free(ingestion *in);

#endif
