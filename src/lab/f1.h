/* f1.h - the answer that a generated text gives, and SQuAD's F1, exact match and containment of it. Depends on libc alone. */
#ifndef IFLOW_LAB_F1_H
#define IFLOW_LAB_F1_H

#include <stddef.h>

/* The short answer in a generated text, as the `paper` protocol reads it: a leading "answer:" and the like dropped, the
 * first line, its first piece between commas, semicolons and ideographic stops, no quotes; a leading yes or no stands alone.
 * A new string, to be freed with free(); NULL: no memory. */
char *f1_extract(const char *generated);

/* Lower case, no ASCII punctuation, no articles, single spaces. A new string; NULL: no memory. */
char *f1_normalise(const char *string);

/* F1 over the bags of words of two strings, both normalised first: 0 to 1. Empty against empty is 1. Negative: no memory. */
double f1_score(const char *answer, const char *gold);

/* The best over n gold answers; 0 for none. */
double f1_best(const char *answer, const char *const *gold, size_t n);

/* Exact match: 1 if the answer is one of n gold answers, all normalised first; else 0. Negative: no memory. */
int f1_exact(const char *answer, const char *const *gold, size_t n);

/* Containment: 1 if one of n gold answers, normalised, stands in the normalised text, not within a longer word (scripts that put no spaces
 * between words apart); else 0. A gold answer of which normalisation leaves nothing stands nowhere. Negative: no memory. */
int f1_contains(const char *generated, const char *const *gold, size_t n);

#endif
