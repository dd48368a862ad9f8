/* profile.c - what calibration found for a model: its file, read and written, and settings that nobody gave taken from it. */
#include "service/profile.h"

#include "base/publish.h"
#include "service/calibration.h"
#include "service/input.h"
#include "service/session.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

iflow_status profile_place(const char *fingerprint, char **out) {
    return session_config_path("profiles", fingerprint, "json", out);
}

/* ---- Reading ------------------------------------------------------------------------------------------------------------------------ */

/* Why a file is no profile: empty if it is. */
typedef struct wrong {
    char why[JSON_ERROR_TEXT_LENGTH + 64];
} wrong;

static bool is_wrong(wrong *w, const char *format, ...) IFLOW_PRINTF(2, 3);

/* Notes why; gives true. */
static bool is_wrong(wrong *w, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(w->why, sizeof w->why, format, arguments);
    va_end(arguments);
    return true;
}

/* A list of layers of the model, or null. */
static bool are_layers_wrong(const json_t *list, int n_layer, profile *out, wrong *w) {
    if (!json_is_null(list) && (!json_is_array(list) || json_array_size(list) < 1 || json_array_size(list) > IFLOW_MAX_SCORE_LAYERS)) {
        return is_wrong(w, "\"score_layers\" is neither null nor a list of 1 to %d layers", (int)IFLOW_MAX_SCORE_LAYERS);
    }
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *layer = json_array_get(list, i);
        if (!json_is_integer(layer) || json_integer_value(layer) < 0 || json_integer_value(layer) >= n_layer) {
            return is_wrong(w, "\"score_layers\" has a layer that the model lacks");
        }
        out->layer[out->n_layers++] = (int)json_integer_value(layer);
    }
    return false;
}

/* Reads a member by jansson's format for it. */
static bool is_member_wrong(json_t *root, const char *name, const char *format, void *to, wrong *w) {
    json_error_t error;
    return json_unpack_ex(root, &error, 0, format, name, to) != 0 && is_wrong(w, "\"%.24s\": %s", name, error.text);
}

/* The members as they are in the file. */
typedef struct members {
    json_int_t version, fillers, n_questions;
    const char *fingerprint, *method, *score;
    json_t *layers, *trusted, *correction;
} members;

static bool are_members_wrong(json_t *root, profile *out, members *m, wrong *w) {
    const char *fillers = json_object_get(root, "fillers") ? "fillers" : "behind"; /* the name of earlier versions */
    return is_member_wrong(root, "fingerprint", "{s:s}", (void *)&m->fingerprint, w) ||
           is_member_wrong(root, "method", "{s:s}", (void *)&m->method, w) ||
           is_member_wrong(root, "score", "{s:s}", (void *)&m->score, w) ||
           is_member_wrong(root, "score_layers", "{s:o}", (void *)&m->layers, w) ||
           is_member_wrong(root, fillers, "{s:I}", &m->fillers, w) || is_member_wrong(root, "n_questions", "{s?I}", &m->n_questions, w) ||
           is_member_wrong(root, "correction", "{s?o}", (void *)&m->correction, w) ||
           is_member_wrong(root, "correct", "{s?b}", &out->correct, w) || is_member_wrong(root, "drift", "{s?b}", &out->drift, w) ||
           is_member_wrong(root, "ratio", "{s:F}", &out->ratio, w) ||
           is_member_wrong(root, "trusted_ratio", "{s:o}", (void *)&m->trusted, w);
}

/* Reads out->root; true with why if it is no profile of this model. */
static bool is_root_wrong(const iflow_model_info *model, profile *out, wrong *w) {
    members m = {.n_questions = CALIBRATION_MIN_QUESTIONS};
    if (!json_is_object(out->root)) {
        return is_wrong(w, "it is no JSON object");
    }
    if (is_member_wrong(out->root, "version", "{s:I}", &m.version, w)) {
        return true;
    }
    if (m.version != PROFILE_VERSION) {
        return is_wrong(w, "its version is another one's");
    }
    out->correct = out->drift = true; /* profiles written before these were tried lack them */
    if (are_members_wrong(out->root, out, &m, w)) {
        return true;
    }
    out->correction = json_is_null(m.correction) ? "" : json_string_value(m.correction);
    out->trusted = json_is_null(m.trusted) ? -1 : json_number_value(m.trusted);
    out->fillers = (int)m.fillers;
    out->few = m.n_questions < CALIBRATION_MIN_QUESTIONS;
    if (strcmp(m.fingerprint, model->fingerprint) != 0) {
        return is_wrong(w, "it is of another model");
    }
    const char *method = strcmp(m.method, "foreseen") == 0 ? "staleness" : m.method; /* the name of earlier versions */
    if (iflow_method_from_name(method, &out->method) != IFLOW_OK || !iflow_method_get_info(out->method)->by_ratio) {
        return is_wrong(w, "\"method\" is none that goes by a ratio");
    }
    if (iflow_score_from_name(m.score, &out->score) != IFLOW_OK) {
        return is_wrong(w, "\"score\" is none");
    }
    if (m.fillers < 0 || m.fillers > IFLOW_MAX_FILLERS) {
        return is_wrong(w, "\"fillers\" is not from 0 to %d", IFLOW_MAX_FILLERS);
    }
    if (!(out->ratio >= 0 && out->ratio <= 1)) {
        return is_wrong(w, "\"ratio\" is not from 0 to 1");
    }
    if (m.correction && !out->correction) {
        return is_wrong(w, "\"correction\" is neither null nor an id");
    }
    if (!json_is_null(m.trusted) && !(json_is_number(m.trusted) && out->trusted >= 0 && out->trusted <= 1)) {
        return is_wrong(w, "\"trusted_ratio\" is neither null nor a number from 0 to 1");
    }
    return are_layers_wrong(m.layers, model->n_layer, out, w);
}

iflow_status profile_find(const char *path, const iflow_model_info *model, profile *out) {
    *out = (profile){0};
    iflow_status status = path ? iflow_format_to(&out->path, "%s", path) : profile_place(model->fingerprint, &out->path);
    if (status != IFLOW_OK || !out->path || (!path && access(out->path, F_OK) != 0)) {
        profile_free(out);
        return status;
    }
    json_error_t error = {0};
    wrong w = {{0}};
    input in;
    iflow_buffer content = {0};
    status = input_open_regular(&in, out->path) && input_all(&in, &content) ? IFLOW_OK : in.status;
    if (status == IFLOW_OK) {
        out->root = json_loadb(content.text, content.n, JSON_REJECT_DUPLICATES, &error);
        status = !out->root || is_root_wrong(model, out, &w) ? IFLOW_E_FORMAT : IFLOW_OK;
    }
    if (status != IFLOW_OK) {
        iflow_fail(status, "%s is no profile for %s: %s", out->path, model->path, in.why ? in.why : out->root ? w.why : error.text);
        profile_free(out);
    }
    iflow_buffer_free(&content);
    input_close(&in);
    return status;
}

void profile_free(profile *p) {
    free(p->path);
    json_decref(p->root);
    *p = (profile){0};
}

/* ---- Using it ----------------------------------------------------------------------------------------------------------------------- */

void profile_apply_chunks(const profile *p, profile_chunks *chunks) {
    if (!p->path) {
        return;
    }
    chunks->fillers = chunks->fillers_given ? chunks->fillers : p->fillers;
    chunks->correct = chunks->correct && (chunks->correct_given || p->correct);
}

void profile_apply(const profile *p, ask_settings *settings) {
    const bool *given = settings->given;
    if (!p->path) {
        return;
    }
    settings->method = given[ASK_SETTING_METHOD] ? settings->method : iflow_method_name(p->method);
    settings->score = given[ASK_SETTING_SCORE] ? settings->score : iflow_score_name(p->score);
    settings->ratio = given[ASK_SETTING_RATIO] ? settings->ratio : p->ratio;
    settings->drift = given[ASK_SETTING_DRIFT] || p->drift ? settings->drift : "off";
    if (given[ASK_SETTING_SCORE_LAYERS]) {
        return;
    }
    settings->layers.n = p->n_layers;
    for (size_t i = 0; i < p->n_layers; i++) {
        settings->layers.layer[i] = p->layer[i];
        settings->layers.fraction[i] = -1; /* the number counts */
    }
}

bool profile_differs_in_correction(const profile *p, const char *id) {
    return p->path && p->correction && p->correct && strcmp(p->correction, id) != 0;
}

profile_trust profile_trust_in(const profile *p, const iflow_ask_params *params, double *ratio) {
    *ratio = !iflow_method_get_info(params->method)->by_ratio ? 0 : params->coverage > 0 ? params->max_ratio : params->ratio;
    if (!p->path || params->method == IFLOW_METHOD_FULL) {
        return PROFILE_TRUSTS;
    }
    if (p->trusted < 0 && !p->few) {
        return PROFILE_TRUSTS_NONE;
    }
    return *ratio < p->trusted - 1e-9 ? PROFILE_TRUSTS_MORE : PROFILE_TRUSTS;
}

iflow_status profile_write(const char *path, const json_t *root) {
    char *bytes = json_dumps(root, JSON_INDENT(2) | JSON_PRESERVE_ORDER | JSON_REAL_PRECISION(6));
    if (!bytes) {
        return iflow_fail(IFLOW_E_MEMORY, "out of memory");
    }
    iflow_make_parents(path); /* what goes wrong there shows when the file is written */
    const iflow_status status = iflow_write_file(path, bytes, strlen(bytes), true);
    free(bytes);
    return status;
}
