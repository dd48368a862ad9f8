#!/usr/bin/env bash
# Ask: the JSON object, the report, documents by file, by id and by standard input, methods and ratios, and the HTML page.
. "$(dirname "$0")/data/cli.bash"
export INFOFLOW_STORE=$tmp/store INFOFLOW_MODEL=$models/qwen2.gguf
words 70 1 >a.txt
words 60 2 >b.txt

# The object of the issue, its sums, and what --scores adds.
run 0 ask -q 'Where is the light?' --max-tokens 6 --chunk 100 --json --scores a.txt b.txt
[ ! -s err ] || fail "--json writes to standard error"
[ "$(wc -l <out)" = 1 ] || fail "not one line"
json out 'isinstance(d["answer"], str)' 'd["method"] == "infoflow"' 'd["ratio"] == 0.15' \
    'set(d["tokens"]) == {"context", "reused", "corrected", "recomputed", "prompt", "generated"}' \
    '{"prefill", "load", "assemble", "score", "select", "recompute", "prompt", "ttft", "decode", "total"} <= set(d["timings_ms"])' \
    'all(v >= 0 for v in d["timings_ms"].values())' \
    'd["timings_ms"]["ttft"] >= sum(d["timings_ms"][k] for k in ("prefill", "load", "assemble", "score", "select", "recompute", "prompt")) * 0.999' \
    'd["tokens"]["context"] == d["tokens"]["reused"] + d["tokens"]["recomputed"]' \
    'd["tokens"]["recomputed"] == len(d["selected"]) == max(1, math.floor(0.15 * d["tokens"]["context"] + 1e-9))' \
    'd["selected"] == sorted(set(d["selected"]))' '0 < d["tokens"]["generated"] <= 6' \
    'd["chunks"][0]["start"] == 0 and d["chunks"][0]["selected"] == 0' \
    'all(c["start"] == p["start"] + p["length"] for p, c in zip(d["chunks"], d["chunks"][1:]))' \
    'sum(c["length"] for c in d["chunks"]) == d["tokens"]["context"]' \
    'all(c["selected"] == sum(c["start"] <= s < c["start"] + c["length"] for s in d["selected"]) for c in d["chunks"])' \
    'all(len(c["id"]) == 32 for c in d["chunks"][1:])' 'len(d["scores"]) == d["tokens"]["context"]' \
    'max(d["scores"]) > 0' 'all(s == 0 for s in d["scores"][:d["chunks"][0]["length"]])' \
    'min(d["scores"][s] for s in d["selected"]) >= sorted(d["scores"])[-len(d["selected"])]' \
    '[x["name"] for x in d["documents"]] == ["a.txt", "b.txt"]' 'sum(x["chunks"] for x in d["documents"]) == len(d["chunks"]) - 1'
cp out by_file

# The same by id, by the beginning of an id, and by chunk id: the same chunks, the same tokens, the same answer.
run 0 ingest --chunk 100 a.txt b.txt; says ' 0 chunks computed'
a=$(sed -n 's/  a.txt//p' out) b=$(sed -n 's/  b.txt//p' out)
same='all(d[k] == e[k] for k in ("answer", "selected", "scores", "tokens")) and [c["id"] for c in d["chunks"]] == [c["id"] for c in e["chunks"]]'
with() { # EXPRESSION: over d (out) and e (by_file)
    "$python" -c 'import json,sys; d,e=(json.load(open(f)) for f in ("out","by_file")); sys.exit(not eval(sys.argv[1]))' "$1" || fail "not so: $1"
}
run 0 ask -q 'Where is the light?' --max-tokens 6 --json --scores "$a" "$b"; with "$same"
run 0 ask -q 'Where is the light?' --max-tokens 6 --json --scores --chunk 100 "${a:0:10}" b.txt; with "$same"
chunks=$(value by_file '" ".join(c["id"] for c in d["chunks"][1:])')
# shellcheck disable=SC2086
run 0 ask -q 'Where is the light?' --max-tokens 6 --json --scores $chunks; with "$same"
cat a.txt >in; stdin=in run 0 ask -q 'Where is the light?' --max-tokens 6 --json --scores --chunk 100 - b.txt; with "$same"
run 0 ask -q 'Where is the light?' --max-tokens 6 --json --scores --chunk 100 --no-store a.txt b.txt; with "$same"
# The order is the order given.
run 0 ask -q 'Where is the light?' --max-tokens 6 --json "$b" "$a"; with '[c["id"] for c in d["chunks"][1:]] != [c["id"] for c in e["chunks"][1:]]'
json out '[x["name"] for x in d["documents"]] == ["'"$PWD"'/b.txt", "'"$PWD"'/a.txt"]'

# Methods and ratios: everything recomputed is full prefill, nothing recomputed is none.
for method in full none infoflow; do
    run 0 ask -q 'Where?' --max-tokens 6 --method $method --json "$a" "$b"; json out "d[\"method\"] == \"$method\""; cp out $method
done
json full 'd["tokens"]["recomputed"] == d["tokens"]["context"]'
json none 'd["tokens"]["recomputed"] == 0 and d["selected"] == []'
for pair in "1 full" "0 none"; do
    run 0 ask -q 'Where?' --max-tokens 6 --ratio "${pair% *}" --json "$a" "$b"
    [ "$(value out 'd["answer"]')" = "$(value "${pair#* }" 'd["answer"]')" ] || [ "${pair% *}" = 0 ] || fail "ratio ${pair% *} is not ${pair#* }"
done

# Options reach the library.
run 0 ask -q 'Where?' --max-tokens 6 --score-layers 0,-1 --json --scores "$a" "$b"; cp out layers
run 0 ask -q 'Where?' --max-tokens 6 --score-layers 1 --json --scores "$a" "$b"; [ "$(value out 'd["scores"]')" != "$(value layers 'd["scores"]')" ] || fail "--score-layers does nothing"
run 0 ask -q 'Where?' --max-tokens 6 --score-text prompt --json --scores "$a" "$b"; cp out prompt
run 0 ask -q 'Where?' --max-tokens 6 --score-text question --json --scores "$a" "$b"; [ "$(value out 'd["scores"]')" != "$(value prompt 'd["scores"]')" ] || fail "--score-text does nothing"
run 0 ask -q 'Where?' --max-tokens 1 --system 'You know the sea.' --json "$a"; cp out system
run 0 ask -q 'Where?' --max-tokens 1 --json "$a"; [ "$(value out 'd["chunks"][0]["length"]')" -lt "$(value system 'd["chunks"][0]["length"]')" ] || fail "--system is not in the head"
run 0 ask -q 'Where?' --max-tokens 1 --instruction 'Say it in a few words, please, and not more than that.' --json "$a"; cp out long
run 0 ask -q 'Where?' --max-tokens 1 --instruction 'Say.' --json "$a"; [ "$(value out 'd["tokens"]["prompt"]')" -lt "$(value long 'd["tokens"]["prompt"]')" ] || fail "--instruction is not in the prompt"
run 0 ask -q 'Where?' --max-tokens 12 --temp 1 --seed 1 --json "$a"; cp out s1
run 0 ask -q 'Where?' --max-tokens 12 --temp 1 --seed 1 --json "$a"; [ "$(value out 'd["answer"]')" = "$(value s1 'd["answer"]')" ] || fail "the same seed, another answer"
run 0 ask -q 'Where?' --max-tokens 12 --temp 1 --seed 2 --json "$a"; [ "$(value out 'd["answer"]')" != "$(value s1 'd["answer"]')" ] || fail "--seed does nothing"
run 0 ask -q 'Where?' --max-tokens 6 --threads 1 --ubatch 16 --ctx 900 --no-mmap --no-repack --device cpu --json "$a" "$b"; [ "$(value out 'd["selected"]')" = "$(value infoflow 'd["selected"]')" ] || fail "another selection in slices of 16"
run 1 ask -q 'Where?' --score-layers 99 "$a"; says '99'
run 2 ask -q 'Where?' --device abacus "$a"; says 'abacus'

# The answer on standard output, the report on standard error; --quiet leaves the answer alone.
run 0 ask -q 'Where?' --max-tokens 6 "$a" "$b"
for line in context reused recomputed prompt generated prefill load assemble score select recompute prompt 'first token' decode 'model load' 'KV cache'; do says "^  $line "; done
says 'from the question to the first token'; says 'tokens/s'
[ "$(value infoflow 'd["answer"]')" = "$(cat out)" ] || fail "the answer streamed is not the answer in JSON"
run 0 ask -q 'Where?' --max-tokens 6 --quiet "$a" "$b"; [ ! -s err ] || fail "--quiet is not quiet"

# The page is whole, valid UTF-8 and fetches nothing; it escapes what looks like HTML, and every token is on it.
printf 'A <script>alert(1)</script> & "q" caf\303\251 \360\237\230\200 \346\227\245\346\234\254.\n\nThe light is north.' >html.txt
run 0 ask -q 'Is <b>it</b> & "so"?' --max-tokens 6 --html page.html html.txt a.txt
iconv -f UTF-8 -t UTF-8 page.html >/dev/null || fail "the page is not UTF-8"
! grep -qiE '(src|href)=|url\(|@import|<script' page.html || fail "the page fetches something or runs what a document says"
"$python" - <<'P' || fail "the page's text is not the context"
import html, re
page = open("page.html", encoding="utf-8").read()
blocks = re.findall(r'<div class="text">(.*?)</div></div>', page, re.S)
text = html.unescape("".join(re.sub(r"<em>.</em>|</?(span|mark)[^>]*>", "", b) for b in blocks[1:]))
want = open("html.txt", encoding="utf-8").read() + "\n\n" + open("a.txt").read()
assert text.rstrip("\n") == want.rstrip("\n"), text
assert page.count("<mark") > 0 and page.count("--s:") > 10 and "<svg" in page
P
grep -q '&lt;b&gt;it&lt;/b&gt; &amp; &quot;so&quot;' page.html || fail "the question is not escaped"
run 0 ask -q 'Where?' --max-tokens 2 --method none --html page.html a.txt; grep -q 'scores no tokens' page.html || fail "no word about missing scores"
run 1 ask -q 'Where?' --max-tokens 2 --html missing-dir/page.html a.txt; says 'cannot write missing-dir/page.html'

# A real model, in a document of its own: it finds what is written there.
export INFOFLOW_MODEL=$INFOFLOW_SMOLLM2
printf 'The lighthouse of Skerrin was built in 1874. Its keeper was Oda Lindqvist, who came from the town of Marstrand.\n' >fact.txt
run 0 ask -q 'In which year was the lighthouse of Skerrin built?' --max-tokens 24 fact.txt
prints '1874'
# Its chat template has a system message of its own, which "" leaves out and another one replaces.
head_of() { run 0 ask -q 'When?' --max-tokens 1 --json "$@" fact.txt; value out 'd["chunks"][0]["length"]'; }
own=$(head_of); none=$(head_of --system ''); named=$(head_of --system 'You are a helpful AI assistant named SmolLM, trained by Hugging Face')
[ "$own" -gt "$((none + 10))" ] && [ "$own" = "$named" ] || fail "heads of $own tokens by default, $none without a system message, $named with the template's own"
