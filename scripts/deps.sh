#!/usr/bin/env bash
# Builds ggml and libllama natively from the pinned source distribution, once a machine, and prints the install prefix (the last line of
# standard output). Progress goes to standard error. Kept outside the tree, keyed by version, build options, compiler and processor flags, so
# that a fresh clone finds it again.
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

root=${INFOFLOW_DEPS:-${HOME:?}/.cache/infoflow/deps}
flags=$(grep -m1 -E '^(flags|Features)' /proc/cpuinfo 2>/dev/null || uname -m)
key=$(printf '%s\n' "$sha256" "${options[*]}" "$flags" "$(c++ --version | head -n1)" | sha256sum | cut -c1-12)
prefix=$root/llama-$version-$key

if [ -f "$prefix/.complete" ]; then echo "$prefix"; exit 0; fi

mkdir -p "$root"
exec 9>"$root/.lock"
if ! flock -n 9; then echo "deps: waiting for another build of ggml" >&2; flock 9; fi
if [ -f "$prefix/.complete" ]; then echo "$prefix"; exit 0; fi

work=$root/.build-$key
rm -rf "$work" "$prefix"; mkdir -p "$work"
trap 'rm -rf "$work"' EXIT
for tool in cmake ninja c++ python3; do
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
tar -xzf "$sdist" -C "$work"
source=$work/llama_cpp_python-$version/vendor/llama.cpp

echo "deps: building ggml and libllama for this processor (2 to 8 minutes on 2 cores, once a machine)" >&2
cmake -S "$source" -B "$work/build" -G Ninja -DCMAKE_INSTALL_PREFIX="$prefix" "${options[@]}" "${unkeyed[@]}" >"$work/configure.log" 2>&1 ||
    { tail -n 30 "$work/configure.log" >&2; exit 1; }
NINJA_STATUS='deps: [%f/%t, %es] ' cmake --build "$work/build" --parallel "${JOBS:-$(nproc)}" >&2
cmake --install "$work/build" >"$work/install.log" 2>&1 || { tail -n 30 "$work/install.log" >&2; exit 1; }
touch "$prefix/.complete"
echo "$prefix"
