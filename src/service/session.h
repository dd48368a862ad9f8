/* session.h - the model, the correction, the store and the context that a program works with, and where their files lie by default. */
#ifndef IFLOW_SERVICE_SESSION_H
#define IFLOW_SERVICE_SESSION_H

#include "infoflow.h"

#include <jansson.h>

/* Zero-initialised is empty. Filled step by step, in this order: model, correction, store, contexts. */
typedef struct session {
    iflow_model *model;
    iflow_model_info info;
    iflow_store *store;           /* NULL: none */
    iflow_context *ctx;           /* the program's own, if it has one; closed with the session */
    iflow_correction *correction; /* NULL: none; contexts have it */
    iflow_correction_info corrected;
    char *correction_path;
    char *store_dir; /* the store's name */
    double model_load_ms;
} session;

/* Loads the model. As iflow_model_load(). */
iflow_status session_load_model(session *s, const char *path, const iflow_model_params *params);

/* Loads a correction for the model: NULL or "none": none; "auto": that at the default place, where none is no failure; else the file. As
 * iflow_correction_load(). */
iflow_status session_load_correction(session *s, const char *which);

/* Opens a store by its name. NULL: the default place; E_NOT_FOUND if nothing says where, which session_store_place() tells before. As
 * iflow_store_open(). */
iflow_status session_open_store(session *s, const char *name, const iflow_store_params *params);

/* A context of the session's model, store and correction; params->correction is overridden. The caller frees it before the session is
 * closed. As iflow_context_new(). */
iflow_status session_new_context(const session *s, const iflow_context_params *params, iflow_context **out);

void session_close(session *s);

/* The facts of the model, which is loaded: a new reference; NULL: no memory. */
json_t *session_model_json(const session *s);

/* Where the store lies by default: $INFOFLOW_STORE, else infoflow/store in the user's cache. *out: a new string; NULL if nothing says
 * where. E_MEMORY. */
iflow_status session_store_place(char **out);

/* Where a file about a model lies by default: directory/fingerprint.ending in infoflow's configuration. *out: a new string; NULL if nothing
 * says where. E_MEMORY. */
iflow_status session_config_path(const char *directory, const char *fingerprint, const char *ending, char **out);

#endif
