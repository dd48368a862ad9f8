"""Writes golden vectors of what is not in the paper: chunks with fillers, estimated staleness, union and product, a budget by coverage,
drift, a learned correction.

    golden_ours.py MODELS OUTDIR [--check]     one OUTDIR/CASE.txt a case; as golden.py, whose format, margins and bounds these are
    golden_ours.py MODELS --search

In order, where golden.py does not say it:

    texts               the generic texts' tokens, 160 each, one text after another: 1 text, or 3 where the file is of chunks after 3
    staleness, staleness_three      N numbers, 0 for the head: how stale each token will be. With three texts it is the spread of its KV
                        over them; else the distance between its KV after the sink only and after the first text, whichever is stored
    score_norm_ASK      N scores, for infoflow-filler and infoflow-three
    score_product-three N scores
    selected_ASK        positions recomputed; ASKS says what is asked, CASES of which file
    logits_ASK          all logits at the prompt's last token, for all asks but WITHOUT_ANSWERS
    tokens_ASK          the greedy answer, 4 tokens, for these
    score_margin, score_margin_staleness, coverage_margin, logit_margin      the third: what the best tokens hold, as a share of the whole
                        score, is never nearer than this to the share asked for; it is there where a coverage is

Chunks with three texts, drift, and a correction, which is learned from the context that it is for, have seeds and files of their own: seeds with all of these margins at once are too rare to look for.

Rounding moves staleness less than it moves attention, so that its margin, too, can be less.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np

import golden
import reference as ref
import tokens as tok

N_TOKENS = 4
MIN_COVERAGE_MARGIN = 2e-3
MIN_STALENESS_MARGIN = 4e-3
MAX_STALENESS_REACH = 1e-3
INSIDE, FLOOR, CAP = ref.Coverage(0.4, 0.05, 0.9), ref.Coverage(0.2, 0.3, 0.6), ref.Coverage(0.9, 0.1, 0.25)


@dataclass(frozen=True)
class Ask:
    method: str
    fillers: int = 0  # texts
    share: float = 2 / 3
    coverage: ref.Coverage | None = None
    drift: bool = False
    correct: int = 0  # so many times what is learned

    @property
    def source(self) -> int:
        """Which KV: after so many texts, or, below 0, corrected."""
        return -self.correct or self.fillers


ASKS = {
    "none-filler": Ask("none", fillers=1),
    "infoflow-filler": Ask("infoflow", fillers=1),
    "staleness": Ask("staleness"),
    "staleness-filler": Ask("staleness", fillers=1),
    "union": Ask("union"),
    "union-filler": Ask("union", fillers=1),
    "union-third": Ask("union", share=1 / 3),
    "union-third-filler": Ask("union", fillers=1, share=1 / 3),
    "inside": Ask("infoflow", coverage=INSIDE),
    "floor": Ask("infoflow", coverage=FLOOR),
    "cap": Ask("infoflow", coverage=CAP),
    "inside-staleness": Ask("staleness", coverage=INSIDE),
    "none-three": Ask("none", fillers=3),
    "infoflow-three": Ask("infoflow", fillers=3),
    "staleness-three": Ask("staleness", fillers=3),
    "union-three": Ask("union", fillers=3),
    "product-three": Ask("product", fillers=3),
    "drift": Ask("infoflow", fillers=2, drift=True),
    "no-drift": Ask("infoflow", fillers=2),
    "corrected": Ask("infoflow", fillers=2, correct=1),
    "overcorrected": Ask("infoflow", fillers=2, drift=True, correct=2),
}
OF_ONE = tuple(name for name, ask in ASKS.items() if ask.fillers <= 1)
OF_DRIFT = ("drift", "no-drift")
OF_CORRECTION = ("corrected", "no-drift", "overcorrected")
# The first: one text is not like three.
OF_THREE = ("none-filler", "none-three", "infoflow-three", "staleness-three", "union-three", "product-three")
DIFFERENT = ("infoflow-filler", "staleness", "union-filler", "union-third-filler", "infoflow-three", "staleness-three", "union-three",
             "product-three")
WITHOUT_ANSWERS = ("union-third", "union-third-filler", "inside", "floor", "cap", "inside-staleness")
KEYS = {"staleness": "staleness", "infoflow-filler": "score_norm_infoflow-filler", "staleness-three": "staleness_three",
        "infoflow-three": "score_norm_infoflow-three", "product-three": "score_product-three"}  # of scores


@dataclass(frozen=True)
class Case(golden.Case):
    asks: tuple[str, ...] = OF_ONE

    @property
    def name(self) -> str:
        """Of its file."""
        return self.model + {OF_ONE: "", OF_THREE: "-three", OF_DRIFT: "-drift", OF_CORRECTION: "-corrected"}[self.asks]

    @property
    def n_texts(self) -> int:
        return max(ASKS[name].fillers for name in self.asks)


CASES = [
    Case("llama", 3937, (20, 13, 27)),
    Case("llama-3", 1338, (25, 8, 19), ratio=0.2),
    Case("llama-bias", 3, (21, 33), ratio=0.2),
    Case("qwen2", 763, (26, 15, 20)),
    Case("qwen3", 2184, (1, 40, 16)),
    Case("gemma3", 553, (26, 15, 20)),
    Case("llama", 33, (20, 13, 27), asks=OF_THREE),
    Case("llama-3", 415, (25, 8, 19), ratio=0.2, asks=OF_THREE),
    Case("llama-bias", 20, (21, 33), ratio=0.2, asks=OF_THREE),
    Case("qwen2", 25, (26, 15, 20), asks=OF_THREE),
    Case("qwen3", 58, (1, 40, 16), asks=OF_THREE),
    Case("llama", 12, (20, 13, 27), asks=OF_DRIFT),
    Case("llama-3", 4, (25, 8, 19), ratio=0.2, asks=OF_DRIFT),
    Case("llama-yarn", 10, (20, 13, 27), asks=OF_DRIFT),
    Case("qwen2", 4, (26, 15, 20), asks=OF_DRIFT),
    Case("qwen2-yarn", 11, (21, 33), ratio=0.2, asks=OF_DRIFT),
    Case("qwen3", 2, (1, 40, 16), asks=OF_DRIFT),
    Case("gemma3", 6, (26, 15, 20), asks=OF_DRIFT),
    Case("gemma3-256", 5, (21, 33), ratio=0.2, asks=OF_DRIFT),
    Case("llama", 17, (20, 13, 27), asks=OF_CORRECTION),
    Case("llama-yarn", 108, (21, 33), ratio=0.2, asks=OF_CORRECTION),
    Case("qwen2", 42, (26, 15, 20), asks=OF_CORRECTION),
    Case("qwen2-yarn", 26, (21, 33), ratio=0.2, asks=OF_CORRECTION),
    Case("qwen3", 30, (1, 40, 16), asks=OF_CORRECTION),
    Case("gemma3", 9, (26, 15, 20), asks=OF_CORRECTION),
]


@dataclass
class Result:
    """Of one case. Its answers come one after another."""

    inputs: dict[str, list[int]]
    layers: list[int]
    staleness: dict[int, ref.Array]  # by how many texts chunks are prefilled after
    norm: dict[int, ref.Array]
    choices: dict[str, list[tuple[ref.Array, list[int]]]]  # ask -> the scores of all positions, and those that they select; two for a union
    tokens: dict[str, list[int]]
    logits: dict[str, list[ref.Array]]

    def selected(self, name: str) -> list[int]:
        return sorted(position for _, selected in self.choices[name] for position in selected)


def budget_scores(result: Result, name: str) -> ref.Array:
    """What a coverage is counted in: the score of the question, but for staleness and the product of both."""
    method, fillers = ASKS[name].method, ASKS[name].source
    if method == "product":
        return ref.product(result.norm[fillers], result.staleness[fillers])
    return (result.staleness if method == "staleness" else result.norm)[fillers]


def choices_of(result: Result, name: str, ratio: float) -> list[tuple[ref.Array, list[int]]]:
    ask, n_head, scores = ASKS[name], len(result.inputs["head"]), budget_scores(result, name)
    n = ref.n_covering(scores, ask.coverage, n_head) if ask.coverage else ref.n_select(ratio, len(scores), n_head)
    if ask.method == "none":
        return []
    if ask.method != "union":
        return [(scores, sorted(ref.rank(scores, n_head)[:n]))]
    staleness = result.staleness[ask.fillers]
    chosen, others = ref.union(staleness, ask.share, scores, n, n_head)
    return [(staleness, chosen), (np.where(np.isin(np.arange(len(scores)), chosen), -np.inf, scores), others)]


def leads_of(model: ref.Model, n_texts: int, rounding: ref.Rounding = ref.F16) -> list[ref.Cache]:
    """The sink, then the sink and each text. They are the same for all chunks."""
    texts = [[]] + [tok.generic_of(model, text) for text in range(1, n_texts + 1)]
    return [ref.run_lead(model, tok.sink_of(model) + text, rounding) for text in texts]


def results(model: ref.Model, leads: list[ref.Cache], case: Case, seed: int, rounding: ref.Rounding = ref.F16) -> Iterator[Result]:
    """The same result again and again: with selections from chunks without texts, with more texts, with one more answer each
    time."""
    inputs, chunks = golden.inputs_of(model, case, seed)
    inputs["texts"] = [token for text in range(1, case.n_texts + 1) for token in tok.generic_of(model, text)]
    layers, n_sink = list(case.layers) or ref.score_layers_of(model), len(inputs["sink"])
    head, kv, result = ref.prefill_chunk(model, [], inputs["head"], rounding), {}, Result(inputs, layers, {}, {}, {}, {}, {})
    samples: list[list[ref.Chunk]] = [[] for _ in chunks]  # after every lead so far
    for fillers in sorted({0, *(ASKS[name].fillers for name in case.asks)}):
        for lead in leads[len(samples[0]) : fillers + 1]:
            for prefills, chunk in zip(samples, chunks):
                prefills.append(ref.prefill_behind(model, lead, chunk, rounding))
        kv[fillers] = [head] + [ref.mean(prefills[min(fillers, 1) :], rounding) for prefills in samples]
        result.norm[fillers] = ref.score_at(model, kv[fillers], "global", n_sink, inputs["question"], layers, ("norm",), rounding)["norm"]
        if fillers:
            staleness = [ref.staleness(prefills if fillers == 1 else prefills[1:]) for prefills in samples]
            result.staleness[fillers] = np.concatenate([np.zeros(len(inputs["head"])), *staleness])
            result.staleness.setdefault(0, result.staleness[fillers])
        for ask in (ASKS[name] for name in case.asks if ASKS[name].correct and ASKS[name].fillers == fillers):
            learned = ref.times(ask.correct, ref.learn(model, kv[fillers], rounding), rounding)
            kv[ask.source] = ref.correct(kv[fillers], learned, rounding)
            result.norm[ask.source] = ref.score_at(model, kv[ask.source], "global", n_sink, inputs["question"], layers, ("norm",),
                                                   rounding)["norm"]
        for name in case.asks:
            ask = ASKS[name]
            if ask.source in (result.staleness if ask.method in ("staleness", "union", "product") else result.norm):
                result.choices[name] = choices_of(result, name, case.ratio)
        yield result
    for name in case.asks:
        if name not in WITHOUT_ANSWERS:
            of, ask = kv[ASKS[name].source], ASKS[name]
            lengths = [len(chunk.tokens) for chunk in of]
            begins = ref.geometry("global", n_sink, lengths).chunk_start
            cache = ref.assemble(model, of, begins, rounding)
            stale = ref.copy_cache(cache)
            ref.recompute(model, cache, [token for chunk in of for token in chunk.tokens], result.selected(name), rounding)
            if ask.correct:
                held = ref.evidence(model, ref.assemble(model, kv[ask.fillers], begins, rounding), stale, cache, lengths,
                                  result.selected(name), rounding)
                assert (held < 1) == (ask.correct > 1), held
            if ask.drift:
                ref.drift(model, stale, cache, lengths, result.selected(name), rounding)
            logits = ref.append(model, cache, inputs["prompt"], rounding)[-1]
            result.tokens[name], result.logits[name] = ref.generate(model, cache, logits, N_TOKENS, rounding)
            yield result


def coverage_margin(result: Result) -> float:
    return min((float(np.abs(ref.shortfall(budget_scores(result, name), ASKS[name].coverage.share, len(result.inputs["head"]))).min())
                for name in result.choices if ASKS[name].coverage), default=np.inf)


def score_margin(result: Result, of_staleness: bool) -> float:
    return min((golden.gap(scores, selected, len(result.inputs["head"])) for choices in result.choices.values()
                for scores, selected in choices if any(scores is staleness for staleness in result.staleness.values()) == of_staleness),
               default=np.inf)


def logit_margin(result: Result) -> float:
    best_two = [np.sort(step)[-2:] for logits in result.logits.values() for step in logits]
    return float(min((best - second for second, best in best_two), default=np.inf))


def bound(result: Result, name: str) -> str:
    """Which of the three decides a budget by coverage."""
    scores, coverage, n_head = budget_scores(result, name), ASKS[name].coverage, len(result.inputs["head"])
    low, high = (ref.n_select(ratio, len(scores), n_head) for ratio in (coverage.low, coverage.high))
    needed = int(np.argmax(ref.shortfall(scores, coverage.share, n_head) <= 0.0))
    return "floor" if needed < low else "cap" if needed > high else "inside" if low < needed < high else "two of them"


def weakness(result: Result) -> str:
    """As golden.weakness."""
    if score_margin(result, False) <= golden.MIN_SCORE_MARGIN or score_margin(result, True) <= MIN_STALENESS_MARGIN:
        return f"score margin {score_margin(result, False):.2g}, of staleness {score_margin(result, True):.2g}"
    if coverage_margin(result) <= MIN_COVERAGE_MARGIN:
        return f"coverage margin {coverage_margin(result):.2g}"
    for name in result.choices:
        if ASKS[name].coverage and bound(result, name) != name.split("-")[0]:
            return f"{name} is decided by {bound(result, name)}"
    if any(result.selected(a) == result.selected(b) for a, b in combinations([name for name in DIFFERENT if name in result.choices], 2)):
        return "a union selects what another one does"
    if logit_margin(result) <= golden.MIN_LOGIT_MARGIN:
        return f"logit margin {logit_margin(result):.2g}"
    if any(np.abs(a[0] - b[0]).max() <= golden.MIN_DIFFERENCE for a, b in combinations(result.logits.values(), 2)):
        return "two answers hardly differ"
    return ""


def frailty(model: ref.Model, case: Case, seed: int, result: Result) -> str:
    """As golden.frailty."""
    for rounding in (ref.EXACT, ref.FLASH):
        *_, other = results(model, leads_of(model, case.n_texts, rounding), case, seed, rounding)
        if other.tokens != result.tokens or any(result.selected(name) != other.selected(name) for name in case.asks):
            return f"{rounding} flips a selection or a token"
        in_scores = max(float(np.abs(a - b).max() / a.max()) for a, b in zip(result.norm.values(), other.norm.values()))
        in_staleness = max(float(np.abs(a - b).max() / a.max()) for a, b in zip(result.staleness.values(), other.staleness.values()))
        in_logits = max(float(np.abs(a[0] - b[0]).max()) for a, b in zip(result.logits.values(), other.logits.values()))
        if in_scores > golden.MAX_SCORE_REACH or in_staleness > MAX_STALENESS_REACH or in_logits > golden.MAX_LOGIT_REACH:
            return f"{rounding} moves scores by {in_scores:.2g}, staleness by {in_staleness:.2g}, logits by {in_logits:.2g}"
    return ""


def will_do(model: ref.Model, leads: list[ref.Cache], case: Case, seed: int) -> bool:
    for result in results(model, leads, case, seed):
        if weakness(result):
            return False
    return not frailty(model, case, seed, result)


def good_seeds(model: ref.Model, case: Case) -> Iterator[int]:
    leads = leads_of(model, case.n_texts)
    return (seed for seed in range(1, golden.MAX_SEED) if will_do(model, leads, case, seed))


def text_of(case: Case, digest: str, result: Result) -> str:
    entry = golden.entry

    def decimals(key: str, values: ref.Array) -> str:
        return entry(key, [float(x) for x in values])

    parts = [entry("model", [case.model]), entry("sha256", [digest])]
    parts += [entry(key, values) for key, values in result.inputs.items()]
    parts += [entry("ratio", [case.ratio]), entry("score_layers", result.layers)]
    parts += [decimals(key, budget_scores(result, name)) for name, key in KEYS.items() if name in case.asks]
    parts += [entry(f"selected_{name}", result.selected(name)) for name in case.asks]
    parts += [decimals(f"logits_{name}", logits[0]) for name, logits in result.logits.items()]
    parts += [entry(f"tokens_{name}", tokens) for name, tokens in result.tokens.items()]
    parts += [entry("score_margin", [score_margin(result, False)]), entry("score_margin_staleness", [score_margin(result, True)])]
    parts += [entry("coverage_margin", [coverage_margin(result)])] if np.isfinite(coverage_margin(result)) else []
    parts += [entry("logit_margin", [logit_margin(result)])]
    return "".join(parts)


def golden_files(models: Path, thorough: bool) -> dict[str, str]:
    files = {}
    for case in CASES:
        path = models / f"{case.model}.gguf"
        model = ref.load_model(path)
        *_, result = results(model, leads_of(model, case.n_texts), case, case.seed)
        reason = weakness(result) or (frailty(model, case, case.seed, result) if thorough else "")
        if reason:
            raise AssertionError(f"{case.name}: seed {case.seed} will not do: {reason}; look for another with --search")
        files[f"{case.name}.txt"] = text_of(case, golden.digest_of(path), result)
    return files


if __name__ == "__main__":
    sys.exit(golden.main("golden_ours.py", golden_files, CASES, good_seeds))
