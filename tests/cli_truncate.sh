# cli_truncate.sh - a JSONL file cut off at every structural boundary: the lines before the cut are done, the cut one is named, nothing is lost.
. "$(dirname "$0")/data/cli.bash"
export INFOFLOW_MODEL=$models/qwen2.gguf INFOFLOW_STORE=$tmp/store

first='{"id": "a", "question": "Who?", "answers": ["x"], "passages": ["One\nfirst."]}'
second='{"id": "b", "question": "What?", "answers": ["y", "z"], "passages": ["Two\n\u00e9 second."]}'
printf '%s\n' "$first" >one.jsonl
run 0 eval --methods none --output before.jsonl one.jsonl

# The lengths of every beginning of the second line that ends before or after one of {}[]:,"\ or a space.
lengths=$("$python" - "$second" <<'P'
import sys
line = sys.argv[1]
ends = {i + d for i, c in enumerate(line) if c in '{}[]:,"\\ ' for d in (0, 1)}
print(*sorted(n for n in ends if 0 < n < len(line)))
P
)
n=0
for length in $lengths; do
    { printf '%s\n' "$first"; printf '%s' "${second:0:length}"; } >cut.jsonl
    cp before.jsonl out.jsonl
    run 1 eval --methods none --output out.jsonl cut.jsonl; says 'cut\.jsonl:2: '
    cmp -s before.jsonl out.jsonl || fail "a record was lost or added at length $length"
    n=$((n + 1))
done
[ "$n" -gt 50 ] || fail "only $n cuts were tried"

# Whole, but for the newline: that is a line.
{ printf '%s\n' "$first"; printf '%s' "$second"; } >cut.jsonl
run 0 eval --methods none --output out.jsonl cut.jsonl
json out.jsonl '[r["id"] for r in d] == ["a", "b"]'
for length in 1 20 55 $((${#second} - 1)); do
    { printf '%s\n' "$first"; printf '%s' "${second:0:length}"; } >cut.jsonl
    run 1 ingest cut.jsonl; says 'cut\.jsonl:2: '; prints ' a$'
done
run 0 store verify
