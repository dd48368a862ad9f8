"""Checks the reference itself: against libllama on every tiny model, and its own identities.

    test_reference.py MODELS LLAMA_LOGITS     a directory of make_models.py, and the built llama_logits.c
"""

import math
import subprocess
import sys
from pathlib import Path

import numpy as np

import reference as ref
import tokens as tok
from make_models import SPECS

# Bounds on |difference| / |libllama's logits|, Euclidean over all positions. f32 weights and cache: float32 arithmetic alone. Tensors of
# other types: ggml rounds activations to f16, bf16 or 8-bit blocks before it multiplies, which the reference does not do.
BOUNDS = {"f32": 5e-5, "f16": 4e-3, "bf16": 2e-2, "q8_0": 4e-2, "q4_0": 4e-2, "q4_1": 4e-2, "q5_0": 4e-2, "q5_1": 4e-2}
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
    for kv_type, rounding in (("f32", ref.EXACT), ("f16", ref.F16)):
        peer = np.array([line.split() for line in libllama(binary, path, kv_type, *map(str, tokens)).splitlines()], dtype=float)
        mine = full_logits(model, tokens, rounding)
        relative = float(np.linalg.norm(peer - mine) / np.linalg.norm(peer))
        agree = float((peer.argmax(axis=1) == mine.argmax(axis=1)).mean())
        limit = max(bound, BOUND_F16_CACHE if kv_type == "f16" else 0.0)
        print(f"{path.stem:14} {kv_type} cache: largest difference {np.abs(peer - mine).max():.2e}, relative {relative:.2e} "
              f"(bound {limit:g}), top-1 equal {agree:.1%}")
        check(relative < limit, f"{path.stem}: logits differ from libllama's by {relative:.2e}, relatively")


def check_tokenizer(binary: str, path: Path) -> None:
    model = ref.load_model(path)
    text = "<|im_start|>user\nOf the answer to the question: which one?\n\nQuest in the rain, and so on.<|endoftext|>"
    mine, peer = tok.tokenize(model, text), [int(x) for x in libllama(binary, path, "tokenize", text).split()]
    check(mine == peer, f"{path.stem}: tokens {mine} are not libllama's {peer}")


def check_identities(path: Path) -> None:
    """Ratio 1 is full prefill, ratio 0 is no recompute; a chunk in place is one rotation away from any other place."""
    model = ref.load_model(path)
    sink, head = tok.sink_of(model), tok.head_of(model)
    chunks, text, prompt = [random_tokens(model, n, n) for n in (17, 9, 23)], random_tokens(model, 5, 5), random_tokens(model, 7, 7)

    def run(method: str, ratio: float, rounding: ref.Rounding) -> ref.Answer:
        return ref.answer(model, method, sink, head, chunks, text, prompt, ratio, ref.default_score_layers(model.n_layer), 3, rounding)

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
    print("reference: all checks passed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
