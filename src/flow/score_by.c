/* score_by.c - what methods score by: the question's attention, the staleness that chunks know, both, or nothing. */
#include "flow/finite.h"
#include "flow/geometry.h"
#include "flow/run.h"
#include "flow/score.h"
#include "flow/scores.h"

#include <stdlib.h>
#include <string.h>

iflow_status iflow_run_make_scores(iflow_run *run) {
    iflow_answer *a = run->answer;
    a->score = a->score ? a->score : iflow_calloc((size_t)run->n, sizeof *a->score);
    return a->score ? IFLOW_OK : iflow_fail_memory((size_t)run->n * sizeof *a->score);
}

iflow_status iflow_score_by_nothing(iflow_run *run) {
    (void)run;
    return IFLOW_OK;
}

/* Step 3: the scoring text attends to the context as it is assembled, up to the last scoring layer. Its rows are given back. */
static iflow_status observe(iflow_run *run) {
    iflow_timeline *t = run->t;
    int layer[IFLOW_MAX_SCORE_LAYERS], n_layers = 0;
    iflow_status status = iflow_score_layers(run->params->score_layers, run->params->n_score_layers, &t->model->h, layer, &n_layers);
    if (status || (status = iflow_run_make_scores(run))) {
        return status;
    }
    const size_t n_rows = (size_t)t->seq.n, n_text = run->text.score.n;
    float *observed = iflow_calloc((size_t)n_layers * n_rows, IFLOW_N_OBSERVATIONS * sizeof *observed);
    iflow_coord *coord = iflow_calloc(n_text, sizeof *coord);
    int32_t text = 0;
    if (!observed || !coord) {
        status = iflow_fail_memory((size_t)n_layers * n_rows * IFLOW_N_OBSERVATIONS * sizeof *observed);
        goto cleanup;
    }
    iflow_geometry_place(run->geometry, (int)t->model->n_sink, run->start, run->length, run->answer->n_chunks, run->first, &text);
    for (size_t i = 0; i < n_text; i++) {
        for (int c = 0; c < IFLOW_COORDS; c++) {
            coord[i].at[c] = text + (int32_t)i;
        }
    }
    const iflow_pass pass = {.token = run->text.score.token,
                             .coord = coord,
                             .n = (int)n_text,
                             .observe = layer,
                             .observations = iflow_score_observations(run->params->score),
                             .n_observe = n_layers,
                             .observed = observed};
    status = iflow_seq_run(&t->seq, run->n, &pass);
    iflow_seq_truncate(&t->seq, run->n);
    if (!status) {
        status =
            iflow_score_reduce(run->params->score, observed, n_layers, n_rows, (size_t)run->n_head, (size_t)run->n, run->answer->score);
    }

cleanup:
    free(observed);
    free(coord);
    return status;
}

iflow_status iflow_score_by_attention(iflow_run *run) {
    const iflow_status status = observe(run);
    return status ? status : iflow_finite_scores("score", run->answer->score, (size_t)run->n);
}

iflow_status iflow_score_by_product(iflow_run *run) {
    const iflow_status status = observe(run);
    if (status) {
        return status;
    }
    iflow_score_weigh(run->staleness, (size_t)run->n, run->answer->score);
    return iflow_finite_scores("score", run->answer->score, (size_t)run->n);
}

iflow_status iflow_score_by_staleness(iflow_run *run) {
    const iflow_status status = iflow_run_make_scores(run);
    if (status) {
        return status;
    }
    memcpy(run->answer->score, run->staleness, (size_t)run->n * sizeof *run->staleness);
    return iflow_finite_scores(IFLOW_STALENESS, run->staleness, (size_t)run->n);
}
