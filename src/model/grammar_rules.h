/* grammar_rules.h - the rules of a grammar as its parser leaves them and its analysis takes them. */
#ifndef IFLOW_MODEL_GRAMMAR_RULES_H
#define IFLOW_MODEL_GRAMMAR_RULES_H

#include "base/base.h"

typedef enum iflow_element_kind {
    IFLOW_ELEMENT_TERMINAL,  /* one character or token; value: elements that libllama keeps for it */
    IFLOW_ELEMENT_REFERENCE, /* value: number of a rule */
    IFLOW_ELEMENT_OR,        /* another alternative begins */
} iflow_element_kind;

typedef struct iflow_element {
    iflow_element_kind kind;
    uint32_t value;
} iflow_element;

/* Repetitions and parentheses have rules of their own, as libllama makes them: these have the name of the rule around them. */
typedef struct iflow_rule {
    iflow_element *element;
    size_t n, capacity;
    const char *name; /* where it stands in the text: n_name bytes */
    size_t n_name;
    bool defined;
} iflow_rule;

typedef struct iflow_rules {
    iflow_rule *rule;
    size_t n, capacity;
} iflow_rules;

/* grammar_analysis.c: that following the rules from their beginning ends, and soon. E_ARG, naming a rule; E_MEMORY; E_CANCELLED. */
iflow_status iflow_rules_check(const iflow_rules *rules);

#endif
