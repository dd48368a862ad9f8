/* pace.c - how far a long work over sources is, and how long the rest will take: arithmetic without a clock. */
#include "service/pace.h"

#include <math.h>

/* The last stretch: what was passed this share of the whole ago counts a half. */
static const double HALF_LIFE = 0.02;

void pace_pass(pace *p, double position, double n_computed, double seconds) {
    const double n = position > p->passed ? position - p->passed : 0;
    const double done = n_computed < n ? n_computed : n; /* not more than there is: a document's share of a source is an estimate */
    const double keep = p->whole > 0 ? exp2(-n / (HALF_LIFE * p->whole)) : 1;
    p->passed += n;
    p->computed += n_computed;
    p->seconds += seconds;
    p->recent_passed = p->recent_passed * keep + n;
    p->recent_computed = p->recent_computed * keep + done;
}

double pace_share(const pace *p) {
    return p->whole <= 0 ? -1 : p->passed < p->whole ? p->passed / p->whole : 1;
}

double pace_left(const pace *p) {
    if (p->whole <= 0 || p->computed <= 0 || p->recent_passed <= 0) {
        return -1;
    }
    const double rest = p->passed < p->whole ? p->whole - p->passed : 0;
    return p->seconds / p->computed * rest * (p->recent_computed / p->recent_passed);
}
