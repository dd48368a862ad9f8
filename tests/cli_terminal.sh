#!/usr/bin/env bash
# Text for people: names and messages are a line each, whatever is in them; a terminal gets no control character; pipes get the bytes of texts.
. "$(dirname "$0")/data/cli.bash"
export INFOFLOW_STORE=$tmp/store INFOFLOW_MODEL=$models/llama.gguf

# terminal ARGUMENT...: runs the command with all of its streams on a terminal; what that was sent is in out. No control character may be there
# but line ends, tabs, and what the progress bar is made of.
terminal() {
    "$python" - "$bin" "$@" >"$tmp/out" <<'P' || fail "no terminal: infoflow $*"
import os, pty, sys
def read(fd):
    return os.read(fd, 65536)
sys.stdin = open(os.devnull)
status = pty.spawn(sys.argv[1:], read, lambda fd: b"")
sys.exit(os.waitstatus_to_exitcode(status))
P
    "$python" - "$tmp/out" <<'P' || fail "a control character reached the terminal: $*"
import re, sys
said = re.sub(rb"\r+\n", b"\n", open(sys.argv[1], "rb").read()).replace(b"\r\x1b[K", b"").decode()
bad = re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]", said)
sys.exit(f"{bad.group()!r} in {said!r}" if bad else 0)
P
}
# has FILE: its bytes are in out.
has() { "$python" -c 'import sys; a, b = (open(f, "rb").read() for f in sys.argv[1:]); sys.exit(a not in b)' "$1" out || fail "the bytes of $1 are not in it: $(cat -v out)"; }
# plain FILE: no control character but line ends is in it.
plain() { ! grep -qP '[\x00-\x08\x0b-\x1f\x7f]|\xc2[\x80-\x9f]|\xe2\x80[\xa8-\xae]|\xe2\x81[\xa6-\xa9]' "$1" || fail "control characters in $1: $(cat -v "$1")"; }

escape=$'\e[2J' c1=$'\u009b2J' bidi=$'\u202egnp\u2066' id=7df2751a833ae50e6570e623b7027aa0
names=("esc${escape}name.txt" "two"$'\n'"$id  lines.txt" "tab"$'\t\r\a\x7f'".txt" "c1$c1.txt" "bidi$bidi.txt" "latin"$'\xe9'".txt")
for name in "${names[@]}"; do words 30 1 >"$name"; done
printf '{"title":"\\u001b]0;title\\u0007\\u009b1m\\u202e\\nforged","text":"The sea is old."}\n' >title.jsonl
for name in "${names[@]}" title.jsonl; do
    run 0 ingest --quiet "$name"; plain out
    [ "$(wc -l <out)" = 1 ] || fail "a name made lines: $(cat -A out)"
    cut -c1-32 out >>ids
done
run 0 ingest --quiet title.jsonl; prints '\\x1b\]0;title\\x07\\u009b1m\\u202e\\nforged$'
run 0 store list; plain out; [ "$(wc -l <out)" = "$(($(sort -u ids | wc -l) + 2))" ] || fail "a name forged a line of the list"
run 0 store show "$(tail -1 ids)"; plain out; prints '^name .*\\nforged$'
run 0 store list --json; plain out; json out 'any("\x1b]0;title\x07\x9b1m\u202e\nforged" in x["name"] for x in d["documents"])'
terminal store list; terminal store list --json; terminal store show "$(tail -1 ids)"
# Messages: of missing files, options, ids, corrections, stores, models.
for name in "missing$escape"$'\n'"infoflow: forged" "missing$c1$bidi"; do
    run 1 ask -q x "$name"; plain err; [ "$(wc -l <err)" = 1 ] || fail "a message has lines: $(cat -A err)"
    run 1 ingest "$name"; plain err
    run 1 ask -m "$name" -q x title.jsonl; plain err
    run 1 store show "$name"; plain err
    run 1 store list -s "$name"; plain err
    run 1 ask --correction "$name" -q x title.jsonl; plain err
    run 1 ask --profile "$name" -q x title.jsonl; plain err
    run 2 ask --ratio "$name" -q x title.jsonl; plain err
    run 2 "$name"; plain err
    run 2 ask "--$name" -q x title.jsonl; plain err
    run 1 eval --methods none -o "o" "$name"; plain err
done
# What is computed before an answer is shown as it goes on, with its share and the time that is left; what is stored is not.
words 2500 3 >long.txt
terminal ask -q 'Where?' --ctx 16000 --chunk 64 -n 2 -s shown long.txt
grep -qE '[0-9]+% .* tokens/s  [0-9:]+ left  computing chunk [0-9]+ of [0-9]+' out || fail "no progress: $(cat -v out)"
terminal ask -q 'Where?' --ctx 16000 --chunk 64 -n 2 -s shown long.txt
! grep -q 'computing chunk' out || fail "progress of what is stored: $(cat -v out)"
# Texts: a pipe gets the bytes, a terminal does not.
printf 'Red \033[31mtext\033[0m, \302\2331m and a bell \a.\n' >ansi.txt
run 0 ingest --quiet ansi.txt; id=$(cut -c1-32 out)
run 0 store show -m "$INFOFLOW_MODEL" "$id"; tail -n +8 out | grep -qF "$(cat ansi.txt)" || fail "a pipe did not get the bytes"
terminal store show -m "$INFOFLOW_MODEL" "$id"; prints 'Red \\x1b\[31mtext\\x1b\[0m, \\u009b1m and a bell \\x07\.'
# Every character that is shown, one after another, and those beside them, which are not.
"$python" - <<'P'
shown = [*range(1, 9), *range(11, 32), *range(0x7F, 0xA0), *range(0x2028, 0x202F), *range(0x2066, 0x206A)]
with open("all.txt", "w", encoding="utf-8", newline="") as f:
    f.write("".join(f"a{chr(c)}z " for c in shown) + "\tb\r\n\xa0c\u2027d\u202fe\u2065f\u206ag\n")
with open("all.shown", "w", encoding="utf-8", newline="") as f:
    f.write("".join("a\\rz " if c == 13 else f"a\\x{c:02x}z " if c < 0x80 else f"a\\u{c:04x}z " for c in shown) + "\tb\r\n\xa0c\u2027d\u202fe\u2065f\u206ag\n")
P
run 0 ingest --quiet all.txt; id=$(cut -c1-32 out)
run 0 store show -m "$INFOFLOW_MODEL" "$id"; has all.txt
terminal store show -m "$INFOFLOW_MODEL" "$id"; tr -d '\r' <all.shown >expected; tr -d '\r' <out >said; cp said out; has expected
# Answers, in pieces: a model without sense says all kinds of bytes, if it is warm enough. Which seed makes it do so is another processor's
# matter, too.
steers=
for seed in $(seq 40); do
    run 0 ask --quiet --no-store -q 'x' -n 150 --temp 100 --seed "$seed" ansi.txt
    LC_ALL=C grep -qP '[\x01-\x08\x0b-\x1f]' out || continue
    steers=$seed; break
done
[ "$steers" ] || fail "no answer of 40 has a control character: answers on a terminal are not tested"
terminal ask --quiet --no-store -q 'x' -n 150 --temp 100 --seed "$steers" ansi.txt; prints '\\x[01][0-9a-f]'
run 0 ask --no-store -q "$escape$bidi" -n 2 --json ansi.txt; plain out
# A page has them shown, too.
run 0 ask --quiet --no-store -q "q$escape$c1$bidi" -n 2 --html page.html "${names[@]}"; plain page.html
