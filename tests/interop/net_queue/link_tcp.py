"""tcp: one connection for each session, with TLS or without."""

import asyncio
import socket
import struct

from link import Link, start, tls_of

RESET = struct.pack("ii", 1, 0)  # of SO_LINGER: what was not sent is thrown away


class TcpLink(Link, asyncio.Protocol):
    """A piece that cannot be sent at once makes it full until it is."""

    def __init__(self, end, session):
        super().__init__(end, session)
        self.transport = None
        self.paused = False

    def connection_made(self, transport):
        self.transport = transport
        transport.set_write_buffer_limits(1, 0)  # TLS takes 0 for never
        self.opened()

    def data_received(self, data):
        self.end.received(self, data)

    def eof_received(self):
        self.end.ended(self)
        return self.end.keeps_lost  # whether our direction stays open

    def connection_lost(self, error):
        self.lost(repr(error) if error else "end")

    def pause_writing(self):
        self.paused = True

    def resume_writing(self):
        self.paused = False
        self.pump()

    def is_full(self):
        return self.paused

    def write(self, piece):
        self.transport.write(piece)

    def hear(self, hearing):
        """Later: TLS that is paused while the connection is made does not write what it has."""
        change = self.transport.resume_reading if hearing else self.transport.pause_reading
        asyncio.get_running_loop().call_soon(change)

    def finish(self):
        self.transport.close()

    def drop(self, how):
        """"end": all that was written arrives, then the end.  "half": the same, but we go on
        listening (TLS cannot).  "reset": as when the machine goes."""
        if how == "half" and self.transport.can_write_eof():
            self.transport.write_eof()
        elif how in ("end", "half"):
            self.transport.close()
        else:
            self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET,
                                                               socket.SO_LINGER, RESET)
            self.transport.abort()


class Client:
    def __init__(self, end, loop, spec):
        self.link = TcpLink(end, end.new_session())
        tls = tls_of(spec.get("tls"), False)
        start(loop, loop.create_connection(lambda: self.link, spec["host"], spec["port"], ssl=tls,
                                           server_hostname=spec["host"] if tls else None),
              self.link)


class Server:
    def __init__(self, end, loop, spec):
        self.end, self.server = end, None
        start(loop, self.listen(loop, spec), self)

    async def listen(self, loop, spec):
        self.server = await loop.create_server(
            lambda: TcpLink(self.end, self.end.new_session()), spec["host"], spec["port"],
            ssl=tls_of(spec.get("tls"), True))
        self.end.listening(self.server.sockets[0].getsockname()[1])

    def lost(self, why):
        self.end.failed(why)

    def stop(self):
        """Accept nobody any more."""
        self.server.close()
