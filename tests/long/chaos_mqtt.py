"""What the chaos test needs for MQTT: a broker, and publishes that get lost on their way."""

import os
import random
import shutil
import subprocess
import time

PUBLISH = 3
QOS = 0x06


def mosquitto():
    """Its path; None = it is not installed."""
    return shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin")


def broker(folder, port):
    """Start one on 127.0.0.1 that keeps nothing.  Whoever asks ends the process."""
    config = os.path.join(folder, "broker.conf")
    with open(config, "w", encoding="ascii") as file:
        file.write(f"listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\n"
                   "set_tcp_nodelay true\nlog_dest none\n")
    return subprocess.Popen([mosquitto(), "-c", config], stdin=subprocess.DEVNULL,
                            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def packet_length(data):
    """Of the MQTT packet that `data` begins with; 0 = its head is not there yet."""
    length = 0
    for i in range(1, min(len(data), 5)):
        length |= (data[i] & 0x7f) << 7 * (i - 1)
        if data[i] < 0x80:
            return 1 + i + length
    return 0


class Sieve:
    """One direction of a connection: whole packets pass, but for publishes at QoS 0 that `drop()`
    says are lost."""

    def __init__(self, drop):
        self.drop = drop
        self.rest = bytearray()

    def feed(self, data):
        passed = []
        self.rest += data
        while True:
            length = packet_length(self.rest)
            if not length or length > len(self.rest):
                return b"".join(passed)
            lost = self.rest[0] >> 4 == PUBLISH and not self.rest[0] & QOS and self.drop()
            if not lost:
                passed.append(bytes(self.rest[:length]))
            del self.rest[:length]


class Loss:
    """Which publishes of a connection are lost: one after another, mostly so far apart that what is
    lost is data (a client whose links worked for less than a second pauses ever longer), sometimes
    the next one, which is a part of the greeting.  `on_loss()` may say no."""

    def __init__(self, rng, on_loss):
        self.rng, self.on_loss = rng, on_loss
        self.next_at = 0
        self.plan()

    def plan(self):
        quick = self.rng.random() < 0.1
        self.next_at = time.monotonic() + (0 if quick else 1.05 + self.rng.random())

    def drop(self):
        if time.monotonic() < self.next_at:
            return False
        self.plan()
        return self.on_loss()


def blind_spots():
    """Streams of packets that a Sieve takes apart wrongly, as lines for people."""
    rng = random.Random(1)
    found = []
    publish = [b"\x30" + bytes([200, 1]) + bytes(200), b"\x30\x02ab"]
    others = [b"\x10\x05MQTT5", b"\x32\x03abc", b"\xc0\x00", b"\x90\x80\x80\x01" + bytes(16384)]
    for _ in range(100):
        packets = [rng.choice(publish + others) for _ in range(20)]
        stream = b"".join(packets)
        sieve, out = Sieve(lambda: True), b""
        while stream:
            n = rng.randrange(1, 300)
            out += sieve.feed(stream[:n])
            stream = stream[n:]
        if out != b"".join(p for p in packets if p in others):
            found.append(f"a stream of {len(packets)} packets came out wrong")
    return found
