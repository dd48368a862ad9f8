#!/usr/bin/env bash
# Calibration: what it measures, the profile it writes, what the other commands then take from it, and profiles that are none.
. "$(dirname "$0")/data/cli.bash"
export INFOFLOW_STORE=$tmp/store INFOFLOW_MODEL=$models/llama-3.gguf
mkdir docs; for i in 1 2 3 4; do words 55 $i >docs/$i.txt; done
fast=(--chunk 48 --threads 1)

# From documents: the model writes the questions. Where the others look is where it goes.
run 0 calibrate "${fast[@]}" --limit 6 docs; says '^6 questions: full prefill, then 19 settings: chunks without and with fillers, without drift,'
cp out first
fingerprint=$(run 0 info -m "$INFOFLOW_MODEL" --json; value out 'd["model"]["fingerprint"]')
place=$HOME/.config/infoflow/profiles/$fingerprint.json
[ -s "$place" ] || fail "no profile at $place"
cp "$place" p.json
json p.json 'd["version"] == 2' 'd["n_questions"] == 6' '6 <= d["n_tokens"] <= 144' "d['fingerprint'] == '$fingerprint'" \
    'all(r["kl"]["low"] <= r["kl"]["mean"] <= r["kl"]["high"] and r["kl"]["mean"] > 0 for r in d["measured"])' \
    'len(d["measured"]) == 19 and d["measured"][0]["stage"] == "default" and d["measured"][0]["score_layers"] is None' \
    '{r["fillers"] for r in d["measured"]} == {0, 2}' '{r["score"] for r in d["measured"]} == {"norm", "mass", "entropy", "vatp", "combined"}' \
    '[(r["correct"], r["drift"]) for r in d["measured"] if r["stage"] in ("default", "chunks", "repair")] == [(True, True), (True, True), (True, False)]' \
    '{r["method"] for r in d["measured"]} == {"infoflow", "staleness", "union", "product"}'
# What is in it follows from what was measured: the rules, done again here, also where some ratios are trusted.
# Of 8 questions that these models are to write some are no text, and 6 are needed.
for model in llama-linear llama-bias qwen2-q4_0; do
    run 0 calibrate -m $models/$model.gguf "${fast[@]}" --limit 8 --no-store --quiet -o $model.json docs; mv out $model.out
done
"$python" - <<'P' || fail "the profile does not follow from its table"
import json
for name, said in (("p.json", "first"), ("llama-linear.json", "llama-linear.out"), ("llama-bias.json", "llama-bias.out"), ("qwen2-q4_0.json", "qwen2-q4_0.out")):
    d = json.load(open(name))
    rows, said = d["measured"], open(said).read()
    key = ("method", "score", "score_layers", "fillers", "correct", "drift")
    best = rows[0]
    for stage in ("chunks", "repair", "layers", "score", "method"):
        clear = [r for r in rows if r["stage"] == stage and r["kl_difference"]["high"] < 0]
        won = min(clear, key=lambda r: r["kl_difference"]["mean"], default=None)
        for r in rows:
            if r["stage"] == stage:
                assert abs(r["kl_difference"]["mean"] - (r["kl"]["mean"] - best["kl"]["mean"])) < 1e-4, r
                assert r["adopted"] == (r is won), r
                assert sum(r[k] != best[k] for k in key) == 1, (r, best)  # one choice at a time
        best = won or best
    assert all(d[k] == best[k] for k in key)
    at = {r["ratio"]: r["top1"]["mean"] for r in rows if all(r[k] == best[k] for k in key)}
    assert sorted(at) == [0.05, 0.1, 0.15, 0.2, 0.3, 0.5], at
    trusted = min((r for r in at if all(at[s] >= 0.9 for s in at if s >= r)), default=None)
    assert d["trusted_ratio"] == trusted and d["ratio"] == (0.5 if trusted is None else max(trusted, 0.15)), (trusted, d)
    assert ("None of the ratios is enough: at 0.5 the agreement is" if trusted is None else
            "Every ratio that was tried can be trusted, from 0.05 on" if trusted == 0.05 else
            "should not be trusted below ratio %g " % trusted) in said, said
P
# The chunks that are not the default's, in the profile and on the command line.
usual=$(value p.json 'd["measured"][0]["fillers"]')
if [ "$usual" = 2 ]; then other=0 word='without fillers'; else other=2 word='after 2'; fi
# Nothing is left to chance: the same again, from the store.
run 0 calibrate "${fast[@]}" --limit 6 --quiet -o again.json docs; [ ! -s err ] || fail "--quiet still talks"
[ "$(value p.json '{k: d[k] for k in d if k != "date"}')" = "$(value again.json '{k: d[k] for k in d if k != "date"}')" ] || fail "a second run measured something else"

# From questions; few of them keep the defaults.
printf '{"id": "1", "question": "Where is the ship?", "answers": ["sea"], "passages": ["%s", "%s"]}\n' "$(words 40 8 | tr '\n' ' ')" "$(words 40 9 | tr '\n' ' ')" >q.jsonl
run 0 calibrate "${fast[@]}" --no-store -o few.json --questions q.jsonl; prints 'Fewer than 6 questions tell nothing apart'
prints 'the ratio 0.15, too'; ! grep -qE 'trusted|None of' out || fail "one question says what can be trusted"
json few.json 'd["ratio"] == 0.15' 'd["trusted_ratio"] is None'
json few.json 'd["n_questions"] == 1' 'd["method"] == "infoflow"' 'd["score_layers"] is None' "d['fillers'] == $usual"

run 0 ask -q x "${fast[@]}" --max-tokens 1 --profile few.json docs; ! grep -q warning err || fail "one question warns"
# What was measured on more questions is replaced by fewer only where it is named.
run 1 calibrate "${fast[@]}" --no-store --questions q.jsonl; says "$place was measured on 6 questions and stays"; cmp -s "$place" p.json || fail "a good profile was replaced"
[ ! -s out ] || fail "something was measured for nothing"
run 0 calibrate "${fast[@]}" --no-store -o "$place" --questions q.jsonl; json "$place" 'd["n_questions"] == 1'
run 0 info -m "$INFOFLOW_MODEL"; prints 'of too few questions to say which ratio can be trusted'
run 0 calibrate "${fast[@]}" --no-store --questions q.jsonl
cp p.json "$place"

# A profile fills in what is not given, and only that.
profile() { # METHOD SCORE LAYERS BEHIND RATIO TRUSTED
    printf '{"version": 2, "fingerprint": "%s", "method": "%s", "score": "%s", "score_layers": %s, "fillers": %s, "ratio": %s, "trusted_ratio": %s}' \
        "$fingerprint" "$@"
}
profile infoflow vatp '[0, 1]' $other 0.4 0.3 >"$place"
ask=(ask -q 'Where is the ship?' "${fast[@]}" --max-tokens 4 --json)
run 0 "${ask[@]}" docs; cp out by.json; [ ! -s err ] || fail "a warning above the trusted ratio"
run 0 "${ask[@]}" --no-profile --score vatp --score-layers 0,1 --fillers $other --ratio 0.4 docs; cp out given.json
run 0 "${ask[@]}" --no-profile docs; cp out plain.json
json by.json 'd["ratio"] == 0.4' "d['profile'] == '$place'"; json plain.json 'd["ratio"] == 0.15' 'd["profile"] is None'
[ "$(value by.json 'd["selected"]')" = "$(value given.json 'd["selected"]')" ] || fail "the profile is not the options that it stands for"
[ "$(value by.json 'd["chunks"][1]["id"]')" = "$(value given.json 'd["chunks"][1]["id"]')" ] || fail "chunks are not those of the profile"
[ "$(value by.json 'd["chunks"][1]["id"]')" != "$(value plain.json 'd["chunks"][1]["id"]')" ] || fail "--no-profile takes something from it"
run 0 "${ask[@]}" --ratio 0.1 --score norm docs; cp out some.json
says 'warning: by .* should not be trusted below ratio 0\.3; this is 0\.1'; json some.json 'd["ratio"] == 0.1'
run 0 "${ask[@]}" --ratio 0.1 --quiet docs; [ ! -s err ] || fail "--quiet still warns"
run 0 "${ask[@]}" --method full docs; [ ! -s err ] || fail "a warning about full prefill"
run 0 ask -q x "${fast[@]}" --max-tokens 2 docs; says "profile  *$place"
run 0 ingest "${fast[@]}" docs; says ', [1-9][0-9]* already stored'; says ': 0 chunks computed'
run 0 info -m "$INFOFLOW_MODEL"; prints "profile .*$place: infoflow at ratio 0.4, chunks $word.*; trusted from ratio 0.3 on"
run 0 eval --threads 1 --max-tokens 3 -o e.jsonl q.jsonl; says "using the profile $place"
json e.jsonl '[r["method"] for r in d] == ["full", "none", "infoflow"]' 'd[2]["ratio"] == 0.4' 'd[2]["score"] == "vatp"' \
    '"score-layers=0,1" in d[2]["settings"]' "'fillers=$other' in d[2]['settings']"
run 0 eval --threads 1 --max-tokens 3 --methods union --ratio 0.2 --no-profile -o n.jsonl q.jsonl
json n.jsonl 'd[0]["method"] == "union"' 'd[0]["ratio"] == 0.2' 'd[0]["score"] == "norm"' "'fillers=$other' not in d[0]['settings']"
profile infoflow norm null 2 0.15 0.1 | sed 's/"ratio"/"drift": false, &/' >"$place"
run 0 info -m "$INFOFLOW_MODEL"; prints 'chunks after 2 fillers, no drift; trusted'
run 0 eval --threads 1 --max-tokens 3 --methods infoflow,infoflow:drift -o drift.jsonl q.jsonl; json drift.jsonl '["drift" in r["settings"] for r in d] == [False, True]'
run 0 eval --threads 1 --max-tokens 3 --methods infoflow --drift on -o given.jsonl q.jsonl; json given.jsonl '"drift" in d[0]["settings"]'
profile foreseen norm null 0 0.5 null >"$place"
echo 'Where?' >questions; stdin=questions run 0 chat "${fast[@]}" --max-tokens 2 --json docs; says 'at no ratio that was tried'
cp out chat.json; json chat.json 'd["method"] == "staleness"' 'd["ratio"] == 0.5'
mkdir -p elsewhere/infoflow/profiles; profile infoflow norm null 0 0.25 0.2 >elsewhere/infoflow/profiles/$fingerprint.json
XDG_CONFIG_HOME=$tmp/elsewhere run 0 "${ask[@]}" docs; cp out there.json; json there.json 'd["ratio"] == 0.25'
rm "$place"; run 0 "${ask[@]}" docs; cp out none.json; json none.json 'd["profile"] is None' 'd["ratio"] == 0.15'

# What is no profile of this model is said with its file, and nothing is answered.
bad() { # WHAT TO SAY
    run 1 "${ask[@]}" --profile bad.json docs; says "^infoflow: bad.json is no profile for .*$1"; [ ! -s out ] || fail "an answer by a bad profile"
}
printf '{"version": 2, "finger' >bad.json; bad ''
echo '[1]' >bad.json; bad 'no JSON object'
: >bad.json; bad ''
profile infoflow norm null 0 0.4 0.3 | sed 's/"version": 2/"version": 1/' >bad.json; bad "version"
profile infoflow norm null 0 0.4 0.3 | sed "s/$fingerprint/0123/" >bad.json; bad 'another model'
profile infoflow norm null 0 0.4 0.3 | sed 's/"ratio": 0.4, //' >bad.json; bad 'ratio'
profile infoflow norm null 0 '"x"' 0.3 >bad.json; bad '"ratio": Expected'
profile full norm null 0 0.4 0.3 >bad.json; bad 'method'
profile infoflow nrom null 0 0.4 0.3 >bad.json; bad 'score'
profile infoflow norm '[0, 99]' 0 0.4 0.3 >bad.json; bad 'layer that the model lacks'
profile infoflow norm null 9 0.4 0.3 >bad.json; bad 'fillers'
profile infoflow norm null 4294967298 0.4 0.3 >bad.json; bad 'fillers'
profile infoflow norm null -4294967294 0.4 0.3 >bad.json; bad 'fillers'
profile infoflow norm null 0 0.4 0.3 | sed 's/"version": 2/"version": 4294967298/' >bad.json; bad 'version'
profile infoflow norm '[4294967296]' 0 0.4 0.3 >bad.json; bad 'layer that the model lacks'
profile infoflow norm '[]' 0 0.4 0.3 >bad.json; bad 'score_layers'
profile infoflow norm null 0 1.4 0.3 >bad.json; bad 'ratio'
profile infoflow norm null 0 0.4 '"x"' >bad.json; bad 'trusted_ratio'
profile infoflow norm null 0 0.4 0.3 | sed 's/"ratio"/"drift": "off", &/' >bad.json; bad '"drift": Expected true or false'
run 1 "${ask[@]}" --profile missing.json docs; says 'missing.json'
cp bad.json "$place"; run 1 info -m "$INFOFLOW_MODEL"; says "$place"
run 0 "${ask[@]}" --no-profile docs; run 0 "${ask[@]}" --profile few.json docs
rm "$place"
run 2 ask -q x --profile few.json --no-profile docs; says 'exclude one another'

# What cannot be calibrated.
run 2 calibrate; says 'by what'
run 2 calibrate --questions q.jsonl docs; says 'exclude one another'
echo short >one.txt; run 1 calibrate --no-store one.txt; says '1 chunk; caches are put together from 2 on'
run 1 calibrate --no-store --questions missing.jsonl; says 'missing.jsonl'
mkdir x; run 1 calibrate "${fast[@]}" --limit 1 --no-store -o x docs; says 'x is a directory'; [ "$(ls)" = "$(ls | grep -v '^x\.[0-9]')" ] || fail "half a profile stays"

# A question that does not fit is left out, and said to be.
"$python" -c 'import json; print(json.dumps({"id": "long", "question": "Where?", "answers": ["x"], "passages": ["the sea is old and the lamp is red " * 60] * 9}))' | cat - q.jsonl >long_q.jsonl
run 0 calibrate --questions long_q.jsonl "${fast[@]}" --limit 2 --no-store -o long.json; says '^1 question left out: .* do not fit$'; json long.json 'd["n_questions"] == 1'
