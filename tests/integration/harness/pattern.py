"""Test data; imported by the small programs too, so nothing but the standard library here."""

import hashlib


def pattern(size, seed=0):
    """`size` bytes that are others for each seed and have no short period; fast to make."""
    block = hashlib.shake_128(f"pattern {seed}".encode()).digest(min(size, 1 << 20) or 1)
    if size <= len(block):
        return block[:size]
    out = bytearray()
    for i in range(-(-size // len(block))):
        out += i.to_bytes(8, "big") + block[8:]
    return bytes(out[:size])
