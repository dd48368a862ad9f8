#!/usr/bin/env bash
# Eval: records of the paper's protocol, resumption, malformed data, and the means.
. "$(dirname "$0")/data/cli.bash"
export INFOFLOW_STORE=$tmp/store INFOFLOW_MODEL=$models/qwen2.gguf
cat >data.jsonl <<'J'
{"id": "a", "question": "Where is the ship?", "answers": ["harbour", "the sea"], "passages": ["Ship\nThe ship is in the harbour.", "Light\nThe light is on the stone."]}
{"id": 2, "question": "What is old?", "answers": ["the house"], "passages": ["House\nThe house is old.", "Wind\nThe wind is north.", "River\nIt is bright."]}

{"id": "c", "question": "Who keeps the light?", "answers": ["the keeper"], "passages": ["Keeper\nThe keeper keeps it."]}
J
run 0 eval --methods full,none,infoflow --ratio 0.2 --output out.jsonl data.jsonl
cp out means
json out.jsonl 'len(d) == 9' '[r["id"] for r in d] == [i for i in ("a", "2", "c") for _ in range(3)]' \
    '[r["method"] for r in d] == ["full", "none", "infoflow"] * 3' \
    'all({"id", "method", "ratio", "answer", "raw", "f1", "tokens", "timings_ms", "selected"} <= set(r) for r in d)' \
    'all(0 <= r["f1"] <= 1 for r in d)' 'all(r["tokens"]["generated"] <= 32 for r in d)' \
    'all(r["ratio"] == 0.2 and len(r["selected"]) == max(1, math.floor(0.2 * r["tokens"]["context"] + 1e-9)) for r in d if r["method"] == "infoflow")' \
    'all(r["selected"] == [] for r in d if r["method"] != "infoflow")' \
    'all(r["timings_ms"]["prefill"] == 0 for r in d if r["method"] != "full")' 'all(r["timings_ms"]["ttft"] > 0 for r in d)'
for method in full none infoflow; do grep -qE "^$method +[0-9.]+ +3 +[0-9.]+ +[0-9.]+ +[0-9.]+%" means || fail "no mean of $method"; done
grep -qE '^full +1.00 .* 100.0%$' means || fail "full prefill recomputes everything"

# The chunks are those of the protocol: each passage alone, as ingest stores it; nothing is left to compute.
run 0 ingest data.jsonl; says ': 0 chunks computed, 6 already stored'

# A second run asks nothing; one more method asks only that; the means are over all.
cp out.jsonl before
run 0 eval --methods full,none,infoflow --ratio 0.2 --output out.jsonl data.jsonl; says '9 answers are in out.jsonl already'
cmp -s before out.jsonl || fail "the second run wrote something"
cut -d% -f1 means >m1; cut -d% -f1 out >m2; cmp -s m1 m2 || fail "other means the second time"
run 0 eval --methods infoflow --ratio 0.5 --output out.jsonl data.jsonl
[ "$(wc -l <out.jsonl)" = 12 ] && head -n 9 out.jsonl | cmp -s - before || fail "another ratio is not three new records"
INFOFLOW_MODEL=$models/llama.gguf run 0 eval --methods none --output out.jsonl --limit 1 data.jsonl; [ "$(wc -l <out.jsonl)" = 13 ] || fail "another model's answers count as this one's"

# What a crash leaves at the end is asked again; the rest stays.
head -n 5 before >cut.jsonl; sed -n 6p before | head -c 60 >>cut.jsonl
run 0 eval --methods full,none,infoflow --ratio 0.2 --output cut.jsonl data.jsonl; says 'cut.jsonl:6: a record cut short'
json cut.jsonl 'len(d) == 9 and len({(r["id"], r["method"]) for r in d}) == 9'
head -n 5 cut.jsonl | cmp -s - <(head -n 5 before) || fail "records were lost"

# Any other file is left alone.
printf 'my notes\nno record' >notes; cp notes copy
run 1 eval --methods none --output notes data.jsonl; says 'notes:1: not a record'; cmp -s notes copy || fail "a file that is not ours was changed"
printf 'my notes without an end' >notes; cp notes copy
run 1 eval --methods none --output notes data.jsonl; cmp -s notes copy || fail "a file that is not ours was changed"

# Malformed lines are named, the others are asked, the status is 1.
{ sed -n 1p data.jsonl; echo 'not json'; echo '{"id": "x"}'; echo '{"id": "y", "question": "q", "answers": "one", "passages": ["p"]}'
  echo '{"question": "q", "answers": ["a"], "passages": ["p"]}'; echo '{"id": "z", "question": "q", "answers": ["a"], "passages": []}'
  sed -n 1p data.jsonl; echo '[]'; sed -n 2p data.jsonl; printf '{"id": "w", "question": "cu'; } >bad.jsonl
run 1 eval --methods none --output bad_out.jsonl bad.jsonl
for line in 2 3 4 5 6 7 8 10; do says "bad.jsonl:$line: "; done
json bad_out.jsonl '[r["id"] for r in d] == ["a", "2"]'
: >none.jsonl; run 1 eval --methods none --output o none.jsonl; says 'none.jsonl has no question'
run 1 eval --methods none --output o missing.jsonl; says 'cannot read missing.jsonl'
run 1 eval --methods none --output /nonexistent/o data.jsonl; says 'cannot write /nonexistent/o'

# A question that does not fit is named; the others are asked.
{ sed -n 1p data.jsonl; printf '{"id": "long", "question": "q?", "answers": ["a"], "passages": ["%s"]}\n' "$(words 900 1 | tr '\n' ' ')"; sed -n 2p data.jsonl; } >long.jsonl
run 1 eval --methods none --output long_out.jsonl long.jsonl; says 'long.jsonl:2: question long, none: .*context'
json long_out.jsonl '[r["id"] for r in d] == ["a", "2"]'
