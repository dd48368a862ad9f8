/* sampler.cpp - the next token from its logits, through libllama's chain of samplers; nothing that it throws gets out. */
#include "model/sampler.h"

#include "model/guarded.h"
#include "model/step.h"

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <llama.h>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace {

struct free_sampler {
    void operator()(llama_sampler *sampler) const {
        llama_sampler_free(sampler);
    }
};
using owned = std::unique_ptr<llama_sampler, free_sampler>;

const char *shift_name(const llama_sampler *) {
    return "shift";
}

/* Takes the largest logit from all, so that no temperature, however low, makes one infinite. */
void shift_apply(llama_sampler *, llama_token_data_array *all) {
    float largest = -FLT_MAX;
    for (size_t i = 0; i < all->size; i++) {
        all->data[i].logit = std::min(all->data[i].logit, FLT_MAX); /* a repeat penalty below 1 can make one infinite */
        largest = std::max(largest, all->data[i].logit);
    }
    for (size_t i = 0; i < all->size; i++) {
        all->data[i].logit -= largest;
    }
}

llama_sampler_i shift_functions() {
    llama_sampler_i functions{};
    functions.name = shift_name;
    functions.apply = shift_apply;
    return functions;
}

llama_sampler_i shift = shift_functions(); /* libllama wants it to be changeable, and changes nothing */

void add(const owned &chain, llama_sampler *sampler) {
    owned one(sampler);
    if (!one) {
        throw std::bad_alloc();
    }
    llama_sampler_chain_add(chain.get(), one.get());
    (void)one.release(); /* the chain's now */
}

} // namespace

struct iflow_sampler {
    const llama_vocab *vocab;
    size_t n_vocab;
    bool greedy, plain; /* plain: the largest logit is all that counts */
    owned grammar;      /* NULL: none */
    owned chain;        /* penalties; where not greedy, all others. NULL: empty */
    std::vector<llama_token_data> candidate;
    std::vector<llama_token> banned; /* in this step: their bytes would not go on as UTF-8 */
    std::string text;                /* the beginning of a character that the grammar's text ends with, 3 bytes at most */
};

namespace {

owned make_chain(const iflow_sampling *how, int n_vocab) {
    const bool penalties = how->last_n > 0 && (how->repeat_penalty != 1 || how->frequency_penalty != 0 || how->presence_penalty != 0);
    if (how->temperature <= 0 && !penalties) {
        return nullptr;
    }
    owned chain(llama_sampler_chain_init(llama_sampler_chain_default_params()));
    if (!chain) {
        throw std::bad_alloc();
    }
    if (penalties) {
        add(chain, llama_sampler_init_penalties(n_vocab, how->last_n, static_cast<float>(how->repeat_penalty),
                                                static_cast<float>(how->frequency_penalty), static_cast<float>(how->presence_penalty)));
    }
    if (how->temperature <= 0) {
        return chain;
    }
    add(chain, llama_sampler_init(&shift, nullptr));
    if (how->top_k > 0) {
        add(chain, llama_sampler_init_top_k(how->top_k));
    }
    if (how->top_p < 1) {
        add(chain, llama_sampler_init_top_p(static_cast<float>(how->top_p), 1));
    }
    if (how->min_p > 0) {
        add(chain, llama_sampler_init_min_p(static_cast<float>(how->min_p), 1));
    }
    add(chain, llama_sampler_init_temp(static_cast<float>(how->temperature)));
    add(chain, llama_sampler_init_dist(static_cast<uint32_t>(how->seed ^ how->seed >> 32)));
    return chain;
}

/* The first of the largest. */
llama_token largest_of(const float *logits, size_t n) {
    return static_cast<llama_token>(std::max_element(logits, logits + n) - logits);
}

void fill(iflow_sampler &s, const float *logits) {
    s.candidate.resize(s.n_vocab);
    for (size_t i = 0; i < s.n_vocab; i++) {
        s.candidate[i] = {static_cast<llama_token>(i), logits[i], 0};
    }
}

/* Removes what the grammar does not allow, or does not end as UTF-8. */
void constrain(iflow_sampler &s) {
    llama_token_data_array all{s.candidate.data(), s.candidate.size(), -1, false};
    llama_sampler_apply(s.grammar.get(), &all);
    for (const llama_token token : s.banned) {
        s.candidate[static_cast<size_t>(token)].logit = -INFINITY;
    }
    s.candidate.erase(std::remove_if(s.candidate.begin(), s.candidate.end(), [](const auto &one) { return std::isinf(one.logit); }),
                      s.candidate.end());
}

/* Of the candidates, by the chain; -1: there is none. */
llama_token choose(iflow_sampler &s) {
    if (s.candidate.empty()) {
        return -1;
    }
    llama_token_data_array all{s.candidate.data(), s.candidate.size(), -1, false};
    if (s.chain) {
        llama_sampler_apply(s.chain.get(), &all);
    }
    if (s.greedy || all.selected < 0 || static_cast<size_t>(all.selected) >= all.size || std::isinf(all.data[all.selected].logit)) {
        return std::max_element(all.data, all.data + all.size, [](const auto &a, const auto &b) { return a.logit < b.logit; })->id;
    }
    return all.data[all.selected].id;
}

/* Whether the grammar allows a token. */
bool allowed(const iflow_sampler &s, llama_token token) {
    llama_token_data one{token, 0, 0};
    llama_token_data_array all{&one, 1, -1, false};
    llama_sampler_apply(s.grammar.get(), &all);
    return !std::isinf(one.logit);
}

std::string piece_of(const iflow_sampler &s, llama_token token) {
    std::string piece(64, '\0');
    int32_t n = llama_token_to_piece(s.vocab, token, &piece[0], static_cast<int32_t>(piece.size()), 0, true);
    if (n < 0) {
        piece.resize(static_cast<size_t>(-n));
        n = llama_token_to_piece(s.vocab, token, &piece[0], static_cast<int32_t>(piece.size()), 0, true);
    }
    piece.resize(static_cast<size_t>(std::max(n, 0)));
    return piece;
}

/* Whether the text goes on as UTF-8 with a token, as libllama's grammars do not always see to. If so, it does. */
bool goes_on(iflow_sampler &s, llama_token token) {
    const std::string text = s.text + piece_of(s, token);
    const size_t n = iflow_utf8_check(text.data(), text.size());
    if (n < text.size() && iflow_utf8_length(text.data() + n, text.size() - n) >= 0) {
        return false;
    }
    s.text = text.substr(n);
    return true;
}

llama_token next(iflow_sampler &s, const float *logits) {
    if (s.plain) {
        return largest_of(logits, s.n_vocab);
    }
    s.banned.clear();
    for (bool all = false;;) {
        /* What is chosen among all tokens is mostly allowed, and then the grammar need not look at the others. Among those that it allows
         * it is as likely as if these were all that there are: p + (1 - sum of p) p / (sum of p) = p / (sum of p). */
        const bool best = !all && s.greedy && !s.chain;
        if (!best) {
            fill(s, logits);
        }
        if (all) {
            constrain(s);
        }
        const llama_token token = best ? largest_of(logits, s.n_vocab) : choose(s);
        if (s.grammar && !all && !allowed(s, token)) {
            all = true;
            continue;
        }
        if (token >= 0 && !llama_vocab_is_eog(s.vocab, token)) {
            if (s.grammar && !goes_on(s, token)) {
                s.banned.push_back(token);
                all = true;
                continue;
            }
            if (s.grammar) {
                llama_sampler_accept(s.grammar.get(), token);
            }
            if (s.chain) {
                llama_sampler_accept(s.chain.get(), token);
            }
        }
        return token;
    }
}

} // namespace

namespace {

/* A grammar that libllama reads, which nothing stops. */
struct reading {
    const llama_vocab *vocab;
    std::string text;
    owned made; /* NULL: refused */
    iflow_call_error error;

    static void run(void *user) {
        auto *r = static_cast<reading *>(user);
        iflow::guard(&r->error, IFLOW_E_BACKEND, [r] { r->made.reset(llama_sampler_init_grammar(r->vocab, r->text.c_str(), "root")); });
    }

    static void drop(void *user) {
        delete static_cast<reading *>(user);
    }
};

/* *out: NULL where libllama refuses the grammar. E_MEMORY, E_CANCELLED. */
iflow_status read_grammar(const llama_model *vocab, const char *text, owned *out) {
    reading *r = nullptr;
    iflow_status status = iflow::guarded("the grammar", IFLOW_E_BACKEND, [&] {
        r = new reading{llama_model_get_vocab(vocab), text, nullptr, {}};
    });
    if (status) {
        return status;
    }
    status = iflow_step(llama_model_get_vocab(vocab), reading::run, reading::drop, r);
    if (status == IFLOW_E_CANCELLED) {
        return status; /* the reading is not ours any more */
    }
    status = !status && r->error.status ? iflow_call_failed(&r->error, "the grammar") : status;
    *out = std::move(r->made);
    reading::drop(r);
    return status;
}

} // namespace

iflow_status iflow_sampler_new(const struct llama_model *vocab, int n_vocab, const iflow_sampling *how, iflow_sampler **out) {
    owned grammar;
    iflow_status status = how->grammar ? read_grammar(vocab, how->grammar, &grammar) : IFLOW_OK;
    if (status || (how->grammar && !grammar)) {
        return status ? status : iflow_fail(IFLOW_E_ARG, "libllama refuses the grammar");
    }
    return iflow::guarded("the samplers", IFLOW_E_BACKEND, [&] {
        std::unique_ptr<iflow_sampler> s(new iflow_sampler());
        s->vocab = llama_model_get_vocab(vocab);
        s->n_vocab = static_cast<size_t>(n_vocab);
        s->chain = make_chain(how, n_vocab);
        s->grammar = std::move(grammar);
        s->greedy = how->temperature <= 0;
        s->plain = !s->chain && !s->grammar;
        *out = s.release();
    });
}

void iflow_sampler_free(iflow_sampler *sampler) {
    delete sampler;
}

iflow_status iflow_sampler_next(iflow_sampler *sampler, const float *logits, int32_t *token) {
    return iflow::guarded("sampling", IFLOW_E_BACKEND, [&] { *token = next(*sampler, logits); });
}
