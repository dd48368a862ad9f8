#!/usr/bin/env bash
# Signals: the first one ends what runs after one chunk at the latest, whatever is still to be prefilled; nothing that is done is lost.
. "$(dirname "$0")/data/cli.bash"
export INFOFLOW_MODEL=$models/llama.gguf

chunks() { find "$1" -path '*chunks*' -name '*.gguf' 2>/dev/null | wc -l; }
# interrupted SIGNAL STORE ARGUMENT...: sends the signal once some chunks are stored. There are hundreds, in one context. It is sent while the
# process is stopped, so that it comes before whatever is computed next: the chunk at hand may still come, and no other one does. The status
# is in $status, what was said in out and err.
interrupted() {
    local signal=$1 store=$2 n=0
    shift 2
    "$bin" "$@" -s "$store" >out 2>err <"$stdin" & local one=$!
    for _ in $(seq 6000); do
        [ "$(chunks "$store")" -ge 2 ] && break
        kill -0 $one 2>/dev/null || break
        sleep 0.01
    done
    kill -STOP $one 2>/dev/null || fail "it ended by itself: infoflow $*"
    while grep -hqvE '\) T ' /proc/$one/task/*/stat; do sleep 0.01; done
    n=$(chunks "$store"); [ "$n" -lt 590 ] || fail "nothing was left to be interrupted: infoflow $*"
    kill "-$signal" $one; kill -CONT $one
    status=0; wait $one || status=$?

    [ "$(chunks "$store")" -le $((n + 1)) ] || fail "$(($(chunks "$store") - n)) chunks came after the signal: infoflow $*"
}
# must STATUS PATTERN
must() { [ "$status" = "$1" ] || fail "status $status instead of $1"; says "$2"; }

"$python" - <<'P'
import json, random
random.seed(1)
words = "the sea a ship bright harbour went over old stone to light keeper and river of north wind small house".split()
passages = [" ".join(random.choices(words, k=8)) for i in range(600)]
with open("data.jsonl", "w") as f:
    for i in range(2):
        print(json.dumps({"id": str(i), "question": "Where is the sea?", "answers": ["x"], "passages": passages}), file=f)
with open("docs.jsonl", "w") as f:
    for p in passages:
        print(json.dumps({"text": p}), file=f)
P
interrupted TERM eval_store eval --ctx 40000 --methods full,none -o eval.jsonl data.jsonl; must 130 'interrupted; the same command goes on'
[ ! -s eval.jsonl ] || fail "a record of a question that was not asked"
interrupted INT learn_store learn --alone -o learned.gguf docs.jsonl; must 130 'nothing was learned'
[ ! -e learned.gguf ] || fail "something was learned"
interrupted TERM ingest_store ingest docs.jsonl; must 130 'goes on where this one stopped'
interrupted INT calibrate_store calibrate -o profile.json docs.jsonl; [ "$status" = 130 ] || fail "status $status"
# An interrupt stops the answer, not the chat; the second answer is another command's matter.
printf 'Where?\n/stats\n' >questions; stdin=questions
interrupted INT chat_store chat --ctx 40000 docs.jsonl; must 0 '^\[stopped\]$'; says '^nothing was asked yet$'
stdin=/dev/null

# A source that does not come, and a lock that somebody holds, are no reason to stay.
mkfifo fifo
for arguments in "ingest fifo" "ask -q x fifo" "learn fifo" "eval --methods none -o o fifo"; do
    # shellcheck disable=SC2086
    "$bin" $arguments -s fifo_store -m "$models/llama.gguf" >out 2>err </dev/null & one=$!
    exec 9>fifo # opened once it is being read
    sleep 0.2; kill -TERM $one; status=0; wait $one || status=$?
    exec 9>&-
    [ "$status" = 130 ] || fail "status $status from: infoflow $arguments"
done
mkdir place; "$bin" bench -s place -c 512 --turns 9 --only ttft --quiet >out 2>err & one=$!
for _ in $(seq 500); do [ "$(chunks place)" -ge 1 ] && break; kill -0 $one || fail "bench ended: $(cat err)"; sleep 0.02; done
kill -TERM $one; status=0; wait $one || status=$?
[ "$status" = 130 ] || fail "status $status from bench"
[ -z "$(ls place)" ] || fail "bench left its store"
