/* profile.h - what `infoflow calibrate` found for a model: the file, and options that were not given taken from it. */
#ifndef IFLOW_CLI_PROFILE_H
#define IFLOW_CLI_PROFILE_H

#include "cli/ask_options.h"

#include <jansson.h>

typedef struct profile_options {
    const char *path; /* NULL: the default place */
    bool ignore;
} profile_options;

#define OPTION_ROWS_PROFILE(o)                                                                                                             \
    {'\0',                                                                                                                                 \
     "profile",                                                                                                                            \
     "FILE",                                                                                                                               \
     OPTION_TEXT,                                                                                                                          \
     &(o).path,                                                                                                                            \
     0,                                                                                                                                    \
     0,                                                                                                                                    \
     "take options that you do not give from this file, which `infoflow calibrate` made (default: the file of the model in "               \
     "infoflow/profiles in $XDG_CONFIG_HOME, else in ~/.config, if it is there)"},                                                         \
    {                                                                                                                                      \
        '\0', "no-profile", NULL, OPTION_FLAG, &(o).ignore, 0, 0, "use no profile, and no correction but that of --correction"             \
    }

enum { PROFILE_VERSION = 2 };

typedef struct profile {
    char *path;   /* NULL: there is none */
    json_t *root; /* owns the strings */
    const char *method, *score;
    const char *correction; /* the id of the one that it was measured with; "": with none; NULL: that is not known */
    layer_list layers;      /* n 0: the default's */
    int fillers;
    bool few;              /* it was measured on too few questions to say which ratio is trusted */
    int correct, drift;    /* 0: it is nearer to full prefill without */
    double ratio, trusted; /* trusted negative: no ratio is */
} profile;

/* Where the profile of a model lies by default; NULL if nothing says where. A new string. */
char *profile_place(const char *fingerprint);

/* Reads the profile that the options mean; none at the default place is no failure. CLI_OK, or CLI_FAILED after a message that names the
 * file. */
int profile_find(const profile_options *wanted, const iflow_model_info *model, profile *out);
void profile_free(profile *p);

/* profile_find, and takes from it what the command line did not give. asking NULL: common alone. */
int profile_use(const profile_options *wanted, const iflow_model_info *model, common_options *common, ask_options *how, profile *out);

/* Opens a session, whose model may be loaded already, with what the profile has for options that were not given. CLI_OK, or the exit status
 * after a message; close session and profile either way. */
int profile_open_session(const command_usage *usage, const profile_options *wanted, common_options *common, ask_options *how, session *s,
                         profile *found);

/* Warns if what the profile measured was corrected in another way than this session corrects. */
void profile_warn_correction(const profile *p, const session *s);
/* Warns if the options ask below the ratio that was trusted. */
void profile_warn(const profile *p, const ask_options *how);

/* For reports: a line for people if there is a profile, and the member "profile" of an object. */
void profile_print(FILE *to, const profile *p);
void profile_json(json_t *object, const profile *p);

/* Writes a profile, whole or not at all, and the directories above it. CLI_OK, or CLI_FAILED after a message. */
int profile_write(const char *path, const json_t *root);

#endif
