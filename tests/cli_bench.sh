#!/usr/bin/env bash
# Bench at its smallest: every part is measured and hangs together, no file is left, and what cannot be measured is refused. No times.
. "$(dirname "$0")/data/cli.bash"
export INFOFLOW_MODEL=$models/llama.gguf TMPDIR=$tmp/temporary
mkdir "$TMPDIR" here
clean() { [ -z "$(ls -A "$TMPDIR" here)" ] || [ "$(ls -A "$TMPDIR" here | tr -d ' \n')" = "$(printf '%s:%s:' "$TMPDIR" here)" ] || fail "something was left: $(ls -AR "$TMPDIR" here)"; }

run 0 bench -c 256,400 --chunk 100 --ratio 0.2 --turns 2 --threads 2 --quiet --json --svg chart.svg; cp out all.json
[ ! -s err ] || fail "--quiet is not quiet"
clean
json all.json '[l["tokens"] for l in d["lengths"]] == [256, 400]' 'set(d) == {"version", "machine", "ggml", "model", "settings", "lengths", "ingest", "model_load_ms"}' \
    'd["machine"]["processor"] and d["machine"]["processors"] > 0 and d["machine"]["memory_bytes"] > 1e8 and isinstance(d["machine"]["flags"], list)' \
    'd["ggml"]["version"] and d["ggml"]["commit"] and "CPU" in d["ggml"]["features"]' \
    'd["model"]["name"] == "llama.gguf" and d["model"]["n_bytes"] > 0 and len(d["model"]["fingerprint"]) == 32' \
    'd["settings"].pop("store_in").endswith("/temporary")' \
    'd["settings"] == {"threads": 2, "chunk": 100, "fillers": 2, "corrected": False, "exact": False, "ratio": 0.2, "turns": 2, "made_up_text": True}' \
    '[i["chunk"] for i in d["ingest"]] == [128, 512] and all(i["tokens"] == 2048 for i in d["ingest"])'
"$python" - all.json <<'P' || fail "the numbers do not hang together"
import json, sys
d = json.load(open(sys.argv[1]))
def spreads(o):
    if isinstance(o, dict):
        if set(o) == {"median", "min", "max"}:
            yield o
        else:
            for v in o.values():
                yield from spreads(v)
    elif isinstance(o, list):
        for v in o:
            yield from spreads(v)
for s in spreads(d):
    assert 0 <= s["min"] <= s["median"] <= s["max"] < 1e9, s
both = {"libllama", "infoflow", "ratio"}
sides = {"libllama", "full", "infoflow", "none"}
for l in d["lengths"]:
    n, ttft = l["n_sequence"], l["ttft_ms"]
    assert l["tokens"] < n < l["tokens"] + 200
    assert sides <= set(ttft) <= sides | {"infoflow_cold"} and set(ttft) == set(l["libllama_over"])
    assert l["same_first_token"] is True, "our full prefill and libllama's disagree"
    assert l["ttft_ratio"] == l["libllama_over"]["infoflow"]["median"] > 0
    for side, ms in ttft.items(): # a ratio of each turn lies between those of the extremes
        r = l["libllama_over"][side]
        assert ttft["libllama"]["min"] / ms["max"] <= r["min"] * 1.001 and r["max"] <= ttft["libllama"]["max"] / ms["min"] * 1.001, side
    assert l["n_recomputed"] in range(int(0.2 * l["tokens"]), int(0.2 * n) + 1), l["n_recomputed"]
    for side, stages in l["stages_ms"].items():
        assert list(stages) == ["load", "assemble", "score", "select", "recompute", "prompt"] and all(s["max"] > 0 for s in stages.values())
        assert sum(s["min"] for s in stages.values()) <= ttft[side]["max"]
    assert set(l["decode_tokens_per_s"]) == set(l["recompute_tokens_per_s"]) == both
    assert all(s["min"] > 0 for s in spreads(l["decode_tokens_per_s"]))
    memory = l["peak_memory_bytes"]
    assert set(memory) == sides and all(m > d["model"]["n_bytes"] for m in memory.values())
    assert abs(l["peak_memory_ratio"] - memory["infoflow"] / memory["libllama"]) < 1e-3
assert all(set(i["tokens_per_s"]) == both and all(s["min"] > 0 for s in spreads(i)) for i in d["ingest"])
assert set(d["model_load_ms"]) == both
P
"$python" - chart.svg <<'P' || fail "the chart is not as it should be"
import sys
from xml.etree import ElementTree
text = " ".join(ElementTree.parse(sys.argv[1]).getroot().itertext())
assert all(w in text for w in ("llama.gguf", "libllama", "infoflow", "no recompute", "tokens"))
P

# As a table, part by part; the length it was asked for alone.
run 0 bench -c 256 --turns 1 --only ttft,decode --text <(words 3000 7) --store here
for line in '^model +llama.gguf' '^processor ' '^256 tokens of documents in a sequence of [0-9]+; libllama with flash attention (on|off)' \
    '^  libllama, full prefill +[0-9.]+ \(' '^  infoflow, warm store +[0-9.]+ \([0-9.]+ \.\. [0-9.]+\) +[0-9.]+ \(' '^  no recompute ' \
    '^  stages, ms' '^  recompute ' '^  decode '; do prints "$line"; done
[ "$(wc -L <out)" -le 120 ] || fail "a line is too wide"
grep -qE 'peak memory +[0-9]|ingest|model load' out && fail "more than was asked for"
clean
run 0 bench --only load --turns 1; prints '^  model load +[0-9.]+ ms against'; grep -q 'tokens of documents' out && fail "a length with --only load"
run 0 bench -c 256 --only memory --turns 1 --json; json out 'set(d["lengths"][0]) == {"tokens", "peak_memory_bytes", "peak_memory_ratio"}' '"ingest" not in d'
run 0 bench --only ingest --turns 1 --text <(words 300 1) --json; json out 'd["ingest"][0]["chunk"] == 128 and 300 <= d["ingest"][0]["tokens"] < 2048' '"lengths" not in d'

# Beside a busy process, and how soon a call ends that is cancelled: numbers that hang together, no times.
run 0 bench -c 256 --only none --busy 1 --turns 2 --threads 1 --json; cp out busy.json
json busy.json 'd["busy"]["processes"] == 1 and d["busy"]["tokens"] == 256' 'd["lengths"] == [{"tokens": 256}]' \
    'all(set(d["busy"][k]) == {"idle", "busy", "ratio"} and all(0 < s["min"] <= s["median"] <= s["max"] for s in d["busy"][k].values()) for k in ("ttft_ms", "decode_ms_a_token"))'
run 0 bench -c 256 --only none --busy 1 --turns 1 --threads 1; prints '^Beside 1 process'; prints '^  TTFT ms '
clean
run 0 bench -c 400 --chunk 100 --only cancel --turns 1 --threads 1 --json; cp out cancel.json
json cancel.json 'set(d["cancel"]) == {"load", "prefill", "full", "infoflow", "decode", "learn"}' 'd["lengths"] == [{"tokens": 400}]' \
    'all(0 <= s["median_ms"] <= s["max_ms"] and s["lasts_ms"] > 0 and 0 <= s["cancelled"] <= 8 for s in d["cancel"].values())' 'sum(s["cancelled"] for s in d["cancel"].values()) > 0'
clean

# What cannot be.
run 1 bench -c 256,1000; says '1,000 tokens, with [0-9]+ of question and answer, do not fit .*llama.gguf, whose context is 1,024; ask for at most 8[0-9]+'
run 1 bench -m nothing.gguf; says 'nothing.gguf'
run 1 bench -c 256 --text nothing.txt; says 'cannot read nothing.txt'
words 100 3 >short.txt; run 1 bench -c 800 --text short.txt; says 'short.txt has [0-9]+ tokens, and 800 are asked for'
: >empty.txt; run 1 bench -c 256 --text empty.txt; says 'empty.txt'
run 1 bench -c 256 --store not/there; says 'cannot make a temporary store in not/there'
run 2 bench -c 256 --only ttft,speed; says "--only takes some of ttft.*not 'ttft,speed'"
for wrong in '' 10 256, 256,x -256; do run 2 bench "--lengths=$wrong"; says '--lengths (takes numbers of tokens|needs a value)'; done
run 2 bench -c 256 --only load --svg o.svg; says '--svg draws the time to first token'
run 2 bench extra; says "'extra' is one argument too many"
run 1 bench -c 256 --turns 1 --only ttft --svg not/there.svg; says 'cannot write not/there.svg'
clean

# Interrupted, it ends soon, says so by its status, and leaves nothing.
"$bin" bench -c 800 --turns 100 --quiet >out 2>err & pid=$!
while kill -0 $pid 2>/dev/null && [ -z "$(ls -A "$TMPDIR")" ]; do sleep 0.05; done
sleep 0.5; kill -TERM $pid; got=0; wait $pid || got=$?
[ "$got" = 130 ] || fail "status $got after an interrupt"
clean
