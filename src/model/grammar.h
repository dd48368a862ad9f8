/* grammar.h - whether a grammar can be given to libllama, which prints what it refuses and does not survive all that it takes. */
#ifndef IFLOW_MODEL_GRAMMAR_H
#define IFLOW_MODEL_GRAMMAR_H

#include "model/model.h"

enum {
    IFLOW_GRAMMAR_BYTES = 1 << 20,    /* of its text */
    IFLOW_GRAMMAR_DEPTH = 128,        /* parentheses in parentheses */
    IFLOW_GRAMMAR_ELEMENTS = 1 << 20, /* characters and references, repetitions written out */
    IFLOW_GRAMMAR_RULES = 1 << 14,    /* that have a name */
    IFLOW_GRAMMAR_NAME = 512,         /* bytes of a rule's name */
    IFLOW_GRAMMAR_REPEAT = 2000,      /* libllama's own bound */
    IFLOW_GRAMMAR_BEGINNINGS = 8192   /* ways in which a rule can begin; libllama keeps them all */
};

/* Whether text is a grammar in GBNF with a rule `root` that libllama takes and can follow in bounded time and memory. E_ARG, with the line
 * and the column (in characters, both from 1) where there is one place that is wrong; E_MEMORY; E_CANCELLED. */
iflow_status iflow_grammar_check(const iflow_model *model, const char *text);

#endif
