#!/usr/bin/env bash
# The public header by itself: C99, C11 and C17, and C++ from C++11 on, without a warning, and what it defines inline works in both.
set -euo pipefail
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
source=${INFOFLOW_SOURCE:?}

cat >"$tmp/use.c" <<'C'
#include "infoflow.h"

int main(void) {
    iflow_model_params model = iflow_model_default_params();
    iflow_store_params store = iflow_store_default_params();
    iflow_context_params context = iflow_context_default_params();
    return model.size == sizeof model && store.size == sizeof store && context.size == sizeof context ? 0 : 1;
}
C
cat >"$tmp/literal.c" <<'C'
#include "infoflow.h"

int main(void) {
    const iflow_context_params *params = &IFLOW_PARAMS(iflow_context_params, .n_threads = 2);
    return params->size == sizeof *params && params->n_threads == 2 ? 0 : 1;
}
C
cp "$tmp/use.c" "$tmp/use.cpp"
strict=(-pedantic -Wall -Wextra -Wconversion -Werror -I "$source/include")
for standard in c99 c11 c17; do
    for file in use literal; do
        cc -std=$standard "${strict[@]}" -o "$tmp/program" "$tmp/$file.c"
        "$tmp/program" || { echo "FAIL: $file.c as $standard" >&2; exit 1; }
    done
done
for standard in c++11 c++17 c++20; do
    c++ -std=$standard "${strict[@]}" -o "$tmp/program" "$tmp/use.cpp"
    "$tmp/program" || { echo "FAIL: as $standard" >&2; exit 1; }
done
if printf '#include "infoflow.h"\nint broken(void) { return iflow_no_such(); }\n' | cc -x c -std=c99 "${strict[@]}" -fsyntax-only - 2>/dev/null; then
    echo "FAIL: these options let everything through" >&2; exit 1
fi
