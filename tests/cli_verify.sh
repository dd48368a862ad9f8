#!/usr/bin/env bash
# The gate: which answers are checked, what an answer that does not pass leads to, and how it is told.
. "$(dirname "$0")/data/cli.bash"
export INFOFLOW_STORE=$tmp/store INFOFLOW_MODEL=$models/llama-3.gguf
words 120 1 >a.txt; words 90 2 >b.txt
asking=(--chunk 40 --max-tokens 12 --threads 1)

# Not asked for: not checked. Asked for: full prefill's share of the answer's own tokens, which `none` does not fully have.
run 0 ask -q 'Where is the ship?' "${asking[@]}" --json a.txt b.txt; cp out plain.json
json plain.json 'd["verified"] is False' 'd["agreement"] is None' 'd["profile"] is None'
run 0 ask -q 'Where is the ship?' "${asking[@]}" --method none --verify 1 --verify-min 0 --json a.txt b.txt; cp out none.json
json none.json 'd["verified"] is True' '0 <= d["agreement"] < 1' 'd["agreement_kl"] > 0.01' 'd["method"] == "none"' 'round(d["agreement"] * d["tokens"]["generated"], 6) % 1 == 0'
[ ! -s err ] || fail "a warning though it passed"

# Below the minimum it goes up: twice the ratio each time, then in full, which agrees with itself; the answer is full prefill's.
run 0 ask -q 'Where is the ship?' "${asking[@]}" --method full --json a.txt b.txt; cp out full.json
run 0 ask -q 'Where is the ship?' "${asking[@]}" --method none --verify 1 --verify-min 1 --json a.txt b.txt; cp out up.json
says 'warning: none agrees with full prefill on 0\.[0-9]+ of .* less than 1\.00; asking again, .* infoflow at ratio 0\.15'
json up.json 'd["agreement"] == 1' 'd["verified"]' 'd["method"] in ("infoflow", "full")'
for method in random epic-ratio; do
    run 0 ask -q 'Where is the ship?' "${asking[@]}" --method $method --ratio 0.02 --verify 1 --verify-min 1 a.txt b.txt
    "$python" - <<'P' || fail "the ratio does not go up as it should"
import re
steps = re.findall(r"at ratio (\S+) agrees .* with (?:\S+ at ratio (\S+)|full)\n", open("err").read())
assert steps and steps[0][0] == "0.02", steps
for was, now in steps:
    assert (now == "" if was == "0.60" else float(now) == min(2 * float(was), 0.6)), (was, now)
assert all(a[1] == b[0] for a, b in zip(steps, steps[1:])), steps
P
done
says 'verified      *yes: 1\.00 of the'
run 0 ask -q 'Where is the ship?' "${asking[@]}" --method none --verify 1 --verify-min 1 --quiet a.txt b.txt
[ ! -s err ] || fail "--quiet still warns"
[ "$(value up.json 'd["answer"]')" = "$(cat out)" ] || fail "the printed answer is not the one that passed"
[ "$(value up.json 'd["method"] != "full" or d["answer"] == json.load(open("full.json"))["answer"]')" = True ] || fail "in full is not full prefill's answer"

# In a chat the higher ratio stays for later questions from scratch; a follow-up is not checked.
printf 'Where is the ship?\nAnd the light?\n/again Where is the ship?\n/stats\n' >questions
stdin=questions run 0 chat "${asking[@]}" --method none --verify 1 --verify-min 1 --json a.txt b.txt; cp out chat.jsonl
json chat.jsonl 'd[0]["verified"] and d[0]["agreement"] == 1' 'not d[1]["verified"]' 'd[2]["verified"]' 'd[2]["method"] == d[0]["method"] != "none"' 'd[2]["ratio"] == d[0]["ratio"]'
[ "$(grep -c 'asking again' err)" -ge 1 ] && [ "$(grep -c 'none agrees' err)" = 1 ] || fail "the second question began at the bottom again"
stdin=questions run 0 chat "${asking[@]}" --verify 1 --verify-min 0 a.txt b.txt; says 'verified  *yes: '

# Which questions are checked is drawn from them: a repeated run checks the same ones; about the share, and more with a greater share.
for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16; do
    printf '{"id": "%d", "question": "Where is ship %d?", "answers": ["sea"], "passages": ["%s", "%s"]}\n' $i $i "$(words 20 $i | tr '\n' ' ')" "$(words 20 3$i | tr '\n' ' ')"
done >data.jsonl
run 0 eval --methods full,none,infoflow --max-tokens 4 --threads 1 --verify 0.5 --quiet -o half.jsonl data.jsonl
prints 'none: [0-9]+ of 16 answers verified, agreement 0\.[0-9]+, [0-9]+ below 0\.80'
run 0 eval --methods none --max-tokens 4 --threads 1 --verify 0.5 --quiet -o again.jsonl data.jsonl
run 0 eval --methods none --max-tokens 4 --threads 1 --verify 1 --quiet -o all.jsonl data.jsonl
"$python" - <<'P' || fail "the wrong answers are checked"
import json
load = lambda p: [json.loads(l) for l in open(p)]
checked = lambda rows, m: [r["id"] for r in rows if r["method"] == m and r.get("verified")]
half, again, all_ = load("half.jsonl"), load("again.jsonl"), load("all.jsonl")
assert checked(half, "none") == checked(half, "infoflow") == checked(again, "none"), "not the same ones"
assert 3 <= len(checked(half, "none")) <= 13 and not checked(half, "full")
assert len(checked(all_, "none")) == 16
assert all(0 <= r["agreement"] <= 1 and r["answer"] == s["answer"] for r, s in zip(all_, [r for r in half if r["method"] == "none"]))
assert all("agreement" not in r for r in half if not r.get("verified"))
P
# A record without the check that is asked for is asked again, one with it is not.
run 0 eval --methods none --max-tokens 4 --threads 1 --verify 1 -o again.jsonl data.jsonl
says "$("$python" -c 'import json; print(sum(1 for l in open("half.jsonl") if json.loads(l)["method"] == "none" and json.loads(l).get("verified")))') answers are in"

# Options that do not go together.
run 2 ask -q x --method full --verify 1 a.txt; says 'verify checks against full prefill'
run 2 ask -q x --verify-min 0.5 a.txt; says 'verify-min goes with --verify'
run 2 ask -q x --verify 2 a.txt; says 'verify takes a number from 0 to 1'
