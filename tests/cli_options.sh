#!/usr/bin/env bash
# Options: every one of every command with nonsense, contradictions, and the environment; all is refused with status 2, before a model is loaded.
. "$(dirname "$0")/data/cli.bash"
: >d.txt; : >d.jsonl
"$python" "$INFOFLOW_SOURCE/tests/data/options.py" "$bin" >out 2>err || fail "options that are not refused, see above"
[ ! -e .cache ] || fail "a wrong command line made a store"

# Bounds are in, and of an option that is given twice the last value counts.
while read -r arguments; do
    # shellcheck disable=SC2086
    run 1 ask -m missing.gguf -q x d.txt $arguments; says 'missing.gguf'
done <<'T'
--threads 512
--threads 1
--ratio 0
--ratio 1 --ratio 1e-3
--ratio 7.5e-1
--temp 100
--seed 18446744073709551615
--max-size 1B
--max-size 1048576
--max-size 1.5GiB
--max-size 20G --max-size 512MB
--score-layers -1,0,0.999,.5
--behind 0 --alone
--behind 4
--fillers 4
--whole --whole
--device CPU
--drift off --method full
--correction none --method full
--coverage 0 --ratio 0.1
T
# Names of earlier versions are taken, with a note.
run 1 ask -m missing.gguf -q x --alone --foresee --method foreseen d.txt; says '--alone is --fillers 0 now'
says '--foresee is --estimate-staleness now'; says '--method foreseen is --method staleness now'; says 'missing.gguf'
run 2 ask -m missing.gguf -q x --behind 5 d.txt; says '--fillers takes a whole number from 0 to 4'
run 2 ask -m missing.gguf -q x --alone=1 d.txt; says '--alone takes no value'
run 2 ask -m missing.gguf -q x --threads 513 d.txt; says "--threads takes a whole number from 1 to 512, not '513'"
run 2 ask -m missing.gguf -q x --ratio 0.1 --ratio 2 d.txt; says "not '2'"
run 2 store prune -s s; says 'what may remain\? Give --max-size, .* or --old'; run 2 store prune -s s --max-size 20; says 'only 20 bytes'
for command in "ask -q x --html - d.txt" "eval --methods none -o - d.jsonl" "eval --methods none -o o.jsonl --report - d.jsonl" "learn -o - d.txt" "calibrate -o - d.txt" "bench --svg -"; do
    # shellcheck disable=SC2086
    run 2 $command -m m.gguf; says '--(output|report|svg|html) writes to a file, not to standard output'; [ ! -e ./- ] || fail "a file of the name -"
done
run 2 store prune -s s --max-size 0.5; says '--max-size takes a number of bytes from 0 on'; run 1 store prune -s s --max-size 0
for command in "ask -q x" ingest learn calibrate; do
    # shellcheck disable=SC2086
    run 2 $command -m missing.gguf - d.txt -; says 'standard input, which can be read once'
done
INFOFLOW_MODEL='' run 2 ask -q x d.txt; says 'which model'
INFOFLOW_MODEL=' ' run 1 ask -q x d.txt; says 'model  :'

# The user's directories: paths that are not absolute are ignored, as the XDG base directory specification has it.
export INFOFLOW_MODEL=$models/llama.gguf; words 20 1 >d.txt
usual=$HOME/.cache/infoflow/store
for cache in cache ./cache '~/cache' '' ' /cache'; do
    rm -rf "$usual"; XDG_CACHE_HOME=$cache run 0 ingest --quiet d.txt; [ -e "$usual" ] || fail "'$cache' is not ignored"
    [ ! -e cache ] && [ ! -e "$cache/infoflow" ] || fail "a store in '$cache'"
done
rm -rf "$usual"; XDG_CACHE_HOME=$tmp/there run 0 ingest --quiet d.txt; [ -e there/infoflow/store ] || fail "an absolute path is not taken"
XDG_CACHE_HOME=$tmp/there run 0 store list; XDG_CACHE_HOME=there run 1 store list
for home in home ''; do
    HOME=$home XDG_CACHE_HOME=cache run 2 ingest d.txt; says 'neither XDG_CACHE_HOME nor HOME is an absolute path'; says 'Give -s STORE'
    HOME=$home XDG_CONFIG_HOME=conf run 2 learn -s s d.txt; says 'neither XDG_CONFIG_HOME nor HOME is an absolute path'
    HOME=$home XDG_CONFIG_HOME=conf run 2 calibrate -s s d.txt; says 'neither XDG_CONFIG_HOME nor HOME is an absolute path'
    HOME=$home XDG_CONFIG_HOME=conf run 0 ask -s s -q x -n 1 --quiet d.txt; [ ! -s err ] || fail "said: $(cat err)"
done
fingerprint=$("$bin" info -m "$INFOFLOW_MODEL" --json | "$python" -c 'import json, sys; print(json.load(sys.stdin)["model"]["fingerprint"])')
mkdir -p conf/infoflow/profiles .config/infoflow/profiles; printf 'x' >conf/infoflow/profiles/"$fingerprint".json
XDG_CONFIG_HOME=conf run 0 ask -s s -q x -n 1 --quiet d.txt; XDG_CONFIG_HOME=$tmp/conf run 1 ask -s s -q x -n 1 d.txt; says "$tmp/conf/infoflow/profiles/$fingerprint.json is no profile"
