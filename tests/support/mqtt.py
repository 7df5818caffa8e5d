"""MQTT for tests and benchmarks: a broker of their own, and what loses packets on their way.

    one end -- proxy.Link, each direction through a Sieve -- Broker -- the other end

Knows as much of the protocol as it takes to find where a packet ends."""

import os
import select
import shutil
import subprocess
import sys
import time

from proxy import free_port

START_S = 30
PUBLISH = 3
QOS = 0x06


def mosquitto():
    """Its path; None = it is not installed."""
    return shutil.which("mosquitto", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")


class Broker:
    """A mosquitto on 127.0.0.1 that keeps nothing, and listens when this is made; until end(), or
    the end of the `with` block."""

    def __init__(self, port=None):
        """On a free port if None.  Ends the program when mosquitto does not start."""
        self.port = port or free_port()
        self.process = subprocess.Popen([mosquitto(), "-c", "/dev/stdin"], stdin=subprocess.PIPE,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        self.process.stdin.write((f"listener {self.port} 127.0.0.1\nallow_anonymous true\n"
                                  "persistence false\nset_tcp_nodelay true\n"
                                  "log_dest stderr\nlog_type error\nlog_type information\n")
                                 .encode())
        self.process.stdin.close()
        self.await_start()

    def await_start(self):
        """It says so when it listens, and little more: the pipe need not be read later."""
        log, until = b"", time.monotonic() + START_S
        while b" running\n" not in log:
            ready, _, _ = select.select([self.process.stderr], [], [],
                                        max(0, until - time.monotonic()))
            said = os.read(self.process.stderr.fileno(), 4096) if ready else b""
            if not said:
                self.end()
                sys.exit("mosquitto does not start: " + log.decode(errors="replace").strip())
            log += said

    def end(self):
        self.process.kill()
        self.process.wait()
        self.process.stderr.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()


def read_varint(data, at):
    """The integer of one to four bytes at `at`, and where it ends; None = not all of it is there."""
    value = 0
    for i, byte in enumerate(data[at:at + 4]):
        value |= (byte & 0x7f) << 7 * i
        if byte < 0x80:
            return value, at + i + 1
    return None


def packet_length(data):
    """Of the packet that `data` begins with; 0 = its head is not there yet."""
    found = read_varint(data, 1)
    return sum(found) if found else 0


def is_unanswered_publish(packet):
    """At QoS 0: nobody notices when it is lost."""
    return packet[0] >> 4 == PUBLISH and not packet[0] & QOS


class Sieve:
    """One direction of a connection: whole packets pass, but for those that `drop(packet)` says are
    lost."""

    def __init__(self, drop):
        self.drop = drop
        self.rest = bytearray()

    def feed(self, data):
        """`data` came.  Returns what passes."""
        passed = []
        self.rest += data
        while True:
            length = packet_length(self.rest)
            if not length or length > len(self.rest):
                return b"".join(passed)
            packet = bytes(self.rest[:length])
            if not self.drop(packet):
                passed.append(packet)
            del self.rest[:length]
