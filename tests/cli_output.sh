#!/usr/bin/env bash
# Files that the command writes by name never take the place of somebody's own, and what cannot be written is said before the work begins.
. "$(dirname "$0")/data/cli.bash"
export INFOFLOW_STORE=$tmp/store INFOFLOW_MODEL=$models/llama.gguf
words 60 1 >a.txt; cp a.txt own.txt; echo '<!DOCTYPE html><p>mine</p>' >own.html; echo '{"mine": 1}' >own.json; cp "$models/qwen2.gguf" own.gguf
echo '<svg xmlns="http://www.w3.org/2000/svg"></svg>' >own.svg
mkdir kept; cp own.* kept/

refused() { # OPTION FILE ARGUMENT...
    local option=$1 file=$2
    shift 2
    run 1 "$@" "$option" "$file"; says "^infoflow: $option $file would replace a file that is no .* of infoflow"
    cmp -s "$file" "kept/$file" || fail "$file was changed by infoflow $*"
    [ ! -s out ] || fail "an answer before $option was refused"
}
for own in own.txt own.html own.json own.gguf own.svg; do refused --html "$own" ask -q 'Where?' -n 1 a.txt; done
refused --html own.txt ask -q 'Where?' -n 1 own.txt # the document itself
for own in own.txt own.html own.json own.gguf; do
    refused --output "$own" learn --tokens 1024 a.txt
done
for own in own.txt own.html own.json own.gguf; do
    refused --output "$own" calibrate --limit 1 a.txt
done
echo '{"id": "q", "question": "Where?", "answers": ["here"], "passages": ["The ship is old."]}' >data.jsonl
for own in own.txt own.html own.svg; do refused --report "$own" eval --methods none -n 1 -o records.jsonl data.jsonl; done
for own in own.txt own.html own.svg; do refused --svg "$own" bench -c 64 --only ttft; done
ln -s own.txt link.html; run 1 ask -q 'Where?' -n 1 a.txt --html link.html; says 'would replace'; cmp -s own.txt kept/own.txt || fail "a document was replaced through a link"

# Its own are replaced, and so is an empty file; a page goes to a pipe, too.
: >page.html
for _ in 1 2; do run 0 ask -q 'Where?' -n 1 a.txt --html page.html; grep -q '^<!DOCTYPE html>' page.html || fail "no page"; done
for _ in 1 2; do run 0 eval --methods none -n 1 -o records.jsonl --report report.html data.jsonl; done
[ "$("$bin" ask -q 'Where?' -n 1 --quiet --html /dev/stderr a.txt 2>&1 >/dev/null | grep -c '^<!DOCTYPE html>')" = 1 ] || fail "no page through a pipe"

# A directory, and a directory that is not there, before any answer.
run 1 ask -q 'Where?' -n 1 a.txt --html kept; says 'kept is a directory'; [ ! -s out ] || fail "an answer first"
run 1 ask -q 'Where?' -n 1 a.txt --html missing-dir/page.html; says 'cannot write missing-dir/page.html'; [ ! -s out ] || fail "an answer first"

# To look makes, opens and removes nothing: a link that leads nowhere yet stays, and a pipe gets its page at the end.
asked() { echo "ask -q Where? -n 1 a.txt --html"; }
evaluated() { rm -f records.jsonl; echo "eval --methods none -n 1 -o records.jsonl data.jsonl --report"; }
for command in asked evaluated; do
    # shellcheck disable=SC2046 # words
    {
        rm -f far/new.html; mkdir -p far; ln -sf far/new.html new.html
        run 0 $($command) new.html; [ -L new.html ] && grep -q '^<!DOCTYPE html>' far/new.html || fail "no page through a link that led nowhere"
        ln -sf gone/new.html lost.html; run 1 $($command) lost.html; says 'cannot write lost.html: there is no directory gone/'; [ -L lost.html ] || fail "a link was removed"
        ln -sf loop.html loop.html; run 1 $($command) loop.html; says 'cannot write loop.html: '; [ -L loop.html ] || fail "a link was removed"
        rm -f fifo; mkfifo fifo; timeout 60 cat fifo >piped & reader=$!
        timeout 60 "$bin" $($command) fifo >out 2>err </dev/null || fail "no page into a pipe: $(cat err)"
        wait $reader || fail "the pipe was not ended"; grep -q '^<!DOCTYPE html>' piped || fail "no page came through the pipe"
        run 1 $($command) a.txt/page.html; says 'cannot write a.txt/page.html: '
    }
done
# Nobody reads the pipe, and the question cannot be asked: nothing waits for a reader.
timeout 20 "$bin" eval --methods none -o records.jsonl --report fifo missing.jsonl >out 2>err </dev/null && status=0 || status=$?; [ "$status" = 1 ] || fail "status $status: it waits for a reader"
run 1 bench -c 64 --only ttft --svg gone/new.svg; says 'cannot write gone/new.svg'
for command in learn calibrate; do ln -sf gone/new lost; run 1 $command -o lost a.txt; says '--output: cannot write lost: there is no directory gone/'; done
# Where they go by default is looked at, too.
mkdir -p config/infoflow; : >config/infoflow/profiles; : >config/infoflow/corrections
for command in learn calibrate; do XDG_CONFIG_HOME=$tmp/config run 1 $command a.txt; says "^infoflow: --output: cannot write $tmp/config/infoflow/.*: Not a directory"; [ ! -s out ] || fail "$command went to work"; done
if [ "$EUID" != 0 ]; then
    mkdir closed; : >closed/there; chmod 500 closed
    for command in learn calibrate; do for file in new deep/new there; do run 1 $command -o closed/$file a.txt; says "cannot write closed/$file: the directory closed/: Permission denied"; done; done
    run 1 ask -q 'Where?' -n 1 a.txt --html closed/new.html; says 'Permission denied'; [ ! -s out ] || fail "an answer first"
    run 0 ask -q 'Where?' -n 1 a.txt --html closed/there # written in place
    chmod 700 closed; chmod 0 page.html; run 1 ask -q 'Where?' -n 1 a.txt --html page.html; says 'cannot read page.html'
fi

# Others' files that look like ours, the documents themselves, records that are not there yet, and a file that comes while it works.
echo '{"version": 1, "fingerprint": "ab", "precious": true}' >look.json; cp look.json kept/
refused --output look.json calibrate --limit 1 a.txt
"$python" - "$INFOFLOW_MODEL" named.gguf <<'P'
import gguf, sys
r = gguf.GGUFReader(sys.argv[1]); w = gguf.GGUFWriter(sys.argv[2], "llama"); w.add_name("infoflow-correction")
for t in r.tensors: w.add_tensor(t.name, t.data, raw_shape=t.data.shape, raw_dtype=t.tensor_type)
w.write_header_to_file(); w.write_kv_data_to_file(); w.write_tensors_to_file(); w.close()
P
cp named.gguf kept/; refused --output named.gguf learn --tokens 1024 a.txt
run 0 ask -q 'Where?' -n 1 a.txt --html notes.html; echo 'my notes' >>notes.html; cp notes.html kept/
run 1 ask -q 'Where?' -n 1 notes.html --html ./notes.html; says 'is a document of this question'; cmp -s notes.html kept/notes.html || fail "notes are lost"
run 1 eval --methods none -n 1 -o new.jsonl --report ./new.jsonl data.jsonl; says 'is the --output itself'
ln -s linked.jsonl link; run 1 eval --methods none -n 1 -o link --report linked.jsonl data.jsonl; says 'is the --output itself'
mkfifo questions; "$bin" ask -q 'Where?' -n 1 --html late.html questions >out 2>err & asking=$!
exec 9>questions; echo 'my notes' >late.html; words 30 5 >&9; exec 9>&-
status=0; wait $asking || status=$?
[ $status = 1 ] && grep -q 'would replace' err && grep -q 'my notes' late.html || fail "a file that came meanwhile was replaced"
