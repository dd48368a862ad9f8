#!/usr/bin/env python3
"""chunk_id.py - a chunk's id computed from docs/FORMAT.md alone: prints the golden ids of tests/test_chunk.c, the ordinary, the exact, and
one of a chunk that has all that there is. With a file: fails if one of them is not in it."""
import ctypes
import pathlib
import struct
import sys

library = ctypes.CDLL("libxxhash.so.0")


class Hash128(ctypes.Structure):
    _fields_ = [("low", ctypes.c_uint64), ("high", ctypes.c_uint64)]


library.XXH3_128bits.restype = Hash128
library.XXH3_128bits.argtypes = [ctypes.c_char_p, ctypes.c_size_t]


def xxh3_hex(data):
    value = library.XXH3_128bits(data, len(data))
    return f"{value.high:016x}{value.low:016x}".encode()


def numbers(values):
    return struct.pack(f"<{len(values)}i", *values)


def chunk_id(fingerprint, root, tokens, layers, ggml_type, after=0, exact=0, parent="", n_before=0, coords=None, groups=None, content=""):
    block = struct.pack("<IIIIII", 2, 2, len(layers), ggml_type, after, exact)
    block += struct.pack("<QQQ", len(root), n_before, len(tokens))
    block += fingerprint.encode() + parent.encode().ljust(32, b"\0")
    block += xxh3_hex(b"".join(struct.pack("<III", *layer) for layer in layers))
    block += xxh3_hex(numbers(root)) + xxh3_hex(numbers(tokens))
    block += xxh3_hex(numbers(coords)) if coords else bytes(32)
    block += xxh3_hex(numbers(groups)) if groups else bytes(32)
    block += xxh3_hex(content.encode()) if content else bytes(32)
    assert len(block) == 304
    return xxh3_hex(block).decode()


model = "00112233445566778899aabbccddeeff"
ids = [chunk_id(model, [1, 2], [10, 20, 30], [(1, 64, 64)] * 4, 8, exact=exact) for exact in (0, 1)]
ids.append(chunk_id(model, [], [10, 20, 30], [(1, 64, 64), (1, 32, 96), (1, 0, 0), (1, 64, 64)], 1, after=1,
                    parent="ffeeddccbbaa99887766554433221100", n_before=512, coords=[0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 1, 0],
                    groups=[-1, 0, 0], content="0123456789abcdef" * 4))
print("\n".join(ids))
for path in sys.argv[1:]:
    text = pathlib.Path(path).read_text(encoding="utf-8")
    missing = [one for one in ids if f'"{one}"' not in text]
    if missing:
        sys.exit(f"{path}: not there: {' '.join(missing)}")
