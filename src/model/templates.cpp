/* templates.cpp - chat templates parsed and rendered by the pinned distribution's Jinja engine; no exception leaves this file. */
#include "model/templates.h"

#include <cstdlib>

#ifdef INFOFLOW_TEMPLATES

#include "model/template_engine.h"
#include "model/template_limits.h"

#include <jinja/lexer.h>
#include <jinja/parser.h>
#include <jinja/runtime.h>
#include <jinja/value.h>

#include <ctime>
#include <memory>
#include <string>
#include <vector>

struct iflow_template {
    std::string text;
    jinja::program program;
};

namespace {

using namespace iflow;

constexpr size_t MAX_TEMPLATE = 128 << 10; /* bytes; the longest of the distribution's has 17 thousand */

/* The parser recurses at brackets and blocks, which both begin and end with tokens of their own. */
void check_nesting(const jinja::lexer_result &lexed) {
    int depth = 0;
    for (const auto &token : lexed.tokens) {
        switch (token.t) {
        case jinja::token::open_paren:
        case jinja::token::open_square_bracket:
        case jinja::token::open_curly_bracket:
            depth++;
            break;
        case jinja::token::close_paren:
        case jinja::token::close_square_bracket:
        case jinja::token::close_curly_bracket:
            depth--;
            break;
        default:
            break;
        }
        if (depth > MAX_NESTING) {
            throw std::runtime_error("its brackets are nested too deeply");
        }
    }
}

struct parsing {
    const char *text;
    iflow_template *made;
    iflow_call_error error;

    void run() noexcept {
        guard_engine(&error, IFLOW_E_FORMAT, [this] {
            watch_functions();
            auto parsed = std::make_unique<iflow_template>();
            parsed->text = text;
            const auto lexed = jinja::lexer().tokenize(parsed->text);
            check_nesting(lexed);
            parsed->program = jinja::parse_from_tokens(lexed);
            made = parsed.release();
        });
    }
};

struct freeing {
    iflow_template *tmpl;
    iflow_call_error error;

    void run() noexcept {
        error.status = IFLOW_OK;
        delete tmpl;
    }
};

jinja::value text_value(const char *text, bool is_input) {
    return jinja::mk_val<jinja::value_string>(jinja::string(text ? text : "", is_input));
}

/* The time by the caller's clock. */
jinja::value clock_function(int64_t now) {
    return jinja::mk_val<jinja::value_func>("strftime_now", [now](const jinja::func_args &args) -> jinja::value {
        const std::time_t seconds = now ? static_cast<std::time_t>(now) : std::time(nullptr);
        std::tm parts{};
        char text[256];
        args.ensure_vals<jinja::value_string>();
        localtime_r(&seconds, &parts);
        const size_t n = std::strftime(text, sizeof text, args.get_pos(0)->as_string().str().c_str(), &parts);
        auto made = jinja::mk_val<jinja::value_string>(std::string(text, n));
        for (const auto &part : args.get_pos(0)->as_string().parts) {
            if (part.is_input) { /* a format of a user's: what comes of it is the user's */
                made->val_str.mark_input();
                break;
            }
        }
        return made;
    });
}

struct rendering {
    const iflow_template *tmpl;
    const iflow_message *message;
    size_t n_messages;
    const iflow_template_options *options;
    std::vector<jinja::string_part> parts; /* neighbours differ in is_input; none is empty */
    iflow_call_error error;
    const iflow_cancel *cancel = iflow_cancel_current(); /* of the thread that asks; run() is in another */

    void run() noexcept {
        size_t n_input = 0;
        for (size_t i = 0; i < n_messages; i++) {
            n_input += strlen(message[i].content);
        }
        meter m(static_cast<const char *>(__builtin_frame_address(0)), n_input, cancel);
        guard_engine(&error, IFLOW_E_UNSUPPORTED, [this] { render(); });
        if (m.cancelled) {
            note(&error, IFLOW_E_CANCELLED, "cancelled by the caller");
        }
    }

    void render() {
        jinja::context context(tmpl->text);
        auto messages = jinja::mk_val<jinja::value_array>();
        for (size_t i = 0; i < n_messages; i++) {
            auto one = jinja::mk_val<jinja::value_object>();
            one->insert("role", text_value(message[i].role, false));
            one->insert("content", text_value(message[i].content, true));
            messages->push_back(std::move(one));
        }
        context.set_val("messages", messages);
        context.set_val("bos_token", text_value(options->bos, false));
        context.set_val("eos_token", text_value(options->eos, false));
        context.set_val("add_generation_prompt", jinja::mk_val<jinja::value_bool>(options->add_generation_prompt));
        context.set_val("enable_thinking", jinja::mk_val<jinja::value_bool>(false));
        context.set_val("strftime_now", clock_function(options->now));
        jinja::runtime runtime(context);
        const jinja::value_string text = jinja::runtime::gather_string_parts(runtime.execute(tmpl->program));
        for (const auto &part : text->val_str.parts) {
            if (part.val.find('\0') != std::string::npos) {
                stop_rendering("it writes a NUL");
            }
            if (!part.val.empty() && !parts.empty() && parts.back().is_input == part.is_input) {
                parts.back().val += part.val;
            } else if (!part.val.empty()) {
                parts.push_back(part);
            }
        }
    }
};

/* Hands out copies that free() takes. */
iflow_status hand_out(const std::vector<jinja::string_part> &parts, iflow_rendering *out) {
    iflow_rendering made = {};
    made.part = static_cast<iflow_rendered_part *>(iflow_calloc(parts.size() + 1, sizeof *made.part));
    if (!made.part) {
        return iflow_fail_memory(parts.size() * sizeof *made.part);
    }
    for (const auto &part : parts) {
        char *text = iflow_strdup(part.val.c_str());
        if (!text) {
            iflow_rendering_free(&made);
            return iflow_fail_memory(part.val.size());
        }
        made.part[made.n_parts++] = {text, part.is_input};
    }
    *out = made;
    return IFLOW_OK;
}

} // namespace

bool iflow_templates_available(void) {
    return true;
}

iflow_status iflow_template_parse(const char *text, iflow_template **out) {
    if (strlen(text) > MAX_TEMPLATE) {
        return iflow_fail(IFLOW_E_UNSUPPORTED, "the chat template has %zu bytes; at most %zu are read", strlen(text), MAX_TEMPLATE);
    }
    parsing job = {text, nullptr, {}};
    const iflow_status status = on_stack(STACK, "the chat template", &job);
    if (!status) {
        *out = job.made;
    }
    return status;
}

void iflow_template_free(iflow_template *tmpl) {
    freeing job = {tmpl, {}};
    if (tmpl && on_stack(STACK, "the chat template", &job)) {
        delete tmpl; /* no stack was to be had */
    }
}

iflow_status iflow_template_render(const iflow_template *tmpl, const iflow_message *message, size_t n_messages,
                                   const iflow_template_options *options, iflow_rendering *out) {
    rendering job = {tmpl, message, n_messages, options, {}, {}};
    const iflow_status status = on_stack(STACK, "the chat template", &job);
    return status ? status : hand_out(job.parts, out);
}

#else

static iflow_status missing(void) {
    return iflow_fail(IFLOW_E_UNSUPPORTED, "this build has no Jinja engine (it was configured with INFOFLOW_TEMPLATES=OFF)");
}

bool iflow_templates_available(void) {
    return false;
}

iflow_status iflow_template_parse(const char *, iflow_template **) {
    return missing();
}

void iflow_template_free(iflow_template *) {
}

iflow_status iflow_template_render(const iflow_template *, const iflow_message *, size_t, const iflow_template_options *,
                                   iflow_rendering *) {
    return missing();
}

#endif

void iflow_rendering_free(iflow_rendering *rendering) {
    for (size_t i = 0; i < rendering->n_parts; i++) {
        free(rendering->part[i].text);
    }
    free(rendering->part);
    *rendering = {};
}
