#!/usr/bin/env bash
# Builds natively from the pinned source distribution, once a machine, and prints the install prefix (the last line of standard output):
#   deps.sh           ggml and libllama
#   deps.sh common    what infoflow uses of the distribution's common code, as one static library: the Jinja engine of chat templates, and
#                     JSON schema to grammar. The files are few, their prefix is another one, and ggml is not built for it
# Progress goes to standard error. Kept outside the tree, keyed by version, build options, compiler and processor flags, so that a fresh
# clone finds it again.
# Environment: INFOFLOW_DEPS (default ~/.cache/infoflow/deps), INFOFLOW_DEPS_CUDA=1 (with the CUDA backend; wants nvcc),
# INFOFLOW_DEPS_PORTABLE=1 (for every CPU of this architecture, not only this machine's),
# INFOFLOW_DEPS_TSAN=1 (for the thread sanitizer: scripts/tsan.sh), JOBS (default: number of processors).
set -euo pipefail

version=0.3.36
sha256=832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e
options=(
    -DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=ON -DGGML_NATIVE=ON -DCMAKE_INSTALL_LIBDIR=lib
    -DLLAMA_BUILD_COMMON=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_TOOLS=OFF -DLLAMA_BUILD_EXAMPLES=OFF
    -DGGML_OPENMP=OFF -DLLAMA_BUILD_SERVER=OFF -DLLAMA_BUILD_APP=OFF -DLLAMA_OPENSSL=OFF -DGGML_CCACHE=OFF
)
if [ "${INFOFLOW_DEPS_CUDA:-0}" = 1 ]; then options+=(-DGGML_CUDA=ON); fi
if [ "${INFOFLOW_DEPS_TSAN:-0}" = 1 ]; then options+=(-DGGML_SANITIZE_THREAD=ON -DLLAMA_SANITIZE_THREAD=ON); fi
# Every kind of CPU of this architecture, chosen when the program starts: the backends are modules, which lie beside the libraries.
if [ "${INFOFLOW_DEPS_PORTABLE:-0}" = 1 ]; then options+=(-DGGML_NATIVE=OFF -DGGML_BACKEND_DL=ON -DGGML_CPU_ALL_VARIANTS=ON -DCMAKE_INSTALL_BINDIR=lib); fi
# Not in the key, since they change no code: where the libraries look for one another, and the compiler's silence about others' code.
unkeyed=(-DCMAKE_INSTALL_RPATH=\$ORIGIN -DGGML_ALL_WARNINGS=OFF -DLLAMA_ALL_WARNINGS=OFF -DCMAKE_C_FLAGS=-w -DCMAKE_CXX_FLAGS=-w)

# The common code: these files of the distribution's directory common, with our own files (cmake/common) beside them.
common_sources=(jinja/lexer jinja/parser jinja/runtime jinja/string jinja/value json json-schema json-schema-to-grammar trie unicode)
common_templates=models/templates # of other models, for the tests
common_flags=(-std=c++17 -O2 -DNDEBUG -fPIC -fvisibility=hidden -w)
# Lines that are changed: file, the whole line, what stands there instead. Each line is there once. The Jinja engine and the converter of
# schemas get calls of watch.h; a schema that a grammar says in part only is refused, and nothing is printed.
common_edits=(
    jinja/runtime.cpp '        return execute_impl(ctx);'
    '        infoflow::watch_step(*this); value made = execute_impl(ctx); infoflow::watch_value(*this, ctx, made); return made;'
    jinja/string.cpp '        parts.push_back(part);'
    '        infoflow::watch_append(sizeof part + part.val.size()); parts.push_back(part);'
    json-schema-to-grammar.cpp '        std::string esc_name = regex_replace(name, INVALID_RULE_CHARS_RE, "-");'
    '        infoflow::watch_rule(); std::string esc_name = regex_replace(name, INVALID_RULE_CHARS_RE, "-");'
    json-schema-to-grammar.cpp
    '            fprintf(stderr, "WARNING: JSON schema conversion was incomplete: %s\n", string_join(_warnings, "; ").c_str());'
    '            throw std::invalid_argument("JSON schema conversion was incomplete: " + string_join(_warnings, "; "));'
)

case ${1:-} in
'' | common) ;;
*) echo "usage: deps.sh [common]" >&2; exit 2 ;;
esac
ours=$(cd "$(dirname "$0")/../cmake/common" && pwd)
root=${INFOFLOW_DEPS:-${HOME:?}/.cache/infoflow/deps}
compiler=$(c++ --version | head -n1)
if [ "${1:-}" = common ]; then
    what="the Jinja engine"
    key=$({ printf '%s\n' "$sha256" "${common_sources[*]}" "${common_flags[*]}" "${common_edits[*]}" "$common_templates" "$(uname -m)" "$compiler"
            cat "$ours"/*.h; } | sha256sum | cut -c1-12)
    prefix=$root/common-$version-$key
else
    what=ggml
    flags=$(grep -m1 -E '^(flags|Features)' /proc/cpuinfo 2>/dev/null || uname -m)
    key=$(printf '%s\n' "$sha256" "${options[*]}" "$flags" "$compiler" | sha256sum | cut -c1-12)
    prefix=$root/llama-$version-$key
fi

if [ -f "$prefix/.complete" ]; then echo "$prefix"; exit 0; fi

mkdir -p "$root"
exec 9>"$root/.lock"
if ! flock -n 9; then echo "deps: waiting for another build of $what" >&2; flock 9; fi
if [ -f "$prefix/.complete" ]; then echo "$prefix"; exit 0; fi

work=$root/.build-$key
rm -rf "$work" "$prefix"; mkdir -p "$work"
trap 'rm -rf "$work"' EXIT
for tool in cmake ninja c++ ar python3; do
    if ! command -v "$tool" >/dev/null; then echo "deps: $tool is missing; scripts/setup.sh installs it" >&2; exit 1; fi
done

sdist=$root/llama_cpp_python-$version.tar.gz
if ! echo "$sha256  $sdist" | sha256sum -c --status 2>/dev/null; then
    echo "deps: fetching llama-cpp-python==$version (source distribution, 77 MB)" >&2
    # pip wants to know a source distribution's dependencies before it keeps it; --no-deps still asks its build backend for metadata.
    python3 -m pip download -q --no-deps --no-binary llama-cpp-python -d "$work/sdist" "llama-cpp-python==$version" >&2
    got=$(ls "$work"/sdist/*.tar.gz)
    if ! echo "$sha256  $got" | sha256sum -c --status; then
        echo "deps: $got does not have the pinned SHA-256 $sha256; not built" >&2; exit 1
    fi
    mv "$got" "$sdist"
fi
llama=llama_cpp_python-$version/vendor/llama.cpp
source=$work/$llama

build_ggml() {
    tar -xzf "$sdist" -C "$work"
    echo "deps: building ggml and libllama for this processor (2 to 8 minutes on 2 cores, once a machine)" >&2
    cmake -S "$source" -B "$work/build" -G Ninja -DCMAKE_INSTALL_PREFIX="$prefix" "${options[@]}" "${unkeyed[@]}" >"$work/configure.log" 2>&1 ||
        { tail -n 30 "$work/configure.log" >&2; return 1; }
    NINJA_STATUS='deps: [%f/%t, %es] ' cmake --build "$work/build" --parallel "${JOBS:-$(nproc)}" >&2
    cmake --install "$work/build" >"$work/install.log" 2>&1 || { tail -n 30 "$work/install.log" >&2; return 1; }
}

# Changes the lines that common_edits lists.
edit_common() {
    local i file
    for ((i = 0; i < ${#common_edits[@]}; i += 3)); do
        file=$work/common/${common_edits[i]}
        if [ "$(grep -cxF -- "${common_edits[i + 1]}" "$file")" != 1 ]; then
            echo "deps: ${common_edits[i]} does not have the line '${common_edits[i + 1]}' once" >&2; return 1
        fi
        FROM=${common_edits[i + 1]} TO=${common_edits[i + 2]} awk '$0 == ENVIRON["FROM"] { $0 = ENVIRON["TO"] } { print }' "$file" >"$file.new"
        { echo '#include "watch.h"'; cat "$file.new"; } >"$file"
        rm "$file.new"
    done
}

build_common() {
    local name objects=() files=("$llama/LICENSE" "$llama/ggml/include" "$llama/vendor/nlohmann" "$llama/common/jinja" "$llama/$common_templates")
    for name in "${common_sources[@]}"; do
        case $name in jinja/*) ;; *) files+=("$llama/common/$name.cpp" "$llama/common/$name.h") ;; esac
    done
    tar -xzf "$sdist" -C "$work" "${files[@]}"
    mv "$source/common" "$work/common"
    cp "$ours"/*.h "$work/common/"
    edit_common
    echo "deps: building the distribution's Jinja engine and JSON schema to grammar (about a minute, once a machine)" >&2
    for name in "${common_sources[@]}"; do
        objects+=("$work/${name//\//-}.o")
    done
    printf '%s\n' "${common_sources[@]}" | xargs -P "${JOBS:-$(nproc)}" -I{} sh -c 'out=$1/$(echo "$2" | tr / -).o; src=$1/common/$2.cpp; shift 2
        exec c++ "$@" -c "$src" -o "$out"' sh "$work" {} "${common_flags[@]}" -I"$work/common" -I"$source/vendor" -I"$source/ggml/include"
    mkdir -p "$prefix/lib" "$prefix/include/jinja"
    ar rcs "$prefix/lib/libinfoflow_common.a" "${objects[@]}"
    cp "$work"/common/*.h "$prefix/include/"
    cp "$work"/common/jinja/*.h "$prefix/include/jinja/"
    cp -r "$source/LICENSE" "$source/$common_templates" "$prefix/"
}

if [ "${1:-}" = common ]; then build_common; else build_ggml; fi
touch "$prefix/.complete"
echo "$prefix"
