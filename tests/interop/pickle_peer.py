"""The Python end of pickle_test.sh: random values to pickle_pipe and back.

usage: pickle_peer.py PROGRAM VALUES SEED
"""
import datetime
import io
import math
import os
import pickle
import pickletools
import random
import struct
import subprocess
import sys
import uuid

try:
    import numpy
except ImportError:
    numpy = None


class Pipe:
    def __init__(self, program):
        env = dict(os.environ)
        if numpy:
            env["NQ_PICKLE_NUMPY"] = "1"
        self.process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env)

    def ask(self, what, protocol, data):
        data = bytes((ord(what), protocol)) + data
        self.process.stdin.write(struct.pack(">I", len(data)) + data)
        self.process.stdin.flush()
        head = self.process.stdout.read(4)
        if len(head) < 4:
            raise SystemExit("pickle_pipe ended")
        answer = self.process.stdout.read(struct.unpack(">I", head)[0])
        if answer[0]:
            raise ValueError(answer[1:].decode())
        return answer[1:]

    def end(self):
        self.process.stdin.close()
        if self.process.wait():
            raise SystemExit("pickle_pipe failed")


# ---- random values ----


def some_text(rng):
    pieces = ["a", "Z", "\0", "\n", "é", "€", "\U0001f40d", "\ud800", "\udfff", "%s"]
    count = rng.randrange(6) if rng.randrange(8) else rng.randrange(400)
    return "".join(rng.choice(pieces) for _ in range(count))


def some_bytes(rng):
    return rng.randbytes(rng.randrange(20) if rng.randrange(10) else rng.randrange(100000))


def some_zone(rng):
    if not rng.randrange(3):
        return datetime.timezone.utc
    offset = datetime.timedelta(microseconds=rng.randrange(-86399999999, 86400000000))
    if rng.randrange(2):
        offset = datetime.timedelta(minutes=rng.randrange(-1439, 1440))
    return datetime.timezone(offset, some_text(rng).replace("\0", "")) if rng.randrange(2) else datetime.timezone(offset)


def some_datetime(rng):
    zone = some_zone(rng) if rng.randrange(2) else None
    return datetime.datetime(
        rng.randrange(1, 10000), rng.randrange(1, 13), rng.randrange(1, 29), rng.randrange(24), rng.randrange(60),
        rng.randrange(60), rng.randrange(1000000) if rng.randrange(2) else 0, zone, fold=rng.randrange(2))


def some_float(rng):
    return rng.choice([0.0, -0.0, math.inf, -math.inf, math.nan, rng.random(), struct.unpack("<d", rng.randbytes(8))[0]])


def some_int(rng):
    number = rng.getrandbits(rng.choice([1, 7, 8, 9, 16, 31, 32, 33, 63, 64, 65, 127, 128, 2000, 8000]))
    number += rng.randrange(-1, 2)
    return -number if rng.randrange(2) else number


def some_array(rng):
    dtype = rng.choice(["<f8", ">f4", "<f2", "u1", "?", "<i8", ">i2", "<c16", "S3", "<U5", "V4", "<M8[ns]",
                        "<m8[25us]", "M8", "<f16"])
    shape = tuple(rng.randrange(5) for _ in range(rng.randrange(4)))
    dtype = numpy.dtype(dtype)
    raw = rng.randbytes(math.prod(shape) * dtype.itemsize)
    if dtype.kind == "U":
        raw = b"\x41\0\0\0" * (len(raw) // 4)
    if dtype.kind == "b":
        raw = bytes(byte & 1 for byte in raw)
    array = numpy.frombuffer(raw, dtype).reshape(shape)
    if rng.randrange(2):
        array = numpy.asfortranarray(array)
    if rng.randrange(3) == 0 and array.ndim:
        array = array[::2]
    return array.copy("K") if rng.randrange(2) else array


def some_scalar(rng):
    return rng.choice([numpy.float64(1.5), numpy.int32(-7), numpy.bool_(True), numpy.uint8(200), numpy.float32(0.1),
                       numpy.complex128(1 + 2j), numpy.datetime64("2020-01-02", "D"), numpy.timedelta64(5, "ms"),
                       numpy.str_("é"), numpy.bytes_(b"ab"), numpy.longdouble(2)])


HASHED = [
    lambda rng: None,
    lambda rng: bool(rng.randrange(2)),
    some_int,
    some_int,
    some_float,
    some_text,
    some_text,
    some_bytes,
    some_datetime,
    lambda rng: some_datetime(rng).date(),
    lambda rng: some_datetime(rng).timetz(),
    lambda rng: datetime.timedelta(rng.randrange(-999999999, 999999999), rng.randrange(86400), rng.randrange(1000000)),
    some_zone,
    lambda rng: uuid.UUID(int=rng.getrandbits(rng.choice([0, 1, 64, 127, 128]))),
]
LEAVES = HASHED + [lambda rng: bytearray(some_bytes(rng))]
if numpy:
    LEAVES += [some_array, some_scalar]


def some_value(rng, depth, hashed=False):
    if not depth or not rng.randrange(3):
        return rng.choice(HASHED if hashed else LEAVES)(rng)
    count = rng.randrange(6) if rng.randrange(30) else rng.randrange(1500)
    if count > 20:
        depth = 1
    kind = rng.choice("tf" if hashed else "ltdsf")
    items = []
    for _ in range(count):
        if items and not rng.randrange(4):
            items.append(items[-1])  # the same once more
        else:
            items.append(some_value(rng, depth - 1, hashed or kind in "dsf"))
    if kind == "d":
        return {key: some_value(rng, depth - 1) for key in items}
    return {"l": list, "t": tuple, "s": set, "f": frozenset}[kind](items)


# ---- equal ----


def plain(value, folds):
    """What == compares as it should: types, signs, NaNs, zones and their names, sharing aside."""
    kind = type(value)
    if kind in (list, tuple):
        return (kind, [plain(item, folds) for item in value])
    if kind is dict:
        return (kind, [(plain(key, folds), plain(item, folds)) for key, item in value.items()])
    if kind in (set, frozenset):
        return (kind, sorted(repr(plain(item, folds)) for item in value))
    if kind is float:
        return (kind, struct.pack("<d", value))
    if kind in (datetime.datetime, datetime.time):
        return (kind, value.replace(tzinfo=None, fold=0), folds and value.fold, plain(value.tzinfo, folds))
    if kind is datetime.timezone:
        return (kind, value.__getinitargs__())
    if numpy and kind is numpy.ndarray:
        value = value.astype(value.dtype.newbyteorder("="))  # as numpy does when it loads one
        return (kind, value.dtype.str, value.shape, value.tobytes())
    if numpy and isinstance(value, numpy.generic):
        return (kind, value.dtype.str, value.tobytes())
    return (kind, value)


def shared(value):
    """Which items of a list or tuple are the same object as the one before."""
    return [a is b for a, b in zip(value, value[1:])] if isinstance(value, (list, tuple)) else []


def there_and_back(pipe, rng):
    value = some_value(rng, rng.randrange(6))
    mine, theirs = rng.randrange(2, 6), rng.randrange(2, 6)
    data = pipe.ask("E", theirs, pickle.dumps(value, mine))
    folds = mine >= 4 and theirs >= 4
    back = pickle.loads(data)
    if plain(back, folds) != plain(value, folds):
        raise ValueError("protocols %d, %d: %r became %r" % (mine, theirs, value, back))
    big = [isinstance(item, (list, dict, set, bytearray)) for item in value] if isinstance(value, list) else []
    if any(kept and not is_now for kept, is_now, _ in zip(shared(value), shared(back), big) if _):
        raise ValueError("what was one object became two")
    return data


def here_and_back(pipe, rng, seed):
    mine, theirs = rng.randrange(2, 6), rng.randrange(2, 6)
    data = pipe.ask("M", theirs, struct.pack(">Q", seed))
    value = pickle.loads(data)
    pipe.ask("C", 0, struct.pack(">Q", seed) + pickle.dumps(value, mine))
    return data


def main():
    program, values, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    print("seed %d, Python %s, numpy %s" % (seed, sys.version.split()[0], numpy and numpy.__version__))
    rng = random.Random(seed)
    pipe = Pipe(program)
    for i in range(values):
        at = "value %d of seed %d" % (i, seed)
        try:
            data = there_and_back(pipe, rng)
            pickletools.dis(data, io.StringIO()) if len(data) < 5000 else None
            data = here_and_back(pipe, rng, seed * 1000003 + i)
            pickletools.dis(data, io.StringIO()) if len(data) < 5000 else None
        except ValueError as error:
            raise SystemExit("%s: %s" % (at, str(error)[:3000]))
    pipe.end()
    print("%d values each way" % values)


main()
