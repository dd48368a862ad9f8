/* names.c - methods, scores, geometries and ends of answers by name, with a line on each. */
#include "base/base.h"

#include <string.h>

typedef struct entry {
    const char *name, *about;
    int traits; /* of a method */
} entry;

enum { BY_RATIO = 1, LOOKS = 2, FORESEES = 4, SCORES = 8, DRIFTS = 16 };

static const entry method_entry[] = {
    [IFLOW_METHOD_INFOFLOW] = {"infoflow", "recompute the tokens that the question's attention scores best (the paper)",
                               BY_RATIO | LOOKS | SCORES | DRIFTS},
    [IFLOW_METHOD_FULL] = {"full", "prefill the whole sequence: the reference for quality and time", 0},
    [IFLOW_METHOD_NONE] = {"none", "reuse the caches as they are, recompute nothing", 0},
    [IFLOW_METHOD_EPIC] = {"epic", "recompute the first 4 tokens of every chunk", 0},
    [IFLOW_METHOD_EPIC_RATIO] = {"epic-ratio", "recompute the first part of every chunk", BY_RATIO},
    [IFLOW_METHOD_CACHEBLEND] = {"cacheblend", "recompute the tokens whose V changes most at layer 1; pays one layer more",
                                 BY_RATIO | SCORES},
    [IFLOW_METHOD_RANDOM] = {"random", "recompute tokens drawn at random: what a score must beat", BY_RATIO},
    [IFLOW_METHOD_FORESEEN] = {"foreseen", "recompute the tokens foreseen to be stalest when they were ingested (ours)",
                               BY_RATIO | FORESEES | SCORES | DRIFTS},
    [IFLOW_METHOD_UNION] = {"union", "foreseen's choice for a part of the budget, infoflow's for the rest (ours)",
                            BY_RATIO | LOOKS | FORESEES | SCORES | DRIFTS},
    [IFLOW_METHOD_PRODUCT] = {"product", "infoflow's score times the root of the foreseen staleness (ours)",
                              BY_RATIO | LOOKS | FORESEES | SCORES | DRIFTS},
};

static const entry score_entry[] = {
    [IFLOW_SCORE_NORM] = {"norm", "norm over the queries of the attention averaged over heads (the paper)", 0},
    [IFLOW_SCORE_MASS] = {"mass", "sum over the queries of the attention averaged over heads", 0},
    [IFLOW_SCORE_ENTROPY] = {"entropy", "what the token adds to the entropy of the queries' attention", 0},
    [IFLOW_SCORE_VATP] = {"vatp", "attention times the length of the token's value, summed over heads and queries", 0},
    [IFLOW_SCORE_COMBINED] = {"combined", "mean of norm, entropy and vatp, each scaled to 0..1 a layer", 0},
};

static const entry geometry_entry[] = {
    [IFLOW_GEOMETRY_GLOBAL] = {"global", "chunks one after another, text behind them (the paper)", 0},
    [IFLOW_GEOMETRY_HL_HP] = {"hl-hp", "chunks at their local positions, text right behind the longest", 0},
    [IFLOW_GEOMETRY_HL_TP] = {"hl-tp", "chunks local, text where it stands globally", 0},
    [IFLOW_GEOMETRY_TL_TP] = {"tl-tp", "every chunk ends where the context ends, text behind it", 0},
};

enum { N_GEOMETRIES = sizeof geometry_entry / sizeof *geometry_entry };
enum { N_METHODS = sizeof method_entry / sizeof *method_entry, N_SCORES = sizeof score_entry / sizeof *score_entry };

const char *iflow_method_name(iflow_method method) {
    return (size_t)method < N_METHODS ? method_entry[method].name : NULL;
}

const char *iflow_method_about(iflow_method method) {
    return (size_t)method < N_METHODS ? method_entry[method].about : NULL;
}

static bool has(iflow_method method, int trait) {
    return (size_t)method < N_METHODS && (method_entry[method].traits & trait);
}

bool iflow_method_has_ratio(iflow_method method) {
    return has(method, BY_RATIO);
}

bool iflow_method_looks(iflow_method method) {
    return has(method, LOOKS);
}

bool iflow_method_foresees(iflow_method method) {
    return has(method, FORESEES);
}

bool iflow_method_drifts(iflow_method method) {
    return has(method, DRIFTS);
}

bool iflow_method_scores(iflow_method method) {
    return has(method, SCORES);
}

const char *iflow_score_name(iflow_score score) {
    return (size_t)score < N_SCORES ? score_entry[score].name : NULL;
}

const char *iflow_score_about(iflow_score score) {
    return (size_t)score < N_SCORES ? score_entry[score].about : NULL;
}

const char *iflow_geometry_name(iflow_geometry geometry) {
    return (size_t)geometry < N_GEOMETRIES ? geometry_entry[geometry].name : NULL;
}

const char *iflow_geometry_about(iflow_geometry geometry) {
    return (size_t)geometry < N_GEOMETRIES ? geometry_entry[geometry].about : NULL;
}

static const char *const finish_name[] = {[IFLOW_FINISH_STOP] = "stop",
                                          [IFLOW_FINISH_LENGTH] = "length",
                                          [IFLOW_FINISH_CONTEXT] = "context",
                                          [IFLOW_FINISH_CANCELLED] = "cancelled"};

const char *iflow_finish_name(iflow_finish finish) {
    return (size_t)finish < sizeof finish_name / sizeof *finish_name ? finish_name[finish] : NULL;
}

/* Index of a name; fails listing what there is. */
static iflow_status find(const entry *table, size_t n, const char *kind, const char *name, size_t *index) {
    iflow_buffer known = {0};
    for (size_t i = 0; i < n; i++) {
        if (!strcmp(name, table[i].name)) {
            iflow_buffer_free(&known);
            *index = i;
            return IFLOW_OK;
        }
        if (iflow_buffer_add(&known, i ? ", " : "", i ? 2 : 0) || iflow_buffer_add(&known, table[i].name, strlen(table[i].name))) {
            break;
        }
    }
    const iflow_status status = iflow_fail(IFLOW_E_ARG, "no %s '%s' (these are: %s)", kind, name, known.text ? known.text : "");
    iflow_buffer_free(&known);
    return status;
}

iflow_status iflow_method_from_name(const char *name, iflow_method *method) {
    if (IFLOW_MISSING(name) || IFLOW_MISSING(method)) {
        return IFLOW_E_ARG;
    }
    size_t i = 0;
    const iflow_status status = find(method_entry, N_METHODS, "method", name, &i);
    if (!status) {
        *method = (iflow_method)i;
    }
    return status;
}

iflow_status iflow_score_from_name(const char *name, iflow_score *score) {
    if (IFLOW_MISSING(name) || IFLOW_MISSING(score)) {
        return IFLOW_E_ARG;
    }
    size_t i = 0;
    const iflow_status status = find(score_entry, N_SCORES, "score", name, &i);
    if (!status) {
        *score = (iflow_score)i;
    }
    return status;
}

iflow_status iflow_geometry_from_name(const char *name, iflow_geometry *geometry) {
    if (IFLOW_MISSING(name) || IFLOW_MISSING(geometry)) {
        return IFLOW_E_ARG;
    }
    size_t i = 0;
    const iflow_status status = find(geometry_entry, N_GEOMETRIES, "geometry", name, &i);
    if (!status) {
        *geometry = (iflow_geometry)i;
    }
    return status;
}
