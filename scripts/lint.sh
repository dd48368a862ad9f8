#!/usr/bin/env bash
# Checks the form of the sources: layout (clang-format), which room includes which, a build with clang, and clang-tidy.
# Usage: scripts/lint.sh CLANG_BUILD_DIR [JOBS]
# Each check runs even if the one before it failed, so that one run tells everything.
set -uo pipefail
cd "$(dirname "$0")/.."
build=$1
jobs=${2:-$(nproc)}
failed=()

mapfile -t all < <(find src include tests examples \( -name '*.[ch]' -o -name '*.cpp' \) | sort)
clang-format --dry-run -Werror "${all[@]}" || failed+=(clang-format)
python3 scripts/rooms.py || failed+=(rooms)
cmake --build "$build" --parallel "$jobs" || failed+=(clang)
mapfile -t compiled < <(python3 -c 'import json, sys; print("\n".join(sorted({c["file"] for c in json.load(open(sys.argv[1]))})))' \
    "$build/compile_commands.json" | grep -v "^$(realpath "$build")/") # as the build has just listed them anew
if [ ${#compiled[@]} -eq 0 ]; then echo "lint: no sources in $build/compile_commands.json" >&2; exit 1; fi
printf '%s\0' "${compiled[@]}" | xargs -0 -n 1 -P "$jobs" clang-tidy --quiet -p "$build" 2>/dev/null || failed+=(clang-tidy)
for source in "${all[@]}"; do
    if [ "$(wc -l <"$source")" -ge 800 ]; then echo "$source: 800 lines or more; give it one job" >&2; failed+=("$source"); fi
done

if [ ${#failed[@]} -gt 0 ]; then echo "lint: failed: ${failed[*]}" >&2; exit 1; fi
echo "lint: ${#all[@]} files are clean"
