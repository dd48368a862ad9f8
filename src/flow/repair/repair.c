/* repair.c - the repairs of a question, step by step; and the plain one: the selected tokens run again from their embeddings. */
#include "flow/repair/repair.h"

#include <stdlib.h>

enum { N_STANDING = 3 };
_Static_assert(N_STANDING + 1 == IFLOW_N_REPAIRS, "a state for each standing repair and for the method's own");
static const iflow_repair_ops *const standing[N_STANDING] = {&iflow_repair_correction, &iflow_repair_drift, &iflow_repair_evidence};

static const iflow_repair_ops *repair_at(const iflow_run *run, size_t i) {
    return i < N_STANDING ? standing[i] : run->method->repair;
}

void **iflow_repairs_own(iflow_run *run) {
    return &run->repair[N_STANDING];
}

iflow_status iflow_repairs_assembled(iflow_run *run, size_t from, size_t to) {
    iflow_status status = IFLOW_OK;
    for (size_t i = 0; !status && i < IFLOW_N_REPAIRS; i++) {
        const iflow_repair_ops *ops = repair_at(run, i);
        status = ops->assembled ? ops->assembled(run, &run->repair[i], from, to) : IFLOW_OK;
    }
    return status;
}

iflow_status iflow_repairs_recompute(iflow_run *run) {
    iflow_status status = IFLOW_OK;
    for (size_t i = 0; !status && i < IFLOW_N_REPAIRS; i++) {
        const iflow_repair_ops *ops = repair_at(run, i);
        status = ops->before ? ops->before(run, &run->repair[i]) : IFLOW_OK;
    }
    status = status ? status : run->method->repair->rerun(run, iflow_repairs_own(run));
    for (size_t i = IFLOW_N_REPAIRS; !status && i-- > 0;) {
        const iflow_repair_ops *ops = repair_at(run, i);
        status = ops->after ? ops->after(run, &run->repair[i]) : IFLOW_OK;
    }
    return status;
}

iflow_status iflow_repairs_mixed(iflow_run *run, const iflow_mixture *mixture) {
    iflow_status status = IFLOW_OK;
    for (size_t i = 0; !status && i < IFLOW_N_REPAIRS; i++) {
        const iflow_repair_ops *ops = repair_at(run, i);
        status = ops->mixed ? ops->mixed(run, &run->repair[i], mixture) : IFLOW_OK;
    }
    return status;
}

void iflow_repairs_free(iflow_run *run) {
    for (size_t i = 0; i < IFLOW_N_REPAIRS; i++) {
        if (run->repair[i]) {
            repair_at(run, i)->free(run->repair[i]);
        }
    }
}

static iflow_status rerun(iflow_run *run, void **state) {
    (void)state;
    const iflow_answer *a = run->answer;
    int32_t *token = iflow_calloc(a->n_selected, sizeof *token);
    if (!token) {
        return iflow_fail_memory(a->n_selected * sizeof *token);
    }
    for (size_t i = 0; i < a->n_selected; i++) {
        token[i] = a->context_token[a->selected[i]];
    }
    const iflow_pass pass = {.token = token, .row = a->selected, .n = (int)a->n_selected};
    const iflow_status status = iflow_seq_forward(&run->t->seq, &pass);
    free(token);
    return status;
}

const iflow_repair_ops iflow_repair_rerun = {.rerun = rerun};
