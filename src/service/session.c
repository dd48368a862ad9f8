/* session.c - the model, the correction, the store and the context that a program works with, and where their files lie by default. */
#include "service/session.h"

#include "base/base.h"
#include "service/json.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

iflow_status session_store_place(char **out) {
    const char *given = iflow_environment("INFOFLOW_STORE");
    char *cache = NULL;
    if (given) {
        return iflow_format_to(out, "%s", given);
    }
    *out = NULL;
    iflow_status status = iflow_user_directory("XDG_CACHE_HOME", ".cache", &cache);
    if (status == IFLOW_OK && cache) {
        status = iflow_format_to(out, "%s/store", cache);
    }
    free(cache);
    return status;
}

iflow_status session_config_path(const char *directory, const char *fingerprint, const char *ending, char **out) {
    char *config = NULL;
    *out = NULL;
    iflow_status status = iflow_user_directory("XDG_CONFIG_HOME", ".config", &config);
    if (status == IFLOW_OK && config) {
        status = iflow_format_to(out, "%s/%s/%s.%s", config, directory, fingerprint, ending);
    }
    free(config);
    return status;
}

iflow_status session_load_model(session *s, const char *path, const iflow_model_params *params) {
    const double start = iflow_now_ms();
    const iflow_status status = iflow_model_load(path, params, &s->model);
    if (status == IFLOW_OK) {
        s->model_load_ms = iflow_now_ms() - start;
        s->info = iflow_model_get_info(s->model);
    }
    return status;
}

iflow_status session_load_correction(session *s, const char *which) {
    if (!which || strcmp(which, "none") == 0) {
        return IFLOW_OK;
    }
    const bool usual = strcmp(which, "auto") == 0;
    char *path = NULL;
    iflow_status status =
        usual ? session_config_path("corrections", s->info.fingerprint, "gguf", &path) : iflow_format_to(&path, "%s", which);
    if (status != IFLOW_OK || !path || (usual && access(path, F_OK) != 0)) {
        free(path);
        return status;
    }
    s->correction_path = path;
    status = iflow_correction_load(path, s->model, &s->correction);
    if (status == IFLOW_OK) {
        s->corrected = iflow_correction_get_info(s->correction);
    }
    return status;
}

iflow_status session_open_store(session *s, const char *name, const iflow_store_params *params) {
    const iflow_status status = name ? iflow_format_to(&s->store_dir, "%s", name) : session_store_place(&s->store_dir);
    if (status != IFLOW_OK) {
        return status;
    }
    if (!s->store_dir) {
        return iflow_fail(IFLOW_E_NOT_FOUND, "nothing says where the store is: neither XDG_CACHE_HOME nor HOME is an absolute path");
    }
    return iflow_store_open(s->store_dir, params, &s->store);
}

iflow_status session_new_context(const session *s, const iflow_context_params *params, iflow_context **out) {
    iflow_context_params own = *params;
    own.correction = s->correction;
    return iflow_context_new(s->model, s->store, &own, out);
}

void session_close(session *s) {
    iflow_context_free(s->ctx);
    iflow_store_close(s->store);
    iflow_correction_free(s->correction);
    iflow_model_free(s->model);
    free(s->correction_path);
    free(s->store_dir);
    *s = (session){0};
}

/* The layers that can score, those without a window, as a list; null: all can. */
static json_t *scoring_json(const iflow_model_info *info) {
    json_t *list = info->window ? json_array() : json_null();
    bool ok = list != NULL;
    for (int il = 0; il < info->n_layer && info->window && ok; il++) {
        ok = info->score_layer[il] != il || json_append(list, json_integer(il));
    }
    if (!ok) {
        json_decref(list);
    }
    return ok ? list : NULL;
}

json_t *session_model_json(const session *s) {
    const iflow_model_info *info = &s->info;
    return json_pack("{s:o, s:s, s:s, s:s, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:I, s:i, s:i, s:o, s:o}", "path", json_text(info->path),
                     "architecture", info->architecture, "device", info->device, "fingerprint", info->fingerprint, "n_vocab", info->n_vocab,
                     "n_layer", info->n_layer, "n_embd", info->n_embd, "n_head", info->n_head, "n_head_kv", info->n_head_kv, "n_embd_head",
                     info->n_embd_head, "n_ctx_train", info->n_ctx_train, "n_bytes", (json_int_t)info->n_bytes, "n_parts", info->n_parts,
                     "window", info->window, "score_layers", scoring_json(info), "load_ms", json_finite(s->model_load_ms));
}
