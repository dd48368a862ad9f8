#!/usr/bin/env bash
# The demo as a newcomer sees it: questions answered by both methods, twice, the second time without prefilling anything.
# Usage: release_demo.sh BUILD
set -euo pipefail
build=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { echo "release_demo: $*" >&2; cat "$work"/*.txt >&2; exit 1; }

n=2
head -n "$n" "$INFOFLOW_SOURCE/examples/questions.txt" >"$work/questions"
for run in first second; do
    BUILD=$build MODEL=$INFOFLOW_SMOLLM2 STORE=$work/store QUESTIONS=$work/questions "$INFOFLOW_SOURCE/scripts/demo.sh" >"$work/$run.txt" 2>&1 || fail "the $run run failed"
    for method in infoflow full; do
        [ "$(grep -c "^  $method  *first token  *[0-9]* ms" "$work/$run.txt")" -eq "$n" ] || fail "$run run: not $n answers of $method"
    done
    grep -q '^Time to first token, mean of' "$work/$run.txt" || fail "$run run: no closing line"
done
grep -q ' 0 chunks computed' "$work/second.txt" || fail "the second run computed chunks again"
# The words of the demo's reason to be: repairing a part of the context is faster than computing all of it.
python3 - "$work/second.txt" <<'PYTHON' || fail "infoflow was not faster than full prefill"
import re, sys
ratio = re.search(r"([0-9.]+) times faster", open(sys.argv[1]).read())
sys.exit(0 if ratio and float(ratio[1]) > 1.5 else 1)
PYTHON
