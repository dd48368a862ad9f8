/* given.c - the method `given`: positions or scores that the caller found elsewhere. */
#include "flow/run.h"
#include "flow/select.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static iflow_status check_positions(const iflow_run *run) {
    const iflow_ask_params *p = run->params;
    bool *taken = iflow_calloc((size_t)run->n, sizeof *taken);
    if (!taken) {
        return iflow_fail_memory((size_t)run->n * sizeof *taken);
    }
    iflow_status status = IFLOW_OK;
    for (size_t i = 0; !status && i < p->n_given_positions; i++) {
        const int32_t at = p->given_positions[i];
        if (at < run->n_head || at >= run->n) {
            status =
                iflow_fail(IFLOW_E_ARG, "given position %d %s; of this context %d to %d can be recomputed, after the head's %d", (int)at,
                           at >= 0 && at < run->n_head ? "is in the head" : "is not there", run->n_head, run->n - 1, run->n_head);
        } else if (taken[at]) {
            status = iflow_fail(IFLOW_E_ARG, "position %d is given twice", (int)at);
        } else {
            taken[at] = true;
        }
    }
    free(taken);
    return status;
}

static iflow_status check_scores(const iflow_run *run) {
    const iflow_ask_params *p = run->params;
    if (p->n_given_scores != (size_t)run->n) {
        return iflow_fail(IFLOW_E_ARG, "%zu scores are given; this context needs %d, one a position, the head's %d first",
                          p->n_given_scores, run->n, run->n_head);
    }
    const size_t bad = iflow_finite_first(p->given_scores, p->n_given_scores);
    if (bad < p->n_given_scores) {
        return iflow_fail(IFLOW_E_ARG, "the given score of position %zu is %s", bad,
                          isnan(p->given_scores[bad]) ? "not a number" : "infinite");
    }
    for (size_t i = (size_t)run->n_head; p->coverage > 0 && i < p->n_given_scores; i++) {
        if (p->given_scores[i] < 0) {
            return iflow_fail(IFLOW_E_ARG, "the given score of position %zu is %g; coverage is a share of scores that are 0 or greater", i,
                              (double)p->given_scores[i]);
        }
    }
    return IFLOW_OK;
}

iflow_status iflow_given_check(const iflow_run *run) {
    return run->params->given_positions ? check_positions(run) : check_scores(run);
}

iflow_status iflow_score_by_given(iflow_run *run) {
    iflow_status status = IFLOW_OK;
    if (run->params->given_scores && !(status = iflow_run_make_scores(run))) {
        memcpy(run->answer->score + run->n_head, run->params->given_scores + run->n_head,
               (size_t)(run->n - run->n_head) * sizeof *run->answer->score);
    }
    return status;
}

static int ascending(const void *a, const void *b) {
    const int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return x < y ? -1 : x > y;
}

iflow_status iflow_take_given(iflow_run *run) {
    if (!run->params->given_positions) {
        return iflow_take_best(run);
    }
    iflow_answer *a = run->answer;
    a->n_selected = run->params->n_given_positions;
    memcpy(a->selected, run->params->given_positions, a->n_selected * sizeof *a->selected);
    qsort(a->selected, a->n_selected, sizeof *a->selected, ascending);
    return IFLOW_OK;
}
