#!/usr/bin/env python3
"""An independent peer of net-queue's wire, which a test drives: any number of servers and clients,
over tcp, mqtt and grpc, well-behaved or not.

Commands are JSON objects, one a line, on the standard input; events the same on the standard
output.  It ends when its input does.

    {"do": "server", "end": NAME, "transport": "tcp", "host": "127.0.0.1", "port": 0, ...}
    {"do": "client", "end": NAME, "transport": "tcp", "host": "127.0.0.1", "port": 4711, ...}
        "id"       UUID, else a random one
        "tls"      {"cert": path, "key": path} of a server, {"ca": path} of a client
        "piece"    bytes that the transport takes at once, 16 MiB; "ragged": a seed: any number to that
        "message_size"   longer messages are delivered in pieces, 1 TiB
        "echo"     true: what comes goes back to its sender
        "deaf"     true: never reads
        "keeps_lost"     true: a tcp connection whose other side has ended stays (as older versions do)
        "workers"  threads of a grpc server, 1
        "fault": NAME, or "script": [STEP...]    see faults.py
    {"do": "put", "end": NAME, "peers": [UUID...], PAYLOAD, "tag": any}  without peers: to all
    {"do": "trip", "end": NAME, "value": seed, "protocol": 2...5, "numpy": bool}   puts a value that
                                      the other side is to send back
    {"do": "act", "end": NAME, "peers": [...], "script": [STEP...]}
    {"do": "close", "end": NAME}
    {"do": "echo", "end": any}        comes back as an event: all before it has been done

    {"event": "listening", "end": NAME, "port": number}
    {"event": "open", "end": NAME}    a connection is there
    {"event": "ini" | "fin", "end": NAME, "peer": UUID}
    {"event": "data", "end": NAME, "peer": UUID, "size": number, "sha256": hex, "hex": hex}  hex of
                                      short ones only; for an answer to a trip also "same": bool
    {"event": "sent", "end": NAME, "peer": UUID, "tag": any}   handed to the transport; nobody knows more
    {"event": "ended", "end": NAME}   the other side of a tcp connection has ended
    {"event": "lost", "end": NAME, "peer": UUID, "clean": both fins had passed, "why": text,
     "rest": bytes of a frame that is not complete}
    {"event": "closed", "end": NAME}  close has come to its end
    {"event": "echo", "end": any}
    {"event": "failed", "end": NAME, "why": text}   the command, or the whole end"""

import asyncio
import collections
import functools
import importlib
import json
import os
import sys
import traceback
import uuid

import faults
import payload
import values
from session import MESSAGE_SIZE, Session

PIECE = 16 << 20
LINE = 1 << 28


def say(event, **members):
    try:
        sys.stdout.write(json.dumps({"event": event, **members}) + "\n")
        sys.stdout.flush()
    except BrokenPipeError:  # the test has ended
        os._exit(0)


def text_of(name):
    return str(uuid.UUID(bytes=name)) if name else None


class Player:
    """Takes the steps of a script on one link."""

    def __init__(self, link, script):
        self.link, self.steps = link, collections.deque(script)

    def heard(self, kind):
        """An event that a step may wait for."""
        if self.steps and self.steps[0] == ["wait", kind]:
            self.steps.popleft()

    def play(self):
        while self.steps and self.steps[0][0] != "wait":
            step = self.steps.popleft()
            name, args = (step, []) if isinstance(step, str) else (step[0], step[1:])
            getattr(self, "step_" + name)(*args)

    def step_ini(self):
        self.link.session.ini()

    def step_fin(self):
        self.link.session.fin()

    def step_theirs(self):
        self.link.session.put(self.link.session.peer)

    def step_data(self, spec):
        self.link.session.put(payload.build(spec))

    def step_head(self, length):
        self.link.session.head(length)

    def step_raw(self, spec):
        self.link.session.outgoing.write(payload.build(spec))

    def step_lose(self, count):
        self.link.losing = count

    def step_cut(self, count, how):
        self.link.cut_after(count, how)

    def step_drop(self, how):
        if how == "reset":
            self.link.drop(how)
        else:
            self.link.cut_after(self.link.session.outgoing.size, how)

    def step_deaf(self, deaf):
        self.link.hear(not deaf)

    def step_hold(self, held):
        self.link.hold(held)


class End:
    """A server, or a client: its links, and what is said on them without being asked."""

    def __init__(self, loop, spec):
        self.name, self.spec = spec["end"], spec
        self.is_server = spec["do"] == "server"
        self.own = uuid.UUID(spec["id"]).bytes if "id" in spec else uuid.uuid4().bytes
        self.keeps_lost = spec.get("keeps_lost", False)
        self.script = faults.FAULTS[spec["fault"]] if "fault" in spec else spec.get("script")
        self.links, self.players, self.trips = [], {}, collections.deque()
        self.is_closing = False
        transport = importlib.import_module("link_" + spec["transport"])
        self.transport = (transport.Server if self.is_server else transport.Client)(self, loop, spec)

    def new_session(self):
        session = Session(self.own, self.spec.get("piece", PIECE), self.spec.get("ragged"),
                          self.spec.get("message_size", MESSAGE_SIZE))
        if not self.is_server and self.script is None:
            session.ini()
        return session

    def tell(self, event, link=None, **members):
        if link:
            members["peer"] = text_of(link.session.peer)
        say(event, end=self.name, **members)

    # ---- what links call ----

    def listening(self, port):
        self.tell("listening", port=port)

    def failed(self, why):
        self.tell("failed", why=why)

    def opened(self, link):
        self.tell("open")
        self.links.append(link)
        self.players[link] = Player(link, self.script or [])
        if self.spec.get("deaf"):
            link.hear(False)
        self.players[link].play()

    def received(self, link, piece):
        """The server says its ini before it looks at what came."""
        session = link.session
        if self.is_server and self.script is None and not session.said_ini:
            session.ini()
        self.players[link].heard("any")
        for kind, body in session.feed(piece):
            self.heard(link, kind, body)
            self.players[link].heard(kind)
        if link in self.players:
            self.players[link].play()
            link.pump()

    def heard(self, link, kind, body):
        if kind != "data":
            self.tell(kind, link)
            if kind == "fin" and self.is_server and self.script is None:
                link.session.fin()
            return
        told = payload.describe(body)
        if self.trips:
            told["same"] = values.is_same(self.trips.popleft(), body)
        self.tell("data", link, **told)
        if self.spec.get("echo"):
            link.session.put(body)

    def handed(self, link):
        for tag in link.session.outgoing.passed():
            self.tell("sent", link, tag=tag)

    def ended(self, _):
        self.tell("ended")

    def lost(self, link, why):
        session = link.session
        self.tell("lost", link, why=why, clean=session.said_fin and session.heard_fin,
                  rest=session.incoming.rest())
        if link in self.players:
            self.links.remove(link)
            del self.players[link]
        self.tell_if_closed()

    # ---- what commands call ----

    def chosen(self, command):
        """The links that a command is for.  A client's may not have opened yet."""
        if not self.is_server:
            return [] if self.transport.link.is_gone else [self.transport.link]
        peers = command.get("peers")
        return [link for link in self.links
                if link.session.peer and (not peers or text_of(link.session.peer) in peers)]

    def put(self, command):
        body = payload.build(command)
        for link in self.chosen(command):
            link.session.put(body, command.get("tag"))
            link.pump()

    def trip(self, command):
        value = values.random_value(command["value"], command.get("numpy", False))
        body = values.dump(value, command["protocol"])
        for link in self.chosen(command):
            self.trips.append(value)
            link.session.put(body)
            link.pump()

    def act(self, command):
        for link in self.chosen(command) if "peers" in command else list(self.links):
            self.players[link].steps.extend(command["script"])
            self.players[link].play()
            link.pump()

    def close(self, _):
        """A client says fin.  A server accepts nobody any more and waits for its clients' fins."""
        self.is_closing = True
        if self.is_server:
            self.transport.stop()
        else:
            for link in self.chosen({}):
                link.session.fin()
                link.pump()
        self.tell_if_closed()

    def tell_if_closed(self):
        if self.is_closing and not (self.links if self.is_server else self.chosen({})):
            self.tell("closed")


class Peer:
    """Commands to ends."""

    def __init__(self, loop):
        self.loop, self.ends = loop, {}

    def run(self, line):
        command = json.loads(line)
        try:
            self.obey(command)
        except Exception as error:  # pylint: disable=broad-except
            traceback.print_exc()
            say("failed", end=command.get("end"), why=repr(error))

    def obey(self, command):
        do = command["do"]
        if do in ("server", "client"):
            self.ends[command["end"]] = End(self.loop, command)
        elif do == "echo":
            say("echo", end=command["end"])
        elif do in ("put", "trip", "act", "close"):
            getattr(self.ends[command["end"]], do)(command)
        else:
            raise ValueError(do)


async def main():
    loop = asyncio.get_running_loop()
    peer, reader = Peer(loop), asyncio.StreamReader(limit=LINE)
    await loop.connect_read_pipe(functools.partial(asyncio.StreamReaderProtocol, reader), sys.stdin)
    while line := await reader.readline():
        peer.run(line)


if __name__ == "__main__":
    try:
        asyncio.run(main())
    finally:
        os._exit(0)  # whatever threads still do
