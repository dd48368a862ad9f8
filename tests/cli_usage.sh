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
# A page of help of every day fits a terminal of 80 columns and 24 lines; the whole of it is as wide, and has every option in a group.
fits() {
    [ "$(wc -l <out)" -le 24 ] || [ "${2:-}" = any ] || fail "$1: more than 24 lines"
    ! grep -nE '.{81}' out || fail "$1: more than 80 columns"
}
run 0 help; fits help
for command in ingest ask chat eval learn calibrate bench methods info "store list" "store show" "store verify" "store pin" "store unpin" "store delete" "store prune"; do
    # shellcheck disable=SC2086
    run 0 $command --help; fits "$command --help"; grep -oE '^  (-., |    )--[a-z-]+' out >everyday || true
    # shellcheck disable=SC2086
    run 0 $command --help all; fits "$command --help all" any; cp out whole; grep -oE '^  (-., |    )--[a-z-]+' out >all
    [ "$(sort all | uniq -d)" = '' ] || fail "$command --help all lists an option twice"
    [ -z "$(grep -vxF -f all everyday)" ] || fail "$command --help has options that --help all lacks"
    # shellcheck disable=SC2086
    run 0 help $command all; cmp -s out whole || fail "help $command all is another text"
    # shellcheck disable=SC2086
    run 0 $command --help=all; cmp -s out whole || fail "$command --help=all is another text"
    # The options that the command takes are those of its tables, and completion has them from there.
    # shellcheck disable=SC2016
    { grep -oE -- '--[a-z-]+$' all; } | sort >listed
    "$bin" completion bash | sed -n "/^        '$command')/,/esac/s/.*_infoflow_options '\(.*\)'.*/\1/p" | tr ' ' '\n' | grep -- -- | sort >completed
    cmp -s listed completed || fail "$command --help all lists other options than it takes: $(diff listed completed)"
done
for command in ingest ask chat eval learn calibrate bench; do
    run 0 "$command" --help; [ "$(grep -cE '^  (-., |    )--' out)" -le 14 ] && prints '--help all shows all' || fail "$command --help"
    run 0 "$command" --help all; for group in Options Computing; do prints "^$group:\$"; done
done
run 2 ask --help=some; says "not 'some'"
run 0 ask --help all
for option in method ratio score-layers score-text system instruction max-tokens temp seed threads device ctx ubatch chunk kv-type no-mmap \
    no-repack exact json scores positions given html quiet no-store whole; do
    prints "--$option( |\$)"
done
[ "$(grep -oE 'efault: ' out | wc -l)" -ge 20 ] || fail "defaults are missing in ask --help all"
# What a command cannot take is not offered: method given needs --given, which is ask's.
prints '^ +staleness, union, product, given\.$'
run 0 chat --help all; ! grep -q given out || fail "chat offers method given"
run 2 chat -m m.gguf --method given d.txt; says "takes one of infoflow.*product, not 'given'"
# Completion of shells.
run 2 completion; says 'bash or zsh'; run 2 completion fish; says 'bash or zsh'
run 0 completion bash; cp out complete.bash
cat >try.bash <<'B'
. ./complete.bash
# try WORD...: what completes the last word.
try() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=(); _infoflow; printf '%s\n' "${COMPREPLY[@]}"; }
compopt() { :; }
[ "$(try infoflow as)" = ask ] || exit 1
[ "$(try infoflow store p | sort | tr '\n' ' ')" = 'pin prune ' ] || exit 2
[ "$(try infoflow ask --method epic | sort | tr '\n' ' ')" = 'epic epic-ratio ' ] || exit 3
[ "$(try infoflow ask --rat)" = --ratio ] || exit 4
[ "$(try infoflow ask -m complete.ba)" = complete.bash ] || exit 5
[ -z "$(try infoflow ask --ratio '')" ] || exit 6
[ "$(try infoflow store prune --ol)" = --old ] || exit 7
[ -z "$(try infoflow chat --method given)" ] || exit 8
B
bash try.bash || fail "completion of bash: line $? of its trials"
run 0 completion zsh; cp out _infoflow
if command -v zsh >/dev/null; then zsh -n _infoflow || fail "the completion of zsh is no script of zsh"; fi

run 2; says 'Usage: infoflow'
run 2 frobnicate; says "no command 'frobnicate'$"; run 2 aks; says 'did you mean `infoflow ask`'; run 2 ingets; says 'did you mean `infoflow ingest`'
run 2 help ask foo; says "'foo' is no part"; run 0 help store list; run 0 help store list all
run 2 store lits; says 'did you mean `infoflow store list`'
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
--max-size 20 | --max-size 20 is only 20 bytes: write a unit, like 500M or 20G .or 20B.
--max-size 1048575 | is only 1048575 bytes
--rato 0.3 | there is no option --rato; did you mean --ratio\?
--maxtokens=3 | there is no option --maxtokens; did you mean --max-tokens\?
--xyzzy | there is no option --xyzzy$
--help d.txt | --help takes nothing, or all, not 'd.txt'
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
# Backends of ggml are not taken from the working directory, where anybody may have put a library.
echo '#include <unistd.h>
__attribute__((constructor)) static void loaded(void) { (void)!write(1, "LOADED\n", 7); }' | cc -shared -fPIC -x c - -o libggml-cuda-mine.so
cp libggml-cuda-mine.so libggml-cpu-mine.so
run 0 info; ! grep -q LOADED out || fail "a library of the working directory was loaded"
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
