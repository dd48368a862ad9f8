#!/usr/bin/env bash
# Learning a correction, and what the other commands make of it.
. "$(dirname "$0")/data/cli.bash"
export INFOFLOW_STORE=$tmp/store INFOFLOW_MODEL=$models/qwen2.gguf
words 120 1 >a.txt
words 100 2 >b.txt
ask() { run 0 ask -q 'Where is the light?' --max-tokens 4 --chunk 100 --json --scores "$@"; }

run 0 ask --chunk 100 --json -q 'Where?' --max-tokens 4 a.txt b.txt; json out 'd["tokens"]["corrected"] == 0'
run 0 learn --chunk 100 --tokens 2000 a.txt b.txt; place=$(cat out)
[ "$place" = "$(echo "$HOME"/.config/infoflow/corrections/*.gguf)" ] || fail "it is at $place"
says '^learned from [0-9],[0-9]{3} tokens in [0-9]+ contexts, for chunks after 2 fillers, in '
cp "$place" first
run 0 learn --chunk 100 --tokens 2000 --quiet -o again a.txt b.txt; [ ! -s err ] || fail "--quiet says something"; cmp again first || fail "what is learned differs from time to time"
run 0 learn --chunk 100 --tokens 2000 --no-store -o again a.txt b.txt; cmp again first || fail "it depends on where chunks are"
run 0 learn --chunk 100 --tokens 2000 -s small --max-size 1K -o again a.txt b.txt; says 'a chunk could not be kept: '; cmp again first || fail "what is learned depends on what is kept"
got=0; (ulimit -f 16; "$bin" learn --chunk 100 --tokens 2000 -s limited -o /dev/null a.txt b.txt >out 2>err) || got=$?; [ "$got" = 0 ] || fail "status $got under a limit on the size of files"
says 'a chunk could not be kept: .*File too large'

# It is used where there is one, for methods of ours, and says so.
ask a.txt b.txt; cp out with
json with 'd["tokens"]["corrected"] == d["tokens"]["context"] - d["chunks"][0]["length"]'
json with '0.5 < d["evidence"] < 2'
ask --correction none a.txt b.txt; cp out without; json without 'd["tokens"]["corrected"] == 0' 'd["evidence"] is None'
"$python" -c 'import json; a, b = (json.load(open(f)) for f in ("with", "without")); assert a["scores"] != b["scores"]' || fail "it does nothing"
for f in first again; do ask --correction $f a.txt b.txt; "$python" -c 'import json; a, b = (json.load(open(f)) for f in ("with", "out")); assert a["scores"] == b["scores"]' || fail "$f is another"; done
ask --no-profile a.txt b.txt; json out 'd["tokens"]["corrected"] == 0'
ask --no-profile --correction first a.txt b.txt; json out 'd["tokens"]["corrected"] > 0'
ask --fillers 0 a.txt b.txt; json out 'd["tokens"]["corrected"] == 0' # it is for other chunks
for method in none full random cacheblend; do ask --method $method a.txt b.txt; json out 'd["tokens"]["corrected"] == 0'; done
for method in staleness union product; do ask --method $method a.txt b.txt; json out 'd["tokens"]["corrected"] > 0'; done
run 0 ask --chunk 100 -q 'Where?' --max-tokens 4 a.txt b.txt; says '^  corrected +[0-9]+ tokens +[0-9.]+ %, evidence [0-9]\.[0-9][0-9]$'
printf 'Where?\n' >questions; stdin=questions run 0 chat --chunk 100 --max-tokens 4 a.txt b.txt
run 0 methods; prints '^  infoflow +.*; corrected, with drift$'; prints '^Corrected: '

# eval: by default, or as a variant says.
printf '{"id": "q", "question": "Where is the light?", "answers": ["sea"], "passages": ["%s", "%s"]}\n' "$(tr -d '\n' <a.txt)" "$(tr -d '\n' <b.txt)" >q.jsonl
run 0 eval --methods infoflow,infoflow:uncorrected,none,none:corrected,infoflow:fillers=0 --fidelity -o e.jsonl q.jsonl
prints '^infoflow/corrected +0.15'; prints '^infoflow +0.15'; prints '^none/corrected +0.00'; prints '^none +0.00'; prints '^infoflow/fillers=0 +0.15'
json e.jsonl 'sum("corrected=" in x["settings"] for x in d) == 2' 'all(("corrected=" in x["settings"]) == (x["tokens"]["corrected"] > 0) == ("evidence" in x) for x in d)'
run 0 eval --methods infoflow,infoflow:uncorrected --fidelity -o e.jsonl q.jsonl; says '2 answers are in e.jsonl already'
run 0 eval --correction none --methods infoflow,infoflow:uncorrected --fidelity -o e.jsonl q.jsonl; says '1 answers? (is|are) in e.jsonl already'
run 2 eval --correction none --methods infoflow:corrected -o e.jsonl q.jsonl; says 'there is no correction for infoflow'

# calibrate measures whether it helps; where it does not, the profile does without unless it is named.
run 0 calibrate --limit 2 --chunk 100 -o profile a.txt b.txt; says '20 settings: .*, without the correction and without drift,'
prints '^repair +infoflow, .*, chunks after 2 fillers, uncorrected +0\.15 '; prints '^repair +infoflow, .*, chunks after 2 fillers, no drift '
json profile '[(r["correct"], r["drift"]) for r in d["measured"] if r["stage"] == "repair"] == [(False, True), (True, False)]' 'd["correct"] and d["drift"]' \
    'len({r["kl"]["mean"] for r in d["measured"][:1] + d["measured"][2:4]}) == 3'
# It says which correction it was measured with; another one, or none, is warned of.
json profile 'len(d["correction"]) == 32'
run 0 ask --profile profile -q 'Where?' --max-tokens 1 a.txt b.txt; ! grep -q 'was measured with' err || fail "a warning of the same correction"
run 0 ask --profile profile --correction none -q 'Where?' --max-tokens 1 a.txt b.txt; says 'warning: the profile profile was measured with the correction [0-9a-f]{8}, and now there is none; calibrate again'
run 0 eval --profile profile --correction none --methods none -n 1 -o other.jsonl q.jsonl; says 'was measured with the correction'
sed 's/"correction": "[0-9a-f]*"/"correction": null/' profile >none.json; run 0 ask --profile none.json -q 'Where?' --max-tokens 1 a.txt b.txt; says 'was measured with no correction, and now there is the correction'
run 0 ask --profile none.json --quiet -q 'Where?' --max-tokens 1 a.txt b.txt; [ ! -s err ] || fail "a warning with --quiet"
sed 's/"correction": "[0-9a-f]*"/"correction": 3/' profile >three.json; run 1 ask --profile three.json -q 'Where?' a.txt; says '"correction" is neither null nor an id'
sed 's/"correct": true/"correct": false/' profile >without.json
ask --profile without.json a.txt b.txt; json out 'd["tokens"]["corrected"] == 0'
ask --profile without.json --correction first a.txt b.txt; json out 'd["tokens"]["corrected"] > 0'
run 0 eval --profile without.json --methods infoflow -o w.jsonl q.jsonl; json w.jsonl '"corrected" not in d[0]["settings"]'

# What is wrong with it is said, and how to go on without.
head -c 5000 first >cut
run 1 ask --correction cut -q 'Where?' a.txt; says 'cut: no correction, or a damaged one'; says -- '--correction none'
cp cut "$place"; run 1 ask -q 'Where?' a.txt; says "$place"; run 0 ask --correction none -q 'Where?' --max-tokens 1 a.txt
run 1 eval --methods infoflow -o e.jsonl q.jsonl; says "$place"; run 0 ingest --chunk 100 a.txt
run 1 ask --correction missing -q 'Where?' a.txt; says 'missing: No such file'
run 1 ask --correction . -q 'Where?' a.txt; says 'is no correction'
run 1 ask --correction "$INFOFLOW_MODEL" -q 'Where?' a.txt; says 'correction'
run 1 ask -m "$models/llama.gguf" --correction first -q 'Where?' a.txt; says 'first is a correction for another model'
run 0 learn --chunk 100 --tokens 2000 a.txt b.txt; cmp "$place" first || fail "a damaged one is not replaced"

words 20 3 >short.txt
run 1 learn short.txt; says '1 chunk; caches are put together from 2 on'
run 1 learn --chunk 16 -o few short.txt; says 'are too few to learn from'; [ ! -e few ] || fail "something was learned from too little"
run 1 learn missing.txt; says 'missing.txt'
mkdir one two; printf 'a\0b' >one/zero.txt; : >two/empty.txt
run 1 learn one two; says 'one/zero.txt: skipped'; says 'two/empty.txt: skipped'; says '^infoflow: none of the files in these 2 directories can be used$'
run 1 learn one; says '^infoflow: one: none of its files can be used$'
run 2 learn; says 'from which documents'
run 2 learn --tokens 10 a.txt; says -- '--tokens takes'
run 1 learn --chunk 100 --tokens 1024 -o /dev/full/x a.txt b.txt; says 'cannot write'
run 0 learn --help; prints '^Usage: infoflow learn -m MODEL'
