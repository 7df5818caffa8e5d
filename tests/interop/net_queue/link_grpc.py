"""grpc: /grpc/comm, a stream of raw bytes in both directions.  One call is one round:

    client   opens it, sends what it has, half-closes
    server   sends what it has queued at that moment, reads the client's pieces, ends the call

The server has one worker thread unless told otherwise, so a call that is held open keeps all others
waiting.  It knows a session by the address of its connection.  A client that waits for messages
asks with empty rounds."""

import concurrent.futures
import threading

import grpc

from link import Link, in_loop

METHOD = "/grpc/comm"
OPTIONS = (("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1),
           ("grpc.so_reuseport", 0), ("grpc.enable_http_proxy", 0),
           ("grpc.use_local_subchannel_pool", 1))  # each client has a connection of its own
FIRST_PAUSE_S, LAST_PAUSE_S = 2 ** -10, 0.5
STOP_S = 5  # that rounds may still take when the server ends


def read(path):
    with open(path, "rb") as file:
        return file.read()


class GrpcLink(Link):
    """Pieces leave in rounds only."""

    def __init__(self, end, session):
        super().__init__(end, session)
        self.hearing = threading.Event()
        self.hearing.set()

    def is_full(self):
        return True

    def hear(self, hearing):
        if hearing:
            self.hearing.set()
        else:
            self.hearing.clear()

    def queued(self):
        """All that waits now, in pieces."""
        pieces = []
        while piece := self.next_piece():
            pieces.append(piece)
        self.end.handed(self)
        return pieces


class ClientLink(GrpcLink):
    def __init__(self, end, session, loop, channel):
        super().__init__(end, session)
        self.loop, self.channel = loop, channel
        self.comm = channel.stream_stream(METHOD)
        self.call = None
        self.wake, self.release = threading.Event(), threading.Event()
        self.release.set()
        threading.Thread(target=self.run, daemon=True).start()

    def pump(self):
        self.wake.set()

    def hear(self, hearing):
        super().hear(hearing)
        self.wake.set()

    def hold(self, held):
        """Whether rounds stay open when all is sent."""
        if held:
            self.release.clear()
        else:
            self.release.set()

    def finish(self):
        self.lost("end")
        self.channel.close()

    def drop(self, _):
        self.lost("dropped")
        if self.call:
            self.call.cancel()
        self.channel.close()

    def run(self):
        """The thread: rounds, until the link has gone."""
        pause = FIRST_PAUSE_S
        in_loop(self.loop, self.opened)
        try:
            while not self.is_gone:
                self.wake.clear()
                hears = self.hearing.is_set()
                if hears or self.session.outgoing.size:
                    pause = FIRST_PAUSE_S if self.round() else min(2 * pause, LAST_PAUSE_S)
                self.wake.wait(pause if hears else None)
        except (grpc.RpcError, ValueError) as error:  # ValueError: the channel is closed
            in_loop(self.loop, self.lost, repr(error.code() if hasattr(error, "code") else error))

    def round(self):
        """Returns whether anything moved."""
        pieces = in_loop(self.loop, self.queued)
        moved = bool(pieces)
        self.call = self.comm(self.requests(pieces))
        for piece in self.call:
            moved = True
            in_loop(self.loop, self.end.received, self, piece)
        in_loop(self.loop, self.end_if_over)
        return moved

    def requests(self, pieces):
        yield from pieces
        self.release.wait()


class Client:
    def __init__(self, end, loop, spec):
        place = f"{spec['host']}:{spec['port']}"
        if spec.get("tls"):
            credentials = grpc.ssl_channel_credentials(read(spec["tls"]["ca"]))
            channel = grpc.secure_channel(place, credentials, options=OPTIONS)
        else:
            channel = grpc.insecure_channel(place, options=OPTIONS)
        self.link = ClientLink(end, end.new_session(), loop, channel)


class ServerLink(GrpcLink):
    def __init__(self, end, server, key):
        super().__init__(end, end.new_session())
        self.server, self.key = server, key

    def finish(self):
        self.server.forget(self, "end")

    def drop(self, _):
        self.server.end_all("dropped")


class Server(grpc.GenericRpcHandler):
    """A link begins with the first piece of a connection, and ends with the fins, or when a round
    breaks off; that a connection ends between rounds nobody learns."""

    def __init__(self, end, loop, spec):
        self.end, self.loop, self.links, self.is_stopped = end, loop, {}, False
        self.server = grpc.server(
            concurrent.futures.ThreadPoolExecutor(max_workers=spec.get("workers", 1)),
            handlers=(self,), options=OPTIONS)
        place = f"{spec['host']}:{spec['port']}"
        if spec.get("tls"):
            pair = (read(spec["tls"]["key"]), read(spec["tls"]["cert"]))
            port = self.server.add_secure_port(place, grpc.ssl_server_credentials([pair]))
        else:
            port = self.server.add_insecure_port(place)
        self.server.start()
        loop.call_soon(end.listening, port)

    def service(self, handler_call_details):
        if handler_call_details.method == METHOD:
            return grpc.stream_stream_rpc_method_handler(self.round)
        return None

    def round(self, requests, context):
        """On a worker thread."""
        key = context.peer()
        link, pieces = in_loop(self.loop, self.begin_round, key)
        yield from pieces
        if link:
            link.hearing.wait()
        for piece in requests:
            in_loop(self.loop, self.arrived, key, piece)
        in_loop(self.loop, self.end_round, key, context.is_active())

    def begin_round(self, key):
        link = self.links.get(key)
        return link, link.queued() if link else []

    def arrived(self, key, piece):
        link = self.links.get(key)
        if not link:
            if self.is_stopped:
                return
            link = self.links[key] = ServerLink(self.end, self, key)
            link.opened()
        self.end.received(link, piece)

    def end_round(self, key, is_whole):
        link = self.links.get(key)
        if link and not is_whole:
            self.forget(link, "broken off")
        elif link:
            link.end_if_over()

    def forget(self, link, why):
        self.links.pop(link.key, None)
        link.lost(why)
        if self.is_stopped and not self.links:
            self.server.stop(STOP_S)

    def end_all(self, why):
        self.is_stopped = True
        self.server.stop(None)
        for link in list(self.links.values()):
            self.forget(link, why)

    def stop(self):
        self.is_stopped = True
        if not self.links:
            self.server.stop(STOP_S)
