#!/usr/bin/env bash
# Encodings, line ends, bad files in directories, pipes and devices: read rightly, or refused with file, place and the way out.
. "$(dirname "$0")/data/cli.bash"
export INFOFLOW_STORE=$tmp/store INFOFLOW_MODEL=$models/llama.gguf

# ---- Encodings. What is the same text is the same document.
printf 'The café is old.\nThe sea is near, 𝄞.\n' >plain.txt
id() { run 0 ingest --quiet "$@"; cut -c1-32 out; }
# In one text, as one name: copied over name.txt.
same() { cp "$1" name.txt; [ "$(id name.txt)" = "$want" ] || fail "$1 is another document"; }
cp plain.txt name.txt; want=$(id name.txt)
printf '\xef\xbb\xbf' | cat - plain.txt >bom.txt; same bom.txt
for e in UTF-16LE UTF-16BE UTF-32LE UTF-32BE; do
    { printf '\ufeff'; cat plain.txt; } | iconv -f UTF-8 -t $e >$e.txt; same $e.txt
    iconv -f UTF-8 -t $e plain.txt >bare.txt; run 1 ingest bare.txt; says "bare.txt: not UTF-8 but $e, .*iconv -f $e -t UTF-8 bare.txt"
    n=$(wc -c <$e.txt)
    head -c $((n - 1)) $e.txt >cut.txt; run 1 ingest cut.txt; says "cut.txt: damaged $e: it ends in the middle of a character, at byte offset [0-9]+"
done
tr '\n' '\r' <plain.txt >cr.txt; same cr.txt
printf '\xff\xfea\0\x34\xd8b\0' >half_pair.txt; run 1 ingest half_pair.txt; says 'half_pair.txt: damaged UTF-16LE: .*byte offset 4$'
printf '\xfe\xff\0a\xdc\x34' >low_first.txt; run 1 ingest low_first.txt; says 'low_first.txt: damaged UTF-16BE: .*byte offset 4$'
printf '\xff\xfea\0\x34\xd8' >end_pair.txt; run 1 ingest end_pair.txt; says 'end_pair.txt: damaged UTF-16LE: .*byte offset 4$'
printf '\xff\xfe\0\0a\0\0\0\0\0\x11\0' >beyond.txt; run 1 ingest beyond.txt; says 'beyond.txt: damaged UTF-32LE: .*byte offset 8$'
printf 'Caf\xe9 Doran.\n' >latin.txt; run 1 ask -q 'x' latin.txt; says 'latin.txt: not UTF-8 at line 1, column 4 \(byte 0xe9\).*iconv -f WINDOWS-1252 -t UTF-8 latin.txt'
cp latin.txt 'a;b $(c).txt'; run 1 ask -q 'x' 'a;b $(c).txt'; says 'iconv -f WINDOWS-1252 -t UTF-8 OLD > NEW$'
printf '\xef\xbb\xbfCaf\xe9 Doran.\n' >latin_bom.txt; run 1 ask -q 'x' latin_bom.txt; says 'latin_bom.txt: not UTF-8 at line 1, column 4'
printf 'The caf\xc3' >half.txt; run 1 ask -q 'x' half.txt; says 'half.txt: damaged UTF-8: it ends in the middle of a character, at line 1, column 8$'
printf 'a text\0and more\n' >zero.txt; run 1 ask -q 'x' zero.txt; says 'zero.txt: not a text: it has a zero byte at line 1, column 7'
printf '\xff\xfea\0\0\0b\0' >zero16.txt; run 1 ask -q 'x' zero16.txt; says 'zero16.txt: not a text'
printf '\xef\xbb\xbf' >only_bom.txt; run 1 ask -q 'x' only_bom.txt; says 'only_bom.txt: empty'
# UTF-16 of scripts without zero bytes in their characters: the way out is the right one, or, where that is unsure, one of those named.
way_out() { run 1 ask -q 'x' "$1"; says "$1: not .*iconv -f $2 -t UTF-8 $1"; }
for e in UTF-16LE UTF-16BE; do
    while IFS= read -r line; do
        echo "$line" | iconv -f UTF-8 -t $e >script.txt; way_out script.txt $e; ! grep -q WINDOWS err || fail "wrong advice for '$line' in $e"
        printf '%s' "$line" | iconv -f UTF-8 -t $e >script.txt; way_out script.txt $e
    done <<'T'
Корабль стоит в гавани, а море тихо.
Корабль
船停在港口里,大海很安静。看守人点燃了灯光。
船🚢は港にあります。
배는 항구에 있고 바다는 조용하다.
Το πλοίο είναι στο λιμάνι.
السفينة في الميناء
T
    printf '{"text":"船停在港口里"}\n' | iconv -f UTF-8 -t $e >script.jsonl; run 1 ingest script.jsonl; says "not UTF-8 but $e"
    printf '船停在港口里大海很安静看守人点燃了灯光' | iconv -f UTF-8 -t $e >script.txt; way_out script.txt $e; way_out script.txt WINDOWS-1252
done
while read -r e line; do printf '%s\n' "$line" | iconv -f UTF-8 -t "$e" >script.txt; way_out script.txt WINDOWS-1252; ! grep -q 'UTF-16' err || fail "$e is taken for UTF-16"; done <<'T'
LATIN1 Le café est déjà fermé à côté de l'hôtel où l'été a été passé.
LATIN1 é
CP1251 Корабль стоит в гавани, а море тихо.
GBK 船停在港口里,大海很安静。看守人点燃了灯光。
T
# Files that people give by mistake are named, with what makes a text of them; in a directory they are skipped with the same words.
mkdir mistakes
printf '%%PDF-1.7\n%%\xe2\xe3\xcf\xd3\n' >mistakes/a.pdf; printf 'PK\3\4\x14\0\6\0' >mistakes/b.docx; printf '\x1f\x8b\x08\0' >mistakes/c.gz; printf 'x\1\2\xff\xfe y' >mistakes/d.dat; echo 'A text.' >mistakes/e.txt
run 1 ask -q 'x' mistakes/a.pdf; says 'mistakes/a.pdf: not a text: it is a PDF file. Make a text of it: pdftotext mistakes/a.pdf NEW.txt$'
run 1 ingest mistakes/b.docx; says 'b.docx: not a text: it is a ZIP archive, as .docx, .*: pandoc -t plain mistakes/b.docx > NEW.txt$'
run 1 ingest mistakes/c.gz; says 'c.gz: not a text: it is compressed. .*: gzip -dc mistakes/c.gz > NEW.txt$'
run 1 ingest mistakes/d.dat; says 'd.dat: not a text: it has control characters, and no UTF-8 at line 1, column 4 \(byte 0xff\)$'; ! grep -q iconv err || fail "binary data is to be converted"
run 0 ingest mistakes; says 'a.pdf: skipped, not a text: it is a PDF file'; says '; 4 skipped'; prints '  mistakes/e.txt$'
head -c 4000 "$BASH" >binary.txt; run 1 ask -q 'x' binary.txt; says 'not a text: it is a program$'

# A small stack is enough.
for arguments in "ask -q x -n 1 plain.txt" "ingest -s thin plain.txt" "eval --methods none,infoflow -n 1 -o thin.out thin.jsonl" "calibrate -o thin.json --questions thin.jsonl"; do
    echo '{"id":"1","question":"Who?","answers":["x"],"passages":["a b c.","d e f."]}' >thin.jsonl
    # shellcheck disable=SC2086
    (ulimit -s 64; "$bin" $arguments >out 2>err </dev/null) || fail "status $? with a small stack from: infoflow $arguments"
done

# Across the blocks of 64 KiB in which files are read: each byte of a character falls on a boundary.
printf '{"title":"t","text":"é𝄞é𝄞é𝄞"}\n' >short.jsonl; cp short.jsonl name.jsonl; want=$(id name.jsonl)
for shift in 0 1 2 3 4; do
    while read -r e spaces; do
        { printf '\ufeff{"title":"t","text":%*s' $((spaces - 27 - shift)) ''; tail -c +21 short.jsonl; } | iconv -f UTF-8 -t "$e" >name.jsonl
        [ "$(id name.jsonl)" = "$want" ] || fail "$e, shifted by $shift, is another text"
    done <<'T'
UTF-8 65536
UTF-16LE 32768
T
done

# ---- Lines: the same of JSON documents, data of eval, and questions of a chat.
printf '{"id":"1","question":"Wo?","answers":["x"],"passages":["Das Café."]}\n{"id":"2","question":"Wann?","answers":["x"],"passages":["Die See, 𝄞."]}\n' >data.jsonl
cp data.jsonl name.jsonl; run 0 ingest --quiet name.jsonl; cp out ids
variants() { # of a file FROM: the same lines in other encodings, named as v.*.jsonl
    { printf '\ufeff'; cat "$1"; } >v.bom.jsonl
    iconv -f UTF-8 -t UTF-16LE v.bom.jsonl >v.16.jsonl; iconv -f UTF-8 -t UTF-32BE v.bom.jsonl >v.32.jsonl
    tr '\n' '\r' <"$1" >v.cr.jsonl; sed 's/$/\r/' "$1" >v.crlf.jsonl; head -c -1 "$1" >v.last.jsonl
}
variants data.jsonl
for v in v.*.jsonl; do
    cp "$v" name.jsonl; run 0 ingest --quiet name.jsonl; cmp -s out ids || fail "$v has other documents"
    run 0 eval --methods none -n 1 -o "$v.out" "$v"; [ "$(wc -l <"$v.out")" = 2 ] || fail "$v has other questions"
done
cat v.bom.jsonl v.bom.jsonl >two.jsonl; run 0 ingest --quiet two.jsonl; [ "$(cut -c35- out | tr '\n' ' ')" = "1 2 1 2 " ] || fail "a mark inside is not dropped"
printf '{"text":"good"}\n{"text":"Caf\xe9"}\n{"text":"a\0b"}\n{"text":"good, too"}\n{"text":"caf\xc3' >bad.jsonl
run 1 ingest bad.jsonl; [ "$(wc -l <out)" = 2 ] || fail "good lines were not taken"
says 'bad.jsonl:2: not UTF-8 at column 13 '; says 'bad.jsonl:3: not a text: it has a zero byte at column '; says 'bad.jsonl:5: damaged UTF-8: .*middle of a character'
printf '{"id":"1","question":"Wo?","answers":["x"],"passages":["Caf\xe9."]}\n' | cat - data.jsonl >bad_data.jsonl
run 1 eval --methods none -n 1 -o bad_data.out bad_data.jsonl; says 'bad_data.jsonl:1: not UTF-8 at column [0-9]+'; [ "$(wc -l <bad_data.out)" = 2 ] || fail "good questions were not asked"
iconv -f UTF-8 -t UTF-16LE data.jsonl >bare.jsonl; run 1 ingest bare.jsonl; says 'bare.jsonl: not UTF-8 but UTF-16LE'; [ "$(wc -l <err)" = 2 ] || fail "more than a message"
run 1 eval --methods none -o o bare.jsonl; says 'cannot read bare.jsonl: not UTF-8 but UTF-16LE'
printf 'Wo?\nWann?\n' >questions; stdin=questions; run 0 chat --json -n 1 plain.txt; json_lines() { grep -c '"question":"W' out; }
[ "$(json_lines)" = 2 ] || fail "two questions were not asked"
variants questions
for v in v.*.jsonl; do stdin=$v; run 0 chat --json -n 1 plain.txt; [ "$(grep -c '"question":"Wo?"' out) $(json_lines)" = "1 2" ] || fail "other questions in $v: $(cat out)"; done
printf 'Wo\xe9?\nWann?\n' >bad_questions; stdin=bad_questions; run 1 chat --json -n 1 plain.txt; says 'question 1: not UTF-8 at column 3'; [ "$(json_lines)" = 1 ] || fail "the chat did not go on"
stdin=/dev/null
# Profiles.
fingerprint=$("$bin" info -m "$INFOFLOW_MODEL" --json | "$python" -c 'import json, sys; print(json.load(sys.stdin)["model"]["fingerprint"])')
printf '{"version":2,"fingerprint":"%s","method":"infoflow","score":"norm","score_layers":null,"fillers":1,"ratio":0.25,"trusted_ratio":null}' "$fingerprint" >profile.json
variants profile.json; cp profile.json v.cr.jsonl; cp profile.json v.last.jsonl
for v in v.*.jsonl; do run 0 ask --profile "$v" --json -n 1 -q 'x' plain.txt; json out 'd["ratio"] == 0.25'; done
printf '\xe9\n' >>profile.json; run 1 ask --profile profile.json -q 'x' plain.txt; says 'profile.json is no profile .* not UTF-8 at line 1, column [0-9]+ '

# ---- Pipes and devices: documents and data may come through them; where a file is wanted, nothing waits.
run 0 ingest --quiet <(cat plain.txt); run 0 ask --quiet -n 1 -q 'x' <(cat plain.txt)
run 0 eval --methods none -n 1 -o fd.out <(cat data.jsonl)
stdin=UTF-16LE.txt; run 0 ask --quiet -n 1 -q 'x' -; stdin=/dev/null
mkfifo fifo
for place in fifo /dev/tty0 /dev/null .; do
    for arguments in "ask --profile $place -q x plain.txt" "ask --correction $place -q x plain.txt" "eval --methods none -o $place data.jsonl" "bench -c 256 --correction $place"; do
        # shellcheck disable=SC2086
        timeout 20 "$bin" $arguments >out 2>err </dev/null && status=0 || status=$?
        [ "$status" = 1 ] || fail "status $status from: infoflow $arguments"
        says "${place/./\\.}"
    done
done
says 'regular file|directory'

# A text of an odd number of bytes is no UTF-16, whatever pairs of them look like; one of an even number may be.
printf 'Caf\xe9\n' >odd.txt; run 1 ask -q 'x' odd.txt; says 'odd.txt: not UTF-8 at line 1, column 4'; ! grep -q UTF-16 err || fail "an odd file is taken for UTF-16"
stdin=odd.txt; run 1 ask -q 'x' -; says 'stdin: not UTF-8 at line 1, column 4'; ! grep -q UTF-16 err || fail "odd input is taken for UTF-16"; stdin=/dev/null
printf 'Caf\xe9ab' >even.txt; run 1 ask -q 'x' even.txt; says 'even.txt: .*may be UTF-16BE'

# ---- A bad file in a folder that nobody named: what is no text is left out with a note, what cannot be used with a warning, and the status
# says so, though there is an answer; what was named still fails.
mkdir folder folder/sub
cp plain.txt folder/good.txt; : >folder/__init__.py; printf ' \n\n' >folder/blank.md; cp latin.txt half.txt zero.txt end_pair.txt folder/; ln -s nowhere folder/link.txt
ln -s loop folder/loop; ln -s .. folder/up; mkfifo folder/fifo; cp bad.jsonl folder/bad.jsonl; printf '\xff\xfe\0' >folder/sub/odd.txt; iconv -t UTF-16LE plain.txt >folder/sub/bare.txt
run 1 ask --json -n 1 -q 'x' folder
json out '[x["name"] for x in d["documents"]] == ["folder/bad.jsonl:1", "folder/bad.jsonl:4", "folder/good.txt"]' 'd["left_out"] == 10'
for name in __init__.py blank.md zero.txt up fifo; do says "^folder/$name: skipped, "; done
for name in latin.txt half.txt end_pair.txt link.txt loop bad.jsonl:2 bad.jsonl:5 sub/odd.txt sub/bare.txt; do says "^infoflow: warning: folder/$name: skipped, "; done
stdin=questions; run 1 chat --json -n 1 folder; [ "$(json_lines)" = 2 ] || fail "no chat over the folder"; stdin=/dev/null
words 1500 3 >folder/words.txt
run 0 learn --quiet --chunk 100 --tokens 1024 -o learned.gguf folder
run 0 calibrate --quiet --limit 3 --chunk 60 -o calibrated.json folder
run 1 ask -q 'x' folder/good.txt folder/latin.txt; says '^infoflow: folder/latin.txt: not UTF-8'
run 1 ask -q 'x' folder/bad.jsonl; says '^infoflow: folder/bad.jsonl:2:'
run 1 ask -q 'x' folder/link.txt
run 1 ingest folder; says '^infoflow: folder/latin.txt: not UTF-8'; says '^folder/__init__.py: skipped, empty$'; says '; 5 skipped; [0-9]+ failed'
mkdir nothing; : >nothing/a; printf '\n' >nothing/b; run 1 ask -q 'x' nothing; says '^infoflow: nothing: none of its files can be used'
run 1 ingest nothing; says '^nothing/a: skipped, empty$'; says '^infoflow: nothing: none of its files can be used'
mkdir empty; run 1 ask -q 'x' empty; says '^infoflow: empty: no file in this directory'
mkdir many; cp plain.txt many/z.txt; for i in $(seq 50); do : >many/$i; done
run 0 ask --quiet -n 1 -q 'x' many; [ "$(grep -c ': skipped, ' err)" = 20 ] || fail "not twenty notes"; says '^30 more skipped$'
if [ "$(id -u 2>/dev/null)" != 0 ] && [ "$EUID" != 0 ]; then
    mkdir folder/closed; chmod 0 folder/closed; run 1 ask --quiet -n 1 -q 'x' folder; says '^infoflow: warning: folder/closed: skipped, '; chmod 700 folder/closed
fi
