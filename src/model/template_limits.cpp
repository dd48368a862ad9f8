/* template_limits.cpp - what a rendering of a template may use: steps, time, stack, bytes; and the engine's functions that could take too
 * much, or lose whose text it is. */
#ifdef INFOFLOW_TEMPLATES

#include "model/template_limits.h"

#include "model/template_engine.h"

#include <jinja/runtime.h>
#include <jinja/value.h>
#include <watch.h>

#include <ctime>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>

namespace {

using iflow::MAX_NESTING;

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

thread_local iflow::meter *running = nullptr;

[[noreturn]] void stop(const char *why) {
    iflow::stop_rendering(why);
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

} // namespace

void iflow::stop_rendering(const char *why) {
    throw std::runtime_error(why);
}

/* Not std::call_once: what it calls may throw for want of memory, and libc, through which that would pass, then ends the process. */
void iflow::watch_functions() {
    static std::mutex mutex;
    static bool done = false;
    const std::lock_guard<std::mutex> lock(mutex);
    if (!done) {
        wrap_builtins();
        done = true;
    }
}

iflow::meter::meter(const char *stack_begin, size_t n_bytes, const iflow_cancel *token)
    : stack(stack_begin), n_input(n_bytes), cancel(token), until(thread_ns() + MAX_TIME_NS) {
    running = this;
}

iflow::meter::~meter() {
    running = nullptr;
}

size_t iflow::meter::longest() const {
    return ROOM + INPUT_TIMES * n_input;
}

void infoflow::watch_step(const jinja::statement &) {
    if (!running) {
        return;
    }
    spend(1);
    if (static_cast<size_t>(running->stack - static_cast<const char *>(__builtin_frame_address(0))) > MAX_STACK) {
        stop("it nests calls too deeply");
    }
    if (iflow_cancel_is_raised(running->cancel)) {
        running->cancelled = true;
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

#endif
