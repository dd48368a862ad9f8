#!/usr/bin/env bash
# Chat: follow-up questions over the same context, /again, /stats, and what goes wrong in between.
. "$(dirname "$0")/data/cli.bash"
export INFOFLOW_STORE=$tmp/store INFOFLOW_MODEL=$models/llama.gguf
words 60 1 >a.txt

# The first answer is that of ask; the second one stands after it; /again starts over.
run 0 ask -q 'Where is the ship?' --max-tokens 5 --json a.txt; cp out ask
printf 'Where is the ship?\nAnd the light?\n/again Where is the ship?\n/quit\nNever read\n' >questions
stdin=questions run 0 chat --max-tokens 5 --json a.txt
[ "$(wc -l <out)" = 3 ] || fail "not three answers"
cp out chat.jsonl; head -2 out >usual.jsonl; cp ask ask.jsonl
json chat.jsonl 'd[0]["answer"] == d[2]["answer"]' 'd[0]["selected"] == d[2]["selected"]' 'd[1]["tokens"]["context"] > d[0]["tokens"]["context"]' \
    'd[1]["tokens"]["recomputed"] == 0' 'd[1]["question"] == "And the light?"' 'd[2]["tokens"]["context"] == d[0]["tokens"]["context"]'
[ "$(value ask 'd["answer"]')" = "$("$python" -c 'import json; print(json.loads(open("chat.jsonl").readline())["answer"])')" ] || fail "the first answer is not that of ask"

# same_answers A B: the same answers over the same chunks.
same_answers() {
    "$python" - "$@" <<'P' || fail "other answers: $*"
import json, sys
a, b = ([(x["answer"], x["selected"], x["chunks"]) for x in map(json.loads, open(f))] for f in sys.argv[1:])
assert a == b, (a, b)
P
}

# A follow-up says that it is one, and by which method its context was put together. Bare words that are meant as commands are ones.
printf 'Where is the ship?\nAnd the light?\nhelp\nQuit\nNever read\n' >questions
stdin=questions run 0 chat --max-tokens 5 --json --method epic-ratio --ratio 0.3 a.txt; cp out chat.jsonl; says '^/again QUESTION '
json chat.jsonl 'len(d) == 2' '[x["follow_up"] for x in d] == [False, True]' 'all(x["method"] == "epic-ratio" and x["ratio"] == 0.3 for x in d)'
printf '/statz\n exit \nNever read\n' >questions; stdin=questions run 1 chat --json a.txt; says 'no /statz here; did you mean /stats:'; [ ! -s out ] || fail "exit is a question"

# For people: answers on standard output, a line about each on standard error, no prompt where nobody sees it.
printf '/stats\n\n  \nWhere?\n/stats\nWhat else?\n' >questions
stdin=questions run 0 chat --max-tokens 3 a.txt
says 'nothing was asked yet'; says '^\[infoflow, .* recomputed; first token after'; says '^\[follow-up, '; says 'to the first token'
! grep -q '^> ' out || fail "a prompt without a terminal"
: >questions; stdin=questions run 0 chat a.txt; [ ! -s out ] || fail "an answer without a question"

# A line that is no command, and a question that does not fit, are said; the chat goes on and a script learns of it.
words 900 2 >long
{ echo /frobnicate; echo /again; tr '\n' ' ' <long; echo; echo 'Where?'; } >questions
stdin=questions run 1 chat --max-tokens 3 --quiet a.txt
says 'no /frobnicate'; says '/again.* without a question'; says 'context'; ! grep -q -- --ctx err || fail "advice that cannot help"; [ "$(wc -l <out)" -ge 1 ] || fail "the chat did not go on"
# One asked anew that fails leaves nothing to go on from: the next one begins anew, and is not refused.
{ echo 'Where?'; printf '/again '; tr '\n' ' ' <long; echo; echo 'Where?'; } >questions
stdin=questions run 1 chat --max-tokens 3 --json a.txt; cp out chat.jsonl
json chat.jsonl 'len(d) == 2' 'd[0]["answer"] == d[1]["answer"]' 'd[0]["chunks"] == d[1]["chunks"] != []'
{ tr '\n' ' ' <long; echo; } >questions; stdin=questions run 1 chat --ctx 300 a.txt; says '^--ctx sets the size of the context; this model was trained for up to 1024 tokens$'
run 1 ask -q 'Where?' --ctx 80 --quiet a.txt; says '^--ctx sets'; run 1 ingest -s ctx --ctx 80 --whole a.txt; says '^--chunk sets the length of chunks'
run 1 chat missing.txt; says 'missing.txt: no such file'

# An interrupt at the prompt ends it with 130.
mkfifo pipe
"$bin" chat a.txt <pipe >o 2>e & one=$!
exec 9>pipe
echo 'Where?' >&9
for _ in $(seq 2400); do grep -q 'first token' e && break; sleep 0.05; done # an interrupt of the answer would leave the chat waiting
kill -INT $one; status=0; wait $one || status=$?
exec 9>&-
[ "$status" = 130 ] || fail "status $status after an interrupt"

# What does not fit is known before anything is prefilled.
words 2000 2 >long.txt; echo 'Where?' >questions
stdin=questions run 1 chat -s long_store --chunk 100 long.txt; says 'tokens of documents'; [ -z "$(find long_store -path '*chunks*' -name '*.gguf')" ] || fail "chunks were prefilled in vain"

# Chunks that cannot be kept are a warning, as they are for ask: a limit that no chunk fits, and one on the size of files.
printf 'Where is the ship?\nAnd the light?\n' >questions
stdin=questions run 0 chat -s small --max-size 1K --max-tokens 5 --json a.txt; says 'a chunk could not be kept: '; same_answers usual.jsonl out
got=0; (ulimit -f 4; "$bin" chat -s limited --max-tokens 5 --json a.txt >out 2>err <questions) || got=$?
[ "$got" = 0 ] || fail "status $got under a limit on the size of files"
says 'a chunk could not be kept: .*File too large'; same_answers usual.jsonl out
# Where the limit holds some of the chunks, none is computed twice: that shows in how many were evicted.
words 250 3 >more.txt; echo 'Where?' >questions
stdin=questions run 0 chat -s whole --chunk 64 --max-tokens 2 --json more.txt
n=$(find whole/chunks -name '*.gguf' | wc -l) size=$(find whole/chunks -name '*.gguf' -printf '%s\n' | awk '{ n += $1 } END { print int(n / 2) }')
stdin=questions run 0 chat -s half --chunk 64 --max-size "${size}B" -v --max-tokens 2 --json more.txt
evicted=$(sed -n 's/.*: evicted \([0-9]*\) chunks.*/\1/p' err | awk '{ n += $1 } END { print n + 0 }') left=$(find half/chunks -name '*.gguf' | wc -l)
[ "$left" -lt "$n" ] && [ $((evicted + left)) = "$n" ] || fail "$evicted chunks were evicted and $left are left, of $n"

# After numbers that are none, in a first question, a follow-up or one asked anew, the next question begins anew and is answered.
odd_model odd.gguf
printf 'Is it Z?\nWhere?\nIs it Z?\nWhere?\n/again Is it Z?\nWhere?\n%020000d\nWhy?\n' 7 >questions
stdin=questions run 1 chat -m odd.gguf --no-store --max-tokens 3 --json a.txt; cp out odd.jsonl
json odd.jsonl '[x["question"] for x in d] == ["Where?"] * 3 + ["Why?"]' 'd[0]["answer"] == d[1]["answer"] == d[2]["answer"]' 'd[3]["tokens"]["recomputed"] == 0'
[ "$(grep -c 'is not a number' err)" = 3 ] || fail "three questions failed, and it was not said of each"
says 'a run of 20000 digits'
# A document whose KV is no number: every question says so.
echo 'A Z.' >z.txt; printf 'Where?\nWhen?\n' >questions
stdin=questions run 1 chat -m odd.gguf --no-store --max-tokens 3 --json a.txt z.txt; [ "$(grep -c '^infoflow: ' err)" = 2 ] && [ ! -s out ] || fail "not a message a question"

# A signal that ends the process ends the chat, in the middle of an answer as well; only SIGINT stops the answer alone.
for signal in TERM HUP; do
    mkfifo "lines.$signal"; "$bin" chat -m "$models/llama.gguf" --no-store -n 900 a.txt <"lines.$signal" >out 2>err & chat=$!
    exec 9>"lines.$signal"; echo 'Where?' >&9
    for _ in $(seq 200); do [ -s out ] && break; sleep 0.05; done
    kill -"$signal" $chat; echo 'And where?' >&9 || true
    status=0; wait $chat || status=$?; exec 9>&-
    [ $status = 130 ] || fail "status $status after SIG$signal"
done
# A model that is written to while it is in use gives no answer and no chunk.
cp "$models/llama.gguf" used.gguf; mkfifo lines.used
"$bin" chat -m used.gguf -s used_store -n 2 a.txt <lines.used >out 2>err & chat=$!
exec 9>lines.used; echo 'Where?' >&9
for _ in $(seq 200); do grep -q 'first token' err && break; sleep 0.05; done # the answer is whole: nothing reads the weights
words 20 9 >late.txt; cp "$models/llama-untied.gguf" used.gguf; echo '/again Who?' >&9; exec 9>&-
status=0; wait $chat || status=$?
[ $status = 1 ] && grep -q 'used.gguf: its file was written to while it is in use' err || fail "an answer of other weights"
