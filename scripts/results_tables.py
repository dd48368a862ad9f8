#!/usr/bin/env python3
"""Rebuilds the tables of docs/RESULTS.md and its appendix (docs/results/APPENDIX.md) from the records in docs/results.

Usage: scripts/results_tables.py [--check] [WORD]

Prints the tables whose title has WORD (all without it). --check prints what the pages have otherwise, and fails if there is anything.
Needs numpy. Tables without records are named at the end.

A file of records has a part for each series: a line `#`, method, ratio, score, geometry, reorder, distractors, settings; then a line for each
question. f1, em and contains are of the answer; kl and top1 are to full prefill; recomputed is a share of the context in percent; evidence is what
the recomputed tokens say of the correction. Questions stand in the order of the data, which intervals depend on.
"""
import math
import pathlib
import sys

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent
PAGES = ("docs/RESULTS.md", "docs/results/APPENDIX.md")
RESAMPLES, SEED = 10000, 2603  # of src/service/stats.c
# What the corrections of "A learned correction" were called; others are of "From another kind of text" and of single remarks.
LEARNED = {"7cdd6cea", "bd69b063", "189bc6a8", "8bd49afb", "88f1022f", "e4f994af"}
DRIFTS = {"infoflow", "staleness", "union", "product"}  # methods that are with drift where nothing else is said
MODELS = ("1.5b", "0.5b", "smollm2")

TIMES = ("| libllama's full prefill", "| the same, corrected (1.5B")  # rows of "In short" that no record has
NOT_REBUILT = [
    "In short, the two rows of times: printed by `infoflow bench`, which keeps no records",
    "Time to the first token, memory, ingest, decoding: the same",
    "What a correction costs: the same",
    "Calibration: printed by `infoflow calibrate`, whose profiles were not kept",
    "From another kind of text, all of it kept, from C (0.5B): no records were kept",
]


# ---- Records ----------------------------------------------------------------------------------------------------------------------------


class Series(dict):
    """A method's rows by question, in the order of the data."""

    def column(self, measure):
        return {q: row[measure] for q, row in self.items() if row.get(measure) is not None}

    def first(self, n):
        return Series(list(self.items())[:n])

    def only(self, questions):
        return Series((q, row) for q, row in self.items() if q in questions)


def name_of(method, score, reorder, settings):
    """As eval names it, with the order of the passages and a correction of no table by its id."""
    words = settings.split()
    name = method + ("" if score in ("-", "norm") else "/" + score) + ("/reorder" if reorder else "")
    name += "".join("/" + w for w in words if w.startswith("fillers=") and w != "fillers=2")
    if ("drift" in words) != (method in DRIFTS):
        name += "/drift" if "drift" in words else "/nodrift"
    for word in words:
        if word.startswith("corrected="):
            learned = word[len("corrected="):]
            name += "/corrected" + ("" if learned in LEARNED else "=" + learned)
    return name + "".join("/" + w for w in words if w.startswith("shuffle="))


def read(path):
    """The series of a file by name and ratio. One that was asked with two corrections, part by part, is one series."""
    found, order, series = {}, [], None
    columns = path.read_text(encoding="utf-8").splitlines()
    names = columns[0].split("\t")
    for line in columns[1:]:
        cell = line.split("\t")
        if cell[0] == "#":
            _, method, ratio, score, _, reorder, _, settings = cell
            series = found.setdefault((name_of(method, score, reorder == "reorder", settings), float(ratio)), Series())
            continue
        assert cell[0] not in series, f"{path}: {cell[0]} twice"
        series[cell[0]] = {n: float(c) for n, c in zip(names[1:], cell[1:]) if c}
        if cell[0] not in order:
            order.append(cell[0])
    every = max(found.values(), key=len)  # has all questions, in the order of the data
    assert set(every) == set(order), path
    return {key: Series((q, s[q]) for q in every if q in s) for key, s in found.items()}


class Records:
    def __init__(self):
        self.files = {}

    def __call__(self, file, name, ratio=0.15):
        if file not in self.files:
            self.files[file] = read(ROOT / "docs" / "results" / f"{file}.tsv")
        method = name.split("/")[0]
        ratio = {"full": 1.0, "none": 0.0, "epic": 0.0}.get(method, ratio)
        return self.files[file][name, ratio]


records = Records()


# ---- Arithmetic, as src/service/stats.c has it ----------------------------------------------------------------------------------------------

drawn = {}


def draws(n):
    """[RESAMPLES, n] indices: splitmix64 counts its state up, so that the whole sequence can be had at once."""
    if n not in drawn:
        with np.errstate(over="ignore"):
            z = np.uint64(SEED) + np.arange(1, RESAMPLES * n + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
            z = (z ^ z >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
            z = (z ^ z >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
            z = z ^ z >> np.uint64(31)
        drawn[n] = ((z >> np.uint64(32)) * np.uint64(n) >> np.uint64(32)).astype(np.int64).reshape(RESAMPLES, n)
    return drawn[n]


def bootstrap(values):
    """Mean, low and high of the 95% interval."""
    values, index = np.asarray(list(values), dtype=np.float64), draws(len(values))
    total = np.zeros(RESAMPLES)
    for i in range(len(values)):
        total += values[index[:, i]]
    means = np.sort(total / len(values))

    def quantile(share):
        at = share * (RESAMPLES - 1)
        i = int(at)
        return means[i] + (at - i) * (means[i + 1] - means[i])

    return float(sum(values) / len(values)), float(quantile(0.025)), float(quantile(0.975))


def mean(series, measure="kl"):
    values = list(series.column(measure).values())
    return sum(values) / len(values)


def median(series, measure="kl"):
    return float(np.median(list(series.column(measure).values())))


def differences(pairs, measure="kl"):
    """Of each question, the mean over the pairs that both have it. The answers to one question, with its passages in several orders, are not
    independent: what is drawn again for an interval is questions."""
    out = {}
    for a, b in pairs:
        x, y = a.column(measure), b.column(measure)
        for question in x:
            if question in y:
                out.setdefault(question, []).append(x[question] - y[question])
    return [sum(d) / len(d) for d in out.values()]


# ---- Numbers as the pages have them -----------------------------------------------------------------------------------------------------


def short(x, digits=3):
    """.147, and 1.038."""
    return f"{x:.{digits}f}".replace("-0.", "-.") if x < 0 else f"{x:.{digits}f}".removeprefix("0" if x < 1 else "")


def signed(x, digits=3):
    return f"{x:+.{digits}f}".replace("+0.", "+.").replace("-0.", "-.")


def interval(values, digits=3):
    m, low, high = bootstrap(values)
    return f"{signed(m, digits)} ({signed(low, digits)} .. {signed(high, digits)})"


def less(a, b, measure="kl"):
    return interval(differences([(a, b)], measure))


def n_nearer(pairs):
    """On how many questions the first of a pair has less KL, and of how many."""
    d = [x for pair in pairs for x in differences([pair])]
    return sum(x < 0 for x in d), len(d)


# ---- Tables of `infoflow eval` ----------------------------------------------------------------------------------------------------------

MEASURES = [("F1", "f1", 11, 4, 3), ("EM", "em", 11, 4, 3), ("CONTAINS", "contains", 11, 4, 3), ("KL", "kl", 13, 4, 4), ("TOP-1", "top1", 11, 4, 3)]


def eval_means(rows):
    """rows: (name, ratio, series)."""
    width = max(len("epic-ratio"), *(len(name) for name, _, _ in rows))
    lines = [f"{'METHOD':{width}}  RATIO  QUESTIONS" + "".join(f"  {title:>{w}}" for title, _, w, _, _ in MEASURES) + "  RECOMPUTED"]
    for name, ratio, series in rows:
        first, second = f"{name:{width}}  {ratio:5.2f}  {len(series):9}", f"{'95%':>{width + 18}}"
        for _, measure, w, digits, interval_digits in MEASURES:
            m, low, high = bootstrap(series.column(measure).values())
            first += f"  {m:{w}.{digits}f}"
            second += f"  {f'{low:.{interval_digits}f}-{high:.{interval_digits}f}':>{w}}"
        lines += [first + f"  {mean(series, 'recomputed'):9.1f}%", second]
    return lines


def eval_differences(rows, base):
    width = max(len(name) for name, _, _ in rows)
    lines = [f"{'METHOD':{width}}  RATIO  QUESTIONS" + "".join(f"  {title:>26}" for title in ("F1", "KL"))]
    for name, ratio, series in rows:
        if name == base:
            continue
        line = f"{name:{width}}  {ratio:5.2f}"
        of = next(s for n, _, s in rows if n == base)
        line += f"  {len(set(series) & set(of)):9}"
        for measure in ("f1", "kl"):
            m, low, high = bootstrap(differences([(series, of)], measure))
            line += f"  {f'{m:+.4f} [{low:+.4f}, {high:+.4f}]':>26}"
        lines.append(line)
    return lines


def eval_rows(file, names, renamed=lambda name: name):
    ratio = {"full": 1, "none": 0}
    return [(renamed(name), ratio.get(name.split("/")[0], 0.15), records(file, name)) for name in names]


ALONE = ["full", "none/fillers=0", "infoflow/fillers=0/nodrift", "infoflow/vatp/fillers=0/nodrift", "cacheblend/fillers=0", "epic-ratio/fillers=0", "random/fillers=0", "none",
         "infoflow/nodrift", "infoflow/vatp/nodrift"]


def hotpot(model, more):
    rows = eval_rows(f"hotpot-{model}", ["infoflow"] + ALONE + more)
    return eval_means(rows), ["Difference to infoflow at 0.15, paired by question, with its 95% interval:"] + eval_differences(rows, "infoflow")


def without_drift(name):
    """Records that were made before drift were named without it."""
    return name.replace("/nodrift", "")


def long_short(file, names):
    """The columns of a table of `infoflow eval` that ten questions say something of."""
    rows = eval_rows(file, names, without_drift)
    width = max(len(name) for name, _, _ in rows)
    lines = [f"{'METHOD':{width}}  RATIO QUESTIONS       F1       KL    TOP-1"]
    return lines + [f"{n:{width}}  {r:5.2f} {len(s):9}  {mean(s, 'f1'):7.4f}  {mean(s):7.4f}  {mean(s, 'top1'):7.4f}" for n, r, s in rows]


# ---- Tables of the pages ----------------------------------------------------------------------------------------------------------------


def row(*cells):
    return "|" + "".join(f" {cell} |" if cell else " |" for cell in cells)


def in_short():
    def cell(series, bold):
        c = f"{short(mean(series))} ({short(mean(series, 'f1'))})"
        return f"**{c}**" if bold else c

    def line(title, name, long_ones, bold=False):
        """long_ones: file and name for each model; none: it was not asked."""
        cells = [cell(records(f"hotpot-{m}", name), bold) for m in MODELS]
        long = [short(mean(records(*one))) for one in long_ones] or [""] * 3
        return row(title, *cells, *(f"**{k}**" if bold else k for k in long))

    long = [f"hotpot10-long-{m}" for m in MODELS]
    corrected = [("hotpot10-corrected-1.5b", "infoflow/corrected"), ("hotpot10-methods-0.5b", "infoflow/corrected"),
                 ("hotpot10-methods-smollm2", "infoflow/corrected")]
    full = row("full prefill", *(f"0 ({short(mean(records(f'hotpot-{m}', 'full'), 'f1'))})" for m in MODELS), "0", "0", "0")
    first = line("**infoflow, corrected**", "infoflow/corrected", corrected, True)
    n = len(records(*corrected[0]))
    cells = first.split(" | ")
    cells[4] += f" ({n} questions)"
    return [full, " | ".join(cells),
            line("**infoflow**", "infoflow", [(f, "infoflow") for f in long], True),
            line("the same without drift", "infoflow/nodrift", [(f, "infoflow/nodrift") for f in long]),
            line("no recompute", "none", [(f, "none") for f in long]),
            line("the paper's infoflow (`infoflow/fillers=0/nodrift`)", "infoflow/fillers=0/nodrift", [(f, "infoflow/fillers=0/nodrift") for f in long]),
            line("CacheBlend/fillers=0", "cacheblend/fillers=0", [(f, "cacheblend/fillers=0") for f in long]),
            line("EPIC/fillers=0, 15 %", "epic-ratio/fillers=0", []),
            line("random/fillers=0", "random/fillers=0", [(f, "random/fillers=0") for f in long]),
            line("no recompute/fillers=0", "none/fillers=0", [(f, "none/fillers=0") for f in long])]


def ratios():
    lines = []
    for name in ("infoflow/nodrift", "infoflow/vatp/nodrift", "staleness/nodrift", "union/nodrift", "product/nodrift", "infoflow/fillers=0/nodrift",
                 "cacheblend/fillers=0", "epic-ratio/fillers=0", "random/fillers=0"):
        lines.append(row(without_drift(name), *(f"{mean(records(f'hotpot-{m}', name, r).first(30)):.4f}" for m in MODELS for r in (0.05, 0.15, 0.3))))
    return lines


def long_with_one_filler():
    file, base = "hotpot10-long-0.5b", records("hotpot10-long-0.5b", "infoflow/fillers=1/nodrift")
    lines = [row("infoflow/fillers=1", short(mean(base)), short(mean(base, "f1")), "")]
    for title, name in (("infoflow/vatp/fillers=1", "infoflow/vatp/fillers=1/nodrift"), ("none/fillers=1", "none/fillers=1"),
                        ("cacheblend/fillers=0", "cacheblend/fillers=0"), ("infoflow/fillers=0, the paper's", "infoflow/fillers=0/nodrift"),
                        ("random/fillers=0", "random/fillers=0"), ("none/fillers=0", "none/fillers=0")):
        s = records(file, name)
        m, low, high = bootstrap(differences([(s, base)]))
        lines.append(row(title, short(mean(s)), short(mean(s, "f1")), f"{signed(m)} ({signed(low)} .. {signed(high)})"))
    return lines


def learned():
    lines = []
    titles = {"1.5b": "1.5B", "0.5b": "0.5B", "smollm2": "SmolLM2"}
    others = {
        "1.5b": (("drift only", "infoflow"), ("neither", "infoflow/nodrift"), ("CacheBlend/fillers=0", "cacheblend/fillers=0"),
                 ("the paper's infoflow", "infoflow/fillers=0/nodrift")),
        "0.5b": (("drift only", "infoflow"), ("neither", "infoflow/nodrift"), ("CacheBlend/fillers=0", "cacheblend/fillers=0"), ("CacheBlend", "cacheblend")),
        "smollm2": (("drift only", "infoflow"), ("neither", "infoflow/nodrift"), ("CacheBlend", "cacheblend"), ("union, neither", "union/nodrift")),
    }
    for m in MODELS:
        file = f"hotpot-{m}"
        base, full = records(file, "infoflow/corrected"), mean(records(file, "full"), "f1")
        says = m != "smollm2"  # of SmolLM2 F1 says nothing

        def cells(s, bold):
            out = [short(mean(s)), short(median(s)), short(mean(s, "top1")), short(mean(s, "f1")), f"{100 * mean(s, 'f1') / full:.0f} %"]
            out = [f"**{c}**" if bold and (says or i < 3) else c for i, c in enumerate(out)]
            return out if says else out[:4] + [""]

        lines.append(row(f"{titles[m]}, **corrected**", *cells(base, True), "", ""))
        for title, name in others[m]:
            s = records(file, name)
            lines.append(row(f"{titles[m]}, {title}", *cells(s, False), less(s, base), str(n_nearer([(base, s)])[0])))
    return lines


def long_corrected():
    files = ("hotpot10-corrected-0.5b", "hotpot10-corrected-smollm2", "hotpot10-corrected-1.5b")
    first, second, third = ["**corrected**"], ["drift only"], ["no recompute"]
    for i, file in enumerate(files):
        corrected, alone = records(file, "infoflow/corrected"), records(file, "infoflow")
        nearer, n = n_nearer([(corrected, alone)])
        m, low, high = bootstrap(differences([(alone, corrected)]))
        assert nearer == n
        first.append(f"**{short(mean(corrected))}**")
        second.append(f"{short(mean(alone))} ({signed(m)}, {signed(low)} .. {signed(high)}; {'farther ' if i == 0 else ''}on all {n})")
        third.append(short(mean(records(file, "none"))))
    return [row(*first), row(*second), row(*third)]


METHODS = (("**infoflow**", "infoflow/corrected"), ("infoflow/vatp", "infoflow/vatp/corrected"), ("staleness", "staleness/corrected"),
           ("union", "union/corrected"), ("product", "product/corrected"), ("cacheblend/fillers=0", "cacheblend/fillers=0"),
           ("epic-ratio/fillers=0", "epic-ratio/fillers=0"), ("infoflow/fillers=0, the paper's", "infoflow/fillers=0/nodrift"), ("random/fillers=0", "random/fillers=0"))


def methods(file, cell):
    files = (f"{file}-0.5b", f"{file}-smollm2")
    lines = [row(title, *(cell(records(f, name, r), f) for f in files for r in (0.05, 0.15, 0.3))) for title, name in METHODS]
    a, b = (cell(records(f, "none/fillers=0"), f) for f in files)
    return lines + [f"| none/fillers=0 | {a} | | | {b} | | |"]


def needle_cell(series, file):
    """As many digits as the divergence needs: two that say something, if it is small."""
    k = mean(series)
    digits = 4 if k < 0.00995 else 3
    return f"{short(k, digits)} ({sum(series.column('contains').values()):.0f})"


def drift_on_top():
    lines = []
    for title, m, orders in (("0.5B", "0.5b", 1), ("1.5B", "1.5b", 2), ("SmolLM2", "smollm2", 1)):
        pairs = in_orders(m, "infoflow/corrected", "infoflow/nodrift/corrected", range(orders + 1))
        nearer, n = n_nearer(pairs)
        without = [(b, a) for a, b in pairs]
        k = bootstrap(differences(without))
        lines.append(row(title, f"{signed(k[0], 4)} ({signed(k[1], 4)} .. {signed(k[2], 4)})", f"{nearer} of {n}", interval(differences(without, "f1"))))
    return lines


def in_order(model, name, order):
    return records(f"hotpot-{model}", name) if order == 0 else records(f"hotpot-shuffled-{model}", f"{name}/shuffle={order}")


def in_orders(model, a, b, orders):
    return [(in_order(model, a, o), in_order(model, b, o)) for o in orders]


def orders(model, rows):
    """rows: title, name. F1 in each order that the series was asked in."""
    lines = []
    n_orders = 3 if model == "1.5b" else 2
    for title, name in rows:
        asked = [o for o in range(n_orders) if o == 0 or (f"{name}/shuffle={o}", 1.0 if name == "full" else 0.15) in records.files[f"hotpot-shuffled-{model}"]]
        f1 = {o: mean(in_order(model, name, o), "f1") for o in asked}
        every = sum(f1.values()) / len(f1)
        cells = [short(f1[o]) if o in f1 else "" for o in range(n_orders)] + [short(every)]
        if name == "full":
            lines.append(row(title, *cells, "", ""))
            continue
        full = sum(mean(in_order(model, "full", o), "f1") for o in asked) / len(asked)
        share = f"{100 * every / full:.1f} %" + ("" if len(asked) == n_orders else f" of {short(full)}")
        lines.append(row(title, *cells, share, interval(differences(in_orders(model, name, "full", asked), "f1"))))
    return lines


def elsewhere():
    def paired(a, b):
        m, low, high = bootstrap(differences([(a, b)]))
        return f"{signed(m)}, {signed(low)} .. {signed(high)}"

    def evidence_of(model, old):
        new = records(f"hotpot60-evidence-{model}", "infoflow/corrected")
        return new, old.only(new), paired(new, old)

    kinds = {"0.5b": "2521a774", "smollm2": "cd1820c3", "1.5b": "06cf09bf"}
    new = {m: records(f"hotpot60-elsewhere-{m}", f"infoflow/corrected={kinds[m]}") for m in kinds}
    like = {m: evidence_of(m, records(f"hotpot-{m}", "infoflow/corrected")) for m in kinds}
    plain = {m: records(f"hotpot60-elsewhere-{m}" if m != "0.5b" else f"hotpot-{m}", "infoflow").only(new[m]) for m in kinds}
    nearer = {m: n_nearer([(new[m], plain[m])])[0] for m in kinds}
    l05, lsm, l15 = like["0.5b"], like["smollm2"], like["1.5b"]
    return [
        row("0.5B", short(mean(plain["0.5b"])), ".202", f"**{short(mean(new['0.5b']))}** (-.035, -.059 .. -.017, to all kept; {paired(new['0.5b'], plain['0.5b'])}, to none)",
            f"{short(mean(l05[0]))} (all kept {short(mean(l05[1]))}; {l05[2]})"),
        row("SmolLM2", short(mean(plain["smollm2"])), "", f"**{short(mean(new['smollm2']))}** ({paired(new['smollm2'], plain['smollm2'])}, to none; nearer on {nearer['smollm2']})",
            f"{short(mean(lsm[0]))} ({short(mean(lsm[1]))}; {lsm[2]})"),
        row("1.5B", short(mean(plain["1.5b"])), "", f"{short(mean(new['1.5b']))} ({paired(new['1.5b'], plain['1.5b'])}, to none; nearer on {nearer['1.5b']})",
            f"{short(mean(l15[0]))} ({short(mean(l15[1]))}; {l15[2]}), first {len(l15[0])}"),
    ]


# ---- What is where ----------------------------------------------------------------------------------------------------------------------

NEEDLES = ["infoflow/nodrift", "full", "none", "none/fillers=0", "infoflow/fillers=0/nodrift", "cacheblend/fillers=0", "random/fillers=0"]
IN_ORDERS = [("full prefill", "full"), ("infoflow, corrected", "infoflow/corrected"), ("the same without drift", "infoflow/nodrift/corrected")]

# The section of a page that begins so, which of its tables it is, and what makes the lines (of tables in Markdown without their heads).
TABLES = [
    ("In short", 0, in_short),
    ("Qwen2.5-Coder-1.5B, 100 questions", 0, lambda: hotpot("1.5b", ["union/nodrift"])[0]),
    ("Qwen2.5-Coder-1.5B, 100 questions", 1, lambda: hotpot("1.5b", ["union/nodrift"])[1]),
    ("Qwen2.5-Coder-0.5B, 100 questions", 0, lambda: hotpot("0.5b", ["staleness/nodrift", "union/nodrift", "cacheblend", "product/nodrift"])[0]),
    ("Qwen2.5-Coder-0.5B, 100 questions", 1, lambda: hotpot("0.5b", ["staleness/nodrift", "union/nodrift", "cacheblend", "product/nodrift"])[1]),
    ("SmolLM2-135M, 100 questions", 0, lambda: hotpot("smollm2", ["staleness/nodrift", "union/nodrift", "cacheblend", "product/nodrift"])[0]),
    ("SmolLM2-135M, 100 questions", 1, lambda: hotpot("smollm2", ["staleness/nodrift", "union/nodrift", "cacheblend", "product/nodrift"])[1]),
    ("Ratios of 0.05, 0.15 and 0.3", 0, ratios),
    ("Long contexts: Qwen2.5-Coder-0.5B", 0, lambda: eval_means(eval_rows("hotpot10-long-0.5b", ["infoflow/nodrift", "full", "none"], without_drift))),
    ("Long contexts: Qwen2.5-Coder-0.5B", 1, long_with_one_filler),
    ("Long contexts: SmolLM2", 0, lambda: long_short("hotpot10-long-smollm2", NEEDLES)),
    ("Long contexts: Qwen2.5-Coder-1.5B", 0,
     lambda: long_short("hotpot10-long-1.5b", ["infoflow/nodrift", "full", "infoflow/fillers=0/nodrift", "cacheblend/fillers=0", "none"])),
    ("Needles: Qwen2.5-Coder-0.5B and SmolLM2-135M", 0, lambda: eval_means(eval_rows("needle2-0.5b", NEEDLES, without_drift))),
    ("Needles: Qwen2.5-Coder-0.5B and SmolLM2-135M", 1, lambda: eval_means(eval_rows("needle2-smollm2", NEEDLES, without_drift))),
    ("A learned correction", 0, learned),
    ("A learned correction", 1, long_corrected),
    ("Every method at every ratio", 0, lambda: methods("hotpot10-methods", lambda s, _: short(mean(s)))),
    ("Every method at every ratio", 1, lambda: methods("needle-methods", needle_cell)),
    ("Drift on top of it", 0, drift_on_top),
    ("F1, in several orders of the passages", 0,
     lambda: orders("1.5b", IN_ORDERS + [("the same, reordered (`infoflow:reorder`)", "infoflow/reorder/corrected"), ("CacheBlend/fillers=0", "cacheblend/fillers=0")])),
    ("F1, in several orders of the passages", 1,
     lambda: orders("0.5b", IN_ORDERS + [("the same, reordered", "infoflow/reorder/corrected"), ("CacheBlend/fillers=0", "cacheblend/fillers=0"),
                                         ("the paper's infoflow", "infoflow/fillers=0/nodrift")])),
    ("From another kind of text", 0, elsewhere),
]


def blocks(section):
    """The tables of a section of a page: rows of Markdown without the head, or what `infoflow eval` printed up to an empty line."""
    found, block = [], None
    text, = (page for page in map(lambda path: (ROOT / path).read_text(encoding="utf-8"), PAGES) if f"\n## {section}" in page or f"\n### {section}" in page)
    for line in text.split(f"# {section}", 1)[1].splitlines()[1:]:
        if line.startswith(("## ", "### ")):
            break
        if block is None and line.startswith(("| ", "METHOD ", "Difference to ")):
            block = []
            found.append(block)
        elif block is not None and (not line or line == "```"):
            block = None
        if block is not None:
            block.append(line)
    return [b[2:] if b[0].startswith("| ") else b for b in found]


def main(arguments):
    check = "--check" in arguments
    words = [a for a in arguments if a != "--check"]
    n_wrong = 0
    for section, at, make in TABLES:
        if words and words[0] not in section:
            continue
        lines = make()
        if not check:
            print(f"{section}\n", *lines, "", sep="\n")
            continue
        there = [line for line in blocks(section)[at] if not line.startswith(TIMES)]
        for mine, theirs in zip(lines + [None] * len(there), there + [None] * len(lines)):
            if mine != theirs:
                n_wrong += 1
                print(f"{section}, table {at + 1}:\n  records     {mine}\n  page        {theirs}")
    print("No records are kept of:", *NOT_REBUILT, sep="\n  ")
    if check:
        print(f"{len(TABLES)} tables, {n_wrong} lines that differ")
    return 1 if n_wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
