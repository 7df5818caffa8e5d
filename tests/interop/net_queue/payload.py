"""What a command's message consists of, and what is told of one that came.

    {"hex": "00ff"}            these bytes
    {"text": "hello"}          the same, as UTF-8
    {"noise": [size, seed]}    bytes that depend on `seed`; those of nqtest_noise() to BLOCK bytes,
                               then the same again and again: cheap at any size
    {"value": seed, "protocol": 5}   a pickled value of values.py"""

import hashlib

import values

BLOCK = 65521  # a prime number: bytes that are missing or come twice are noticed
SHOWN = 64     # bytes of a message that its event shows
WORD = (1 << 64) - 1


def noise(size, seed):
    """Of nqtest_noise() in tests/support/queue.c."""
    x = seed * 0x9e3779b97f4a7c15 & WORD | 1
    block = bytearray()
    while len(block) < min(size, BLOCK):
        x ^= x << 13 & WORD
        x ^= x >> 7
        x ^= x << 17 & WORD
        block += x.to_bytes(8, "little")
    del block[BLOCK:]
    return bytes(block * (size // BLOCK + 1))[:size]


def build(spec):
    """The bytes that a command asks for."""
    if "hex" in spec:
        return bytes.fromhex(spec["hex"])
    if "text" in spec:
        return spec["text"].encode()
    if "noise" in spec:
        return noise(*spec["noise"])
    return values.dump(values.random_value(spec["value"]), spec["protocol"])


def describe(payload):
    """Members of the event that tells of it."""
    told = {"size": len(payload), "sha256": hashlib.sha256(payload).hexdigest()}
    if len(payload) <= SHOWN:
        told["hex"] = payload.hex()
    return told
