/* score.c - scoring layers. */
#include "flow/score.h"

#include <stdio.h>
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
