"""A proxy for the sockets of the transport shm: it passes datagrams and the descriptors in them.

    client -- UnixLink -- server      the memory that they pass each other is theirs: no byte of a
                                      message comes by here, and what is in it cannot be delayed

A UnixLink with a UnixCut ends after so many datagrams, or after a time, since two sides that are
awake send none: both its sockets are closed, or one, and the other one's datagrams go nowhere until
it notices.  As for the two sides, the proxy is who is connected: when one of them dies, the other's
socket is closed.

`Both` has several proxies look like one."""

import collections
import os
import socket

from proxy import READ

DATAGRAM = 256  # far more than any has
DESCRIPTORS = 4
GREETING = 2  # datagrams


class UnixCut:
    """What is to happen to one link."""

    SIDES = ("both", "both", "client", "server")

    def __init__(self, rng):
        self.greeting = rng.random() < 0.2
        self.after = rng.randrange(GREETING + 1) if self.greeting else rng.randrange(3, 2000)
        self.seconds = 30 if self.greeting else rng.random() * 0.6
        self.side = rng.choice(self.SIDES)


class UnixLink:
    def __init__(self, proxy, client, server, cut):
        self.proxy, self.client, self.server, self.cut = proxy, client, server, cut
        self.passed = 0
        for sock, other in ((client, server), (server, client)):
            proxy.loop.watch(sock, READ, lambda _, s=sock, o=other: self.turn(s, o))
        if cut:
            proxy.loop.after(cut.seconds, self.sever)
            self.check()

    def check(self):
        if self.cut and self.passed >= self.cut.after:
            self.sever()

    def turn(self, source, sink):
        if source.fileno() < 0:
            return
        try:
            data, fds, _, _ = socket.recv_fds(source, DATAGRAM, DESCRIPTORS)
        except BlockingIOError:
            return
        except OSError:
            data, fds = b"", []
        try:
            if not data:
                self.end()
            elif sink.fileno() >= 0:
                socket.send_fds(sink, [data], fds)
                self.proxy.taken += len(data)
                self.passed += 1
                self.check()
        except BlockingIOError:
            pass  # it wakes who has a full socket to read: that one is awake
        except OSError:
            self.end()
        finally:
            for fd in fds:
                os.close(fd)

    def close(self, sock):
        if sock.fileno() >= 0:
            self.proxy.loop.watch(sock, 0, None)
            sock.close()

    def sever(self):
        """The cut itself.  Half of one leaves the other side to find out by itself."""
        cut, self.cut = self.cut, None
        if not cut or self not in self.proxy.links:
            return
        if cut.side in ("both", "client"):
            self.close(self.client)
        if cut.side in ("both", "server"):
            self.close(self.server)
        if cut.side == "both":
            self.proxy.links.discard(self)
        self.proxy.on_cut(cut)

    def end(self):
        self.close(self.client)
        self.close(self.server)
        self.proxy.links.discard(self)


class UnixProxy:
    """Listens on several paths and leads them all to the one at `target`.

    `plan()` is asked for the UnixCut of each new link; None leaves it alone."""

    def __init__(self, loop, target, folder, paths=3):
        self.loop, self.target, self.plan = loop, target, lambda: None
        self.links = set()
        self.cuts = collections.Counter()
        self.first_turns = collections.Counter()  # the records do not come by here
        self.taken = 0
        self.when_cut = lambda: None
        self.paths = [os.path.join(folder, f"proxy-{i}") for i in range(paths)]
        self.listeners = [self.listener(path) for path in self.paths]

    def listener(self, path):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        sock.bind(path)
        sock.listen(64)
        sock.setblocking(False)
        self.loop.watch(sock, READ, lambda _: self.accept(sock))
        return sock

    def accept(self, listener):
        try:
            client, _ = listener.accept()
        except OSError:
            return
        server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for sock in (client, server):
            sock.setblocking(False)
        try:
            server.connect(self.target)
        except OSError:
            client.close()
            server.close()
            return
        link = UnixLink.__new__(UnixLink)
        self.links.add(link)
        link.__init__(self, client, server, self.plan())

    def on_cut(self, cut):
        self.cuts["all"] += 1
        self.cuts["greeting"] += cut.greeting
        self.cuts["FIN"] += 1
        self.cuts["half" if cut.side != "both" else "whole"] += 1
        self.when_cut()

    def release(self):
        """No more cuts."""
        self.plan = lambda: None
        for link in tuple(self.links):
            link.cut = None

    def close(self):
        for sock in self.listeners:
            self.loop.watch(sock, 0, None)
            sock.close()
        for link in tuple(self.links):
            link.end()


class Both:
    """Proxies of several kinds whose cuts are counted together."""

    def __init__(self, *proxies):
        self.all = proxies
        self.cuts = collections.Counter()
        for proxy in proxies:
            proxy.cuts = self.cuts

    @property
    def taken(self):
        return sum(proxy.taken for proxy in self.all)

    @property
    def first_turns(self):
        return sum((proxy.first_turns for proxy in self.all), collections.Counter())

    def __setattr__(self, name, value):
        if name in ("when_cut", "rate"):
            for proxy in self.all:
                setattr(proxy, name, value)
        else:
            super().__setattr__(name, value)

    def release(self):
        for proxy in self.all:
            proxy.release()

    def close(self):
        for proxy in self.all:
            proxy.close()
