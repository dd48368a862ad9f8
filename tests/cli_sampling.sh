#!/usr/bin/env bash
# Sampling by the command: its options, grammars, stop strings, and what the report says of them.
. "$(dirname "$0")/data/cli.bash"
export INFOFLOW_STORE=$tmp/store INFOFLOW_MODEL=$models/qwen2.gguf
words 40 1 >a.txt
answer() { value "${1:-out}" 'd["answer"]'; }

# Neutral values are greedy's answer, and leave no trace; others are in the report.
run 0 ask -q 'Where?' -n 20 --json a.txt; cp out greedy; json out '"sampling" not in d' '"stopped_by" not in d'
run 0 ask -q 'Where?' -n 20 --top-k 0 --top-p 1 --min-p 0 --repeat-penalty 1 --presence-penalty 0 --frequency-penalty -0 --json a.txt
[ "$(answer)" = "$(answer greedy)" ] || fail "neutral values change the answer"; json out '"sampling" not in d'
run 0 ask -q 'Where?' -n 20 --temp 2 --top-k 1 --seed 5 --json a.txt; [ "$(answer)" = "$(answer greedy)" ] || fail "--top-k 1 is not greedy"
json out 'd["sampling"] == {"temperature": 2, "seed": 5, "top_k": 1}'
run 0 ask -q 'Where?' -n 20 --temp 2 --top-p 0 --json a.txt; [ "$(answer)" = "$(answer greedy)" ] || fail "--top-p 0 is not greedy"
run 0 ask -q 'Where?' -n 20 --temp 2 --min-p 1 --json a.txt; [ "$(answer)" = "$(answer greedy)" ] || fail "--min-p 1 is not greedy"
for penalty in --repeat-penalty=5 --presence-penalty=2 --frequency-penalty=2 --presence-penalty=-2 "--frequency-penalty=-2 --top-k 5"; do
    # shellcheck disable=SC2086
    run 0 ask -q 'Where?' -n 60 $penalty --json a.txt; answer >>penalised; json out 'len(d["sampling"]) == 1'
done
[ "$(sort -u penalised | wc -l)" -gt 2 ] || fail "penalties do nothing"
run 0 ask -q 'Where?' -n 60 --repeat-penalty 5 --penalty-last-n 0 --json a.txt; cp out none; run 0 ask -q 'Where?' -n 60 --json a.txt
[ "$(answer)" = "$(answer none)" ] || fail "penalties look at 0 tokens and see some"
run 0 ask -q 'Where?' -n 60 --repeat-penalty 5 --penalty-last-n 3 --json a.txt
json out 'd["sampling"] == {"repeat_penalty": 5, "penalty_last_n": 3}'

# A grammar: every answer is a sentence of it, of a chat, too; its file can begin with a byte-order mark.
printf '\xef\xbb\xbf# an object\nroot ::= "{\\"n\\": " [0-9]{1,3} ", \\"name\\": \\"" [a-z]{1,8} "\\"}"\n' >object.gbnf
for seed in 1 2 3 4; do
    run 0 ask -q 'Where?' -n 60 --temp 2 --seed $seed --grammar object.gbnf --json a.txt
    json out 'd["finish"] == "stop"' 'json.loads(d["answer"])["n"] < 1000 and len(json.loads(d["answer"])["name"]) < 9' 'd["sampling"]["grammar"] == "object.gbnf"'
done
run 0 ask -q 'Where?' -n 60 --grammar object.gbnf --quiet a.txt; json out 'd["name"].isalpha()'
printf 'Where?\nAnd who?\n' >questions
stdin=questions run 0 chat -n 60 --grammar object.gbnf --json a.txt; cp out chat.jsonl; json chat.jsonl 'len(d) == 2' 'all(json.loads(a["answer"])["name"] for a in d)'
run 0 ask -q 'Where?' -n 3 --grammar object.gbnf --json a.txt; json out 'd["finish"] == "length"' '"{\"n\": ".startswith(d["answer"][:6])'

# Bad ones: status 1, what is wrong and where, before anything is prefilled; nothing else on standard error.
printf 'root ::= "a" |\n    b\n' >bad.gbnf; run 1 ask -q 'Where?' --grammar bad.gbnf a.txt
says '^infoflow: the grammar, line 2, column 5: there is no rule b$'; [ "$(wc -l <err)" = 1 ] || fail "more is said"
printf 'root ::= root "a"\n' >bad.gbnf; run 1 ask -q 'Where?' --grammar bad.gbnf a.txt; says 'begins with itself'
: >bad.gbnf; run 1 ask -q 'Where?' --grammar bad.gbnf a.txt; says 'no rule root'
stdin=questions run 1 chat --grammar bad.gbnf a.txt; says 'no rule root'
run 1 ask -m missing.gguf -q 'Where?' --grammar missing.gbnf a.txt; says '--grammar missing.gbnf: .*No such file'
run 1 ask -m missing.gguf -q 'Where?' --grammar . a.txt; says '--grammar \.: '
printf 'root ::= "\xe4"\n' >latin.gbnf; run 1 ask -m missing.gguf -q 'Where?' --grammar latin.gbnf a.txt; says '--grammar latin.gbnf: '
run 2 ask -m missing.gguf -q 'Where?' --grammar - a.txt; says 'not standard input'
run 2 chat -m missing.gguf --grammar - a.txt; says 'not standard input'

# Stop strings: what comes before is the answer, streamed and in JSON; the first that is complete counts.
printf 'root ::= "One. Two; three \xe2\x82\xac four"\n' >said.gbnf
run 0 ask -q 'Where?' --grammar said.gbnf --quiet a.txt; prints '^One. Two; three € four$'
run 0 ask -q 'Where?' --grammar said.gbnf --stop '; three' --stop 'four' --quiet a.txt; prints '^One. Two$'; [ "$(wc -l <out)" = 1 ] || fail "more than a line"
run 0 ask -q 'Where?' --grammar said.gbnf --stop four --stop €  --json a.txt
json out 'd["answer"] == "One. Two; three "' 'd["finish"] == "stop"' 'd["stopped_by"] == "€"' 'd["sampling"]["stop"] == ["four", "€"]'
run 0 ask -q 'Where?' --grammar said.gbnf --stop O --json a.txt; json out 'd["answer"] == ""' 'd["stopped_by"] == "O"'
run 0 ask -q 'Where?' --grammar said.gbnf --stop O a.txt; [ "$(cat out)" = "" ] || fail "not empty"; ! grep -q 'was cut' err || fail "a stop string is said to cut"
run 0 ask -q 'Where?' --grammar said.gbnf --stop 'four!' --json a.txt; json out 'd["answer"].endswith("four")' '"stopped_by" not in d'
stdin=questions run 0 chat --grammar said.gbnf --stop ' three' --quiet a.txt; [ "$(grep -c '^One. Two;$' out)" = 2 ] || fail "follow-ups do not stop"
many=(); for i in $(seq 16); do many+=(--stop "zz$i"); done
run 0 ask -q 'Where?' -n 3 --quiet "${many[@]}" a.txt
run 2 ask -m missing.gguf -q 'Where?' "${many[@]}" --stop more a.txt; says "can be given 16 times, not 'more'"
run 2 ask -m missing.gguf -q 'Where?' --stop '' a.txt; says '1 to 256 bytes'
run 2 ask -m missing.gguf -q 'Where?' --stop "$(printf 'a\xc3')" a.txt; says 'UTF-8'

# An answer that is checked keeps its grammar and stop strings.
run 0 ask -q 'Where?' --grammar said.gbnf --stop ';' --verify 1 --verify-min 0 --json a.txt; json out 'd["answer"] == "One. Two"' 'd["verified"]'

# A JSON schema, where the build has the distribution's converter.
cat >person.json <<'J'
{"type": "object", "properties": {"name": {"type": "string", "maxLength": 8}, "age": {"type": "integer", "minimum": 0, "maximum": 120}}, "required": ["name", "age"]}
J
seeds="1 2 3"
[ "$INFOFLOW_TEMPLATES" = 1 ] || { seeds=; run 1 ask -q 'Who?' --json-schema person.json a.txt; says '--json-schema person.json: .*(build|version)'; }
for seed in $seeds; do
    run 0 ask -q 'Who?' -n 200 --temp 2 --seed $seed --json-schema person.json --json a.txt
    json out 'd["finish"] == "stop"' 'd["sampling"]["json_schema"] == "person.json"' 'set(json.loads(d["answer"])) == {"name", "age"}' \
        'len(json.loads(d["answer"])["name"]) <= 8' '0 <= json.loads(d["answer"])["age"] <= 120'
done
run 2 ask -q 'Who?' --json-schema person.json --grammar object.gbnf a.txt; says 'exclude one another'
run 1 ask -q 'Who?' --json-schema missing.json a.txt; says '--json-schema missing.json: '
printf '{"type": ' >torn.json; run 1 ask -q 'Who?' --json-schema torn.json a.txt; says '--json-schema torn.json: line 1, column 9: '
printf '{"type": "object",\n"a": 1 2}' >torn.json; run 1 ask -q 'Who?' --json-schema torn.json a.txt; says '--json-schema torn.json: line 2, column 8: '
echo '{"type": "strin"}' >odd.json; run 1 ask -q 'Who?' --json-schema odd.json a.txt; says '--json-schema odd.json: at #: unrecognized type strin$'
run 2 ask -q 'Who?' --json-schema - a.txt; says '--json-schema takes a file'

# Help has them in a group of their own.
for command in ask chat; do
    run 0 "$command" --help all; sed -n '/^Sampling:/,/^$/p' out >group
    for option in temp seed top-k top-p min-p repeat-penalty presence-penalty frequency-penalty penalty-last-n grammar json-schema stop; do
        grep -q -- "--$option " group || fail "$command --help: no --$option under Sampling"
    done
done
