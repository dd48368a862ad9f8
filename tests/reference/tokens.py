"""Text to tokens for the tiny models, the chat header and the sink: as much of byte-level BPE as plain English needs."""

import re

from make_models import byte_characters
from reference import Model

WORDS = re.compile(r" ?[A-Za-z]+| ?[^\sA-Za-z]+|\s+(?!\S)|\s+")
BYTES = byte_characters()
N_GENERIC = 160
GENERIC = (
    "Tallow Bridge\n"
    "Tallow Bridge is a stone road bridge of three arches over the river Orne, built between 1764 and 1771 by the mason Peter "
    "Halden. It carried the post road to the coast until a wider crossing was opened upstream in 1932. The bridge was damaged by "
    "floods twice, and its parapets were renewed in 1958. Today only walkers and cyclists may use it.\n"
    "\n"
    "Anna Lindqvist\n"
    "Anna Maria Lindqvist (4 May 1887 - 19 October 1961) was a chemist and teacher. After her studies she worked for eight years in "
    "the laboratory of a sugar factory, where she developed a method for measuring impurities in syrup. From 1921 she taught at a "
    "school for girls, and she wrote two textbooks that remained in print until the 1950s. She never married, and left her library "
    "to the town.\n"
    "\n"
    "The Glass Orchard\n"
    "The Glass Orchard is a 1996 drama film directed by Tomas Ferrer from a screenplay by Ruth Calloway. It follows three sisters "
    "who return to the farm of their late father and find that it has been sold. The film was shot in eleven weeks in the south of "
    "the country and received mixed reviews, with praise for its photography and for the performance of the youngest of the leads.\n"
    "\n"
)


def tokenize_word(model: Model, word: str) -> list[int]:
    """Merges the pair of the lowest rank, the leftmost first, until none is left."""
    rank = {tuple(merge.split(" ")): i for i, merge in enumerate(model.merges)}
    parts = [BYTES[byte] for byte in word.encode()]
    if model.whole_words and "".join(parts) in model.texts:
        return [model.texts.index("".join(parts))]
    while len(parts) > 1:
        best, at = min((rank.get(pair, len(rank)), i) for i, pair in enumerate(zip(parts, parts[1:])))
        if best == len(rank):
            break
        parts[at : at + 2] = [parts[at] + parts[at + 1]]
    return [model.texts.index(part) for part in parts]


def tokenize(model: Model, text: str) -> list[int]:
    """Control tokens are parsed; nothing is added."""
    tokens: list[int] = []
    for piece in re.split(r"(<\|\w+\|>)", text):
        if piece.startswith("<|") and piece in model.texts:
            tokens.append(model.texts.index(piece))
        else:
            for word in WORDS.findall(piece):
                tokens += tokenize_word(model, word)
    return tokens


def sink_of(model: Model) -> list[int]:
    """The token(s) that stand before every chunk while it is prefilled."""
    if model.arch.startswith("qwen"):
        return tokenize(model, "<|endoftext|>")
    if "<|begin_of_text|>" in model.texts:
        return tokenize(model, "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n")
    return [model.eos if model.bos is None else model.bos]


def header_of(model: Model) -> list[int]:
    if "<|begin_of_text|>" in model.texts:
        return tokenize(model, "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n")
    return tokenize(model, "<|im_start|>user\n")


def footer_of(model: Model) -> str:
    if "<|begin_of_text|>" in model.texts:
        return "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
    return "<|im_end|>\n<|im_start|>assistant\n"


def head_of(model: Model) -> list[int]:
    """Sink and chat header; the header alone where it begins with the sink already."""
    sink, header = sink_of(model), header_of(model)
    return header if header[: len(sink)] == sink else sink + header


def generic_of(model: Model) -> list[int]:
    """The text that chunks can be prefilled behind, on top of the sink: its first tokens."""
    return tokenize(model, GENERIC)[:N_GENERIC]
