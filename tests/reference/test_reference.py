"""Checks the reference itself: against libllama on every tiny model, and its own identities.

    test_reference.py MODELS LLAMA_LOGITS     a directory of make_models.py, and the built llama_logits.c
"""

import math
import subprocess
import sys
from itertools import combinations
from pathlib import Path

import numpy as np

import reference as ref
import tokens as tok
from make_models import SPECS

# Bounds on |difference| / |libllama's logits|, Euclidean over all positions. f32 weights and cache: float32 arithmetic alone. Tensors of
# other types: ggml rounds activations to f16, bf16 or 8-bit blocks before it multiplies, which the reference does not do.
BOUNDS = {"f32": 5e-5, "f16": 4e-3, "bf16": 2e-2, "q8_0": 4e-2, "q4_0": 4e-2, "q4_1": 4e-2, "q5_0": 4e-2, "q5_1": 4e-2}
BOUND_GELU = 5e-4  # its table is of halves: where f32 and f64 round to other halves, one value moves by 5e-4. Measured: up to 2.4e-4
BOUND_F16_CACHE = 1e-3  # flash attention over an f16 cache also rounds queries and sums of values


def check(condition: bool, message: str) -> None:
    if not condition:
        raise AssertionError(message)


def random_tokens(model: ref.Model, n: int, seed: int) -> list[int]:
    return [int(token) for token in np.random.RandomState(seed).randint(0, len(model.texts), n)]


def libllama(binary: str, path: Path, *arguments: str) -> str:
    return subprocess.run([binary, str(path), *arguments], check=True, capture_output=True, text=True).stdout


def full_logits(model: ref.Model, tokens: list[int], rounding: ref.Rounding) -> ref.Array:
    return ref.append(model, ref.empty_cache(model), tokens, rounding)


def check_parity(types: dict[str, str], binary: str, path: Path) -> None:
    """Logits of all positions of a sequence, long enough that every rope frequency and scaling shows."""
    model = ref.load_model(path)
    tokens = random_tokens(model, 300, 1)
    bound = max(BOUNDS[t] for t in ("f32", *types.values()))
    for kv_type, rounding in (("f32", ref.Rounding(exact=True, table=True)), ("f16", ref.Rounding(table=True))):
        peer = np.array([line.split() for line in libllama(binary, path, kv_type, *map(str, tokens)).splitlines()], dtype=float)
        mine = full_logits(model, tokens, rounding)
        relative = float(np.linalg.norm(peer - mine) / np.linalg.norm(peer))
        agree = float((peer.argmax(axis=1) == mine.argmax(axis=1)).mean())
        limit = max(bound, BOUND_F16_CACHE if kv_type == "f16" else 0.0, BOUND_GELU if model.geglu else 0.0)
        print(f"{path.stem:14} {kv_type} cache: largest difference {np.abs(peer - mine).max():.2e}, relative {relative:.2e} "
              f"(bound {limit:g}), top-1 equal {agree:.1%}")
        check(relative < limit, f"{path.stem}: logits differ from libllama's by {relative:.2e}, relatively")


def check_tokenizer(binary: str, path: Path) -> None:
    model = ref.load_model(path)
    sentence = "<|im_start|>user\nOf the answer to the question: which one?\n\nQuest in the rain, and so on.<|endoftext|>"
    for text in (sentence, "<start_of_turn>user\nOf it<end_of_turn>\n" if model.arch == "gemma3" else "", *tok.GENERIC):
        peer = [int(x) for x in libllama(binary, path, "tokenize", text).split()][: tok.N_GENERIC]
        mine = tok.tokenize(model, text)[: tok.N_GENERIC]
        check(mine == peer, f"{path.stem}: tokens {mine} are not libllama's {peer}")


def check_identities(path: Path) -> None:
    """Ratio 1 is full prefill, ratio 0 is no recompute; a chunk in place is one rotation away from any other place."""
    model = ref.load_model(path)
    sink, head = tok.sink_of(model), tok.head_of(model)
    chunks, text, prompt = [random_tokens(model, n, n) for n in (17, 9, 23)], random_tokens(model, 5, 5), random_tokens(model, 7, 7)

    def run(method: str, ratio: float, rounding: ref.Rounding) -> ref.Answer:
        return ref.answer(model, method, sink, head, chunks, text, prompt, ratio, ref.score_layers_of(model), 3, rounding)

    full, none = run("full", 0.0, ref.EXACT), run("none", 0.0, ref.EXACT)
    all_of_it, nothing, some = (run("infoflow", ratio, ref.EXACT) for ratio in (1.0, 0.0, 0.3))

    def distance(a: ref.Answer, b: ref.Answer) -> float:
        return float(np.abs(a.logits[0] - b.logits[0]).max())

    check(distance(all_of_it, full) < 1e-9, f"{path.stem}: ratio 1 is not full prefill: {distance(all_of_it, full)}")
    check(distance(nothing, none) == 0.0, f"{path.stem}: ratio 0 is not no recompute")
    check(distance(none, full) > 0.05, f"{path.stem}: no recompute can't be told from full prefill")
    check(distance(some, full) > 0.01 and distance(some, none) > 0.01, f"{path.stem}: recompute at ratio 0.3 does nothing")
    rounded = distance(run("infoflow", 1.0, ref.F16), run("full", 0.0, ref.F16))
    check(rounded < 0.05, f"{path.stem}: ratio 1 over an f16 cache is {rounded} away from full prefill")


def check_comparators(path: Path) -> None:
    """cacheblend, epic and epic-ratio reach full prefill where nothing stays stale, and are themselves where something does."""
    model = ref.load_model(path)
    sink, head = tok.sink_of(model), tok.head_of(model)
    chunks, text, prompt = [random_tokens(model, n, n) for n in (17, 9, 23)], random_tokens(model, 5, 5), random_tokens(model, 7, 7)
    short = [random_tokens(model, n, n) for n in (3, 1, ref.N_EPIC)]

    def run(method: str, ratio: float, of: list[list[int]], rounding: ref.Rounding = ref.EXACT) -> ref.Answer:
        return ref.answer(model, method, sink, head, of, text, prompt, ratio, [0], 1, rounding)

    def distance(a: ref.Answer, b: ref.Answer) -> float:
        return float(np.abs(a.logits[0] - b.logits[0]).max())

    full, none, blend = run("full", 0.0, chunks), run("none", 0.0, chunks), run("cacheblend", 0.2, chunks)
    for name, answer in (("cacheblend", run("cacheblend", 1.0, chunks)), ("epic-ratio", run("epic-ratio", 1.0, chunks))):
        check(distance(answer, full) < 1e-9, f"{path.stem}: {name} at ratio 1 is not full prefill: {distance(answer, full)}")
    for name in ("cacheblend", "epic-ratio"):
        check(distance(run(name, 0.0, chunks), none) == 0.0, f"{path.stem}: {name} at ratio 0 is not no recompute")
    check(distance(run("epic", 0.0, short), run("full", 0.0, short)) < 1e-9, f"{path.stem}: epic of short chunks is not full prefill")
    check(len(blend.selected) == ref.n_select(0.2, len(head) + 49, len(head)), f"{path.stem}: cacheblend selects {len(blend.selected)}")
    if model.n_layer == 2:
        check(distance(blend, full) < 1e-9, f"{path.stem}: cacheblend does not repair two layers")
    else:
        check(distance(blend, full) > 0.01 and distance(blend, none) > 0.01, f"{path.stem}: cacheblend at ratio 0.2 does nothing")
    # After a head that is the sink the first chunk is what it was by itself: it does not change, and all others do.
    kv = [ref.prefill_chunk(model, [], sink, ref.EXACT)] + [ref.prefill_chunk(model, sink, chunk, ref.EXACT) for chunk in chunks]
    cache = ref.assemble(model, kv, ref.geometry("global", len(sink), [len(chunk.tokens) for chunk in kv]).chunk_start, ref.EXACT)
    change, selected = ref.cacheblend(model, cache, sink + sum(chunks, []), 0.2, len(sink), ref.EXACT)
    exact = len(sink) + len(chunks[0])
    check(bool((change[:exact] < 1e-18).all() and (change[exact:] > 1e-9).all()), f"{path.stem}: changes {change}")
    check(min(selected) >= exact, f"{path.stem}: cacheblend selects {selected}, of which some are exact already")


def check_geometries(path: Path) -> None:
    """Where nothing is moved all geometries are one; where only the chunks' order differs the local ones can't tell."""
    model = ref.load_model(path)
    sink, text, layers = tok.sink_of(model), random_tokens(model, 5, 5), list(range(model.n_layer))
    kv = [ref.prefill_chunk(model, [], tok.head_of(model), ref.EXACT)]
    kv += [ref.prefill_chunk(model, sink, random_tokens(model, n, n), ref.EXACT) for n in (17, 9, 23)]

    def score(chunks: list[ref.Chunk], kind: str, n_sink: int = len(sink)) -> ref.Array:
        return ref.score_at(model, chunks, kind, n_sink, text, layers, ("norm",), ref.EXACT)["norm"]

    def parts(scores: ref.Array, of: list[ref.Chunk]) -> list[ref.Array]:
        return np.split(scores, np.cumsum([len(chunk.tokens) for chunk in of])[:-1])

    only = [ref.prefill_chunk(model, [], sink, ref.EXACT), kv[1]]  # one chunk, right after a head of the sink's length
    for kind in ref.GEOMETRIES:
        check(np.allclose(score(only, kind), score(only, "global"), rtol=1e-9), f"{path.stem}: {kind} of one chunk in place is not global")
    order = [0, 3, 1, 2]
    moved = [kv[i] for i in order]
    for kind in ref.GEOMETRIES:
        before, after = parts(score(kv, kind), kv), parts(score(moved, kind), moved)
        same = all(np.allclose(after[at], before[i], rtol=1e-9) for at, i in enumerate(order))
        check(same == (kind != "global"), f"{path.stem}: {kind} {'is not' if kind != 'global' else 'is'} the same in another order")
    scores = [score(kv, kind) for kind in ref.GEOMETRIES]
    check(all(np.abs(a - b).max() > 1e-6 for i, a in enumerate(scores) for b in scores[:i]), f"{path.stem}: two geometries are the same")


def check_reorder(path: Path) -> None:
    """Equal shares keep the order; otherwise it is infoflow on chunks that were given in the new order."""
    model = ref.load_model(path)
    sink, head, layers = tok.sink_of(model), tok.head_of(model), ref.score_layers_of(model)
    chunks, text, prompt = [random_tokens(model, n, n) for n in (17, 9, 23)], random_tokens(model, 5, 5), random_tokens(model, 7, 7)

    def run(method: str, ratio: float, of: list[list[int]]) -> ref.Answer:
        return ref.answer(model, method, sink, head, of, text, prompt, ratio, layers, 3, ref.EXACT)

    def same(a: ref.Answer, b: ref.Answer) -> bool:
        return a.selected == b.selected and a.tokens == b.tokens and bool((a.logits[0] == b.logits[0]).all())

    all_of_it, nothing = run("reorder", 1.0, chunks), run("reorder", 0.0, chunks)
    check(all_of_it.order == nothing.order == [1, 2, 3], f"{path.stem}: equal shares change the order")
    check(same(all_of_it, run("infoflow", 1.0, chunks)) and same(nothing, run("none", 0.0, chunks)), f"{path.stem}: reordering of nothing")
    some = run("reorder", 0.3, chunks)
    check(same(some, run("infoflow", 0.3, [chunks[i - 1] for i in some.order])), f"{path.stem}: order {some.order} is not what was read")
    again = run("reorder", 0.3, [chunks[i - 1] for i in some.order])
    check(again.order == [1, 2, 3] and same(again, some), f"{path.stem}: reordered chunks are reordered again")


def check_behind(path: Path) -> None:
    """Texts before a chunk move all its tokens, by 1 a tensor in the mean; what is no text moves nothing, nor is it another mean."""
    model = ref.load_model(path)
    sink, chunk, generic = tok.sink_of(model), random_tokens(model, 23, 23), [tok.generic_of(model, text) for text in range(1, 5)]
    check([len(text) for text in generic] == [tok.N_GENERIC] * 4, f"{path.stem}: a generic text is too short")
    alone, *fillers = (ref.prefill_chunk(model, sink + text, chunk, ref.EXACT) for text in [[], *generic[:3]])

    def tensors(of: ref.Chunk) -> list[ref.Array]:
        return of.k_pre + of.v

    def above(of: ref.Chunk) -> list[ref.Array]:
        return of.k_pre[1:] + of.v[1:]

    def same(a: ref.Chunk, b: ref.Chunk) -> bool:
        return all(np.allclose(x, y, atol=1e-12) for x, y in zip(tensors(a), tensors(b)))

    for samples in ([alone, fillers[0]], fillers):
        staleness = ref.staleness(samples)
        check(bool(np.allclose(staleness, ref.staleness(samples[::-1]))), f"{path.stem}: what is staleness depends on the order of prefills")
        check(math.isclose(staleness.mean(), 2 * (model.n_layer - 1)), f"{path.stem}: staleness is {staleness.mean()} in the mean")
        check(staleness.min() > 0.0 and staleness.max() > 1.2 * staleness.min(), f"{path.stem}: staleness {staleness}")
        # The variance of n is the sum of the squared distances of all pairs, by n^2: of two, it is their distance.
        pairs = [[np.sum((x - y) ** 2, axis=(1, 2)) for x, y in combinations(layer, 2)] for layer in zip(*(above(x) for x in samples))]
        spread = sum(np.sqrt(sum(layer)) / np.sqrt(sum(layer)).mean() for layer in pairs)
        check(bool(np.allclose(staleness, spread)), f"{path.stem}: staleness is not the distance between prefills")
    check(not ref.staleness([alone, alone]).any(), f"{path.stem}: a chunk is away from itself")
    check(all(np.allclose(a[0], b[0], rtol=1e-12) for other in fillers for a, b in ((alone.k_pre, other.k_pre), (alone.v, other.v))),
          f"{path.stem}: layer 0 is not the same after a text")
    mean = ref.mean(fillers, ref.EXACT)
    check(same(ref.mean([alone], ref.EXACT), alone), f"{path.stem}: the mean of one prefill is not that prefill")
    check(same(ref.mean(fillers[::-1], ref.EXACT), mean), f"{path.stem}: the mean depends on the order of prefills")
    check(all(np.allclose(3 * m, a + b + c) for m, a, b, c in zip(tensors(mean), *map(tensors, fillers))), f"{path.stem}: mean")
    check(not any(same(mean, other) for other in (alone, *fillers)), f"{path.stem}: the mean of three is one of them")
    # Rows that were never dropped: the whole sequence at once.
    cache = ref.empty_cache(model)
    whole = ref.forward(model, cache, sink + generic[0] + chunk, ref.add_rows(cache, np.arange(len(sink) + 160 + 23)), ref.EXACT)
    rows = zip(tensors(fillers[0]), whole.k_pre + whole.v)
    check(all(np.allclose(a, b[-23:], atol=1e-9) for a, b in rows), f"{path.stem}: a chunk after the text is not what it is in one pass")


def check_slices(path: Path) -> None:
    model = ref.load_model(path)
    tokens = random_tokens(model, 40, 2)
    cache = ref.empty_cache(model)
    sliced = np.concatenate([ref.append(model, cache, tokens[i : i + 7], ref.F16) for i in range(0, 40, 7)])
    check(bool(np.allclose(sliced, full_logits(model, tokens, ref.F16), atol=1e-9)), f"{path.stem}: slices differ from one pass")


def check_selection() -> None:
    check(ref.default_score_layers(40) == [22, 23, 24, 25], "the paper's layers of 40")
    check(ref.default_score_layers(4) == [2], "layers of 4")
    check(ref.n_select(0.15, 20, 2) == 3 and ref.n_select(0.15, 100, 2) == 15, "0.15 of 20 is 3, of 100 is 15")
    check(ref.n_select(0.29, 100, 2) == 29, "0.29 * 100 is 28.999999999999996 and means 29")
    check(ref.n_select(0.001, 20, 2) == 1 and ref.n_select(0.0, 20, 2) == 0 and ref.n_select(1.0, 20, 2) == 18, "the ends of the range")
    check(ref.select(np.array([9.0, 1.0, 2.0, 2.0, 3.0, 2.0]), 0.5, 1) == [2, 3, 4], "ties go to the lower position")
    check(ref.union(np.array([9.0, 1.0, 4.0, 3.0, 2.0]), 0.5, np.array([9.0, 5.0, 7.0, 1.0, 4.0]), 3, 1) == ([2], [1, 4]), "union")
    check(ref.union(np.arange(20.0), 2 / 3, np.arange(20.0), 9, 1)[0] == list(range(14, 20)), "2/3 of 9 is 6")
    check(ref.product(np.array([0.0, 1.0, 2.0]), np.array([9.0, 9.0, 0.25])).tolist() == [0.0, 3.0, 1.0], "product")
    scores = np.array([9.0, 1.0, 4.0, 3.0, 2.0])  # of 10 outside the head; the best 1, 2, 3 of them hold 4, 7, 9
    for share, low, high, n in ((0.7, 0.2, 0.8, 2), (0.71, 0.2, 0.8, 3), (0.1, 0.4, 0.8, 2), (0.9, 0.2, 0.4, 2), (1.0, 0.0, 1.0, 4)):
        check(ref.n_covering(scores, ref.Coverage(share, low, high), 1) == n, f"{share} of the score is held by {n} tokens")
    check(ref.shares([2, 4, 5, 6, 9], [2, 5, 2, 4]) == [0.8, 0.0, 0.25], "shares of chunks at 2, 7 and 9")
    check(ref.reading_order([0.5, 0.0, 0.8, 0.5, 0.0]) == [2, 5, 1, 4, 3], "ascending by share, ties to the lower index")
    check(ref.epic([2, 5, 3, 4]) == [2, 3, 4, 5, 7, 8, 9, 10, 11, 12, 13], "the first 4, or all of 3")
    check(ref.epic_ratio(0.29, [2, 100, 3, 7]) == [*range(2, 31), 102, 105, 106], "29 of 100, at least 1 of 3, 2 of 7")
    check(ref.epic_ratio(0.0, [2, 5]) == [] and ref.epic_ratio(1.0, [2, 5]) == [2, 3, 4, 5, 6], "epic-ratio's ends")


def check_scores() -> None:
    """Hand-computed: two heads over one KV head, two queries, two keys."""
    weights = np.array([[[0.5, 0.25], [0.0, 1.0]], [[0.5, 0.75], [1.0, 0.0]]])
    v = np.array([[[3.0, 4.0]], [[1.0, 0.0]]])
    check(np.allclose(ref.score_layer("norm", weights, v), [math.sqrt(0.5), math.sqrt(0.5)]), "norm")
    check(np.allclose(ref.score_layer("mass", weights, v), [1.0, 1.0]), "mass")
    check(np.allclose(ref.score_layer("entropy", weights, v), [math.log(2.0), math.log(2.0)]), "entropy")
    check(np.allclose(ref.score_layer("vatp", weights, v), [10.0, 2.0]), "vatp")
    check(np.allclose(ref.score_layer("combined", weights, v), [1.0 / 3.0, 0.0], atol=1e-6), "combined")


def check_geometry() -> None:
    check(ref.geometry("global", 2, [3, 5, 4]) == ref.Geometry([0, 3, 8], 12), "global")
    check(ref.geometry("hl-hp", 2, [3, 5, 4]) == ref.Geometry([0, 2, 2], 7), "hl-hp")
    check(ref.geometry("hl-tp", 2, [3, 5, 4]) == ref.Geometry([0, 2, 2], 12), "hl-tp")
    check(ref.geometry("tl-tp", 2, [3, 5, 4]) == ref.Geometry([0, 7, 8], 12), "tl-tp")


def check_refusals(models: Path) -> None:
    for spec in SPECS:
        if spec.name.startswith("refuse-"):
            try:
                ref.load_model(models / f"{spec.name}.gguf")
            except ValueError:
                continue
            raise AssertionError(f"{spec.name} was not refused")


def main() -> int:
    if len(sys.argv) != 3:
        print("usage: test_reference.py MODELS LLAMA_LOGITS", file=sys.stderr)
        return 2
    models, binary = Path(sys.argv[1]), sys.argv[2]
    check_selection()
    check_scores()
    check_geometry()
    check_refusals(models)
    for spec in SPECS:
        if not spec.name.startswith("refuse-"):
            path = models / f"{spec.name}.gguf"
            check_tokenizer(binary, path)
            check_parity(spec.types, binary, path)
            check_identities(path)
            check_slices(path)
            check_behind(path)
            check_comparators(path)
            check_geometries(path)
            check_reorder(path)
    print("reference: all checks passed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
