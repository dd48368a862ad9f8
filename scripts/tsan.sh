#!/usr/bin/env bash
# Runs the tests of threads (test_helpers, test_worker, test_cancel, test_builder, test_store_conformance) under the thread sanitizer, with a ggml and libllama that
# are built for it. By hand: the first run builds these (5 to 15 minutes on 2 cores). Usage: scripts/tsan.sh [TEST...]
set -euo pipefail
cd "$(dirname "$0")/.."
build=${TSAN_BUILD:-build-tsan}
tests=("$@")
[ ${#tests[@]} -gt 0 ] || tests=(test_helpers test_worker test_cancel test_builder test_store_conformance)

prefix=$(INFOFLOW_DEPS_TSAN=1 scripts/deps.sh | tail -n 1)
flags='-fsanitize=thread -fno-omit-frame-pointer'
cmake -S . -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=RelWithDebInfo -DCMAKE_PREFIX_PATH="$prefix" -DCMAKE_C_FLAGS="$flags" -DCMAKE_CXX_FLAGS="$flags" \
    -DINFOFLOW_TESTS=ON >/dev/null
cmake --build "$build" --parallel "${JOBS:-$(nproc)}" --target "${tests[@]}" >&2
pattern=$(IFS='|'; echo "${tests[*]}")
TSAN_OPTIONS="halt_on_error=1 second_deadlock_stack=1 suppressions=$PWD/tests/tsan.supp" \
    ctest --test-dir "$build" --output-on-failure -R "^($pattern)\$"
