#!/usr/bin/env python3
"""chunk_id.py - a chunk's id computed from docs/FORMAT.md alone: prints the golden ids of tests/test_chunk.c, the ordinary and the exact."""
import ctypes
import struct

library = ctypes.CDLL("libxxhash.so.0")


class Hash128(ctypes.Structure):
    _fields_ = [("low", ctypes.c_uint64), ("high", ctypes.c_uint64)]


library.XXH3_128bits.restype = Hash128
library.XXH3_128bits.argtypes = [ctypes.c_char_p, ctypes.c_size_t]


def xxh3_hex(data):
    value = library.XXH3_128bits(data, len(data))
    return f"{value.high:016x}{value.low:016x}".encode()


def chunk_id(version, fingerprint, sink, tokens, n_layer, n_embd_kv, ggml_type, exact):
    block = struct.pack("<IIIIQQ", version, n_layer, n_embd_kv, ggml_type | (exact << 31), len(sink), len(tokens))
    block += fingerprint.encode()
    block += xxh3_hex(struct.pack(f"<{len(sink)}i", *sink))
    block += xxh3_hex(struct.pack(f"<{len(tokens)}i", *tokens))
    assert len(block) == 128
    return xxh3_hex(block).decode()


for exact in (0, 1):
    print(chunk_id(1, "00112233445566778899aabbccddeeff", [1, 2], [10, 20, 30], 4, 64, 8, exact))
