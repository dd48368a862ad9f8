#!/usr/bin/env bash
# Compares the names that the shared library exports, and the layouts of what infoflow.h declares, with packaging/libinfoflow.abi, by libabigail
# (Debian package abigail-tools). Usage: scripts/abi.sh [--update]
# --update writes the file anew: do that when a change of the interface is intended, and say in the commit why.
set -euo pipefail
cd "$(dirname "$0")/.."
build=${ABI_BUILD:-build-abi} known=packaging/libinfoflow.abi

for tool in abidw abidiff; do
    if ! command -v "$tool" >/dev/null; then echo "abi: $tool is missing; install the package abigail-tools" >&2; exit 1; fi
done
cmake -S . -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=RelWithDebInfo -DINFOFLOW_TESTS=OFF ${CMAKE_ARGS:-} >/dev/null
cmake --build "$build" --target infoflow_shared --parallel "${JOBS:-$(nproc)}" >&2
made=$build/libinfoflow.abi
abidw --headers-dir include --drop-private-types --exported-interfaces-only --no-corpus-path --no-comp-dir-path --no-show-locs --out-file "$made" "$build/libinfoflow.so"
# What the library needs, and its own version, are not its interface.
sed -i -e '/<elf-needed>/,/<\/elf-needed>/d' -e "s/ soname='[^']*'//" -e "s| path='$PWD/| path='|" "$made"
# An intended change, too, keeps the rule for adding fields, as far as released callers go: BREAK=1 is for a version that breaks them.
if [ "${BREAK:-0}" != 1 ]; then scripts/abi_fields.py "$known" "$made"; fi
if [ "${1:-}" = --update ]; then
    cp "$made" "$known"
    echo "abi: wrote $known"
elif abidiff "$known" "$made"; then
    echo "abi: as in $known"
else
    echo "abi: the interface differs from $known; if that is intended: scripts/abi.sh --update" >&2
    exit 1
fi
