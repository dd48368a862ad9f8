/* methods.h - a method as the pipeline runs it: a row of method_table.h. */
#ifndef IFLOW_FLOW_METHODS_H
#define IFLOW_FLOW_METHODS_H

#include "flow/method_table.h"
#include "infoflow.h"

typedef struct iflow_run iflow_run;
typedef struct iflow_repair_ops iflow_repair_ops;

typedef struct iflow_method_row {
    iflow_method_info info;
    int traits;
    iflow_status (*score)(iflow_run *run);
    iflow_status (*select)(iflow_run *run);
    const iflow_repair_ops *repair;
} iflow_method_row;

/* NULL: there is none of this number. */
const iflow_method_row *iflow_method_find(iflow_method method);

/* What the rows name. */
#define IFLOW_DECLARE(name, scores, selects, repairs, traits, about)                                                                       \
    iflow_status iflow_score_by_##scores(iflow_run *run);                                                                                  \
    iflow_status iflow_take_##selects(iflow_run *run);                                                                                     \
    extern const iflow_repair_ops iflow_repair_##repairs;
IFLOW_METHODS(IFLOW_DECLARE)
#undef IFLOW_DECLARE

#endif
