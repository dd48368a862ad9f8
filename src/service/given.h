/* given.h - what the method given is given: the positions to recompute, or a score for each position of the context. */
#ifndef IFLOW_SERVICE_GIVEN_H
#define IFLOW_SERVICE_GIVEN_H

#include "service/settings.h"

/* One of the two is there; neither in a zero-initialised one. */
typedef struct given {
    int32_t *position; /* NULL: scores are given */
    size_t n_positions;
    float *score;
    size_t n_scores;
} given;

/* Reads {"positions": [...]} or {"scores": [...]}, whatever else the object has. E_FORMAT; E_MEMORY. Free it either way. */
iflow_status given_take(given *out, const json_t *object);

/* E_ARG: settings that go with scores were given beside positions. */
iflow_status given_check(const given *g, const ask_settings *settings, settings_form form);

/* Has params ask by it; they point into it. */
void given_use(const given *from, iflow_ask_params *params);
void given_free(given *g);

#endif
