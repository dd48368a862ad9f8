/* names.h - finding a row of a table by its name. */
#ifndef IFLOW_FLOW_NAMES_H
#define IFLOW_FLOW_NAMES_H

#include "base/base.h"

/* *index: the row of this name. name_of(i): the i-th row's, NULL past the last. kind: what the rows are, "method". E_ARG, listing the
 * names. */
iflow_status iflow_name_find(const char *kind, const char *name, const char *(*name_of)(size_t i), size_t *index);

#endif
