/* take.c - step 4: which positions a method selects; the best-scoring ones of a budget, or others without a score. */
#include "flow/finite.h"
#include "flow/run.h"
#include "flow/select.h"

enum { N_EPIC = 4 }; /* tokens a chunk that EPIC recomputes */

iflow_status iflow_run_budget(const iflow_run *run, size_t *n_selected) {
    const iflow_ask_params *p = run->params;
    const size_t n_head = (size_t)run->n_head, n = (size_t)run->n;
    if (p->coverage > 0 && run->answer->score) {
        return iflow_select_covering(run->answer->score, n_head, n, p->coverage, iflow_select_count(p->min_ratio, n_head, n),
                                     iflow_select_count(p->max_ratio, n_head, n), n_selected);
    }
    *n_selected = iflow_select_count(p->ratio, n_head, n);
    return IFLOW_OK;
}

iflow_status iflow_take_nothing(iflow_run *run) {
    run->answer->n_selected = 0;
    return IFLOW_OK;
}

iflow_status iflow_take_best(iflow_run *run) {
    iflow_answer *a = run->answer;
    const iflow_status status = iflow_run_budget(run, &a->n_selected);
    return status ? status : iflow_select_best(a->score, (size_t)run->n_head, (size_t)run->n, a->n_selected, a->selected);
}

iflow_status iflow_take_first(iflow_run *run) {
    iflow_answer *a = run->answer;
    iflow_select_first(run->start + 1, run->length + 1, a->n_chunks - 1, N_EPIC, a->selected, &a->n_selected);
    return IFLOW_OK;
}

iflow_status iflow_take_first_part(iflow_run *run) {
    iflow_answer *a = run->answer;
    iflow_select_first_ratio(run->start + 1, run->length + 1, a->n_chunks - 1, run->params->ratio, a->selected, &a->n_selected);
    return IFLOW_OK;
}

iflow_status iflow_take_random(iflow_run *run) {
    iflow_answer *a = run->answer;
    const iflow_status status = iflow_run_budget(run, &a->n_selected);
    return status ? status : iflow_select_random(run->params->seed, (size_t)run->n_head, (size_t)run->n, a->n_selected, a->selected);
}

iflow_status iflow_take_union(iflow_run *run) {
    iflow_answer *a = run->answer;
    iflow_status status = iflow_run_budget(run, &a->n_selected);
    if (status || (status = iflow_finite_scores(IFLOW_STALENESS, run->staleness, (size_t)run->n))) {
        return status;
    }
    return iflow_select_union(run->staleness, run->params->staleness_share, a->score, (size_t)run->n_head, (size_t)run->n, a->n_selected,
                              a->selected);
}
