#!/usr/bin/env bash
# Store: list, show, verify, pin, delete and prune; a corrupt chunk is named, set aside and computed again.
. "$(dirname "$0")/data/cli.bash"
export INFOFLOW_STORE=$tmp/store INFOFLOW_MODEL=$models/llama.gguf
words 90 1 >a.txt; words 120 2 >b.txt
run 1 store list; says 'store'
run 0 ingest --chunk 100 a.txt b.txt
a=$(sed -n 's/  a.txt//p' out) b=$(sed -n 's/  b.txt//p' out)

run 0 store list; prints "^${a:0:12} .* $PWD/a.txt$"; prints "^${b:0:12} .* $PWD/b.txt$"; prints '^2 documents; [0-9]+ chunks, [0-9,]+ tokens, [0-9.]+ [KM]iB, 0 pinned'
! grep -q 'no document in this list' out || fail "chunks without a document after ingest"
run 0 store list --json; cp out list
json list '[x["id"] for x in d["documents"]].count("'"$a"'") == 1' 'd["bytes"] == sum(c["bytes"] for c in d["chunks"])' \
    'sum(x["tokens"] for x in d["documents"]) == sum(c["tokens"] for c in d["chunks"])' 'all(c["type"] == "f16" for c in d["chunks"])'
n=$(value list 'len(d["chunks"])')

# What was asked about and not ingested is there without a document; the listing says why. The head is, too.
words 150 77 >asked.txt; run 0 ask -s loose --chunk 100 -q 'Where?' -n 1 --json asked.txt; asked=$(value out 'd["documents"][0]["chunks"]')
run 0 store list -s loose; prints '^0 documents; '; prints "^$((asked + 1)) chunks of no document in this list: the head .*, or files that .ask. read without .ingest.$"
run 0 ingest -s loose --chunk 100 asked.txt; run 0 store list -s loose; prints '^1 chunk of no document in this list: '

# Facts of a document and of a chunk; the tokens as text are the document.
run 0 store show "$a"; prints "^name +$PWD/a.txt$"; prints '^chunks +[2-9]'
chunk=$(value list '[x for x in d["documents"] if x["name"].endswith("/a.txt")][0]["chunks"][0]')
run 0 store show "${chunk:0:8}"; prints "^chunk +$chunk"; prints '^type +f16'
prints '^tokens +[0-9]+, prefilled after [0-9]+ that were dropped$'; prints '^staleness +estimated'
run 0 store show "$chunk" --json; json out "d['id'] == '$chunk' and d['kind'] == 'chunk' and d['root_tokens'] > 1 and d['staleness'] is True"
run 0 store show "$a" --tokens -m "$INFOFLOW_MODEL"; sed '1,/^$/d' out | sed '1,/^$/!b' >text
grep -qF "$(tail -n 1 a.txt | cut -c1-20)" text || grep -qF "$(sed -n 3p a.txt | cut -c1-30)" text || fail "the text is not the document's"
run 0 store show "$chunk" --tokens; grep -qE '^[0-9]+( [0-9]+)+$' out || fail "no token ids"
run 1 store show abc; says '4'
run 1 store show ffffffffffff; says 'ffffffffffff'
run 1 store show xyzw; says 'xyzw'
for action in show verify pin unpin delete; do run 1 store $action mill.txt; says '"mill.txt" is no id: .*; `infoflow store list` shows them$'; done

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

# What was pruned is to be ingested again, and the message says so: of a document, a chunk, and an id that is gone.
run 0 ingest --quiet -s pruned a.txt; gone=$(cut -c1-32 out); run 0 store show -s pruned --json "$gone"; piece=$(value out 'd["chunks"][0]')
run 0 store prune -s pruned --max-size 0
run 1 ask -s pruned -q x "$gone"; says 'a.txt: chunk [0-9a-f]* of it is no longer in the store: ingest the document again'
run 1 ask -s pruned -q x "$piece"; says 'what was deleted or pruned must be ingested again'; run 1 store show -s pruned "$piece"; says 'what was deleted or pruned must be ingested again'

# Pinned chunks survive a prune to nothing; the rest goes, least recently used first.
run 0 store pin "$b"; prints "$b  pinned"
run 0 store list; prints "^${b:0:12} .* yes +/.*/b.txt$"
run 0 store prune --max-size 0; prints 'deleted'
run 0 store list --json; json out 'all(c["pinned"] for c in d["chunks"])' 'len(d["chunks"]) > 0' \
    '[x["missing_chunks"] for x in d["documents"] if x["name"].endswith("/b.txt")] == [0]' '[x["missing_chunks"] > 0 for x in d["documents"] if x["name"].endswith("/a.txt")] == [True]'
run 0 store list; prints '/a.txt  \([0-9]+ of its chunks missing: ingest it again\)'
run 1 ask -q 'Where?' "$a"; says '[0-9a-f]{32}'
run 0 store unpin "$b"; run 0 store prune --max-size 0 --json; json out 'd["deleted"] > 0 and d["bytes"] > 0'
run 0 store list --json; json out 'd["chunks"] == [] and d["bytes"] == 0'

# A pinned document that is ingested anew stays pinned, with its new chunks; the former ones can go.
cp a.txt kept.txt; run 0 ingest --chunk 100 kept.txt; k=$(cut -c1-32 out); run 0 store pin "$k"
words 110 7 >kept.txt; run 0 ingest --chunk 100 kept.txt; says 'replaced'; run 0 store prune --max-size 0; prints '^[1-9][0-9]* chunks? deleted'
run 0 store list --json; json out 'len(d["chunks"]) > 1 and all(c["pinned"] for c in d["chunks"])' \
    "[x for x in d['documents'] if x['id'] == '$k'][0]['missing_chunks'] == 0" \
    "{c['id'] for c in d['chunks']} == set([x for x in d['documents'] if x['id'] == '$k'][0]['chunks'])"
run 0 store delete "$k"; [ -z "$(ls store/pins)" ] || fail "pins are left of a document that was deleted"

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

# A chunk that was pinned by itself stays when its document goes, which is said; a document's own pins go with it.
run 0 ingest -s pinned --chunk 100 a.txt; a=$(cut -c1-32 out); run 0 store show -s pinned --json "$a"; n=$(value out 'len(d["chunks"])')
c=$(value out 'd["chunks"][-1]'); run 0 store pin -s pinned "$c"; run 0 store delete -s pinned "$a"
prints "^$a  deleted, $((n - 1)) chunks?, .*; 1 chunk stays, it is pinned$"; run 0 store show -s pinned "$c"; prints '^pinned +yes'
run 0 store delete -s pinned "$c"
run 0 ingest -s pinned --chunk 100 a.txt; run 0 store pin -s pinned "$a"; run 0 store delete -s pinned "$a"; prints "^$a  deleted, $n chunks, [^;]*$"

# The same text under two names is two documents that share chunks: each can be deleted by itself, the chunks go with the last one, at once too.
export INFOFLOW_STORE=$tmp/twins
mkdir -p dir; cp a.txt twin.txt; cp a.txt dir/a.txt; printf '\nMore.\n' | cat a.txt - >longer.txt
run 0 ingest --chunk 100 a.txt twin.txt dir/a.txt; [ "$(cut -c1-32 out | sort -u | wc -l)" = 3 ] || fail "three documents of one text have fewer ids"
cp out ids; a=$(sed -n 's/  a.txt$//p' ids) t=$(sed -n 's/  twin.txt$//p' ids) c=$(sed -n 's#  dir/a.txt$##p' ids)
run 0 store list --json; json out 'len(d["documents"]) == 3' 'len({tuple(x["chunks"]) for x in d["documents"]}) == 1'; n=$(value out 'len(d["chunks"])')
run 0 store delete "$a"; prints ' deleted, 0 chunks'; run 0 store list --json; json out 'len(d["documents"]) == 2' "len(d['chunks']) == $n"
run 0 store pin "$t" "$c"; run 0 store unpin "$t"; run 0 store prune --max-size 0; prints '^0 chunks deleted'
run 0 store unpin "$c"
run 0 ask -q 'Where?' --max-tokens 2 "$c"
run 0 store delete "$t" "$c"; prints " deleted, $n chunks"; run 0 store list --json; json out 'd["documents"] == []' 'all(c["root_tokens"] == 0 for c in d["chunks"])'

# Every file that is there is verified and counted: a header that is damaged, a file cut short, one in a wrong directory, a record.
run 0 ingest --chunk 100 a.txt b.txt; b=$(sed -n 's/  b.txt$//p' out)
find twins/chunks -name '*.gguf' | sort >files; n=$(wc -l <files)
printf 'X' | dd of="$(sed -n 1p files)" bs=1 seek=200 conv=notrunc 2>/dev/null; truncate -s 100 "$(sed -n 2p files)"
mkdir -p twins/chunks/zz; cp "$(sed -n 3p files)" twins/chunks/; truncate -s 30 "twins/docs/$b.json"
run 0 store list; prints '^3 chunk files are damaged: `infoflow store verify`'; says "not listed: document $b"
run 0 store list --json; json out 'd["damaged"] == 3' 'sum(c["damaged"] for c in d["chunks"]) == 3' \
    "d['bytes'] == $(find twins/chunks -name '*.gguf' -printf '%s\n' | awk '{ n += $1 } END { print n }')"
run 1 store verify; prints "^$((n - 2)) chunks good, 2 bad: ingest their documents again, 1 document record bad: ingest again, files of 1 chunk in wrong places: set aside$"
says 'header.s checksum is wrong; it was set aside'; says '100 bytes'; says 'wrong directory was set aside: chunks/'; says "document $b: its record is no JSON"
[ "$(find twins/bad -type f | wc -l)" = 4 ] || fail "not all of it was set aside"
run 0 store verify --json; json out "d == {'good': $((n - 2)), 'bad': [], 'strays': [], 'failed': [], 'unsupported': 0}"
run 0 ingest --chunk 100 a.txt b.txt; run 0 store verify --json; json out 'd["bad"] == []'
run 0 store list --json; json out 'len(d["documents"]) == 2' 'all(x["missing_chunks"] == x["damaged_chunks"] == 0 for x in d["documents"])'

# Exact chunks are others than ordinary ones: --exact says so of a document that was ingested without.
run 0 ingest --exact --chunk 100 a.txt; says 'replaced'; says '[1-9][0-9]* chunks computed'; a=$(cut -c1-32 out)
run 0 ask --exact -q 'Where?' --max-tokens 2 "$a"; run 1 ask -q 'Where?' --max-tokens 2 "$a"; says 'loaded without'
run 1 ask --exact -q 'Where?' --max-tokens 2 "$b"; b=$(grep -l '/b.txt' twins/docs/*.json); b=$(basename "$b" .json)
run 1 ask --exact -q 'Where?' --max-tokens 2 "$b"; says 'ingest its document with exact'
run 0 store show "$a" --json; run 0 store show "$(value out 'd["chunks"][0]')"; prints '^exact +yes'

# Chunks of an older format: told in one line, left by a verification, not used, and removed by name.
old=a8b01326da7153652a1097f81ebdcd04; mkdir -p aged/chunks/a8 aged/tmp
cp "$INFOFLOW_SOURCE/tests/data/chunk-1-f16.bin" aged/chunks/a8/$old.gguf; echo 'infoflow-store 1' >aged/VERSION
run 0 ingest -s aged a.txt; a=$(cut -c1-32 out); [ "$(cat aged/VERSION)" = 'infoflow-store 2' ] || fail "the store's layout is still the older one"
run 0 store list -s aged; prints '^1 old chunk, 3.3 KiB, which this program does not use: .*prune --old` removes it$'
run 0 store list -s aged --json; json out 'd["old"] == 1 and d["old_bytes"] == 3424' 'sum(c["old"] for c in d["chunks"]) == 1'
run 0 store verify -s aged; says 'an old chunk \(format version 1'; prints ', 1 of another version: left as it is$'
run 1 ask -s aged -q 'Where?' $old; says 'an old chunk .*ingest its document again'
sed "s/\"[0-9a-f]\{32\}\"$/\"$old\"/" aged/docs/$a.json >aged/record; mv aged/record aged/docs/$a.json
run 0 store list -s aged; prints '/a.txt  \(1 of its chunks old: ingest it again\)'
run 0 store prune -s aged --old --json; json out 'd == {"deleted": 1, "bytes": 3424}'
run 0 store list -s aged --json; json out 'd["old"] == 0 and len(d["chunks"]) > 0'

# A store by its URL.
run 0 ingest -s "dir:$tmp/by-url" a.txt; a=$(cut -c1-32 out); run 0 store show -s by-url "$a"; run 0 ask -s dir:by-url -q 'Where?' --max-tokens 2 --json "$a"; cp out by-url.json
run 0 ask -s memory: -q 'Where?' --max-tokens 2 --json a.txt; [ "$(value out 'd["answer"]')" = "$(value by-url.json 'd["answer"]')" ] || fail "another answer from memory"
run 0 ingest -s memory: a.txt; says 'warning: the store memory: is gone when this command ends'; [ ! -e memory: ] || fail "there is a directory of that name"
run 0 store list -s memory: --json; json out 'd["documents"] == [] and d["chunks"] == []'
run 1 store list -s redis://nobody:1/0; says 'no stores of the kind redis: there are dir:PATH, a plain path, and memory:'
run 1 store list -s memory:x; says 'nothing may follow'

# Nobody else may read a store, a correction or a profile, unless that is wanted.
umask 022
export INFOFLOW_STORE=$tmp/private/kv XDG_CACHE_HOME=$tmp/cache
run 0 ingest a.txt; [ -z "$(find private -perm /077)" ] || fail "others may read: $(find private -perm /077)"
run 0 ingest --shared -s everybody a.txt; [ -z "$(find everybody ! -perm -044)" ] || fail "others may not read: $(find everybody ! -perm -044)"
run 0 ingest -s everybody b.txt; [ -z "$(find everybody ! -perm -044)" ] || fail "what comes later is not shared"
run 0 ingest -s later a.txt; run 0 ingest -s later --shared b.txt; [ -z "$(find later ! -perm -044)" ] || fail "others may not read: $(find later ! -perm -044)"
says 'others cannot get to it: .* has mode 0700'
unset INFOFLOW_STORE; run 0 ingest a.txt; [ -z "$(find cache -perm /077)" ] || fail "others may read the usual store"

# A store is not made among files of others, and nothing of theirs goes.
mkdir -p project/tmp project/docs; echo 1 >project/tmp/results; echo 2 >project/docs/notes
run 1 ingest -s project a.txt; says 'project is no store and not empty'
mkdir -p repository/.git; run 1 ingest -s repository a.txt; says 'there is \.git'
[ "$(find project repository -type f | wc -l)" = 2 ] || fail "files of others are gone, or there are new ones"
mv everybody/tmp kept; echo 3 >kept/own; ln -s ../kept everybody/tmp
run 1 store list -s everybody; says 'its tmp is no directory but a symbolic link'; [ -e kept/own ] || fail "a file behind a link is gone"

# A limit on the size of files is a chunk that is not kept; nothing is left of it.
got=0; (ulimit -f 40; "$bin" ask -s limited -q 'Where?' --max-tokens 2 b.txt >out 2>err) || got=$?
[ "$got" = 0 ] || fail "status $got under a limit on the size of files"
says 'a chunk could not be kept: .*File too large'; [ -z "$(ls -A limited/tmp)" ] || fail "a part of a chunk was left"
got=0; (ulimit -f 40; "$bin" ingest -s limited b.txt >out 2>err) || got=$?; [ "$got" = 1 ] || fail "status $got from an ingest under a limit"; says 'File too large'

# What cannot be checked is told as that, and left: a file where a directory of chunks was, a chunk that this user may not read (root may).
run 0 ingest -s others a.txt; a=$(cut -c1-32 out); chunk=$(find others/chunks -name '*.gguf' | head -n 1); mv "${chunk%/*}" aside; : >"${chunk%/*}"
run 1 store verify -s others "$a"; says 'Not a directory'; prints ' chunks? good, 1 could not be checked: left as it is$'
run 1 store verify -s others --json "$a"; json out '[x["kind"] for x in d["failed"]] == ["chunk"]' 'd["bad"] == d["strays"] == []'
run 1 store verify -s others; says 'is no directory: it was set aside as bad/chunks\.'; prints ', 1 bad: ingest their documents again'
run 0 ingest -s others a.txt; run 0 store verify -s others; chunk=$(find others/chunks -name '*.gguf' | head -n 1)
if [ "$(id -u)" != 0 ]; then
    chmod 0 "$chunk"; run 1 store verify -s others; says 'Permission denied'; prints ' 1 could not be checked: left as it is$'
    run 0 store list -s others; prints '^1 chunk file cannot be read'
    run 0 ask -s others -q 'Where?' --max-tokens 2 a.txt; says 'Permission denied; it is computed again'; [ -e "$chunk" ] || fail "a chunk that may not be read is gone"
    chmod 600 "$chunk"; run 0 ingest -s others --chunk 100 a.txt b.txt; chmod 0 "${chunk%/*}"
    run 1 store verify -s others; says 'Permission denied'; prints '^[1-9][0-9]* chunks? good, 1 could not be checked: left as it is$'
    run 0 store list -s others; says 'warning: .*Permission denied: the chunks there are left out'
    run 1 store prune -s others --max-size 0; prints '^[1-9][0-9]* chunks? deleted'; chmod 700 "${chunk%/*}"
fi
