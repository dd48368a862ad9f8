"""Writes tiny random GGUF models, one for every architecture and feature: the same bytes on every run.

    make_models.py OUTDIR     writes all of them and prints their names, one a line

Models whose name begins with "refuse-" must be refused by the product; all others load and decode in libllama. The weights are
random, scaled so that attention is peaked (logits with a standard deviation of about 2) and next-token logits are far apart. The
tokenizer is a real one: byte-level BPE with all 256 bytes, a few merges and control tokens; or SentencePiece's kind, with the same words.
"""

import sys
from dataclasses import dataclass, field
from pathlib import Path

import gguf
import numpy as np

MERGES = """t h|i n|e r|a n|o n|r e|a t|e n|o r|e s|o u|i s|l l|s t|Ġ t|Ġ a|Ġ w|Ġ s|Ġ o|th e|Ġ the|n d|Ġa nd|in g|Ġ in|Ġo f|Ġ b|Ġ c
Ġ f|Ġ p|i t|Ġ d|Ġ m|Ġ h|Ġt o|r o|u s|us er|q u|es t|i on|Ġ is|a l|l e|Ġ he|A n|s w|An sw|Answ er|Q u|Qu est|Quest ion|w h|Ġwh
Ġ r""".replace("\n", "|").split("|")

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
LLAMA3 = (
    "{{ bos_token }}{% for message in messages %}{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' "
    "+ message['content'] | trim + '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}"
)
GEMMA = (
    "{{ bos_token }}{% for message in messages %}{{ '<start_of_turn>' + ('model' if message['role'] == 'assistant' else message['role']) "
    "+ '\\n' + message['content'] | trim + '<end_of_turn>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}"
)
CHATML_CONTROL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
LLAMA3_CONTROL = ("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")
GEMMA_CONTROL = ("<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>")
GEMMA_OWN = ("<start_of_image>", "\n", "\n\n")  # of the type that libllama finds in any text
CHATS = {"chatml": (CHATML, CHATML_CONTROL), "llama3": (LLAMA3, LLAMA3_CONTROL), "gemma": (GEMMA, GEMMA_CONTROL)}


@dataclass(frozen=True)
class Spec:
    """One model. Dimensions in elements; head_dim 0: n_embd / n_head, and no key_length in the file."""

    name: str
    seed: int
    arch: str = "llama"
    n_layer: int = 4
    n_embd: int = 64
    n_head: int = 4
    n_head_kv: int = 4
    head_dim: int = 0
    n_ff: int = 128
    tied: bool = True
    qkv_bias: bool = False
    out_bias: bool = False
    qk_norm: bool = False
    rope_freqs: bool = False
    rope_base: float = 10000.0
    scaling: str = ""
    scaling_factor: float = 1.0
    scaling_orig_ctx: int = 0
    scaling_attn_factor: float = 0.0
    n_ctx: int = 1024
    n_expert: int = 0
    window: int = 0
    window_pattern: int | tuple[bool, ...] = 0  # 0: none in the file
    logit_cap: float = 0.0
    n_unused: int = 0  # tokens past the control tokens, for a vocabulary that no block size divides
    chat: str = "chatml"
    pre: str = "qwen2"  # "": SentencePiece's kind
    bos: str = "<|endoftext|>"  # "": none in the file
    eos: str = "<|im_end|>"
    types: dict[str, str] = field(default_factory=dict)  # tensor name part -> type; "": every other matrix

    @property
    def d(self) -> int:
        return self.head_dim or self.n_embd // self.n_head


SPECS = [
    Spec("llama", 1, bos="<|im_start|>"),  # as SmolLM2: the chat header begins with BOS
    Spec("llama-untied", 2, tied=False, n_unused=3),
    Spec("llama-gqa", 3, n_head_kv=2, n_layer=3),
    Spec("llama-3", 4, n_head_kv=1, tied=False, rope_freqs=True, rope_base=500000.0, chat="llama3", pre="llama-bpe",
         bos="<|begin_of_text|>", eos="<|eot_id|>"),
    Spec("llama-linear", 5, scaling="linear", scaling_factor=4.0),
    Spec("llama-yarn", 6, n_head=2, n_head_kv=1, scaling="yarn", scaling_factor=4.0, scaling_orig_ctx=256),
    Spec("llama-headdim", 7, n_head_kv=2, head_dim=32),
    Spec("llama-bias", 8, n_embd=72, n_head=3, n_head_kv=1, n_layer=2, qkv_bias=True, out_bias=True, pre="gpt-2", bos="",
         eos="<|endoftext|>"),
    Spec("qwen2", 9, arch="qwen2", n_head_kv=2, qkv_bias=True),
    Spec("qwen2-untied", 10, arch="qwen2", n_embd=96, n_head=6, n_head_kv=2, n_layer=3, tied=False, qkv_bias=True),
    Spec("qwen2-yarn", 11, arch="qwen2", n_head=2, n_head_kv=1, qkv_bias=True, scaling="yarn", scaling_factor=2.0, scaling_orig_ctx=512,
         scaling_attn_factor=1.1, rope_base=1000000.0),
    Spec("qwen3", 12, arch="qwen3", n_embd=96, n_head_kv=2, head_dim=32, qk_norm=True, rope_base=1000000.0),
    Spec("qwen3-untied", 13, arch="qwen3", n_head_kv=1, head_dim=32, qk_norm=True, tied=False, n_layer=3),
    Spec("llama-q8_0", 14, n_embd=128, n_head=4, n_head_kv=2, n_layer=2, n_ff=256, types={"": "q8_0"}),
    Spec("qwen2-q4_0", 15, arch="qwen2", n_embd=128, n_head=4, n_head_kv=2, n_layer=2, n_ff=256, qkv_bias=True,
         types={"": "q4_0", "token_embd": "q8_0"}),
    Spec("llama-mixed", 16, n_embd=64, n_head_kv=2, tied=False,
         types={"": "q8_0", "attn_q": "q4_1", "attn_k": "q5_0", "attn_v": "q5_1", "ffn_up": "f16", "ffn_down": "bf16",
                "token_embd": "f32"}),
    Spec("llama-f16", 17, n_head_kv=2, types={"": "f16"}),
    Spec("qwen3-bf16", 18, arch="qwen3", n_head_kv=2, head_dim=32, qk_norm=True, types={"": "bf16"}),
    Spec("gemma3", 21, arch="gemma3", n_layer=6, n_embd=96, n_head_kv=2, head_dim=32, qk_norm=True, rope_base=1000000.0,
         scaling="linear", scaling_factor=8.0, window=24, window_pattern=3, chat="gemma", bos="<bos>", eos="<eos>"),
    Spec("gemma3-256", 22, arch="gemma3", n_layer=7, n_head=3, n_head_kv=1, head_dim=256, qk_norm=True, rope_base=1000000.0, window=32,
         chat="gemma", pre="", bos="<bos>", eos="<eos>"),
    Spec("gemma3-untied", 23, arch="gemma3", n_head_kv=1, head_dim=32, qk_norm=True, tied=False, window=40, logit_cap=7.0,
         window_pattern=(True, False, False, True), chat="gemma", bos="<bos>", eos="<eos>"),
    Spec("refuse-arch", 19, arch="bloomish", n_layer=2),
    Spec("refuse-moe", 20, n_expert=4, n_layer=2),
]


def byte_characters() -> list[str]:
    """The printable character that stands for each byte in a byte-level BPE vocabulary (GPT-2's mapping)."""
    printable = set(range(0x21, 0x7F)) | set(range(0xA1, 0xAD)) | set(range(0xAE, 0x100))
    stand_in = iter(range(0x100, 0x200))
    return [chr(byte) if byte in printable else chr(next(stand_in)) for byte in range(256)]


def vocabulary(spec: Spec) -> tuple[list[str], list[int]]:
    """Token texts and types. Ids: the 256 bytes in order, one a merge, the control tokens, a user's own, unused ones. SentencePiece's kind
    has the printable characters between bytes and merges."""
    control, own = CHATS[spec.chat][1], () if spec.pre else GEMMA_OWN
    unused = [f"<|unused_{i}|>" for i in range(spec.n_unused)]
    if spec.pre:
        parts = [(byte_characters() + [merge.replace(" ", "") for merge in MERGES], gguf.TokenType.NORMAL)]
    else:
        words = ["\u2581"] + [chr(i) for i in range(0x21, 0x7F)] + [merge.replace(" ", "").replace("\u0120", "\u2581") for merge in MERGES]
        parts = [([f"<0x{byte:02X}>" for byte in range(256)], gguf.TokenType.BYTE), (words, gguf.TokenType.NORMAL)]
    parts += [(list(control), gguf.TokenType.CONTROL), (list(own), gguf.TokenType.USER_DEFINED), (unused, gguf.TokenType.UNUSED)]
    texts = [text for of, _ in parts for text in of]
    if len(set(texts)) != len(texts):
        raise ValueError("a token occurs twice in the vocabulary")
    return texts, [int(kind) for of, kind in parts for _ in of]


class Weights:
    """Random numbers from whole random bits and correctly rounded operations only, so that every machine draws the same."""

    def __init__(self, seed: int) -> None:
        self.state = np.random.RandomState(seed)  # a stream that NumPy promises never to change

    def uniform(self, shape: tuple[int, ...], std: float) -> np.ndarray:
        """Mean 0 and the given standard deviation."""
        return ((2.0 * self.state.random_sample(shape) - 1.0) * np.sqrt(3.0) * std).astype(np.float32)

    def matrix(self, n_out: int, n_in: int, gain: float) -> np.ndarray:
        """[n_out, n_in]; an input of root mean square 1 gives an output of about `gain`."""
        return self.uniform((n_out, n_in), gain / np.sqrt(n_in))

    def norm(self, n: int, mean: float = 1.0) -> np.ndarray:
        return (mean + self.uniform((n,), 0.2)).astype(np.float32)


def layer_tensors(spec: Spec, layer: int, weights: Weights) -> dict[str, np.ndarray]:
    n_q, n_kv = spec.n_head * spec.d, spec.n_head_kv * spec.d
    tensors = {
        "attn_norm.weight": weights.norm(spec.n_embd),
        "attn_q.weight": weights.matrix(n_q, spec.n_embd, 1.4),
        "attn_k.weight": weights.matrix(n_kv, spec.n_embd, 1.4),
        "attn_v.weight": weights.matrix(n_kv, spec.n_embd, 1.5),
        "attn_output.weight": weights.matrix(spec.n_embd, n_q, 1.5),
        "ffn_norm.weight": weights.norm(spec.n_embd),
    }
    if spec.qkv_bias:
        for name, n in (("attn_q", n_q), ("attn_k", n_kv), ("attn_v", n_kv)):
            tensors[f"{name}.bias"] = weights.uniform((n,), 0.5)
    if spec.qk_norm:
        tensors["attn_q_norm.weight"] = weights.norm(spec.d, 1.4)
        tensors["attn_k_norm.weight"] = weights.norm(spec.d, 1.4)
    if spec.n_expert:
        tensors["ffn_gate_inp.weight"] = weights.matrix(spec.n_expert, spec.n_embd, 1.0)
        for name, n_out, n_in in (("gate", spec.n_ff, spec.n_embd), ("up", spec.n_ff, spec.n_embd), ("down", spec.n_embd, spec.n_ff)):
            tensors[f"ffn_{name}_exps.weight"] = np.stack([weights.matrix(n_out, n_in, 1.0) for _ in range(spec.n_expert)])
    else:
        tensors["ffn_gate.weight"] = weights.matrix(spec.n_ff, spec.n_embd, 1.0)
        tensors["ffn_up.weight"] = weights.matrix(spec.n_ff, spec.n_embd, 1.0)
        tensors["ffn_down.weight"] = weights.matrix(spec.n_embd, spec.n_ff, 1.2)
    if spec.arch == "gemma3":
        tensors["post_attention_norm.weight"] = weights.norm(spec.n_embd, 2.0)
        tensors["post_ffw_norm.weight"] = weights.norm(spec.n_embd, 2.0)
    if spec.out_bias:
        tensors["attn_output.bias"] = weights.uniform((spec.n_embd,), 0.3)
        tensors["ffn_gate.bias"] = weights.uniform((spec.n_ff,), 0.3)
        tensors["ffn_up.bias"] = weights.uniform((spec.n_ff,), 0.3)
        tensors["ffn_down.bias"] = weights.uniform((spec.n_embd,), 0.3)
    return {f"blk.{layer}.{name}": tensor for name, tensor in tensors.items()}


def rope_factors(n_pairs: int) -> np.ndarray:
    """Llama-3's shape: high frequencies kept, low ones divided by 8, a ramp between. Made-up knots, for so small a head."""
    knots = np.array([0.0, 0.3, 0.7, 1.0])
    return np.interp(np.arange(n_pairs) / max(1, n_pairs - 1), knots, [1.0, 1.0, 8.0, 8.0]).astype(np.float32)


def tensors_of(spec: Spec) -> dict[str, np.ndarray]:
    weights = Weights(spec.seed)
    n_vocab = len(vocabulary(spec)[0])
    # Gemma's are scaled before the first layer, and would drown what layers add: a tied output would say the last token again.
    std, out_norm = (1.0, 2.0) if spec.arch == "gemma3" else (3.0, 1.0)
    tensors = {"token_embd.weight": weights.uniform((n_vocab, spec.n_embd), std / np.sqrt(spec.n_embd))}
    if spec.rope_freqs:
        tensors["rope_freqs.weight"] = rope_factors(spec.d // 2)
    for layer in range(spec.n_layer):
        tensors |= layer_tensors(spec, layer, weights)
    tensors["output_norm.weight"] = weights.norm(spec.n_embd, out_norm)
    if not spec.tied:
        tensors["output.weight"] = weights.matrix(n_vocab, spec.n_embd, 3.0)
    return tensors


def type_of(spec: Spec, name: str, tensor: np.ndarray) -> gguf.GGMLQuantizationType:
    """Vectors are always f32, as converters write them."""
    if tensor.ndim == 1 or not spec.types:
        return gguf.GGMLQuantizationType.F32
    part = name.removesuffix(".weight").split(".")[-1]
    return gguf.GGMLQuantizationType[spec.types.get(part, spec.types[""]).upper()]


def add_metadata(writer: gguf.GGUFWriter, spec: Spec) -> None:
    writer.add_name(f"infoflow-test-{spec.name}")
    writer.add_context_length(spec.n_ctx)
    writer.add_embedding_length(spec.n_embd)
    writer.add_block_count(spec.n_layer)
    writer.add_feed_forward_length(spec.n_ff)
    writer.add_head_count(spec.n_head)
    writer.add_head_count_kv(spec.n_head_kv)
    writer.add_layer_norm_rms_eps(1e-5 if spec.arch == "llama" else 1e-6)
    writer.add_rope_freq_base(spec.rope_base)
    if spec.head_dim:
        writer.add_key_length(spec.head_dim)
        writer.add_value_length(spec.head_dim)
    if spec.arch == "llama":
        writer.add_rope_dimension_count(spec.d)
    if spec.scaling:
        writer.add_rope_scaling_type(gguf.RopeScalingType(spec.scaling))
        writer.add_rope_scaling_factor(spec.scaling_factor)
    if spec.scaling_orig_ctx:
        writer.add_rope_scaling_orig_ctx_len(spec.scaling_orig_ctx)
    if spec.window:
        writer.add_sliding_window(spec.window)
    if spec.window_pattern:
        writer.add_sliding_window_pattern(spec.window_pattern)
    if spec.logit_cap:
        writer.add_final_logit_softcapping(spec.logit_cap)
    if spec.scaling_attn_factor:
        writer.add_rope_scaling_attn_factors(spec.scaling_attn_factor)
    if spec.n_expert:
        writer.add_expert_count(spec.n_expert)
        writer.add_expert_used_count(2)


def add_tokenizer(writer: gguf.GGUFWriter, spec: Spec) -> None:
    texts, types = vocabulary(spec)
    writer.add_vocab_size(len(texts))
    writer.add_tokenizer_model("gpt2" if spec.pre else "llama")
    writer.add_tokenizer_pre(spec.pre or "default")
    writer.add_token_list(texts)
    writer.add_token_types(types)
    if spec.pre:
        writer.add_token_merges(MERGES)
    else:
        writer.add_token_scores([-float(i) for i in range(len(texts))])  # the sooner a merge, the better
        writer.add_unk_token_id(texts.index("<unk>"))
        writer.add_add_space_prefix(False)
    if spec.bos:
        writer.add_bos_token_id(texts.index(spec.bos))
    writer.add_eos_token_id(texts.index(spec.eos))
    writer.add_add_bos_token(False)
    writer.add_chat_template(CHATS[spec.chat][0])


def write_model(spec: Spec, path: Path) -> None:
    writer = gguf.GGUFWriter(path, spec.arch)
    add_metadata(writer, spec)
    add_tokenizer(writer, spec)
    for name, tensor in tensors_of(spec).items():
        kind = type_of(spec, name, tensor)
        if kind == gguf.GGMLQuantizationType.F32:
            writer.add_tensor(name, tensor)
        else:
            writer.add_tensor(name, gguf.quants.quantize(tensor, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main() -> int:
    if len(sys.argv) != 2:
        print("usage: make_models.py OUTDIR", file=sys.stderr)
        return 2
    out = Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    for spec in SPECS:
        write_model(spec, out / f"{spec.name}.gguf")
        print(spec.name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
