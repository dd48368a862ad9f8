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
interrupted INT learn_store learn --fillers 0 -o learned.gguf docs.jsonl; must 130 'nothing was learned'
[ ! -e learned.gguf ] || fail "something was learned"
interrupted TERM ingest_store ingest docs.jsonl; must 130 '^interrupted; what was computed is kept: .* goes on where this one stopped$'
interrupted INT calibrate_store calibrate -o profile.json docs.jsonl; must 130 '^interrupted; no profile was written, and what was measured is lost; computed chunks are kept$'
[ ! -e profile.json ] || fail "something was written"
interrupted INT ask_store ask -q 'Where?' --ctx 40000 docs.jsonl; must 130 '^interrupted; the chunks that were computed are kept in the store$'
interrupted HUP hup_store ingest docs.jsonl; must 130 'goes on where this one stopped'
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
# Bench removes its store whatever ends it, and no process of its goes on; a terminal that goes says so twice. To nohup it is nothing.
mkdir place
bench() { "$bin" bench -s place -c 512 --turns 99 --only ttft --quiet >out 2>err & one=$!; begun; }
begun() {
    for _ in $(seq 500); do [ "$(chunks place)" -ge 1 ] && return; kill -0 $one || fail "bench ended: $(cat err)"; sleep 0.02; done
    fail "bench does not begin"
}
for signal in TERM HUP 'HUP HUP'; do
    bench
    for one_of_them in $signal; do kill "-$one_of_them" $one || true; done
    status=0; wait $one || status=$?
    [ "$status" = 130 ] || fail "status $status from bench by $signal"
    [ -z "$(ls place)" ] || fail "bench left its store after $signal"
done
bench; worker=$(cat /proc/$one/task/*/children | tr -d ' '); [ -n "$worker" ] || fail "no process that measures"
kill -KILL $one; { wait $one || true; } 2>/dev/null
for _ in $(seq 100); do [ -e "/proc/$worker" ] && ! grep -q ') Z ' "/proc/$worker/stat" 2>/dev/null || break; sleep 0.02; done
[ ! -e "/proc/$worker" ] || grep -q ') Z ' "/proc/$worker/stat" || fail "a process that measures goes on alone"
rm -r place/*
(trap '' HUP; exec "$bin" bench -s place -c 256 --turns 2 --only ttft --quiet >out 2>err) & one=$!; begun; kill -HUP $one; wait $one || fail "status $? by a signal that is ignored"
status=0; "$bin" bench -s place --turns 1 --only load 2>err | true || status=$?
[ "$status" = 1 ] || fail "status $status where nobody reads"; says 'cannot write to standard output: Broken pipe'
[ -z "$(ls place)" ] || fail "bench left its store where nobody reads"

# Chunks that somebody else has in hand are waited for together, after all others: what is free is computed meanwhile.
"$python" - "$bin" <<'P' || fail "chunks are waited for one by one"
import fcntl, glob, json, os, signal, subprocess, sys, time
texts = ["the sea is old and the ship is north of it " * n for n in (9, 3, 4, 5)]
with open("held.jsonl", "w") as f:
    print(json.dumps({"id": "h", "question": "Where?", "answers": ["x"], "passages": texts}), file=f)
with open("other.jsonl", "w") as f:
    print(json.dumps({"text": "A store."}), file=f)
def chunks(store):
    return {os.path.basename(p) for p in glob.glob(store + "/**/chunks/**/*.gguf", recursive=True)}
subprocess.run([sys.argv[1], "ingest", "-s", "all", "held.jsonl"], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
names = chunks("all")
assert len(names) == 4, names
sizes = {os.path.basename(p): os.path.getsize(p) for p in glob.glob("all/**/chunks/**/*.gguf", recursive=True)}
held = sorted(names, key=sizes.get)[1:]  # the longest, which is asked for first, and two more
for command in (["eval", "--methods", "none", "-o", "held.out"], ["learn", "--tokens", "1024", "-o", "held.gguf"]):
    store = "held_" + command[0]
    subprocess.run([sys.argv[1], "ingest", "-s", store, "other.jsonl"], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=60)
    locks = [open(f"{store}/tmp/{name.removesuffix('.gguf')}.lease", "w") for name in held]
    for lock in locks:
        fcntl.flock(lock, fcntl.LOCK_EX)
    with open("said", "wb") as said:
        one = subprocess.Popen([sys.argv[1], *command, "-s", store, "held.jsonl"], stdout=subprocess.DEVNULL, stderr=said)
    free, end = names - set(held), time.monotonic() + 20
    while not free <= chunks(store):
        assert one.poll() is None and time.monotonic() < end, (command, open("said").read(), os.listdir(store + "/tmp"))
        time.sleep(0.02)
    assert not chunks(store) & set(held), "a lease was not one"
    one.terminate()
    assert one.wait() == 130
P
