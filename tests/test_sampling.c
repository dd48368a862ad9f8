/* test_sampling.c - how tokens are drawn: the chain against its definition, and grammars: answers are their sentences, and bad ones are
 * refused with the place. */
#include "model/grammar.h"
#include "model/sampler.h"
#include "support.h"
#include "tolerance.h"

#include <math.h>
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N_DRAWS = 20000, N_LIKELY = 8 };

static iflow_model *model;

static iflow_sampling usual(void) {
    const iflow_ask_params p = iflow_ask_default_params();
    return (iflow_sampling){.temperature = p.temperature,
                            .top_k = p.top_k,
                            .top_p = p.top_p,
                            .min_p = p.min_p,
                            .repeat_penalty = p.repeat_penalty,
                            .frequency_penalty = p.frequency_penalty,
                            .presence_penalty = p.presence_penalty};
}

static iflow_sampler *make(const iflow_sampling *how) {
    iflow_sampler *sampler = NULL;
    assert_ok(iflow_sampler_new(model->vocab, model->n_vocab, how, &sampler));
    return sampler;
}

static int32_t next(iflow_sampler *sampler, const float *logits) {
    int32_t token = -2;
    assert_ok(iflow_sampler_next(sampler, logits, &token));
    assert_true(token >= -1 && token < model->n_vocab);
    return token;
}

/* Logits that are all different: a few likely ones, the first of them the most, at odd places; the others are 60 below. */
static float *make_logits(int32_t likely[N_LIKELY]) {
    float *logits = calloc((size_t)model->n_vocab, sizeof *logits);
    assert_non_null(logits);
    for (int i = 0; i < model->n_vocab; i++) {
        logits[i] = -60.0F - (float)((i * 37) % model->n_vocab) / 1000;
    }
    for (int i = 0; i < N_LIKELY; i++) {
        likely[i] = (int32_t)((i * 31 + 17) % model->n_vocab);
        logits[likely[i]] = 2 - 0.45F * (float)i;
    }
    return logits;
}

/* ---- The chain ---------------------------------------------------------------------------------------------------------------------- */

static void test_seed(void **state) {
    (void)state;
    int32_t likely[N_LIKELY], drawn[2][64];
    float *logits = make_logits(likely);
    iflow_sampling how = usual();
    how.temperature = 1;
    size_t n_other = 0;
    for (how.seed = 0; how.seed < 5; how.seed++) {
        for (int again = 0; again < 2; again++) {
            iflow_sampler *sampler = make(&how);
            for (int i = 0; i < 64; i++) {
                drawn[again][i] = next(sampler, logits);
                n_other += again == 0 && drawn[0][i] != drawn[1][i] && how.seed > 0; /* than those of the seed before */
            }
            iflow_sampler_free(sampler);
        }
        assert_memory_equal(drawn[0], drawn[1], sizeof drawn[0]);
    }
    assert_true(n_other > 4 * 64 / 2);
    free(logits);
}

/* The most likely token, the first of several: at temperature 0, and whatever else leaves one. */
static void test_greedy(void **state) {
    (void)state;
    int32_t likely[N_LIKELY];
    float *logits = make_logits(likely);
    iflow_sampling how[] = {usual(), usual(), usual(), usual(), usual(), usual(), usual()};
    how[1].top_k = 3, how[1].seed = 9, how[1].top_p = 0.5;
    how[2].temperature = 1.5, how[2].top_k = 1;
    how[3].temperature = 1, how[3].top_p = 0;
    how[4].temperature = 2, how[4].min_p = 1;
    how[5].temperature = 1e-30;
    how[6].temperature = 5e-324; /* 0 as a float */
    for (size_t i = 0; i < sizeof how / sizeof *how; i++) {
        for (int large = 0; large < 2; large++) {
            iflow_sampler *sampler = make(&how[i]);
            logits[likely[0]] = large ? 3e38F : 2;
            for (int n = 0; n < 20; n++) {
                assert_int_equal(next(sampler, logits), likely[0]);
            }
            iflow_sampler_free(sampler);
        }
    }
    logits[likely[0]] = logits[likely[1]] = 2;
    iflow_sampler *sampler = make(&how[0]);
    assert_int_equal(next(sampler, logits), likely[0] < likely[1] ? likely[0] : likely[1]);
    iflow_sampler_free(sampler);
    free(logits);
}

/* The likely tokens' probabilities, of which `keep` are kept: the softmax of their logits over the temperature. */
static void assert_shares(const iflow_sampling *how, const float *logits, const int32_t *likely, int keep) {
    double expected[N_LIKELY], sum = 0;
    size_t count[N_LIKELY] = {0}, n_others = 0;
    for (int i = 0; i < keep; i++) {
        sum += expected[i] = exp((double)logits[likely[i]] / how->temperature);
    }
    iflow_sampler *sampler = make(how);
    for (int n = 0; n < N_DRAWS; n++) {
        const int32_t token = next(sampler, logits);
        int i = 0;
        while (i < keep && likely[i] != token) {
            i++;
        }
        if (i < keep) {
            count[i]++;
        } else {
            n_others++;
        }
    }
    iflow_sampler_free(sampler);
    assert_int_equal(n_others, 0);
    for (int i = 0; i < keep; i++) {
        const double share = (double)count[i] / N_DRAWS, wanted = expected[i] / sum;
        if (fabs(share - wanted) > TOLERANCE_DRAWS) {
            fail_msg("temperature %g: token %d of %d comes in %.4f of the draws, not %.4f", how->temperature, i, keep, share, wanted);
        }
    }
}

static void test_shares(void **state) {
    (void)state;
    int32_t likely[N_LIKELY];
    float *logits = make_logits(likely);
    static const double temperatures[] = {0.5, 1, 2};
    for (size_t t = 0; t < 3; t++) {
        iflow_sampling how = usual();
        how.temperature = temperatures[t];
        how.seed = t;
        assert_shares(&how, logits, likely, N_LIKELY);
        how.top_k = 3;
        assert_shares(&how, logits, likely, 3);
        how.top_k = 0;
        /* min_p and top_p go by the probabilities at temperature 1. Each likely token has exp(-.45) = .638 of the one before. */
        how.min_p = 0.3; /* .638^2 = .407, .638^3 = .259 */
        assert_shares(&how, logits, likely, 3);
        how.min_p = 0;
        how.top_p = 0.75; /* of 1 - .638^8 = .973 of the whole series: .372, .610, .761 */
        assert_shares(&how, logits, likely, 3);
        how.top_p = 0.4;
        assert_shares(&how, logits, likely, 2);
        how.top_k = 1;
        assert_shares(&how, logits, likely, 1);
    }
    free(logits);
}

/* Under a grammar: as likely as if the tokens that it allows were all. */
static void test_shares_of_allowed(void **state) {
    (void)state;
    static const char letters[] = "ZbNrAxqk"; /* every second one is allowed */
    int32_t likely[N_LIKELY], kept[N_LIKELY / 2];
    float *logits = make_logits(likely);
    for (int i = 0; i < N_LIKELY; i++) {
        logits[likely[i]] = -70;
    }
    for (int i = 0; i < N_LIKELY; i++) {
        logits[(int)letters[i]] = 2 - 0.3F * (float)i;
        if (i % 2) {
            kept[i / 2] = (unsigned char)letters[i];
        }
    }
    iflow_sampling how = usual();
    how.grammar = "root ::= [brxk]*";
    for (how.seed = 0; how.seed < 2; how.seed++) {
        how.temperature = how.seed ? 1.7 : 1;
        assert_shares(&how, logits, kept, N_LIKELY / 2);
    }
    how.top_k = 1; /* the first choice is never allowed */
    assert_shares(&how, logits, kept, 1);
    free(logits);
}

/* Greedy under penalties, as they are defined, token after token. */
static void test_penalties(void **state) {
    (void)state;
    enum { N_STEPS = 200 };
    static const struct {
        double repeat, frequency, presence;
        int last_n;
    } cases[] = {{1.3, 0, 0, 64}, {0.7, 0, 0, 64},    {1, 0.21, 0, 1000}, {1, 0, 0.5, 3}, {1, -0.4, 0, 64},
                 {1, 0, -1.7, 2}, {1.1, 0.3, 0.2, 7}, {10, 2, 2, 1},      {3, 1, 1, 0}};
    int32_t likely[N_LIKELY];
    float *logits = make_logits(likely);
    size_t n_changed = 0;
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        int32_t said[N_STEPS];
        iflow_sampling how = usual();
        how.repeat_penalty = cases[c].repeat, how.frequency_penalty = cases[c].frequency, how.presence_penalty = cases[c].presence;
        how.last_n = cases[c].last_n;
        iflow_sampler *sampler = make(&how);
        for (int n = 0; n < N_STEPS; n++) {
            double best = -INFINITY;
            int32_t wanted = -1;
            for (int32_t i = 0; i < model->n_vocab; i++) {
                int times = 0;
                for (int k = n - cases[c].last_n > 0 ? n - cases[c].last_n : 0; k < n; k++) {
                    times += said[k] == i;
                }
                float logit = logits[i];
                if (times) {
                    logit = logit > 0 ? logit / (float)cases[c].repeat : logit * (float)cases[c].repeat;
                    logit -= (float)times * (float)cases[c].frequency + (float)cases[c].presence;
                }
                if ((double)logit > best) {
                    best = (double)logit;
                    wanted = i;
                }
            }
            said[n] = next(sampler, logits);
            assert_int_equal(said[n], wanted);
            n_changed += wanted != likely[0];
        }
        iflow_sampler_free(sampler);
    }
    assert_true(n_changed > 5 * N_STEPS / 3);
    /* Together with a temperature: what is drawn is penalised, too. */
    iflow_sampling how = usual();
    how.temperature = 1, how.presence_penalty = 2, how.frequency_penalty = 2, how.last_n = 100000;
    iflow_sampler *sampler = make(&how);
    size_t count[N_LIKELY] = {0};
    for (int n = 0; n < 160; n++) {
        const int32_t token = next(sampler, logits);
        for (int i = 0; i < N_LIKELY; i++) {
            count[i] += token == likely[i];
        }
    }
    for (int i = 0; i < N_LIKELY; i++) { /* their logits are level soon: without, the last has 3 of 160 */
        assert_in_range(count[i], 10, 40);
    }
    iflow_sampler_free(sampler);
    free(logits);
}

/* ---- Grammars ----------------------------------------------------------------------------------------------------------------------- */

static const char document[] = "The red lighthouse at Cape Doran was built in 1871 by Ilse Marn.";

static iflow_context *make_context(const iflow_model *of) {
    iflow_context *ctx = NULL;
    assert_ok(iflow_context_new(of, NULL, &IFLOW_PARAMS(iflow_context_params, .n_threads = 1, .fillers = IFLOW_NO_FILLERS), &ctx));
    assert_ok(iflow_context_add_text(ctx, document, strlen(document), 0));
    return ctx;
}

static const struct {
    const char *grammar, *regex;
} sentences[] = {
    {"root ::= \"yes\" | \"no\"", "^(yes|no)$"},
    {"root ::= [0-9]{3} \"-\" [a-f]{2,4}", "^[0-9]{3}-[a-f]{2,4}$"},
    {"root ::= \"[\" (item (\", \" item){0,5})? \"]\"\nitem ::= digit+ # a number\ndigit ::= [0-9]\n", "^\\[([0-9]+(, [0-9]+){0,5})?\\]$"},
    {"root ::= \"\\u00e9\" [\\u20ac\\U0001F9D9x]{2,4} \"\xc3\xbc\"", "^\xc3\xa9(\xe2\x82\xac|\xf0\x9f\xa7\x99|x){2,4}\xc3\xbc$"},
    {"root ::= \"\\\"\" [^\"\\\\]{0,9} \"\\\"\"", "^\"[^\"\\\\]*\"$"},
    {"root ::= ( [a-z]* \" \"? ){2} \"!\"", "^([a-z]* ?){2}!$"},
    {"root ::= .{4} \".\"", "^.*\\.$"},
    {"root ::= \"\" | \"a\" root \"b\"", "^a*b*$"},
    {"root ::= [\\x09\\t\\r\\n\\\\\\[\\]-]{3}", NULL},
    {"root ::= \"a\"{0} [^a-z] {2} .?", NULL},
    {"# nothing but this\nroot::=[^]\"x\"\r\n\r\nunused-1 ::= ( \"y\" |\n \"z\" )\r", "^x$"},
};
enum { N_SENTENCES = sizeof sentences / sizeof *sentences };

/* Answers over a model of random weights, which knows nothing of grammars, are sentences. */
static void test_sentences(void **state) {
    (void)state;
    iflow_context *ctx = make_context(model);
    size_t n_whole = 0;
    for (size_t i = 0; i < N_SENTENCES; i++) {
        regex_t regex;
        assert_true(!sentences[i].regex || regcomp(&regex, sentences[i].regex, REG_EXTENDED | REG_NOSUB) == 0);
        for (uint64_t seed = 0; seed < 12; seed++) {
            iflow_answer *answer = NULL;
            iflow_ask_params params = iflow_ask_default_params();
            params.question = "Who built it?";
            params.grammar = sentences[i].grammar;
            params.seed = seed;
            params.temperature = seed % 4 ? (double)(seed % 4) : 0;
            params.repeat_penalty = seed % 3 == 2 ? 1.2 : 1;
            params.top_p = seed % 2 ? 0.9 : 1;
            params.max_tokens = 200;
            assert_ok(seed % 2 && seed > 1 ? iflow_context_follow_up(ctx, &params, &answer) : iflow_context_ask(ctx, &params, &answer));
            assert_int_equal(iflow_utf8_check(answer->text, strlen(answer->text)), strlen(answer->text));
            if (answer->finish == IFLOW_FINISH_STOP && sentences[i].regex && regexec(&regex, answer->text, 0, NULL, 0) != 0) {
                fail_msg("'%s' is no sentence of %s", answer->text, sentences[i].grammar);
            }
            n_whole += answer->finish == IFLOW_FINISH_STOP;
            iflow_answer_free(answer);
        }
        if (sentences[i].regex) {
            regfree(&regex);
        }
    }
    assert_true(n_whole > N_SENTENCES * 12 / 2);
    iflow_context_free(ctx);
}

static size_t n_warnings;

static void on_log(iflow_log_level level, const char *message, void *user) {
    (void)user;
    n_warnings += level == IFLOW_LOG_WARN && strstr(message, "before its grammar is complete");
}

static void test_ends(void **state) {
    (void)state;
    static const struct {
        const char *grammar, *text;
        size_t n_warnings;
    } cases[] = {{"root ::= \"ab\"", "ab", 0},
                 {"root ::= \"\"", "", 0},
                 {"root ::= ", "", 0},
                 {"root ::= \"\\x00\"", "", 1},
                 {"root ::= \"ab\" [\\x00]", "ab", 1}};
    iflow_context *ctx = make_context(model);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        for (int sampled = 0; sampled < 2; sampled++) {
            iflow_answer *answer = NULL;
            iflow_ask_params params = iflow_ask_default_params();
            params.question = "Who built it?";
            params.grammar = cases[i].grammar;
            params.temperature = sampled;
            n_warnings = 0;
            iflow_set_log(on_log, NULL);
            assert_ok(iflow_context_ask(ctx, &params, &answer));
            iflow_set_log(NULL, NULL);
            assert_string_equal(answer->text, cases[i].text);
            assert_int_equal(answer->finish, IFLOW_FINISH_STOP);
            assert_int_equal(answer->stopped_by, -1);
            assert_int_equal(n_warnings, cases[i].n_warnings);
            iflow_answer_free(answer);
        }
    }
    /* It goes on after that, and an answer is checked by what full prefill says without a grammar. */
    iflow_answer *answer = NULL;
    iflow_ask_params params = iflow_ask_default_params();
    iflow_fidelity like = {0};
    params.question = "Who built it?";
    params.grammar = "root ::= \"ab\"";
    assert_ok(iflow_context_ask(ctx, &params, &answer));
    assert_ok(iflow_context_verify(ctx, &params, answer, &like));
    assert_int_equal(like.n_tokens, answer->n_generated);
    iflow_answer_free(answer);
    iflow_context_free(ctx);
}

/* Greedy looks at the grammar only where the best token is not allowed: the best of all that are, all the same. */
static void test_best_allowed(void **state) {
    (void)state;
    float *logits = calloc((size_t)model->n_vocab, sizeof *logits);
    assert_non_null(logits);
    iflow_sampling how = usual();
    how.grammar = "root ::= [a-m ]{3,40}";
    size_t n_said = 0, n_first = 0;
    uint32_t random = 1;
    for (int round = 0; round < 20; round++) {
        iflow_sampler *sampler = make(&how);
        size_t n_characters = 0;
        for (int step = 0; step < 45; step++) {
            int32_t best = -1, first = 0;
            for (int32_t i = 0; i < model->n_vocab; i++) {
                char *piece = NULL;
                random = random * 1664525U + 1013904223U;
                logits[i] = (float)(random >> 8) / 1e6F;
                if (i >= 'a' && i <= 'm' && round % 2) {
                    logits[i] += 20; /* mostly the best of all */
                }
                assert_ok(iflow_detokenize(model, &i, 1, &piece));
                const size_t n = strlen(piece);
                const bool end = iflow_token_is_end(model, i);
                const bool fits = end ? n_characters >= 3 : n && strspn(piece, "abcdefghijklm ") == n && n_characters + n <= 40;
                best = fits && (best < 0 || logits[i] > logits[best]) ? i : best;
                first = logits[i] > logits[first] ? i : first;
                free(piece);
            }
            const int32_t got = next(sampler, logits);
            assert_int_equal(got, best);
            if (iflow_token_is_end(model, got)) {
                break;
            }
            char *piece = NULL;
            assert_ok(iflow_detokenize(model, &got, 1, &piece));
            n_characters += strlen(piece);
            free(piece);
            n_said++;
            n_first += got == first;
        }
        iflow_sampler_free(sampler);
    }
    assert_true(n_first > 20 && n_said - n_first > 20); /* both ways were gone */
    free(logits);
}

static const struct {
    const char *grammar, *where, *what;
} bad[] = {
    {"", "root", "no rule root"},
    {"  # nothing\n", "root", "no rule root"},
    {"a ::= \"b\"", "root", "no rule root"},
    {"root ::= a\nb ::= \"x\"", "line 1, column 10", "no rule a"},
    {"root ::= \"a", "line 1, column 10", "not closed"},
    {"root ::= \"a\n\"\nx", "line 3, column 2", "::="},
    {"root ::= [a", "line 1, column 10", "not closed"},
    {"root ::= [a-", "line 1, column 10", "not closed"},
    {"root ::= [z-a]", "line 1, column 11", "ends before"},
    {"root ::= (\"a\"", "line 1, column 10", "not closed"},
    {"root ::= (\"a\" ]", "line 1, column 15", "a ) is expected"},
    {"root ::= \"a\")", "line 1, column 13", "no part of a rule"},
    {"root ::= \"\xc3\xa9\" \"\xe2\x82\xac\" ?\n  ; x", "line 2, column 3", "name"},
    {"root = \"a\"", "line 1, column 6", "::="},
    {"root ::= \"a\"\nroot ::= \"b\"", "line 2, column 1", "already"},
    {"root ::= *", "line 1, column 10", "nothing before"},
    {"root ::= \"\"+", "line 1, column 12", "nothing before"},
    {"root ::= \"a\"{", "line 1, column 14", "number"},
    {"root ::= \"a\"{2", "line 1, column 15", "} is expected"},
    {"root ::= \"a\"{5,2}", "line 1, column 13", "less than the least"},
    {"root ::= \"a\"{99999999999999999999}", "line 1, column 14", "too large"},
    {"root ::= \"a\"{2001}", "line 1, column 13", "2000"},
    {"root ::= (\"a\"{50}){50}", "line 1, column 19", NULL},
    {"root ::= ((\"a\"?){0,60}){0,60}", "line 1, column 24", "2000"},
    {"root ::= \"\\q\"", "line 1, column 11", "followed by none"},
    {"root ::= \"\\", "line 1, column 11", "followed by none"},
    {"root ::= \"\\x1\"", "line 1, column 11", "2 hexadecimal"},
    {"root ::= \"\\u12g4\"", "line 1, column 11", "4 hexadecimal"},
    {"root ::= \"\\U0000", "line 1, column 11", "8 hexadecimal"},
    {"root ::= <", "line 1, column 10", "not closed"},
    {"root ::= <nothing>", "line 1, column 10", "one token"},
    {"root ::= !x", "line 1, column 11", "token"},
    {"root ::= <[99999999]>", "line 1, column 10", "number of a token"},
    {"root ::= <[99999999999]>", "line 1, column 10", "number of a token"},
    {"root ::= <[1>", "line 1, column 10", "number of a token"},
    {"root ::= \"\xff\"", "line 1, column 11", "UTF-8"},
    {"root ::= \"a\" \xe2\x82", "line 1, column 14", "UTF-8"},
    {"root ::= root \"a\"", "root", "begins with itself"},
    {"root ::= a \"x\"\na ::= b | \"c\"\nb ::= a \"d\" | \"e\"", NULL, "begins with itself"},
    {"root ::= e root \"a\" | \"b\"\ne ::= f\nf ::= \"\"", "root", "begins with itself"}, /* libllama goes on for ever */
    {"root ::= x root \"a\" | \"b\"\nx ::= y y\ny ::= z? z?\nz ::= \"q\"", "root", "begins with itself"},
    {"root ::= a_b", "line 1, column 11", "no part"},
};

static void test_bad_grammars(void **state) {
    (void)state;
    iflow_context *ctx = make_context(model);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        iflow_answer *answer = NULL;
        iflow_ask_params params = iflow_ask_default_params();
        params.question = "Who built it?";
        params.grammar = bad[i].grammar;
        const iflow_status status = iflow_context_ask(ctx, &params, &answer);
        if (!bad[i].what) { /* 50 times 50 in rules of their own are well */
            assert_ok(status);
        } else if (status != IFLOW_E_ARG || !strstr(iflow_error_message(), bad[i].what) ||
                   (bad[i].where && !strstr(iflow_error_message(), bad[i].where))) {
            fail_msg("%s: status %d, not '%s' and '%s' in: %s", bad[i].grammar, (int)status, bad[i].where, bad[i].what,
                     iflow_error_message());
        }
        iflow_answer_free(answer);
    }
    iflow_context_free(ctx);
}

static iflow_status check_repeated(const char *before, const char *one, size_t n, const char *after) {
    iflow_buffer text = {0};
    assert_ok(iflow_buffer_add(&text, before, strlen(before)));
    for (size_t i = 0; i < n; i++) {
        assert_ok(iflow_buffer_add(&text, one, strlen(one)));
    }
    assert_ok(iflow_buffer_add(&text, after, strlen(after)));
    const iflow_status status = iflow_grammar_check(model, text.text);
    iflow_buffer_free(&text);
    return status;
}

/* A grammar of n rules, root and r1, r2, ...: in each, @ stands for the next one; then `last`. */
static iflow_status check_chain(const char *one, size_t n, const char *last) {
    iflow_buffer text = {0};
    for (size_t i = 0; i <= n; i++) {
        char *begins = i ? iflow_format("r%zu ::= ", i) : iflow_strdup("root ::= "), *following = iflow_format("r%zu", i + 1);
        assert_non_null(begins);
        assert_non_null(following);
        assert_ok(iflow_buffer_add(&text, begins, strlen(begins)));
        for (const char *c = i == n ? last : one; *c; c++) {
            assert_ok(*c == '@' ? iflow_buffer_add(&text, following, strlen(following)) : iflow_buffer_add(&text, c, 1));
        }
        assert_ok(iflow_buffer_add(&text, "\n", 1));
        free(begins), free(following);
    }
    iflow_status status = iflow_grammar_check(model, text.text);
    if (!status) { /* and libllama takes it */
        iflow_sampling how = usual();
        how.grammar = text.text;
        iflow_sampler_free(make(&how));
    }
    iflow_buffer_free(&text);
    return status;
}

#define assert_refused(status, what)                                                                                                       \
    do {                                                                                                                                   \
        const iflow_status refused_ = (status);                                                                                            \
        if (refused_ != IFLOW_E_ARG || !strstr(iflow_error_message(), (what))) {                                                           \
            fail_msg("line %d: status %d, not '%s' in: %s", __LINE__, (int)refused_, (what), iflow_error_message());                       \
        }                                                                                                                                  \
    } while (0)

/* What would take libllama's stack, all memory or all time. */
static void test_large_grammars(void **state) {
    (void)state;
    assert_refused(check_repeated("root ::= ", "(", 100000, ""), "parentheses");
    assert_ok(check_repeated("root ::= ((((((((((\"a\"", ")", 10, ""));
    assert_refused(check_repeated("root ::= \"", "0123456789", 1000, "\"{2000}"), "million");
    assert_refused(check_repeated("root ::= [", "0123456789", 1000, "]{0,2000}"), "million");
    assert_refused(check_repeated("root ::= \"", "0123456789", 200000, "\""), "1048576");
    assert_refused(check_repeated("root ::= ", "n", 600, ""), "512 bytes");
    assert_refused(check_chain("@", 20000, "\"a\""), "16384 rules");
    assert_refused(check_chain("@", 10000, "\"a\""), "too many other rules");
    assert_refused(check_chain("@ \"x\" | @ \"y\"", 40, "\"a\""), "too many other rules"); /* each twice: 2^40 ways */
    assert_refused(check_chain("@ \"x\" | @ \"y\"", 16, "\"a\""), "8192 ways");
    assert_ok(check_chain("@ \"x\" | @ \"y\"", 10, "\"a\""));
    assert_ok(check_chain("@ | \"x\"", 1000, "\"a\""));
    assert_refused(check_chain("(@ | \"x\"?){0,20}", 50, "\"a\""), "8192 ways");
    assert_ok(check_chain("(@ | \"x\"?){0,20}", 2, "\"a\""));
    assert_refused(check_chain("@ @", 150, ""), "8192 ways");
}

/* Grammars with random changes: what passes the check, libllama takes, and can follow. */
static void test_changed_grammars(void **state) {
    (void)state;
    static const char put[] = "\"\"[]()*+?{}|<>!.^-\\ \n#:=0129,axr";
    float *logits = calloc((size_t)model->n_vocab, sizeof *logits);
    assert_non_null(logits);
    uint32_t random = 7;
    size_t n_passed = 0, n_refused = 0;
    for (int round = 0; round < 3000; round++) {
        char *text = strdup(sentences[round % N_SENTENCES].grammar);
        assert_non_null(text);
        const size_t n = strlen(text);
        for (int change = 0; change < 1 + (round % 5 == 0); change++) {
            random = random * 1664525U + 1013904223U;
            text[(random >> 8) % n] = put[(random >> 20) % (sizeof put - 1)];
        }
        if (iflow_grammar_check(model, text)) {
            n_refused++;
        } else {
            iflow_sampling how = usual();
            how.grammar = text;
            iflow_sampler *sampler = make(&how);
            for (int step = 0; step < 6; step++) {
                for (int i = 0; i < model->n_vocab; i++) {
                    random = random * 1664525U + 1013904223U;
                    logits[i] = (float)(random >> 8) / 1e6F;
                }
                const int32_t token = next(sampler, logits);
                if (token < 0 || iflow_token_is_end(model, token)) {
                    break;
                }
            }
            iflow_sampler_free(sampler);
            n_passed++;
        }
        free(text);
    }
    if (n_passed < 300 || n_refused < 300) {
        fail_msg("%zu passed, %zu were refused", n_passed, n_refused);
    }
    free(logits);
}

/* ---- Numbers out of range ----------------------------------------------------------------------------------------------------------- */

static void test_ranges(void **state) {
    (void)state;
    const iflow_ask_params good = iflow_ask_default_params();
    iflow_context *ctx = make_context(model);
    iflow_answer *answer = NULL;
    iflow_ask_params params = good;
    params.question = "Who?";
    params.max_tokens = 2;
    assert_ok(iflow_context_ask(ctx, &params, &answer));
    iflow_answer_free(answer);
    answer = NULL;
#define REFUSED(field, wrong)                                                                                                              \
    do {                                                                                                                                   \
        iflow_ask_params p = params;                                                                                                       \
        p.field = (wrong);                                                                                                                 \
        assert_refused(iflow_context_ask(ctx, &p, &answer), #field);                                                                       \
        assert_refused(iflow_context_follow_up(ctx, &p, &answer), #field);                                                                 \
    } while (0)
    REFUSED(temperature, -0.1);
    REFUSED(temperature, NAN);
    REFUSED(temperature, INFINITY);
    REFUSED(top_k, -1);
    REFUSED(top_p, -0.1);
    REFUSED(top_p, 1.1);
    REFUSED(top_p, NAN);
    REFUSED(min_p, -0.1);
    REFUSED(min_p, 2);
    REFUSED(repeat_penalty, 0);
    REFUSED(repeat_penalty, 11);
    REFUSED(repeat_penalty, NAN);
    REFUSED(frequency_penalty, 2.1);
    REFUSED(frequency_penalty, -INFINITY);
    REFUSED(presence_penalty, -2.1);
    REFUSED(presence_penalty, NAN);
    REFUSED(penalty_last_n, -2);
    REFUSED(penalty_last_n, (1 << 20) + 1);
#undef REFUSED
    assert_null(answer);
    iflow_context_free(ctx);
}

static int set_up(void **state) {
    (void)state;
    return iflow_model_load(support_tiny_model("llama"), NULL, &model);
}

static int tear_down(void **state) {
    (void)state;
    iflow_model_free(model);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_seed),
        cmocka_unit_test(test_greedy),
        cmocka_unit_test(test_shares),
        cmocka_unit_test(test_shares_of_allowed),
        cmocka_unit_test(test_penalties),
        cmocka_unit_test(test_sentences),
        cmocka_unit_test(test_ends),
        cmocka_unit_test(test_best_allowed),
        cmocka_unit_test(test_bad_grammars),
        cmocka_unit_test(test_large_grammars),
        cmocka_unit_test(test_changed_grammars),
        cmocka_unit_test(test_ranges),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
