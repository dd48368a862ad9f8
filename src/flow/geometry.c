/* geometry.c - the geometries by number and by name, positions of chunks and text under each, and reordering. */
#include "flow/geometry.h"

#include "flow/names.h"

typedef enum place { AT_START, LOCAL, TO_END } place;

/* A row a geometry, in the order of enum iflow_geometry. */
static const struct {
    const char *name, *about;
    place chunks;
    bool after_longest; /* the text; else where the context ends */
} row[] = {
    {"global", "chunks one after another, text after them (the paper)", AT_START, false},
    {"hl-hp", "chunks at their local positions, text right after the longest", LOCAL, true},
    {"hl-tp", "chunks local, text where it stands globally", LOCAL, false},
    {"tl-tp", "every chunk ends where the context ends, text after it", TO_END, false},
};

enum { N_GEOMETRIES = sizeof row / sizeof *row };

const char *iflow_geometry_name(iflow_geometry geometry) {
    return (size_t)geometry < N_GEOMETRIES ? row[geometry].name : NULL;
}

const char *iflow_geometry_about(iflow_geometry geometry) {
    return (size_t)geometry < N_GEOMETRIES ? row[geometry].about : NULL;
}

static const char *name_of(size_t i) {
    return iflow_geometry_name((iflow_geometry)i);
}

iflow_status iflow_geometry_from_name(const char *name, iflow_geometry *geometry) {
    if (IFLOW_MISSING(name) || IFLOW_MISSING(geometry)) {
        return IFLOW_E_ARG;
    }
    size_t i = 0;
    const iflow_status status = iflow_name_find("geometry", name, name_of, &i);
    if (!status) {
        *geometry = (iflow_geometry)i;
    }
    return status;
}

void iflow_geometry_place(iflow_geometry geometry, int n_sink, const int *start, const int *length, size_t n_chunks, int32_t *first,
                          int32_t *text) {
    const int n = start[n_chunks - 1] + length[n_chunks - 1];
    int longest = length[0]; /* the end of whatever reaches furthest at its local position */
    for (size_t i = 0; i < n_chunks; i++) {
        const int local = i ? n_sink : 0;
        longest = local + length[i] > longest ? local + length[i] : longest;
        first[i] = row[geometry].chunks == AT_START ? start[i] : row[geometry].chunks == TO_END && i ? n - length[i] : local;
    }
    *text = row[geometry].after_longest ? longest : n;
}

void iflow_order_by_share(const int *n_selected, const int *length, size_t n_chunks, size_t *order) {
    for (size_t i = 0; i < n_chunks; i++) { /* insertion: chunks are few, and equal shares stay in order */
        size_t at = i;
        while (at > 0 && (int64_t)n_selected[order[at - 1]] * length[i] > (int64_t)n_selected[i] * length[order[at - 1]]) {
            order[at] = order[at - 1];
            at--;
        }
        order[at] = i;
    }
}
