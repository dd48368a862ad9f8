/* schema.cpp - JSON schemas as grammars, by the pinned distribution's converter; no exception leaves this file. */
#include "model/schema.h"

#ifdef INFOFLOW_TEMPLATES

#include "model/template_engine.h"

extern "C" {
#include "base/cancel.h"
}

#include <json-schema-to-grammar.h>
#include <json.h>
#include <watch.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <string>

namespace {

using namespace iflow;

constexpr size_t MAX_SCHEMA = 64 << 10;
constexpr size_t MAX_GRAMMAR = 8 << 20;
constexpr size_t MAX_PROPERTIES = 200; /* of an object in a schema */
constexpr double MAX_BOUND = 9e18;
constexpr int64_t MAX_COUNT = 2000; /* in a schema; libllama repeats nothing more often */

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

/* Bounds, which the converter keeps for integers alone, as 64 bits. */
void check_bounds(const common_json &schema) {
    int64_t least = INT64_MIN, most = INT64_MAX;
    for (const char *name : {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"}) {
        if (!schema.contains(name)) {
            continue;
        }
        if (!schema.contains("type") || !schema["type"].is_string() || schema["type"].get<std::string>() != "integer") {
            throw std::runtime_error("no grammar is made for bounds of numbers that are not integers");
        }
        const auto &bound = schema[name];
        if (!bound.is_number_integer() || std::fabs(bound.get<double>()) > MAX_BOUND) {
            throw std::runtime_error(std::string("no grammar is made for a bound that is no integer of 64 bits: ") + name);
        }
        const bool is_least = std::strstr(name, "inimum") != nullptr;
        const int64_t value = bound.get<int64_t>() + (name[0] != 'e' ? 0 : is_least ? 1 : -1);
        least = is_least && value > least ? value : least;
        most = !is_least && value < most ? value : most;
    }
    if (least > most) {
        throw std::runtime_error("its bounds leave no number");
    }
}

/* Keywords that the converter takes alone, and leaves out what stands beside them. */
void check_beside(const common_json &schema) {
    static const char *const notes[] = {"title", "description", "default",    "examples", "$schema",   "$id", "$comment",
                                        "$defs", "definitions", "deprecated", "readOnly", "writeOnly", "type"};
    for (const char *name : {"$ref", "const", "enum"}) {
        for (auto at = schema.begin(); schema.contains(name) && at != schema.end(); ++at) {
            bool is_note = at.key() == name;
            for (const char *note : notes) {
                is_note = is_note || (at.key() == note && (std::strcmp(note, "type") != 0 || name[0] != '$'));
            }
            if (!is_note) {
                throw std::runtime_error("no grammar is made for " + std::string(name) + " beside " + at.key());
            }
        }
    }
    if (schema.contains("prefixItems") && has_any(schema, {"minItems", "maxItems", "items"})) {
        throw std::runtime_error("no grammar is made for prefixItems beside other keywords of arrays");
    }
    const std::string ref = schema.contains("$ref") && schema["$ref"].is_string() ? schema["$ref"].get<std::string>() : "";
    for (const char *part : {"/enum", "/const", "/default", "/examples"}) { /* which are data, and were not looked at */
        if (ref.find(part) != std::string::npos) {
            throw std::runtime_error("no grammar is made for a $ref to " + ref);
        }
    }
}

void check_required(const common_json &schema) {
    if (!schema.contains("required")) {
        return;
    }
    if (!schema["required"].is_array()) {
        throw std::runtime_error("required is no list of names");
    }
    for (const auto &name : schema["required"]) {
        if (!name.is_string()) {
            throw std::runtime_error("required is no list of names");
        }
        if (!schema.contains("properties") || !schema["properties"].contains(name.get<std::string>())) {
            throw std::runtime_error("no grammar is made for a required name that is no property: " + name.get<std::string>());
        }
    }
}

/* What the converter would leave out without a word: the grammar would allow what the schema forbids. */
void check_keywords(const common_json &schema) {
    for (const char *name : {"not", "multipleOf", "uniqueItems", "if", "dependentRequired", "dependentSchemas", "patternProperties",
                             "propertyNames", "minProperties", "maxProperties", "contains", "unevaluatedProperties", "unevaluatedItems"}) {
        if (schema.contains(name)) {
            throw std::runtime_error(std::string("no grammar is made for ") + name);
        }
    }
    check_bounds(schema);
    check_beside(schema);
    check_required(schema);
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

/* Of the conversion in this thread: the token of the thread that asked, and whether it was seen raised. */
thread_local const iflow_cancel *cancel;
thread_local bool cancelled;

struct conversion {
    const char *schema;
    size_t n_bytes;
    std::string grammar;
    iflow_call_error error;
    const iflow_cancel *token = iflow_cancel_current(); /* of the thread that asks; run() is in another */

    void run() noexcept {
        cancel = token;
        cancelled = false;
        convert();
        if (cancelled) {
            note(&error, IFLOW_E_CANCELLED, "cancelled by the caller");
        }
        cancel = nullptr;
    }

    void convert() noexcept {
        common_json json;
        guard_engine(&error, IFLOW_E_FORMAT, [&] { json = common_json::parse(std::string(schema, n_bytes)); });
        if (!error.status && !json.is_object()) {
            note(&error, IFLOW_E_FORMAT, "it is no JSON object");
        }
        if (!error.status) {
            guard_engine(&error, IFLOW_E_UNSUPPORTED, [&] {
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
            note(&error, IFLOW_E_UNSUPPORTED, "its grammar is too long");
        }
    }
};

} // namespace

void infoflow::watch_rule() {
    if (iflow_cancel_is_raised(cancel)) {
        cancelled = true;
        throw std::runtime_error("it was cancelled");
    }
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

iflow_status iflow_schema_to_grammar(const char *, size_t, char **) {
    return iflow_fail(IFLOW_E_UNSUPPORTED, "this build makes no grammars of JSON schemas (it was configured with INFOFLOW_TEMPLATES=OFF)");
}

#endif
