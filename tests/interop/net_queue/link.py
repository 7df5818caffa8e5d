"""One connection below one session, and what the three transports have in common.

    End (peer.py)  <- opened, received, lost --  Link  <- pump --  End

Everything happens on the thread of one asyncio loop; the threads that gRPC has call into it."""

import asyncio
import concurrent.futures
import ssl


def in_loop(loop, call, *args):
    """From another thread: run `call` on the loop's and hand back what it returns."""
    done = concurrent.futures.Future()

    def run():
        try:
            done.set_result(call(*args))
        except Exception as error:  # pylint: disable=broad-except
            done.set_exception(error)

    loop.call_soon_threadsafe(run)
    return done.result()


def tls_of(spec, server):
    """`spec` is a command's "tls": paths of "cert" and "key" for a server, "ca" for a client."""
    if not spec:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    if server:
        context.load_cert_chain(spec["cert"], spec["key"])
    else:
        context.load_verify_locations(spec["ca"])
    return context


class Link:
    """A transport has write(piece), is_full(), hear(bool), finish() and drop(how)."""

    def __init__(self, end, session):
        self.end, self.session = end, session
        self.losing = 0  # pieces that are to get lost
        self.cut_how = None
        self.is_open = self.is_gone = False

    def next_piece(self):
        """What the transport is to take now; empty = nothing."""
        outgoing = self.session.outgoing
        piece = outgoing.take()
        while piece and self.losing:
            self.losing -= 1
            piece = outgoing.take()
        return piece

    def pump(self):
        """Hand over what waits while the transport takes it; then end what has come to its end."""
        while self.is_open and not self.is_full():
            piece = self.next_piece()
            if not piece:
                break
            self.write(piece)
            self.end.handed(self)
        if self.is_open and not self.is_full():
            self.end_if_over()

    def end_if_over(self):
        how = self.cut_how
        if how and self.session.outgoing.is_cut():
            self.cut_how = None
            self.drop(how)
        elif self.session.is_over():
            self.finish()

    def cut_after(self, count, how):
        """Lose the connection when `count` more bytes have been handed over; None = only stop."""
        self.cut_how = how
        self.session.outgoing.cut_after(count)

    def hold(self, held):
        """Only grpc has calls."""

    def opened(self):
        self.is_open = True
        self.end.opened(self)
        self.pump()

    def lost(self, why):
        self.is_open = False
        if not self.is_gone:
            self.is_gone = True
            self.end.lost(self, why)


def start(loop, coroutine, link):
    """Run what connects `link`; it is lost when that fails."""
    def ended(task):
        if task.exception():
            link.lost(repr(task.exception()))

    task = asyncio.ensure_future(coroutine, loop=loop)
    task.add_done_callback(ended)
