#!/usr/bin/env bash
# Ingest: files, directories, JSONL and standard input; what is stored is skipped; bad inputs are named and the rest goes on.
. "$(dirname "$0")/data/cli.bash"
model=$models/llama.gguf
export INFOFLOW_MODEL=$model INFOFLOW_STORE=$tmp/store

mkdir -p docs/sub docs/.hidden
words 300 1 >docs/b.txt
words 200 2 >docs/a.txt
words 100 3 >docs/sub/c.md
words 50 4 >docs/.hidden/d.txt
printf 'secret' >docs/.e.txt
printf 'ab\0cd' >docs/picture.bin

run 0 ingest --chunk 100 docs
[ "$(sed 's/^[0-9a-f]\{32\}  //' out | tr '\n' ' ')" = "docs/a.txt docs/b.txt docs/sub/c.md " ] || fail "not the documents in the order of their names"
says 'picture.bin: skipped'; says '2 hidden files skipped'; says '^3 documents, .* tokens/s\), 0 already stored; 3 skipped'
cp out first

# A second time nothing is computed, and the ids are the same; the file alone has the same id.
run 0 ingest --chunk 100 docs
says ': 0 chunks computed, [0-9]+ already stored'
cmp -s out first || fail "other ids the second time"
run 0 ingest --chunk 100 docs/b.txt; grep -qF "$(cat out)" first || fail "another id for the file alone"
run 0 ingest --chunk 50 docs/b.txt; says '[1-9][0-9]* chunks computed'; grep -qF "$(cut -c1-32 out)" first || fail "another id for other chunks"; says 'docs/b.txt: replaced; its earlier chunks stay'
run 0 ingest --whole docs/sub/c.md; says ": (1 chunk computed|0 chunks computed, 1 already)"; run 1 ingest --whole docs/b.txt; says "docs/b.txt: .*longer than the context"
run 0 ingest --kv-type q8_0 --chunk 100 docs/b.txt; says '[1-9][0-9]* chunks? computed'

# Standard input has the same content, so it finds the same chunks.
stdin=docs/b.txt run 0 ingest --chunk 100 -; says ' 0 chunks computed'; prints '  stdin$'

# A text with and without the empty line at its end, or a byte order mark, is the same text: chunks go by that, documents by their names.
printf 'One line.' >e1.txt; printf 'One line.\n' >e2.txt; printf 'One line.\n\n' >e3.txt; printf '\357\273\277One line.\n' >e4.txt
run 0 ingest e1.txt e2.txt e3.txt e4.txt; says '1 chunk computed'; [ "$(cut -c1-32 out | sort -u | wc -l)" = 4 ] || fail "not a document each"

# A file is one document, by whatever path it is named, and two of one name in two directories are two.
mkdir -p left right; words 40 7 >left/same.txt; words 40 8 >right/same.txt; ln -s left/same.txt link.txt
run 0 ingest left/same.txt right/same.txt link.txt "$PWD/left/../left/same.txt"; ! grep -q replaced err || fail "one replaced the other"
[ "$(cut -c1-32 out | sort -u | wc -l)" = 2 ] || fail "not a document a file"
run 0 ingest left/same.txt; cp out from_here; (cd left; run 0 ingest same.txt); [ "$(cut -c1-32 out)" = "$(cut -c1-32 from_here)" ] || fail "another id from another directory"

# JSONL: each kind of line, by extension or by option; bad lines are named by number.
cat >d.jsonl <<'J'
{"id": 7, "text": "The ship went north."}

{"title": "Harbour", "context": "A long context about the harbour.\n\nAnd its light."}
{"id": "q1", "question": "x", "passages": ["Old stone\nIt is old.", "Wind\nIt is cold."]}
{"text": "No name."}
J
run 0 ingest d.jsonl
[ "$(sed 's/^[0-9a-f]\{32\}  //' out | tr '\n' ' ')" = "7 Harbour q1 d.jsonl:5 " ] || fail "names of JSONL documents"
run 0 store list --json; json out '[len(x["chunks"]) for x in d["documents"] if x["name"].endswith("/d.jsonl/q1")] == [2]'
run 0 store list --json; json out 'sorted(x["name"].rsplit("/d.jsonl/", 1)[-1] for x in d["documents"] if "d.jsonl" in x["name"]) == ["5", "7", "Harbour", "q1"]'
cp d.jsonl d.data; run 0 ingest --jsonl d.data; says ' 0 chunks computed, 5 already stored'
stdin=d.jsonl run 0 ingest --jsonl -; says ' 0 chunks computed'
# A title that comes twice is two documents, and so is a title that looks like a line; the same file again is the same ones.
printf '{"title": "T", "text": "One."}\n{"title": "T", "text": "Two."}\n{"id": 4, "text": "Three."}\n{"text": "Four."}\n' >t.jsonl
run 0 ingest t.jsonl; cp out titles; [ "$(cut -c1-32 out | sort -u | wc -l)" = 4 ] || fail "two documents of one title are one"
run 0 ingest t.jsonl t.jsonl; [ "$(sort -u out | cmp -s - <(sort -u titles); echo $?)" = 0 ] || fail "other documents the second time"
run 0 store list --json; json out 'sorted(x["name"].rsplit("/t.jsonl/", 1)[-1] for x in d["documents"] if "t.jsonl" in x["name"]) == ["4", "4:4", "T", "T:2"]'
# What passes through has no lasting name: another text is another document, the same text is the same one. A title and a file never meet.
export INFOFLOW_STORE=$tmp/passing
documents() { run 0 store list --json; value out 'len(d["documents"])'; }
for text in One. Two. One.; do
    echo "$text" >in; stdin=in run 0 ingest -; ! grep -q replaced err || fail "one text replaced another"
    run 0 ingest <(cat in); ! grep -q replaced err || fail "one text replaced another"
    printf '{"text": "%s"}\n{"title": "T", "text": "%s more"}\n' "$text" "$text" >in; stdin=in run 0 ingest --jsonl -; ! grep -q replaced err || fail "one line replaced another"
done
[ "$(documents)" = 6 ] || fail "$(documents) documents of 6"
json out 'all(x["name"].split(" #")[0] in ("stdin", "pipe", "stdin/T") for x in d["documents"])'
mkdir x1; words 20 1 >x1/f:a; words 20 2 >x1/f:1; printf '{"title": "a", "text": "One line."}\n{"title": "../f:1", "text": "Another line."}\n{"text": "A third."}\n' >x1/f; cp x1/f x1/f:3
run 0 ingest x1/f:a x1/f:1; run 0 ingest --jsonl x1/f; run 0 ingest --whole x1/f:3; run 0 ingest --jsonl x1/f x1/f:3; ! grep -q replaced err || fail "a title replaced a file"
[ "$(documents)" = 15 ] || fail "$(documents) documents of 15"
words 90 3 >x1/f:a; run 0 ingest --quiet x1/f:a; says 'x1/f:a: replaced'
export INFOFLOW_STORE=$tmp/store
printf '{"text": "One.", "text": "Two."}\n{"text": "Three."}\n' >twice.jsonl; run 1 ingest twice.jsonl; says 'twice.jsonl:1: not JSON: duplicate object key'; [ "$(wc -l <out)" = 1 ] || fail "the good line was not taken"
cat >bad.jsonl <<'J'
{"text": "Good one."}
not json
{"foo": 1}
{"text": ""}
{"passages": []}
{"passages": [1]}
["text"]
{"text": 5}
{"text": "cut
J
printf '{"text": "\xff\xfe"}\n{"text": "Good two."}\n{"text": "zero \\u0000 byte"}\n{"text": "no end"' >>bad.jsonl
run 1 ingest bad.jsonl
for line in 2 3 4 5 6 7 8 9 10 12 13; do says "bad.jsonl:$line: "; done
[ "$(wc -l <out)" = 2 ] || fail "the good lines were not taken"
says '; 11 failed'

# Bad files are named, the rest goes on, the status is 1.
printf 'fine \xff\xfe not' >utf.txt; printf '%s' 'half a character \xe2\x82' | sed 's/\\xe2\\x82/\xe2\x82/' >half.txt; : >empty.txt; printf ' \n\t\n' >blank.txt
mkdir nothing
run 1 ingest utf.txt half.txt empty.txt blank.txt docs/picture.bin missing.txt nothing docs/a.txt
says 'utf.txt: .*UTF-8 at line 1, column 6 '; says 'half.txt: .*UTF-8'; says 'empty.txt: empty'; says 'blank.txt: empty'; says 'picture.bin: not a text'; says 'missing.txt: No such file'
says 'nothing: no file'; says '; 7 failed'; prints 'docs/a.txt$'
if [ "$(id -u)" != 0 ]; then
    cp docs/a.txt locked.txt; chmod 0 locked.txt; run 1 ingest locked.txt; says 'locked.txt: Permission denied'
fi

# Two at once into one store: both end well, nothing is computed twice, and all of it is good.
export INFOFLOW_STORE=$tmp/two
words 3000 5 >long.txt
"$bin" ingest --chunk 64 long.txt docs >o1 2>e1 & one=$!
"$bin" ingest --chunk 64 long.txt docs >o2 2>e2 & two=$!
wait $one || fail "the first of two failed: $(cat e1)"
wait $two || fail "the second of two failed: $(cat e2)"
cmp -s o1 o2 || sort o1 | cmp -s - <(sort o2) || fail "two at once gave different documents"
run 0 store verify; prints 'chunks good$'
run 0 store list --json
computed=$(cat e1 e2 | sed -n 's/.*: \([0-9,]*\) chunks\{0,1\} computed.*/\1/p' | tr -d , | awk '{ n += $1 } END { print n }')
[ "$computed" = "$(value out 'len(d["chunks"])')" ] || fail "$computed chunks were computed for $(value out 'len(d["chunks"])')"

# An interrupt stops at once with 130; the same command goes on from there.
export INFOFLOW_STORE=$tmp/stop
words 40000 6 >book.txt
"$bin" ingest --chunk 256 book.txt >o 2>e & one=$!
for _ in $(seq 200); do [ "$(find stop -name '*.gguf' 2>/dev/null | wc -l)" -ge 3 ] && break; sleep 0.05; done
kill -INT $one; status=0; wait $one || status=$?
[ "$status" = 130 ] || fail "status $status after an interrupt: $(cat e)"
grep -q 'goes on where' e || fail "no word of what to do after the interrupt"
run 0 store verify
run 0 ingest --chunk 256 --quiet book.txt; [ ! -s err ] || fail "--quiet is not quiet"
run 0 store list --json; json out 'len(d["documents"]) == 1' 'd["documents"][0]["missing_chunks"] == 0'

# A limit keeps the store below it: an earlier run's chunks go, least recently used first. What the run itself computed, or found, does not:
# it stops before, and says so.
export INFOFLOW_STORE=$tmp/small
run 0 ingest --chunk 100 docs/b.txt; run 0 store list --json; size=$(value out 'd["bytes"]')
run 0 ingest --chunk 100 --max-size "${size}B" docs/a.txt; run 0 store list --json
json out "0 < d['bytes'] <= $size" '[x["missing_chunks"] > 0 for x in d["documents"]] == [False, True]'
run 1 ingest --chunk 100 --max-size "${size}B" docs
says 'docs/b.txt: the store .* is full: what this run keeps there takes .* Raise the limit'; says 'what comes after it was not tried.*--max-size'
[ "$(sed 's/^[0-9a-f]*  //' out)" = docs/a.txt ] || fail "not the documents that fit"
run 0 store list --json; json out "0 < d['bytes'] <= $size" '[x["missing_chunks"] > 0 for x in d["documents"]] == [False, True]'
run 0 store verify
run 1 ingest --chunk 100 --max-size "${size}B" docs; says '^1 document, .* 0 chunks computed'

# A failure of one document is no failure of the next ones: numbers that are none, a text that this tokenizer does not do, a chunk too long.
odd_model odd.gguf
export INFOFLOW_STORE=$tmp/odd INFOFLOW_MODEL=odd.gguf
mkdir mixed; words 60 1 >mixed/a.txt; echo 'A Z is in it.' >mixed/b.txt; printf '{"passages": ["%020000d"]}\n' 7 >mixed/c.jsonl; words 900 2 >mixed/d.txt; words 50 3 >mixed/e.txt
run 1 ingest --chunk 2000 mixed; says 'b.txt: .*does not fit f16'; says 'c.jsonl:1: a run of 20000 digits'; says 'd.txt: .*longer than the context'; says '2 documents, .*; 3 failed'
[ "$(sed 's/.*  //' out | tr '\n' ' ')" = 'mixed/a.txt mixed/e.txt ' ] || fail "not the documents that can be used"
run 0 ask --chunk 500 -q 'Where?' -n 2 mixed/a.txt; rm mixed/b.txt mixed/d.txt
run 1 ask -q 'Where?' -n 2 --json mixed; says 'warning: mixed/c.jsonl:1: skipped, a run of 20000 digits'; json out '[x["name"] for x in d["documents"]] == ["mixed/a.txt", "mixed/e.txt"]'
run 1 ask -q 'Where?' -n 2 mixed/c.jsonl; says 'c.jsonl:1: a run of 20000 digits'
# Nor is it where it shows late: two processes that compute a chunk each are stopped, a third one waits for them, and they die.
{ words 75 4; echo Z; words 75 5; } >z.txt; words 150 6 >late.txt; words 20 7 >early.txt
"$python" - "$bin" z.txt late.txt early.txt <<'P' || fail "a document that waited was lost: $(cat second)"
import fcntl, glob, os, signal, subprocess, sys, time
command = [sys.argv[1], "ingest", "-s", "late", "--whole"]
held, taken = [], set()
def is_locked(path):
    try:
        with open(path) as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        pass
    return False
def stopped(name):  # while it has a lease; None: it was too fast
    one = subprocess.Popen([*command, name], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while one.poll() is None:
        if set(glob.glob("late/tmp/*.lease")) - taken:
            one.send_signal(signal.SIGSTOP)
            time.sleep(0.01)
            lease = set(glob.glob("late/tmp/*.lease")) - taken
            if lease and is_locked(*lease):
                taken.update(lease)
                return one
            one.send_signal(signal.SIGCONT)
    for chunk in glob.glob("late/chunks/*/*.gguf"):
        os.unlink(chunk)
    return None
for name in sys.argv[2:4]:
    held.append(next(filter(None, (stopped(name) for _ in range(50)))))
with open("second", "wb") as said:
    last = subprocess.Popen([*command, *sys.argv[2:]], stdout=subprocess.PIPE, stderr=said)
    while b"waiting for it" not in open("second", "rb").read():
        assert last.poll() is None, "it did not wait"
        time.sleep(0.02)
    for one in held:
        one.kill(), one.wait()
    names = [line.split()[-1] for line in last.communicate()[0].decode().splitlines()]
said = open("second").read()
assert last.returncode == 1 and sorted(names) == ["early.txt", "late.txt"], (last.returncode, names)
assert "; 1 failed" in said and "infoflow: z.txt: " in said, said
P
