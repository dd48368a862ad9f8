/* score.c - scoring layers, and scores from what they observed. */
#include "flow/score.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int add_layer(int layer[IFLOW_MAX_SCORE_LAYERS], int n, int il) {
    int at = n;
    while (at > 0 && layer[at - 1] >= il) {
        at--;
    }
    if (at < n && layer[at] == il) {
        return n;
    }
    for (int i = n; i > at; i--) {
        layer[i] = layer[i - 1];
    }
    layer[at] = il;
    return n + 1;
}

/* A layer that sees a window's rows alone tells nothing of the others. */
static iflow_status windowed(const iflow_hparams *h, int il) {
    char global[512] = "";
    for (int i = 0; i < h->n_layer; i++) {
        const size_t used = strlen(global);
        if (!h->spec[i].window && used + 16 < sizeof global) {
            snprintf(global + used, sizeof global - used, "%s%d", used ? ", " : "", i);
        }
    }
    return iflow_fail(IFLOW_E_ARG, "scoring layer %d sees a window of %d tokens alone and cannot score the context; layers that can: %s",
                      il, h->spec[il].window, global[0] ? global : "none");
}

iflow_status iflow_score_layers(const int *wanted, size_t n_wanted, const iflow_hparams *h, int layer[IFLOW_MAX_SCORE_LAYERS], int *n) {
    /* The paper scores with layers 22..25 of 36 to 40; the same depth in thousandths, so that the product is exact. */
    static const int depth_permille[] = {550, 575, 600, 625};
    const int n_layer = h->n_layer;
    *n = 0;
    if (n_wanted && !wanted) {
        return iflow_fail(IFLOW_E_ARG, "score_layers is NULL, but n_score_layers is %zu", n_wanted);
    }
    if (n_wanted > IFLOW_MAX_SCORE_LAYERS) {
        return iflow_fail(IFLOW_E_ARG, "%zu scoring layers; at most %d are possible", n_wanted, (int)IFLOW_MAX_SCORE_LAYERS);
    }
    for (size_t i = 0; i < n_wanted; i++) {
        const int il = wanted[i] < 0 ? wanted[i] + n_layer : wanted[i]; /* INT_MIN + n_layer does not overflow */
        if (il < 0 || il >= n_layer) {
            return iflow_fail(IFLOW_E_ARG, "scoring layer %d is not there; the model has layers 0 to %d (or -%d to -1)", wanted[i],
                              n_layer - 1, n_layer);
        }
        if (h->spec[il].window) {
            return windowed(h, il);
        }
        *n = add_layer(layer, *n, il);
    }
    for (size_t i = 0; !n_wanted && i < sizeof depth_permille / sizeof *depth_permille; i++) {
        const int il = iflow_plan_whole_layer(h, n_layer * depth_permille[i] / 1000);
        if (il < 0) {
            return windowed(h, 0);
        }
        *n = add_layer(layer, *n, il);
    }
    return IFLOW_OK;
}

int iflow_score_observations(iflow_score kind) {
    switch (kind) {
    case IFLOW_SCORE_NORM:
        return IFLOW_OBSERVE_NORM;
    case IFLOW_SCORE_MASS:
        return IFLOW_OBSERVE_MASS;
    case IFLOW_SCORE_ENTROPY:
        return IFLOW_OBSERVE_ENTROPY;
    case IFLOW_SCORE_VATP:
        return IFLOW_OBSERVE_VATP;
    case IFLOW_SCORE_COMBINED:
        return IFLOW_OBSERVE_NORM | IFLOW_OBSERVE_ENTROPY | IFLOW_OBSERVE_VATP;
    }
    return 0;
}

/* Adds one observation of one layer to the sum: root where it is a sum of squares, scaled to 0..1 over the context where `scaled`. */
static void add_observation(const float *observed, bool root, bool scaled, double weight, size_t n, double *sum) {
    double low = INFINITY, high = -INFINITY;
    for (size_t k = 0; scaled && k < n; k++) {
        const double x = root ? sqrt((double)observed[k]) : (double)observed[k];
        low = x < low ? x : low;
        high = x > high ? x : high;
    }
    const double shift = scaled ? low : 0, factor = !scaled ? 1 : high > low ? 1 / (high - low) : 0;
    for (size_t k = 0; k < n; k++) {
        const double x = root ? sqrt((double)observed[k]) : (double)observed[k];
        sum[k] += (x - shift) * factor * weight;
    }
}

iflow_status iflow_score_reduce(iflow_score kind, const float *observed, int n_layers, size_t stride, size_t n_head, size_t n,
                                float *score) {
    double *sum = iflow_calloc(n, sizeof *sum);
    if (!sum) {
        return iflow_fail_memory(n * sizeof *sum);
    }
    const int wanted = iflow_score_observations(kind);
    const bool combined = kind == IFLOW_SCORE_COMBINED;
    for (int il = 0; il < n_layers; il++) {
        for (int flag = 1; flag <= wanted; flag *= 2) {
            if (wanted & flag) {
                add_observation(observed, flag == IFLOW_OBSERVE_NORM, combined, 1.0 / n_layers / (combined ? 3 : 1), n, sum);
                observed += stride;
            }
        }
    }
    for (size_t k = 0; k < n; k++) {
        score[k] = k < n_head ? 0 : (float)sum[k];
    }
    free(sum);
    return IFLOW_OK;
}

void iflow_score_weigh(const float *staleness, size_t n, float *score) {
    for (size_t k = 0; k < n; k++) {
        score[k] *= sqrtf(staleness[k]);
    }
}
