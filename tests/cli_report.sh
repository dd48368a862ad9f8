#!/usr/bin/env bash
# Eval's page: its numbers are the table's, its tokens the data's, its marks the records'; any text is only text; nothing is lost if it fails.
. "$(dirname "$0")/data/cli.bash"
helpers=$(cd "$OLDPWD" && cd "$(dirname "$0")/data" && pwd)
export INFOFLOW_STORE=$tmp/store INFOFLOW_MODEL=$models/qwen2.gguf PYTHONPATH=$helpers PYTHONDONTWRITEBYTECODE=1
cat >data.jsonl <<'J'
{"id": "a", "question": "Where is the ship?", "answers": ["harbour", "the sea"], "passages": ["Ship\nThe ship is in the harbour.", "Light\nThe light is on the stone, the light is on the sea."]}
{"id": 2, "question": "What is </summary><script>alert(1)</script> & \"old\"?", "answers": ["<b>the house</b>"], "passages": ["House\nThe house</script><!-- is old.", "Wind\nThe wind is \u00fcber north \u2603.", "River\nIt is bright."]}
{"id": "c<i>", "question": "Who keeps the light?", "answers": ["the keeper"], "passages": ["Keeper\nThe keeper keeps it."]}
J
all=(eval --methods full,none,infoflow,epic --ratio 0.2,0.5 --fidelity --output out.jsonl)
run 0 "${all[@]}" data.jsonl
# Tiny models are never right: their answers get marks of all kinds, from one who was there.
"$python" - <<'P'
import json, random
random.seed(1)
records = [json.loads(l) for l in open("out.jsonl")]
with open("out.jsonl", "w") as f:
    for r in records:
        r.update(f1=round(random.random(), 4), em=random.randrange(2), contains=random.randrange(2))
        f.write(json.dumps(r, separators=(",", ":")) + "\n")
P
run 0 "${all[@]}" --report page.html data.jsonl; says '15 answers are in out.jsonl already'
cp out table
cat >page.py <<'P'
import json, math, sys
from eval_page import Page, selected
page = Page("page.html")
data = [json.loads(l) for l in open("data.jsonl")]
records = {}
for r in map(json.loads, open("out.jsonl")):
    records.setdefault((r["method"], r["ratio"]), {})[r["id"]] = r
series = [("full", 1), ("none", 0), ("infoflow", 0.2), ("infoflow", 0.5), ("epic", 0)]
assert list(records) == series
labels = ["full", "none", "infoflow 0.2", "infoflow 0.5", "epic"]

# The tables are those of the terminal.
text = [line.split() for line in open("table") if line.strip()]
means, differences = page.tables[:2]
assert [row[0] for row in means[1:]] == labels
assert means[0][2:] == ["F1", "EM", "CONTAINS", "KL", "TOP-1", "TTFT ms", "RECOMPUTED"]
shown = [line for line in text if line[0] in ("full", "none", "infoflow", "epic")]
assert [line[3:] for line in shown[:5]] == [row[2:] for row in means[1:]]
assert [row[1] for row in means[1:]] == ["3"] * 5
to_full = [[line[3], line[6]] for line in shown[5:9]]
assert to_full == [row[1:3] for row in differences[3:]] and differences[2][1:3] == ["–", "–"]
to_infoflow = [[line[3], line[6]] for line in shown[9:13]]
assert to_infoflow == [row[3:] for row in differences[2:] if row[0] != "infoflow 0.2"]
assert all("–" not in row[3:] for row in differences[2:] if row[0] != "infoflow 0.2")

# Charts: two by ratio, two by time, the bars; no needles here.
assert page.figures[:4] == ["F1 by share recomputed", "KL by share recomputed", "F1 by time to first token", "KL by time to first token"]
assert page.figures[4] == "Time to first token" and page.maps == 0
assert "nan" not in page.text and "inf," not in page.text

# Every question: its text, its answers, its tokens, and what was recomputed of them.
assert [q["summary"] for q in page.questions] == [d["question"] for d in data]
for question, d in zip(page.questions, data):
    assert all(a in question["text"] for a in d["answers"]), question
    rows = page.tables[question["table"]][1:]
    assert [row[0].strip() for row in rows] == labels
    own = [records[s][str(d["id"])] for s in series]
    shown = lambda text: "".join(chr(0x2400 + ord(c)) if c < " " and c not in "\n\t" else "\u2421" if c == "\x7f" else c for c in text)
    assert [row[1] for row in rows] == [shown(r["answer"]) for r in own]
    assert [row[2] for row in rows] == [f"{r['f1']:.2f}" for r in own] and [row[3] for row in rows] == [f"{r['kl']:.3f}" for r in own]
    t = question["picture"]
    assert "".join(t["p"]) == "".join(f"Passage {i}:\n{p}\n" for i, p in enumerate(d["passages"], 1))
    assert len(t["c"]) == len(t["n"]) == len(d["passages"]) and sum(t["c"]) == len(t["p"])
    assert [len(r["selected"]) for r in own[1:]] == [sum(v["n"]) for v in t["v"][1:]] and t["v"][0]["n"] == t["n"]
    head = own[0]["tokens"]["context"] - sum(t["n"])
    assert head > 0
    if sum(t["n"]) == len(t["p"]): # a piece is a token
        for s in range(1, 5):
            assert selected(t, s) == [p - head for p in own[s]["selected"]]
        if str(d["id"]) == "a":
            assert selected(t, 4) == [s + i for s in (0, t["n"][0]) for i in range(4)] # EPIC: the first four of every chunk
            single = True
    else:
        assert str(d["id"]) == "2" # the snowman is several tokens
assert single and page.scripts and len(page.scripts) == 4
P
"$python" page.py || fail "the page is not what the run gave"

# A finished run makes the same page again, and nothing else.
cp out.jsonl before; cp page.html first; rm page.html
run 0 "${all[@]}" --report page.html data.jsonl
cmp -s before out.jsonl || fail "a page changed the records"
cmp -s <(grep -v '<dt>written' first) <(grep -v '<dt>written' page.html) || fail "another page of the same records"

# Reordered answers: positions are those that were read, the page has the data's order.
"$python" -c 'import json
for i, q in enumerate(("Where is the ship?", "What is old?", "Who?")):
    print(json.dumps({"id": i, "question": q, "answers": ["a"], "passages": ["The ship is in the harbour.", "The old house is bright.", "Light and sea", "Wind"]}))' >ascii.jsonl
run 0 eval --methods infoflow --ratio 0.3 --reorder --score mass --output reordered.jsonl --report reordered.html ascii.jsonl
prints '^infoflow/mass/reorder +0.30 +3 '
"$python" - <<'P' || fail "marks of a reordered context are elsewhere"
import json
from eval_page import Page, selected
page = Page("reordered.html")
records = [json.loads(l) for l in open("reordered.jsonl")]
assert page.figures[1:3] == ["F1 by time to first token", "Time to first token"] and "KL" not in page.tables[0][0] # no fidelity was asked for
assert any(r["order"] != sorted(r["order"]) for r in records)
compared = 0
for question, r in zip(page.questions, records):
    t, at, where = question["picture"], r["tokens"]["context"] - sum(question["picture"]["n"]), {}
    for chunk in r["order"]:
        for i in range(t["n"][chunk - 1]):
            where[at] = sum(t["n"][: chunk - 1]) + i
            at += 1
    if sum(t["n"]) == len(t["p"]):
        assert selected(t, 0) == sorted(where[p] for p in r["selected"])
        compared += r["order"] != sorted(r["order"])
assert compared
with open("unordered.jsonl", "w") as f: # as records once were: where their tokens stood is not known
    for r in records:
        del r["order"]
        f.write(json.dumps(r, separators=(",", ":")) + "\n")
P
run 0 eval --methods infoflow --ratio 0.3 --reorder --score mass --output unordered.jsonl --report unordered.html ascii.jsonl
"$python" -c 'from eval_page import Page
assert [q["picture"] for q in Page("unordered.html").questions] == [None] * 3' || fail "marks of an order that is not known"

# Needles; a context that is not the data's; records that are missing.
"$python" - <<'P'
import json
for name, change in [("needles", lambda i, r: r.update(needle_length=500 * (1 + i % 2), needle_depth=0.25 * (i // 2))),
                     ("other", lambda i, r: r["tokens"].update(context=r["tokens"]["context"] + (7 if r["id"] == "c<i>" else 0)))]:
    ids = ["a", "2", "c<i>"]
    with open(name + ".jsonl", "w") as f:
        for r in map(json.loads, open("before")):
            change(ids.index(r["id"]), r)
            f.write(json.dumps(r, separators=(",", ":")) + "\n")
P
run 0 "${all[@]}" --output needles.jsonl --report needles.html data.jsonl
run 0 "${all[@]}" --output other.jsonl --report other.html data.jsonl
run 0 eval --methods none --output few.jsonl data.jsonl --limit 1
{ cat data.jsonl; printf '{"id": "long", "question": "q?", "answers": ["a"], "passages": ["%s"]}\n' "$(words 900 1 | tr '\n' ' ')"; } >long.jsonl
run 1 eval --methods none,epic --output long_out.jsonl --report long.html long.jsonl
"$python" - <<'P' || fail "needles, other contexts or missing records are not as they should be"
import json
from eval_page import Page
page = Page("needles.html")
assert page.maps == 5
maps = page.tables[2:7]
found = {(r["needle_depth"], r["needle_length"]): r["contains"] for r in map(json.loads, open("needles.jsonl")) if r["method"] == "full"}
assert maps[0][0] == ["", "500", "1000"] and [row[0] for row in maps[0][1:]] == ["0%", "25%"]
assert len({r["contains"] for r in map(json.loads, open("needles.jsonl")) if r["method"] == "full"}) == 2
assert [row[1:] for row in maps[0][1:]] == [[f"{found[d, l]:.2f}" if (d, l) in found else "–" for l in (500, 1000)] for d in (0, 0.25)]
page = Page("other.html")
assert [bool(q["picture"]) for q in page.questions] == [True, True, False] and "not what the data make" in page.questions[2]["text"]
page = Page("long.html")
assert len(page.questions) == 3 and "2 answers are missing" in page.visible
P

# More questions than are drawn.
"$python" -c 'import json
for i in range(32): print(json.dumps({"id": i, "question": f"q{i}?", "answers": ["a"], "passages": ["The sea."]}))' >many.jsonl
run 0 eval --methods none -n 1 --output many_out.jsonl --report many.html many.jsonl
"$python" -c 'from eval_page import Page
page = Page("many.html")
assert len(page.questions) == 32 and [bool(q["picture"]) for q in page.questions] == [True] * 30 + [False] * 2
assert "The first 30 have their tokens drawn" in page.visible' || fail "the page does not say what it leaves out"

# Names are only text, whatever their bytes.
cp data.jsonl $'<u>\xff.jsonl'
run 0 "${all[@]}" --report "it's <i>.html" $'<u>\xff.jsonl'
"$python" -c 'from eval_page import Page
page = Page("it\x27s <i>.html")
assert page.heading.endswith("on <u>\ufffd.jsonl") and "--report \x27it\x27\\\x27\x27s <i>.html\x27" in page.visible' || fail "names are not shown as they are"

# A page that cannot be written is known before anything is asked; records and data are never overwritten; an earlier page stays.
run 1 eval --methods none --output new.jsonl --report missing-dir/page.html data.jsonl; says 'cannot write missing-dir/page.html'
[ ! -e new.jsonl ] || fail "it asked first"
cp data.jsonl data_before
run 1 "${all[@]}" --report out.jsonl data.jsonl; says 'out.jsonl is the --output itself'
run 1 "${all[@]}" --report data.jsonl data.jsonl; says 'data.jsonl is the data itself'
run 1 eval --methods none --output new.jsonl --report new.jsonl data.jsonl; says 'new.jsonl is the --output itself'
cmp -s before out.jsonl && cmp -s data_before data.jsonl && [ ! -e new.jsonl ] || fail "records or data were touched"
run 1 "${all[@]}" -m missing.gguf --report page.html data.jsonl; cmp -s <(grep -v '<dt>written' first) <(grep -v '<dt>written' page.html) || fail "the earlier page is gone"
run 1 "${all[@]}" -m missing.gguf --report none.html data.jsonl; [ ! -e none.html ] || fail "an empty page was left"
run 1 "${all[@]}" --report /dev/full data.jsonl; says 'cannot write /dev/full'; prints '^full '; cmp -s before out.jsonl || fail "records were touched"
