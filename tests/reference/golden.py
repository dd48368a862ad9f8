"""Writes golden vectors of the method on tiny models, in text that is trivial to parse from C.

    golden.py MODELS OUTDIR            one OUTDIR/NAME.txt a case, and OUTDIR/models.sha256 (the generator's models, sha256sum's format)
    golden.py MODELS OUTDIR --check    compares instead of writing: exit status 1 if a file would change
    golden.py MODELS --search          prints, for every case, the first seed whose results stand clear of rounding; minutes

A file is a list of entries, each two lines: `key count`, then `count` values separated by single spaces (an empty line for count 0).
Values are integers, decimals or, for the keys `model` and `sha256`, one word. In order:

    model, sha256       the model's name (its file is NAME.gguf) and the digest of its file
    sink                tokens that stood before every chunk while it was prefilled
    head                chunk 0, prefilled without the sink: sink and chat header, or the header alone where it begins with the sink
    chunk_length        tokens of each further chunk
    chunk_tokens        these chunks' tokens, one chunk after another; the context is head and chunk_tokens, N tokens
    question            the scoring text, run at positions N.. with global geometry
    prompt              run last, at positions N..
    ratio, score_layers as asked for
    score_KIND          N scores by `norm` and the other kinds. Positions of the head have their numbers too: selection leaves them out,
                        and a program that reports 0 there compares from the head's length on. `combined` scales over all N.
    selected            positions that `norm` selects at this ratio, ascending
    logits_METHOD       all logits at the prompt's last token, for full, none and infoflow (recomputing `selected`)
    tokens_METHOD       the greedy answer, 12 tokens, none of which ends the generation
    score_margin        least relative gap between the last score selected and the first one not, over all selections below too (by `norm`
                        in every geometry, cacheblend's by change): asserted to exceed MIN_SCORE_MARGIN
    logit_margin        least gap between best and second logit over all steps of all answers, the ones below too; exceeds MIN_LOGIT_MARGIN

and, of the other geometries, the reordering and the comparators (reference.py states how each is read):

    score_norm_GEOMETRY N scores by `norm` for hl-hp, hl-tp and tl-tp; positions are counted as in the context, whatever the geometry
    selected_GEOMETRY   positions that these scores select
    order               indices of the chunks after the head, 1 the first, in the order of reading after the reordering
    selected_METHOD     positions recomputed by epic, epic-ratio, cacheblend and reorder; reorder's are in the new order
    logits_METHOD       as above, for these four
    tokens_METHOD       as above, for these four

epic takes 4 tokens of every chunk. A model of two layers has the same results for cacheblend and full.

All is computed in float64 with K and V rounded to f16 where the product rounds: K before RoPE and V as a chunk is stored, and K after
RoPE as a row is written. The margins keep float32 and f16 arithmetic from flipping a selection or a token. How far that arithmetic
reaches is measured by computing all cases without any rounding, and with queries and the sums of values in f16 as well: neither may flip
anything, nor move a score by more than MAX_SCORE_REACH of the largest one, nor a logit by more than MAX_LOGIT_REACH. A test that allows
0.004 and 0.04 therefore tells rounding from a mistake.
"""

import hashlib
import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import gguf
import numpy as np

import reference as ref
import tokens as tok
from make_models import SPECS

N_TOKENS = 12
MIN_SCORE_MARGIN = 1e-2
MIN_LOGIT_MARGIN = 5e-2
MAX_SCORE_REACH = 3.5e-3
MAX_LOGIT_REACH = 3.5e-2
MIN_DIFFERENCE = 0.2  # between the methods' logits somewhere, so that a method that does another's work is noticed
MIN_SCORE_DIFFERENCE = 0.02  # of the largest score, between two geometries somewhere: well beyond what a test allows
MAX_SEED = 100000
MIN_DISTINCT = 4  # tokens of an answer: random models like to repeat one, which would hide a decode step gone wrong
INSTRUCTION = "Answer the question.\nQuestion: "
QUESTION = "Which of the rivers is in the west?"


@dataclass(frozen=True)
class Case:
    model: str
    seed: int
    lengths: tuple[int, ...]
    ratio: float = 0.15
    layers: tuple[int, ...] = ()  # empty: the default

    @property
    def name(self) -> str:
        return self.model


CASES = [
    Case("llama", 4837, (20, 13, 27)),
    Case("llama-gqa", 1033, (16, 31), layers=(1, 2)),
    Case("llama-3", 541, (25, 8, 19), ratio=0.2),
    Case("llama-linear", 1790, (30, 22)),
    Case("llama-yarn", 3324, (18, 24, 17)),
    Case("llama-headdim", 1428, (12, 12, 12, 12), ratio=0.25),
    Case("llama-bias", 557, (21, 33), ratio=0.2),
    Case("qwen2", 3663, (26, 15, 20)),
    Case("qwen2-untied", 495, (1, 40, 9), layers=(0, 2), ratio=0.1),
    Case("qwen2-yarn", 547, (23, 28), layers=(1, 3), ratio=0.2),
    Case("qwen3", 3030, (19, 22, 16)),
    Case("qwen3-untied", 6077, (35, 14), ratio=0.3),
    Case("gemma3", 504, (26, 15, 20)),
]


@dataclass
class Result:
    """Of one case. It grows: `answers` gets one method after another."""

    inputs: dict[str, list[int]]
    layers: list[int]
    scores: dict[str, ref.Array]  # geometry -> norm, of the geometries but global
    selected: dict[str, list[int]]
    answers: dict[str, ref.Answer]


def inputs_of(model: ref.Model, case: Case, seed: int) -> tuple[dict[str, list[int]], list[list[int]]]:
    """Chunks of random ordinary tokens; a question and a prompt in English."""
    state = np.random.RandomState(seed)
    n_ordinary = model.types.index(gguf.TokenType.CONTROL)
    chunks = [[int(token) for token in state.randint(0, n_ordinary, n)] for n in case.lengths]
    return {
        "sink": tok.sink_of(model),
        "head": tok.head_of(model),
        "chunk_length": list(case.lengths),
        "chunk_tokens": [token for chunk in chunks for token in chunk],
        "question": tok.tokenize(model, QUESTION),
        "prompt": tok.tokenize(model, INSTRUCTION + QUESTION + "\nAnswer:" + tok.footer_of(model)),
    }, chunks


def gap(scores: ref.Array, selected: list[int], n_head: int) -> float:
    rest = [position for position in range(n_head, len(scores)) if position not in selected]
    last = min(scores[selected])
    return float((last - max(scores[rest])) / last)


def score_margin(result: Result) -> float:
    choices = [(result.scores[kind], result.selected[kind]) for kind in result.scores]
    choices += [choice for answer in result.answers.values() for choice in answer.choices]
    return min(gap(scores, selected, len(result.inputs["head"])) for scores, selected in choices)


def logit_margin(result: Result) -> float:
    best_two = [np.sort(logits)[-2:] for answer in result.answers.values() for logits in answer.logits]
    return float(min(best - second for second, best in best_two))


def least_difference(model: ref.Model, result: Result) -> float:
    """Of the logits of any two methods that are not the same on this model."""
    return min((float(np.abs(result.answers[a].logits[0] - result.answers[b].logits[0]).max())
                for a, b in combinations(result.answers, 2) if not (model.n_layer == 2 and {a, b} == {"full", "cacheblend"})),
               default=math.inf)


def least_score_difference(result: Result) -> float:
    n_head = len(result.inputs["head"])
    scores = [scores[n_head:] for scores in result.scores.values()]
    if "infoflow" in result.answers:
        scores.append(result.answers["infoflow"].scores["norm"][n_head:])
    return min(float(np.abs(a - b).max() / max(a.max(), b.max())) for a, b in combinations(scores, 2))


def results(model: ref.Model, case: Case, seed: int, rounding: ref.Rounding = ref.F16) -> Iterator[Result]:
    """The same result again and again, with the geometries at first and one more answer each time."""
    inputs, chunks = inputs_of(model, case, seed)
    layers = list(case.layers) or ref.score_layers_of(model)
    kv = [ref.prefill_chunk(model, [], inputs["head"], rounding)]
    kv += [ref.prefill_chunk(model, inputs["sink"], chunk, rounding) for chunk in chunks]
    scores = {kind: ref.score_at(model, kv, kind, len(inputs["sink"]), inputs["question"], layers, ("norm",), rounding)["norm"]
              for kind in ref.GEOMETRIES if kind != "global"}
    selected = {kind: ref.select(scores[kind], case.ratio, len(inputs["head"])) for kind in scores}
    result = Result(inputs, layers, scores, selected, {})
    yield result
    for method in ref.METHODS + ref.MORE_METHODS:
        result.answers[method] = ref.answer(model, method, inputs["sink"], inputs["head"], chunks, inputs["question"], inputs["prompt"],
                                            case.ratio, layers, N_TOKENS, rounding)
        yield result


def weakness(model: ref.Model, result: Result) -> str:
    """Why these results, as far as they are there, would be no good as golden vectors; empty if they are."""
    control = {i for i, kind in enumerate(model.types) if kind not in (gguf.TokenType.NORMAL, gguf.TokenType.BYTE)}
    if score_margin(result) <= MIN_SCORE_MARGIN:
        return f"score margin {score_margin(result):.2g}"
    if least_score_difference(result) <= MIN_SCORE_DIFFERENCE:
        return f"geometries differ by {least_score_difference(result):.2g} of the largest score only"
    if not result.answers:
        return ""
    if logit_margin(result) <= MIN_LOGIT_MARGIN:
        return f"logit margin {logit_margin(result):.2g}"
    if least_difference(model, result) <= MIN_DIFFERENCE:
        return f"methods differ by {least_difference(model, result):.2g} only"
    if any(control & set(answer.tokens) for answer in result.answers.values()):
        return "a control token in an answer"
    if any(len(set(answer.tokens)) < MIN_DISTINCT for answer in result.answers.values()):
        return "an answer that repeats itself"
    if "reorder" in result.answers and result.answers["reorder"].order == sorted(result.answers["reorder"].order):
        return "the reordering changes nothing"
    return ""


def choices(result: Result) -> list[list[int]]:
    """All that arithmetic could flip."""
    answers = result.answers.values()
    return [*result.selected.values(), *(x for answer in answers for x in (answer.selected, answer.order, answer.tokens))]


def frailty(model: ref.Model, case: Case, seed: int, result: Result) -> str:
    """Why these results, without a weakness of their own, are too much at the mercy of rounding; empty if they are not."""
    for rounding in (ref.EXACT, ref.FLASH):
        *_, other = results(model, case, seed, rounding)
        if choices(other) != choices(result):
            return f"{rounding} flips a selection or a token"
        flow, other_flow = result.answers["infoflow"].scores, other.answers["infoflow"].scores
        pairs = [(result.scores[kind], other.scores[kind]) for kind in result.scores] + [(flow[kind], other_flow[kind]) for kind in flow]
        score_reach = max(float(np.abs(a - b).max() / a.max()) for a, b in pairs)
        logits = [(result.answers[method].logits[0], other.answers[method].logits[0]) for method in other.answers]
        logit_reach = max(float(np.abs(a - b).max()) for a, b in logits)
        if score_reach > MAX_SCORE_REACH or logit_reach > MAX_LOGIT_REACH:
            return f"{rounding} moves scores by {score_reach:.2g}, logits by {logit_reach:.2g}"
    return ""


def will_do(model: ref.Model, case: Case, seed: int) -> bool:
    for result in results(model, case, seed):
        if weakness(model, result):
            return False
    return not frailty(model, case, seed, result)


def entry(key: str, values: list) -> str:
    words = [value if isinstance(value, str) else f"{value:.7g}" if isinstance(value, float) else str(int(value)) for value in values]
    return f"{key} {len(words)}\n{' '.join(words)}\n"


def text_of(case: Case, digest: str, result: Result) -> str:
    flow = result.answers["infoflow"]
    parts = [entry("model", [case.model]), entry("sha256", [digest])]
    parts += [entry(key, values) for key, values in result.inputs.items()]
    parts += [entry("ratio", [case.ratio]), entry("score_layers", result.layers)]
    parts += [entry(f"score_{kind}", [float(x) for x in flow.scores[kind]]) for kind in ref.SCORE_KINDS]
    parts += [entry("selected", flow.selected)]
    parts += [entry(f"logits_{method}", [float(x) for x in result.answers[method].logits[0]]) for method in ref.METHODS]
    parts += [entry(f"tokens_{method}", result.answers[method].tokens) for method in ref.METHODS]
    parts += [entry("score_margin", [score_margin(result)]), entry("logit_margin", [logit_margin(result)])]
    parts += [entry(f"score_norm_{kind}", [float(x) for x in scores]) for kind, scores in result.scores.items()]
    parts += [entry(f"selected_{kind}", selected) for kind, selected in result.selected.items()]
    parts += [entry("order", result.answers["reorder"].order)]
    parts += [entry(f"selected_{method}", result.answers[method].selected) for method in ref.MORE_METHODS]
    parts += [entry(f"logits_{method}", [float(x) for x in result.answers[method].logits[0]]) for method in ref.MORE_METHODS]
    parts += [entry(f"tokens_{method}", result.answers[method].tokens) for method in ref.MORE_METHODS]
    return "".join(parts)


def digest_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def golden_files(models: Path, thorough: bool) -> dict[str, str]:
    """All files; thorough: having measured how far rounding reaches, which takes most of the time."""
    files = {"models.sha256": "".join(f"{digest_of(models / f'{spec.name}.gguf')}  {spec.name}.gguf\n" for spec in SPECS)}
    for case in CASES:
        path = models / f"{case.model}.gguf"
        model = ref.load_model(path)
        *_, result = results(model, case, case.seed)
        reason = weakness(model, result) or (frailty(model, case, case.seed, result) if thorough else "")
        if reason:
            raise AssertionError(f"{case.model}: seed {case.seed} will not do: {reason}; look for another with --search")
        files[f"{case.model}.txt"] = text_of(case, digest_of(path), result)
    return files


def good_seeds(model: ref.Model, case: Case) -> Iterator[int]:
    return (seed for seed in range(1, MAX_SEED) if will_do(model, case, seed))


def search(models: Path, cases: list[Case], good_seeds: Callable[[ref.Model, Case], Iterator[int]]) -> None:
    for case in cases:
        model = ref.load_model(models / f"{case.model}.gguf")
        print(case.name, next(good_seeds(model, case), f"none below {MAX_SEED}"), flush=True)


def same_entry(key: str, old: str, new: str) -> bool:
    """Decimals may differ in the last digit from one BLAS to another; all else is equal."""
    if not key.startswith(("score_", "logits_", "logit_", "staleness", "coverage_")) or key.startswith("score_layers"):
        return old == new
    a, b = np.array(old.split(), dtype=float), np.array(new.split(), dtype=float)
    return a.shape == b.shape and bool(np.allclose(a, b, rtol=1e-3, atol=1e-4))


def same(old: str, new: str) -> bool:
    a, b = old.splitlines(), new.splitlines()
    keys_equal = len(a) == len(b) and a[0::2] == b[0::2]
    return keys_equal and all(same_entry(key, x, y) for key, x, y in zip(a[0::2], a[1::2], b[1::2]))


def check(out: Path, files: dict[str, str]) -> int:
    stale = [name for name, text in files.items() if not (out / name).exists() or not same((out / name).read_text(), text)]
    for name in stale:
        print(f"{name} is not what golden.py makes now", file=sys.stderr)
    print(f"golden: {len(files) - len(stale)} of {len(files)} files are up to date")
    return 1 if stale else 0


def main(program: str, make_files: Callable[[Path, bool], dict[str, str]], cases: list[Case],
         good_seeds: Callable[[ref.Model, Case], Iterator[int]]) -> int:
    if len(sys.argv) == 3 and sys.argv[2] == "--search":
        search(Path(sys.argv[1]), cases, good_seeds)
        return 0
    if len(sys.argv) < 3 or sys.argv[3:] not in ([], ["--check"]):
        print(f"usage: {program} MODELS OUTDIR [--check] | {program} MODELS --search", file=sys.stderr)
        return 2
    out = Path(sys.argv[2])
    if len(sys.argv) == 4:
        return check(out, make_files(Path(sys.argv[1]), False))
    files = make_files(Path(sys.argv[1]), True)
    out.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (out / name).write_text(text)
        print(name)
    return 0


if __name__ == "__main__":
    sys.exit(main("golden.py", golden_files, CASES, good_seeds))
