/* methods.c - the methods by number and by name, and what is true of each. */
#include "flow/methods.h"

#include "base/base.h"
#include "flow/names.h"

#define ROW(name, scores, selects, repairs, traits, about)                                                                                 \
    {{name, about, ((traits)&IFLOW_BY_RATIO) != 0, ((traits)&IFLOW_BY_QUESTION) != 0, ((traits)&IFLOW_BY_STALENESS) != 0,                  \
      ((traits)&IFLOW_SCORES) != 0, ((traits)&IFLOW_REPAIRS) != 0},                                                                        \
     traits,                                                                                                                               \
     iflow_score_by_##scores,                                                                                                              \
     iflow_take_##selects,                                                                                                                 \
     &iflow_repair_##repairs},
static const iflow_method_row method_row[] = {IFLOW_METHODS(ROW)};

const iflow_method_row *iflow_method_find(iflow_method method) {
    return (size_t)method < sizeof method_row / sizeof *method_row ? &method_row[method] : NULL;
}

const char *iflow_method_name(iflow_method method) {
    const iflow_method_row *row = iflow_method_find(method);
    return row ? row->info.name : NULL;
}

const iflow_method_info *iflow_method_get_info(iflow_method method) {
    const iflow_method_row *row = iflow_method_find(method);
    return row ? &row->info : NULL;
}

static const char *name_of(size_t i) {
    return iflow_method_name((iflow_method)i);
}

iflow_status iflow_method_from_name(const char *name, iflow_method *method) {
    if (IFLOW_MISSING(name) || IFLOW_MISSING(method)) {
        return IFLOW_E_ARG;
    }
    size_t i = 0;
    const iflow_status status = iflow_name_find("method", name, name_of, &i);
    if (!status) {
        *method = (iflow_method)i;
    }
    return status;
}
