#!/usr/bin/env bash
# Help is complete, and every wrong command line is named with status 2, before anything is loaded.
. "$(dirname "$0")/data/cli.bash"

run 0 --version; prints '^infoflow [0-9]+\.[0-9]+\.[0-9]+$'
run 0 help; prints '^Usage: infoflow COMMAND'
run 0 --help; prints '^Example:'
for command in ingest ask chat eval bench info "store list" "store show" "store verify" "store pin" "store unpin" "store delete" "store prune"; do
    # shellcheck disable=SC2086 # two words are two arguments
    run 0 $command --help; prints "^Usage: infoflow $command "; prints '^Options:|^Asking:'; prints '^Example:'; prints '  -h, --help'
    # shellcheck disable=SC2086
    run 0 help $command; prints "^Usage: infoflow $command "
done
run 0 ask --help
for option in method ratio score-layers score-text system instruction max-tokens temp seed threads device ctx ubatch chunk kv-type no-mmap \
    no-repack exact json scores positions given html quiet no-store whole; do
    prints "--$option( |\$)"
done
[ "$(grep -cE 'default: ' out)" -ge 14 ] || fail "defaults are missing in ask --help"

run 2; says 'Usage: infoflow'
run 2 frobnicate; says "no command 'frobnicate'"
run 2 --frobnicate; says 'no option --frobnicate'
run 2 store; says 'Usage: infoflow store'
run 2 store frobnicate; says "no action 'frobnicate'"
run 2 store -s x list; says 'an action comes first'
run 2 store show; says 'which ones'
run 2 store list extra; says "'extra'"

ask="ask -m m.gguf -q Who? d.txt"
# shellcheck disable=SC2086
while read -r arguments; do
    pattern=${arguments#* | } arguments=${arguments%% | *}
    run 2 $ask $arguments
    says "$pattern"
    says 'infoflow ask --help'
done <<'T'
--frobnicate | no option --frobnicate
-Z | no option -Z
--json=1 | --json takes no value
--no- | --no- can mean several options
--ratio | --ratio needs a value
--ratio 1.5 | --ratio takes a number from 0 to 1, not '1.5'
--ratio nan | --ratio takes a number from 0 to 1, not 'nan'
--ratio 0.1x | not '0.1x'
--threads 0 | --threads takes a whole number from 1 to 512, not '0'
--threads 2.5 | not '2.5'
--max-tokens -1 | --max-tokens takes a whole number
--max-tokens 99999999999999999999 | --max-tokens takes a whole number
--temp hot | --temp takes a number from 0 to 100, not 'hot'
--seed -3 | --seed takes a whole number from 0 on, below 2.64, not '-3'
--score-layers 1,,2 | --score-layers takes layer numbers separated by commas
--score-layers first | not 'first'
--score-text answer | --score-text takes one of question.prompt, not 'answer'
--method magic | --method takes one of infoflow.*product.given, not 'magic'
--kv-type f32 | --kv-type takes one of f16.q8_0, not 'f32'
--max-size 20X | --max-size takes a number of bytes from 1 on, like 500M or 20G, not '20X'
--max-size -1 | not '-1'
--scores | --scores goes with --json
T
run 2 ask -m m.gguf d.txt; says 'Give -q QUESTION'
run 2 ask -m m.gguf -q Who?; says 'over which documents'
run 2 ask -q Who? d.txt; says 'which model'
run 2 ingest -m m.gguf; says 'which documents'
run 2 chat -m m.gguf -; says 'standard input has the questions'
run 2 eval -m m.gguf d.jsonl; says 'Give --output'
run 2 eval -m m.gguf -o o.jsonl; says 'which questions'
run 2 eval -m m.gguf -o o.jsonl --methods full,magic d.jsonl; says "magic"
[ ! -e "$tmp/.cache" ] || fail "a wrong command line made a store"

run 0 info; prints '^devices +.*CPU'; prints '^architectures +llama, qwen2, qwen3, gemma3'
run 0 info -m "$models/gemma3.gguf"; prints '^window +24 tokens, in all layers but 2'; prints '^scoring layers +[0-9]+, [0-9]+$'
run 0 info -m "$models/gemma3.gguf" --json; json out 'len(d["model"]["score_layers"]) == 2'; run 0 info -m "$models/qwen3.gguf" --json; json out 'd["model"]["score_layers"] is None'
run 0 info -m "$models/qwen3.gguf" --json; json out 'd["model"]["architecture"] == "qwen3"' 'len(d["model"]["fingerprint"]) == 32' '"CPU" in d["devices"]'
# Without the laboratory: its commands are not listed, and asking for one says why.
bin=$INFOFLOW_WITHOUT_LAB
run 0 help; prints '^  ask '; for command in eval learn calibrate bench; do
    if grep -q "^  $command " out; then fail "$command is listed though this build lacks it"; fi
done
for command in eval learn calibrate bench; do
    run 2 "$command" --help; says "this build has no command '$command': .*INFOFLOW_LAB"
done
run 0 ask --help; prints '^Usage: infoflow ask '
bin=$INFOFLOW_BIN
"$bin" help >/dev/full 2>err && fail "a full standard output went unnoticed"
says 'standard output'
