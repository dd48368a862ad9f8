/* templates.cpp - chat templates by the pinned distribution's Jinja engine, and JSON schemas as grammars; no exception leaves this file. */
#include "model/templates.h"

#include "model/guarded.h"

extern "C" {
#include "base/cancel.h"
}

#include "model/calls.h"
extern "C" {
#include "model/stack.h"
}

#include <cstdlib>
#include <cstring>
#include <exception>
#include <initializer_list>
#include <new>
#include <stdexcept>
#include <string>

#ifdef INFOFLOW_TEMPLATES

#include <jinja/lexer.h>
#include <jinja/parser.h>
#include <jinja/runtime.h>
#include <jinja/value.h>
#include <json-schema-to-grammar.h>
#include <json.h>
#include <watch.h>

#include <ctime>
#include <memory>
#include <mutex>
#include <vector>

struct iflow_template {
    std::string text;
    jinja::program program;
};

namespace {

constexpr size_t MAX_TEMPLATE = 128 << 10; /* bytes; the longest of the distribution's has 17 thousand */
constexpr size_t MAX_SCHEMA = 64 << 10;
constexpr size_t MAX_GRAMMAR = 8 << 20;
constexpr size_t MAX_PROPERTIES = 200; /* of an object in a schema */
constexpr int64_t MAX_COUNT = 2000;    /* in a schema; libllama repeats nothing more often */
constexpr int MAX_NESTING = 100;       /* brackets in a template, and of values in one another */
constexpr size_t STACK = 64 << 20;     /* bytes, for parsing; only what is used takes memory */
constexpr size_t MAX_STACK = 8 << 20;  /* of a rendering */
constexpr size_t MAX_STEPS = 1000000;  /* statements and expressions executed */
constexpr size_t MAX_ELEMENTS = 65536; /* of an array, and in all that a value consists of */
constexpr int64_t MAX_RANGE = 10000;
constexpr size_t MAX_SHIFTED = static_cast<size_t>(4) << 30; /* bytes moved by a split */
constexpr int64_t MAX_NUMBER = INT32_MAX;                    /* where the engine computes with indices */
constexpr int64_t MAX_TIME_NS = 3000000000;                  /* of processor time; a rendering takes milliseconds */
constexpr size_t ROOM = 2 << 20, INPUT_TIMES = 16;           /* bytes of a string: ROOM and so often the messages' */
constexpr size_t APPENDED_TIMES = 16;                        /* bytes appended in all: so often that */

/* Processor time of this thread: what a busy machine or a stopped process takes away does not count. */
int64_t thread_ns() {
    timespec now{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return static_cast<int64_t>(now.tv_sec) * 1000000000 + now.tv_nsec;
}

/* What a rendering in this thread has used, and may. */
struct meter {
    const char *stack; /* where the rendering's stack begins */
    size_t n_input;    /* bytes of the messages */
    size_t n_steps = 0, n_appended = 0;
    int64_t until = thread_ns() + MAX_TIME_NS;
    const iflow_cancel *cancel = nullptr; /* of the thread that asked */

    size_t longest() const {
        return ROOM + INPUT_TIMES * n_input;
    }
};

thread_local meter *running = nullptr;

[[noreturn]] void stop(const char *why) {
    throw std::runtime_error(why);
}

void spend(size_t n_steps) {
    running->n_steps += n_steps;
    if (running->n_steps > MAX_STEPS) {
        stop("it takes too many steps");
    }
}

/* ---- What values are made of -------------------------------------------------------------------------------------------------------- */

struct census {
    size_t n_values = 0, n_bytes = 0;
    bool has_input = false;
};

/* Counts a value and all in it. Throws where it is too large, too deeply nested, or in itself. */
void count(const jinja::value &value, census *c, int depth = 0) {
    if (depth > MAX_NESTING) {
        stop("it nests values too deeply");
    }
    c->n_values++;
    for (const auto &part : value->val_str.parts) {
        c->n_bytes += part.val.size();
        c->has_input = c->has_input || part.is_input;
    }
    if (c->n_values > MAX_ELEMENTS || c->n_bytes > running->longest()) {
        stop("it makes a value too large");
    }
    for (const auto &element : value->val_arr) {
        count(element, c, depth + 1);
    }
    for (const auto &[key, of] : value->val_obj) {
        count(key, c, depth + 1);
        count(of, c, depth + 1);
    }
    if (jinja::is_val<jinja::value_kwarg>(value)) {
        count(jinja::cast_val<jinja::value_kwarg>(value)->val, c, depth + 1);
    }
}

/* The same for one that was changed just now. It is emptied where it is in itself, as it would never be freed. */
void count_changed(const jinja::value &value, census *c) {
    try {
        count(value, c);
    } catch (...) {
        value->val_arr.clear();
        value->val_obj.clear();
        if (auto *object = dynamic_cast<jinja::value_object_t *>(value.get())) {
            object->unordered.clear();
        }
        throw;
    }
}

void mark_input(const jinja::value &value) {
    value->val_str.mark_input();
    for (const auto &element : value->val_arr) {
        mark_input(element);
    }
}

/* ---- Functions of the engine that could take too much, or lose whose text it is ------------------------------------------------------ */

size_t length_of(const jinja::func_args &args, size_t at) {
    return args.count() > at ? args.get_pos(at)->val_str.length() : 0;
}

/* At most so many bytes come of it. */
void bound(size_t n, size_t times) {
    if (n && times > running->longest() / n) {
        stop("it makes a text too long");
    }
}

void check_integers(const jinja::func_args &args, int64_t most) {
    for (const auto &arg : args.get_args()) {
        const jinja::value &value = jinja::is_val<jinja::value_kwarg>(arg) ? jinja::cast_val<jinja::value_kwarg>(arg)->val : arg;
        if (jinja::is_val<jinja::value_int>(value) && (value->val_int > most || value->val_int < -most)) {
            stop("it computes with a number too large");
        }
    }
}

void check_range(const jinja::func_args &args) {
    check_integers(args, MAX_NUMBER);
    const int64_t first = args.count() > 1 ? args.get_pos(0)->val_int : 0;
    const int64_t end = args.count() > 0 ? args.get_pos(args.count() > 1 ? 1 : 0)->val_int : 0;
    const int64_t step = args.count() > 2 ? args.get_pos(2)->val_int : 1;
    const int64_t n = step ? (end - first) / step : 0;
    if (n > MAX_RANGE) {
        stop("it counts too far");
    }
    spend(n > 0 ? static_cast<size_t>(n) : 0);
}

/* The engine's own shifts the rest of the text at every replacement, and loses whose text it is. */
jinja::value replace(const jinja::func_args &args) {
    args.ensure_vals<jinja::value_string, jinja::value_string, jinja::value_string, jinja::value_int>(true, true, true, false);
    const std::string text = args.get_pos(0)->as_string().str(), from = args.get_pos(1)->as_string().str();
    const std::string to = args.get_pos(2)->as_string().str();
    int64_t left = args.count() > 3 && args.get_pos(3)->as_int() >= 0 ? args.get_pos(3)->as_int() : INT64_MAX;
    std::string made;
    bound(text.size() + 1, to.size() + 1);
    for (size_t at = 0; at <= text.size();) {
        const size_t found = left > 0 ? text.find(from, at) : std::string::npos;
        left--;
        if (found == std::string::npos) {
            made.append(text, at);
            break;
        }
        const size_t n_kept = from.empty() && found < text.size() ? 1 : 0; /* an empty text is before every character, and at the end */
        made.append(text, at, found - at).append(to).append(text, found, n_kept);
        at = found + from.size() + (from.empty() ? 1 : 0);
    }
    return jinja::mk_val<jinja::value_string>(made);
}

/* The engine shifts the rest of the text at every separator. */
void check_split(const jinja::func_args &args) {
    const std::string text = args.get_pos(0)->val_str.str(), separator = args.count() > 1 ? args.get_pos(1)->val_str.str() : " ";
    size_t n = 0;
    for (size_t at = 0; !separator.empty() && (at = text.find(separator, at)) != std::string::npos; at += separator.size()) {
        n++;
    }
    if (n > MAX_ELEMENTS || n > MAX_SHIFTED / (text.size() + 1)) {
        stop("it splits a text into too many parts");
    }
}

void check_join(const jinja::func_args &args) {
    bound(args.get_pos(0)->val_arr.size() + 1, length_of(args, 1) + 1);
}

/* Widths as numbers; one that is a text stands before every line. */
void check_indent(const jinja::func_args &args) {
    check_integers(args, MAX_NESTING);
    const jinja::value width = args.get_kwarg_or_pos("width", 1);
    bound(length_of(args, 0) + 1, width->val_str.length() + MAX_NESTING);
}

void check_json(const jinja::func_args &args) {
    check_integers(args, MAX_NESTING);
    const jinja::value separators = args.get_kwarg_or_pos("separators", 3);
    for (const auto &separator : separators->val_arr) {
        bound(separator->val_str.length() + 1, MAX_ELEMENTS);
    }
}

void check_slice(const jinja::func_args &args) {
    check_integers(args, MAX_NUMBER);
}

void check_divisor(const jinja::func_args &args) {
    if (args.count() > 1 && (args.get_pos(1)->val_int == 0 || args.get_pos(1)->val_int == -1)) {
        stop("it divides by zero");
    }
}

/* std::sort needs an order, which the engine's comparison is among numbers and among texts. */
void check_order(const jinja::func_args &args) {
    const jinja::value list = args.get_pos(0);
    const size_t n = list->val_arr.size() + list->val_obj.size();
    bool texts = args.count() == 1 && n == list->val_arr.size(), numbers = texts;
    for (const auto &element : list->val_arr) {
        texts = texts && jinja::is_val<jinja::value_string>(element);
        numbers = numbers && jinja::is_val<jinja::value_int>(element);
    }
    if (n > 16 && !texts && !numbers) {
        stop("it sorts too many values of several kinds");
    }
}

void check_nothing(const jinja::func_args &) {
}

using builtin_check = void (*)(const jinja::func_args &);

/* Puts a check before a function of the engine, and marks what comes of input as input. The engine's tables are const by their accessors
 * alone: what they map to was made as an ordinary object. */
void wrap(const jinja::func_builtins &builtins, const char *name, builtin_check check, bool marks) {
    const auto at = builtins.find(name);
    if (at == builtins.end()) {
        return;
    }
    auto &handler = const_cast<jinja::func_handler &>(at->second);
    handler = [inner = handler, check, marks](const jinja::func_args &args) -> jinja::value {
        census c;
        for (const auto &arg : args.get_args()) {
            count(arg, &c);
        }
        check(args);
        jinja::value made = inner(args);
        if (args.count()) { /* append changes it */
            census after;
            count_changed(args.get_pos(0), &after);
        }
        if (marks && c.has_input) {
            mark_input(made);
        }
        return made;
    };
}

void wrap_builtins() {
    const auto &text = jinja::value_string_t().get_builtins();
    const auto &list = jinja::value_array_t().get_builtins();
    const auto &object = jinja::value_object_t().get_builtins();
    const auto &global = jinja::global_builtins();
    for (const auto *builtins : {&text, &list, &object, &global}) {
        wrap(*builtins, "tojson", check_json, true);
        wrap(*builtins, "slice", check_slice, builtins == &text);
    }
    const_cast<jinja::func_handler &>(text.at("replace")) = replace;
    wrap(text, "replace", check_nothing, true);
    wrap(text, "indent", check_indent, true);
    wrap(text, "split", check_split, true);
    wrap(text, "rsplit", check_split, true);
    wrap(text, "format", check_nothing, false);
    wrap(list, "join", check_join, true);
    wrap(list, "string", check_nothing, true);
    wrap(list, "sort", check_order, false);
    wrap(list, "append", check_nothing, false);
    wrap(object, "string", check_nothing, true);
    wrap(object, "dictsort", check_order, false);
    wrap(global, "range", check_range, false);
    wrap(global, "test_is_divisibleby", check_divisor, false);
}

/* Not std::call_once: what it calls may throw for want of memory, and libc, through which that would pass, then ends the process. */
void wrap_builtins_once() {
    static std::mutex mutex;
    static bool done = false;
    const std::lock_guard<std::mutex> lock(mutex);
    if (!done) {
        wrap_builtins();
        done = true;
    }
}

/* ---- Running ------------------------------------------------------------------------------------------------------------------------- */

/* What the engine says, without its picture of the source. */
const char *reason(const char *what) {
    static const char mark[] = "Error: ";
    for (const char *at; (at = strstr(what, mark));) {
        what = at + sizeof mark - 1;
    }
    return what;
}

template <typename Call> void guard(iflow_call_error *error, iflow_status otherwise, Call call) noexcept {
    error->status = IFLOW_OK;
    try {
        call();
    } catch (const std::bad_alloc &) {
        iflow::note(error, IFLOW_E_MEMORY, "out of memory");
    } catch (const std::exception &e) { /* the engine wraps what goes through it */
        iflow::note(error, strstr(e.what(), "bad_alloc") ? IFLOW_E_MEMORY : otherwise, reason(e.what()));
    } catch (...) {
        iflow::note(error, otherwise, "an exception of no known type");
    }
}

/* Runs a job of this file on a stack that its recursion fits. */
template <typename Job> iflow_status on_stack(size_t n_bytes, const char *what, Job *job) {
    const iflow_status status = iflow_on_stack(
        n_bytes, [](void *user) { static_cast<Job *>(user)->run(); }, job);
    return status ? status : job->error.status ? iflow_call_failed(&job->error, what) : IFLOW_OK;
}

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
        guard(&error, IFLOW_E_FORMAT, [this] {
            wrap_builtins_once();
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
        meter m{static_cast<const char *>(__builtin_frame_address(0)), n_input};
        m.cancel = cancel;
        running = &m;
        guard(&error, IFLOW_E_UNSUPPORTED, [this] { render(); });
        running = nullptr;
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
                stop("it writes a NUL");
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

/* Whether a pattern may allow a quote, a backslash or a control character, which the converter would put into the JSON string as they are.
 */
bool leaves_string(const std::string &pattern) {
    bool in_class = false;
    for (size_t i = 0; i < pattern.size(); i++) {
        const auto c = static_cast<unsigned char>(pattern[i]),
                   next = static_cast<unsigned char>(i + 1 < pattern.size() ? pattern[i + 1] : 0);
        if (c == '"' || c < 0x20 || (c == '.' && !in_class) || (c == '[' && next == '^')) {
            return true;
        }
        if (c == '\\') {
            if (std::strchr("dw.-+*?()[]{}|/^$", next) == nullptr || next == 0) {
                return true;
            }
            i++;
        } else if (in_class && next == '-' && i + 2 < pattern.size() && pattern[i + 2] != ']') {
            const auto last = static_cast<unsigned char>(pattern[i + 2]);
            if ((c <= '"' && '"' <= last) || (c <= '\\' && '\\' <= last)) {
                return true;
            }
        }
        in_class = c == '[' || (in_class && c != ']');
    }
    return false;
}

/* Whether an object has any of these members. */
bool has_any(const common_json &object, std::initializer_list<const char *> names) {
    for (const char *name : names) {
        if (object.contains(name)) {
            return true;
        }
    }
    return false;
}

/* What the converter would leave out without a word: the grammar would allow what the schema forbids. */
void check_keywords(const common_json &schema) {
    for (const char *name : {"not", "multipleOf", "uniqueItems", "if", "dependentRequired", "patternProperties", "contains"}) {
        if (schema.contains(name)) {
            throw std::runtime_error(std::string("no grammar is made for ") + name);
        }
    }
    if (has_any(schema, {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"}) && schema.value("type", "") != "integer") {
        throw std::runtime_error("no grammar is made for bounds of numbers that are not integers");
    }
    if (has_any(schema, {"anyOf", "oneOf"}) && has_any(schema, {"type", "properties", "required", "items", "allOf"})) {
        throw std::runtime_error("no grammar is made for anyOf or oneOf beside other keywords");
    }
    if (schema.contains("allOf")) {
        for (const auto &part : schema["allOf"]) {
            if (part.is_object() && has_any(part, {"allOf", "anyOf", "oneOf"})) {
                throw std::runtime_error("no grammar is made for allOf, anyOf or oneOf within allOf");
            }
        }
    }
    if (schema.contains("pattern") && schema["pattern"].is_string() &&
        (leaves_string(schema["pattern"].get<std::string>()) || has_any(schema, {"minLength", "maxLength"}))) {
        throw std::runtime_error(
            "no grammar is made for a pattern that may allow quotes, backslashes or any character, or beside a length");
    }
    if (schema.contains("properties") && schema["properties"].is_object() && schema["properties"].contains("")) {
        throw std::runtime_error("no grammar is made for a property without a name");
    }
}

/* A schema whose grammar stays small (rules are made for every two of an object's properties, and for every count), and says all that the
 * schema does. named: the members are names, such as those of properties, and no keywords. where: the part of the schema as a JSON
 * pointer; what is thrown is about that. */
void check_schema(const common_json &schema, std::string &where, int depth = 0, bool named = false) {
    const size_t here = where.size();
    if (depth > MAX_NESTING) {
        throw std::runtime_error("it is nested too deeply");
    }
    if (schema.is_object() && schema.size() > MAX_PROPERTIES) {
        throw std::runtime_error("an object in it has too many members");
    }
    if (schema.is_object()) {
        if (!named) {
            check_keywords(schema);
        }
        for (auto at = schema.begin(); at != schema.end(); ++at) {
            const std::string key = at.key();
            const bool counts = !named && (key == "minItems" || key == "maxItems" || key == "minLength" || key == "maxLength");
            if (counts && !at.value().is_number_integer()) {
                throw std::runtime_error(key + " is no whole number");
            }
            if (counts && at.value().get<int64_t>() > MAX_COUNT) {
                throw std::runtime_error(key + " is too large");
            }
            if (named || (key != "enum" && key != "const" && key != "default" && key != "examples")) {
                where += "/" + key;
                check_schema(at.value(), where, depth + 1, !named && (key == "properties" || key == "$defs" || key == "definitions"));
                where.resize(here);
            }
        }
    } else if (schema.is_array()) {
        size_t i = 0;
        for (const auto &element : schema) {
            where += "/" + std::to_string(i++);
            check_schema(element, where, depth + 1);
            where.resize(here);
        }
    }
}

struct conversion {
    const char *schema;
    size_t n_bytes;
    std::string grammar;
    iflow_call_error error;

    void run() noexcept {
        common_json json;
        guard(&error, IFLOW_E_FORMAT, [&] { json = common_json::parse(std::string(schema, n_bytes)); });
        if (!error.status && !json.is_object()) {
            iflow::note(&error, IFLOW_E_FORMAT, "it is no JSON object");
        }
        if (!error.status) {
            guard(&error, IFLOW_E_UNSUPPORTED, [&] {
                std::string where = "#";
                try {
                    check_schema(json, where);
                } catch (const std::runtime_error &e) {
                    throw std::runtime_error("at " + where + ": " + e.what());
                }
                grammar = json_schema_to_grammar(json);
            });
        }
        if (!error.status && grammar.size() > MAX_GRAMMAR) {
            iflow::note(&error, IFLOW_E_UNSUPPORTED, "its grammar is too long");
        }
    }
};

} // namespace

void infoflow::watch_step(const jinja::statement &) {
    if (!running) {
        return;
    }
    spend(1);
    if (static_cast<size_t>(running->stack - static_cast<const char *>(__builtin_frame_address(0))) > MAX_STACK) {
        stop("it nests calls too deeply");
    }
    if (iflow_cancel_is_raised(running->cancel)) {
        stop("it was cancelled");
    }
    if (running->n_steps % 4 == 0 && thread_ns() > running->until) {
        stop("it takes too long");
    }
}

void infoflow::watch_value(const jinja::statement &statement, jinja::context &context, const std::shared_ptr<jinja::value_t> &value) {
    if (!running) {
        return;
    }
    census c;
    if (const auto *set = dynamic_cast<const jinja::set_statement *>(&statement)) {
        /* What was assigned to may be a value that the new one is in. */
        if (const auto *name = dynamic_cast<const jinja::identifier *>(set->assignee.get())) {
            count_changed(context.get_val(name->val), &c);
        } else if (const auto *member = dynamic_cast<const jinja::member_expression *>(set->assignee.get())) {
            count_changed(member->object->execute(context), &c);
        }
    } else if (!dynamic_cast<const jinja::identifier *>(&statement) && !dynamic_cast<const jinja::member_expression *>(&statement)) {
        count(value, &c);
    }
}

void infoflow::watch_append(std::size_t n_bytes) {
    if (running && (running->n_appended += n_bytes) > APPENDED_TIMES * running->longest()) {
        stop("it makes a text too long");
    }
}

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
    const iflow_status cancelled = status ? iflow_cancel_check() : IFLOW_OK;
    return cancelled ? cancelled : status ? status : hand_out(job.parts, out);
}

iflow_status iflow_schema_to_grammar(const char *schema, size_t n_bytes, char **grammar) {
    if (n_bytes > MAX_SCHEMA) {
        return iflow_fail(IFLOW_E_UNSUPPORTED, "a JSON schema of %zu bytes is too long; at most %zu are converted", n_bytes, MAX_SCHEMA);
    }
    conversion job = {schema, n_bytes, {}, {}};
    /* Its regular expressions recurse at every character of a text. */
    const iflow_status status = on_stack(STACK + n_bytes * 1024, "the JSON schema", &job);
    if (status) {
        return status;
    }
    char *text = iflow_strdup(job.grammar.c_str());
    if (!text) {
        return iflow_fail_memory(job.grammar.size());
    }
    *grammar = text;
    return IFLOW_OK;
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

iflow_status iflow_schema_to_grammar(const char *, size_t, char **) {
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
