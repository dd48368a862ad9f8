/* environment.c - environment variables, and where a user's files of infoflow lie by them. */
#include "base/base.h"

#include <stdlib.h>

const char *iflow_environment(const char *name) {
    const char *value = getenv(name);
    return value && value[0] ? value : NULL;
}

iflow_status iflow_user_directory(const char *variable, const char *in_home, char **out) {
    const char *xdg = iflow_environment(variable), *home = iflow_environment("HOME");
    const bool named = xdg && xdg[0] == '/';
    *out = NULL;
    if (!named && !(home && home[0] == '/')) {
        return IFLOW_OK;
    }
    return named ? iflow_format_to(out, "%s/infoflow", xdg) : iflow_format_to(out, "%s/%s/infoflow", home, in_home);
}
