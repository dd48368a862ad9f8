"""Text to tokens for the tiny models, the chat header and the sink: as much of byte-level BPE, and of SentencePiece, as plain English
needs."""

import re

import numpy as np

from make_models import byte_characters
from reference import Model

CONTROL = re.compile(r"(<\|\w+\|>|<bos>|<eos>|<start_of_turn>|<end_of_turn>)")
WORDS = re.compile(r" ?[A-Za-z]+| ?[^\sA-Za-z]+|\s+(?!\S)|\s+")
BYTES = byte_characters()
N_GENERIC = 160
GENERIC = [
    (
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
    ),
    (
        "Marsh Heron Reservoir\n"
        "Marsh Heron Reservoir is an artificial lake in the upper valley of the Tessel, formed by an earth dam that was "
        "completed in 1913. It supplies drinking water to four towns and has an area of 212 hectares. Sailing has been "
        "permitted since 1967. The village of Old Corrie was abandoned before the valley was flooded, and its church tower can "
        "be seen in dry summers.\n"
        "\n"
        "Bernard Okafor\n"
        "Bernard Chidi Okafor (born 11 February 1952) is a retired long-distance runner and sports official. He won the bronze "
        "medal in the 10,000 metres at the 1974 regional games and set two national records. After his retirement he worked as "
        "a coach, and from 1994 to 2003 he was president of the athletics federation of his country.\n"
        "\n"
        "Northern Lantern\n"
        "Northern Lantern is the third studio album by the band Paper Harbour, released on 9 October 2006. It was recorded in "
        "a disused chapel with the producer Ellen Strand and was preceded by the single \"Cold Hands\". The album reached number "
        "fourteen on the national chart and was certified gold in the following year.\n"
        "\n"
    ),
    (
        "Kestrel Motor Works\n"
        "Kestrel Motor Works was a manufacturer of light lorries and delivery vans that was active between 1919 and 1938. It "
        "was founded by the brothers Hugh and Walter Penrose in a former brewery, and at its height employed about six hundred "
        "people. The company failed after a fire destroyed the paint shop, and its buildings were later used as a school.\n"
        "\n"
        "The Long Winter Letters\n"
        "The Long Winter Letters is a novel by the author Maria Castellan, first published in 1978. It tells the story of a "
        "lighthouse keeper and his correspondence with a botanist whom he has never met. The book was awarded two literary "
        "prizes and has been translated into nineteen languages. A television series based on it was broadcast in 1985.\n"
        "\n"
        "Hallow Spotted Frog\n"
        "The Hallow spotted frog (Rana hallowensis) is a species of frog in the family Ranidae. It lives in streams and wet "
        "meadows at altitudes between 900 and 1,700 metres. Adults are from four to six centimetres long and feed on beetles, "
        "spiders and worms. The species is threatened by the loss of its habitat.\n"
        "\n"
    ),
    (
        "Battle of Sorrel Ford\n"
        "The Battle of Sorrel Ford was fought on 3 September 1644 between the army of the Count of Vesper and the militia of "
        "the river towns. The militia, commanded by the merchant Dirk Aldous, held the ford for five hours until darkness "
        "fell. About two hundred men lost their lives. A chapel that stands near the place was built in memory of the dead.\n"
        "\n"
        "Eastgate Line\n"
        "The Eastgate Line is a suburban railway line of 23 kilometres with eleven stations, which links the central station "
        "with the port. It was opened in two stages in 1902 and 1907 and electrified in 1955. Trains run every fifteen minutes "
        "during the day. A branch to the airport has been planned since 1998 but was never built.\n"
        "\n"
        "Simone Vauquelin\n"
        "Simone Vauquelin (22 August 1930 - 7 March 2011) was an actress and singer of stage and screen. She made her debut at "
        "the age of seventeen in a comedy by her uncle and appeared in more than forty films, most of them directed by Jean "
        "Morel, to whom she was married from 1959 until 1970.\n"
        "\n"
    ),
]


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


def tokenize_pieces(model: Model, text: str) -> list[int]:
    """As SentencePiece: of all neighbours that make a token together those of the best score are joined, the leftmost first."""
    tokens: list[int] = []
    for part in re.split(r"(\n\n|\n)", text):  # a user's own tokens
        pieces = [part] if part in model.texts else list(part.replace(" ", "\u2581"))
        while len(pieces) > 1:
            pairs = [model.scores[model.texts.index(a + b)] if a + b in model.texts else -np.inf for a, b in zip(pieces, pieces[1:])]
            at = int(np.argmax(pairs))
            if pairs[at] == -np.inf:
                break
            pieces[at : at + 2] = [pieces[at] + pieces[at + 1]]
        tokens += [model.texts.index(piece) for piece in pieces]
    return tokens


def tokenize(model: Model, text: str) -> list[int]:
    """Control tokens are parsed; nothing is added."""
    tokens: list[int] = []
    for piece in CONTROL.split(text):
        if CONTROL.fullmatch(piece) and piece in model.texts:
            tokens.append(model.texts.index(piece))
        elif model.scores:
            tokens += tokenize_pieces(model, piece)
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
    if "<start_of_turn>" in model.texts:
        return tokenize(model, "<start_of_turn>user\n")
    if "<|begin_of_text|>" in model.texts:
        return tokenize(model, "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n")
    return tokenize(model, "<|im_start|>user\n")


def footer_of(model: Model) -> str:
    if "<start_of_turn>" in model.texts:
        return "<end_of_turn>\n<start_of_turn>model\n"
    if "<|begin_of_text|>" in model.texts:
        return "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
    return "<|im_end|>\n<|im_start|>assistant\n"


def head_of(model: Model) -> list[int]:
    """Sink and chat header; the header alone where it begins with the sink already."""
    sink, header = sink_of(model), header_of(model)
    return header if header[: len(sink)] == sink else sink + header


def generic_of(model: Model, text: int) -> list[int]:
    """One of the texts that chunks can be prefilled after, on top of the sink: the first tokens of GENERIC's first, second, ..."""
    return tokenize(model, GENERIC[text - 1])[:N_GENERIC]
