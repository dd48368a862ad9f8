#!/usr/bin/env bash
# Eval: records of the paper's protocol, ratios, fidelity, shards, distractors, LongBench's form, resumption, malformed data, the summary.
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
for method in full none infoflow; do grep -qE "^$method +[0-9.]+ +3 +[0-9.]+ +[0-9.]+ +[0-9.]+ +[0-9.]+ +[0-9.]+%$" means || fail "no mean of $method"; done
grep -qE '^full +1.00 .* 100.0%$' means || fail "full prefill recomputes everything"

# The chunks are those of the protocol: each passage alone, as ingest stores it; nothing is left to compute.
run 0 ingest data.jsonl; says ': 0 chunks computed, 6 already stored'

# Chunks that cannot be kept are a warning; the answers are the same.
run 0 eval -s small --max-size 1K --methods none,infoflow --ratio 0.2 --output small.jsonl --limit 2 data.jsonl; says 'a chunk could not be kept: '
"$python" - <<'P' || fail "other answers with a store that holds no chunk"
import json
a, b = ({(r["id"], r["method"]): (r["raw"], r["selected"]) for r in map(json.loads, open(f))} for f in ("out.jsonl", "small.jsonl"))
assert len(b) == 4 and all(a[k] == v for k, v in b.items())
P

# A second run asks nothing; one more method asks only that; the means are over all.
cp out.jsonl before
run 0 eval --methods full,none,infoflow --ratio 0.2 --output out.jsonl data.jsonl; says '9 answers are in out.jsonl already'
cmp -s before out.jsonl || fail "the second run wrote something"
cut -d% -f1 means >m1; cut -d% -f1 out >m2; cmp -s m1 m2 || fail "other means the second time"
run 0 eval --methods infoflow --ratio 0.5 --output out.jsonl data.jsonl
# Names of earlier versions are taken, with a note, and are the same variants.
run 0 eval -s names --limit 1 --methods staleness,infoflow:fillers=0,infoflow:fillers=2+nodrift --ratio 0.2 --output names.jsonl data.jsonl
run 0 eval -s names --limit 1 --methods foreseen,infoflow:alone,infoflow:behind+nodrift --ratio 0.2 --output names.jsonl data.jsonl; says '3 answers are in names.jsonl already'
says '--methods foreseen is staleness now'; says '--methods: alone is fillers=0 now'; says '--methods: behind is fillers=2 now'
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

# Only what an interruption left of a record is cut off, and the data are never the output. What is whole without a line end stays.
printf '{"id":"q1","question":"Who?","answers":["x"],"passages":["a b c."]}' >mine.jsonl; cp mine.jsonl copy
ln mine.jsonl hard.jsonl; ln -s mine.jsonl soft.jsonl
for output in mine.jsonl ./mine.jsonl hard.jsonl soft.jsonl; do
    run 1 eval --no-store --methods none -n 4 -o $output mine.jsonl; says "^infoflow: --output $output is the data itself"
done
stdin=mine.jsonl run 1 eval --no-store --methods none -n 4 -o mine.jsonl -; says 'is the data itself'
cmp -s mine.jsonl copy || fail "the data were changed"
while IFS= read -r own; do
    printf '%s' "$own" >own.jsonl; cp own.jsonl copy
    run 1 eval --methods none --output own.jsonl data.jsonl; says 'own.jsonl:1: not a record'; cmp -s own.jsonl copy || fail "$own was changed"
    { head -n 1 before; printf '%s' "$own"; } >own.jsonl; cp own.jsonl copy
    case $own in '{'|'{"id":"q1'|'{"id":"q1"') continue;; esac # after one of ours it may be another
    run 1 eval --methods none --output own.jsonl data.jsonl; says 'own.jsonl:2: not a record'; cmp -s own.jsonl copy || fail "$own was changed"
done <<'T'
{
{"id":"q1
{"id":"q1"
{"id":"q1","question":"Who?","answers":["x"],"passages":["a b c."]}
{"id":"q1","question":"Who?","ans
{"id":"q1","method":7}
{"id":"q1","method":"none"} and more
{ "id": "q1", "method": "no
T
for n in 1 10 40; do
    { head -n 1 before; sed -n 2p before | head -c $n; } >cut.jsonl; run 0 eval --methods none --output cut.jsonl data.jsonl; says 'cut.jsonl:2: a record cut short'
    json cut.jsonl 'len(d) == 4'
done
head -n 1 before | head -c 60 >cut.jsonl; run 0 eval --methods none --output cut.jsonl data.jsonl; says 'cut.jsonl:1: a record cut short'; json cut.jsonl 'len(d) == 3'
head -n 3 before | head -c -1 >unended.jsonl; run 0 eval --methods none --output unended.jsonl data.jsonl; says '1 answers are in unended.jsonl already'; json unended.jsonl 'len(d) == 5'
# A key that comes twice says nothing certain.
printf '{"id":"1","id":"2","question":"Who?","answers":["x"],"passages":["a."]}\n' >twice.jsonl; run 1 eval --methods none -o o twice.jsonl; says 'twice.jsonl:1: not JSON: duplicate object key'

# Malformed lines are named, the others are asked, the status is 1.
{ sed -n 1p data.jsonl; echo 'not json'; echo '{"id": "x"}'; echo '{"id": "y", "question": "q", "answers": "one", "passages": ["p"]}'
  echo '{"question": "q", "answers": ["a"], "passages": ["p"]}'; echo '{"id": "z", "question": "q", "answers": ["a"], "passages": []}'
  sed -n 1p data.jsonl; echo '[]'; sed -n 2p data.jsonl; printf '{"id": "w", "question": "cu'; } >bad.jsonl
run 1 eval --methods none --output bad_out.jsonl bad.jsonl
for line in 2 3 4 5 6 7 8 10; do says "bad.jsonl:$line: "; done
json bad_out.jsonl '[r["id"] for r in d] == ["a", "2"]'
: >none.jsonl; run 1 eval --methods none --output o none.jsonl; says 'none.jsonl has no question'
run 1 eval --methods none --output o missing.jsonl; says 'cannot read missing.jsonl'
run 1 eval --methods none --output missing-dir/o data.jsonl; says 'cannot write missing-dir/o'

# A question that does not fit is named; the others are asked.
{ sed -n 1p data.jsonl; printf '{"id": "long", "question": "q?", "answers": ["a"], "passages": ["%s"]}\n' "$(words 900 1 | tr '\n' ' ')"; sed -n 2p data.jsonl; } >long.jsonl
run 1 eval --methods none --output long_out.jsonl long.jsonl; says 'long.jsonl:2: question long: .*context'
json long_out.jsonl '[r["id"] for r in d] == ["a", "2"]'

# Several ratios: methods without one run once, a ratio named twice counts once; a later run adds only what is missing.
run 0 eval --methods infoflow,none,epic-ratio --ratio 0.1,0.5,0.1 --output ratios.jsonl data.jsonl
variants='[("infoflow", 0.1), ("infoflow", 0.5), ("none", 0), ("epic-ratio", 0.1), ("epic-ratio", 0.5)]'
json ratios.jsonl "[(r['method'], r['ratio']) for r in d] == $variants * 3" 'not any("kl" in r for r in d)' \
    'all(len(r["selected"]) == max(1, math.floor(r["ratio"] * r["tokens"]["context"] + 1e-9)) for r in d if r["method"] == "infoflow")'
run 0 eval --methods infoflow --ratio 0.1,0.3,0.5 --output ratios.jsonl data.jsonl; says '6 answers are in ratios.jsonl already'
json ratios.jsonl 'len(d) == 18' 'all(r["ratio"] == 0.3 for r in d[15:])'
prints '^infoflow +0.10 +3 '; prints '^infoflow +0.30 +3 '; prints '^infoflow +0.50 +3 '
prints '^Difference to infoflow at 0.10'; [ "$(grep -c '\[' out)" = 2 ] || fail "a difference to itself"
for wrong in '' , 0.1, 1.5 -0.1 0.1,x 0.1:0.2 nan; do run 2 eval --methods none --ratio "$wrong" --output o data.jsonl; says '--ratio (takes numbers from 0 to 1|needs a value)'; done

# Fidelity: full prefill is itself, recomputing everything is full prefill, and nothing recomputed is not; the answers are the same as without.
run 0 eval --methods none,full,infoflow --ratio 0.2,1 --fidelity --output near.jsonl data.jsonl
cp out summary
json near.jsonl '[r["method"] for r in d] == ["none", "full", "infoflow", "infoflow"] * 3' \
    'all((r["kl"], r["top1"]) == (0, 1) for r in d if r["method"] == "full")' \
    'all(abs(r["kl"]) < 1e-5 and r["top1"] == 1 for r in d if r["method"] == "infoflow" and r["ratio"] == 1)' \
    'all(r["kl"] > 1e-3 for r in d if r["method"] == "none")' 'all(0 <= r["top1"] <= 1 for r in d)'
"$python" - before near.jsonl <<'P' || fail "answers or summary are not as they should be"
import json, re, sys
plain, near = ({(r["id"], r["method"], r["ratio"]): r for r in map(json.loads, open(p))} for p in sys.argv[1:])
assert all(near[k]["raw"] == r["raw"] and near[k]["selected"] == r["selected"] for k, r in plain.items())
lines = open("summary").read().split("\n")
assert all(len(line) <= 120 for line in lines)
assert lines[0].split() == "METHOD RATIO QUESTIONS F1 EM CONTAINS KL TOP-1 TTFT ms RECOMPUTED".split()
mean = lambda key, m, r: sum(v[key] for k, v in near.items() if k[1:] == (m, r)) / 3
base = mean("kl", "full", 1)
for m, r in [("none", 0), ("full", 1), ("infoflow", 0.2), ("infoflow", 1)]:
    i = next(i for i, line in enumerate(lines) if line.split()[:2] == [m, f"{r:.2f}"])
    cell = lines[i].split()
    for column, key in [(3, "f1"), (4, "em"), (5, "contains"), (6, "kl"), (7, "top1")]:
        assert abs(float(cell[column]) - mean(key, m, r)) < 6e-5, (lines[i], key)
    low, high = map(float, lines[i + 1].split()[4].split("-"))
    assert low - 6e-5 <= mean("kl", m, r) <= high + 6e-5, lines[i + 1]
difference = re.search(r"^none +0.00 +3 .* ([+-][0-9.]+) \[([+-][0-9.]+), ([+-][0-9.]+)\]$", "\n".join(lines), re.M)
value, low, high = map(float, difference.groups())
assert abs(value - mean("kl", "none", 0)) < 6e-5 and 0 < low <= value <= high
P
# Without full among the methods it is asked all the same; records without fidelity are asked again when it is wanted.
run 0 eval --methods none --fidelity --output alone.jsonl data.jsonl
"$python" - near.jsonl alone.jsonl <<'P' || fail "fidelity depends on the other methods"
import json, sys
near, alone = ([(r["id"], r["kl"], r["top1"]) for r in map(json.loads, open(p)) if r["method"] == "none"] for p in sys.argv[1:])
assert near == alone and len(alone) == 3
P
cp before again.jsonl; run 0 eval --methods none --fidelity --output again.jsonl data.jsonl
json again.jsonl 'len(d) == 12' 'all(r["method"] == "none" and r["kl"] > 0 for r in d[9:])'
run 0 eval --methods none --fidelity --output again.jsonl data.jsonl; says '3 answers are in again.jsonl already'; json again.jsonl 'len(d) == 12'

# Exact match and containment: gold answers taken from what the model says.
tail -n 1 data.jsonl >c.jsonl
run 0 eval -m $models/llama-gqa.gguf --methods none:fillers=0 -n 6 --output said.jsonl c.jsonl
"$python" - >gold.jsonl <<'P' || fail "the model does not say what this test needs"
import json
question, said = (json.loads(open(p).read()) for p in ("c.jsonl", "said.jsonl"))
words = said["raw"].split()
assert len(words) > 3 and said["raw"].isascii(), said["raw"]
for i, gold in enumerate([["nothing", "The " + said["answer"].upper() + "!"], ["nothing"], [" ".join(words[:2])]]):
    print(json.dumps(dict(question, id=i, answers=gold)))
P
run 0 eval -m $models/llama-gqa.gguf --methods none:fillers=0 -n 6 --output gold_out.jsonl gold.jsonl
json gold_out.jsonl '[r["em"] for r in d] == [1, 0, 0]' '[r["contains"] for r in d] == [1, 0, 1]' 'd[0]["f1"] == 1 and d[1]["f1"] == 0 and 0 < d[2]["f1"] < 1'
prints '^none/fillers=0 .* 0.3333 +0.6667 '

# Shards: every question is in one part; the parts joined are the whole, and nothing is left to ask.
run 0 eval --methods none --shard 1/2 --output part1.jsonl data.jsonl; prints '^none +0.00 +2 '
run 0 eval --methods none --shard 2/2 --output part2.jsonl data.jsonl; prints '^none +0.00 +1 '
json part1.jsonl '[r["id"] for r in d] == ["a", "c"]'; json part2.jsonl '[r["id"] for r in d] == ["2"]'
cat part1.jsonl part2.jsonl >joined.jsonl
run 0 eval --methods none --output joined.jsonl data.jsonl; says '3 answers are in joined.jsonl already'; prints '^none +0.00 +3 '
run 0 eval --methods none --shard 3/3 --limit 2 --output part3.jsonl data.jsonl; [ ! -s part3.jsonl ] || fail "a question behind the limit"
for wrong in 0/2 3/2 1 1/ /2 1/2/3 a/b -1/2 1/0 ''; do run 2 eval --methods none --shard "$wrong" --output o data.jsonl; says '--shard (takes a part|needs a value)'; done

# Distractors: the same ones whatever the limit and the shard; they come last, and the records are other ones.
run 0 eval --methods none,full --distractors 2 --output joined.jsonl data.jsonl
json joined.jsonl 'len(d) == 9' 'all(r["distractors"] == (0 if i < 3 else 2) for i, r in enumerate(d))'
"$python" - before joined.jsonl <<'P' || fail "two more passages are not what was added"
import json, sys
plain, more = ([json.loads(l) for l in open(p)] for p in sys.argv[1:])
plain = {r["id"]: r["tokens"]["context"] for r in plain}
assert all(r["tokens"]["context"] > plain[r["id"]] + 20 for r in more[3:])
P
run 0 eval --methods none --distractors 2 --limit 2 --shard 2/2 --output two.jsonl data.jsonl
"$python" - joined.jsonl two.jsonl <<'P' || fail "the shard changed the distractors"
import json, sys
joined, two = ([json.loads(l) for l in open(p)] for p in sys.argv[1:])
same = [r for r in joined if (r["id"], r["method"], r["distractors"]) == ("2", "none", 2)]
assert len(two) == len(same) == 1 and all(two[0][k] == same[0][k] for k in ("raw", "tokens"))
P
run 0 eval --methods none --distractors 2 --output joined.jsonl data.jsonl; says '3 answers are in joined.jsonl already'
run 1 eval --methods none --distractors 4 --output o data.jsonl; says 'data.jsonl:2: question 2 can have at most 3 distractors'
# Another order of the passages, distractors among them: the same one every time, and another one for another number.
run 0 eval --methods none,full --distractors 2 --output joined.jsonl --shuffle 1 data.jsonl
run 0 eval --methods none --distractors 2 --limit 2 --shard 2/2 --output three.jsonl --shuffle 1 data.jsonl
run 0 eval --methods full --distractors 2 --output joined.jsonl --shuffle 2 data.jsonl
run 0 eval --methods full --distractors 2 --output joined.jsonl --shuffle 0 data.jsonl; says '3 answers are in joined.jsonl already'
"$python" - joined.jsonl three.jsonl <<'P' || fail "--shuffle does not put passages into another order"
import json, sys
joined, three = ([json.loads(l) for l in open(p)] for p in sys.argv[1:])
at = lambda method, *settings: {r["id"]: r for r in joined if r["method"] == method and r["distractors"] == 2 and [w for w in r["settings"].split() if w.startswith("shuffle")] == list(settings)}
plain, first, second = at("full"), at("full", "shuffle=1"), at("full", "shuffle=2")
assert len(plain) == len(first) == len(second) == 3
for a, b in ((plain, first), (plain, second), (first, second)):
    assert all(a[i]["tokens"] | {"generated": 0} == b[i]["tokens"] | {"generated": 0} for i in a) and any(a[i]["raw"] != b[i]["raw"] for i in a)
assert len(three) == 1 and three[0]["raw"] == at("none", "shuffle=1")["2"]["raw"]
P
# With one question beside it the distractors are its passages, numbered on.
head -n 1 data.jsonl >pair.jsonl; echo '{"id": "p", "question": "What?", "answers": ["x"], "passages": ["Only\nThe only one.", "Light\nThe light is on the stone."]}' >>pair.jsonl
sed -n 1p pair.jsonl | "$python" -c 'import json; d = json.loads(input()); d["passages"].append("Only\nThe only one."); print(json.dumps(d))' >by_hand.jsonl
run 0 eval --methods full --distractors 1 --limit 1 --output pair_out.jsonl pair.jsonl
run 0 eval --methods full --output hand_out.jsonl by_hand.jsonl
"$python" - pair_out.jsonl hand_out.jsonl <<'P' || fail "a passage that is there already was taken, or the number is wrong"
import json, sys
a, b = (json.loads(open(p).read()) for p in sys.argv[1:])
assert all(a[k] == b[k] for k in ("raw", "tokens", "id")), (a, b)
P

# LongBench's form: markers make the passages of our own form; without them a context is the document that ingest stores.
"$python" - <<'P'
import json
d = [json.loads(l) for l in open("data.jsonl") if l.strip()]
with open("long_bench.jsonl", "w") as f:
    for q in d:
        context = "\n\n".join(f"Passage {i}:\n{p}" for i, p in enumerate(q["passages"], 1)) + "\n"
        f.write(json.dumps({"_id": q["id"], "input": q["question"], "answers": q["answers"], "context": context, "length": 3}) + "\n")
with open("plain.jsonl", "w") as f:
    text = "\n\n".join("The ship in Passage 1: it is the sea. " * 4 for _ in range(6))
    f.write(json.dumps({"_id": "plain", "input": "Where?", "answers": ["x"], "context": text}) + "\n")
P
run 0 eval --methods full,none,infoflow --ratio 0.2 --output long_bench_out.jsonl long_bench.jsonl
"$python" - before long_bench_out.jsonl <<'P' || fail "LongBench's form is asked otherwise than ours"
import json, sys
a, b = ([{k: json.loads(l)[k] for k in ("id", "method", "raw", "tokens", "selected")} for l in open(p)] for p in sys.argv[1:])
assert a == b
P
run 0 eval --methods none --chunk 100 --output plain_out.jsonl plain.jsonl
run 0 ingest --chunk 100 plain.jsonl; says ': 0 chunks computed, [2-9] already stored'
run 1 eval --methods none --output o <(echo '{"_id": "e", "input": "q", "answers": ["a"], "context": " \n"}'); says 'needs "passages"'

# Geometry and reordering are options and part of what a record stands for.
run 0 eval --methods none,infoflow --ratio 0.2 --output geometry.jsonl data.jsonl
run 0 eval --methods none,infoflow --ratio 0.2 --geometry hl-hp --reorder --output geometry.jsonl data.jsonl
json geometry.jsonl 'len(d) == 9' 'sum(r["method"] == "none" for r in d) == 3' \
    '{(r["geometry"], r["reorder"]) for r in d if r["method"] == "infoflow"} == {("global", False), ("hl-hp", True)}'
run 2 eval --methods infoflow --geometry round --output geometry.jsonl data.jsonl; says "--geometry takes one of global.hl-hp.hl-tp.tl-tp, not 'round'"

# Scoring layers as numbers, from the end, and as fractions of the depth (qwen2 has 4 layers): the same ones select the same tokens.
for layers in 2 -2 0.5 0.74,2 0.25 default; do
    option="--score-layers $layers"; [ $layers != default ] || option=
    # shellcheck disable=SC2086 # two words or none
    run 0 eval --methods infoflow --ratio 0.3 $option --output "layers_$layers.jsonl" data.jsonl
done
selected() { value "layers_$1.jsonl" 'd["selected"]'; }
for f in layers_*.jsonl; do head -n 1 "$f" >line && mv line "$f"; done
for layers in -2 0.5 0.74,2; do [ "$(selected $layers)" = "$(selected 2)" ] || fail "--score-layers $layers is not layer 2"; done
[ "$(selected 0.25)" != "$(selected 2)" ] || fail "layer 1 selects as layer 2 does"
[ "$(selected default)" = "$(selected 0.5)" ] || fail "0.55 to 0.625 of 4 layers are layer 2"
while read -r layers wrong; do run 2 eval --methods none --score-layers "$layers" --output o data.jsonl; says "--score-layers takes .*, not '$wrong'"; done <<'T'
0.5,1.0 1.0
0.5,-0.5 -0.5
1,, 
0.x 0.x
T
run 2 eval --methods none --score-layers "$(seq -s , 17)" --output o data.jsonl; says 'at most 16 layers'

# A record stands for every setting that can change its numbers, and no method is asked again for one that concerns others.
tail -n 1 data.jsonl >one.jsonl
again() { # again N ARGUMENT...: with these settings N records are new, and then none.
    local before after n=$1; shift
    before=$(wc -l <settings.jsonl)
    run 0 eval --methods full,none,random,infoflow "$@" --output settings.jsonl one.jsonl; after=$(wc -l <settings.jsonl)
    [ $((after - before)) = "$n" ] || fail "$((after - before)) new records instead of $n with $*"
    run 0 eval --methods full,none,random,infoflow "$@" --output settings.jsonl one.jsonl; says '4 answers are in settings.jsonl already'
}
: >settings.jsonl
again 4
"$python" - <<'P'
import json
lines = [json.loads(l) for l in open("settings.jsonl")]
assert [r.pop("settings") for r in lines] == [""] + 2 * ["fillers=2"] + ["fillers=2 drift"], lines
open("settings.jsonl", "w").writelines(json.dumps(r, separators=(",", ":")) + "\n" for r in lines) # as an older version wrote them; it had other chunks
P
again 3; again 0 --chunk 100 --kv-type f16 --score-text question -n 32
again 4 -n 5; again 1 --score-layers 0,-1; again 0 --score-layers 0,3; again 1 --score-layers 0.25; again 1 --score-text prompt; again 3 --kv-type q8_0; again 1 --seed 7
again 4 --temp 0.5; again 4 --temp 0.5 --seed 7; again 3 -n 5 --kv-type q8_0 --score-text prompt --score-layers 1 --seed 7
json settings.jsonl 'd[-1]["settings"] == "max-tokens=5 kv-type=q8_0 fillers=2 drift score-text=prompt score-layers=1"' \
    'd[-2]["settings"] == "max-tokens=5 seed=7 kv-type=q8_0 fillers=2"' 'd[-3]["settings"] == "max-tokens=5 kv-type=q8_0 fillers=2"'
# The length of chunks matters where a context is cut.
run 0 eval --methods none:fillers=0 --output cut_chunks.jsonl plain.jsonl; run 0 eval --methods none:fillers=0 --chunk 100 --output cut_chunks.jsonl plain.jsonl
json cut_chunks.jsonl '[r["settings"] for r in d] == ["fillers=0", "chunk=100 fillers=0"]' 'd[0]["raw"] != d[1]["raw"]'

# Protocol chat asks as `infoflow ask` does: the same text over the same passages, whatever it is asked by.
head -n 1 data.jsonl >chat.jsonl
asked() { run 0 ask -q "Where is the ship?" --method full --json -n 12 "$@" chat.jsonl; cp out asked.json; }
chatted() { run 0 eval --protocol chat --methods full -n 12 --output chatted.jsonl "$@" chat.jsonl; tail -n 1 chatted.jsonl >last.json; }
same() { [ "$(value asked.json '(d["answer"], d["tokens"]["context"], d["tokens"]["prompt"])')" = "$(value last.json '(d["raw"], d["tokens"]["context"], d["tokens"]["prompt"])')" ] || fail "chat is not what ask does: $*"; }
asked; chatted; same plain
asked --system "Be a keeper of light."; chatted --system "Be a keeper of light."; same system
asked --instruction "Say a word."; chatted --instruction "Say a word."; same instruction
run 0 eval --methods full --output chatted.jsonl -n 12 chat.jsonl
run 0 eval --protocol chat --methods full -n 12 --system "Be a keeper of light." --output chatted.jsonl chat.jsonl; says '1 answers are in chatted'
json chatted.jsonl 'len(d) == 4' 'len({r["settings"] for r in d}) == 4' 'len({(r["tokens"]["prompt"], r["tokens"]["context"]) for r in d}) == 4' 'd[0]["settings"] == "protocol=chat system=own max-tokens=12"'
run 0 eval --protocol chat --methods full --output long_chat.jsonl chat.jsonl; json long_chat.jsonl 'd[0]["settings"] == "protocol=chat system=own"' '32 < d[0]["tokens"]["generated"] <= 256'
run 2 eval --methods none --system "Be brief." --output o data.jsonl; says '--system goes with --protocol chat'
run 2 eval --methods none --instruction "Be brief." --protocol paper --output o data.jsonl; says '--instruction goes with --protocol chat'
run 2 eval --methods none --protocol talk --output o data.jsonl; says '--protocol takes one of paper.chat'

# Needles: the grid of lengths and depths; the text is prose without another number, of the length asked, the fact at its depth between sentences.
run 0 eval --needle 300,500,300 --depths 0,0.5,1 --repeat 2 --methods none,infoflow --output needles.jsonl
json needles.jsonl '[(r["needle_length"], r["needle_depth"]) for r in d] == [(l, x) for l in (300, 500) for x in (0, 0.5, 1) for _ in range(4)]' \
    'len({r["id"] for r in d}) == 12' 'all(l - 160 < r["tokens"]["context"] - 8 <= l for r in d for l in [r["needle_length"]])'
run 0 eval --needle 300,500 --depths 0,0.5,1 --repeat 2 --methods none,infoflow --output needles.jsonl; says '24 answers are in needles.jsonl already'
run 0 eval --needle 500 --depths 0.5 --seed 1 --methods none --output needles.jsonl; says '1 answers are in' # the second draw of seed 0 is the first of seed 1
run 0 eval --needle 300,500 --limit 3 --repeat 2 --shard 1/2 --methods none --output needles_limited.jsonl
json needles_limited.jsonl '[r["id"] for r in d] == ["needle-300-%s-0" % x for x in ("0", "0.25", "0.5")]'
for depth in 0 0.3 1; do
    run 0 eval -s "needle_store_$depth" --needle 3000 --depths $depth --chunk 3000 --ctx 4000 --methods none -n 1 --output hay.jsonl
    run 0 store list -s "needle_store_$depth" --json
    run 0 store show -s "needle_store_$depth" "$(value out 'max(d["chunks"], key=lambda c: c["tokens"])["id"]')" --tokens -m "$INFOFLOW_MODEL"
    "$python" - out $depth <<'P' || fail "the haystack is not as it should be"
import re, sys
text, depth = open(sys.argv[1]).read().split("\n\n", 1)[1].strip(), float(sys.argv[2])
needle = re.search(r"The access code of the \w+ \w+ \w+ is (\d{6})\.", text)
before, behind = text[:needle.start()], text[needle.end():]
assert re.findall(r"\d+", text) == [needle[1]] and not re.search("[{}]|access code", before + behind), text
assert (not before or before.endswith(". ")) and (not behind or behind[0] in " \n"), (before[-20:], behind[:20])
assert abs(len(before) / len(before + behind) - depth) < 0.06, (depth, len(before), len(behind))
sentences = re.split(r"(?<=\.)\s+", (before + behind).strip())
assert len(sentences) > 10 and len(set(sentences)) == len(sentences) and all(s[0].isupper() and s[-1] == "." for s in sentences), sentences
P
done
json hay.jsonl 'all(2800 < r["tokens"]["context"] - 8 <= 3000 for r in d)'
# A model that reads finds it: the number is the gold answer.
run 0 eval -m "$INFOFLOW_SMOLLM2" --needle 150 --depths 0.5 --methods full --output found.jsonl; json found.jsonl 'd[0]["contains"] == 1' 'sum(c.isdigit() for c in d[0]["raw"]) == 6'
while read -r option wrong; do run 2 eval --methods none --output o --needle 300 "$option"; says "$wrong"; done <<'T'
--needle=31 --needle takes .* from 32 to 16777216 .*, not '31'
--needle=300,4e2.5 not '4e2.5'
--needle=300.5 not '300.5'
--needle=300, not ''
--needle=300,-5 not '-5'
--needle= --needle needs a value
--depths=0.5,1.5 --depths takes numbers from 0 to 1 .*, not '1.5'
--depths=middle not 'middle'
--repeat=0 --repeat takes a whole number
--distractors=2 leave out --distractors
--shuffle=1 leave out --shuffle
data.jsonl leave out data.jsonl
T
run 2 eval --methods none --output o --depths 0 data.jsonl; says '--depths goes with --needle'
run 2 eval --methods none --output o --repeat 2 data.jsonl; says '--repeat goes with --needle'
run 1 eval --methods none --output needle_long.jsonl --needle 300,5000 --ctx 900; says '--needle 5000: .* context of 900 tokens; give at most 6[0-9][0-9]'
[ ! -e needle_long.jsonl ] || [ ! -s needle_long.jsonl ] || fail "something ran although a length does not fit"
run 1 eval --methods none --output o --needle 40; says '--needle 40: the needle alone is longer'
again 3 --fillers 0; again 1 --coverage 0.5; again 1 --coverage 0.5 --max-ratio 0.2; again 1 --fillers 0 --coverage 0.9
json settings.jsonl 'd[-1]["settings"].startswith("fillers=0 drift coverage=0.9 ")' 'd[-4]["settings"] == "fillers=0 drift"'

# LongBench's contexts as they come: a text before the first marker, carriage returns, white space, markers that are none; else paragraphs.
"$python" - <<'P'
import json
question = {"_id": "lb", "input": "Where?", "answers": ["x"], "all_classes": None, "dataset": "hotpotqa", "language": "en", "length": 9}
marked = "See below.\r\nPassage 1:\r\nShip\r\nThe ship, Passage 2: it is old.\r\n\r\nPassage 2:\r\n\n  The light.  \n\nPassage 3: The sea.\nPassage 7:\nbright\n"
passages = ["See below.", "Ship\r\nThe ship, Passage 2: it is old.", "The light.", "The sea.\nPassage 7:\nbright"]
own = {"id": "lb", "question": "Where?", "answers": ["x"], "passages": passages}
paragraphs = ["The ship is in the harbour and the light is on the stone %d." % i for i in range(3)] + ["It is old. " * 20 + "End."] + ["The keeper went."]
json.dump(paragraphs, open("paragraphs.json", "w"))
for name, line in ("lb_marked", dict(question, context=marked)), ("lb_own", own), ("lb_plain", dict(question, context="\n\n".join(paragraphs))):
    open(name + ".jsonl", "w").write(json.dumps(line) + "\n")
P
for f in marked own; do run 0 eval --methods none --output lb_${f}_out.jsonl lb_$f.jsonl; done
"$python" - lb_marked_out.jsonl lb_own_out.jsonl <<'P' || fail "markers are not where the passages are"
import json, sys
a, b = (json.loads(open(p).read()) for p in sys.argv[1:])
assert all(a[k] == b[k] for k in ("raw", "tokens", "id")), (a, b)
P
run 0 eval -s lb_store --methods none --chunk 70 --output lb_plain_out.jsonl lb_plain.jsonl
run 0 store list -s lb_store --json
for id in $("$python" -c 'import json; print(*(c["id"] for c in json.load(open("out"))["chunks"]))'); do
    run 0 store show -s lb_store "$id" --tokens -m "$INFOFLOW_MODEL"; cat out >>lb_chunks; printf '\001' >>lb_chunks
done
"$python" - <<'P' || fail "chunks are not the paragraphs"
import json, re
paragraphs = json.load(open("paragraphs.json"))
chunks = [c.split("\n\n", 1)[1] for c in open("lb_chunks").read().split("\1")[:-1]]
texts = {c.strip() for c in chunks}
assert set(paragraphs[:3]) <= texts, (paragraphs, texts) # no two of these fit a chunk
assert sum("It is old." in c for c in texts) > 1 and any(c.endswith("End.\n\nThe keeper went.") for c in texts), texts # cut; the rest fits with the next
assert all(c.endswith(".") or c.startswith("<|") for c in texts), texts
P

# Methods with settings of their own, in one run: they are variants with names of their own; what is the same is one.
run 0 eval --methods 'none,none:fillers=0,infoflow,infoflow:vatp+hl-tp+fillers=0,infoflow:reorder,full,full,none' --fidelity --output mixed.jsonl one.jsonl
json mixed.jsonl 'len(d) == 6' '[r["settings"] for r in d] == ["fillers=2", "fillers=0", "fillers=2 drift", "fillers=0 drift", "fillers=2 drift", ""]' \
    'd[3]["score"] == "vatp" and d[3]["geometry"] == "hl-tp" and d[4]["reorder"] and not d[2]["reorder"]' 'd[0]["kl"] != d[1]["kl"]'
prints '^infoflow/vatp/hl-tp/fillers=0'; prints '^none/fillers=0'; prints '^infoflow/reorder'
# Fidelity of a part of the answers is said to be that.
run 0 eval --methods none --limit 1 --fidelity --output part.jsonl data.jsonl; run 0 eval --methods none --output part.jsonl data.jsonl; prints '^none: KL and TOP-1 are of 1 of 3 questions'
run 0 eval --methods none --output part.jsonl --report part.html data.jsonl; grep -q '>none: KL and TOP-1 are of 1 of 3 questions' part.html || fail 'a page that hides of how many answers its fidelity is'
# Drift is the usual thing for infoflow alone, and a setting of every method that recomputes.
run 0 eval --methods infoflow,infoflow:drift,infoflow:nodrift,random,random:drift,none,full --fidelity --output drift.jsonl one.jsonl
json drift.jsonl '[r["settings"] for r in d] == ["fillers=2 drift", "fillers=2", "fillers=2", "fillers=2 drift", "fillers=2", ""]' \
    'd[0]["kl"] != d[1]["kl"]' 'd[2]["kl"] != d[3]["kl"]' 'd[0]["selected"] == d[1]["selected"]'
prints '^infoflow +0.15'; prints '^infoflow/nodrift '; prints '^random +0.15'; prints '^random/drift '
run 0 eval --methods infoflow --drift off --output drift.jsonl one.jsonl; says '1 answers are in drift.jsonl already'
run 0 eval --methods random --drift on --output drift.jsonl one.jsonl; says '1 answers are in drift.jsonl already'
run 2 eval --methods infoflow --drift sideways --output x.jsonl one.jsonl; says "--drift takes one of auto|on|off"
run 2 eval --methods infoflow:fast --output x.jsonl one.jsonl; says "'fast' of infoflow is no setting"
run 0 eval --methods none,none:fillers=1,none:fillers=0 --output mixed.jsonl one.jsonl; prints '^none/fillers=1 '; says '2 answers are in mixed.jsonl already'
run 2 eval --methods infoflow:fillers=5 --output x.jsonl one.jsonl; says "'fillers=5' of infoflow is no setting"
run 2 eval --methods infoflow: --output x.jsonl one.jsonl; says "'' of infoflow"

# Records are of what was asked: another question, passage, answer or order under the same id is asked again, and what was there stays.
one_question() { printf '{"id":"1","question":"%s","answers":["%s"],"passages":["%s","The lamp is red."]}\n' "$@" >changed.jsonl; }
one_question 'Where?' x 'The sea is old.'; run 0 eval --methods none,full -n 2 -o changed_out.jsonl changed.jsonl
run 0 eval --methods none,full -n 2 -o changed_out.jsonl changed.jsonl; says '2 answers are in changed_out.jsonl already'
n=2
for what in "Who?|x|The sea is old." "Where?|y|The sea is old." "Where?|x|The sea is new."; do
    IFS='|' read -r question answer passage <<<"$what"
    one_question "$question" "$answer" "$passage"; run 0 eval --methods none,full -n 2 -o changed_out.jsonl changed.jsonl
    if grep -q already err; then fail "old answers for: $what"; fi
    n=$((n + 2)); [ "$(wc -l <changed_out.jsonl)" = $n ] || fail "not asked: $what"
done
printf '{"id":"1","question":"Where?","answers":["x"],"passages":["The lamp is red.","The sea is old."]}\n' >changed.jsonl
run 0 eval --methods none,full -n 2 -o changed_out.jsonl changed.jsonl; [ "$(wc -l <changed_out.jsonl)" = $((n + 2)) ] || fail "another order is the same"
one_question 'Where?' x 'The sea is old.'; run 0 eval --methods none,full -n 2 -o changed_out.jsonl changed.jsonl; says '2 answers are in'
run 0 eval --exact --methods none,full -n 2 -o changed_out.jsonl changed.jsonl; json changed_out.jsonl 'len(d) == 12' 'all("exact" in r["settings"] for r in d[-2:])' 'all(len(r["digest"]) == 16 for r in d)'
run 0 eval --ctx 600 --methods none,full -n 2 -o changed_out.jsonl changed.jsonl; json changed_out.jsonl 'len(d) == 14'
# Records of earlier versions have no digest: they stay in the file and answer nothing.
"$python" - <<'P'
import json
records = [json.loads(line) for line in open("changed_out.jsonl")][:2]
with open("earlier.jsonl", "w") as f:
    for r in records:
        del r["digest"]
        f.write(json.dumps(r, separators=(",", ":")) + "\n")
P
run 0 eval --methods none,full -n 2 -o earlier.jsonl changed.jsonl; json earlier.jsonl 'len(d) == 4' '["digest" in r for r in d] == [False, False, True, True]'

# What does not fit is known before anything is prefilled, to the token, and said once; the others are asked.
"$python" - <<'P'
import json
words = "the sea is old and the lamp is red "
with open("fits.jsonl", "w") as f:
    for id, n in ("long", 40), ("short", 1):
        print(json.dumps({"id": id, "question": "Where?", "answers": ["x"], "passages": [words] * n}), file=f)
P
run 1 eval -s fits_store --methods none,full,infoflow -o fits.out fits.jsonl
says 'fits.jsonl:1: question long: [0-9]+ tokens of passages'; [ "$(grep -c 'question long' err)" = 1 ] || fail "said more than once"
[ "$(wc -l <fits.out)" = 3 ] || fail "the short question was not asked of all"
[ "$(find fits_store -path '*chunks*' -name '*.gguf' | wc -l)" -le 3 ] || fail "passages were prefilled in vain"
head -1 fits.out >first; need=$(value first 'd["tokens"]["context"] + d["tokens"]["prompt"]'); tail -1 fits.jsonl >short.jsonl
run 1 eval -s exact_store --ctx "$need" --methods none -n 1 -o exact.out short.jsonl; says 'short.jsonl:1: question short: .* more than the context'
[ "$(find exact_store -path '*chunks*' -name '*.gguf' | wc -l)" = 0 ] || fail "something was prefilled for a question that does not fit by one token"
run 0 eval -s exact_store --ctx $((need + 1)) --fillers 0 --methods none -n 1 -o exact.out short.jsonl

# A question whose numbers are none, or whose text this tokenizer does not do, is said to have failed; the next ones are asked.
odd_model odd.gguf
"$python" - <<'P'
import json
texts = {"odd": "A Z.", "digits": "7" * 20000, "good": "The sea is old.", "asked": "The ship is new."}
with open("odd.jsonl", "w") as f:
    for id, text in texts.items():
        print(json.dumps({"id": id, "question": "Where is Z?" if id == "asked" else "Where?", "answers": ["x"], "passages": [text, "The lamp."]}), file=f)
P
run 1 eval -m odd.gguf --methods none,full,infoflow --fidelity -o odd_out.jsonl odd.jsonl
says 'odd.jsonl:1: question odd, none: '; says 'odd.jsonl:2: question digits: a run of 20000 digits'; says 'odd.jsonl:4: question asked, infoflow: '
json odd_out.jsonl '[(r["id"], r["method"]) for r in d] == [("good", m) for m in ("none", "full", "infoflow")]'
