"""Values of every type that a pickle may have between net-queue and netqueue: made from a seed,
written in any protocol, and compared.

numpy is not needed: `numpy` and its parts below are stand-ins that write, and read, the same
pickles as the real ones: an array or scalar is (dtype, shape, bytes)."""

import datetime
import io
import math
import pickle
import random
import string
import sys
import traceback
import types
import uuid

DEPTH = 4
LENGTH = 6


# ---- stand-ins for numpy ----

class Dtype:
    def __init__(self, name, align=False, copy=True):
        self.name, self.order = name, None
        assert align in (False, 0) and copy in (True, 1)

    def __setstate__(self, state):
        assert state[0] == 3 and state[2:] == (None, None, None, -1, -1, 0)
        self.order = state[1]

    def __reduce__(self):
        return Dtype, (self.name, False, True), (3, self.order, None, None, None, -1, -1, 0)

    def key(self):
        return self.name, self.order


class Array:
    """`new` writes the layout of protocol 5 that numpy has for contiguous arrays."""

    def __init__(self, dtype=None, shape=(), data=b""):
        self.dtype, self.shape, self.data = dtype, shape, data

    def __setstate__(self, state):
        version, self.shape, self.dtype, fortran, self.data = state
        assert version == 1 and fortran in (False, 0)

    def __reduce_ex__(self, protocol):
        if protocol >= 5:
            return from_buffer, (pickle.PickleBuffer(bytearray(self.data)), self.dtype, self.shape,
                                 "C")
        return reconstruct, (Array, (0,), b"b"), (1, self.shape, self.dtype, False, self.data)

    def key(self):
        return self.dtype.key(), tuple(self.shape), bytes(self.data)


class Scalar:
    def __init__(self, dtype, data):
        self.dtype, self.data = dtype, data

    def __reduce__(self):
        return scalar, (self.dtype, self.data)

    def key(self):
        return self.dtype.key(), bytes(self.data)


def reconstruct(kind, shape, code):
    assert kind is Array and tuple(shape) == (0,) and code == b"b"
    return Array()


def from_buffer(data, dtype, shape, order):
    assert order == "C"
    return Array(dtype, shape, bytes(data))


def scalar(dtype, data):
    return Scalar(dtype, data)


def pretend(module, **members):
    """Pickle finds `members` under these names, whichever of numpy's layouts."""
    sys.modules[module] = types.ModuleType(module)
    for name, member in members.items():
        setattr(sys.modules[module], name, member)
        member.__module__, member.__name__, member.__qualname__ = module, name, name


for package in ("numpy", "numpy.core", "numpy._core"):
    pretend(package)
pretend("numpy._core.multiarray", scalar=scalar, _reconstruct=reconstruct)
pretend("numpy._core.numeric", _frombuffer=from_buffer)
pretend("numpy.core.multiarray", scalar=scalar, _reconstruct=reconstruct)
pretend("numpy.core.numeric", _frombuffer=from_buffer)
pretend("numpy", ndarray=Array, dtype=Dtype)


# ---- random values ----

def random_int(rng):
    return rng.choice((0, 1, -1, 255, 256, 65535, 65536, 2**31, -2**31, 2**63, -2**63 - 1,
                       rng.getrandbits(rng.randint(1, 3000)), -rng.getrandbits(rng.randint(1, 80))))


def random_float(rng):
    return rng.choice((0.0, -0.0, 1.5, math.inf, -math.inf, math.nan, 5e-324, rng.random(),
                       -rng.random() * 10.0 ** rng.randint(-300, 300)))


def random_str(rng):
    letters = rng.choice((string.printable, "\u00e4\u20ac\U0001f40d\0", "a", "\ud800"))
    return "".join(rng.choices(letters, k=rng.choice((0, 1, 5, 255, 256, 300))))


def random_bytes(rng):
    return rng.randbytes(rng.choice((0, 1, 16, 255, 256, 70000)))


def random_datetime(rng):
    zone = rng.choice((None, None, datetime.timezone.utc,
                       datetime.timezone(datetime.timedelta(minutes=rng.randint(-1439, 1439)))))
    return datetime.datetime(rng.randint(1, 9999), rng.randint(1, 12), rng.randint(1, 28),
                             rng.randint(0, 23), rng.randint(0, 59), rng.randint(0, 59),
                             rng.randint(0, 999999), zone, fold=rng.randint(0, 1))


def random_dtype(rng):
    name, size = rng.choice((("f8", 8), ("f4", 4), ("i8", 8), ("u2", 2), ("i1", 1), ("b1", 1)))
    dtype = Dtype(name)
    dtype.order = "|" if size == 1 else rng.choice("<>")
    return dtype, size


def random_array(rng):
    dtype, size = random_dtype(rng)
    shape = tuple(rng.randint(0, 5) for _ in range(rng.randint(1, 3)))
    return Array(dtype, shape, rng.randbytes(size * math.prod(shape)))


def random_scalar(rng):
    dtype, size = random_dtype(rng)
    return Scalar(dtype, rng.randbytes(size))


LEAVES = (lambda rng: None, lambda rng: rng.random() < 0.5, random_int, random_float, random_str,
          random_bytes, lambda rng: bytearray(random_bytes(rng)), random_datetime,
          lambda rng: uuid.UUID(int=rng.getrandbits(128)))
NUMPY = (random_array, random_scalar)
HASHABLE = tuple(leaf for i, leaf in enumerate(LEAVES) if i not in (3, 6))  # no nan, no bytearray


def random_hashable(rng, depth):
    if depth and rng.random() < 0.2:
        return tuple(random_hashable(rng, depth - 1) for _ in range(rng.randint(0, 3)))
    return rng.choice(HASHABLE)(rng)


def random_any(rng, depth, leaves):
    if not depth or rng.random() < 0.4:
        return rng.choice(leaves)(rng)
    some = range(rng.randint(0, LENGTH))
    kind = rng.choice((list, tuple, dict, set, frozenset, "shared"))
    if kind is dict:
        return {random_hashable(rng, 1): random_any(rng, depth - 1, leaves) for _ in some}
    if kind in (set, frozenset):
        return kind(random_hashable(rng, 1) for _ in some)
    if kind == "shared":  # read back from the memo
        return [random_any(rng, depth - 1, leaves)] * rng.randint(2, 3)
    return kind(random_any(rng, depth - 1, leaves) for _ in some)


def random_value(seed, numpy=False):
    return random_any(random.Random(seed), DEPTH, LEAVES + NUMPY if numpy else LEAVES)


def dump(value, protocol):
    return pickle.dumps(value, protocol=protocol)


# ---- reading and comparing ----

SAFE = {"builtins": ("bytes", "bytearray", "set", "frozenset"), "_codecs": ("encode",),
        "__builtin__": ("bytes", "bytearray", "set", "frozenset"),
        "datetime": ("datetime", "timezone", "timedelta"), "uuid": ("UUID", "SafeUUID"),
        "copyreg": ("_reconstructor",), "numpy": ("ndarray", "dtype")}


class Reader(pickle.Unpickler):
    """Executes nothing that a value does not need: what comes is from the other side of a test."""

    def find_class(self, module, name):
        if module.startswith("numpy.") or name in SAFE.get(module, ()):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"{module}.{name} is not expected")


def load(payload):
    return Reader(io.BytesIO(payload)).load()


def same(one, other):
    """Also in type, in order where there is one, and nan is nan."""
    if type(one) is not type(other):
        return False
    if isinstance(one, float):
        return one == other and math.copysign(1, one) == math.copysign(1, other) \
            or math.isnan(one) and math.isnan(other)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return same(list(one.items()), list(other.items()))
    if isinstance(one, datetime.datetime):
        return one.isoformat() == other.isoformat()  # protocols 2 and 3 lose `fold`
    if isinstance(one, (Array, Scalar)):
        return one.key() == other.key()
    return one == other


def is_same(value, payload):
    """Does `payload` load as `value`?"""
    try:
        return same(value, load(payload))
    except Exception:  # pylint: disable=broad-except # whatever the other side wrote
        traceback.print_exc()
        return False
