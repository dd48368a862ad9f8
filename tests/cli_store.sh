#!/usr/bin/env bash
# Store: list, show, verify, pin, delete and prune; a corrupt chunk is named, set aside and computed again.
. "$(dirname "$0")/data/cli.bash"
export INFOFLOW_STORE=$tmp/store INFOFLOW_MODEL=$models/llama.gguf
words 90 1 >a.txt; words 120 2 >b.txt
run 1 store list; says 'store'
run 0 ingest --chunk 100 a.txt b.txt
a=$(sed -n 's/  a.txt//p' out) b=$(sed -n 's/  b.txt//p' out)

run 0 store list; prints "^${a:0:12} .* a.txt$"; prints "^${b:0:12} .* b.txt$"; prints '^2 documents; [0-9]+ chunks, [0-9,]+ tokens, [0-9.]+ [KM]iB, 0 pinned'
run 0 store list --json; cp out list
json list '[x["id"] for x in d["documents"]].count("'"$a"'") == 1' 'd["bytes"] == sum(c["bytes"] for c in d["chunks"])' \
    'sum(x["tokens"] for x in d["documents"]) == sum(c["tokens"] for c in d["chunks"])' 'all(c["type"] == "f16" for c in d["chunks"])'
n=$(value list 'len(d["chunks"])')

# Facts of a document and of a chunk; the tokens as text are the document.
run 0 store show "$a"; prints '^name +a.txt'; prints '^chunks +[2-9]'
chunk=$(value list '[x for x in d["documents"] if x["name"] == "a.txt"][0]["chunks"][0]')
run 0 store show "${chunk:0:8}"; prints "^chunk +$chunk"; prints '^type +f16'
prints '^tokens +[0-9]+, prefilled behind [0-9]+ that were dropped$'; prints '^foreseen +yes'
run 0 store show "$chunk" --json; json out "d['id'] == '$chunk' and d['kind'] == 'chunk' and d['sink_tokens'] > 1 and d['foreseen'] is True"
run 0 store show "$a" --tokens -m "$INFOFLOW_MODEL"; sed '1,/^$/d' out | sed '1,/^$/!b' >text
grep -qF "$(tail -n 1 a.txt | cut -c1-20)" text || grep -qF "$(sed -n 3p a.txt | cut -c1-30)" text || fail "the text is not the document's"
run 0 store show "$chunk" --tokens; grep -qE '^[0-9]+( [0-9]+)+$' out || fail "no token ids"
run 1 store show abc; says '4'
run 1 store show ffffffffffff; says 'ffffffffffff'
run 1 store show xyzw; says 'xyzw'

# A chunk with a flipped byte, a truncated one and an empty one are found, set aside, and computed again by the next ask.
run 0 store verify; prints "^$n chunks good$"
run 0 ask -q 'Where?' --max-tokens 4 --json "$a"; cp out good
flipped=$(find store -name "$chunk*" -type f | head -n 1)
[ -n "$flipped" ] || fail "no file for chunk $chunk"
size=$(wc -c <"$flipped")
printf '\377\376\375' | dd of="$flipped" bs=1 seek=$((size - 100)) conv=notrunc 2>/dev/null
run 1 store verify "$a"; says "$chunk"; prints '1 bad'
[ ! -e "$flipped" ] || fail "the bad chunk is still there"
run 1 ask -q 'Where?' "$a"; says "$chunk"
run 0 ask -q 'Where?' --max-tokens 4 --json --chunk 100 a.txt
[ "$(value out 'd["selected"], d["answer"]')" = "$(value good 'd["selected"], d["answer"]')" ] || fail "another answer after repair"
run 0 store verify; prints "chunks good$"
# Damage that nobody looked for beforehand: ask finds it while reading, and still answers from the text.
for damage in flip cut empty; do
    case $damage in
    flip) printf '\377\376\375' | dd of="$flipped" bs=1 seek=$((size / 2)) conv=notrunc 2>/dev/null ;;
    cut) truncate -s $((size / 2)) "$flipped" ;;
    empty) : >"$flipped" ;;
    esac
    run 0 ask -q 'Where?' --max-tokens 4 --json --chunk 100 a.txt
    [ "$(value out 'd["selected"], d["answer"]')" = "$(value good 'd["selected"], d["answer"]')" ] || fail "another answer with a chunk that is damaged ($damage)"
    run 0 store verify
done

# Pinned chunks survive a prune to nothing; the rest goes, least recently used first.
run 0 store pin "$b"; prints "$b  pinned"
run 0 store list; prints "^${b:0:12} .* yes +b.txt$"
run 0 store prune --max-size 0; prints 'deleted'
run 0 store list --json; json out 'all(c["pinned"] for c in d["chunks"])' 'len(d["chunks"]) > 0' \
    '[x["missing_chunks"] for x in d["documents"] if x["name"] == "b.txt"] == [0]' '[x["missing_chunks"] > 0 for x in d["documents"] if x["name"] == "a.txt"] == [True]'
run 0 store list; prints 'a.txt  \([0-9]+ of its chunks missing: ingest it again\)'
run 1 ask -q 'Where?' "$a"; says '[0-9a-f]{32}'
run 0 store unpin "$b"; run 0 store prune --max-size 0 --json; json out 'd["deleted"] > 0 and d["bytes"] > 0'
run 0 store list --json; json out 'd["chunks"] == [] and d["bytes"] == 0'

# Deleting a document leaves the chunks that another one has.
run 0 ingest --chunk 100 a.txt b.txt
printf '{"passages": ["One\\nfirst.", "Two\\nsecond."], "id": "p"}\n{"passages": ["One\\nfirst.", "Three\\nthird."], "id": "q"}\n' >p.jsonl
run 0 ingest p.jsonl; p=$(sed -n 's/  p$//p' out) q=$(sed -n 's/  q$//p' out)
run 0 store delete "$p"; prints "^$p  deleted, 1 chunk, "
run 0 ask -q 'Which?' --max-tokens 2 "$q"
run 1 store show "$p"; says "$p"
run 0 store delete "$q" "$a"; run 0 store list; prints '^1 document; '
run 0 store verify
run 1 store delete "$q"; says "$q"
