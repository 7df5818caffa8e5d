"""A TCP proxy on loopback that cuts connections, and the event loop that it runs in.

    client -- Link -- server      two Pipes, one for each direction

A Link with a Cut passes exactly so many bytes in one direction, then holds everything still until
the link is old enough (a client that loses links which worked for less than a second pauses ever
longer, and a test of a thousand cuts would last hours), then cuts: with FIN or RST, towards both
sides or one.  What the other side of half a cut sends is thrown away, or with FIN passed on, until
it notices.

One thread, no sleeps: sockets and timers only."""

import collections
import heapq
import itertools
import random
import selectors
import socket
import struct
import time

CHUNK = 256 * 1024
LOOK_S = 0.1  # a condition that no event of the loop makes true is looked at so often
READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE

TYPE_WELCOME, TYPE_DATA = 3, 5


def free_port():
    """Of 127.0.0.1, below those that the system hands out itself; nobody listens on it now."""
    while True:
        port = random.randrange(21000, 32000)
        with socket.socket() as sock:
            try:
                sock.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


class Loop:
    """Sockets, timers, and waiting for a condition."""

    def __init__(self):
        self.selector = selectors.DefaultSelector()
        self.timers = []
        self.serial = itertools.count()

    def watch(self, file, mask, call):
        """Have `call(mask)` called; mask 0 ends that."""
        known = self.selector.get_map().get(file)
        if not mask:
            if known:
                self.selector.unregister(file)
        elif known:
            if known.events != mask:
                self.selector.modify(file, mask, call)
        else:
            self.selector.register(file, mask, call)

    def after(self, seconds, call):
        heapq.heappush(self.timers, (time.monotonic() + seconds, next(self.serial), call))

    def turn(self, until):
        now = time.monotonic()
        due = min(until, self.timers[0][0]) if self.timers else until
        for key, mask in self.selector.select(max(0, due - now)):
            key.data(mask)
        while self.timers and self.timers[0][0] <= time.monotonic():
            heapq.heappop(self.timers)[2]()

    def wait(self, condition, seconds):
        """Turn until `condition()`.  Returns whether it came true in that time."""
        until = time.monotonic() + seconds
        while not condition():
            if time.monotonic() >= until:
                return False
            self.turn(min(until, time.monotonic() + LOOK_S))
        return True


class Records:
    """Finds the types of the records of one direction, up to its first DATA."""

    def __init__(self):
        self.head = bytearray()
        self.skip = 0
        self.resumed = False
        self.data = False

    def feed(self, view):
        while view and not self.data:
            if self.skip:
                n = min(self.skip, len(view))
                self.skip -= n
                view = view[n:]
                continue
            n = min(8 - len(self.head), len(view))
            self.head += view[:n]
            view = view[n:]
            if len(self.head) == 8:
                kind, _, aux, length = struct.unpack(">BBHI", self.head)
                self.data = kind == TYPE_DATA
                self.resumed |= kind == TYPE_WELCOME and aux == 1
                self.head.clear()
                self.skip = length


class Pipe:
    """One direction of a link."""

    def __init__(self, link, source, sink, up):
        self.link, self.source, self.sink, self.up = link, source, sink, up
        self.pending = b""
        self.passed = 0  # bytes that the sink's socket took
        self.limit = None  # ... at most
        self.ended = False
        self.paused = False
        self.records = Records()
        self.sieve = link.proxy.sieve(up)  # leaves some of the bytes out; None = none

    def reads(self):
        return not self.ended and not self.pending and not self.paused and not self.link.held

    def read(self):
        room = CHUNK if self.limit is None else min(CHUNK, self.limit - self.passed)
        if room <= 0:
            return
        data = self.source.recv(room)
        if not data:
            self.ended = True
            self.sink.shutdown(socket.SHUT_WR)
            return
        self.link.note(self, data)
        self.pending = memoryview(self.sieve.feed(data) if self.sieve else data)
        self.write()
        if self.link.proxy.rate:
            self.paused = True
            self.link.proxy.loop.after(len(data) / self.link.proxy.rate, self.go_on)

    def go_on(self):
        self.paused = False
        self.link.rewatch()

    def write(self):
        if not self.pending:
            return
        try:
            n = self.sink.send(self.pending)
        except BlockingIOError:
            return
        self.passed += n
        self.link.proxy.taken += n
        self.pending = self.pending[n:]


class Cut:
    """What is to happen to one link."""

    SIDES = ("both", "both", "client", "server")

    def __init__(self, rng, number):
        kind = rng.random()
        self.greeting = kind < 0.2
        self.up = rng.random() < 0.5  # counted are bytes from the client
        if self.greeting:
            self.after = rng.randrange(0, 401 if self.up else 433)
        elif kind < 0.5:
            self.after = rng.randrange(65536)
        else:
            self.after = rng.randrange(8 << 20)
        self.reset = number % 2 == 1
        self.side = rng.choice(self.SIDES)
        quick = self.greeting or rng.random() < 0.1
        self.age = 0 if quick else 1.05


class Link:
    def __init__(self, proxy, client, server, cut):
        self.proxy, self.client, self.server, self.cut = proxy, client, server, cut
        self.born = time.monotonic()
        self.up = Pipe(self, client, server, True)
        self.down = Pipe(self, server, client, False)
        self.held = False
        self.hole = None  # half a cut: the side that is still there, whose bytes go nowhere
        self.last = None
        self.turns = 0  # the direction changed to that of the client
        self.first_turns = None  # ... before the first DATA of the client
        self.resumed = False
        self.done = False
        self.serving = False  # the connection to the server is there
        if cut:
            (self.up if cut.up else self.down).limit = cut.after
        self.rewatch()

    def note(self, pipe, data):
        if self.last is self.down and pipe is self.up:
            self.turns += 1
        self.last = pipe
        if not pipe.records.data:
            pipe.records.feed(memoryview(data))
        self.resumed |= pipe.records.resumed
        if pipe is self.up and pipe.records.data and self.first_turns is None:
            self.first_turns = self.turns
            self.proxy.on_first_data(self)

    # ---- watching

    def rewatch(self):
        if self.done:
            return
        for sock, source, sink in ((self.client, self.up, self.down),
                                   (self.server, self.down, self.up)):
            if self.hole:
                mask = READ if sock is self.hole else 0
            else:
                mask = (READ if source.reads() else 0) | (WRITE if sink.pending else 0)
                if sock is self.server and not self.serving:
                    mask = WRITE
                elif not self.serving:
                    mask = 0
            if sock.fileno() >= 0:
                self.proxy.loop.watch(sock, mask, self.ready(sock))

    def ready(self, sock):
        return lambda mask: self.turn(sock, mask)

    def turn(self, sock, mask):
        if self.done:
            return
        source, sink = (self.up, self.down) if sock is self.client else (self.down, self.up)
        try:
            if self.hole:
                if not sock.recv(CHUNK):
                    raise ConnectionError
            elif not self.serving:
                if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                    raise ConnectionError
                self.serving = True
            else:
                if mask & WRITE:
                    sink.write()
                if mask & READ and source.reads():
                    source.read()
            self.check_limit()
        except BlockingIOError:
            pass
        except OSError:
            self.end()
            return
        if self.done:
            return
        if self.up.ended and self.down.ended and not self.up.pending and not self.down.pending:
            self.end(gently=True)
        self.rewatch()

    # ---- cutting

    def check_limit(self):
        if not self.cut or self.held or not self.serving:
            return
        pipe = self.up if self.cut.up else self.down
        if pipe.passed < pipe.limit:
            return
        self.held = True
        age = self.cut.age - (time.monotonic() - self.born)
        if age > 0:
            self.proxy.loop.after(age, self.sever)
        else:
            self.sever()

    def sever(self):
        """The cut itself."""
        if self.done or not self.cut:
            return
        cut, self.cut = self.cut, None
        self.held = False
        victims = [sock for sock, name in ((self.client, "client"), (self.server, "server"))
                   if cut.side in ("both", name)]
        try:
            for sock in victims:
                if cut.reset:
                    self.reset(sock)
                else:
                    sock.shutdown(socket.SHUT_WR)
        except OSError:
            self.end()
        if not self.done and cut.reset and len(victims) == 2:
            self.done = True
        elif not self.done and (cut.reset or len(victims) == 2):
            self.up.pending = self.down.pending = b""
            if cut.reset:
                self.hole = self.server if cut.side == "client" else self.client
            else:
                self.drain()
        elif not self.done:  # one half of FIN: the other direction goes on
            half = self.down if cut.side == "client" else self.up
            half.ended = True
            half.pending = b""
        self.up.limit = self.down.limit = None
        self.proxy.on_cut(self, cut)
        self.rewatch()

    def drain(self):
        """Both got FIN; their bytes go nowhere until each has closed.  A close of ours with bytes
        unread would be RST."""
        left = [self.client, self.server]

        def read(sock):
            def call(_):
                try:
                    if sock.recv(CHUNK):
                        return
                except BlockingIOError:
                    return
                except OSError:
                    pass
                self.proxy.loop.watch(sock, 0, None)
                sock.close()
                left.remove(sock)
                if not left:
                    self.proxy.links.discard(self)
            return call

        self.done = True
        for sock in tuple(left):
            self.proxy.loop.watch(sock, 0, None)
            self.proxy.loop.watch(sock, READ, read(sock))

    def reset(self, sock):
        self.proxy.loop.watch(sock, 0, None)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()

    def end(self, gently=False):
        """The link is of no use any more."""
        self.done = True
        for sock in (self.client, self.server):
            if sock.fileno() < 0:
                continue
            if gently:
                self.proxy.loop.watch(sock, 0, None)
                sock.close()
            else:
                self.reset(sock)
        self.proxy.links.discard(self)


class Proxy:
    """Listens on several ports of 127.0.0.1 and leads them all to one.

    `plan()` is asked for the Cut of each new link; None leaves it alone.  `rate`: bytes per second
    in each direction of a link, at most; None = as fast as it goes."""

    def __init__(self, loop, target, ports=3, plan=lambda: None, rate=None):
        self.loop, self.target, self.plan, self.rate = loop, target, plan, rate
        self.links = set()
        self.cuts = collections.Counter()
        self.first_turns = collections.Counter()  # of links that resumed
        self.taken = 0  # bytes that all links took
        self.sieve = lambda up: None  # asked for one for each direction of a new link
        self.when_cut = lambda: None
        self.listeners = [socket.create_server(("127.0.0.1", 0), backlog=64)
                          for _ in range(ports)]
        self.ports = [sock.getsockname()[1] for sock in self.listeners]
        for sock in self.listeners:
            sock.setblocking(False)
            loop.watch(sock, READ, self.acceptor(sock))

    def acceptor(self, listener):
        def call(_):
            try:
                client, _ = listener.accept()
            except OSError:
                return
            server = socket.socket()
            for sock in (client, server):
                sock.setblocking(False)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            server.connect_ex(("127.0.0.1", self.target))
            self.links.add(Link(self, client, server, self.plan()))
        return call

    def on_cut(self, link, cut):
        self.cuts["all"] += 1
        self.cuts["greeting"] += cut.greeting
        self.cuts["RST" if cut.reset else "FIN"] += 1
        self.cuts["half" if cut.side != "both" else "whole"] += 1
        if link.done and cut.reset:
            self.links.discard(link)
        self.when_cut()

    def on_first_data(self, link):
        if link.resumed:
            self.first_turns[link.first_turns] += 1

    def release(self):
        """No more cuts: what is planned is forgotten, what is held goes on."""
        self.plan = lambda: None
        for link in tuple(self.links):
            if link.cut:
                link.cut = None
                link.held = False
                link.up.limit = link.down.limit = None
                link.rewatch()

    def close(self):
        for sock in self.listeners:
            self.loop.watch(sock, 0, None)
            sock.close()
        for link in tuple(self.links):
            if not link.done:
                link.end()
