/* nearest.c - which of several names a mistyped one was to be: by the number of letters that differ. */
#include "cli/nearest.h"

#include <string.h>

enum { LONGEST = 40 };

static size_t least(size_t a, size_t b) {
    return a < b ? a : b;
}

/* Letters left out, added, replaced or swapped with the next one, to make b of a (optimal string alignment). Both: at most LONGEST. */
static size_t distance(const char *a, size_t n_a, const char *b, size_t n_b) {
    size_t row[3][LONGEST + 1]; /* of the letters of a before the last, the last, and this one */
    for (size_t j = 0; j <= n_b; j++) {
        row[0][j] = row[1][j] = row[2][j] = j;
    }
    for (size_t i = 1; i <= n_a; i++) {
        size_t *now = row[i % 3];
        const size_t *last = row[(i + 2) % 3], *before = row[(i + 1) % 3];
        now[0] = i;
        for (size_t j = 1; j <= n_b; j++) {
            now[j] = least(least(last[j] + 1, now[j - 1] + 1), last[j - 1] + (a[i - 1] != b[j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
                now[j] = least(now[j], before[j - 2] + 1);
            }
        }
    }
    return row[n_a % 3][n_b];
}

const char *nearest(const char *word, size_t n, const char *const *names, size_t n_names) {
    const char *found = NULL;
    size_t best = n / 3 + 1; /* the first distance that is too large */
    if (n < 2 || n > LONGEST) {
        return NULL;
    }
    best = best > 1 ? best : 2;
    for (size_t i = 0; i < n_names; i++) {
        const size_t n_name = strlen(names[i]);
        const size_t d = n_name <= LONGEST ? distance(word, n, names[i], n_name) : best;
        if (d < best) {
            best = d;
            found = names[i];
        } else if (d == best && found && strcmp(found, names[i]) != 0) {
            found = NULL; /* as near as another one: only a nearer one counts from here on */
        }
    }
    return found;
}
