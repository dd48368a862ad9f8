#!/usr/bin/env bash
# The example program answers over three documents, and says what is wrong when it cannot. Usage: example_answer.sh PROGRAM
set -euo pipefail
answer=$1
documents=$INFOFLOW_SOURCE/examples/documents
fail() { echo "example_answer: $*" >&2; exit 1; }

out=$("$answer" "$INFOFLOW_SMOLLM2" "In which town was the shipbuilder Oda Lindqvist born?" "$documents"/{skerrin-light,oda-lindqvist,ferry-auk}.txt) ||
    fail "status $?"
grep -qE '^\[[0-9]+ of [0-9]+ tokens recomputed, first token after [0-9]+ ms\]$' <<<"$out" || fail "no report in: $out"
grep -q '[a-z]' <<<"${out%%\[*}" || fail "no answer in: $out"

status=0
message=$("$answer" "$documents/ferry-auk.txt" "Who?" "$documents/ferry-auk.txt" 2>&1) || status=$?
[ "$status" -eq 1 ] || fail "status $status for a model that is none"
grep -q 'ferry-auk.txt' <<<"$message" || fail "the message does not name the file: $message"
status=0
"$answer" 2>/dev/null || status=$?
[ "$status" -eq 2 ] || fail "status $status without arguments"
