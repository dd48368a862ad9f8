// common.h - what the distribution's JSON schema files use of its own common.h, whose implementation needs nearly all of the distribution.
#pragma once

#include <string>
#include <vector>

inline std::string string_join(const std::vector<std::string> &values, const std::string &separator) {
    std::string joined;
    for (const std::string &value : values) {
        if (&value != &values.front()) {
            joined += separator;
        }
        joined += value;
    }
    return joined;
}

inline std::vector<std::string> string_split(const std::string &text, const std::string &separator) {
    std::vector<std::string> parts;
    std::string::size_type from = 0;
    for (auto at = text.find(separator); at != std::string::npos; at = text.find(separator, from)) {
        parts.push_back(text.substr(from, at - from));
        from = at + separator.size();
    }
    parts.push_back(text.substr(from));
    return parts;
}

inline std::string string_repeat(const std::string &text, size_t n) {
    std::string repeated;
    for (size_t i = 0; i < n; i++) {
        repeated += text;
    }
    return repeated;
}
