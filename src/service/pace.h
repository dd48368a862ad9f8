/* pace.h - how far a long work over sources is, and how long the rest will take: arithmetic without a clock. */
#ifndef IFLOW_SERVICE_PACE_H
#define IFLOW_SERVICE_PACE_H

/* Work goes over `whole` bytes. Some of them are computed, which takes time; others are passed over in none: they are stored already, or
 * cannot be used. The rest is expected to be like the last stretch that was passed: an interrupted run that goes on passes over what it
 * computed before and then computes all; a run over documents of which few are new computes some here and there. Zero-initialised but for
 * whole is the beginning. */
typedef struct pace {
    double whole;                          /* bytes; 0: not known */
    double passed;                         /* bytes, from the beginning on */
    double computed, seconds;              /* of them, bytes that were computed, and how long that took */
    double recent_passed, recent_computed; /* the same, what is long past counting less */
} pace;

/* Bytes up to `position` are passed; n_computed of those since the last call were computed, in so many seconds. A position that lies
 * before the last one counts as that. */
void pace_pass(pace *p, double position, double n_computed, double seconds);

/* The share that is passed, 0 to 1; negative: not known. */
double pace_share(const pace *p);

/* Seconds that the rest will take; negative: not known. */
double pace_left(const pace *p);

#endif
