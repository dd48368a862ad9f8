"""Text to tokens for the tiny models, the chat header and the sink: as much of byte-level BPE as plain English needs."""

import re

from make_models import byte_characters
from reference import Model

WORDS = re.compile(r" ?[A-Za-z]+| ?[^\sA-Za-z]+|\s+(?!\S)|\s+")
BYTES = byte_characters()
N_GENERIC = 160
GENERIC = (
    "The following pages collect short notes on many subjects. They were written at different times and by different hands, and "
    "nothing in one of them depends on another. Some describe a place or a person, some explain how a thing is made, some "
    "report what happened on a certain day. A reader may begin anywhere, skip what is of no interest, and come back later. "
    "Where a note gives a number or a name, it holds for that note alone. No order is intended: a remark about the weather can "
    "stand beside the account of a journey, a recipe beside the history of a bridge. Most are a few sentences long, a few go on "
    "for a page or more. Sources are named where they were known. Small mistakes have been left as they were found, since it "
    "was not always clear what had been meant. Words in other languages are given with a translation when one was at hand. The "
    "collection is not complete, and more notes are added from time to time.\n\n"
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
