/* profile.h - profiles on the command line: their options, what options take from them, and what is said of them. */
#ifndef IFLOW_CLI_PROFILE_H
#define IFLOW_CLI_PROFILE_H

#include "cli/ask_options.h"
#include "service/profile.h"

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

/* Reads the profile that the options mean; none at the default place is no failure. CLI_OK, or CLI_FAILED after a message that names the
 * file. */
int profile_read(const profile_options *wanted, const iflow_model_info *model, profile *out);

/* profile_read, and takes from it what the command line did not give. how NULL: common's options alone. */
int profile_use(const profile_options *wanted, const iflow_model_info *model, common_options *common, ask_options *how, profile *out);

/* Opens a session, whose model may be loaded already, with what the profile has for options that were not given. CLI_OK, or the exit status
 * after a message; close session and profile either way. */
int profile_open_session(const command_usage *usage, const profile_options *wanted, common_options *common, ask_options *how, session *s,
                         profile *found);

/* Warns if what the profile measured was corrected in another way than this session corrects. */
void profile_warn_correction(const profile *p, const session *s);
/* Warns if the options ask below the ratio that was trusted. */
void profile_warn(const profile *p, const ask_options *how);

/* For reports: a line if there is a profile. */
void profile_print(FILE *to, const profile *p);

#endif
