"""The byte stream of net-queue, in both directions of one session.

    8 bytes, big-endian   length of the payload
    payload               16 bytes that are the sender's UUID: ini at first, fin later; else data

Pure: bytes in, (kind, payload) out.  It says whatever it is told to say, so that tests can have it
say what is wrong."""

import collections
import random
import struct

HEAD = struct.Struct(">Q")
UUID_SIZE = 16
MESSAGE_SIZE = 1 << 40


def frame(payload):
    return HEAD.pack(len(payload)) + payload


class Outgoing:
    """Bytes that wait for the transport.  They are cut into pieces anywhere: of `piece` bytes, or
    of 1 to `piece` bytes at random when there is a `ragged` seed."""

    def __init__(self, piece, ragged=None):
        self.piece = piece
        self.random = random.Random(ragged) if ragged is not None else None
        self.chunks = collections.deque()
        self.size = 0
        self.taken = 0
        self.limit = None  # of what may ever be taken
        self.marks = collections.deque()  # (where its last byte is, tag)

    def write(self, *chunks, tag=None):
        for chunk in chunks:
            self.chunks.append(memoryview(chunk))
            self.size += len(chunk)
        if tag is not None:
            self.marks.append((self.taken + self.size, tag))

    def cut_after(self, count):
        """No more than `count` further bytes can be taken."""
        self.limit = self.taken + count

    def is_cut(self):
        return self.limit is not None and self.taken >= self.limit

    def take(self):
        """The next piece; empty = nothing waits."""
        most = self.random.randint(1, self.piece) if self.random else self.piece
        if self.limit is not None:
            most = min(most, self.limit - self.taken)
        piece = []
        while most and self.chunks:
            chunk = self.chunks.popleft()
            if len(chunk) > most:
                self.chunks.appendleft(chunk[most:])
                chunk = chunk[:most]
            most -= len(chunk)
            self.size -= len(chunk)
            self.taken += len(chunk)
            piece.append(chunk)
        return b"".join(piece)

    def passed(self):
        """Tags of what has been taken to its end since the last call."""
        tags = []
        while self.marks and self.marks[0][0] <= self.taken:
            tags.append(self.marks.popleft()[1])
        return tags


class Incoming:
    """Payloads out of bytes that were cut anywhere.  One of more than `most` bytes comes in pieces
    of `most`."""

    def __init__(self, most):
        self.most = most
        self.head = bytearray()
        self.left = 0  # of the payload, behind this piece of it too
        self.want = None  # size of this piece; None = the head is not complete
        self.body = None

    def begin(self):
        self.want = min(self.left, self.most)
        self.left -= self.want
        self.body = bytearray()

    def feed(self, data):
        data = memoryview(data)
        while data:
            if self.want is None:
                some = data[:HEAD.size - len(self.head)]
                self.head += some
                data = data[len(some):]
                if len(self.head) < HEAD.size:
                    return
                self.left, = HEAD.unpack(self.head)
                self.begin()
            some = data[:self.want - len(self.body)]
            self.body += some
            data = data[len(some):]
            while self.want is not None and len(self.body) == self.want:
                yield self.end()

    def end(self):
        body = self.body
        if self.left:
            self.begin()
        else:
            self.want, self.body = None, None
            self.head.clear()
        return body

    def rest(self):
        """Bytes of a frame that has not come to its end."""
        return len(self.head) + (len(self.body) if self.body else 0)


class Session:
    """One peer."""

    def __init__(self, own, piece, ragged=None, message_size=MESSAGE_SIZE):
        self.own = own
        self.peer = None  # until its ini
        self.said_ini = self.said_fin = self.heard_fin = False
        self.outgoing = Outgoing(piece, ragged)
        self.incoming = Incoming(message_size)

    def ini(self):
        self.said_ini = True
        self.outgoing.write(frame(self.own))

    def fin(self):
        self.said_fin = True
        self.outgoing.write(frame(self.own))

    def put(self, payload, tag=None):
        self.outgoing.write(HEAD.pack(len(payload)), payload, tag=tag)

    def head(self, length):
        """Announce a payload that is not put."""
        self.outgoing.write(HEAD.pack(length))

    def feed(self, data):
        """Yields ("ini", UUID), ("fin", UUID) and ("data", payload)."""
        for payload in self.incoming.feed(data):
            if len(payload) != UUID_SIZE:
                yield "data", payload
            elif self.peer is None:
                self.peer = bytes(payload)
                yield "ini", self.peer
            elif payload == self.peer:
                self.heard_fin = True
                yield "fin", self.peer
            else:
                yield "data", payload

    def is_over(self):
        return self.said_fin and self.heard_fin and not self.outgoing.size
