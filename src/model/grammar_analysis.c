/* grammar_analysis.c - whether following a grammar's rules from their beginning ends, and soon.
 *
 * libllama follows rules downward from the left until characters come. A rule that comes to stand at its own beginning keeps it there for
 * ever, and so does one that libllama's own check does not find, because rules before it are empty only through other rules. Both graphs
 * are looked at here: edges go from a rule to those that can begin it. */
#include "base/cancel.h"
#include "model/grammar.h"
#include "model/grammar_rules.h"

#include <assert.h>
#include <stdlib.h>

/* Limits. DEPTH: libllama's check calls itself so often, on the caller's stack. WORK: elements that it looks at; it forgets what it has
 * seen. PASSES: over all rules until it is known which can be empty. */
enum { DEPTH = 4096, WORK = 50000000, PASSES = 100 };

typedef struct edge {
    uint32_t to;
    bool grows; /* something is left to come after it, which libllama remembers */
} edge;

typedef struct graph {
    const iflow_rules *rules;
    bool *empty; /* [n]: whether a rule can be empty, as far as this graph looks */
    edge *edge;  /* those of rule i: from first[i] to first[i + 1] */
    size_t *first;
    uint32_t *component; /* [n]: rules that begin with one another; what a rule leads to has no greater number */
    uint32_t *order;     /* [n]: rules by component */
} graph;

static bool ends_alternative(const iflow_rule *rule, size_t i) {
    return i == rule->n || rule->element[i].kind == IFLOW_ELEMENT_OR;
}

/* Whether an alternative is nothing but rules that can be empty. direct: nothing at all. */
static bool can_be_empty(const iflow_rule *rule, const bool *empty, bool direct) {
    bool here = true;
    for (size_t i = 0; i < rule->n; i++) {
        const iflow_element *e = &rule->element[i];
        if (e->kind == IFLOW_ELEMENT_OR) {
            if (here) {
                return true;
            }
            here = true;
        } else {
            here = here && !direct && e->kind == IFLOW_ELEMENT_REFERENCE && empty[e->value];
        }
    }
    return here;
}

static iflow_status find_empty(graph *g, bool direct) {
    const size_t n = g->rules->n;
    bool more = true;
    for (int pass = 0; more; pass++) {
        if (pass == PASSES) {
            return iflow_fail(IFLOW_E_ARG, "the grammar: too many rules are empty only through other rules");
        }
        const iflow_status status = iflow_cancel_check();
        if (status) {
            return status;
        }
        more = false;
        for (size_t i = 0; i < n; i++) {
            const size_t at = pass % 2 ? i : n - 1 - i;
            if (!g->empty[at] && can_be_empty(&g->rules->rule[at], g->empty, direct)) {
                g->empty[at] = more = true;
            }
        }
    }
    return IFLOW_OK;
}

/* Counts the edges of a rule, and keeps them where there is room. */
static size_t edges_of(const graph *g, const iflow_rule *rule, edge *out) {
    size_t n = 0;
    bool begins = true;
    for (size_t i = 0; i < rule->n; i++) {
        const iflow_element *e = &rule->element[i];
        if (e->kind == IFLOW_ELEMENT_OR) {
            begins = true;
        } else if (e->kind == IFLOW_ELEMENT_TERMINAL) {
            begins = false;
        } else if (begins) {
            if (out) {
                out[n] = (edge){e->value, !ends_alternative(rule, i + 1)};
            }
            n++;
            begins = g->empty[e->value];
        }
    }
    return n;
}

/* Finds components by Tarjan's algorithm (1972), without recursion. */
static iflow_status find_components(graph *g) {
    const size_t n = g->rules->n;
    enum { INDEX, LOW, STACK, PATH, N_LISTS };
    uint32_t *list = iflow_calloc(N_LISTS * n, sizeof *list); /* index and low: from 1 on, 0 is unseen */
    size_t *next = iflow_calloc(n, sizeof *next), n_stack = 0, n_order = 0;
    uint32_t *index = list, *low = list ? list + n : NULL, *stack = list ? list + 2 * n : NULL, *path = list ? list + 3 * n : NULL;
    uint32_t n_seen = 0, n_components = 0;
    if (!list || !next) {
        free(list), free(next);
        return iflow_fail_memory(N_LISTS * n * sizeof *list);
    }
    for (size_t from = 0; from < n; from++) {
        size_t n_path = 0;
        if (!index[from]) {
            path[n_path++] = (uint32_t)from;
        }
        while (n_path) {
            const uint32_t at = path[n_path - 1];
            if (!index[at]) {
                index[at] = low[at] = ++n_seen;
                stack[n_stack++] = at;
                next[at] = g->first[at];
                g->component[at] = UINT32_MAX; /* it is on the stack */
            }
            if (next[at] < g->first[at + 1]) {
                const uint32_t to = g->edge[next[at]++].to;
                if (!index[to]) {
                    path[n_path++] = to;
                } else if (g->component[to] == UINT32_MAX) {
                    low[at] = index[to] < low[at] ? index[to] : low[at];
                }
                continue;
            }
            n_path--;
            if (n_path) {
                uint32_t *above = &low[path[n_path - 1]];
                *above = low[at] < *above ? low[at] : *above;
            }
            if (low[at] == index[at]) {
                uint32_t member = 0;
                do {
                    member = stack[--n_stack];
                    g->component[member] = n_components;
                    g->order[n_order++] = member;
                } while (member != at);
                n_components++;
            }
        }
    }
    free(list);
    free(next);
    return IFLOW_OK;
}

static void graph_free(graph *g) {
    free(g->empty);
    free(g->edge);
    free(g->first);
    free(g->component);
    free(g->order);
}

static iflow_status graph_make(graph *g, const iflow_rules *rules, bool direct) {
    const size_t n = rules->n;
    *g = (graph){.rules = rules,
                 .empty = iflow_calloc(n, sizeof *g->empty),
                 .first = iflow_calloc(n + 1, sizeof *g->first),
                 .component = iflow_calloc(n, sizeof *g->component),
                 .order = iflow_calloc(n, sizeof *g->order)};
    if (!g->empty || !g->first || !g->component || !g->order) {
        return iflow_fail_memory(n * sizeof *g->first);
    }
    iflow_status status = find_empty(g, direct);
    if (status) {
        return status;
    }
    for (size_t i = 0; i < n; i++) {
        g->first[i + 1] = g->first[i] + edges_of(g, &rules->rule[i], NULL);
    }
    g->edge = iflow_calloc(g->first[n], sizeof *g->edge);
    if (!g->edge) {
        return iflow_fail_memory(g->first[n] * sizeof *g->edge);
    }
    for (size_t i = 0; i < n; i++) {
        edges_of(g, &rules->rule[i], g->edge + g->first[i]);
    }
    return find_components(g);
}

static iflow_status refuse(const iflow_rule *rule, const char *what) {
    return iflow_fail(IFLOW_E_ARG, "the grammar: the rule %.*s %s", (int)rule->n_name, rule->name, what);
}

static const char begins_itself[] = "begins with itself (left recursion): let something else stand before it";

/* What libllama's own check goes through: no rule begins with itself, and it comes to an end soon. */
static iflow_status check_direct(const graph *g) {
    const size_t n = g->rules->n;
    double *work = iflow_calloc(2 * n, sizeof *work), sum = 0;
    iflow_status status = IFLOW_OK;
    if (!work) {
        return iflow_fail_memory(2 * n * sizeof *work);
    }
    double *depth = work + n;
    assert(g->edge);
    for (size_t k = 0; k < n && !status; k++) {
        const size_t at = g->order[k];
        const iflow_rule *rule = &g->rules->rule[at];
        work[at] = (double)rule->n + 1;
        depth[at] = 1;
        for (size_t e = g->first[at]; e < g->first[at + 1] && !status; e++) {
            const uint32_t to = g->edge[e].to;
            if (g->component[to] == g->component[at]) {
                status = refuse(rule, begins_itself);
            }
            work[at] += work[to];
            depth[at] = depth[to] + 1 > depth[at] ? depth[to] + 1 : depth[at];
        }
        sum += work[at];
        if (!status && (sum > WORK || depth[at] > DEPTH)) {
            status = refuse(rule, "begins with too many other rules, one within another");
        }
    }
    free(work);
    return status;
}

/* Alternatives of a rule that begin with a character, and those that can be empty. */
static double own_beginnings(const graph *g, const iflow_rule *rule) {
    double n = 0;
    bool begins = true;
    for (size_t i = 0; i <= rule->n; i++) {
        if (ends_alternative(rule, i)) {
            n += begins;
            begins = true;
        } else if (rule->element[i].kind == IFLOW_ELEMENT_TERMINAL) {
            n += begins;
            begins = false;
        } else {
            begins = begins && g->empty[rule->element[i].value];
        }
    }
    return n;
}

/* Through rules that can be empty, too: nothing grows for ever, and what libllama keeps at a time is bounded. */
static iflow_status check_all(const graph *g) {
    const size_t n = g->rules->n;
    double *beginnings = iflow_calloc(n, sizeof *beginnings); /* of a component, by its number */
    iflow_status status = IFLOW_OK;
    if (!beginnings) {
        return iflow_fail_memory(n * sizeof *beginnings);
    }
    assert(g->edge);
    for (size_t k = 0; k < n && !status; k++) {
        const size_t at = g->order[k];
        const iflow_rule *rule = &g->rules->rule[at];
        double *sum = &beginnings[g->component[at]];
        *sum += own_beginnings(g, rule);
        for (size_t e = g->first[at]; e < g->first[at + 1] && !status; e++) {
            const uint32_t to = g->edge[e].to;
            if (g->component[to] != g->component[at]) {
                *sum += beginnings[g->component[to]];
            } else if (g->edge[e].grows) {
                status = refuse(rule, begins_itself);
            }
        }
        if (!status && *sum > IFLOW_GRAMMAR_BEGINNINGS) {
            status = refuse(rule, "can begin in more than 8192 ways");
        }
    }
    free(beginnings);
    return status;
}

iflow_status iflow_rules_check(const iflow_rules *rules) {
    graph g = {0};
    iflow_status status = graph_make(&g, rules, true);
    status = status ? status : check_direct(&g);
    graph_free(&g);
    if (!status) {
        status = graph_make(&g, rules, false);
        status = status ? status : check_all(&g);
        graph_free(&g);
    }
    return status;
}
