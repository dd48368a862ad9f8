/* names.c - finding a row of a table by its name. */
#include "flow/names.h"

#include <string.h>

iflow_status iflow_name_find(const char *kind, const char *name, const char *(*name_of)(size_t i), size_t *index) {
    for (size_t i = 0; name_of(i); i++) {
        if (!strcmp(name, name_of(i))) {
            *index = i;
            return IFLOW_OK;
        }
    }
    iflow_buffer known = {0}; /* as far as there is memory for it */
    for (size_t i = 0; name_of(i); i++) {
        if (iflow_buffer_add(&known, ", ", i ? 2 : 0) || iflow_buffer_add(&known, name_of(i), strlen(name_of(i)))) {
            break;
        }
    }
    const iflow_status status = iflow_fail(IFLOW_E_ARG, "no %s '%s' (these are: %s)", kind, name, known.text ? known.text : "");
    iflow_buffer_free(&known);
    return status;
}
