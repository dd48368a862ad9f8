/* calibration.h - finds by fidelity what suits a model, a choice at a time, and from which ratio on it can be trusted. */
#ifndef IFLOW_SERVICE_CALIBRATION_H
#define IFLOW_SERVICE_CALIBRATION_H

#include "service/chunks.h"
#include "service/stats.h"

enum {
    CALIBRATION_MIN_QUESTIONS = 6, /* fewer tell no settings apart: all lie on one side too often by chance */
    CALIBRATION_TOKENS = 24,       /* of an answer that are compared: their logits are kept, half a megabyte each */
    CALIBRATION_CHUNKS = 4,        /* of documents that stand in a question's context */
    CALIBRATION_RATIOS = 6,
    CALIBRATION_SCORES = 5,
    CALIBRATION_METHODS = 4,
    CALIBRATION_MAX_SETS = 5,
    CALIBRATION_MAX_MEASURED = 32,
};

/* An agreement that is trusted, and the ratios that are tried. */
extern const double calibration_trusted;
extern const double calibration_ratio[CALIBRATION_RATIOS];

typedef struct calibration_item {
    char *question;
    chunk_list chunks;
    int32_t *token; /* [n_tokens] full prefill's answer */
    float *logits;  /* [n_tokens, n_vocab]: what it was predicted by */
    size_t n_tokens;
} calibration_item;

/* A set of layers that score. */
typedef struct calibration_layers {
    const char *name;
    int layer[IFLOW_MAX_SCORE_LAYERS];
    size_t n; /* 0: the default's */
} calibration_layers;

/* Everything that is chosen. */
typedef struct calibration_setting {
    iflow_method method;
    iflow_score score;
    size_t set;  /* of layers */
    int fillers; /* texts that chunks are prefilled after */
    bool uncorrected, no_drift;
    double ratio;
} calibration_setting;

/* A setting and what was measured, question by question. */
typedef struct calibration_measured {
    calibration_setting what;
    const char *stage;
    double *kl, *top1;     /* [n_items] */
    stats_mean difference; /* of KL, to what was the best before */
    bool compared, adopted;
} calibration_measured;

typedef struct calibration calibration;
/* Called before each answer; what: the setting that is asked with, NULL for full prefill. */
typedef void (*calibration_progress)(calibration *c, const calibration_setting *what, void *user);

struct calibration {
    /* Filled by the caller. Both contexts note how stale tokens will be, as two of the methods go by it. */
    iflow_context *bare, *filled; /* whose chunks are prefilled without fillers, and with n_fillers, the default */
    int n_fillers;
    int corrects;           /* fillers of the chunks that the contexts' correction is for; negative: there is none */
    int n_layer;            /* of the model */
    const int *score_layer; /* [n_layer], as in iflow_model_info */
    size_t n_vocab;         /* of the model */
    calibration_item *item; /* [n_items]; owned */
    size_t n_items;
    calibration_progress progress; /* NULL: nobody listens */
    void *user;

    /* What was found. */
    calibration_layers set[CALIBRATION_MAX_SETS];
    size_t n_sets;
    calibration_measured done[CALIBRATION_MAX_MEASURED];
    size_t n_done, best;              /* index of the setting that is the best */
    size_t ratio[CALIBRATION_RATIOS]; /* index of the best setting at each of calibration_ratio */
    size_t trusted;                   /* of calibration_ratio, the least that can be trusted; CALIBRATION_RATIOS: none */
    double use;                       /* the ratio to ask with */
    const calibration_item *failed;   /* the item at which calibration_answer() failed */
};

/* Makes the sets of layers. */
void calibration_begin(calibration *c);
/* How many settings calibration_search() measures. */
size_t calibration_settings(const calibration *c);

/* Has the model write a question over each of `limit` chunks, which stand evenly apart; the chunk's neighbours are in its context. Chunks
 * for which the model writes nothing are left out. progress: called before each question; NULL: nobody listens. */
iflow_status calibration_write_items(calibration *c, const chunk_list *all, size_t limit,
                                     void (*progress)(size_t done, size_t total, void *user), void *user);

/* Full prefill's answers; items that it answers with nothing, or that do not fit, are taken out. */
iflow_status calibration_answer(calibration *c);

/* Measures settings, a choice at a time: the chunks, the correction, drift, layers, scores, methods; then the best at every ratio. Fewer
 * than CALIBRATION_MIN_QUESTIONS items change no default. */
iflow_status calibration_search(calibration *c);

/* The mean agreement of what was measured at ratio i of calibration_ratio. */
double calibration_agreement(const calibration *c, size_t i);

void calibration_free(calibration *c);

#endif
