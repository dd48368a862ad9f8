"""InfoFlow KV in plain numpy: an oracle for the C code, which shares nothing with it.

Everything is computed in float64; only the cache rounds, as the product's does (`Rounding`). Arrays are written [slowest, ..., fastest]:
a key array is [n_rows, n_head_kv, n_embd_head]. Names say whether a key is before (`k_pre`) or after RoPE (`k`).

The method's steps, in order: prefill_chunk, assemble, score, select, recompute, then append the prompt and generate. `answer` runs them
all, and the methods that it is compared with: METHODS says which there are. What is not in the paper, chunks after texts among it, has
its steps here and is put together in golden_ours.py.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np

Array = np.ndarray
SCORE_KINDS = ("norm", "mass", "entropy", "vatp", "combined")
METHODS = ("full", "none", "infoflow")
MORE_METHODS = ("epic", "epic-ratio", "cacheblend", "reorder")  # reorder: infoflow with the chunks reordered
GEOMETRIES = ("global", "hl-hp", "hl-tp", "tl-tp")
N_EPIC = 4  # tokens that epic takes of every chunk
N_PRIOR, LEAST_PART = 4, 0.05  # of drift()
REACHES, HOLD, HOLD_PLACE, SHARE = (2, 8, 32), 1e-2, 1e-4, 0.75  # of a learned correction

# 0.15 * 20 is 3.0000000000000004 in binary and 0.575 * 40 is 22.999999999999996: a floor needs a hair of help to mean what was written.
FLOOR_HELP = 1e-9


# ---- Model --------------------------------------------------------------------------------------------------------------------------


@dataclass
class Rope:
    base: float
    scale: float  # 1 / the file's scaling factor
    yarn: bool
    n_ctx_orig: int
    magnitude: float  # of cos and sin
    factors: Array | None  # Llama-3's, one a pair; frequencies are divided by them


@dataclass
class Model:
    arch: str
    n_layer: int
    n_embd: int
    n_head: int
    n_head_kv: int
    n_embd_head: int
    eps: float
    windows: list[int]  # by layer; 0: none
    ropes: list[Rope]  # by layer
    geglu: bool  # else SwiGLU
    embd_scale: float
    attention_scale: float
    logit_cap: float  # 0: none
    neox: bool  # pairs (i, i + d/2); else (2i, 2i + 1)
    tensors: dict[str, Array]
    texts: list[str]
    types: list[int]
    scores: list[float]  # of SentencePiece's kind; else empty
    merges: list[str]
    whole_words: bool  # a word that is in the vocabulary is taken whole, before any merge
    bos: int | None
    eos: int

    def layer(self, layer: int, name: str) -> Array:
        return self.tensors[f"blk.{layer}.{name}"]

    def optional(self, layer: int, name: str) -> Array | None:
        return self.tensors.get(f"blk.{layer}.{name}")


def read_metadata(reader: gguf.GGUFReader) -> dict[str, Any]:
    return {key: item.contents() for key, item in reader.fields.items() if not key.startswith("GGUF.")}


def read_rope(meta: dict[str, Any], arch: str, factors: Array | None) -> Rope:
    """Scaling as llama.cpp reads it: a factor without a type means linear; YaRN's magnitude is 1 + 0.1 ln(factor), times attn_factor."""
    kind = meta.get(f"{arch}.rope.scaling.type", "linear")
    factor = float(meta.get(f"{arch}.rope.scaling.factor", meta.get(f"{arch}.rope.scale_linear", 0.0))) or 1.0
    if kind == "none":
        factor = 1.0
    if kind not in ("none", "linear", "yarn"):
        raise ValueError(f"rope scaling {kind!r} is not one of none, linear, yarn")
    magnitude = float(meta.get(f"{arch}.rope.scaling.attn_factor", 1.0))
    if kind == "yarn" and factor > 1.0:
        magnitude *= 1.0 + 0.1 * math.log(factor)
    n_ctx_orig = int(meta.get(f"{arch}.rope.scaling.original_context_length", meta[f"{arch}.context_length"]))
    return Rope(float(meta.get(f"{arch}.rope.freq_base", 10000.0)), 1.0 / factor, kind == "yarn", n_ctx_orig, magnitude, factors)


def read_windows(meta: dict[str, Any], arch: str, n_layer: int) -> list[int]:
    """Gemma 3: the pattern is a list, or one layer in so many, the last of them, sees everything."""
    window = int(meta.get(f"{arch}.attention.sliding_window", 0)) if arch == "gemma3" else 0
    pattern = meta.get(f"{arch}.attention.sliding_window_pattern", 6)
    has = pattern if isinstance(pattern, list) else [(layer + 1) % pattern != 0 for layer in range(n_layer)]
    return [window if windowed else 0 for windowed in has]


def load_model(path: Path) -> Model:
    reader = gguf.GGUFReader(path)
    meta = read_metadata(reader)
    arch = meta["general.architecture"]
    if arch not in ("llama", "qwen2", "qwen3", "gemma3"):
        raise ValueError(f"architecture {arch!r} is not one of llama, qwen2, qwen3, gemma3")
    if meta.get(f"{arch}.expert_count", 0):
        raise ValueError("a mixture of experts is not supported")
    tensors = {t.name: gguf.quants.dequantize(t.data, t.tensor_type).astype(np.float64) for t in reader.tensors}
    n_embd, n_head = int(meta[f"{arch}.embedding_length"]), int(meta[f"{arch}.attention.head_count"])
    n_layer, n_embd_head = int(meta[f"{arch}.block_count"]), int(meta.get(f"{arch}.attention.key_length", n_embd // n_head))
    rope = read_rope(meta, arch, tensors.get("rope_freqs.weight"))
    local = Rope(float(meta.get(f"{arch}.rope.freq_base_swa", 10000.0)), 1.0, False, rope.n_ctx_orig, 1.0, None)
    windows = read_windows(meta, arch, n_layer)
    gemma = arch == "gemma3"
    return Model(
        arch=arch,
        n_layer=n_layer,
        n_embd=n_embd,
        n_head=n_head,
        n_head_kv=int(meta.get(f"{arch}.attention.head_count_kv", n_head)),
        n_embd_head=n_embd_head,
        eps=float(meta[f"{arch}.attention.layer_norm_rms_epsilon"]),
        windows=windows,
        ropes=[local if window else rope for window in windows],
        geglu=gemma,
        embd_scale=math.sqrt(n_embd) if gemma else 1.0,
        attention_scale=1.0 / math.sqrt(n_embd // n_head if gemma and n_layer == 62 else n_embd_head),
        logit_cap=float(meta.get(f"{arch}.final_logit_softcapping", 0.0)) if gemma else 0.0,
        neox=arch != "llama",
        tensors=tensors,
        texts=meta["tokenizer.ggml.tokens"],
        types=meta["tokenizer.ggml.token_type"],
        scores=meta.get("tokenizer.ggml.scores", []),
        merges=meta.get("tokenizer.ggml.merges", []),
        whole_words=meta["tokenizer.ggml.pre"] == "llama-bpe",
        bos=meta.get("tokenizer.ggml.bos_token_id"),
        eos=meta["tokenizer.ggml.eos_token_id"],
    )


# ---- Arithmetic ---------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Rounding:
    """How the cache rounds: chunk files and cache rows are f16 in the product; exact=True keeps float64, for identities. With
    flash=True attention rounds queries and every partial sum of values too, as ggml's CPU kernel of flash attention does. With
    table=True GELU is of and in f16, as ggml's CPU looks it up."""

    exact: bool = False
    flash: bool = False
    table: bool = False

    def __call__(self, x: Array) -> Array:
        return x if self.exact else x.astype(np.float16).astype(np.float64)


F16 = Rounding()
EXACT = Rounding(exact=True)
FLASH = Rounding(flash=True, table=True)


def rms_norm(x: Array, weight: Array, eps: float) -> Array:
    return x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + eps) * weight


def linear(x: Array, weight: Array, bias: Array | None) -> Array:
    y = x @ weight.T
    return y if bias is None else y + bias


def silu(x: Array) -> Array:
    return x / (1.0 + np.exp(-x))


def gelu(x: Array, rounding: Rounding) -> Array:
    """By the tanh approximation."""
    if rounding.table:
        x = np.where(np.abs(x) < 10.0, F16(x), x)
    y = 0.5 * x * (1.0 + np.tanh(math.sqrt(2.0 / math.pi) * x * (1.0 + 0.044715 * x * x)))
    return np.where(np.abs(x) < 10.0, F16(y), y) if rounding.table else y


def softmax(x: Array) -> Array:
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def yarn_extrapolated_share(rope: Rope, n_dims: int) -> Array:
    """Of every pair's frequency, the share that YaRN leaves unscaled: 1 where the pair turns often (32 times) within the original context,
    0 where it turns less than once, a ramp over the pair's index between."""

    def pair_that_turns(times: float) -> float:
        return n_dims * math.log(rope.n_ctx_orig / (times * 2.0 * math.pi)) / (2.0 * math.log(rope.base))

    low = max(0.0, math.floor(pair_that_turns(32.0)))
    high = min(n_dims - 1.0, math.ceil(pair_that_turns(1.0)))
    pair = np.arange(n_dims // 2)
    return 1.0 - np.clip((pair - low) / max(0.001, high - low), 0.0, 1.0)


def rope_angles(rope: Rope, d: int, positions: Array) -> Array:
    """[n, d / 2]"""
    frequency = rope.base ** (-2.0 * np.arange(d // 2) / d)
    if rope.factors is not None:
        frequency = frequency / rope.factors
    share = yarn_extrapolated_share(rope, d) if rope.yarn else 0.0
    frequency = frequency * (rope.scale * (1.0 - share) + share)
    return positions[:, None] * frequency[None, :]


def rotate(model: Model, layer: int, x: Array, positions: Array) -> Array:
    """A layer's RoPE of x [n, heads, n_embd_head] to absolute positions [n]."""
    rope = model.ropes[layer]
    angle = rope_angles(rope, model.n_embd_head, np.asarray(positions, dtype=np.float64))[:, None, :]
    cos, sin = np.cos(angle) * rope.magnitude, np.sin(angle) * rope.magnitude
    half = model.n_embd_head // 2
    first, second = (np.s_[..., :half], np.s_[..., half:]) if model.neox else (np.s_[..., 0::2], np.s_[..., 1::2])
    out = np.empty_like(x)
    out[first] = x[first] * cos - x[second] * sin
    out[second] = x[first] * sin + x[second] * cos
    return out


# ---- One pass -----------------------------------------------------------------------------------------------------------------------


@dataclass
class Cache:
    """Rows in the order of the sequence; a row is seen by queries that are not before it, in a layer with a window by less than so many
    positions. Its position is what its key is rotated by."""

    k: list[Array]  # [layer][n_rows, n_head_kv, n_embd_head], after RoPE
    v: list[Array]
    position: Array  # [n_rows]

    @property
    def n_rows(self) -> int:
        return len(self.position)


@dataclass
class Pass:
    hidden: Array  # [n, n_embd], before the last norm
    k_pre: list[Array]  # [layer][n, n_head_kv, n_embd_head], before RoPE
    v: list[Array]
    attention: dict[int, Array]  # layer -> [n_head, n, n_rows]


def empty_cache(model: Model) -> Cache:
    shape = (0, model.n_head_kv, model.n_embd_head)
    return Cache([np.empty(shape) for _ in range(model.n_layer)], [np.empty(shape) for _ in range(model.n_layer)], np.empty(0, dtype=int))


def copy_cache(cache: Cache) -> Cache:
    return Cache([k.copy() for k in cache.k], [v.copy() for v in cache.v], cache.position.copy())


def add_rows(cache: Cache, positions: Array) -> Array:
    """Appends rows of zeros at the positions; returns their indices."""
    first, n = cache.n_rows, len(positions)
    for arrays in (cache.k, cache.v):
        for layer, old in enumerate(arrays):
            arrays[layer] = np.concatenate([old, np.zeros((n, *old.shape[1:]))])
    cache.position = np.concatenate([cache.position, positions])
    return np.arange(first, first + n)


def project(model: Model, layer: int, x: Array) -> tuple[Array, Array, Array]:
    """Query, key and value of normalised rows x [n, n_embd], after bias and q/k-norm, before RoPE."""

    def heads(name: str, n_head: int) -> Array:
        y = linear(x, model.layer(layer, f"{name}.weight"), model.optional(layer, f"{name}.bias"))
        y = y.reshape(len(x), n_head, model.n_embd_head)
        norm = model.optional(layer, f"{name}_norm.weight")
        return y if norm is None else rms_norm(y, norm, model.eps)

    return heads("attn_q", model.n_head), heads("attn_k", model.n_head_kv), heads("attn_v", model.n_head_kv)


def sum_in_f16(weights: Array, v: Array) -> Array:
    """weights [n, n_rows] of v [n_rows, d], one row after another; the largest weight is scaled to 1 for the sum."""
    largest = weights.max(axis=1, keepdims=True)
    total = np.zeros((len(weights), v.shape[1]))
    for weight, row in zip((weights / largest).T, v):
        total = F16(total + weight[:, None] * row)
    return total * largest


def attend(model: Model, q: Array, k: Array, v: Array, visible: Array, rounding: Rounding) -> tuple[Array, Array]:
    """q [n, n_head, d] over k, v [n_rows, n_head_kv, d] where visible [n, n_rows]. Output [n, n_head * d], weights [n_head, n, n_rows]."""
    group = model.n_head // model.n_head_kv
    q = F16(q) if rounding.flash else q
    weights, out = [], []
    for head in range(model.n_head):
        logits = q[:, head] @ k[:, head // group].T * model.attention_scale
        weights.append(softmax(np.where(visible, logits, -np.inf)))
        out.append(sum_in_f16(weights[-1], v[:, head // group]) if rounding.flash else weights[-1] @ v[:, head // group])
    return np.concatenate(out, axis=1), np.stack(weights)


def feed_forward(model: Model, layer: int, x: Array, rounding: Rounding) -> Array:
    def dense(name: str, y: Array) -> Array:
        return linear(y, model.layer(layer, f"{name}.weight"), model.optional(layer, f"{name}.bias"))

    gate = dense("ffn_gate", x)
    return dense("ffn_down", (gelu(gate, rounding) if model.geglu else silu(gate)) * dense("ffn_up", x))


def norm_after(model: Model, layer: int, name: str, x: Array) -> Array:
    """Of what attention or the feed-forward gives, where the model has that."""
    weight = model.optional(layer, name)
    return x if weight is None else rms_norm(x, weight, model.eps)


def embed(model: Model, tokens: list[int]) -> Array:
    return model.tensors["token_embd.weight"][tokens] * model.embd_scale


def write_kv(model: Model, cache: Cache, layer: int, hidden: Array, rows: Array, rounding: Rounding) -> tuple[Array, Array, Array]:
    """A layer's first half: K and V of the hidden rows go to the given cache rows. Query after RoPE; K before it and V, both unrounded."""
    positions = cache.position[rows]
    q, k_pre, v = project(model, layer, rms_norm(hidden, model.layer(layer, "attn_norm.weight"), model.eps))
    cache.k[layer][rows] = rounding(rotate(model, layer, k_pre, positions))
    cache.v[layer][rows] = rounding(v)
    return rotate(model, layer, q, positions), k_pre, v


def attend_and_feed(model: Model, cache: Cache, layer: int, hidden: Array, q: Array, rows: Array,
                    rounding: Rounding) -> tuple[Array, Array]:
    """A layer's second half: the queries, of these rows, over the cache; then the feed-forward. Hidden rows, attention weights."""
    later = rows[:, None] - np.arange(cache.n_rows)[None, :]
    distance = cache.position[rows][:, None] - cache.position[None, :]
    visible = (later >= 0) & (distance < (model.windows[layer] or np.inf))
    mixed, weights = attend(model, q, cache.k[layer], cache.v[layer], visible, rounding)
    out = linear(mixed, model.layer(layer, "attn_output.weight"), model.optional(layer, "attn_output.bias"))
    hidden = hidden + norm_after(model, layer, "post_attention_norm.weight", out)
    out = feed_forward(model, layer, rms_norm(hidden, model.layer(layer, "ffn_norm.weight"), model.eps), rounding)
    return hidden + norm_after(model, layer, "post_ffw_norm.weight", out), weights


def run_layers(model: Model, cache: Cache, layers: range, hidden: Array, rows: Array, rounding: Rounding,
               observe: tuple[int, ...] = ()) -> Pass:
    """Runs hidden rows, whose K and V go to the given cache rows and which stand at these rows' positions, through the layers. In each
    layer all K and V are written before any row attends."""
    result = Pass(hidden, [], [], {})
    for layer in layers:
        q, k_pre, v = write_kv(model, cache, layer, result.hidden, rows, rounding)
        result.hidden, weights = attend_and_feed(model, cache, layer, result.hidden, q, rows, rounding)
        if layer in observe:
            result.attention[layer] = weights
        result.k_pre.append(k_pre)
        result.v.append(v)
    return result


def forward(model: Model, cache: Cache, tokens: list[int], rows: Array, rounding: Rounding, n_layer: int | None = None,
            observe: tuple[int, ...] = ()) -> Pass:
    """Tokens through the first n_layer layers, or all of them."""
    return run_layers(model, cache, range(model.n_layer if n_layer is None else n_layer), embed(model, tokens), rows, rounding, observe)


def logits_of(model: Model, hidden: Array) -> Array:
    output = model.tensors.get("output.weight", model.tensors["token_embd.weight"])
    logits = linear(rms_norm(hidden, model.tensors["output_norm.weight"], model.eps), output, model.tensors.get("output.bias"))
    return model.logit_cap * np.tanh(logits / model.logit_cap) if model.logit_cap else logits


def append(model: Model, cache: Cache, tokens: list[int], rounding: Rounding) -> Array:
    """Runs tokens right after the cache's rows, which stand at 0..n-1; their logits."""
    rows = add_rows(cache, np.arange(cache.n_rows, cache.n_rows + len(tokens)))
    return logits_of(model, forward(model, cache, tokens, rows, rounding).hidden)


# ---- Prefill and assemble -----------------------------------------------------------------------------------------------------------


@dataclass
class Chunk:
    tokens: list[int]
    k_pre: list[Array]  # [layer][n_tokens, n_head_kv, n_embd_head], before RoPE
    v: list[Array]


def run_lead(model: Model, lead: list[int], rounding: Rounding) -> Cache:
    """What stands before chunks while they are prefilled."""
    cache = empty_cache(model)
    if lead:
        append(model, cache, lead, rounding)
    return cache


def prefill_behind(model: Model, lead: Cache, tokens: list[int], rounding: Rounding) -> Chunk:
    """The chunk alone after a lead, whose rows are dropped."""
    cache = copy_cache(lead)
    run = forward(model, cache, tokens, add_rows(cache, lead.n_rows + np.arange(len(tokens))), rounding)
    return Chunk(tokens, [rounding(k) for k in run.k_pre], [rounding(v) for v in run.v])


def prefill_chunk(model: Model, sink: list[int], tokens: list[int], rounding: Rounding) -> Chunk:
    """After the sink. The head is a chunk without a sink."""
    return prefill_behind(model, run_lead(model, sink, rounding), tokens, rounding)


def mean(samples: list[Chunk], rounding: Rounding) -> Chunk:
    """What is stored of a chunk that was prefilled several times, after one text after another."""

    def of(layers: list[list[Array]]) -> list[Array]:
        return [rounding(np.mean(layer, axis=0)) for layer in zip(*layers)]

    return Chunk(samples[0].tokens, of([sample.k_pre for sample in samples]), of([sample.v for sample in samples]))


def staleness(samples: list[Chunk]) -> Array:
    """How far each token's K, before RoPE, and V spread among prefills of a chunk: the root of the summed variance of all elements, in all
    heads at once; divided by the mean of that over the chunk; summed over K and V of all layers but the first, where nothing can differ.
    Two prefills spread as they are apart: by half of that, which the division makes the same."""
    total = np.zeros(len(samples[0].tokens))
    for layer in [*zip(*(sample.k_pre[1:] for sample in samples)), *zip(*(sample.v[1:] for sample in samples))]:
        spread = np.sqrt(np.var(layer, axis=0).sum(axis=(1, 2)))
        if spread.any():
            total += spread / spread.mean()
    return total


@dataclass
class Geometry:
    chunk_start: list[int]  # position of every chunk's first token, the head's first
    text_start: int


def geometry(kind: str, n_sink: int, lengths: list[int]) -> Geometry:
    """Where the keys and the scoring text stand. Readings, beyond `global`:

    HL (local): every chunk but the head where it stood while it was prefilled, from the sink's length on, so that chunks overlap, and
    overlap the head's end where the head is longer than the sink. HP: the text right after the longest, the greatest end of a chunk or
    of the head. TP: the text at N. TL: every chunk but the head ends at N-1. The head is at 0 in all of them, as chunk 0 is pinned.
    A key is visible to the text by the order of the sequence, whatever chunk it is of and wherever it stands; in all four every key comes
    before the text.
    """
    n = sum(lengths)
    begins = [sum(lengths[:i]) for i in range(len(lengths))]
    local = [0] + [n_sink] * (len(lengths) - 1)
    ends = [start + length for start, length in zip(local, lengths)]
    if kind == "global":
        return Geometry(begins, n)
    if kind == "hl-hp":
        return Geometry(local, max(ends))
    if kind == "hl-tp":
        return Geometry(local, n)
    if kind == "tl-tp":
        return Geometry([0] + [n - length for length in lengths[1:]], n)
    raise ValueError(f"geometry {kind!r} is not one of global, hl-hp, hl-tp, tl-tp")


def assemble(model: Model, chunks: list[Chunk], starts: list[int], rounding: Rounding) -> Cache:
    """Lays the chunks one after another; keys rotated to start, start + 1, ..., values copied."""
    position = np.concatenate([start + np.arange(len(chunk.tokens)) for start, chunk in zip(starts, chunks)])
    cache = Cache([], [], position)
    for layer in range(model.n_layer):
        cache.k.append(rounding(rotate(model, layer, np.concatenate([chunk.k_pre[layer] for chunk in chunks]), position)))
        cache.v.append(np.concatenate([chunk.v[layer] for chunk in chunks]))
    return cache


# ---- A learned correction -----------------------------------------------------------------------------------------------------------


@dataclass
class Correction:
    """Of layers 1 and up: what is added to a row x (K before RoPE, then V) is (x - mean) @ map + place @ of_place."""

    mean: list[Array]  # [2 * n_embd_kv]
    map: list[Array]  # [2 * n_embd_kv, 2 * n_embd_kv], from what goes in to what comes out
    of_place: list[Array]  # [5, 2 * n_embd_kv]


def places(lengths: list[int]) -> Array:
    """Of all tokens after the head, with which lengths begins: 1, three numbers of the place in the chunk, one of that in the context."""
    in_chunk = np.concatenate([np.arange(length, dtype=float) for length in lengths[1:]])
    near = [np.exp(-in_chunk / reach) for reach in REACHES]
    return np.stack([np.ones(len(in_chunk)), *near, np.log(lengths[0] + np.arange(len(in_chunk)))], axis=1)


def rows_of(chunks: list[Chunk], layer: int) -> Array:
    """[n_tokens, 2 * n_embd_kv]."""
    return np.concatenate([np.concatenate([kv.reshape(len(kv), -1) for kv in (chunk.k_pre[layer], chunk.v[layer])], axis=1)
                           for chunk in chunks])


def learn(model: Model, chunks: list[Chunk], rounding: Rounding) -> Correction:
    """Ridge regression, from one context, the head first, of what KV lacks against full prefill; a part of what it predicts. What the map
    takes is held to 0 by a share of the variance: of the mean variance of K and V, or of each number of a place."""
    tokens, lengths = [token for chunk in chunks for token in chunk.tokens], [len(chunk.tokens) for chunk in chunks]
    cache = empty_cache(model)
    run = forward(model, cache, tokens, add_rows(cache, np.arange(len(tokens))), rounding)
    full = Chunk(tokens, [rounding(k) for k in run.k_pre], [rounding(v) for v in run.v])
    place, result = places(lengths), Correction([], [], [])
    for layer in range(1, model.n_layer):
        x = rows_of(chunks[1:], layer)
        y = rows_of([full], layer)[lengths[0] :] - x
        width, taken = x.shape[1], np.concatenate([x, place[:, 1:]], axis=1)
        centred = taken - taken.mean(axis=0)
        covariance = centred.T @ centred
        variance = np.diag(covariance)
        held = np.concatenate([np.full(width, HOLD * variance[:width].mean()), HOLD_PLACE * variance[width:]]) + 1e-9 * len(x)
        found = np.linalg.solve(covariance + np.diag(held), centred.T @ (y - y.mean(axis=0)))
        constant = y.mean(axis=0) - taken[:, width:].mean(axis=0) @ found[width:]
        result.mean.append(x.mean(axis=0))
        result.map.append(rounding(SHARE * found[:width]))
        result.of_place.append(SHARE * np.concatenate([constant[None], found[width:]]))
    return result


def times(factor: float, correction: Correction, rounding: Rounding) -> Correction:
    """A correction that adds so many times as much."""
    return Correction(correction.mean, [rounding(factor * of) for of in correction.map], [factor * of for of in correction.of_place])


def correct(chunks: list[Chunk], correction: Correction, rounding: Rounding) -> list[Chunk]:
    """The chunks of a context, the head first, as they are reused."""
    place, kv = places([len(chunk.tokens) for chunk in chunks]), [Chunk(chunk.tokens, chunk.k_pre[:], chunk.v[:]) for chunk in chunks]
    for layer, parts in enumerate(zip(correction.mean, correction.map, correction.of_place), 1):
        mean_of, map_of, of_place = parts
        x = rows_of(chunks[1:], layer)
        x = rounding(x + (x - mean_of) @ map_of + place @ of_place)
        begin = 0
        for chunk in kv[1:]:
            k, v = np.split(x[begin : begin + len(chunk.tokens)], 2, axis=1)
            chunk.k_pre[layer], chunk.v[layer] = k.reshape(chunk.k_pre[layer].shape), v.reshape(chunk.v[layer].shape)
            begin += len(chunk.tokens)
    return kv


# ---- Score and select ---------------------------------------------------------------------------------------------------------------


def default_score_layers(n_layer: int) -> list[int]:
    return sorted({math.floor(share * n_layer + FLOOR_HELP) for share in (0.55, 0.575, 0.6, 0.625)})


def score_layers_of(model: Model) -> list[int]:
    """The default ones; of layers with a window the nearest without one, the deeper of two."""
    whole = [layer for layer, window in enumerate(model.windows) if not window]
    return sorted({min(whole, key=lambda layer: (abs(layer - at), -layer)) for at in default_score_layers(model.n_layer)})


def min_max(x: Array) -> Array:
    spread = x.max() - x.min()
    return (x - x.min()) / spread if spread > 0 else np.zeros_like(x)


def score_layer(kind: str, weights: Array, v: Array) -> Array:
    """weights [n_head, n_query, n_context]; v [n_context, n_head_kv, d]. One score a context key."""
    mean = weights.mean(axis=0)
    if kind == "norm":
        return np.sqrt((mean**2).sum(axis=0))
    if kind == "mass":
        return mean.sum(axis=0)
    if kind == "entropy":
        return -((mean + 1e-10) * np.log(mean + 1e-10)).sum(axis=0)
    if kind == "vatp":
        length = np.repeat(np.linalg.norm(v, axis=2), weights.shape[0] // v.shape[1], axis=1)  # [n_context, n_head]
        return (weights.sum(axis=1) * length.T).sum(axis=0)
    if kind == "combined":
        return np.mean([min_max(score_layer(part, weights, v)) for part in ("norm", "entropy", "vatp")], axis=0)
    raise ValueError(f"score {kind!r} is not one of {', '.join(SCORE_KINDS)}")


def score(model: Model, context: Cache, text: list[int], text_start: int, layers: list[int], kinds: tuple[str, ...],
          rounding: Rounding) -> dict[str, Array]:
    """Scores of every context row by the attention that the text pays to it; the context's cache is left as it was. The head's rows get
    their numbers like all others; it is selection that leaves them out."""
    n = context.n_rows
    cache = copy_cache(context)
    rows = add_rows(cache, text_start + np.arange(len(text)))
    run = forward(model, cache, text, rows, rounding, max(layers) + 1, tuple(layers))
    return {
        kind: np.mean([score_layer(kind, run.attention[layer][:, :, :n], cache.v[layer][:n]) for layer in layers], axis=0) for kind in kinds
    }


def n_select(ratio: float, n_context: int, n_head_tokens: int) -> int:
    """Ratio 0 is no recompute at all; otherwise at least one token and at most all outside the head."""
    if ratio <= 0.0:
        return 0
    return min(max(1, math.floor(ratio * n_context + FLOOR_HELP)), n_context - n_head_tokens)


def rank(scores: Array, n_head_tokens: int) -> list[int]:
    """Positions outside the head, the best score first; of equal scores the lower position."""
    return sorted(range(n_head_tokens, len(scores)), key=lambda position: (-scores[position], position))


def select(scores: Array, ratio: float, n_head_tokens: int) -> list[int]:
    """Positions of the best scores, ascending."""
    return sorted(rank(scores, n_head_tokens)[: n_select(ratio, len(scores), n_head_tokens)])


@dataclass(frozen=True)
class Coverage:
    """A budget that follows the scores: as many of the best tokens as hold this share of the sum of all scores outside the head, but no
    fewer than the ratio `low` selects and no more than `high` does."""

    share: float
    low: float
    high: float


def shortfall(scores: Array, share: float, n_head_tokens: int) -> Array:
    """What the best 0, 1, 2, ... positions lack of a share of the whole score, itself as a share of the whole."""
    held = np.concatenate([[0.0], np.cumsum(scores[rank(scores, n_head_tokens)])])
    return share - held / held[-1]


def n_covering(scores: Array, coverage: Coverage, n_head_tokens: int) -> int:
    needed = int(np.argmax(shortfall(scores, coverage.share, n_head_tokens) <= 0.0))
    low, high = (n_select(ratio, len(scores), n_head_tokens) for ratio in (coverage.low, coverage.high))
    return min(max(needed, low), high)


def union(first: Array, share: float, second: Array, n: int, n_head_tokens: int) -> tuple[list[int], list[int]]:
    """n positions in two parts: floor(share * n) that `first` ranks best, and those that `second` ranks best among the others."""
    chosen = rank(first, n_head_tokens)[: math.floor(share * n + FLOOR_HELP)]
    others = [position for position in rank(second, n_head_tokens) if position not in chosen]
    return sorted(chosen), sorted(others[: n - len(chosen)])


def product(scores: Array, staleness: Array) -> Array:
    """The question's scores, each times the root of the position's estimated staleness."""
    return scores * np.sqrt(staleness)


def score_at(model: Model, chunks: list[Chunk], kind: str, n_sink: int, text: list[int], layers: list[int], kinds: tuple[str, ...],
             rounding: Rounding) -> dict[str, Array]:
    """Scores with the chunks, the head first, laid out in the geometry `kind`. They are in reading order, whatever the positions."""
    place = geometry(kind, n_sink, [len(chunk.tokens) for chunk in chunks])
    return score(model, assemble(model, chunks, place.chunk_start, rounding), text, place.text_start, layers, kinds, rounding)


def shares(selected: list[int], lengths: list[int]) -> list[float]:
    """Of every chunk but the head, the share of its tokens that is selected; the head's length comes first in lengths."""
    begins = np.cumsum(lengths)
    return [sum(begin <= p < begin + n for p in selected) / n for begin, n in zip(begins[:-1], lengths[1:])]


def reading_order(share: list[float]) -> list[int]:
    """Indices of the chunks, of which the first after the head is 1: ascending by share, so that the most informative comes last; of
    equal shares the lower index."""
    return [i + 1 for i in sorted(range(len(share)), key=lambda i: (share[i], i))]


def first_of_chunks(counts: list[int], lengths: list[int]) -> list[int]:
    """Positions of the first counts[i] tokens of every chunk but the head, or of all it has; lengths begins with the head's."""
    begins = np.cumsum(lengths)
    return [int(begin) + i for begin, n, count in zip(begins[:-1], lengths[1:], counts) for i in range(min(count, n))]


def epic(lengths: list[int]) -> list[int]:
    """Whatever the ratio; of a chunk of fewer than N_EPIC tokens, all."""
    return first_of_chunks([N_EPIC] * len(lengths[1:]), lengths)


def epic_ratio(ratio: float, lengths: list[int]) -> list[int]:
    """The floor is over every chunk by itself, so that the sum may be less or, for short chunks, more than S. Ratio 0 is none at all."""
    return [] if ratio <= 0.0 else first_of_chunks([max(1, math.floor(ratio * n + FLOOR_HELP)) for n in lengths[1:]], lengths)


# ---- Recompute, prompt, decode ------------------------------------------------------------------------------------------------------


def recompute(model: Model, cache: Cache, context_tokens: list[int], selected: list[int], rounding: Rounding) -> None:
    """Replaces K and V of the selected positions, which are also their rows, in place."""
    if selected:
        forward(model, cache, [context_tokens[position] for position in selected], np.array(selected), rounding)


def evidence(model: Model, stored: Cache, corrected: Cache, cache: Cache, lengths: list[int], selected: list[int],
           rounding: Rounding) -> float:
    """After a recompute that began with `corrected`, in place: of what the correction added to K and V as stored, the tokens that were not
    selected keep the part that came about in the selected ones: by least squares, in the mean over K and V of all layers but the first. All
    of it, if that is 1 or more. `corrected`, which drift goes by, keeps it likewise."""
    of, n_head = np.array(selected, dtype=int), lengths[0]
    others, parts = np.setdiff1d(np.arange(n_head, sum(lengths)), of), []
    for layer in range(1, model.n_layer):
        for was, became, now in ((stored.k, corrected.k, cache.k), (stored.v, corrected.v, cache.v)):
            added = became[layer][of] - was[layer][of]
            parts.append(float(((now[layer][of] - was[layer][of]) * added).sum() / (added**2).sum()))
    held = float(np.mean(parts))
    kept = max(held, 0.0)
    for layer in range(1, model.n_layer if held < 1 else 1):
        for was, now in ((stored.k, cache.k), (stored.v, cache.v)):
            now[layer][others] = rounding(kept * now[layer][others] + (1 - kept) * was[layer][others])
        corrected.k[layer][of] = kept * corrected.k[layer][of] + (1 - kept) * stored.k[layer][of]
    return held


def drift(model: Model, stale: Cache, cache: Cache, lengths: list[int], selected: list[int], rounding: Rounding) -> None:
    """After a recompute that began with `stale`, in place: the keys of a chunk's other tokens are moved by the weighted mean of what those of
    its selected tokens changed by, before RoPE; V stays, and so does the head, with which lengths begins, and layer 0, where nothing is
    stale. The weight is 1 / (d + LEAST_PART) for a squared change d, in medians (the upper one) of the layer; N_PRIOR tokens of weight 1 and
    no change belong to the mean."""
    begins, of = np.cumsum([0] + lengths), np.array(selected, dtype=int)
    for layer in range(1, model.n_layer):
        change = rotate(model, layer, cache.k[layer][of] - stale.k[layer][of], -of)
        distance = (change**2).sum(axis=(1, 2))
        weight = 1.0 / (distance / np.sort(distance)[len(of) // 2] + LEAST_PART)
        for begin, end in zip(begins[1:-1], begins[2:]):
            own, others = (begin <= of) & (of < end), np.setdiff1d(np.arange(begin, end), of)
            shift = (weight[own, None, None] * change[own]).sum(axis=0) / (weight[own].sum() + N_PRIOR)
            turned = rotate(model, layer, np.repeat(shift[None], len(others), axis=0), others) / model.ropes[layer].magnitude**2
            cache.k[layer][others] = rounding(cache.k[layer][others] + turned)


def cacheblend(model: Model, cache: Cache, context_tokens: list[int], ratio: float, n_head_tokens: int,
               rounding: Rounding) -> tuple[Array, list[int]]:
    """CacheBlend over an assembled cache, in place; the change of every position, and the positions recomputed. Readings:

    The whole context runs, the head too: its rows are exact already, so that leaving it out gives the same, to f16 rounding (as stored,
    the head's K was rounded before RoPE and again after it). It is never selected.
    Layer 0 is complete: each token attends over fresh K and V of layer 0. In layer 1 K and V are computed of all tokens, then no more.
    Fresh K and V of both layers stay in the cache for all tokens, selected or not.
    The change of a token is the mean over the values of all KV heads of (fresh V - V as the chunk was stored)^2 at layer 1, where both
    are rounded as the cache holds them. S and ties as for infoflow. From layer 1's attention on only the selected tokens run; above,
    they alone replace K and V. A model of two layers is therefore in full repaired, whatever S.
    Ratio 0 is no recompute: nothing runs, and layer 1 stays stale.
    """
    rows = np.arange(len(context_tokens))
    if n_select(ratio, len(rows), n_head_tokens) == 0:
        return np.zeros(len(rows)), []
    stored = cache.v[1].copy()
    hidden = run_layers(model, cache, range(1), embed(model, context_tokens), rows, rounding).hidden
    q, _, _ = write_kv(model, cache, 1, hidden, rows, rounding)
    change = ((cache.v[1] - stored) ** 2).mean(axis=(1, 2))
    selected = select(change, ratio, n_head_tokens)
    hidden, _ = attend_and_feed(model, cache, 1, hidden[selected], q[selected], np.asarray(selected), rounding)
    run_layers(model, cache, range(2, model.n_layer), hidden, np.array(selected), rounding)
    return change, selected


def generate(model: Model, cache: Cache, logits: Array, n_tokens: int, rounding: Rounding) -> tuple[list[int], list[Array]]:
    """Greedy, end-of-generation tokens included; the tokens, and the logits that each was taken from."""
    tokens: list[int] = []
    seen: list[Array] = []
    while len(tokens) < n_tokens:
        tokens.append(int(np.argmax(logits)))
        seen.append(logits)
        if len(tokens) < n_tokens:
            logits = append(model, cache, tokens[-1:], rounding)[-1]
    return tokens, seen


@dataclass
class Answer:
    tokens: list[int]
    logits: list[Array]  # the first ones are those of the prompt's last token
    selected: list[int]  # positions recomputed, in the order of reading
    order: list[int]  # the chunks after the head in the order of reading; the first one given is 1
    scores: dict[str, Array]  # infoflow's, of all kinds
    choices: list[tuple[Array, list[int]]]  # every selection made by numbers: the numbers of all positions, and those selected


def answer(model: Model, method: str, sink: list[int], head: list[int], chunks: list[list[int]], text: list[int], prompt: list[int],
           ratio: float, layers: list[int], n_tokens: int, rounding: Rounding) -> Answer:
    """One of METHODS or MORE_METHODS from the chunks' tokens to the answer; scores select by `norm`."""
    result = Answer([], [], [], list(range(1, len(chunks) + 1)), {}, [])
    kv = [prefill_chunk(model, [], head, rounding)] + [prefill_chunk(model, sink, chunk, rounding) for chunk in chunks]
    if method == "reorder":
        local = score_at(model, kv, "hl-tp", len(sink), text, layers, ("norm",), rounding)["norm"]
        result.choices.append((local, select(local, ratio, len(head))))
        result.order = reading_order(shares(result.choices[0][1], [len(chunk.tokens) for chunk in kv]))
        kv = [kv[i] for i in [0] + result.order]
    context_tokens = [token for chunk in kv for token in chunk.tokens]
    lengths = [len(chunk.tokens) for chunk in kv]
    cache = assemble(model, kv, geometry("global", len(sink), lengths).chunk_start, rounding)
    if method == "full":
        cache = empty_cache(model)
        append(model, cache, context_tokens, rounding)
    elif method in ("infoflow", "reorder"):
        result.scores = score_at(model, kv, "global", len(sink), text, layers, SCORE_KINDS, rounding)
        result.selected = select(result.scores["norm"], ratio, len(head))
        result.choices.append((result.scores["norm"], result.selected))
        recompute(model, cache, context_tokens, result.selected, rounding)
    elif method in ("epic", "epic-ratio"):
        result.selected = epic(lengths) if method == "epic" else epic_ratio(ratio, lengths)
        recompute(model, cache, context_tokens, result.selected, rounding)
    elif method == "cacheblend":
        change, result.selected = cacheblend(model, cache, context_tokens, ratio, len(head), rounding)
        result.choices.append((change, result.selected))
    elif method != "none":
        raise ValueError(f"method {method!r} is not one of {', '.join(METHODS + MORE_METHODS)}")
    logits = append(model, cache, prompt, rounding)[-1]
    result.tokens, result.logits = generate(model, cache, logits, n_tokens, rounding)
    return result
