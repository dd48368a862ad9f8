// watch.h - where the Jinja engine and the converter of JSON schemas call whoever runs them, so that they can be stopped. scripts/deps.sh
// puts the calls in.
#pragma once

#include <cstddef>
#include <memory>

namespace jinja {
struct context;
struct statement;
struct value_t;
} // namespace jinja

namespace infoflow {

// Before a statement or an expression is executed; may throw.
void watch_step(const jinja::statement &statement);

// After that, with its value; may throw.
void watch_value(const jinja::statement &statement, jinja::context &context, const std::shared_ptr<jinja::value_t> &value);

// Before n_bytes are appended to a string; may throw.
void watch_append(std::size_t n_bytes);

// Before a rule of a grammar is made; may throw.
void watch_rule();

} // namespace infoflow
