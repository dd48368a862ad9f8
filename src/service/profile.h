/* profile.h - what calibration found for a model: its file, read and written, and settings that nobody gave taken from it. */
#ifndef IFLOW_SERVICE_PROFILE_H
#define IFLOW_SERVICE_PROFILE_H

#include "service/settings.h"

enum { PROFILE_VERSION = 2 };

typedef struct profile {
    char *path;   /* NULL: there is none */
    json_t *root; /* owns the strings */
    iflow_method method;
    iflow_score score;
    const char *correction;            /* the id of the one that it was measured with; "": with none; NULL: that is not known */
    int layer[IFLOW_MAX_SCORE_LAYERS]; /* that score, from 0 */
    size_t n_layers;                   /* 0: the default's */
    int fillers;
    bool few;              /* it was measured on too few questions to say which ratio is trusted */
    int correct, drift;    /* 0: it is nearer to full prefill without */
    double ratio, trusted; /* trusted negative: no ratio is */
} profile;

/* Where the profile of a model lies by default: *out, a new string; NULL if nothing says where. E_MEMORY. */
iflow_status profile_place(const char *fingerprint, char **out);

/* Reads the profile at a path; NULL: at the default place, where none is no failure: out->path is NULL then. E_FORMAT: it is none of this
 * model; E_IO, E_MEMORY. The message names the file. */
iflow_status profile_find(const char *path, const iflow_model_info *model, profile *out);
void profile_free(profile *p);

/* How chunks are made and corrected. */
typedef struct profile_chunks {
    int fillers;
    bool correct;                      /* false: by no correction */
    bool fillers_given, correct_given; /* somebody said so */
} profile_chunks;

/* Takes from a profile what was not given; nothing if there is none. The settings' method and score stay the library's names. */
void profile_apply_chunks(const profile *p, profile_chunks *chunks);
void profile_apply(const profile *p, ask_settings *settings);

/* Whether what the profile measured was corrected by another correction than that of an id ("": none). */
bool profile_differs_in_correction(const profile *p, const char *id);

/* What a profile says of the ratio that is asked with. */
typedef enum profile_trust {
    PROFILE_TRUSTS, /* or says nothing of it */
    PROFILE_TRUSTS_MORE,
    PROFILE_TRUSTS_NONE,
} profile_trust;
/* *ratio: at which it is asked, 0 for methods without one. */
profile_trust profile_trust_in(const profile *p, const iflow_ask_params *params, double *ratio);

/* Writes a profile, for its owner alone, whole or not at all, and the directories above it. E_FULL, E_IO, E_MEMORY. */
iflow_status profile_write(const char *path, const json_t *root);

#endif
